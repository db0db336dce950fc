"""models.toml as values: every key, every refusal word for word, and what moves the digest."""

from __future__ import annotations

from typing import Any

import pytest

from vcm.core.manifest import (
    CHECKSUM_LENGTHS,
    Checksum,
    DeclaredDetector,
    Manifest,
    Requirement,
    parse_checksum,
    parse_manifest,
)
from vcm.errors import CONFIG_ERROR, ConfigError

WHOLE = """\
[project]
name = "video-censor"
requires-vcm = ">=0.1"

[models.frames]                            # what the program asks for
repo = "acme/frame-classifier"
version = "~=1.2"
include = ["*.onnx", "*.json"]
exclude = ["fp16/**"]
type = "image-classification"
allow-pickle = true

[models.whisper]
repo = "openai/whisper-base"
revision = "main"
groups = ["audio"]
optional = true
fallback = ["acme/whisper-mirror"]

[models.profanity]
url = "https://example.com/profanity.onnx"
checksum = "sha256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
size = 4096
marker = "sys_platform == 'linux'"

[hub]
endpoint = "https://hub.example/"

[cache]
dir = "~/models"
disk-headroom = 3

[pipeline.detectors.nudity]
kind = "onnx-frames"
model = "frames"
options = { threshold = 0.5, labels = ["a", "b"] }

[pipeline.detectors.words]
kind = "words"
"""

REPO = '[models.a]\nrepo = "acme/a"\n'
URL = '[models.a]\nurl = "https://example.com/a.onnx"\n'

NAME_RULE = "a model's name is made of a-z, 0-9, '.', '_' and '-', and begins and ends with a-z or 0-9"
SPECIFIER_RULE = "a version is a PEP 440 specifier, such as '~=1.2' or '>=1,<2' or '==1.2'"
MARKER_RULE = "a marker is a PEP 508 expression, such as \"sys_platform == 'linux'\""
PATTERN_RULE = "a pattern is a gitignore-style glob, such as '*.onnx' or 'fp16/**'"
REVISION_RULE = "a revision is the name of a branch, a tag or a commit"
TYPE_RULE = "a type is a task name of the Hub, such as 'image-classification'"
MODEL_KEYS = (
    "repo, version, revision, include, exclude, fallback, url, checksum, size, type, groups, optional, marker, "
    "allow-pickle, follow"
)


def read(text: str, version: str = "0.1.0") -> Manifest:
    return parse_manifest(text.encode(), vcm_version=version)


def refusal(text: str | bytes) -> ConfigError:
    data = text if isinstance(text, bytes) else text.encode()
    with pytest.raises(ConfigError) as caught:
        parse_manifest(data, vcm_version="0.1.0")
    return caught.value


def only(text: str) -> Requirement:
    (requirement,) = read(text).models
    return requirement


def test_every_key_is_read():
    assert read(WHOLE) == Manifest(
        name="video-censor",
        requires_vcm=">=0.1",
        models=(
            Requirement(
                name="frames",
                repo="acme/frame-classifier",
                version="~=1.2",
                include=("*.onnx", "*.json"),
                exclude=("fp16/**",),
                type="image-classification",
                allow_pickle=True,
            ),
            Requirement(
                name="whisper",
                repo="openai/whisper-base",
                revision="main",
                groups=("audio",),
                optional=True,
                fallback=("acme/whisper-mirror",),
            ),
            Requirement(
                name="profanity",
                url="https://example.com/profanity.onnx",
                checksum=Checksum("sha256", "a" * 64),
                size=4096,
                marker="sys_platform == 'linux'",
            ),
        ),
        endpoint="https://hub.example",
        cache_dir="~/models",
        disk_headroom=3.0,
        detectors=(
            DeclaredDetector(
                name="nudity", kind="onnx-frames", model="frames", options={"threshold": 0.5, "labels": ["a", "b"]}
            ),
            DeclaredDetector(name="words", kind="words", model=None, options={}),
        ),
    )


