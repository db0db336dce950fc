"""Plays a video once, from start to end, to whoever wants to see, hear or read it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from vcm.core.subtitles import Cue
from vcm.video.decoding import Source, unheeded
from vcm.video.library import av
from vcm.video.media import SOUND_RATE, Frame, FramesEvery, Request, Sound, SoundIn, Subtitles
from vcm.video.pictures import Picture, Sampled
from vcm.video.sound import Chunks, Resampled
from vcm.video.subtitles import NewCues, beside, embedded, read_beside

if TYPE_CHECKING:
    from av.audio.frame import AudioFrame
    from av.stream import Stream
    from av.subtitles.subtitle import SubtitleSet
    from av.video.frame import VideoFrame

MOST_LETTERS = 100_000
"""Of one subtitle. What detectors need for a text grows with it."""

Shown = tuple[Request, Frame | Sound | Cue]


def open_video(path: Path) -> Video:
    """Open a video; its sound and pictures are not read yet.

    Raises:
        VideoError: it is no video, cannot be read, or holds what cannot be decoded.
    """
    return Video(Source(path))


class Video:
    """An open video, to be played once. A context manager.

    Attributes:
        path: as it was given.
        size: bytes.
        has_pictures: whether there is anything to see; a cover is nothing.
        has_sound: whether there is anything to hear.
        has_subtitles: whether there are subtitles that are text, in it or beside it.
        damaged: packets that could not be decoded, so far; few, or playing ends with an error.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._beside = beside(source.path)
        self.path = source.path
        self.size = source.size
        self.has_pictures = source.pictures is not None
        self.has_sound = source.sound is not None
        self.has_subtitles = bool(source.texts or self._beside)

    @property
    def duration(self) -> float | None:
        """Seconds, as the file has it; None where it does not say."""
        return self._source.duration

    @property
    def end(self) -> float:
        """Seconds after which there is nothing more to see or hear; known when it was played."""
        return self._source.end

    @property
    def damaged(self) -> int:
        """See the class."""
        return self._source.damaged

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._source.__exit__(kind, error, trace)

    def play(self, requests: Collection[Request], advanced: Callable[[int], None] = unheeded) -> Iterator[Shown]:
        """What was asked for, as it comes up in the file; each distinct request is served once.

        Subtitles in files beside the video come first. For one request, pictures and sound come in order of time.

        Args:
            requests: what is wanted; a request for what the video does not have is served with nothing.
            advanced: told how many more bytes of the file were read; in the end they are its size.

        Raises:
            VideoError: the video, or a file beside it, cannot be read to its end.
        """
        player = _Player(self._source, requests)
        if Subtitles() in requests:
            for path in self._beside:
                yield from player.read(read_beside(path))
        for stream, time, item in self._source.decode(player.streams, advanced):
            with self._source.faults(f"it is damaged at {time:.1f} s"):
                if stream is self._source.pictures:
                    yield from player.show(item, time)  # type: ignore[arg-type]
                elif stream is self._source.sound:
                    yield from player.sound(item, time)  # type: ignore[arg-type]
                else:
                    yield from player.subtitles(item, time)  # type: ignore[arg-type]
        with self._source.faults("its end is damaged"):
            yield from player.rest()


class _Player:
    """Hands out one video's pictures, sound and subtitles to several requests."""

    def __init__(self, source: Source, requests: Collection[Request]) -> None:
        self._source = source
        self._sampled = {each: Sampled(each.seconds) for each in requests if isinstance(each, FramesEvery)}
        self._chunks = {each: Chunks(each.seconds) for each in requests if isinstance(each, SoundIn)}
        self._resampled = Resampled(source, SOUND_RATE, "mono")
        self._reformatter = av.video.reformatter.VideoReformatter()
        self._new = NewCues()
        wanted = [source.pictures if self._sampled else None, source.sound if self._chunks else None]
        texts = source.texts if Subtitles() in requests else ()
        self.streams: list[Stream] = [*(each for each in wanted if each is not None), *texts]

    def show(self, frame: VideoFrame, time: float) -> Iterator[Shown]:
        picture = Picture(frame, self._reformatter)
        for request, sampled in self._sampled.items():
            for each in sampled.add(picture, time):
                yield request, each

    def sound(self, frame: AudioFrame, time: float) -> Iterator[Shown]:
        for position, samples in self._resampled.add(frame, time):
            yield from self._hear(position, samples[0])

    def _hear(self, position: int, samples: object) -> Iterator[Shown]:
        for request, chunks in self._chunks.items():
            for each in chunks.add(position, samples):  # type: ignore[arg-type]
                yield request, each

    def subtitles(self, found: SubtitleSet, time: float) -> Iterator[Shown]:
        yield from self.read(embedded(time, self._source.text_length, found))

    def read(self, cues: Collection[Cue] | Iterator[Cue]) -> Iterator[Shown]:
        for cue in cues:
            if len(cue.text) > MOST_LETTERS:
                raise self._source.error(
                    f"a subtitle at {cue.start:.1f} s has {len(cue.text)} letters, which nobody can read",
                    "remove or replace the subtitles",
                )
            if self._new(cue):
                yield Subtitles(), cue

    def rest(self) -> Iterator[Shown]:
        for position, samples in self._resampled.rest():
            yield from self._hear(position, samples[0])
        for request, chunks in self._chunks.items():
            for sound in chunks.rest():
                yield request, sound
        for wanted, sampled in self._sampled.items():
            for frame in sampled.rest(self._source.end):
                yield wanted, frame
