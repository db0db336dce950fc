"""Puts answers on a connection, whole or spoiled by a fault."""

from __future__ import annotations

import gzip
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol

from vcm.testing.wire import FilePart, Response, decode_json, encode_json, header_text, weak_etag

if TYPE_CHECKING:
    from collections.abc import Iterator
    from threading import Event

    from vcm.testing.faults import Fault

_SMALL = 1 << 16
_FILLER = b" " * (1 << 16)
_FILLER_PAUSE = 0.001
_STEP_SECONDS = 0.01
_INVERTED = bytes(255 - byte for byte in range(256))
_BODILESS = frozenset({204, 304})
# What an answer keeps of the true one when a fault replaces it.
_KEPT = frozenset({"ratelimit", "ratelimit-policy", "x-request-id"})


def spoil(response: Response, fault: Fault) -> Response:
    """Return the answer a fault leaves of the true one, as far as it can be said before sending.

    Args:
        response: the true answer; its ``Content-Length`` is set already.
        fault: the fault that the request met.
    """
    if fault.status is not None:
        kept = {name: value for name, value in response.headers.items() if name.lower() in _KEPT}
        fixed = {"Content-Type": "text/plain; charset=utf-8", "Content-Length": str(len(fault.body))}
        response = Response(fault.status, {**kept, **fixed}, fault.body)
    if fault.edit is not None and response.is_json and isinstance(response.body, bytes):
        _replace_body(response, encode_json(fault.edit(decode_json(response.body))))
    if fault.gzip:
        _replace_body(response, gzip.compress(b"".join(response.pieces()), compresslevel=1))
        response.set_headers({"Content-Encoding": "gzip"})
    if fault.wrong_content_range and isinstance(response.body, FilePart) and "Content-Range" in response.headers:
        part = response.body
        response.set_headers({"Content-Range": f"bytes {part.start + 1}-{part.stop}/{part.stored.size}"})
    if fault.endless:
        response.set_headers({"Content-Length": None, "Transfer-Encoding": "chunked"})
    response.set_headers(fault.headers)
    return response


def ends_connection(response: Response) -> bool:
    """Say whether a client can only tell the end of an answer by the end of the connection."""
    if response.status in _BODILESS or "Transfer-Encoding" in response.headers:
        return False
    return response.headers.get("Content-Length") != str(response.length)


class Connection(Protocol):
    """As much of a socket as answers use."""

    def sendall(self, data: bytes, /) -> None:
        """Send all bytes."""

    def sendfile(self, file: BinaryIO, offset: int, count: int, /) -> int:
        """Send a part of a file."""


def send(connection: Connection, response: Response, *, with_body: bool) -> None:
    """Send an answer as fast as the machine can.

    Args:
        connection: the client's connection.
        response: the answer.
        with_body: False for ``HEAD``.

    Raises:
        OSError: the client has left.
    """
    head = _head(response)
    body = response.body if with_body and response.status not in _BODILESS else b""
    if isinstance(body, FilePart) and isinstance(body.stored.source, Path) and body.stop > body.start:
        connection.sendall(head)
        with body.stored.open() as stream:
            connection.sendfile(stream, body.start, body.stop - body.start)
        return
    pieces = response.pieces() if body else iter(())
    first = next(pieces, b"")
    if len(first) < _SMALL:
        connection.sendall(head + first)
    else:
        connection.sendall(head)
        connection.sendall(first)
    for piece in pieces:
        connection.sendall(piece)


def send_spoiled(connection: Connection, response: Response, fault: Fault, stopping: Event) -> None:
    """Send an answer with the faults that show only while it is on its way.

    Args:
        connection: the client's connection.
        response: the answer that ``spoil`` returned.
        fault: the fault.
        stopping: set when the server is being stopped.

    Raises:
        OSError: the client has left.
    """
    connection.sendall(_head(response))
    pieces = response.pieces()
    if fault.corrupt:
        pieces = (piece.translate(_INVERTED) for piece in pieces)
    if fault.flip is not None:
        pieces = _flipped(pieces, fault.flip)
    if fault.rate is not None:
        pieces = _slow(pieces, fault.rate, stopping)
    if fault.stall_after is not None:
        pieces = _stalled(pieces, fault.stall_after, fault.delay or None, stopping)
    if fault.cut_after is not None:
        pieces = _cut(pieces, fault.cut_after)
    for piece in pieces:
        connection.sendall(_chunk(piece) if fault.endless else piece)
    while fault.endless and not stopping.wait(_FILLER_PAUSE):
        connection.sendall(_chunk(_FILLER))


def _replace_body(response: Response, body: bytes) -> None:
    response.body = body
    changes: dict[str, str | None] = {"Content-Length": str(len(body)), "Content-Range": None}
    if response.headers.get("ETag", "").startswith("W/"):
        changes["ETag"] = weak_etag(body)
    if response.status == HTTPStatus.PARTIAL_CONTENT:
        response.status = HTTPStatus.OK
    response.set_headers(changes)


def _head(response: Response) -> bytes:
    try:
        reason = HTTPStatus(response.status).phrase
    except ValueError:
        reason = "Unknown"
    lines = [f"HTTP/1.1 {int(response.status)} {reason}"]
    lines += [f"{name}: {header_text(value)}" for name, value in response.headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("ascii")


def _stalled(pieces: Iterator[bytes], offset: int, seconds: float | None, stopping: Event) -> Iterator[bytes]:
    sent = 0
    for piece in pieces:
        if sent <= offset < sent + len(piece):
            yield piece[: offset - sent]
            stopping.wait(seconds)
            yield piece[offset - sent :]
        else:
            yield piece
        sent += len(piece)


def _flipped(pieces: Iterator[bytes], offset: int) -> Iterator[bytes]:
    sent = 0
    for piece in pieces:
        at = offset - sent
        if 0 <= at < len(piece):
            yield piece[:at] + piece[at : at + 1].translate(_INVERTED) + piece[at + 1 :]
        else:
            yield piece
        sent += len(piece)


def _slow(pieces: Iterator[bytes], rate: int, stopping: Event) -> Iterator[bytes]:
    step = max(1, round(rate * _STEP_SECONDS))
    for piece in pieces:
        for offset in range(0, len(piece), step):
            yield piece[offset : offset + step]
            stopping.wait(step / rate)


def _cut(pieces: Iterator[bytes], offset: int) -> Iterator[bytes]:
    remaining = offset
    for piece in pieces:
        yield piece[:remaining]
        remaining -= len(piece)
        if remaining <= 0:
            return


def _chunk(piece: bytes) -> bytes:
    return f"{len(piece):x}\r\n".encode() + piece + b"\r\n" if piece else b""