def test_an_empty_file_is_a_manifest_without_models():
    assert read("") == Manifest()
    assert read("").disk_headroom == 2.0


def test_what_is_left_out_has_its_default():
    assert only(REPO) == Requirement(name="a", repo="acme/a")


def test_what_a_model_pulls_in_is_followed_unless_told_otherwise():
    assert only(REPO).follow is True
    assert only(REPO + "follow = false\n") == Requirement(name="a", repo="acme/a", follow=False)


def test_get_finds_by_name():
    manifest = read(WHOLE)
    assert manifest.get("whisper") is manifest.models[1]
    assert manifest.get("nothing") is None


@pytest.mark.parametrize(
    "other",
    [
        'models.a.repo = "acme/a"\nmodels.a.groups = ["x"]\n',
        'models = { a = { repo = "acme/a", groups = ["x"] } }\n',
        'models.a = { groups = ["x"], repo = "acme/a" }\n',
        '[models]\na.repo = "acme/a"\na.groups = ["x"]\n',
        "[ models . 'a' ]\n\"repo\" = 'acme/a'\ngroups = [\n  'x', # why\n]\n",
        '["models"."a"]\r\n\trepo = """acme/a"""\r\ngroups=["\\u0078"]',
    ],
)
def test_other_spellings_of_the_same(other):
    assert read(other) == read('[models.a]\nrepo = "acme/a"\ngroups = ["x"]\n')


@pytest.mark.parametrize("line", ["size = 0x10_00", "size = 4_096", "size = 0o10000", "size = +4096"])
def test_other_spellings_of_a_number(line):
    assert only(URL + line).size == 4096


def test_a_size_may_be_as_large_as_a_file_system_allows():
    assert only(URL + "size = 9223372036854775807").size == 2**63 - 1


@pytest.mark.parametrize(("written", "number"), [("1", 1.0), ("1.5", 1.5), ("100.0", 100.0)])
def test_disk_headroom_is_any_number_in_range(written, number):
    assert read(f"[cache]\ndisk-headroom = {written}\n").disk_headroom == number


@pytest.mark.parametrize(
    ("requires", "version"),
    [(">=0.1", "0.1.0"), (">=0.1", "0.2.0.dev3"), ("==0.1.*", "0.1.9"), ("~=1.0", "1.4"), ("===0.1.0", "0.1.0")],
)
def test_a_fitting_vcm_is_let_through_pre_releases_too(requires, version):
    assert read(f'[project]\nrequires-vcm = "{requires}"\n', version).requires_vcm == requires


