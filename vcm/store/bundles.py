"""Reading a bundle: any tar with an OCI image layout in it, written by whomever.

It is never unpacked by the names in it. Its headers are read once; of its members only regular ones count that are
called ``blobs/sha256/<hex>``, and of those only the bytes, which are hashed while they are copied into the store.
"""

from __future__ import annotations

import hashlib
import os
import re
import tarfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from io import FileIO
from pathlib import Path
from stat import S_ISREG

from vcm.core.bundles import blob_digest, since_of
from vcm.core.layout import INDEX, MARK
from vcm.core.wording import printable, system_reason
from vcm.errors import CHECKSUM_MISMATCH, PERMISSION_ERROR, ConfigError, VcmError
from vcm.store.admitting import NotAsClaimedError
from vcm.store.blobs import BlobStore
from vcm.store.files import new_buffer
from vcm.store.pouring import Pouring
from vcm.store.writing import GrowingFile

_BLOCK = tarfile.BLOCKSIZE
_MOST_MEMBERS = 1 << 18
"""Ten times what a lock of 1,000 models has: more would fill the memory."""
_LARGEST_INDEX = 1 << 24
_LARGEST_EXTENSION = 1 << 20
"""Bytes of what stands before a header: a long name, the records of PAX."""
_PAX_LENGTH = re.compile(rb"([1-9]\d{0,6}) ")
_HINT = "name a folder that holds the files, or what vcm bundle has written"
_AGAIN_HINT = "bring it once more, from where it was made"
_COMPRESSED = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\x00": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\x04\x22\x4d\x18": "lz4",
}


@dataclass(frozen=True, slots=True)
class Member:
    """Where in the tar a blob's bytes are.

    Attributes:
        start: the first one's place.
        size: how many, as the tar has it.
    """

    start: int
    size: int


