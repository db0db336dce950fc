"""Sound as numbers whose place in time is true, in one rate and layout, whatever the stream does."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from vcm.video.library import av, np
from vcm.video.media import SOUND_RATE, Sound

if TYPE_CHECKING:
    from av.audio.frame import AudioFrame
    from numpy.typing import NDArray

    from vcm.video.decoding import Source

_JITTER = 0.05
"""Seconds that a time stamp may be off before the sound is moved; containers round to milliseconds, and worse."""
_MOST_LATE = 1.0
"""Seconds that sound may come to lie behind its time stamps, where they tell of less than there is."""


class Resampled:
    """A stream's sound in one rate and layout.

    Args:
        source: where the sound comes from, for what is wrong with it.
        rate: samples a second.
        layout: as FFmpeg names it.
    """

    def __init__(self, source: Source, rate: int, layout: str) -> None:
        self._source = source
        self._rate = rate
        self._layout = layout
        self._resampler: av.AudioResampler | None = None
        self._kind: tuple[str, str, int] | None = None
        self._expected = 0.0
        self._position = 0

    def add(self, frame: AudioFrame, time: float) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """What a frame becomes: channels x samples, and the place of the first, counted in samples from the start.

        Places never go back; where one leaps, there is no sound in between.

        Raises:
            VideoError: there is more sound than the time stamps have room for.
        """
        kind = (frame.format.name, frame.layout.name, frame.sample_rate)
        if time < self._expected - _MOST_LATE:
            raise self._source.error(
                f"its sound is longer than its times tell at {time:.1f} s",
                "convert it with a tool that writes new time stamps",
            )
        if self._resampler is None or kind != self._kind or time > self._expected + _JITTER:
            yield from self.rest()
            self._resampler = av.AudioResampler("fltp", self._layout, self._rate)
            self._kind = kind
            self._position = max(self._position, round(time * self._rate))
            self._expected = max(self._expected, time)
        self._expected += frame.samples / frame.sample_rate
        # Its own count is what counts; a time stamp would only make the resampler think again.
        frame.pts = None
        yield from self._placed(frame)

    def rest(self) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """What the resampler still holds."""
        if self._resampler is not None:
            yield from self._placed(None)
            self._resampler = None

    def _placed(self, frame: AudioFrame | None) -> Iterator[tuple[int, NDArray[np.float32]]]:
        assert self._resampler is not None
        for made in self._resampler.resample(frame):
            samples: NDArray[np.float32] = made.to_ndarray()  # type: ignore[assignment]
            yield self._position, samples
            self._position += samples.shape[1]


class Chunks:
    """Sound for one detector, cut into stretches of the same length.

    Args:
        seconds: how long they are.
    """

    def __init__(self, seconds: float) -> None:
        self._length = max(1, round(seconds * SOUND_RATE))
        self._number = -1
        self._samples: NDArray[np.float32] = np.zeros(0, np.float32)
        self._filled = 0

    def add(self, position: int, samples: NDArray[np.float32]) -> Iterator[Sound]:
        """The stretches that are complete with these samples, the first of which has this place."""
        done = 0
        while done < len(samples):
            number, offset = divmod(position + done, self._length)
            if number != self._number:
                yield from self._chunk(self._length)
                self._number = number
                self._samples = np.zeros(self._length, np.float32)
            count = min(self._length - offset, len(samples) - done)
            self._samples[offset : offset + count] = samples[done : done + count]
            self._filled = offset + count
            done += count

    def rest(self) -> Iterator[Sound]:
        """The last stretch."""
        yield from self._chunk(self._filled)

    def _chunk(self, length: int) -> Iterator[Sound]:
        if self._number >= 0:
            start = self._number * self._length
            yield Sound(start / SOUND_RATE, (start + length) / SOUND_RATE, self._samples[:length])
