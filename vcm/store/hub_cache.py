"""The Hugging Face cache of this machine: looked at, never written.

    <cache>/models--org--name/blobs/<name>               bytes; 40 hex: a git blob id, 64 hex: a SHA-256
    <cache>/models--org--name/snapshots/<commit>/<path>  a link to a blob, or (Windows) the bytes themselves
    <cache>/models--org--name/refs/<name>                the commit that a branch or tag stood at
    <cache>/models--org--name/trees/<commit>.json        all files of the commit, from newer clients

A name is only a claim: what comes from here is believed after hashing. The layout is described at
https://huggingface.co/docs/huggingface_hub/guides/manage-cache.
"""

from __future__ import annotations

import json
import os
import stat
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from threading import Lock
from typing import Any

from vcm.core import names
from vcm.core.lock import LockedFile
from vcm.core.metadata import RemoteFile
from vcm.core.wording import printable, system_reason
from vcm.store.files import read_small

MOST_ENTRIES = 100_000
"""What is read of one folder: no cache of a living being has more, and a hostile one shall not take for ever."""

_PREFIX = "models--"
_OTHER_PREFIXES = ("datasets--", "spaces--")
# What the clients leave behind, and what file managers do.
_NO_MODEL_FILES = (".DS_Store", "Thumbs.db", "desktop.ini")
_LARGEST_TREE = 1 << 26
_LONGEST_REF_FILE = 100


@dataclass(frozen=True, slots=True)
class CachedRepo:
    """A model's repo in the cache.

    Attributes:
        refs: the commit of each branch or tag that was asked for by name.
        snapshots: when the folder of each commit was last changed, in nanoseconds.
    """

    repo: str
    refs: dict[str, str]
    snapshots: dict[str, int]


@dataclass(frozen=True, slots=True)
class CachedSnapshot:
    """The files of one commit that are in the cache.

    Attributes:
        files: each file as the cache claims it is, and where its bytes are.
        listing: all files that the commit has, where the cache knows.
        left_out: what stands there and is no file of a model, with the reason.
    """

    files: dict[RemoteFile, Path] = field(default_factory=dict)
    listing: tuple[RemoteFile, ...] | None = None
    left_out: list[str] = field(default_factory=list)


