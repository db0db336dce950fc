"""Pictures as detectors are shown them: in time, upright, red, green and blue."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from vcm.video.library import np
from vcm.video.media import Frame

if TYPE_CHECKING:
    from av.video.frame import VideoFrame
    from av.video.reformatter import VideoReformatter
    from numpy.typing import NDArray

_CLOSE = 0.0005
"""Seconds that two times may differ and be the same; containers round to milliseconds."""


class Picture:
    """A decoded picture that becomes red, green and blue when somebody looks.

    Args:
        frame: as it was decoded.
        reformatter: one for all pictures of a video, for it prepares itself at the first.
    """

    def __init__(self, frame: VideoFrame, reformatter: VideoReformatter) -> None:
        self._frame = frame
        self._reformatter = reformatter
        self._pixels: NDArray[np.uint8] | None = None

    @property
    def pixels(self) -> NDArray[np.uint8]:
        """As ``Frame.pixels``."""
        if self._pixels is None:
            made = self._reformatter.reformat(self._frame, format="rgb24")
            pixels: NDArray[np.uint8] = made.to_ndarray()  # type: ignore[assignment]
            self._pixels = np.ascontiguousarray(_upright(pixels, orientation(self._frame)))
        return self._pixels


class Sampled:
    """The pictures for one detector.

    Args:
        seconds: from one to the next.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._due: float | None = None
        self._shown: Picture | None = None
        self._picked: tuple[float, NDArray[np.uint8]] | None = None

    def add(self, picture: Picture, time: float) -> Iterator[Frame]:
        """The picture that is complete now that another is on the screen."""
        if self._due is None:
            self._due = time
        elif self._due < time - _CLOSE:
            yield from self._pick()
            self._due = math.ceil((time - _CLOSE) / self._seconds) * self._seconds
        self._shown = picture

    def rest(self, end: float) -> Iterator[Frame]:
        """The last pictures; the video ends at these seconds."""
        if self._due is not None and self._due < end:
            yield from self._pick()
        yield from self._complete(end)

    def _pick(self) -> Iterator[Frame]:
        assert self._due is not None
        assert self._shown is not None
        yield from self._complete(self._due)
        self._picked = self._due, self._shown.pixels

    def _complete(self, end: float) -> Iterator[Frame]:
        if self._picked is not None:
            start, pixels = self._picked
            yield Frame(start, end, pixels)


def orientation(frame: VideoFrame) -> tuple[bool, bool, bool]:
    """How a picture is to be turned: rows and columns change places; then left and right; then top and bottom.

    That is the display matrix of ISO/IEC 14496-12, 8.5.3, as far as it turns by quarters and mirrors: a point (x, y)
    is shown at (a x + c y, b x + d y).
    """
    side_data: Any = frame.side_data
    found = side_data.get("DISPLAYMATRIX")
    if found is None:
        return False, False, False
    a, b, _, c, d = (int(each) for each in np.frombuffer(bytes(found), np.int32)[:5])
    turned = abs(b) + abs(c) > abs(a) + abs(d)
    across, down = (c, b) if turned else (a, d)
    return turned, across < 0, down < 0


def _upright(pixels: NDArray[np.uint8], turns: tuple[bool, bool, bool]) -> NDArray[np.uint8]:
    turned, mirrored, upturned = turns
    if turned:
        pixels = pixels.swapaxes(0, 1)
    return pixels[:: -1 if upturned else 1, :: -1 if mirrored else 1]
