from __future__ import annotations

import errno
import os
import signal
import struct
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from tests.video.making import COLOURS, make_video
from vcm.errors import ConfigError, DiskSpaceError, VideoError
from vcm.video.media import FramesEvery
from vcm.video.pictures import orientation
from vcm.video.reading import open_video
from vcm.video.redaction import redact


def pictures(path: Path) -> list[tuple[float, np.ndarray]]:
    with av.open(str(path)) as container:
        return [
            (round(float(frame.time), 3), frame.to_ndarray(format="rgb24").astype(int))
            for frame in container.decode(video=0)
        ]


def black(path: Path) -> list[float]:
    return [time for time, pixels in pictures(path) if pixels.max() <= 2]


def samples(path: Path, track: int = 0) -> np.ndarray:
    with av.open(str(path)) as container:
        return np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=track)])


def upright(path: Path) -> np.ndarray:
    with open_video(path) as video:
        return next(item.pixels for _, item in video.play([FramesEvery(60)])).astype(int)  # type: ignore[union-attr]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov"])
def test_stretches_are_black_and_silent_and_all_else_is_as_it_was(tmp_path, suffix) -> None:
    scenes = [(1.5, "red"), (1.5, "blue")]
    clip = make_video(tmp_path / "a.mp4", scenes, [(0.25, 3.0, 440)], [(1, 2, "bad")], sounds=2)
    target = tmp_path / f"out{suffix}"
    told: list[int] = []
    redact(clip, target, [(2.0, 2.25), (1.0, 1.2), (1.1, 1.3)], told.append)
    assert sum(told) == clip.stat().st_size
    assert sorted(tmp_path.iterdir()) == [clip, target]
    assert black(target) == [1.0, 1.1, 1.2, 2.0, 2.1, 2.2]
    for (one, before), (other, after) in zip(pictures(clip), pictures(target), strict=True):
        assert one == other
        assert before.shape == after.shape
        if after.max() > 2:
            assert np.abs(before - after).max() <= 4
    heard, was = samples(target), samples(clip)
    rate = 48_000
    for start, end in [(1.0, 1.3), (2.0, 2.25)]:
        assert np.abs(heard[round(start * rate) + 64 : round(end * rate) - 64]).max() < 0.01
    for start, end in [(0.3, 0.95), (1.35, 1.95), (2.3, 2.9)]:
        span = slice(round(start * rate), round(end * rate))
        assert np.abs(heard[span] - was[span]).max() < 0.05  # to the sample: 440 Hz leaves no doubt
    with av.open(str(target)) as container:
        assert [each.type for each in container.streams] == ["video", "audio"]


def test_nothing_flagged_is_a_copy(clip, tmp_path) -> None:
    redact(clip, tmp_path / "out.mp4", [])
    assert black(tmp_path / "out.mp4") == []
    assert [each for each, _ in pictures(tmp_path / "out.mp4")] == [each for each, _ in pictures(clip)]


def test_everything_flagged_leaves_nothing(clip, tmp_path) -> None:
    redact(clip, tmp_path / "out.mp4", [(-1.0, 1e9)])
    assert len(black(tmp_path / "out.mp4")) == 32
    assert not samples(tmp_path / "out.mp4").any()


@pytest.mark.parametrize(("suffix", "options"), [(".webm", {}), (".avi", {}), (".ts", {})])
def test_other_formats(videos, tmp_path, suffix, options) -> None:
    target = tmp_path / "out.mp4"
    redact(videos[suffix], target, [(1.0, 2.0)])
    assert len(black(target)) in ((10, 11) if suffix != ".ts" else (25, 26))
    with open_video(target) as video:
        assert video.duration == pytest.approx(3.2, abs=0.15)


def test_odd_sizes_deep_colours_and_no_sound(tmp_path) -> None:
    odd = make_video(tmp_path / "odd.mkv", [(1, "red")], None, size=(33, 17), pixels="yuv444p")
    redact(odd, tmp_path / "odd.mp4", [(0, 0.5)])
    assert pictures(tmp_path / "odd.mp4")[0][1].shape == (18, 34, 3)
    deep = make_video(tmp_path / "deep.mkv", [(1, "green")], None, pixels="yuv420p10le")
    redact(deep, tmp_path / "deep.mp4", [(0, 0.5)])
    assert black(tmp_path / "deep.mp4") == [0.0, 0.1, 0.2, 0.3, 0.4]
    with av.open(str(tmp_path / "deep.mp4")) as container:
        assert container.streams.video[0].codec_context.pix_fmt == "yuv420p10le"
    rgb = make_video(tmp_path / "rgb.mov", [(1, "green")], None, codec="png", pixels="rgba")
    redact(rgb, tmp_path / "rgb.mp4", [])
    assert np.abs(pictures(tmp_path / "rgb.mp4")[0][1] - COLOURS["green"]).max() <= 8


def test_only_sound(tmp_path) -> None:
    redact(make_video(tmp_path / "a.mp4", (), [(0, 2, 440)]), tmp_path / "b.mp4", [(1, 3)])
    heard = samples(tmp_path / "b.mp4")
    assert np.abs(heard[:47_000]).max() > 0.4
    assert np.abs(heard[48_064:]).max() < 0.01


