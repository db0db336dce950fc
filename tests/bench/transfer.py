"""Cold downloads into an empty cache: one large file, and many small ones."""

from __future__ import annotations

import argparse
import os
import random
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.bench.simulator import simulator
from tests.bench.timing import Contestant, compare, environment, print_machine, run, script

GIBIBYTE = 1 << 30
PIECE = 1 << 20
PARALLEL = "8"
# The client of the peer without what it would ask of other hosts or draw on a screen.
HF_SETTINGS = {
    "HF_HUB_DISABLE_XET": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_UPDATE_CHECK": "1",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--size", type=float, default=2.0, metavar="GIB", help="the large file (default: 2)")
    parser.add_argument("--files", type=int, default=300, help="how many small files (default: 300)")
    parser.add_argument("--tmpfs", action="store_true", help="work in /dev/shm instead of on the disk")
    given = parser.parse_args()
    print_machine()
    with tempfile.TemporaryDirectory(prefix="vcm-bench-", dir="/dev/shm" if given.tmpfs else None) as name:  # noqa: S108
        folder = Path(name)
        large, small = folder / "hub" / "bench" / "large", folder / "hub" / "bench" / "small"
        generator = random.Random(0)  # noqa: S311  (bytes that do not compress, no secret)
        _write(large / "model.safetensors", int(given.size * GIBIBYTE), generator)
        # Safetensors are LFS files: their digests come with the listing, so that lock leaves them to sync.
        for number in range(given.files):
            _write(small / f"part-{number:03}.safetensors", generator.randrange(4 << 10, 64 << 10), generator)
        place = "tmpfs" if given.tmpfs else "disk"
        with simulator(folder / "hub") as endpoint:
            race = _Race(folder, endpoint, given.rounds)
            race.run(f"one file of {given.size:g} GiB, {place}", large)
            race.run(f"{given.files} files of 4-64 kB, {place}", small)


class _Race:
    """The contestants over one repository at a time."""

    def __init__(self, folder: Path, endpoint: str, rounds: int) -> None:
        self._folder = folder
        self._outputs = folder / "outputs"
        self._rounds = rounds
        self._endpoint = endpoint
        self._environ = environment(
            folder,
            HF_ENDPOINT=endpoint,
            HF_HOME=self._outputs / "hf",
            VCM_CACHE_DIR=self._outputs / "vcm",
            OUTPUTS=self._outputs,
            **HF_SETTINGS,
        )

    def run(self, title: str, source: Path) -> None:
        """Lock the repository, then time everybody from an empty folder."""
        repo = f"{source.parent.name}/{source.name}"
        project = self._folder / source.name
        project.mkdir()
        (project / "models.toml").write_text(f'[models.bench]\nrepo = "{repo}"\n')
        run((script("vcm"), "lock"), self._environ, project)
        urls = project / "urls"
        urls.write_text("".join(f"url={self._endpoint}/{repo}/resolve/main/{path.name}\n" for path in source.iterdir()))
        compare(
            title,
            [
                Contestant(name=name, command=line, prepare=self._clear)
                for name, line in _contestants(repo, source, urls)
            ],
            peer="hf download",
            rounds=self._rounds,
            environ=self._environ,
            folder=project,
        )
        self._clear()

    def _clear(self) -> None:
        shutil.rmtree(self._outputs, ignore_errors=True)
        self._outputs.mkdir()
        # What the last one left to be written is nothing the next one shall wait for.
        os.sync()


def _contestants(repo: str, source: Path, urls: Path) -> Iterator[tuple[str, Sequence[str | Path]]]:
    yield "vcm sync --frozen", (script("vcm"), "sync", "--frozen")
    yield "hf download", (script("hf"), "download", repo)
    files = sorted(source.iterdir())
    if len(files) == 1:
        yield "curl | openssl dgst", _shell('curl -sfL --config "$1" | openssl dgst -sha256', urls)
    else:
        fetch = f'curl -sfL --parallel --parallel-max {PARALLEL} --remote-name-all --config "$1"'
        hash_all = "openssl dgst -sha256 *.safetensors"
        yield "curl && openssl dgst", _shell(f'cd "$OUTPUTS" && {fetch} && {hash_all}', urls)
    yield "openssl dgst", ("openssl", "dgst", "-sha256", *files)


def _shell(line: str, argument: Path) -> tuple[str | Path, ...]:
    return "sh", "-c", line, "sh", argument


def _write(path: Path, size: int, generator: random.Random) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("xb") as stream:
        while size > 0:
            size -= stream.write(generator.randbytes(min(size, PIECE)))


if __name__ == "__main__":
    main()
