"""Hashing files that are on the disk: several at once, the largest first, and none twice in a run.

``hashlib`` lets other threads work while it computes, so that as many files are hashed at once as there are cores. One
file is one thread's, however large: SHA-256 cannot be split.
"""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event

from vcm.core.reporter import Reporter
from vcm.core.wording import counted
from vcm.store.files import new_buffer

WORTH_TELLING = 1 << 26
"""Bytes; what takes longer than the blink of an eye to hash is announced."""
WORTH_A_BAR = 1 << 22
"""Bytes; a smaller file is hashed before its line would be on the screen, or a second thread have begun."""

Identity = tuple[int, int, int, int]
"""Device, inode, size in bytes, modification time in nanoseconds: one state of one file, whatever its names are."""


Job = tuple[str, Path]
"""A file to hash: what it is called on the screen, and where it is."""


@dataclass(slots=True)
class _Round:
    """One call: what is still to do, and what came of it."""

    queue: deque[int]
    reporter: Reporter
    cancelled: Event
    stopped: Event = field(default_factory=Event)
    done: dict[int, tuple[Identity, str] | OSError] = field(default_factory=dict)


class Hasher:
    """SHA-256 of files; what was read in this run is remembered as long as size, time and inode stay.

    Hard links are one file, and are read once. May be used by several threads.
    """

    def __init__(self) -> None:
        self._known: dict[Identity, str] = {}

    def known(self, path: Path) -> str | None:
        """The digest of a file that this run has read before, and nobody changed since."""
        try:
            return self._known.get(_identity(path.stat()))
        except OSError:
            return None

    def remember(self, status: os.stat_result, sha256: str) -> None:
        """Note the digest of bytes that were read while the file was in this state."""
        self._known[_identity(status)] = sha256

    def digest(self, path: Path, progress: Callable[[int], None] | None = None) -> str:
        """The digest of one file, which is read unless it is known.

        Args:
            path: a regular file.
            progress: told how many more bytes were read; what it raises ends the reading.

        Raises:
            OSError: the file cannot be read.
        """
        known = self.known(path)
        if known is None:
            identity, known = _read(path, new_buffer(), progress or (lambda _: None))
            self._known[identity] = known
        return known

    def digests(
        self,
        jobs: Sequence[Job],
        reporter: Reporter | None = None,
        cancelled: Event | None = None,
        *,
        anew: bool = False,
        announced: bool = False,
    ) -> list[str | OSError]:
        """The digest of each file, or why it could not be read.

        Args:
            jobs: regular files.
            reporter: told of each file, and of the whole where that is much and nobody has ``announced`` it.
            cancelled: once set, it ends with KeyboardInterrupt.
            anew: read what was read before, too.
            announced: whether the caller has told the reporter that this begins.
        """
        reporter, cancelled = reporter or Reporter(), cancelled or Event()
        found: list[Identity | OSError] = [_look(job[1]) for job in jobs]
        first: dict[Identity, int] = {}
        for index, identity in enumerate(found):
            if not isinstance(identity, OSError) and (anew or identity not in self._known):
                first.setdefault(identity, index)
        sizes = {index: identity[2] for identity, index in first.items()}
        this = _Round(deque(sorted(sizes, key=lambda index: -sizes[index])), reporter, cancelled)
        # Also those that are read under another name: they are told of, too.
        told = [identity[2] for identity in found if identity in first and not isinstance(identity, OSError)]
        with _announced(reporter, len(told), 0 if announced else sum(told)):
            self._work_off(this, jobs, sum(sizes.values()))
            return [
                self._answer(this, index, identity, jobs[index], first.get(identity, index))
                if not isinstance(identity, OSError)
                else identity
                for index, identity in enumerate(found)
            ]

    def _work_off(self, this: _Round, jobs: Sequence[Job], size: int) -> None:
        threads = min(os.cpu_count() or 1, len(this.queue), 1 + size // WORTH_A_BAR)
        if threads <= 1:
            self._work(this, jobs)
            return
        # Here, not above: it takes longer to read than all that the quick check does.
        from concurrent.futures import ThreadPoolExecutor

        pool = ThreadPoolExecutor(threads - 1, thread_name_prefix="vcm-hash")
        try:
            others = [pool.submit(self._work, this, jobs) for _ in range(threads - 1)]
            self._work(this, jobs)
            for other in others:
                other.result()
        finally:
            # After Ctrl-C nobody waits: the others stop at their next piece.
            this.stopped.set()
            pool.shutdown(wait=False)

    def _work(self, this: _Round, jobs: Sequence[Job]) -> None:
        buffer = new_buffer()
        while True:
            try:
                index = this.queue.popleft()
            except IndexError:
                return
            this.done[index] = self._hashed(this, jobs[index], buffer)

    def _hashed(self, this: _Round, job: Job, buffer: memoryview) -> tuple[Identity, str] | OSError:
        def progress(count: int) -> None:
            if this.stopped.is_set() or this.cancelled.is_set():
                raise KeyboardInterrupt
            this.reporter.advanced(job[0], count)

        try:
            size = job[1].stat().st_size
            if size < WORTH_A_BAR:
                identity, sha256 = _read(job[1], buffer, progress)
            else:
                with shown(this.reporter, job[0], size):
                    identity, sha256 = _read(job[1], buffer, progress)
        except OSError as error:
            return error
        self._known[identity] = sha256
        return identity, sha256

    def _answer(self, this: _Round, index: int, identity: Identity, job: Job, first: int) -> str | OSError:
        result = this.done.get(first)
        if result is None:
            return self._known[identity]
        if index == first:
            return result if isinstance(result, OSError) else result[1]
        if isinstance(result, OSError) or result[0] != identity:
            # The other name led to another file by then.
            result = self._hashed(this, job, new_buffer())
            return result if isinstance(result, OSError) else result[1]
        this.reporter.advanced(job[0], identity[2])
        return result[1]


@contextmanager
def _announced(reporter: Reporter, files: int, size: int) -> Iterator[None]:
    if size < WORTH_TELLING:
        yield
        return
    reporter.started(f"hashing {counted(files, 'file')}", size)
    try:
        yield
    finally:
        reporter.finished()


@contextmanager
def shown(reporter: Reporter, label: str, size: int) -> Iterator[None]:
    """Have a file on the screen for the time of the block."""
    reporter.file_started(label, size, 0)
    try:
        yield
    finally:
        reporter.file_finished(label)


def _look(path: Path) -> Identity | OSError:
    try:
        return _identity(path.stat())
    except OSError as error:
        return error


def _identity(status: os.stat_result) -> Identity:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _read(path: Path, buffer: memoryview, progress: Callable[[int], None]) -> tuple[Identity, str]:
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as stream:
        # From before the reading: a write in between makes it another state.
        identity = _identity(os.fstat(stream.fileno()))
        if hasattr(os, "posix_fadvise"):
            # The system reads further ahead: from a disk, up to twice as fast. It may have no use for advice.
            with suppress(OSError):
                os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_SEQUENTIAL)
        while count := stream.readinto(buffer):
            digest.update(buffer[:count])
            progress(count)
    return identity, digest.hexdigest()
