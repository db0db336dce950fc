"""models.lock: its canonical text, and every way in which a text is refused."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from vcm.core.digest import git_blob_hash, tree_digest
from vcm.core.lock import (
    Lock,
    LockedFile,
    LockedModel,
    _parse_any,
    _parse_own,
    lock_text,
    parse_lock,
    staleness,
    toml_string,
)
from vcm.core.manifest import Manifest, Requirement
from vcm.errors import CONFIG_ERROR, ConfigError

DAMAGED = "take one whole version of it from version control, then run vcm lock"
FOREIGN = "it was left untouched: move it away, or run vcm in another folder"
URL_RULE = "a URL begins with http:// or https:// and names a host"
WILD = Path(__file__).parents[2].parent / "shared" / "corpora" / "pins" / "wild"

FRAMES = LockedModel(
    name="frames",
    source="huggingface",
    repo="acme/frame-classifier",
    repo_id="621ffdc036468d709f17434d",
    gated="auto",
    requested="~=1.2",
    version="1.2.1",
    ref="v1.2.1",
    commit="1" * 40,
    fallback_for="acme/frames",
    format="onnx",
    type="image-classification",
    license="apache-2.0",
    files=(
        LockedFile("config.json", 12, "a" * 64, "c" * 40),
        LockedFile("onnx/model é.onnx", 3000, "b" * 64),
    ),
)
WORDS = LockedModel(
    name="words",
    source="url",
    url="https://example.com/words.onnx",
    files=(LockedFile("words.onnx", 7, "d" * 64),),
)
WORDS_BASE = LockedModel(
    name="words-base",
    source="huggingface",
    repo="acme/words",
    asked="acme/old-words",
    commit="2" * 40,
    committed="2026-01-31T12:00:00.000Z",
    via="words",
    files=(LockedFile("model.safetensors", 9, "f" * 64),),
)
LOCK = Lock(manifest_sha256="e" * 64, models=(FRAMES, WORDS, WORDS_BASE))

TEXT = f"""\
# Written by vcm lock; not meant to be edited by hand.
lock-version = 1
manifest-sha256 = "{"e" * 64}"

[[model]]
name = "frames"
source = "huggingface"
repo = "acme/frame-classifier"
repo-id = "621ffdc036468d709f17434d"
gated = "auto"
requested = "~=1.2"
version = "1.2.1"
ref = "v1.2.1"
commit = "1111111111111111111111111111111111111111"
fallback-for = "acme/frames"
format = "onnx"
type = "image-classification"
license = "apache-2.0"
tree-digest = "sha256:FRAMES_DIGEST"
size = 3012
files = [
  {{ path = "config.json", size = 12, sha256 = "{"a" * 64}", oid = "{"c" * 40}" }},
  {{ path = "onnx/model é.onnx", size = 3000, sha256 = "{"b" * 64}" }},
]

[[model]]
name = "words"
source = "url"
url = "https://example.com/words.onnx"
tree-digest = "sha256:WORDS_DIGEST"
size = 7
files = [
  {{ path = "words.onnx", size = 7, sha256 = "{"d" * 64}" }},
]

