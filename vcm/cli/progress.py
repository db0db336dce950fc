"""Progress, for people at a terminal and for logs."""

from __future__ import annotations

import os
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, TextIO

from vcm.core.reporter import Reporter
from vcm.core.wording import byte_count, printable

if TYPE_CHECKING:
    from tqdm import tqdm

_LOG_SECONDS = 10.0
_LABEL_WIDTH = 32


def make_reporter(*, quiet: bool, verbose: bool = False, stream: TextIO | None = None) -> Reporter:
    """The reporter that fits where standard error leads.

    Args:
        quiet: tell notices only.
        verbose: name every file that is fetched.
        stream: where to; standard error by default.
    """
    stream = stream or sys.stderr
    if quiet:
        return NoticeReporter(stream, verbose=verbose)
    kind = TerminalReporter if stream.isatty() else LogReporter
    return kind(stream, verbose=verbose)


class NoticeReporter(Reporter):
    """Prints notices, and the names of files where that is asked for."""

    def __init__(self, stream: TextIO, *, verbose: bool = False) -> None:
        self._stream = stream
        self._verbose = verbose
        self._lock = threading.RLock()
        self._noticed: set[str] = set()
        self._waits: dict[str, float] = {}

    def notice(self, text: str) -> None:
        with self._lock:
            if text not in self._noticed:
                self._noticed.add(text)
                self._print(f"note: {text}")

    def file_started(self, label: str, size: int, already: int) -> None:
        if self._verbose:
            with self._lock:
                self._print(f"fetching {label}, {byte_count(size)}")

    def waiting(self, label: str, seconds: float, reason: str) -> None:
        line = f"{label}: {reason}; next try in {seconds:.0f} s"
        with self._lock:
            now = time.monotonic()
            # Threads that wait for the same thing at the same time say so once.
            if self._waits.get(line, now) <= now:
                self._waits[line] = now + seconds
                self._print(line)

    def _print(self, line: str) -> None:
        # What a hub or a publisher wrote must not steer the terminal.
        self._write(printable(line))

    def _write(self, line: str) -> None:
        print(line, file=self._stream, flush=True)


class LogReporter(NoticeReporter):
    """A plain line at sensible intervals, without control characters."""

    def __init__(self, stream: TextIO, *, verbose: bool = False) -> None:
        super().__init__(stream, verbose=verbose)
        self._total = self._done = 0
        self._last = self._begun = 0.0
        self._task, self._steps, self._steps_done = "", 0, 0

    def steps(self, task: str, total: int) -> None:
        with self._lock:
            self._task, self._steps, self._steps_done = task, total, 0
            self._last = time.monotonic()

    def step(self) -> None:
        with self._lock:
            self._steps_done += 1
            now = time.monotonic()
            if now - self._last >= _LOG_SECONDS:
                self._last = now
                self._print(f"{self._task}: {self._steps_done} of {self._steps}")

    def started(self, task: str, total_bytes: int) -> None:
        with self._lock:
            self._total, self._done = total_bytes, 0
            self._begun = self._last = time.monotonic()
            if total_bytes:
                self._print(f"{task}, {byte_count(total_bytes)}")

    def file_started(self, label: str, size: int, already: int) -> None:
        super().file_started(label, size, already)
        with self._lock:
            self._done += already

    def advanced(self, label: str, count: int) -> None:
        with self._lock:
            self._done += count
            now = time.monotonic()
            if self._total and now - self._last >= _LOG_SECONDS:
                self._last = now
                speed = byte_count(self._done / (now - self._begun))
                share = 100 * self._done // self._total
                self._print(f"{byte_count(self._done)} of {byte_count(self._total)} ({share} %), {speed}/s")


class TerminalReporter(NoticeReporter):
    """One line for the whole and one for each file that is on its way."""

    def __init__(self, stream: TextIO, *, verbose: bool = False) -> None:
        super().__init__(stream, verbose=verbose)
        self._whole: tqdm[Any] | None = None
        self._files: dict[str, tqdm[Any]] = {}
        self._steps: tqdm[Any] | None = None

    def steps(self, task: str, total: int) -> None:
        from tqdm import tqdm

        with self._lock:
            # What is done in a moment needs no bar.
            self._steps = tqdm(
                desc=task, total=total, leave=False, delay=0.5, ncols=self._columns() - 3, file=self._stream
            )

    def step(self) -> None:
        with self._lock:
            if self._steps is not None:
                self._steps.update()

    def started(self, task: str, total_bytes: int) -> None:
        with self._lock:
            if total_bytes:
                self._whole = self._bar(task, total_bytes, 0, position=0)

    def file_started(self, label: str, size: int, already: int) -> None:
        super().file_started(label, size, already)
        with self._lock:
            if self._whole is not None:
                free = next(n for n in range(1, len(self._files) + 2) if n not in self._positions())
                self._files[label] = self._bar(label, size, already, position=free)
                self._whole.update(already)

    def _positions(self) -> set[int]:
        return {abs(bar.pos) for bar in self._files.values()}

    def advanced(self, label: str, count: int) -> None:
        with self._lock:
            for bar in (self._files.get(label), self._whole):
                if bar is not None:
                    bar.update(count)

    def file_finished(self, label: str) -> None:
        with self._lock:
            bar = self._files.pop(label, None)
            if bar is not None:
                bar.close()

    def finished(self) -> None:
        with self._lock:
            if self._steps is not None:
                # A line above it brings it to the screen before its delay is over, and closing it is too late then.
                self._steps.clear()
            for bar in (*self._files.values(), self._whole, self._steps):
                if bar is not None:
                    bar.close()
            self._files, self._whole, self._steps = {}, None, None

    def _bar(self, label: str, total: int, already: int, *, position: int) -> tqdm[Any]:
        from tqdm import tqdm

        columns = self._columns()
        width = min(_LABEL_WIDTH, columns // 3)
        # The end of a path tells files apart.
        label = label if len(label) <= width else f"…{label[1 - width :]}"
        return tqdm(
            desc=label.ljust(width),
            total=total,
            initial=already,
            position=position,
            leave=False,
            unit="B",
            unit_scale=True,
            # Room for the ^C that the terminal echoes: a line that is full would wrap, and not be cleared.
            ncols=columns - 3,
            file=self._stream,
        )

    def _columns(self) -> int:
        try:
            return os.get_terminal_size(self._stream.fileno()).columns or 80
        except OSError:
            return 80

    def _write(self, line: str) -> None:
        bar = self._whole if self._whole is not None else self._steps
        if bar is None:
            super()._write(line)
        else:
            bar.write(line, file=self._stream)
