"""The copy of a video in which some stretches cannot be seen or heard.

Pictures and sound are encoded anew, as H.264 and AAC, in a quality that cannot be told from the original. Only what
was looked at goes into the copy: one stream of pictures and one of sound. All else is left out, because it may tell
what the stretches hide: further tracks of sound, subtitles and captions, chapters, titles, covers.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vcm.errors import ConfigError, DiskSpaceError, VcmError, VideoError
from vcm.video.decoding import Source, unheeded
from vcm.video.encoding import Muted, Painted
from vcm.video.library import av

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

_FORMATS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska"}
"""The suffixes of a copy, and what FFmpeg calls their formats."""


def container_format(target: Path) -> str:
    """What FFmpeg calls the format of a copy with this name.

    Raises:
        ConfigError: it is not called like a video that can be written.
    """
    kind = _FORMATS.get(target.suffix.lower())
    if kind is None:
        raise ConfigError(
            f"a video cannot be written as {target.name}", hint="give it a name that ends with .mp4, .mov or .mkv"
        )
    return kind


def redact(
    source: Path,
    target: Path,
    stretches: Sequence[tuple[float, float]],
    advanced: Callable[[int], None] = unheeded,
) -> None:
    """Write a copy of a video whose pictures are black, and whose sound is silent, in some stretches.

    A picture is black if it is on the screen at any moment of a stretch; sound is silent to the sample. The copy
    appears at its place when it is whole, and replaces what is there.

    Args:
        source: the video.
        target: the copy's place; its suffix tells the format.
        stretches: from, to, in seconds from the video's start, in any order; none for a mere copy.
        advanced: told how many more bytes of the source were read; in the end they are its size.

    Raises:
        ConfigError: the target is the source, or has another suffix.
        VideoError: the source cannot be read to its end, or the copy not be written.
        DiskSpaceError: there is no room for the copy.
    """
    kind = container_format(target)
    if target.exists() and source.exists() and target.samefile(source):
        raise ConfigError(f"{target} is the video itself", hint="write the copy to another file")
    first = _first_picture(source)
    with Source(source) as opened, _written(target) as aside, av.open(str(aside), "w", format=kind) as container:
        _copy(opened, container, first, sorted(stretches), advanced)


def _copy(
    source: Source,
    container: Any,
    first: VideoFrame | None,
    stretches: list[tuple[float, float]],
    advanced: Callable[[int], None],
) -> None:
    pictures = Painted(container, source.pictures, first, stretches) if source.pictures and first else None
    sound = Muted(container, source, source.sound, stretches) if source.sound else None
    streams = [each for each in (source.pictures, source.sound) if each is not None]
    container.start_encoding()
    for stream, time, item in source.decode(streams, advanced):
        if stream is source.pictures:
            assert pictures is not None
            pictures.add(item, time)  # type: ignore[arg-type]
        else:
            assert sound is not None
            sound.add(item, time)  # type: ignore[arg-type]
    if pictures is not None:
        pictures.finish(source.end)
    if sound is not None:
        sound.finish()


def _first_picture(path: Path) -> VideoFrame | None:
    """The picture that tells size, colours and orientation; None where there is nothing to see."""
    with Source(path) as source:
        if source.pictures is None:
            return None
        for _, _, frame in source.decode([source.pictures]):
            return frame  # type: ignore[return-value]
    raise VideoError("it has no picture that can be decoded", hint="copy or record it again", file=str(path))


@contextmanager
def _written(target: Path) -> Iterator[Path]:
    """A file beside the target that becomes the target when all went well, and else is gone; a link is followed."""
    target = Path(os.path.realpath(target))
    aside = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        try:
            os.close(os.open(aside, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
            yield aside
            aside.replace(target)
        finally:
            aside.unlink(missing_ok=True)
    except VcmError:
        raise
    except (OSError, av.error.FFmpegError) as error:
        if error.errno == errno.ENOSPC:
            raise DiskSpaceError(
                f"there is no room for {target.name} in {target.parent}",
                needed=0,
                free=0,
                hint="free some space, or write to another disk",
            ) from error
        raise VideoError(
            f"it cannot be written ({error.strerror})",
            hint="check that its folder is there and can be written to",
            file=str(target),
        ) from error
