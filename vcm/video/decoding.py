"""A video that is decoded once, from start to end; what is wrong with it is told.

A censor must not pass what nobody looked at. So a file that ends before it says it does, or whose times jump, is
refused; packets that cannot be decoded, which recordings of broadcasts have, are counted, and refused when they are
more than one in a hundred.
"""

from __future__ import annotations

import stat
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Self, TypeVar

from vcm.errors import PERMISSION_ERROR, VideoError
from vcm.video.library import av
from vcm.video.truncation import missing

if TYPE_CHECKING:
    from av.audio.frame import AudioFrame
    from av.container import InputContainer
    from av.packet import Packet
    from av.stream import Stream
    from av.subtitles.subtitle import SubtitleSet
    from av.video.frame import VideoFrame

    S = TypeVar("S", bound=Stream)
    Item = VideoFrame | AudioFrame | SubtitleSet

# What FFmpeg calls the formats in which videos and sound are kept. Others name files or hosts that would be read with
# them (playlists, scripts), or are pictures and devices.
FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,live_flv,kux,ogg,asf,asf_o,mxf,nut,ivf,rm,dv,"
    "wtv,h264,hevc,av1,obu,vvc,m4v,y4m,yuv4mpegpipe,gif,mp3,aac,flac,wav,w64,ac3,eac3,aiff,caf,amr,dts,truehd,ape,wv,tta"
)
TEXTS = frozenset({"ass", "mov_text", "ssa", "srt", "subrip", "text", "webvtt"})
MOST_PIXELS = 2**26
"""Of one picture; 8K has half as many."""
MOST_BACKWARDS = 1.0
"""Seconds by which a time may lie before the one that went before it."""
MOST_FORWARDS = 24 * 3600.0
"""Seconds by which a time may lie behind the one that went before it."""
MOST_MISSING = 1.0
"""Seconds, or a hundredth of the duration, by which a file may end before the duration that it gives."""
MOST_DAMAGED = 100
"""One in so many packets may be undecodable, and one in any case."""


def unheeded(_: int) -> None:
    """Told how far something is, for nobody who wants to know."""


