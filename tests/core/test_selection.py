"""Which files of a commit a requirement takes."""

from __future__ import annotations

import contextlib
import json
import warnings
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pathspec import GitIgnoreSpec

from vcm.core.formats import FORMATS, variant, weight_format
from vcm.core.manifest import Requirement, parse_manifest
from vcm.core.metadata import RemoteFile
from vcm.core.selection import Selection, refuse_pickle, select
from vcm.errors import CONFIG_ERROR, ConfigError


def chosen(paths: str | list[str], **keys: Any) -> Selection:
    """Selects from files of 10 bytes each."""
    names = paths.split() if isinstance(paths, str) else paths
    return select([RemoteFile(path, 10) for path in names], Requirement(name="m", repo="acme/m", **keys))


def taken(paths: str | list[str], **keys: Any) -> list[str]:
    return [file.path for file in chosen(paths, **keys).files]


def refusal(paths: str | list[str], **keys: Any) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        chosen(paths, **keys)
    assert (caught.value.error_code, caught.value.model) == (CONFIG_ERROR, "m")
    return caught.value


MANY = (
    "README.md config.json tokenizer.json model.safetensors pytorch_model.bin tf_model.h5 flax_model.msgpack "
    "onnx/model.onnx onnx/model.onnx_data openvino/openvino_model.bin openvino/openvino_model.xml m.gguf m.tflite "
    "m.mlmodel ggml-m.bin m.pdiparams"
)


def test_of_many_formats_safetensors_is_taken_with_everything_that_is_no_weight():
    selection = chosen(MANY)
    assert [file.path for file in selection.files] == [
        "README.md",
        "config.json",
        "model.safetensors",
        "tokenizer.json",
    ]
    assert selection.format == "safetensors"
    assert selection.left_out == FORMATS[1:]
    assert selection.saved == 120
    assert selection.unmatched == ()


@pytest.mark.parametrize("position", range(len(FORMATS) - 1))
def test_the_next_format_is_taken_where_the_better_ones_are_missing(position):
    paths = [path for path in MANY.split() if weight_format(path) not in FORMATS[:position]]
    selection = chosen(paths)
    assert selection.format == FORMATS[position]
    assert {weight_format(file.path) for file in selection.files} == {None, FORMATS[position]}
    assert selection.left_out == FORMATS[position + 1 :]


@pytest.mark.parametrize(
    ("paths", "files", "form", "left_out", "saved"),
    [
        ("", [], None, (), 0),
        ("config.json vocab.txt", ["config.json", "vocab.txt"], None, (), 0),
        ("a.safetensors b.safetensors", ["a.safetensors", "b.safetensors"], "safetensors", (), 0),
        (
            (
                "model.safetensors.index.json model-1.safetensors model-2.safetensors pytorch_model.bin.index.json "
                "pytorch_model-1.bin"
            ),
            ["model-1.safetensors", "model-2.safetensors", "model.safetensors.index.json"],
            "safetensors",
            ("pytorch",),
            20,
        ),
        (
            "pytorch_model.bin openvino_model.bin openvino_model.xml",
            ["openvino_model.bin", "openvino_model.xml"],
            "openvino",
            ("pytorch",),
            10,
        ),
        # An index alone makes its format present: what it names is missed later, by name.
        ("model.safetensors.index.json m.gguf", ["model.safetensors.index.json"], "safetensors", ("gguf",), 10),
    ],
)
def test_one_format(paths, files, form, left_out, saved):
    selection = chosen(paths)
    assert ([file.path for file in selection.files], selection.format) == (files, form)
    assert (selection.left_out, selection.saved) == (left_out, saved)


def test_allow_pickle_puts_pytorch_right_after_safetensors():
    assert chosen("m.safetensors m.bin m.gguf", allow_pickle=True).format == "safetensors"
    selection = chosen("m.gguf m.onnx m.bin", allow_pickle=True)
    assert (selection.format, selection.left_out) == ("pytorch", ("gguf", "onnx"))
    assert chosen("m.gguf m.onnx m.bin").format == "gguf"


