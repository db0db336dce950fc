"""Git tree ids of a set of files, so that the folders in a listing carry the ids a real repository would show."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vcm.testing.content import git_object_id

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vcm.testing.content import StoredFile

FILE_MODE = b"100644"
FOLDER_MODE = b"40000"


def tree_ids(files: Mapping[str, StoredFile]) -> dict[str, str]:
    """Return the git tree id of every folder by path, the empty path being the root.

    Args:
        files: every file of a commit by path.
    """
    children: dict[str, dict[str, tuple[bytes, str]]] = {"": {}}
    for path, stored in files.items():
        folder, _, name = path.rpartition("/")
        for known in _with_parents(folder):
            children.setdefault(known, {})
        children[folder][name] = (FILE_MODE, stored.oid)
    ids: dict[str, str] = {}
    # A folder's id depends on the ids of the folders inside it, so the deepest come first.
    for folder in sorted(children, key=_depth, reverse=True):
        ids[folder] = _tree_id(children[folder])
        if folder:
            parent, _, name = folder.rpartition("/")
            children[parent][name] = (FOLDER_MODE, ids[folder])
    return dict(sorted(ids.items()))


def _with_parents(folder: str) -> list[str]:
    parts = folder.split("/") if folder else []
    return ["/".join(parts[:count]) for count in range(len(parts) + 1)]


def _depth(folder: str) -> int:
    return folder.count("/") + 1 if folder else 0


def _tree_id(entries: Mapping[str, tuple[bytes, str]]) -> str:
    ordered = sorted(entries.items(), key=_git_order)
    body = b"".join(mode + b" " + name.encode() + b"\0" + bytes.fromhex(oid) for name, (mode, oid) in ordered)
    return git_object_id("tree", body)


def _git_order(entry: tuple[str, tuple[bytes, str]]) -> bytes:
    name, (mode, _) = entry
    return name.encode() + (b"/" if mode == FOLDER_MODE else b"")
