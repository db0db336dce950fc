"""Faults: each spoils what it says, where it says, as often as it says."""

from __future__ import annotations

import contextlib
import gzip
import http.client
import socket
import threading
import time
from urllib.parse import urlsplit

import pytest

from vcm.testing import Fault, HubSimulator

WEIGHTS = bytes(range(256)) * 8


@pytest.fixture
def repo(hub):
    return hub.add_repo("acme/tiny", {"config.json": b"{}", "model.safetensors": WEIGHTS})


@pytest.fixture
def api(hub, repo):
    return f"{hub.endpoint}/api/models/acme/tiny"


@pytest.fixture
def url(hub, repo):
    return f"{hub.endpoint}/acme/tiny/resolve/main/model.safetensors"


@pytest.fixture
def content_url(hub):
    return hub.add_file("weights", WEIGHTS)


def begin(url: str) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
    """Send a GET and return connection and response with the body unread."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=10)
    connection.request("GET", parts.path)
    return connection, connection.getresponse()


def test_which_requests(hub, api, url, fetch):
    hub.fail(Fault(path="*/resolve/*", method="HEAD", origin="hub", status=503, times=2, skip=1))
    assert fetch(api, "HEAD").status == 200
    assert fetch(url).status == 302
    assert [fetch(url, "HEAD").status for _ in range(4)] == [302, 503, 503, 302]


def test_always_and_no_longer(hub, api, fetch):
    hub.fail(Fault(status=500, times=None))
    assert [fetch(api).status for _ in range(3)] == [500] * 3
    hub.clear_faults()
    assert fetch(api).status == 200


def test_one_at_a_time_in_order(hub, api, fetch):
    hub.fail(Fault(status=500))
    hub.fail(Fault(status=502))
    assert [fetch(api).status for _ in range(3)] == [500, 502, 200]


def test_one_file_of_the_cdn(hub, repo, url, follow):
    hub.fail(Fault(path=f"*/{repo.files('main')['model.safetensors'].storage_key}", status=403))
    assert [follow(url).status for _ in range(2)] == [403, 200]


def test_status_headers_and_body(hub, api, fetch):
    hub.fail(Fault(status=429, headers={"RateLimit": '"api";r=0;t=1', "Retry-After": "1"}, body=b"slow down"))
    answer = fetch(api)
    assert (answer.status, answer.body) == (429, b"slow down")
    assert answer.headers["ratelimit"] == '"api";r=0;t=1'
    assert answer.headers["retry-after"] == "1"
    assert answer.headers["ratelimit-policy"].endswith("w=300")


def test_a_page_where_json_belongs(hub, api, fetch):
    hub.fail(Fault(status=200, headers={"content-type": "text/html"}, body=b"<html>"))
    answer = fetch(api)
    assert (answer.headers["content-type"], answer.body) == ("text/html", b"<html>")


def test_headers_of_the_true_answer(hub, url, fetch):
    hub.fail(Fault(headers={"x-repo-commit": None, "X-Linked-Size": "7"}))
    answer = fetch(url, "HEAD")
    assert answer.status == 302
    assert "x-repo-commit" not in answer.headers
    assert answer.headers["x-linked-size"] == "7"


def test_without_content_length(hub, content_url, fetch):
    hub.fail(Fault(headers={"Content-Length": None}))
    answer = fetch(content_url)
    assert "content-length" not in answer.headers
    assert answer.body == WEIGHTS


def test_a_content_length_that_lies(hub, content_url, fetch):
    hub.fail(Fault(headers={"Content-Length": "5000"}))
    with pytest.raises(http.client.IncompleteRead) as caught:
        fetch(content_url)
    assert caught.value.partial == WEIGHTS


def test_edit(hub, api, fetch):
    hub.fail(Fault(path="*/tree/*", edit=lambda entries: [{**entry, "path": "../evil"} for entry in entries]))
    assert {entry["path"] for entry in fetch(f"{api}/tree/main").json} == {"../evil"}


def test_an_edit_that_fails_reaches_the_test(hub, api, fetch):
    hub.fail(Fault(edit=lambda value: value["absent"]))
    answer = fetch(api)
    assert answer.status == 500
    assert b"KeyError" in answer.body


@pytest.mark.parametrize("cut_after", [0, 1000])
def test_cut(hub, content_url, fetch, cut_after):
    hub.fail(Fault(cut_after=cut_after))
    with pytest.raises(http.client.IncompleteRead) as caught:
        fetch(content_url)
    assert caught.value.partial == WEIGHTS[:cut_after]
    assert caught.value.expected == len(WEIGHTS) - cut_after
    assert fetch(content_url).body == WEIGHTS


def test_cut_of_a_range_counts_from_its_start(hub, content_url, fetch):
    hub.fail(Fault(cut_after=10))
    with pytest.raises(http.client.IncompleteRead) as caught:
        fetch(content_url, headers={"Range": "bytes=100-"})
    assert caught.value.partial == WEIGHTS[100:110]


def test_corrupt(hub, content_url, fetch):
    hub.fail(Fault(corrupt=True))
    body = fetch(content_url).body
    assert len(body) == len(WEIGHTS)
    assert body != WEIGHTS


@pytest.mark.parametrize("offset", [0, 1000, len(WEIGHTS) - 1])
def test_one_wrong_byte(hub, content_url, fetch, offset):
    hub.fail(Fault(flip=offset))
    body = fetch(content_url).body
    assert len(body) == len(WEIGHTS)
    assert [at for at, (sent, true) in enumerate(zip(body, WEIGHTS, strict=True)) if sent != true] == [offset]


def test_one_wrong_byte_beyond_the_body(hub, content_url, fetch):
    hub.fail(Fault(flip=len(WEIGHTS)))
    assert fetch(content_url).body == WEIGHTS


def test_rate(hub, content_url, fetch):
    hub.fail(Fault(rate=10_000))
    started = time.monotonic()
    assert fetch(content_url).body == WEIGHTS
    assert time.monotonic() - started >= 0.2


def test_bytes_sent(hub, content_url, fetch, tmp_path):
    def sent_since(before: int, content: int) -> int:
        # Bytes are counted once the system has taken them: the client may have them a moment before.
        until = time.monotonic() + 10
        while hub.bytes_sent - before <= content and time.monotonic() < until:
            time.sleep(0.001)
        return int(hub.bytes_sent) - before

    before = hub.bytes_sent
    fetch(content_url)
    assert 0 < sent_since(before, len(WEIGHTS)) - len(WEIGHTS) < 1000
    (tmp_path / "file").write_bytes(WEIGHTS)
    url, before = hub.add_file("file", tmp_path / "file"), hub.bytes_sent
    fetch(url)
    assert 0 < sent_since(before, len(WEIGHTS)) - len(WEIGHTS) < 1000
    hub.fail(Fault(cut_after=1000))
    before = hub.bytes_sent
    with pytest.raises(http.client.IncompleteRead):
        fetch(url)
    assert 0 < sent_since(before, 1000) - 1000 < 1000


def test_delay(hub, api, fetch):
    hub.fail(Fault(delay=0.1))
    started = time.monotonic()
    assert fetch(api).status == 200
    assert time.monotonic() - started >= 0.1


def test_stall_then_go_on(hub, content_url, fetch):
    hub.fail(Fault(stall_after=1000, delay=0.1))
    started = time.monotonic()
    assert fetch(content_url).body == WEIGHTS
    assert time.monotonic() - started >= 0.1


def test_ignored_range(hub, content_url, fetch):
    hub.fail(Fault(ignore_range=True))
    answer = fetch(content_url, headers={"Range": "bytes=100-"})
    assert (answer.status, answer.body) == (200, WEIGHTS)
    assert hub.requests[-1].headers["range"] == "bytes=100-"


def test_wrong_content_range(hub, content_url, fetch):
    hub.fail(Fault(wrong_content_range=True))
    answer = fetch(content_url, headers={"Range": "bytes=100-199"})
    assert (answer.status, answer.headers["content-range"]) == (206, "bytes 101-200/2048")
    assert answer.body == WEIGHTS[100:200]


def test_gzip(hub, content_url, fetch):
    hub.fail(Fault(gzip=True))
    answer = fetch(content_url, headers={"Accept-Encoding": "identity"})
    assert answer.headers["content-encoding"] == "gzip"
    assert answer.headers["content-length"] == str(len(answer.body))
    assert gzip.decompress(answer.body) == WEIGHTS


def test_endless(hub, content_url):
    hub.fail(Fault(endless=True))
    connection, response = begin(content_url)
    with contextlib.closing(connection), response:
        assert "content-length" not in response.headers
        assert response.read(len(WEIGHTS)) == WEIGHTS
        assert len(response.read(300_000)) == 300_000


@pytest.mark.parametrize(
    "fault", [Fault(stall_after=10), Fault(endless=True), Fault(stall_after=10, delay=60), Fault(skip=1)]
)
def test_stopping_ends_everything_promptly(fault):
    hub = HubSimulator()
    hub.start()
    hub.fail(fault)
    connection, response = begin(hub.add_file("weights", WEIGHTS))
    with contextlib.closing(connection), response:
        response.read(10)
        started = time.monotonic()
        hub.stop()
        assert time.monotonic() - started < 30


def test_stopping_ends_a_delay_promptly():
    hub = HubSimulator()
    hub.start()
    url = hub.add_file("weights", WEIGHTS)
    hub.fail(Fault(delay=60))
    with socket.create_connection((urlsplit(url).hostname, urlsplit(url).port), timeout=10) as client:
        client.sendall(b"GET /files/weights HTTP/1.1\r\nHost: x\r\n\r\n")
        while not hub.requests:
            time.sleep(0.005)
        started = time.monotonic()
        hub.stop()
        assert time.monotonic() - started < 30


def test_many_connections_at_once(hub, repo, follow):
    url = f"{hub.endpoint}/acme/tiny/resolve/main/model.safetensors"
    bodies = []
    threads = [threading.Thread(target=lambda: bodies.append(follow(url).body)) for _ in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert bodies == [WEIGHTS] * 40


def test_one_connection_serves_many_requests(hub, repo):
    parts = urlsplit(hub.endpoint)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=10)
    try:
        for method in ("GET", "HEAD", "GET"):
            connection.request(method, "/api/models/acme/tiny")
            sock = connection.sock
            assert connection.getresponse().read() or method == "HEAD"
            assert connection.sock is sock
    finally:
        connection.close()
