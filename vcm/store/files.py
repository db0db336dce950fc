"""Files, written so that a crash at any instant leaves the old or the new, and never half of either."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import contextmanager, suppress
from pathlib import Path

from vcm.core.digest import CHUNK
from vcm.core.wording import byte_count, system_reason
from vcm.errors import PERMISSION_ERROR, DiskSpaceError, VcmError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from hashlib import _Hash

READ_ONLY = 0o444
_FULL = (errno.ENOSPC, errno.EDQUOT)
_REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS)
_LONGEST_WINDOWS_PATH = 259
"""Characters, unless it is told to allow more."""
_FICLONE = 0x40049409  # linux/fs.h
_NO_REFLINKS = (errno.EOPNOTSUPP, errno.ENOTTY, errno.ENOSYS, errno.EXDEV)
_without_reflinks: set[tuple[int, int]] = set()
"""Pairs of devices between which no bytes can be shared, as this process has found out."""


@contextmanager
def disk_errors(place: Path, hint: str = "") -> Iterator[None]:
    """Turn the operating system's errors into ours, naming the place.

    Args:
        place: what is read or written.
        hint: what to do where the system refuses; by default as for the store, whose folder can be another one.

    Raises:
        DiskSpaceError: the file system is full, or the quota used up.
        VcmError: with PERMISSION_ERROR for everything else the system refuses.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            free = free_space(place)
            raise DiskSpaceError(
                f"no space left for {place} ({byte_count(free)} free)",
                needed=0,
                free=free,
                hint=f"free some space{'' if hint else ' or choose another folder with --cache-dir'}, "
                "then run the command again",
            ) from error
        reason = "permission denied" if error.errno in _REFUSED else system_reason(error)
        if error.errno == errno.EROFS:
            reason = "the file system is read-only"
        hint = hint or "check who owns it, or choose another folder with --cache-dir"
        length = len(str(error.filename or ""))
        if _on_windows() and length > _LONGEST_WINDOWS_PATH:
            # What the system says is that there is no such file.
            reason = f"{length} characters are more than this Windows allows"
            hint = (
                "choose a folder with a shorter name with --cache-dir, or allow long paths in Windows "
                "(LongPathsEnabled)"
            )
        raise VcmError(
            f"cannot use {error.filename or place}: {reason}", error_code=PERMISSION_ERROR, hint=hint
        ) from error


def _on_windows() -> bool:
    return os.name == "nt"


def free_space(place: Path) -> int:
    """Bytes that are free where ``place`` stands or would stand."""
    import shutil

    while not place.exists() and place != place.parent:
        place = place.parent
    return shutil.disk_usage(place).free


def temporary_name(prefix: str) -> str:
    """A name that no other process or thread uses."""
    return f"{prefix}{os.urandom(16).hex()}"


def sync_folder(folder: Path) -> None:
    """Make the folder's entries survive a loss of power, where the system can."""
    if _on_windows():
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace_file(path: Path, data: bytes, *, durable: bool = True) -> None:
    """Write a file whole or not at all; a link is followed, and the mode of an old file kept.

    Args:
        path: in a folder that is there.
        data: its new bytes.
        durable: whether they shall survive a loss of power, which takes time.

    Raises:
        OSError: as the system has it; the old file is untouched then.
    """
    target = Path(os.path.realpath(path))
    # Beside the target: os.replace is atomic only within one file system.
    temporary = target.with_name(temporary_name(f".{target.name}."))
    try:
        with temporary.open("xb") as stream:
            stream.write(data)
            stream.flush()
            if durable:
                os.fsync(stream.fileno())
        with suppress(FileNotFoundError):
            temporary.chmod(target.stat().st_mode & 0o777)
        temporary.replace(target)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError):
            error.filename = str(target)  # the temporary name means nothing to anybody
        raise
    if durable:
        sync_folder(target.parent)


def read_small(path: Path, most: int) -> bytes | None:
    """The bytes of a regular file that has at most so many; None where there is no such file, or it cannot be read."""
    try:
        # Opening a pipe would wait for ever.
        status = path.stat()
        return path.read_bytes() if stat.S_ISREG(status.st_mode) and status.st_size <= most else None
    except (OSError, ValueError):
        return None