def test_exclude_comes_before_the_choice_of_a_format():
    selection = chosen("a.safetensors m.gguf config.json", exclude=("*.safetensors",))
    assert [file.path for file in selection.files] == ["config.json", "m.gguf"]
    assert (selection.format, selection.left_out, selection.saved) == ("gguf", (), 0)


def test_include_takes_what_it_names_in_any_format():
    selection = chosen("a.safetensors m.gguf m.onnx config.json", include=("*.gguf", "*.onnx"))
    assert [file.path for file in selection.files] == ["m.gguf", "m.onnx"]
    assert (selection.format, selection.left_out, selection.saved, selection.unmatched) == (None, (), 0, ())


def test_files_stand_in_the_order_of_their_bytes():
    paths = ["b", "a/b", "Z", "a-b", "é", "\U0001f917", "\uff21"]
    assert taken(paths) == sorted(paths, key=str.encode)
    assert taken(paths, include=("*",)) == sorted(paths, key=str.encode)


FILES = "README.md a.onnx b.onnx sub/a.onnx sub/deep/a.onnx fp16/a.onnx fp16/sub/b.json x/fp16/c.json"


@pytest.mark.parametrize(
    ("include", "exclude", "expected"),
    [
        (["*.onnx"], [], "a.onnx b.onnx fp16/a.onnx sub/a.onnx sub/deep/a.onnx"),
        (["/*.onnx"], [], "a.onnx b.onnx"),
        (["sub/*.onnx"], [], "sub/a.onnx"),
        (["sub/**"], [], "sub/a.onnx sub/deep/a.onnx"),
        (["sub/"], [], "fp16/sub/b.json sub/a.onnx sub/deep/a.onnx"),
        (["/sub"], [], "sub/a.onnx sub/deep/a.onnx"),
        (["**/deep/*"], [], "sub/deep/a.onnx"),
        (["sub/**/a.onnx"], [], "sub/a.onnx sub/deep/a.onnx"),
        (["fp16/"], [], "fp16/a.onnx fp16/sub/b.json x/fp16/c.json"),
        (["/fp16/"], [], "fp16/a.onnx fp16/sub/b.json"),
        (["?.onnx"], ["fp16/**"], "a.onnx b.onnx sub/a.onnx sub/deep/a.onnx"),
        (["[ab].onnx"], ["sub"], "a.onnx b.onnx fp16/a.onnx"),
        (["[!a].onnx"], [], "b.onnx"),
        (["*.onnx", "!b.onnx"], [], "a.onnx fp16/a.onnx sub/a.onnx sub/deep/a.onnx"),
        (["!b.onnx", "*.onnx"], [], "a.onnx b.onnx fp16/a.onnx sub/a.onnx sub/deep/a.onnx"),
        (["*.onnx", "!*.onnx", "b.onnx"], [], "b.onnx"),
        (["*"], ["*", "!/a.onnx"], "a.onnx"),
        (["*"], ["*.onnx", "*.json"], "README.md"),
        (["*.json", "*.md"], ["readme.md"], "README.md fp16/sub/b.json x/fp16/c.json"),
        (["!b.onnx"], [], ""),
        (["nothing"], [], ""),
    ],
)
def test_patterns_are_those_of_gitignore(include, exclude, expected):
    assert taken(FILES, include=tuple(include), exclude=tuple(exclude)) == expected.split()


def test_characters_with_a_meaning_can_be_escaped():
    assert taken(["#a", "!b", "c d", "e"], include=("\\#a", "\\!b", "c d")) == ["!b", "#a", "c d"]


@pytest.mark.parametrize(
    ("include", "unmatched"),
    [
        (["*.onnx"], []),
        (["*.onnx", "*.gguf", "tokenizer.json"], ["*.gguf", "tokenizer.json"]),
        (["*.onnx", "!nothing"], []),
        # A pattern is matched even where a later one takes its files away again.
        (["a.onnx", "!a.onnx"], []),
    ],
)
def test_patterns_that_match_nothing_are_named(include, unmatched):
    assert chosen(FILES, include=tuple(include)).unmatched == tuple(unmatched)


