"""Subtitles, wherever a video has them: in itself, and in the files beside it."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from vcm.core.subtitles import Cue, are_subtitles_of, ass_text, read_subtitles, shown_until
from vcm.errors import VideoError

if TYPE_CHECKING:
    from av.subtitles.subtitle import SubtitleSet

_MOST_BYTES = 32 * 1024**2


def beside(video: Path) -> tuple[Path, ...]:
    """The files with a video's subtitles: for ``talk.mp4`` ``talk.srt``, ``talk.en.vtt`` and the like."""
    try:
        names = sorted(each.name for each in video.parent.iterdir())
    except OSError as error:
        raise _unreadable(video.parent, error) from error
    return tuple(video.with_name(name) for name in names if are_subtitles_of(video.stem, name))


def read_beside(path: Path) -> tuple[Cue, ...]:
    """The cues of a file beside a video.

    Raises:
        VideoError: it cannot be read, or holds no subtitles.
    """
    try:
        found = path.stat()
        # Opening a pipe would wait for ever.
        if not stat.S_ISREG(found.st_mode):
            raise VideoError("it is not a file", hint="remove it, or replace it by subtitles", file=str(path))
        if found.st_size > _MOST_BYTES:
            raise VideoError("it is too large for subtitles", hint="remove or replace the file", file=str(path))
        data = path.read_bytes()
    except OSError as error:
        raise _unreadable(path, error) from error
    return read_subtitles(data, str(path))


def embedded(start: float, length: float, found: SubtitleSet) -> Iterator[Cue]:
    """The cues of a packet of subtitles that starts at these seconds and is shown for as many."""
    for rectangle in found:
        text = ass_text(getattr(rectangle, "ass", b"").decode("utf-8", "replace"))
        if text:
            end = start + (length or found.end_display_time / 1000)
            yield Cue(max(start, 0.0), shown_until(max(start, 0.0), end), text)


class NewCues:
    """Which cues were not yet given out: what stands in a video and beside it is read once."""

    def __init__(self) -> None:
        self._given: set[tuple[int, int, str]] = set()

    def __call__(self, cue: Cue) -> bool:
        """Whether it is new; to the tenth of a second, for formats round."""
        key = round(cue.start * 10), round(cue.end * 10), cue.text
        new = key not in self._given
        self._given.add(key)
        return new


def _unreadable(path: Path, error: OSError) -> VideoError:
    return VideoError(
        f"it cannot be read ({error.strerror})", hint="check its permissions, or remove it", file=str(path)
    )
