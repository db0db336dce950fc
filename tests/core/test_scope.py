"""Which requirements matter here: groups and markers."""

from __future__ import annotations

import sys

import pytest

from vcm.core.lock import Lock, LockedFile, LockedModel
from vcm.core.manifest import Manifest, Requirement
from vcm.core.plan import ALL_GROUPS, in_scope, models_in_scope
from vcm.errors import ConfigError

HERE = f"sys_platform == '{sys.platform}'"
ELSEWHERE = "sys_platform == 'another planet'"


def requirement(name: str, *groups: str, marker: str | None = None) -> Requirement:
    return Requirement(name=name, repo="acme/a", groups=groups, marker=marker)


MANIFEST = Manifest(
    models=(
        requirement("always"),
        requirement("sound", "audio"),
        requirement("both", "audio", "video"),
        requirement("here", marker=HERE),
        requirement("elsewhere", marker=ELSEWHERE),
        requirement("sound-elsewhere", "audio", marker=ELSEWHERE),
    )
)


@pytest.mark.parametrize(
    ("groups", "expected"),
    [
        ((), ["always", "here"]),
        (("audio",), ["always", "sound", "both", "here"]),
        (["video"], ["always", "both", "here"]),
        ({"audio", "video"}, ["always", "sound", "both", "here"]),
        ((ALL_GROUPS,), ["always", "sound", "both", "here"]),
        ((ALL_GROUPS, "video"), ["always", "sound", "both", "here"]),
    ],
)
def test_groups_and_markers_decide(groups, expected):
    assert [each.name for each in in_scope(MANIFEST, groups)] == expected


def test_all_groups_of_a_project_without_any():
    assert in_scope(Manifest(models=(requirement("a"),)), (ALL_GROUPS,)) == (requirement("a"),)
    assert in_scope(Manifest(), (ALL_GROUPS,)) == ()


@pytest.mark.parametrize(
    ("manifest", "groups", "message", "hint"),
    [
        (
            MANIFEST,
            ("audoi",),
            'no model is in a group "audoi", did you mean "audio"?',
            "groups of this project: audio, video",
        ),
        (MANIFEST, ("audio", "xyz"), 'no model is in a group "xyz"', "groups of this project: audio, video"),
        (MANIFEST, (ALL_GROUPS, "xyz"), 'no model is in a group "xyz"', "groups of this project: audio, video"),
        (Manifest(), ("audio",), 'no model is in a group "audio"', "groups of this project: none"),
    ],
)
def test_an_unknown_group_is_an_error(manifest, groups, message, hint):
    for call in (lambda: in_scope(manifest, groups), lambda: models_in_scope(manifest, LOCK, groups)):
        with pytest.raises(ConfigError) as caught:
            call()
        assert (caught.value.message, caught.value.hint) == (message, hint)


def test_a_group_whose_models_all_belong_elsewhere_is_known():
    manifest = Manifest(models=(requirement("a", "audio", marker=ELSEWHERE),))
    assert in_scope(manifest, ("audio",)) == ()


def locked(name: str) -> LockedModel:
    return LockedModel(name=name, source="url", url="https://example.com/a", files=(LockedFile("a", 1, "0" * 64),))


LOCK = Lock(
    manifest_sha256="0" * 64, models=tuple(locked(name) for name in ("always", "both", "elsewhere", "here", "stray"))
)


@pytest.mark.parametrize(
    ("groups", "expected"),
    [
        ((), ["always", "here"]),
        (("video",), ["always", "both", "here"]),
        ((ALL_GROUPS,), ["always", "both", "here"]),
    ],
)
def test_locked_models_in_scope_keep_the_order_of_the_lock(groups, expected):
    assert [model.name for model in models_in_scope(MANIFEST, LOCK, groups)] == expected
