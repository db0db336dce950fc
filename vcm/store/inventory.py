"""The inventory: what a store has, told apart from what is not vcm's.

Only names of a shape that vcm gives, in the folders where it gives them, are parts of the store. A cache folder may be
anybody's: nothing else in it is looked at, let alone removed.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

from vcm.core.pruning import Kind, Part, StoredFile
from vcm.store.files import scanned, walk

_SHA256 = r"(?P<name>[0-9a-f]{64})"
_UNIQUE = r"[0-9a-f]{32}"
_HALF_WRITTEN = (Kind.LEFTOVER, rf"\..+\.{_UNIQUE}")
"""What ``replace_file`` writes before it has its name."""

# By folder, what each name in it is: the first pattern that fits all of it.
_SHAPES: dict[str, tuple[tuple[Kind, str], ...]] = {
    "snapshots": ((Kind.SNAPSHOT, _SHA256),),
    "verified": ((Kind.RECORD, rf"{_SHA256}\.json"), _HALF_WRITTEN),
    "blobs/sha256": ((Kind.BLOB, _SHA256),),
    "partial": (
        (Kind.PARTIAL, _SHA256),
        (Kind.LOCK, rf"({_SHA256}|index\.json)\.lock"),
        (Kind.LEFTOVER, rf"(snapshot|discarded|copy|unnamed|adopted|lock-probe)-{_UNIQUE}"),
    ),
    "hub-metadata": ((Kind.INDEX, r"git-blobs|notices\.json"), _HALF_WRITTEN),
    "hub-metadata/models--*": ((Kind.ANSWER, _SHA256), _HALF_WRITTEN),
    "in-use": (
        (Kind.LEASE, rf"(?P<name>{_UNIQUE})\.(json|lock)"),
        (Kind.LEFTOVER, rf"lock-probe-{_UNIQUE}"),
        (Kind.STORE_LOCK, r"store\.lock"),
        _HALF_WRITTEN,
    ),
    "hub-views": ((Kind.VIEW, _UNIQUE),),
    "": (
        (Kind.REGISTRY, r"registry\.json(\.lock)?"),
        (Kind.LAYOUT, r"index\.json|oci-layout"),
        (Kind.LEFTOVER, rf"\.(registry\.json|index\.json|oci-layout)\.{_UNIQUE}"),
    ),
}
FOLDERS = ("snapshots", "verified", "blobs/sha256", "blobs", "partial", "hub-metadata", "hub-views", "in-use")
"""The folders that vcm makes, those inside others first."""
_FOLDER_KINDS = (Kind.SNAPSHOT, Kind.VIEW)
_EITHER = (Kind.LEFTOVER,)


def take_inventory(root: Path) -> list[Part]:
    """All parts of a store; none where there is no store.

    Raises:
        OSError: a folder cannot be read.
    """
    parts = [part for pattern, shapes in _SHAPES.items() for part in _parts(root, pattern, shapes)]
    # Many a folder has an index.json, and nobody puts the other file beside it but in an OCI image layout.
    is_layout = any(part.place == "oci-layout" for part in parts)
    return [part for part in parts if is_layout or part.kind is not Kind.LAYOUT]


def metadata_folders(root: Path) -> list[Path]:
    """The folders of the hub's kept answers, one for each repo."""
    return [path for path in (root / "hub-metadata").glob("models--*") if path.is_dir() and not path.is_symlink()]


def _parts(root: Path, pattern: str, shapes: tuple[tuple[Kind, str], ...]) -> Iterator[Part]:
    compiled = [(kind, re.compile(shape)) for kind, shape in shapes]
    folders = metadata_folders(root) if "*" in pattern else [root / pattern]
    for folder in folders:
        place = folder.relative_to(root).as_posix()
        for entry in scanned(folder):
            for kind, shape in compiled:
                match = shape.fullmatch(entry.name)
                if match:
                    part = _part(kind, match.groupdict().get("name", entry.name), place, entry)
                    if part is not None:
                        yield part
                    break


def _part(kind: Kind, name: str, folder: str, entry: os.DirEntry[str]) -> Part | None:
    try:
        # Not entry.stat(): on Windows it gives no inode.
        status = os.lstat(entry.path)
        is_folder = stat.S_ISDIR(status.st_mode)
        if not is_folder and not stat.S_ISREG(status.st_mode):
            return None
        if kind not in _EITHER and is_folder != (kind in _FOLDER_KINDS):
            return None
        files = tuple(_stored(each) for _, each in walk(entry.path)) if is_folder else (_stored(status),)
    except FileNotFoundError:
        return None  # gone meanwhile
    return Part(kind, name, f"{folder}/{entry.name}".removeprefix("./"), files, _used(kind, status))


def _used(kind: Kind, status: os.stat_result) -> float:
    if kind is Kind.ANSWER:
        return max(status.st_mtime, status.st_atime)
    if kind is Kind.LEFTOVER:
        # A hard link to an older file has that file's time of writing.
        return max(status.st_mtime, status.st_ctime)
    return status.st_mtime


def _stored(status: os.stat_result) -> StoredFile:
    return StoredFile((status.st_dev, status.st_ino), status.st_size, status.st_nlink)
