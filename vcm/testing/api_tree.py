"""API answers about the files of a revision: tree, paths-info and treesize."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from vcm.testing.access import MASK, bad_request, folder_missing
from vcm.testing.listing import after_cursor, cursor_for, next_link, page_limit
from vcm.testing.wire import is_true, json_response

if TYPE_CHECKING:
    from collections.abc import Iterable

    from vcm.testing.repository import Commit, SimulatedRepo
    from vcm.testing.wire import Request, Response

EXPANDED_PAGE = 50
"""Entries on a page of an expanded tree."""

PATHS_LIMIT = 2000
"""Paths in one paths-info request."""

_SCANS = ("avScan", "pickleImportScan", "jFrogScan", "protectAiScan", "virusTotalScan")


class Entries:
    """Makes the entries that tree and paths-info share.

    Args:
        repo: the repository.
        commit: what the revision resolved to.
        expand: whether entries tell of their last commit and security scan.
        masked: whether the digests of LFS files are hidden from the caller.
    """

    def __init__(self, repo: SimulatedRepo, commit: Commit, *, expand: bool, masked: bool) -> None:
        self._repo = repo
        self._commit = commit
        self._masked = masked
        self._history = repo.history(commit) if expand else []

    def entry(self, path: str) -> dict[str, Any]:
        """Return the entry of a file or folder that the commit has."""
        stored = self._commit.files.get(path)
        if stored is None:
            folder = {"type": "directory", "oid": self._commit.folders[path], "size": 0, "path": path}
            return folder | self._last_commit(path)
        entry: dict[str, Any] = {"type": "file", "oid": stored.oid, "size": stored.size}
        if stored.is_lfs:
            oid = MASK if self._masked else stored.sha256
            entry["lfs"] = {"oid": oid, "size": stored.size, "pointerSize": stored.pointer_size}
        return entry | {"path": path} | self._last_commit(path) | self._security(path)

    def _last_commit(self, path: str) -> dict[str, Any]:
        if not self._history:
            return {}
        last = self._history[0]
        for older in self._history[1:]:
            if older.oid_of(path) != last.oid_of(path):
                break
            last = older
        return {"lastCommit": {"id": last.id, "title": last.title, "date": last.date}}

    def _security(self, path: str) -> dict[str, Any]:
        if not self._history:
            return {}
        status = self._repo.issues.get(path, "safe")
        return {"securityFileStatus": {"status": status} | {name: {"status": status} for name in _SCANS}}


def tree(
    request: Request, repo: SimulatedRepo, commit: Commit, where: tuple[str, str], *, masked: bool, page_size: int
) -> Response:
    """Answer ``GET /api/models/{id}/tree/{rev}[/{path}]``.

    Args:
        request: its query may hold ``recursive``, ``expand``, ``limit`` and ``cursor``.
        repo: the repository.
        commit: what the revision resolved to.
        where: the revision as asked and the folder's path, empty for the root.
        masked: whether the digests of LFS files are hidden from the caller.
        page_size: the greatest number of entries in an answer.

    Raises:
        Refusal: the folder does not exist, or ``limit`` or ``cursor`` make no sense.
    """
    revision, folder = where
    if folder not in commit.folders:
        raise folder_missing(folder, revision)
    expand = request.flag("expand")
    limit = page_limit(request, min(page_size, EXPANDED_PAGE) if expand else page_size)
    paths = _below(commit, folder, recursive=request.flag("recursive"))
    rest = after_cursor(request, paths, str)
    entries = Entries(repo, commit, expand=expand, masked=masked)
    headers = {}
    if len(rest) > limit:
        cursor = cursor_for(rest[limit - 1], commit.folders[folder], limit)
        headers["Link"] = next_link(request, {"limit": str(limit), "cursor": cursor})
    return json_response([entries.entry(path) for path in rest[:limit]], headers)


def paths_info(request: Request, repo: SimulatedRepo, commit: Commit, *, masked: bool) -> Response:
    """Answer ``POST /api/models/{id}/paths-info/{rev}``; unknown paths are left out in silence.

    Args:
        request: its body is a form or JSON with ``paths`` and ``expand``.
        repo: the repository.
        commit: what the revision resolved to.
        masked: whether the digests of LFS files are hidden from the caller.

    Raises:
        Refusal: the body makes no sense or names too many paths.
    """
    paths, expand = _asked_paths(request)
    if len(paths) > PATHS_LIMIT:
        raise bad_request(f'"paths" must hold at most {PATHS_LIMIT} items')
    entries = Entries(repo, commit, expand=expand, masked=masked)
    cleaned = dict.fromkeys(path.strip("/") for path in paths)
    known = [path for path in cleaned if path in commit.files or (path and path in commit.folders)]
    return json_response([entries.entry(path) for path in known])


def tree_size(commit: Commit, where: tuple[str, str]) -> Response:
    """Answer ``GET /api/models/{id}/treesize/{rev}/{path}``: the bytes below a path.

    Args:
        commit: what the revision resolved to.
        where: the revision as asked and the path, empty for the root.

    Raises:
        Refusal: the path does not exist.
    """
    revision, path = where
    if path in commit.files:
        return json_response({"path": path, "size": commit.files[path].size})
    if path not in commit.folders:
        raise folder_missing(path, revision)
    prefix = path and f"{path}/"
    size = sum(stored.size for name, stored in commit.files.items() if name.startswith(prefix))
    return json_response({"path": path or "/", "size": size})


def _below(commit: Commit, folder: str, *, recursive: bool) -> list[str]:
    prefix = folder and f"{folder}/"
    everything: Iterable[str] = (*commit.files, *(name for name in commit.folders if name))
    below = [path for path in everything if path.startswith(prefix)]
    return sorted(path for path in below if recursive or "/" not in path[len(prefix) :])


def _asked_paths(request: Request) -> tuple[list[str], bool]:
    try:
        if request.headers.get("content-type", "").startswith("application/json"):
            asked = json.loads(request.body)
            return [str(path) for path in asked["paths"]], bool(asked.get("expand", False))
        form = parse_qs(request.body.decode(), keep_blank_values=True)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise bad_request('"paths" is required') from error
    paths = [path for name in ("paths", "paths[]") for path in form.get(name, [])]
    return paths, is_true(form.get("expand", ["false"])[0])
