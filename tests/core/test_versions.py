"""Versions on the Hub: which refs are one, and in which order they are tried."""

from __future__ import annotations

import itertools

import pytest
from packaging.version import Version

from vcm.core.metadata import Ref
from vcm.core.versions import Candidate, candidates, version_of

COMMIT = "0" * 40


def tags(*names: str) -> list[Ref]:
    return [Ref(name, "tag", COMMIT) for name in names]


def chosen(refs: list[Ref], specifier: str | None = None) -> list[str]:
    return [candidate.ref.name for candidate in candidates(refs, specifier)]


@pytest.mark.parametrize(
    ("name", "version"),
    [
        ("1.2.3", "1.2.3"),
        ("v1.2.3", "1.2.3"),
        ("V2", "2"),
        ("1", "1"),
        ("v0", "0"),
        ("v1.0-rc1", "1.0rc1"),
        ("v1.0.0-beta.2", "1.0.0b2"),
        ("1.0.dev3", "1.0.dev3"),
        ("1.0.post1", "1.0.post1"),
        ("1-2", "1.post2"),
        ("1!2.0", "1!2.0"),
        ("v1!2.0", "1!2.0"),
        ("1.0+cu118", "1.0+cu118"),
        ("2024.01.15", "2024.1.15"),
        ("20240115", "20240115"),
    ],
)
def test_a_ref_that_is_a_version(name, version):
    assert version_of(name) == Version(version)


@pytest.mark.parametrize(
    "name",
    [
        "main", "fp16", "bf16", "step3000", "step-3000", "v", "vv1", "v-1", "v1.x", "release-1.0", "1.0-fp16",
        "gptq-4bit", "2024-01-15", "1e10", "deadbeef", "refs/pr/1", "v1/fp16", "r1", "latest", "1.\u0663", "\u0663",
        "", "1..0", "v1.0-",
    ],
)  # fmt: skip
def test_a_ref_that_is_none(name):
    assert version_of(name) is None


def test_highest_first_as_numbers_and_not_as_text():
    assert chosen(tags("v1.9", "main", "v1.10", "0.1", "fp16", "v2.0")) == ["v2.0", "v1.10", "v1.9", "0.1"]


def test_a_candidate_carries_version_and_ref():
    (ref,) = tags("v1.0")
    assert candidates([ref]) == [Candidate(Version("1.0"), ref)]


def test_no_refs_no_candidates():
    assert candidates([]) == []
    assert candidates(tags("main"), ">=1") == []


@pytest.mark.parametrize(
    ("specifier", "expected"),
    [
        ("~=1.2", ["v1.9", "v1.2.5", "v1.2"]),
        ("~=1.2.0", ["v1.2.5", "v1.2"]),
        ("==1.2", ["v1.2"]),
        ("==1.2.*", ["v1.2.5", "v1.2"]),
        (">=1.2,<1.9", ["v1.2.5", "v1.2"]),
        ("!=1.9", ["v2.0", "v1.2.5", "v1.2"]),
        (">2.0", []),
        ("===1.2", ["v1.2"]),
    ],
)
def test_the_specifier_decides(specifier, expected):
    assert chosen(tags("v1.2", "v1.2.5", "v1.9", "v2.0"), specifier) == expected


@pytest.mark.parametrize(
    ("refs", "specifier", "expected"),
    [
        (("1.0", "2.0a1"), ">=1", ["1.0"]),
        (("2.0a1", "2.0rc1"), ">=1", ["2.0rc1", "2.0a1"]),
        (("1.0", "2.0a1", "2.0"), ">=2.0a1", ["2.0", "2.0a1"]),
        (("1.0", "1.1.dev1"), ">=1.0", ["1.0"]),
        (("1.0", "1.0.post1"), ">=1.0", ["1.0.post1", "1.0"]),
        (("1.0", "1.0.post1"), ">1.0", []),
        (("2.0a1",), "==2.0a1", ["2.0a1"]),
        (("1.0", "2.0a1"), None, ["2.0a1", "1.0"]),
    ],
)
def test_pre_releases_as_packaging_treats_them(refs, specifier, expected):
    assert chosen(tags(*refs), specifier) == expected


def test_an_epoch_outweighs_every_number():
    assert chosen(tags("2024.1", "1!1.0")) == ["1!1.0", "2024.1"]
    assert chosen(tags("2024.1", "1!1.0"), ">=1") == ["1!1.0", "2024.1"]


def test_a_local_version_is_a_version_of_its_own_and_satisfies_its_base():
    assert chosen(tags("1.0", "1.0+cu118"), "==1.0") == ["1.0+cu118", "1.0"]
    assert chosen(tags("1.0", "1.0+cu118"), "==1.0+cu118") == ["1.0+cu118"]


def test_of_equal_versions_the_tag_stands_before_the_branch():
    tag, branch = Ref("v1.0", "tag", "1" * 40), Ref("1.0", "branch", "2" * 40)
    for refs in itertools.permutations([tag, branch, Ref("0.9", "branch", COMMIT)]):
        assert [candidate.ref.name for candidate in candidates(refs)] == ["v1.0", "0.9"]


def test_a_branch_is_a_version_where_no_tag_is():
    assert chosen([Ref("v1.0", "branch", COMMIT)], "~=1.0") == ["v1.0"]


def test_of_equal_tags_the_choice_does_not_depend_on_their_order():
    assert {tuple(chosen(list(refs))) for refs in itertools.permutations(tags("1.0", "v1.0", "1.0.0"))} == {("v1.0",)}
