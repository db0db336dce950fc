"""Subtitles: the lines of text in a video, with their times."""

from __future__ import annotations

from vcm.core.records import record


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
