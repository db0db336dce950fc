"""Syncing: the plan carried out. What fails for one model leaves the others as they are."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from copy import copy
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Literal

from vcm.core.lock import LockedFile, LockedModel
from vcm.core.plan import Plan, PlannedModel, SnapshotState
from vcm.core.records import record
from vcm.core.reporter import Reporter
from vcm.core.wording import byte_count, counted, listed
from vcm.errors import NOT_INSTALLED, DiskSpaceError, ModelDownloadError, VcmError, gravest
from vcm.install.wanted import LARGE, Fetched
from vcm.store.files import disk_errors, free_space
from vcm.store.store import Store

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

    # At run time it would bring the whole of HTTP, which a run with nothing to fetch does without.
    from vcm.install.fetching import Fetcher
    from vcm.install.nearby import Nearby, Sources

LARGE_FILES_AT_ONCE = 8
SMALL_FILES_AT_ONCE = 20
"""Of a small file most of the time goes by until the first byte comes, which costs neither memory nor the processor."""
_FILES_SHOWN = 5

Status = Literal["installed", "present", "repaired", "skipped", "failed"]


@record(frozen=True, kw_only=True)
class Synced:
    """What became of one model.

    Attributes:
        path: the snapshot's folder, where the model is installed.
        bytes_fetched: bytes that came over the network, or out of a mirror that is a folder.
        bytes_reused: bytes that were on this machine.
        supplied: by mirror (None: the origin), how many bytes of its files came from there.
        error: why it failed.
    """

    model: LockedModel
    status: Status
    path: Path | None = None
    bytes_fetched: int = 0
    bytes_reused: int = 0
    supplied: Mapping[str | None, int] = {}
    error: VcmError | None = None


class Installer:
    """Carries out one plan.

    Args:
        store: where the models go.
        fetcher: makes what brings files here when it is first needed; None where nobody may be asked for any.
        without_origin: why the hub is not asked, as the end of a sentence; empty where it is.
        nearby: where else on this machine bytes may be, to use first; asked when something has to be done.
    """

    def __init__(
        self,
        store: Store,
        *,
        fetcher: Callable[[], Fetcher] | None,
        without_origin: str,
        reporter: Reporter,
        nearby: Callable[[], Nearby],
        cancelled: Event,
    ) -> None:
        self._store = store
        self._fetcher = fetcher
        self._without_origin = without_origin
        self._reporter = reporter
        self._nearby = nearby
        self._cancelled = cancelled
        self._counted: set[str] = set()
        self._deltas: dict[Path, str] = {}

    def install(self, plan: Plan, headroom: float) -> list[Synced]:
        """Bring the store to the plan's end; one answer for each of its models, in the plan's order.

        Raises:
            DiskSpaceError: there is not enough room; nothing was begun.
            VcmError: the store cannot be written.
        """
        if not plan.changes:
            return [self._finish(each, {}) for each in plan.models]
        # A run with nothing to do is done without all that these bring.
        from vcm.install.nearby import sources_of
        from vcm.install.pools import workers
        from vcm.install.taking import Taker

        with disk_errors(self._store.root):
            self._store.blobs.prepare()
        nearby = self._nearby()
        found = nearby.found(plan)
        self._deltas = nearby.deltas
        # What becomes one file with another takes no room. What turns out to be something else is fetched after all.
        unlinked = [file for file in plan.to_fetch if not nearby.takes_no_room(found.get(file.sha256))]
        wanted = sources_of(plan)
        self._check_space(unlinked, headroom, {key: wanted[key] for key in wanted.keys() - found.keys()})
        here = Taker(self._store, nearby, self._reporter, self._cancelled).take(plan, found)
        missing = [sources for sha256, sources in wanted.items() if sha256 not in here]
        if missing and self._fetcher is not None:
            files = [sources[0][1] for sources in missing]
            self._check_space(files, headroom, {sources[0][1].sha256: sources for sources in missing})
            self._reporter.started(f"fetching {counted(len(files), 'file')}", sum(file.size for file in files))
        try:
            with (
                workers(LARGE_FILES_AT_ONCE, "vcm-large", self._cancelled) as large,
                workers(SMALL_FILES_AT_ONCE, "vcm-small", self._cancelled) as small,
            ):
                coming = self._submit(missing, large, small)
                answers = [self._finish(each, coming) for each in plan.models]
        finally:
            self._reporter.finished()
        if missing and self._fetcher is not None:
            self._fetcher().tell_failing_mirrors()
        return answers

    def _check_space(self, files: Collection[LockedFile], headroom: float, sources: Mapping[str, Sources]) -> None:
        """Refuse to begin what the disk cannot hold; what a mirror shares with the store takes no room.

        Args:
            files: what is still to come.
            headroom: free space must be this many times their size.
            sources: by SHA-256, those of them that a mirror may be asked for.
        """
        try:
            check_space(files, self._store, headroom)
        except DiskSpaceError:
            # Only now, because it looks at every file in those folders.
            unshared = [file for file in files if not self._is_shared(sources.get(file.sha256))]
            check_space(unshared, self._store, headroom)

    def _is_shared(self, sources: Sources | None) -> bool:
        if sources is None or self._fetcher is None:
            return False
        try:
            return self._fetcher().takes_no_room(sources)
        except VcmError:
            # Why nobody can be asked is told with each file.
            return False

    def _submit(
        self, missing: Iterable[Sources], large: ThreadPoolExecutor, small: ThreadPoolExecutor
    ) -> dict[str, Future[Fetched]]:
        """Every blob once, the largest first: the last one to end decides how long it takes."""
        files = {sources[0][1]: sources for sources in sorted(missing, key=lambda sources: -sources[0][1].size)}
        return {
            file.sha256: (large if file.size >= LARGE else small).submit(self._obtain, sources)
            for file, sources in files.items()
        }

    def _finish(self, planned: PlannedModel, coming: dict[str, Future[Fetched]]) -> Synced:
        model, root = planned.model, self._store.snapshots.path(planned.model.tree_digest)
        if planned.state is SnapshotState.INSTALLED:
            return Synced(model=model, status="present", path=root)
        came, errors = self._collect(planned, coming)
        if not errors:
            try:
                came += self._build(planned)
            except VcmError as error:
                errors.append(error)
        fetched, supplied = sum(each.bytes_fetched for each in came), _supplied(came)
        if errors:
            if planned.state is SnapshotState.DAMAGED:
                self._discard_damaged(planned)
            failure = together(model, errors, self._without_origin)
            if failure.error_code == NOT_INSTALLED and self._deltas:
                failure.hint = _beside(self._deltas)
            return Synced(model=model, status="failed", bytes_fetched=fetched, supplied=supplied, error=failure)
        status: Status = "repaired" if planned.state is SnapshotState.DAMAGED else "installed"
        reused = max(0, model.size - fetched)
        return Synced(
            model=model, status=status, path=root, bytes_fetched=fetched, bytes_reused=reused, supplied=supplied
        )

    def _build(self, planned: PlannedModel, removals: int = 3) -> list[Fetched]:
        """Make the snapshot; a blob that somebody removes meanwhile is fetched again, so many times at most.

        Returns:
            What was fetched for it.
        """
        with disk_errors(self._store.root):
            try:
                self._link(planned)
            except FileNotFoundError:
                if not removals:
                    raise
            else:
                return []
        files = (*planned.fetch, *planned.reuse) if self._is_mended(planned) else planned.model.files
        gone = [file for file in files if not self._store.blobs.has(file.sha256, file.size)]
        fetched = [self._obtain([(planned.model, file)]) for file in gone]
        return fetched + self._build(planned, removals - 1)

    def _link(self, planned: PlannedModel) -> None:
        model, store = planned.model, self._store
        with store.blobs.exclusive(model.tree_digest, self._cancelled):
            if store.snapshots.state(model) is not SnapshotState.INSTALLED:
                store.blobs.settle()
                make = store.snapshots.repair if self._is_mended(planned) else store.snapshots.build
                make(model, store.blobs.path)

    def _is_mended(self, planned: PlannedModel) -> bool:
        """Whether what is whole in a damaged snapshot stays. Where locks do nothing, somebody may be reading it."""
        store = self._store
        return (
            bool(planned.keep) and store.blobs.can_exclude and store.snapshots.path(planned.model.tree_digest).is_dir()
        )

    def _discard_damaged(self, planned: PlannedModel) -> None:
        """What cannot be repaired is not left standing: a program that can do without it may start."""
        model, snapshots = planned.model, self._store.snapshots
        with suppress(OSError, VcmError), self._store.blobs.exclusive(model.tree_digest, self._cancelled):
            # Another process may have had more luck.
            if snapshots.state(model) is SnapshotState.DAMAGED:
                self._save(planned)
                self._store.layout.drop([model.tree_digest], self._cancelled)
                snapshots.discard(model.tree_digest)

    def _save(self, planned: PlannedModel) -> None:
        """Make blobs of a snapshot's whole files that are none: the next run shall not fetch them again."""
        from vcm.store.admitting import Claim, NotAsClaimedError, admit

        root, blobs = self._store.snapshots.path(planned.model.tree_digest), self._store.blobs
        for file in planned.keep:
            if not blobs.has(file.sha256, file.size):
                with suppress(OSError, NotAsClaimedError):
                    admit(blobs, root / file.path, Claim(file.sha256, size=file.size), may_link=True)

    def _collect(
        self, planned: PlannedModel, coming: dict[str, Future[Fetched]]
    ) -> tuple[list[Fetched], list[VcmError]]:
        """Wait for all files of a model: what was fetched for it and for none before it, and what failed."""
        fetched, errors = list[Fetched](), list[VcmError]()
        for file in (*planned.fetch, *planned.reuse):
            if file.sha256 not in coming:
                continue  # It was on this machine.
            try:
                result = coming[file.sha256].result()
            except VcmError as error:
                errors.append(_named(error, planned.model, file))
            else:
                if file.sha256 not in self._counted:
                    self._counted.add(file.sha256)
                    fetched.append(result)
        return fetched, errors

    def _obtain(self, sources: Sources) -> Fetched:
        """Fetch a blob; any of the models it is in will do."""
        model, file = sources[0]
        if self._cancelled.is_set():
            raise KeyboardInterrupt
        if self._fetcher is None:
            from vcm.install.failures import nobody_to_ask

            raise nobody_to_ask(model, file, self._without_origin)
        return self._fetcher().fetch(sources)


