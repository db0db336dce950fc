"""HTTP/1.1 as far as a server of files needs it: requests and answers as values; pure.

RFC 9110 (meaning, ranges, conditions) and RFC 9112 (form). A request may be anybody's: what is not plainly right is
refused, and nothing in it is ever a place on the disk.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from io import FileIO
from urllib.parse import parse_qs, unquote_to_bytes

LONGEST_HEAD = 32 << 10
"""Bytes of a request's first line and headers together."""

_MOST_FIELDS = 5000
_FIRST_LINE = re.compile(rb"([A-Z]{1,16}) ([\x21-\x7e]{1,16384}) HTTP/1\.([01])")
_HEADER = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):([^\0\r\n]*)")
_ABSOLUTE = re.compile(r"https?://([^/?#]*)(.*)", re.IGNORECASE)
# Longer numbers are beyond every file, and Python refuses to read very long ones.
_RANGE = re.compile(r"bytes=(\d{0,100})-(\d{0,100})", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request.

    Attributes:
        method: in capitals.
        target: path and query as they came, without the address that a client of a proxy puts before them.
        segments: the path's parts, each decoded by itself, so that a slash in one came as ``%2F``.
        headers: values by lower-case name; of a header that stands twice, both with a comma between.
        keeps: whether the client would like to go on with this connection.
        body: of a POST.
    """

    method: str
    target: str
    segments: tuple[str, ...]
    headers: Mapping[str, str]
    keeps: bool
    body: bytes = b""

    def query(self, name: str) -> str:
        """The first value of a parameter; empty where there is none."""
        return self.values(self.target.partition("?")[2], name)[0]

    def flag(self, name: str) -> bool:
        """Whether a parameter is switched on, in any of the spellings that clients use."""
        return self.query(name).lower() in {"true", "1"}

    @staticmethod
    def values(form: str, name: str) -> list[str]:
        """All values of a field of a query or form; one that is empty where there is none.

        Raises:
            RefusedError: it has more fields than anybody needs.
        """
        try:
            return parse_qs(form, keep_blank_values=True, max_num_fields=_MOST_FIELDS).get(name) or [""]
        except ValueError as error:
            raise RefusedError(400, "a form with too many fields") from error


@dataclass(slots=True, kw_only=True)
class Answer:
    """What is answered.

    Attributes:
        headers: without those that are about the connection.
        body: where the body is no file.
        stream: a file whose bytes are the body; whoever sends the answer closes it.
        start: the first of its bytes that are sent.
        length: of the body, in bytes; it is told for a HEAD, too.
    """

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    stream: FileIO | None = None
    start: int = 0
    length: int = 0


class RefusedError(Exception):
    """What is asked for is not given.

    Args:
        status: of 400 and above.
        message: for people; what no header can hold becomes a question mark.
        code: ``X-Error-Code``, by which the Hub's own clients know what is meant.
        headers: further ones.
    """

    def __init__(self, status: int, message: str, code: str = "", headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self._code = code
        self._headers = headers or {}

    def answer(self) -> Answer:
        """How the Hub says so."""
        message = re.sub(r"[^\x20-\x7e]", "?", str(self))[:200]
        body = json.dumps({"error": message}).encode()
        said = {"Content-Type": "application/json; charset=utf-8", "X-Error-Message": message}
        code = {"X-Error-Code": self._code} if self._code else {}
        return Answer(status=self.status, headers={**said, **code, **self._headers}, body=body, length=len(body))


def parse_head(data: bytes) -> Request:
    """The request whose first line and headers these are, without the empty line behind them.

    Raises:
        RefusedError: it is none.
    """
    first, *lines = data.split(b"\r\n")
    match = _FIRST_LINE.fullmatch(first)
    if match is None:
        raise RefusedError(400, "not an HTTP/1.1 request")
    headers: dict[str, str] = {}
    for line in lines:
        found = _HEADER.fullmatch(line)
        if found is None:
            raise RefusedError(400, "a header that cannot be read")
        name, value = found[1].decode().lower(), found[2].strip(b" \t").decode("latin-1")
        if name in {"host", "content-length"} and name in headers:
            raise RefusedError(400, f"two {name} headers")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    target = match[2].decode()
    absolute = _ABSOLUTE.fullmatch(target)
    if absolute:
        headers["host"], target = absolute[1], absolute[2] or "/"
    elif not target.startswith("/"):
        raise RefusedError(400, "a target that is no path")
    if match[3] == b"1" and "host" not in headers:
        raise RefusedError(400, "no Host header")
    asked = {word.strip().lower() for word in headers.get("connection", "").split(",")}
    return Request(
        method=match[1].decode(),
        target=target,
        segments=_segments(target.partition("?")[0]),
        headers=headers,
        keeps="close" not in asked and match[3] == b"1",
    )


def _segments(path: str) -> tuple[str, ...]:
    try:
        return tuple(unquote_to_bytes(each).decode() for each in path.strip("/").split("/"))
    except UnicodeDecodeError as error:
        raise RefusedError(400, "a path that is not UTF-8") from error


def body_length(headers: Mapping[str, str], most: int) -> int:
    """Bytes of a request's body.

    Raises:
        RefusedError: it does not say, or is longer than ``most``.
    """
    if "transfer-encoding" in headers:
        raise RefusedError(411, "a body without its length")
    text = headers.get("content-length", "0")
    if not re.fullmatch(r"\d{1,18}", text, re.ASCII):
        raise RefusedError(400, "a Content-Length that is no number")
    if int(text) > most:
        raise RefusedError(413, "a body that is too long")
    return int(text)


def json_answer(request: Request, value: object) -> Answer:
    """A JSON document; 304 where the client has it already."""
    body = json.dumps(value, separators=(",", ":")).encode()
    return document(request, body, "application/json; charset=utf-8")


def document(request: Request, body: bytes, media_type: str) -> Answer:
    """A document that is made for each request; 304 where the client has it already."""
    etag = f'W/"{hashlib.sha256(body).hexdigest()[:32]}"'
    if has_already(request.headers, etag):
        return Answer(status=304, headers={"ETag": etag})
    return Answer(status=200, headers={"Content-Type": media_type, "ETag": etag}, body=body, length=len(body))


def has_already(headers: Mapping[str, str], etag: str) -> bool:
    """Whether ``If-None-Match`` says that the client has this state (RFC 9110, 13.1.2)."""
    asked = headers.get("if-none-match", "")
    opaque = etag.removeprefix("W/")
    return asked == "*" or opaque in (each.strip().removeprefix("W/") for each in asked.split(","))


def wanted_range(headers: Mapping[str, str], etag: str, size: int) -> tuple[int, int] | None:
    """The bytes that a ``Range`` asks for, as start and stop; None where it is the whole, start == stop where none.

    Several ranges, other units and what is no range are as good as no header, as RFC 9110 (14.2) allows and asks; so
    is a range of a state that ``If-Range`` does not find here any more.
    """
    match = _RANGE.fullmatch(headers.get("range", "").replace(" ", ""))
    if match is None or match[0] == "bytes=-" or headers.get("if-range", etag) != etag:
        return None
    if not match[1]:
        return max(0, size - int(match[2])), size
    start, last = int(match[1]), int(match[2]) if match[2] else size - 1
    if match[2] and last < start:
        return None
    return (start, min(last + 1, size)) if start < size else (size, size)
