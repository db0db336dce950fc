"""What a mirror has of all that is locked: it is asked for each file, or has to give each one; nothing is stored."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from threading import Event, Lock

from vcm.core.lock import LockedFile, LockedModel
from vcm.core.reporter import Reporter
from vcm.core.wording import counted, system_reason
from vcm.errors import ModelNotFoundError, RegistryError
from vcm.http.body import Answer
from vcm.http.faults import NetworkFaultError, UnreachableError
from vcm.install.health import MOST_FAILURES, MirrorPatience
from vcm.install.partial import PART, content_range
from vcm.install.pools import workers
from vcm.install.source import OtherFileError, Place, Remote, Source
from vcm.mirrors.folder import FolderPlace
from vcm.store.files import new_buffer

CONNECTIONS = 8
"""To one mirror at a time; while it gives whole files, half as many, each of which keeps a processor busy."""

_NO_HEAD = frozenset({403, 405, 501})
"""What is said to a HEAD by who answers a GET: an address may be signed for the one and not for the other."""


class FileState(StrEnum):
    """What a mirror has in the place of one file."""

    PRESENT = "present"
    MISSING = "missing"
    WRONG = "wrong"
    FAILED = "failed"
    UNASKED = "unasked"


@dataclass(frozen=True, slots=True)
class CheckedFile:
    """One locked file at one mirror.

    Attributes:
        model: its model's name.
        reason: why it is not present, in words.
        hint: what to do where nobody could tell whether it is there; may be empty.
    """

    model: str
    file: LockedFile
    state: FileState
    reason: str = ""
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Holdings:
    """What one mirror has.

    Attributes:
        files: all that is locked, in the lock's order; what stands in one place is one file.
        error: why it is not asked any more; None where it was asked for all.
    """

    files: tuple[CheckedFile, ...]
    error: RegistryError | None

    @property
    def present(self) -> tuple[CheckedFile, ...]:
        """The files that it has."""
        return tuple(each for each in self.files if each.state is FileState.PRESENT)

    @property
    def hints(self) -> tuple[str, ...]:
        """What to do where something failed, each once."""
        hints = [each.hint for each in self.files] + [self.error.hint if self.error else ""]
        return tuple(dict.fromkeys(filter(None, hints)))

    @property
    def absent(self) -> tuple[CheckedFile, ...]:
        """All others."""
        return tuple(each for each in self.files if each.state is not FileState.PRESENT)


class MirrorCheck:
    """Asks one mirror for everything.

    Args:
        source: the mirror.
        reporter: told of progress.
        wait: rests so many seconds between attempts.
        cancelled: once set, all ends with KeyboardInterrupt.
        deep: whether every byte is fetched and hashed.
    """

    def __init__(
        self, source: Source, reporter: Reporter, wait: Callable[[float], object], cancelled: Event, *, deep: bool
    ) -> None:
        self._source = source
        self._reporter = reporter
        self._wait = wait
        self._cancelled = cancelled
        self._deep = deep
        self._lock = Lock()
        self._failures = 0
        self._error: RegistryError | None = None

    def run(self, models: Iterable[LockedModel]) -> Holdings:
        """What the mirror has of these models."""
        wanted: dict[str, tuple[LockedModel, LockedFile, Place | None]] = {}
        for model in models:
            for file in model.files:
                place = self._source.find(model, file)
                # Two models may have a file in common, and a mirror have it for the one only.
                wanted.setdefault(place.url if place else f"sha256:{file.sha256}", (model, file, place))
        task = f"checking {counted(len(wanted), 'file')} of mirror {self._source.mirror}"
        if self._deep:
            self._reporter.started(task, sum(file.size for _, file, _ in wanted.values()))
        else:
            self._reporter.steps(task, len(wanted))
        try:
            with workers(CONNECTIONS // 2 if self._deep else CONNECTIONS, "vcm-mirror", self._cancelled) as pool:
                files = tuple(pool.map(lambda each: self._checked(*each), wanted.values()))
        finally:
            self._reporter.finished()
        return Holdings(files, self._error)

    def _checked(self, model: LockedModel, file: LockedFile, place: Place | None) -> CheckedFile:
        state, reason, hint = self._state(f"{model.name}/{file.path}", file, place)
        if not self._deep:
            self._reporter.step()
        return CheckedFile(model.name, file, state, reason, hint)

    def _state(self, label: str, file: LockedFile, place: Place | None) -> tuple[FileState, str, str]:
        if place is None:
            return FileState.MISSING, "the mirror's address names something that it has not got", ""
        if self._error is not None:
            return FileState.UNASKED, "not asked any more", ""
        state, reason, failure = FileState.PRESENT, "", None
        try:
            self._ask(label, file, place)
        except ModelNotFoundError as error:
            state, reason = FileState.MISSING, error.message
        except OtherFileError as error:
            state, reason = FileState.WRONG, error.message
        except RegistryError as error:
            state, reason, failure = FileState.FAILED, error.message, error
            if error.hint == RegistryError.default_hint:
                # It is about the hub.
                error.hint = ""
        self._note(failure)
        return state, reason, failure.hint if failure else ""

    def _note(self, error: RegistryError | None) -> None:
        with self._lock:
            self._failures = self._failures + 1 if error else 0
            if error and (isinstance(error, UnreachableError) or self._failures >= MOST_FAILURES):
                self._error = self._error or error

    def _ask(self, label: str, file: LockedFile, place: Place) -> None:
        patience = MirrorPatience(
            lambda seconds, reason: self._rest(label, seconds, reason), lambda: self._error is not None
        )
        while True:
            try:
                if self._deep:
                    self._fetch(label, file, place)
                elif isinstance(place, FolderPlace):
                    place.check()
                else:
                    assert isinstance(place, Remote)
                    _look(file, place)
            except NetworkFaultError as error:
                patience.rest(error)
            else:
                return

    def _rest(self, label: str, seconds: float, reason: str) -> None:
        self._reporter.waiting(label, seconds, reason)
        self._wait(seconds)
        self._check_cancelled()

    def _check_cancelled(self) -> None:
        if self._cancelled.is_set():
            raise KeyboardInterrupt

    def _fetch(self, label: str, file: LockedFile, place: Place) -> None:
        self._reporter.file_started(label, file.size, 0)
        try:
            if isinstance(place, FolderPlace):
                try:
                    with place.check().open("rb", buffering=0) as stream:
                        self._hash(label, file, stream.readinto)
                except OSError as error:
                    raise RegistryError(f"cannot be read: {system_reason(error)}") from error
            else:
                assert isinstance(place, Remote)
                with place.request("GET") as answer:
                    _raise_refusal(place, answer)
                    self._hash(label, file, answer.read_into)
        finally:
            self._reporter.file_finished(label)

    def _hash(self, label: str, file: LockedFile, read_into: Callable[[memoryview], int | None]) -> None:
        buffer, digest, received = new_buffer(), hashlib.sha256(), 0
        try:
            # Of what has no end, no more is read than what there should be.
            while received <= file.size and (count := read_into(buffer)):
                digest.update(buffer[:count])
                received += count
                self._reporter.advanced(label, count)
                self._check_cancelled()
        except NetworkFaultError:
            self._reporter.advanced(label, -received)
            raise
        if received != file.size:
            raise OtherFileError(f"{file.size} bytes", "more" if received > file.size else f"{received} bytes")
        if digest.hexdigest() != file.sha256:
            raise OtherFileError(f"sha256:{file.sha256}", f"sha256:{digest.hexdigest()}")


def _look(file: LockedFile, place: Remote) -> None:
    """Ask whether a file is there, and how long it is.

    Raises:
        OtherFileError: it is another one, going by its size.
        RegistryError: it is not there, or nobody can tell.
    """
    with place.request("HEAD") as answer:
        if answer.status not in _NO_HEAD:
            _raise_refusal(place, answer)
            return _compare(file, answer.length)
    with place.request("GET", {"Range": "bytes=0-0"} if file.size else None) as answer:
        _raise_refusal(place, answer)
        if answer.status != PART:
            return _compare(file, answer.length)
        _, whole = content_range(answer) or (0, None)
        return _compare(file, whole)


def _raise_refusal(place: Remote, answer: Answer) -> None:
    error = place.refusal(answer)
    if error is not None:
        raise error


def _compare(file: LockedFile, size: int | None) -> None:
    if size is not None and size != file.size:
        raise OtherFileError(f"{file.size} bytes", f"{size} bytes")
