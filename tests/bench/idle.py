"""What vcm costs when there is nothing to do: models of 15 small files each, installed before the clock starts.

python tests/bench/idle.py [--rounds 15] [--models 1000]
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.bench.server import publish, serving
from tests.bench.targets import (
    CHECK,
    GATE,
    MOST_MICROSECONDS,
    PASS,
    SYNC,
    TARGETS,
    TYPER,
    met,
    print_targets,
)
from tests.bench.timing import Contestant, begin, compare, environment, print_table, run, script

MODELS = 20
STEPS = (20, 200, 1000)
"""Numbers of models whose times are set beside each other."""

FILES = 15
HELLO = "a typer hello-world"
_HELLO = """
import typer

def hello(name: str = "world") -> None:
    typer.echo(f"Hello {name}")

typer.run(hello)
"""
# Calls of vcm.require in one process, a thousand or two seconds of them; prints the median's microseconds.
_REQUIRE = """
import statistics, sys, time
import vcm

names = [f"model-{number}" for number in range(int(sys.argv[1]))]
vcm.require(names[0])
taken, begin = [], time.perf_counter()
while len(taken) < 1000 and time.perf_counter() < begin + 2:
    start = time.perf_counter_ns()
    vcm.require(names[len(taken) % len(names)])
    taken.append(time.perf_counter_ns() - start)
print(statistics.median(taken) / 1000)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument(
        "--models", type=int, default=MODELS, help="up to so many, to see what each costs (default: 20)"
    )
    given = parser.parse_args()
    begin()
    with tempfile.TemporaryDirectory(prefix="vcm-bench-") as name:
        folder = Path(name)
        for number in range(given.models):
            _write_model(folder / "hub" / "bench" / f"model-{number}", number)
        environ = environment(folder, VCM_CACHE_DIR=folder / "cache")
        counts = sorted({count for count in STEPS if count < given.models} | {min(MODELS, given.models), given.models})
        with serving(publish(folder)) as served:
            environ |= served.environment()
            for count in counts:
                run((script("vcm"), "sync"), environ, _project(folder, count))
        # The hub has gone: from here on, whoever asks it fails.
        _nothing_to_do(folder, environ, counts[0], given.rounds)
        _require(folder, environ, counts, given.rounds)
        if len(counts) > 1:
            _linearity(folder, environ, counts, given.rounds)


def _nothing_to_do(folder: Path, environ: Mapping[str, str], count: int, rounds: int) -> None:
    python = sys.executable
    measured = compare(
        f"nothing to do, {count} models of {FILES} files",
        (
            Contestant(name=PASS, command=(python, "-c", "pass")),
            Contestant(name=TYPER, command=(python, "-c", "import typer")),
            Contestant(name=HELLO, command=(python, "-c", _HELLO)),
            *_commands(),
        ),
        peer=TYPER,
        rounds=rounds,
        environ=environ,
        folder=_project(folder, count),
    )
    print_targets(measured, TARGETS)


def _require(folder: Path, environ: Mapping[str, str], counts: Sequence[int], rounds: int) -> None:
    rows = []
    for count in counts:
        command = (sys.executable, "-c", _REQUIRE, str(count))
        taken = [
            float(subprocess.check_output(command, cwd=_project(folder, count), env=environ)) for _ in range(rounds)
        ]
        middle = statistics.median(taken)
        shown = f"{min(taken):.0f}-{max(taken):.0f}"
        rows.append(
            (f"of {count} models", f"{middle:.0f}", shown, str(MOST_MICROSECONDS), met(middle < MOST_MICROSECONDS))
        )
    head = ("", "microseconds", "range", "below", "")
    print_table(f"a call of vcm.require in a warm process ({rounds} processes)", head, rows)


def _linearity(folder: Path, environ: Mapping[str, str], counts: Sequence[int], rounds: int) -> None:
    """What a model costs among so many, and what each further one costs: the same, where nothing grows faster.

    By the processors' time: these commands wait for nothing, and a busy machine disturbs it least.
    """
    found: dict[str, list[float]] = {}
    for count in counts:
        measured = compare(
            f"{count} models of {FILES} files",
            _commands(),
            peer=SYNC,
            rounds=rounds,
            environ=environ,
            folder=_project(folder, count),
        )
        for name, each in measured.items():
            found.setdefault(name, []).append(each.cpu_seconds * 1000)
    steps = list(itertools.pairwise(counts))
    rows = []
    for name, taken in found.items():
        shares = [f"{whole / count:.3f}" for whole, count in zip(taken, counts, strict=True)]
        further = [
            f"{(more - less) / (to - begin):.3f}"
            for (less, more), (begin, to) in zip(itertools.pairwise(taken), steps, strict=True)
        ]
        rows.append((name, *shares, *further))
    head = ("", *(f"of {count}" for count in counts), *(f"{begin} to {to}" for begin, to in steps))
    print_table("CPU milliseconds for a model of so many, and for each further one", head, rows)


def _commands() -> tuple[Contestant, ...]:
    return (
        Contestant(name=SYNC, command=(script("vcm"), "sync")),
        Contestant(name=CHECK, command=(script("vcm"), "check")),
        Contestant(name=GATE, command=(sys.executable, "-c", "import vcm; vcm.gate()")),
    )


def _project(folder: Path, count: int) -> Path:
    """The project that requires the first so many models; made when first asked for."""
    project = folder / f"project-{count}"
    if not project.exists():
        project.mkdir()
        (project / "models.toml").write_text("".join(map(_requirement, range(count))))
    return project


def _requirement(number: int) -> str:
    return f'[models.model-{number}]\nrepo = "bench/model-{number}"\n\n'


def _write_model(folder: Path, number: int) -> None:
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"weights of %d" % number * 100)
    for file in range(FILES - 1):
        (folder / f"config-{file}.json").write_text(f'{{"model": {number}, "file": {file}}}\n')


if __name__ == "__main__":
    main()
