from __future__ import annotations

import os
import random
import struct
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from tests.video.making import COLOURS, make_video
from vcm.core.subtitles import Cue
from vcm.errors import VcmError, VideoError
from vcm.video.media import SOUND_RATE, Frame, FramesEvery, Sound, SoundIn, Subtitles
from vcm.video.reading import Video, open_video

ALL = (FramesEvery(0.5), SoundIn(1.0), Subtitles())


def play(path: Path, *requests):
    with open_video(path) as video:
        return [item for _, item in video.play(requests)]


def colour(frame: Frame) -> str:
    middle = frame.pixels[frame.pixels.shape[0] // 2, frame.pixels.shape[1] // 2].astype(int)
    return min(COLOURS, key=lambda name: int(np.abs(middle - COLOURS[name]).sum()))


def seen(path: Path, seconds: float = 0.5) -> list[tuple[float, float, str]]:
    frames = play(path, FramesEvery(seconds))
    return [(round(each.start, 2), round(each.end, 2), colour(each)) for each in frames]


def loud(sounds: list[Sound]) -> list[tuple[float, float]]:
    """From when to when something is heard, to the hundredth of a second."""
    times, heard = [0.0], [False]
    for sound in sounds:
        for number in range(0, len(sound.samples), 160):
            times.append(sound.start + number / SOUND_RATE)
            heard.append(bool(np.abs(sound.samples[number : number + 160]).max() > 0.1))
    edges = [round(time, 2) for time, one, other in zip(times[1:], heard, heard[1:], strict=False) if one != other]
    return list(zip(edges[::2], [*edges[1::2], 99.0][: len(edges[::2])], strict=True))


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".webm", ".avi", ".ts"])
def test_a_video_is_seen_heard_and_read_in_time(videos, suffix) -> None:
    told: list[int] = []
    with open_video(videos[suffix]) as video:
        assert video.size == videos[suffix].stat().st_size
        assert video.duration == pytest.approx(3.2, abs=0.15)
        assert (video.has_pictures, video.has_sound, video.has_subtitles) == (True, True, suffix in (".mp4", ".mkv"))
        shown = list(video.play(ALL, told.append))
        assert video.damaged == 0
    assert sum(told) == video.size
    assert min(told) >= 0
    frames = [item for request, item in shown if request == ALL[0] and isinstance(item, Frame)]
    assert [round(each.start, 1) for each in frames] == [0, 0.5, 1, 1.5, 2, 2.5, 3]
    assert [one.end for one in frames[:-1]] == [other.start for other in frames[1:]]
    assert frames[-1].end == pytest.approx(3.2, abs=0.15)
    late = suffix in (".ts", ".avi")  # the sound starts first: at 2.5 the last green is still there
    assert [colour(each) for each in frames][4:] == ["green", "green" if late else "blue", "blue"]
    assert [colour(each) for each in frames][:3] == ["red", "red", "red"]
    assert frames[0].pixels.shape == (120, 160, 3)
    sounds = [item for _, item in shown if isinstance(item, Sound)]
    assert [(each.start, len(each.samples)) for each in sounds[:3]] == [(0, 16000), (1, 16000), (2, 16000)]
    edges = np.array(loud(sounds))
    assert edges == pytest.approx(np.array([(0.5, 1.0), (2.0, 3.0)]), abs=0.06)
    cues = [item for _, item in shown if isinstance(item, Cue)]
    assert cues == ([Cue(0.5, 1.0, "Hello there"), Cue(2.0, 2.5, "a bad word")] if video.has_subtitles else [])


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts"])
def test_the_last_pictures_are_seen_wherever_their_stream_stands(suffix, tmp_path) -> None:
    # What a decoder holds back comes out at the end, when the file has no more packets.
    path = make_video(tmp_path / f"a{suffix}", [(1.9, "green"), (0.1, "red")], sound_first=True)
    assert seen(path, 0.1)[-1][2] == "red"
    with open_video(path) as video:
        assert all(isinstance(item, Sound) == (request == ALL[1]) for request, item in video.play(ALL))


def test_each_request_is_served_once_and_only_what_was_asked_for(clip) -> None:
    frames = play(clip, FramesEvery(1.0), FramesEvery(1.0), FramesEvery(2.0))
    assert [round(each.start, 1) for each in frames] in ([0, 1, 0, 2, 3, 2], [0, 1, 2, 0, 3, 2], [0, 1, 0, 2, 2, 3])
    assert play(clip) == []
    assert [len(each.samples) for each in play(clip, SoundIn(3.0))][:1] == [48000]


