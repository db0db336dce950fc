"""What detectors find in a video, and the segments that follow from it.

All times are seconds from the video's start.
"""

from __future__ import annotations

from dataclasses import replace

from vcm.core.records import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


@record(frozen=True)
class Match:
    """What one detector found in what it was shown.

    Attributes:
        label: what it is, in the detector's or its model's own word.
        score: how sure, from 0 to 1.
        start: seconds.
        end: seconds; after the start.
    """

    label: str
    score: float
    start: float
    end: float


@record(frozen=True)
class Finding:
    """A match, and who found it.

    Attributes:
        detector: its name in the configuration.
        model: the model's name; None for a detector without one.
        label: as in ``Match``, like the rest.
    """

    detector: str
    model: str | None
    label: str
    score: float
    start: float
    end: float


@record(frozen=True)
class Segment:
    """A stretch of the video in which something was found.

    Attributes:
        start: seconds.
        end: seconds.
        labels: of what was found in it, each once, in alphabetical order.
        detectors: those that found it, likewise.
        score: the highest.
    """

    start: float
    end: float
    labels: tuple[str, ...]
    detectors: tuple[str, ...]
    score: float


def widened(findings: Iterable[Finding], margin: float, length: float) -> Iterator[Finding]:
    """Findings that begin earlier and end later, for what was there before it was first seen.

    Args:
        findings: in any order, which is kept.
        margin: seconds on each side.
        length: seconds of the whole video.
    """
    for finding in findings:
        start, end = max(finding.start - margin, 0.0), max(min(finding.end + margin, length), finding.end)
        yield replace(finding, start=start, end=end)


def segments(findings: Iterable[Finding], gap: float) -> tuple[Segment, ...]:
    """The stretches that findings cover, in order.

    Args:
        findings: in any order.
        gap: findings that are at most so many seconds apart make one segment.
    """
    groups: list[list[Finding]] = []
    end = 0.0
    for finding in sorted(findings, key=lambda each: (each.start, each.end)):
        if groups and finding.start - end <= gap:
            groups[-1].append(finding)
            end = max(end, finding.end)
        else:
            groups.append([finding])
            end = finding.end
    return tuple(_segment(group) for group in groups)


def _segment(group: list[Finding]) -> Segment:
    return Segment(
        start=group[0].start,
        end=max(finding.end for finding in group),
        labels=tuple(sorted({finding.label for finding in group})),
        detectors=tuple(sorted({finding.detector for finding in group})),
        score=max(finding.score for finding in group),
    )
