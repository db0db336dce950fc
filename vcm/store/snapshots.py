"""Snapshots: a model as its user sees it, in a folder named by tree digest.

    <cache>/snapshots/<tree digest>/       the model's files under their own paths, linked to blobs
    <cache>/verified/<tree digest>.json    size, mtime and inode of each file when its bytes were last verified, and
                                           when that was, in seconds since 1970

The quick check compares what stands on the disk with that record. A difference is neither trusted nor taken for
damage: the file is hashed again, and only its bytes decide. The time stands beside each file, because one that is
hashed says nothing of the others, and the record's own time changes with every copy of the store.
"""

from __future__ import annotations

import errno
import json
import os
import stat
import time
from contextlib import suppress
from pathlib import Path

from vcm.core import names
from vcm.core.plan import SnapshotState
from vcm.core.records import record
from vcm.store.files import read_small, remove_folder, replace_file, sync_folder, temporary_name, walk

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from threading import Event
    from typing import Literal

    from vcm.core.lock import LockedFile, LockedModel
    from vcm.core.reporter import Reporter
    from vcm.store.hashing import Hasher

_LARGEST_RECORD = 1 << 28
"""Bytes; the record of a million files."""

_MOST_RIVALS = 10
"""How often in a row something wrong is taken away before what keeps putting it there is an error."""

Stamp = tuple[int, int, int]
"""Size in bytes, modification time in nanoseconds, inode."""
Row = tuple[int, ...]
"""A stamp, and when the bytes were verified; older records do not say when."""


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


class _Look:
    """One model's snapshot as it stands: what its names, kinds and sizes tell, and what only its bytes can.

    Attributes:
        stamps: of all files that are there.
        rows: what was recorded of the files that are as they were, and not verified too long ago.
        found: by path, what is wrong, in the order in which it is told; None for what is not wrong, or not known yet.
        to_hash: the files whose bytes decide.
    """

    def __init__(self, model: LockedModel, stamps: dict[str, Stamp], found: dict[str, Finding | None]) -> None:
        self.model = model
        self.stamps = stamps
        self.rows: dict[str, Row] = {}
        self.found = found
        self.to_hash: list[LockedFile] = []

    @property
    def findings(self) -> list[Finding]:
        """What is wrong, as far as it is known."""
        return [finding for finding in self.found.values() if finding is not None]


def state_of(findings: Sequence[Finding]) -> SnapshotState:
    """What was found, in one word."""
    if not findings:
        return SnapshotState.INSTALLED
    return SnapshotState.MISSING if findings[0].kind == "absent" else SnapshotState.DAMAGED


