"""The quick way to read a manifest gives what tomllib gives, or nothing."""

from __future__ import annotations

import tomllib
from string import printable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from vcm.core.plain_toml import read_plain

PLAIN = """\
# A project.
[project]
name = "video-censor"   # in every sense

[models.frames]
repo = "acme/frame-classifier"
include = ["*.onnx", "it's, [all] # in here", "*.json",]
exclude = [ ]
optional = true
size = 4096

[models.2-b_c]
follow=false
url = "https://example.com/a#b"
checksum = ""
[[mirror]]
name = "rack"
[[mirror]] # another
name = "hall"
[pipeline]
"""
# Pieces of lines, whole and broken; what they make together is mostly TOML, and sometimes only nearly.
WORDS = [
    "[",
    "]",
    "[[",
    "]]",
    "a",
    "b",
    "models",
    ".",
    "=",
    " = ",
    '"',
    '"x"',
    '""',
    '"""',
    "'",
    "'x'",
    "\\",
    '"\\n"',
    ",",
]
WORDS += [" ", "\t", "\r", "\n", "\n", "\n", "#", "# c", "true", "false", "0", "07", "12", "-1", "1.5", "1_0", "{", "}"]
LINES = [
    "[a]",
    "[a.b]",
    "[b]",
    "[[a]]",
    "[[b]]",
    "a = 1",
    'b = "x"',
    'c = ["x", "y"]',
    "é",
    "\x00",
    "\x7f",
    "\u2028",
    "0x1",
    "a = []",
    "",
]
PIECES = st.sampled_from(WORDS) | st.sampled_from(LINES).map(lambda line: f"{line}\n")


def test_a_plain_manifest():
    read = read_plain(PLAIN)
    assert read == tomllib.loads(PLAIN)
    assert read["models"]["frames"]["include"] == ["*.onnx", "it's, [all] # in here", "*.json"]
    assert list(read["models"]) == ["frames", "2-b_c"]
    assert read["mirror"] == [{"name": "rack"}, {"name": "hall"}]


@given(st.lists(PIECES, max_size=30).map("".join) | st.text(printable, max_size=60))
@example("[a.b]\n[a]\n")
@example("a = 1\n[a.b]\n")
@example("[a]\nb = 1\n[a.b]\n")
@example('a = """\n"""\n')
@example('a = ["x" "y"]\n')
@example("a = [,]\n")
@example("a = 1\r\n")
@example("a = '\"'\n")
def test_it_gives_what_tomllib_gives_or_nothing(text):
    read = read_plain(text)
    if read is not None:
        assert read == tomllib.loads(text)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "a = 'x'",
            'a = "\\n"',
            "a.b = 1",
            "a = 1\na = 2",
            "[a]\n[a]",
            "[a.b.c]",
            "[[a.b]]",
            "a = []\n[[a]]",
            'a = ["x"]\n[[a]]',
            "[a]\n[[a]]",
            "[[a]]\n[a]",
            "[[a]]\n[a.b]",
            "[[a]",
            "a = 01",
            "a = 1.5",
            "a =",
        ),
        *(
            "a = 1 b = 2",
            'a = "x',
            "a = [1]",
            "a = {}",
            "a = 1\r\n",
            "\ufeffa = 1",
            "a = [\n]",
            "<<<<<<< HEAD",
            "[a] x",
        ),
    ],
)
def test_what_is_not_plain_is_left_to_tomllib(text):
    assert read_plain(text) is None
