"""A large file on its way to the disk: what has been written is made durable while more is coming.

Without it, the system would gather gigabytes in memory, and the download would end with a long wait for the disk. What
is on the disk is given up as cache, too: 140 GB of weights would otherwise push out of memory whatever the machine is
working on, and pages that are given up are ready for the next bytes.
"""

from __future__ import annotations

import os
import stat
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Self

_STEP = 32 << 20
"""Bytes between one flush and the next. A file that has no more is left to the system, and to its cache."""


class GrowingFile:
    """A file that only grows at its end, or begins anew; for one thread at a time.

    Args:
        path: made where it is not there; what it holds stays, unless that is no file, has other names, or is another
            user's.

    Raises:
        OSError: from every method, what the system says; a flush's failure is raised by the next call.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stream = os.fdopen(_opened(path), "r+b", buffering=0)
        self._flusher: ThreadPoolExecutor | None = None
        self._flush: Future[None] | None = None
        self._written = self._flushed = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def read_into(self, buffer: memoryview) -> int:
        """The next bytes that were there before; 0 at their end, where writing goes on."""
        return self._stream.readinto(buffer) or 0

    def write(self, data: memoryview) -> None:
        """Write all of it at the end."""
        while data:
            count = self._stream.write(data) or 0
            data = data[count:]
            self._written += count
        if self._written - self._flushed >= _STEP and (self._flush is None or self._flush.done()):
            self._settle()
            self._flusher = self._flusher or ThreadPoolExecutor(1, thread_name_prefix="vcm-flush")
            self._flush = self._flusher.submit(_flush, self._stream.fileno())
            self._flushed = self._written

    def clear(self) -> None:
        """Throw away all bytes."""
        self._settle()
        self._stream.seek(0)
        self._stream.truncate()
        self._written = self._flushed = 0

    def sync(self) -> None:
        """Return when every byte is on the disk."""
        self._settle()
        try:
            os.fsync(self._stream.fileno())
        except OSError:
            self._forget()
            raise

    def close(self) -> None:
        """Close it; more than once does no harm."""
        with suppress(OSError):
            self._settle()
        if self._flusher is not None:
            self._flusher.shutdown()
        self._stream.close()

    def _settle(self) -> None:
        if self._flush is not None:
            # The system tells a failed write-back once: whoever does not listen takes lost bytes for written ones.
            flush, self._flush = self._flush, None
            try:
                flush.result()
            except OSError:
                self._forget()
                raise

    def _forget(self) -> None:
        """Throw away bytes that could not be made durable.

        Until the system drops them, they can be read and hashed as if they were there, and no later fsync fails: they
        would become a blob that changes when memory gets short.
        """
        with suppress(OSError):
            self._stream.truncate(0)


def _opened(path: Path) -> int:
    with suppress(OSError):
        status = path.lstat()
        if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1 or not _may_finish(status):
            # A pipe would never end, and what a link leads to, or what has other names, is somebody's who needs it.
            path.unlink()
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0) | getattr(os, "O_NOFOLLOW", 0)
    try:
        return os.open(path, flags, 0o666)
    except PermissionError:
        # Whoever was about to make a read-only blob of it was killed.
        with suppress(FileNotFoundError):
            path.chmod(0o600)
        return os.open(path, flags, 0o666)


def _may_finish(status: os.stat_result) -> bool:
    """Whether a file can be made read-only at its end: only its owner may, also where a group may write into it."""
    return os.name == "nt" or os.geteuid() in (0, status.st_uid)


def _flush(descriptor: int) -> None:
    os.fsync(descriptor)
    if hasattr(os, "posix_fadvise"):
        with suppress(OSError):
            # Advice alone: a file system that takes none has lost nothing.
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
