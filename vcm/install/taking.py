"""Taking what is on this machine: before anything is fetched, every byte that need not be is found and hashed."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from contextlib import nullcontext
from threading import Event

from vcm.core.lock import LockedFile
from vcm.core.plan import Plan
from vcm.core.reporter import Reporter
from vcm.core.wording import counted
from vcm.install.nearby import Candidate, Nearby, Sources, damaged_files, sources_of
from vcm.install.pools import workers
from vcm.store.admitting import Claim, NotAsClaimedError, admit
from vcm.store.files import disk_errors
from vcm.store.hashing import WORTH_A_BAR, WORTH_TELLING, shown
from vcm.store.store import Store


class Taker:
    """Makes blobs of bytes that are here; each is hashed in this run before it counts.

    Args:
        store: where they go, and where they may be already.
        nearby: where else they may be.
        reporter: told of progress where that takes a while, or something is taken from elsewhere.
        cancelled: once set, all work ends with KeyboardInterrupt.
    """

    def __init__(self, store: Store, nearby: Nearby, reporter: Reporter, cancelled: Event) -> None:
        self._store = store
        self._nearby = nearby
        self._reporter = reporter
        self._cancelled = cancelled

    def take(self, plan: Plan, found: Mapping[str, Candidate]) -> set[str]:
        """Have what can be had without a network, and say of what: SHA-256 of blobs that are whole.

        Args:
            plan: what is wanted.
            found: by SHA-256, what to take from elsewhere.

        Raises:
            VcmError: the store cannot be written.
        """
        blobs, hasher = self._store.blobs, self._store.hasher
        work = {
            sha256: sources
            for sha256, sources in sources_of(plan).items()
            if sha256 in found or blobs.size(sha256) is not None
        }
        if not work:
            return set()
        files = {candidate.place: work[sha256][0][1].size for sha256, candidate in found.items()}
        # What was hashed a moment ago is not hashed again.
        size = sum(files.values()) + sum(
            sources[0][1].size
            for sha256, sources in work.items()
            if sha256 not in found and hasher.known(blobs.path(sha256)) is None
        )
        if not found and size < WORTH_TELLING:
            return self._take_all(work.values(), damaged_files(plan), Reporter())
        what = f"taking {counted(len(files), 'file')} from" if found else f"hashing {counted(len(work), 'file')} on"
        self._reporter.started(f"{what} this machine", size)
        try:
            return self._take_all(work.values(), damaged_files(plan), self._reporter)
        finally:
            self._reporter.finished()

    def _take_all(self, work: Collection[Sources], damaged: Collection[str], reporter: Reporter) -> set[str]:
        # The largest first: the last one to end decides how long it takes.
        ordered = sorted(work, key=lambda sources: -sources[0][1].size)
        with workers(min(os.cpu_count() or 1, len(work)), "vcm-take", self._cancelled) as pool:
            coming = [pool.submit(self._take, sources, damaged, reporter) for sources in ordered]
            taken = [each.result() for each in coming]
        return {sources[0][1].sha256 for sources, is_here in zip(ordered, taken, strict=True) if is_here}

    def _take(self, sources: Sources, damaged: Collection[str], reporter: Reporter) -> bool:
        model, file = sources[0]
        progress = _Progress(f"{model.name}/{file.path}", reporter, self._cancelled)
        on_screen = shown(reporter, progress.label, file.size) if file.size >= WORTH_A_BAR else nullcontext()
        with disk_errors(self._store.root), on_screen:
            if self._store.has_whole(file, progress):
                return True
            progress.take_back()
            was_damaged = self._discard(file)
            for candidate in self._nearby.candidates(sources, damaged=was_damaged or file.sha256 in damaged):
                try:
                    self._admit(candidate, file, progress)
                except NotAsClaimedError as error:
                    progress.take_back()
                    if candidate.part is not None:
                        self._reporter.notice(f"{candidate.path}: {progress.label} in it {error}")
                else:
                    return True
        return False

    def _admit(self, candidate: Candidate, file: LockedFile, progress: _Progress) -> None:
        blobs = self._store.blobs
        if candidate.part is None:
            admit(
                blobs,
                candidate.path,
                Claim(sha256=file.sha256, size=file.size),
                may_link=candidate.may_link,
                hasher=self._store.hasher,
                progress=progress,
            )
            return
        bundle, member = candidate.part
        with blobs.exclusive(file.sha256, self._cancelled):
            if not self._store.has_whole(file):
                bundle.admit(blobs, member, file.sha256, progress)

    def _discard(self, file: LockedFile) -> bool:
        """Forget a damaged blob, and say whether there was one."""
        blobs = self._store.blobs
        if blobs.size(file.sha256) is None:
            return False
        with blobs.exclusive(file.sha256, self._cancelled):
            # Once more, now that nobody else is at it: what another process has just made whole stays.
            if not self._store.has_whole(file):
                self._store.layout.drop([file.sha256], self._cancelled)
                blobs.discard(file.sha256)
        return True


class _Progress:
    """Tells the reporter of bytes that were hashed, and takes back those that were the wrong ones."""

    def __init__(self, label: str, reporter: Reporter, cancelled: Event) -> None:
        self.label = label
        self._reporter = reporter
        self._cancelled = cancelled
        self._count = 0

    def __call__(self, count: int) -> None:
        if self._cancelled.is_set():
            raise KeyboardInterrupt
        self._count += count
        self._reporter.advanced(self.label, count)

    def take_back(self) -> None:
        if self._count:
            self._reporter.advanced(self.label, -self._count)
            self._count = 0
