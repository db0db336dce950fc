"""The push: what the registry has not got is brought there, blobs first.

The registry is asked for all of them before the first is sent. Each goes to a repository once, the largest first, and a
model's manifest follows when all of its blobs are there: what no manifest names, a registry may remove.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from functools import partial
from io import FileIO
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, TypeVar

from vcm.core.lock import LockedModel
from vcm.core.mirrors import RegistryAddress
from vcm.core.reporter import Reporter
from vcm.core.wording import counted
from vcm.errors import AUTHENTICATION_ERROR, ModelChecksumError, RegistryError, VcmError, gravest
from vcm.http.faults import NetworkFaultError
from vcm.install.pools import workers
from vcm.install.wanted import LARGE
from vcm.oci.upload import Blob, Uploader
from vcm.pushing.packages import Came, Item, Outcome, Pushed, SharedBlob, blobs_of, item_of, refuse_ambiguous
from vcm.store.files import disk_errors, new_buffer
from vcm.store.store import Store

if TYPE_CHECKING:
    from concurrent.futures import Future

LARGE_AT_ONCE = 4
SMALL_AT_ONCE = 16
"""Of a small blob most of the time goes by until the registry answers."""
PIECE = 1 << 20
"""Bytes that are read, and sent, at a time."""

Result = TypeVar("Result")
Place = tuple[str, str]
"""A blob's digest, and a repository."""


