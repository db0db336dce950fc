"""What is downloaded in the benchmarks: repositories of invented bytes that do not compress and do not repeat."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

GIBIBYTE = 1 << 30
SMALLEST, LARGEST = 4 << 10, 64 << 10
"""Bytes of a small file, at least and at most."""

_BLOCK = random.Random(0).randbytes(1 << 20)  # noqa: S311  (no secret)
_SHARDS = 8
_REPOS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One of the things to download.

    Attributes:
        title: what it is; ``{size}`` stands for its GiB, ``{files}`` for its small files.
        write: makes its repositories in a folder, of so many bytes and small files.
        size: the GiB of its large files, in multiples of the size that the caller chooses.
        files: its small files, unless the caller chooses another number.
    """

    title: str
    write: Callable[[Path, int, int], None]
    size: float = 0
    files: int = 0


def write_large(path: Path, size: int) -> None:
    """Write a file of ``size`` bytes as fast as the disk takes them; the path decides what they are."""
    path.parent.mkdir(parents=True, exist_ok=True)
    name = "/".join(path.parts[-2:]).encode()
    with path.open("xb") as stream:
        number = 0
        while size > 0:
            # Every block begins with words of its own, so that no two digests are the same.
            head = b"%s block %d " % (name, number)
            number += 1
            size -= stream.write((head + _BLOCK[len(head) :])[:size])


def write_small(path: Path) -> None:
    """Write a file of 4 to 64 kB; the path decides how many, and what they are."""
    path.parent.mkdir(parents=True, exist_ok=True)
    generator = random.Random("/".join(path.parts[-2:]))  # noqa: S311  (likewise)
    path.write_bytes(generator.randbytes(generator.randrange(SMALLEST, LARGEST)))


def _one(folder: Path, size: int, _: int) -> None:
    write_large(folder / "one" / "model.safetensors", size)


def _shards(folder: Path, size: int, files: int) -> None:
    for number in range(1, _SHARDS + 1):
        write_large(folder / "shards" / f"model-{number:05}-of-{_SHARDS:05}.safetensors", size // _SHARDS)
    for number in range(files):
        write_small(folder / "shards" / f"config-{number}.json")


def _small(folder: Path, _: int, files: int) -> None:
    # Half of them in Git LFS: small files come either way.
    for number in range(files):
        write_small(folder / "small" / f"part-{number:04}.{'json' if number % 2 else 'safetensors'}")


def _repos(folder: Path, _: int, files: int) -> None:
    for number in range(_REPOS):
        write_small(folder / f"model-{number}" / "model.safetensors")
        for file in range(files // _REPOS - 1):
            write_small(folder / f"model-{number}" / f"config-{file}.json")


CASES = {
    "large": Case(title="one file of {size:g} GiB", write=_one, size=1),
    "shards": Case(title="8 shards, {size:g} GiB in all, and {files} small files", write=_shards, size=1, files=12),
    "small": Case(title="{files} files of 4-64 kB", write=_small, files=300),
    "repos": Case(title="20 repositories, {files} files of 4-64 kB in all", write=_repos, files=300),
    "huge": Case(title="one file of {size:g} GiB", write=_one, size=3),
    "many": Case(title="{files} files of 4-64 kB", write=_small, files=5000),
}
"""By name. The first four are for speed, the last two for memory."""
