"""Snapshots: a model as its user sees it, in a folder named by tree digest.

    <cache>/snapshots/<tree digest>/       the model's files under their own paths, linked to blobs
    <cache>/verified/<tree digest>.json    size, mtime and inode of each file when its bytes were last verified

The quick check compares what stands on the disk with that record. A difference is neither trusted nor taken for
damage: the file is hashed again, and only its bytes decide.
"""

from __future__ import annotations

import json
import os
import stat
from contextlib import suppress
from pathlib import Path

from vcm.core.plan import SnapshotState
from vcm.core.records import record
from vcm.store.files import hash_file, link_file, read_small, remove_folder, replace_file, sync_folder, temporary_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Literal

    from vcm.core.lock import LockedFile, LockedModel

_LARGEST_RECORD = 1 << 28
"""Bytes; the record of a million files."""

_MOST_RIVALS = 10
"""How often in a row something wrong is taken away before what keeps putting it there is an error."""

Stamp = tuple[int, int, int]
"""Size in bytes, modification time in nanoseconds, inode."""


@record(frozen=True)
class Finding:
    """Why a snapshot is not what the lock says.

    Attributes:
        kind: ``absent`` for the whole snapshot; ``missing``, ``extra`` or ``changed`` for one file.
        path: the file inside the model; empty for ``absent``.
        expected: what the lock promises, as text.
        actual: what was found, as text.
    """

    kind: Literal["absent", "missing", "extra", "changed"]
    path: str = ""
    expected: str = ""
    actual: str = ""

    def __str__(self) -> str:
        if self.kind == "absent":
            return "not installed"
        if self.kind == "changed":
            return f"{self.path}: expected {self.expected}, found {self.actual}"
        return f"{self.path}: {'missing' if self.kind == 'missing' else 'does not belong there'}"


class SnapshotStore:
    """Tree digest → folder."""

    def __init__(self, root: Path) -> None:
        self.folder = root / "snapshots"
        self.record_folder = root / "verified"
        self.building_folder = root / "partial"

    def path(self, tree_digest: str) -> Path:
        """Where the snapshot stands, or would stand."""
        return self.folder / tree_digest

    def inspect(
        self, model: LockedModel, *, full: bool = False, progress: Callable[[int], None] | None = None
    ) -> list[Finding]:
        """What is wrong with a model's snapshot; an empty list when nothing is.

        Args:
            model: what the lock promises.
            full: hash every byte, whatever the record says.
            progress: told how many more bytes were hashed.

        Raises:
            OSError: the disk could not be read.
        """
        root = self.path(model.tree_digest)
        stamps = _stamps(root)
        if stamps is None:
            return [Finding("absent")]
        recorded = {} if full else self._recorded(model.tree_digest)
        locked = {file.path: file for file in model.files}
        findings = [Finding("extra", path) for path in stamps if path not in locked]
        changed_stamps = False
        for path, file in locked.items():
            stamp = stamps.get(path)
            if stamp is None:
                findings.append(Finding("missing", path))
            elif stamp[0] != file.size:
                findings.append(Finding("changed", path, f"{file.size} bytes", _size_text(stamp)))
            elif recorded.get(path) != stamp:
                changed_stamps = True
                findings += _hashed(root, file, progress)
        if changed_stamps and not findings:
            # The stamps are from before the hashing: a write in between differs from them next time.
            with suppress(OSError):
                self._record(model.tree_digest, stamps)
        return findings

    def state(self, model: LockedModel) -> SnapshotState:
        """The quick check's answer in one word."""
        findings = self.inspect(model)
        if not findings:
            return SnapshotState.INSTALLED
        return SnapshotState.MISSING if findings[0].kind == "absent" else SnapshotState.DAMAGED

    def build(self, model: LockedModel, blob_path: Callable[[str], Path]) -> Path:
        """Make the snapshot out of blobs that are known to be whole; a damaged one in its place is replaced.

        What another process has put there meanwhile stays, if it is right: somebody may be reading it.

        Raises:
            FileNotFoundError: a blob is gone.
            OSError: the disk refused; what is visible then is right.
        """
        target = self.path(model.tree_digest)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.building_folder.mkdir(parents=True, exist_ok=True)
        building = self.building_folder / temporary_name("snapshot-")
        try:
            _fill(building, model.files, blob_path)
            stamps = _stamps(building) or {}
            if self._put(building, model):
                sync_folder(self.folder)
                with suppress(OSError):
                    # Without a record the next look reads the files once more.
                    self._record(model.tree_digest, stamps)
        finally:
            remove_folder(building)
        return target

    def _put(self, building: Path, model: LockedModel) -> bool:
        """Give a finished folder its name; False where a snapshot that is right has it already."""
        target = self.path(model.tree_digest)
        for _ in range(_MOST_RIVALS):
            try:
                building.rename(target)
            except OSError:
                if not os.path.lexists(target):
                    raise
                if self.state(model) is SnapshotState.INSTALLED:
                    return False
                self.discard(model.tree_digest)
            else:
                return True
        building.rename(target)
        return True

    def forget(self, tree_digest: str) -> None:
        """Forget when a snapshot was verified: the next look hashes every byte."""
        with suppress(FileNotFoundError):
            (self.record_folder / f"{tree_digest}.json").unlink()

    def discard(self, tree_digest: str) -> None:
        """Take a snapshot away: out of sight at once, then off the disk."""
        self.forget(tree_digest)
        doomed = self.building_folder / temporary_name("discarded-")
        self.building_folder.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):
            self.path(tree_digest).rename(doomed)
        remove_folder(doomed)

    def _recorded(self, tree_digest: str) -> dict[str, Stamp]:
        try:
            rows = json.loads(read_small(self.record_folder / f"{tree_digest}.json", _LARGEST_RECORD) or b"null")
            return dict(zip(rows, map(tuple, rows.values()), strict=True))
        except (ValueError, TypeError, AttributeError, RecursionError):
            # No record, or a damaged one: every byte is hashed again.
            return {}

    def _record(self, tree_digest: str, stamps: dict[str, Stamp]) -> None:
        self.record_folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(stamps, sort_keys=True, indent=0)
        # A record that a loss of power takes costs one more reading of the files.
        replace_file(self.record_folder / f"{tree_digest}.json", text.encode(), durable=False)


