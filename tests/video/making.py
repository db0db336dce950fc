"""Makes small videos whose content is known: what is seen, heard and read, and when."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

COLOURS = {"black": (0, 0, 0), "white": (255, 255, 255), "red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}
SOUND_RATE = 48_000
_ASS_HEADER = (
    b"[Script Info]\r\nScriptType: v4.00+\r\n\r\n[V4+ Styles]\r\nFormat: Name\r\nStyle: Default\r\n\r\n[Events]\r\n"
    b"Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text\r\n"
)


def make_video(
    path: Path,
    scenes: Sequence[tuple[float, str]] = ((2.0, "blue"),),
    tones: Sequence[tuple[float, float, float]] | None = (),
    words: Sequence[tuple[float, float, str]] = (),
    *,
    size: tuple[int, int] = (160, 120),
    rate: int = 10,
    codec: str = "libx264",
    pixels: str = "yuv420p",
    sound_codec: str = "aac",
    words_codec: str = "mov_text",
    sounds: int = 1,
    sound_first: bool = False,
) -> Path:
    """Write a video; the suffix tells its format (.mp4, .mkv, .avi, .ts ...).

    Args:
        path: where to.
        scenes: one after the other: how many seconds which of COLOURS fills the picture; none for no pictures.
        tones: from, to (seconds) and pitch (hertz); silence in between; None for no sound at all.
        words: from, to (seconds) and text of an embedded track of subtitles.
        size: width and height.
        rate: pictures a second.
        codec: of the pictures.
        pixels: their format.
        sound_codec: of the sound.
        words_codec: of the subtitles: mov_text for .mp4, subrip, ass or webvtt for .mkv.
        sounds: how many tracks with the same sound.
        sound_first: whether those stand before the pictures in the file.
    """
    seconds = sum(length for length, _ in scenes) or max((end for _, end, _ in tones or ()), default=1.0)
    with av.open(str(path), "w") as container:
        video: Any = None
        tracks = sounds if tones is not None else 0
        audios = _sound_streams(container, sound_codec, tracks if sound_first else 0)
        if scenes:
            video = container.add_stream(codec, rate=rate)
            video.width, video.height, video.pix_fmt = *size, pixels
        audios += _sound_streams(container, sound_codec, tracks - len(audios))
        lines: Any = None
        if words:
            lines = container.add_stream(words_codec)
            lines.codec_context.subtitle_header = _ASS_HEADER
            lines.codec_context.time_base = Fraction(1, 1000)
        container.start_encoding()
        _write_words(container, lines, words)
        pictures = [colour for length, colour in scenes for _ in range(round(length * rate))]
        for second in range(int(np.ceil(seconds))):
            numbers = range(second * rate, min((second + 1) * rate, len(pictures)))
            _write_pictures(container, video, pictures, numbers, size, pixels)
            for audio in audios:
                _write_sound(container, audio, tones or (), second, min(seconds, second + 1))
        for stream in (video, *audios):
            if stream is not None:
                container.mux(stream.encode(None))
    return path


def _sound_streams(container: Any, codec: str, count: int) -> list[Any]:
    return [container.add_stream(codec, rate=SOUND_RATE, layout="mono") for _ in range(count)]


def _write_pictures(
    container: Any, video: Any, pictures: Sequence[str], numbers: range, size: Any, pixels: str
) -> None:
    for number in numbers:
        rgb = np.full((size[1], size[0], 3), COLOURS[pictures[number]], np.uint8)
        frame = av.VideoFrame.from_ndarray(rgb, format="rgb24").reformat(format=pixels)
        frame.pts, frame.time_base = number, 1 / video.codec_context.framerate
        container.mux(video.encode(frame))


def sound_of(tones: Sequence[tuple[float, float, float]], start: float, end: float) -> Any:
    """The samples of some tones, half as loud as can be."""
    times = np.arange(round(start * SOUND_RATE), round(end * SOUND_RATE)) / SOUND_RATE
    samples = np.zeros(len(times), np.float32)
    for begins, ends, hertz in tones:
        samples += ((begins <= times) & (times < ends)) * np.float32(0.5) * np.sin(2 * np.pi * hertz * times)
    return samples.astype(np.float32)


def _write_sound(container: Any, audio: Any, tones: Any, start: float, end: float) -> None:
    samples = sound_of(tones, start, end)
    frame = av.AudioFrame.from_ndarray(samples[np.newaxis], format="flt", layout="mono")
    frame.sample_rate, frame.pts, frame.time_base = SOUND_RATE, round(start * SOUND_RATE), Fraction(1, SOUND_RATE)
    container.mux(audio.encode(frame))


def _write_words(container: Any, lines: Any, words: Sequence[tuple[float, float, str]]) -> None:
    for number, (start, end, text) in enumerate(words):
        made = av.subtitles.subtitle.SubtitleSet.create(
            f"{number},0,Default,,0,0,0,,{text}".encode(), 0, round((end - start) * 1000)
        )
        packet = lines.codec_context.encode_subtitle(made)
        packet.stream, packet.time_base = lines, Fraction(1, 1000)
        packet.pts = packet.dts = round(start * 1000)
        packet.duration = round((end - start) * 1000)
        container.mux(packet)
