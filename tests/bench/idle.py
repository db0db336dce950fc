"""What vcm costs when there is nothing to do: 20 models of 15 small files each, installed before the clock starts."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tests.bench.simulator import simulator
from tests.bench.timing import Contestant, compare, environment, print_machine, run, script

MODELS = 20
FILES = 15


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    print_machine()
    with tempfile.TemporaryDirectory(prefix="vcm-bench-") as folder:
        _measure(Path(folder), rounds)


def _measure(folder: Path, rounds: int) -> None:
    project = folder / "project"
    project.mkdir()
    (project / "models.toml").write_text("".join(map(_requirement, range(MODELS))))
    for number in range(MODELS):
        _write_model(folder / "hub" / "bench" / f"model-{number}", number)
    environ = environment(folder, VCM_CACHE_DIR=folder / "cache")
    with simulator(folder / "hub") as endpoint:
        run((script("vcm"), "sync"), {**environ, "HF_ENDPOINT": endpoint}, project)
    # The hub has gone: from here on, whoever asks it fails.
    environ["HF_ENDPOINT"] = endpoint
    python = sys.executable
    compare(
        f"nothing to do, {MODELS} models of {FILES} files",
        (
            Contestant(name="python -c pass", command=(python, "-c", "pass")),
            Contestant(name="python -c 'import typer'", command=(python, "-c", "import typer")),
            Contestant(name="vcm sync", command=(script("vcm"), "sync")),
            Contestant(name="vcm check", command=(script("vcm"), "check")),
            Contestant(name="vcm.gate()", command=(python, "-c", "import vcm; vcm.gate()")),
        ),
        peer="python -c 'import typer'",
        rounds=rounds,
        environ=environ,
        folder=project,
    )


def _requirement(number: int) -> str:
    return f'[models.model-{number}]\nrepo = "bench/model-{number}"\n\n'


def _write_model(folder: Path, number: int) -> None:
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"weights of %d" % number * 100)
    for file in range(FILES - 1):
        (folder / f"config-{file}.json").write_text(f'{{"model": {number}, "file": {file}}}\n')


if __name__ == "__main__":
    main()
