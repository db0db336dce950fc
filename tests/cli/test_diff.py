"""``vcm diff``: what a reviewer of a lock gets to see."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace

import pytest

from vcm.core.lock import Lock, LockedFile, LockedModel, lock_text

A, B, C = ("a" * 64, "b" * 64, "c" * 64)
OLD, NEW = "1" * 40, "2" * 40

FRAMES = LockedModel(
    name="frames",
    source="huggingface",
    repo="acme/frames",
    repo_id="5f0c1f0000000000000000aa",
    commit=OLD,
    version="1.2",
    ref="v1.2",
    requested="~=1.2",
    license="mit",
    files=(
        LockedFile("config.json", 20, A, OLD),
        LockedFile("model.safetensors", 3_000_000_000, A),
        LockedFile("modeling_x.py", 500, B, OLD),
        LockedFile("vocab.txt", 100, B, OLD),
    ),
)
NEWER = LockedModel(
    name="frames",
    source="huggingface",
    repo="other/frames",
    repo_id="5f0c1f0000000000000000bb",
    commit=NEW,
    version="1.3",
    ref="v1.3",
    requested="~=1.2",
    files=(
        LockedFile("config.json", 20, A, OLD),
        LockedFile("model-2.safetensors", 100_000_000, C),
        LockedFile("model.safetensors", 3_100_000_000, B),
        LockedFile("modeling_x.py", 501, C, OLD),
        LockedFile("tokenization_with_a_rather_long_name_for_a_module.py", 499, C, OLD),
    ),
)
BASE = LockedModel(
    name="frames.base", source="huggingface", repo="acme/base", commit=OLD, via="frames", files=(LockedFile("a", 1, A),)
)
DIRECT = LockedModel(
    name="words", source="url", url="https://example.com/words.onnx", files=(LockedFile("words.onnx", 4096, A),)
)


ANOTHER = "name another old lock: vcm diff OLD.lock"
UPGRADE = "upgrade vcm: pip install --upgrade vcm"


def text_of(*models: LockedModel) -> str:
    return lock_text(Lock(manifest_sha256=A, models=models))


@pytest.fixture
def locks(project, manifest):
    """Writes an old lock beside the project's own."""
    manifest("")

    def write(old, new):
        (project / "old.lock").write_text(text_of(*old), newline="")
        (project / "models.lock").write_text(text_of(*new), newline="")

    return write


def test_what_a_reviewer_sees(locks, vcm):
    locks([FRAMES, DIRECT], [NEWER, BASE])
    result = vcm("diff", "old.lock")
    assert (result.code, result.err) == (0, "")
    assert result.out == (
        " ~ frames  other/frames  1.2 111111111111 → 1.3 222222222222\n"
        "    ! repo: acme/frames → other/frames\n"
        "    ! owner: acme → other\n"
        "    ! repo-id: 5f0c1f0000000000000000aa → 5f0c1f0000000000000000bb\n"
        "    ! license: mit → none\n"
        "    weights: 1 added, 1 changed, 3.2 GB\n"
        "    tokenizer: 1 removed, 100 B\n"
        "    code: modeling_x.py changed,\n"
        "      tokenization_with_a_rather_long_name_for_a_module.py added, 1.0 kB\n"
        "    size: 3.0 GB → 3.2 GB\n"
        " + frames.base  acme/base  111111111111  (pulled in by frames)\n"
        "    other: 1 added, 1 B\n"
        " - words  https://example.com/words.onnx  -\n"
        "    weights: 1 removed, 4.1 kB\n"
        "1 added, 1 changed and 1 removed; 3.0 GB → 3.2 GB in all\n"
    )


def test_the_same_as_json(locks, vcm):
    locks([FRAMES], [NEWER, BASE])
    result = vcm("diff", "old.lock", "--json")
    document = json.loads(result.out)
    assert (result.code, result.err) == (0, "")
    assert list(document) == ["models", "size_before", "size_after"]
    assert (document["size_before"], document["size_after"]) == (3_000_000_620, 3_200_001_021)
    changed, added = document["models"]
    assert {key: changed[key] for key in ("name", "version", "commit", "status", "via", "changes")} == {
        "name": "frames",
        "version": "1.3",
        "commit": NEW,
        "status": "changed",
        "via": None,
        "changes": ["weights", "tokenizer", "code"],
    }
    assert changed["before"] == {
        "version": "1.2",
        "ref": "v1.2",
        "commit": OLD,
        "repo": "acme/frames",
        "repo_id": "5f0c1f0000000000000000aa",
        "url": None,
        "license": "mit",
        "format": None,
        "tree_digest": f"sha256:{FRAMES.tree_digest}",
        "size": 3_000_000_620,
        "files": 4,
    }
    assert list(changed["after"]) == list(changed["before"])
    assert {"key": "license", "before": "mit", "after": None} in changed["keys"]
    assert changed["files"][-1] == {
        "path": "vocab.txt",
        "role": "tokenizer",
        "status": "removed",
        "size_before": 100,
        "size_after": None,
    }
    assert (added["status"], added["via"], added["before"], added["changes"]) == ("added", "frames", None, ["other"])


