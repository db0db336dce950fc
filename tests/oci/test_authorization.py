"""Tokens, in front of a real registry: asked for each set of scopes, renewed, and explained where they do not do."""

from __future__ import annotations

import base64
import json
import os
import time
from pathlib import Path
from threading import Barrier, Thread

import pytest

from tests.oci.conftest import DATA, denial, get, mount, put
from tests.servers import needs
from tests.tokens import PASSWORD, REFRESH_TOKEN, USER
from vcm.errors import AUTHENTICATION_ERROR, RegistryError

real = needs("docker-registry", "openssl")
PULL, PUSH = ("repository:m/frames:pull",), ("repository:m/frames:pull,push",)


@real
def test_a_token_is_asked_for_each_set_of_scopes(private_registry, token_server, login, connect):
    login(private_registry.host)
    client = connect(private_registry.host)
    sent: list[object] = []
    assert get(client)[0] == 404
    assert get(client)[0] == 404
    assert put(client, sent=sent) == 201
    assert get(client, Range="bytes=1-3") == (206, DATA[1:4])
    assert token_server.scopes() == [PULL, PUSH]
    assert [(asked.method, asked.user, asked.service) for asked in token_server.asked] == [
        ("GET", USER, "registry")
    ] * 2
    assert len(sent) == 1
    other = connect(private_registry.host)
    assert put(other) == 201
    # Who may write may read.
    assert get(other) == (200, DATA)
    assert token_server.scopes() == [PULL, PUSH, PUSH]


@real
def test_a_mount_asks_for_both_repositories(private_registry, token_server, login, connect):
    login(private_registry.host)
    client = connect(private_registry.host)
    assert put(client, repository="m/source") == 201
    assert mount(client, "m/source", "m/frames") == 201
    assert token_server.scopes()[1:] == [(*PUSH, "repository:m/source:pull")]
    assert get(client) == (200, DATA)
    assert put(client, b"more") == 201
    assert len(token_server.asked) == 2
    token_server.hidden.add("m/secret")
    with pytest.raises(RegistryError) as caught:
        mount(client, "m/secret", "m/frames")
    assert caught.value.error_code == AUTHENTICATION_ERROR
    assert put(client, b"even more") == 201


