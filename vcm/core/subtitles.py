"""Subtitles: the lines of text in a video, with their times; the .srt and .vtt files that hold them.

SubRip has no specification; the rules here are those of what is found in the wild. WebVTT is
https://www.w3.org/TR/webvtt1/. Both are read by one rule, because files have the wrong suffix often enough: a line
with ``-->`` gives the times, and the lines below it, up to an empty one or the next times, are the text. All else
(numbers, notes, styles, regions, garbage) has no times in front of it, and says nothing.
"""

from __future__ import annotations

import html
import re

from vcm.core.records import record
from vcm.errors import VideoError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

UNKNOWN_LENGTH = 1.0
"""Seconds for which a line is taken to be shown that does not end after its start."""
LONGEST = 7 * 24 * 3600.0
"""Seconds beyond which a time is none."""

_SUFFIXES = (".srt", ".vtt")
_TIME = r"(?:(\d{1,9})\s?:\s?)?(\d{1,2})\s?:\s?(\d{1,2})(?:\s?[,.:]\s?(\d{1,9}))?"
_TIMES = re.compile(rf"\s{{0,9}}{_TIME}\s{{0,9}}-{{1,2}}>\s{{0,9}}{_TIME}")
# Bounded, so that no line takes longer than its length.
_MARKUP = re.compile(r"</?[A-Za-z0-9][^<>]{0,200}>|</>|\{\\[^{}]{0,500}\}|\{[a-zA-Z]:[^{}]{0,200}\}")
_ASS_CODES = re.compile(r"\{[^{}]{0,5000}\}")
_ASS_BREAKS = re.compile(r"\\[Nnh]")
_ASS_FIELDS = 8
"""What stands before a line's text, with a comma after each: ReadOrder, Layer, Style, Name, three margins, Effect."""


@record(frozen=True)
class Cue:
    """One line of text, as it is shown.

    Attributes:
        start: seconds from the video's start.
        end: seconds; after the start.
        text: plain, without markup; lines are parted by blanks.
    """

    start: float
    end: float
    text: str


def are_subtitles_of(video: str, name: str) -> bool:
    """Whether a file holds a video's subtitles, by its name.

    Args:
        video: the video's name without its suffix, ``talk``.
        name: of a file in the same folder, ``talk.srt``, ``talk.en.vtt``.
    """
    return name.startswith(f"{video}.") and name.lower().endswith(_SUFFIXES)


def read_subtitles(data: bytes, file: str) -> tuple[Cue, ...]:
    """The cues of a .srt or .vtt file, in order of their times.

    Args:
        data: UTF-8; UTF-16 with a byte order mark; anything else is taken for Windows-1252.
        file: its name, for errors.

    Raises:
        VideoError: there is something in the file, but nothing with times.
    """
    text = _decode(data)
    lines = text.splitlines()
    cues = sorted(_cues(lines), key=lambda cue: (cue.start, cue.end))
    if not cues and not any(_TIMES.match(line) for line in lines):
        for number, line in enumerate(lines, 1):
            if line.strip() and not line.startswith("WEBVTT"):
                raise VideoError(
                    f"line {number} should give a time like 00:00:01,000 --> 00:00:02,000, and no line below does",
                    hint="remove the file, or replace it by subtitles in the format .srt or .vtt",
                    file=file,
                )
    return tuple(cues)


def write_srt(cues: Iterable[Cue]) -> str:
    """Cues as the text of a .srt file.

    Milliseconds are the finest the format has; a cue lasts at least one. ``<``, ``>``, ``&`` and braces, which would be
    markup, are written as entities.
    """
    return "\n".join(f"{number}\n{_srt_cue(cue)}\n" for number, cue in enumerate(cues, 1))


def plain(text: str) -> str:
    """Text of a .srt or .vtt cue without its markup; runs of blanks and line ends become one blank."""
    return " ".join(html.unescape(_MARKUP.sub("", text)).split())


def ass_text(event: str) -> str:
    """The plain text of a line of Advanced SubStation Alpha, as it stands in a packet of a video.

    Source: https://www.matroska.org/technical/subtitles.html#ssaass-subtitles
    """
    fields = event.split(",", _ASS_FIELDS)
    return " ".join(_ASS_CODES.sub("", _ASS_BREAKS.sub(" ", fields[-1])).split())


def shown_until(start: float, end: float) -> float:
    """The end of a line that starts then and says that it ends then."""
    return end if end > start else start + UNKNOWN_LENGTH


def _decode(data: bytes) -> str:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        text = data.decode("utf-16", "replace")
    else:
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError:
            text = data.decode("cp1252", "replace")
    # A few editors leave them at the end; nothing that is shown holds one.
    return text.replace("\0", "")


def _cues(lines: list[str]) -> Iterator[Cue]:
    times: tuple[float, float] | None = None
    text: list[str] = []
    for line in [*lines, ""]:
        found = _times(line)
        if found is None and line.strip():
            text.append(line)
            continue
        if found is not None and times is not None and text and text[-1].strip().isdecimal():
            text.pop()  # the number of the next cue, where no empty line stands before it
        if times is not None and (words := plain(" ".join(text))):
            yield Cue(times[0], shown_until(*times), words)
        times, text = found, []


def _times(line: str) -> tuple[float, float] | None:
    if "->" not in line:
        return None
    found = _TIMES.match(line)
    if found is None:
        return None
    start, end = _seconds(*found.groups()[:4]), _seconds(*found.groups()[4:])
    return None if start > LONGEST else (start, min(end, LONGEST))


def _seconds(hours: str | None, minutes: str, seconds: str, fraction: str | None) -> float:
    return int(hours or 0) * 3600 + int(minutes) * 60 + int(seconds) + float(f"0.{fraction or 0}")


def _srt_cue(cue: Cue) -> str:
    start = round(cue.start * 1000)
    end = max(round(cue.end * 1000), start + 1)
    text = html.escape(" ".join(cue.text.split()), quote=False).replace("{", "&#123;").replace("}", "&#125;")
    return f"{_clock(start)} --> {_clock(end)}\n{text}"


def _clock(milliseconds: int) -> str:
    seconds, rest = divmod(milliseconds, 1000)
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02},{rest:03}"
