"""What a store offers: repos with their commits, refs and files, out of the models that are installed; pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from vcm.core.digest import git_blob_hash
from vcm.core.layout import DEFAULT_BRANCH, Entry
from vcm.core.lock import LockedFile, LockedModel

_NO_TREE = "0" * 40
"""Git's word for no object: the id of a folder is known to nobody who has not all of its files."""


@dataclass(slots=True)
class Content:
    """Some bytes that are here.

    Attributes:
        places: the files that should hold them: tree digests of snapshots, and the paths there.
    """

    sha256: str
    size: int
    places: list[tuple[str, str]] = field(default_factory=list)


@dataclass(slots=True)
class Commit:
    """What is installed of one commit, from however many snapshots.

    Attributes:
        model: what its last one was installed as.
        files: by path.
    """

    id: str
    model: LockedModel
    files: dict[str, LockedFile] = field(default_factory=dict)

    def entries(self, folder: str, *, recursive: bool) -> list[dict[str, Any]] | None:
        """What a folder holds, as the Hub's ``tree`` lists it; None where there is no such folder."""
        prefix = f"{folder}/" if folder else ""
        below = {path: file for path, file in self.files.items() if path.startswith(prefix)}
        if folder and not below:
            return None
        folders = {prefix + each for path in below for each in _parents(path[len(prefix) :])}
        found = [*map(_entry, below.values()), *map(_folder, folders)]
        return sorted(
            (each for each in found if recursive or "/" not in each["path"][len(prefix) :]),
            key=lambda entry: str(entry["path"]),
        )

    def entry(self, path: str) -> dict[str, Any] | None:
        """One file or folder, as ``tree`` lists it; None where there is none."""
        file = self.files.get(path)
        if file is not None:
            return _entry(file)
        if path and any(each.startswith(f"{path}/") for each in self.files):
            return _folder(path)
        return None

    def siblings(self, *, blobs: bool) -> list[dict[str, Any]]:
        """The files, as model info lists them."""
        return [_sibling(file, blobs=blobs) for file in sorted(self.files.values(), key=lambda file: file.path)]


@dataclass(slots=True)
class Repo:
    """One repo of the Hub of which something is installed.

    Attributes:
        commits: by id, in the order in which they were installed.
        refs: the commit of each branch and tag that led to one here.
    """

    id: str
    commits: dict[str, Commit] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)

    def find(self, revision: str) -> Commit | None:
        """The commit that a branch, a tag or a whole commit id means here.

        ``main`` is what was installed last, where nobody knows what it was.
        """
        commit = self.commits.get(self.refs.get(revision, revision))
        if commit is None and revision == DEFAULT_BRANCH:
            return list(self.commits.values())[-1]
        return commit


class Catalog:
    """All that one state of a store offers.

    Args:
        entries: what its index names, what was installed last at the end.
        locked: models of locks, which tell more of those than an index does: the hub's own id, and the task.
        artifacts: size by SHA-256 of the manifests and configurations.
    """

    def __init__(
        self,
        entries: Iterable[Entry] = (),
        locked: Iterable[LockedModel] = (),
        artifacts: Mapping[str, int] | None = None,
    ) -> None:
        self.repos: dict[str, Repo] = {}
        self.contents = {sha256: Content(sha256, size) for sha256, size in (artifacts or {}).items()}
        self._other_names: dict[str, str] = {}
        known = {(model.repo, model.commit): model for model in locked}
        for entry in entries:
            self._add(entry, known.get((entry.model.repo, entry.model.commit), entry.model))

    def _add(self, entry: Entry, described: LockedModel) -> None:
        model = entry.model
        for file in model.files:
            content = self.contents.setdefault(file.sha256, Content(file.sha256, file.size))
            content.places.append((model.tree_digest, file.path))
        if model.repo is None or model.commit is None:
            return
        repo = self.repos.setdefault(model.repo, Repo(model.repo))
        before = repo.commits.pop(model.commit, None)
        files = before.files if before else {}
        files.update((file.path, file) for file in model.files)
        # Taken out and put back: what was installed last stands last.
        repo.commits[model.commit] = Commit(model.commit, described, files)
        repo.refs.update(dict.fromkeys(entry.refs, model.commit))
        self._other_names.update(dict.fromkeys(entry.asked, model.repo))

    def find(self, name: str) -> Repo | None:
        """The repo of that name."""
        return self.repos.get(name) or self.repos.get(self._other_names.get(name, ""))

    def split(self, segments: tuple[str, ...]) -> tuple[Repo | None, tuple[str, ...]]:
        """The repo that a path begins with, and the rest of the path; a few old repos have no namespace."""
        for count in (2, 1):
            repo = self.find("/".join(segments[:count]))
            if repo is not None:
                return repo, segments[count:]
        return None, segments

    @property
    def gated(self) -> list[str]:
        """The repos whose owners want to know who downloads them."""
        commits = (commit for repo in self.repos.values() for commit in repo.commits.values())
        return sorted({str(commit.model.repo) for commit in commits if commit.model.gated})


def etag_of(file: LockedFile) -> str:
    """What the Hub calls a file's state: its git blob id, in Git LFS its SHA-256. Caches name the file so."""
    return file.oid or file.sha256


def _folder(path: str) -> dict[str, Any]:
    return {"type": "directory", "oid": _NO_TREE, "size": 0, "path": path}


def _entry(file: LockedFile) -> dict[str, Any]:
    entry: dict[str, Any] = {"type": "file", "oid": file.oid, "size": file.size}
    if file.oid is None:
        pointer = _pointer(file)
        entry["oid"] = _blob_id(pointer)
        entry["lfs"] = {"oid": file.sha256, "size": file.size, "pointerSize": len(pointer)}
    return {**entry, "path": file.path}


def _sibling(file: LockedFile, *, blobs: bool) -> dict[str, Any]:
    if not blobs:
        return {"rfilename": file.path}
    sibling: dict[str, Any] = {"rfilename": file.path, "size": file.size, "blobId": file.oid}
    if file.oid is None:
        pointer = _pointer(file)
        sibling["blobId"] = _blob_id(pointer)
        sibling["lfs"] = {"sha256": file.sha256, "size": file.size, "pointerSize": len(pointer)}
    return sibling


def _pointer(file: LockedFile) -> bytes:
    """What git holds of a file in Git LFS: https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md."""
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{file.sha256}\nsize {file.size}\n".encode()


def _blob_id(data: bytes) -> str:
    digest = git_blob_hash(len(data))
    digest.update(data)
    return digest.hexdigest()


def _parents(path: str) -> Iterator[str]:
    at = path.find("/")
    while at > 0:
        yield path[:at]
        at = path.find("/", at + 1)
