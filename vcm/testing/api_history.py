"""API answers about branches, tags and commits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vcm.testing.listing import next_link, page_limit, whole_number
from vcm.testing.wire import json_response

if TYPE_CHECKING:
    from vcm.testing.repository import Commit, SimulatedRepo
    from vcm.testing.wire import Request, Response

COMMITS_PAGE = 50
"""Commits on a page."""

_PULL_REQUEST = "refs/pr/"
_CONVERT = "refs/convert/"


def refs(request: Request, repo: SimulatedRepo) -> Response:
    """Answer ``GET /api/models/{id}/refs``.

    Args:
        request: its query may hold ``include_prs``.
        repo: the repository.
    """
    special = (_PULL_REQUEST, _CONVERT)
    plain = {name: commit for name, commit in repo.branches.items() if not name.startswith(special)}
    answer = {
        "tags": _references("refs/tags/", repo.tags),
        "branches": _references("refs/heads/", plain),
        "converts": _special(repo, _CONVERT),
    }
    if request.flag("include_prs"):
        answer["pullRequests"] = _special(repo, _PULL_REQUEST)
    return json_response(answer)


def commits(request: Request, repo: SimulatedRepo, commit: Commit) -> Response:
    """Answer ``GET /api/models/{id}/commits/{rev}``, newest first.

    Args:
        request: its query may hold ``limit``, ``p`` (the page, from 0) and ``expand``.
        repo: the repository.
        commit: what the revision resolved to.

    Raises:
        Refusal: ``limit`` or ``p`` make no sense.
    """
    history = repo.history(commit)
    limit = page_limit(request, COMMITS_PAGE)
    page = whole_number(request, "p", 0, minimum=0)
    formatted = "formatted" in request.query.get("expand", [])
    shown = history[page * limit : (page + 1) * limit]
    headers = {"X-Total-Count": str(len(history))}
    if len(history) > (page + 1) * limit:
        headers["Link"] = next_link(request, {"p": str(page + 1), "limit": str(limit)})
    return json_response([_item(repo, item, formatted=formatted) for item in shown], headers)


def _references(prefix: str, targets: dict[str, str]) -> list[dict[str, str]]:
    return [{"name": name, "ref": prefix + name, "targetCommit": targets[name]} for name in sorted(targets)]


def _special(repo: SimulatedRepo, prefix: str) -> list[dict[str, str]]:
    return _references(prefix, {n.removeprefix(prefix): c for n, c in repo.branches.items() if n.startswith(prefix)})


def _item(repo: SimulatedRepo, commit: Commit, *, formatted: bool) -> dict[str, Any]:
    description = commit.message.partition("\n")[2]
    user = repo.id.partition("/")[0]
    item: dict[str, Any] = {
        "id": commit.id,
        "title": commit.title,
        "message": description,
        "authors": [{"user": user, "avatar": f"/avatars/{user}.svg"}],
        "date": commit.date,
    }
    if formatted:
        item["formatted"] = {"title": commit.title, "message": description}
    return item
