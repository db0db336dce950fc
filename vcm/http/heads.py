"""The head of an answer, and what may stand behind its body, within a limit of time.

The time-out of a socket is for one byte: who sends one every few seconds, or one ``100 Continue`` after the other, is
read for ever by http.client, which limits the length of lines and the number of headers, and neither for trailers.
"""

from __future__ import annotations

import time
from http.client import HTTPResponse
from typing import Any

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection

SECONDS = 30.0
"""From a head's first byte to its last."""


class EndlessHeadError(TimeoutError):
    """Headers or trailers are still coming."""


class _Lines:
    """A stream of which lines are read, until their time is over."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream
        self._deadline: float | None = None

    def readline(self, limit: int) -> bytes:
        line = bytearray()
        while len(line) < limit and not line.endswith(b"\n"):
            here = self.stream.peek(1)
            if not here:
                break
            # A server may think for as long as it may be silent; what has begun has to end.
            now = time.monotonic()
            self._deadline = self._deadline or now + SECONDS
            if now > self._deadline:
                raise EndlessHeadError
            line += self.stream.read(min(here.find(b"\n") + 1 or len(here), limit - len(line)))
        return bytes(line)

    def close(self) -> None:
        self.stream.close()


class _Response(HTTPResponse):
    fp: Any

    def begin(self) -> None:
        """Read the head."""
        self._within_time(super().begin)

    def _read_and_discard_trailer(self) -> None:
        self._within_time(super()._read_and_discard_trailer)  # type: ignore[misc]

    def _within_time(self, read: Any) -> None:
        lines = self.fp = _Lines(self.fp)
        try:
            read()
        finally:
            # What is no HTTP has been closed.
            if self.fp is lines:
                self.fp = lines.stream


class _Connection(HTTPConnection):
    response_class = _Response


class _SecureConnection(HTTPSConnection):
    response_class = _Response


def limit_heads(pool: urllib3.HTTPConnectionPool) -> None:
    """Have the connections that a pool will make read heads within the limit."""
    is_secure = isinstance(pool, urllib3.HTTPSConnectionPool)
    pool.ConnectionCls = _SecureConnection if is_secure else _Connection
