"""The installed files on the disk: which there are at the moment, and that their bytes are still those.

No name of a request ever becomes a path: what is opened was in the store's own index. A file that is as it was when its
bytes were last verified is served at once; one that is not is hashed first, once, and served only if it is right. Prune
may take away what is being served: a file that is open stays whole to its end, and the next request finds it gone.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from io import FileIO
from pathlib import Path
from threading import Lock

from vcm.core.layout import INDEX, MARK
from vcm.core.lock import LockedModel
from vcm.errors import VcmError
from vcm.serve.catalog import Catalog, Content
from vcm.store.files import read_small, written_at
from vcm.store.pruning import read_projects
from vcm.store.snapshots import Stamp
from vcm.store.store import Store

_LARGEST_INDEX = 1 << 28
"""Bytes."""


class Shelf:
    """What one store offers; may be used by several threads.

    Args:
        store: the store; it is only read.
        notice: told what whoever keeps the store should know.
        changed: told what is installed, at first and whenever that is something else.
    """

    def __init__(
        self, store: Store, notice: Callable[[str], None], changed: Callable[[Catalog], None] = lambda _: None
    ) -> None:
        self._store = store
        self._notice = notice
        self._changed = changed
        self._lock = Lock()
        self._hashing: defaultdict[str, Lock] = defaultdict(Lock)
        self._known: dict[tuple[Path, Stamp], bool] = {}
        self._recorded: dict[str, dict[str, Stamp]] = {}
        self._seen: Stamp | None = None
        self._index: bytes | None = None
        self._catalog = Catalog()

    def catalog(self) -> Catalog:
        """What is installed now; the index is read again where it is another than before."""
        path = self._store.root / INDEX
        with self._lock:
            seen = _stamp_at(path)
            if seen != self._seen:
                # The state from before the reading: what is written meanwhile is another.
                self._seen = seen
                index = read_small(path, _LARGEST_INDEX)
                if index != self._index:
                    self._index = index
                    self._recorded = {}
                    self._catalog = self._read()
                    self._changed(self._catalog)
            return self._catalog

    def document(self, name: str) -> bytes | None:
        """The files beside the blobs of an OCI image layout; None where there is no such file."""
        if name == INDEX:
            return self._index
        return read_small(self._store.root / name, _LARGEST_INDEX) if name == MARK else None

    def has(self, content: Content) -> bool:
        """Whether there is a file of that size where these bytes should be."""
        stamps = map(_stamp_at, self._places(content))
        return any(stamp is not None and stamp[0] == content.size for stamp in stamps)

    def open(self, content: Content) -> FileIO | None:
        """A file with these very bytes; None where there is none any more."""
        for path in self._places(content):
            with suppress(OSError), ExitStack() as stack:
                # Opening a pipe would wait for ever.
                descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0))
                stream = stack.enter_context(FileIO(descriptor))
                if self._is_right(path, stream, content):
                    stack.pop_all()
                    return stream
        return None

    def _places(self, content: Content) -> Iterator[Path]:
        for tree_digest, path in content.places:
            yield self._store.snapshots.path(tree_digest) / path
        yield self._store.blobs.path(content.sha256)

    def _is_right(self, path: Path, stream: FileIO, content: Content) -> bool:
        stamp = _stamp(os.fstat(stream.fileno()))
        if stamp is None or stamp[0] != content.size:
            return False
        known = self._known.get((path, stamp))
        if known is None and stamp in self._stamps(content):
            known = self._known[path, stamp] = True
        if known is not None:
            return known
        with self._lock:
            turn = self._hashing[content.sha256]
        with turn:
            # Another may have waited for, and done, the same.
            if (path, stamp) not in self._known:
                right = hashlib.file_digest(stream, "sha256").hexdigest() == content.sha256
                if _stamp(os.fstat(stream.fileno())) != stamp:
                    return False
                self._known[path, stamp] = right
                if not right:
                    self._notice(f"{path} is damaged and not served: run vcm cache verify --repair")
        return self._known[path, stamp]

    def _stamps(self, content: Content) -> Iterator[Stamp]:
        """What was noted of these bytes when they were verified; a blob and its hard links are one file."""
        for tree_digest, path in content.places:
            if tree_digest not in self._recorded:
                self._recorded[tree_digest] = self._store.snapshots.verified(tree_digest)
            stamp = self._recorded[tree_digest].get(path)
            if stamp is not None:
                yield stamp

    def _read(self) -> Catalog:
        entries = self._store.layout.entries()
        entries.sort(key=lambda entry: written_at(self._store.snapshots.path(entry.model.tree_digest)))
        artifacts = {entry.digest: entry.size for entry in entries}
        for entry in entries:
            artifacts[entry.config] = self._store.blobs.size(entry.config) or 0
        locked: list[LockedModel] = []
        with suppress(VcmError):
            locked = read_projects(self._store.registry.projects()).models
        return Catalog(entries, locked, artifacts)


def _stamp_at(path: Path) -> Stamp | None:
    try:
        return _stamp(path.stat())
    except OSError:
        return None


def _stamp(status: os.stat_result) -> Stamp | None:
    return (status.st_size, status.st_mtime_ns, status.st_ino) if stat.S_ISREG(status.st_mode) else None
