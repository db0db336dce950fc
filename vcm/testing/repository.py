"""A simulated model repository: commits, branches, tags and the settings that change what the Hub answers."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

from vcm.testing.content import StoredFile, default_lfs, size_of, store
from vcm.testing.trees import tree_ids

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from threading import RLock

    from vcm.testing.content import Content

COMMIT_ID = re.compile(r"[0-9a-f]{40}")
DEFAULT_DATE = "2026-01-01T00:00:00.000Z"


@dataclass(frozen=True, kw_only=True)
class Commit:
    """One commit.

    Attributes:
        id: 40 hexadecimal digits.
        parent: the id of the commit before it, or None for the first.
        files: every file of the commit by path, in the order of the paths.
        folders: the git tree id of every folder by path; the empty path is the root.
        message: title and, after an empty line, description.
        date: ISO 8601 with milliseconds and ``Z``.
        card: the README's front matter at this commit, or None where the repository's own is to be told.
    """

    id: str
    parent: str | None
    files: Mapping[str, StoredFile]
    folders: Mapping[str, str]
    message: str
    date: str
    card: Mapping[str, Any] | None = None

    @property
    def title(self) -> str:
        """The message's first line."""
        return self.message.partition("\n")[0]

    def oid_of(self, path: str) -> str | None:
        """Return the git id of a file or folder, or None where the commit has neither."""
        stored = self.files.get(path)
        return stored.oid if stored else self.folders.get(path)


