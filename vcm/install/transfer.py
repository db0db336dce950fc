"""One file's way into the store: asked for, hashed while it arrives, checked, admitted.

A partial file keeps its bytes over failures and runs. Every attempt begins at the file's own address again, because
what it redirects to is signed and expires. Only bytes with the right digest become a blob.
"""

from __future__ import annotations

import hashlib
import os
import re
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path
from threading import Event, Lock
from typing import TYPE_CHECKING, Self

from vcm.core.digest import CHUNK, git_blob_hash
from vcm.core.reporter import Reporter
from vcm.errors import AUTHENTICATION_ERROR, NOT_FOUND, ModelChecksumError, ModelDownloadError, RegistryError
from vcm.hub.client import HubClient
from vcm.hub.http import Answer, NetworkFaultError, origin
from vcm.hub.retries import RETRIED_STATUS, Patience, Wait
from vcm.install.wanted import Fetched, WantedFile
from vcm.store.blobs import BlobStore
from vcm.store.files import disk_errors

if TYPE_CHECKING:
    from hashlib import _Hash

_WHOLE = 200
_PART = 206
_FORBIDDEN = 403
_NOT_SATISFIABLE = 416
_CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-\d{1,18}/(\d{1,18}|\*)", re.ASCII)


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
        with _Partial(self._blobs.partial_path(wanted.sha256), wanted) as partial:
            self._reporter.file_started(wanted.label, wanted.size or 0, partial.size)
            try:
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

    def _throw_away(self, partial: _Partial, wanted: WantedFile) -> None:
        self._reporter.advanced(wanted.label, -partial.size)
        partial.restart()

    def _fill(self, partial: _Partial, wanted: WantedFile) -> None:
        """Ask until the partial file has all bytes."""
        patience = Patience(lambda seconds, reason: self._rest(wanted, seconds, reason))
        # Not the bytes received: a server that always sends the first half would be asked for ever.
        furthest = partial.size
        try:
            while not partial.is_complete:
                try:
                    self._attempt(partial, wanted)
                except NetworkFaultError as error:
                    if partial.size > furthest:
                        furthest = partial.size
                        patience.renew()
                    patience.rest(error)
        except RegistryError as error:
            raise _as_download_error(error, wanted) from error

    def _rest(self, wanted: WantedFile, seconds: float, reason: str) -> None:
        self._reporter.waiting(wanted.label, seconds, reason)
        self._wait(seconds, reason)
        if self._cancelled.is_set():
            raise KeyboardInterrupt

    def _attempt(self, partial: _Partial, wanted: WantedFile) -> None:
        if partial.size and not wanted.is_pinned:
            # The file may have changed since, and no digest would tell that two of its states were glued together.
            self._throw_away(partial, wanted)
        headers = {"Range": f"bytes={partial.size}-"} if partial.size else {}
        with self._client.http.request("GET", wanted.url, headers, leave_origin=True) as answer:
            if answer.status == _NOT_SATISFIABLE and partial.size:
                self._throw_away(partial, wanted)
                raise NetworkFaultError("the server refused to go on from the bytes that are here")
            if answer.status not in (_WHOLE, _PART):
                raise self._refused(answer, wanted)
            if answer.status == _WHOLE and partial.size:
                # The whole file, although a part was asked for: begin again, never glue.
                self._throw_away(partial, wanted)
            if not partial.continues(answer):
                self._throw_away(partial, wanted)
                raise NetworkFaultError(
                    "the server sent another part of the file than was asked for", hint="try again later"
                )
            _refuse_page(answer, wanted)
            partial.announce(answer)
            for chunk in answer.chunks():
                partial.append(chunk)
                self._reporter.advanced(wanted.label, len(chunk))
                if self._cancelled.is_set():
                    raise KeyboardInterrupt
            partial.ended()

    def _refused(self, answer: Answer, wanted: WantedFile) -> RegistryError:
        if answer.status == _FORBIDDEN and origin(answer.url) != origin(wanted.url):
            # A signed address that has expired: the next attempt gets a new one.
            return NetworkFaultError("the signed download address was refused", hint="try again later")
        if wanted.repo and origin(answer.url) != origin(wanted.url) and answer.status not in RETRIED_STATUS:
            return RegistryError(f"the download server answers {answer.status}", hint="try again later")
        return self._client.refused(answer, wanted.source, wanted.repo)