class SnapshotStore:
    """Tree digest → folder."""

    def __init__(self, root: Path, hasher: Callable[[], Hasher] | None = None) -> None:
        self.folder = root / "snapshots"
        self.record_folder = root / "verified"
        self.building_folder = root / "partial"
        self._hasher = hasher or _new_hasher
        # What the hasher knows, it has read since.
        self._opened = int(time.time())

    def path(self, tree_digest: str) -> Path:
        """Where the snapshot stands, or would stand."""
        return self.folder / tree_digest

    def inspect(self, model: LockedModel, *, full: bool = False, reporter: Reporter | None = None) -> list[Finding]:
        """What is wrong with one model's snapshot; as ``inspect_all``."""
        return self.inspect_all([model], full=full, reporter=reporter)[0]

    def inspect_all(
        self,
        models: Sequence[LockedModel],
        *,
        full: bool = False,
        max_age: float | None = None,
        reporter: Reporter | None = None,
        cancelled: Event | None = None,
    ) -> list[list[Finding]]:
        """What is wrong with the snapshots of some models; an empty list for each that is as it should be.

        Args:
            models: what the lock promises.
            full: hash every byte, whatever the record says; the reporter has been told that this begins.
            max_age: seconds; what was verified longer ago is hashed again, and what was verified in the future.
            reporter: told of the files that are hashed.
            cancelled: once set, it ends with KeyboardInterrupt.

        Raises:
            OSError: the disk could not be read.
        """
        looks = [self._look(model, full=full, max_age=max_age) for model in models]
        jobs = [
            (f"{look.model.name}/{file.path}", self.path(look.model.tree_digest) / file.path)
            for look in looks
            for file in look.to_hash
        ]
        digests: Iterator[str | OSError] = iter(())
        if jobs:
            digests = iter(self._hasher().digests(jobs, reporter, cancelled, anew=full, announced=full))
        for look in looks:
            # In step with the jobs, which end where the models do.
            for file in look.to_hash:
                look.found[file.path] = _compared(file, next(digests))
            if look.to_hash and not look.findings:
                # The stamps are from before the hashing: a write in between differs from them next time.
                with suppress(OSError):
                    self._record(look.model.tree_digest, look.stamps, look.rows)
        return [look.findings for look in looks]

    def _look(self, model: LockedModel, *, full: bool, max_age: float | None) -> _Look:
        stamps = _stamps(self.path(model.tree_digest))
        if stamps is None:
            return _Look(model, {}, found={"": Finding("absent")})
        recorded = {} if full else self._recorded(model.tree_digest)
        locked = {file.path: file for file in model.files}
        if not stamps.keys() <= locked.keys():
            stamps = _as_locked(self.path(model.tree_digest), stamps, locked)
        look = _Look(model, stamps, {path: Finding("extra", path) for path in stamps if path not in locked})
        for path, file in locked.items():
            stamp = stamps.get(path)
            # Its place in the order of findings.
            look.found[path] = None
            if stamp is None:
                look.found[path] = Finding("missing", path)
            elif stamp[0] != file.size:
                look.found[path] = Finding("changed", path, f"{file.size} bytes", _size_text(stamp))
            elif _holds(recorded.get(path), stamp, max_age):
                look.rows[path] = recorded[path]
            else:
                look.to_hash.append(file)
        return look

    def state(self, model: LockedModel) -> SnapshotState:
        """The quick check's answer in one word."""
        return state_of(self.inspect(model))

    def copies(self, size: int) -> Iterator[Path]:
        """Files of so many bytes in snapshots that were once verified, whatever they may hold by now."""
        for known in sorted(self.record_folder.glob("*.json")):
            for path, stamp in self._recorded(known.stem).items():
                if stamp[:1] == (size,) and names.if_valid(path, names.file_path):
                    yield self.path(known.stem) / path

    def repair(self, model: LockedModel, blob_path: Callable[[str], Path]) -> Path:
        """Replace what is damaged in a snapshot, out of blobs that are known to be whole; what is whole stays.

        It is out of sight meanwhile, so this is for who holds the right to it. One that is not there is built.

        Raises:
            FileNotFoundError: a blob is gone.
            OSError: the disk refused.
        """
        from vcm.store.filling import mend

        target = self.path(model.tree_digest)
        before = _stamps(target)
        if before is None:
            return self.build(model, blob_path)
        findings = self.inspect(model)
        recorded = self._recorded(model.tree_digest)
        self.forget(model.tree_digest)
        hidden = self.building_folder / temporary_name("snapshot-")
        target.rename(hidden)
        try:
            try:
                digests = {file.path: file.sha256 for file in model.files}
                mend(hidden, {finding.path: digests.get(finding.path) for finding in findings}, blob_path)
            except BaseException:
                # What is whole in it is of use to the next try.
                with suppress(OSError):
                    hidden.rename(target)
                raise
            stamps = _stamps(hidden) or {}
            if self._put(hidden, model):
                sync_folder(self.folder)
                mended = {finding.path for finding in findings}
                with suppress(OSError):
                    # What somebody has changed since it was looked at is looked at again.
                    self._record(
                        model.tree_digest,
                        {path: stamp for path, stamp in stamps.items() if path in mended or before.get(path) == stamp},
                        {
                            path: recorded[path]
                            for path in recorded.keys() - mended
                            if recorded[path][:3] == stamps.get(path)
                        },
                    )
        finally:
            remove_folder(hidden)
        return target

    def build(self, model: LockedModel, blob_path: Callable[[str], Path]) -> Path:
        """Make the snapshot out of blobs that are known to be whole; a damaged one in its place is replaced.

        What another process has put there meanwhile stays, if it is right: somebody may be reading it.

        Raises:
            FileNotFoundError: a blob is gone.
            OSError: the disk refused; what is visible then is right.
        """
        from vcm.store.filling import fill

        target = self.path(model.tree_digest)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.building_folder.mkdir(parents=True, exist_ok=True)
        building = self.building_folder / temporary_name("snapshot-")
        try:
            fill(building, model.files, blob_path)
            stamps = _stamps(building) or {}
            if self._put(building, model):
                sync_folder(self.folder)
                with suppress(OSError):
                    # Without a record the next look reads the files once more.
                    self._record(model.tree_digest, stamps, {})
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
        remove_folder(self.hide(tree_digest))

    def hide(self, tree_digest: str) -> Path:
        """Where a snapshot is out of sight, without the record of when it was verified."""
        self.forget(tree_digest)
        self.building_folder.mkdir(parents=True, exist_ok=True)
        hidden = self.building_folder / temporary_name("discarded-")
        with suppress(FileNotFoundError):
            self.path(tree_digest).rename(hidden)
        return hidden

    def verified(self, tree_digest: str) -> dict[str, Stamp]:
        """By path, the stamps that a snapshot's files had when their bytes were last verified."""
        return {path: (row[0], row[1], row[2]) for path, row in self._recorded(tree_digest).items() if len(row) > 2}  # noqa: PLR2004

    def _recorded(self, tree_digest: str) -> dict[str, Row]:
        try:
            rows = json.loads(read_small(self.record_folder / f"{tree_digest}.json", _LARGEST_RECORD) or b"null")
            return dict(zip(rows, map(tuple, rows.values()), strict=True))
        except (ValueError, TypeError, AttributeError, RecursionError):
            # No record, or a damaged one: every byte is hashed again.
            return {}

    def _record(self, tree_digest: str, stamps: dict[str, Stamp], rows: dict[str, Row]) -> None:
        """Note the stamps of files that are right: those of ``rows`` at their own time, the others now."""
        self.record_folder.mkdir(parents=True, exist_ok=True)
        noted = {path: rows.get(path) or (*stamp, self._opened) for path, stamp in stamps.items()}
        text = json.dumps(noted, sort_keys=True, indent=0)
        # A record that a loss of power takes costs one more reading of the files.
        replace_file(self.record_folder / f"{tree_digest}.json", text.encode(), durable=False)