# name of the case, document, message, hint
REFUSED: list[tuple[str, str | bytes, str, str]] = [
    (
        "not TOML",
        '[models.a]\nrepo = "acme/a\n',
        "models.toml:2: not TOML: Illegal character '\\n'",
        "see https://toml.io, then mend models.toml:2",
    ),
    (
        "a statement that is none",
        "[models.a]\nrepo\n",
        "models.toml:2: not TOML: Expected '=' after a key in a key/value pair",
        "see https://toml.io, then mend models.toml:2",
    ),
    (
        "cut off",
        "x = [1,",
        "models.toml: not TOML: Invalid value (at end of document)",
        "see https://toml.io, then mend models.toml",
    ),
    (
        "a key twice",
        REPO + 'repo = "acme/b"\n',
        "models.toml:3: not TOML: Cannot overwrite a value",
        "see https://toml.io, then mend models.toml:3",
    ),
    (
        "a model twice",
        REPO + REPO,
        "models.toml:3: not TOML: Cannot declare ('models', 'a') twice",
        "see https://toml.io, then mend models.toml:3",
    ),
    (
        "not UTF-8",
        b'[project]\nname = "caf\xe9"\n',
        "models.toml:2: not UTF-8 text",
        "save models.toml as UTF-8",
    ),
    ("UTF-16", REPO.encode("utf-16"), "models.toml:1: not UTF-8 text", "save models.toml as UTF-8"),
    (
        "merge conflict",
        REPO + "<<<<<<< HEAD\nversion = '~=1.2'\n=======\nversion = '~=1.3'\n>>>>>>> theirs\n",
        "models.toml:3: merge-conflict markers",
        "resolve the conflict in models.toml (of a lock, keep one side whole), then run vcm lock",
    ),
    (
        "merge conflict with CRLF",
        REPO.replace("\n", "\r\n") + "<<<<<<< HEAD\r\n",
        "models.toml:3: merge-conflict markers",
        "resolve the conflict in models.toml (of a lock, keep one side whole), then run vcm lock",
    ),
    (
        "the end of a merge conflict alone",
        REPO + ">>>>>>> theirs\n",
        "models.toml:3: merge-conflict markers",
        "resolve the conflict in models.toml (of a lock, keep one side whole), then run vcm lock",
    ),
    (
        "arrays nested too deeply",
        "x = " + "[" * 100_000,
        "models.toml: not TOML: nested too deeply",
        "see https://toml.io, then mend models.toml",
    ),
    (
        "tables nested too deeply",
        "x = " + "{a=" * 100_000,
        "models.toml: not TOML: nested too deeply",
        "see https://toml.io, then mend models.toml",
    ),
    (
        "unknown top key",
        "[hub]\n[model]\n",
        'models.toml:2: model: unknown key, did you mean "models"?',
        "allowed here: project, models, hub, cache, pipeline, policy, mirror, origin",
    ),
    (
        "unknown top key that is near nothing",
        "zzz = 1\n",
        "models.toml:1: zzz: unknown key",
        "allowed here: project, models, hub, cache, pipeline, policy, mirror, origin",
    ),
    (
        "unknown key of a model",
        REPO + 'verson = "~=1.2"\n',
        'models.toml:3: models.a.verson: unknown key, did you mean "version"?',
        f"allowed here: {MODEL_KEYS}",
    ),
    (
        "a key with the underscore of Python",
        REPO + "allow_pickle = true\n",
        'models.toml:3: models.a.allow_pickle: unknown key, did you mean "allow-pickle"?',
        f"allowed here: {MODEL_KEYS}",
    ),
    (
        "unknown key of the project",
        "[project]\nnames = 'x'\n",
        'models.toml:2: project.names: unknown key, did you mean "name"?',
        "allowed here: name, requires-vcm",
    ),
    (
        "unknown key of the hub",
        "[hub]\ntoken = 'x'\n",
        "models.toml:2: hub.token: unknown key",
        "allowed here: endpoint",
    ),
    (
        "unknown key of the cache",
        "[cache]\ndirs = 'x'\n",
        'models.toml:2: cache.dirs: unknown key, did you mean "dir"?',
        "allowed here: dir, disk-headroom",
    ),
    (
        "unknown key of the pipeline",
        "[pipeline]\ndetector = {}\n",
        'models.toml:2: pipeline.detector: unknown key, did you mean "detectors"?',
        "allowed here: detectors, merge-gap, margin",
    ),
    (
        "unknown key of a detector",
        "[pipeline.detectors.x]\nkind = 'k'\noption = {}\n",
        'models.toml:3: pipeline.detectors.x.option: unknown key, did you mean "options"?',
        "allowed here: model, kind, options",
    ),
    ("models as a number", "models = 3\n", "models.toml:1: models: expected a table, found 3", ""),
    ("models as an array", "models = [1]\n", "models.toml:1: models: expected a table, found an array", ""),
    ("a model as a string", "[models]\na = 'x/y'\n", 'models.toml:2: models.a: expected a table, found "x/y"', ""),
    ("repo as a number", "[models.a]\nrepo = 1\n", "models.toml:2: models.a.repo: expected a string, found 1", ""),
    (
        "repo as a date",
        "[models.a]\nrepo = 2024-01-02\n",
        "models.toml:2: models.a.repo: expected a string, found 2024-01-02",
        "",
    ),
    (
        "version as a number",
        REPO + "version = 1.2\n",
        "models.toml:3: models.a.version: expected a string, found 1.2",
        "",
    ),
    (
        "include as a string",
        REPO + "include = '*.onnx'\n",
        'models.toml:3: models.a.include: expected an array, found "*.onnx"',
        "",
    ),
    (
        "include with a number in it",
        REPO + "include = ['*.onnx', 7]\n",
        "models.toml:3: models.a.include[1]: expected a string, found 7",
        "",
    ),
    (
        "include with a table in it",
        REPO + "include = [{ }]\n",
        "models.toml:3: models.a.include[0]: expected a string, found a table",
        "",
    ),
    (
        "size as true, which is 1 in Python",
        URL + "size = true\n",
        "models.toml:3: models.a.size: expected a whole number, found true",
        "",
    ),
    (
        "size as a fraction",
        URL + "size = 1.0\n",
        "models.toml:3: models.a.size: expected a whole number, found 1.0",
        "",
    ),
    (
        "size below nothing",
        URL + "size = -1\n",
        "models.toml:3: models.a.size: expected a whole number of at least 0, found -1",
        "",
    ),
    (
        "optional as 1",
        REPO + "optional = 1\n",
        "models.toml:3: models.a.optional: expected true or false, found 1",
        "",
    ),
    (
        "allow-pickle as a string",
        REPO + "allow-pickle = 'false'\n",
        'models.toml:3: models.a.allow-pickle: expected true or false, found "false"',
        "",
    ),
    (
        "follow as a word",
        REPO + "follow = 'base'\n",
        'models.toml:3: models.a.follow: expected true or false, found "base"',
        "",
    ),
    (
        "a url that follows",
        URL + "follow = true\n",
        'models.toml:3: models.a.follow: "follow" goes with "repo", not with "url"',
        "remove follow",
    ),
    (
        "headroom as true",
        "[cache]\ndisk-headroom = true\n",
        "models.toml:2: cache.disk-headroom: expected a number from 1 to 100, found true",
        "",
    ),
    (
        "headroom too low",
        "[cache]\ndisk-headroom = 0.5\n",
        "models.toml:2: cache.disk-headroom: expected a number from 1 to 100, found 0.5",
        "",
    ),
    (
        "headroom too high",
        "[cache]\ndisk-headroom = 101\n",
        "models.toml:2: cache.disk-headroom: expected a number from 1 to 100, found 101",
        "",
    ),
    (
        "headroom that is no number",
        "[cache]\ndisk-headroom = nan\n",
        "models.toml:2: cache.disk-headroom: expected a number from 1 to 100, found nan",
        "",
    ),
    (
        "headroom without end",
        "[cache]\ndisk-headroom = inf\n",
        "models.toml:2: cache.disk-headroom: expected a number from 1 to 100, found inf",
        "",
    ),
    (
        "version and revision",
        REPO + "version = '~=1.2'\nrevision = 'main'\n",
        'models.toml:4: models.a.revision: "version" and "revision" exclude each other',
        "keep one of the two",
    ),
    (
        "repo and url",
        REPO + "url = 'https://example.com/a'\n",
        'models.toml:1: models.a: expected either "repo" or "url", found both',
        'add repo = "namespace/name"',
    ),
    (
        "neither repo nor url",
        "[models.a]\n",
        'models.toml:1: models.a: expected either "repo" or "url", found neither',
        'add repo = "namespace/name"',
    ),
    (
        "checksum with a repo",
        REPO + f"checksum = 'sha256:{'0' * 64}'\n",
        'models.toml:3: models.a.checksum: "checksum" goes with "url", not with "repo"',
        "remove checksum",
    ),
    (
        "size with a repo",
        REPO + "size = 1\n",
        'models.toml:3: models.a.size: "size" goes with "url", not with "repo"',
        "remove size",
    ),
    *(
        (
            f"{key} with a url",
            f"{URL}{key} = {value}\n",
            f'models.toml:3: models.a.{key}: "{key}" goes with "repo", not with "url"',
            f"remove {key}",
        )
        for key, value in {
            "version": "'~=1.2'",
            "revision": "'main'",
            "include": "['*.onnx']",
            "exclude": "[]",
            "fallback": "['acme/b']",
        }.items()
    ),
    (
        "empty include",
        REPO + "include = []\n",
        "models.toml:3: models.a.include: an empty list takes no file at all",
        "name a pattern, or remove include",
    ),
    (
        "fallback to itself",
        REPO + "fallback = ['acme/b', 'acme/a']\n",
        'models.toml:3: models.a.fallback: "acme/a" falls back to itself',
        "name another repo",
    ),
    (
        "a model's name with a capital",
        "[models.Frames]\nrepo = 'acme/a'\n",
        f"models.toml:1: models.Frames: {NAME_RULE}",
        "",
    ),
    (
        "a model's name with a blank",
        "[models.'a b']\nrepo = 'acme/a'\n",
        f"models.toml:1: models.a b: {NAME_RULE}",
        "",
    ),
    (
        "repo id with ..",
        "[models.a]\nrepo = 'acme/a..b'\n",
        "models.toml:2: models.a.repo: found \"acme/a..b\": a repo id holds neither '--' nor '..'",
        "",
    ),
    (
        "repo id that climbs",
        "[models.a]\nrepo = '../etc'\n",
        "models.toml:2: models.a.repo: found \"../etc\": no part of a repo id begins or ends with '-' or '.'",
        "",
    ),
    (
        "repo id of three parts",
        "[models.a]\nrepo = 'a/b/c'\n",
        "models.toml:2: models.a.repo: found \"a/b/c\": a repo id is 'namespace/name'",
        "",
    ),
    (
        "an empty repo",
        "[models.a]\nrepo = ' '\n",
        "models.toml:2: models.a.repo: expected a string that is not empty",
        "",
    ),
    (
        "a bad fallback",
        REPO + "fallback = ['acme/b', 'acme//b']\n",
        "models.toml:3: models.a.fallback[1]: found \"acme//b\": a repo id is 'namespace/name'",
        "",
    ),
    (
        "a version without an operator",
        REPO + "version = '1.2'\n",
        f'models.toml:3: models.a.version: found "1.2": {SPECIFIER_RULE}',
        "",
    ),
    (
        "a compatible release of one part",
        REPO + "version = '~=1'\n",
        f'models.toml:3: models.a.version: found "~=1": {SPECIFIER_RULE}',
        "",
    ),
    (
        "a revision that climbs",
        REPO + "revision = 'a/../b'\n",
        f'models.toml:3: models.a.revision: found "a/../b": {REVISION_RULE}',
        "",
    ),
    (
        "a bad marker",
        REPO + "marker = 'linux'\n",
        f'models.toml:3: models.a.marker: found "linux": {MARKER_RULE}',
        "",
    ),
    (
        "a pattern that is a comment",
        REPO + "include = ['*.onnx', '# all']\n",
        f'models.toml:3: models.a.include[1]: found "# all": {PATTERN_RULE}',
        "",
    ),
    (
        "an empty pattern",
        REPO + "exclude = ['']\n",
        "models.toml:3: models.a.exclude[0]: expected a string that is not empty",
        "",
    ),
    (
        "a type that is no task",
        REPO + "type = 'Image Classification'\n",
        f'models.toml:3: models.a.type: found "Image Classification": {TYPE_RULE}',
        "",
    ),
    (
        "a checksum that is too short",
        URL + "checksum = 'sha256:abc'\n",
        'models.toml:3: models.a.checksum: found "sha256:abc": sha256 has 64 hex digits',
        "",
    ),
    (
        "a checksum of an unknown algorithm",
        URL + "checksum = 'sha265:abc'\n",
        (
            'models.toml:3: models.a.checksum: found "sha265:abc": no algorithm "sha265", did you mean "sha256"? '
            "Known are sha256, sha384, sha512, blake2b, sha1 and md5"
        ),
        "",
    ),
    (
        "a url without a scheme",
        "[models.a]\nurl = 'example.com/a'\n",
        'models.toml:2: models.a.url: found "example.com/a": a URL begins with http:// or https:// and names a host',
        "",
    ),
    (
        "a url on this machine",
        "[models.a]\nurl = 'file:///etc/passwd'\n",
        (
            'models.toml:2: models.a.url: found "file:///etc/passwd": a URL begins with http:// or https:// '
            "and names a host"
        ),
        "",
    ),
    (
        "an endpoint that is none",
        "[hub]\nendpoint = 'hub.example'\n",
        'models.toml:2: hub.endpoint: found "hub.example": a URL begins with http:// or https:// and names a host',
        "",
    ),
    (
        "a vcm that does not fit",
        "[project]\nrequires-vcm = '>=2'\n",
        "models.toml:2: project.requires-vcm: this is vcm 0.1.0, the project wants >=2",
        "install a fitting vcm",
    ),
    (
        "requires-vcm that is no specifier",
        "[project]\nrequires-vcm = '2'\n",
        f'models.toml:2: project.requires-vcm: found "2": {SPECIFIER_RULE}',
        "",
    ),
    (
        "a detector of an unknown model",
        REPO.replace(".a]", ".frames]") + "[pipeline.detectors.x]\nkind = 'k'\nmodel = 'frame'\n",
        'models.toml:5: pipeline.detectors.x.model: no [models.frame] in this file, did you mean "frames"?',
        "declare it: vcm add frame NAMESPACE/NAME",
    ),
    (
        "a detector without a kind",
        "[pipeline.detectors.x]\n",
        'models.toml:1: pipeline.detectors.x: the key "kind" is missing',
        "",
    ),
    (
        "options that are no table",
        "[pipeline.detectors.x]\nkind = 'k'\noptions = []\n",
        "models.toml:3: pipeline.detectors.x.options: expected a table, found an array",
        "",
    ),
]


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [pytest.param(text, message, hint, id=name) for name, text, message, hint in REFUSED],
)
def test_refused_with_place_reason_and_remedy(text, message, hint):
    error = refusal(text)
    assert (error.message, error.hint) == (message, hint or "mend it in models.toml")
    assert str(error) == message
    assert (error.error_code, error.exit_code) == (CONFIG_ERROR, 2)


