"""Manifests made out of what is there already."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vcm.core import names
from vcm.core.importing import (
    cached_requirement,
    manifest_text,
    models_from_yaml,
    names_for,
    revision_of,
    snapshots_in_order,
    valid_name,
)
from vcm.core.manifest import Checksum, Requirement, parse_manifest
from vcm.core.metadata import RemoteFile
from vcm.core.selection import exact_pattern, select
from vcm.core.yaml_config import YamlModels, YamlSource
from vcm.errors import ConfigError

ONE, TWO, THREE = "1" * 40, "2" * 40, "3" * 40


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("llava-7b", "llava-7b"),
        ("LLaVA 1.5 (7B)", "llava-1.5-7b"),
        ("_private_", "private"),
        ("a//b::c", "a-b-c"),
        ("Modèle Été", "modele-ete"),
        ("x" * 200, "x" * 96),
        (f"{'x' * 95}-y", "x" * 95),
    ],
)
def test_a_name_becomes_the_nearest_valid_one(text: str, name: str) -> None:
    assert valid_name(text) == name


@given(st.text(max_size=120))
def test_a_name_becomes_valid_or_is_refused(text: str) -> None:
    try:
        name = valid_name(text)
    except ValueError:
        return
    assert names.model_name(name) == name == valid_name(name)


def yaml_source(name: str, url: str = "https://example.com/a.onnx", *, optional: bool = False) -> YamlSource:
    return YamlSource(name=name, url=url, checksum=Checksum("md5", "ab" * 16), size_bytes=7, optional=optional)


def test_sources_become_tables() -> None:
    sources = (yaml_source("b", optional=True), yaml_source("The A", "https://example.com/a.pt"))
    models, notices = models_from_yaml(YamlModels(sources=sources), "config.yaml")
    checksum = f"md5:{'ab' * 16}"
    assert models == {
        "b": {"url": "https://example.com/a.onnx", "checksum": checksum, "size": 7, "optional": True},
        "the-a": {"url": "https://example.com/a.pt", "checksum": checksum, "size": 7},
    }
    assert notices == [
        '"The A" is called the-a in models.toml',
        (
            "the-a: its file may hold Python pickles, which run code when they are loaded; to accept that, set "
            "allow-pickle = true on [models.the-a]"
        ),
    ]


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ("LLaVA 7b", "llava-7b", 'config.yaml: "LLaVA 7b" and "llava-7b" would both be called llava-7b'),
        (
            "a",
            "模型",
            (
                "config.yaml: \"模型\": a model's name is made of a-z, 0-9, '.', '_' and '-', "
                "and begins and ends with a-z or 0-9"
            ),
        ),
    ],
)
def test_names_that_cannot_stand(first: str, second: str, message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        models_from_yaml(YamlModels(sources=(yaml_source(first), yaml_source(second))), "config.yaml")
    assert (raised.value.message, raised.value.hint) == (message, "give it another name in config.yaml")


def test_a_manifest_is_written_as_people_write_it() -> None:
    models: dict[str, dict[str, object]] = {
        "llava-1.5": {"url": "https://example.com/a.onnx", "size": 7, "optional": True},
        "frames": {"repo": "acme/frames", "allow-pickle": True, "include": ["/a.json", "/b.bin"]},
        "one": {"repo": "acme/one", "include": ["/a.json"]},
    }
    assert manifest_text("config.yaml", "video", models, "~/models") == (
        "# Made by vcm import from config.yaml; yours to edit.\n"
        "\n"
        "[project]\n"
        'name = "video"\n'
        "\n"
        '[models."llava-1.5"]\n'
        'url = "https://example.com/a.onnx"\n'
        "size = 7\n"
        "optional = true\n"
        "\n"
        "[models.frames]\n"
        'repo = "acme/frames"\n'
        "allow-pickle = true\n"
        "include = [\n"
        '    "/a.json",\n'
        '    "/b.bin",\n'
        "]\n"
        "\n"
        "[models.one]\n"
        'repo = "acme/one"\n'
        'include = ["/a.json"]\n'
        "\n"
        "[cache]\n"
        'dir = "~/models"\n'
    )


@given(st.text(), st.text(min_size=1).filter(str.strip), st.none() | st.text(min_size=1).filter(str.strip))
def test_a_manifest_is_one_whatever_things_are_called(origin: str, project: str, cache_dir: str | None) -> None:
    values = {"repo": "acme/frames", "revision": "main"}
    text = manifest_text(origin, project, {"frames": values}, cache_dir)
    manifest = parse_manifest(text.encode(), vcm_version="0.1")
    assert (manifest.name, manifest.cache_dir) == (project, cache_dir)
    assert manifest.models == (Requirement(name="frames", repo="acme/frames", revision="main"),)


def test_the_default_branch_comes_first_then_the_newest() -> None:
    snapshots = {ONE: 10, TWO: 30, THREE: 20}
    assert snapshots_in_order({"main": ONE, "v1": TWO}, snapshots) == [ONE, TWO, THREE]
    assert snapshots_in_order({"v1": ONE}, snapshots) == [TWO, THREE, ONE]
    assert snapshots_in_order({"main": "4" * 40}, {TWO: 1, ONE: 1}) == [ONE, TWO]


@pytest.mark.parametrize(
    ("refs", "revision"),
    [
        ({"main": ONE, "v1": ONE}, None),
        ({"v1": ONE, "main": TWO}, "v1"),
        ({"refs/pr/1": ONE, "stable": ONE, "v1": ONE}, "stable"),
        ({"refs/pr/1": ONE}, "refs/pr/1"),
        ({"main": TWO}, ONE),
        ({}, ONE),
    ],
)
def test_a_commit_is_asked_for_by_a_ref_that_names_it(refs: dict[str, str], revision: str | None) -> None:
    assert revision_of(refs, ONE) == revision


@pytest.mark.parametrize(
    ("repos", "expected"),
    [
        ({"acme/Frames": "frames", "gpt2": "gpt2"}, None),
        ({"acme/frames": "acme-frames", "other/frames": "other-frames", "x/y": "y"}, None),
        ({"bert": "bert", "google/bert": "google-bert"}, None),
        ({"a/b-c": "b-c", "x/a-b-c": "a-b-c"}, None),
        ({"a-b/c": "a-b-c", "a/b-c": "a-b-c-2", "x/c": "x-c", "x/b-c": "x-b-c"}, None),
        ({"a/c": "a-c-2", "b/c": "b-c", "x/a-c": "a-c"}, None),
        ({"a/_": "model", "b/x": "x"}, None),
        ({"A/c": "a-c", "a/c": "a-c-2"}, None),
    ],
)
def test_repos_get_names(repos: dict[str, str], expected: None) -> None:
    assert names_for(repos) == repos
    assert names_for(reversed(repos)) == repos


def _is_portable(path: str) -> bool:
    return names.if_valid(path, names.portable_file_path) is not None


PARTS = st.text("ab.[]!#{} -é", min_size=1, max_size=6).filter(_is_portable)
PATHS = st.lists(
    st.tuples(
        st.lists(PARTS, min_size=1, max_size=3), st.sampled_from([".json", ".bin", ".onnx", ".safetensors", "x"])
    ),
    min_size=1,
    max_size=8,
).map(lambda found: sorted({"/".join(parts) + suffix for parts, suffix in found}))


@given(st.data(), PATHS)
def test_the_requirement_takes_exactly_what_is_there(data: st.DataObject, paths: list[str]) -> None:
    paths = [path for path in paths if _is_portable(path)]
    listing = [RemoteFile(path, 1) for path in paths if names.first_collision([*paths]) is None]
    if not listing:
        return
    files = data.draw(st.lists(st.sampled_from(listing), min_size=1, unique=True))
    values = cached_requirement("acme/frames", None, files, data.draw(st.sampled_from([listing, None])))
    text = manifest_text("x", "x", {"frames": values}, None)
    (requirement,) = parse_manifest(text.encode(), vcm_version="0.1").models

    known = listing if "include" in values else files
    taken = {file.path for file in select(known, requirement).files}

    assert taken == {file.path for file in files}


def test_include_is_left_out_where_the_selection_takes_the_same() -> None:
    config, weights, onnx = RemoteFile("config.json", 1), RemoteFile("a.safetensors", 1), RemoteFile("a.onnx", 1)
    pickle = RemoteFile("a.bin", 1)
    assert cached_requirement("a/b", "v1", [config, weights], None) == {"repo": "a/b", "revision": "v1"}
    assert cached_requirement("a/b", None, [config, weights], [config, weights, onnx]) == {"repo": "a/b"}
    assert cached_requirement("a/b", None, [config], [config, weights]) == {"repo": "a/b", "include": ["/config.json"]}
    assert cached_requirement("a/b", None, [weights, onnx], None) == {
        "repo": "a/b",
        "include": ["/a.onnx", "/a.safetensors"],
    }
    assert cached_requirement("a/b", None, [config, pickle], None) == {"repo": "a/b", "allow-pickle": True}


@pytest.mark.parametrize("paths", [["config.json"], ["m-Q4_K_M.gguf"], ["README.md", "m.gguf"], ["LICENSE"]])
def test_include_says_what_there_is_where_there_may_be_more(paths: list[str]) -> None:
    files = [RemoteFile(path, 1) for path in paths]
    named = {"repo": "a/b", "include": [f"/{path}" for path in paths]}
    assert cached_requirement("a/b", None, files, None) == named
    assert cached_requirement("a/b", None, files, files) == {"repo": "a/b"}


def test_a_pattern_is_for_one_file() -> None:
    assert exact_pattern("sub/[a] *?.json") == "/sub/\\[a] \\*\\?.json"
