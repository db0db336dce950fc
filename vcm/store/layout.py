"""The store as an OCI image layout: an index of the models that are installed, beside the blobs.

    <cache>/oci-layout                     says that the folder is one
    <cache>/index.json                     names the manifest of each installed model; its time of writing is that of
                                           the last look at it, or 1970 where models may be missing
    <cache>/partial/index.json.lock        held by whoever changes it
    <cache>/blobs/sha256/<hex>             its manifest and configuration, like the model's files

So any tool that reads such a layout (skopeo, podman, oras, a web server) reads the store. The index is true at every
instant: blobs are durable before it names them, and not named any more before they go. Every change reads it anew and
replaces it whole. One that cannot be used is made anew.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING

from vcm.core.layout import (
    INDEX,
    MARK,
    MARK_BYTES,
    Entry,
    asked_in,
    digest_in,
    entry_of,
    index_bytes,
    merged,
    name_in,
    parse_index,
    refs_in,
)
from vcm.core.lock import LockedModel
from vcm.core.modelpack import MANIFEST_TYPE, Package, package, read_manifest
from vcm.errors import CONFIG_ERROR, VcmError
from vcm.store.blobs import BlobStore
from vcm.store.files import disk_errors, read_small, replace_file, scanned, written_at

if TYPE_CHECKING:
    from vcm.core.layout import Descriptor

_LARGEST_INDEX = 1 << 28
"""Bytes; that of 500,000 models."""
_LARGEST_MANIFEST = 1 << 26
"""Bytes; that of 150,000 files. Registries take 4 MB."""


class Layout:
    """The index of one store; any number of processes and threads may use it at once."""

    def __init__(self, root: Path, blobs: BlobStore) -> None:
        self.index_file = root / INDEX
        self._root = root
        self._mark = root / MARK
        self._blobs = blobs
        self._guard = threading.RLock()
        self._is_held = False

    def entries(self) -> list[Entry]:
        """The packages that the index names, by name; what is damaged, or not of vcm, is left out."""
        try:
            return self._entries(self._rows() or ())
        except VcmError:
            return []

    def models(self) -> list[LockedModel]:
        """The models that are installed, as far as their manifests tell, in the order of ``entries``."""
        return [entry.model for entry in self.entries()]

    def record(self, models: Sequence[LockedModel], cancelled: Event | None = None, *, whole: bool = False) -> None:
        """Name installed models in the index; writes nothing where it names them already.

        One that lacks a blob, as where somebody has removed it by hand, is not named.

        Args:
            models: which.
            cancelled: ends the waiting for others.
            whole: whether these are all that are installed, as far as anybody knows.

        Raises:
            VcmError: the store cannot be written.
        """
        if not self._root.is_dir():
            return
        packages = [package(model) for model in models]
        with disk_errors(self._root):
            whole = whole or self.is_whole
            if not self._names_all(packages):
                with self.exclusive(cancelled):
                    self._add(packages)
        self._stamp(whole=whole)

    @property
    def is_whole(self) -> bool:
        """Whether the index may name all that is installed: it was not made anew, nor was anything taken back since."""
        try:
            return written_at(self.index_file) > 0 and self._rows() is not None
        except (OSError, VcmError):
            return False

    def confirm(self) -> None:
        """Say that the index is as new as the record of what is installed, if it is whole."""
        if self.is_whole:
            self._stamp(whole=True)

    def drop(self, digests: Collection[str], cancelled: Event | None = None, *, for_good: bool = False) -> None:
        """Name nothing any more that needs what is to be removed, nor what other tools have put there.

        Args:
            digests: SHA-256 of blobs, and tree digests of snapshots.
            cancelled: ends the waiting for others.
            for_good: whether nobody will want to have it back.

        Raises:
            VcmError: the store cannot be written.
        """
        if not self.index_file.is_file():
            return
        gone, whole = frozenset(digests), for_good and self.is_whole
        with disk_errors(self._root), self.exclusive(cancelled):
            try:
                entries = self._entries(self._rows() or ())
            except VcmError:
                return  # It is somebody else's.
            kept = [each for each in entries if each.model.tree_digest not in gone and gone.isdisjoint(each.needs)]
            self._write(kept, ())
            self._stamp(whole=whole)

    @contextmanager
    def exclusive(self, cancelled: Event | None = None) -> Iterator[None]:
        """Keep everybody else from changing the index meanwhile; the same thread may change it.

        Raises:
            OSError: the store cannot be written.
        """
        with self._guard:
            if self._is_held:
                yield
                return
            with self._blobs.exclusive(INDEX, cancelled):
                self._is_held = True
                try:
                    yield
                finally:
                    self._is_held = False

    def _names_all(self, packages: Iterable[Package]) -> bool:
        rows = self._rows()
        if rows is None or not self._is_marked():
            return False
        known_rows = {name_in(row): row for row in rows}
        for each in packages:
            row = known_rows.get(each.reference)
            if row is None:
                return False
            entry = entry_of(each)
            known = entry.called(refs_in(row), asked_in(row))
            if row != known.descriptor or merged([known], [entry]) != [known]:
                return False
        return True

    def _is_marked(self) -> bool:
        # Other tools write it with blanks.
        return b"".join((read_small(self._mark, 1024) or b"").split()) == MARK_BYTES

    def _add(self, packages: Iterable[Package]) -> None:
        whole = [each for each in packages if all(self._blobs.has(file.sha256, file.size) for file in each.model.files)]
        contents = {each.config_digest: each.config for each in whole} | {each.digest: each.manifest for each in whole}
        self._blobs.put_all(contents)
        rows = self._rows() or []
        entries = merged(self._entries(rows), map(entry_of, whole))
        names = {entry.name for entry in entries}
        self._write(entries, [row for row in rows if name_in(row) not in names])

    def _write(self, entries: Iterable[Entry], foreign: Iterable[Descriptor]) -> None:
        """Replace the index by one of these, without those that lack a blob."""
        present = {each.name for each in scanned(self._blobs.folder)}
        rows = [entry.descriptor for entry in entries if entry.needs <= present]
        rows += [row for row in foreign if digest_in(row) in present]
        data = index_bytes(rows)
        if not self._is_marked():
            replace_file(self._mark, MARK_BYTES)
        if read_small(self.index_file, len(data)) != data:
            if present:
                self._blobs.settle()
            replace_file(self.index_file, data)

    def _stamp(self, *, whole: bool) -> None:
        """Let the index's time say whether anybody has to look into it."""
        with suppress(OSError):
            os.utime(self.index_file, None if whole else (0, 0))

    def _rows(self) -> list[Descriptor] | None:
        """The index as it is now; None where there is none, or none that can be used.

        Raises:
            VcmError: that name has a file of somebody else.
        """
        data = read_small(self.index_file, _LARGEST_INDEX)
        if data is None:
            return None
        try:
            return parse_index(data)
        except ValueError:
            if self._mark.is_file():
                return None
            raise VcmError(
                f"{self.index_file} is not the index of an OCI image layout, which a store has under that name",
                error_code=CONFIG_ERROR,
                hint="move it away, or choose another folder with --cache-dir",
            ) from None

    def _entries(self, rows: Iterable[Descriptor]) -> list[Entry]:
        return [entry for row in rows if (entry := self._read(row)) is not None]

    def _read(self, row: Descriptor) -> Entry | None:
        """The package that a descriptor is of, if vcm has named it."""
        digest, size = digest_in(row), row["size"]
        if row["mediaType"] != MANIFEST_TYPE or not name_in(row).endswith(digest[:12]):
            return None
        data = read_small(self._blobs.path(digest), min(size, _LARGEST_MANIFEST))
        if data is None or len(data) != size or hashlib.sha256(data).hexdigest() != digest:
            return None
        try:
            model, config = read_manifest(data)
        except ValueError:
            return None
        entry = Entry(model, digest, size, config, refs_in(row), asked_in(row))
        return entry if entry.name == name_in(row) else None