@pytest.mark.parametrize(
    "url", ["https://user:pw@example.com/a", "https://user@example.com/a", "http://:pw@e.example/"]
)
def test_a_url_with_a_password_is_refused(url):
    error = refusal(f"[models.a]\nurl = '{url}'\n")
    assert error.message.startswith("models.toml:2: models.a.url: ")
    assert error.message.endswith(": a URL must not carry a user name or password")
    assert refusal(f"[hub]\nendpoint = '{url}'\n").message.startswith("models.toml:2: hub.endpoint: ")


def test_a_number_of_six_thousand_digits_is_refused():
    error = refusal(URL + "size = " + "9" * 6000)
    assert error.message.startswith(
        "models.toml: not TOML: Exceeds the limit (4300 digits) for integer string conversion"
    )


def test_a_long_value_is_shown_by_its_beginning():
    error = refusal(f"[models.a]\nrepo = '{'x' * 500}'\n")
    shown = '"' + "x" * 76 + "..."
    rule = "each part of a repo id is 1 to 96 of A-Z, a-z, 0-9, '-', '_' and '.'"
    assert error.message == f"models.toml:2: models.a.repo: found {shown}: {rule}"


def test_the_file_is_called_as_the_caller_calls_it():
    with pytest.raises(ConfigError) as caught:
        parse_manifest(b"zzz = 1", vcm_version="0.1.0", file_name="sub/models.toml")
    assert caught.value.message == "sub/models.toml:1: zzz: unknown key"


