"""Bytes that are on this machine already, outside the store's blobs: where they may be, going by names and sizes.

Looked for in the store's own snapshots, in the user's Hugging Face cache, and in bundles and folders named with
``--from``. Nothing is looked through before something must be fetched, and whether a file is the right one, only
hashing tells.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from stat import S_ISREG
from threading import Lock
from typing import TYPE_CHECKING

from vcm.core.lock import LockedFile, LockedModel
from vcm.core.plan import Origin, Plan, SnapshotState, Supply
from vcm.errors import ConfigError
from vcm.store.admitting import takes_no_room
from vcm.store.hub_cache import HubCache
from vcm.store.store import Store

if TYPE_CHECKING:
    from vcm.store.bundles import BundleFile, Member

Sources = Sequence[tuple[LockedModel, LockedFile]]
"""One file's bytes, and the models that have it under one path or another; never empty."""


Place = tuple[Path, int | None]
"""A file, and where in it."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A regular file of the right size, or such a member of a bundle.

    Attributes:
        path: the file's; the bundle's.
        part: which member it is, of what.
        may_link: whether it may become one file with the store's blob: whoever named a folder may write into it.
    """

    path: Path
    origin: Origin
    part: tuple[BundleFile, Member] | None = None

    @property
    def place(self) -> Place:
        """What no other candidate has."""
        return self.path, self.part[1].start if self.part else None

    @property
    def may_link(self) -> bool:
        return self.origin not in (Origin.FOLDERS, Origin.BUNDLES)


class Nearby:
    """Finds files that may have the bytes that are wanted; may be used by several threads."""

    def __init__(self, store: Store, hub_cache: HubCache, places: Iterable[Path] = ()) -> None:
        """Note where to look.

        Args:
            store: its snapshots.
            hub_cache: the user's.
            places: folders and bundles.

        Raises:
            ConfigError: one of the places is neither.
            VcmError: a bundle cannot be read.
        """
        self._store = store
        self._root = Path(os.path.realpath(store.root))
        self._hub_cache = hub_cache
        self._folders = list[Path]()
        self._bundles: list[BundleFile] = []
        self._lock = Lock()
        for place in places:
            if place.is_dir():
                self._folders.append(place)
            elif place.exists():
                # Reading tars costs a start that needs none.
                from vcm.store.bundles import BundleFile

                self._bundles.append(BundleFile(place))
            else:
                raise ConfigError(
                    f"--from {place}: no such folder or bundle",
                    hint="name a folder that holds the files, or what vcm bundle has written",
                )

    def candidates(self, sources: Sources, *, damaged: bool = False) -> Iterator[Candidate]:
        """Files of that many bytes that are not known to hold others, those that cost least first.

        Args:
            sources: what is wanted.
            damaged: whether the store's own copy turned out to be damaged, so that its other copies are worth a look.

        Raises:
            VcmError: a bundle is none, or was cut short.
        """
        wanted, seen = sources[0][1], set[Path]()
        yield from self._files(self._known_places(sources, damaged=damaged), wanted, seen)
        with self._lock:
            members = [(each, member) for each in self._bundles for member in each.members.get(wanted.sha256, ())]
        for bundle, member in members:
            if member.size == wanted.size:
                yield Candidate(bundle.path, Origin.BUNDLES, (bundle, member))
        with self._lock:
            named = self._by_size.get(wanted.size, ())
        likeliest = sorted(named, key=lambda path: _unlikeliness(path, wanted))
        yield from self._files(((Origin.FOLDERS, path) for path in likeliest), wanted, seen)

    @property
    def deltas(self) -> dict[Path, str]:
        """The bundles that leave out what an older lock names: the SHA-256 of that lock's text."""
        with self._lock:
            return {each.path: each.since for each in self._bundles if each.since}

    def _files(self, places: Iterable[tuple[Origin, Path]], wanted: LockedFile, seen: set[Path]) -> Iterator[Candidate]:
        for origin, place in places:
            if not _has_size(place, wanted.size):
                continue
            path = Path(os.path.realpath(place))
            # What a snapshot has a link to, in the place of a file, is somebody else's.
            is_astray = origin is Origin.STORE and not path.is_relative_to(self._root)
            if path in seen or is_astray or _size(path) != wanted.size:
                continue
            seen.add(path)
            if self._store.hasher.known(path) in (None, wanted.sha256):
                yield Candidate(path, origin)

    def found(self, plan: Plan) -> dict[str, Candidate]:
        """By SHA-256, a candidate for each file to fetch that has one: for as many as there are, one of its own."""
        to_fetch, damaged = {file.sha256 for file in plan.to_fetch}, damaged_files(plan)
        found, taken = dict[str, Candidate](), set[Place]()
        for sha256, sources in sources_of(plan).items():
            if sha256 in to_fetch:
                for candidate in self.candidates(sources, damaged=sha256 in damaged):
                    if sha256 not in found or candidate.place not in taken:
                        found[sha256] = candidate
                    if candidate.place not in taken:
                        taken.add(candidate.place)
                        break
        return found

    def takes_no_room(self, candidate: Candidate | None) -> bool:
        """Whether a file will be shared with the store, as far as one can tell before."""
        if candidate is None or not candidate.may_link:
            return False
        try:
            return takes_no_room(self._store.blobs, candidate.path)
        except OSError:
            return False

    def supplies(self, plan: Plan) -> dict[str, Supply]:
        """By SHA-256, what this machine may have of the files to fetch, broken-off downloads too."""
        partial = {file.sha256: _size(self._store.blobs.partial_folder / file.sha256) or 0 for file in plan.to_fetch}
        supplies = {sha256: Supply(Origin.PARTIAL, size) for sha256, size in partial.items() if size}
        sizes, counted = {file.sha256: file.size for file in plan.to_fetch}, set[Place]()
        for sha256, candidate in self.found(plan).items():
            # One file is but one of those that have its size.
            if candidate.place not in counted:
                counted.add(candidate.place)
                supplies[sha256] = Supply(candidate.origin, sizes[sha256])
        return supplies

    def _known_places(self, sources: Sources, *, damaged: bool) -> Iterator[tuple[Origin, Path]]:
        snapshots, file = self._store.snapshots, sources[0][1]
        for model, each in sources:
            yield Origin.STORE, snapshots.path(model.tree_digest) / each.path
        if damaged:
            for path in snapshots.copies(file.size):
                yield Origin.STORE, path
        for model, each in sources:
            for path in self._hub_cache.copies(model.repo, model.commit, each):
                yield Origin.HUB_CACHE, path

    @cached_property
    def _by_size(self) -> dict[int, list[Path]]:
        found: dict[int, list[Path]] = defaultdict(list)
        for folder in self._folders:
            for parent, _, names in os.walk(folder):
                for name in names:
                    path = Path(parent, name)
                    size = _size(os.path.realpath(path))
                    if size is not None:
                        found[size].append(path)
        return found


