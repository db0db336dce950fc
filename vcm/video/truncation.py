"""Whether a file is as long as its own structure says: FFmpeg plays what is there, and says nothing.

MPEG transport streams and others that are cut anywhere while they are recorded have no such structure.
"""

from __future__ import annotations

from typing import BinaryIO

_BOXES = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot")
_EBML, _SEGMENT = bytes.fromhex("1A45DFA3"), bytes.fromhex("18538067")
_UNKNOWN = 0xFFFFFFFF


def missing(file: BinaryIO, size: int) -> int:
    """How many bytes a file lacks at its end; 0 where it is whole, or has no lengths to go by.

    Sources: ISO/IEC 14496-12, 4.2 (a box is its length in four bytes, a name, and perhaps the length in eight more);
    the RIFF of AVI (chunks of a name and a length in four bytes); RFC 8794, 4 and 5, for Matroska and WebM (an element
    is its number, its length and its data; all but the file's head is one element).
    """
    head = file.read(12)
    if head[4:8] in _BOXES:
        return max(0, _end_of_boxes(file, size) - size)
    if head[:4] == b"RIFF" and head[8:] == b"AVI ":
        length = int.from_bytes(head[4:8], "little")
        return max(0, 8 + length - size) if 0 < length < _UNKNOWN else 0
    if head[:4] == _EBML:
        file.seek(0)
        return max(0, _end_of_segment(file.read(4096), size) - size)
    return 0


def _end_of_segment(head: bytes, size: int) -> int:
    length, width = _variable(head[4:12])
    segment = 4 + width + length
    if head[segment : segment + 4] != _SEGMENT:
        return size
    length, width = _variable(head[segment + 4 : segment + 12])
    if length == (1 << 7 * width) - 1:
        return size  # unknown: it was written as it was recorded
    return segment + 4 + width + length


def _variable(data: bytes) -> tuple[int, int]:
    """A number, and in how many bytes it stands: as many as the first bit that is set says."""
    width = 9 - data[0].bit_length() if data and data[0] else 8
    return int.from_bytes(data[:width]) & ((1 << 7 * width) - 1), width


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
