from __future__ import annotations

import contextlib
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vcm.core.subtitles import Cue, ass_text, plain, read_subtitles, write_srt
from vcm.errors import VideoError


def read(text: str) -> list[Cue]:
    return list(read_subtitles(text.encode(), "talk.srt"))


ONE = [Cue(1.0, 2.5, "One two")]


@pytest.mark.parametrize(
    "text",
    [
        "1\n00:00:01,000 --> 00:00:02,500\nOne\ntwo\n\n",
        "1\r\n00:00:01,000 --> 00:00:02,500\r\nOne\r\ntwo",
        "\ufeff1\n00:00:01.000 --> 00:00:02.500\n<i>One</i> two\n",
        "00:00:01,000-->00:00:02,500 X1:40 X2:600\n{\\an8}One two\n",
        "WEBVTT\n\nNOTE a\nb\n\nSTYLE\n::cue { a: b }\n\n00:01.000 --> 00:02.500 line:0\n<v Bob>One <c.x>two</c>\n",
        "WEBVTT\n\nREGION\nid:a\n\nname\n00:01.000 --> 00:02.500\nOne <00:00:01.500>two\n",
        "garbage\n\n1\n00:00:01,000 --> 00:00:02,500\nOne&nbsp;two\n",
        "7\n0:0:1,0 -> 0:0:2,5\nOne two\n",
    ],
)
def test_what_is_found_in_the_wild_is_read(text: str) -> None:
    assert read(text) == ONE


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_encodings(encoding: str) -> None:
    assert read_subtitles("00:01.0 --> 00:02.0\nCafé\n".encode(encoding), "x.vtt") == (Cue(1.0, 2.0, "Café"),)


def test_cues_come_in_order_and_last_some_time() -> None:
    text = "00:05.0 --> 00:05.0\nlater\n\n00:01.0 --> 00:09.0\nlong\n\n00:03.0 --> 00:02.0\nback\n"
    assert read(text) == [Cue(1.0, 9.0, "long"), Cue(3.0, 4.0, "back"), Cue(5.0, 6.0, "later")]


def test_cues_without_an_empty_line_between_them() -> None:
    text = "1\n00:01.0 --> 00:02.0\na\n2\n00:02.0 --> 00:03.0\nb\n"
    assert read(text) == [Cue(1.0, 2.0, "a"), Cue(2.0, 3.0, "b")]


def test_a_number_that_is_spoken_stays() -> None:
    assert read("1\n00:01.0 --> 00:02.0\n42\n\n") == [Cue(1.0, 2.0, "42")]


@pytest.mark.parametrize("text", ["", "\n \n", "WEBVTT\n", "1\n00:01.0 --> 00:02.0\n\n"])
def test_a_file_without_words_is_no_error(text: str) -> None:
    assert read(text) == []


def test_a_file_without_times_is_an_error_that_names_the_line() -> None:
    with pytest.raises(VideoError) as caught:
        read("\nhello\nworld\n")
    assert str(caught.value) == (
        "talk.srt: line 2 should give a time like 00:00:01,000 --> 00:00:02,000, and no line below does"
    )
    assert caught.value.hint == "remove the file, or replace it by subtitles in the format .srt or .vtt"


def test_times_beyond_a_week_are_none() -> None:
    assert read("999999999:00:01,0 --> 999999999:00:02,0\nx\n\n00:01.0 --> 999999:00:00.0\ny\n") == [
        Cue(1.0, 7 * 24 * 3600.0, "y")
    ]


def test_advanced_substation_text() -> None:
    assert ass_text(r"3,0,Default,,0,0,0,,{\i1}One,{\i0}\Ntwo\hthree") == "One, two three"
    assert ass_text("nothing") == "nothing"


def test_plain_text_keeps_what_is_no_markup() -> None:
    assert plain("1 < 2 > 0 & {so} <3 &lt;b&gt;") == "1 < 2 > 0 & {so} <3 <b>"


@given(st.binary(max_size=2000))
def test_no_bytes_give_a_traceback(data: bytes) -> None:
    try:
        cues = read_subtitles(data, "x.srt")
    except VideoError:
        return
    assert all(0 <= cue.start < cue.end and cue.text for cue in cues)


_PIECES = [
    "00:01.0",
    " --> ",
    "00:02.0",
    "\n",
    "\r",
    "<i>",
    "{\\",
    "}",
    "1",
    "WEBVTT",
    "&amp;",
    "<",
    "NOTE",
    "x",
    "99:99",
]


@given(st.lists(st.sampled_from(_PIECES), max_size=40))
def test_no_pieces_give_a_traceback(pieces: list[str]) -> None:
    try:
        cues = read("".join(pieces))
    except VideoError:
        return
    assert all(0 <= cue.start < cue.end and cue.text for cue in cues)


_WORDS = st.text(st.characters(exclude_categories=["C", "Z"], exclude_characters="\ufeff"), min_size=1, max_size=8)
_CUES = st.builds(
    lambda start, length, words: Cue(start / 1000, (start + length) / 1000, " ".join(words)),
    st.integers(0, 500_000_000),
    st.integers(1, 100_000_000),
    st.lists(_WORDS, min_size=1, max_size=4),
)


@given(st.lists(_CUES, max_size=8, unique_by=lambda cue: (cue.start, cue.end)))
def test_what_is_written_is_read_again(cues: list[Cue]) -> None:
    found = read(write_srt(cues))
    assert [(cue.text, round(cue.start * 1000), round(cue.end * 1000)) for cue in found] == [
        (cue.text, round(cue.start * 1000), round(cue.end * 1000))
        for cue in sorted(cues, key=lambda cue: (cue.start, cue.end))
    ]


@pytest.mark.parametrize(
    "unit", ["<", "<a", "{\\", "&", "00:", "00:00:01,0 --", " ", "-->", "00:01.0 --> 00:02.0\nx\n"]
)
def test_a_large_file_takes_no_more_than_its_length(unit: str) -> None:
    def seconds(size: int) -> float:
        data = (unit * (size // len(unit))).encode()
        start = time.process_time()
        with contextlib.suppress(VideoError):
            read_subtitles(data, "x.srt")
        return time.process_time() - start

    seconds(1000)
    assert seconds(1_000_000) < 40 * max(seconds(100_000), 0.01)
