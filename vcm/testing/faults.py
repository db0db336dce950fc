"""Faults: what goes wrong between a client and the simulated Hub, on which requests, and how often."""

from __future__ import annotations

from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from threading import Lock
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Origin = Literal["hub", "cdn"]


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One way to answer wrongly, and the requests it concerns.

    A request meets at most one fault: the first queued one that matches it and is due. The effects of one fault may be
    combined, such as ``delay`` with ``status``. Downloading an LFS file is one request to each origin, and so is a
    small file's two to the Hub, so name the ``origin`` or the ``path`` of the one to spoil. The last segment of a
    CDN path is ``StoredFile.storage_key``.

    Attributes:
        path: a shell pattern over the path as sent, still percent-encoded and without the query.
        origin: ``"hub"``, ``"cdn"``, or None for both.
        method: ``"GET"``, ``"HEAD"``, ``"POST"``, or None for all.
        times: how many requests it spoils; None for every one.
        skip: how many matching requests go through unharmed first.
        status: answer with this status, and with ``body``, in place of the true answer.
        headers: headers to set on the answer, true or not; None as a value removes one. An answer without
            ``Content-Length``, or with a wrong one, is ended by closing the connection.
        body: the body that goes with ``status``.
        cut_after: close the connection after this many bytes of a body announced with its true length.
        corrupt: send wrong bytes, as many as the true ones.
        flip: one byte of the body is wrong, the one at this offset.
        delay: seconds to wait before the answer, or in the middle of it with ``stall_after``.
        stall_after: stop sending after this many bytes of the body, for ``delay`` seconds, or until the server is
            stopped when ``delay`` is 0.
        rate: bytes a second that the body is sent with, in pieces of a hundredth of that.
        ignore_range: answer 200 with the whole file although a range was asked.
        wrong_content_range: on a 206, announce a range that begins one byte later than the bytes sent.
        endless: after the true body, send spaces in chunks until the client leaves or the server is stopped.
        edit: gets the value of a JSON answer and returns the one to send.
        gzip: compress the body whatever the client accepts.
    """

    path: str = "*"
    origin: Origin | None = None
    method: str | None = None
    times: int | None = 1
    skip: int = 0
    status: int | None = None
    headers: Mapping[str, str | None] = field(default_factory=dict)
    body: bytes = b""
    cut_after: int | None = None
    corrupt: bool = False
    flip: int | None = None
    delay: float = 0.0
    stall_after: int | None = None
    rate: int | None = None
    ignore_range: bool = False
    wrong_content_range: bool = False
    endless: bool = False
    edit: Callable[[Any], Any] | None = None
    gzip: bool = False

    def matches(self, origin: Origin, method: str, path: str) -> bool:
        """Say whether a request is one of those the fault concerns.

        Args:
            origin: which of the two servers was asked.
            method: the request's method.
            path: the path as sent, without the query.
        """
        return self.origin in (None, origin) and self.method in (None, method) and fnmatchcase(path, self.path)


class _Pending:
    def __init__(self, fault: Fault) -> None:
        self.fault = fault
        self.to_skip = fault.skip
        self.remaining = fault.times

    def is_due(self) -> bool:
        if self.remaining == 0:
            return False
        if self.to_skip:
            self.to_skip -= 1
            return False
        if self.remaining is not None:
            self.remaining -= 1
        return True


class FaultQueue:
    """The faults that wait for their requests; safe to use from many threads."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._pending: list[_Pending] = []

    def add(self, fault: Fault) -> None:
        """Queue a fault behind the others."""
        with self._lock:
            self._pending.append(_Pending(fault))

    def clear(self) -> None:
        """Forget every fault."""
        with self._lock:
            self._pending.clear()

    def take(self, origin: Origin, method: str, path: str) -> Fault | None:
        """Return the fault that a request meets, counting it, or None.

        Args:
            origin: which of the two servers was asked.
            method: the request's method.
            path: the path as sent, without the query.
        """
        with self._lock:
            matching = (pending for pending in self._pending if pending.fault.matches(origin, method, path))
            return next((pending.fault for pending in matching if pending.is_due()), None)
