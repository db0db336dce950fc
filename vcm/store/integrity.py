"""The whole store, hashed: every blob against its name, every snapshot against the tree digest that is its name."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Event

from vcm.core.digest import tree_digest
from vcm.core.lock import LockedFile
from vcm.core.pruning import Kind
from vcm.store.files import hash_file
from vcm.store.inventory import take_inventory, walk
from vcm.store.store import Store

_Inode = tuple[int, int]


@dataclass(frozen=True)
class Integrity:
    """What hashing the store has shown.

    Attributes:
        blobs: how many were looked at.
        snapshots: likewise.
        size: bytes that were hashed; what several names share is hashed once.
        damaged_blobs: SHA-256 that the bytes no longer have.
        damaged_snapshots: tree digests that the files no longer have.
    """

    blobs: int
    snapshots: int
    size: int
    damaged_blobs: tuple[str, ...]
    damaged_snapshots: tuple[str, ...]

    @property
    def is_whole(self) -> bool:
        """Whether every byte is right."""
        return not self.damaged_blobs and not self.damaged_snapshots


@dataclass
class _Files:
    """What is to be hashed: each set of bytes once."""

    paths: dict[_Inode, Path] = field(default_factory=dict)
    sizes: dict[_Inode, int] = field(default_factory=dict)

    def add(self, path: Path, inode: _Inode, size: int) -> _Inode:
        self.paths.setdefault(inode, path)
        self.sizes[inode] = size
        return inode


class StoreCheck:
    """One look at a whole store.

    Args:
        store: which.
        cancelled: once set, the hashing ends with KeyboardInterrupt.
    """

    def __init__(self, store: Store, cancelled: Event) -> None:
        """List what there is.

        Raises:
            OSError: the store cannot be read.
        """
        self._store = store
        self._cancelled = cancelled
        self._files = _Files()
        self._blobs: dict[str, _Inode] = {}
        self._snapshots: dict[str, dict[str, _Inode | None]] = {}
        for part in take_inventory(store.root):
            if part.kind is Kind.BLOB:
                file = part.files[0]
                self._blobs[part.name] = self._files.add(store.root / part.place, file.inode, file.size)
            elif part.kind is Kind.SNAPSHOT:
                self._snapshots[part.name] = self._listed(store.snapshots.path(part.name))

    @property
    def size(self) -> int:
        """Bytes to hash."""
        return sum(self._files.sizes.values())

    def _listed(self, folder: Path) -> dict[str, _Inode | None]:
        return {
            path: self._files.add(folder / path, (status.st_dev, status.st_ino), status.st_size)
            if stat.S_ISREG(status.st_mode)
            else None
            for path, status in walk(str(folder))
        }

    def run(self, progress: Callable[[int], None]) -> Integrity:
        """Hash everything, with as many threads as there are processors.

        Args:
            progress: told how many more bytes were hashed; by any thread.

        Raises:
            OSError: a file cannot be read.
        """

        def advanced(count: int) -> None:
            if self._cancelled.is_set():
                raise KeyboardInterrupt
            progress(count)

        # The largest first: the last one to end decides how long it takes.
        inodes = sorted(self._files.paths, key=lambda inode: -self._files.sizes[inode])
        with ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="vcm-hash") as pool:
            try:
                found = pool.map(lambda inode: _digest(self._files.paths[inode], advanced), inodes)
                digests = dict(zip(inodes, found, strict=True))
            except BaseException:
                self._cancelled.set()
                raise
        # What is gone by now was taken away by somebody who may.
        blobs = [name for name, inode in self._blobs.items() if digests[inode] != name]
        snapshots = [
            name
            for name, files in self._snapshots.items()
            if _tree_digest((path, digests[inode] if inode else None) for path, inode in files.items()) != name
        ]
        return Integrity(
            blobs=len(self._blobs),
            snapshots=len(self._snapshots),
            size=self.size,
            damaged_blobs=tuple(name for name in sorted(blobs) if self._store.blobs.path(name).exists()),
            damaged_snapshots=tuple(name for name in sorted(snapshots) if self._store.snapshots.path(name).exists()),
        )


def _digest(path: Path, progress: Callable[[int], None] | None = None) -> str | None:
    """The SHA-256 of a file; None where it is gone, or the disk has lost its bytes."""
    try:
        return hash_file(path, progress)[0]
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno == errno.EIO:
            return None
        raise


def _tree_digest(files: Iterable[tuple[str, str | None]]) -> str | None:
    """The tree digest of files, by path and SHA-256; None where one of them has none."""
    rows = []
    for path, digest in files:
        if digest is None:
            return None
        rows.append(LockedFile(path, 0, digest))
    try:
        return tree_digest(rows)
    except UnicodeEncodeError:
        return None  # no name of a model's file


def discard_damaged(store: Store, found: Integrity) -> Integrity:
    """Take away what hashing has shown to be wrong, unless somebody has put it right since.

    Args:
        store: what was looked at.
        found: what hashing has shown.

    Returns:
        What was taken away.

    Raises:
        OSError: the store cannot be written.
    """
    blobs, snapshots = list[str](), list[str]()
    for name in found.damaged_snapshots:
        if store.snapshots.path(name).is_dir():
            with store.blobs.exclusive(name):
                if _tree_digest_of(store.snapshots.path(name)) != name:
                    store.snapshots.discard(name)
                    snapshots.append(name)
    for name in found.damaged_blobs:
        if store.blobs.path(name).exists():
            with store.blobs.exclusive(name):
                if _digest(store.blobs.path(name)) != name:
                    store.blobs.discard(name)
                    blobs.append(name)
    return replace(found, damaged_blobs=tuple(blobs), damaged_snapshots=tuple(snapshots))


def _tree_digest_of(folder: Path) -> str | None:
    rows = []
    for path, status in walk(str(folder)):
        rows.append((path, _digest(folder / path) if stat.S_ISREG(status.st_mode) else None))
    return _tree_digest(rows)
