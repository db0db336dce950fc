"""File contents as the simulator keeps them: their bytes, their hashes, and whether they are stored with Git LFS."""

from __future__ import annotations

import hashlib
import io
import re
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from collections.abc import Iterator

_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True)
class Unfetched:
    """A file that is listed with its true size and digest, although nobody here has its bytes.

    It is stored with Git LFS whatever the repository's rule says, because only then does a listing tell a SHA-256.
    The Hub redirects to the CDN as for any other, and the CDN answers 404.

    Attributes:
        size: the content's length in bytes, at least 1.
        sha256: the content's SHA-256, 64 lower-case hexadecimal digits.

    Raises:
        ValueError: the size or the digest cannot be one.
    """

    size: int
    sha256: str

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ValueError(f"a file in Git LFS has at least one byte, not {self.size}")
        if not _SHA256.fullmatch(self.sha256):
            raise ValueError(f"a SHA-256 is 64 lower-case hexadecimal digits, not {self.sha256!r}")


Content = bytes | Path | Unfetched
"""What a file holds: the bytes, the path of a file on disk that is served in pieces, or no more than its digest."""

PIECE = 1 << 20
"""Bytes read from disk or written to a connection at a time."""

LFS_MINIMUM = 10 << 20
"""A file of more bytes than this is stored with Git LFS whatever its name."""

LFS_SUFFIXES = frozenset(
    {
        ".7z", ".arrow", ".bin", ".bz2", ".ckpt", ".ftz", ".gguf", ".gz", ".h5", ".joblib", ".keras", ".lz4",
        ".mlmodel", ".model", ".msgpack", ".nemo", ".npy", ".npz", ".onnx", ".ot", ".parquet", ".pb", ".pickle",
        ".pkl", ".pt", ".pth", ".rar", ".safetensors", ".tar", ".tflite", ".tgz", ".wasm", ".xz", ".zip", ".zst",
    }
)  # fmt: skip
"""Suffixes that are stored with Git LFS whatever the size, like the ``.gitattributes`` of a new repository says."""


def default_lfs(path: str, size: int) -> bool:
    """Say whether a file is stored with Git LFS when the test has no rule of its own.

    Args:
        path: the file's path inside the repository.
        size: its length in bytes.

    Returns:
        True above ``LFS_MINIMUM`` bytes and for every suffix in ``LFS_SUFFIXES``; an empty file never is.
    """
    if not size:
        return False
    return size > LFS_MINIMUM or PurePosixPath(path).suffix.lower() in LFS_SUFFIXES


def git_object_id(kind: str, body: bytes) -> str:
    """Return the SHA-1 id that git gives to an object.

    Args:
        kind: ``blob`` or ``tree``.
        body: the object's bytes without git's header.
    """
    return hashlib.sha1(f"{kind} {len(body)}\0".encode() + body).hexdigest()


@dataclass(frozen=True, kw_only=True)
class StoredFile:
    """One file of one commit.

    Attributes:
        source: the bytes, the file on disk they are read from, or what is known of them.
        size: the content's length in bytes.
        sha256: the content's SHA-256, 64 hexadecimal digits.
        is_lfs: whether git holds a pointer instead of the content.
    """

    source: Content
    size: int
    sha256: str
    is_lfs: bool

    @cached_property
    def git_oid(self) -> str:
        """The git blob id of the content itself, 40 hexadecimal digits; read from the content when first asked for."""
        digest = hashlib.sha1(f"blob {self.size}\0".encode())
        for piece in self.chunks():
            digest.update(piece)
        return digest.hexdigest()

    @property
    def pointer(self) -> bytes:
        """The text that git holds in place of the content of an LFS file."""
        return f"version https://git-lfs.github.com/spec/v1\noid sha256:{self.sha256}\nsize {self.size}\n".encode()

    @cached_property
    def pointer_oid(self) -> str:
        """The git blob id of the pointer, 40 hexadecimal digits."""
        return git_object_id("blob", self.pointer)

    @property
    def pointer_size(self) -> int:
        """The pointer's length in bytes."""
        return len(self.pointer)

    @property
    def oid(self) -> str:
        """The id a listing shows for the file: the pointer's for an LFS file, else the content's."""
        return self.pointer_oid if self.is_lfs else self.git_oid

    @property
    def storage_key(self) -> str:
        """The last segment of the CDN path and the CDN's ETag: 64 hexadecimal digits, yet not the content's SHA-256."""
        return hashlib.sha256(f"storage key of {self.sha256}".encode()).hexdigest()

    def open(self) -> BinaryIO:
        """Open the content for reading; the caller closes it.

        Raises:
            OSError: the file on disk cannot be read, or nobody has the bytes.
        """
        if isinstance(self.source, Unfetched):
            raise FileNotFoundError(f"nobody has the bytes of {self.sha256}")
        if isinstance(self.source, Path):
            return self.source.open("rb")
        return io.BytesIO(self.source)

    def chunks(self, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """Yield the content between two offsets, at most ``PIECE`` bytes at a time.

        Args:
            start: the first byte's offset.
            stop: the offset after the last byte; the end of the file when None.
        """
        remaining = (self.size if stop is None else stop) - start
        with self.open() as stream:
            stream.seek(start)
            while remaining > 0 and (piece := stream.read(min(PIECE, remaining))):
                remaining -= len(piece)
                yield piece

    def read(self) -> bytes:
        """Return the whole content; for small files."""
        return b"".join(self.chunks())


def store(content: Content, *, is_lfs: bool) -> StoredFile:
    """Hash a content once and return it ready to be served.

    Args:
        content: bytes, or the path of a file that stays unchanged while the simulator runs; ``Unfetched`` is taken at
            its word.
        is_lfs: whether git holds a pointer instead of the content.

    Raises:
        OSError: the path cannot be read.
    """
    if isinstance(content, Unfetched):
        return StoredFile(source=content, size=content.size, sha256=content.sha256, is_lfs=True)
    unhashed = StoredFile(source=content, size=size_of(content), sha256="", is_lfs=is_lfs)
    digest = hashlib.sha256()
    for piece in unhashed.chunks():
        digest.update(piece)
    return replace(unhashed, sha256=digest.hexdigest())


def size_of(content: Content) -> int:
    """Return a content's length in bytes."""
    if isinstance(content, Unfetched):
        return content.size
    return content.stat().st_size if isinstance(content, Path) else len(content)
