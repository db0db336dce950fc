"""Pruning: which parts of a store nobody needs, and what they take, as pure functions.

What stays is what a known project's lock names, and what a running vcm has claimed. All else is dropped, some of it
only when it is old enough that nobody will come back for it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

from vcm.core.lock import LockedModel

_HOUR = 3600.0
_DAY = 24 * _HOUR
YOUNG = _HOUR
"""Seconds for which a blob is kept that stands in no snapshot, because locking may have fetched it for a lock that is
still to be synced; and what may be in the making."""
YOUNG_PARTIAL = 7 * _DAY
"""Seconds for which a download that was broken off waits to be taken up again."""
YOUNG_ANSWER = 30 * _DAY
"""Seconds for which an answer of the hub is kept that nobody asks for."""


class Kind(StrEnum):
    """What a part of the store is. Parts are dropped in this order, so that nothing visible ever lacks its bytes."""

    LAYOUT = "layout"
    VIEW = "view"
    SNAPSHOT = "snapshot"
    RECORD = "record"
    BLOB = "blob"
    PARTIAL = "partial"
    LEFTOVER = "leftover"
    ANSWER = "answer"
    INDEX = "index"
    REGISTRY = "registry"
    LOCK = "lock"
    LEASE = "lease"
    STORE_LOCK = "store-lock"


@dataclass(frozen=True, slots=True)
class StoredFile:
    """One name of some bytes.

    Attributes:
        inode: device and number: what all hard links to the same bytes have in common.
        size: bytes.
        links: how many names the bytes have, those outside of the store too.
    """

    inode: tuple[int, int]
    size: int
    links: int = 1


@dataclass(frozen=True, slots=True)
class Part:
    """A file or folder of the store.

    Attributes:
        name: the digest it is named by, or its file name.
        place: its path in the store, ``/`` between the parts.
        files: the file itself, or all in the folder.
        used: when it was last written, or read where that is known; seconds since the epoch.
    """

    kind: Kind
    name: str
    place: str
    files: tuple[StoredFile, ...] = ()
    used: float = 0.0


@dataclass(frozen=True, slots=True)
class Claim:
    """What a running vcm needs, or a program that it has started.

    Attributes:
        name: that of its lease.
        began: seconds since the epoch.
        blobs: by SHA-256; None for all there are and will be.
        snapshots: by tree digest; None likewise.
    """

    name: str
    began: float
    blobs: frozenset[str] | None = None
    snapshots: frozenset[str] | None = None


@dataclass(frozen=True)
class Pruning:
    """What prune would do.

    Attributes:
        drop: in the order in which it has to go.
        keep: all else.
    """

    drop: tuple[Part, ...]
    keep: tuple[Part, ...]

    def dropped(self, *kinds: Kind) -> tuple[Part, ...]:
        """The parts of some kinds that go."""
        return tuple(part for part in self.drop if part.kind in kinds)

    @cached_property
    def freed(self) -> int:
        """Bytes that the disk gets back: those of which no name is left, in the store or outside."""
        names = Counter(file.inode for part in self.drop for file in part.files)
        files = {file.inode: file for part in self.drop for file in part.files}
        return sum(file.size for inode, file in files.items() if names[inode] >= file.links)

    @cached_property
    def linked_elsewhere(self) -> int:
        """Bytes of what goes that the disk does not get back, because files outside of the store are the same."""
        names = Counter(file.inode for part in (*self.drop, *self.keep) for file in part.files)
        files = {file.inode: file for part in self.drop for file in part.files}
        return sum(file.size for inode, file in files.items() if names[inode] < file.links)


def make_pruning(
    parts: Iterable[Part],
    locked: Iterable[LockedModel],
    claims: Sequence[Claim],
    now: float,
    described: Mapping[str, frozenset[str]] | None = None,
) -> Pruning:
    """Tell what nobody needs from what somebody does.

    Args:
        parts: what the store has.
        locked: the models in the locks of all known projects.
        claims: what running processes need.
        now: seconds since the epoch.
        described: by SHA-256 of a manifest or its configuration, the tree digests of the snapshots that it is of.
    """
    parts = in_order(parts)
    needs = _Needed(parts, locked, claims, now, described or {}).needs
    drop, keep = list[Part](), list[Part]()
    for part in parts:
        (keep if needs(part) else drop).append(part)
    return Pruning(tuple(drop), tuple(keep))


def in_order(parts: Iterable[Part]) -> list[Part]:
    """Parts in the order in which they have to go."""
    order = {kind: position for position, kind in enumerate(Kind)}
    return sorted(parts, key=lambda part: (order[part.kind], part.place))


class _Needed:
    def __init__(
        self,
        parts: Iterable[Part],
        locked: Iterable[LockedModel],
        claims: Sequence[Claim],
        now: float,
        described: Mapping[str, frozenset[str]],
    ) -> None:
        locked = list(locked)
        self._snapshots = {model.tree_digest for model in locked}
        self._blobs = {file.sha256 for model in locked for file in model.files}
        self._claims = claims
        # A program that runs on a view needs what is there, and puts nothing into the store.
        views = {part.name for part in parts if part.kind is Kind.VIEW}
        self._writing = [claim for claim in claims if claim.name not in views]
        self._now = now
        self._described = described
        self._in_snapshots = {file.inode for part in parts if part.kind is Kind.SNAPSHOT for file in part.files}

    def needs(self, part: Part) -> bool:
        match part.kind:
            case Kind.SNAPSHOT | Kind.RECORD:
                needed = self._needs_snapshot(part.name)
            case Kind.BLOB:
                needed = (
                    part.name in self._blobs or self._is_claimed(part) or self._describes(part) or self._is_new(part)
                )
            case Kind.PARTIAL:
                needed = self._is_claimed(part) or self._is_younger(part, YOUNG_PARTIAL)
            case Kind.ANSWER:
                needed = self._is_younger(part, YOUNG_ANSWER)
            case Kind.LEFTOVER:
                # Of a running process, if it came after that process began.
                needed = any(part.used >= claim.began for claim in self._writing) or self._is_younger(part, YOUNG)
            case Kind.LOCK:
                # Somebody may have opened it and be about to hold it: two could work at once if it went now.
                needed = bool(self._writing) or self._is_younger(part, YOUNG)
            case Kind.LEASE | Kind.VIEW:
                needed = any(part.name == claim.name for claim in self._claims)
            case Kind.LAYOUT | Kind.INDEX | Kind.REGISTRY | Kind.STORE_LOCK:
                needed = True
        return needed

    def _is_claimed(self, part: Part) -> bool:
        return any(claim.blobs is None or part.name in claim.blobs for claim in self._claims)

    def _needs_snapshot(self, name: str) -> bool:
        return name in self._snapshots or any(
            claim.snapshots is None or name in claim.snapshots for claim in self._claims
        )

    def _describes(self, part: Part) -> bool:
        return any(self._needs_snapshot(name) for name in self._described.get(part.name, ()))

    def _is_new(self, part: Part) -> bool:
        is_used_up = part.name in self._described or any(file.inode in self._in_snapshots for file in part.files)
        return not is_used_up and self._is_younger(part, YOUNG)

    def _is_younger(self, part: Part, seconds: float) -> bool:
        return self._now - part.used < seconds


@dataclass(frozen=True, slots=True)
class Usage:
    """What a project takes of a store, in bytes.

    Attributes:
        size: all that its lock names and the store has.
        unique: what no other known project's lock names.
    """

    size: int
    unique: int

    @property
    def shared(self) -> int:
        """What it has in common with another project."""
        return self.size - self.unique


def usage(parts: Iterable[Part], locks: Mapping[str, Iterable[LockedModel]]) -> dict[str, Usage]:
    """What each project takes; bytes that stand under several names count once.

    Args:
        parts: what the store has.
        locks: by project, the models of its lock.
    """
    by_name: dict[tuple[Kind, str], tuple[StoredFile, ...]] = {
        (part.kind, part.name): part.files for part in parts if part.kind in (Kind.BLOB, Kind.SNAPSHOT, Kind.RECORD)
    }
    used = {project: _files_of(models, by_name) for project, models in locks.items()}
    users = Counter(inode for files in used.values() for inode in files)
    return {
        project: Usage(sum(files.values()), sum(size for inode, size in files.items() if users[inode] == 1))
        for project, files in used.items()
    }


def _files_of(
    models: Iterable[LockedModel], by_name: Mapping[tuple[Kind, str], tuple[StoredFile, ...]]
) -> dict[tuple[int, int], int]:
    wanted = set[tuple[Kind, str]]()
    for model in models:
        wanted |= {(Kind.SNAPSHOT, model.tree_digest), (Kind.RECORD, model.tree_digest)}
        wanted |= {(Kind.BLOB, file.sha256) for file in model.files}
    return {file.inode: file.size for each in wanted for file in by_name.get(each, ())}


def total_size(parts: Iterable[Part], *kinds: Kind) -> int:
    """Bytes of some kinds of parts, by default of all; those that stand under several names count once."""
    chosen = (part for part in parts if not kinds or part.kind in kinds)
    return sum({file.inode: file.size for part in chosen for file in part.files}.values())
