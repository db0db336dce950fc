"""API answers about a whole repository: model info, search, security scan, and who is asking."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from vcm.testing.access import MASK, bad_request
from vcm.testing.listing import after_cursor, cursor_for, next_link, page_limit
from vcm.testing.wire import json_response

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vcm.testing.content import StoredFile
    from vcm.testing.repository import Commit, SimulatedRepo
    from vcm.testing.wire import Request, Response

EXPANDABLE = frozenset(
    {
        "author", "baseModels", "cardData", "childrenModelCount", "config", "createdAt", "disabled", "downloads",
        "downloadsAllTime", "evalResults", "gated", "gguf", "inference", "inferenceProviderMapping", "lastModified",
        "library_name", "likes", "mask_token", "model-index", "pipeline_tag", "private", "resourceGroup",
        "safetensors", "sha", "siblings", "spaces", "tags", "transformersInfo", "trendingScore", "usedStorage",
        "widgetData",
    }
)  # fmt: skip
"""The fields that ``expand`` may name."""

_ONLY_EXPANDED = {"downloadsAllTime": 0, "trendingScore": 0, "evalResults": [], "resourceGroup": None}
_LISTED = (
    "_id", "id", "likes", "private", "downloads", "tags", "pipeline_tag", "library_name", "createdAt", "modelId",
)  # fmt: skip
_LISTED_FULL = ("author", "sha", "lastModified", "gated", "disabled", "siblings")


def model_info(request: Request, repo: SimulatedRepo, commit: Commit, *, masked: bool) -> Response:
    """Answer ``GET /api/models/{id}[/revision/{rev}]``.

    Args:
        request: its query may hold ``blobs``, ``securityStatus`` or ``expand``.
        repo: the repository.
        commit: what the revision resolved to.
        masked: whether the digests of LFS files are hidden from the caller.

    Raises:
        Refusal: ``expand`` names a field that does not exist.
    """
    described = describe(repo, commit)
    described["siblings"] = [
        _sibling(path, stored, blobs=request.flag("blobs"), masked=masked) for path, stored in commit.files.items()
    ]
    expanded = request.query.get("expand")
    if expanded is not None:
        return json_response(_expand(described, expanded))
    if request.flag("securityStatus"):
        described["securityRepoStatus"] = scan(repo)
    return json_response(described)


def search(request: Request, repos: list[SimulatedRepo], page_size: int) -> Response:
    """Answer ``GET /api/models``: repositories by part of their name, author or tags.

    Args:
        request: its query may hold ``search``, ``author``, ``filter``, ``full``, ``limit`` and ``cursor``.
        repos: those the caller may know of, in the order of their names.
        page_size: the greatest number of entries in an answer.

    Raises:
        Refusal: ``limit`` or ``cursor`` make no sense.
    """
    found = []
    for repo in repos:
        commit = repo.find("main")
        if commit is None:
            continue
        described = describe(repo, commit)
        described["siblings"] = [{"rfilename": path} for path in commit.files]
        if _is_wanted(request, described):
            found.append(described)
    limit = page_limit(request, page_size)
    rest = after_cursor(request, found, lambda item: str(item["id"]))
    fields = _LISTED + (_LISTED_FULL if request.flag("full") else ())
    shown = [{name: item[name] for name in fields if name in item} for item in rest[:limit]]
    headers = {}
    if len(rest) > limit:
        headers["Link"] = next_link(request, {"limit": str(limit), "cursor": cursor_for(shown[-1]["id"], "", limit)})
    return json_response(shown, headers)


def scan(repo: SimulatedRepo) -> dict[str, Any]:
    """Return the security scan's summary, from the repository's ``issues``."""
    issues = [{"path": path, "level": level} for path, level in sorted(repo.issues.items())]
    return {"scansDone": True, "filesWithIssues": issues}


def who_am_i(caller: str) -> Response:
    """Answer ``GET /api/whoami-v2`` for a known token."""
    token = {"displayName": "simulated", "role": "read", "createdAt": "2026-01-01T00:00:00.000Z"}
    name = f"user-{hashlib.sha256(caller.encode()).hexdigest()[:8]}"
    return json_response(
        {"type": "user", "id": "0" * 24, "name": name, "fullname": name, "isPro": False, "orgs": []}
        | {"auth": {"type": "access_token", "accessToken": token}}
    )


def describe(repo: SimulatedRepo, commit: Commit) -> dict[str, Any]:
    """Return the fields of model info except the files.

    Args:
        repo: the repository.
        commit: the commit that ``sha`` and ``lastModified`` tell of.
    """
    card = repo.card if commit.card is None else commit.card
    library = card.get("library_name")
    task = repo.pipeline_tag or card.get("pipeline_tag")
    author, slash, _ = repo.id.rpartition("/")
    described = {
        "_id": repo.repo_id,
        "id": repo.id,
        "private": repo.private,
        "pipeline_tag": task,
        "library_name": library,
        "tags": _tags(card, commit, task),
        "downloads": 0,
        "likes": 0,
        "modelId": repo.id,
        "author": author if slash else None,
        "sha": commit.id,
        "lastModified": commit.date,
        "gated": repo.gated,
        "disabled": repo.disabled,
        "widgetData": [],
        "model-index": None,
        "config": {},
        "cardData": card,
        "transformersInfo": {},
        "spaces": [],
        "createdAt": repo.created_at,
        "usedStorage": _used_storage(repo),
    }
    # These four are left out rather than null where a repository has none.
    absent = {name for name in ("pipeline_tag", "library_name", "author") if described[name] is None}
    return {name: value for name, value in described.items() if name not in absent}


def _expand(described: dict[str, Any], names: list[str]) -> dict[str, Any]:
    if unknown := set(names) - EXPANDABLE:
        raise bad_request(f'"expand" must be one of {sorted(EXPANDABLE)}, not {sorted(unknown)}')
    available = {**_ONLY_EXPANDED, **described}
    return {name: available[name] for name in ("_id", "id", *names) if name in available}


def _sibling(path: str, stored: StoredFile, *, blobs: bool, masked: bool) -> dict[str, Any]:
    sibling: dict[str, Any] = {"rfilename": path}
    if blobs:
        sibling |= {"blobId": stored.oid, "size": stored.size}
        if stored.is_lfs:
            sha256 = MASK if masked else stored.sha256
            sibling["lfs"] = {"sha256": sha256, "size": stored.size, "pointerSize": stored.pointer_size}
    return sibling


def _tags(card: Mapping[str, Any], commit: Commit, task: str | None) -> list[str]:
    computed = [str(name) for name in (card.get("library_name"), task) if name]
    computed += _texts(card.get("tags"))
    for name in _texts(card.get("base_model")):
        computed += [f"base_model:{name}", f"base_model:{_relation(card, commit)}:{name}"]
    computed += [f"license:{name}" for name in _texts(card.get("license"))]
    return list(dict.fromkeys([*computed, "region:us"]))


def _relation(card: Mapping[str, Any], commit: Commit) -> str:
    """Return what a model is to its base: as its card says, else as its files tell."""
    if stated := card.get("base_model_relation"):
        return str(stated)
    if "adapter_config.json" in commit.files:
        return "adapter"
    return "quantized" if any(path.endswith(".gguf") for path in commit.files) else "finetune"


def _texts(value: object) -> list[str]:
    if value is None:
        return []
    return [str(item) for item in value] if isinstance(value, list) else [str(value)]


def _used_storage(repo: SimulatedRepo) -> int:
    stored = {file.sha256: file.size for commit in repo.commits.values() for file in commit.files.values()}
    return sum(stored.values())


def _is_wanted(request: Request, described: dict[str, Any]) -> bool:
    wanted_tags = {tag for value in request.query.get("filter", []) for tag in value.split(",") if tag}
    author = request.value("author")
    return (
        request.value("search").lower() in described["id"].lower()
        and author.lower() in ("", described.get("author", "").lower())
        and wanted_tags <= set(described["tags"])
    )