@pytest.mark.parametrize(
    ("codec", "pixels", "size"),
    [
        ("libx264", "yuv420p10le", (160, 120)),
        ("libx264", "yuv444p", (161, 121)),
        ("png", "rgba", (2, 2)),
        ("png", "gray", (1, 1)),
        ("png", "monob", (34, 8)),
        ("png", "rgba64be", (16, 16)),
    ],
)
def test_pixel_formats_and_sizes(tmp_path, codec, pixels, size) -> None:
    path = make_video(tmp_path / "a.mov", [(1, "white")], None, codec=codec, pixels=pixels, size=size)
    (frame,) = play(path, FramesEvery(5))
    assert frame.pixels.shape == (size[1], size[0], 3)
    assert colour(frame) == "white"


def test_pictures_that_stay_are_shown_once_and_for_as_long_as_they_stay(tmp_path) -> None:
    path = tmp_path / "slides.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=1000)
        stream.width, stream.height, stream.pix_fmt = 16, 16, "bgr0"
        for number, name in [(0, "red"), (900, "green"), (30_500, "blue"), (31_000, "white")]:
            rgb = np.full((16, 16, 3), COLOURS[name], np.uint8)
            frame = av.VideoFrame.from_ndarray(rgb, format="rgb24").reformat(format="bgr0")
            frame.pts, frame.time_base = number, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    # At 1, 2 ... 30 s it is the green one.
    assert seen(path, 1.0)[:2] == [(0, 1, "red"), (1, 31, "green")]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_the_last_pictures_are_seen_whichever_stream_comes_first(tmp_path, suffix) -> None:
    """A decoder holds some back until it is told that there are no more."""
    scenes = [(1.8, "blue"), (0.2, "red")]
    path = make_video(tmp_path / f"film{suffix}", scenes, [(0.0, 2.0, 440.0)], sound_first=True)
    with av.open(str(path)) as container:
        assert [stream.type for stream in container.streams] == ["audio", "video"]
    assert {start: colour for start, _, colour in seen(path, 0.1)}.items() >= {
        (1.7, "blue"),
        (1.8, "red"),
        (1.9, "red"),
    }
    items = play(path, FramesEvery(0.1), SoundIn(1.0))
    assert [colour(each) for each in items if isinstance(each, Frame)][-3:] == ["blue", "red", "red"]
    assert loud([each for each in items if isinstance(each, Sound)]) == [pytest.approx((0.0, 2.0), abs=0.1)]


def test_a_track_of_data_is_passed_over(clip, tmp_path) -> None:
    """Telephones and cameras write where they were, and when."""
    path = tmp_path / "data.mp4"
    path.write_bytes(clip.read_bytes().replace(b"soun", b"meta").replace(b"mp4a", b"mett"))
    with av.open(str(path)) as container:
        assert container.streams.data
    assert seen(path) == seen(clip)


def test_only_sound_and_only_pictures(tmp_path) -> None:
    with open_video(make_video(tmp_path / "a.mp4", (), [(0, 1, 440)])) as video:
        assert (video.has_pictures, video.has_sound, video.has_subtitles) == (False, True, False)
        assert len(list(video.play(ALL))) in (1, 2)
    with open_video(make_video(tmp_path / "b.mp4", [(1, "red")], None)) as video:
        assert (video.has_pictures, video.has_sound, video.has_subtitles) == (True, False, False)
        assert len(list(video.play(ALL))) == 2


def test_words_beside_the_video_are_read_too_and_once(clip) -> None:
    clip.with_name("clip.srt").write_text("1\n00:00:00,500 --> 00:00:01,000\nHello <b>there</b>\n")
    clip.with_name("clip.en.VTT").write_text("WEBVTT\n\n00:02.600 --> 00:02.700\nworse\n")
    clip.with_name("clips.srt").write_text("nothing of ours")
    clip.with_name("clip.txt").write_text("nothing of ours")
    assert play(clip, Subtitles()) == [
        Cue(2.6, 2.7, "worse"),
        Cue(0.5, 1.0, "Hello there"),
        Cue(2.0, 2.5, "a bad word"),
    ]


def test_a_file_beside_the_video_that_cannot_be_read_is_an_error(clip) -> None:
    beside = clip.with_name("clip.srt")
    beside.write_text("no times")
    with pytest.raises(VideoError, match="line 1 should give a time") as caught:
        play(clip, Subtitles())
    assert caught.value.file == str(beside)


