"""The report: what it says, in which order, and that it is the same for the same bytes."""

from __future__ import annotations

import json
import math
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vcm.analysis.report import Outcome, Watched, make_report
from vcm.core.findings import Finding
from vcm.core.lock import LockedFile, LockedModel

FRAMES = LockedModel(
    name="frames",
    source="huggingface",
    repo="acme/frames",
    commit="1234567890" * 4,
    version="1.0",
    files=(LockedFile("model.onnx", 3, "a" * 64),),
)
WORDS = LockedModel(name="a-file", source="url", url="https://example.com/x", files=(LockedFile("x", 3, "b" * 64),))


def watched(*findings: Finding, **changes: object) -> Watched:
    values = {
        "name": "film.mp4",
        "sha256": "c" * 64,
        "size": 1000,
        "duration": 10.00049,
        "subtitles": (),
        "damaged": 2,
        "outcomes": (Outcome("scenes", "image-classification", "frames"),),
        "findings": findings,
        **changes,
    }
    return Watched(**values)  # type: ignore[arg-type]


def report(*findings: Finding, gap: float = 1.0, margin: float = 0.0, models=(FRAMES,), **changes: object):
    return make_report(
        lock_sha256="d" * 64,
        verified=True,
        models=models,
        watched=watched(*findings, **changes),
        gap=gap,
        margin=margin,
    )


def test_a_report_in_full():
    outcomes = (
        Outcome("scenes", "image-classification", "frames", None, {"labels": ("fire",), "threshold": 0.5}),
        Outcome("talk", "transformers", "whisper", "its model whisper is not installed"),
        Outcome("words", "word-list", None, None, {"since": date(2026, 1, 2), "most": math.inf}),
    )
    document = report(
        Finding("words", None, "damn", 1.0, 7.25, 8.0),
        Finding("scenes", "frames", "fire", 0.912345, 1.0004, 2.0),
        Finding("scenes", "frames", "blood", 0.5, 2.9, 4.0),
        models=(FRAMES, WORDS),
        outcomes=outcomes,
        subtitles=(("film.srt", "e" * 64),),
    )

    assert document == {
        "report_version": 1,
        "lock_sha256": "d" * 64,
        "models_verified": True,
        "video": {
            "name": "film.mp4",
            "sha256": "c" * 64,
            "size": 1000,
            "duration": 10.0,
            "damaged_packets": 2,
            "subtitles": [{"name": "film.srt", "sha256": "e" * 64}],
        },
        "models": [
            {
                "name": "a-file",
                "version": None,
                "commit": None,
                "tree_digest": f"sha256:{WORDS.tree_digest}",
                "repo": None,
                "url": "https://example.com/x",
            },
            {
                "name": "frames",
                "version": "1.0",
                "commit": "1234567890" * 4,
                "tree_digest": f"sha256:{FRAMES.tree_digest}",
                "repo": "acme/frames",
                "url": None,
            },
        ],
        "detectors": [
            {
                "name": "scenes",
                "kind": "image-classification",
                "model": "frames",
                "options": {"labels": ["fire"], "threshold": 0.5},
                "status": "ran",
            },
            {
                "name": "talk",
                "kind": "transformers",
                "model": "whisper",
                "options": {},
                "status": "skipped",
                "reason": "its model whisper is not installed",
            },
            {
                "name": "words",
                "kind": "word-list",
                "model": None,
                "options": {"since": "2026-01-02", "most": "Infinity"},
                "status": "ran",
            },
        ],
        "findings": [
            {"detector": "scenes", "model": "frames", "label": "fire", "score": 0.9123, "start": 1.0, "end": 2.0},
            {"detector": "scenes", "model": "frames", "label": "blood", "score": 0.5, "start": 2.9, "end": 4.0},
            {"detector": "words", "model": None, "label": "damn", "score": 1.0, "start": 7.25, "end": 8.0},
        ],
        "segments": [
            {"start": 1.0, "end": 4.0, "labels": ["blood", "fire"], "detectors": ["scenes"], "score": 0.9123},
            {"start": 7.25, "end": 8.0, "labels": ["damn"], "detectors": ["words"], "score": 1.0},
        ],
    }


def test_nothing_found():
    document = report(models=(), outcomes=())
    assert (document["findings"], document["segments"], document["models"], document["detectors"]) == ([], [], [], [])


@pytest.mark.parametrize(("start", "end"), [(1.0, 1.0002), (1.0004, 1.00041)])
def test_what_is_shorter_than_a_report_can_tell_still_lasts(start, end):
    (finding,) = report(Finding("scenes", "frames", "fire", 1.0, start, end))["findings"]
    assert (finding["start"], finding["end"]) == (1.0, 1.001)


FINDINGS = st.builds(
    lambda detector, label, score, start, length: Finding(detector, None, label, score, start, start + length),
    st.sampled_from(["a", "b"]),
    st.sampled_from(["x", "y"]),
    st.floats(0, 1),
    st.floats(0, 1e5),
    st.floats(1e-6, 100),
)


@given(st.lists(FINDINGS, max_size=8), st.floats(0, 10), st.randoms())
def test_the_order_of_finding_makes_no_difference(findings, gap, random):
    first = report(*findings, gap=gap)
    random.shuffle(findings)

    assert json.dumps(report(*findings, gap=gap), allow_nan=False) == json.dumps(first)
    assert all(each["start"] < each["end"] for each in (*first["findings"], *first["segments"]))
    assert all(
        any(segment["start"] <= each["start"] and each["end"] <= segment["end"] for segment in first["segments"])
        for each in first["findings"]
    )


def test_segments_with_a_margin():
    """The findings stay as they were; no segment leaves the video."""
    found = (Finding("a", None, "x", 1.0, 0.1, 2.0), Finding("a", None, "y", 0.5, 4.0, 5.0))
    narrow, wide = report(*found), report(*found, margin=0.6)
    assert wide["findings"] == narrow["findings"]
    assert [(each["start"], each["end"]) for each in narrow["segments"]] == [(0.1, 2.0), (4.0, 5.0)]
    assert [(each["start"], each["end"]) for each in wide["segments"]] == [(0.0, 5.6)]
    (last,) = report(Finding("a", None, "x", 1.0, 9.0, 10.0), margin=3)["segments"]
    assert (last["start"], last["end"]) == (6.0, 10.0)
    (late,) = report(Finding("a", None, "x", 1.0, 9.0, 12.0), margin=3)["segments"]
    assert late["end"] == 12.0  # behind a duration that is too short