class Source:
    """An open video. A context manager.

    Attributes:
        path: as it was given.
        size: bytes.
        duration: seconds, as the file has it; None where it does not say.
        pictures: the stream of pictures; None where there is none but the cover's.
        sound: the stream of sound that a player would choose; None where there is none.
        texts: all streams of subtitles that are text.
        damaged: packets that could not be decoded so far.
        end: seconds after which nothing more was found; known when all is decoded.
        text_length: seconds for which the subtitle is shown that was decoded last; 0 where the file does not say.

    Raises:
        VideoError: it cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = _size(path)
        self.damaged = 0
        self.end = 0.0
        self.text_length = 0.0
        with self.faults("it is no video that can be read"):
            self._container = _open(path)
        try:
            self._choose()
        except BaseException:
            self._container.close()
            raise

    def _choose(self) -> None:
        container = self._container
        start, duration = container.start_time, container.duration
        self._start = Fraction(start or 0, av.time_base)
        self.duration = duration / av.time_base if duration is not None and duration > 0 else None
        self.pictures = _best(container, "video", container.streams.video)
        self.sound = _best(container, "audio", container.streams.audio)
        self.texts = tuple(each for each in container.streams.subtitles if _codec(each) in TEXTS)
        for stream, what in ((self.pictures, "pictures"), (self.sound, "sound")):
            if stream is not None and _codec(stream) is None:
                raise self.error(f"there is no decoder for its {what}", "convert it to H.264 and AAC first")
        if self.pictures is None and self.sound is None:
            raise self.error("it has neither pictures nor sound", "name a file that is a video")
        if self.pictures is not None:
            context = self.pictures.codec_context
            if context.width * context.height > MOST_PIXELS:
                raise self.error(
                    f"its pictures have {context.width} x {context.height} pixels, which is too many",
                    f"scale it down to at most {MOST_PIXELS} pixels",
                )
            context.thread_type = "AUTO"
            context.options = {"max_pixels": str(MOST_PIXELS)}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._container.close()

    def error(self, message: str, hint: str = "") -> VideoError:
        """What is wrong with this video, to be raised."""
        return VideoError(message, hint=hint or "copy or record it again", file=str(self.path))

    @contextmanager
    def faults(self, message: str) -> Iterator[None]:
        """Tells what FFmpeg says as an error about this video."""
        try:
            yield
        # What PyAV says of a stream that was not there at the start is an IndexError.
        except (av.error.FFmpegError, UnicodeError, IndexError) as error:
            words = error.strerror if isinstance(error, av.error.FFmpegError) else str(error)
            raise self.error(f"{message} ({words})") from error

    def seconds(self, count: int, base: Fraction | None) -> float:
        """A time stamp as seconds from the video's start."""
        return float(count * (base or Fraction(1, av.time_base)) - self._start)

    def decode(
        self, streams: Collection[Stream], advanced: Callable[[int], None] = unheeded
    ) -> Iterator[tuple[Stream, float, Item]]:
        """All that streams hold, in the order of the file, with the seconds at which it starts; to be called once.

        Times of pictures and sound never go back.

        Args:
            streams: of this source.
            advanced: told how many more bytes of the file were read; in the end they are its size.

        Raises:
            VideoError: the file is damaged, ends too soon, or its times jump.
        """
        decoders = {stream.index: _Decoder(self, stream) for stream in streams}
        told = 0
        for packet in self._packets():
            if packet.pos is not None and told < packet.pos <= self.size:
                advanced(packet.pos - told)
                told = packet.pos
            # Not packet.stream_index: of the packets that flush the decoders at the end, that is always 0.
            decoder = decoders.get(packet.stream.index)
            if decoder is not None:
                for time, item in decoder.items(packet):
                    yield decoder.stream, time, item
        self._check_end()
        for decoder in decoders.values():
            decoder.check()
        advanced(self.size - told)

    def _packets(self) -> Iterator[Packet[Stream]]:
        played = {each.index for each in (self.pictures, self.sound) if each is not None}
        packets = self._container.demux()
        while True:
            with self.faults(f"it is damaged after {self.end:.1f} s"):
                packet = next(packets, None)
            if packet is None:
                return
            stamp = packet.pts if packet.pts is not None else packet.dts
            if packet.stream.index in played and stamp is not None:
                self.end = max(self.end, self.seconds(stamp + (packet.duration or 0), packet.time_base))
            yield packet

    def _check_end(self) -> None:
        if self.duration is None:
            return
        start = float(self._start)
        if self._container.format.name.startswith("matroska") and 0 < start < self.duration - self.end + MOST_MISSING:
            # Some writers of Matroska count the duration from zero, others from the first time stamp.
            self.duration -= start
        if self.duration - self.end > max(MOST_MISSING, self.duration / 100):
            raise self.error(f"it ends after {self.end:.1f} s, but should last {self.duration:.1f} s")
        self.end = max(self.end, self.duration)


