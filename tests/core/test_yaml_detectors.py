"""The detectors of an application's YAML: read as they stand, every mistake named, no more than there is to read."""

from __future__ import annotations

import time
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from vcm.core.manifest import DeclaredDetector
from vcm.core.yaml_config import YamlModels, parse_yaml_application
from vcm.errors import ConfigError

TEXT = """\
version: 1.0
detections: {nudity: {enabled: true, sensitivity: 0.7}}
detectors:
  - type: clip
    name: scenes
    categories: [Violence, Nudity]
    model_name: "openai/clip-vit-base-patch32"
    confidence_threshold: 0.4
    device: null
    prompts:
      - category: Violence
        text: [a fight, "blood: much"]
  - {type: speech-profanity, name: words, model: profanity-detector, languages: [en, es]}
  - type: mock
    name: off
    enabled: false
  - type: mock
    name: plain
    enabled: true
"""


def parsed(text: str) -> tuple[DeclaredDetector, ...]:
    return parse_yaml_application(text.encode(), "config.yaml")[1]


def refused(text: str) -> tuple[str, str]:
    with pytest.raises(ConfigError) as raised:
        parsed(text)
    return raised.value.message, raised.value.hint


def test_detectors() -> None:
    text = TEXT.replace("name: off", 'name: "off"')
    assert parse_yaml_application(text.encode(), "config.yaml") == (
        YamlModels(),
        (
            DeclaredDetector(
                name="scenes",
                kind="clip",
                model="openai/clip-vit-base-patch32",
                options={
                    "categories": ["Violence", "Nudity"],
                    "confidence_threshold": 0.4,
                    "device": None,
                    "prompts": [{"category": "Violence", "text": ["a fight", "blood: much"]}],
                },
            ),
            DeclaredDetector(
                name="words", kind="speech-profanity", model="profanity-detector", options={"languages": ["en", "es"]}
            ),
            DeclaredDetector(name="plain", kind="mock", model=None, options={}),
        ),
    )


@pytest.mark.parametrize("text", ["", "models:\n", "detectors:\n", "detectors: []\n", "detectors: null\n"])
def test_there_may_be_none(text: str) -> None:
    assert parsed(text) == ()


def test_an_alias_stands_for_what_it_names() -> None:
    text = "x: &all [a, b]\ndetectors:\n- {type: t, name: one, c: &c [1, 2]}\n- {type: t, name: two, c: *c, d: *c}\n"
    assert [each.options for each in parsed(text)] == [{"c": [1, 2]}, {"c": [1, 2], "d": [1, 2]}]


MINE = "mend it in config.yaml"


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        (
            "detectors: {a: 1}\n",
            "config.yaml:1: detectors: expected a list of detectors",
            "begin each with - and its type",
        ),
        ("detectors:\n- clip\n", 'config.yaml:2: detectors[0]: expected keys and values, found "clip"', MINE),
        ("detectors:\n- name: a\n", 'config.yaml:2: detectors[0]: the key "type" is missing', MINE),
        ("detectors:\n- type: a\n", 'config.yaml:2: detectors[0]: the key "name" is missing', MINE),
        (
            "detectors:\n- type: a\n  name: off\n",
            "config.yaml:3: detectors[0].name: expected a string, which YAML reads as true or false without quotes",
            "put it in quotes",
        ),
        (
            "detectors:\n- type: a\n  name: b\n  model: 7\n",
            "config.yaml:4: detectors[0].model: expected a string, which YAML reads as a number without quotes",
            "put it in quotes",
        ),
        (
            "detectors:\n- type: a\n  name: b\n  enabled: maybe\n",
            'config.yaml:4: detectors[0].enabled: expected true or false, found "maybe"',
            MINE,
        ),
        (
            "detectors:\n- type: a\n  name: b\n  model: [x]\n",
            "config.yaml:4: detectors[0].model: expected a string, found an array",
            MINE,
        ),
        (
            "detectors:\n- type: a\n  name: b\n  model: x\n  model_name: y\n",
            'config.yaml:4: detectors[0].model: stands beside "model_name", which names another',
            "keep one of the two",
        ),
        (
            "detectors:\n- {type: a, name: b}\n- {type: c, name: b}\n",
            'config.yaml:3: detectors[1].name: "b" stands twice',
            "give each detector a name of its own",
        ),
        (
            "detectors:\n- type: a\n  name: b\n  made: 2026-01-01\n",
            'config.yaml:4: detectors[0].made: found "2026-01-01", to YAML a value of the kind timestamp',
            "put it in quotes",
        ),
        (
            "detectors:\n- type: a\n  name: b\n  run: !!python/object/apply:os.system [ls]\n  x: !!python/name:os.x\n",
            'config.yaml:5: detectors[0].x: found "", to YAML a value of the kind python/name:os.x',
            "put it in quotes",
        ),
        ("detectors: 1\ndetectors: 2\n", "config.yaml:2: detectors: stands twice", "keep one of the two"),
    ],
)
def test_mistakes(text: str, message: str, hint: str) -> None:
    assert refused(text) == (message, hint)


def test_aliases_of_aliases_end() -> None:
    lines = ["detectors:", "- type: a", "  name: b", "  x0: &x0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    lines += [f"  x{n}: &x{n} [{', '.join([f'*x{n - 1}'] * 10)}]" for n in range(1, 12)]
    began = time.process_time()
    message, hint = refused("\n".join(lines))
    assert message.endswith("these are more than 10000 values")
    assert message.startswith("config.yaml:7: detectors[0].x3[")
    assert hint == "write less, or fewer aliases"
    assert time.process_time() - began < 5


def test_nesting_ends() -> None:
    deep = "[" * 50 + "]" * 50
    for text in (f"- type: a\n  name: b\n  x: {deep}\n", "- &a\n  type: a\n  name: b\n  x: *a\n"):
        assert refused(f"detectors:\n{text}")[0].endswith(": nested too deeply")


def test_importing_reads_the_models_only() -> None:
    from vcm.core.yaml_config import parse_yaml_config

    assert parse_yaml_config(b"detectors: 7\nmodels: {}\n", "config.yaml") == YamlModels()


TOKENS = "type name model enabled : - &a *a [ ] { } , << !!int !!binary | > \" ' ... ? ~ 1e9 yes 2024-01-01 x é"
FRAGMENTS = st.lists(st.sampled_from([*TOKENS.split(), "\n", "  ", " "]), max_size=30).map("".join)


def outcome(text: str) -> tuple[DeclaredDetector, ...] | ConfigError:
    try:
        return parsed(text)
    except ConfigError as error:
        return error


@given(FRAGMENTS)
def test_whatever_stands_there_is_read_or_refused(text: str) -> None:
    found = outcome(f"detectors:\n- type: a\n  name: b\n  {text}")
    assert isinstance(found, tuple) or (found.message.startswith("config.yaml") and found.hint)


TEXTS = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=8)
PLAIN = st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False) | TEXTS
OPTIONS = st.dictionaries(
    TEXTS.map("x-".__add__),
    st.recursive(PLAIN, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3)),
    max_size=4,
)


@given(TEXTS, TEXTS, st.none() | TEXTS, OPTIONS)
def test_what_another_program_writes_is_read_back(name: str, kind: str, model: str | None, options: Any) -> None:
    written = {"name": name, "type": kind, "model_name": model, **options}
    text = yaml.safe_dump({"detectors": [written]}, allow_unicode=True)
    assert parsed(text) == (DeclaredDetector(name=name, kind=kind, model=model, options=options),)
