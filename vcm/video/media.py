"""What a video is made of, as detectors are shown it. All times are seconds from the video's start."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vcm.core.records import record

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SOUND_RATE = 16_000
"""Samples a second of the sound that detectors hear: what speech and audio models are trained on."""


@record(frozen=True)
class Frame:
    """One picture, and the stretch of the video for which it stands.

    Attributes:
        start: seconds.
        end: seconds; the start of the next picture that the same detector is shown, or the video's end.
        pixels: height x width x 3, red, green, blue, 0 to 255, the right way up.
    """

    start: float
    end: float
    pixels: NDArray[np.uint8]


@record(frozen=True)
class Sound:
    """A stretch of the sound.

    Attributes:
        start: seconds.
        end: seconds.
        samples: one channel, ``SOUND_RATE`` a second, -1 to 1.
    """

    start: float
    end: float
    samples: NDArray[np.float32]


@record(frozen=True)
class FramesEvery:
    """A request for pictures: the one that is on the screen at the start, and then after every so many seconds.

    A picture that stays longer than that is shown once.

    Attributes:
        seconds: more than 0.
    """

    seconds: float


@record(frozen=True)
class SoundIn:
    """A request for the sound, one stretch after the other; the last may be shorter.

    Stretches in which the video has no sound at all are left out.

    Attributes:
        seconds: how long they are, more than 0.
    """

    seconds: float


@record(frozen=True)
class Subtitles:
    """A request for the subtitles: those of all text tracks in the video, and of the files beside it."""


Request = FramesEvery | SoundIn | Subtitles
