"""Bytes that are on this machine already: folders the user names with ``--from``."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

from vcm.errors import ConfigError


class Nearby:
    """Files in some folders, found by size; whether they are the right ones, only hashing tells."""

    def __init__(self, folders: Iterable[Path]) -> None:
        """Look through the folders.

        Raises:
            ConfigError: one of them is none.
        """
        self._by_size: dict[int, list[Path]] = defaultdict(list)
        for folder in folders:
            if not folder.is_dir():
                raise ConfigError(f"--from {folder}: no such folder", hint="name a folder that holds the files")
            for path in _files(folder):
                self._by_size[path.stat().st_size].append(path)

    def candidates(self, size: int, path: str) -> list[Path]:
        """Files of that many bytes, those that are called like ``path`` first."""
        name = path.rpartition("/")[2]
        return sorted(self._by_size.get(size, ()), key=lambda candidate: candidate.name != name)


def _files(folder: Path) -> Iterator[Path]:
    for parent, _, names in os.walk(folder):
        for name in names:
            path = Path(parent, name)
            if path.is_file():
                yield path