def test_a_subtitle_that_nobody_can_read_is_an_error(clip) -> None:
    times = "1\n00:00:01,000 --> 00:00:02,000\n"
    clip.with_suffix(".srt").write_text(times + "x" * 100_000)
    assert [len(cue.text) for cue in play(clip, Subtitles()) if len(cue.text) > 99] == [100_000]
    clip.with_suffix(".srt").write_text(times + "x " * 60_000)
    with pytest.raises(VideoError) as caught:
        play(clip, Subtitles())
    assert str(caught.value) == f"{clip}: a subtitle at 1.0 s has 119999 letters, which nobody can read"
    assert caught.value.hint == "remove or replace the subtitles"


@pytest.mark.parametrize(
    ("channels", "rate", "reason"), [(64, 48_000, "Invalid argument"), (1, 2**31 - 1, "Cannot allocate memory")]
)
def test_sound_that_cannot_be_brought_into_form_is_an_error(tmp_path, channels, rate, reason) -> None:
    path = tmp_path / "sound.wav"
    form = struct.pack("<HHIIHH", 1, channels, rate, rate * channels * 2 % 2**32, channels * 2, 16)
    data = bytes(400 * channels * 2)
    chunks = b"WAVEfmt " + struct.pack("<I", 16) + form + b"data" + struct.pack("<I", len(data)) + data
    path.write_bytes(b"RIFF" + struct.pack("<I", len(chunks)) + chunks)
    with pytest.raises(VideoError) as caught:
        play(path, SoundIn(1.0))
    assert str(caught.value) == f"{path}: it is damaged at 0.0 s ({reason})"


def test_subtitles_that_are_a_pipe_are_not_waited_for(clip) -> None:
    os.mkfifo(clip.with_suffix(".srt"))
    with pytest.raises(VideoError) as caught:
        play(clip, Subtitles())
    assert str(caught.value) == f"{clip.with_suffix('.srt')}: it is not a file"
    assert caught.value.hint == "remove it, or replace it by subtitles"


def test_what_is_no_video(tmp_path) -> None:
    (tmp_path / "text.mp4").write_text("hello " * 100)
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "list.mp4").write_text("#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nhttp://127.0.0.1:9/x.ts\n")
    (tmp_path / "words.mp4").write_text("1\n00:00:01,000 --> 00:00:02,000\nhi\n")
    os.mkfifo(tmp_path / "pipe.mp4")
    wanted = {
        "text": "it is no video that can be read (Invalid data found when processing input)",
        "list": "it is no video that can be read (Invalid data found when processing input)",
        "empty": "it is empty",
        "pipe": "it is not a file",
        "gone": "it cannot be read (No such file or directory)",
    }
    for name, message in wanted.items():
        path = tmp_path / f"{name}.mp4"
        with pytest.raises(VideoError) as caught:
            open_video(path)
        assert str(caught.value) == f"{path}: {message}"
        assert caught.value.hint
    with pytest.raises(VideoError, match="it is no video that can be read"):
        open_video(tmp_path / "words.mp4")
    with pytest.raises(VideoError, match="it is not a file"):
        open_video(tmp_path)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".webm", ".avi"])
def test_a_truncated_video_is_refused(videos, suffix, tmp_path) -> None:
    data = videos[suffix].read_bytes()
    path = tmp_path / f"cut{suffix}"
    for length in (1, 50, len(data) // 3, len(data) * 9 // 10, len(data) - 100, len(data) - 1):
        path.write_bytes(data[:length])
        with pytest.raises(VideoError):
            play(path, *ALL)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".webm", ".avi", ".ts"])
def test_a_damaged_video_is_told_or_refused_and_never_breaks_the_reader(videos, suffix, tmp_path) -> None:
    chance = random.Random(7)  # noqa: S311
    path = tmp_path / f"bad{suffix}"
    outcomes = set()
    for count in (1, 5, 50, 500) * 2:
        data = bytearray(videos[suffix].read_bytes())
        for _ in range(count):
            data[chance.randrange(len(data))] = chance.randrange(256)
        path.write_bytes(data)
        try:
            play(path, *ALL)
            outcomes.add("played")
        except VcmError as error:
            outcomes.add("refused")
            assert error.hint  # noqa: PT017
    assert "refused" in outcomes


