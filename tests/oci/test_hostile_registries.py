"""Registries that want passwords, want too much, or say nonsense; each is a server on loopback."""

from __future__ import annotations

import base64
import json

import pytest

from tests.loopback import Asked
from tests.oci.conftest import denial, get, host_of
from tests.tokens import PASSWORD, REFRESH_TOKEN, USER
from vcm.errors import RegistryError
from vcm.http.client import Address, HttpClient
from vcm.http.faults import NetworkFaultError
from vcm.oci.authorization import Authorization
from vcm.oci.credentials import Keyring


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


@pytest.mark.parametrize("status", [401, 404, 429, 500, 503])
@pytest.mark.parametrize("more", [{}, {"identitytoken": REFRESH_TOKEN}])
def test_what_a_token_server_repeats_gets_into_no_message(  # noqa: PLR0917  (a row of the table)
    guarded, loopback, http_answer, login, connect, status, more
):
    def repeat(connection, asked):
        basic = asked.headers.get("authorization", "")
        told = " ".join([base64.b64decode(basic.removeprefix("Basic ")).decode(), basic, asked.body.decode()])
        connection.sendall(http_answer(status, {}, json.dumps({"errors": [{"code": "X", "message": told}]}).encode()))

    tokens = loopback(repeat)
    registry = guarded(f'Bearer realm="{tokens.url}/token",service="registry"', http_answer(200))
    login(host_of(registry), **more)
    with pytest.raises(RegistryError) as caught:
        get(connect(host_of(registry)))
    assert tokens.asked
    said = str(vars(caught.value))
    basic = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    assert [secret for secret in (PASSWORD, basic, REFRESH_TOKEN) if secret in said] == []


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
