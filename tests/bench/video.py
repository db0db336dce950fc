"""Playing and redacting a video: speed beside plain decoding, and the most memory, for one minute and for many.

python tests/bench/video.py [--minutes 60]
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import av

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.video.making import make_video
from vcm.video.media import FramesEvery, SoundIn, Subtitles
from vcm.video.reading import open_video
from vcm.video.redaction import redact


def plain(path: Path) -> None:
    with av.open(str(path)) as container:
        container.streams.video[0].thread_type = "AUTO"
        for packet in container.demux(container.streams.video[0], container.streams.audio[0]):
            packet.decode()


def play(path: Path) -> None:
    with open_video(path) as video:
        for _ in video.play([FramesEvery(1.0), FramesEvery(0.5), SoundIn(10.0), Subtitles()]):
            pass


def copy(path: Path) -> None:
    redact(path, path.with_name(f"copy-{path.name}"), [(10.0, 20.0), (30.0, 40.0)])


WORK = {"plain": plain, "play": play, "redact": copy}


def main() -> None:
    """Each measurement in a process of its own, for its memory."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=int, default=60)
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        start = time.perf_counter()
        WORK[given.one[0]](Path(given.one[1]))
        seconds = time.perf_counter() - start
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"{seconds:8.2f} s {peak:8.0f} MiB")  # noqa: T201  (what a benchmark is for)
        return
    with tempfile.TemporaryDirectory() as folder:
        for minutes in (1, given.minutes):
            length = minutes * 60
            path = make_video(Path(folder, f"{minutes}.mp4"), [(length, "blue")], [(0, length, 440)])
            for name in WORK:
                command = [sys.executable, __file__, "--one", name, str(path)]
                said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
                print(f"{minutes:4} min {name:8} {said}", end="", flush=True)  # noqa: T201  (likewise)


if __name__ == "__main__":
    main()
