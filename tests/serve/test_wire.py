"""Requests of strangers, read: what is taken for what, and that nothing else comes of any bytes."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from vcm.serve.wire import RefusedError, has_already, parse_head, wanted_range

ETAG = '"abc"'


def test_a_request() -> None:
    request = parse_head(
        b"GET /a%2Fb/c%20d?x=1&x=2&y HTTP/1.1\r\nHost: here\r\nAccept: a\r\naccept:  b \r\nConnection: close"
    )
    assert (request.method, request.target) == ("GET", "/a%2Fb/c%20d?x=1&x=2&y")
    assert request.segments == ("a/b", "c d")
    assert (request.query("x"), request.query("y"), request.query("z")) == ("1", "", "")
    assert request.headers == {"host": "here", "accept": "a, b", "connection": "close"}
    assert not request.keeps


def test_what_a_client_of_a_proxy_sends() -> None:
    request = parse_head(b"GET http://there:80/a HTTP/1.1\r\nHost: here")
    assert (request.target, request.headers["host"]) == ("/a", "there:80")
    assert parse_head(b"GET HTTPS://there HTTP/1.1\r\nHost: here").segments == ("",)


def test_an_old_client_gets_one_answer() -> None:
    assert not parse_head(b"GET / HTTP/1.0\r\nConnection: Keep-Alive").keeps
    assert parse_head(b"GET / HTTP/1.1\r\nHost: a").keeps


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"GET /",
        b"GET / HTTP/2.0\r\nHost: a",
        b"get / HTTP/1.1\r\nHost: a",
        b"GET  / HTTP/1.1\r\nHost: a",
        b"GET * HTTP/1.1\r\nHost: a",
        b"CONNECT a:1 HTTP/1.1\r\nHost: a",
        b"GET /\x80 HTTP/1.1\r\nHost: a",
        b"GET /%ff HTTP/1.1\r\nHost: a",
        b"GET / HTTP/1.1",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2",
        b"GET / HTTP/1.1\r\nHost: a\r\n folded: b",
        b"GET / HTTP/1.1\r\nHost : a",
        b"GET / HTTP/1.1\r\nHost: a\nX: b",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: \0",
    ],
)
def test_what_is_no_request(head: bytes) -> None:
    with pytest.raises(RefusedError) as caught:
        parse_head(head)
    assert caught.value.status == 400


@given(st.binary(max_size=200), st.binary(max_size=200))
@example(b"/" + b"a" * 16000, b"X:" + b" " * 16000 + b"b")
def test_any_bytes_are_a_request_or_refused(target: bytes, header: bytes) -> None:
    with suppress(RefusedError):
        request = parse_head(b"GET /" + target + b" HTTP/1.1\r\nHost: a\r\n" + header)
        assert not any(each in value for each in "\r\n\0" for value in request.headers.values())


@pytest.mark.parametrize(
    ("text", "size", "wanted"),
    [
        ("bytes=0-0", 10, (0, 1)),
        ("bytes=2-5", 10, (2, 6)),
        ("Bytes = 2 - 5", 10, (2, 6)),
        ("bytes=2-", 10, (2, 10)),
        ("bytes=2-99", 10, (2, 10)),
        ("bytes=-3", 10, (7, 10)),
        ("bytes=-99", 10, (0, 10)),
        ("bytes=-0", 10, (10, 10)),
        ("bytes=10-", 10, (10, 10)),
        ("bytes=0-" + "9" * 90, 10, (0, 10)),
        ("bytes=0-", 0, (0, 0)),
        ("bytes=-5", 0, (0, 0)),
        ("bytes=5-2", 10, None),
        ("bytes=-", 10, None),
        ("bytes=a-b", 10, None),
        ("bytes=0-1,3-4", 10, None),
        ("bytes=0-" + "9" * 9000, 10, None),
        ("bytes=\u0663-", 10, None),
        ("items=0-1", 10, None),
        ("", 10, None),
    ],
)
def test_ranges(text: str, size: int, wanted: tuple[int, int] | None) -> None:
    assert wanted_range({"range": text}, ETAG, size) == wanted


@given(st.text(max_size=40) | st.from_regex(r"bytes=\d{0,5}-\d{0,5}", fullmatch=True), st.integers(0, 2000))
def test_any_range_is_within_the_file(text: str, size: int) -> None:
    start, stop = wanted_range({"range": text}, ETAG, size) or (0, size)
    assert 0 <= start <= stop <= size


def test_a_range_of_another_state_is_none() -> None:
    assert wanted_range({"range": "bytes=0-1", "if-range": ETAG}, ETAG, 9) == (0, 2)
    assert wanted_range({"range": "bytes=0-1", "if-range": '"other"'}, ETAG, 9) is None
    assert wanted_range({"range": "bytes=0-1", "if-range": f"W/{ETAG}"}, ETAG, 9) is None
    assert wanted_range({"range": "bytes=0-1", "if-range": "Sat, 21 Nov 2026 12:00:00 GMT"}, ETAG, 9) is None


@pytest.mark.parametrize(
    ("text", "has"),
    [
        ("*", True),
        (ETAG, True),
        (f"W/{ETAG}", True),
        (f'"x", {ETAG}', True),
        ('"x"', False),
        ("abc", False),
        ("", False),
    ],
)
def test_if_none_match(text: str, has: bool) -> None:
    assert has_already({"if-none-match": text}, ETAG) is has
    assert has_already({"if-none-match": text}, f"W/{ETAG}") is has