@pytest.mark.parametrize(
    ("paths", "keys", "file"),
    [
        ("config.json pytorch_model.bin", {}, "pytorch_model.bin"),
        ("config.json model.pt z.pt", {}, "model.pt"),
        ("model.safetensors vocab.npy", {}, "vocab.npy"),
        ("model.safetensors a/b.pkl", {"include": ("*.pkl",)}, "a/b.pkl"),
        ("model.safetensors a.bin", {"include": ("*",)}, "a.bin"),
    ],
)
def test_pickles_are_refused(paths, keys, file):
    error = refusal(paths, **keys)
    assert error.message == "a file of this name may hold Python pickles, which run code when they are loaded"
    assert error.hint == "leave it out with exclude, or set allow-pickle = true on [models.m]"
    assert error.file == file
    assert str(error) == f"m/{file}: {error.message}"
    assert file in [each.path for each in chosen(paths, allow_pickle=True, **keys).files]


def test_pickles_that_are_not_taken_are_not_refused():
    assert taken("model.safetensors pytorch_model.bin optimizer.pt") == ["model.safetensors"]
    assert taken("m.onnx vocab.npy", exclude=("*.npy",)) == ["m.onnx"]


def test_refuse_pickle_looks_at_any_files():
    requirement = Requirement(name="m", url="https://example.com/a.pt")
    with pytest.raises(ConfigError) as caught:
        refuse_pickle([RemoteFile("a.txt", 1), RemoteFile("a.pt", 1)], requirement)
    assert caught.value.file == "a.pt"
    refuse_pickle([RemoteFile("a.txt", 1)], requirement)
    refuse_pickle([RemoteFile("a.pt", 1)], Requirement(name="m", allow_pickle=True))


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("aux.json", "'aux.json' is a reserved name on Windows"),
        ("a/b:c.json", "Windows cannot hold a file called 'b:c.json'"),
        ("../a.json", "the path has an empty part, '.' or '..'"),
        ("/a.json", "the path is not relative, or holds a backslash"),
    ],
)
def test_a_name_that_not_every_system_holds_is_refused(path, reason):
    error = refusal(["config.json", path], include=("*",))
    assert (error.message, error.hint) == (reason, "leave it out with exclude on [models.m]")
    assert error.file == path


def test_a_name_that_is_left_out_is_not_refused():
    assert taken(["config.json", "aux.json"], exclude=("aux.json",)) == ["config.json"]


def test_names_that_collide_are_refused():
    error = refusal(["Config.json", "config.json"])
    assert error.message == '"Config.json" and "config.json" cannot stand side by side on every system'
    assert (error.hint, error.file) == ("leave it out with exclude on [models.m]", None)
    assert taken(["Config.json", "config.json"], exclude=("Config.json",)) == ["config.json"]


# --- licences ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("paths", "keys", "expected"),
    [
        ("LICENSE a.onnx b.json", {"include": ("*.onnx",)}, "LICENSE a.onnx"),
        ("LICENSE a.onnx onnx/NOTICE.txt", {"exclude": ("LICENSE", "onnx/")}, "LICENSE a.onnx onnx/NOTICE.txt"),
        ("USE_POLICY.md a.safetensors a.bin", {}, "USE_POLICY.md a.safetensors"),
        # A licence alone is not what was asked for: the next version may have it.
        ("LICENSE a.onnx", {"include": ("*.gguf",)}, ""),
        ("LICENSE a.onnx", {"exclude": ("*",)}, ""),
        ("LICENSE NOTICE", {"include": ("LICENSE",)}, "LICENSE NOTICE"),
        ("LICENSE", {}, "LICENSE"),
        ("license-plate.onnx a.onnx", {"include": ("a.onnx",)}, "a.onnx"),
    ],
)
def test_licences_are_always_part(paths, keys, expected):
    assert taken(paths, **keys) == expected.split()


