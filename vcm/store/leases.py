"""Leases: what running processes need of the store, so that prune beside them leaves it alone.

    <cache>/in-use/<unique>.json    the SHA-256 of the blobs and the tree digests of the snapshots that one needs
    <cache>/in-use/<unique>.lock    held as long as it runs: a lease that nobody holds was left by one that was killed
    <cache>/in-use/store.lock       held while a lease is taken, and while prune removes anything

So whoever has a lease finds that prune has done its work before, or will see the lease: it looks at the store only
then. Where locks do nothing, nobody knows who was killed, and a lease counts for a day.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any, Self

from vcm.core.lock import LockedModel
from vcm.store.exclusion import Release, lock, locks_work, try_lock, unlocked
from vcm.store.files import read_small, remove_file, replace_file, temporary_name

if TYPE_CHECKING:
    from vcm.core.pruning import Claim

_DOUBTFUL_SECONDS = 24 * 3600.0
"""For how long a lease counts of which nobody can tell whether it is held."""
_LARGEST = 1 << 28
"""Bytes; the lease of a million files has 70 MB."""


class Lease:
    """One process's lease, from when it is taken until it is released."""

    def __init__(self, path: Path, release: Release) -> None:
        self._path = path
        self._release = release

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    @property
    def name(self) -> str:
        """What tells it from all others."""
        return self._path.stem

    def release(self) -> None:
        """Let go of what was needed; a second time is no error."""
        _unlink(self._path)
        self.let_go()

    def let_go(self) -> None:
        """The same for a lease that a forked process may hold on to: its files stay."""
        self._release()
        self._release = unlocked


class Leases:
    """The leases of one store."""

    def __init__(self, root: Path) -> None:
        self.folder = root / "in-use"
        self._store_lock = self.folder / "store.lock"

    def take(
        self, models: Iterable[LockedModel] | None, cancelled: Event | None = None, *, inheritable: bool = False
    ) -> Lease:
        """Take a lease; the store is to be looked at only after that.

        Args:
            models: whose snapshots and blobs are needed; None for all there are and will be.
            cancelled: ends the waiting for prune with KeyboardInterrupt.
            inheritable: whether a program that takes this process's place holds it on.

        Raises:
            OSError: the store cannot be written.
        """
        path = self.folder / f"{temporary_name('')}.json"
        text = json.dumps(_document(models)).encode()
        with self.exclusive(cancelled):
            # The name is this process's own: it is had at once.
            lease = Lease(path, lock(path.with_suffix(".lock"), inheritable=inheritable))
            try:
                replace_file(path, text, durable=False)
            except BaseException:
                lease.release()
                raise
        return lease

    @contextmanager
    def exclusive(self, cancelled: Event | None = None) -> Iterator[None]:
        """Keep everybody from taking a lease meanwhile.

        Raises:
            OSError: the store cannot be written.
        """
        release = lock(self._store_lock, cancelled)
        try:
            yield
        finally:
            release()

    def remove_store_lock(self) -> None:
        """Remove the file behind ``exclusive``, while it is held; on Windows, it stays."""
        with suppress(OSError):
            remove_file(self._store_lock)

    def is_abandoned(self, name: str) -> bool:
        """Whether nobody holds a lease any more, as far as anybody can tell; only to be asked where locks work."""
        return _is_held(self.folder / f"{name}.lock") is False

    def remove(self, name: str) -> None:
        """Remove what was left of a lease that nobody holds."""
        _unlink(self.folder / f"{name}.json")

    def claims(self, now: float) -> list[Claim]:
        """What the running processes need.

        Args:
            now: seconds since the epoch.

        Raises:
            OSError: the leases cannot be read.
        """
        try:
            paths = sorted(self.folder.glob("*.json"))
            certain = bool(paths) and locks_work(self.folder)
        except OSError:
            certain = False
        return list(filter(None, (self._claim(path, now, certain=certain) for path in paths)))

    def _claim(self, path: Path, now: float, *, certain: bool) -> Claim | None:
        try:
            began = path.stat().st_mtime
        except FileNotFoundError:
            return None
        held = _is_held(path.with_suffix(".lock")) if certain else None
        if held is None:
            held = now - began < _DOUBTFUL_SECONDS
        if not held:
            return None

        # Who only takes a lease, in front of a program, does not read it.
        from vcm.core.pruning import Claim

        return Claim(path.stem, began, *_digests(read_small(path, _LARGEST)))


def _unlink(path: Path) -> None:
    for each in (path, path.with_suffix(".lock")):
        with suppress(OSError):
            each.unlink()


def _is_held(lock: Path) -> bool | None:
    """Whether somebody holds a lock; None where nobody can tell, as for a file of another user."""
    if not os.path.lexists(lock):
        return False
    try:
        release = try_lock(lock)
    except OSError:
        return None
    if release is None:
        return True
    release()
    return False


def _document(models: Iterable[LockedModel] | None) -> dict[str, list[str] | None]:
    if models is None:
        return {"blobs": None, "snapshots": None}
    models = list(models)
    return {
        "blobs": sorted({file.sha256 for model in models for file in model.files}),
        "snapshots": sorted({model.tree_digest for model in models}),
    }


def _digests(data: bytes | None) -> tuple[frozenset[str] | None, frozenset[str] | None]:
    """The blobs and the snapshots that a lease names; None, for all, also where it cannot be read."""
    try:
        document = json.loads(data or b"null")
    except (ValueError, RecursionError):
        return None, None
    return _names(document, "blobs"), _names(document, "snapshots")


def _names(document: Any, key: str) -> frozenset[str] | None:
    names = document.get(key) if isinstance(document, dict) else None
    return frozenset(each for each in names if isinstance(each, str)) if isinstance(names, list) else None
