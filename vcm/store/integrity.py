"""The whole store, hashed: every blob against its name, every snapshot against the tree digest that is its name."""

from __future__ import annotations

import errno
import stat
from collections.abc import Mapping
from dataclasses import dataclass, replace

from vcm.core.digest import tree_digest
from vcm.core.lock import LockedFile
from vcm.core.pruning import Kind
from vcm.core.reporter import Reporter
from vcm.store.files import walk
from vcm.store.hashing import Job
from vcm.store.inventory import take_inventory
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


def check_store(store: Store, reporter: Reporter) -> Integrity:
    """Hash all blobs and snapshots, as they stand now.

    Args:
        store: which.
        reporter: told of progress.

    Raises:
        OSError: a file cannot be read.
    """
    jobs: dict[_Inode, Job] = {}
    sizes: dict[_Inode, int] = {}

    def added(place: str, inode: _Inode, size: int) -> _Inode:
        jobs.setdefault(inode, (place, store.root / place))
        sizes[inode] = size
        return inode

    blobs: dict[str, _Inode] = {}
    snapshots: dict[str, dict[str, _Inode | None]] = {}
    for part in take_inventory(store.root):
        if part.kind is Kind.BLOB:
            blobs[part.name] = added(part.place, part.files[0].inode, part.files[0].size)
        elif part.kind is Kind.SNAPSHOT:
            snapshots[part.name] = {
                path: added(f"{part.place}/{path}", (status.st_dev, status.st_ino), status.st_size)
                if stat.S_ISREG(status.st_mode)
                else None
                for path, status in walk(store.root / part.place)
            }
    reporter.started("verifying the store", sum(sizes.values()))
    try:
        found = store.hasher.digests(list(jobs.values()), reporter, anew=True, announced=True)
    finally:
        reporter.finished()
    digests = dict(zip(jobs, map(_digest, found), strict=True))
    damaged_blobs = [name for name, inode in blobs.items() if digests[inode] != name]
    damaged_snapshots = [
        name
        for name, files in snapshots.items()
        if _tree_digest({path: digests[inode] if inode else None for path, inode in files.items()}) != name
    ]
    # What is gone by now was taken away by somebody who may.
    return Integrity(
        blobs=len(blobs),
        snapshots=len(snapshots),
        size=sum(sizes.values()),
        damaged_blobs=tuple(name for name in sorted(damaged_blobs) if store.blobs.path(name).exists()),
        damaged_snapshots=tuple(name for name in sorted(damaged_snapshots) if store.snapshots.path(name).exists()),
    )


def _digest(found: str | OSError) -> str | None:
    """What hashing gave; None for a file that is gone, or whose bytes the disk has lost."""
    if isinstance(found, str):
        return found
    if isinstance(found, FileNotFoundError) or found.errno == errno.EIO:
        return None
    raise found


def _tree_digest(files: Mapping[str, str | None]) -> str | None:
    """The tree digest of files, by path and SHA-256; None where one of them has none."""
    rows = [LockedFile(path, 0, digest) for path, digest in files.items() if digest is not None]
    try:
        return tree_digest(rows) if len(rows) == len(files) else None
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
        VcmError: likewise.
    """
    blobs, snapshots = list[str](), list[str]()
    for name in found.damaged_snapshots:
        if store.snapshots.path(name).is_dir():
            with store.blobs.exclusive(name):
                if _tree_digest_now(store, name) != name:
                    store.layout.drop([name])
                    store.snapshots.discard(name)
                    snapshots.append(name)
    for name in found.damaged_blobs:
        if store.blobs.path(name).exists():
            with store.blobs.exclusive(name):
                if _digest(*store.hasher.digests([(name, store.blobs.path(name))])) != name:
                    store.layout.drop([name])
                    store.blobs.discard(name)
                    blobs.append(name)
    return replace(found, damaged_blobs=tuple(blobs), damaged_snapshots=tuple(snapshots))


def _tree_digest_now(store: Store, name: str) -> str | None:
    folder = store.snapshots.path(name)
    files = {path: stat.S_ISREG(status.st_mode) for path, status in walk(folder)}
    if not all(files.values()):
        return None
    digests = store.hasher.digests([(path, folder / path) for path in files])
    return _tree_digest(dict(zip(files, map(_digest, digests), strict=True)))
