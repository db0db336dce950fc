"""Small files: the hub gives them a git blob id and no SHA-256, so their bytes are needed to lock them.

Fetching them is what locking costs, so none is fetched twice: the same git blob id is fetched once over all repos and
revisions of a run, and bytes that the store or the user's Hugging Face cache has are taken from there, after hashing.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from threading import Lock

from vcm.errors import VcmError
from vcm.install.transfer import Transfer
from vcm.install.wanted import WantedFile
from vcm.store.admitting import Claim, NotAsClaimedError, admit
from vcm.store.blobs import BlobStore
from vcm.store.files import disk_errors
from vcm.store.git_ids import GitIds, digest_of
from vcm.store.hub_cache import HubCache


class SmallFiles:
    """Has small files in the store and tells their SHA-256; may be used by several threads.

    Args:
        blobs: where they go.
        git_ids: which of the store's blobs have which git blob id.
        hub_cache: the user's Hugging Face cache.
        transfer: fetches what is nowhere on this machine.
        pool: the threads that do the work; no task of it may wait for another one's.
    """

    def __init__(
        self, blobs: BlobStore, git_ids: GitIds, hub_cache: HubCache, transfer: Transfer, pool: ThreadPoolExecutor
    ) -> None:
        self.fetched = 0
        self.reused = 0
        self._blobs = blobs
        self._git_ids = git_ids
        self._hub_cache = hub_cache
        self._transfer = transfer
        self._pool = pool
        self._coming: dict[tuple[str | None, int | None], Future[str]] = {}
        self._lock = Lock()

    def digests(self, wanted: list[WantedFile]) -> list[str]:
        """The SHA-256 of each file, whose bytes are blobs of the store then.

        Raises:
            VcmError: one of them cannot be had.
        """
        coming = [self._begin(each) for each in wanted]
        return [self._result(each, *found) for each, found in zip(wanted, coming, strict=True)]

    def _begin(self, wanted: WantedFile) -> tuple[Future[str], bool]:
        """The digest to come, and whether it is this very file that is waited for."""
        key = (wanted.oid, wanted.size)
        with self._lock:
            is_own = key not in self._coming
            if is_own:
                self._coming[key] = self._pool.submit(self._obtain, wanted)
            return self._coming[key], is_own

    def _result(self, wanted: WantedFile, future: Future[str], is_own: bool) -> str:
        try:
            return future.result()
        except VcmError:
            with self._lock:
                if self._coming.get((wanted.oid, wanted.size)) is future:
                    del self._coming[wanted.oid, wanted.size]
            if is_own:
                raise
        # What another repo could not give, this one may.
        return self._obtain(wanted)

    def _obtain(self, wanted: WantedFile) -> str:
        with disk_errors(self._blobs.folder):
            digest = self._from_this_machine(wanted)
        with self._lock:
            self.reused += digest is not None
        if digest is None:
            digest = self._transfer.fetch(wanted).sha256
            with self._lock:
                self.fetched += 1
        if wanted.oid is not None and wanted.size is not None:
            self._git_ids.add(wanted.oid, digest, wanted.size)
        return digest

    def _from_this_machine(self, wanted: WantedFile) -> str | None:
        if wanted.oid is None or wanted.size is None:
            return None
        known = self._git_ids.find(wanted.oid, wanted.size)
        if known is not None and digest_of(self._blobs.path(known), wanted.oid, wanted.size) == known:
            return known
        self._blobs.prepare()
        for path in self._in_hub_cache(wanted):
            with suppress(NotAsClaimedError):
                return admit(self._blobs, path, Claim(oid=wanted.oid, size=wanted.size))[0]
        return None

    def _in_hub_cache(self, wanted: WantedFile) -> list[Path]:
        found = self._hub_cache.blobs(wanted.oid) if wanted.oid else []
        if wanted.repo and wanted.commit:
            path = self._hub_cache.snapshot_file(wanted.repo, wanted.commit, wanted.path)
            found += [path] if path is not None else []
        return found
