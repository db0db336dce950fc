"""HTTP: the token stays at home, nothing is believed, and every failure is ours, in words without a secret."""

from __future__ import annotations

import contextlib
import gzip
import socket
import ssl
import struct
import subprocess
import sys
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from threading import Event, Lock
from time import monotonic, sleep

import pytest

from tests.conftest import TOKEN, closed_port
from vcm.errors import NETWORK_ERROR, RegistryError, VcmError
from vcm.http import heads
from vcm.http.addresses import origin, shown_url
from vcm.http.client import CONNECTIONS, Address, HttpClient, _check_redirect
from vcm.http.faults import NetworkFaultError, UnreachableError
from vcm.testing import Fault
from vcm.version import VERSION

WEIGHTS = bytes(range(256)) * 16
NETWORK_HINT = "check the network, HTTPS_PROXY and HF_ENDPOINT; without a network use --offline or --from DIR"


@pytest.fixture
def repo(hub):
    return hub.add_repo("acme/tiny", {"config.json": b"{}", "model.safetensors": WEIGHTS})


def read(http: HttpClient, url: str, *, leave_origin: bool = True, limit: int = 1 << 20) -> bytes:
    with http.request("GET", url, leave_origin=leave_origin) as answer:
        return answer.body(limit, 10.0)


# The token


def test_the_token_goes_to_the_hub_and_not_to_the_cdn(hub, repo, connect):
    made = connect(hub.endpoint, TOKEN)
    url = made.client.file_url("acme/tiny", repo.head(), "model.safetensors")
    assert read(made.http, url) == WEIGHTS
    assert made.client.info("acme/tiny", None).repo == "acme/tiny"
    sent = {(request.origin, request.headers.get("authorization")) for request in hub.requests}
    assert sent == {("hub", f"Bearer {TOKEN}"), ("cdn", None)}


def test_the_token_follows_a_redirect_on_the_hub_itself(hub, repo, connect):
    made = connect(hub.endpoint, TOKEN)
    assert read(made.http, made.client.file_url("acme/tiny", repo.head(), "config.json")) == b"{}"
    assert [request.status for request in hub.requests] == [307, 200]
    assert {request.headers.get("authorization") for request in hub.requests} == {f"Bearer {TOKEN}"}


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_of_the_api_to_a_stranger_is_refused_before_he_hears_of_it(hub, repo, connect, stranger, status):
    hub.fail(Fault(path="/api/*", status=status, headers={"Location": f"{stranger.url}/api/models/acme/tiny"}))
    made = connect(hub.endpoint, TOKEN)
    with pytest.raises(RegistryError) as caught:
        made.client.info("acme/tiny", None)
    host = hub.endpoint.removeprefix("http://")
    assert str(caught.value) == f"{host}: redirects to another host (127.0.0.1:{stranger.port})"
    assert caught.value.hint == f"if you trust it, set HF_ENDPOINT={stranger.url}"
    assert not isinstance(caught.value, NetworkFaultError)
    assert stranger.asked == []
    assert made.waits == []


def test_a_file_may_come_from_a_stranger_who_gets_no_token(hub, repo, connect, stranger):
    hub.fail(Fault(path="*/resolve/*", status=302, headers={"Location": f"{stranger.url}/x?Signature=s"}))
    made = connect(hub.endpoint, TOKEN)
    assert read(made.http, made.client.file_url("acme/tiny", repo.head(), "model.safetensors")) == b"mine"
    (asked,) = stranger.asked
    assert "authorization" not in asked.headers
    assert TOKEN not in str(asked)


def test_a_direct_url_gets_the_token_only_where_the_hub_is(hub, repo, connect, stranger):
    made = connect(hub.endpoint, TOKEN)
    read(made.http, f"{stranger.url}/model.onnx")
    read(made.http, hub.add_file("model.onnx", b"1"))
    read(made.http, f"{hub.endpoint}/acme/tiny/resolve/main/config.json")
    assert "authorization" not in stranger.asked[0].headers
    by_origin = {request.origin: request.headers.get("authorization") for request in hub.requests}
    assert by_origin == {"cdn": None, "hub": f"Bearer {TOKEN}"}


