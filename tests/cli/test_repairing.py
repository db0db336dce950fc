"""``vcm verify --repair``: exactly what is damaged is replaced, out of whatever this machine still has whole."""

# ruff: noqa: PLR0917  (pytest hands fixtures over by name)
from __future__ import annotations

import errno
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest

from vcm.store.files import _reflink

FILES = {
    "config.json": b"{}\n",
    "onnx/a.onnx": hashlib.shake_128(b"a").digest(5000),
    "onnx/b.onnx": hashlib.shake_128(b"b").digest(6000),
}
DAMAGE = [
    "changed",
    "shorter",
    "missing",
    "extra",
    "extra folder",
    "folder in its place",
    "link to the right file",
    "link to nowhere",
    "pipe",
    "file in the folder's place",
    "link in the folder's place",
    "all of them gone",
]
COMMANDS = [("verify", "--repair"), ("sync",)]
LAYOUTS = ["linked", "copied"]
PAIRS = [
    (layout, kind, COMMANDS[(number + other) % 2])
    for number, kind in enumerate(DAMAGE)
    for other, layout in enumerate(LAYOUTS)
]
"""Each damage in both layouts and put right by both commands, and each command in both layouts."""


def refuse_links(*_: object) -> None:
    raise PermissionError(errno.EPERM, "Operation not permitted")


@pytest.fixture(params=LAYOUTS)
def layout(request, monkeypatch, tmp_path):
    """How the files of a snapshot stand beside the blobs: one file with them, or copies."""
    if request.param == "copied":
        monkeypatch.setattr(os, "link", refuse_links)
    else:
        (tmp_path / "probe").write_bytes(b"x")
        if _reflink(tmp_path / "probe", tmp_path / "clone"):
            pytest.skip("this file system copies at once")
    return request.param


@pytest.fixture
def snapshot(layout, hub, manifest, vcm, cache) -> Path:
    hub.add_repo("acme/deep", FILES)
    manifest('[models.deep]\nrepo = "acme/deep"\n')
    assert vcm("sync").code == 0
    hub.clear_requests()
    path: Path
    (path,) = (cache / "snapshots").iterdir()
    assert path.joinpath("config.json").samefile(blob(cache, "config.json")) == (layout == "linked")
    return path


def blob(cache: Path, path: str) -> Path:
    return cache / "blobs" / "sha256" / hashlib.sha256(FILES[path]).hexdigest()


def overwrite(path: Path, data: bytes) -> None:
    path.chmod(0o644)
    path.write_bytes(data)


def damage(snapshot: Path, kind: str, outside: Path) -> None:
    file = snapshot / "onnx" / "a.onnx"
    right = outside / "right"
    right.write_bytes(FILES["onnx/a.onnx"])
    if kind in ("changed", "shorter"):
        overwrite(file, b"x" * (5000 if kind == "changed" else 7))
        return
    if kind.startswith("extra"):
        extra = snapshot / "extra" if kind == "extra" else snapshot / "onnx" / "more" / "deep" / "extra"
        extra.parent.mkdir(parents=True, exist_ok=True)
        extra.write_bytes(b"import os")
        return
    if "the folder's place" in kind or kind == "all of them gone":
        (snapshot / "onnx").rename(outside / "moved")
        if kind.startswith("file"):
            (snapshot / "onnx").write_bytes(b"")
        elif kind.startswith("link"):
            (snapshot / "onnx").symlink_to(outside / "moved")
        else:
            (snapshot / "config.json").unlink()
        return
    file.unlink()
    if kind == "folder in its place":
        file.mkdir()
        (file / "x").write_bytes(b"x")
    elif kind == "pipe":
        os.mkfifo(file)
    elif kind.startswith("link"):
        file.symlink_to(right if kind.endswith("file") else outside / "nowhere")


def inodes(folder: Path) -> dict[str, int]:
    return {
        path.relative_to(folder).as_posix(): path.lstat().st_ino
        for path in folder.rglob("*")
        if path.is_file() and not path.is_symlink()
    }


def contents(folder: Path) -> dict[str, bytes]:
    assert not any(path.is_symlink() for path in folder.rglob("*"))
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def assert_all_is_well(vcm, hub, cache, snapshot, assert_store_is_whole):
    def look() -> None:
        assert contents(snapshot) == FILES
        assert all(path.stat().st_mode & 0o222 == 0 for path in snapshot.rglob("*") if path.is_file())
        assert list((cache / "partial").iterdir()) == []
        assert_store_is_whole()
        hub.clear_requests()
        for command in (["check"], ["verify"], ["verify", "--repair"]):
            assert vcm(*command).code == 0
        assert vcm("sync").out == "Nothing to do: 1 model installed, no network used\n"
        assert hub.requests == []

    return look


@pytest.mark.parametrize(("layout", "kind", "command"), PAIRS, indirect=["layout"])
def test_what_is_damaged_is_put_right_and_the_rest_stays(
    kind, command, layout, snapshot, vcm, hub, tmp_path, cache, assert_all_is_well
):
    outside = tmp_path / "outside"
    outside.mkdir()
    before = inodes(snapshot)
    damage(snapshot, kind, outside)
    assert vcm("verify").code == 4

    result = vcm(*command)

    # A linked file is the blob itself: where its bytes were changed, they are nowhere any more.
    is_lost = layout == "linked" and kind in ("changed", "shorter")
    fetched, reused = ("5.0 kB", "6.0 kB") if is_lost else ("0 B", "11.0 kB")
    assert (result.code, result.out) == (
        0,
        f"Installed 1 model: {fetched} fetched, {reused} reused\n ~ deep  {vcm('list').out.split()[7]}  repaired\n",
    )
    assert len([each for each in hub.requests if each.origin == "cdn"]) == is_lost
    after = inodes(snapshot)
    kept = {path for path in before if before[path] == after[path]}
    assert "onnx/b.onnx" in kept or kind.endswith("the folder's place") or kind == "all of them gone"
    assert_all_is_well()


