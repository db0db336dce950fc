"""A partial file: the bytes of a download that are here so far, with their hashes.

It is always the beginning of the file, without a gap, and every byte in it was hashed from memory on its way to the
disk.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Self

from vcm.core.digest import CHUNK, git_blob_hash
from vcm.errors import ModelChecksumError, RegistryError
from vcm.http.body import Answer
from vcm.http.faults import NetworkFaultError
from vcm.install.hashing import Buffers, Hashing
from vcm.install.wanted import LARGE, WantedFile
from vcm.store.writing import GrowingFile

if TYPE_CHECKING:
    from hashlib import _Hash

PART = 206
_BUFFERS = 4
_CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)", re.ASCII)


def content_range(answer: Answer) -> tuple[int, int | None] | None:
    """Where the part begins that an answer with status 206 holds, and the whole's length; None where it is none."""
    match = _CONTENT_RANGE.fullmatch(answer.headers.get("Content-Range", ""))
    if not match or answer.is_encoded:
        return None
    return int(match[1]), int(match[3]) if match[3] != "*" else None


def another_part() -> NetworkFaultError:
    """The fault of a server that answers with bytes nobody asked it for; they are never glued to others."""
    return NetworkFaultError("the server sent another part of the file than was asked for", hint="try again later")


def cut(here: int, total: int) -> NetworkFaultError:
    """The fault of a connection that ended after so many bytes of a file."""
    return NetworkFaultError(f"the connection was cut at byte {here} of {total}")


