"""Blobs: one file's bytes each, named by SHA-256, and the partial files that become blobs.

    <cache>/blobs/sha256/<hex>       read-only; its digest was checked before it got its name
    <cache>/partial/<hex>            bytes of a download that may go on, where locks work
    <cache>/partial/unnamed-…        bytes of a download that nobody else will find
    <cache>/partial/<hex>.lock       held by the process that downloads it

The flat shape is that of an OCI image layout.
"""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
from pathlib import Path

from vcm.core.cached import cached_property
from vcm.store.exclusion import lock, locks_work
from vcm.store.files import READ_ONLY, hash_file, read_small, remove_file, sync_folder, temporary_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from threading import Event

_SYNCED_AT_ONCE = 16
"""Files; of 1000, one after the other takes several times as long on a disk."""


class BlobStore:
    """Digest → bytes. It knows no model and no network."""

    def __init__(self, root: Path) -> None:
        self.folder = root / "blobs" / "sha256"
        self.partial_folder = root / "partial"

    def path(self, sha256: str) -> Path:
        """Where the blob stands, or would stand."""
        return self.folder / sha256

    def size(self, sha256: str) -> int | None:
        """The blob's size in bytes; None where there is none."""
        try:
            return self.path(sha256).stat().st_size
        except OSError:
            return None

    def has(self, sha256: str, size: int) -> bool:
        """Whether the blob is there with that size; its bytes are not read."""
        return self.size(sha256) == size

    def is_whole(self, sha256: str, size: int) -> bool:
        """Whether the blob is there and its bytes are right; they are read."""
        return self.has(sha256, size) and hash_file(self.path(sha256)) == (sha256, size)

    def discard(self, sha256: str) -> None:
        """Forget a blob; snapshots that link to its bytes keep them."""
        with suppress(FileNotFoundError):
            remove_file(self.path(sha256))

    def prepare(self) -> None:
        """Make the folders."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.partial_folder.mkdir(parents=True, exist_ok=True)

    def partial_path(self, sha256: str | None) -> Path:
        """Where a download's bytes gather: under the digest they will have, else under a name of their own.

        Where locks do nothing, always under a name of their own: two that write into one file would not know of each
        other, and what an earlier run has left may belong to one that goes on.
        """
        if sha256 is not None and self.can_exclude:
            return self.partial_folder / sha256
        return self.partial_folder / temporary_name("unnamed-")

    def admit(self, partial: Path, sha256: str) -> None:
        """Make a finished file a blob. The caller has checked its bytes and made them durable (fsync).

        Its name is durable after ``settle``: one that a loss of power takes back is only fetched again.
        """
        partial.chmod(READ_ONLY)
        if os.name == "nt":
            # It replaces no read-only file, and what stands there may be the same small file of another model.
            self.discard(sha256)
        partial.replace(self.path(sha256))

    def put(self, data: bytes, sha256: str) -> None:
        """Have a blob of bytes that are in memory; one that is there and right stays.

        Args:
            data: not many.
            sha256: theirs.
        """
        if read_small(self.path(sha256), len(data)) == data:
            return
        self.prepare()
        partial = self.partial_path(None)
        try:
            with partial.open("xb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
            self.admit(partial, sha256)
        except BaseException:
            with suppress(OSError):
                remove_file(partial)
            raise

    def put_all(self, contents: Mapping[str, bytes]) -> None:
        """The same for many, by their digests: a disk makes those durable at once that come at once."""
        if len(contents) <= _SYNCED_AT_ONCE:
            for sha256, data in contents.items():
                self.put(data, sha256)
            return
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(_SYNCED_AT_ONCE) as pool:
            for _ in pool.map(self.put, contents.values(), contents):
                pass

    def settle(self) -> None:
        """Make the names of all blobs durable."""
        sync_folder(self.folder)

    @cached_property
    def can_exclude(self) -> bool:
        """Whether locks keep others out of this store; found out once.

        Raises:
            OSError: the store cannot be written.
        """
        self.prepare()
        return locks_work(self.partial_folder)

    @contextmanager
    def exclusive(self, name: str, cancelled: Event | None = None) -> Iterator[None]:
        """Hold the right to produce what is called ``name``, against all threads and processes of this store.

        Waits for the holder; ends with KeyboardInterrupt when ``cancelled`` is set meanwhile. Where locks do nothing,
        several may hold it: then the same work is done more than once, each time under names that nobody else uses.
        """
        if not self.can_exclude:
            yield
            return
        path = self.partial_folder / f"{name}.lock"
        release = lock(path, cancelled)
        try:
            yield
            # Only when the work is done, and while the lock is held: who waits on the removed file finds the work
            # done. After a failure the file must stay, or two could work at once.
            with suppress(OSError):
                path.unlink()
        finally:
            release()
