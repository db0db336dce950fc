"""Why a file could not be had, when all its sources were asked: one error, with what each of them said."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from typing import TYPE_CHECKING

from vcm.core.lock import LockedFile, LockedModel
from vcm.core.records import record
from vcm.core.wording import byte_count, listed
from vcm.errors import (
    AUTHENTICATION_ERROR,
    CHECKSUM_MISMATCH,
    NETWORK_ERROR,
    NOT_INSTALLED,
    ModelChecksumError,
    ModelDownloadError,
)
from vcm.install.wanted import NO_MIRROR, NO_ORIGIN, OFFLINE, WantedFile

if TYPE_CHECKING:
    # At run time it would bring the whole of HTTP.
    from vcm.install.source import OtherFileError

WAYS = {
    OFFLINE: "run vcm sync where the hub can be reached, or vcm sync --from with a bundle or folder that has it",
    NO_ORIGIN: "put it into a mirror with vcm push, or let the hub be asked: without --no-origin, and with "
    "fallback = true under [origin]",
    NO_MIRROR: "set VCM_MIRRORS to an address, or write a [[mirror]] into your own configuration: vcm mirror check "
    "says where that is",
}
"""What to do next where the origin is not asked, by the reason for that."""
_REMEDIES = {
    NETWORK_ERROR: "see to that mirror, then run the same command again: what has come is kept",
    CHECKSUM_MISMATCH: "repair that mirror: vcm mirror check --deep says which of its files are wrong",
}
"""What to do next where only mirrors are asked and one of them may have it, by what keeps it from giving it."""


@record(frozen=True)
class Failure:
    """What became of one source.

    Attributes:
        source: its name in messages.
        reason: what it said.
        code: one of the codes of ``vcm.errors``.
        error: an origin's error, in full.
        hint: what a mirror's error says to do.
    """

    source: str
    reason: str
    code: str
    error: ModelDownloadError | None = None
    hint: str = ""


def nobody_gave(wanted: WantedFile, failures: Sequence[Failure], without_origin: str) -> ModelDownloadError:
    """The error for a file that no source gave.

    It is the origin's own error where that was asked, beside what the mirrors said. Where nobody can be asked but
    mirrors, it is NOT_INSTALLED if none of them has the file, so that a second try is of no use, and else what kept one
    from giving it.
    """
    own = next((each.error for each in reversed(failures) if each.error is not None), None)
    is_alone = all(each.error is not None for each in failures)
    if own is not None:
        error = copy(own)
        error.details = () if is_alone else tuple(_table(failures))
        return error
    codes = {each.code for each in failures}
    worst = (code for code in (NETWORK_ERROR, AUTHENTICATION_ERROR, CHECKSUM_MISMATCH) if code in codes)
    size = "" if wanted.size is None else f" ({byte_count(wanted.size)})"
    code = next(worst, NOT_INSTALLED)
    remedy = next((each.hint for each in failures if code == each.code == AUTHENTICATION_ERROR), "")
    remedy = remedy or _REMEDIES.get(code, "")
    return ModelDownloadError(
        f"not in the store{', no mirror gave it' if failures else ''}, and {without_origin}{size}",
        hint=remedy or WAYS.get(without_origin, ""),
        details=_table(failures),
        error_code=code,
        model=wanted.model,
        file=wanted.path,
    )


def nobody_to_ask(model: LockedModel, file: LockedFile, without_origin: str) -> ModelDownloadError:
    """The error for a locked file where there is neither an origin nor a mirror to ask."""
    return nobody_gave(WantedFile(model=model.name, path=file.path, url="", size=file.size), (), without_origin)


def _table(failures: Sequence[Failure]) -> list[str]:
    """Source and reason, a line each; one that was asked under several addresses once for each reason."""
    rows = dict.fromkeys((each.source, each.reason) for each in failures)
    width = max((len(source) for source, _ in rows), default=0)
    return [f"{source:<{width}}  {reason}" for source, reason in rows]


def as_mirror_error(
    mirrors: Sequence[str], error: ModelChecksumError | OtherFileError, wanted: WantedFile
) -> ModelChecksumError:
    """The error for wrong bytes that came from mirrors, where that is one.

    Args:
        mirrors: who gave them; of several, nobody knows which one's are wrong.
        error: what is wrong with them.
        wanted: the file.
    """
    each, names = ("mirror" if len(mirrors) == 1 else "one of the mirrors"), listed(mirrors)
    return ModelChecksumError(
        f"{each} {names} sent {error.message}",
        expected=error.expected,
        actual=error.actual,
        hint=f"repair that mirror; without --strict-mirrors, the next source is asked instead of {names}",
        model=wanted.model,
        file=wanted.path,
    )
