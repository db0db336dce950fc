"""The copy of an analysed video in which nothing of what was found is seen or heard."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vcm.analysis.report import segments_of
from vcm.analysis.watching import changed, file_state, told, video_digest
from vcm.core.reporter import Reporter
from vcm.errors import ConfigError
from vcm.video.redaction import container_format, redact


def check_target(target: Path) -> None:
    """Refuse a copy that could not be written, before the minutes that an analysis takes.

    Raises:
        ConfigError: it is not called like a video that can be written, or is a pipe or a device.
    """
    container_format(target)
    if target.exists() and not target.is_file():
        raise ConfigError(f"{target} is no regular file", hint="name another: the copy is written to a file")


def write_redacted(path: Path, report: Mapping[str, Any], target: Path, reporter: Reporter) -> None:
    """Write a video anew, black and silent in the segments of its report.

    Args:
        path: the video.
        report: what ``AnalysisPipeline.analyze`` has given for it.
        target: the copy; it appears when it is whole.
        reporter: told of the bytes of the video that were read.

    Raises:
        ConfigError: no detector ran; the target is the video itself, or is not called like a video.
        VcmError: the video cannot be read, is another one by now, or the copy cannot be written.
    """
    if all(detector["status"] == "skipped" for detector in report["detectors"]):
        raise ConfigError(
            f"no detector ran: nothing would be hidden in {target.name}",
            hint="declare a detector for what the video has, or leave out --output",
        )
    before = file_state(path)
    if video_digest(path, before[2], reporter) != report["video"]["sha256"]:
        raise changed(path)
    stretches = [(segment.start, segment.end) for segment in segments_of(report)]
    with told(reporter, f"writing {target.name}", path.name, before[2]) as advanced:
        redact(path, target, stretches, advanced)
    if file_state(path) != before:
        # Its stretches may be wrong, and nobody would know.
        target.unlink(missing_ok=True)
        raise changed(path)
