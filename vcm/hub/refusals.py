"""What the hub's refusals mean: status and ``X-Error-Code`` to our errors, with what to do next."""

from __future__ import annotations

from collections.abc import Mapping

from vcm.errors import AUTHENTICATION_ERROR, ModelNotFoundError, RegistryError
from vcm.http.faults import NetworkFaultError
from vcm.http.retries import RETRIED_STATUS, retry_after

_CHECK_URL = "check the model's url"
_DISABLED = "Access to this resource is disabled."
_UNAUTHORIZED = 401
_FORBIDDEN = 403
_NOT_FOUND = 404
_TOO_MANY = 429


class RepoNotFoundError(ModelNotFoundError):
    """There is no such repo, or not for this caller."""


class RevisionNotFoundError(ModelNotFoundError):
    """The repo has no such branch, tag or commit."""


def refusal(  # noqa: PLR0911  (a table in words)
    status: int, headers: Mapping[str, str], *, endpoint: str, subject: str, repo: str | None, token_source: str | None
) -> RegistryError:
    """The error for an answer whose status is not a success.

    Args:
        status: of the answer.
        headers: of the answer.
        endpoint: base address of the hub, for the page to visit.
        subject: what was asked for, in words (``acme/frames at v1.2``); may be empty.
        repo: the repo id, where the request was about one.
        token_source: where the token that was sent came from; None when none was sent.
    """
    about = f"{subject}: " if subject else ""
    who = "the hub" if repo else "the server"
    code = headers.get("X-Error-Code", "")
    said = plain_text(headers.get("X-Error-Message", ""))
    if status in RETRIED_STATUS:
        reason = "too many requests" if status == _TOO_MANY else f"{who} answers {status}"
        seconds = retry_after(headers)
        when = "later" if seconds is None else f"in {seconds:.0f} s"
        return NetworkFaultError(f"{about}{reason}", hint=f"try again {when}", retry_after=seconds)
    if code == "GatedRepo":
        return _gated(about, f"{endpoint}/{repo}" if repo else f"its page on {endpoint}", said, token_source)
    if code == "RevisionNotFound":
        return RevisionNotFoundError(f"{about}no such revision", hint="check version or revision in models.toml")
    if code == "EntryNotFound":
        return ModelNotFoundError(f"{about}no such file", hint="the publisher removed it: run vcm lock --upgrade")
    if status == _FORBIDDEN and said == _DISABLED:
        return ModelNotFoundError(
            f"{about}the repo is disabled by the hub or its owner", hint="name another repo in models.toml"
        )
    if status == _UNAUTHORIZED and token_source:
        return RegistryError(
            f"{about}the hub does not accept the token in {token_source}",
            error_code=AUTHENTICATION_ERROR,
            hint=f"make a new one at {endpoint}/settings/tokens, or unset it for public repos",
        )
    if status in (_UNAUTHORIZED, _NOT_FOUND):
        return _missing(about, token_source, is_repo=repo is not None)
    if status == _FORBIDDEN:
        return RegistryError(
            f"{about}access denied" + (f" ({said})" if said else ""),
            error_code=AUTHENTICATION_ERROR,
            hint=_token_hint(token_source) if repo or token_source else _CHECK_URL,
        )
    return RegistryError(
        f"{about}{who} answers {status}" + (f" ({said})" if said else ""), hint="" if repo else _CHECK_URL
    )


def _gated(about: str, page: str, said: str, token_source: str | None) -> RegistryError:
    if token_source is None:
        hint = f"accept its terms at {page}, then set HF_TOKEN to a token of that account"
    else:
        hint = f"accept its terms at {page} with the account whose token is in {token_source}"
    words = f"{about}the repo is gated, and access was not granted"
    return RegistryError(
        words + (f" ({said})" if said and token_source else ""), error_code=AUTHENTICATION_ERROR, hint=hint
    )


def _missing(about: str, token_source: str | None, *, is_repo: bool) -> RegistryError:
    if not is_repo:
        return ModelNotFoundError(f"{about}not found", hint=_CHECK_URL)
    if token_source is None:
        hint = "check the spelling; for a private repo set HF_TOKEN"
    else:
        hint = f"check the spelling, and that the token in {token_source} may read it"
    return RepoNotFoundError(f"{about}no such repo, or it is private", hint=hint)


def _token_hint(token_source: str | None) -> str:
    if token_source is None:
        return "set HF_TOKEN to a token that may read it"
    return f"check that the token in {token_source} may read it"


def plain_text(text: str) -> str:
    """A server's words, fit to stand in one line of a message."""
    printable = "".join(character if character.isprintable() else " " for character in text)
    return printable if len(printable) <= 200 else f"{printable[:197]}..."  # noqa: PLR2004
