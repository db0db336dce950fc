"""The plan: what sync would do, from the lock and what the store has, as a pure function."""

from __future__ import annotations

from enum import StrEnum
from types import MappingProxyType

from vcm.core.records import record
from vcm.core.wording import did_you_mean
from vcm.errors import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from vcm.core.lock import Lock, LockedFile, LockedModel
    from vcm.core.manifest import Manifest, Requirement


class SnapshotState(StrEnum):
    """What the store has of one model."""

    INSTALLED = "installed"
    MISSING = "missing"
    DAMAGED = "damaged"


@record(frozen=True)
class PlannedModel:
    """What happens to one model: its files to fetch, to link and to leave, or nothing.

    Attributes:
        fetch: files whose bytes are not in the store, each digest once over the whole plan.
        reuse: files whose bytes are there, or come with another model of the plan.
        keep: files that stand whole in a damaged snapshot, and stay.
    """

    model: LockedModel
    state: SnapshotState
    fetch: tuple[LockedFile, ...] = ()
    reuse: tuple[LockedFile, ...] = ()
    keep: tuple[LockedFile, ...] = ()

    @property
    def bytes_to_fetch(self) -> int:
        """Bytes that must come from outside the store."""
        return sum(file.size for file in self.fetch)

    @property
    def bytes_to_reuse(self) -> int:
        """Bytes that are in the store already."""
        return sum(file.size for file in (*self.reuse, *self.keep))


class Origin(StrEnum):
    """Where on this machine bytes may be that are not among the store's blobs."""

    STORE = "another model"
    HUB_CACHE = "the Hugging Face cache"
    BUNDLES = "the bundles that were named"
    FOLDERS = "the folders that were named"
    PARTIAL = "downloads that were broken off"
    MIRRORS = "mirrors that are folders"


@record(frozen=True)
class Supply:
    """Bytes of one file that need not be fetched, going by names and sizes: only hashing tells whether that is so."""

    origin: Origin
    size: int


@record(frozen=True)
class Plan:
    """What sync would do, model by model.

    Attributes:
        supplies: by SHA-256, what this machine may have of the files to fetch; empty where nobody has looked.
        lacking: SHA-256 of the files to fetch that nobody who may be asked has.
    """

    models: tuple[PlannedModel, ...]
    supplies: Mapping[str, Supply] = MappingProxyType({})
    lacking: Collection[str] = frozenset()

    @property
    def changes(self) -> tuple[PlannedModel, ...]:
        """The models that are not installed as they should be."""
        return tuple(each for each in self.models if each.state is not SnapshotState.INSTALLED)

    @property
    def to_fetch(self) -> tuple[LockedFile, ...]:
        """The files whose bytes must come from outside the store."""
        return tuple(file for each in self.models for file in each.fetch)

    @property
    def bytes_to_fetch(self) -> int:
        """Bytes that must come from outside the store."""
        return sum(file.size for file in self.to_fetch)

    @property
    def bytes_lacking(self) -> int:
        """How many of the bytes to fetch nobody can give."""
        return sum(file.size for file in self.to_fetch if file.sha256 in self.lacking)

    @property
    def bytes_supplied(self) -> dict[Origin, int]:
        """How many of the bytes to fetch may be on this machine, at most, by where they are."""
        sizes: dict[Origin, int] = {}
        for file in self.to_fetch:
            supply = self.supplies.get(file.sha256)
            if supply is not None and supply.size:
                sizes[supply.origin] = sizes.get(supply.origin, 0) + min(supply.size, file.size)
        return sizes


def make_plan(
    models: Iterable[LockedModel],
    states: dict[str, SnapshotState],
    present: Collection[str],
    standing: Mapping[str, Collection[str]] | None = None,
) -> Plan:
    """What has to happen so that every model is installed.

    Args:
        models: what the lock wants here.
        states: by tree digest, what the store has; a digest that is not named is missing.
        present: SHA-256 of the blobs the store has, whole and unchanged.
        standing: by tree digest, the paths that are whole in a damaged snapshot.
    """
    coming = set(present)
    planned = []
    for model in models:
        state = states.get(model.tree_digest, SnapshotState.MISSING)
        if state is SnapshotState.INSTALLED:
            planned.append(PlannedModel(model, state))
            continue
        whole = (standing or {}).get(model.tree_digest, ()) if state is SnapshotState.DAMAGED else ()
        fetch: list[LockedFile] = []
        reuse: list[LockedFile] = []
        keep: list[LockedFile] = []
        for file in model.files:
            if file.path in whole:
                keep.append(file)
                continue
            (reuse if file.sha256 in coming else fetch).append(file)
            coming.add(file.sha256)
        planned.append(PlannedModel(model, state, tuple(fetch), tuple(reuse), tuple(keep)))
    return Plan(tuple(planned))


ALL_GROUPS = "*"
"""Stands for every group where groups are asked for."""


def in_scope(manifest: Manifest, groups: Collection[str] = ()) -> tuple[Requirement, ...]:
    """The requirements that matter here: no groups or one that is asked for, and a marker that fits.

    Raises:
        ConfigError: a group that no model is in.
    """
    known = {group for model in manifest.models for group in model.groups}
    for group in groups:
        if group != ALL_GROUPS and group not in known:
            raise ConfigError(
                f'no model is in a group "{group}"{did_you_mean(group, known)}',
                hint=f"groups of this project: {', '.join(sorted(known)) or 'none'}",
            )
    return tuple(
        model
        for model in manifest.models
        if model.applies() and (not model.groups or ALL_GROUPS in groups or set(model.groups) & set(groups))
    )


def models_in_scope(manifest: Manifest, lock: Lock, groups: Collection[str] = ()) -> list[LockedModel]:
    """The locked models that matter here, in name order.

    Raises:
        ConfigError: a group that no model is in.
    """
    wanted = {requirement.name for requirement in in_scope(manifest, groups)}
    return [model for model in lock.models if model.root in wanted]