class SimulatedRepo:
    """A repository on the simulated Hub; made by ``HubSimulator.add_repo``.

    The attributes below may be changed at any time, and the next answer shows it.

    Attributes:
        id: the repository's name, ``namespace/name``.
        repo_id: the Hub's internal id (``_id``), 24 hexadecimal digits; it survives a rename.
        card: the README's front matter as the API reports it (``cardData``) at every commit that has none of its own.
        pipeline_tag: the task shown by the API, or None.
        gated: False, ``"auto"`` or ``"manual"``.
        private: whether the repository is invisible without a grant.
        disabled: whether its files are withheld from everybody.
        access: the tokens that may read it in spite of a gate or of being private.
        issues: paths that a security scan complains about, with the level (``unsafe``, ``suspicious``, ``caution``).
    """

    def __init__(self, name: str, *, repo_id: str, lfs: Callable[[str, int], bool] | None, lock: RLock) -> None:
        self.id = name
        self.repo_id = repo_id
        self.card: dict[str, Any] = {}
        self.pipeline_tag: str | None = None
        self.gated: Literal["auto", "manual"] | bool = False
        self.private = False
        self.disabled = False
        self.access: set[str] = set()
        self.issues: dict[str, str] = {}
        self.commits: dict[str, Commit] = {}
        self.branches: dict[str, str] = {}
        self.tags: dict[str, str] = {}
        self.created_at = DEFAULT_DATE
        self._lfs = lfs or default_lfs
        self._lock = lock

    def commit(
        self,
        files: Mapping[str, Content | None],
        *,
        branch: str = "main",
        message: str = "Update files",
        commit: str | None = None,
        date: str | None = None,
        card: Mapping[str, Any] | None = None,
    ) -> str:
        """Add a commit on a branch; files that are not named stay as they were.

        Args:
            files: contents by path; None deletes the file.
            branch: the branch to move; it starts empty when it does not exist.
            message: title and, after an empty line, description.
            commit: the id to use; by default a hash of the content, the message and the parent.
            date: ISO 8601; by default one minute after the commit before.
            card: the README's front matter from this commit on; by default that of the commit before.

        Returns:
            The commit's id, 40 hexadecimal digits.

        Raises:
            ValueError: ``commit`` is not 40 lower-case hexadecimal digits, or names another commit already.
            OSError: a path cannot be read.
        """
        changed = {path: self._store(path, content) for path, content in files.items() if content is not None}
        with self._lock:
            parent = self.commits.get(self.branches.get(branch, ""))
            kept = {path: stored for path, stored in (parent.files if parent else {}).items() if path not in files}
            merged = dict(sorted({**kept, **changed}.items()))
            folders = tree_ids(merged)
            parent_id = parent.id if parent else None
            commit_id = commit or hashlib.sha1(f"{folders['']}\n{parent_id}\n{message}".encode()).hexdigest()
            if not COMMIT_ID.fullmatch(commit_id):
                raise ValueError(f"a commit id is 40 lower-case hexadecimal digits, not {commit_id!r}")
            known = self.commits.get(commit_id)
            if known and (known.folders != folders or known.id == parent_id):
                raise ValueError(f"{self.id} has a commit {commit_id} with other files, or as the one before")
            self.commits[commit_id] = Commit(
                id=commit_id,
                parent=parent_id,
                files=MappingProxyType(merged),
                folders=MappingProxyType(folders),
                message=message,
                date=date or (_one_minute_after(parent.date) if parent else DEFAULT_DATE),
                card=dict(card) if card is not None else (parent.card if parent else None),
            )
            self.branches[branch] = commit_id
            return commit_id

    def branch(self, name: str, commit: str | None = None) -> None:
        """Create or move a branch; ``refs/pr/1`` and ``refs/convert/x`` are listed as what they are.

        Args:
            name: the branch's name.
            commit: a commit, branch or tag to point at; by default the head of ``main``.

        Raises:
            KeyError: there is no such revision.
        """
        with self._lock:
            self.branches[name] = self._known(commit or "main")

    def tag(self, name: str, commit: str | None = None) -> None:
        """Create or move a tag.

        Args:
            name: the tag's name.
            commit: a commit, branch or tag to point at; by default the head of ``main``.

        Raises:
            KeyError: there is no such revision.
        """
        with self._lock:
            self.tags[name] = self._known(commit or "main")

    def delete_tag(self, name: str) -> None:
        """Delete a tag.

        Raises:
            KeyError: there is no such tag.
        """
        with self._lock:
            if name not in self.tags:
                raise KeyError(f"{self.id} has no tag {name!r}")
            del self.tags[name]

    def delete_commit(self, commit: str) -> None:
        """Forget a commit as after a squashed history; branches and tags that point at it go with it.

        Raises:
            KeyError: there is no such commit.
        """
        with self._lock:
            del self.commits[self._known(commit)]
            self.branches = {name: target for name, target in self.branches.items() if target in self.commits}
            self.tags = {name: target for name, target in self.tags.items() if target in self.commits}

    def head(self, branch: str = "main") -> str:
        """Return the id of a branch's newest commit.

        Raises:
            KeyError: there is no such branch.
        """
        with self._lock:
            if branch not in self.branches:
                raise KeyError(f"{self.id} has no branch {branch!r}")
            return self.branches[branch]

    def files(self, revision: str = "main") -> Mapping[str, StoredFile]:
        """Return the files of a revision by path.

        Args:
            revision: a commit, branch or tag.

        Raises:
            KeyError: there is no such revision.
        """
        with self._lock:
            return self.commits[self._known(revision)].files

    def find(self, revision: str) -> Commit | None:
        """Return the commit that a revision names, or None.

        Args:
            revision: a 40-digit commit, a branch, a tag, or a full name such as ``refs/tags/v1``.
        """
        candidates = (
            revision,
            self.branches.get(revision),
            self.tags.get(revision),
            self.branches.get(revision.removeprefix("refs/heads/")),
            self.tags.get(revision.removeprefix("refs/tags/")),
        )
        return next((self.commits[name] for name in candidates if name in self.commits), None)

    def history(self, commit: Commit) -> list[Commit]:
        """Return a commit and everything before it that was not deleted, newest first."""
        found = [commit]
        while (parent := self.commits.get(found[-1].parent or "")) is not None:
            found.append(parent)
        return found

    def _store(self, path: str, content: Content) -> StoredFile:
        return store(content, is_lfs=self._lfs(path, size_of(content)))

    def _known(self, revision: str) -> str:
        found = self.find(revision)
        if found is None:
            raise KeyError(f"{self.id} has no revision {revision!r}")
        return found.id


def _one_minute_after(date: str) -> str:
    moment = datetime.fromisoformat(date).astimezone(UTC) + timedelta(minutes=1)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