class _Decoder:
    """One stream's packets, decoded, with true times."""

    def __init__(self, source: Source, stream: Stream) -> None:
        self.stream = stream
        self._source = source
        self._packets = self._damaged = self._items = 0
        self._last: float | None = None
        self._expected = 0.0
        # Of the presentation and the decoding time stamps: the last, and how many did not lie after it.
        self._stamps: list[int | None] = [None, None]
        self._faults = [0, 0]

    def items(self, packet: Packet[Stream]) -> Iterator[tuple[float, Item]]:
        """What a packet holds."""
        self._packets += bool(packet.size)
        if self.stream.type == "subtitle":
            yield from self._lines(packet)
            return
        try:
            frames: list[VideoFrame | AudioFrame] = packet.decode()  # type: ignore[assignment]
        except av.error.MemoryError:
            raise
        except av.error.FFmpegError:
            self._count()
            return
        for frame in frames:
            if frame.is_corrupt or packet.is_corrupt:
                self._count()
            self._items += 1
            yield self._time(frame), frame

    def _lines(self, packet: Packet[Stream]) -> Iterator[tuple[float, Item]]:
        if not packet.size or packet.pts is None:
            return
        try:
            found = self.stream.decode2(packet)  # type: ignore[attr-defined]
        except av.error.FFmpegError:
            self._count()
            return
        if found is not None:
            self._items += 1
            self._source.text_length = float((packet.duration or 0) * packet.time_base)
            yield self._source.seconds(packet.pts, packet.time_base), found

    def _time(self, frame: VideoFrame | AudioFrame) -> float:
        stamp = self._stamp(frame)
        time = self._expected if stamp is None else self._source.seconds(stamp, frame.time_base)
        if self._last is not None and not self._last - MOST_BACKWARDS <= time <= self._last + MOST_FORWARDS:
            raise self._source.error(
                f"its times jump from {self._last:.1f} s to {time:.1f} s",
                "join or convert it with a tool that writes new time stamps",
            )
        time = max(time, self._last or 0.0)
        self._last = time
        self._expected = time + _length(frame, self.stream)
        self._source.end = max(self._source.end, self._expected)
        return time

    def _stamp(self, frame: VideoFrame | AudioFrame) -> int | None:
        """The one of a frame's two time stamps that is true; None where it has none that is.

        Frames come in the order of their times. AVI knows no time stamps, and those of presentation that FFmpeg makes
        up for H.264 go forth and back. Source: guess_correct_pts in FFmpeg's libavcodec/decode.c.
        """
        for number, stamp in enumerate((frame.pts, frame.dts)):
            last = self._stamps[number]
            if stamp is not None:
                self._faults[number] += last is not None and stamp <= last
                self._stamps[number] = stamp
        by_decoding = self._faults[0] > self._faults[1] and self._stamps[1] is not None
        return frame.dts if by_decoding or frame.pts is None else frame.pts

    def _count(self) -> None:
        self._damaged += 1
        self._source.damaged += 1

    def check(self) -> None:
        """Refuse a stream of which too much is missing."""
        if self._damaged > max(1, self._packets // MOST_DAMAGED) or (
            self._packets and not self._items and self.stream.type != "subtitle"
        ):
            kind = {"video": "pictures are", "audio": "sound is"}.get(self.stream.type, "subtitles are")
            raise self._source.error(
                f"its {kind} damaged: {self._damaged} of {self._packets} packets cannot be decoded"
            )


def _length(frame: VideoFrame | AudioFrame, stream: Stream) -> float:
    """How many seconds a frame lasts, as far as it can be told from itself."""
    samples = getattr(frame, "samples", None)
    if samples is not None:
        return float(samples / (getattr(frame, "sample_rate", 0) or 1))
    if frame.duration and frame.time_base:
        return float(frame.duration * frame.time_base)
    return float(1 / stream.average_rate) if stream.average_rate else 0.0


def _size(path: Path) -> int:
    try:
        found = path.stat()
        lacking = 0
        if stat.S_ISREG(found.st_mode):
            with path.open("rb") as file:
                lacking = missing(file, found.st_size)
    except OSError as error:
        raise VideoError(
            f"it cannot be read ({error.strerror})",
            hint="check the path and its permissions",
            error_code=PERMISSION_ERROR if isinstance(error, PermissionError) else None,
            file=str(path),
        ) from error
    if not stat.S_ISREG(found.st_mode):
        raise VideoError("it is not a file", hint="name a file that is a video", file=str(path))
    if not found.st_size:
        raise VideoError("it is empty", hint="copy or record it again", file=str(path))
    if lacking:
        raise VideoError(
            f"its end is missing, at least {lacking} bytes", hint="copy or record it again", file=str(path)
        )
    return found.st_size


def _open(path: Path) -> InputContainer:
    # Absolute, lest a name look like a protocol; only files, whatever a file names.
    return av.open(
        str(path.absolute()),
        "r",
        container_options={"format_whitelist": FORMATS, "protocol_whitelist": "file"},
        metadata_errors="replace",
    )


def _best(container: InputContainer, kind: Literal["video", "audio"], streams: tuple[S, ...]) -> S | None:
    """The one that a player would choose; a cover is none."""
    shown = [each for each in streams if not each.disposition & av.stream.Disposition.attached_pic]
    if not shown:
        return None
    best = container.streams.best(kind)
    return next((each for each in shown if best is not None and each.index == best.index), shown[0])


def _codec(stream: Stream) -> str | None:
    """What FFmpeg calls the stream's decoder; None where it has none."""
    context = stream.codec_context
    return context.name if context is not None else None