def _fill(folder: Path, files: Iterable[LockedFile], blob_path: Callable[[str], Path]) -> None:
    folders = {folder}
    folder.mkdir()
    for file in files:
        target = folder / file.path
        target.parent.mkdir(parents=True, exist_ok=True)
        link_file(blob_path(file.sha256), target)
        folders.update(parent for parent in target.parents if folder in parent.parents)
    for each in folders:
        sync_folder(each)


def _stamps(root: Path) -> dict[str, Stamp] | None:
    """The stamps of all that is no folder below ``root``, by path; None where there is no such folder."""
    stamps: dict[str, Stamp] = {}
    pending = [("", str(root))]
    while pending:
        prefix, folder = pending.pop()
        try:
            entries = os.scandir(folder)
        except (FileNotFoundError, NotADirectoryError):
            if not prefix:
                return None
            continue
        with entries:
            for entry in entries:
                path = prefix + entry.name
                # Not entry.stat(): on Windows it gives no inode.
                status = os.lstat(entry.path)
                if stat.S_ISDIR(status.st_mode):
                    pending.append((f"{path}/", entry.path))
                elif stat.S_ISREG(status.st_mode):
                    stamps[path] = (status.st_size, status.st_mtime_ns, status.st_ino)
                else:
                    stamps[path] = (-1, 0, 0)
    return stamps


def _size_text(stamp: Stamp) -> str:
    return f"{stamp[0]} bytes" if stamp[0] >= 0 else "no regular file"


def _hashed(root: Path, file: LockedFile, progress: Callable[[int], None] | None) -> list[Finding]:
    try:
        found, _ = hash_file(root / file.path, progress)
    except FileNotFoundError:
        return [Finding("missing", file.path)]
    if found == file.sha256:
        return []
    return [Finding("changed", file.path, f"sha256:{file.sha256}", f"sha256:{found}")]
