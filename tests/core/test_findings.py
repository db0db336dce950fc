from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from vcm.core.findings import Finding, Segment, segments
from vcm.core.segment_formats import edl, srt

_FINDINGS = st.builds(
    lambda detector, label, score, start, length: Finding(detector, None, label, score, start, start + length),
    st.sampled_from("ab"),
    st.sampled_from("xyz"),
    st.floats(0, 1),
    st.integers(0, 40).map(lambda each: each / 4),
    st.integers(1, 12).map(lambda each: each / 4),
)


@given(st.lists(_FINDINGS, max_size=12), st.integers(0, 8).map(lambda each: each / 4), st.randoms())
def test_segments_cover_all_findings_and_nothing_twice(findings, gap, random) -> None:
    found = segments(findings, gap)
    for one, other in pairwise(found):
        assert other.start - one.end > gap
    for finding in findings:
        inside = [each for each in found if each.start <= finding.start and finding.end <= each.end]
        assert len(inside) == 1
        assert finding.label in inside[0].labels
        assert finding.detector in inside[0].detectors
        assert finding.score <= inside[0].score
    for each in found:
        within = [finding for finding in findings if each.start <= finding.start <= each.end]
        assert each.start == min(finding.start for finding in within)
        assert each.end == max(finding.end for finding in within)
        assert set(each.labels) == {finding.label for finding in within}
    random.shuffle(findings)
    assert segments(findings, gap) == found


SEGMENTS = (
    Segment(1.0, 2.5, ("nude", "violence"), ("a",), 0.934),
    Segment(3600.00049, 3661.0001, ("a --> b\n\n{x}",), ("b",), 1.0),
)


def test_segments_as_subtitles() -> None:
    assert srt(SEGMENTS) == (
        "1\n00:00:01,000 --> 00:00:02,500\nnude, violence (0.93)\n\n"
        "2\n01:00:00,000 --> 01:01:01,000\na --&gt; b &#123;x&#125; (1.00)\n"
    )


def test_segments_as_an_edit_decision_list() -> None:
    assert edl(SEGMENTS) == "1.000 2.500 0\n3600.000 3661.001 0\n"
    assert edl(()) == ""