class BundleFile:
    """A bundle on this machine's disks; may be used by several threads once ``members`` was asked for.

    Args:
        path: a tar.

    Raises:
        ConfigError: it is something else.
        VcmError: it cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._since: str | None = None
        try:
            if not S_ISREG(path.stat().st_mode):
                raise ConfigError(f"--from {path}: neither a folder nor a file", hint=_HINT)
            with path.open("rb", buffering=0) as stream:
                first = stream.read(_BLOCK)
        except OSError as error:
            raise self._unreadable(error) from error
        for magic, name in _COMPRESSED.items():
            if first.startswith(magic):
                raise ConfigError(
                    f"--from {path}: compressed with {name}",
                    hint="decompress it first; weights hardly get smaller, and vcm bundle compresses nothing",
                )
        if not _is_header(first):
            raise ConfigError(f"--from {path}: no tar archive", hint=_HINT)

    @cached_property
    def members(self) -> dict[str, tuple[Member, ...]]:
        """By SHA-256, the blobs that are said to be in it; several where it has a name more than once.

        Raises:
            ConfigError: it is no bundle.
            VcmError: it was cut short, is damaged, or cannot be read.
        """
        found: dict[str, list[Member]] = {}
        is_layout = False
        try:
            with self.path.open("rb", buffering=0) as stream:
                for name, member in self._scan(stream):
                    name = name.removeprefix("./")  # noqa: PLW2901
                    sha256 = blob_digest(name)
                    if sha256 is not None:
                        found.setdefault(sha256, []).append(member)
                    elif name == INDEX and member.size <= _LARGEST_INDEX:
                        place = stream.tell()
                        stream.seek(member.start)
                        self._since = since_of(_read(stream, member.size))
                        stream.seek(place)
                    is_layout |= name == MARK
        except OSError as error:
            raise self._unreadable(error) from error
        if not found and not is_layout:
            raise ConfigError(
                f"--from {self.path}: there are no blobs/ in it, so it is no bundle",
                hint="unpack it, and name the folder",
            )
        return {sha256: tuple(members) for sha256, members in found.items()}

    @property
    def since(self) -> str | None:
        """The SHA-256 of the lock whose files it leaves out; None where it is no delta.

        Raises:
            VcmError: as for ``members``.
        """
        assert self.members is not None
        return self._since

    def admit(self, blobs: BlobStore, member: Member, sha256: str, progress: Callable[[int], None]) -> None:
        """Make a blob of a member's bytes, if they are those that are wanted.

        They gather where a download's do, and go on from what is there. The caller keeps others out.

        Args:
            blobs: where they go; prepared.
            member: which.
            sha256: what they must be.
            progress: told how many more bytes were hashed (negative: they were wrong); what it raises ends the work.

        Raises:
            NotAsClaimedError: they are something else, or cannot be read.
            OSError: the store cannot be written.
        """
        partial = blobs.partial_path(sha256)
        keep = False
        try:
            with self.path.open("rb", buffering=0) as stream, GrowingFile(partial) as file:
                keep = partial.name == sha256
                found = self._gather(stream, member, file, progress)
                if found[0] != sha256 and found[1]:
                    # What was there from before may have been the wrong bytes.
                    progress(-member.size)
                    file.clear()
                    found = self._gather(stream, member, file, progress)
                if found[0] != sha256:
                    keep = False
                    raise NotAsClaimedError(f"is damaged, it should be sha256:{sha256}, not sha256:{found[0]}")
                file.sync()
            blobs.admit(partial, sha256)
        except OSError as error:
            if error.filename == str(self.path):
                # Pulled out, or on a disk that breaks.
                raise NotAsClaimedError(f"cannot be read: {system_reason(error)}") from None
            raise
        finally:
            if not keep:
                with suppress(OSError):
                    partial.unlink()

    def _gather(
        self, stream: FileIO, member: Member, file: GrowingFile, progress: Callable[[int], None]
    ) -> tuple[str, int]:
        """Bring the file to the member's size: its digest, and how many bytes were there before."""
        digest, here, buffer = hashlib.sha256(), 0, new_buffer()
        while count := file.read_into(buffer):
            if here + count > member.size:
                progress(-here)
                file.clear()
                digest, here = hashlib.sha256(), 0
                break
            digest.update(buffer[:count])
            here += count
            progress(count)
        stream.seek(member.start + here)
        return Pouring().pour(stream, member.size - here, file.write, progress, digest), here

    def _scan(self, stream: FileIO) -> Iterator[tuple[str, Member]]:
        """Every regular member, in the tar's order; the stream stands behind its header while one is handed out."""
        length = os.fstat(stream.fileno()).st_size
        place, said = 0, dict[str, str]()
        for _ in range(_MOST_MEMBERS):
            stream.seek(place)
            block = _read(stream, _BLOCK)
            if len(block) < _BLOCK:
                raise self._damaged("it ends before its end mark, so it was cut short")
            if not any(block):
                return
            try:
                header = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
            except tarfile.HeaderError:
                raise self._damaged(f"what stands at byte {place} is no header") from None
            place += _BLOCK
            name, size = said.get("path", header.name), int(said.get("size", header.size))
            if header.type in (tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.DIRTYPE, *_DEVICES):
                # They have no bytes, whatever is said.
                size = 0
            if size < 0 or place + size > length:
                raise self._damaged(f"it ends in the middle of {printable(name)}, so it was cut short")
            if header.type in _EXTENSIONS:
                said |= self._extension(stream, header.type, size)
            else:
                if header.type == tarfile.GNUTYPE_SPARSE or said.get("sparse"):
                    raise ConfigError(
                        f"--from {self.path}: {printable(name)} is stored as a sparse file",
                        hint="make the tar without --sparse",
                    )
                if header.type in tarfile.REGULAR_TYPES:
                    yield name, Member(place, size)
                said = {}
            place += -(-size // _BLOCK) * _BLOCK
        raise self._damaged(f"it has more than {_MOST_MEMBERS} members, which no bundle has")

    def _extension(self, stream: FileIO, kind: bytes, size: int) -> dict[str, str]:
        """What is said of the member that follows."""
        if kind in (tarfile.XGLTYPE, tarfile.GNUTYPE_LONGLINK):
            return {}
        if size > _LARGEST_EXTENSION:
            raise self._damaged("it has a header that is larger than any is")
        data = _read(stream, size)
        if kind == tarfile.GNUTYPE_LONGNAME:
            return {"path": data.partition(b"\0")[0].decode("utf-8", "surrogateescape")}
        said, place = dict[str, str](), 0
        while match := _PAX_LENGTH.match(data, place):
            # No further than the record's own length says: looking on in each for what is missing takes hours.
            place += int(match[1])
            key, _, value = data[match.end() : place - 1].partition(b"=")
            if key.startswith(b"GNU.sparse"):
                said["sparse"] = "yes"
            elif key == b"path":
                said["path"] = value.decode("utf-8", "surrogateescape")
            elif key == b"size" and re.fullmatch(rb"\d{1,18}", value):
                said["size"] = value.decode()
        return said

    def _damaged(self, reason: str) -> VcmError:
        return VcmError(f"--from {self.path}: damaged: {reason}", error_code=CHECKSUM_MISMATCH, hint=_AGAIN_HINT)

    def _unreadable(self, error: OSError) -> VcmError:
        return VcmError(
            f"cannot read {self.path}: {system_reason(error)}",
            error_code=PERMISSION_ERROR,
            hint="check that it is a file you may read",
        )


_EXTENSIONS = (
    tarfile.XHDTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)
_DEVICES = (tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE)


def _is_header(block: bytes) -> bool:
    try:
        tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        # An empty archive begins with its end mark.
        return len(block) == _BLOCK and not any(block)
    return True


def _read(stream: FileIO, size: int) -> bytes:
    """So many bytes, or as many as there are."""
    data = bytearray()
    while len(data) < size:
        chunk = stream.read(size - len(data))
        if not chunk:
            break
        data += chunk
    return bytes(data)
