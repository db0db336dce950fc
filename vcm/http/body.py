"""An answer whose body is read as it comes: piece by piece, or straight into a buffer."""

from __future__ import annotations

import io
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from http.client import HTTPResponse
from typing import Any

import urllib3
from urllib3.util import wait_for_read

from vcm.errors import RegistryError
from vcm.http.addresses import host, shown_url
from vcm.http.faults import NetworkFaultError, reason

_CHUNK = 1 << 20
_DROPPED_BODY = 1 << 16
_GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS
_MOST_SILENT = 1 << 20
"""Compressed bytes out of which nothing may come."""


def without_secrets(text: str, secrets: Iterable[str]) -> str:
    """What a server says, without what is secret: it may repeat what it was sent, and its words get into messages."""
    for secret in secrets:
        text = text.replace(secret, "***")
    return text


class _Inflating:
    """Undoes a compression that nobody asked for, reading no further than something comes out.

    urllib3 would read on for ever behind the end of what was compressed, and where nothing comes out.
    """

    def __init__(self) -> None:
        self._inflate = zlib.decompressobj(_GZIP_OR_ZLIB)
        self._is_begun = False

    def read(self, raw: Any, most: int) -> bytes:
        """The next bytes, at most so many; none at the end.

        Raises:
            DecodeError: it cannot be undone.
        """
        silent = 0
        while not self._inflate.eof:
            packed = self._inflate.unconsumed_tail or raw.read1(_CHUNK, decode_content=False)
            try:
                plain = self._inflate.decompress(packed, most)
            except zlib.error as error:
                raise urllib3.exceptions.DecodeError("damaged") from error
            self._is_begun = self._is_begun or bool(packed)
            if plain:
                return plain
            silent += len(packed)
            if silent > _MOST_SILENT or (self._is_begun and not packed):
                raise urllib3.exceptions.DecodeError("it has no end")
            if not packed:
                break
        return b""


