"""What differs between two sets of files and between two locks."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.core.test_lock_properties import CALM, commits, digests, file_lists, locks, paths
from vcm.core.differences import (
    FieldChange,
    FileChange,
    ModelDifference,
    by_role,
    changed_roles,
    file_changes,
    lock_differences,
    same_content,
)
from vcm.core.lock import Lock, LockedFile, LockedModel
from vcm.core.metadata import RemoteFile
from vcm.core.roles import ROLES

A, B = "a" * 64, "b" * 64
OID, OTHER = "1" * 40, "2" * 40
LARGE = LockedFile("model.safetensors", 10, A)
SMALL = LockedFile("config.json", 2, B, OID)


@pytest.mark.parametrize(
    ("locked", "remote", "expected"),
    [
        (LARGE, RemoteFile("model.safetensors", 10, sha256=A), True),
        (LARGE, RemoteFile("model.safetensors", 10, sha256=B), False),
        (LARGE, RemoteFile("model.safetensors", 11, sha256=A), False),
        (LARGE, RemoteFile("model.safetensors", 10, masked=True), None),
        (LARGE, RemoteFile("model.safetensors", 11, masked=True), False),
        (LARGE, RemoteFile("model.safetensors", 10, oid=OID), False),  # not in LFS any more: nothing to compare by
        (SMALL, RemoteFile("config.json", 2, oid=OID), True),
        (SMALL, RemoteFile("config.json", 2, oid=OTHER), False),
        (SMALL, RemoteFile("config.json", 2, sha256=B), True),  # in LFS by now, with the same bytes
        (SMALL, RemoteFile("config.json", 2, sha256=A), False),
        (SMALL, LockedFile("config.json", 2, A, OID), False),  # SHA-256 decides, where both sides have one
    ],
)
def test_the_same_content(locked, remote, expected):
    assert same_content(locked, remote) is expected
    assert same_content(remote, locked) is expected


def test_files_that_differ():
    before = [LARGE, SMALL, LockedFile("README.md", 5, A, OID), LockedFile("old.py", 7, A, OID)]
    after = [
        RemoteFile("model.safetensors", 12, sha256=B),
        RemoteFile("config.json", 2, oid=OID),
        RemoteFile("README.md", 5, oid=OTHER),
        RemoteFile("new.py", 9, oid=OID),
    ]
    changes = file_changes(before, after)
    assert changes == (
        FileChange("README.md", 5, 5),
        FileChange("model.safetensors", 10, 12),
        FileChange("new.py", None, 9),
        FileChange("old.py", 7, None),
    )
    assert [(each.change, each.role, each.size) for each in changes] == [
        ("changed", "docs", 5),
        ("changed", "weights", 12),
        ("added", "code", 9),
        ("removed", "code", 7),
    ]
    assert changed_roles(changes) == ("weights", "code", "docs")
    assert by_role(changes) == {"weights": changes[1:2], "code": changes[2:], "docs": changes[:1]}
    assert list(by_role(changes)) == ["weights", "code", "docs"]


def test_a_hidden_digest_is_no_difference():
    assert file_changes([LARGE], [RemoteFile("model.safetensors", 10, masked=True)]) == ()


def test_an_empty_file_that_went_is_a_removed_one():
    (change,) = file_changes([LockedFile("a", 0, A)], [])
    assert (change.change, change.size) == ("removed", 0)


MODEL = LockedModel(
    name="m", source="huggingface", repo="acme/m", commit=OID, version="1.0", license="mit", files=(SMALL, LARGE)
)


def locked(*models: LockedModel) -> Lock:
    return Lock(manifest_sha256=A, models=models)


def test_models_that_differ():
    other = replace(MODEL, name="other")
    newer = replace(MODEL, commit=OTHER, version="1.1", license=None, files=(SMALL,))
    changed, added = lock_differences(locked(MODEL), locked(newer, other))
    assert changed == ModelDifference(MODEL, newer)
    assert (changed.change, changed.model) == ("changed", newer)
    assert changed.keys == (
        FieldChange("version", "1.0", "1.1"),
        FieldChange("commit", OID, OTHER),
        FieldChange("license", "mit", None),
    )
    assert changed.files == (FileChange("model.safetensors", 10, None),)
    assert (added.change, added.model, added.keys) == ("added", other, ())
    assert [each.path for each in added.files] == ["config.json", "model.safetensors"]
    (removed,) = lock_differences(locked(MODEL), locked())
    assert (removed.change, removed.model, len(removed.files)) == ("removed", MODEL, 2)


def test_another_digest_of_the_manifest_alone_is_no_difference():
    assert lock_differences(locked(MODEL), replace(locked(MODEL), manifest_sha256=B)) == ()


MIRRORED = {"added": "removed", "removed": "added", "changed": "changed"}
remote_files = st.lists(
    st.builds(RemoteFile, path=paths, size=st.integers(0, 3), oid=st.none() | commits, sha256=st.none() | digests),
    max_size=5,
    unique_by=lambda file: file.path,
)
files = file_lists() | remote_files


@CALM
@given(files, files)
def test_the_other_way_round_the_files_mirror(one, other):
    assert file_changes(one, one) == ()
    there, back = file_changes(one, other), file_changes(other, one)
    assert back == tuple(FileChange(each.path, each.after, each.before) for each in there)
    assert [MIRRORED[each.change] for each in there] == [each.change for each in back]
    assert changed_roles(there) == changed_roles(back) == tuple(by_role(there))
    assert list(by_role(there)) == sorted(by_role(there), key=ROLES.index)


@CALM
@given(locks, locks)
def test_the_other_way_round_the_locks_mirror(one, other):
    assert lock_differences(one, one) == ()
    there, back = lock_differences(one, other), lock_differences(other, one)
    assert back == tuple(ModelDifference(each.after, each.before) for each in there)
    assert [each.keys for each in back] == [
        tuple(FieldChange(key.key, key.after, key.before) for key in each.keys) for each in there
    ]
    names = {model.name for model in (*one.models, *other.models)}
    same = {model.name for model in one.models if other.get(model.name) == model}
    assert [each.model.name for each in there] == sorted(names - same)
    # A changed model says what changed.
    assert all(each.keys or each.files for each in there)
