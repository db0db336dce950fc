"""Pictures and sound on their way into a copy: black and silent where they must be, and else as they were."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from vcm.video.library import av, np
from vcm.video.pictures import orientation
from vcm.video.sound import Resampled

if TYPE_CHECKING:
    from av.audio.frame import AudioFrame
    from av.audio.stream import AudioStream
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream
    from numpy.typing import NDArray

    from vcm.video.decoding import Source

# A rate factor that nobody tells from the original, at a speed near that of playing; captions, which libx264 would
# take over from the original, are words that nobody looked at.
_X264 = {"crf": "17", "preset": "veryfast", "a53cc": "0"}
_BITS_A_CHANNEL = 128_000
_AAC_RATES = frozenset({96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350})
_AAC_LAYOUTS = {each: each for each in ("mono", "stereo", "3.0", "4.0", "5.0", "5.1")} | {"5.1(side)": "5.1"}
_FULL_RANGE = 2
"""AVCOL_RANGE_JPEG: black is 0, and not 16."""
_COLOURS_OF_RGB = 6
"""SMPTE 170M, by which swscale makes them of red, green and blue unless told."""


class Stretches:
    """Spans of time that may overlap.

    Args:
        spans: from, to, in seconds; in order.
    """

    def __init__(self, spans: Sequence[tuple[float, float]]) -> None:
        self._starts: list[float] = []
        self._ends: list[float] = []
        for start, end in spans:
            if end <= start:
                continue
            if self._ends and start <= self._ends[-1]:
                self._ends[-1] = max(self._ends[-1], end)
            else:
                self._starts.append(start)
                self._ends.append(end)

    def within(self, start: float, end: float) -> list[tuple[float, float]]:
        """Those that have a moment in common with a span, in order."""
        first = bisect_left(self._ends, start + 1e-9)
        last = bisect_left(self._starts, end - 1e-9)
        return list(zip(self._starts[first:last], self._ends[first:last], strict=True))


class Painted:
    """The pictures of a copy.

    Args:
        container: of the copy.
        stream: of the original.
        first: its first picture.
        spans: in which pictures are black, in order.
    """

    def __init__(
        self, container: Any, stream: VideoStream, first: VideoFrame, spans: Sequence[tuple[float, float]]
    ) -> None:
        self._container = container
        self._stretches = Stretches(spans)
        self._turns = orientation(first)
        self._reformatter = av.video.reformatter.VideoReformatter()
        self._graph: Any = None
        self._graph_key: object = None
        self._base = stream.time_base or Fraction(1, 90_000)
        self._held: tuple[VideoFrame, float, int] | None = None
        turned = self._turns[0]
        width, height = (first.height, first.width) if turned else (first.width, first.height)
        # 4:2:0 has one colour for two by two pixels.
        self._size = width + width % 2, height + height % 2
        self._format = _format(first)
        self._full = first.color_range == _FULL_RANGE or first.format.name.startswith("yuvj")
        self._stream = container.add_stream("libx264", rate=stream.average_rate or 25, options=dict(_X264))
        context = self._stream.codec_context
        context.width, context.height = self._size
        context.pix_fmt = self._format
        context.time_base = self._base
        ratio = stream.sample_aspect_ratio
        if ratio:
            context.sample_aspect_ratio = 1 / ratio if turned else ratio
        context.color_range = _FULL_RANGE if self._full else 1
        rgb = not first.format.name.startswith(("yuv", "nv", "p0", "gray"))
        context.colorspace = _COLOURS_OF_RGB if rgb else first.colorspace
        context.color_primaries = first.color_primaries
        context.color_trc = first.color_trc
        self._black = _black(*self._size, self._format, full=self._full)

    def add(self, frame: VideoFrame, time: float) -> None:
        """The next picture, and when it is shown."""
        number = round(time / self._base)
        if self._held is not None:
            number = max(number, self._held[2] + 1)
            self._write(time)
        self._held = frame, time, number

    def finish(self, end: float) -> None:
        """There are no more; the last is shown until then."""
        if self._held is not None:
            self._write(max(end, self._held[1]))
        self._container.mux(self._stream.encode(None))

    def _write(self, until: float) -> None:
        assert self._held is not None
        frame, time, number = self._held
        hidden = self._stretches.within(time, max(until, time + float(self._base)))
        shown = self._black if hidden else self._fitted(frame)
        shown.pts, shown.time_base = number, self._base
        shown.pict_type = 0  # the encoder decides which pictures stand for themselves
        self._container.mux(self._stream.encode(shown))

    def _fitted(self, frame: VideoFrame) -> VideoFrame:
        if any(self._turns):
            frame = self._turned(frame)
        range_ = _FULL_RANGE if self._full else 1
        return self._reformatter.reformat(frame, *self._size, format=self._format, dst_color_range=range_)

    def _turned(self, frame: VideoFrame) -> VideoFrame:
        key = frame.width, frame.height, frame.format.name
        if key != self._graph_key:
            self._graph_key = key
            graph = av.filter.Graph()
            nodes = [
                graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=self._base),
                *(
                    graph.add(name, argument)
                    for name, argument, wanted in zip(
                        ("transpose", "hflip", "vflip"), ("cclock_flip", None, None), self._turns, strict=True
                    )
                    if wanted
                ),
                graph.add("buffersink"),
            ]
            for one, other in pairwise(nodes):
                one.link_to(other)
            graph.configure()
            self._graph = graph
        self._graph.push(frame)
        made: VideoFrame = self._graph.pull()
        return made


class Muted:
    """The sound of a copy.

    Args:
        container: of the copy.
        source: of the sound.
        stream: of the original.
        spans: in which there is silence, in order.
    """

    def __init__(
        self, container: Any, source: Source, stream: AudioStream, spans: Sequence[tuple[float, float]]
    ) -> None:
        context = stream.codec_context
        self._container = container
        self._stretches = Stretches(spans)
        self._rate = context.sample_rate if context.sample_rate in _AAC_RATES else 48_000
        self._layout = _AAC_LAYOUTS.get(context.layout.name, "stereo")
        self._channels = av.AudioLayout(self._layout).nb_channels
        self._resampled = Resampled(source, self._rate, self._layout)
        self._written = 0
        self._stream = container.add_stream("aac", rate=self._rate, layout=self._layout)
        self._stream.codec_context.bit_rate = _BITS_A_CHANNEL * self._channels

    def add(self, frame: AudioFrame, time: float) -> None:
        """The next sound, and when it is heard."""
        for position, samples in self._resampled.add(frame, time):
            self._place(position, samples)

    def finish(self) -> None:
        """There is no more."""
        for position, samples in self._resampled.rest():
            self._place(position, samples)
        self._container.mux(self._stream.encode(None))

    def _place(self, position: int, samples: NDArray[np.float32]) -> None:
        while self._written < position:
            count = min(position - self._written, self._rate)
            self._encode(np.zeros((self._channels, count), np.float32))
        start = position / self._rate
        for begins, ends in self._stretches.within(start, start + samples.shape[1] / self._rate):
            first, last = round(begins * self._rate) - position, round(ends * self._rate) - position
            samples[:, max(0, first) : max(0, last)] = 0
        self._encode(samples)

    def _encode(self, samples: NDArray[np.float32]) -> None:
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples), format="fltp", layout=self._layout)
        frame.sample_rate, frame.pts, frame.time_base = self._rate, self._written, Fraction(1, self._rate)
        self._written += samples.shape[1]
        self._container.mux(self._stream.encode(frame))


def _format(frame: VideoFrame) -> str:
    """8 bits where 8 are enough, for every player knows them; else 10."""
    deep = max(component.bits for component in frame.format.components) > 8  # noqa: PLR2004
    return "yuv420p10le" if deep else "yuv420p"


def _black(width: int, height: int, format: str, *, full: bool) -> VideoFrame:  # noqa: A002
    frame = av.VideoFrame(width, height, format)
    luma, chroma = 0 if full else 16, 128
    for plane, value in zip(frame.planes, (luma, chroma, chroma), strict=True):
        sample = (value * 4).to_bytes(2, "little") if format == "yuv420p10le" else bytes([value])
        plane.update(sample * (plane.buffer_size // len(sample)))
    frame.color_range = _FULL_RANGE if full else 1
    return frame
