"""A video shown to detectors: one pass for all of them, and each finding held to what a finding is."""

from __future__ import annotations

import math
import stat
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from vcm.analysis.detecting import MadeDetector, blamed, request_of
from vcm.analysis.report import Outcome, Watched
from vcm.core.findings import Finding, Match
from vcm.core.reporter import Reporter
from vcm.core.subtitles import Cue
from vcm.core.wording import printable, system_reason
from vcm.detectors.base import Detector, FrameDetector, SoundDetector, TextDetector
from vcm.errors import CHECKSUM_MISMATCH, CONFIG_ERROR, PERMISSION_ERROR, VcmError
from vcm.store.hashing import WORTH_TELLING, Hasher
from vcm.video.media import Frame, Request, Sound, Subtitles
from vcm.video.reading import Video, open_video
from vcm.video.subtitles import beside


def check_video(path: Path) -> None:
    """Open a video, before anything is downloaded for it.

    Raises:
        VcmError: it cannot be read.
    """
    file_state(path)
    for text in beside(path):
        file_state(text)
    with open_video(path):
        pass


def watch(path: Path, detectors: Sequence[MadeDetector], reporter: Reporter) -> Watched:
    """Show a video to detectors. It is read once to hash it, and once for all of them.

    Args:
        path: the video's file.
        detectors: those of the configuration, in its order.
        reporter: told of the bytes that were read.

    Raises:
        VcmError: the video cannot be read, or changes meanwhile, or a detector fails.
    """
    file_state(path)
    texts = beside(path)
    with ExitStack() as opened:
        for each in (path, *texts):
            opened.enter_context(_unchanged(each))
        video = opened.enter_context(open_video(path))
        outcomes, shown_to = [], defaultdict[Request, list[MadeDetector]](list)
        for made in detectors:
            declared = made.declared
            skipped = made.skipped or _lacks(made.detector, video)
            outcomes.append(Outcome(declared.name, declared.kind, declared.model, skipped, declared.options))
            if made.detector is not None and skipped is None:
                shown_to[request_of(made.detector)].append(made)
        sha256 = video_digest(path, video.size, reporter)
        read = texts if Subtitles() in shown_to else ()
        with told(reporter, f"analysing {path.name}", path.name, video.size) as advanced:
            findings = tuple(_within(_found(video, shown_to, advanced), video))
        return Watched(
            name=path.name,
            sha256=sha256,
            size=video.size,
            duration=video.duration,
            subtitles=tuple((text.name, file_digest(text)) for text in read),
            damaged=video.damaged,
            outcomes=tuple(outcomes),
            findings=findings,
        )


def _lacks(detector: Detector | None, video: Video) -> str | None:
    """Why a detector has nothing to do in a video, or None."""
    if isinstance(detector, FrameDetector):
        return None if video.has_pictures else "the video has no pictures"
    if isinstance(detector, SoundDetector):
        return None if video.has_sound else "the video has no sound"
    return None if video.has_subtitles else "the video has no subtitles"


def _found(
    video: Video, shown_to: dict[Request, list[MadeDetector]], advanced: Callable[[int], None]
) -> Iterator[Finding]:
    if not shown_to:
        return
    for request, item in video.play(list(shown_to), advanced):
        for made in shown_to[request]:
            declared = made.declared
            with blamed(declared):
                matches = [_checked(match) for match in _shown(made.detector, item)]
            for match in matches:
                yield Finding(
                    declared.name,
                    declared.model,
                    printable(match.label),
                    float(match.score),
                    max(match.start, 0.0),
                    match.end,
                )


def _within(findings: Iterable[Finding], video: Video) -> Iterator[Finding]:
    """What is found before the video ends, for subtitles may go on; its end is where nothing more was decoded.

    The duration that the file tells may be an estimate, and too short.
    """
    for each in list(findings):
        if each.start < min(each.end, video.end):
            yield replace(each, end=min(each.end, video.end))


def _shown(detector: Detector | None, item: Frame | Sound | Cue) -> Iterable[Match]:
    if isinstance(detector, FrameDetector) and isinstance(item, Frame):
        return detector.look(item)
    if isinstance(detector, SoundDetector) and isinstance(item, Sound):
        return detector.listen(item)
    assert isinstance(detector, TextDetector) and isinstance(item, Cue)
    return detector.read(item)


def _checked(match: Match) -> Match:
    """A detector may be anybody's: what it says goes into reports and decides what is cut."""
    if not isinstance(match, Match):
        raise TypeError(f"expected a Match, found {type(match).__name__}")
    if not isinstance(match.label, str) or not match.label.strip():
        raise ValueError(f"expected a label, found {match.label!r}")
    # NaN is neither more nor less than anything, and so is refused, too.
    if not 0 <= match.score <= 1:
        raise ValueError(f'the score of "{match.label}" is {match.score}, expected 0 to 1')
    if not -math.inf < match.start < match.end < math.inf:
        raise ValueError(f'"{match.label}" lasts from {match.start} to {match.end} s')
    return match


@contextmanager
def told(reporter: Reporter, task: str, label: str, size: int) -> Iterator[Callable[[int], None]]:
    """Have the reading of a file on the screen for the time of the block, which tells how many more bytes were read."""
    reporter.started(task, size)
    try:
        yield lambda count: reporter.advanced(label, count)
    finally:
        reporter.finished()


@contextmanager
def _unchanged(path: Path) -> Iterator[None]:
    """Refuse a file that is written, or replaced, while it is read."""
    before = file_state(path)
    yield
    if file_state(path) != before:
        raise changed(path)


def changed(path: Path) -> VcmError:
    """The error for a file that is not what was read before."""
    return VcmError(
        f"{path} changed while it was read",
        error_code=CHECKSUM_MISMATCH,
        hint="run it again when nothing writes the video any more",
    )


def video_digest(path: Path, size: int, reporter: Reporter) -> str:
    """SHA-256 of a video, bare hex; told of where it takes a while.

    Raises:
        VcmError: it cannot be read.
    """
    announced = size if size > WORTH_TELLING else 0
    with told(reporter, f"hashing {path.name}", path.name, announced) as advanced:
        return file_digest(path, advanced)


def file_digest(path: Path, advanced: Callable[[int], None] | None = None) -> str:
    """SHA-256 of a file, bare hex.

    Args:
        path: a regular file.
        advanced: told how many more bytes were read.

    Raises:
        VcmError: it cannot be read.
    """
    try:
        return Hasher().digest(path, advanced)
    except OSError as error:
        raise _unreadable(path, system_reason(error)) from error


def file_state(path: Path) -> tuple[int, int, int, int]:
    """What tells one state of a file from another: device, inode, size in bytes, modification time in nanoseconds.

    Raises:
        VcmError: it cannot be looked at, or is no regular file.
    """
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise _unreadable(path, system_reason(error), CONFIG_ERROR) from error
    except OSError as error:
        raise _unreadable(path, system_reason(error)) from error
    # Opening a pipe would wait for ever, and a device may have no end.
    if not stat.S_ISREG(status.st_mode):
        raise _unreadable(path, "no regular file")
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _unreadable(path: Path, reason: str, error_code: str = PERMISSION_ERROR) -> VcmError:
    return VcmError(f"cannot read {path}: {reason}", error_code=error_code, hint="check that it is a file you may read")
