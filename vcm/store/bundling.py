"""Writing a bundle: every byte of a model's file is hashed on its way into the tar, and a wrong one ends it."""

from __future__ import annotations

import os
import stat
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from vcm.core.bundles import Bundle, blob_name
from vcm.core.layout import INDEX, MARK, MARK_BYTES
from vcm.core.lock import LockedFile, LockedModel
from vcm.core.wording import byte_count, system_reason
from vcm.errors import (
    NOT_INSTALLED,
    PERMISSION_ERROR,
    ConfigError,
    DiskSpaceError,
    ModelChecksumError,
    ModelDownloadError,
    VcmError,
)
from vcm.store.exclusion import make_held, remove_abandoned, unlocked
from vcm.store.files import READ_ONLY, disk_errors, free_space, scanned, sync_folder, temporary_name
from vcm.store.pouring import Pouring
from vcm.store.store import Store
from vcm.store.writing import GrowingFile

_BLOCK = tarfile.BLOCKSIZE
_END = bytes(2 * _BLOCK)
_SHOWN = 10
_PLACE_HINT = "choose another place for the bundle"

Progress = Callable[[LockedModel, LockedFile, int], None]
"""Told how many more bytes of a file are in the bundle."""


@dataclass(frozen=True)
class _Member:
    """One file of the tar: its bytes, or the path where they are."""

    name: str
    size: int
    content: bytes | Path
    file: tuple[LockedModel, LockedFile] | None = None

    @property
    def header(self) -> bytes:
        """USTAR, and PAX where it is larger than that can say; nothing in it tells when or by whom it was made."""
        info = tarfile.TarInfo(self.name)
        info.size, info.mode = self.size, READ_ONLY
        return info.tobuf(tarfile.PAX_FORMAT)

    @property
    def padding(self) -> bytes:
        return bytes(-self.size % _BLOCK)


class BundleWriter:
    """Writes one bundle.

    Args:
        store: what is installed.
        bundle: what shall be in it.

    Attributes:
        size: bytes of the tar.

    Raises:
        ModelDownloadError: a file is not in the store.
    """

    def __init__(self, store: Store, bundle: Bundle) -> None:
        contents: dict[str, tuple[bytes | Path, tuple[LockedModel, LockedFile] | None]]
        contents = {sha256: (data, None) for sha256, data in bundle.small.items()}
        contents |= {sha256: (path, bundle.files[sha256]) for sha256, path in _places(store, bundle).items()}
        blobs = [
            _Member(
                blob_name(sha256),
                file[1].size if file else len(content) if isinstance(content, bytes) else 0,
                content,
                file,
            )
            for sha256, (content, file) in sorted(contents.items())
        ]
        self._members = [
            _Member(MARK, len(MARK_BYTES), MARK_BYTES),
            _Member(INDEX, len(bundle.index), bundle.index),
            *blobs,
        ]
        self.size = sum(len(each.header) + each.size + len(each.padding) for each in self._members) + len(_END)

    def write_file(self, path: Path, progress: Progress) -> None:
        """Write it into a file, which has this name only when it is whole; an old file is replaced then.

        Raises:
            DiskSpaceError: there is not enough room; nothing was begun.
            ModelChecksumError: a file is damaged.
            VcmError: the file cannot be written.
        """
        target = Path(os.path.realpath(path))
        _refuse_what_is_no_file(target)
        unfinished = f".{target.name}.unfinished-"
        with disk_errors(target, hint=_PLACE_HINT):
            remove_abandoned([Path(each) for each in scanned(target.parent) if each.name.startswith(unfinished)])
            free = free_space(target.parent)
            if free < self.size:
                raise DiskSpaceError(
                    f"the bundle has {byte_count(self.size)}, but {byte_count(free)} are free in {target.parent}",
                    needed=self.size,
                    free=free,
                    hint=f"free some space, or {_PLACE_HINT}",
                )
            with _replacing(target, target.with_name(temporary_name(unfinished))) as file:
                self.write(file.write, progress)

    def write(self, write: Callable[[memoryview], object], progress: Progress) -> None:
        """Hand it on, piece by piece.

        Args:
            write: takes all of what it is given.
            progress: told of the models' files.

        Raises:
            ModelChecksumError: a file is damaged.
            OSError: what ``write`` raises.
        """
        pouring = Pouring()
        for member in self._members:
            write(memoryview(member.header))
            if isinstance(member.content, bytes):
                write(memoryview(member.content))
            else:
                _pour(pouring, member, member.content, write, progress)
            write(memoryview(member.padding))
        write(memoryview(_END))


