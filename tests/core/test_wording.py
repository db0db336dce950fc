"""Words for numbers, choices and what comes from strangers."""

from __future__ import annotations

import pytest

from vcm.core.wording import byte_count, counted, did_you_mean, listed, printable, system_reason


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (1, "1 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (1024, "1.0 kB"),
        (1550, "1.6 kB"),
        (90_868_376, "90.9 MB"),
        (1_000_000_000, "1.0 GB"),
        (2_500_000_000_000, "2.5 TB"),
        (10**16, "10000.0 TB"),
        (-1500, "-1.5 kB"),
        (12.4, "12 B"),
    ],
)
def test_bytes_in_the_decimal_units_of_disks(count, text):
    assert byte_count(count) == text


@pytest.mark.parametrize(("count", "text"), [(0, "0 files"), (1, "1 file"), (2, "2 files")])
def test_counted(count, text):
    assert counted(count, "file") == text


@pytest.mark.parametrize(
    ("words", "text"),
    [([], "nothing"), (["a"], "a"), (["a", "b"], "a and b"), (("a", "b", "c"), "a, b and c"), (iter("ab"), "a and b")],
)
def test_listed(words, text):
    assert listed(words) == text


@pytest.mark.parametrize(
    ("word", "choices", "text"),
    [
        ("verson", ["revision", "version"], ', did you mean "version"?'),
        ("framse", {"frames"}, ', did you mean "frames"?'),
        ("frames", ["frames"], ', did you mean "frames"?'),
        ("zzz", ["version"], ""),
        ("version", [], ""),
        ("", ["version"], ""),
        ("verson", iter(["version"]), ', did you mean "version"?'),
    ],
)
def test_did_you_mean(word, choices, text):
    assert did_you_mean(word, choices) == text


def test_what_comes_from_a_stranger_steers_no_terminal():
    assert printable("plain ä") == "plain ä"
    assert printable("a\x1b[31m\nb\u202e") == "a\ufffd[31m\ufffdb\ufffd"


def test_the_reason_of_the_system():
    assert system_reason(FileNotFoundError(2, "No such file or directory", "/home/a")) == "no such file or directory"
    assert system_reason(OSError("Odd")) == "odd"