@pytest.mark.parametrize(
    ("paths", "exclude", "expected"),
    [
        ("LICENSE a.onnx license", "license", "LICENSE a.onnx"),
        ("LICENSE a.onnx license/NOTICE", "license/", "LICENSE a.onnx"),
        ("LICENSE a.onnx aux/LICENSE NOTICE notice", "[a-z]*e", "LICENSE NOTICE a.onnx"),
    ],
)
def test_a_licence_that_not_every_system_can_hold_can_be_left_out(paths, exclude, expected):
    assert taken(paths, exclude=("notice", "aux", exclude)) == expected.split()


# --- variants ---------------------------------------------------------------------------------------------------------


def variants(sizes: dict[str, int], **keys: Any) -> ConfigError:
    files = [RemoteFile(path, size) for path, size in sizes.items()]
    with pytest.raises(ConfigError) as caught:
        select(files, Requirement(name="m", repo="acme/m", **keys))
    return caught.value


def test_variants_are_listed_with_their_sizes():
    error = variants(
        {
            "m-Q8_0.gguf": 8_500_000_000,
            "m-Q4_K_M.gguf": 4_900_000_000,
            "BF16/m-BF16-00001-of-00002.gguf": 10_000_000_000,
            "BF16/m-BF16-00002-of-00002.gguf": 6_100_000_000,
            "mmproj-F16.gguf": 700_000_000,
            "imatrix.gguf": 5,
            "config.json": 5,
            "model.onnx": 5,
        }
    )
    assert str(error) == "m: acme/m has 3 variants of its weights in gguf, and vcm cannot choose"
    assert error.details == (
        "  16.1 GB  BF16/m-BF16.gguf  (2 files)",
        "   8.5 GB  m-Q8_0.gguf",
        "   4.9 GB  m-Q4_K_M.gguf",
    )
    # Without its projector a model sees nothing.
    assert error.hint == 'choose one under [models.m], such as include = ["*Q4_K_M*", "/mmproj-F16.gguf"]'


@pytest.mark.parametrize(
    ("paths", "include", "takes"),
    [
        ("a.Q8_0.gguf a.q4_k_m.gguf", ["*q4_k_m*"], "a.q4_k_m.gguf"),
        ("a-Q2_K.gguf a-Q8_0.gguf", ["*Q8_0*"], "a-Q8_0.gguf"),
        # What would take two is not advised.
        ("a-Q4_K_M.gguf a-UD-Q4_K_M.gguf", ["/a-Q4_K_M.gguf"], "a-Q4_K_M.gguf"),
        ("a-Q4_K_M.gguf a-Q8_0.gguf Q4_K_M.md", ["/a-Q4_K_M.gguf"], "a-Q4_K_M.gguf"),
        ("a-Q4_K_M.gguf a-Q8_0.gguf a-Q4_K_M.onnx", ["/a-Q4_K_M.gguf"], "a-Q4_K_M.gguf"),
        ("b.gguf a.gguf", ["/a.gguf"], "a.gguf"),
        (
            "Q4_K_M/a-00001-of-00002.gguf Q4_K_M/a-00002-of-00002.gguf b.gguf",
            ["*Q4_K_M*"],
            "Q4_K_M/a-00001-of-00002.gguf Q4_K_M/a-00002-of-00002.gguf",
        ),
        (
            "a-00001-of-00002.gguf a-00002-of-00002.gguf b.gguf",
            ["/a-?????-of-00002.gguf"],
            "a-00001-of-00002.gguf a-00002-of-00002.gguf",
        ),
        (
            "a.gguf-split-a a.gguf-split-b b.gguf",
            ["/a.gguf-split-a", "/a.gguf-split-b"],
            "a.gguf-split-a a.gguf-split-b",
        ),
        ("[a]!#-q.gguf b.gguf", ["/\\[a]!#-q.gguf"], "[a]!#-q.gguf"),
        ("ggml-base.bin ggml-tiny-q5_1.bin", ["/ggml-base.bin"], "ggml-base.bin"),
    ],
)
def test_the_advice_takes_one_variant_and_nothing_else(paths, include, takes):
    error = variants(dict.fromkeys(paths.split(), 10))
    advice = error.hint.removeprefix("choose one under [models.m], such as ")
    manifest = parse_manifest(f"[models.m]\nrepo = 'acme/m'\n{advice}\n".encode(), vcm_version="0.1.0")
    assert manifest.models[0].include == tuple(include)
    assert taken(paths, include=manifest.models[0].include) == takes.split()


