"""Segments in the formats that players and editors read."""

from __future__ import annotations

import math

from vcm.core.subtitles import Cue, write_srt

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from vcm.core.findings import Segment


def srt(segments: Iterable[Segment]) -> str:
    """Segments as subtitles that say what was found while it is shown, for whoever looks through them."""
    return write_srt(
        Cue(segment.start, segment.end, f"{', '.join(segment.labels)} ({segment.score:.2f})") for segment in segments
    )


def edl(segments: Iterable[Segment]) -> str:
    """Segments as an edit decision list of MPlayer and Kodi, by which they are skipped.

    A line is ``start end action``, in seconds. The action is always 0, which cuts picture and sound: a segment may come
    from what was seen, heard and read at once, and 1, which mutes, would show it. mpv reads another format under the
    same name (``# mpv EDL v0``, a list of the parts to play), and not this one.

    Source: http://www.mplayerhq.hu/DOCS/HTML/en/edl.html and https://kodi.wiki/view/Edit_decision_list
    """
    # Outwards, so that nothing of a segment is left.
    return "".join(
        f"{math.floor(segment.start * 1000) / 1000:.3f} {math.ceil(segment.end * 1000) / 1000:.3f} 0\n"
        for segment in segments
    )