def test_no_difference(locks, vcm):
    locks([FRAMES], [FRAMES])
    assert vcm("diff", "old.lock").out == "no difference\n"
    assert json.loads(vcm("diff", "old.lock", "--json").out)["models"] == []


def test_another_commit_with_the_same_files(locks, vcm):
    moved = replace(FRAMES, commit=NEW, requested="~=1.1")
    locks([FRAMES], [moved])
    assert vcm("diff", "old.lock").out == (
        " ~ frames  acme/frames  1.2 111111111111 → 1.2 222222222222\n"
        "    requested: ~=1.2 → ~=1.1\n"
        "    the same files\n"
        "1 changed; 3.0 GB → 3.0 GB in all\n"
    )


def git(folder, *arguments: str) -> None:
    identity = ("-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "commit.gpgsign=false")
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


def test_against_what_git_has_committed(locks, vcm, project, tmp_path):
    locks([FRAMES], [FRAMES])
    git(tmp_path, "init", "-q")  # the project is a folder below the repository's own
    git(tmp_path, "add", "project/models.lock")
    git(tmp_path, "commit", "-qm", "one")
    assert vcm("diff").out == "no difference\n"
    (project / "models.lock").write_text(text_of(), newline="")
    git(tmp_path, "add", "project/models.lock")  # staged is not committed
    assert vcm("diff").out.splitlines()[0] == " - frames  acme/frames  1.2 111111111111"


def test_no_git_repository(locks, vcm, plain, monkeypatch, tmp_path):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    locks([FRAMES], [FRAMES])
    result = vcm("diff")
    assert (result.code, result.out, plain(result.err)) == (
        2,
        "",
        "error: TMP/project is in no git repository that git can read\nhint: name the old lock: vcm diff OLD.lock\n",
    )


def test_nothing_committed(locks, vcm, plain, project):
    locks([FRAMES], [FRAMES])
    git(project, "init", "-q")
    expected = (
        "error: git has no committed models.lock in TMP/project\n"
        "hint: commit it, or name the old lock: vcm diff OLD.lock\n"
    )
    assert plain(vcm("diff").err) == expected
    git(project, "add", "models.toml")
    git(project, "commit", "-qm", "without the lock")
    result = vcm("diff")
    assert (result.code, plain(result.err)) == (2, expected)


def test_no_git(locks, vcm, monkeypatch, tmp_path):
    locks([FRAMES], [FRAMES])
    monkeypatch.setenv("PATH", str(tmp_path))
    assert vcm("diff").err == "error: git cannot be run here\nhint: name the old lock: vcm diff OLD.lock\n"


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        (None, "cannot read old.lock: no such file or directory", "name a models.lock of another time"),
        ("# poetry\n", "old.lock: not a vcm lock", ANOTHER),
        ("<<<<<<< HEAD\nlock-version = 1\n", "old.lock:1: merge-conflict markers", ANOTHER),
        (
            text_of(FRAMES).replace("size = 3000000620", "size = 1"),
            'old.lock:16: model "frames": model[0].size: the rows of files add up to 3000000620 bytes',
            ANOTHER,
        ),
        (
            "lock-version = 99\n",
            "old.lock:1: lock-version: version 99 is newer than this vcm knows (1)",
            UPGRADE,
        ),
    ],
)
def test_an_old_lock_that_cannot_be_used(text, message, hint, locks, vcm, project):
    locks([FRAMES], [FRAMES])
    (project / "old.lock").unlink()
    if text is not None:
        (project / "old.lock").write_text(text)
    result = vcm("diff", "old.lock")
    assert (result.code, result.out, result.err) == (2, "", f"error: {message}\nhint: {hint}\n")


def test_long_names_are_filled_to_80_columns(locks, vcm):
    name, owner = "frames-of-the-cameras-at-the-northern-gate", "an-organisation-of-some-importance"
    locks([], [replace(FRAMES, name=name, repo=f"{owner}/{name}")])
    assert vcm("diff", "old.lock").out.startswith(
        " + frames-of-the-cameras-at-the-northern-gate\n"
        f"      {owner}/{name}\n"
        "      1.2 111111111111\n"
        "    weights: 1 added, 3.0 GB\n"
    )


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("lock-version = 99\n", ":1: lock-version: version 99 is newer than this vcm knows (1)", UPGRADE),
        ("# poetry\n", ": not a vcm lock", ANOTHER),
    ],
)
def test_a_damaged_lock_in_git(text, message, hint, locks, vcm, project):
    locks([FRAMES], [FRAMES])
    git(project, "init", "-q")
    (project / "models.lock").write_text(text)
    git(project, "add", "models.lock")
    git(project, "commit", "-qm", "newer")
    (project / "models.lock").write_text(text_of(FRAMES))
    assert vcm("diff").err == f"error: HEAD:models.lock{message}\nhint: {hint}\n"


def test_no_lock_yet(manifest, vcm, plain):
    manifest("")
    result = vcm("diff")
    assert (result.code, plain(result.err)) == (1, "error: no models.lock in TMP/project\nhint: run vcm lock\n")