def written_at(path: Path) -> int:
    """When something was last written, in nanoseconds since the epoch; 0 where there is nothing."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def new_buffer(size: int = CHUNK) -> memoryview:
    """Memory of so many bytes to read into, which begins where a page does.

    Some processors copy four times slower to an address a few bytes beyond that, where a bytearray's memory begins.
    """
    import mmap

    return memoryview(mmap.mmap(-1, size))


def scanned(folder: str | Path) -> list[os.DirEntry[str]]:
    """What a folder holds; nothing where there is no such folder.

    Raises:
        OSError: it cannot be read.
    """
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except (FileNotFoundError, NotADirectoryError):
        return []


def walk(folder: str | Path) -> Iterator[tuple[str, os.stat_result]]:
    """All that is no folder below one, by its path there, with ``/`` between the parts.

    Raises:
        OSError: a folder cannot be read.
    """
    pending = [("", os.fspath(folder))]
    while pending:
        prefix, current = pending.pop()
        for entry in scanned(current):
            try:
                # Not entry.stat(): on Windows it gives no inode.
                status = os.lstat(entry.path)
            except FileNotFoundError:
                continue  # Somebody has removed it since, as prune does.
            if stat.S_ISDIR(status.st_mode):
                pending.append((f"{prefix}{entry.name}/", entry.path))
            else:
                yield prefix + entry.name, status


def hash_file(path: Path, also: _Hash | None = None) -> tuple[str, int]:
    """SHA-256 (bare hex) and size of a file, read in pieces.

    Args:
        path: a regular file.
        also: another hash to feed with the same bytes.
    """
    import hashlib

    digest, size = hashlib.sha256(), 0
    buffer = new_buffer()
    with path.open("rb", buffering=0) as stream:
        while count := stream.readinto(buffer):
            digest.update(buffer[:count])
            if also is not None:
                also.update(buffer[:count])
            size += count
    return digest.hexdigest(), size


def link_file(source: Path, target: Path) -> None:
    """Let ``target`` have the bytes of ``source``: a reflink, else a hard link, else a copy."""
    if not share_file(source, target, hard=True):
        copy_file(source, target)


def share_file(source: Path, target: Path, *, hard: bool) -> bool:
    """Let ``target`` have the bytes of ``source`` without copying them, and say whether that could be done.

    A reflink is preferred because a write into one file then leaves the other as it was; a hard link is made only where
    it is wanted.
    """
    if _reflink(source, target):
        return True
    if not hard or not hasattr(os, "link"):
        return False
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno in (*_FULL, errno.EROFS, errno.EEXIST):
            raise
        # Another file system, one without links, or too many links to one file.
        return False
    return True


def copy_file(source: Path, target: Path) -> None:
    """A durable, read-only copy, which takes no room where the file system can share the bytes (reflink)."""
    import shutil

    if _reflink(source, target):
        return
    with source.open("rb") as reading, target.open("xb") as writing:
        shutil.copyfileobj(reading, writing, CHUNK)
        writing.flush()
        os.fsync(writing.fileno())
    target.chmod(READ_ONLY)


def _reflink(source: Path, target: Path) -> bool:
    try:
        import fcntl
    except ImportError:
        return False
    devices = source.stat().st_dev, target.parent.stat().st_dev
    if devices in _without_reflinks:
        return False
    try:
        with source.open("rb") as reading, target.open("xb") as writing:
            fcntl.ioctl(writing.fileno(), _FICLONE, reading.fileno())
            os.fsync(writing.fileno())
    except OSError as error:
        if error.errno != errno.EEXIST:
            with suppress(FileNotFoundError):
                target.unlink()
        if error.errno in _FULL:
            raise
        if error.errno in _NO_REFLINKS:
            _without_reflinks.add(devices)
        return False
    target.chmod(READ_ONLY)
    return True


def remove_file(path: Path) -> None:
    """Remove a file, a read-only one too, or a link."""
    if _on_windows() and not path.is_symlink():
        path.chmod(0o666)
    path.unlink()


def remove_folder(folder: Path) -> None:
    """Remove a folder and all in it, or a file, read-only ones too; what is not there is no error."""
    if not folder.is_dir() or folder.is_symlink():
        with suppress(OSError):
            remove_file(folder)
        return
    import shutil

    if _on_windows():
        for parent, _, files in os.walk(folder):
            for file in files:
                with suppress(OSError):
                    Path(parent, file).chmod(0o666)
    shutil.rmtree(folder, ignore_errors=True)
