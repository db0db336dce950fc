"""Bytes poured from one file into another place, and hashed on the way, while memory stays flat."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from io import FileIO
from itertools import cycle
from typing import TYPE_CHECKING

from vcm.core.digest import CHUNK
from vcm.store.files import new_buffer

if TYPE_CHECKING:
    from hashlib import _Hash


class Pouring:
    """Copies files, one after the other; one chunk is hashed while it is written and the next is read."""

    def __init__(self) -> None:
        self._buffers = (new_buffer(), new_buffer())

    def pour(
        self,
        source: FileIO,
        size: int,
        write: Callable[[memoryview], object],
        progress: Callable[[int], None],
        digest: _Hash | None = None,
    ) -> str:
        """Hand on bytes, from where the source stands, and give the SHA-256 of all that was hashed.

        A source that cannot be read is told from a place that cannot be written: OSError has its name.

        Args:
            source: a file without a buffer of its own.
            size: how many bytes; there may be fewer.
            write: takes all of what it is given; it may not keep it.
            progress: told how many more bytes went by; what it raises ends the work.
            digest: of what came before.
        """
        digest = digest or hashlib.sha256()
        hashed: Future[None] | None = None
        # For a small file, a second thread would begin when all is done.
        with ThreadPoolExecutor(1, "vcm-hash") if size > CHUNK else nullcontext() as pool:
            for buffer in cycle(self._buffers):
                count = _read(source, buffer[: min(size, CHUNK)])
                if hashed is not None:
                    hashed.result()
                if not count:
                    break
                size -= count
                if pool is not None:
                    hashed = pool.submit(digest.update, buffer[:count])
                else:
                    digest.update(buffer[:count])
                write(buffer[:count])
                progress(count)
        return digest.hexdigest()


def _read(source: FileIO, buffer: memoryview) -> int:
    try:
        return source.readinto(buffer)
    except OSError as error:
        error.filename = str(source.name)
        raise
