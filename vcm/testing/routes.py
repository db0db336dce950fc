"""The routes of the Hub origin: which function answers which path."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

from vcm.testing import api_history, api_info, api_tree, downloads
from vcm.testing.access import (
    Refusal,
    authenticate,
    is_visible,
    page_missing,
    repository_missing,
    require_gate,
    revision_missing,
    too_many_requests,
)
from vcm.testing.rate_limits import RateLimits
from vcm.testing.wire import json_response, not_modified, redirect

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from vcm.testing.registry import Registry
    from vcm.testing.repository import Commit, SimulatedRepo
    from vcm.testing.wire import Request, Response

_MODELS = "/api/models/"
_CACHE = "/api/resolve-cache/models/"
_API_WORDS = frozenset({"revision", "tree", "treesize", "refs", "commits", "paths-info", "auth-check", "scan"})
_FILE_WORDS = frozenset({"resolve", "raw", "blob"})


@dataclass(frozen=True)
class _Asked:
    """A request whose repository is found: the decoded name as asked, and the path segments after it."""

    request: Request
    caller: str | None
    repo: SimulatedRepo
    name: str
    rest: list[str]

    def revision_and_path(self) -> tuple[str, str]:
        """Return what follows the route's word: the revision in one segment, then a path that may hold slashes."""
        return unquote(self.rest[1]), unquote("/".join(self.rest[2:]))