def test_another_name_of_the_same_machine_is_another_origin(hub, repo, connect):
    port = hub.endpoint.rpartition(":")[2]
    made = connect(f"http://localhost:{port}", TOKEN)
    read(made.http, f"{hub.endpoint}/acme/tiny/resolve/main/config.json")
    assert {request.headers.get("authorization") for request in hub.requests} == {None}


def test_the_token_comes_back_to_the_hub_alone_when_a_stranger_sends_us_there(
    hub, repo, connect, loopback, http_answer
):
    target = f"{hub.endpoint}/acme/tiny/resolve/main/config.json"
    middle = loopback(http_answer(302, {"Location": target}))
    made = connect(hub.endpoint, TOKEN)
    assert read(made.http, f"{middle.url}/start") == b"{}"
    assert "authorization" not in middle.asked[0].headers


def test_netrc_is_never_consulted(hub, repo, connect, stranger, tmp_path, monkeypatch):
    netrc = tmp_path / ".netrc"
    netrc.write_text("machine 127.0.0.1 login thief password loot\ndefault login thief password loot\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.setenv("NETRC", str(netrc))
    with_token, without = connect(hub.endpoint, TOKEN), connect(hub.endpoint)
    url = f"{hub.endpoint}/acme/tiny/resolve/main/model.safetensors"
    assert read(with_token.http, url) == WEIGHTS
    assert read(without.http, url) == WEIGHTS
    read(with_token.http, f"{stranger.url}/direct")
    assert [request.headers.get("authorization") for request in hub.requests] == [f"Bearer {TOKEN}", None, None, None]
    assert "authorization" not in stranger.asked[0].headers


def test_no_repr_shows_the_token():
    assert repr(Address("https://hub.example", TOKEN)) == "Address('https://hub.example')"


# What is asked


def test_what_every_request_says(connect, stranger):
    read(connect(stranger.url).http, f"{stranger.url}/x")
    headers = stranger.asked[0].headers
    assert headers["user-agent"] == f"vcm/{VERSION}; python/{'.'.join(map(str, sys.version_info[:3]))}"
    assert headers["accept-encoding"] == "identity"


def test_headers_of_the_caller_are_sent_too_and_survive_redirects(hub, repo, connect):
    made = connect(hub.endpoint)
    url = f"{hub.endpoint}/acme/tiny/resolve/main/model.safetensors"
    with made.http.request("GET", url, {"Range": "bytes=4000-"}, leave_origin=True) as answer:
        assert answer.status == 206
        assert answer.body(1 << 20, 10.0) == WEIGHTS[4000:]
    assert [request.headers["range"] for request in hub.requests] == ["bytes=4000-"] * 2


def test_a_compressed_answer_is_understood_although_none_was_asked_for(hub, repo, connect):
    hub.fail(Fault(path="/api/*", gzip=True))
    assert connect(hub.endpoint).client.info("acme/tiny", None).commit == repo.head()


def test_a_small_compressed_answer_cannot_fill_the_memory(connect, loopback, http_answer):
    bomb = gzip.compress(bytes(200 << 20), compresslevel=1)
    server = loopback(http_answer(headers={"Content-Encoding": "gzip"}, body=bomb))
    http = connect(server.url).http
    tracemalloc.start()
    try:
        with pytest.raises(RegistryError, match="the answer is longer than 1048576 bytes"):
            read(http, f"{server.url}/x")
        assert tracemalloc.get_traced_memory()[1] < 40 << 20
    finally:
        tracemalloc.stop()


def test_more_threads_than_connections_wait_for_one_another(hub, repo, connect, loopback, http_answer):
    at_once, most, counting = 0, 0, Lock()

    def answer(connection, asked):
        nonlocal at_once, most
        with counting:
            at_once += 1
            most = max(most, at_once)
        sleep(0.05)
        with counting:
            at_once -= 1
        # Another connection for what a redirect leads to, while all of them are wanted.
        first = asked.target == "/first"
        connection.sendall(http_answer(307, {"Location": "/second"}) if first else http_answer(body=b"here"))

    server = loopback(answer)
    http = connect(server.url).http
    with ThreadPoolExecutor(CONNECTIONS * 2) as pool:
        answers = list(pool.map(lambda _: read(http, f"{server.url}/first"), range(CONNECTIONS * 3)))
    assert answers == [b"here"] * CONNECTIONS * 3
    assert len(server.asked) == CONNECTIONS * 6
    assert most <= CONNECTIONS


def test_many_threads_may_ask_at_once(hub, repo, connect):
    made = connect(hub.endpoint, TOKEN)
    url = f"{hub.endpoint}/acme/tiny/resolve/main/model.safetensors"
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: read(made.http, url), range(64)))
    assert answers == [WEIGHTS] * 64


