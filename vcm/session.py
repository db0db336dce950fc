"""A session: one project, its store and its hub, and the two things that change them, lock and sync."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from functools import cached_property
from pathlib import Path
from threading import Event
from threading import Lock as ThreadLock
from typing import TYPE_CHECKING, Self

from vcm.core.lock import Lock, LockedModel, staleness
from vcm.core.manifest import Manifest
from vcm.core.plan import Plan, SnapshotState
from vcm.core.policy import is_undecided, refuse_violations
from vcm.core.records import record
from vcm.core.reporter import Reporter
from vcm.core.wording import byte_count
from vcm.errors import DiskSpaceError, RegistryError
from vcm.settings import Settings
from vcm.store.files import disk_errors
from vcm.store.project import Project
from vcm.store.store import Store
from vcm.store.using import StoreUse

if TYPE_CHECKING:
    from vcm.connections import Connections
    from vcm.core.metadata import Freshness
    from vcm.core.mirrors import Mirror
    from vcm.core.outdated import News
    from vcm.core.upstream import Confirmation
    from vcm.install.fetching import Fetcher
    from vcm.install.nearby import Nearby
    from vcm.install.syncing import Installer, Synced


@record(frozen=True)
class Locking:
    """What locking came to.

    Attributes:
        before: the lock as it was; None where there was none.
        after: the lock now.
        requested: whether the hub was asked at all.
        small_files_fetched: files that came over the network to be hashed.
        small_files_reused: files that were hashed where they stood on this machine.
    """

    before: Lock | None
    after: Lock
    requested: bool = False
    small_files_fetched: int = 0
    small_files_reused: int = 0


class Session:
    """One run over one project. Nothing reaches for the network before it is needed.

    Args:
        settings: where the store and the hub are.
        reporter: told of progress and notices.
        cancelled: once set, all work ends with KeyboardInterrupt.
        sleep: waits so many seconds between attempts; by default until ``cancelled`` is set.
        freshness: which answers of the hub do that are known already.
        project: the folder of the project that the store gets to know when its models are installed.
    """

    def __init__(
        self,
        settings: Settings,
        reporter: Reporter | None = None,
        cancelled: Event | None = None,
        sleep: Callable[[float], object] | None = None,
        *,
        freshness: Freshness = "normal",
        project: Path | None = None,
    ) -> None:
        self.settings = settings
        self.freshness = freshness
        self.store = Store(settings.cache_dir)
        self.reporter = reporter or Reporter()
        self.cancelled = cancelled or Event()
        self._sleep = sleep or self.cancelled.wait
        self._connecting = ThreadLock()
        self.use = StoreUse(self.store, project, self.cancelled, self.reporter.notice)

    @cached_property
    def _connections(self) -> Connections:
        from vcm.connections import Connections

        return Connections(self.settings, self.store.blobs, self.reporter, self.cancelled, self._sleep, self.freshness)

    def _connect(self) -> Connections:
        with self._connecting:
            return self._connections

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections, if there are any, and let go of the store."""
        self.use.let_go()
        if "_connections" in self.__dict__:
            self._connections.close()

    def resolve(
        self,
        manifest: Manifest,
        before: Lock | None,
        *,
        upgrade: Collection[str] = (),
        edited_from: Manifest | None = None,
        asks_all: bool = False,
    ) -> Locking:
        """The lock for a manifest; the hub is asked only where the old lock does not answer it.

        Args:
            manifest: what is required.
            before: the lock so far.
            upgrade: names of models whose old lock shall be forgotten; ``"*"`` for all.
            edited_from: the manifest that ``before`` answers, where it is known: models whose requirements are the
                same in both stay as they are without a question.
            asks_all: whether the hub is asked about what fits, too.

        Raises:
            PolicyError: a model is not what the manifest's policy allows.
            VcmError: a model cannot be locked.
        """
        fits = before is not None and staleness(before, manifest) is None
        asks_all = asks_all or "*" in upgrade
        is_asked = asks_all or bool(upgrade) or not fits
        if before is None or is_asked or any(is_undecided(manifest.policy, each) for each in before.models):
            locking = self._lock(manifest, before, manifest if fits else edited_from, upgrade, asks_all=asks_all)
        else:
            locking = Locking(before, before)
        refuse_violations(manifest.policy, locking.after.models, time.time(), just_locked=True)
        return locking

    def _lock(
        self,
        manifest: Manifest,
        before: Lock | None,
        edited_from: Manifest | None,
        upgrade: Collection[str],
        *,
        asks_all: bool,
    ) -> Locking:
        from vcm.core.following import with_free_names
        from vcm.resolve.unchanged import unchanged

        kept: dict[str, list[LockedModel]] = {}
        if before is not None and edited_from is not None and not asks_all:
            kept = unchanged(manifest, before, edited_from, upgrade, self.store.blobs)
        open_questions = [requirement for requirement in manifest.models if requirement.name not in kept]
        entries = [entry for each in kept.values() for entry in each]
        fetched = reused = 0
        if open_questions:
            from vcm.resolve.resolving import Resolver
            from vcm.store.hub_cache import HubCache

            self.use.hold()
            connections = self._connect()
            resolver = Resolver(
                connections.client.revalidating() if upgrade else connections.client,
                connections.transfer,
                self.store,
                HubCache(self.settings.hub_cache),
                self.reporter,
                self.cancelled,
                dated=manifest.policy.min_age is not None,
            )
            entries += resolver.resolve(
                open_questions,
                before,
                lambda name: "*" in upgrade or name in upgrade,
                manifest.models,
            )
            fetched, reused = resolver.small_files.fetched, resolver.small_files.reused
        models = tuple(with_free_names(entries, [requirement.name for requirement in manifest.models]))
        return Locking(
            before,
            Lock(manifest_sha256=manifest.digest, models=models),
            requested=bool(open_questions),
            small_files_fetched=fetched,
            small_files_reused=reused,
        )

    def lock_for_sync(self, project: Project, manifest: Manifest, *, locked: bool, write: bool) -> Locking:
        """The project's lock, made true to the manifest where it is not.

        Args:
            project: where the lock is.
            manifest: what is required.
            locked: refuse instead of changing the lock.
            write: write a lock that has changed.

        Raises:
            LockError: the lock is missing or stale, and may not be made anew.
            VcmError: a model cannot be locked.
        """
        if locked or not self.settings.fallback:
            lock = project.fitting_lock(manifest)
            refuse_violations(manifest.policy, lock.models, time.time())
            return Locking(lock, lock)
        try:
            locking = self.resolve(manifest, project.lock())
        except RegistryError:
            if self.settings.offline:
                # That the lock does not fit is the reason why the hub would have been asked.
                project.fitting_lock(manifest)
            raise
        if write:
            project.write_lock(locking.after)
        return locking

    def install(self, plan: Plan, headroom: float, folders: Sequence[Path] = (), *, whole: bool = True) -> list[Synced]:
        """Carry out a plan, and let the store know for which project.

        Args:
            plan: what has to happen.
            headroom: free space must be this many times what is still to fetch.
            folders: where to look for bytes first; bundles, too.
            whole: whether these are all models that the project uses here.

        Raises:
            DiskSpaceError: there is not enough room.
            VcmError: the store cannot be written, or a folder is none.
        """
        from vcm.install.syncing import Installer

        nearby = self._nearby(folders) if folders else None
        installer = Installer(
            self.store,
            fetcher=self._fetcher(),
            without_origin=self._without_origin,
            reporter=self.reporter,
            nearby=lambda: nearby or self._nearby(()),
            cancelled=self.cancelled,
        )
        models = [each.model for each in plan.models]
        is_named = self.use.is_named()
        if not plan.changes and is_named and (self.use.is_remembered(models) if whole else self.use.is_known()):
            return installer.install(plan, headroom)
        try:
            with self.use.needing(models, to_write=bool(plan.changes)):
                answers = self._carry_out(installer, plan, headroom)
                done = [answer.model for answer in answers if answer.error is None]
                if whole:
                    self.use.remember(done, quiet=len(done) < len(answers))
                self.use.name(done, anew=not is_named, quiet=not plan.changes)
        except DiskSpaceError as error:
            self._tell_prunable([error])
            raise
        self._tell_prunable([answer.error for answer in answers if isinstance(answer.error, DiskSpaceError)])
        return answers

    @property
    def _without_origin(self) -> str:
        """Why no file's origin may be asked, as the end of a sentence; empty where it may."""
        from vcm.install.wanted import NO_MIRROR, NO_ORIGIN, OFFLINE

        if self.settings.offline:
            return OFFLINE
        if self.settings.fallback:
            return ""
        return NO_ORIGIN if self.settings.mirrors else NO_MIRROR

    @property
    def _mirrors_to_ask(self) -> list[Mirror]:
        """Offline, those that are folders."""
        return [each for each in self.settings.mirrors if each.kind == "file" or not self.settings.offline]

    def _fetcher(self) -> Callable[[], Fetcher] | None:
        """What brings locked files here, made when the first of them is wanted; None where nobody may be asked."""
        reason = self._without_origin
        if reason and not self._mirrors_to_ask:
            return None

        def make() -> Fetcher:
            # Whichever thread is the first; the others wait for what it makes.
            with self._connecting:
                return self._connections.fetcher(reason)

        return make

    def _carry_out(self, installer: Installer, plan: Plan, headroom: float) -> list[Synced]:
        plan = self._as_it_is_now(plan)
        if not self.use.is_known():
            # Before the work: what of it is done when it fails is the project's already.
            done = [each.model for each in plan.models if each.state is SnapshotState.INSTALLED]
            self.use.remember(done, quiet=True)
        return installer.install(plan, headroom)

    def _tell_prunable(self, errors: Sequence[DiskSpaceError]) -> None:
        """Let errors about too little room say what prune would free."""
        if not errors:
            return

        from vcm.store.pruning import prunable_bytes

        unused = prunable_bytes(self.store, time.time())
        if unused:
            for error in errors:
                error.hint = f"vcm cache prune would free {byte_count(unused)}; else {error.hint}"

    def _as_it_is_now(self, plan: Plan) -> Plan:
        """The plan, made anew if the store was pruned meanwhile; what was found damaged is not hashed once more."""
        sound = [each for each in plan.models if each.state is not SnapshotState.DAMAGED]
        if self.store.plan([each.model for each in sound]).models == tuple(sound):
            return plan
        return self.store.plan([each.model for each in plan.models])

    def supplied(self, plan: Plan, folders: Sequence[Path] = ()) -> Plan:
        """The plan, with what this machine may have of the bytes to fetch, and what nobody has; nothing is hashed.

        Raises:
            VcmError: the store cannot be read, or a folder is none.
        """
        from vcm.install.foreseeing import foreseen

        kinds = {each.kind for each in self._mirrors_to_ask}
        is_closed = bool(self._without_origin) and not kinds - {"file"}
        with disk_errors(self.store.root):
            nearby = self._nearby(folders)
            return foreseen(plan, nearby, self._fetcher() if "file" in kinds else None, is_closed=is_closed)

    def failures(self, plan: Plan) -> list[Synced]:
        """What ``install`` would answer for the models that lack something which nobody in this run can give."""
        from vcm.install.foreseeing import failures

        return failures(plan, self._without_origin)

    def _nearby(self, folders: Sequence[Path]) -> Nearby:
        from vcm.install.nearby import Nearby
        from vcm.store.hub_cache import HubCache

        return Nearby(self.store, HubCache(self.settings.hub_cache), folders)

    def news(self, models: Sequence[LockedModel], manifest: Manifest) -> list[News]:
        """What is new of locked models, in the order given; what fails for one does not hide the others.

        What the gate should say of them is kept for it.
        """
        from vcm.resolve.outdated import find_news
        from vcm.store.notices import write_notices

        news = find_news(self._connect().client, models, manifest, self.cancelled)
        told = [each for each in news if each.error is None and each.model.repo and each.model.commit]
        known = {(each.model.repo or "", each.model.commit or ""): each.notices for each in told}
        write_notices(self.store.root, self.settings.endpoint, known)
        return news

    def confirm(self, models: Sequence[LockedModel]) -> list[Confirmation]:
        """Whether locked models are upstream what they were, asked anew.

        Raises:
            RegistryError: this run is offline.
        """
        from vcm.resolve.upstream import confirm

        client = self._connect().client
        client.http.check_online()

        def wait(seconds: float, reason: str) -> None:
            self.reporter.waiting("the server", seconds, reason)
            self._sleep(seconds)

        return confirm(client.revalidating(), models, wait, self.cancelled)
