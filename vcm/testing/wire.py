"""Requests and answers as values: what the routes of the simulator receive and return."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import dataclass, field
from functools import cached_property
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from vcm.testing.content import PIECE, StoredFile

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_RANGE = re.compile(r"bytes=(\d*)-(\d*)")
_UNPRINTABLE = re.compile(r"[^\x20-\x7e]")

Headers = dict[str, str]


@dataclass(frozen=True, kw_only=True)
class Request:
    """A request as it arrived.

    Attributes:
        method: ``GET``, ``HEAD`` or ``POST``.
        target: path and query as sent, still percent-encoded.
        headers: values by lower-case name.
        body: the body of a ``POST``.
    """

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes = b""

    @property
    def path(self) -> str:
        """The path as sent, still percent-encoded and without the query."""
        return self.target.partition("?")[0]

    @property
    def query_string(self) -> str:
        """The query as sent, with its question mark, or nothing."""
        _, mark, query = self.target.partition("?")
        return mark + query

    @cached_property
    def query(self) -> dict[str, list[str]]:
        """The query's values by name; ``expand[]`` counts as ``expand``."""
        found: dict[str, list[str]] = {}
        for name, values in parse_qs(self.query_string[1:], keep_blank_values=True).items():
            found.setdefault(name.removesuffix("[]"), []).extend(values)
        return found

    @property
    def origin(self) -> str:
        """The server's own address as this client names it, for absolute links."""
        return f"http://{self.headers.get('host', '127.0.0.1')}"

    def value(self, name: str, default: str = "") -> str:
        """Return the first value of a query parameter, or the default."""
        return self.query.get(name, [default])[0]

    def flag(self, name: str) -> bool:
        """Say whether a query parameter is switched on, in any of the spellings clients use."""
        return is_true(self.value(name))


def is_true(text: str) -> bool:
    """Read a boolean as clients write it: ``true``, ``True`` or ``1``."""
    return text.lower() in {"true", "1"}


@dataclass(frozen=True)
class FilePart:
    """The bytes of a stored file between two offsets, as the body of an answer."""

    stored: StoredFile
    start: int
    stop: int


@dataclass
class Response:
    """An answer that is not sent yet.

    Attributes:
        status: the HTTP status.
        headers: values by name, spelled as sent.
        body: bytes, or a part of a stored file.
    """

    status: int
    headers: Headers = field(default_factory=dict)
    body: bytes | FilePart = b""

    @property
    def length(self) -> int:
        """The body's length in bytes."""
        return len(self.body) if isinstance(self.body, bytes) else self.body.stop - self.body.start

    @property
    def is_json(self) -> bool:
        """Whether the body is a JSON document."""
        return self.headers.get("Content-Type", "").startswith("application/json")

    def pieces(self) -> Iterator[bytes]:
        """Yield the body, at most ``PIECE`` bytes at a time."""
        if isinstance(self.body, FilePart):
            yield from self.body.stored.chunks(self.body.start, self.body.stop)
        else:
            for offset in range(0, len(self.body), PIECE):
                yield self.body[offset : offset + PIECE]

    def set_headers(self, changes: Mapping[str, str | None]) -> None:
        """Replace headers whatever their letter case; None as a value removes one."""
        replaced = {name.lower() for name in changes}
        kept = {name: value for name, value in self.headers.items() if name.lower() not in replaced}
        self.headers = {**kept, **{name: value for name, value in changes.items() if value is not None}}


def header_text(value: str) -> str:
    """Make a text fit for a header: no line ends, nothing outside ASCII."""
    return _UNPRINTABLE.sub("?", value)


def json_response(value: object, headers: Mapping[str, str] | None = None, status: int = 200) -> Response:
    """Answer with a JSON document and the weak ETag that the Hub computes from its bytes.

    Args:
        value: what ``json.dumps`` accepts.
        headers: further headers.
        status: the HTTP status.
    """
    body = encode_json(value)
    fixed = {"Content-Type": "application/json; charset=utf-8", "ETag": weak_etag(body), "Vary": "Origin"}
    return Response(status, {**fixed, **(headers or {})}, body)


def text_response(text: str, headers: Mapping[str, str] | None = None, status: int = 200) -> Response:
    """Answer with plain text.

    Args:
        text: the body.
        headers: further headers.
        status: the HTTP status.
    """
    return Response(status, {"Content-Type": "text/plain; charset=utf-8", **(headers or {})}, text.encode())


def redirect(status: int, location: str, headers: Mapping[str, str] | None = None) -> Response:
    """Send the client elsewhere; the body is the redirect's own text, as on the Hub.

    Args:
        status: 302 or 307.
        location: a URL, absolute or relative.
        headers: further headers.
    """
    reason = {302: "Found", 307: "Temporary Redirect"}[status]
    fixed = {"Location": location, "Vary": "Origin, Accept"}
    return text_response(f"{reason}. Redirecting to {location}", {**fixed, **(headers or {})}, status)


def file_response(request: Request, stored: StoredFile, headers: Mapping[str, str]) -> Response:
    """Answer with a file or the range of it that the request asks for.

    Args:
        request: its ``Range`` header decides between 200, 206 and 416.
        stored: the file.
        headers: further headers, ``Content-Type`` among them.
    """
    shared = {**headers, "Accept-Ranges": "bytes"}
    asked = request.headers.get("range")
    matched = _RANGE.fullmatch(asked.replace(" ", "")) if asked else None
    # A header that is not one plain range is ignored, as RFC 9110 asks for unknown units and broken syntax.
    if matched is None or matched.groups() == ("", ""):
        return Response(200, shared, FilePart(stored, 0, stored.size))
    start, stop = _offsets(matched[1], matched[2], stored.size)
    if start >= stop:
        return text_response("Range Not Satisfiable", {"Content-Range": f"bytes */{stored.size}"}, 416)
    content_range = f"bytes {start}-{stop - 1}/{stored.size}"
    return Response(206, {**shared, "Content-Range": content_range}, FilePart(stored, start, stop))


def not_modified(request: Request, response: Response) -> Response:
    """Turn a 200 into a 304 when the client already holds what its ``ETag`` names.

    Args:
        request: its ``If-None-Match`` header is compared.
        response: returned unchanged when it is not a 200 or has another ETag.
    """
    etag = response.headers.get("ETag", "")
    if response.status != HTTPStatus.OK or not holds(request, etag):
        return response
    kept = {name: value for name, value in response.headers.items() if name != "Content-Type"}
    return Response(304, kept)


def holds(request: Request, etag: str) -> bool:
    """Say whether ``If-None-Match`` names an ETag; weak and strong spellings count as the same.

    Args:
        request: the request.
        etag: a quoted ETag.
    """
    named = request.headers.get("if-none-match", "")
    known = {candidate.strip().removeprefix("W/") for candidate in named.split(",")}
    return bool(etag) and (named == "*" or etag.removeprefix("W/") in known)


def encode_json(value: object) -> bytes:
    """Encode a value as the compact JSON that the Hub sends."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")


def decode_json(body: bytes) -> Any:
    """Decode a JSON document.

    Raises:
        ValueError: it is not one.
    """
    return json.loads(body)


def weak_etag(body: bytes) -> str:
    """Return the weak ETag of a body: its length and its SHA-1, as the Hub's web framework writes them."""
    digest = base64.b64encode(hashlib.sha1(body).digest()).decode().rstrip("=")
    return f'W/"{len(body):x}-{digest}"'


def _offsets(first: str, last: str, size: int) -> tuple[int, int]:
    if not first:
        return max(0, size - int(last)), size
    return int(first), min(size, int(last) + 1) if last else size
