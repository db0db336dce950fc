"""Patience: when a request is tried again, and how long to wait before it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TypeVar

from vcm.errors import RegistryError
from vcm.http.faults import NetworkFaultError

DELAYS = (2.0, 4.0, 8.0)
"""Seconds before the first, second and third new try."""

LONGEST_WAIT = 600.0
"""Seconds; who asks for more is not waited for."""

RETRIED_STATUS = frozenset({408, 429, 500, 502, 503, 504})

Result = TypeVar("Result")
Wait = Callable[[float, str], None]
"""Waits so many seconds, for a reason that may be shown."""


class Patience:
    """Counts the failures of one request since it last got anywhere."""

    def __init__(self, wait: Wait) -> None:
        self._wait = wait
        self._failures = 0

    def renew(self) -> None:
        """Bytes have arrived: count anew."""
        self._failures = 0

    def rest(self, error: RegistryError) -> None:
        """Wait before the next try.

        Raises:
            RegistryError: the error itself, when another try makes no sense.
        """
        if not isinstance(error, NetworkFaultError) or self._failures == len(DELAYS):
            raise error
        delay = DELAYS[self._failures] if error.retry_after is None else error.retry_after
        if delay > LONGEST_WAIT:
            raise error
        self._failures += 1
        self._wait(delay, error.message)

    def attempt(self, action: Callable[[], Result]) -> Result:
        """Do it until it works or patience is over."""
        while True:
            try:
                return action()
            except NetworkFaultError as error:
                self.rest(error)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds the other side asks to wait: ``Retry-After``, else the reset of an exhausted ``RateLimit``.

    ``RateLimit: "api";r=0;t=55`` is the Hub's form: remaining requests, seconds to the next window.
    """
    text = headers.get("Retry-After", "")
    if re.fullmatch(r"\d{1,9}", text):
        return float(text)
    match = re.search(r";\s*r=0\s*;\s*t=(\d{1,9})", headers.get("RateLimit", ""))
    return float(match[1]) + 1 if match else None