def _places(store: Store, bundle: Bundle) -> dict[str, Path]:
    """By SHA-256, where each file is: a blob, or what the model's snapshot has of it."""
    found, missing = dict[str, Path](), list[tuple[LockedModel, LockedFile]]()
    for sha256, (model, file) in sorted(bundle.files.items(), key=lambda each: (each[1][0].name, each[1][1].path)):
        for path in (store.blobs.path(sha256), store.snapshots.path(model.tree_digest) / file.path):
            with suppress(OSError):
                status = path.lstat()
                if stat.S_ISREG(status.st_mode) and status.st_size == file.size:
                    found[sha256] = path
                    break
        else:
            missing.append((model, file))
    if missing:
        more = [f"and {len(missing) - _SHOWN} more"] if len(missing) > _SHOWN else []
        raise ModelDownloadError(
            "not all that is locked is in the store",
            details=[f"{model.name}/{file.path} ({byte_count(file.size)})" for model, file in missing[:_SHOWN]] + more,
            error_code=NOT_INSTALLED,
            hint="run vcm sync, with the same groups",
        )
    return found


def _refuse_what_is_no_file(target: Path) -> None:
    """A folder cannot be written, and a device or a pipe would be replaced by a file."""
    with suppress(OSError):
        if not stat.S_ISREG(target.stat().st_mode):
            raise ConfigError(
                f"{target} is no regular file", hint="name a file, or write to standard output: vcm bundle -"
            )


@contextmanager
def _replacing(target: Path, temporary: Path) -> Iterator[GrowingFile]:
    """What is written into ``temporary`` becomes ``target``: beside it, since renaming is atomic in one file system."""
    release = unlocked
    try:
        release = make_held(temporary)
        with GrowingFile(temporary) as file:
            try:
                yield file
                file.sync()
            except BaseException:
                # Before it is closed, which waits for the disk: after Ctrl-C there may be no time for more.
                with suppress(OSError):
                    temporary.unlink()
                raise
        temporary.replace(target)
        sync_folder(target.parent)
    except OSError as error:
        if error.filename is None or str(error.filename) == str(temporary):
            error.filename = str(target)  # the temporary name means nothing to anybody
        raise
    finally:
        with suppress(OSError):
            temporary.unlink()
        release()


def _pour(
    pouring: Pouring,
    member: _Member,
    place: Path,
    write: Callable[[memoryview], object],
    progress: Progress,
) -> None:
    assert member.file is not None
    model, file = member.file
    left = file.size

    def passed(count: int) -> None:
        nonlocal left
        left -= count
        progress(model, file, count)

    try:
        with place.open("rb", buffering=0) as stream:
            digest = pouring.pour(stream, file.size, write, passed)
    except OSError as error:
        if error.filename != str(place):
            raise
        raise VcmError(
            f"cannot be read: {system_reason(error)}",
            error_code=PERMISSION_ERROR,
            hint="check who owns the store; vcm verify --repair fetches what the disk has lost",
            model=model.name,
            file=file.path,
        ) from error
    if digest != file.sha256 or left:
        found = f"{file.size - left} bytes" if left else f"sha256:{digest}"
        expected = f"{file.size} bytes" if left else f"sha256:{file.sha256}"
        raise ModelChecksumError(
            f"damaged in the store: expected {expected}, got {found}",
            expected=expected,
            actual=found,
            hint="run vcm verify --repair, then bundle again",
            model=model.name,
            file=file.path,
        )
