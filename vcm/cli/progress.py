"""Progress, for people at a terminal and for logs."""

from __future__ import annotations

import os
import sys
import threading
import time
from abc import abstractmethod
from collections.abc import Callable
from contextlib import suppress
from typing import TextIO

from vcm.cli.meters import log_line, terminal_lines
from vcm.cli.tally import Tally
from vcm.core.reporter import Reporter
from vcm.core.wording import byte_count, printable
from vcm.settings import terminal_is_plain

_FIRST_LOG_SECONDS = 5.0
_LOG_SECONDS = (10.0, 60.0)
_DRAWN_AFTER = 0.3  # seconds: what is done in a moment needs no bar
_CLEAR = "\r\x1b[J"

Clock = Callable[[], float]


def make_reporter(*, quiet: bool, verbose: bool = False, stream: TextIO | None = None) -> Reporter:
    """The reporter that fits where standard error leads.

    Args:
        quiet: tell notices only.
        verbose: name every file that is fetched.
        stream: where to; standard error by default.
    """
    stream = stream or sys.stderr
    if quiet:
        return NoticeReporter(stream)
    kind = TerminalReporter if stream.isatty() and not terminal_is_plain() else LogReporter
    return kind(stream, verbose=verbose)


class NoticeReporter(Reporter):
    """Prints notices, each once."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._printing = threading.Lock()
        self._noticed: set[str] = set()

    def notice(self, text: str) -> None:
        with self._printing:
            if text not in self._noticed:
                self._noticed.add(text)
                self._print(f"note: {text}")

    def _print(self, line: str) -> None:
        # What a hub or a publisher wrote must not steer the terminal.
        self._write(f"{printable(line)}\n")

    def _write(self, text: str) -> None:
        # A terminal that is gone is no reason to stop working.
        with suppress(OSError, ValueError):
            self._stream.write(text)
            self._stream.flush()


class _ProgressReporter(NoticeReporter):
    """Counts what it is told, and shows it from time to time, also while nothing happens.

    Args:
        stream: where to.
        verbose: name every file that is fetched.
        clock: seconds, ever rising.
    """

    _period: float

    def __init__(self, stream: TextIO, *, verbose: bool = False, clock: Clock = time.monotonic) -> None:
        super().__init__(stream)
        self._verbose = verbose
        self._verb = "fetching"
        self._clock = clock
        self._tally = Tally(clock)
        self._waits: dict[str, float] = {}
        self._ticking: threading.Thread | None = None
        self._over = threading.Event()
        self.advanced = self._tally.advanced  # type: ignore[method-assign]  # for every chunk: no detour
        self.kept = self._tally.kept  # type: ignore[method-assign]

    def started(self, task: str, total_bytes: int) -> None:
        self._verb = task.partition(" ")[0]
        if total_bytes:
            self._begin(task, total_bytes, 0)

    def steps(self, task: str, total: int) -> None:
        self._begin(task, 0, total)

    def step(self) -> None:
        self._tally.step()

    def file_started(self, label: str, size: int, already: int) -> None:
        self._tally.file_started(label, size, already)
        if self._verbose:
            with self._printing:
                self._print(f"{self._verb} {label}, {byte_count(size)}")

    def file_finished(self, label: str) -> None:
        self._tally.file_finished(label)

    def waiting(self, label: str, seconds: float, reason: str) -> None:
        self._tally.waiting(label, seconds, reason)
        wait = f"{reason}; next try in {seconds:.0f} s"
        with self._printing:
            now = self._clock()
            # Files that wait for the same thing at the same time say so once.
            if self._waits.get(wait, now) <= now:
                self._waits[wait] = now + seconds
                self._print(f"{label}: {wait}")

    def finished(self) -> None:
        self._over.set()
        if self._ticking is not None:
            # A terminal that takes nothing any more must not keep anybody.
            self._ticking.join(timeout=0.5)
            self._ticking = None

    @abstractmethod
    def tick(self) -> None:
        """Show how far all is, if it is time to."""

    def _begin(self, task: str, total_bytes: int, steps: int) -> None:
        self.finished()
        self._tally.begin(task, total_bytes, steps)
        self._over = threading.Event()
        self._ticking = threading.Thread(target=self._tick_on, args=(self._over,), name="vcm-progress", daemon=True)
        self._ticking.start()

    def _tick_on(self, over: threading.Event) -> None:
        while not over.wait(self._period):
            self.tick()


class LogReporter(_ProgressReporter):
    """A plain line at sensible intervals, without control characters; the longer it takes, the rarer."""

    _period = 1.0
    _next = _FIRST_LOG_SECONDS

    def started(self, task: str, total_bytes: int) -> None:
        if total_bytes:
            with self._printing:
                self._print(f"{task}, {byte_count(total_bytes)}")
        super().started(task, total_bytes)

    def tick(self) -> None:
        view = self._tally.look()
        if view.whole.age >= self._next:
            least, most = _LOG_SECONDS
            self._next = view.whole.age + min(most, max(least, view.whole.age / 10))
            with self._printing:
                self._print(log_line(view))

    def _begin(self, task: str, total_bytes: int, steps: int) -> None:
        self._next = _FIRST_LOG_SECONDS
        super()._begin(task, total_bytes, steps)


class TerminalReporter(_ProgressReporter):
    """One line for the whole and one for each file that is on its way, drawn anew ten times a second.

    The cursor rests at the beginning of the first of them: whatever becomes of the terminal's width meanwhile, all that
    was drawn stands behind it, and is cleared from there.
    """

    _period = 0.1

    def __init__(self, stream: TextIO, *, verbose: bool = False, clock: Clock = time.monotonic) -> None:
        super().__init__(stream, verbose=verbose, clock=clock)
        self._pending: list[str] = []
        self._drawn = ""

    def tick(self) -> None:
        view = self._tally.look()
        block = ""
        if view.whole.age >= _DRAWN_AFTER:
            columns, rows = self._size()
            lines = terminal_lines(view, columns, rows, self._stream.encoding or "ascii")
            up = f"\x1b[{len(lines) - 1}A" if len(lines) > 1 else ""
            block = "\x1b[K\n".join(lines) + f"\x1b[J{up}\r"
        with self._printing:
            if not self._over.is_set() and (self._pending or block != self._drawn):
                self._show(block)

    def finished(self) -> None:
        try:
            super().finished()
        finally:
            with self._printing:
                self._show("")

    def _print(self, line: str) -> None:
        if self._ticking is None:
            super()._print(line)
        else:
            # With the next frame: one write for all that comes meanwhile.
            self._pending.append(printable(line))

    def _show(self, block: str) -> None:
        """Put a block where the last one is, with what is to stay above it; in one write, so that nothing flickers."""
        above = "".join(f"{line}\x1b[K\n" for line in self._pending)
        begin = "\r" if self._drawn else ""
        clear = _CLEAR if self._drawn and not block else ""
        if above or block or clear:
            self._write(begin + above + (block or clear))
        self._pending.clear()
        self._drawn = block

    def _size(self) -> tuple[int, int]:
        try:
            size = os.get_terminal_size(self._stream.fileno())
        except (OSError, ValueError):
            return 80, 24
        return size.columns or 80, size.lines or 24