class _Partial:
    """The bytes that are here so far, with their hashes."""

    def __init__(self, path: Path, wanted: WantedFile) -> None:
        self.path = path
        self.size = 0
        self.received = 0
        self.announced: int | None = None
        self._wanted = wanted
        self._complete = False
        self._hashes: dict[str, _Hash] = {}
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o600)
        self._stream = os.fdopen(descriptor, "r+b", buffering=0)

    def __enter__(self) -> Self:
        self._begin_hashing()
        while chunk := self._stream.read(CHUNK):
            self._hash(chunk)
        if self._wanted.size is not None and self.size > self._wanted.size:
            self.restart()
        self._complete = self.size == self._wanted.size
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()
        if self._wanted.sha256 is None or self.size == 0:
            # Nobody will find it again, or nothing is in it. Once admitted it is not there any more.
            with suppress(OSError):
                self.path.unlink()

    @property
    def is_complete(self) -> bool:
        return self._complete

    def _begin_hashing(self) -> None:
        self.size = 0
        self._hashes = {"sha256": hashlib.sha256()}
        if self._wanted.oid is not None and self._wanted.size is not None:
            self._hashes["git"] = git_blob_hash(self._wanted.size)
        if self._wanted.checksum is not None and self._wanted.checksum.algorithm != "sha256":
            self._hashes["checksum"] = hashlib.new(self._wanted.checksum.algorithm, usedforsecurity=False)

    def _hash(self, chunk: bytes) -> None:
        for each in self._hashes.values():
            each.update(chunk)
        self.size += len(chunk)

    def restart(self) -> None:
        """Throw away all bytes."""
        self._stream.seek(0)
        self._stream.truncate()
        self._begin_hashing()
        self._complete = self._wanted.size == 0
        self.announced = None

    def continues(self, answer: Answer) -> bool:
        """Whether the answer is the whole file, or the part that begins where the bytes here end."""
        if answer.status != _PART:
            return True
        match = _CONTENT_RANGE.fullmatch(answer.headers.get("Content-Range", ""))
        if not match or int(match[1]) != self.size or answer.is_encoded:
            return False
        self.announced = int(match[2]) if match[2] != "*" else None
        return True

    def announce(self, answer: Answer) -> None:
        """Note how long the file will be.

        Raises:
            ModelChecksumError: the file is not as long as was promised.
        """
        if answer.status != _PART:
            self.announced = answer.length
        if self._wanted.size is None and self.announced is None:
            raise RegistryError(
                "the server does not say how long the file is", hint="add size (in bytes) to it in models.toml"
            )
        if None not in (self._wanted.size, self.announced) and self._wanted.size != self.announced:
            raise self._mismatch(f"{self._wanted.size} bytes", f"{self.announced} bytes")

    def append(self, chunk: bytes) -> None:
        """Write and hash more bytes; more than were promised are refused before they are written."""
        limit = self._wanted.size if self._wanted.size is not None else self.announced
        if limit is not None and self.size + len(chunk) > limit:
            raise self._mismatch(f"{limit} bytes", f"more than {limit} bytes")
        rest = memoryview(chunk)
        while rest:
            rest = rest[self._stream.write(rest) :]
        self._hash(chunk)
        self.received += len(chunk)

    def ended(self) -> None:
        """The answer's body is over: all bytes are here, or some are missing."""
        expected = self._wanted.size if self._wanted.size is not None else self.announced
        if expected is not None and self.size < expected:
            raise NetworkFaultError(f"the connection was cut at byte {self.size} of {expected}")
        self._complete = True

    def verified(self) -> str:
        """The SHA-256 of the bytes, after every promise was checked.

        Raises:
            ModelChecksumError: a promise was not kept.
        """
        wanted = self._wanted
        digest = self._hashes["sha256"].hexdigest()
        if wanted.size is not None and self.size != wanted.size:
            raise self._mismatch(f"{wanted.size} bytes", f"{self.size} bytes")
        if wanted.sha256 is not None and digest != wanted.sha256:
            raise self._mismatch(f"sha256:{wanted.sha256}", f"sha256:{digest}")
        if "git" in self._hashes and self._hashes["git"].hexdigest() != wanted.oid:
            raise self._mismatch(f"git blob {wanted.oid}", f"git blob {self._hashes['git'].hexdigest()}")
        if wanted.checksum is not None:
            found = self._hashes.get("checksum", self._hashes["sha256"]).hexdigest()
            if found != wanted.checksum.hex:
                raise self._mismatch(str(wanted.checksum), f"{wanted.checksum.algorithm}:{found}")
        return digest

    def finish(self) -> None:
        """Have the bytes on the disk before the file gets its name; Windows renames no open file."""
        os.fsync(self._stream.fileno())
        self._stream.close()

    def _advice(self) -> str:
        if self._wanted.sha256 is None or self._wanted.size is None:
            # While locking: no lock could be upgraded to put this right.
            return "what is announced and what is sent do not agree: try again, then tell whoever publishes the file"
        return (
            "the publisher or something on the way changed the file: run vcm lock --upgrade-model "
            f"{self._wanted.model} only if you expected a change"
        )

    def _mismatch(self, expected: str, actual: str) -> ModelChecksumError:
        return ModelChecksumError(
            f"wrong bytes: expected {expected}, got {actual}",
            expected=expected,
            actual=actual,
            hint=self._advice(),
            model=self._wanted.model,
            file=self._wanted.path,
        )


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
        hint = (
            "what was locked is gone from the hub: vcm sync --from DIR takes it from a machine that has it, "
            f"vcm lock --upgrade-model {wanted.model} what there is today"
        )
    return ModelDownloadError(
        error.message,
        hint=hint,
        error_code=error.error_code,
        model=wanted.model,
        file=wanted.path,
        retry_after=error.retry_after,
    )