def test_of_several_mistakes_the_first_in_reading_order_is_named():
    assert refusal("[hub]\ntoken = 1\n[models.a]\nrepo = 1\n").message.startswith("models.toml:4: models.a.repo")


@pytest.mark.parametrize("algorithm", CHECKSUM_LENGTHS)
def test_a_checksum_of_every_algorithm(algorithm):
    digits = "0F" * (CHECKSUM_LENGTHS[algorithm] // 2)
    assert parse_checksum(f"{algorithm}:{digits}") == Checksum(algorithm, digits.lower())
    assert str(parse_checksum(f"{algorithm}:{digits}")) == f"{algorithm}:{digits.lower()}"


def test_bare_hex_is_a_sha256():
    assert parse_checksum("0" * 64) == Checksum("sha256", "0" * 64)


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":",
        "0" * 63,
        "0" * 65,
        "g" * 64,
        "sha256:",
        "sha512:" + "0" * 64,
        "SHA256:" + "0" * 64,
        "٣" * 64,
        "0x" + "0" * 62,
    ],
)
def test_a_checksum_that_is_none(text):
    with pytest.raises(ValueError, match=r"hex digits|no algorithm"):
        parse_checksum(text)


@pytest.mark.parametrize(
    ("marker", "environment", "applies"),
    [
        (None, {}, True),
        ("sys_platform == 'linux'", {"sys_platform": "linux"}, True),
        ("sys_platform == 'linux'", {"sys_platform": "win32"}, False),
        ("python_version >= '3.12'", {"python_version": "3.9"}, False),
        ("sys_platform == 'linux' or os_name == 'nt'", {"sys_platform": "x", "os_name": "nt"}, True),
        ("python_version >= '3'", None, True),
        ("python_version < '3'", None, False),
    ],
)
def test_a_marker_decides_where_a_model_applies(marker, environment, applies):
    assert Requirement(name="a", repo="acme/a", marker=marker).applies(environment) is applies


