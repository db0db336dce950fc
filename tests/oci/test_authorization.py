"""Tokens and passwords: a docker-registry that wants them, and registries that want too much."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Barrier, Thread

import pytest

from tests.loopback import Asked, Loopback
from tests.servers import needs
from tests.tokens import PASSWORD, REFRESH_TOKEN, USER
from vcm.core.mirrors import Mirror
from vcm.errors import AUTHENTICATION_ERROR, RegistryError
from vcm.http.client import Address, HttpClient
from vcm.http.faults import NetworkFaultError
from vcm.mirrors.connecting import registry_client
from vcm.oci.authorization import Authorization
from vcm.oci.client import RegistryClient
from vcm.oci.credentials import Keyring
from vcm.settings import Settings

real = needs("docker-registry", "openssl")
PULL, PUSH = ("repository:m/frames:pull",), ("repository:m/frames:pull,push",)
DATA = bytes(range(256)) * 4


@pytest.fixture
def login(tmp_path: Path):
    """Writes down what the machine knows of a registry, as ``docker login`` does."""

    def write(host: str, user: str = USER, password: str = PASSWORD, **more: str) -> Path:
        path = tmp_path / "docker" / "config.json"
        path.parent.mkdir(exist_ok=True)
        auth = base64.b64encode(f"{user}:{password}".encode()).decode()
        path.write_text(json.dumps({"auths": {host: {"auth": auth, **more}}}))
        return path

    return write


@pytest.fixture
def connect(tmp_path: Path) -> Iterator[Callable[..., RegistryClient]]:
    """Makes clients of registries, as the settings and a mirror say."""
    made: list[RegistryClient] = []

    def make(host: str, headers: dict[str, str] | None = None) -> RegistryClient:
        mirror = Mirror(name="rack", url=f"oci+http://{host}/m/{{repo}}", headers=headers or {})
        made.append(registry_client(Settings(cache_dir=tmp_path / "cache"), mirror))
        return made[-1]

    yield make
    for client in made:
        client.http.close()


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def put(
    client: RegistryClient, data: bytes = DATA, repository: str = "m/frames", sent: list[object] | None = None
) -> int:
    """Push a blob; ``sent`` gets something each time its bytes are sent."""
    with client.request(
        "POST", f"{client.base}/v2/{repository}/blobs/uploads/", repository=repository, push=True
    ) as answer:
        location = answer.headers["Location"]

    def body():
        if sent is not None:
            sent.append(data)
        return [data]

    url = f"{location}&digest=sha256:{sha256(data)}"
    headers = {"Content-Length": str(len(data)), "Content-Type": "application/octet-stream"}
    with client.request("PUT", url, headers, repository=repository, push=True, body=body) as answer:
        return answer.status


def get(client: RegistryClient, data: bytes = DATA, repository: str = "m/frames", **headers: str) -> tuple[int, bytes]:
    url = client.blob_url(repository, sha256(data))
    with client.request("GET", url, headers, repository=repository) as answer:
        return answer.status, answer.body(1 << 24, 10)


def mount(client: RegistryClient, source: str, target: str) -> int:
    url = f"{client.base}/v2/{target}/blobs/uploads/?mount=sha256:{sha256(DATA)}&from={source}"
    with client.request("POST", url, repository=target, push=True, mounted_from=source) as answer:
        return answer.status


def denial(client: RegistryClient, *, push: bool = False) -> tuple[str, str]:
    with pytest.raises(RegistryError) as caught:
        _ = put(client) if push else get(client)
    assert caught.value.error_code == AUTHENTICATION_ERROR
    assert PASSWORD not in str(vars(caught.value))
    return caught.value.message, caught.value.hint


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
def test_tokens_of_two_seconds_last_for_a_long_read_by_several(private_registry, token_server, login, connect):
    login(private_registry.host)
    blobs = [bytes([number]) * 300_000 for number in range(4)]
    client = connect(private_registry.host)
    assert [put(client, data) for data in blobs] == [201] * 4
    token_server.lifetime = 2.0
    # Whatever it says: a registry may be of another opinion on when a token is over.
    token_server.announced = 300.0
    reader, wrong = connect(private_registry.host), []
    end = time.monotonic() + 2.6

    def read(data: bytes) -> None:
        while time.monotonic() < end:
            if get(reader, data) != (200, data):
                wrong.append(data)
            time.sleep(0.01)

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


@pytest.fixture
def guarded(loopback: Callable[..., Loopback], http_answer):
    """A registry that wants any Authorization at all, challenges as told, and answers as told."""

    def start(challenge: str, *answers: bytes) -> Loopback:
        left = list(answers)

        def respond(connection, asked: Asked) -> None:
            if asked.target.startswith("/v2/") and "authorization" not in asked.headers:
                named = challenge.replace("HERE", f"http://{asked.headers['host']}")
                connection.sendall(http_answer(401, {"WWW-Authenticate": named}))
            else:
                connection.sendall(left.pop(0) if len(left) > 1 else left[0])

        return loopback(respond)

    return start


def host_of(server: Loopback) -> str:
    return server.url.partition("://")[2]


def test_a_password_is_sent_where_a_password_is_asked_for(guarded, http_answer, login, connect):
    server = guarded(
        'Negotiate, Basic realm="registry"', http_answer(body=b"it"), http_answer(401, {"WWW-Authenticate": "Basic"})
    )
    path = login(host_of(server))
    client = connect(host_of(server))
    assert get(client) == (200, b"it")
    basic = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    assert [asked.headers.get("authorization") for asked in server.asked] == [None, basic]
    assert denial(client)[0] == f"{host_of(server)}: m/frames may not be read with the credentials from {path}"
    # It was sent at once, and once more after it was refused.
    assert [asked.headers.get("authorization") for asked in server.asked] == [None, basic, basic, basic]


def test_without_a_password_nothing_is_sent_twice(guarded, http_answer, connect):
    server = guarded("Basic", http_answer())
    host = host_of(server)
    assert denial(connect(host))[0] == f"{host}: m/frames may not be read, and no credentials for {host} were found"
    assert len(server.asked) == 1


def test_where_a_blob_really_is_nobody_gets_to_know_who_asks(guarded, http_answer, login, connect, stranger):
    server = guarded("Basic", http_answer(307, {"Location": f"{stranger.url}/signed"}))
    login(host_of(server))
    client = connect(host_of(server))
    assert get(client, Range="bytes=0-3") == (200, b"mine")
    with client.request("PUT", f"{stranger.url}/upload", {"Content-Length": "0"}, repository="m", push=True) as answer:
        assert answer.status == 200
    assert [asked.target for asked in stranger.asked] == ["/signed", "/upload"]
    assert all("authorization" not in asked.headers for asked in stranger.asked)


def test_a_refusal_of_where_a_blob_really_is_is_no_matter_of_credentials(
    guarded, http_answer, login, connect, loopback
):
    bucket = loopback(http_answer(403))
    server = guarded("Basic", http_answer(307, {"Location": f"{bucket.url}/gone"}))
    login(host_of(server))
    assert get(connect(host_of(server))) == (403, b"")


def test_a_server_that_repeats_what_it_was_sent_does_not_bring_it_into_a_message(loopback, http_answer, login, connect):
    def respond(connection, asked: Asked) -> None:
        sent = asked.headers.get("authorization", "")
        body = json.dumps({"errors": [{"code": "DENIED", "message": f"who is {sent}?"}]}).encode()
        connection.sendall(http_answer(403 if sent else 401, {"WWW-Authenticate": "Basic"}, body))

    server = loopback(respond)
    path = login(host_of(server))
    assert denial(connect(host_of(server)))[0] == (
        f"{host_of(server)}: m/frames may not be read with the credentials from {path} (DENIED: who is Basic ***?)"
    )


@pytest.mark.parametrize(
    ("realm", "message"),
    [
        ("http://auth.corp/token", "HOST sends for its tokens to auth.corp without TLS, which is not done"),
        (
            "http://169.254.169.254/latest",
            "HOST sends for its tokens to 169.254.169.254 without TLS, which is not done",
        ),
        ("file:///etc/passwd", "HOST names no address that gives out its tokens"),
        ("http://me:secret@auth.corp/", "HOST names no address that gives out its tokens"),
        ("http://[", "HOST names no address that gives out its tokens"),
        ("", "HOST names no address that gives out its tokens"),
    ],
)
def test_a_registry_cannot_send_credentials_anywhere(guarded, http_answer, login, connect, realm, message):
    server = guarded(f'Bearer realm="{realm}",service="s"', http_answer())
    host = host_of(server)
    # Not even a request without them: it would be one from within this network.
    assert denial(connect(host))[0] == message.replace("HOST", host)
    login(host)
    assert denial(connect(host))[0] == message.replace("HOST", host)
    assert len(server.asked) == 2


def test_two_names_of_this_machine_are_one_host(guarded, http_answer, connect):
    tokens = guarded("", http_answer(body=b'{"token":"abc"}'))
    server = guarded(f'Bearer realm="{tokens.url.replace("127.0.0.1", "localhost")}/token"', http_answer(body=b"it"))
    assert get(connect(host_of(server))) == (200, b"it")


def test_a_registry_with_tls_has_a_token_server_with_tls():
    base = "https://127.0.0.1:1"
    authorization = Authorization(HttpClient(Address(base)), base, Keyring("127.0.0.1:1"))
    with pytest.raises(RegistryError) as caught:
        authorization.renewed(frozenset(), "m", 'Bearer realm="http://127.0.0.1:1/token"', None)
    assert caught.value.message == "127.0.0.1:1 sends for its tokens to 127.0.0.1:1 without TLS, which is not done"
    assert caught.value.hint == "tell whoever runs 127.0.0.1:1: its token server needs https"


@pytest.mark.parametrize("challenge", ["", "Negotiate", "DPoP realm=x", "\x00=;"])
def test_what_vcm_does_not_speak_is_said(guarded, http_answer, connect, challenge):
    host = host_of(guarded(challenge, http_answer()))
    assert denial(connect(host)) == (
        f"{host} asks for an authorization that vcm does not speak",
        f"give that mirror an Authorization in its headers, or ask whoever runs {host}",
    )


BEARER = 'Bearer realm="HERE/token",service="s"'


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b"{}",
        b'{"token": 3}',
        b'{"token": ""}',
        b'{"token": "a\\r\\nX: y"}',
        b'{"token": "\\u00e4"}',
        b"[" * 100_000,
    ],
)
def test_junk_is_no_token(guarded, http_answer, connect, body):
    host = host_of(guarded(BEARER, http_answer(body=body)))
    with pytest.raises(RegistryError) as caught:
        get(connect(host))
    assert caught.value.message == f"{host}: the answer holds no token for {host}"
    assert caught.value.hint == f"tell whoever runs {host}, or check that no proxy or login page answers instead"


@pytest.mark.parametrize("seconds", ["null", "-1", '"x"', "1e400", "NaN", "[]", "true"])
def test_a_token_s_lifetime_may_be_nonsense(guarded, http_answer, connect, seconds):
    token = f'{{"access_token": "abc", "expires_in": {seconds}}}'.encode()
    server = guarded(BEARER, http_answer(body=token), http_answer(body=b"it"))
    client = connect(host_of(server))
    assert (get(client), get(client)) == ((200, b"it"), (200, b"it"))
    assert [asked.target.partition("?")[0][:6] for asked in server.asked] == ["/v2/m/", "/token", "/v2/m/", "/v2/m/"]


def test_an_endless_answer_is_not_read_to_its_end(loopback, http_answer, connect):
    def respond(connection, asked: Asked) -> None:
        if asked.target.startswith("/token"):
            connection.sendall(http_answer(length=False))
            while True:
                connection.sendall(b" " * 65536)
        connection.sendall(
            http_answer(401, {"WWW-Authenticate": f'Bearer realm="http://{asked.headers["host"]}/token"'})
        )

    server = loopback(respond)
    with pytest.raises(RegistryError, match="the answer is longer than 1048576 bytes"):
        get(connect(host_of(server)))


def test_a_token_server_that_is_busy_is_asked_later(guarded, http_answer, connect):
    host = host_of(guarded(BEARER, http_answer(429, {"Retry-After": "7"})))
    with pytest.raises(NetworkFaultError) as caught:
        get(connect(host))
    assert (caught.value.message, caught.value.hint) == (f"{host}: too many requests", "try again in 7 s")
    assert caught.value.retry_after == 7


def test_an_identity_token_does_not_follow_a_redirect(guarded, http_answer, login, connect, stranger):
    server = guarded(BEARER, http_answer(307, {"Location": f"{stranger.url}/token"}))
    login(host_of(server), identitytoken="of-the-tests")
    with pytest.raises(RegistryError, match="redirects to another host"):
        get(connect(host_of(server)))
    assert not stranger.asked


def test_a_registry_may_call_its_repositories_otherwise(guarded, http_answer, connect):
    server = guarded(
        BEARER + ',scope="repository:m/frames:pull repository:site/m/frames:pull registry:catalog:*"',
        http_answer(body=b'{"token":"abc"}'),
        http_answer(body=b"it"),
    )
    assert get(connect(host_of(server))) == (200, b"it")
    assert server.asked[1].target == (
        "/token?service=s&scope=repository%3Am%2Fframes%3Apull"
        "&scope=repository%3Asite%2Fm%2Fframes%3Apull&scope=registry%3Acatalog%3A%2A"
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
