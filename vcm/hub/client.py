"""The hub's API: the few questions that locking asks."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, urljoin

from vcm.core import names
from vcm.core.metadata import Ref, RemoteFile, RepoInfo
from vcm.errors import RegistryError
from vcm.hub import responses
from vcm.hub.http import Address, HttpClient, origin
from vcm.hub.refusals import refusal
from vcm.hub.retries import Patience, Wait

_LONGEST_ANSWER = 64 << 20
"""Bytes. A tree page of 1,000 files has some 300 kB; a card can be large, but not like this."""
_API_SECONDS = 120.0
_MOST_PAGES = 1000
_OK = 200
# Not requests' parser: it ends an address at the first semicolon and then misses what follows.
_NEXT = re.compile(r'<([^>]*)>[^<]*;\s*rel\s*=\s*"?next\b', re.IGNORECASE)


class HubClient:
    """Asks one hub. It may be used by several threads."""

    def __init__(self, http: HttpClient, address: Address, *, token_source: str | None, wait: Wait) -> None:
        self.http = http
        self.endpoint = address.endpoint
        self._token_source = token_source if address.token else None
        self._wait = wait

    def info(self, repo: str, revision: str | None) -> RepoInfo:
        """The repo at a revision; None asks for its default branch.

        Raises:
            ModelNotFoundError: there is no such repo or revision, or not for this caller.
            RegistryError: the hub cannot be reached, or its answer cannot be used.
        """
        subject = f"{repo} at {revision}" if revision else repo
        path = f"/api/models/{repo}" + (f"/revision/{quote(revision, safe='')}" if revision else "")
        info = responses.repo_info(self._ask(path, subject, repo)[0], subject)
        if revision and names.is_commit(revision) and info.commit != revision:
            raise RegistryError(f"{subject}: the hub answers with another commit, {info.commit}")
        if info.disabled:
            raise refusal(
                403,
                {"X-Error-Message": "Access to this resource is disabled."},
                endpoint=self.endpoint,
                subject=repo,
                repo=repo,
                token_source=self._token_source,
            )
        return info

    def refs(self, repo: str) -> tuple[Ref, ...]:
        """All tags and branches.

        Raises:
            RegistryError: as ``info``.
        """
        subject = f"the versions of {repo}"
        return responses.refs(self._ask(f"/api/models/{repo}/refs", subject, repo)[0], subject)

    def tree(self, repo: str, commit: str) -> tuple[RemoteFile, ...]:
        """All files of a commit, over all pages.

        Raises:
            RegistryError: as ``info``; also when the pages leave the hub or do not end.
        """
        subject = f"the files of {repo} at {commit[:12]}"
        files: dict[str, RemoteFile] = {}
        url = f"/api/models/{repo}/tree/{commit}?recursive=true"
        for _ in range(_MOST_PAGES):
            page, following = self._ask(url, subject, repo)
            for file in responses.tree_files(page, subject):
                if file.path in files:
                    raise RegistryError(f"{subject}: the hub lists {file.path} twice")
                files[file.path] = file
            if following is None:
                return tuple(files.values())
            url = following
        raise RegistryError(f"{subject}: more than {_MOST_PAGES} pages")

    def check_access(self, repo: str) -> None:
        """Whether this caller may download from a gated repo.

        Raises:
            RegistryError: with AUTHENTICATION_ERROR and the page to visit, when not.
        """
        self._request(f"/api/models/{repo}/auth-check", repo, repo, lambda _: None)

    def file_url(self, repo: str, commit: str, path: str) -> str:
        """Where a file's bytes are asked for, at every attempt anew."""
        return f"{self.endpoint}/{repo}/resolve/{commit}/{quote(path)}"

    def refused(self, answer: Any, subject: str, repo: str | None) -> RegistryError:
        """The error for an answer that is no success."""
        return refusal(
            answer.status,
            answer.headers,
            endpoint=self.endpoint,
            subject=subject,
            repo=repo,
            token_source=self._token_source if origin(answer.url) == origin(self.endpoint) else None,
        )

    def _ask(self, path: str, subject: str, repo: str) -> tuple[Any, str | None]:
        def read(answer: Any) -> tuple[bytes, str | None]:
            return answer.body(_LONGEST_ANSWER, _API_SECONDS), _next_page(answer, subject)

        data, following = self._request(path, subject, repo, read)
        return responses.parse_json(data, subject), following

    def _request(self, path: str, subject: str, repo: str, read: Callable[[Any], Any]) -> Any:
        def attempt() -> Any:
            # Joined by hand: an endpoint may carry a path, which urljoin would drop.
            url = path if path.startswith(("http://", "https://")) else self.endpoint + path
            with self.http.request("GET", url) as answer:
                if answer.status != _OK:
                    raise self.refused(answer, subject, repo)
                return read(answer)

        return Patience(self._wait).attempt(attempt)


def _next_page(answer: Any, subject: str) -> str | None:
    """The address after ``rel="next"``; it must stay on the origin that was asked."""
    match = _NEXT.search(answer.headers.get("Link", ""))
    if match is None:
        return None
    try:
        target = urljoin(answer.url, match[1])
        elsewhere = origin(target) != origin(answer.url)
    except ValueError:
        raise RegistryError(f"{subject}: the hub's next page has no usable address") from None
    if elsewhere:
        raise RegistryError(f"{subject}: the hub's next page is on another host")
    return str(target)