def test_a_blob_and_a_file_that_are_both_damaged(layout, snapshot, vcm, hub, cache, assert_all_is_well):
    overwrite(blob(cache, "onnx/a.onnx"), b"x" * 5000)
    overwrite(snapshot / "onnx" / "a.onnx", b"y" * 5000)
    assert vcm("verify", "--repair").code == 0
    assert len([each for each in hub.requests if each.origin == "cdn"]) == 1
    assert_all_is_well()


def test_blobs_that_are_gone_are_not_needed_for_what_is_whole(layout, snapshot, vcm, hub, cache, assert_all_is_well):
    for path in (cache / "blobs" / "sha256").iterdir():
        path.unlink()
    (snapshot / "onnx" / "a.onnx").unlink()
    assert vcm("verify", "--repair").code == 0
    assert len([each for each in hub.requests if each.origin == "cdn"]) == 1
    assert_all_is_well()


def test_without_a_network_it_says_what_could_not_be_had(layout, snapshot, vcm, hub, cache, assert_all_is_well):
    for path in ("onnx/a.onnx", "onnx/b.onnx"):
        overwrite(blob(cache, path), b"")
        overwrite(snapshot / path, b"")
    result = vcm("--offline", "verify", "--repair")
    assert (result.code, result.out.splitlines()[1].split()[-1]) == (1, "failed")
    assert result.err.endswith(
        "error: deep: 2 files are not in the store, and this run is offline: onnx/a.onnx (5.0 kB) and onnx/b.onnx "
        "(6.0 kB)\n"
        "hint: run vcm sync where the hub can be reached, or vcm sync --from with a bundle or folder that has it\n"
    )
    assert hub.requests == []
    # What is not what the lock says is not left standing.
    assert vcm("check").code == 1
    done = vcm("verify", "--repair")
    assert done.code == 0
    assert done.err.splitlines()[1:] == ["deep: not installed", "fetching 2 files, 11.0 kB"]
    assert_all_is_well()


def test_one_file_that_could_not_be_had(layout, snapshot, vcm, hub, cache):
    overwrite(blob(cache, "onnx/a.onnx"), b"")
    overwrite(snapshot / "onnx" / "a.onnx", b"")
    result = vcm("--offline", "verify", "--repair")
    assert result.code == 1
    assert "error: deep/onnx/a.onnx: not in the store, and this run is offline (5.0 kB)\n" in result.err


@pytest.mark.parametrize("layout", ["copied"], indirect=True)
def test_the_copy_of_another_project_will_do(layout, snapshot, vcm, hub, cache, tmp_path, assert_all_is_well):
    other = tmp_path / "other"
    other.mkdir()
    hub.add_repo("acme/other", {"weights/model.onnx": FILES["onnx/a.onnx"], "wrong.onnx": b"z" * 5000})
    (other / "models.toml").write_text('[models.other]\nrepo = "acme/other"\n')
    assert vcm("--project", other, "sync").code == 0
    hub.clear_requests()
    overwrite(blob(cache, "onnx/a.onnx"), b"x" * 5000)
    overwrite(snapshot / "onnx" / "a.onnx", b"y" * 5000)

    assert vcm("--offline", "verify", "--repair").code == 0

    assert_all_is_well()
    assert vcm("--project", other, "verify").code == 0
    assert hub.requests == []


@pytest.mark.parametrize("layout", ["copied"], indirect=True)
def test_a_damaged_blob_comes_back_from_a_snapshot(layout, snapshot, vcm, hub, cache, manifest, assert_store_is_whole):
    overwrite(blob(cache, "onnx/a.onnx"), b"x" * 5000)
    hub.add_repo("acme/more", {"more.onnx": FILES["onnx/a.onnx"]})
    manifest('[models.deep]\nrepo = "acme/deep"\n[models.more]\nrepo = "acme/more"\n')
    assert vcm("sync").code == 0
    assert [each for each in hub.requests if each.origin == "cdn"] == []
    assert_store_is_whole()
    assert vcm("verify").out == "2 models locked and installed, every byte verified\n"


def test_a_record_that_somebody_forged_hides_nothing(layout, snapshot, vcm, hub, cache, assert_all_is_well):
    record = cache / "verified" / f"{snapshot.name}.json"
    overwrite(snapshot / "onnx" / "a.onnx", b"x" * 5000)
    status = (snapshot / "onnx" / "a.onnx").stat()
    rows: dict[str, Any] = json.loads(record.read_bytes())
    rows["onnx/a.onnx"] = [status.st_size, status.st_mtime_ns, status.st_ino]
    rows["../../../etc/passwd"] = [5000, 1, 1]
    record.write_text(json.dumps(rows))
    assert vcm("verify", "--repair").code == 0
    assert_all_is_well()
