"""The kind word-list: listed words in subtitles."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.detectors.conftest import options
from vcm.core.findings import Match
from vcm.core.subtitles import Cue
from vcm.detectors.word_list import make
from vcm.errors import ConfigError

PLACE = "models.toml: pipeline.detectors.it.options"


def test_each_word_is_found_once_in_a_line() -> None:
    detector = make(None, options(words=["damn*", "go to hell"]))

    assert list(detector.read(Cue(2.5, 4.0, "Damn, damned! Go to \u2013 hell, damn you."))) == [
        Match("damn*", 1.0, 2.5, 4.0),
        Match("go to hell", 1.0, 2.5, 4.0),
    ]
    assert list(detector.read(Cue(5.0, 6.0, "A lovely dam."))) == []


def test_one_label_for_all() -> None:
    detector = make(None, options(words=["damn", "hell"], label="profanity"))

    assert list(detector.read(Cue(0.0, 1.0, "damn hell"))) == [Match("profanity", 1.0, 0.0, 1.0)]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, f"{PLACE}.words: missing: the words to look for"),
        ({"words": []}, f"{PLACE}.words: missing: the words to look for"),
        ({"words": "damn"}, f'{PLACE}.words: expected an array, found "damn"'),
        ({"words": ["f*ck"]}, f"{PLACE}.words[0]: found \"f*ck\": a '*' stands at the end of a word"),
        ({"words": ["ok", "!"]}, f'{PLACE}.words[1]: found "!": there is no letter or digit in it'),
        ({"words": ["damn"], "lable": "x"}, f'{PLACE}.lable: unknown key, did you mean "label"?'),
    ],
)
def test_options_that_cannot_be_used(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make(None, options(**given))

    assert str(caught.value) == message


def test_it_takes_no_model(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        make(tmp_path, options(words=["damn"]))

    assert str(caught.value) == "models.toml: pipeline.detectors.it.model: this kind of detector takes no model"
    assert caught.value.hint == "remove this key"


def test_it_needs_no_library() -> None:
    code = "import sys, vcm.detectors.word_list; print(*sys.modules)"
    loaded = subprocess.run((sys.executable, "-c", code), capture_output=True, text=True, check=True).stdout.split()

    assert not {"numpy", "av", "PIL", "onnxruntime"} & set(loaded)
