"""The rate-limit headers that the Hub puts on every answer; the simulator counts, but never refuses by itself."""

from __future__ import annotations

import time
from threading import Lock

WINDOW = 300
"""Seconds in a window."""

_ANONYMOUS = {"api": 500, "resolvers": 3000, "pages": 100}
_WITH_TOKEN = {"api": 1000, "resolvers": 5000, "pages": 200}


class RateLimits:
    """Counts requests by caller and by bucket in windows of fixed length."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._window = 0
        self._used: dict[tuple[str | None, str], int] = {}

    def headers(self, caller: str | None, path: str) -> dict[str, str]:
        """Count a request and return the headers that go with its answer.

        Args:
            caller: the caller's token, or None.
            path: the path asked for.
        """
        bucket = _bucket(path)
        quota = (_WITH_TOKEN if caller else _ANONYMOUS)[bucket]
        now = int(time.time())
        with self._lock:
            if now // WINDOW != self._window:
                self._window = now // WINDOW
                self._used.clear()
            used = self._used.get((caller, bucket), 0) + 1
            self._used[caller, bucket] = used
        # Zero would tell a client to wait for the next window; a test that wants that queues a fault.
        remaining = max(1, quota - used)
        return {
            "RateLimit": f'"{bucket}";r={remaining};t={WINDOW - now % WINDOW}',
            "RateLimit-Policy": f'"fixed window";"{bucket}";q={quota};w={WINDOW}',
        }


def _bucket(path: str) -> str:
    if "/resolve/" in path or path.startswith("/api/resolve-cache/"):
        return "resolvers"
    return "api" if path.startswith("/api/") else "pages"
