"""One model that a program asks for by itself: the request, and what its errors say."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from vcm.core import names
from vcm.core.entries import ModelType
from vcm.core.lock import LockedModel
from vcm.core.manifest import Requirement
from vcm.core.selection import exact_pattern
from vcm.core.wording import listed
from vcm.errors import (
    CHECKSUM_MISMATCH,
    CONFIG_ERROR,
    INSUFFICIENT_SPACE,
    NOT_FOUND,
    NOT_INSTALLED,
    PERMISSION_ERROR,
    ModelDownloadError,
    ModelRegistryError,
    VcmError,
)

# What a hint of the command line says is of no use to a program that calls this class.
_OWN_HINTS = {
    CHECKSUM_MISMATCH: "the publisher or something on the way changed the file: try again later",
    INSUFFICIENT_SPACE: "free some space, or choose another download_dir",
    PERMISSION_ERROR: "see who may write download_dir, or choose another",
    NOT_INSTALLED: "try again where the hub can be reached",
    CONFIG_ERROR: "name the files to take with specific_files",
}
_COMMAND_LINE = ("models.toml", "[models.", "vcm ")


@dataclass(frozen=True, slots=True)
class DownloadRequest:
    """What a download shall bring; two that are equal are one."""

    model_id: str
    model_type: ModelType
    revision: str
    specific_files: tuple[str, ...] | None

    def requirement(self) -> Requirement:
        """The same as a project would declare it."""
        files = self.specific_files
        return Requirement(
            name=self.model_id,
            repo=self.model_id,
            revision=self.revision,
            include=tuple(map(exact_pattern, files or ())),
            # Who names a file knows what it is.
            allow_pickle=files is not None,
            follow=False,
        )


def checked_request(
    model_id: str, model_type: ModelType, revision: str, specific_files: Iterable[str] | None
) -> DownloadRequest:
    """A request that can be put to a hub.

    Raises:
        ModelDownloadError: it cannot.
    """
    try:
        names.repo_id(model_id)
        names.revision(revision)
    except (ValueError, AttributeError, TypeError) as error:
        raise ModelDownloadError(
            f"{model_id!r:.100} at {revision!r:.100} names no model of the hub: {error}",
            error_code=NOT_FOUND,
            hint="name it as its page does: namespace/name",
        ) from None
    try:
        kind = ModelType(model_type)
    except ValueError:
        known = listed(each.value for each in ModelType)
        raise ModelDownloadError(
            f"{model_type!r:.100} is no type of model",
            error_code=CONFIG_ERROR,
            hint=f"types are {known}",
            model=model_id,
        ) from None
    files = None if specific_files is None else tuple(specific_files)
    if files == ():
        raise ModelDownloadError(
            "specific_files names no file", error_code=CONFIG_ERROR, hint="leave it out to take all", model=model_id
        )
    return DownloadRequest(model_id, kind, revision, files)


def refuse_missing(model: LockedModel, wanted: Iterable[str]) -> None:
    """Refuse a model that lacks a file that was asked for.

    Raises:
        ModelDownloadError: names what is missing.
    """
    missing = set(wanted) - {file.path for file in model.files}
    if missing:
        raise ModelDownloadError(
            f"the repo has no {listed(sorted(missing))}",
            error_code=NOT_FOUND,
            hint="name files as the repo's page lists them",
            model=model.name,
        )


def as_download_error(error: VcmError, request: DownloadRequest) -> VcmError:
    """The error as this class promises it, with a hint for a program."""
    if isinstance(error, ModelRegistryError):
        return error
    if error.error_code in _OWN_HINTS:
        error.hint = _OWN_HINTS[error.error_code]
    elif any(word in error.hint for word in _COMMAND_LINE):
        error.hint = ""
    if isinstance(error, ModelDownloadError):
        return error
    own = ModelDownloadError(
        # Whose error it is stands before it anyway.
        error.message.removeprefix(f"{request.model_id} at {request.revision}: "),
        hint=error.hint,
        details=error.details,
        error_code=error.error_code,
        model=error.model,
        file=error.file,
        retry_after=error.retry_after,
    )
    own.__cause__ = error
    return own
