"""The Hugging Face cache of this machine: looked at, never written.

    <cache>/models--org--name/blobs/<name>               bytes; 40 hex: a git blob id, 64 hex: a SHA-256
    <cache>/models--org--name/snapshots/<commit>/<path>  a link to a blob, or (Windows) the bytes themselves

A name is only a claim: what comes from here is believed after hashing. The layout is described at
https://huggingface.co/docs/huggingface_hub/guides/manage-cache.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from threading import Lock

from vcm.core import names

MOST_ENTRIES = 100_000
"""What is read of one folder: no cache of a living being has more, and a hostile one shall not take for ever."""

_PREFIX = "models--"


class HubCache:
    """Finds bytes in a cache. Nothing here raises for a cache that is missing, unreadable or hostile.

    May be used by several threads at once. What is named may be gone again when it is opened.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self._root = None if folder is None else Path(os.path.realpath(folder))
        self._lock = Lock()
        self._by_oid: dict[str, str] | None = None

    def small_file(self, oid: str) -> Path | None:
        """A regular file that claims to be this git blob (40 hex), of whatever repo.

        The first question looks through all repos, one listing each; what is downloaded later is not seen.
        """
        with self._lock:
            if self._by_oid is None:
                self._by_oid = dict(self._git_blobs())
        found = self._by_oid.get(oid)
        return None if found is None else Path(found)

    def snapshot_file(self, repo: str, commit: str, path: str) -> Path | None:
        """The regular file that claims to be this one of a repo at a commit, wherever a link leads inside the cache."""
        try:
            names.repo_id(repo)
            names.file_path(path)
        except ValueError:
            return None
        if self.folder is None or not names.is_commit(commit):
            return None
        return self.resolved(self.folder / folder_name(repo) / "snapshots" / commit / path)

    def resolved(self, path: Path) -> Path | None:
        """Where a path leads, if that is a regular file inside the cache."""
        try:
            target = Path(os.path.realpath(path, strict=True))
            regular = stat.S_ISREG(target.lstat().st_mode)
        except (OSError, ValueError):
            return None
        inside = self._root is not None and target.is_relative_to(self._root)
        return target if regular and inside else None

    def _git_blobs(self) -> Iterator[tuple[str, str]]:
        for repo in _entries(self.folder):
            if repo.name.startswith(_PREFIX):
                for blob in _entries(Path(repo.path, "blobs")):
                    # No link, no device: opening one may wait for ever.
                    if names.is_commit(blob.name) and blob.is_file(follow_symlinks=False):
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