class HubCache:
    """Finds bytes in a cache. Nothing here raises for a cache that is missing, unreadable or hostile.

    May be used by several threads at once. What is named may be gone again when it is opened.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = None if folder is None else folder.absolute()
        self._root = None if folder is None else Path(os.path.realpath(folder))
        self._lock = Lock()
        self._by_name: dict[str, list[str]] | None = None

    def blobs(self, name: str) -> list[Path]:
        """The regular files that claim to be a blob, of whatever repo: a SHA-256, or a git blob id (40 hex).

        The first question looks through all repos, one listing each; what is downloaded later is not seen.
        """
        with self._lock:
            if self._by_name is None:
                self._by_name = defaultdict(list)
                for found, path in self._blob_names():
                    self._by_name[found].append(path)
            places = self._by_name.get(name, ())
        return [path for path in (self.resolved(Path(place)) for place in places) if path is not None]

    def snapshot_file(self, repo: str, commit: str, path: str) -> Path | None:
        """The regular file that claims to be this one of a repo at a commit, wherever a link leads inside the cache."""
        if not names.is_commit(commit):
            return None
        return self._inside(repo, path, f"snapshots/{commit}/{path}")

    def copies(self, repo: str | None, commit: str | None, file: LockedFile) -> Iterator[Path]:
        """The regular files that may be this one of a repo at a commit, the likeliest first.

        Those of the repo are looked for by name; only who asks on has the other repos looked through.
        """
        if self.folder is None or not self.folder.is_dir():
            return
        claims = [name for name in (file.sha256, file.oid) if name]
        if repo is not None and (self.folder / folder_name(repo)).is_dir():
            for name in claims:
                yield from self._if_there(self._inside(repo, file.path, f"blobs/{name}"))
            for other in (commit or "", *self._commits(repo)):
                yield from self._if_there(self.snapshot_file(repo, other, file.path))
        for name in claims:
            yield from self.blobs(name)

    def _if_there(self, path: Path | None) -> list[Path]:
        return [] if path is None else [path]

    def _commits(self, repo: str) -> list[str]:
        """The commits of which there is a snapshot, for caches whose snapshots hold the bytes themselves."""
        if self.folder is None or names.if_valid(repo, names.repo_id) is None:
            return []
        return sorted(entry.name for entry in _entries(self.folder / folder_name(repo) / "snapshots"))

    def _inside(self, repo: str, path: str, place: str) -> Path | None:
        """Where a place in a repo's folder leads, if repo and path are fit to be part of one."""
        if self.folder is None or not names.if_valid(repo, names.repo_id) or not names.if_valid(path, names.file_path):
            return None
        return self.resolved(self.folder / folder_name(repo) / place)

    def resolved(self, path: Path) -> Path | None:
        """Where a path leads, if that is a regular file inside the cache."""
        try:
            target = Path(os.path.realpath(path, strict=True))
            regular = stat.S_ISREG(target.lstat().st_mode)
        except (OSError, ValueError):
            return None
        inside = self._root is not None and target.is_relative_to(self._root)
        return target if regular and inside else None

    def repos(self) -> tuple[list[CachedRepo], list[str]]:
        """The models' repos, by name, and what else stands there, with the reason why it is none."""
        repos, problems, others = [], list[str](), 0
        for entry in sorted(_entries(self.folder), key=lambda entry: entry.name):
            if entry.name.startswith(_OTHER_PREFIXES):
                others += 1
            if not entry.name.startswith(_PREFIX):
                continue
            repo = entry.name.removeprefix(_PREFIX).replace("--", "/")
            try:
                names.repo_id(repo)
            except ValueError:
                problems.append(f"{printable(entry.name)}: no name of a model's folder")
                continue
            if not entry.is_dir(follow_symlinks=False):
                problems.append(f"{repo}: no folder of the cache")
                continue
            try:
                found, problem = _cached_repo(repo, Path(entry.path))
            except (OSError, ValueError) as error:
                problems.append(f"{repo}: {system_reason(error) if isinstance(error, OSError) else error}")
                continue
            repos.append(found)
            problems += problem
        if others:
            problems.append(f"{others} of datasets and spaces: vcm is for models")
        return repos, problems

    def snapshot(self, repo: str, commit: str) -> CachedSnapshot:
        """The files of a commit.

        Raises:
            ValueError: one of them is not there, or cannot be trusted to be: says which and why.
        """
        assert self.folder is not None
        try:
            return self._snapshot(self.folder / folder_name(repo), commit)
        except OSError as error:
            raise ValueError(system_reason(error)) from None

    def _snapshot(self, folder: Path, commit: str) -> CachedSnapshot:
        tree = self._tree(folder / "trees" / f"{commit}.json")
        found = CachedSnapshot(listing=None if tree is None else tuple(tree.values()))
        for path, entry in _walk(folder / "snapshots" / commit):
            if entry.name in _NO_MODEL_FILES or entry.name.endswith(".incomplete"):
                continue
            problem = _no_model_file(path, entry, tree)
            if problem:
                found.left_out.append(f"{printable(path)}: {problem}")
                continue
            target = self.resolved(Path(entry.path))
            if target is None:
                raise ValueError(f"{path} leads to no file of the cache")
            claim = _claim(path, entry, folder / "blobs") or (tree or {}).get(path) or RemoteFile(path, 0)
            size = target.stat().st_size
            found.files[RemoteFile(path, size, oid=claim.oid, sha256=claim.sha256)] = target
        if not found.files:
            raise ValueError("none of its files is there")
        collision = names.first_collision(file.path for file in found.files)
        if collision:
            raise ValueError(f'"{collision[0]}" and "{collision[1]}" cannot stand side by side on every system')
        return found

    def _tree(self, path: Path) -> dict[str, RemoteFile] | None:
        target = self.resolved(path)
        try:
            document = json.loads((target and read_small(target, _LARGEST_TREE)) or b"null")
            if document["format_version"] != 1:
                return None
            return {path: _remote_file(path, row) for path, row in document["files"].items()}
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            # As the client does: without it, only the commit's other files are unknown.
            return None

    def _blob_names(self) -> Iterator[tuple[str, str]]:
        for repo in _entries(self.folder):
            if repo.name.startswith(_PREFIX):
                for blob in _entries(Path(repo.path, "blobs")):
                    if names.is_sha256(blob.name) or names.is_commit(blob.name):
                        yield blob.name, blob.path