# Redirects


@pytest.mark.parametrize(
    "location",
    [
        "ftp://127.0.0.1/x",
        "javascript:alert(1)",
        "file:///etc/passwd",
        "data:text/plain,x",
        "http://[::1",
        "http://127.0.0.1:99999/",
        "http://127.0.0.1:port/",
        "http://:80/",
        "https://",
        "//[",
    ],
)
@pytest.mark.parametrize("leave_origin", [False, True])
def test_a_redirect_to_what_is_no_web_address_is_refused_at_once(
    connect, loopback, http_answer, location, leave_origin
):
    server = loopback(http_answer(307, {"Location": location}))
    with pytest.raises(RegistryError) as caught:
        read(connect(server.url).http, f"{server.url}/x", leave_origin=leave_origin)
    assert not isinstance(caught.value, NetworkFaultError), "trying again would not help"
    assert str(caught.value) == f"127.0.0.1:{server.port}: redirects to something that is no web address"


@pytest.mark.parametrize(
    "host", ["a\x1b[31mb.example", "a\xc2\x9b31mb.example", "a\x08\x08b.example", "xn--\xc2\x85.example", "a b"]
)
def test_no_message_carries_what_a_terminal_would_obey(connect, loopback, http_answer, host):
    server = loopback(http_answer(307, {"Location": f"http://{host}/x"}))
    for leave_origin in (False, True):
        with pytest.raises(RegistryError) as caught:
            read(connect(server.url).http, f"{server.url}/x", leave_origin=leave_origin)
        assert caught.value.message.isprintable()
        assert caught.value.hint.isprintable()


def test_redirects_in_a_circle(connect, loopback, http_answer):
    server = loopback(http_answer(307, {"Location": "/again"}))
    made = connect(server.url)
    with pytest.raises(RegistryError) as caught:
        made.client.info("acme/tiny", None)
    assert str(caught.value) == f"127.0.0.1:{server.port}: more than 10 redirects for one request"
    assert caught.value.hint == "the server or a proxy is set up wrongly: check HF_ENDPOINT"
    assert made.waits == []


@pytest.mark.parametrize(("hops", "arrives"), [(1, True), (9, True), (10, True), (11, False)])
def test_ten_redirects_are_followed(connect, loopback, http_answer, hops, arrives):
    def answer(connection, asked):
        here = int(asked.target.removeprefix("/"))
        connection.sendall(http_answer(302, {"Location": f"/{here + 1}"}) if here < hops else http_answer(body=b"end"))

    server = loopback(answer)
    http = connect(server.url).http
    if arrives:
        assert read(http, f"{server.url}/0") == b"end"
    else:
        with pytest.raises(RegistryError, match="more than 10 redirects"):
            read(http, f"{server.url}/0")


HTTPS = ("https", "hub.example", 443)


@pytest.mark.parametrize("target", ["http://hub.example/x", "http://cdn.example/x", "http://hub.example:443/x"])
@pytest.mark.parametrize("leave_origin", [False, True])
def test_no_redirect_leads_from_https_to_http(target, leave_origin):
    with pytest.raises(RegistryError, match=r"^hub\.example: redirects from https to http \("):
        _check_redirect("https://hub.example/a", target, HTTPS, leave_origin=leave_origin)


def test_which_redirects_are_followed():
    _check_redirect("https://hub.example/a", "https://HUB.example:443/b", HTTPS, leave_origin=False)
    _check_redirect("https://hub.example/a", "https://cdn.example/b", HTTPS, leave_origin=True)
    for target in ("https://hub.example:444/", "https://hub.example.evil/", "https://hub.example@evil.example/"):
        with pytest.raises(RegistryError):
            _check_redirect("https://hub.example/a", target, HTTPS, leave_origin=False)


def test_a_redirect_without_a_location_is_an_answer_like_any_other(connect, loopback, http_answer):
    server = loopback(http_answer(307))
    with connect(server.url).http.request("GET", f"{server.url}/x") as answer:
        assert answer.status == 307


