"""Files that the user names, which may be anything that can be read: a pipe, a terminal, an endless device."""

from __future__ import annotations

import errno
import os
import select
import stat
from pathlib import Path

from vcm.core.digest import CHUNK

_PATIENCE = 30.0  # seconds


def read_input(path: Path, most: int) -> bytes:
    """The bytes of a file, or of a pipe, as in ``vcm diff <(git show main:models.lock)``.

    Args:
        path: what to read.
        most: of more bytes than that, only one more is read.

    Raises:
        OSError: it cannot be read, or nothing comes from it for half a minute.
    """
    # A pipe that nobody writes into would keep whoever opens it.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0))
    with os.fdopen(descriptor, "rb", buffering=0) as stream:
        may_wait = not stat.S_ISREG(os.fstat(descriptor).st_mode)
        chunks: list[bytes] = []
        missing = most + 1
        while missing > 0:
            if may_wait and os.name != "nt" and not select.select([stream], [], [], _PATIENCE)[0]:
                raise TimeoutError(errno.ETIMEDOUT, f"nothing came from it for {_PATIENCE:.0f} s")
            chunk = stream.read(min(CHUNK, missing))
            if chunk is None:
                # Another reader was faster.
                continue
            if not chunk:
                break
            chunks.append(chunk)
            missing -= len(chunk)
    return b"".join(chunks)