def test_few_damaged_packets_are_counted_and_many_refused(tmp_path) -> None:
    path = make_video(tmp_path / "a.mov", [(12, "red")], None, codec="png", pixels="rgb24", size=(16, 16))
    data = path.read_bytes()
    path.write_bytes(data.replace(b"\x89PNG", b"\x89BAD", 1))
    with open_video(path) as video:
        assert len(list(video.play([FramesEvery(1)]))) == 12
        assert video.damaged == 1
    path.write_bytes(data.replace(b"\x89PNG", b"\x89BAD", 2))
    with pytest.raises(VideoError) as caught:
        play(path, FramesEvery(1))
    assert str(caught.value) == f"{path}: its pictures are damaged: 2 of 120 packets cannot be decoded"
    assert caught.value.hint == "copy or record it again"


def test_pictures_that_are_too_large_are_refused_before_they_are_made(tmp_path) -> None:
    path = tmp_path / "a.mov"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("png", rate=1)
        stream.width, stream.height, stream.pix_fmt = 8200, 8200, "monob"
        frame = av.VideoFrame(8200, 8200, "monob")
        frame.pts = 0
        container.mux([*stream.encode(frame), *stream.encode(None)])
    with pytest.raises(VideoError) as caught:
        open_video(path)
    assert caught.value.message == "its pictures have 8200 x 8200 pixels, which is too many"


def test_a_gap_in_the_sound_is_silence_and_long_ones_are_left_out(tmp_path) -> None:
    path = tmp_path / "gap.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=48000, layout="mono")
        for start in (0.0, 1.5, 30.25):
            samples = np.full((1, 24000), 16000, np.int16)
            frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = 48000, round(start * 48000), Fraction(1, 48000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    sounds = play(path, SoundIn(1.0))
    assert [(each.start, each.end) for each in sounds] == [(0, 1), (1, 2), (30, 30.75)]
    assert loud(sounds) == [(0, 0.5), (1.5, 30.0), (30.25, 99.0)]  # what lies between 2 and 30 was not shown


def test_pictures_without_time_stamps_come_in_their_order(tmp_path) -> None:
    # An .avi has none, and H.264 is stored in another order than it is shown in.
    path = make_video(tmp_path / "a.avi", [(0.2, "red"), (0.2, "blue"), (0.2, "green")] * 3, None)
    frames = seen(path, 0.1)
    assert [each for _, _, each in frames] == [each for each in ["red", "blue", "green"] * 3 for _ in range(2)]
    assert frames[-1] == (1.9, 2.0, "green")


def shifted(path: Path, target: Path, seconds: int) -> Path:
    """The same packets, later; as Matroska, whose duration FFmpeg counts from zero."""
    with av.open(str(path)) as source, av.open(str(target), "w") as container:
        streams = {each.index: container.add_stream_from_template(each) for each in source.streams}
        for packet in source.demux():
            if packet.dts is not None:
                for stamp in ("pts", "dts"):
                    setattr(packet, stamp, getattr(packet, stamp) + round(seconds / packet.time_base))
                packet.stream = streams[packet.stream_index]
                container.mux(packet)
    return target


def test_matroska_whose_duration_counts_from_zero(tmp_path) -> None:
    path = make_video(tmp_path / "a.mp4", [(1.5, "red"), (1.5, "blue")], [(1.0, 2.0, 440)])
    late = shifted(path, tmp_path / "late.mkv", 50)
    with open_video(late) as video:
        assert video.duration == pytest.approx(53, abs=0.1)
        sounds = [item for _, item in video.play([SoundIn(1.0)]) if isinstance(item, Sound)]
        assert video.duration == pytest.approx(3, abs=0.1)
        assert video.end == pytest.approx(3, abs=0.1)
    assert loud(sounds) == [pytest.approx((1.0, 2.0), abs=0.06)]
    # The sound starts first, a little: at 1.5 the last red is still there.
    assert [each[2] for each in seen(late)][:6] == ["red"] * 4 + ["blue"] * 2


def test_without_the_extra_the_error_says_what_to_install() -> None:
    code = "import sys; sys.modules['av'] = None\nimport vcm.video.reading"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "ConfigError: reading a video needs av, which is not installed" in done.stderr
    assert "hint: pip install 'vcm[video]'" in done.stderr


def test_a_video_is_closed_on_leaving(clip) -> None:
    with open_video(clip) as video:
        assert isinstance(video, Video)
    with pytest.raises((VcmError, AssertionError)):
        list(video.play(ALL))