def test_the_body_of_a_redirect_is_not_taken_in_whatever_its_length(connect, loopback, http_answer):
    sent = []

    def answer(connection, asked):
        if asked.target == "/end":
            connection.sendall(http_answer(body=b"end"))
            return
        connection.sendall(http_answer(302, {"Location": "/end"}, length=False))
        with contextlib.suppress(OSError):
            for _ in range(64):
                connection.sendall(bytes(1 << 20))
                sent.append(1)

    server = loopback(answer)
    assert read(connect(server.url).http, f"{server.url}/start") == b"end"
    server.stop()
    assert sum(sent) < 16, f"{sum(sent)} MiB of a redirect's body were read"


@pytest.mark.parametrize("length", ["0", "5", "\xb2", "9" * 5000, "-1", "abc", "5, 5", "5, 6"])
def test_a_redirect_whose_length_makes_no_sense(connect, loopback, http_answer, length):
    def answer(connection, asked):
        headers = {"Location": "/end", "Content-Length": length}
        redirect = http_answer(302, headers, b"there", length=False)
        connection.sendall(http_answer(body=b"end") if asked.target == "/end" else redirect)

    server = loopback(answer)
    with contextlib.suppress(NetworkFaultError):
        assert read(connect(server.url).http, f"{server.url}/start") == b"end"


