"""The Hub's API below ``/api/models``, as far as clients that download ask it; pure.

Which answer has which fields: https://huggingface.co/docs/hub/api, and what huggingface_hub reads of them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from vcm.core.layout import DEFAULT_BRANCH
from vcm.core.versions import version_of
from vcm.serve.catalog import Catalog, Commit, Repo
from vcm.serve.wire import Answer, RefusedError, Request, document, json_answer

_PATHS_INFO = "paths-info"
_MOST_PATHS = 2000


def is_question(request: Request) -> bool:
    """Whether this is the one kind of POST that only asks: it names more paths than an address can hold."""
    return request.method == "POST" and request.segments[:2] == ("api", "models") and _PATHS_INFO in request.segments


def no_repo() -> RefusedError:
    """The refusal for a repo of which nothing is installed.

    The Hub answers 401 to whoever shows no token; over plain HTTP its own client knows this error by the code alone.
    """
    return RefusedError(404, "Repository not found: it is not installed in this store", "RepoNotFound")


def no_revision() -> RefusedError:
    """The refusal for a branch, tag or commit that is not installed."""
    return RefusedError(404, "Invalid rev id: it is not installed in this store", "RevisionNotFound")


def answer(request: Request, catalog: Catalog, segments: tuple[str, ...]) -> Answer:
    """The answer to a request.

    Args:
        request: the request.
        catalog: what is installed.
        segments: the path's parts behind ``/api/models``.

    Raises:
        RefusedError: the answer is no.
    """
    if not segments:
        return _search(request, catalog)
    repo, rest = catalog.split(segments)
    if repo is None:
        raise no_repo()
    if rest == ("refs",):
        return json_answer(request, _refs(repo))
    if rest == ("auth-check",):
        return document(request, b"OK", "text/plain; charset=utf-8")
    word, revision, *path = [*rest, *_ROUTE[len(rest) :]]
    of_revision = _OF_REVISION.get(word)
    if of_revision is None:
        raise RefusedError(404, "no such page")
    commit = repo.find(revision)
    if commit is None:
        raise no_revision()
    return of_revision(request, repo, commit, "/".join(path))


_ROUTE = ("revision", DEFAULT_BRANCH)
"""What is asked about a repo, and for which revision, where an address does not say."""


def _described(repo: Repo, commit: Commit) -> dict[str, Any]:
    """Model info, without the files: as much of it as a lock knows."""
    model, author = commit.model, repo.id.rpartition("/")[0]
    tags = [model.type, model.license and f"license:{model.license}"]
    known = {"_id": model.repo_id, "author": author or None, "pipeline_tag": model.type}
    return {
        **{name: value for name, value in known.items() if value is not None},
        "id": repo.id,
        "modelId": repo.id,
        "sha": commit.id,
        "private": False,
        "gated": model.gated or False,
        "disabled": False,
        "downloads": 0,
        "likes": 0,
        "tags": [tag for tag in tags if tag],
        "cardData": {"license": model.license} if model.license else {},
    }


def _info(request: Request, repo: Repo, commit: Commit, path: str) -> Answer:
    if path:
        raise RefusedError(404, "no such page")
    siblings = commit.siblings(blobs=request.flag("blobs"))
    return json_answer(request, {**_described(repo, commit), "siblings": siblings})


def _tree(request: Request, _repo: Repo, commit: Commit, path: str) -> Answer:
    entries = commit.entries(path, recursive=request.flag("recursive"))
    if entries is None:
        raise RefusedError(404, "no such folder", "EntryNotFound")
    return json_answer(request, entries)


def _paths_info(request: Request, _repo: Repo, commit: Commit, _path: str) -> Answer:
    asked = _asked_paths(request)
    if len(asked) > _MOST_PATHS:
        raise RefusedError(400, f'"paths" holds more than {_MOST_PATHS} items')
    entries = (commit.entry(path.strip("/")) for path in dict.fromkeys(asked))
    return json_answer(request, [entry for entry in entries if entry is not None])


_OF_REVISION: Mapping[str, Callable[[Request, Repo, Commit, str], Answer]] = {
    "revision": _info,
    "tree": _tree,
    _PATHS_INFO: _paths_info,
}


def _asked_paths(request: Request) -> list[str]:
    try:
        text = request.body.decode()
        if not request.headers.get("content-type", "").startswith("application/json"):
            return request.values(text, "paths")
        paths = json.loads(text)["paths"]
        return [str(path) for path in ([paths] if isinstance(paths, str) else paths)]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise RefusedError(400, '"paths" is required') from error


def _refs(repo: Repo) -> dict[str, Any]:
    """What led to the commits: a name that can be a version is taken for a tag, any other for a branch."""
    main = repo.find(DEFAULT_BRANCH)
    refs = {**({DEFAULT_BRANCH: main.id} if main else {}), **repo.refs}
    tags = [name for name in refs if version_of(name)]
    return {
        "branches": [_ref(name, "heads", refs[name]) for name in refs if name not in tags],
        "converts": [],
        "tags": [_ref(name, "tags", refs[name]) for name in tags],
        "pullRequests": [],
    }


def _ref(name: str, kind: str, commit: str) -> dict[str, str]:
    ref = name if name.startswith("refs/") else f"refs/{kind}/{name}"
    return {"name": name, "ref": ref, "targetCommit": commit}


def _search(request: Request, catalog: Catalog) -> Answer:
    text, author, limit = request.query("search").lower(), request.query("author").lower(), request.query("limit")
    repos = sorted(catalog.repos.values(), key=lambda repo: repo.id)
    found = [repo for repo in repos if text in repo.id.lower() and repo.id.lower().startswith(author and f"{author}/")]
    # Longer numbers are more than any store holds, and Python refuses to read very long ones.
    most = int(limit) if limit.isascii() and limit.isdigit() and len(limit) < len("1000000000") else len(found)
    return json_answer(request, [_described(repo, next(reversed(repo.commits.values()))) for repo in found[:most]])
