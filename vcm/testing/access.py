"""Who may see what: tokens, grants, gates, and the refusals with the exact words the Hub uses."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from vcm.testing.wire import Request, Response, json_response, text_response

if TYPE_CHECKING:
    from collections.abc import Collection

    from vcm.testing.repository import SimulatedRepo

MASK = "*" * 64
"""What a digest reads like to a caller without access to a gated repository."""

OPEN_FILES = frozenset({"README.md", "LICENSE", "LICENSE.md", "LICENSE.txt"})
"""The files of a gated repository that everybody may download through ``/resolve/``."""

_BAD_CREDENTIALS = "Invalid username or password."
_CHALLENGE = 'Bearer realm="Authentication required", charset="UTF-8"'


class Refusal(Exception):  # noqa: N818 - a refusal is a proper answer, not a defect
    """An error answer of the Hub, raised where it is decided.

    Args:
        status: the HTTP status.
        message: the text of the body and of ``X-Error-Message``.
        code: the value of ``X-Error-Code``, where the Hub sends one.
        commit: the value of ``X-Repo-Commit``, where the Hub sends one.
    """

    def __init__(self, status: int, message: str, *, code: str | None = None, commit: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.commit = commit

    def response(self, *, as_json: bool) -> Response:
        """Return the answer: JSON below ``/api``, plain text elsewhere."""
        headers = {"X-Error-Message": self.message}
        if self.code:
            headers["X-Error-Code"] = self.code
        if self.commit:
            headers["X-Repo-Commit"] = self.commit
        if self.status == HTTPStatus.UNAUTHORIZED:
            headers["WWW-Authenticate"] = _CHALLENGE
        if as_json:
            return json_response({"error": self.message}, headers, self.status)
        return text_response(self.message, headers, self.status)


def authenticate(request: Request, tokens: Collection[str]) -> str | None:
    """Return the caller's token, or None for an anonymous caller.

    Args:
        request: the request.
        tokens: the tokens that the Hub knows.

    Raises:
        Refusal: there are credentials, and they are not a known bearer token.
    """
    credentials = request.headers.get("authorization")
    if credentials is None:
        return None
    scheme, _, token = credentials.partition(" ")
    if scheme.lower() != "bearer" or token.strip() not in tokens:
        raise Refusal(HTTPStatus.UNAUTHORIZED, _BAD_CREDENTIALS)
    return token.strip()


def repository_missing(caller: str | None) -> Refusal:
    """Return the refusal for a repository that does not exist, or that the caller may not know of."""
    if caller is None:
        return Refusal(HTTPStatus.UNAUTHORIZED, _BAD_CREDENTIALS)
    return Refusal(HTTPStatus.NOT_FOUND, "Repository not found", code="RepoNotFound")


def revision_missing(revision: str) -> Refusal:
    """Return the refusal for a branch, tag or commit that does not exist."""
    return Refusal(HTTPStatus.NOT_FOUND, f"Invalid rev id: {revision}", code="RevisionNotFound")


def file_missing(commit: str) -> Refusal:
    """Return the refusal for a file that a commit does not have."""
    return Refusal(HTTPStatus.NOT_FOUND, "Entry not found", code="EntryNotFound", commit=commit)


def folder_missing(path: str, revision: str) -> Refusal:
    """Return the refusal for a folder that a revision does not have."""
    return Refusal(HTTPStatus.NOT_FOUND, f'{path} does not exist on "{revision}"', code="EntryNotFound")


def page_missing() -> Refusal:
    """Return the refusal for a route that the Hub does not have."""
    return Refusal(HTTPStatus.NOT_FOUND, "Sorry, we can't find the page you are looking for.")


def bad_request(message: str) -> Refusal:
    """Return the refusal for a request with bad parameters."""
    return Refusal(HTTPStatus.BAD_REQUEST, message)


def too_many_requests(caller: str | None) -> Refusal:
    """Return the refusal for a caller who has used up a quota."""
    message = "We had to rate limit you. Retry when the window is over."
    if caller is None:
        message = (
            "We had to rate limit your IP. To continue using our service, create a HF account or login to your "
            "existing account, and make sure you pass a HF_TOKEN if you're using the API."
        )
    return Refusal(HTTPStatus.TOO_MANY_REQUESTS, message)


def has_access(repo: SimulatedRepo, caller: str | None) -> bool:
    """Say whether a caller may read the contents of a repository, its being disabled aside."""
    return not (repo.gated or repo.private) or caller in repo.access


def is_visible(repo: SimulatedRepo, caller: str | None) -> bool:
    """Say whether a caller may know that a repository exists."""
    return not repo.private or caller in repo.access


def require_contents(repo: SimulatedRepo, caller: str | None) -> None:
    """Check that a caller may download from a repository.

    Raises:
        Refusal: the repository is gated and the caller has no access, or it is disabled.
    """
    require_gate(repo, caller)
    require_enabled(repo)


def require_gate(repo: SimulatedRepo, caller: str | None) -> None:
    """Check that a caller has passed a repository's gate, if there is one.

    Raises:
        Refusal: the caller has not.
    """
    if has_access(repo, caller):
        return
    restricted = f"Access to model {repo.id} is restricted"
    if caller is None:
        message = f"{restricted}. You must have access to it and be authenticated to access it. Please log in."
        raise Refusal(HTTPStatus.UNAUTHORIZED, message, code="GatedRepo")
    page = f"https://huggingface.co/{repo.id}"
    message = f"{restricted} and you are not in the authorized list. Visit {page} to ask for access."
    raise Refusal(HTTPStatus.FORBIDDEN, message, code="GatedRepo")


def require_enabled(repo: SimulatedRepo) -> None:
    """Check that a repository's files are not withheld from everybody.

    Raises:
        Refusal: they are.
    """
    if repo.disabled:
        raise Refusal(HTTPStatus.FORBIDDEN, "Access to this resource is disabled.")
