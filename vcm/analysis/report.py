"""The report of an analysis: what was found in which bytes, by which bytes.

One JSON object. Nothing in it depends on the machine or the hour: the same video, models and configuration give the
same report. Keys are only ever added.

==================  ====================================================================================================
``report_version``  1
``lock_sha256``     SHA-256 of ``models.lock``, as ``sha256sum`` prints it; null where there is none
``models_verified`` false where the check of the models was skipped
``video``           ``name``, ``sha256``, ``size`` (bytes), ``duration`` (seconds, or null), ``damaged_packets`` (what
                    was in them nobody has seen); ``subtitles``: ``name`` and ``sha256`` of each file beside it that
                    was read
``models``          what ran: ``name``, ``version``, ``commit``, ``tree_digest``, ``repo``, ``url``; in name order
``detectors``       ``name``, ``kind``, ``model``, ``options`` (as configured), ``status`` (``ran`` or ``skipped``),
                    ``reason`` where it was skipped
``findings``        ``detector``, ``model``, ``label``, ``score`` (0 to 1), ``start``, ``end`` (seconds); in time order
``segments``        ``start``, ``end``, ``labels``, ``detectors``, ``score``: findings that are not further apart than
                    ``merge-gap``, as one, and longer by ``margin`` on each side
==================  ====================================================================================================
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

from vcm.core.findings import Finding, Segment, segments, widened
from vcm.core.lock import LockedModel
from vcm.core.records import record

REPORT_VERSION = 1
_SHORTEST = 0.001
"""Seconds: as exact as the report's times are."""


@record(frozen=True)
class Watched:
    """What came of showing a video to detectors.

    Attributes:
        name: the video's file, without its folder.
        sha256: of its bytes, bare hex.
        size: bytes.
        duration: seconds; None where the file does not say.
        subtitles: name and SHA-256 of each file beside it from which its text was read.
        damaged: packets of the video that could not be decoded, few enough to go on.
        outcomes: of every detector, in the configuration's order.
        findings: in any order.
    """

    name: str
    sha256: str
    size: int
    duration: float | None
    subtitles: tuple[tuple[str, str], ...]
    damaged: int
    outcomes: tuple[Outcome, ...]
    findings: tuple[Finding, ...]


@record(frozen=True)
class Outcome:
    """What became of a detector.

    Attributes:
        name: in the configuration.
        kind: likewise.
        model: the name of its model, if it has one.
        skipped: why it did not run; None where it did.
        options: likewise, as in the configuration.
    """

    name: str
    kind: str
    model: str | None
    skipped: str | None = None
    options: Mapping[str, object] | None = None


def make_report(
    *,
    lock_sha256: str | None,
    verified: bool,
    models: Iterable[LockedModel],
    watched: Watched,
    gap: float,
    margin: float,
) -> dict[str, Any]:
    """The report, as the module describes it.

    Args:
        lock_sha256: of the lock's file, if there is one.
        verified: whether the models went through the gate.
        models: those that ran.
        watched: what came of it.
        gap: seconds, as for ``vcm.core.findings.segments``.
        margin: seconds, as for ``vcm.core.findings.widened``.
    """
    findings = sorted(map(_rounded, watched.findings), key=_in_time)
    length = math.inf if watched.duration is None else watched.duration
    flagged = map(_rounded, widened(findings, margin, length))
    return {
        "report_version": REPORT_VERSION,
        "lock_sha256": lock_sha256,
        "models_verified": verified,
        "video": {
            "name": watched.name,
            "sha256": watched.sha256,
            "size": watched.size,
            "duration": None if watched.duration is None else _seconds(watched.duration),
            "damaged_packets": watched.damaged,
            "subtitles": [{"name": name, "sha256": sha256} for name, sha256 in watched.subtitles],
        },
        "models": [_model(model) for model in sorted(models, key=lambda model: model.name)],
        "detectors": [_detector(outcome) for outcome in watched.outcomes],
        "findings": [dict(vars(finding)) for finding in findings],
        "segments": [
            {**vars(segment), "labels": list(segment.labels), "detectors": list(segment.detectors)}
            for segment in segments(flagged, gap)
        ],
    }


def segments_of(report: Mapping[str, Any]) -> tuple[Segment, ...]:
    """The segments of a report."""
    return tuple(
        Segment(**{**each, "labels": tuple(each["labels"]), "detectors": tuple(each["detectors"])})
        for each in report["segments"]
    )


def _in_time(finding: Finding) -> tuple[float, float, str, str, float]:
    return finding.start, finding.end, finding.detector, finding.label, finding.score


def _rounded(finding: Finding) -> Finding:
    start = _seconds(finding.start)
    return Finding(
        detector=finding.detector,
        model=finding.model,
        label=finding.label,
        score=round(finding.score, 4),
        start=start,
        end=max(_seconds(finding.end), _seconds(start + _SHORTEST)),
    )


def _seconds(value: float) -> float:
    return round(value, 3)


def _model(model: LockedModel) -> dict[str, Any]:
    return {
        "name": model.name,
        "version": model.version,
        "commit": model.commit,
        "tree_digest": f"sha256:{model.tree_digest}",
        "repo": model.repo,
        "url": model.url,
    }


def _detector(outcome: Outcome) -> dict[str, Any]:
    reason = {} if outcome.skipped is None else {"reason": outcome.skipped}
    return {
        "name": outcome.name,
        "kind": outcome.kind,
        "model": outcome.model,
        # What JSON has no word for, such as a date or nan, is given as text.
        "options": json.loads(json.dumps(dict(outcome.options or {}), default=str), parse_constant=str),
        "status": "ran" if outcome.skipped is None else "skipped",
        **reason,
    }
