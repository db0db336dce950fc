"""Digests: the identity of bytes and of sets of files."""

from __future__ import annotations

try:
    # hashlib brings OpenSSL, which takes longer than hashing a lock; ``random`` avoids it in the same way.
    try:
        from _sha2 import sha256  # type: ignore[import-not-found, unused-ignore]
    except ImportError:  # Python 3.11
        from _sha256 import sha256  # type: ignore[import-not-found, unused-ignore]
except ImportError:
    from hashlib import sha256

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from hashlib import _Hash
    from typing import Protocol

    class HasDigest(Protocol):
        """A file with a path and the SHA-256 of its bytes."""

        @property
        def path(self) -> str: ...

        @property
        def sha256(self) -> str: ...


CHUNK = 1 << 20
"""Bytes per read: large enough that hashing dominates, small enough that memory stays flat."""


def text_digest(text: str) -> str:
    """The SHA-256 of a short text in UTF-8, as bare hex; what is long is hashed faster by ``hashlib``."""
    return str(sha256(text.encode()).hexdigest())


def tree_digest(files: Iterable[HasDigest]) -> str:
    r"""The identity of a set of files, as bare hex.

    SHA-256 over the lines ``<sha256>  <path>\n``, sorted by path as bytes: what ``sha256sum`` prints, so that
    anyone can compute it again.
    """
    # Sorted by code points, which is the order of their bytes in UTF-8 too.
    lines = [f"{digest}  {path}\n" for path, digest in sorted([(file.path, file.sha256) for file in files])]
    return text_digest("".join(lines))


def git_blob_hash(size: int) -> _Hash:
    """A hash that gives the git blob id of ``size`` bytes once they were fed to it.

    SHA-1 over ``blob <size>``, a NUL and the bytes: https://git-scm.com/book/en/v2/Git-Internals-Git-Objects.
    It identifies content as git does; it is never what vcm relies on for integrity.
    """
    from hashlib import sha1

    return sha1(b"blob %d\0" % size, usedforsecurity=False)
