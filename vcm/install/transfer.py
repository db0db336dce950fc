"""One file's way into the store: from the first source that gives it, hashed while it arrives, checked, admitted.

Mirrors are asked in their order, then the file's origin. A partial file keeps its bytes over failures, sources and
runs; only bytes with the right digest become a blob. Where they are wrong all are thrown away, and from then on the
whole file comes from one source, so that it is known who lies. A mirror that lies costs time, and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from threading import Event as ThreadEvent

from vcm.core.reporter import Reporter
from vcm.errors import NETWORK_ERROR, ModelChecksumError, ModelDownloadError, RegistryError
from vcm.http.addresses import host
from vcm.http.retries import Patience, Wait
from vcm.install.failures import Failure, as_mirror_error, nobody_gave
from vcm.install.health import Event, Health, MirrorPatience, event_of
from vcm.install.origin import Origin, OriginPlace
from vcm.install.partial import Partial
from vcm.install.receiving import Receiver
from vcm.install.source import Local, OtherFileError, Place, Remote
from vcm.install.wanted import Fetched, WantedFile
from vcm.store.blobs import BlobStore
from vcm.store.files import disk_errors

_MOST_TRIES = 2
"""How often the origin may send wrong bytes: a proxy or a broken disk may have mixed things up."""


class Transfer:
    """Fetches files into one store; may be used by several threads.

    Args:
        blobs: where they go.
        origin: where files are published.
        reporter: told of progress, and of mirrors that are not asked any more.
        wait: rests between attempts.
        cancelled: once set, every fetch ends with KeyboardInterrupt, keeping its bytes.
        strict: whether a mirror that sends wrong bytes is an error.
    """

    def __init__(
        self,
        blobs: BlobStore,
        origin: Origin,
        reporter: Reporter,
        wait: Wait,
        cancelled: ThreadEvent | None = None,
        *,
        strict: bool = False,
    ) -> None:
        self._blobs = blobs
        self._origin = origin
        self._reporter = reporter
        self._wait = wait
        self._cancelled = cancelled or ThreadEvent()
        self._strict = strict
        self._health = Health(reporter.notice)
        self._receiver = Receiver(reporter, self._cancelled)

    def fetch(self, *wanted: WantedFile, mirrors: Iterable[Place] = (), without_origin: str = "") -> Fetched:
        """Bring one file into the store, or find it there.

        Args:
            wanted: the file, and the same bytes under other addresses, to ask there if this one fails.
            mirrors: where mirrors may have it.
            without_origin: why its origin is not asked, as the end of a sentence; empty where it is.

        Raises:
            ModelDownloadError: it cannot be had.
            ModelChecksumError: what comes is not what was promised, twice; or a mirror's is not, where that counts.
            VcmError: the disk is full or refuses.
        """
        file = wanted[0]
        with disk_errors(self._blobs.partial_folder):
            self._blobs.prepare()
            guard: AbstractContextManager[None] = nullcontext()
            if file.sha256 is not None:
                guard = self._blobs.exclusive(file.sha256, self._cancelled)
            with guard:
                there = self._blobs.size(file.sha256) if file.sha256 else None
                # A size that nobody promised is taken from the blob only after its bytes were read.
                if (
                    file.sha256
                    and there is not None
                    and (file.size == there or (file.size is None and self._blobs.is_whole(file.sha256, there)))
                ):
                    # Another process has brought it meanwhile.
                    self._reporter.kept(file.label, there)
                    return Fetched(file.sha256, there, 0)
                places = [*mirrors, *([] if without_origin else map(self._origin.find, wanted))]
                return self._fetch_exclusively(file, places, without_origin)

    def takes_no_room(self, place: Local) -> bool:
        """Whether a folder's file will be one with the blob.

        Raises:
            RegistryError: the folder has it not.
        """
        return place.takes_no_room(self._blobs)

    def tell_failing_mirrors(self) -> None:
        """Notices of mirrors that failed for single files, and so are told of nowhere yet."""
        self._health.tell_failing()

    def _fetch_exclusively(self, wanted: WantedFile, places: Sequence[Place], without_origin: str) -> Fetched:
        path = self._blobs.partial_path(wanted.sha256)
        with Partial(path, wanted, self._receiver.buffers) as partial, self._receiver.counted():
            self._reporter.file_started(wanted.label, wanted.size or 0, 0)
            try:
                partial.take_up(lambda count: self._kept(wanted, count))
                return self._from_any(_Search(partial, list(places)), without_origin)
            finally:
                self._reporter.file_finished(wanted.label)

    def _kept(self, wanted: WantedFile, count: int) -> None:
        self._reporter.kept(wanted.label, count)
        self._receiver.check_cancelled()

    def _from_any(self, search: _Search, without_origin: str) -> Fetched:
        """The file from the first source that gives it."""
        while search.places:
            place = search.places[0]
            end = self._health.end(place.mirror)
            if end is not None or host(place.url) in search.unreachable:
                search.give_up(end or RegistryError("not asked any more in this run"))
                continue
            if search.is_from_one and search.partial.size:
                self._receiver.throw_away(search.partial)
            try:
                fetched = self._from(place, search.partial)
            except ModelChecksumError as error:
                self._distrust(search, error)
            except RegistryError as error:
                self._note(place, error, search.partial.wanted)
                search.give_up(error)
            else:
                if place.mirror is not None:
                    self._health.note(place.mirror, Event.ANSWERED)
                return fetched
        raise nobody_gave(search.partial.wanted, search.failures, without_origin)

    def _from(self, place: Place, partial: Partial) -> Fetched:
        """The file from one source, and from those that gave its beginning."""
        if isinstance(place, Local):
            return self._take(place, partial)
        assert isinstance(place, Remote)
        self._receiver.fill(partial, place, self._tries(place, partial.wanted))
        digest = partial.verified()
        partial.finish()
        self._blobs.admit(partial.path, digest)
        supplied = {mirror: count for mirror, count in partial.supplied.items() if count}
        return Fetched(digest, partial.size, partial.received, supplied)

    def _take(self, place: Local, partial: Partial) -> Fetched:
        wanted, taken = partial.wanted, 0
        assert wanted.sha256 is not None and wanted.size is not None

        def progress(count: int) -> None:
            nonlocal taken
            taken += count
            self._reporter.advanced(wanted.label, count)
            self._receiver.check_cancelled()

        try:
            place.take(self._blobs, progress)
        except BaseException:
            self._reporter.advanced(wanted.label, -taken)
            raise
        # What gathered of it before is not needed.
        self._receiver.throw_away(partial)
        return Fetched(wanted.sha256, wanted.size, partial.received + wanted.size, {place.mirror: wanted.size})

    def _tries(self, place: Place, wanted: WantedFile) -> Patience | MirrorPatience:
        def rest(seconds: float, reason: str) -> None:
            reason = f"{place.name}: {reason}" if place.mirror is not None else reason
            self._reporter.waiting(wanted.label, seconds, reason)
            self._wait(seconds, reason)
            self._receiver.check_cancelled()

        if place.mirror is None:
            return Patience(rest)
        return MirrorPatience(rest, lambda: self._health.is_off(place.mirror))

    def _distrust(self, search: _Search, error: ModelChecksumError) -> None:
        """Bytes are wrong: throw all away, and have the whole file from one source."""
        place, partial = search.places[0], search.partial
        suspects = [place.mirror] if search.is_from_one else partial.suppliers
        mirrors = [each for each in suspects if each is not None]
        self._receiver.throw_away(partial)
        search.is_from_one = True
        liar = mirrors[0] if len(mirrors) == 1 else None
        if liar is not None:
            self._note_lie(liar, error, partial.wanted)
        elif mirrors:
            # One that sends wrong bytes and then breaks off must not bring those into disrepute that end the file.
            self._health.doubt(mirrors, partial.wanted.label)
            if self._strict:
                raise as_mirror_error(mirrors, error, partial.wanted)
        if place.mirror is not None:
            # Where it is not known whose bytes were wrong, this one is asked once more, for the whole file.
            if self._health.is_off(place.mirror):
                search.give_up(error)
        elif not mirrors:
            search.tries += 1
            if search.tries == _MOST_TRIES:
                search.give_up(error)

    def _note(self, place: Place, error: RegistryError, wanted: WantedFile) -> None:
        if place.mirror is None:
            return
        if isinstance(error, OtherFileError):
            self._note_lie(place.mirror, error, wanted)
        else:
            self._health.note(place.mirror, event_of(error), error.message, error.hint, wanted.label)

    def _note_lie(self, mirror: str, error: ModelChecksumError | OtherFileError, wanted: WantedFile) -> None:
        self._health.note(mirror, Event.LIED, f"it sent wrong bytes for {wanted.label}")
        if self._strict:
            raise as_mirror_error([mirror], error, wanted)


@dataclass(slots=True)
class _Search:
    """One file, and who is still to be asked for it.

    Attributes:
        is_from_one: whether bytes of two sources may not stand in one file any more.
        tries: how often the first of the places, an origin, has sent wrong bytes.
        unreachable: hosts that were asked for the same bytes under another address, in vain.
    """

    partial: Partial
    places: list[Place]
    is_from_one: bool = False
    tries: int = 0
    failures: list[Failure] = field(default_factory=list)
    unreachable: set[str] = field(default_factory=set)

    def give_up(self, error: RegistryError | ModelChecksumError) -> None:
        """Go on to the next place."""
        place = self.places.pop(0)
        self.tries = 0
        if isinstance(place, OriginPlace):
            told: ModelDownloadError = place.explained(error) if isinstance(error, RegistryError) else error
            if host(place.url) in self.unreachable:
                return
            if told.error_code == NETWORK_ERROR:
                self.unreachable.add(host(place.url))
            self.failures.append(Failure(place.name, told.message, told.error_code, told))
        else:
            self.failures.append(Failure(place.name, error.message, error.error_code, hint=error.hint))