class HubRoutes:
    """Answers the requests to the Hub origin.

    Args:
        registry: the repositories.
        tokens: the tokens that the Hub knows.
        page_size: the greatest number of entries in a listing's page.
        sign: returns the absolute signed URL of an LFS file.

    Attributes:
        limits: counts the requests, and says which are too many.
    """

    def __init__(self, registry: Registry, tokens: Collection[str], page_size: int, sign: downloads.Sign) -> None:
        self._registry = registry
        self._tokens = tokens
        self._page_size = page_size
        self._sign = sign
        self.limits = RateLimits()

    def answer(self, request: Request) -> Response:
        """Answer a request: the route's own answer, or the refusal it raised, with the headers every answer has."""
        is_api = request.path.startswith("/api/")
        caller, refused = self._caller(request)
        counted = self.limits.count(caller, request.path)
        try:
            if counted.is_over:
                raise too_many_requests(caller)
            if refused:
                raise refused
            with self._registry.lock:
                response = self._route(request, caller)
            response = not_modified(request, response) if is_api else response
        except Refusal as refusal:
            response = refusal.response(as_json=is_api)
        trace = request.headers.get("x-amzn-trace-id") or f"Root={uuid.uuid4()}"
        response.set_headers({"X-Request-Id": trace, **counted.headers})
        return response

    def _caller(self, request: Request) -> tuple[str | None, Refusal | None]:
        # Whoever cannot prove who he is counts as nobody, and is counted all the same.
        try:
            return authenticate(request, self._tokens), None
        except Refusal as refusal:
            return None, refusal

    def _route(self, request: Request, caller: str | None) -> Response:
        path = request.path
        if request.method == "POST" and "/paths-info/" not in path:
            raise page_missing()
        if path == "/api/whoami-v2":
            if caller is None:
                raise repository_missing(None)
            return api_info.who_am_i(caller)
        if path.rstrip("/") == "/api/models":
            visible = [repo for repo in self._registry.all() if is_visible(repo, caller)]
            return api_info.search(request, visible, self._page_size)
        if path.startswith(_MODELS):
            return self._below_name(request, caller, _MODELS, _API_WORDS, self._api)
        if path.startswith(_CACHE):
            return self._below_name(request, caller, _CACHE, frozenset(), self._cache)
        if path.startswith("/api/"):
            raise page_missing()
        return self._below_name(request, caller, "/", _FILE_WORDS, self._file)

    def _below_name(
        self,
        request: Request,
        caller: str | None,
        prefix: str,
        words: Collection[str],
        answer: Callable[[_Asked], Response],
    ) -> Response:
        segments = request.path.removeprefix(prefix).rstrip("/").split("/")
        count = self._segments_of_name(segments, words)
        name = unquote("/".join(segments[:count]))
        repo = self._registry.find(name)
        if repo is None or not is_visible(repo, caller):
            raise repository_missing(caller)
        rest = segments[count:]
        # Names from before there were namespaces are served at once by /resolve/, without a redirect.
        is_legacy_file = prefix == "/" and "/" not in name
        if repo.id != name and not is_legacy_file:
            location = prefix + "/".join([quote(repo.id), *rest]) + request.query_string
            return redirect(307, location)
        return answer(_Asked(request, caller, repo, name, rest))

    def _segments_of_name(self, segments: list[str], words: Collection[str]) -> int:
        is_two = len(segments) > 1 and self._registry.find(unquote("/".join(segments[:2]))) is not None
        is_one = self._registry.find(unquote(segments[0])) is not None
        if is_one and not is_two:
            return 1
        # Neither is known: the word of the route tells how long the name must be.
        return 1 if not is_two and segments[1:2] and segments[1] in words else 2

    def _api(self, asked: _Asked) -> Response:
        word = asked.rest[0] if asked.rest else ""
        if word in {"", "revision"}:
            return self._model_info(asked)
        if word == "refs":
            return api_history.refs(asked.request, asked.repo)
        if word == "auth-check":
            return downloads.auth_check(asked.repo, asked.caller)
        if word == "scan":
            return json_response(api_info.scan(asked.repo))
        if len(asked.rest) == 1 or word not in _API_WORDS:
            raise page_missing()
        return self._of_revision(asked, word)

    def _model_info(self, asked: _Asked) -> Response:
        # A revision is one segment: its slashes must be percent-encoded.
        if len(asked.rest) not in (0, 2):
            raise page_missing()
        # It is read from the path alone: ?revision= is ignored, as on the Hub.
        revision = unquote(asked.rest[1]) if asked.rest else "main"
        commit = _commit(asked.repo, revision)
        return api_info.model_info(asked.request, asked.repo, commit, masked=_is_masked(asked))

    def _of_revision(self, asked: _Asked, word: str) -> Response:
        where = asked.revision_and_path()
        if word == "commits":
            require_gate(asked.repo, asked.caller)
        commit = _commit(asked.repo, where[0])
        if word == "commits":
            return api_history.commits(asked.request, asked.repo, commit)
        if word == "treesize":
            return api_tree.tree_size(commit, where)
        masked = _is_masked(asked)
        if word == "tree":
            return api_tree.tree(asked.request, asked.repo, commit, where, masked=masked, page_size=self._page_size)
        if asked.request.method != "POST":
            raise page_missing()
        return api_tree.paths_info(asked.request, asked.repo, commit, masked=masked)

    def _file(self, asked: _Asked) -> Response:
        if len(asked.rest) < 3:  # noqa: PLR2004 - the word, the revision and at least one segment of a path
            raise page_missing()
        revision, path = asked.revision_and_path()
        if asked.rest[0] == "resolve":
            where = (asked.name, revision, path)
            return downloads.resolve(asked.request, asked.repo, asked.caller, where, self._sign)
        if asked.rest[0] == "raw":
            return downloads.raw(asked.request, asked.repo, asked.caller, (revision, path))
        raise page_missing()

    def _cache(self, asked: _Asked) -> Response:
        if not asked.rest:
            raise page_missing()
        where = (unquote(asked.rest[0]), unquote("/".join(asked.rest[1:])))
        return downloads.resolve_cache(asked.request, asked.repo, asked.caller, where, self._sign)


def _commit(repo: SimulatedRepo, revision: str) -> Commit:
    commit = repo.find(revision)
    if commit is None:
        raise revision_missing(revision)
    return commit


def _is_masked(asked: _Asked) -> bool:
    return downloads.is_masked(asked.repo, asked.caller)