# --- the digest -------------------------------------------------------------------------------------------------------

BASE_REPO = {"repo": "'acme/a'", "groups": "['x']"}
BASE_URL = {"url": "'https://example.com/a'"}


def document(*models: dict[str, str], rest: str = "") -> str:
    tables = (
        f"[models.m{position}]\n" + "".join(f"{key} = {value}\n" for key, value in keys.items())
        for position, keys in enumerate(models)
    )
    return rest + "\n".join(tables)


@pytest.mark.parametrize(
    ("base", "change"),
    [
        (BASE_REPO, {"repo": "'acme/b'"}),
        (BASE_REPO, {"version": "'~=1.2'"}),
        (BASE_REPO, {"revision": "'main'"}),
        (BASE_REPO, {"include": "['*.onnx']"}),
        (BASE_REPO, {"exclude": "['*.onnx']"}),
        (BASE_REPO, {"fallback": "['acme/b']"}),
        (BASE_REPO, {"type": "'fill-mask'"}),
        (BASE_REPO, {"groups": "['y']"}),
        (BASE_REPO, {"groups": "['x', 'y']"}),
        (BASE_REPO, {"groups": "[]"}),
        (BASE_REPO, {"optional": "true"}),
        (BASE_REPO, {"marker": '''"os_name == 'nt'"'''}),
        (BASE_REPO, {"allow-pickle": "true"}),
        (BASE_REPO, {"follow": "false"}),
        (BASE_URL, {"url": "'https://example.com/b'"}),
        (BASE_URL, {"checksum": f"'sha256:{'0' * 64}'"}),
        (BASE_URL, {"checksum": f"'sha1:{'0' * 40}'"}),
        (BASE_URL, {"size": "0"}),
        (BASE_URL, {"size": "1"}),
    ],
    ids=lambda value: next(iter(value)),
)
def test_each_key_of_a_requirement_moves_the_digest(base, change):
    other = read(document(base | change))
    assert other.digest != read(document(base)).digest
    assert len(other.digest) == 64