@pytest.mark.parametrize(
    "paths",
    [
        "a.gguf mmproj-F16.gguf mmproj-F32.gguf",
        "a-00001-of-00002.gguf a-00002-of-00002.gguf",
        "a.gguf.part1of2 a.gguf.part2of2",
        "ggml-base.bin ggml-base-encoder.mlmodelc.zip",
        "a.onnx b.onnx",
        "a.safetensors b.gguf c.gguf",
    ],
)
def test_one_variant_is_no_choice(paths):
    assert chosen(paths).files


def test_include_and_exclude_choose_a_variant():
    assert taken("a-Q8_0.gguf a-Q4_0.gguf", exclude=("*Q8*",)) == ["a-Q4_0.gguf"]
    assert taken("a-Q8_0.gguf a-Q4_0.gguf", include=("*.gguf",)) == ["a-Q4_0.gguf", "a-Q8_0.gguf"]


GGUF = st.sampled_from(
    ["a-Q4_K_M.gguf", "a-q4_k_m.gguf", "b-Q4_K_M.gguf", "Q4_K_M/x.gguf", "Q8_0.gguf", "a*.gguf", "a?b.gguf", "[x].gguf",
     "!x.gguf", "#x.gguf", "a b.gguf", "s-00001-of-00002.gguf", "s-00002-of-00002.gguf", "s-00001-of-00003.gguf",
     "s.gguf", "s.gguf-split-a", "s.gguf.part1of2", "mmproj.gguf", "README.md", "Q4_K_M.json", "LICENSE"]
)  # fmt: skip


@given(st.sets(GGUF, min_size=2))
def test_the_advice_always_takes_exactly_one_variant(paths):
    requirement = Requirement(name="m", repo="acme/m")
    files = [RemoteFile(path, 10) for path in sorted(paths)]
    by_variant = {variant(path) for path in paths} - {None}
    if len(by_variant) < 2:
        return
    with pytest.raises(ConfigError) as caught:
        select(files, requirement)
    include = tuple(json.loads(caught.value.hint.partition("include = ")[2]))
    spec = GitIgnoreSpec.from_lines(include)
    matching = {path for path in paths if spec.match_file(path)}
    assert len({variant(path) for path in matching} - {None}) == 1
    assert {path for path in matching if variant(path) is None} == paths & {"mmproj.gguf"}


# Patterns, and the warnings that Python has for some of them


@settings(max_examples=300)
@given(st.text("[]!^-&~|ab*?/", max_size=10))
def test_no_pattern_makes_python_warn(pattern):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with contextlib.suppress(ConfigError):
            chosen("a b", include=(pattern,))


@pytest.mark.parametrize("pattern", ["[[a]", "[a--b]", "[a&&b]", "[]||]"])
def test_a_pattern_of_which_python_warns_is_no_glob(pattern):
    assert str(refusal("a", exclude=(pattern,))) == f'm: exclude: "{pattern}" is no gitignore-style glob'


@pytest.mark.parametrize(
    ("pattern", "path"),
    [(r"\[a--b].json", "[a--b].json"), ("a--b&&[a].json", "a--b&&a.json"), ("[--a].json", "-.json")],
)
def test_a_pattern_that_only_looks_so_is_one(pattern, path):
    assert taken(path, include=(pattern,)) == [path]


def test_choosing_leaves_the_warnings_of_the_program_alone(monkeypatch):
    # They are the whole program's: two threads that put them back in the wrong order make errors of them for good.
    monkeypatch.delattr(warnings, "catch_warnings")
    assert taken("a b c", include=("a", "[b]"), exclude=("c*",)) == ["a", "b"]
