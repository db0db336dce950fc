"""Which mirrors are worth asking: what they did in this run, and how long one file waits for one of them.

A mirror that nobody can reach, that fails for three files in a row, or that sends wrong bytes is not asked again in
this run. Of each such mirror there is one warning, however many files wanted something of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum
from threading import Lock

from vcm.core.wording import counted
from vcm.errors import AUTHENTICATION_ERROR, CHECKSUM_MISMATCH, NOT_FOUND, RegistryError
from vcm.http.faults import NetworkFaultError, UnreachableError
from vcm.http.retries import Wait
from vcm.install.source import OtherFileError

DELAYS = (0.5, 1.0)
"""Seconds before the second and third try: another source is near."""
LONGEST_WAIT = 30.0
"""Seconds; whoever asks for more is not waited for any longer."""
MOST_WAITS = 2
"""How often one file waits for a mirror that has too much to do."""
MOST_FAILURES = 3


class Event(Enum):
    """What a mirror did when it was asked for a file."""

    ANSWERED = "it gave the file, or said that it has none"
    DENIED = "it gives it to others only"
    FAILED = "it gave nothing, in whatever way"
    UNREACHABLE = "it could not be asked"
    LIED = "it gave another file"


@dataclass(frozen=True, slots=True)
class Standing:
    """What is known of a mirror.

    Attributes:
        failures: for how many files in a row it has failed.
        is_denied: whether it did not give something to us.
        is_off: whether it is not asked any more.
    """

    failures: int = 0
    is_denied: bool = False
    is_off: bool = False

    def after(self, event: Event) -> Standing:
        """What is known after one more file. What is off stays off."""
        if event is Event.FAILED:
            failures = self.failures + 1
            return replace(self, failures=failures, is_off=self.is_off or failures >= MOST_FAILURES)
        if event in (Event.UNREACHABLE, Event.LIED):
            return replace(self, failures=self.failures + 1, is_off=True)
        return replace(self, failures=0, is_denied=self.is_denied or event is Event.DENIED)


def event_of(error: RegistryError) -> Event:
    """What a mirror did that gave no file."""
    if isinstance(error, OtherFileError):
        return Event.LIED
    if isinstance(error, UnreachableError):
        return Event.UNREACHABLE
    if error.error_code == NOT_FOUND:
        return Event.ANSWERED
    return Event.DENIED if error.error_code == AUTHENTICATION_ERROR else Event.FAILED


class Health:
    """What is known of all mirrors in one run; may be used by several threads.

    Args:
        notice: told once of each mirror that is not asked any more, or denies something; at the end of failing ones.
    """

    def __init__(self, notice: Callable[[str], None]) -> None:
        self._notice = notice
        self._standings: dict[str, Standing] = {}
        self._ends: dict[str, RegistryError] = {}
        self._failures: dict[str, dict[str, str]] = {}
        self._lock = Lock()

    def is_off(self, mirror: str | None) -> bool:
        """Whether a mirror is not asked any more."""
        return mirror in self._ends

    def end(self, mirror: str | None) -> RegistryError | None:
        """Why a mirror is not asked for any other file; None where it is asked."""
        return self._ends.get(mirror) if mirror is not None else None

    def note(self, mirror: str, event: Event, reason: str = "", remedy: str = "", file: str = "") -> None:
        """Note what a mirror did for a file, why that is so, and what whoever is denied something can do."""
        with self._lock:
            if event is Event.FAILED:
                self._failures.setdefault(mirror, {})[file] = reason
            before = self._standings.get(mirror, Standing())
            after = self._standings[mirror] = before.after(event)
            if after.is_off and not before.is_off:
                code = CHECKSUM_MISMATCH if event is Event.LIED else None
                self._ends[mirror] = RegistryError(f"not asked any more in this run: {reason}", error_code=code)
        if after.is_off and not before.is_off:
            self._notice(f"mirror {mirror} is not asked any more in this run: {reason}")
        elif after.is_denied and not before.is_denied:
            told = f"{reason}; {remedy}" if remedy else reason
            self._notice(f"mirror {mirror}: {told}; what it does not give us is asked of the next source")

    def tell_failing(self) -> None:
        """Notices of mirrors that failed, for so few files that they are still asked."""
        for mirror, reasons in self._failures.items():
            if mirror not in self._ends:
                first = next(iter(reasons))
                more = f", and for {counted(len(reasons) - 1, 'more file')}" if len(reasons) > 1 else ""
                self._notice(f"mirror {mirror} failed for {first}: {reasons[first]}{more}")


class MirrorPatience:
    """Counts the failures of a mirror for one file: there are other sources.

    Args:
        wait: rests between attempts.
        is_off: whether the mirror is not asked any more, because of what it did for other files.
    """

    def __init__(self, wait: Wait, is_off: Callable[[], bool]) -> None:
        self._wait = wait
        self._is_off = is_off
        self._failures = self._waits = 0

    def renew(self) -> None:
        """A good deal has arrived: count anew."""
        self._failures = 0

    def rest(self, error: RegistryError) -> None:
        """Wait before the next try.

        Raises:
            RegistryError: the error itself, where the next source is the better choice.
        """
        if not isinstance(error, NetworkFaultError) or isinstance(error, UnreachableError) or self._is_off():
            raise error
        if error.retry_after is not None:
            if self._waits == MOST_WAITS:
                raise error
            self._waits += 1
            self._wait(min(error.retry_after, LONGEST_WAIT), error.message)
        else:
            if self._failures == len(DELAYS):
                raise error
            self._failures += 1
            self._wait(DELAYS[self._failures - 1], error.message)
        if self._is_off():
            raise error
