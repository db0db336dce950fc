"""Cold downloads from nginx into an empty cache, beside what people use today.

    python tests/bench/transfer.py --case large --tmpfs --tls --latency 50 --rounds 3

Without options: the four cases for speed, onto tmpfs and onto the disk, over http and https, near and 50 ms away.
"""

from __future__ import annotations

import argparse
import itertools
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from tests.bench.cases import CASES, GIBIBYTE, Case
from tests.bench.contestants import ARIA2C, HF, HF_SETTINGS, VCM, commands, wanted
from tests.bench.server import publish, serving
from tests.bench.targets import MOST_MEBIBYTES, of_download, print_targets
from tests.bench.timing import Contestant, Summary, begin, compare, environment, run, script

FAR = 50.0
"""Milliseconds that an answer of a hub that is far away takes to begin."""

_SPEED = ("large", "shards", "small", "repos")


def main() -> None:
    given = _arguments()
    begin()
    places = [name for name, chosen in (("tmpfs", given.tmpfs), ("disk", given.disk)) if chosen] or ["tmpfs", "disk"]
    secured = [tls for tls, chosen in ((False, given.plain), (True, given.tls)) if chosen] or [False, True]
    latencies = [milliseconds / 1000 for milliseconds in given.latency or (0, FAR)]
    for name, place in itertools.product(given.case or _SPEED, places):
        case = CASES[name]
        size, files = case.size * given.size, given.files or case.files
        below = "/dev/shm" if place == "tmpfs" else None  # noqa: S108  (it is the memory that is asked for)
        with tempfile.TemporaryDirectory(prefix="vcm-bench-", dir=below) as folder:
            race = _Race(Path(folder), case, int(size * GIBIBYTE), files)
            for tls, latency in itertools.product(secured, latencies):
                title = f"{case.title.format(size=size, files=files)}, {place}, {'https' if tls else 'http'}"
                measured = race.run(f"{title}, {latency * 1000:g} ms", given, tls=tls, latency=latency)
                targets = of_download(name, tls=tls, is_far=latency > 0)
                print_targets(measured, targets, most_mebibytes=MOST_MEBIBYTES)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", action="append", choices=list(CASES), help="may be given several times")
    parser.add_argument("--tmpfs", action="store_true", help="in /dev/shm")
    parser.add_argument("--disk", action="store_true", help="below TMPDIR")
    parser.add_argument("--plain", action="store_true", help="over http")
    parser.add_argument("--tls", action="store_true", help="over https")
    parser.add_argument("--latency", type=float, action="append", metavar="MS", help="of every answer; also several")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--size", type=float, default=2.0, metavar="GIB", help="of the large files (default: 2)")
    parser.add_argument("--files", type=int, help="how many small files (default: the case's own)")
    parser.add_argument("--only", action="append", metavar="WORD", help="contestants whose names hold it; also several")
    return parser.parse_args()


class _Race:
    """The repositories of one case, and the contestants that download them."""

    def __init__(self, folder: Path, case: Case, size: int, files: int) -> None:
        self._folder = folder
        self._outputs = folder / "outputs"
        self._project = folder / "project"
        self._project.mkdir()
        case.write(folder / "hub" / "bench", size, files)
        self._published = publish(folder)
        self._bytes = sum(file.size for files in self._published.files.values() for file in files)
        self._clear()
        names = {repo: repo.partition("/")[2] for repo in self._published.files}
        manifest = "".join(f'[models.{name}]\nrepo = "{repo}"\n' for repo, name in names.items())
        (self._project / "models.toml").write_text(manifest)
        with serving(self._published) as served:
            run((script("vcm"), "lock"), self._environ(served.environment()), self._project)
        self._clear()

    def run(self, title: str, given: argparse.Namespace, *, tls: bool, latency: float) -> dict[str, Summary]:
        """Time everybody from an empty folder."""
        with serving(self._published, tls=tls, latency=latency) as served:
            files = wanted(self._published, served, self._project / "models.lock")
            lines = commands(self._published, served, files, self._outputs)
            chosen = [name for name in lines if not given.only or any(word in name for word in given.only)]
            measured = compare(
                title,
                [
                    Contestant(name=name, command=lines[name], prepare=self._clear, check=self._checking(name))
                    for name in chosen
                ],
                peer=HF,
                rounds=given.rounds,
                environ=self._environ(served.environment()),
                folder=self._project,
            )
        self._clear()
        return measured

    def _environ(self, told: Mapping[str, str]) -> dict[str, str]:
        return environment(
            self._folder, HF_HOME=self._outputs / "hf", VCM_CACHE_DIR=self._outputs / "vcm", **HF_SETTINGS, **told
        )

    def _clear(self) -> None:
        shutil.rmtree(self._outputs, ignore_errors=True)
        self._outputs.mkdir()
        # What the last one left to be written is nothing the next one shall wait for.
        os.sync()

    def _checking(self, name: str) -> Callable[[], None]:
        def check() -> None:
            if name in (VCM, HF, ARIA2C) and sum(_sizes(self._outputs)) < self._bytes:
                raise SystemExit(f"{name} ended well, and left less than it had to download")

        return check


def _sizes(folder: Path) -> Iterator[int]:
    """The bytes of each file below a folder, however many names it has there."""
    found = {}
    for root, _, names in os.walk(folder):
        for name in names:
            status = os.lstat(os.path.join(root, name))  # noqa: PTH118  (thousands of them)
            if stat.S_ISREG(status.st_mode):
                found[status.st_ino] = status.st_size
    yield from found.values()


if __name__ == "__main__":
    main()
