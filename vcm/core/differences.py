"""What differs between two sets of files, and between two locks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Literal, Protocol

from vcm.core.lock import Lock, LockedFile, LockedModel
from vcm.core.roles import ROLES, Role, in_order, role

Change = Literal["added", "removed", "changed"]


class HasContent(Protocol):
    """A file that is locked, or that the hub lists."""

    @property
    def path(self) -> str: ...

    @property
    def size(self) -> int: ...

    @property
    def sha256(self) -> str | None: ...

    @property
    def oid(self) -> str | None: ...


def same_content(one: HasContent, other: HasContent) -> bool | None:
    """Whether two files have the same bytes; None where a side has no digest at all and the sizes are equal.

    Equal SHA-256 decides, and equal git blob ids where a SHA-256 is unknown. Two that can be compared in neither way
    count as different: one of them is in LFS and the other is not.
    """
    if one.size != other.size:
        return False
    if one.sha256 and other.sha256:
        return one.sha256 == other.sha256
    if one.oid and other.oid:
        return one.oid == other.oid
    return False if all(file.sha256 or file.oid for file in (one, other)) else None


@dataclass(frozen=True, slots=True)
class FileChange:
    """A file that is not the same on both sides.

    Attributes:
        before: bytes; None where it was added.
        after: bytes; None where it was removed.
    """

    path: str
    before: int | None
    after: int | None

    @property
    def change(self) -> Change:
        """Whether it is new, gone or another."""
        if self.before is None:
            return "added"
        return "removed" if self.after is None else "changed"

    @property
    def role(self) -> Role:
        """What the file is for."""
        return role(self.path)

    @property
    def size(self) -> int:
        """Bytes of the file that is there now, else of the one that was."""
        return (self.before or 0) if self.after is None else self.after


def file_changes(before: Iterable[HasContent], after: Iterable[HasContent]) -> tuple[FileChange, ...]:
    """The files that differ, in path order.

    A digest that is hidden proves nothing: a file of the same size counts as unchanged then.
    """
    old, new = ({file.path: file for file in files} for files in (before, after))
    changes = []
    for path in sorted(old | new, key=str.encode):
        one, other = old.get(path), new.get(path)
        if one is None or other is None or same_content(one, other) is False:
            changes.append(FileChange(path, one.size if one else None, other.size if other else None))
    return tuple(changes)


def changed_roles(changes: Iterable[FileChange]) -> tuple[Role, ...]:
    """The roles of the files that differ, each once, in the order of ``ROLES``."""
    return in_order(each.role for each in changes)


def by_role(changes: Iterable[FileChange]) -> dict[Role, tuple[FileChange, ...]]:
    """The changes of each role that has some, in the order of ``ROLES``."""
    changes = tuple(changes)
    found = {name: tuple(each for each in changes if each.role == name) for name in ROLES}
    return {name: some for name, some in found.items() if some}


@dataclass(frozen=True, slots=True)
class FieldChange:
    """A key of the lock whose value is not the same on both sides; None where it is not there."""

    key: str
    before: str | None
    after: str | None


@dataclass(frozen=True)
class ModelDifference:
    """One model that two locks do not have alike.

    Attributes:
        before: None where it was added.
        after: None where it was removed.
    """

    before: LockedModel | None
    after: LockedModel | None

    @property
    def model(self) -> LockedModel:
        """The model as it is now, or as it was last."""
        model = self.after or self.before
        assert model is not None  # noqa: S101
        return model

    @property
    def change(self) -> Change:
        """Whether the model is new, gone or another."""
        if self.before is None:
            return "added"
        return "removed" if self.after is None else "changed"

    @cached_property
    def files(self) -> tuple[FileChange, ...]:
        """The files that differ, in path order."""
        return file_changes(_files(self.before), _files(self.after))

    @cached_property
    def keys(self) -> tuple[FieldChange, ...]:
        """The lock's keys that differ, in the lock's order; none where the whole model came or went."""
        if self.before is None or self.after is None:
            return ()
        pairs = ((key, getattr(self.before, key), getattr(self.after, key)) for key in _KEYS)
        return tuple(FieldChange(key, before, after) for key, before, after in pairs if before != after)


# Whatever a lock says of a model, beside its name and its files.
_KEYS = tuple(each.name for each in fields(LockedModel) if each.name not in ("name", "files"))


def _files(model: LockedModel | None) -> tuple[LockedFile, ...]:
    return model.files if model else ()


def lock_differences(before: Lock | None, after: Lock) -> tuple[ModelDifference, ...]:
    """The models that differ, in name order; all of them where there was no lock."""
    old, new = ({model.name: model for model in (lock.models if lock else ())} for lock in (before, after))
    pairs = (ModelDifference(old.get(name), new.get(name)) for name in sorted(old | new))
    return tuple(pair for pair in pairs if pair.before != pair.after)
