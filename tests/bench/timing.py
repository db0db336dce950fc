"""Contestants, timed in turn, and the table of what they took."""

from __future__ import annotations

import os
import platform
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

Command = Sequence[str | Path]

_FOREIGN = ("HF_", "VCM_", "HUGGING", "XDG_")
_HEAD = ("", "seconds", "range", "ratio", "CPU s", "MiB")


@dataclass(frozen=True, slots=True, kw_only=True)
class Contestant:
    """A command to time; ``prepare`` runs before each round and ``check`` after it, outside the time."""

    name: str
    command: Command
    prepare: Callable[[], object] = lambda: None
    check: Callable[[], object] = lambda: None


@dataclass(frozen=True, slots=True)
class Taken:
    """What one run took: wall clock, the processors' time of it and its children, and its peak resident memory."""

    seconds: float
    cpu_seconds: float
    mebibytes: float


@dataclass(frozen=True, slots=True)
class Summary:
    """What the rounds of a contestant took: medians, the quickest and the slowest round, and the highest peak."""

    runs: Sequence[Taken]

    @property
    def seconds(self) -> float:
        """The median."""
        return statistics.median(run.seconds for run in self.runs)

    @property
    def quickest(self) -> float:
        """The seconds of the round that was disturbed least."""
        return min(run.seconds for run in self.runs)

    @property
    def slowest(self) -> float:
        """The seconds of the longest round."""
        return max(run.seconds for run in self.runs)

    @property
    def cpu_seconds(self) -> float:
        """The median."""
        return statistics.median(run.cpu_seconds for run in self.runs)

    @property
    def mebibytes(self) -> float:
        """The peak of the hungriest round."""
        return max(run.mebibytes for run in self.runs)


def script(name: str) -> Path:
    """A console script of the environment that runs this."""
    return Path(sys.executable).with_name(name)


def environment(home: Path, **added: str | Path) -> dict[str, str]:
    """This machine's environment without what could steer a contestant, and with a home folder of its own.

    Compiled Python is kept below that folder: all contestants are as fast as installed packages are, and none leaves
    anything in this checkout.
    """
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(_FOREIGN) and not name.lower().endswith("_proxy")
    }
    compiled = {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(home / "compiled")}
    return {**kept, **compiled, "HOME": str(home), **{name: str(value) for name, value in added.items()}}


def run(command: Command, environ: Mapping[str, str], folder: Path) -> Taken:
    """Run a command to its end; a failure ends the benchmark, with what the command said."""
    with tempfile.TemporaryFile() as said:
        start = time.perf_counter()
        process = subprocess.Popen(command, cwd=folder, env=environ, stdout=subprocess.DEVNULL, stderr=said)
        try:
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            process.kill()
            raise
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            said.seek(0)
            shown = " ".join(map(str, command))
            raise SystemExit(f"{shown}\nended with {process.returncode}:\n{said.read().decode(errors='replace')}")
    kibibytes = usage.ru_maxrss / (1024 if sys.platform == "darwin" else 1)
    return Taken(seconds, usage.ru_utime + usage.ru_stime, kibibytes / 1024)


def compare(
    title: str, contestants: Sequence[Contestant], *, peer: str, rounds: int, environ: Mapping[str, str], folder: Path
) -> dict[str, Summary]:
    """Time the contestants in turn, so many rounds, print the medians and return what was measured, by name.

    ``peer`` is what the ratios are to; the first contestant where it takes no part.

    One round more goes before them and is not counted: it compiles, and fills the system's caches.
    """
    taken: dict[str, list[Taken]] = {each.name: [] for each in contestants}
    for counts in (False, *[True] * rounds):
        for each in contestants:
            each.prepare()
            one = run(each.command, environ, folder)
            each.check()
            if counts:
                taken[each.name].append(one)
    measured = {name: Summary(runs) for name, runs in taken.items()}
    base = measured.get(peer, next(iter(measured.values()))).seconds
    print_table(f"{title} ({rounds} rounds)", _HEAD, [_row(name, each, base) for name, each in measured.items()])
    return measured


def begin() -> None:
    """Say what the numbers are measured on, and what is the least memory that can be seen from here.

    From then on SIGTERM ends this process as Ctrl-C does: the servers that it started and its folders go with it.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    # A child is born as a copy of this process, and Linux counts that into its peak.
    floor = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20 if sys.platform == "darwin" else 1 << 10)
    print_line(
        f"{platform.system()} {platform.machine()}, {os.cpu_count()} processors, Python {platform.python_version()}; "
        f"memory below {floor:.0f} MiB is not seen"
    )


def _row(name: str, measured: Summary, base: float) -> tuple[str, ...]:
    return (
        name,
        f"{measured.seconds:.3f}",
        f"{measured.quickest:.3f}-{measured.slowest:.3f}",
        f"{measured.seconds / base:.2f}",
        f"{measured.cpu_seconds:.3f}",
        f"{measured.mebibytes:.0f}",
    )


def print_table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows of text below their head: names to the left, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    print_line(f"\n{title}")
    for row in (head, *rows):
        first, *rest = (cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        print_line("  ".join([first.strip().ljust(widths[0]), *rest]))


def print_line(line: str) -> None:
    """Print a line at once, also into a pipe."""
    print(line, flush=True)  # noqa: T201  (what a benchmark is for)
