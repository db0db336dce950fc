"""Pruning and cleaning, carried out: what is dropped goes out of sight first, so that a kill leaves nothing wrong.

Prune keeps everybody from taking a lease while it works: it removes nothing that somebody has begun to use.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event

from vcm.core.lock import LockedModel
from vcm.core.pruning import Claim, Kind, Part, Pruning, in_order, make_pruning
from vcm.core.wording import counted
from vcm.errors import CONFIG_ERROR, PERMISSION_ERROR, VcmError
from vcm.store.files import disk_errors, remove_file, remove_folder, sync_folder
from vcm.store.hub_views import discard_view
from vcm.store.inventory import FOLDERS, metadata_folders, take_inventory
from vcm.store.leases import Leases
from vcm.store.project import Project
from vcm.store.store import Store


@dataclass(frozen=True)
class Projects:
    """The projects that use a store, as they stand now.

    Attributes:
        locks: the models of each project's lock.
        gone: projects whose folder or lock is not there any more.
        unreadable: projects whose lock is there and cannot be used now, with the reason.
        are_known: false where the store has models and no record of who uses them, as one that an older vcm filled.
    """

    locks: dict[Path, tuple[LockedModel, ...]]
    gone: tuple[Path, ...] = ()
    unreadable: tuple[tuple[Path, VcmError], ...] = ()
    are_known: bool = True

    @property
    def are_certain(self) -> bool:
        """Whether it is known what all projects need."""
        return self.are_known and not self.unreadable

    @property
    def models(self) -> list[LockedModel]:
        """The models of all locks."""
        return [model for models in self.locks.values() for model in models]

    def refuse_uncertain(self) -> None:
        """Refuse to go on where nobody can tell what a project needs.

        Raises:
            VcmError: says which project, and what is wrong with its lock.
        """
        if not self.are_known:
            raise VcmError(
                "nothing was pruned: this store has models, and no record of the projects that use them",
                error_code=CONFIG_ERROR,
                hint="run vcm sync once in each project that uses it, then prune; vcm cache clean removes everything",
            )
        if self.unreadable:
            folder, problem = self.unreadable[0]
            raise VcmError(
                "nothing was pruned: what a project needs cannot be read",
                details=[f"{path}: {error.message}" for path, error in self.unreadable],
                error_code=problem.error_code,
                hint=f"put it right, or remove {folder / 'models.lock'} if nobody needs it",
            )


@dataclass(frozen=True)
class Pruned:
    """What prune did, or would do.

    Attributes:
        running: how many running processes it has left something for.
    """

    pruning: Pruning
    projects: Projects
    running: int


def read_projects(folders: Iterable[Path]) -> Projects:
    """Read the locks of projects."""
    locks: dict[Path, tuple[LockedModel, ...]] = {}
    gone, unreadable = list[Path](), list[tuple[Path, VcmError]]()
    for folder in folders:
        try:
            lock = Project(folder).lock()
        except VcmError as error:
            unreadable.append((folder, error))
        else:
            if lock is None:
                gone.append(folder)
            else:
                locks[folder] = lock.models
    return Projects(locks, tuple(gone), tuple(unreadable))


def plan_pruning(store: Store, now: float) -> Pruned:
    """What prune would do, as things stand: nothing where a project's lock cannot be read. Nothing is changed.

    Args:
        store: what to look at.
        now: seconds since the epoch.

    Raises:
        VcmError: the store or its registry cannot be read.
    """
    with disk_errors(store.root):
        # Before the projects: whoever has let go of its lease by now has made its project known.
        claims = Leases(store.root).claims(now)
        projects = read_projects(store.registry.projects())
        parts = take_inventory(store.root)
        if not store.registry.registry_file.exists() and any(part.kind is Kind.SNAPSHOT for part in parts):
            projects = replace(projects, are_known=False)
    if not projects.are_certain:
        return Pruned(Pruning((), tuple(parts)), projects, len(claims))
    described = defaultdict[str, frozenset[str]](frozenset)
    for entry in store.layout.entries():
        for sha256 in (entry.digest, entry.config):
            described[sha256] |= {entry.model.tree_digest}
    return Pruned(make_pruning(parts, projects.models, claims, now, described), projects, len(claims))


def prunable_bytes(store: Store, now: float) -> int:
    """Bytes that prune would free now; 0 where it would not go to work."""
    try:
        return plan_pruning(store, now).pruning.freed
    except VcmError:
        return 0


def prune(store: Store, now: float, cancelled: Event | None = None) -> Pruned:
    """Drop what no known project's lock names and no running process needs.

    Args:
        store: what to prune.
        now: seconds since the epoch.
        cancelled: ends the waiting for others.

    Raises:
        VcmError: a project's lock cannot be read, and nothing was dropped; or the store cannot be written.
    """
    if not store.root.is_dir():
        return plan_pruning(store, now)
    leases = Leases(store.root)
    with disk_errors(store.root), leases.exclusive(cancelled), store.layout.exclusive(cancelled):
        planned = plan_pruning(store, now)
        planned.projects.refuse_uncertain()
        gone = [part.name for part in planned.pruning.dropped(Kind.SNAPSHOT, Kind.BLOB)]
        store.layout.drop(gone, cancelled, for_good=True)
        _remove(store, planned.pruning.drop)
        store.registry.forget(planned.projects.gone)
        store.registry.drop([part.name for part in planned.pruning.dropped(Kind.SNAPSHOT)])
        store.layout.confirm()
    return planned


def plan_cleaning(store: Store) -> Pruning:
    """All that vcm has put into the store's folder.

    Raises:
        VcmError: it cannot be read.
    """
    with disk_errors(store.root):
        return Pruning(tuple(in_order(take_inventory(store.root))), ())


def clean(store: Store, now: float, cancelled: Event | None = None) -> Pruning:
    """Remove all that vcm has put into the store's folder, and the folders that are empty then.

    Args:
        store: what to clean.
        now: seconds since the epoch.
        cancelled: ends the waiting for others.

    Raises:
        VcmError: somebody uses the store, or it cannot be written.
    """
    if not store.root.is_dir():
        return plan_cleaning(store)
    leases = Leases(store.root)
    with disk_errors(store.root), leases.exclusive(cancelled):
        _refuse_users(store, leases.claims(now))
        planned = plan_cleaning(store)
        _remove(store, [part for part in planned.drop if part.kind is not Kind.STORE_LOCK])
        for name in FOLDERS:
            _remove_if_empty(store.root / name)
        leases.remove_store_lock()
    _remove_if_empty(leases.folder)
    _remove_if_empty(store.root)
    return planned


def _refuse_users(store: Store, claims: list[Claim]) -> None:
    if claims:
        raise VcmError(
            f"{store.root} is in use by {counted(len(claims), 'running vcm')}",
            error_code=PERMISSION_ERROR,
            hint="wait until it is done, then run vcm cache clean again",
        )


def _remove(store: Store, parts: Iterable[Part]) -> None:
    """Remove parts of the store: the snapshots out of sight, then all off the disk."""
    parts = list(parts)
    hidden = [store.snapshots.hide(part.name) for part in parts if part.kind is Kind.SNAPSHOT]
    if hidden:
        # A loss of power shall not bring back a folder whose files are gone.
        sync_folder(store.snapshots.folder)
    for folder in hidden:
        remove_folder(folder)
    for part in parts:
        path = store.root / part.place
        if part.kind is Kind.VIEW:
            discard_view(store.root, part.name)
        elif part.kind is Kind.LEFTOVER and path.is_dir():
            remove_folder(path)
        elif part.kind is not Kind.SNAPSHOT:
            with suppress(FileNotFoundError):
                remove_file(path)
    for folder in metadata_folders(store.root):
        _remove_if_empty(folder)


def _remove_if_empty(folder: Path) -> None:
    # A folder that is a link stays: where it leads is the user's.
    with suppress(OSError):
        folder.rmdir()