@real
def test_tokens_of_three_seconds_last_for_a_long_read_by_several(private_registry, token_server, login, connect):
    login(private_registry.host)
    blobs = [bytes([number]) * 300_000 for number in range(4)]
    client = connect(private_registry.host)
    assert [put(client, data) for data in blobs] == [201] * 4
    # At least two of them: what is put off for one second is no refusal of a token that has just been given.
    token_server.lifetime = 3.0
    # Whatever it says: a registry may be of another opinion on when a token is over.
    token_server.announced = 300.0
    reader, wrong = connect(private_registry.host), []
    end = time.monotonic() + 3.6

    def read(data: bytes) -> None:
        while time.monotonic() < end:
            if get(reader, data) != (200, data):
                wrong.append(data)
            time.sleep(0.03)

    threads = [Thread(target=read, args=(data,)) for data in blobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    # One before the first read, and one each time that it was over; never one for each thread.
    assert 2 <= len(token_server.asked) - 1 <= 4
    assert set(token_server.scopes()[1:]) == {PULL}


@real
@pytest.mark.parametrize("size", [10, 16_000_000])
def test_a_refusal_after_the_body_sends_it_again_but_a_token_that_is_over_is_not_sent(
    private_registry, token_server, login, connect, size
):
    login(private_registry.host)
    client = connect(private_registry.host)
    sent: list[object] = []
    with client.request(
        "POST", f"{client.base}/v2/m/frames/blobs/uploads/", repository="m/frames", push=True
    ) as answer:
        location = answer.headers["Location"]
    piece = bytes(min(size, 1 << 20))

    def body():
        sent.append(size)
        return [piece[: min(len(piece), size - at)] for at in range(0, size, len(piece))]

    headers = {"Content-Length": str(size), "Content-Type": "application/octet-stream"}
    # No registry has signed this one.
    (scopes, right), *_ = client._authorization._rights.items()
    client._authorization._rights[scopes] = type(right)(right.header[:-8] + "AAAAAAAA", right.until)
    with client.request("PATCH", location, headers, repository="m/frames", push=True, body=body) as answer:
        assert answer.status == 202
    assert sent == [size] * 2
    token_server.lifetime = 0
    client._authorization._rights.clear()
    asked = len(token_server.asked)
    with pytest.raises(RegistryError):
        get(client)
    token_server.lifetime = 300
    assert put(client, sent=sent) == 201
    assert sent == [size] * 2 + [DATA]
    assert len(token_server.asked) - asked == 3


@real
def test_several_threads_ask_for_one_token(private_registry, token_server, login, connect):
    login(private_registry.host)
    client, together, statuses = connect(private_registry.host), Barrier(8), []

    def ask() -> None:
        together.wait()
        statuses.append(get(client)[0])

    threads = [Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [404] * 8
    assert token_server.scopes() == [PULL]


@real
def test_an_identity_token_becomes_a_token(private_registry, token_server, login, connect):
    path = login(private_registry.host, "00000000", "", identitytoken=REFRESH_TOKEN)
    client = connect(private_registry.host)
    assert put(client) == 201
    assert [(asked.method, asked.user, asked.scopes) for asked in token_server.asked] == [("POST", USER, PUSH)]
    token_server.refresh_tokens.clear()
    assert denial(connect(private_registry.host)) == (
        f"{token_server.realm.split('/')[2]} does not accept the credentials for {private_registry.host} from {path}",
        f"log in again: docker login {private_registry.host}, or podman login {private_registry.host}",
    )


@real
def test_a_helper_s_secret_becomes_a_token(private_registry, token_server, connect, tmp_path, monkeypatch):
    helper = tmp_path / "bin" / "docker-credential-tests"
    helper.parent.mkdir()
    helper.write_text(f'#!/bin/sh\necho \'{{"ServerURL":"x","Username":"{USER}","Secret":"{PASSWORD}"}}\'\n')
    helper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{helper.parent}:{os.environ['PATH']}")
    named = tmp_path / "auth.json"
    named.write_text(json.dumps({"credHelpers": {private_registry.host: "tests"}}))
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(named))
    assert get(connect(private_registry.host))[0] == 404
    token_server.users[USER] = "another"
    assert denial(connect(private_registry.host))[0] == (
        f"{token_server.realm.split('/')[2]} does not accept the credentials for {private_registry.host} "
        f"from docker-credential-tests, which {named} names"
    )


@real
def test_what_the_mirror_itself_has_counts_before_what_the_machine_knows(
    private_registry, token_server, login, connect
):
    login(private_registry.host, "stranger")
    own = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    headers = {"authorization": f"Basic {own}", "X-Swarm": "{sha256}", "X-Site": "rack"}
    client = connect(private_registry.host, headers)
    assert get(client)[0] == 404
    assert token_server.asked[0].user == USER
    assert client.http._address.headers == {"X-Site": "rack"}


@real
def test_who_has_no_credentials_may_do_what_anybody_may(private_registry, token_server, connect):
    host = private_registry.host
    token_server.permissions[None] = {"pull"}
    client = connect(host)
    assert get(client)[0] == 404
    assert token_server.asked[0].user is None
    message, hint = denial(client, push=True)
    assert message == (
        f"{host}: m/frames may not be written to, and no credentials for {host} were found "
        "(UNAUTHORIZED: authentication required)"
    )
    assert hint == f"docker login {host}, podman login {host}, or set REGISTRY_AUTH_FILE to a file that knows it"


@real
def test_a_wrong_password_and_a_missing_right_are_told_apart(private_registry, token_server, login, connect):
    host = private_registry.host
    path = login(host, USER, "wrong")
    assert denial(connect(host)) == (
        f"{token_server.realm.split('/')[2]} does not accept the credentials for {host} from {path}",
        f"log in again: docker login {host}, or podman login {host}",
    )
    login(host)
    token_server.permissions[USER] = {"pull"}
    client = connect(host)
    assert get(client)[0] == 404
    message, hint = denial(client, push=True)
    assert message == (
        f"{host}: m/frames may not be written to with the credentials from {path} "
        "(UNAUTHORIZED: authentication required)"
    )
    assert hint == f"ask for the right to, or log in again: docker login {host}, or podman login {host}"
    token_server.hidden.add("m/frames")
    assert denial(connect(host))[0] == (
        f"{host}: m/frames may not be read with the credentials from {path} (UNAUTHORIZED: authentication required)"
    )


@real
def test_a_sync_from_a_private_registry(  # noqa: PLR0917  (fixtures)
    private_registry, token_server, login, connect, hub, vcm, monkeypatch
):
    files = {"config.json": b"{}\n", "model.safetensors": DATA}
    hub.add_repo("acme/frames", files)
    Path("models.toml").write_text('[models.frames]\nrepo = "acme/frames"\ninclude = ["*.json", "*.safetensors"]\n')
    assert vcm("lock").code == 0
    host = private_registry.host
    monkeypatch.setenv("VCM_MIRRORS", f"oci://{host}/m/{{repo}}")
    denied = vcm("sync", "--no-origin")
    assert denied.code == 3
    assert f"{host}: m/acme/frames may not be read, and no credentials for {host} were found" in denied.err
    assert f"hint: docker login {host}, podman login {host}, or set REGISTRY_AUTH_FILE to a file that" in denied.err
    login(host)
    client = connect(host)
    for data in files.values():
        assert put(client, data, "m/acme/frames") == 201
    done = vcm("sync", "--no-origin")
    assert (done.code, token_server.scopes()[-1]) == (0, ("repository:m/acme/frames:pull",)), done.err
