"""Bytes from elsewhere on this machine, on their way into the store.

There is one way: they are shared or copied under a name of ours, hashed there, and believed then, so that no change in
between can slip in. Sharing is by reflink where the file system can, else by hard link where that is wanted. A hard
link is one file under two names, so making the store's blob read-only makes the other name read-only too. That is
wanted for the Hugging Face cache: its official client never writes into a finished file (it writes a new one and
renames it, and the files of its own shared store are read-only), it deletes read-only files like any other, and a
program that writes into one after all is told so at once instead of changing what the lock promises. On Windows, where
nobody can delete a read-only file, and for files of another user, who could change them later, the bytes are copied.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from vcm.core.digest import git_blob_hash
from vcm.store.blobs import BlobStore
from vcm.store.files import READ_ONLY, new_buffer, remove_file, share_file, temporary_name
from vcm.store.hashing import Hasher

if TYPE_CHECKING:
    from hashlib import _Hash


class NotAsClaimedError(Exception):
    """A file is not what was claimed; says in what way, as the end of a sentence that begins with its name."""


class DamagedError(NotAsClaimedError):
    """A file could be read to its end, and holds other bytes than were claimed."""


@dataclass(frozen=True, slots=True)
class Claim:
    """What is said of a file's bytes; None where nothing is.

    Attributes:
        sha256: bare hex.
        oid: git blob id.
        size: bytes.
    """

    sha256: str | None = None
    oid: str | None = None
    size: int | None = None


def admit(
    blobs: BlobStore,
    source: Path,
    claim: Claim,
    *,
    may_link: bool = False,
    hasher: Hasher | None = None,
    progress: Callable[[int], None] | None = None,
) -> tuple[str, int]:
    """Make a blob of a file's bytes, if they are what was claimed.

    Args:
        blobs: where they go; prepared.
        source: a regular file, and no link to one.
        claim: what must be true of them.
        may_link: whether one file under two names is wanted.
        hasher: remembers what was found out of the source, so that it need not be read for another claim.
        progress: told how many more bytes were hashed; what it raises ends the work.

    Returns:
        SHA-256 and size.

    Raises:
        NotAsClaimedError: they are something else, or cannot be read.
        OSError: the store cannot be written.
    """
    status = _looked_at(source, claim.size)
    hashes = [hashlib.sha256()] + ([git_blob_hash(status.st_size)] if claim.oid else [])
    temporary = blobs.partial_folder / temporary_name("adopted-")
    try:
        is_linked = share_file(source, temporary, hard=may_link and _is_ours(status))
        if is_linked:
            _read(temporary, status.st_size, hashes, None, progress)
            is_linked = temporary.lstat().st_ino == status.st_ino
        else:
            with temporary.open("xb") as copy:
                _read(source, status.st_size, hashes, copy, progress)
                copy.flush()
                os.fsync(copy.fileno())
        place = temporary if is_linked else source
        _refuse_change(place, status)
        digest = hashes[0].hexdigest()
        if hasher is not None:
            hasher.remember(status, digest)
        if claim.sha256 not in (None, digest):
            raise DamagedError(f"is damaged, it should be sha256:{claim.sha256}, not sha256:{digest}")
        if claim.oid and hashes[1].hexdigest() != claim.oid:
            raise DamagedError(f"is damaged, it should be the git blob {claim.oid}, not {hashes[1].hexdigest()}")
        if is_linked:
            with temporary.open("rb") as stream:
                os.fsync(stream.fileno())
            temporary.chmod(READ_ONLY)
            _refuse_change(place, status)
        blobs.admit(temporary, digest)
    finally:
        # Also when all went well: renaming one name of a file to another of its names leaves both.
        with suppress(FileNotFoundError):
            remove_file(temporary)
    return digest, status.st_size


def takes_no_room(blobs: BlobStore, source: Path) -> bool:
    """Whether ``admit`` with ``may_link`` will make one file of two, as far as one can tell before.

    Where it could be a reflink only, nobody can: the file system says so when it is asked for one.

    Args:
        blobs: prepared.
        source: a regular file, and no link to one.

    Raises:
        OSError: it cannot be looked at.
    """
    status = source.lstat()
    return _is_ours(status) and status.st_dev == blobs.partial_folder.stat().st_dev


def _looked_at(source: Path, size: int | None) -> os.stat_result:
    try:
        status = source.lstat()
    except OSError:
        raise NotAsClaimedError("is gone") from None
    if not stat.S_ISREG(status.st_mode) or not os.access(source, os.R_OK):
        raise NotAsClaimedError("cannot be read")
    if size not in (None, status.st_size):
        raise DamagedError(f"is damaged, it should have {size} bytes, not {status.st_size}")
    return status


def _is_ours(status: os.stat_result) -> bool:
    return os.name != "nt" and status.st_uid == os.geteuid()


def _read(
    source: Path, size: int, hashes: list[_Hash], copy: BinaryIO | None, progress: Callable[[int], None] | None
) -> None:
    if not size:
        # Nothing is there to read; some files of the system say so, and then keep whoever reads them.
        return
    buffer = new_buffer()
    try:
        stream = source.open("rb", buffering=0)
    except OSError:
        raise NotAsClaimedError("cannot be read") from None
    with stream:
        while True:
            try:
                count = stream.readinto(buffer)
            except OSError:
                # Pulled out, or on a disk that breaks.
                raise NotAsClaimedError("cannot be read") from None
            if not count:
                return
            size -= count
            if size < 0:
                # One that grows and grows would never end.
                raise NotAsClaimedError("changed while it was read")
            for each in hashes:
                each.update(buffer[:count])
            if copy is not None:
                copy.write(buffer[:count])
            if progress is not None:
                progress(count)


def _refuse_change(place: Path, before: os.stat_result) -> None:
    try:
        after = place.lstat()
    except OSError:
        raise NotAsClaimedError("is gone") from None
    states = [(each.st_dev, each.st_ino, each.st_size, each.st_mtime_ns) for each in (before, after)]
    if states[0] != states[1]:
        raise NotAsClaimedError("changed while it was read")
