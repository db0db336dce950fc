"""Whether a file is as long as its own structure says: FFmpeg plays what is there of MP4 and AVI, and says nothing.

MPEG transport streams and others that are cut anywhere while they are recorded have no such structure.
"""

from __future__ import annotations

from typing import BinaryIO

_BOXES = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot")
_UNKNOWN = 0xFFFFFFFF


def missing(file: BinaryIO, size: int) -> int:
    """How many bytes a file lacks at its end; 0 where it is whole, or has no lengths to go by.

    Sources: ISO/IEC 14496-12, 4.2 (a box is its length in four bytes, a name, and perhaps the length in eight more), and
    the RIFF of AVI (chunks of a name and a length in four bytes).
    """
    head = file.read(12)
    if head[4:8] in _BOXES:
        return max(0, _end_of_boxes(file, size) - size)
    if head[:4] == b"RIFF" and head[8:] == b"AVI ":
        length = int.from_bytes(head[4:8], "little")
        return max(0, 8 + length - size) if 0 < length < _UNKNOWN else 0
    return 0


def _end_of_boxes(file: BinaryIO, size: int) -> int:
    position = 0
    while position < size:
        file.seek(position)
        head = file.read(16)
        length = int.from_bytes(head[:4])
        if length == 0:
            return size  # the last box, which goes to the end of the file; or padding
        if length == 1:
            length = int.from_bytes(head[8:16])
        if len(head) < 8 or length < 8:  # noqa: PLR2004  (its own head)
            return size  # something else after the last box
        position += length
    return position
