"""Whether a locked model is upstream what it was when it was locked: the rules."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from vcm.core import notices
from vcm.core.differences import HasContent, same_content
from vcm.core.lock import LockedFile, LockedModel
from vcm.core.metadata import RemoteFile
from vcm.core.notices import Notice
from vcm.errors import VcmError

_HARMLESS = ("renamed", "gated", "deprecated")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it was locked.

    Attributes:
        kind: that of a notice; or ``missing`` or ``changed`` for a file.
        message: what is so, in one sentence without a full stop.
        path: the file inside the model, where it is about one.
    """

    kind: Literal["missing", "changed"] | notices.Kind
    message: str
    path: str | None = None

    @property
    def is_wrong(self) -> bool:
        """Whether what is locked cannot be had any more as it was locked, or is no longer what its ref names."""
        return self.kind not in _HARMLESS


@dataclass(frozen=True, slots=True)
class Confirmation:
    """What the hub says today of one locked model.

    Attributes:
        error: why not all of it could be confirmed.
    """

    model: LockedModel
    findings: tuple[Finding, ...] = ()
    error: VcmError | None = None

    @property
    def is_wrong(self) -> bool:
        """Whether something is not as it was locked."""
        return any(finding.is_wrong for finding in self.findings)


def of_notice(notice: Notice) -> Finding:
    """The finding that a notice is."""
    return Finding(notice.kind, notice.message)


def file_findings(model: LockedModel, files: Iterable[RemoteFile]) -> Iterator[Finding]:
    """What is not as it was among the locked files of a commit; one with a hidden digest proves nothing."""
    listed = {file.path: file for file in files}
    for file in model.files:
        there = listed.get(file.path)
        if there is None:
            yield Finding("missing", f"{file.path} is not in the locked commit any more", file.path)
        elif same_content(file, there) is False:
            yield _changed(file, there)


def hidden(model: LockedModel, files: Iterable[RemoteFile]) -> tuple[str, ...]:
    """The locked files whose digests the hub does not tell this caller."""
    wanted = {file.path for file in model.files}
    return tuple(file.path for file in files if file.masked and file.path in wanted)


def length_finding(file: LockedFile, length: int | None) -> Finding | None:
    """What is wrong with a direct file that announces so many bytes; a server need not announce any."""
    if length in (None, file.size):
        return None
    return Finding("changed", f"{file.path} has {length} bytes, locked are {file.size}", file.path)


def _changed(locked: LockedFile, there: RemoteFile) -> Finding:
    if locked.size != there.size:
        message = f"{locked.path} has {there.size} bytes, locked are {locked.size}"
    else:
        message = f"{locked.path} has {_digest(there)}, locked is {_digest(locked, like=there)}"
    return Finding("changed", message, locked.path)


def _digest(file: HasContent, like: HasContent | None = None) -> str:
    if file.sha256 and (like is None or like.sha256 or not file.oid):
        return f"sha256:{file.sha256}"
    return f"git blob {file.oid}"
