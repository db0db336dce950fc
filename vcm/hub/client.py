"""The hub's API: the few questions that locking asks."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from copy import copy
from dataclasses import replace
from typing import Any, NoReturn, Self, TypeVar
from urllib.parse import quote, urlencode, urljoin

from vcm.core import names
from vcm.core.metadata import KeptAnswer, Ref, RemoteFile, RepoInfo
from vcm.core.wording import short_commit
from vcm.errors import AUTHENTICATION_ERROR, RegistryError
from vcm.http.addresses import origin
from vcm.http.body import Answer
from vcm.http.client import Address, HttpClient
from vcm.http.faults import NetworkFaultError
from vcm.http.retries import Patience, Wait
from vcm.hub import responses
from vcm.hub.answers import Answers, Caching, Question
from vcm.hub.refusals import refusal

_LONGEST_ANSWER = 64 << 20
"""Bytes. A tree page of 1,000 files has some 300 kB; a card can be large, but not like this."""
_API_SECONDS = 120.0
_MOST_PAGES = 1000
_MOST_FOUND = 20
_OK = 200
_NOT_MODIFIED = 304
# Not requests' parser: it ends an address at the first semicolon and then misses what follows.
_NEXT = re.compile(r'<([^>]*)>[^<]*;\s*rel\s*=\s*"?next\b', re.IGNORECASE)


Value = TypeVar("Value")


class HubClient:
    """Asks one hub, and remembers what it said. It may be used by several threads.

    Args:
        http: the way there; where it is offline, known answers of any age do.
        address: the hub.
        token_source: where the token came from, for messages.
        wait: rests between attempts.
        caching: how known answers are used; by default none are kept.
    """

    def __init__(
        self,
        http: HttpClient,
        address: Address,
        *,
        token_source: str | None,
        wait: Wait,
        caching: Caching | None = None,
    ) -> None:
        self.http = http
        self.endpoint = address.endpoint
        self._token_source = token_source if address.token else None
        self._wait = wait
        caching = caching or Caching()
        self._clock = caching.clock
        self._answers = Answers(caching, offline=http.is_offline, with_token=address.token is not None)

    def reused(self, repo: str) -> bool:
        """Whether this client said something of the repo that nobody asked the hub in this run."""
        return self._answers.reused(repo)

    def revalidating(self) -> Self:
        """A client of the same run, for which an answer that is older than the run has to be confirmed by the hub.

        What was fetched in this run is not asked again. Where nobody can be asked, it says what this one does.
        """
        return self._with(self._answers.asking("revalidate"))

    def refreshing(self) -> Self:
        """The same, but what is older than the run counts for nothing, whatever the hub says of it."""
        return self._with(self._answers.asking("refresh"))

    def _with(self, answers: Answers) -> Self:
        other = copy(self)
        other._answers = answers  # noqa: SLF001
        return other

    def info(self, repo: str, revision: str | None) -> RepoInfo:
        """The repo at a revision; None asks for its default branch.

        Raises:
            ModelNotFoundError: there is no such repo or revision, or not for this caller.
            RegistryError: the hub cannot be reached, or its answer cannot be used.
        """
        subject = f"{repo} at {revision}" if revision else repo
        path = f"/api/models/{repo}"
        at_revision = f"{path}/revision/"

        def read(value: Any) -> RepoInfo:
            info = responses.repo_info(value, subject)
            if revision and names.is_commit(revision) and info.commit != revision:
                raise RegistryError(f"{subject}: the hub answers with another commit, {info.commit}")
            if info.disabled:
                error = refusal(
                    403,
                    {"X-Error-Message": "Access to this resource is disabled."},
                    endpoint=self.endpoint,
                    subject=repo,
                    repo=repo,
                    token_source=self._token_source,
                )
                if info.new_version:
                    error.hint += f"; its card names a successor: {info.new_version}"
                raise error
            return info

        def at_commit(info: RepoInfo) -> str | None:
            return None if info.commit == revision else f"{self.endpoint}{at_revision}{info.commit}"

        question = self._question(at_revision + quote(revision, safe="") if revision else path, repo, subject, read)
        # A model that is locked will be asked for by its commit.
        return self._find(replace(question, same_as=at_commit))[0]

    def refs(self, repo: str) -> tuple[Ref, ...]:
        """All tags and branches.

        Raises:
            RegistryError: as ``info``.
        """
        subject = f"the versions of {repo}"
        question = self._question(
            f"/api/models/{repo}/refs", repo, subject, lambda value: responses.refs(value, subject)
        )
        return self._find(question)[0]

    def tree(self, repo: str, commit: str) -> tuple[RemoteFile, ...]:
        """All files of a commit, over all pages.

        Raises:
            RegistryError: as ``info``; also when the pages leave the hub or do not end.
        """
        subject = f"the files of {repo} at {short_commit(commit)}"
        files: list[RemoteFile] = []
        path = f"/api/models/{repo}/tree/{commit}?recursive=true"
        for _ in range(_MOST_PAGES):
            question = self._question(path, repo, subject, lambda value: responses.tree_files(value, subject))
            page, following = self._find(
                replace(
                    question,
                    is_lasting=names.is_commit(commit),
                    # With access granted it would hold the digests.
                    is_whole=lambda page: not any(file.masked for file in page),
                )
            )
            files += page
            if following is None:
                return tuple(responses.distinct(files, subject))
            path = following
        raise RegistryError(f"{subject}: more than {_MOST_PAGES} pages")

    def commit_date(self, repo: str, commit: str) -> str | None:
        """When a commit was made, as the Hub writes it; None where the hub does not say.

        Raises:
            NetworkFaultError: the hub cannot be reached.
        """
        subject = f"the date of {repo} at {short_commit(commit)}"
        path = f"/api/models/{repo}/commits/{commit}?limit=1"
        question = self._question(path, repo, subject, lambda value: responses.commit_date(value, commit, subject))
        try:
            return self._find(replace(question, is_lasting=names.is_commit(commit)))[0]
        except NetworkFaultError:
            raise
        except RegistryError:
            return None

    def search(self, text: str, author: str | None = None) -> tuple[str, ...]:
        """Ids of repos that the hub finds for a text, the best first; none where it refuses to search.

        Args:
            text: words of the name.
            author: whose repos; None for everybody's.

        Raises:
            NetworkFaultError: the hub cannot be reached.
        """
        words = {"search": text, "limit": str(_MOST_FOUND)} | ({"author": author} if author else {})
        url = f"{self.endpoint}/api/models?{urlencode(words)}"
        try:
            found = self._request(
                url, f'the search for "{text}"', None, lambda answer: answer.body(_LONGEST_ANSWER, _API_SECONDS)
            )
            return responses.repo_ids(responses.parse_json(found, url), url)[:_MOST_FOUND]
        except NetworkFaultError:
            raise
        except RegistryError:
            return ()

    def check_access(self, repo: str) -> None:
        """Whether this caller may download from a gated repo.

        Raises:
            RegistryError: with AUTHENTICATION_ERROR and the page to visit, when not.
        """
        self._request(f"{self.endpoint}/api/models/{repo}/auth-check", repo, repo, lambda _: None)

    def refuse_masked(self, repo: str) -> NoReturn:
        """Say why the hub hides the digests of a repo's files from this caller.

        Raises:
            RegistryError: always.
        """
        self.check_access(repo)
        raise RegistryError(f"{repo}: the hub hides the digests of this repo's files", error_code=AUTHENTICATION_ERROR)

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

    def _question(self, path: str, repo: str, subject: str, meaning: Callable[[Any], Value]) -> Question[Value]:
        def read(answer: KeptAnswer) -> Value:
            self._check_next_page(answer.following, subject)
            return meaning(responses.parse_json(answer.body, subject))

        # Joined by hand: an endpoint may carry a path, which urljoin would drop.
        address = path if path.startswith(("http://", "https://")) else self.endpoint + path
        return Question(address=address, repo=repo, subject=subject, read=read)

    def _find(self, question: Question[Value]) -> tuple[Value, str | None]:
        def fetch(etag: str | None) -> KeptAnswer | None:
            def read(answer: Answer) -> KeptAnswer | None:
                if answer.status == _NOT_MODIFIED:
                    return None
                return KeptAnswer(
                    address=question.address,
                    fetched=int(self._clock()),
                    body=answer.body(_LONGEST_ANSWER, _API_SECONDS),
                    etag=answer.headers.get("ETag"),
                    following=_next_page(answer, question.subject),
                )

            headers = {"If-None-Match": etag} if etag else {}
            return self._request(question.address, question.subject, question.repo, read, headers)

        return self._answers.find(question, fetch)

    def _request(
        self,
        url: str,
        subject: str,
        repo: str | None,
        read: Callable[[Answer], Value],
        headers: Mapping[str, str] | None = None,
    ) -> Value:
        def attempt() -> Value:
            with self.http.request("GET", url, headers) as answer:
                if answer.status != _OK and not (headers and answer.status == _NOT_MODIFIED):
                    raise self.refused(answer, subject, repo)
                return read(answer)

        return Patience(self._wait).attempt(attempt)

    def _check_next_page(self, address: str | None, subject: str) -> None:
        try:
            elsewhere = address is not None and origin(address) != origin(self.endpoint)
        except ValueError:
            raise RegistryError(f"{subject}: the hub's next page has no usable address") from None
        if elsewhere:
            raise RegistryError(f"{subject}: the hub's next page is on another host")


def _next_page(answer: Answer, subject: str) -> str | None:
    """The address after ``rel="next"``."""
    match = _NEXT.search(answer.headers.get("Link", ""))
    try:
        return str(urljoin(answer.url, match[1])) if match else None
    except ValueError:
        raise RegistryError(f"{subject}: the hub's next page has no usable address") from None