def folder_name(repo: str) -> str:
    """The folder of a model's repo."""
    return _PREFIX + repo.replace("/", "--")


def _entries(folder: Path | None) -> list[os.DirEntry[str]]:
    if folder is None:
        return []
    try:
        with os.scandir(folder) as entries:
            return list(islice(entries, MOST_ENTRIES))
    except OSError:
        return []


def _cached_repo(repo: str, folder: Path) -> tuple[CachedRepo, list[str]]:
    problems: list[str] = []
    refs: dict[str, str] = {}
    for name, entry in _walk(folder / "refs"):
        commit = _ref(name, entry)
        if commit is None:
            problems.append(f"{repo}: {printable(name)}: no branch or tag")
        else:
            refs[name] = commit
    snapshots = {
        entry.name: entry.stat(follow_symlinks=False).st_mtime_ns
        for entry in _entries(folder / "snapshots")
        if names.is_commit(entry.name) and entry.is_dir(follow_symlinks=False)
    }
    return CachedRepo(repo, refs, snapshots), problems


def _ref(name: str, entry: os.DirEntry[str]) -> str | None:
    try:
        names.revision(name)
        if not entry.is_file(follow_symlinks=False):
            return None
        with Path(entry.path).open("rb") as stream:
            commit = stream.read(_LONGEST_REF_FILE).decode().strip()
    except (OSError, ValueError):
        return None
    return commit if names.is_commit(commit) else None


def _no_model_file(path: str, entry: os.DirEntry[str], tree: dict[str, RemoteFile] | None) -> str | None:
    try:
        names.portable_file_path(path)
    except ValueError as error:
        return str(error)
    if tree is not None and path not in tree:
        return "no file of this commit"
    if not entry.is_symlink() and not entry.is_file(follow_symlinks=False):
        return "no regular file"
    return None


def _claim(path: str, entry: os.DirEntry[str], blobs: Path) -> RemoteFile | None:
    """What the first link's name says. Where that leads on to, in a store of all repos, names are no SHA-256."""
    if not entry.is_symlink():
        return None
    target = Path(os.path.normpath(Path(entry.path).parent / Path(entry.path).readlink()))
    if target.parent != blobs:
        return None
    if names.is_sha256(target.name):
        return RemoteFile(path, 0, sha256=target.name)
    return RemoteFile(path, 0, oid=target.name) if names.is_commit(target.name) else None


def _remote_file(path: str, row: dict[str, Any]) -> RemoteFile:
    sha256, oid, size = row.get("lfs_sha256"), row["blob_id"], row["size"]
    names.file_path(path)
    if not isinstance(size, int) or not names.is_commit(oid) or not (sha256 is None or names.is_sha256(sha256)):
        raise ValueError("not what a client writes")
    return RemoteFile(path, size, oid=None if sha256 else oid, sha256=sha256)


def _walk(folder: Path) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """All that is no folder below one, with its path there; no link is followed.

    Raises:
        ValueError: more than any model has.
        OSError: a folder cannot be read.
    """
    count, pending = 0, [("", folder)]
    while pending:
        prefix, current = pending.pop()
        try:
            with os.scandir(current) as found:
                entries = list(islice(found, MOST_ENTRIES))
        except FileNotFoundError:
            continue
        for entry in entries:
            count += 1
            if count >= MOST_ENTRIES:
                raise ValueError(f"{MOST_ENTRIES} files or more")
            if entry.is_dir(follow_symlinks=False):
                pending.append((f"{prefix}{entry.name}/", Path(entry.path)))
            else:
                yield prefix + entry.name, entry
