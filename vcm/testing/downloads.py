"""The Hub's routes to file contents: ``/resolve/``, ``/raw/`` and ``/api/resolve-cache/``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol
from urllib.parse import quote

from vcm.testing.access import (
    OPEN_FILES,
    bad_request,
    file_missing,
    has_access,
    require_contents,
    require_enabled,
    require_gate,
    revision_missing,
)
from vcm.testing.content import store
from vcm.testing.repository import COMMIT_ID
from vcm.testing.wire import Response, file_response, holds, not_modified, redirect

if TYPE_CHECKING:
    from vcm.testing.content import StoredFile
    from vcm.testing.repository import Commit, SimulatedRepo
    from vcm.testing.wire import Request


class Sign(Protocol):
    """Makes signed CDN URLs."""

    def __call__(self, stored: StoredFile, repo_id: str, name: str) -> str:
        """Return the absolute URL of an LFS file, given the internal repository id and the file's name."""


def resolve(
    request: Request, repo: SimulatedRepo, caller: str | None, where: tuple[str, str, str], sign: Sign
) -> Response:
    """Answer ``/{id}/resolve/{rev}/{path}`` in one of its three shapes.

    An LFS file is a 302 to the CDN. A small file is a relative 307 to ``/api/resolve-cache/``, or a 200 when it is
    empty, gated, private, or in a repository without a namespace.

    Args:
        request: the request.
        repo: the repository.
        caller: the caller's token, or None.
        where: the repository's name as asked, the revision and the file's path.
        sign: makes signed CDN URLs.

    Raises:
        Refusal: the file does not exist or is withheld from the caller.
    """
    asked_name, revision, path = where
    if path not in OPEN_FILES:
        require_gate(repo, caller)
    require_enabled(repo)
    commit = _commit(repo, revision)
    stored = _file(commit, path)
    if stored.is_lfs:
        return _to_cdn(request, repo, commit, path, sign)
    is_direct = repo.private or repo.gated or not stored.size or "/" not in asked_name
    if is_direct or holds(request, f'"{stored.oid}"'):
        return _direct(request, commit, path, stored)
    origin = quote(f"/{asked_name}/resolve/{revision}/{path}", safe="")
    location = f"/api/resolve-cache/models/{repo.id}/{commit.id}/{quote(path)}?{origin}=&etag=%22{stored.oid}%22"
    headers = _file_headers(commit, path) | {"X-Linked-Etag": f'"{stored.oid}"', "Accept-Ranges": "bytes"}
    return redirect(307, location, headers)


def resolve_cache(
    request: Request, repo: SimulatedRepo, caller: str | None, where: tuple[str, str], sign: Sign
) -> Response:
    """Answer ``/api/resolve-cache/models/{id}/{commit}/{path}``.

    Args:
        request: the request.
        repo: the repository.
        caller: the caller's token, or None.
        where: a full commit id and the file's path.
        sign: makes signed CDN URLs.

    Raises:
        Refusal: the revision is not a commit id, or the file does not exist or is withheld from the caller.
    """
    revision, path = where
    require_contents(repo, caller)
    if not COMMIT_ID.fullmatch(revision):
        raise bad_request("Invalid commit hash")
    commit = _commit(repo, revision)
    stored = _file(commit, path)
    if stored.is_lfs:
        return _to_cdn(request, repo, commit, path, sign)
    return _direct(request, commit, path, stored)


def raw(request: Request, repo: SimulatedRepo, caller: str | None, where: tuple[str, str]) -> Response:
    """Answer ``/{id}/raw/{rev}/{path}``: what git holds, which is the pointer of an LFS file.

    Args:
        request: the request.
        repo: the repository.
        caller: the caller's token, or None.
        where: the revision and the file's path.

    Raises:
        Refusal: the file does not exist or is withheld from the caller.
    """
    revision, path = where
    require_contents(repo, caller)
    commit = _commit(repo, revision)
    stored = _file(commit, path)
    in_git = store(stored.pointer, is_lfs=False) if stored.is_lfs else stored
    return file_response(request, in_git, _file_headers(commit, path) | {"ETag": f'"{in_git.oid}"'})


def auth_check(repo: SimulatedRepo, caller: str | None) -> Response:
    """Answer ``/api/models/{id}/auth-check``: whether the caller may download.

    Raises:
        Refusal: the caller may not.
    """
    require_contents(repo, caller)
    return Response(200, {"Content-Type": "text/plain; charset=utf-8"}, b"OK")


def is_masked(repo: SimulatedRepo, caller: str | None) -> bool:
    """Say whether the digests of LFS files are hidden from a caller."""
    return bool(repo.gated) and not has_access(repo, caller)


def _commit(repo: SimulatedRepo, revision: str) -> Commit:
    commit = repo.find(revision)
    if commit is None:
        raise revision_missing(revision)
    return commit


def _file(commit: Commit, path: str) -> StoredFile:
    if path not in commit.files:
        raise file_missing(commit.id)
    return commit.files[path]


def _to_cdn(request: Request, repo: SimulatedRepo, commit: Commit, path: str, sign: Sign) -> Response:
    stored = commit.files[path]
    etag = f'"{stored.sha256}"'
    linked = {"X-Repo-Commit": commit.id, "X-Linked-Etag": etag, "X-Linked-Size": str(stored.size)}
    if holds(request, etag):
        return Response(304, linked | {"ETag": etag})
    location = sign(stored, repo.repo_id, path.rpartition("/")[2])
    return redirect(302, location, linked | {"Accept-Ranges": "bytes", "Cache-Control": "no-store"})


def _direct(request: Request, commit: Commit, path: str, stored: StoredFile) -> Response:
    headers = _file_headers(commit, path) | {"ETag": f'"{stored.oid}"'}
    return not_modified(request, file_response(request, stored, headers))


def _file_headers(commit: Commit, path: str) -> dict[str, str]:
    name = path.rpartition("/")[2]
    return {
        "Content-Type": "text/plain; charset=utf-8",
        "X-Repo-Commit": commit.id,
        "Content-Disposition": f"inline; filename*=UTF-8''{quote(name, safe='')}; filename=\"{name}\";",
        "Content-Security-Policy": "default-src 'none'; sandbox",
    }
