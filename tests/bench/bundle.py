"""Writing a bundle and installing from it, beside tar, which hashes nothing.

python tests/bench/bundle.py [--size 2] [--rounds 5] [--tmpfs]
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
from pathlib import Path

from tests.bench.cases import GIBIBYTE, write_large
from tests.bench.contestants import HF_SETTINGS
from tests.bench.server import publish, serving
from tests.bench.timing import Contestant, begin, compare, environment, run, script

FILES = 5
REPO = "bench/bundled"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=float, default=2.0, metavar="GIB", help=f"of {FILES} files together")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tmpfs", action="store_true", help="in /dev/shm instead of below TMPDIR")
    given = parser.parse_args()
    begin()
    below = "/dev/shm" if given.tmpfs else None  # noqa: S108  (it is the memory that is asked for)
    with tempfile.TemporaryDirectory(prefix="vcm-bench-", dir=below) as name:
        _measure(Path(name), int(given.size * GIBIBYTE), given.rounds)


def _measure(folder: Path, size: int, rounds: int) -> None:
    source, project, cache = folder / "hub" / REPO, folder / "project", folder / "cache"
    for number in range(FILES):
        write_large(source / f"model-{number}.safetensors", size // FILES)
    project.mkdir()
    (project / "models.toml").write_text(f'[models.bench]\nrepo = "{REPO}"\n')
    environ = environment(folder, HF_HOME=folder / "hf", VCM_CACHE_DIR=cache, **HF_SETTINGS)
    published = publish(folder)
    with serving(published) as served:
        run((script("vcm"), "sync"), environ | served.environment(), project)
    shutil.rmtree(source)
    tar, inside, unpacked = folder / "models.tar", folder / "inside", folder / "unpacked"
    run((script("vcm"), "bundle", tar), environ, project)

    def clean() -> None:
        (folder / "written.tar").unlink(missing_ok=True)
        shutil.rmtree(inside, ignore_errors=True)
        shutil.rmtree(unpacked, ignore_errors=True)
        unpacked.mkdir()
        os.sync()

    written = folder / "written.tar"
    install = (script("vcm"), "--cache-dir", inside, "--offline", "sync", "--frozen", "--from", tar)
    for title, peer, contestants in (
        (
            "writing",
            "tar cf, sync",
            [
                ("vcm bundle", (script("vcm"), "bundle", written)),
                ("tar cf, sync", ("sh", "-c", 'tar cf "$1" -C "$2" blobs && sync "$1"', "sh", written, cache)),
            ],
        ),
        (
            "installing",
            "tar xf, sync",
            [
                ("vcm sync --from", install),
                ("tar xf, sync", ("sh", "-c", 'tar xf "$1" -C "$2" && sync -f "$2"', "sh", tar, unpacked)),
            ],
        ),
    ):
        compare(
            f"{title} {size / GIBIBYTE:g} GiB in {FILES} files",
            [Contestant(name=name, command=command, prepare=clean) for name, command in contestants],
            peer=peer,
            rounds=rounds,
            environ=environ,
            folder=project,
        )


if __name__ == "__main__":
    main()