class Partial:
    """The bytes that are here so far.

    Args:
        path: where they gather; what is there from before is taken for the beginning of the file.
        wanted: the file and what was promised of it.
        shared: buffers for a small file; a large one has its own.

    Attributes:
        size: bytes that are here.
        received: bytes that came over the network.
        may_read_ahead: whether the server is believed to serve several connections at once.
        supplied: by mirror (None: the origin), how many of the bytes came from there in this run; the last one last.
    """

    def __init__(self, path: Path, wanted: WantedFile, shared: Buffers) -> None:
        self.path = path
        self.size = 0
        self.received = 0
        self.may_read_ahead = True
        self.announced: int | None = None
        self.supplied: dict[str | None, int] = {}
        self.wanted = wanted
        self._source: str | None = None
        self._complete = False
        large = wanted.size is None or wanted.size >= LARGE
        self._threaded = large
        self.buffers = Buffers(_BUFFERS, CHUNK) if large else shared
        self._hashes: dict[str, _Hash] = {}
        self._hashing: Hashing | None = None
        self._file = GrowingFile(path)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._finish_hashing()
        self._file.close()
        if self.path.name != self.wanted.sha256 or self.size == 0:
            # Nobody will find it again, or nothing is in it. Once admitted it is not there any more.
            with suppress(OSError):
                self.path.unlink()

    @property
    def is_complete(self) -> bool:
        """Whether all bytes are here, as far as is known without their digest."""
        return self._complete

    def take_up(self, progress: Callable[[int], None]) -> None:
        """Hash what is here from before.

        Args:
            progress: told of every number of bytes.
        """
        self._begin_hashing()
        while True:
            buffer = self.buffers.take()
            count = self._file.read_into(buffer)
            self._feed(buffer, count, self.buffers)
            if not count:
                break
            progress(count)
        if self.wanted.size is not None and self.size > self.wanted.size:
            progress(-self.size)
            self.restart()
        self._complete = self.size == self.wanted.size

    def begin(self, mirror: str | None) -> None:
        """What is appended from now on comes from there."""
        self._source = mirror
        self.supplied[mirror] = self.supplied.pop(mirror, 0)

    @property
    def suppliers(self) -> list[str | None]:
        """Who supplied some of the bytes, the last one last; nobody where some are from an earlier run."""
        known = self.size == sum(self.supplied.values())
        return [mirror for mirror, count in self.supplied.items() if count] if known else []

    def restart(self) -> None:
        """Throw away all bytes."""
        self._finish_hashing()
        self._file.clear()
        self._begin_hashing()
        self._complete = self.wanted.size == 0
        self.announced = None
        self.supplied = {self._source: 0}

    def continues(self, answer: Answer) -> bool:
        """Whether the answer is the whole file, or the part that begins where the bytes here end."""
        if answer.status != PART:
            return True
        part = content_range(answer)
        if part is None or part[0] != self.size:
            return False
        self.announced = part[1]
        return True

    def announce(self, answer: Answer) -> None:
        """Note how long the file will be.

        Raises:
            ModelChecksumError: the file is not as long as was promised.
        """
        if answer.status != PART:
            self.announced = answer.length
        if self.wanted.size is None and self.announced is None:
            raise RegistryError(
                "the server does not say how long the file is", hint="add size (in bytes) to it in models.toml"
            )
        if None not in (self.wanted.size, self.announced) and self.wanted.size != self.announced:
            raise self._mismatch(f"{self.wanted.size} bytes", f"{self.announced} bytes")

    def receive(self, answer: Answer) -> int:
        """Take in the next bytes of an answer's body, as many as are there; how many: 0 at its end."""
        buffer = self.buffers.take()
        try:
            count = answer.read_into(buffer)
        except BaseException:
            self.buffers.give_back(buffer)
            raise
        self.append(buffer, count, self.buffers)
        return count

    def append(self, buffer: memoryview, count: int, home: Buffers) -> None:
        """Write and hash the next bytes; more than were promised are refused before they are written.

        Args:
            buffer: they stand at its beginning.
            count: how many they are.
            home: where the buffer goes when it is done with.
        """
        limit = self.wanted.size if self.wanted.size is not None else self.announced
        if limit is not None and self.size + count > limit:
            home.give_back(buffer)
            raise self._mismatch(f"{limit} bytes", f"more than {limit} bytes")
        try:
            self._file.write(buffer[:count])
        except OSError:
            home.give_back(buffer)
            raise
        self._feed(buffer, count, home)
        self.received += count
        self.supplied[self._source] = self.supplied.get(self._source, 0) + count

    def ended(self) -> None:
        """The answer's body is over: all bytes are here, or some are missing."""
        expected = self.wanted.size if self.wanted.size is not None else self.announced
        if expected is not None and self.size < expected:
            raise cut(self.size, expected)
        self._complete = True

    def verified(self) -> str:
        """The SHA-256 of the bytes, after every promise was checked.

        Raises:
            ModelChecksumError: a promise was not kept.
        """
        self._finish_hashing()
        wanted = self.wanted
        digest = self._hashes["sha256"].hexdigest()
        if wanted.size is not None and self.size != wanted.size:
            raise self._mismatch(f"{wanted.size} bytes", f"{self.size} bytes")
        if wanted.sha256 is not None and digest != wanted.sha256:
            raise self._mismatch(f"sha256:{wanted.sha256}", f"sha256:{digest}")
        if "git" in self._hashes and self._hashes["git"].hexdigest() != wanted.oid:
            raise self._mismatch(f"git blob {wanted.oid}", f"git blob {self._hashes['git'].hexdigest()}")
        if wanted.checksum is not None:
            found = self._hashes.get("checksum", self._hashes["sha256"]).hexdigest()
            if found != wanted.checksum.hex:
                raise self._mismatch(str(wanted.checksum), f"{wanted.checksum.algorithm}:{found}")
        return digest

    def finish(self) -> None:
        """Have the bytes on the disk before the file gets its name; Windows renames no open file."""
        self._file.sync()
        self._file.close()

    def _begin_hashing(self) -> None:
        self.size = 0
        self._hashes = {"sha256": hashlib.sha256()}
        if self.wanted.oid is not None and self.wanted.size is not None:
            self._hashes["git"] = git_blob_hash(self.wanted.size)
        if self.wanted.checksum is not None and self.wanted.checksum.algorithm != "sha256":
            self._hashes["checksum"] = hashlib.new(self.wanted.checksum.algorithm, usedforsecurity=False)
        self._hashing = Hashing(self._hashes.values(), threaded=self._threaded)

    def _feed(self, buffer: memoryview, count: int, home: Buffers) -> None:
        assert self._hashing is not None
        self._hashing.feed(buffer, count, home)
        self.size += count

    def _finish_hashing(self) -> None:
        if self._hashing is not None:
            self._hashing.finish()
            self._hashing = None

    def _advice(self) -> str:
        if self.wanted.sha256 is None or self.wanted.size is None:
            # While locking: no lock could be upgraded to put this right.
            return "what is announced and what is sent do not agree: try again, then tell whoever publishes the file"
        return (
            "the publisher or something on the way changed the file: run vcm lock --upgrade-model "
            f"{self.wanted.model} only if you expected a change"
        )

    def _mismatch(self, expected: str, actual: str) -> ModelChecksumError:
        return ModelChecksumError(
            f"wrong bytes: expected {expected}, got {actual}",
            expected=expected,
            actual=actual,
            hint=self._advice(),
            model=self.wanted.model,
            file=self.wanted.path,
        )
