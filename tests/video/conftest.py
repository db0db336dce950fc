from __future__ import annotations

from pathlib import Path

import pytest

from tests.video.making import make_video

TONES = [(0.5, 1.0, 440.0), (2.0, 3.0, 880.0)]
WORDS = [(0.5, 1.0, "Hello there"), (2.0, 2.5, "a bad word")]
SCENES = [(1.5, "red"), (1.0, "green"), (0.7, "blue")]


@pytest.fixture(scope="session")
def videos(tmp_path_factory) -> dict[str, Path]:
    """The same 3.2 seconds in five formats, by suffix; only .mp4 and .mkv hold words."""
    folder = tmp_path_factory.mktemp("videos")
    variants = {
        ".mp4": {"words": WORDS},
        ".mkv": {"words": WORDS, "words_codec": "subrip", "sound_codec": "libopus"},
        ".webm": {"codec": "libvpx", "sound_codec": "libopus"},
        ".avi": {"codec": "mpeg4", "sound_codec": "mp3"},
        ".ts": {"codec": "mpeg2video", "rate": 25, "sound_codec": "ac3"},
    }
    return {
        suffix: make_video(folder / f"clip{suffix}", SCENES, TONES, **options)  # type: ignore[arg-type]
        for suffix, options in variants.items()
    }


@pytest.fixture
def clip(videos, tmp_path) -> Path:
    """A .mp4 of the test's own."""
    path: Path = tmp_path / "clip.mp4"
    path.write_bytes(videos[".mp4"].read_bytes())
    return path
