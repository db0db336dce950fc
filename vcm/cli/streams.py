"""Standard output and standard error, as they are handed to us and as we can use them."""

from __future__ import annotations

import codecs
import io
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


_SPELL = "vcm-spell"
_SPELLINGS = {"→": "->", "…": "~"}


def take_streams() -> None:
    """Make both streams such that nothing that is printed ends the work.

    A reader of standard output that has gone, as in ``vcm list | head``, is no error, and hides none: the exit code is
    that of the command. Whoever cannot be reached at standard error is not told. A stream may be closed (``2>&-``) or
    know only some letters.
    """
    codecs.register_error(_SPELL, _spelt)
    sys.stdout = _usable(sys.stdout, BrokenPipeError)
    sys.stderr = _usable(sys.stderr, OSError)


def _spelt(error: UnicodeError) -> tuple[str, int]:
    """Letters that a stream lacks: ours as well as can be, those of others as Python writes them."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    letters = error.object[error.start : error.end]
    spelt = [_SPELLINGS.get(each) or each.encode("ascii", "backslashreplace").decode() for each in letters]
    return "".join(spelt), error.end


class _Forgiving(io.FileIO):
    """A file that takes everything, and loses what certain errors keep from being written."""

    forgiven: type[OSError] = OSError

    def write(self, data: ReadableBuffer, /) -> int:
        try:
            # None: it would have to wait, which standard error may be set not to do.
            return super().write(data) or memoryview(data).nbytes
        except self.forgiven:
            return memoryview(data).nbytes


def _usable(stream: TextIO | None, forgiven: type[OSError]) -> TextIO:
    if stream is None:
        return Path(os.devnull).open("w", encoding="utf-8")
    if not isinstance(stream, io.TextIOWrapper):
        return stream
    errors = _SPELL if stream.errors in ("strict", "backslashreplace") else stream.errors
    raw = getattr(stream.buffer, "raw", stream.buffer)
    if type(raw) is not io.FileIO:
        # A console of Windows.
        stream.reconfigure(errors=errors)
        return stream
    file = _Forgiving(stream.fileno(), "w", closefd=False)
    file.forgiven = forgiven
    at_once = stream.line_buffering or stream.write_through
    return io.TextIOWrapper(io.BufferedWriter(file), stream.encoding, errors, line_buffering=at_once)