class Answer:
    """A response whose body has not been read yet."""

    def __init__(self, response: urllib3.BaseHTTPResponse, url: str, secrets: Iterable[str] = ()) -> None:
        self._response: Any = response
        self._secrets: tuple[str, ...] = ()
        self._is_unread = True
        self._inflating: _Inflating | None = None
        self.url = url
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers
        self.hide(*secrets)

    def hide(self, *secrets: str) -> None:
        """Take out of the headers, and later the body, what was sent to the server and shall get into no message."""
        self._secrets += secrets
        if any(secret in value for value in self.headers.values() for secret in secrets):
            cleaned = {name: self.without_secrets(value) for name, value in self.headers.items()}
            self.headers = urllib3.HTTPHeaderDict(cleaned)

    def without_secrets(self, text: str) -> str:
        """Words of the server, without them: in JSON, they may have been written otherwise."""
        return without_secrets(text, self._secrets)

    @property
    def length(self) -> int | None:
        """``Content-Length`` in bytes, where the body is sent as it is."""
        text = self.headers.get("Content-Length", "")
        return int(text) if text.isascii() and text.isdigit() and len(text) < 20 and not self.is_encoded else None  # noqa: PLR2004

    @property
    def is_encoded(self) -> bool:
        """Whether the body is compressed, although ``identity`` was asked."""
        return self.headers.get("Content-Encoding", "identity").lower() not in ("", "identity")

    def chunks(self) -> Iterator[bytes]:
        """The body in pieces of at most a mebibyte, each as soon as it is there.

        Raises:
            NetworkFaultError: the connection broke, or was silent for too long.
        """
        with self._faults():
            while chunk := self._read(_CHUNK):
                yield chunk

    def read_into(self, buffer: memoryview) -> int:
        """Put the next bytes of the body into a buffer, as many as are there; how many: 0 at its end.

        They go from the socket to where they are wanted, without a copy on the way.

        Args:
            buffer: writable, not empty.

        Raises:
            NetworkFaultError: the connection broke, or was silent for too long.
        """
        raw = self._response
        body = raw._fp  # noqa: SLF001  (http.client's response: urllib3 has no way to read without a copy)
        with self._faults():
            if self.is_encoded or not isinstance(body, HTTPResponse) or body.length is None:
                chunk = self._read(len(buffer))
                buffer[: len(chunk)] = chunk
                return len(chunk)
            count = _read_what_is_there(body, buffer, is_first=self._is_unread)
            self._is_unread = False
            raw.length_remaining = body.length
            return count

    def _read(self, most: int) -> bytes:
        if not self.is_encoded:
            return bytes(self._response.read1(most, decode_content=False))
        self._inflating = self._inflating or _Inflating()
        return self._inflating.read(self._response, most)

    def abandon(self) -> None:
        """Wake a thread that waits for more of this body; for use from another thread."""
        with suppress(ValueError, RuntimeError, OSError):
            self._response.shutdown()

    @contextmanager
    def _faults(self) -> Iterator[None]:
        try:
            yield
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            raise NetworkFaultError(
                f"{host(self.url)}: the answer broke off: {reason(error)}", hint="try again later"
            ) from error

    def body(self, limit: int, seconds: float) -> bytes:
        """The whole body; a token that the server repeats is taken out.

        Args:
            limit: bytes; a longer body is refused.
            seconds: a body that takes longer is refused.

        Raises:
            NetworkFaultError: the connection broke.
            RegistryError: the body is too long, or takes too long.
        """
        deadline = time.monotonic() + seconds
        pieces, size = [], 0
        for chunk in self.chunks():
            size += len(chunk)
            if size > limit:
                raise RegistryError(f"{shown_url(self.url)}: the answer is longer than {limit} bytes")
            if time.monotonic() > deadline:
                raise RegistryError(f"{shown_url(self.url)}: the answer takes longer than {seconds:.0f} s")
            pieces.append(chunk)
        body = b"".join(pieces)
        for secret in self._secrets:
            body = body.replace(secret.encode(), b"***")
        return body


def _read_what_is_there(body: HTTPResponse, buffer: memoryview, *, is_first: bool) -> int:
    """Wait for bytes, and take those that have come with them: TLS gives out 16 KiB at a time."""
    count = 0
    while not body.isclosed() and body.length:
        room = buffer[count : count + body.length]
        socket: Any = body.fp.raw
        # A stream's own buffer must not be begun at the end of ours: what is left in it would wait for more to come.
        is_full = not room or len(room) <= io.DEFAULT_BUFFER_SIZE < body.length
        if count and (is_full or not wait_for_read(socket, timeout=0)):
            break
        try:
            read = _first_bytes(body, room) if is_first and not count else body.fp.readinto1(room)
            if read == 0:
                raise urllib3.exceptions.IncompleteRead(count, body.length)
        except (urllib3.exceptions.HTTPError, OSError):
            if count:
                break  # What is here counts; the next call meets the failure again.
            raise
        count += read
        body.length -= read
    if body.length == 0:
        # What http.client does at a body's end; urllib3 takes the connection back when the answer is dropped.
        body.close()
    return count


def _first_bytes(body: HTTPResponse, room: memoryview) -> int:
    """What came along with the headers stands in the stream's own buffer, and must not wait for more to come."""
    first = body.fp.read1(min(len(room), io.DEFAULT_BUFFER_SIZE))
    room[: len(first)] = first
    return len(first)


def drop(response: Any) -> None:
    """Be done with an answer. What is left of a small body, read to the end, saves the next request its connection."""
    left = response.length_remaining
    with suppress(urllib3.exceptions.HTTPError, OSError):
        if left is not None and left <= _DROPPED_BODY:
            response.read()
    close(response)


def close(response: Any) -> None:
    """End an answer's connection if it is still being read, and give back its place among the connections."""
    response.close()
    response.release_conn()
