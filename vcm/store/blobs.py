"""Blobs: one file's bytes each, named by SHA-256, and the partial files that become blobs.

    <cache>/blobs/sha256/<hex>       read-only; its digest was checked before it got its name
    <cache>/partial/<hex>            bytes of a download that may go on
    <cache>/partial/<hex>.lock       held by the process that downloads it

The flat shape is that of an OCI image layout.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event

from vcm.store.files import READ_ONLY, hash_file, remove_file, sync_folder, temporary_name

_POLL_SECONDS = 0.2


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
        """Where a download's bytes gather: under the digest they will have, else under a name of their own."""
        return self.partial_folder / (sha256 or temporary_name("unnamed-"))

    def admit(self, partial: Path, sha256: str) -> None:
        """Make a finished file a blob. The caller has checked its bytes and made them durable (fsync).

        Its name is durable after ``settle``: one that a loss of power takes back is only fetched again.
        """
        partial.chmod(READ_ONLY)
        if os.name == "nt":
            # It replaces no read-only file, and what stands there may be the same small file of another model.
            self.discard(sha256)
        partial.replace(self.path(sha256))

    def settle(self) -> None:
        """Make the names of all blobs durable."""
        sync_folder(self.folder)

    @contextmanager
    def exclusive(self, name: str, cancelled: Event | None = None) -> Iterator[None]:
        """Hold the right to produce what is called ``name``, against all threads and processes of this store.

        Waits for the holder; ends with KeyboardInterrupt when ``cancelled`` is set meanwhile.
        """
        from filelock import FileLock, Timeout

        self.prepare()
        lock = FileLock(self.partial_folder / f"{name}.lock", thread_local=False)
        while True:
            try:
                lock.acquire(timeout=_POLL_SECONDS, poll_interval=0.02)
                break
            except Timeout:
                if cancelled is not None and cancelled.is_set():
                    raise KeyboardInterrupt from None
        try:
            yield
            # Only when the work is done, and while the lock is held: who waits on the removed file finds the work
            # done. After a failure the file must stay, or two could work at once.
            with suppress(OSError):
                os.unlink(lock.lock_file)  # noqa: PTH108
        finally:
            lock.release()