@pytest.mark.parametrize(
    ("method", "answer"),
    [
        ("GET", b"HTTP/1.1 304 Not Modified\r\n\r\n"),
        ("GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 500\r\n\r\n"),
        ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n"),
        ("GET", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK"),
        ("GET", b"HTTP/1.1 204 No Content\r\n\r\n"),
    ],
)
def test_an_answer_that_nobody_reads_leaves_its_connection_for_the_next_request(connect, loopback, method, answer):
    asked = []

    def serve(connection, _):
        # Every request that comes over one connection.
        more = b"\r\n\r\n"
        while more:
            asked.append(more)
            connection.sendall(answer)
            more = connection.recv(65536)

    server = loopback(serve)
    http = connect(server.url).http
    for _ in range(3):
        with http.request(method, f"{server.url}/x") as got:
            assert got.status == int(answer[9:12])
    assert (len(server.asked), len(asked)) == (1, 3)


def test_who_is_called_off_does_not_wait_for_the_rest_of_an_answer(connect, loopback, http_answer):
    def answer(connection, _):
        connection.sendall(http_answer(headers={"Content-Length": "100"}, body=b"x" * 40, length=False))
        server.stopping.wait(60)

    server = loopback(answer)
    began = monotonic()
    with pytest.raises(KeyboardInterrupt), connect(server.url).http.request("GET", f"{server.url}/x"):
        raise KeyboardInterrupt
    assert monotonic() - began < 20


# Failures of the way


def test_nobody_listens(connect):
    port = closed_port()
    made = connect(f"http://127.0.0.1:{port}")
    with pytest.raises(UnreachableError) as caught:
        made.client.info("acme/tiny", None)
    assert str(caught.value) == f"127.0.0.1:{port}: connection refused"
    assert caught.value.hint == NETWORK_HINT
    assert caught.value.error_code == NETWORK_ERROR
    assert caught.value.exit_code == 3
    assert made.waits == [2.0, 4.0, 8.0]
    assert made.reasons == [f"127.0.0.1:{port}: connection refused"] * 3


def test_a_name_that_nobody_knows(connect):
    made = connect("http://hub.invalid")
    with pytest.raises(UnreachableError) as caught:
        read(made.http, "http://hub.invalid/x?Signature=s")
    assert str(caught.value) == "hub.invalid: the name cannot be resolved"


def reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def test_the_connection_is_reset(connect, loopback):
    server = loopback(lambda connection, _: reset(connection))
    with pytest.raises(NetworkFaultError) as caught:
        read(connect(server.url).http, f"{server.url}/x?Signature=s")
    assert str(caught.value) == f"127.0.0.1:{server.port}: connection reset"
    # Somebody is there, and may answer the next question.
    assert not isinstance(caught.value, UnreachableError)


def test_the_connection_is_closed_without_a_word(connect, loopback):
    server = loopback(b"")
    with pytest.raises(NetworkFaultError) as caught:
        read(connect(server.url).http, f"{server.url}/x?Signature=s")
    assert str(caught.value) == f"127.0.0.1:{server.port}: connection reset"


@pytest.mark.parametrize("noise", [b"SSH-2.0-OpenSSH_9.6\r\n\r\n", b"HTTP/1.1 abc\r\n\r\n", b"\0" * 100 + b"\r\n\r\n"])
def test_what_answers_does_not_speak_http(connect, loopback, noise):
    server = loopback(noise)
    with pytest.raises(NetworkFaultError) as caught:
        read(connect(server.url).http, f"{server.url}/x")
    assert str(caught.value) == f"127.0.0.1:{server.port}: the connection failed"


def test_a_body_that_is_cut(connect, loopback, http_answer):
    server = loopback(http_answer(headers={"Content-Length": "100"}, body=b"x" * 40, length=False))
    with pytest.raises(NetworkFaultError) as caught:
        read(connect(server.url).http, f"{server.url}/x?Signature=s")
    assert str(caught.value) == f"127.0.0.1:{server.port}: the answer broke off: fewer bytes than announced"


def test_a_chunked_body_that_is_cut(connect, loopback, http_answer):
    server = loopback(http_answer(headers={"Transfer-Encoding": "chunked"}, body=b"64\r\nabc", length=False))
    with pytest.raises(NetworkFaultError, match="the answer broke off"):
        read(connect(server.url).http, f"{server.url}/x")


def test_a_compressed_body_that_is_damaged(connect, loopback, http_answer):
    server = loopback(http_answer(headers={"Content-Encoding": "gzip"}, body=b"no gzip at all"))
    with pytest.raises(NetworkFaultError) as caught:
        read(connect(server.url).http, f"{server.url}/x")
    assert str(caught.value) == f"127.0.0.1:{server.port}: the answer broke off: the compressed body is damaged"


def empty_blocks(connection, _):
    """Compressed nothing, without end."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nConnection: close\r\n\r\n")
    connection.sendall(gzip.compress(b"")[:10])
    with contextlib.suppress(OSError):
        while True:
            connection.sendall(b"\0\0\0\xff\xff" * 10_000)


def test_a_compressed_body_out_of_which_nothing_comes(connect, loopback):
    server = loopback(empty_blocks)
    with pytest.raises(NetworkFaultError) as caught:
        read(connect(server.url).http, f"{server.url}/x")
    assert str(caught.value) == f"127.0.0.1:{server.port}: the answer broke off: the compressed body is damaged"


def test_what_follows_a_compressed_body_is_not_read(hub, repo, connect):
    hub.fail(Fault(path="/api/*", gzip=True, endless=True))
    assert connect(hub.endpoint).client.info("acme/tiny", None).commit == repo.head()


def test_a_compressed_body_that_is_cut(connect, loopback, http_answer):
    packed = gzip.compress(bytes(range(256)) * 100)
    server = loopback(http_answer(headers={"Content-Encoding": "gzip"}, body=packed[:100]))
    with pytest.raises(NetworkFaultError) as caught:
        read(connect(server.url).http, f"{server.url}/x")
    assert str(caught.value) == f"127.0.0.1:{server.port}: the answer broke off: the compressed body is damaged"


def test_a_compressed_body_of_nothing(connect, loopback, http_answer):
    server = loopback(http_answer(headers={"Content-Encoding": "gzip"}, body=b""))
    assert read(connect(server.url).http, f"{server.url}/x") == b""


def test_a_server_that_says_nothing(connect, loopback):
    done = Event()
    server = loopback(lambda *_: done.wait(60))
    with pytest.raises(NetworkFaultError) as caught:
        read(connect(server.url, read_seconds=0.1).http, f"{server.url}/x?Signature=s")
    done.set()
    assert str(caught.value) == f"127.0.0.1:{server.port}: no byte came for too long"


def repeated(piece: bytes, seconds: float = 0.0):
    """A server that never comes to the end of what stands before or behind a body."""

    def answer(connection, _):
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n")
        with contextlib.suppress(OSError):
            while True:
                connection.sendall(piece)
                sleep(seconds)

    return answer


def endless_continue(connection, _):
    with contextlib.suppress(OSError):
        while True:
            connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n" * 1000)


def endless_trailers(connection, _):
    connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n")
    with contextlib.suppress(OSError):
        while True:
            connection.sendall(b"X: y\r\n" * 1000)


@pytest.mark.parametrize("answer", [repeated(b"x", 0.01), endless_continue, endless_trailers])
def test_what_stands_around_a_body_has_an_end(connect, loopback, monkeypatch, answer):
    monkeypatch.setattr(heads, "SECONDS", 0.2)
    server = loopback(answer)
    started = monotonic()
    with pytest.raises(NetworkFaultError) as caught:
        read(connect(server.url).http, f"{server.url}/x?Signature=s")
    assert monotonic() - started < 20
    assert str(caught.value).startswith(f"127.0.0.1:{server.port}: ")
    assert str(caught.value).endswith("its headers have no end")


def test_hundred_megabytes_of_headers_are_not_taken_in(connect, loopback):
    server = loopback(repeated(b"X-Long: " + b"y" * 65_000 + b"\r\n"))
    tracemalloc.start()
    with pytest.raises(NetworkFaultError):
        read(connect(server.url).http, f"{server.url}/x")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 32 << 20


def test_a_head_that_comes_byte_by_byte_is_read(connect, loopback, http_answer):
    def answer(connection, _):
        for byte in http_answer(headers={"X-Name": "value"}, body=b"the body"):
            connection.sendall(bytes([byte]))

    server = loopback(answer)
    assert read(connect(server.url).http, f"{server.url}/x") == b"the body"


def test_a_server_that_falls_silent(connect, loopback, http_answer):
    def answer(connection, _):
        connection.sendall(http_answer(headers={"Content-Length": "100"}, body=b"x" * 40, length=False))
        server.stopping.wait(60)

    server = loopback(answer)
    with pytest.raises(NetworkFaultError) as caught:
        read(connect(server.url, read_seconds=0.1).http, f"{server.url}/x?Signature=s")
    assert str(caught.value) == f"127.0.0.1:{server.port}: the answer broke off: no byte came for too long"


@pytest.mark.parametrize("size", ["-5", "99999999999999999999999", "12a", "٣", ""])
def test_a_length_that_makes_no_sense_is_no_length(connect, loopback, http_answer, size):
    text = size.encode().decode("latin-1")
    server = loopback(http_answer(headers={"Content-Length": text}, body=b"abc", length=False))
    with (
        contextlib.suppress(NetworkFaultError),
        connect(server.url).http.request("GET", f"{server.url}/x") as answer,
    ):
        assert answer.length is None


# Proxies


@pytest.fixture
def proxy(loopback, http_answer):
    return loopback(http_answer(body=b"by proxy"))


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
def test_a_proxy_of_the_environment_is_used(connect, proxy, monkeypatch, variable):
    monkeypatch.setenv(variable, proxy.url)
    made = connect("http://hub.invalid", TOKEN)
    assert read(made.http, "http://hub.invalid/x") == b"by proxy"
    assert [asked.target for asked in proxy.asked] == ["http://hub.invalid/x"]


def test_no_proxy_is_honoured(connect, proxy, stranger, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", proxy.url)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,example.org")
    assert read(connect(stranger.url).http, f"{stranger.url}/x") == b"mine"
    assert proxy.asked == []


def test_a_redirect_is_judged_anew_for_its_proxy(connect, loopback, http_answer, stranger, monkeypatch):
    proxy = loopback(http_answer(302, {"Location": f"{stranger.url}/there"}))
    monkeypatch.setenv("HTTP_PROXY", proxy.url)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    assert read(connect("http://hub.invalid").http, "http://hub.invalid/x") == b"mine"
    assert (len(proxy.asked), len(stranger.asked)) == (1, 1)


def test_https_goes_through_a_tunnel_and_a_refusal_keeps_the_password_to_itself(
    connect, loopback, http_answer, monkeypatch
):
    proxy = loopback(http_answer(407, {"Proxy-Authenticate": "Basic"}))
    monkeypatch.setenv("HTTPS_PROXY", proxy.url.replace("http://", "http://me:pa55word@"))
    with pytest.raises(NetworkFaultError) as caught:
        read(connect("https://hub.invalid", TOKEN).http, "https://hub.invalid/x?Signature=s")
    (asked,) = proxy.asked
    assert (asked.method, asked.target) == ("CONNECT", "hub.invalid:443")
    assert TOKEN not in str(asked)
    assert str(caught.value) == "hub.invalid: the proxy cannot be used"
    assert caught.value.hint == NETWORK_HINT


def test_a_proxy_that_is_away(connect, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", f"http://me:pa55word@127.0.0.1:{closed_port()}")
    with pytest.raises(NetworkFaultError) as caught:
        read(connect("http://hub.invalid").http, "http://hub.invalid/x")
    assert str(caught.value) == "hub.invalid: the proxy cannot be used"


def test_a_proxy_variable_that_is_no_address_is_what_the_message_blames(connect, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://")
    with pytest.raises(RegistryError) as caught:
        read(connect("http://hub.invalid").http, "http://hub.invalid/x")
    assert "not an address: http://hub.invalid" not in str(caught.value), "hub.invalid is an address"


# Certificates


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    folder = tmp_path_factory.mktemp("certificate")
    command = [
        *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"),
        *("-addext", "subjectAltName=IP:127.0.0.1", "-keyout", "key.pem", "-out", "cert.pem"),
    ]
    try:
        subprocess.run(command, cwd=folder, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"the openssl command cannot make a certificate here: {error}")
    return folder


@pytest.fixture
def secure(certificate, loopback, http_answer):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")
    return loopback(http_answer(body=b"in secret"), context)


def test_a_certificate_nobody_vouches_for_is_refused(connect, secure):
    with pytest.raises(RegistryError) as caught:
        read(connect(secure.url, TOKEN).http, f"{secure.url}/x")
    assert str(caught.value) == f"127.0.0.1:{secure.port}: its certificate is signed by nobody in the built-in list"
    assert caught.value.hint == "if you trust it, set REQUESTS_CA_BUNDLE to the file with its signer's certificate"
    # Asking again would not help.
    assert not isinstance(caught.value, NetworkFaultError)
    assert secure.asked == []


def test_a_certificate_of_the_bundle_is_trusted(connect, secure, certificate):
    made = connect(secure.url, TOKEN, ca_bundle=str(certificate / "cert.pem"))
    assert read(made.http, f"{secure.url}/x") == b"in secret"
    assert secure.asked[0].headers["authorization"] == f"Bearer {TOKEN}"


def test_a_bundle_that_is_not_there_is_named(connect, secure, tmp_path):
    with pytest.raises(VcmError) as caught:
        connect(secure.url, ca_bundle=str(tmp_path / "no-such.pem")).client.info("acme/tiny", None)
    assert "no-such.pem" in f"{caught.value} {caught.value.hint}"
    assert not isinstance(caught.value, NetworkFaultError), "a file does not appear by waiting"


# Secrets


def test_addresses_are_shown_without_secrets():
    assert shown_url("https://hub.example/a?Signature=s#f") == "https://hub.example/a"
    assert "pa55word" not in shown_url("https://me:pa55word@hub.example/a")


@pytest.mark.parametrize("location", ["/end?Signature=s3cret", "http://me:s3cret@{host}/end", "ftp://me:s3cret@x/"])
@pytest.mark.parametrize("leave_origin", [False, True])
def test_no_message_shows_the_secrets_of_a_redirect(connect, loopback, http_answer, location, leave_origin):
    def answer(connection, asked):
        if asked.target == "/start":
            here = location.format(host=asked.headers["host"])
            connection.sendall(http_answer(302, {"Location": here}))
        else:
            connection.sendall(http_answer(body=b"x" * 100))

    server = loopback(answer)
    with pytest.raises(RegistryError) as caught:
        read(connect(server.url, TOKEN).http, f"{server.url}/start", limit=10, leave_origin=leave_origin)
    said = caught.value.message + caught.value.hint
    assert "s3cret" not in said
    assert TOKEN not in said


def test_origins_are_compared_without_regard_to_case_and_default_ports():
    assert origin("HTTPS://Hub.Example/a") == origin("https://hub.example:443") == ("https", "hub.example", 443)
    assert origin("http://hub.example") != origin("http://hub.example:8080")


def test_importing_the_package_brings_no_network_library():
    code = "import vcm, sys; print([name for name in ('requests', 'urllib3', 'ssl') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"
