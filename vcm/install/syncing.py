"""Syncing: the plan carried out. What fails for one model leaves the others as they are."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from copy import copy
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

from vcm.core.lock import LockedFile, LockedModel
from vcm.core.plan import Plan, PlannedModel, SnapshotState
from vcm.core.records import record
from vcm.core.reporter import Reporter
from vcm.core.wording import byte_count, counted
from vcm.errors import (
    AUTHENTICATION_ERROR,
    CHECKSUM_MISMATCH,
    NETWORK_ERROR,
    NOT_FOUND,
    NOT_INSTALLED,
    DiskSpaceError,
    ModelDownloadError,
    VcmError,
)
from vcm.install.nearby import Nearby
from vcm.install.wanted import Fetched, WantedFile
from vcm.store.files import disk_errors, free_space, hash_file
from vcm.store.store import Store

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

    # At run time it would bring the whole of HTTP, which a run with nothing to fetch does without.
    from vcm.install.transfer import Transfer

FILES_AT_ONCE = 8

Status = Literal["installed", "present", "repaired", "skipped", "failed"]


@record(frozen=True, kw_only=True)
class Synced:
    """What became of one model.

    Attributes:
        path: the snapshot's folder, where the model is installed.
        bytes_fetched: bytes that came over the network.
        bytes_reused: bytes that were on this machine.
        error: why it failed.
    """

    model: LockedModel
    status: Status
    path: Path | None = None
    bytes_fetched: int = 0
    bytes_reused: int = 0
    error: VcmError | None = None


class Installer:
    """Carries out one plan.

    Args:
        store: where the models go.
        transfer: makes the way to the hub when it is first needed; None when there shall be no network.
        file_url: where a locked file is asked for.
        nearby: folders with bytes to use first.
    """

    def __init__(
        self,
        store: Store,
        *,
        transfer: Callable[[], Transfer] | None,
        file_url: Callable[[LockedModel, LockedFile], str],
        reporter: Reporter,
        nearby: Nearby,
        cancelled: Event,
    ) -> None:
        self._store = store
        self._transfer = transfer
        self._file_url = file_url
        self._reporter = reporter
        self._nearby = nearby
        self._cancelled = cancelled
        self._counted: set[str] = set()
        self._missing: set[str] = set()

    def install(self, plan: Plan, headroom: float) -> list[Synced]:
        """Bring the store to the plan's end; one answer for each of its models, in the plan's order.

        Raises:
            DiskSpaceError: there is not enough room; nothing was begun.
            VcmError: the store cannot be written.
        """
        if not plan.changes:
            return [self._finish(each, {}) for each in plan.models]
        # It brings concurrent.futures and logging, which a run with nothing to do is done without.
        from vcm.install.pools import workers

        with disk_errors(self._store.root):
            self._store.blobs.prepare()
        check_space(plan, self._store, headroom)
        self._missing = {file.sha256 for each in plan.changes for file in each.fetch}
        files = sum(len(each.fetch) for each in plan.changes)
        self._reporter.started(f"fetching {counted(files, 'file')}", plan.bytes_to_fetch)
        try:
            with workers(FILES_AT_ONCE, "vcm-file", self._cancelled) as pool:
                coming = self._submit(pool, plan)
                return [self._finish(each, coming) for each in plan.models]
        finally:
            self._reporter.finished()

    def _submit(self, pool: ThreadPoolExecutor, plan: Plan) -> dict[str, Future[Fetched]]:
        """Every blob once, the largest first: the last one to end decides how long it takes."""
        wanted: dict[str, dict[str, tuple[LockedModel, LockedFile]]] = {}
        for each in plan.changes:
            for file in (*each.fetch, *each.reuse):
                wanted.setdefault(file.sha256, {}).setdefault(each.model.name, (each.model, file))
        ordered = sorted((list(sources.values()) for sources in wanted.values()), key=lambda pairs: -pairs[0][1].size)
        return {sources[0][1].sha256: pool.submit(self._obtain, sources) for sources in ordered}

    def _finish(self, planned: PlannedModel, coming: dict[str, Future[Fetched]]) -> Synced:
        model, root = planned.model, self._store.snapshots.path(planned.model.tree_digest)
        if planned.state is SnapshotState.INSTALLED:
            return Synced(model=model, status="present", path=root)
        fetched, errors = self._collect(model, coming)
        if not errors:
            try:
                fetched += self._build(model)
            except VcmError as error:
                errors.append(error)
        if errors:
            if planned.state is SnapshotState.DAMAGED:
                self._discard_damaged(model)
            return Synced(model=model, status="failed", bytes_fetched=fetched, error=errors[0])
        status: Status = "repaired" if planned.state is SnapshotState.DAMAGED else "installed"
        return Synced(
            model=model, status=status, path=root, bytes_fetched=fetched, bytes_reused=max(0, model.size - fetched)
        )

    def _build(self, model: LockedModel, removals: int = 3) -> int:
        """Make the snapshot; a blob that somebody removes meanwhile is obtained again, so many times at most.

        Returns:
            The bytes that came over the network for it.
        """
        with disk_errors(self._store.root):
            try:
                self._link(model)
            except FileNotFoundError:
                if not removals:
                    raise
            else:
                return 0
        gone = [file for file in model.files if not self._store.blobs.has(file.sha256, file.size)]
        fetched = sum(self._obtain([(model, file)]).bytes_fetched for file in gone)
        return fetched + self._build(model, removals - 1)

    def _link(self, model: LockedModel) -> None:
        with self._store.blobs.exclusive(model.tree_digest, self._cancelled):
            if self._store.snapshots.state(model) is not SnapshotState.INSTALLED:
                self._store.blobs.settle()
                self._store.snapshots.build(model, self._store.blobs.path)

    def _discard_damaged(self, model: LockedModel) -> None:
        """What cannot be repaired is not left standing: a program that can do without it may start."""
        snapshots = self._store.snapshots
        with suppress(OSError), self._store.blobs.exclusive(model.tree_digest, self._cancelled):
            # Another process may have had more luck.
            if snapshots.state(model) is SnapshotState.DAMAGED:
                snapshots.discard(model.tree_digest)

    def _collect(self, model: LockedModel, coming: dict[str, Future[Fetched]]) -> tuple[int, list[VcmError]]:
        """Wait for all files of a model: the bytes that came for them over the network, and what failed."""
        fetched, errors = 0, list[VcmError]()
        for file in model.files:
            try:
                result = coming[file.sha256].result()
            except VcmError as error:
                errors.append(_named(error, model, file))
            else:
                if file.sha256 not in self._counted:
                    self._counted.add(file.sha256)
                    fetched += result.bytes_fetched
        return fetched, errors

    def _obtain(self, sources: list[tuple[LockedModel, LockedFile]]) -> Fetched:
        """Have a blob in the store, with bytes that were hashed in this run; any of the models it is in will do."""
        model, file = sources[0]
        if self._cancelled.is_set():
            raise KeyboardInterrupt
        with disk_errors(self._store.root):
            if self._is_here(file):
                if file.sha256 in self._missing:
                    self._reporter.kept(f"{model.name}/{file.path}", file.size)
                return Fetched(file.sha256, file.size, 0)
        if self._transfer is None:
            raise ModelDownloadError(
                f"not in the store, and this run is offline ({byte_count(file.size)})",
                error_code=NOT_INSTALLED,
                hint="run vcm sync where the hub can be reached, or name a folder that has it with --from DIR",
                model=model.name,
                file=file.path,
            )
        return self._fetch_from_any(sources, self._transfer)

    def _fetch_from_any(
        self, sources: list[tuple[LockedModel, LockedFile]], transfer: Callable[[], Transfer]
    ) -> Fetched:
        failed: list[ModelDownloadError] = []
        unreachable: set[str] = set()
        for model, file in sources:
            host = urlsplit(self._file_url(model, file)).netloc
            if host in unreachable:
                continue
            try:
                return self._fetch(transfer, model, file)
            except ModelDownloadError as error:
                if error.error_code == NETWORK_ERROR:
                    unreachable.add(host)
                elif error.error_code not in (AUTHENTICATION_ERROR, NOT_FOUND, CHECKSUM_MISMATCH):
                    raise
                failed.append(error)
        raise failed[-1]

    def _is_here(self, file: LockedFile) -> bool:
        """Whether the store has the blob, or could take it from a folder that was named."""
        blobs = self._store.blobs
        if blobs.is_whole(file.sha256, file.size):
            return True
        if blobs.size(file.sha256) is not None:
            with blobs.exclusive(file.sha256, self._cancelled):
                # Once more, now that nobody else is at it: what another process has just made whole stays.
                if blobs.is_whole(file.sha256, file.size):
                    return True
                blobs.discard(file.sha256)
        return any(
            _is(candidate, file) and blobs.admit_copy(candidate, file.sha256, file.size)
            for candidate in self._nearby.candidates(file.size, file.path)
        )

    def _fetch(self, transfer: Callable[[], Transfer], model: LockedModel, file: LockedFile) -> Fetched:
        return transfer().fetch(
            WantedFile(
                model=model.name,
                path=file.path,
                url=self._file_url(model, file),
                repo=model.repo,
                commit=model.commit,
                size=file.size,
                sha256=file.sha256,
                gated=model.gated is not None,
            )
        )


def _named(error: VcmError, model: LockedModel, file: LockedFile) -> VcmError:
    """The error with this model's name: two models that share a blob share what happened to it."""
    own = copy(error)
    own.model, own.file = model.name, file.path
    return own


def _is(candidate: Path, file: LockedFile) -> bool:
    try:
        return hash_file(candidate) == (file.sha256, file.size)
    except OSError:
        # Pulled out, or not for this user: there are other ways to the bytes.
        return False


def check_space(plan: Plan, store: Store, headroom: float) -> None:
    """Refuse to begin what the disk cannot hold.

    Raises:
        DiskSpaceError: says how much is missing.
    """
    files: Iterable[LockedFile] = (file for each in plan.changes for file in each.fetch)
    missing = sum(max(0, file.size - _partial_size(store, file)) for file in files)
    needed, free = int(missing * headroom), free_space(store.root)
    if free < needed:
        raise DiskSpaceError(
            f"{byte_count(missing)} are still to fetch, which needs {byte_count(needed)} free in {store.root}; "
            f"{byte_count(free)} are free, {byte_count(needed - free)} too little",
            needed=needed,
            free=free,
            hint="free some space, choose another folder with --cache-dir, or lower disk-headroom under [cache]",
        )


def _partial_size(store: Store, file: LockedFile) -> int:
    try:
        return store.blobs.partial_path(file.sha256).stat().st_size
    except OSError:
        return 0