def test_times_of_pictures_stay_where_they_vary(tmp_path) -> None:
    times = [0, 33, 400, 401, 1999, 2000, 3500]
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=1000)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(4, 3)
        for number in times:
            frame = av.VideoFrame.from_ndarray(np.full((32, 32, 3), 200, np.uint8), format="rgb24")
            frame = frame.reformat(format="yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    redact(path, tmp_path / "b.mp4", [(0.5, 1.0)])
    assert [each for each, _ in pictures(tmp_path / "b.mp4")] == [each / 1000 for each in times]
    assert black(tmp_path / "b.mp4") == [0.401]
    with av.open(str(tmp_path / "b.mp4")) as container:
        assert container.streams.video[0].sample_aspect_ratio == Fraction(4, 3)


TURNS = {
    "quarter": ((0, 1, -1, 0), lambda pixels: np.rot90(pixels, -1)),
    "half": ((-1, 0, 0, -1), lambda pixels: np.rot90(pixels, 2)),
    "three": ((0, -1, 1, 0), lambda pixels: np.rot90(pixels, 1)),
    "mirror": ((-1, 0, 0, 1), lambda pixels: pixels[:, ::-1]),
}


@pytest.mark.parametrize("turn", TURNS)
def test_a_video_that_is_to_be_turned_is_seen_and_written_upright(tmp_path, turn) -> None:
    plain = np.zeros((48, 64, 3), np.uint8)
    plain[:24, :32], plain[:24, 32:], plain[24:, :32] = COLOURS["red"], COLOURS["green"], COLOURS["blue"]
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"crf": "5"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv444p"
        for number in range(5):
            frame = av.VideoFrame.from_ndarray(plain, format="rgb24").reformat(format="yuv444p")
            frame.pts, frame.time_base = number, Fraction(1, 10)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    (a, b, c, d), expected = TURNS[turn]
    data = bytearray(path.read_bytes())
    matrix = data.index(b"tkhd") + 44  # ISO/IEC 14496-12, 8.3.2
    one = 1 << 16
    data[matrix : matrix + 36] = struct.pack(">9i", a * one, b * one, 0, c * one, d * one, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    wanted = expected(plain.astype(int))  # type: ignore[no-untyped-call]
    found = upright(path)
    assert found.shape == wanted.shape
    assert np.abs(found - wanted).mean() < 8
    redact(path, tmp_path / "b.mp4", [])
    with av.open(str(tmp_path / "b.mp4")) as container:
        frame = next(container.decode(video=0))
        assert orientation(frame) == (False, False, False)
        assert np.abs(frame.to_ndarray(format="rgb24").astype(int) - wanted).mean() < 12


def test_the_video_itself_is_never_written_to(clip, tmp_path) -> None:
    data = clip.read_bytes()
    (tmp_path / "hard.mp4").hardlink_to(clip)
    (tmp_path / "soft.mp4").symlink_to(clip)
    for target in (clip, tmp_path / "hard.mp4", tmp_path / "soft.mp4", tmp_path / "." / "clip.mp4"):
        with pytest.raises(ConfigError) as caught:
            redact(clip, target, [(0, 1)])
        assert caught.value.message == f"{target} is the video itself"
        assert caught.value.hint == "write the copy to another file"
    assert clip.read_bytes() == data


def test_a_suffix_that_is_not_written(clip, tmp_path) -> None:
    with pytest.raises(ConfigError) as caught:
        redact(clip, tmp_path / "out.gif", [])
    assert caught.value.message == "a video cannot be written as out.gif"
    assert caught.value.hint == "give it a name that ends with .mp4, .mov or .mkv"


def test_a_folder_that_is_not_there(clip, tmp_path) -> None:
    with pytest.raises(VideoError) as caught:
        redact(clip, tmp_path / "none" / "out.mp4", [])
    assert str(caught.value) == f"{tmp_path}/none/out.mp4: it cannot be written (No such file or directory)"


def test_a_damaged_video_leaves_no_copy_and_what_was_there(clip, tmp_path) -> None:
    target = tmp_path / "out.mp4"
    target.write_text("before")
    data = bytearray(clip.read_bytes())
    middle = len(data) // 3
    data[middle : middle + 4000] = bytes(4000)
    clip.write_bytes(data)
    with pytest.raises(VideoError):
        redact(clip, target, [])
    assert target.read_text() == "before"
    assert sorted(tmp_path.iterdir()) == [clip, target]


def test_a_full_disk(videos, tmpfs) -> None:
    folder = tmpfs("size=16k")
    with pytest.raises(DiskSpaceError) as caught:
        redact(videos[".ts"], folder / "out.mp4", [])
    assert caught.value.message == f"there is no room for out.mp4 in {folder}"
    assert caught.value.__cause__.errno == errno.ENOSPC  # type: ignore[union-attr]
    assert list(folder.iterdir()) == []


INTERRUPTED = """
import os, pathlib, signal, sys
from vcm.video.redaction import redact

source, target = map(pathlib.Path, sys.argv[1:])
aside = target.with_name(f".{target.name}.{os.getpid()}.part")

def advanced(_):
    if aside.exists():
        os.kill(os.getpid(), signal.SIGINT)

redact(source, target, [], advanced)
"""


def test_an_interrupt_leaves_no_half_copy(tmp_path) -> None:
    path = make_video(tmp_path / "a.mp4", [(60, "red")], None, size=(320, 240))
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, path, tmp_path / "b.mp4"],
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        check=False,
    )
    assert b"KeyboardInterrupt" in done.stderr
    assert list(tmp_path.iterdir()) == [path]
