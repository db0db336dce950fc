"""What holds for every models.toml: a value or a ConfigError, and the same meaning in every formatting."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from vcm.core.manifest import Manifest, parse_manifest
from vcm.errors import ConfigError

DOCUMENT = b"""\
[project]
name = "video-censor"
requires-vcm = ">=0.1"

[models.frames]  # what the program asks for
repo = "acme/frame-classifier"
version = "~=1.2"
include = ["*.onnx", "*.json"]
exclude = [
  "fp16/**", # too coarse
]
type = "image-classification"

[models.whisper]
repo = "openai/whisper-base"
revision = "main"
groups = ["audio"]
optional = true
fallback = ["acme/whisper-mirror"]

[models."profanity"]
url = "https://example.com/profanit\xc3\xa9.onnx"
checksum = "md5:00000000000000000000000000000000"
size = 4096
marker = "sys_platform == 'linux'"

[hub]
endpoint = "https://hub.example"

[cache]
dir = "~/models"
disk-headroom = 3

[pipeline.detectors.nudity]
kind = "frames"
model = "frames"
options = { threshold = 0.5 }

[policy]
licenses = ["apache-2.0", "cc-by-*"]
max-size = "1.5 GB"
min-age = "7 days"

[policy.exceptions.whisper]
licenses = "bought"
"""


def outcome(data: bytes) -> Manifest | ConfigError:
    """What a reader makes of any bytes; any other exception fails the test."""
    try:
        manifest = parse_manifest(data, vcm_version="0.1.0")
    except ConfigError as error:
        assert error.message.startswith("models.toml")  # noqa: PT017
        return error
    assert len(manifest.digest) == 64
    return manifest


@given(st.binary(max_size=200))
def test_noise_is_a_manifest_or_an_error(noise):
    outcome(noise)


@given(st.text("[]{}=\"'.,#\n\r\t ab1-_:\\+", max_size=80))
def test_noise_of_toml_characters_is_a_manifest_or_an_error(noise):
    outcome(noise.encode())


TOKENS = [b'"', b"'", b"[", b"]", b"{", b"}", b"=", b"#", b".", b"\n", b"-", b"\\u0000", b"nan", b"true", b"\xc3"]


@st.composite
def mutations(draw: st.DrawFn) -> bytes:
    data = DOCUMENT
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(len(data) - 1, 0)))
        lines = data.splitlines(keepends=True)
        line = data.count(b"\n", 0, at)
        length = draw(st.integers(1, 12))
        token = draw(st.sampled_from(TOKENS))
        data = draw(
            st.sampled_from(
                [
                    data[:at] + bytes([length * 21]) + data[at + 1 :],
                    data[:at] + data[at + length :],
                    data[: at + length] + data[at:],
                    data[:at] + token + data[at:],
                    data[:at] + token + data[at + 1 :],
                    data[:at],
                    b"".join(lines[:line] + lines[line + 1 :]),
                    b"".join(lines[: line + 1] + lines[line:]),
                    b"".join(lines[:line] + lines[line + 1 : line + 2] + lines[line : line + 1] + lines[line + 2 :]),
                ]
            )
        )
    return data


@settings(max_examples=100)
@given(mutations())
def test_a_mutated_document_is_a_manifest_or_an_error(data):
    outcome(data)


def test_the_document_that_is_mutated_is_a_valid_one():
    assert isinstance(outcome(DOCUMENT), Manifest)


# --- any value at any key ---------------------------------------------------------------------------------------------

scalars = (
    st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=12)
    | st.text("<>=!~.*,0123456789abv+- ", max_size=12)
    | st.text("()'\" andorst_plfmnoi=<>in", max_size=20)
)
anything = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)
MODEL_KEYS = (
    "repo", "version", "revision", "include", "exclude", "fallback", "url", "checksum", "size", "type", "groups",
    "optional", "marker", "allow-pickle", "follow", "unknown",
)  # fmt: skip
OTHER_KEYS = (
    "project.name", "project.requires-vcm", "project", "models", "hub.endpoint", "hub", "cache.dir",
    "cache.disk-headroom", "pipeline", "pipeline.detectors", "pipeline.detectors.x", "pipeline.detectors.x.kind",
    "pipeline.detectors.x.model", "pipeline.detectors.x.options", "models.b", "models.b.repo", "policy",
    "policy.licenses", "policy.owners", "policy.formats", "policy.max-size", "policy.min-age", "policy.exceptions",
)  # fmt: skip


def toml(value: Any) -> str:
    """A value as TOML, written here and not by a library, so that nothing is normalised on the way."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{toml(key)} = {toml(inner)}" for key, inner in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(toml, value)) + "]"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007F")
    return repr(value)


