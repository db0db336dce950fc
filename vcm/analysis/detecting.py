"""Detectors as the configuration declares them: found by kind, made on a snapshot, asked what they want to be shown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from vcm.core.fields import Document, Table
from vcm.core.manifest import FILE_NAME, DeclaredDetector
from vcm.core.records import record
from vcm.detectors.base import Detector, FrameDetector, SoundDetector, TextDetector
from vcm.detectors.kinds import find_kind
from vcm.errors import ConfigError, VcmError
from vcm.video.media import FramesEvery, Request, SoundIn, Subtitles

_EXAMPLE = (
    "[pipeline.detectors.swearing]",
    'kind = "word-list"',
    'options = { words = ["damn"] }',
)


LEAST_INTERVAL = 0.01
"""Seconds that a detector may at least leave between what it is shown."""
MOST_BETWEEN_FRAMES = 3600.0
"""Seconds between two pictures."""
MOST_SOUND = 600.0
"""Seconds of sound at once; all of them are in memory, 64 kB each."""


@record(frozen=True)
class MadeDetector:
    """A detector of the configuration, ready to be shown a video.

    Attributes:
        declared: its configuration.
        detector: None where its model is missing.
        skipped: why it is None.
    """

    declared: DeclaredDetector
    detector: Detector | None
    skipped: str | None = None


def check_detectors(detectors: Sequence[DeclaredDetector]) -> None:
    """Find the kinds of detectors, before anything is downloaded or built for them.

    Raises:
        ConfigError: there is no detector, or no such kind, or what a kind needs is not installed.
    """
    if not detectors:
        raise ConfigError(
            "there is no detector to run",
            details=_EXAMPLE,
            hint=f"declare one in {FILE_NAME}, such as this one, or see vcm init --template video-censor",
        )
    for each in detectors:
        find_kind(each.kind)


def make_detector(declared: DeclaredDetector, folder: Path | None, document: Document) -> MadeDetector:
    """A detector, on its model.

    Args:
        declared: its configuration.
        folder: the snapshot of its model; None for a detector without one.
        document: the file that declares it, for messages.

    Raises:
        ConfigError: there is no such kind, or it cannot be made of these options and this model.
        VcmError: it cannot be made, or is no detector.
    """
    make = find_kind(declared.kind)
    options = Table(document, ("pipeline", "detectors", declared.name, "options"), dict(declared.options))
    with blamed(declared):
        detector = make(folder, options)
        request_of(detector)
    return MadeDetector(declared, detector)


def request_of(detector: Detector) -> Request:
    """What a detector wants to be shown.

    Raises:
        TypeError: it is no detector.
        ValueError: it wants that at no sensible interval.
    """
    if isinstance(detector, FrameDetector):
        return FramesEvery(_interval(detector.every, MOST_BETWEEN_FRAMES))
    if isinstance(detector, SoundDetector):
        return SoundIn(_interval(detector.seconds, MOST_SOUND))
    if isinstance(detector, TextDetector):
        return Subtitles()
    raise TypeError(f"{type(detector).__name__} is no FrameDetector, SoundDetector or TextDetector")


def _interval(seconds: float, most: float) -> float:
    if not LEAST_INTERVAL <= seconds <= most:
        raise ValueError(f"{seconds!r} is no number of seconds from {LEAST_INTERVAL:g} to {most:g}")
    return float(seconds)


@contextmanager
def blamed(declared: DeclaredDetector) -> Iterator[None]:
    """Turn whatever goes wrong in a detector into an error that names it.

    Raises:
        VcmError: as the detector raised it, or made of what it raised.
    """
    try:
        yield
    except VcmError as error:
        if error.file and not error.model:
            # A detector is not told what its model is called.
            error.model = declared.model
        raise
    except (Exception, SystemExit) as error:
        reason = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        raise VcmError(
            f'the detector "{declared.name}" of the kind {declared.kind} failed: {reason}',
            hint="tell whoever makes that kind (-vv shows where), or take the detector out of the configuration",
        ) from error