def _named(error: VcmError, model: LockedModel, file: LockedFile) -> VcmError:
    """The error with this model's name: two models that share a blob share what happened to it."""
    own = copy(error)
    own.model, own.file = model.name, file.path
    return own


def _supplied(fetched: Iterable[Fetched]) -> dict[str | None, int]:
    """By mirror (None: the origin), how many bytes came from there."""
    supplied: dict[str | None, int] = {}
    for each in fetched:
        for mirror, count in each.supplied.items():
            supplied[mirror] = supplied.get(mirror, 0) + count
    return supplied


def together(model: LockedModel, errors: list[VcmError], without_origin: str) -> VcmError:
    """The gravest of a model's errors; all of them, where they are files that this run may not fetch."""
    worst = gravest(errors)
    absent = {error.file: error for error in errors if error.error_code == NOT_INSTALLED}
    files = [file for file in model.files if file.path in absent]
    if worst.error_code != NOT_INSTALLED or len(files) < 2:  # noqa: PLR2004
        return worst
    shown = [f"{file.path} ({byte_count(file.size)})" for file in files[:_FILES_SHOWN]]
    more = [f"{len(files) - _FILES_SHOWN} more"] if len(files) > _FILES_SHOWN else []
    # What the mirrors said is mostly the same of each.
    details = list(dict.fromkeys(line for error in absent.values() for line in error.details))
    return ModelDownloadError(
        f"{len(files)} files are not in the store{', no mirror gave them' if details else ''}, and {without_origin}: "
        f"{listed(shown + more)}",
        error_code=NOT_INSTALLED,
        details=details,
        hint=worst.hint,
        model=model.name,
    )


def _beside(deltas: Mapping[Path, str]) -> str:
    """What to do where bundles lack what an older lock names."""
    path, since = next(iter(deltas.items()))
    return (
        f"{path} is a delta, without what the models.lock with sha256:{since} names: bring the full bundle, "
        "or install that lock's first"
    )


def check_space(files: Iterable[LockedFile], store: Store, headroom: float) -> None:
    """Refuse to begin what the disk cannot hold.

    Raises:
        DiskSpaceError: says how much is missing.
    """
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
