"""The rate-limit headers that the Hub puts on every answer, and the limits that bite when a test sets them."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from threading import Lock
from typing import Literal

WINDOW = 300
"""Seconds in a window of the real Hub."""

Bucket = Literal["api", "resolvers", "pages"]
"""What the Hub counts apart: the API, whatever resolves a file, and all other pages."""

BUCKETS: tuple[Bucket, ...] = ("api", "resolvers", "pages")

_ANONYMOUS: dict[Bucket, int] = {"api": 500, "resolvers": 3000, "pages": 100}
_WITH_TOKEN: dict[Bucket, int] = {"api": 1000, "resolvers": 5000, "pages": 200}


@dataclass(frozen=True, kw_only=True)
class Counted:
    """A request that was counted.

    Attributes:
        headers: what goes with its answer, whatever that is.
        is_over: whether it must be refused.
    """

    headers: dict[str, str]
    is_over: bool


@dataclass
class _Window:
    ends: float
    used: int = 0


class RateLimits:
    """Counts requests by caller and by bucket in windows of fixed length; safe to use from many threads."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._windows: dict[tuple[str | None, Bucket], _Window] = {}
        self._set: dict[Bucket, tuple[int, float]] = {}

    def set(self, bucket: Bucket, quota: int, window: float) -> None:
        """Refuse what exceeds a quota from now on; what was counted before is forgotten.

        Args:
            bucket: what is limited.
            quota: how many requests of one caller are answered in a window.
            window: its length in seconds.

        Raises:
            ValueError: there is no such bucket, or the quota or the window is not above zero.
        """
        if bucket not in BUCKETS:
            raise ValueError(f"there is no bucket {bucket!r}; the Hub counts {', '.join(BUCKETS)}")
        if quota < 1 or window <= 0:
            raise ValueError(f"a quota of {quota} requests in {window} seconds lets nobody through")
        with self._lock:
            self._set[bucket] = (quota, window)
            self._windows = {key: value for key, value in self._windows.items() if key[1] != bucket}

    def clear(self) -> None:
        """Refuse nothing any more, and begin to count anew."""
        with self._lock:
            self._set.clear()
            self._windows.clear()

    def count(self, caller: str | None, path: str) -> Counted:
        """Count a request.

        Args:
            caller: the caller's token, or None.
            path: the path asked for.
        """
        bucket = _bucket(path)
        now = time.monotonic()
        with self._lock:
            is_set = bucket in self._set
            quota, seconds = self._set.get(bucket, ((_WITH_TOKEN if caller else _ANONYMOUS)[bucket], WINDOW))
            window = self._windows.get((caller, bucket))
            # It begins with the first request in it, not on the clock: a test's first requests share a window.
            if window is None or now >= window.ends:
                window = self._windows[caller, bucket] = _Window(now + seconds)
            window.used += 1
            remaining, left = quota - window.used, window.ends - now
        # Zero would tell a client to wait for the next window, and nobody has set a limit to wait for.
        shown = max(0, remaining) if is_set else max(1, remaining)
        headers = {
            "RateLimit": f'"{bucket}";r={shown};t={math.ceil(left)}',
            "RateLimit-Policy": f'"fixed window";"{bucket}";q={quota};w={math.ceil(seconds)}',
        }
        return Counted(headers=headers, is_over=is_set and remaining < 0)


def _bucket(path: str) -> Bucket:
    if "/resolve/" in path or path.startswith("/api/resolve-cache/"):
        return "resolvers"
    return "api" if path.startswith("/api/") else "pages"