class Pusher:
    """Pushes installed models to one registry.

    Args:
        store: where they are; their snapshots have passed a check just now.
        address: where they go.
        uploader: brings it there.
        cancelled: once set, all ends with KeyboardInterrupt.
    """

    def __init__(self, store: Store, address: RegistryAddress, uploader: Uploader, cancelled: Event) -> None:
        self._store = store
        self._address = address
        self._uploader = uploader
        self._reporter: Reporter = uploader.reporter
        self._cancelled = cancelled
        self._hopeless: dict[str | None, RegistryError] = {}
        self._counted: set[Place] = set()

    def push(
        self,
        models: Iterable[LockedModel],
        *,
        locked: Iterable[LockedModel] = (),
        tag: str | None = None,
        dry_run: bool = False,
    ) -> list[Pushed]:
        """Bring models to the registry; one answer for each, in their order.

        Args:
            models: which.
            locked: others that may have been pushed before: what they share with these is taken from there.
            tag: of the user's, beside that of the commit.
            dry_run: only ask what the registry has.

        Raises:
            ConfigError: two models would get the same tag; nothing was begun.
        """
        items = [item_of(model, self._address) for model in models]
        brought = {item.repository for item in items}
        others = [each for model in locked if (each := item_of(model, self._address)).repository not in brought]
        if tag is not None:
            refuse_ambiguous(tag, items)
        blobs = blobs_of(items)
        outcomes = self._look(blobs, push=not dry_run)
        if not dry_run:
            elsewhere = {sha256: each.repository for each in others for sha256 in each.blobs}
            outcomes |= self._upload(blobs, outcomes, elsewhere)
        return [self._finish(item, outcomes, tag, dry_run=dry_run) for item in items]

    def _look(self, blobs: Sequence[SharedBlob], *, push: bool) -> dict[Place, Outcome]:
        """Which blobs the registry has where they belong; ``pushed`` for those that it has not."""
        wanted = [(each, name) for each in blobs for name in each.repositories]
        self._reporter.steps(f"looking for {counted(len(wanted), 'blob')}", len(wanted))

        def look(each: SharedBlob, name: str) -> Outcome:
            ask = partial(self._uploader.has_blob, name, each.sha256, each.size, push=push)
            try:
                return "present" if self._unless_hopeless(name, ask) else "pushed"
            except VcmError as error:
                return error
            finally:
                self._reporter.step()

        try:
            with workers(SMALL_AT_ONCE, "vcm-look", self._cancelled) as pool:
                coming = [(each.sha256, name, pool.submit(look, each, name)) for each, name in wanted]
                return {(sha256, name): future.result() for sha256, name, future in coming}
        finally:
            self._reporter.finished()

    def _upload(
        self, blobs: Sequence[SharedBlob], found: Mapping[Place, Outcome], elsewhere: Mapping[str, str]
    ) -> dict[Place, Outcome]:
        """Bring what is missing to where it is missing."""
        missing = {each: [name for name in each.repositories if found[each.sha256, name] == "pushed"] for each in blobs}
        missing = {each: repositories for each, repositories in missing.items() if repositories}
        if missing:
            total = sum(each.size * len(repositories) for each, repositories in missing.items())
            self._reporter.started(f"pushing {counted(len(missing), 'blob')}", total)
        try:
            with (
                workers(LARGE_AT_ONCE, "vcm-large", self._cancelled) as large,
                workers(SMALL_AT_ONCE, "vcm-small", self._cancelled) as small,
            ):
                coming: list[Future[dict[Place, Outcome]]] = []
                for each, repositories in missing.items():
                    known = [name for name in each.repositories if found[each.sha256, name] == "present"]
                    source = known[0] if known else elsewhere.get(each.sha256)
                    pool = large if each.size >= LARGE else small
                    coming.append(pool.submit(self._bring, each, repositories, source))
                return {place: outcome for future in coming for place, outcome in future.result().items()}
        finally:
            self._reporter.finished()

    def _bring(self, shared: SharedBlob, repositories: Sequence[str], source: str | None) -> dict[Place, Outcome]:
        """One blob into each repository; from the second on, the registry takes it from the one before."""
        outcomes: dict[Place, Outcome] = {}
        self._reporter.file_started(shared.label, shared.size * len(repositories), 0)
        try:
            for name in repositories:
                outcome = outcomes[shared.sha256, name] = self._bring_to(name, shared, source)
                if not isinstance(outcome, VcmError):
                    source = name
        finally:
            self._reporter.file_finished(shared.label)
        return outcomes

    def _bring_to(self, name: str, shared: SharedBlob, source: str | None) -> Outcome:
        try:
            with self._opened(shared) as blob:
                upload = partial(self._uploader.upload, name, blob, None if source == name else source)
                return "mounted" if self._unless_hopeless(name, upload) else "pushed"
        except VcmError as error:
            return error

    @contextmanager
    def _opened(self, shared: SharedBlob) -> Iterator[Blob]:
        """Its bytes: those of the file in the snapshot, which is what has just been checked."""
        if shared.path is None:
            config = shared.item.package.config
            yield Blob(shared.sha256, shared.size, shared.label, lambda start: [config[start:]])
            return
        path = self._store.snapshots.path(shared.item.model.tree_digest) / shared.path
        with disk_errors(path):
            file = path.open("rb", buffering=0)
        with file:
            yield Blob(shared.sha256, shared.size, shared.label, partial(_pieces, file, path, shared.size))

    def _unless_hopeless(self, name: str, action: Callable[[], Result]) -> Result:
        """Do it, unless the registry cannot be reached any more, or has let nobody into that repository."""
        known = self._hopeless.get(None) or self._hopeless.get(name)
        if known is not None:
            raise known
        try:
            return action()
        except RegistryError as error:
            if isinstance(error, NetworkFaultError):
                self._hopeless[None] = error
            elif error.error_code == AUTHENTICATION_ERROR:
                self._hopeless[name] = error
            raise

    def _finish(self, item: Item, outcomes: Mapping[Place, Outcome], tag: str | None, *, dry_run: bool) -> Pushed:
        """Publish a model's manifest, if all of its blobs are there."""
        sizes: dict[Came, int] = {"pushed": 0, "mounted": 0, "present": 0}
        errors: list[VcmError] = []
        for sha256, (path, size) in item.blobs.items():
            place = sha256, item.repository
            outcome = outcomes[place]
            if isinstance(outcome, VcmError):
                errors.append(_named(outcome, item, path))
                continue
            sizes["present" if place in self._counted else outcome] += size
            self._counted.add(place)
        tags: tuple[str, ...] = (item.package.tag,)
        is_new = False
        if not errors:
            try:
                publish = partial(self._publish, item, tag, dry_run=dry_run)
                tags, is_new = self._unless_hopeless(item.repository, publish)
            except VcmError as error:
                errors.append(_named(error, item, None))
        is_changed = is_new or bool(sizes["pushed"] or sizes["mounted"])
        return Pushed(
            model=item.model,
            repository=item.repository,
            digest=item.package.digest,
            tags=tags,
            status="failed" if errors else "present" if not is_changed else "missing" if dry_run else "pushed",
            sizes=sizes,
            error=gravest(errors) if errors else None,
        )

    def _publish(self, item: Item, tag: str | None, *, dry_run: bool) -> tuple[tuple[str, ...], bool]:
        """Tag the manifest, and so bring it there: its tags, and whether one of them is new.

        A commit's tag that other files of that commit have already stays theirs: without it, a registry might remove
        their manifest.
        """
        ask = partial(self._uploader.manifest_digest, item.repository, push=not dry_run)
        digest, first = item.package.digest, item.package.tag
        known = {first: ask(first)}
        own = first if known[first] in (None, digest) else item.second_tag
        tags = tuple(dict.fromkeys((own, tag or own)))
        known |= {each: ask(each) for each in tags if each not in known}
        missing = [each for each in tags if known[each] != digest]
        for each in missing:
            if known[each] is not None:
                moves = "would move" if dry_run else "moves"
                self._reporter.notice(
                    f"{item.model.name}: the tag {each} {moves} here from {item.repository}@sha256:{known[each]}"
                )
        if not dry_run:
            for each in missing:
                self._uploader.put_manifest(item.repository, each, item.package)
        return tags, bool(missing)


def _named(error: VcmError, item: Item, path: str | None) -> VcmError:
    """The error with this model's name: two models that share a blob share what happened to it."""
    own = copy(error)
    own.model, own.file = item.model.name, path
    if isinstance(error, NetworkFaultError):
        # What HTTP advises does not say that nothing of it was in vain; when to come again, the registry knows best.
        when = error.hint.removeprefix("try again")
        again = (
            "check the network and the mirror's address, then push again" if when == error.hint else f"push again{when}"
        )
        own.hint = f"{again}: what has come there stays"
    return own


def _pieces(file: FileIO, path: Path, size: int, start: int) -> Iterator[memoryview]:
    """A file's bytes from a place on, each piece in the memory of the one before."""
    buffer = new_buffer(min(PIECE, size - start))
    with disk_errors(path):
        file.seek(start)
    while start < size:
        with disk_errors(path):
            count = file.readinto(buffer[: size - start])
        if not count:
            raise ModelChecksumError(
                "shorter than it was when it was checked",
                expected=f"{size} bytes",
                actual=f"{start} bytes",
                hint="run vcm verify --repair",
            )
        yield buffer[:count]
        start += count
