"""The index of an OCI image layout, as values."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.core.test_modelpack import MODEL
from vcm.core.layout import Entry, asked_in, asked_of, index_bytes, merged, name_in, parse_index, refs_in, refs_of
from vcm.core.modelpack import package


def entry(commit: str = "1", *refs: str, asked: frozenset[str] = frozenset()) -> Entry:
    made = package(replace(MODEL, commit=commit * 40))
    return Entry(made.model, made.digest, len(made.manifest), made.config_digest, frozenset(refs), asked)


def refs(entries: list[Entry]) -> dict[str, list[str]]:
    return {str(each.model.commit)[0]: sorted(each.refs) for each in entries}


def foreign(**more: object) -> dict[str, object]:
    return {"mediaType": "application/x", "digest": f"sha256:{'e' * 64}", "size": 7, **more}


def test_a_descriptor():
    one = entry("1", "v1.0", "main", asked=frozenset({"acme/old"}))
    assert one.descriptor == {
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "digest": f"sha256:{one.digest}",
        "size": one.size,
        "artifactType": "application/vnd.cncf.model.manifest.v1+json",
        "annotations": {
            "org.opencontainers.image.ref.name": f"acme/frames:111111111111-{one.digest[:12]}",
            "dev.vcm.refs": "main v1.0",
            "dev.vcm.asked": "acme/old",
        },
    }
    assert (refs_in(one.descriptor), asked_in(one.descriptor)) == (one.refs, one.asked)
    assert one.needs == {one.digest, one.config, "a" * 64, "b" * 64, "c" * 64}


def test_what_a_lock_says_of_branches_and_tags():
    assert refs_of(MODEL) == {"main"}
    assert refs_of(replace(MODEL, requested="dev", ref="dev")) == {"dev"}
    assert refs_of(replace(MODEL, requested="~=1.0", version="1.2", ref="v1.2")) == {"v1.2"}
    assert refs_of(replace(MODEL, requested=MODEL.commit)) == frozenset()
    assert refs_of(replace(MODEL, commit=None, repo=None, source="url", url="https://h/x")) == frozenset()
    assert asked_of(replace(MODEL, asked="acme/old")) == {"acme/old"}
    assert asked_of(MODEL) == asked_of(replace(MODEL, asked=MODEL.repo)) == frozenset()


def test_what_several_projects_say_of_one_commit_comes_together():
    (found,) = merged([entry("1", "main", asked=frozenset({"a/b"}))], [entry("1", "v1.0"), entry("1", "dev")])
    assert found.refs == {"dev", "main", "v1.0"}
    assert found.asked == {"a/b"}


def test_a_branch_means_the_commit_that_came_last():
    before = [entry("1", "main", "v1.0"), entry("2")]
    assert refs(merged(before, [entry("2", "main")])) == {"1": ["v1.0"], "2": ["main"]}
    assert refs(merged(before, [entry("2", "main"), entry("3", "main")])) == {"1": ["v1.0"], "2": [], "3": ["main"]}
    other = replace(before[0], model=replace(before[0].model, repo="acme/other"))
    assert refs(merged([other], [entry("2", "main")]))["1"] == ["main", "v1.0"]


@pytest.mark.parametrize("text", ["", " ", "a..b ok", "\x1b[2J ok", "-x ok", "ok ok"])
def test_what_cannot_be_a_branch_is_not_one(text):
    assert refs_in(foreign(annotations={"dev.vcm.refs": text})) <= {"ok"}


@given(st.permutations([entry("1", "main"), entry("2"), entry("3", "v1.0", "dev")]))
def test_the_order_does_not_matter(entries):
    rows = [each.descriptor for each in entries]
    data = index_bytes([*rows, foreign(), *rows])
    assert data == index_bytes([foreign(), *sorted(rows, key=str)])
    document = json.loads(data)
    assert list(document) == ["schemaVersion", "mediaType", "manifests"]
    assert document["mediaType"] == "application/vnd.oci.image.index.v1+json"
    assert [name_in(row) for row in document["manifests"]] == sorted(map(name_in, [foreign(), *rows]))
    assert index_bytes(parse_index(data)) == data


def test_an_empty_index():
    assert json.loads(index_bytes([])) == {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [],
    }


@pytest.mark.parametrize(
    "row",
    [
        foreign(),
        foreign(annotations={"a": "b"}, platform={"os": "linux"}, urls=["https://x"]),
        foreign(data="\ud800"),
    ],
)
def test_what_others_wrote_stays_as_it_is(row):
    data = json.dumps({"schemaVersion": 2, "manifests": [row]}).encode()
    assert parse_index(index_bytes(parse_index(data))) == [row]


@pytest.mark.parametrize(
    "row",
    [
        None, 7, "x", [], {}, foreign(digest="sha256:x"), foreign(digest=5), foreign(digest=f"sha512:{'e' * 128}"),
        foreign(size=-1), foreign(size="7"), foreign(size=True), foreign(size=1.5), foreign(size=None),
        foreign(mediaType=None), foreign(annotations=[]), foreign(annotations={"a": 1}), foreign(annotations=None),
        foreign(other=float("nan")),
    ],
)  # fmt: skip
def test_what_is_not_well_formed_is_left_out(row):
    good = entry().descriptor
    data = json.dumps({"schemaVersion": 2, "manifests": [row, good]}).encode()
    assert parse_index(data) == [good]


@pytest.mark.parametrize("depth", [300, 900, 960, 990, 100_000])
def test_depth(depth):
    row = json.dumps(foreign(other=0))[:-2] + "[" * depth + "]" * depth + "}"
    data = f'{{"schemaVersion":2,"manifests":[{row}]}}'.encode()
    try:
        rows = parse_index(data)
    except ValueError:
        return
    index_bytes(rows)


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[]", b"null", b'{"schemaVersion": 2}', b'{"schemaVersion": 1, "manifests": []}', b"\xff\xfe"]
)
def test_what_is_no_index(data):
    with pytest.raises(ValueError):  # noqa: PT011
        parse_index(data)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda each: (
        st.lists(each) | st.dictionaries(st.sampled_from(["digest", "size", "mediaType", "annotations", "x"]), each)
    ),
    max_leaves=20,
)


@given(values)
def test_anything_can_be_read(value):
    rows = parse_index(json.dumps({"schemaVersion": 2, "manifests": value}).encode())
    assert index_bytes(parse_index(index_bytes(rows))) == index_bytes(rows)