def _new_hasher() -> Hasher:
    # It reads more than all the quick check does.
    from vcm.store.hashing import Hasher

    return Hasher()


def _stamps(root: Path) -> dict[str, Stamp] | None:
    """The stamps of all that is no folder below ``root``, by path; None where there is no such folder."""
    stamps = {
        path: (status.st_size, status.st_mtime_ns, status.st_ino) if stat.S_ISREG(status.st_mode) else (-1, 0, 0)
        for path, status in walk(root)
    }
    return stamps if stamps or root.is_dir() else None


def _as_locked(root: Path, stamps: dict[str, Stamp], locked: Iterable[str]) -> dict[str, Stamp]:
    """The stamps under the names of the lock, where the file system tells them in another form of Unicode.

    Old macOS disks take letters apart (NFD) and find the file under either name; elsewhere it is another file.
    """
    odd = {path for path in stamps if not path.isascii()}.difference(locked)
    if not odd:
        return stamps
    import unicodedata

    wanted = {unicodedata.normalize("NFD", path): path for path in locked if path not in stamps}
    found = dict(stamps)
    for path in odd:
        name = wanted.get(unicodedata.normalize("NFD", path))
        with suppress(OSError):
            if name is not None and (root / name).lstat().st_ino == stamps[path][2]:
                found[name] = found.pop(path)
    return found


def _holds(row: Row | None, stamp: Stamp, max_age: float | None) -> bool:
    """Whether a file is as it was when it was verified, and that was not too long ago."""
    if row is None or row[:3] != stamp:
        return False
    if max_age is None:
        return True
    # A clock that was set back since keeps nothing alive. An age may be a whole number that no float can hold, and the
    # time of a record that nobody here has written, too: the two are only compared.
    now = time.time()
    return len(row) > len(stamp) and isinstance(row[3], int) and 0 <= row[3] <= now and now - row[3] < max_age


def _size_text(stamp: Stamp) -> str:
    return f"{stamp[0]} bytes" if stamp[0] >= 0 else "no regular file"


def _compared(file: LockedFile, digest: str | OSError) -> Finding | None:
    if isinstance(digest, FileNotFoundError):
        return Finding("missing", file.path)
    if isinstance(digest, OSError) and digest.errno == errno.EIO:
        return Finding("changed", file.path, f"sha256:{file.sha256}", "bytes that the disk cannot read")
    if isinstance(digest, OSError):
        raise digest
    if digest == file.sha256:
        return None
    return Finding("changed", file.path, f"sha256:{file.sha256}", f"sha256:{digest}")