[[model]]
name = "words-base"
source = "huggingface"
repo = "acme/words"
asked = "acme/old-words"
commit = "2222222222222222222222222222222222222222"
committed = "2026-01-31T12:00:00.000Z"
via = "words"
tree-digest = "sha256:BASE_DIGEST"
size = 9
files = [
  {{ path = "model.safetensors", size = 9, sha256 = "{"f" * 64}" }},
]
"""


def sha256sum(files: Iterable[LockedFile]) -> str:
    """The digest as a person computes it: sort by path as bytes, print as sha256sum does, hash what was printed."""
    printed = "".join(f"{file.sha256}  {file.path}\n" for file in sorted(files, key=lambda file: file.path.encode()))
    return hashlib.sha256(printed.encode()).hexdigest()


FRAMES_DIGEST = sha256sum(FRAMES.files)
WORDS_DIGEST = sha256sum(WORDS.files)
for mark, digest in {
    "FRAMES_DIGEST": FRAMES_DIGEST,
    "WORDS_DIGEST": WORDS_DIGEST,
    "BASE_DIGEST": sha256sum(WORDS_BASE.files),
}.items():
    TEXT = TEXT.replace(mark, digest)


def line_of(text: str, part: str) -> int:
    return text[: text.index(part)].count("\n") + 1


def refusal(text: str | bytes, file_name: str = "models.lock") -> ConfigError:
    data = text if isinstance(text, bytes) else text.encode()
    with pytest.raises(ConfigError) as caught:
        parse_lock(data, file_name=file_name)
    assert (caught.value.error_code, caught.value.exit_code) == (CONFIG_ERROR, 2)
    return caught.value


def edited(*changes: tuple[str, str]) -> str:
    text = TEXT
    for before, after in changes:
        assert text.count(before) >= 1
        text = text.replace(before, after, 1)
    return text


def locked(*paths: str) -> Lock:
    files = tuple(LockedFile(path, 1, "a" * 64) for path in paths)
    return Lock(manifest_sha256="e" * 64, models=(replace(WORDS, files=files),))


def test_the_canonical_text():
    assert lock_text(LOCK) == TEXT


def test_the_canonical_text_reads_back():
    assert parse_lock(TEXT.encode()) == LOCK


def test_a_lock_of_nothing():
    empty = Lock(manifest_sha256="0" * 64, models=())
    text = lock_text(empty)
    assert text == (
        f'# Written by vcm lock; not meant to be edited by hand.\nlock-version = 1\nmanifest-sha256 = "{"0" * 64}"\n'
    )
    assert parse_lock(text.encode()) == empty


def test_get_finds_by_name():
    assert LOCK.get("words") is WORDS
    assert LOCK.get("nothing") is None


def test_size_is_that_of_all_files():
    assert (FRAMES.size, WORDS.size) == (3012, 7)


def test_the_tree_digest_is_what_sha256sum_would_print():
    files = [
        LockedFile("b", 1, "1" * 64),
        LockedFile("a/ü", 2, "2" * 64, "3" * 40),
        LockedFile("a-b", 3, "4" * 64),
        LockedFile("Z", 4, "5" * 64),
        LockedFile("a/\U0001f917", 4, "5" * 64),
        LockedFile("a/\uff21", 4, "5" * 64),
    ]
    assert {tree_digest(order) for order in itertools.permutations(files)} == {sha256sum(files)}


def test_the_tree_digest_of_a_known_model():
    # printf '%s  a\n' $(printf 'hello' | sha256sum | cut -c-64) | sha256sum
    hello = hashlib.sha256(b"hello").hexdigest()
    assert hello == "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
    assert (
        tree_digest([LockedFile("a", 5, hello)]) == "4b4a26c2f1d891924105322b0c53b3857b475f6022cb4974dc75a375bbdf3738"
    )


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"),
        (b"hello\n", "ce013625030ba8dba906f756967f9e9ca394464a"),
    ],
)
def test_the_git_blob_hash_is_gits_own(content, expected):
    found = git_blob_hash(len(content))
    found.update(content)
    assert found.hexdigest() == expected


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("a", '"a"'),
        ('a"b\\c', '"a\\"b\\\\c"'),
        ("tab\tnew\nline\x00\x1f\x7f", '"tab\\tnew\\nline\\u0000\\u001f\\u007f"'),
        ("é漢\U0001f917", '"é漢\U0001f917"'),
    ],
)
def test_a_toml_string(text, written):
    assert toml_string(text) == written


# name of the case, text, the part whose line is named, message after the place
REFUSED: list[tuple[str, str, str | None, str]] = [
    (
        "no digest of the manifest",
        edited((f'manifest-sha256 = "{"e" * 64}"\n', "")),
        None,
        'the key "manifest-sha256" is missing',
    ),
    (
        "a digest of the manifest in capitals",
        edited(("e" * 64, "E" * 64)),
        "manifest-sha256",
        f'manifest-sha256: found "{"E" * 64}": expected 64 lower-case hex digits',
    ),
    (
        "lock-version as a string",
        edited(("= 1\n", "= '1'\n")),
        "lock-version",
        'lock-version: expected a whole number, found "1"',
    ),
    (
        "lock-version as true",
        edited(("= 1\n", "= true\n")),
        "lock-version",
        "lock-version: expected a whole number, found true",
    ),
    (
        "lock-version 0",
        edited(("= 1\n", "= 0\n")),
        "lock-version",
        "lock-version: expected a whole number of at least 1, found 0",
    ),
    (
        "model as a string",
        f'lock-version = 1\nmanifest-sha256 = "{"e" * 64}"\nmodel = "x"\n',
        "model =",
        'model: expected an array, found "x"',
    ),
    (
        "model as strings",
        f'lock-version = 1\nmanifest-sha256 = "{"e" * 64}"\nmodel = ["x"]\n',
        "model =",
        "model: expected [[model]] tables",
    ),
    ("no name", edited(('name = "frames"\n', "")), "[[model]]", 'model[0]: the key "name" is missing'),
    (
        "a name with a capital",
        edited(('"frames"', '"Frames"')),
        'name = "Frames"',
        (
            "model[0].name: found \"Frames\": a model's name is made of a-z, 0-9, '.', '_' and '-', and begins and "
            "ends "
            "with a-z or 0-9"
        ),
    ),
    (
        "a model twice",
        edited(('"words"', '"frames"')),
        'name = "frames"\nsource = "url"',
        'model[1].name: model "frames" stands twice',
    ),
    (
        "models out of order",
        edited(('"words"', '"frame"')),
        'name = "frame"',
        'model[1].name: model "frame" is out of order',
    ),
    (
        "no source",
        edited(('source = "url"\n', "")),
        '[[model]]\nname = "words"',
        'model "words": model[1]: the key "source" is missing',
    ),
    (
        "another source",
        edited(('"url"', '"ftp"')),
        'source = "ftp"',
        'model "words": model[1].source: found "ftp": allowed are huggingface, url',
    ),
    (
        "no repo",
        edited(('repo = "acme/frame-classifier"\n', "")),
        "[[model]]",
        'model "frames": model[0].repo: the key "repo" is missing',
    ),
    (
        "no commit",
        edited((f'commit = "{"1" * 40}"\n', "")),
        "[[model]]",
        'model "frames": model[0].commit: the key "commit" is missing',
    ),
    (
        "no url",
        edited(('url = "https://example.com/words.onnx"\n', "")),
        '[[model]]\nname = "words"',
        'model "words": model[1].url: the key "url" is missing',
    ),
    (
        "an abbreviated commit",
        edited(("1" * 40, "1" * 12)),
        "commit =",
        f'model "frames": model[0].commit: found "{"1" * 12}": a commit is 40 lower-case hex digits',
    ),
    (
        "gated in another way",
        edited(('"auto"', '"no"')),
        "gated =",
        'model "frames": model[0].gated: found "no": allowed are auto, manual',
    ),
    (
        "a repo that climbs",
        edited(("acme/frame-classifier", "acme/..")),
        "repo =",
        "model \"frames\": model[0].repo: found \"acme/..\": no part of a repo id begins or ends with '-' or '.'",
    ),
    (
        "a fallback that is no repo",
        edited(("acme/frames", "a/b/c")),
        "fallback-for",
        'model "frames": model[0].fallback-for: found "a/b/c": a repo id is \'namespace/name\'',
    ),
    (
        "another name that is no repo",
        edited(("acme/old-words", "acme/old words")),
        "asked =",
        (
            'model "words-base": model[2].asked: found "acme/old words": '
            "each part of a repo id is 1 to 96 of A-Z, a-z, 0-9, '-', '_' and '.'"
        ),
    ),
    (
        "a commit made on some day",
        edited(("T12:00:00.000Z", "")),
        "committed =",
        'model "words-base": model[2].committed: found "2026-01-31": a date is written as 2026-01-31T12:00:00Z',
    ),
    (
        "pulled in by no name",
        edited(('via = "words"', 'via = "../words"')),
        "via =",
        (
            'model "words-base": model[2].via: found "../words": '
            "a model's name is made of a-z, 0-9, '.', '_' and '-', and begins and ends with a-z or 0-9"
        ),
    ),
    (
        "pulled in by a model that is not there",
        edited(('via = "words"', 'via = "word"')),
        "via =",
        'model[2].via: model "words-base" is here for "word", which is not locked in its own right',
    ),
    (
        "pulled in by itself",
        edited(('via = "words"', 'via = "words-base"')),
        "via =",
        'model[2].via: model "words-base" is here for "words-base", which is not locked in its own right',
    ),
    (
        "pulled in by what was pulled in",
        edited(('license = "apache-2.0"', 'via = "words-base"')),
        "via =",
        'model[0].via: model "frames" is here for "words-base", which is not locked in its own right',
    ),
    (
        "a ref that climbs",
        edited(('"v1.2.1"', '"a/../b"')),
        "ref =",
        'model "frames": model[0].ref: found "a/../b": a revision is the name of a branch, a tag or a commit',
    ),
    (
        "a url on this machine",
        edited(("https://example.com/words.onnx", "file:///etc/passwd")),
        "url = ",
        f'model "words": model[1].url: found "file:///etc/passwd": {URL_RULE}',
    ),
    (
        "a license that is empty",
        edited(("apache-2.0", " ")),
        "license",
        'model "frames": model[0].license: expected a string that is not empty',
    ),
    (
        "a license that colours the terminal",
        edited(("apache-2.0", "\\u001b[31m")),
        "license",
        'model "frames": model[0].license: found "\x1b[31m": control characters are not allowed',
    ),
    (
        "a version as a number",
        edited(('"1.2.1"', "1.2")),
        "version = 1.2",
        'model "frames": model[0].version: expected a string, found 1.2',
    ),
    (
        "an unknown key",
        edited(('format = "onnx"', 'formats = "onnx"')),
        "formats",
        'model "frames": model[0].formats: unknown key, did you mean "format"?',
    ),
    (
        "an unknown key at the top",
        edited(("lock-version", "lock-versions = 1\nlock-version")),
        "lock-versions",
        'lock-versions: unknown key, did you mean "lock-version"?',
    ),
    (
        "the tree digest changed",
        edited((FRAMES_DIGEST, "0" * 64)),
        "tree-digest",
        (
            f'model "frames": model[0].tree-digest: the rows of files give sha256:{FRAMES_DIGEST}, not '
            f"sha256:{'0' * 64}: "
            "edited or damaged"
        ),
    ),
    (
        "the tree digest without its algorithm",
        edited((f"sha256:{FRAMES_DIGEST}", FRAMES_DIGEST)),
        "tree-digest",
        (
            f'model "frames": model[0].tree-digest: the rows of files give sha256:{FRAMES_DIGEST}, not '
            f"{FRAMES_DIGEST}: "
            "edited or damaged"
        ),
    ),
    (
        "no tree digest",
        edited((f'tree-digest = "sha256:{WORDS_DIGEST}"\n', "")),
        '[[model]]\nname = "words"',
        'model "words": model[1]: the key "tree-digest" is missing',
    ),
    (
        "one file's digest changed",
        edited(("d" * 64, "0" + "d" * 63)),
        f'tree-digest = "sha256:{WORDS_DIGEST}',
        (
            'model "words": model[1].tree-digest: the rows of files give sha256:'
            f"{sha256sum([LockedFile('words.onnx', 7, '0' + 'd' * 63)])}, not sha256:{WORDS_DIGEST}: edited or damaged"
        ),
    ),
    (
        "one file's path changed",
        edited(('"words.onnx"', '"word.onnx"')),
        f'tree-digest = "sha256:{WORDS_DIGEST}',
        (
            'model "words": model[1].tree-digest: the rows of files give sha256:'
            f"{sha256sum([LockedFile('word.onnx', 7, 'd' * 64)])}, not sha256:{WORDS_DIGEST}: edited or damaged"
        ),
    ),
    (
        "the size changed",
        edited(("size = 3012", "size = 3013")),
        "size = 3013",
        'model "frames": model[0].size: the rows of files add up to 3012 bytes',
    ),
    (
        "no size",
        edited(("size = 3012\n", "")),
        "[[model]]",
        'model "frames": model[0].size: the rows of files add up to 3012 bytes',
    ),
    (
        "one file's size changed",
        edited(("size = 3000", "size = 3001")),
        "size = 3012",
        'model "frames": model[0].size: the rows of files add up to 3013 bytes',
    ),
    (
        "no files",
        edited(('files = [\n  { path = "words.onnx", size = 7, sha256 = "' + "d" * 64 + '" },\n]', "files = []")),
        "files = []",
        'model "words": model[1].files: a model has at least one file',
    ),
    (
        "files as a number",
        edited(("files = [", "files = 7\nrest = [")),
        "files = 7",
        'model "frames": model[0].files: expected an array, found 7',
    ),
    (
        "a file as a string",
        edited(("files = [\n", 'files = [\n  "x",\n')),
        '  "x"',
        'model "frames": files[0]: expected { path, size, sha256, oid }',
    ),
    (
        "a file without a path",
        edited(('path = "config.json", ', "")),
        "size = 12,",
        'model "frames": files[0]: path is missing or not a string',
    ),
    (
        "a file with a number for a path",
        edited(('"config.json"', "7")),
        "path = 7",
        'model "frames": files[0]: path is missing or not a string',
    ),
    (
        "a file with a key more",
        edited(("size = 12,", "size = 12, mode = 7,")),
        ", mode =",
        "model \"frames\": files[0]: unknown key 'mode'",
    ),
    (
        "a file without a size",
        edited(("size = 3000, ", "")),
        "onnx/model",
        'model "frames": files[1]: size of "onnx/model é.onnx" is not a number of bytes',
    ),
    (
        "a file with true for a size",
        edited(("size = 12", "size = true")),
        "config.json",
        'model "frames": files[0]: size of "config.json" is not a number of bytes',
    ),
    (
        "a file of less than nothing",
        edited(("size = 12", "size = -12")),
        "config.json",
        'model "frames": files[0]: size of "config.json" is not a number of bytes',
    ),
    (
        "a digest that is no hex",
        edited(("a" * 64, "g" * 64)),
        "config.json",
        'model "frames": files[0]: sha256 of "config.json" is not 64 lower-case hex digits',
    ),
    (
        "a digest in capitals",
        edited(("b" * 64, "B" * 64)),
        "onnx/model",
        'model "frames": files[1]: sha256 of "onnx/model é.onnx" is not 64 lower-case hex digits',
    ),
    (
        "a digest too short",
        edited(("d" * 64, "d" * 63)),
        'path = "words',
        'model "words": files[0]: sha256 of "words.onnx" is not 64 lower-case hex digits',
    ),
    (
        "no digest",
        edited((f', sha256 = "{"d" * 64}"', "")),
        'path = "words',
        'model "words": files[0]: sha256 of "words.onnx" is not 64 lower-case hex digits',
    ),
    (
        "an oid that is none",
        edited(("c" * 40, "c" * 41)),
        "config.json",
        'model "frames": files[0]: oid of "config.json" is not 40 lower-case hex digits',
    ),
    (
        "an empty oid",
        edited(("c" * 40, "")),
        "config.json",
        'model "frames": files[0]: oid of "config.json" is not 40 lower-case hex digits',
    ),
    (
        "files out of order",
        edited(('"config.json"', '"z.json"')),
        "onnx/model",
        'model "frames": files[1]: "onnx/model é.onnx" stands twice or out of order',
    ),
    (
        "a file twice",
        edited(('"config.json"', '"onnx/model é.onnx"')),
        'é.onnx", size = 3000',
        'model "frames": files[1]: "onnx/model é.onnx" stands twice or out of order',
    ),
]


@pytest.mark.parametrize(
    ("text", "part", "message"),
    [pytest.param(text, part, message, id=name) for name, text, part, message in REFUSED],
)
def test_refused_with_model_line_and_reason(text, part, message):
    error = refusal(text)
    place = f"models.lock:{line_of(text, part)}" if part else "models.lock"
    assert error.message == f"{place}: {message}"
    assert error.hint == DAMAGED or "unknown key" in message


@pytest.mark.parametrize("text", [pytest.param(text, id=name) for name, text, _, _ in REFUSED])
def test_the_quick_reader_refuses_nothing_in_its_own_words(text):
    assert _parse_own(text.encode()) is None


def test_the_quick_reader_reads_what_vcm_wrote():
    assert _parse_own(TEXT.encode()) == LOCK == _parse_any(TEXT.encode(), "models.lock")


@pytest.mark.parametrize(
    "changed",
    [
        replace(FRAMES, license='the "MIT" \\ X11'),
        replace(FRAMES, files=(LockedFile("model.onnx", 2**63 - 1, "b" * 64),)),
    ],
)
def test_the_quick_reader_leaves_what_is_odd_to_the_other(changed):
    lock = replace(LOCK, models=(changed, *LOCK.models[1:]))
    assert _parse_own(lock_text(lock).encode()) is None
    assert parse_lock(lock_text(lock).encode()) == lock


# Equal or nearly equal to the canonical text, but not it. None: TOML reads the same lock out of it.
NEAR: list[tuple[str, str, str | None]] = [
    ("size = 3012", "size = 3_012", None),
    ("size = 3012", "size = +3012", None),
    ("size = 3012", "size = 0xbc4", None),
    ("size = 3012", "size = 03012", "models.lock:20: not TOML: Expected newline or end of document after a statement"),
    ("size = 3012", "size = ٣٠١٢", "models.lock:20: not TOML: Invalid value"),
    ("size = 3012", "size =  3012", None),
    ("size = 3012", "size = 3012 # bytes", None),
    ("size = 12,", "size = 1_2,", None),
    ("size = 12,", "size =\t12,", None),
    ("size = 12,", "size = ١٢,", "models.lock:22: not TOML: Invalid value"),
    ("size = 12,", f"size = {'9' * 5000},", "models.lock: not TOML: Exceeds the limit"),
    ("size = 12,", f"size = {2**63},", 'model "frames": files[0]: size of "config.json" is not a number of bytes'),
    ("lock-version = 1\n", "lock-version = 1 \n", None),
    ("lock-version = 1\n", "lock-version = 2\n", "version 2 is newer than this vcm knows (1)"),
    ("# Written", "# Rewritten", None),
    ("# Written", "\ufeff# Written", "models.lock:1: begins with a byte-order mark"),
    ("\n[[model]]\n", "\n\n[[model]]\n", None),
    ("\n[[model]]\n", "\n[[model]]\r\n", None),
    ("\n[[model]]\n", "\n[model]\n", "models.lock:26: not TOML: Cannot overwrite a value"),
    ("\n[[model]]\n", '\n[[model]]\nname = "frames"\n', "models.lock:7: not TOML: Cannot overwrite a value"),
    ('source = "url"', "source = 'url'", None),
    ('source = "url"', 'source = "\\u0075rl"', None),
    ('source = "url"', 'source = "url"\nsource = "url"', "models.lock:29: not TOML: Cannot overwrite a value"),
    ('source = "url"', 'source = "url\x00"', "models.lock:28: not TOML: Illegal character '\\x00'"),
    ('license = "apache-2.0"', 'license = "apache\x7f"', "models.lock:18: not TOML: Illegal character '\\x7f'"),
    ('license = "apache-2.0"', 'license = "apache\u2028"', "control characters are not allowed"),
    ('license = "apache-2.0"', 'license = ""', "model[0].license: expected a string that is not empty"),
    ('license = "apache-2.0"\n', 'license = "a"\nmode = "b"\n', "model[0].mode: unknown key"),
    (
        'type = "image-classification"\nlicense = "apache-2.0"',
        'license = "apache-2.0"\ntype = "image-classification"',
        None,
    ),
    (', oid = "', ',  oid = "', None),
    ('{ path = "config.json", size = 12,', '{ size = 12, path = "config.json",', None),
    ('  { path = "config.json"', '{ path = "config.json"', None),
    ('  { path = "config.json"', '  # { path = "config.json"', "the rows of files give"),
    ("]\n\n[[model]]", "]\n# end\n\n[[model]]", None),
    ("]\n\n[[model]]", "]\n[extra]\n\n[[model]]", "extra: unknown key"),
]


@pytest.mark.parametrize(("before", "after", "problem"), NEAR)
def test_what_is_nearly_canonical_is_left_to_toml(before, after, problem):
    data = edited((before, after)).encode()
    assert _parse_own(data) is None
    if problem is None:
        assert parse_lock(data) == LOCK
    else:
        assert problem in refusal(data).message


@pytest.mark.parametrize("data", [TEXT.encode()[:-1], TEXT.encode() + b"\n", TEXT.encode().replace(b"\n", b"\r\n")])
def test_other_ends_of_lines_are_left_to_toml(data):
    assert _parse_own(data) is None
    assert parse_lock(data) == LOCK


@pytest.mark.parametrize(
    ("before", "after", "hint"),
    [
        (
            "format =",
            "formats =",
            (
                "allowed here: name, source, repo, asked, url, repo-id, gated, requested, version, ref, commit, "
                "committed, fallback-for, via, format, type, license, files, tree-digest, size"
            ),
        ),
        ("lock-version", "x = 1\nlock-version", "allowed here: lock-version, manifest-sha256, model"),
    ],
)
def test_the_hint_of_an_unknown_key_lists_the_known_ones(before, after, hint):
    assert refusal(edited((before, after))).hint == hint


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/etc/passwd", "the path is not relative, or holds a backslash"),
        ("~/x", "the path is not relative, or holds a backslash"),
        ("..", "the path has an empty part, '.' or '..'"),
        ("../x", "the path has an empty part, '.' or '..'"),
        ("a/../../x", "the path has an empty part, '.' or '..'"),
        ("a//b", "the path has an empty part, '.' or '..'"),
        ("./a", "the path has an empty part, '.' or '..'"),
        ("a/", "the path has an empty part, '.' or '..'"),
        ("..\\x", "the path is not relative, or holds a backslash"),
        ("C:/x", "the path begins with a drive letter"),
        ("c:x", "the path begins with a drive letter"),
        ("a\x00b", "the path holds characters that cannot be shown"),
        ("a\nb", "the path holds characters that cannot be shown"),
        ("a\u202eb", "the path holds characters that cannot be shown"),
        ("", "the path is empty"),
        ("x/NUL", "'NUL' is a reserved name on Windows"),
        ("com1.txt", "'com1.txt' is a reserved name on Windows"),
        ("a.", "Windows cannot hold a file called 'a.'"),
        ("a /b", "Windows cannot hold a file called 'a '"),
        ("a:b", "the path begins with a drive letter"),
        ("ab:c", "Windows cannot hold a file called 'ab:c'"),
        ("a" * 256, "a part of the path is longer than 255 bytes"),
        ("a/" * 512 + "a", "the path is longer than 1024 bytes"),
    ],
)
def test_a_hostile_path_is_refused(path, reason):
    text = lock_text(locked(path))
    assert _parse_own(text.encode()) is None
    error = refusal(text)
    assert (error.message, error.hint) == (f'models.lock:12: model "words": files[0]: {reason}', DAMAGED)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("Model.bin", "model.bin"),
        ("A/x", "a/y"),
        ("a", "a/b"),
        ("STRASSE", "straße"),
        ("e\u0301", "é"),
        ("X/y", "x"),
        ("Σ", "ς"),
    ],
)
def test_paths_that_collide_somewhere_are_refused(first, second):
    text = lock_text(locked(*sorted([first, second], key=str.encode)))
    assert _parse_own(text.encode()) is None
    error = refusal(text)
    low, high = sorted([first, second], key=str.encode)
    assert (error.message, error.hint) == (
        f'models.lock:11: model "words": model[0].files: "{low}" and "{high}" cannot stand side by side',
        DAMAGED,
    )


@pytest.mark.parametrize("version", [2, 99])
def test_a_newer_lock_asks_for_a_newer_vcm(version):
    error = refusal(f"lock-version = {version}\nwhatever = 'a newer vcm needs'\n")
    assert error.message == f"models.lock:1: lock-version: version {version} is newer than this vcm knows (1)"
    assert error.hint == "upgrade vcm: pip install --upgrade vcm"


@pytest.mark.parametrize("marker", ["<<<<<<< HEAD\n", ">>>>>>> topic\n"])
def test_a_merge_conflict_is_named_as_one(marker):
    error = refusal(edited(('name = "words"\n', 'name = "words"\n' + marker)))
    assert error.message == "models.lock:28: merge-conflict markers"
    assert error.hint == "resolve the conflict in models.lock (of a lock, keep one side whole), then run vcm lock"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (TEXT.encode()[:-3], "models.lock: not TOML: Invalid value (at end of document)"),
        (TEXT.encode().replace(b"size = 7\n", b"size = \n"), "models.lock:31: not TOML: Invalid value"),
        (TEXT.encode().replace("é".encode(), b"\xe9"), "models.lock:23: not UTF-8 text"),
        (
            TEXT.encode().replace(b"size = 7\n", b"size = 7\nsize = 7\n"),
            "models.lock:32: not TOML: Cannot overwrite a value",
        ),
    ],
)
def test_a_damaged_text_says_so(data, message):
    error = refusal(data)
    assert (error.message, error.hint) == (message, DAMAGED)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n# nothing\n",
        b"{}",
        b'{"models": []}',
        b"models:\n  - name: a\n",
        b"[[model]]\nname = 'a'\n",
        b"[[package]]\nname = 'a'\n",
        b"\x00\xff" * 100,
        TEXT.encode("utf-16"),
        b"<<<<<<< HEAD\na = 1\n",
    ],
)
def test_what_another_tool_wrote_is_no_vcm_lock(data):
    error = refusal(data)
    assert (error.message, error.hint) == ("models.lock: not a vcm lock", FOREIGN)


def test_the_file_is_called_as_the_caller_calls_it():
    assert refusal(b"", file_name="sub/models.lock").message == "sub/models.lock: not a vcm lock"
    error = refusal(edited(("size = 3012", "size = 1")), file_name="other.lock")
    assert error.message == 'other.lock:20: model "frames": model[0].size: the rows of files add up to 3012 bytes'


WITH_CORPUS = pytest.mark.skipif(
    not WILD.is_dir(), reason="the corpus of files in the wild is not beside the repository"
)


def wild_files() -> list[Path]:
    return sorted(path for path in WILD.iterdir() if path.is_file()) if WILD.is_dir() else []


@WITH_CORPUS
def test_there_are_files_in_the_wild():
    assert len(wild_files()) > 10


@WITH_CORPUS
@pytest.mark.parametrize("path", wild_files() or [WILD], ids=lambda path: path.name)
def test_files_in_the_wild_are_refused_as_what_they_are(path):
    data = path.read_bytes()
    error = refusal(data, file_name=path.name)
    if b"lock-version" not in data:
        assert (error.message, error.hint) == (f"{path.name}: not a vcm lock", FOREIGN)
    else:
        assert error.message.startswith(path.name)
        assert error.hint
    assert path.read_bytes() == data


# --- staleness --------------------------------------------------------------------------------------------------------


def manifest(*names: str, **changes: object) -> Manifest:
    return Manifest(models=tuple(Requirement(name=name, repo="acme/a", **changes) for name in names))  # type: ignore[arg-type]


def lock_for(wanted: Manifest, *names: str) -> Lock:
    return Lock(manifest_sha256=wanted.digest, models=tuple(replace(WORDS, name=name) for name in names))


# What was pulled in goes with the model that needs it, and is not spoken of.
A_FOR_WORDS = "a not locked yet; words no longer required"


@pytest.mark.parametrize(
    ("lock", "wanted", "reason"),
    [
        (lock_for(manifest("a", "b"), "a", "b"), manifest("a", "b"), None),
        (lock_for(manifest("a", "b"), "a", "b"), manifest("b", "a"), None),
        (Lock(manifest_sha256=manifest("words").digest, models=(WORDS, WORDS_BASE)), manifest("words"), None),
        (Lock(manifest_sha256=manifest("a").digest, models=(WORDS, WORDS_BASE)), manifest("a"), A_FOR_WORDS),
        (lock_for(manifest()), manifest(), None),
        (lock_for(manifest("a"), "a"), manifest("a", "c", "b"), "b, c not locked yet"),
        (lock_for(manifest("a", "b", "c"), "a", "b", "c"), manifest("b"), "a, c no longer required"),
        (lock_for(manifest("a"), "a"), manifest("b"), "b not locked yet; a no longer required"),
        (lock_for(manifest("a"), "a"), manifest("a", optional=True), "a requirement has changed"),
        (lock_for(manifest("a"), "a"), manifest("a", version=">=1"), "a requirement has changed"),
        (lock_for(manifest("a", version=">=1,<2"), "a"), manifest("a", version="<2, >=1"), None),
        # The names decide, even when a digest was copied from somewhere else.
        (lock_for(manifest("a", "b"), "a"), manifest("a", "b"), "b not locked yet"),
    ],
)
def test_staleness_says_why(lock, wanted, reason):
    assert staleness(lock, wanted) == reason
