"""One file's way into the store: asked for, hashed while it arrives, checked, admitted.

A partial file keeps its bytes over failures and runs. Every attempt begins at the file's own address again, because
what it redirects to is signed and expires. Only bytes with the right digest become a blob.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from threading import Event, Lock

from vcm.core.digest import CHUNK
from vcm.core.reporter import Reporter
from vcm.errors import AUTHENTICATION_ERROR, NOT_FOUND, ModelChecksumError, ModelDownloadError, RegistryError
from vcm.http.addresses import origin
from vcm.http.body import Answer
from vcm.http.faults import NetworkFaultError
from vcm.http.retries import RETRIED_STATUS, Patience, Wait
from vcm.hub.client import HubClient
from vcm.hub.refusals import RepoNotFoundError
from vcm.install.ahead import BUFFERS, CONNECTIONS, SEGMENT, ReadAhead, Segment
from vcm.install.hashing import Buffers
from vcm.install.partial import PART, Partial, another_part
from vcm.install.wanted import Fetched, WantedFile
from vcm.store.blobs import BlobStore
from vcm.store.files import disk_errors

_WHOLE = 200
_FORBIDDEN = 403
_NOT_SATISFIABLE = 416

_MOST_BUFFERS = 64
"""More than there are connections at a time: with a small file, nobody waits for one."""
_LOOK_SECONDS = 1.0
_FAST = 256 << 20
"""Bytes a second, about what one thread can hash: over a faster connection, a second one brings nothing."""
_WORTH_READING_AHEAD = 64 << 20
"""Bytes; what is less is here before more connections would have come up to speed."""


class Transfer:
    """Fetches files into one store; may be used by several threads.

    Args:
        blobs: where they go.
        client: whom to ask.
        reporter: told of progress.
        wait: rests between attempts.
        cancelled: once set, every fetch ends with KeyboardInterrupt, keeping its bytes.
    """

    def __init__(
        self, blobs: BlobStore, client: HubClient, reporter: Reporter, wait: Wait, cancelled: Event | None = None
    ) -> None:
        self._blobs = blobs
        self._client = client
        self._reporter = reporter
        self._wait = wait
        self._cancelled = cancelled or Event()
        self._refusals: dict[str, RegistryError | None] = {}
        self._checking_access = Lock()
        self._pieces = Buffers(BUFFERS, SEGMENT)
        self._buffers = Buffers(_MOST_BUFFERS, CHUNK)
        self._counting = Lock()
        self._files = 0

    def fetch(self, wanted: WantedFile) -> Fetched:
        """Bring one file into the store, or find it there.

        Raises:
            ModelDownloadError: it cannot be had.
            ModelChecksumError: what comes is not what was promised, twice.
            VcmError: the disk is full or refuses.
        """
        with disk_errors(self._blobs.partial_folder):
            self._blobs.prepare()
            guard: AbstractContextManager[None] = nullcontext()
            if wanted.sha256 is not None:
                guard = self._blobs.exclusive(wanted.sha256, self._cancelled)
            with guard:
                there = self._blobs.size(wanted.sha256) if wanted.sha256 else None
                # A size that nobody promised is taken from the blob only after its bytes were read.
                if (
                    wanted.sha256
                    and there is not None
                    and (wanted.size == there or (wanted.size is None and self._blobs.is_whole(wanted.sha256, there)))
                ):
                    # Another process has brought it meanwhile.
                    self._reporter.kept(wanted.label, there)
                    return Fetched(wanted.sha256, there, 0)
                self._check_access(wanted)
                return self._fetch_exclusively(wanted)

    def _check_access(self, wanted: WantedFile) -> None:
        """Ask once whether a gated repo may be downloaded: before gigabytes are on their way, not after some."""
        if wanted.repo is None or not wanted.gated:
            return
        with self._checking_access:
            if wanted.repo not in self._refusals:
                self._refusals[wanted.repo] = None
                try:
                    self._client.check_access(wanted.repo)
                except RegistryError as error:
                    # Any other trouble is the download's own, which knows when to try again.
                    if error.error_code == AUTHENTICATION_ERROR:
                        self._refusals[wanted.repo] = error
            refusal = self._refusals[wanted.repo]
        if refusal is not None:
            raise _as_download_error(refusal, wanted)

    def _fetch_exclusively(self, wanted: WantedFile) -> Fetched:
        with Partial(self._blobs.partial_path(wanted.sha256), wanted, self._buffers) as partial, self._counted():
            self._reporter.file_started(wanted.label, wanted.size or 0, 0)
            try:
                partial.take_up(lambda count: self._kept(wanted, count))
                try:
                    self._fill(partial, wanted)
                    digest = partial.verified()
                except ModelChecksumError:
                    # Once more, whole: a proxy or a broken disk may have mixed things up.
                    self._throw_away(partial, wanted)
                    try:
                        self._fill(partial, wanted)
                        digest = partial.verified()
                    except ModelChecksumError:
                        self._throw_away(partial, wanted)
                        raise
                partial.finish()
                self._blobs.admit(partial.path, digest)
                return Fetched(digest, partial.size, partial.received)
            finally:
                self._reporter.file_finished(wanted.label)

    def _kept(self, wanted: WantedFile, count: int) -> None:
        self._reporter.kept(wanted.label, count)
        self._check_cancelled()

    def _throw_away(self, partial: Partial, wanted: WantedFile) -> None:
        self._reporter.advanced(wanted.label, -partial.size)
        partial.restart()

    def _fill(self, partial: Partial, wanted: WantedFile) -> None:
        """Ask until the partial file has all bytes."""
        patience = Patience(lambda seconds, reason: self._rest(wanted, seconds, reason))
        # Not the bytes received: a server that always sends the first half would be asked for ever.
        furthest = partial.size
        try:
            while not partial.is_complete:
                try:
                    self._attempt(partial, wanted)
                except NetworkFaultError as error:
                    if partial.size == wanted.size:
                        # Only the answer's end did not come. Asked for more, the server would refuse.
                        partial.ended()
                        break
                    if partial.size > furthest:
                        furthest = partial.size
                        patience.renew()
                    patience.rest(error)
        except RegistryError as error:
            raise _as_download_error(error, wanted) from error

    def _rest(self, wanted: WantedFile, seconds: float, reason: str) -> None:
        self._reporter.waiting(wanted.label, seconds, reason)
        self._wait(seconds, reason)
        self._check_cancelled()

    def _check_cancelled(self) -> None:
        if self._cancelled.is_set():
            raise KeyboardInterrupt

    @contextmanager
    def _counted(self) -> Iterator[None]:
        with self._counting:
            self._files += 1
        try:
            yield
        finally:
            with self._counting:
                self._files -= 1

    def _connections(self) -> int:
        """How many connections one file may have: many files at once have enough of them already."""
        return max(1, CONNECTIONS // max(1, self._files))

    def _attempt(self, partial: Partial, wanted: WantedFile) -> None:
        if partial.size and not wanted.is_pinned:
            # The file may have changed since, and no digest would tell that two of its states were glued together.
            self._throw_away(partial, wanted)
        headers = {"Range": f"bytes={partial.size}-"} if partial.size else {}
        with self._client.http.request("GET", wanted.url, headers, leave_origin=True) as answer:
            if answer.status == _NOT_SATISFIABLE and partial.size:
                self._throw_away(partial, wanted)
                raise NetworkFaultError("the server refused to go on from the bytes that are here")
            if answer.status not in (_WHOLE, PART):
                raise self._refused(answer, wanted)
            if answer.status == _WHOLE and partial.size:
                # The whole file, although a part was asked for: begin again, never glue.
                self._throw_away(partial, wanted)
            if not partial.continues(answer):
                self._throw_away(partial, wanted)
                raise another_part()
            _refuse_page(answer, wanted)
            partial.announce(answer)
            if self._receive(partial, wanted, answer):
                partial.ended()
                return
        self._read_ahead(partial, wanted, answer.url)

    def _receive(self, partial: Partial, wanted: WantedFile, answer: Answer) -> bool:
        """Take in an answer's body; false where the rest had better come over several connections."""
        looked, size = time.monotonic(), partial.size
        while count := partial.receive(answer):
            self._reporter.advanced(wanted.label, count)
            self._check_cancelled()
            seconds = time.monotonic() - looked
            if seconds >= _LOOK_SECONDS:
                if partial.size - size < _FAST * seconds and self._may_read_ahead(partial, wanted, answer):
                    return False
                looked, size = time.monotonic(), partial.size
        return True

    def _may_read_ahead(self, partial: Partial, wanted: WantedFile, answer: Answer) -> bool:
        has_ranges = answer.status == PART or answer.headers.get("Accept-Ranges", "").lower() == "bytes"
        # Where requests are counted, hundreds of them for one file would leave none for the others.
        is_counted = "RateLimit" in answer.headers
        is_worth_it = wanted.size is not None and wanted.size - partial.size >= _WORTH_READING_AHEAD
        is_possible = has_ranges and wanted.is_pinned and partial.may_read_ahead
        return is_possible and is_worth_it and not is_counted and self._connections() > 1

    def _read_ahead(self, partial: Partial, wanted: WantedFile, address: str) -> None:
        """Fetch the rest over several connections.

        Args:
            partial: where it goes.
            wanted: a file of known size.
            address: where the last answer came from, after all redirects: it is not asked for anew for every piece.
        """
        assert wanted.size is not None

        def fill(segment: Segment) -> None:
            nonlocal address
            try:
                self._fill_segment(segment, wanted, address, ahead)
            except RegistryError as error:
                if ahead.stopped.is_set() or error.retry_after is not None:
                    raise
                # The address may have expired, in whatever way a server says so: once more from the beginning, as with
                # every attempt. Where that leads to is good for the other pieces, too.
                address = self._fill_segment(segment, wanted, wanted.url, ahead)

        ahead = ReadAhead(fill, self._connections, self._pieces)
        # Until the first piece is here: a server may want no more than one connection.
        partial.may_read_ahead = False
        for segment in ahead.segments(partial.size, wanted.size):
            partial.may_read_ahead = True
            partial.append(segment.buffer, segment.size, ahead.buffers)
            self._reporter.advanced(wanted.label, segment.size)
            self._check_cancelled()
        partial.ended()

    def _fill_segment(self, segment: Segment, wanted: WantedFile, url: str, ahead: ReadAhead) -> str:
        """Fetch a piece, and say where it came from, after all redirects."""
        assert wanted.size is not None
        with (
            self._client.http.request("GET", url, {"Range": segment.range}, leave_origin=True) as answer,
            ahead.reading(answer),
        ):
            if answer.status not in (_WHOLE, PART):
                raise self._refused(answer, wanted)
            for _ in segment.receive(answer, wanted.size):
                if ahead.stopped.is_set():
                    raise KeyboardInterrupt
                self._check_cancelled()
            return answer.url

    def _refused(self, answer: Answer, wanted: WantedFile) -> RegistryError:
        if answer.status == _FORBIDDEN and origin(answer.url) != origin(wanted.url):
            # A signed address that has expired: the next attempt gets a new one.
            return NetworkFaultError("the signed download address was refused", hint="try again later")
        if wanted.repo and origin(answer.url) != origin(wanted.url) and answer.status not in RETRIED_STATUS:
            return RegistryError(f"the download server answers {answer.status}", hint="try again later")
        return self._client.refused(answer, wanted.source, wanted.repo)