def test_the_changes_above_touch_every_key():
    touched = {"name"} | {key.replace("-", "_") for key in MODEL_KEYS.split(", ")}
    assert touched == set(Requirement.__dataclass_fields__)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (["'a'", "'b'"], ["'b'", "'a'"]),
        (["'a'", "'!b'"], ["'!b'", "'a'"]),
    ],
)
def test_the_order_of_patterns_is_meaning(one, other):
    # In gitignore-style lists the last pattern that matches decides.
    texts = [document(BASE_REPO | {"include": f"[{', '.join(each)}]"}) for each in (one, other)]
    assert read(texts[0]).digest != read(texts[1]).digest


def test_the_name_is_meaning():
    assert read("[models.a]\nrepo = 'acme/a'").digest != read("[models.b]\nrepo = 'acme/a'").digest


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param(
            "[models.a]\nrepo = 'acme/a'\noptional = true\n[models.b]\nrepo = 'acme/b'\n",
            "[models.b]\nrepo = 'acme/b'\n[models.a]\noptional = true\nrepo = 'acme/a'\n",
            id="order of models and keys",
        ),
        pytest.param(
            REPO, '# about a\n\n[ models."a" ] # here\n  repo="acme/a"# there\n\n', id="comments and formatting"
        ),
        pytest.param(REPO, REPO.replace("\n", "\r\n"), id="line endings"),
        pytest.param(REPO, "models = { a = { repo = 'acme/a' } }", id="inline tables"),
        pytest.param(
            REPO,
            REPO + "optional = false\nallow-pickle = false\nfollow = true\ngroups = []\n",
            id="defaults written out",
        ),
        pytest.param(REPO + "exclude = []\nfallback = []", REPO, id="empty lists"),
        pytest.param(REPO + "version = '>=1,<2'", REPO + "version = '<2,>=1'", id="order of specifiers"),
        pytest.param(REPO + "version = '>=1,<2'", REPO + "version = ' >= 1 , < 2 '", id="blanks in specifiers"),
        pytest.param(REPO + "groups = ['x', 'y']", REPO + "groups = ['y', 'x', 'y']", id="order of groups"),
        pytest.param(
            URL + f"checksum = 'sha256:{'a' * 64}'", URL + f"checksum = '{'A' * 64}'", id="spelling of a checksum"
        ),
        pytest.param(REPO, REPO + "[hub]\nendpoint = 'https://hub.example'\n", id="hub"),
        pytest.param(REPO, REPO + "[cache]\ndir = 'x'\ndisk-headroom = 3\n", id="cache"),
        pytest.param(REPO, REPO + "[project]\nname = 'x'\nrequires-vcm = '>=0.1'\n", id="project"),
        pytest.param(REPO, REPO + "[policy]\nlicenses = ['mit']\n[policy.exceptions.a]\nlicenses = 'x'\n", id="policy"),
        pytest.param(REPO, REPO + "[pipeline.detectors.x]\nkind = 'k'\nmodel = 'a'\n", id="pipeline"),
    ],
)
def test_what_means_the_same_has_the_same_digest(one, other):
    assert read(one).digest == read(other).digest


def test_the_digest_stays_what_it_is():
    # Every lock in the world holds it: a change of this value makes them all stale.
    assert read(REPO).digest == "5c535ea9e2c4f855a29ae3dea633cfaae2cb2c5c73dcf61bb12db861e7e3f3fd"
    assert read(WHOLE).digest == "266700db0e7d0d2455db07c8f865a06bb7bdbc37bf86a78881691045a9185e17"


def test_meaning_holds_the_set_keys_with_plain_values():
    meaning: dict[str, Any] = only(URL + f"checksum = '{'0' * 64}'\nsize = 0\ngroups = ['y', 'x']\n").meaning()
    assert meaning == {
        "name": "a",
        "url": "https://example.com/a.onnx",
        "checksum": f"sha256:{'0' * 64}",
        "size": 0,
        "groups": ["x", "y"],
    }
