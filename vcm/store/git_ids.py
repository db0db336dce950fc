"""Which blobs have which git blob id: what lets a small file be found again by the only name the hub gives it.

    <cache>/hub-metadata/git-blobs      one line each: <git blob id> <sha256> <size>

Lines are only ever added, each in one write. Nothing here is believed: a line says where to look, and the bytes there
are hashed before they are used; a line that is damaged, or whose blob has gone, costs a download and nothing else.
"""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path
from stat import S_ISREG
from threading import Lock

from vcm.core.digest import git_blob_hash
from vcm.store.files import hash_file, read_small

_LINE = re.compile(rb"^([0-9a-f]{40}) ([0-9a-f]{64}) ([0-9]{1,16})$", re.MULTILINE)

_LARGEST = 16 << 20
"""Bytes, of 150,000 files; what is longer, or no file, is begun anew."""


class GitIds:
    """Git blob id → SHA-256, for one store; may be used by several threads."""

    def __init__(self, root: Path) -> None:
        self.path = root / "hub-metadata" / "git-blobs"
        self._known: dict[tuple[str, int], str] | None = None
        self._lock = Lock()

    def find(self, oid: str, size: int) -> str | None:
        """The SHA-256 that was once seen with this git blob id."""
        with self._lock:
            return self._read().get((oid, size))

    def add(self, oid: str, sha256: str, size: int) -> None:
        """Remember a pair that was just verified. A folder that cannot be written is no error."""
        with self._lock:
            known = self._read()
            if known.get((oid, size)) == sha256:
                return
            known[oid, size] = sha256
            with suppress(OSError):
                self.path.parent.mkdir(parents=True, exist_ok=True)
                with self.path.open("ab", buffering=0) as stream:
                    stream.write(f"{oid} {sha256} {size}\n".encode())

    def _read(self) -> dict[tuple[str, int], str]:
        if self._known is None:
            data = read_small(self.path, _LARGEST)
            if data is None:
                self._make_way()
            self._known = {
                (oid.decode(), int(size)): sha256.decode() for oid, sha256, size in _LINE.findall(data or b"")
            }
        return self._known

    def _make_way(self) -> None:
        """Remove what cannot be read, but not what another process has only just begun."""
        with suppress(OSError):
            found = self.path.stat()
            if not S_ISREG(found.st_mode) or found.st_size > _LARGEST:
                self.path.unlink()


def digest_of(path: Path, oid: str, size: int) -> str | None:
    """The SHA-256 of a file, if it has that git blob id and size; None also where it cannot be read."""
    git = git_blob_hash(size)
    try:
        if path.stat().st_size != size:
            return None
        sha256, count = hash_file(path, also=git)
    except OSError:
        return None
    return sha256 if (count, git.hexdigest()) == (size, oid) else None
