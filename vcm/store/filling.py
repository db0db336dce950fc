"""Filling snapshots: linking blobs that are known to be whole to their places. No gate needs it."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from vcm.core.lock import LockedFile
from vcm.store.files import link_file, remove_folder, sync_folder


def fill(folder: Path, files: Iterable[LockedFile], blob_path: Callable[[str], Path]) -> None:
    """Make the folder with these files, durable.

    Raises:
        FileNotFoundError: a blob is gone.
        OSError: the disk refused.
    """
    folder.mkdir()
    places = {""}
    for file in files:
        place = file.path.rpartition("/")[0]
        if place not in places:
            (folder / place).mkdir(parents=True, exist_ok=True)
            pieces = place.split("/")
            places.update("/".join(pieces[:count]) for count in range(1, len(pieces) + 1))
        link_file(blob_path(file.sha256), folder / file.path)
    for place in places:
        sync_folder(folder / place)


def mend(folder: Path, wrong: Mapping[str, str | None], blob_path: Callable[[str], Path]) -> None:
    """Put right what is wrong, and make it durable.

    Args:
        folder: the snapshot's.
        wrong: by path, the SHA-256 of the file that belongs there; None where nothing does.
        blob_path: where the blob of a SHA-256 is.

    Raises:
        FileNotFoundError: a blob is gone.
        OSError: the disk refused.
    """
    touched: set[Path] = set()
    # What does not belong there goes first: a file or link may stand where a folder is needed.
    for path, digest in sorted(wrong.items(), key=lambda each: each[1] is not None):
        target = folder / path
        remove_folder(target)
        if os.path.lexists(target):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(target))
        if digest is not None:
            target.parent.mkdir(parents=True, exist_ok=True)
            link_file(blob_path(digest), target)
        touched.update(parent for parent in target.parents if parent == folder or folder in parent.parents)
    for each in touched:
        if each.is_dir():
            sync_folder(each)
