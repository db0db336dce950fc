"""What progress comes to: bytes and steps counted by many threads, and the speed of the last seconds."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from vcm.core.records import record

_WINDOW = 5.0  # seconds: long enough for a calm number, short enough to see a stall


@record(frozen=True)
class Meter:
    """How far something is at one moment: a file, or the whole.

    Attributes:
        label: what it is.
        done: bytes, or steps.
        total: bytes or steps; 0 where nobody knows.
        speed: bytes a second that arrived in the last seconds.
        age: seconds since it began.
        silent: seconds in which nothing happened to it.
        rest: seconds until the next try; 0 where none is waited for.
        reason: why it rests.
    """

    label: str
    done: int
    total: int
    speed: float = 0.0
    age: float = 0.0
    silent: float = 0.0
    rest: float = 0.0
    reason: str = ""

    @property
    def share(self) -> int | None:
        """Per cent, 100 only when all is done; None where the total is unknown."""
        return min(100, 100 * self.done // self.total) if self.total else None

    @property
    def seconds_left(self) -> float | None:
        """How long the rest takes at this speed; None where that cannot be told."""
        return max(0, self.total - self.done) / self.speed if self.total and self.speed > 0 else None


@record(frozen=True)
class View:
    """All there is to show at one moment.

    Attributes:
        whole: the task; its total is 0 where no bytes measure it.
        steps: the same in steps, where it is measured so.
        files: what is on its way, in the order of the beginnings.
    """

    whole: Meter
    steps: Meter | None
    files: tuple[Meter, ...]


class _Count:
    """One thing that is counted. The clock is only looked at when somebody asks, not with every chunk."""

    def __init__(self, label: str, total: int, done: int, now: float) -> None:
        self.label = label
        self.total = total
        self.done = done
        self.arrived = 0
        self.rests_until = 0.0
        self.reason = ""
        self._begun = self._moved = now
        self._seen = (done, 0)
        self._samples = deque([(now, 0)])

    def add(self, count: int) -> None:
        self.done += count
        if count > 0:
            self.arrived += count

    def look(self, now: float) -> Meter:
        seen = (self.done, self.arrived)
        if seen != self._seen:
            self._seen, self._moved, self.rests_until = seen, now, 0.0
        self._samples.append((now, self.arrived))
        while len(self._samples) > 2 and self._samples[1][0] <= now - _WINDOW:  # noqa: PLR2004
            self._samples.popleft()
        begun, before = self._samples[0]
        return Meter(
            label=self.label,
            done=self.done,
            total=self.total,
            speed=(self.arrived - before) / (now - begun) if now > begun else 0.0,
            age=now - self._begun,
            silent=now - self._moved,
            rest=max(0.0, self.rests_until - now),
            reason=self.reason,
        )


class Tally:
    """Counts for all threads. What they call for every chunk is a few additions under a lock that nobody holds long.

    Args:
        clock: seconds, ever rising.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self.begin("", 0)

    def begin(self, task: str, total_bytes: int, steps: int = 0) -> None:
        """Forget what was counted, and begin."""
        now = self._clock()
        with self._lock:
            self._files: dict[str, _Count] = {}
            self._whole = _Count(task, total_bytes, 0, now)
            self._steps, self._steps_done, self._begun = steps, 0, now

    def file_started(self, label: str, size: int, already: int) -> None:
        """As for the reporter."""
        now = self._clock()
        with self._lock:
            self._files[label] = _Count(label, size, already, now)
            self._whole.done += already

    def kept(self, label: str, count: int) -> None:
        """As for the reporter."""
        with self._lock:
            self._whole.done += count
            file = self._files.get(label)
            if file is not None:
                file.done += count

    def advanced(self, label: str, count: int) -> None:
        """As for the reporter."""
        with self._lock:
            self._whole.add(count)
            file = self._files.get(label)
            if file is not None:
                file.add(count)

    def waiting(self, label: str, seconds: float, reason: str) -> None:
        """As for the reporter."""
        until = self._clock() + seconds
        with self._lock:
            file = self._files.get(label)
            if file is not None:
                file.rests_until, file.reason = until, reason

    def file_finished(self, label: str) -> None:
        """As for the reporter."""
        with self._lock:
            self._files.pop(label, None)

    def step(self) -> None:
        """As for the reporter."""
        with self._lock:
            self._steps_done += 1

    def look(self) -> View:
        """How far all is now."""
        now = self._clock()
        with self._lock:
            whole = self._whole.look(now)
            files = tuple(file.look(now) for file in self._files.values())
            steps = None
            if self._steps:
                steps = Meter(self._whole.label, self._steps_done, self._steps, age=now - self._begun)
        return View(whole, steps, files)
