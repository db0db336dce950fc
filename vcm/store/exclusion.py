"""Keeping other threads and processes out, by locks on files, where the file system has locks that work."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from math import inf
from pathlib import Path
from threading import Event

from vcm.store.files import temporary_name

Release = Callable[[], None]

_POLL_SECONDS = 0.01


class NoLocksError(OSError):
    """The file system has no locks."""


def locks_work(folder: Path) -> bool:
    """Whether a lock on a file in ``folder`` keeps a second one out. On some network file systems it does nothing.

    Raises:
        OSError: no file can be made there.
    """
    probe = folder / temporary_name("lock-probe-")
    try:
        first, second = try_lock(probe), try_lock(probe)
    except NoLocksError:
        return False
    finally:
        with suppress(OSError):
            probe.unlink()
    for release in filter(None, (first, second)):
        release()
    return first is not None and second is None


def lock(path: Path, cancelled: Event | None = None, patience: float = inf, *, inheritable: bool = False) -> Release:
    """Wait until nobody else holds a lock, then hold it; where there are no locks, nobody waits.

    Args:
        path: its file; folder and file are made where they are missing.
        cancelled: once set, the waiting ends with KeyboardInterrupt.
        patience: seconds.
        inheritable: whether a program that takes this process's place holds it on; not on Windows, where none does.

    Returns:
        What gives it back.

    Raises:
        TimeoutError: it was held all that time.
        OSError: the file cannot be made or opened.
    """
    cancelled, waited = cancelled or Event(), 0.0
    while True:
        try:
            release = try_lock(path, inheritable=inheritable)
        except NoLocksError:
            return unlocked
        except FileNotFoundError:
            # Nobody was here before, or somebody cleans up.
            path.parent.mkdir(parents=True, exist_ok=True)
            release = None
        if release is not None:
            return release
        if waited >= patience:
            raise TimeoutError
        if cancelled.wait(_POLL_SECONDS):
            raise KeyboardInterrupt
        waited += _POLL_SECONDS


def unlocked() -> None:
    """What gives back nothing."""


def _by_filelock(path: Path, *, inheritable: bool = False) -> Release | None:  # noqa: ARG001
    from filelock import FileLock, Timeout

    lock = FileLock(path, thread_local=False)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return None
    return lock.release


if sys.platform == "win32":
    try_lock = _by_filelock
else:
    import fcntl

    def try_lock(path: Path, *, inheritable: bool = False) -> Release | None:
        """Lock a file, which is made where it is missing, for all whom the umask lets in; None where another holds it.

        Who holds it may remove the file. A tenth of what the package filelock takes, which matters with many small
        files.

        Args:
            path: its file.
            inheritable: whether a program that takes this process's place holds it on.

        Returns:
            What gives it back.

        Raises:
            NoLocksError: there are no locks on this file system.
            OSError: the file cannot be made or opened.
        """
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        except OSError as error:
            os.close(descriptor)
            raise NoLocksError(error.errno, error.strerror, str(path)) from error
        if os.fstat(descriptor).st_nlink == 0:
            # The last holder removed the file after it was opened here: this lock keeps out nobody who comes now.
            os.close(descriptor)
            return None
        os.set_inheritable(descriptor, inheritable)
        return lambda: os.close(descriptor)


def make_held(path: Path) -> Release:
    """Make a file that ``remove_abandoned`` leaves alone, until it is given back.

    Raises:
        OSError: it cannot be made.
    """
    if sys.platform == "win32":
        # A file that is open there is removed by nobody.
        path.touch(exist_ok=False)
        return unlocked
    try:
        while (release := try_lock(path)) is None:
            # It was taken for abandoned before it was locked.
            pass
    except NoLocksError:
        return unlocked
    return release


def remove_abandoned(paths: Sequence[Path]) -> None:
    """Remove files of one folder that killed processes had made with ``make_held``; none where locks do nothing."""
    with suppress(OSError):
        if sys.platform != "win32" and not (paths and locks_work(paths[0].parent)):
            return
    for path in paths:
        with suppress(OSError):
            release = unlocked if sys.platform == "win32" else try_lock(path)
            if release is not None:
                try:
                    path.unlink()
                finally:
                    release()
