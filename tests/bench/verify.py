"""Hashing every installed byte again, beside the tools that do nothing else.

python tests/bench/verify.py [--size 10] [--rounds 5] [--tmpfs]
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.bench.cases import GIBIBYTE, write_large
from tests.bench.contestants import HF_SETTINGS
from tests.bench.server import publish, serving
from tests.bench.targets import HASHING, TARGETS, VERIFY, print_targets
from tests.bench.timing import Command, Contestant, begin, compare, environment, run, script

FILES = 10
REPO = "bench/verified"
_THREADS = """
import hashlib, os, sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

def digest(path):
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()

with ThreadPoolExecutor(os.cpu_count()) as pool:
    list(pool.map(digest, Path(sys.argv[1]).iterdir()))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=float, default=10.0, metavar="GIB", help=f"of {FILES} files together")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tmpfs", action="store_true", help="in /dev/shm instead of below TMPDIR")
    given = parser.parse_args()
    begin()
    below = "/dev/shm" if given.tmpfs else None  # noqa: S108  (it is the memory that is asked for)
    with tempfile.TemporaryDirectory(prefix="vcm-bench-", dir=below) as name:
        _measure(Path(name), int(given.size * GIBIBYTE), given.rounds)


def _measure(folder: Path, size: int, rounds: int) -> None:
    source = folder / "hub" / REPO
    for number in range(FILES):
        write_large(source / f"model-{number}.safetensors", size // FILES)
    project = folder / "project"
    project.mkdir()
    (project / "models.toml").write_text(f'[models.bench]\nrepo = "{REPO}"\n')
    environ = environment(folder, HF_HOME=folder / "hf", VCM_CACHE_DIR=folder / "cache", **HF_SETTINGS)
    published = publish(folder)
    with serving(published) as served:
        environ |= served.environment()
        run((script("vcm"), "sync"), environ, project)
        # What is installed is in the system's cache then, and has it to itself. The API goes on answering.
        shutil.rmtree(source)
        os.sync()
        (installed,) = (path.parent for path in (folder / "cache").rglob("model-0.safetensors"))
        measured = compare(
            f"{size / GIBIBYTE:g} GiB in {FILES} files",
            [Contestant(name=name, command=command) for name, command in _contestants(installed)],
            peer=HASHING,
            rounds=rounds,
            environ=environ,
            folder=project,
        )
    print_targets(measured, TARGETS)


def _contestants(installed: Path) -> Iterator[tuple[str, Command]]:
    cores = str(os.cpu_count())
    yield VERIFY, (script("vcm"), "verify")
    each = 'find "$1" -name "*.safetensors" -print0 | xargs -0 -n 1 -P "$2" openssl dgst -sha256'
    yield HASHING, ("sh", "-c", each, "sh", installed, cores)
    yield f"hashlib, {cores} threads", (sys.executable, "-c", _THREADS, installed)
    yield "sha256sum", ("sh", "-c", 'sha256sum "$1"/*', "sh", installed)
    # It asks the hub what it should find; a folder will do for what there is.
    yield "hf cache verify", (script("hf"), "cache", "verify", REPO, "--local-dir", installed)


if __name__ == "__main__":
    main()