def sources_of(plan: Plan) -> dict[str, list[tuple[LockedModel, LockedFile]]]:
    """By SHA-256, the files that are to become blobs, each with all models of the plan that want it."""
    wanted: dict[str, dict[str, tuple[LockedModel, LockedFile]]] = {}
    for each in plan.changes:
        for file in (*each.fetch, *each.reuse):
            wanted.setdefault(file.sha256, {}).setdefault(each.model.name, (each.model, file))
    return {sha256: list(sources.values()) for sha256, sources in wanted.items()}


def damaged_files(plan: Plan) -> set[str]:
    """SHA-256 of what is wrong in damaged snapshots: other copies in the store are worth a look."""
    damaged = [each for each in plan.changes if each.state is SnapshotState.DAMAGED]
    return {file.sha256 for each in damaged for file in (*each.fetch, *each.reuse)}


def _unlikeliness(path: Path, file: LockedFile) -> tuple[bool, bool, bool]:
    """Many shards have the same size: the right one is found at once where its name tells."""
    return (
        file.sha256 not in path.name,
        not path.as_posix().endswith(f"/{file.path}"),
        path.name != Path(file.path).name,
    )


def _has_size(path: Path, size: int) -> bool:
    """Whether a path leads to a file of so many bytes: a glance, which most of what is not there does not survive."""
    try:
        return path.stat().st_size == size
    except (OSError, ValueError):
        return False


def _size(path: str | Path) -> int | None:
    """The size of a regular file; None for all else. Opening a pipe would wait for ever."""
    try:
        status = os.lstat(path)
    except (OSError, ValueError):
        return None
    return status.st_size if S_ISREG(status.st_mode) else None
