"""Mirrors that are folders: another store or any OCI image layout, on this machine's disks or a shared file system."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from vcm.core.lock import LockedFile, LockedModel
from vcm.core.mirrors import Mirror, expanded
from vcm.errors import ModelNotFoundError, RegistryError
from vcm.http.faults import UnreachableError
from vcm.install.source import OtherFileError
from vcm.store import admitting
from vcm.store.admitting import Claim, DamagedError, NotAsClaimedError, admit
from vcm.store.blobs import BlobStore

_WRITABLE = stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH


class FolderMirror:
    """One ``[[mirror]]`` that is a folder.

    Args:
        mirror: as it is configured.
    """

    def __init__(self, mirror: Mirror) -> None:
        self.mirror = mirror.name
        path = unquote(urlsplit(mirror.url).path)
        self._template = path.lstrip("/") if os.name == "nt" else path
        # What stands before the first field is there, or nothing of it is.
        self._root = Path(self._template.partition("{")[0] + "-").parent

    def find(self, model: LockedModel, file: LockedFile) -> FolderPlace | None:
        """Where a file would stand; None where the mirror's address names something that the file has not got."""
        path = expanded(self._template, model, file, quoted=False)
        return None if path is None else FolderPlace(self.mirror, Path(path), self._root, file)

    def close(self) -> None:
        """Nothing is open."""


@dataclass(frozen=True, slots=True)
class FolderPlace:
    """One file in a folder.

    Attributes:
        mirror: whose.
        path: where it stands, if it is there.
        root: the part of the path that is the same for all files.
        file: what it has to be.
    """

    mirror: str
    path: Path
    root: Path
    file: LockedFile

    @property
    def name(self) -> str:
        """The mirror in messages."""
        return f"mirror {self.mirror}"

    @property
    def url(self) -> str:
        """Its path."""
        return str(self.path)

    def check(self) -> Path:
        """Whether a file of the right size is there; its bytes are not read.

        Returns:
            The file itself, all links followed.

        Raises:
            UnreachableError: the whole folder is not there: it may not be mounted.
            ModelNotFoundError: the file is not there.
            OtherFileError: it has another size.
        """
        path = Path(os.path.realpath(self.path))
        try:
            status = path.lstat()
        except (OSError, ValueError):
            if not self.root.is_dir():
                raise UnreachableError(
                    f"{self.root}: no such folder", hint=f"mount it, or mend the url of {self.name}"
                ) from None
            raise ModelNotFoundError("does not have it") from None
        if not stat.S_ISREG(status.st_mode):
            raise ModelNotFoundError("does not have it: what stands there is no file")
        if status.st_size != self.file.size:
            raise OtherFileError(f"{self.file.size} bytes", f"{status.st_size} bytes")
        return path

    def takes_no_room(self, blobs: BlobStore) -> bool:
        """Whether ``take`` will make the file and the blob one, as far as one can tell before.

        Raises:
            UnreachableError: the whole folder is not there.
            ModelNotFoundError: the file is not there.
            OtherFileError: it has another size.
        """
        path = self.check()
        try:
            return _may_link(path) and admitting.takes_no_room(blobs, path)
        except OSError:
            return False

    def take(self, blobs: BlobStore, progress: Callable[[int], None]) -> None:
        """Make a blob of the file: shared where the file system can, else linked or copied, and hashed either way.

        A hard link is made only where nobody may write into the file, as into a blob of a store, and nobody else may
        allow it: of what is owned by another user, there is a copy.

        Args:
            blobs: where it goes; prepared.
            progress: told how many more bytes were hashed; what it raises ends the work.

        Raises:
            UnreachableError: the whole folder is not there.
            ModelNotFoundError: the file is not there.
            OtherFileError: it is another file.
            RegistryError: it cannot be read.
            OSError: the store cannot be written.
        """
        path = self.check()
        claim = Claim(self.file.sha256, size=self.file.size)
        try:
            admit(blobs, path, claim, may_link=_may_link(path), progress=progress)
        except DamagedError:
            raise OtherFileError(f"sha256:{self.file.sha256}", "other bytes of that size") from None
        except (NotAsClaimedError, FileNotFoundError) as error:
            raise RegistryError(f"its file {error}" if isinstance(error, NotAsClaimedError) else "is gone") from None


def _may_link(path: Path) -> bool:
    return not path.lstat().st_mode & _WRITABLE
