"""A project's manifest and lock, parsed once in a process for as long as their files stay as they are.

A program may ask for models again and again. Neither file is believed to be the same because it was so a moment ago:
each is looked at every time.
"""

from __future__ import annotations

import time

from vcm.store.project import Project

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import Any, TypeVar

    from vcm.core.lock import Lock
    from vcm.core.manifest import Manifest

    Value = TypeVar("Value")

_SETTLED_SECONDS = 3
"""File systems count time in steps of up to two seconds: a file that is younger may change and look the same."""
_MOST_FILES = 100

_known: dict[Path, tuple[tuple[int, ...], Any]] = {}


class RememberingProject(Project):
    """A project that reads its manifest and its lock again only when their files have changed. Threads may share it."""

    def manifest(self) -> Manifest:
        return _remembered(self.manifest_path, super().manifest)

    def lock(self) -> Lock | None:
        return _remembered(self.lock_path, super().lock)


def _remembered(path: Path, read: Callable[[], Value]) -> Value:
    # Before it is read: a change in between shows the next time.
    stamp = _stamp(path)
    known = _known.get(path)
    if known is not None and known[0] == stamp:
        value: Value = known[1]
        return value
    value = read()
    if stamp is not None and time.time() - stamp[1] / 1e9 >= _SETTLED_SECONDS:
        if len(_known) >= _MOST_FILES:
            _known.clear()
        _known[path] = stamp, value
    return value


def _stamp(path: Path) -> tuple[int, ...] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    # The time of the last change of anything, too: the time of writing can be set back.
    return status.st_size, status.st_mtime_ns, status.st_ino, status.st_dev, status.st_ctime_ns