@settings(max_examples=75)
@given(st.dictionaries(st.sampled_from(MODEL_KEYS), anything, max_size=3), st.sampled_from(["repo", "url"]))
def test_any_value_at_any_key_of_a_model_is_a_manifest_or_an_error(keys, kind):
    base = {"repo": "acme/a"} if kind == "repo" else {"url": "https://example.com/a"}
    text = "[models.a]\n" + "".join(f"{key} = {toml(value)}\n" for key, value in (base | keys).items())
    found = outcome(text.encode())
    assert "unknown" not in keys or isinstance(found, ConfigError)


@given(st.sampled_from(OTHER_KEYS), anything)
def test_any_value_at_any_other_key_is_a_manifest_or_an_error(key, value):
    outcome(f"{key} = {toml(value)}\n".encode())


# --- meaning ----------------------------------------------------------------------------------------------------------

globs = st.sampled_from(["*.onnx", "!big.onnx", "fp16/**", "a b", "x#y", "'q\"", "é*"])
names = st.sampled_from(["a", "b.c", "d-e", "0", "x_y"])
repos = st.sampled_from(["acme/a", "acme/b", "gpt2"])
groups = st.lists(st.sampled_from(["audio", "video", "x.y"]), min_size=1, max_size=3)
common = {
    "type": st.just("fill-mask"),
    "groups": groups,
    "optional": st.just(value=True),
    "marker": st.just("sys_platform == 'linux'"),
    "allow-pickle": st.just(value=True),
}
by_repo = st.fixed_dictionaries(
    {"repo": repos},
    optional={
        **common,
        "follow": st.just(value=False),
        "version": st.sampled_from(["~=1.2", ">=1,<2", "==1.*"]),
        "include": st.lists(globs, min_size=1, max_size=3),
        "exclude": st.lists(globs, min_size=1, max_size=3),
        "fallback": st.lists(st.sampled_from(["acme/x", "acme/y"]), min_size=1, max_size=2),
    },
)
by_url = st.fixed_dictionaries(
    {"url": st.just("https://example.com/é?x=1#y")},
    optional={**common, "size": st.integers(0, 2**60), "checksum": st.just("a" * 64)},
)
declared = st.dictionaries(names, by_repo | by_url, min_size=1, max_size=3)


def plain(models: dict[str, dict[str, Any]]) -> str:
    lines: list[str] = []
    for name, keys in models.items():
        lines += [f"[models.{toml(name)}]", *(f"{key} = {toml(value)}" for key, value in keys.items())]
    return "\n".join(lines)


def dotted(models: dict[str, dict[str, Any]]) -> str:
    return "\r\n".join(
        f"models . {toml(name)}.'{key}'={toml(value)} # {key}"
        for name, keys in models.items()
        for key, value in keys.items()
    )


def inline(models: dict[str, dict[str, Any]]) -> str:
    return f"models={toml(models)}"


def spread(models: dict[str, dict[str, Any]]) -> str:
    def value_text(value: Any) -> Iterable[str]:
        if isinstance(value, list):
            return ["[", *(f"\t{toml(each)}, # one" for each in value), "]"]
        return [toml(value)]

    lines = ["", "# all of them", "[models]"]
    for name, keys in models.items():
        lines += ["", f"  [ models . {toml(name)} ] # [models.other]", "  # version = '~=9'"]
        for key, value in keys.items():
            first, *rest = value_text(value)
            lines += [f'\t"{key}"  =  {first}', *rest]
    return "\n".join(lines) + "\n\n"


@given(declared, st.sampled_from([dotted, inline, spread]), st.randoms(use_true_random=False))
def test_formatting_and_order_are_not_meaning(models, style, random):
    shuffled = {
        name: dict(random.sample(sorted(models[name].items()), len(models[name])))
        for name in random.sample(sorted(models), len(models))
    }
    one, other = outcome(plain(models).encode()), outcome(style(shuffled).encode())
    assert isinstance(one, Manifest), one
    assert isinstance(other, Manifest), other
    assert {model.name: model for model in one.models} == {model.name: model for model in other.models}
    assert one.digest == other.digest


def meaning_of(models: dict[str, dict[str, Any]]) -> Any:
    return {
        name: {key: sorted(set(value)) if key == "groups" else value for key, value in keys.items()}
        for name, keys in models.items()
    }


@given(declared, declared)
def test_two_manifests_have_one_digest_only_when_they_ask_for_the_same(one, other):
    digests = [read.digest for text in (one, other) if isinstance(read := outcome(plain(text).encode()), Manifest)]
    assert len(digests) == 2
    assert (digests[0] == digests[1]) == (meaning_of(one) == meaning_of(other))