def _refuse_page(answer: Answer, wanted: WantedFile) -> None:
    kind = answer.headers.get("Content-Type", "").lower()
    if wanted.repo is None and kind.startswith("text/html") and not wanted.path.endswith((".html", ".htm")):
        raise RegistryError(
            "the address leads to a web page, not to a file",
            error_code=NOT_FOUND,
            hint="of a repo, name the id: vcm add NAME namespace/name; of a file, its own address",
        )


def _as_download_error(error: RegistryError, wanted: WantedFile) -> ModelDownloadError:
    hint = error.hint
    if error.error_code == NOT_FOUND and wanted.repo and wanted.sha256 and wanted.size is not None:
        ways = (
            "vcm sync --from DIR takes it from a machine that has it, "
            f"vcm lock --upgrade-model {wanted.model} what there is today"
        )
        # To whoever may not read it, a private repo looks like one that is gone.
        is_hidden = isinstance(error, RepoNotFoundError)
        hint = (
            f"if it is private, set HF_TOKEN to a token that may read it; if it is gone, {ways}"
            if is_hidden
            else (f"what was locked is gone from the hub: {ways}")
        )
    return ModelDownloadError(
        error.message,
        hint=hint,
        error_code=error.error_code,
        model=wanted.model,
        file=wanted.path,
        retry_after=error.retry_after,
    )
