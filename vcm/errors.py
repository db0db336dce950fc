"""Every error vcm raises: what happened, to which model and file, and the one thing to do next.

The message says what happened, ``hint`` what to do; facts a program may want are attributes. ``error_code`` is one of
the codes of the command line's JSON answers, and ``exit_code`` follows from it alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

CONFIG_ERROR = "CONFIG_ERROR"
LOCK_OUTDATED = "LOCK_OUTDATED"
NOT_INSTALLED = "NOT_INSTALLED"
POLICY_VIOLATION = "POLICY_VIOLATION"
NETWORK_ERROR = "NETWORK_ERROR"
AUTHENTICATION_ERROR = "AUTHENTICATION_ERROR"
NOT_FOUND = "NOT_FOUND"
CHECKSUM_MISMATCH = "CHECKSUM_MISMATCH"
INSUFFICIENT_SPACE = "INSUFFICIENT_SPACE"
PERMISSION_ERROR = "PERMISSION_ERROR"

EXIT_CODES = {
    LOCK_OUTDATED: 1,
    NOT_INSTALLED: 1,
    POLICY_VIOLATION: 1,
    CONFIG_ERROR: 2,
    NETWORK_ERROR: 3,
    AUTHENTICATION_ERROR: 3,
    NOT_FOUND: 3,
    CHECKSUM_MISMATCH: 4,
    INSUFFICIENT_SPACE: 5,
    PERMISSION_ERROR: 5,
}


class VcmError(Exception):
    """The root of all errors of vcm.

    Attributes:
        message: what happened, in one sentence without a full stop.
        error_code: one of the constants of this module.
        hint: what to do next; empty where there is nothing to do.
        details: lines below the message, where it is about several things or lists a choice.
        model: the model's name in the manifest, where one is concerned.
        file: the file's path inside the model, where one is concerned.
        retry_after: seconds after which a second try makes sense, where the other side said so.
        others: what failed for other models in the same run.
    """

    error_code = CONFIG_ERROR
    default_hint = ""

    def __init__(  # noqa: PLR0913  (all but the message go by name)
        self,
        message: str,
        *,
        hint: str = "",
        details: Iterable[str] = (),
        error_code: str | None = None,
        model: str | None = None,
        file: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint or self.default_hint
        self.details = tuple(details)
        self.error_code = error_code or type(self).error_code
        self.model = model
        self.file = file
        self.retry_after = retry_after
        self.others: tuple[VcmError, ...] = ()

    @property
    def exit_code(self) -> int:
        """The exit code of a command that ends with this error."""
        return EXIT_CODES[self.error_code]

    @property
    def __notes__(self) -> list[str]:  # type: ignore[override]
        """The details and what to do next, as Python shows them below the error in a traceback."""
        hints = [f"hint: {self.hint}"] if self.hint else []
        return [*(f"  {line}" for line in self.details), *hints, *self.__dict__.get("_notes", [])]

    def add_note(self, note: str) -> None:
        """Add a line below the error, as for every exception."""
        self.__dict__.setdefault("_notes", []).append(note)

    def __str__(self) -> str:
        place = "/".join(part for part in (self.model, self.file) if part)
        return f"{place}: {self.message}" if place else self.message

    def __reduce__(self) -> tuple[object, ...]:
        # Keyword-only arguments do not survive the default pickling, and an error must cross process pools.
        return _restore, (type(self), dict(self.__dict__))


def gravest(errors: Iterable[VcmError]) -> VcmError:
    """The one of several errors that a command ends with: wrong bytes if there are any, else the highest exit code.

    Of several alike it is the first.
    """
    return max(errors, key=lambda error: (error.error_code == CHECKSUM_MISMATCH, error.exit_code))


def exit_code_of(errors: Sequence[VcmError]) -> int:
    """What a command ends with: the exit code of the gravest error, 0 where there is none."""
    return gravest(errors).exit_code if errors else 0


def _restore(kind: type[VcmError], state: dict[str, object]) -> VcmError:
    error = kind.__new__(kind)
    Exception.__init__(error, state["message"])
    error.__dict__.update(state)
    return error


class ConfigError(VcmError):
    """The manifest, the lock's text, the environment or an argument cannot be used as it stands."""


class LockError(VcmError):
    """There is no lock, or it does not fit the manifest any more."""

    error_code = LOCK_OUTDATED


class PolicyError(VcmError):
    """A locked model is not what the project's policy allows.

    Attributes:
        violations: one ``vcm.core.policy.Violation`` for each rule that a model breaks.
    """

    error_code = POLICY_VIOLATION

    def __init__(
        self,
        message: str,
        *,
        violations: Iterable[object],
        details: Iterable[str] = (),
        hint: str = "",
        model: str | None = None,
    ) -> None:
        super().__init__(message, hint=hint, details=details, model=model)
        self.violations = tuple(violations)


class RegistryError(VcmError):
    """The hub could not be reached, refused, or answered with something that cannot be used."""

    error_code = NETWORK_ERROR
    default_hint = "check HF_ENDPOINT; if it is right, tell whoever runs that hub"


class ModelNotFoundError(RegistryError):
    """The hub has no such repository, revision, version or file (or hides it from this caller)."""

    error_code = NOT_FOUND


class ModelDownloadError(VcmError):
    """A model's bytes could not be brought here, or are not here."""

    error_code = NETWORK_ERROR


class ModelChecksumError(ModelDownloadError):
    """Bytes are not the bytes that were promised.

    Attributes:
        expected: digest or size that was promised, as text.
        actual: digest or size that was found, as text.
    """

    error_code = CHECKSUM_MISMATCH

    def __init__(
        self,
        message: str,
        *,
        expected: str,
        actual: str,
        hint: str = "",
        model: str | None = None,
        file: str | None = None,
    ) -> None:
        super().__init__(message, hint=hint, model=model, file=file)
        self.expected = expected
        self.actual = actual


class DiskSpaceError(ModelDownloadError):
    """The store's file system has too little room.

    Attributes:
        needed: bytes that must be free; 0 where nobody can tell.
        free: bytes that are free.
    """

    error_code = INSUFFICIENT_SPACE

    def __init__(self, message: str, *, needed: int, free: int, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.needed = needed
        self.free = free


class VideoError(VcmError):
    """A video, or the subtitles beside it, cannot be read to the end, or not be written."""


class ModelRegistryError(VcmError):
    """The record of installed models on this machine cannot be read or written."""

    error_code = PERMISSION_ERROR
