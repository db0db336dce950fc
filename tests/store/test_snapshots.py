"""Snapshots: built whole or not at all, and looked at with neither suspicion nor trust."""

from __future__ import annotations

import errno
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from tests.conftest import Notes
from vcm.core.lock import LockedFile
from vcm.core.plan import SnapshotState
from vcm.store.store import Store


@pytest.fixture
def reads(store, model):
    """How many bytes a look has read."""

    def look(**options):
        notes = Notes()
        findings = Store(store.root).snapshots.inspect(model, reporter=notes, **options)
        return [(each.kind, each.path) for each in findings], sum(notes.progress.values())

    return look


def files_below(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_build(store, model, snapshot, contents):
    assert snapshot == store.root / "snapshots" / model.tree_digest
    assert files_below(snapshot) == contents
    assert all(path.stat().st_mode & 0o222 == 0 for path in snapshot.rglob("*") if path.is_file())
    assert list(store.snapshots.building_folder.iterdir()) == []


def test_the_quick_look_reads_nothing(model, snapshot, reads):
    assert reads() == ([], 0)


def test_the_full_look_reads_every_byte(model, snapshot, reads):
    assert reads(full=True) == ([], model.size)
    assert reads() == ([], 0)


def test_absent(model, reads):
    assert reads() == ([("absent", "")], 0)
    assert reads(full=True) == ([("absent", "")], 0)


def test_a_file_where_the_snapshot_should_be(store, model, contents, reads):
    store.snapshots.folder.mkdir(parents=True)
    store.snapshots.path(model.tree_digest).write_bytes(b"")
    assert reads() == ([("absent", "")], 0)
    assert files_below(store.snapshots.build(model, store.blobs.path)) == contents
    assert list(store.snapshots.building_folder.iterdir()) == []


def test_extra(snapshot, reads):
    (snapshot / "onnx" / "more").mkdir()
    assert reads() == ([], 0)
    (snapshot / "onnx" / "more" / ".hidden").write_bytes(b"")
    assert reads() == ([("extra", "onnx/more/.hidden")], 0)
    assert reads(full=True)[0] == [("extra", "onnx/more/.hidden")]


def test_an_extra_link_to_a_folder(snapshot, reads, tmp_path):
    (snapshot / "more").symlink_to(tmp_path, target_is_directory=True)
    assert reads()[0] == [("extra", "more")]


def test_missing(snapshot, reads):
    (snapshot / "config.json").unlink()
    assert reads() == ([("missing", "config.json")], 0)
    shutil.rmtree(snapshot / "onnx")
    assert reads()[0] == [("missing", "config.json"), ("missing", "onnx/a.onnx"), ("missing", "onnx/b.onnx")]


def replaced(path: Path, content: bytes) -> None:
    path.unlink()
    path.write_bytes(content)


def test_another_size(snapshot, store, model):
    replaced(snapshot / "config.json", b"{} \n")
    (finding,) = store.snapshots.inspect(model)
    assert str(finding) == "config.json: expected 3 bytes, found 4 bytes"


def test_another_byte(snapshot, store, model):
    replaced(snapshot / "config.json", b"[]\n")
    (finding,) = store.snapshots.inspect(model)
    assert str(finding) == (
        "config.json: expected sha256:ca3d163bab055381827226140568f3bef7eaac187cebd76878e0b63e9e442356, "
        "found sha256:37517e5f3dc66819f61f5a7bb8ace1921282415f10551d2defa5c3eb0985b570"
    )
    # Nothing was recorded that would let it through later.
    assert store.snapshots.state(model) is SnapshotState.DAMAGED


def test_another_byte_with_size_and_time_restored(snapshot, reads):
    path = snapshot / "config.json"
    before = path.stat()
    kept = path.with_name("kept")
    path.rename(kept)
    path.write_bytes(b"[]\n")
    kept.unlink()
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    found = reads()
    assert found == ([("changed", "config.json")], 3)


def test_a_byte_changed_in_place_is_found_by_the_full_look(snapshot, reads):
    path = snapshot / "config.json"
    before = path.stat()
    path.chmod(0o644)
    path.write_bytes(b"[]\n")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert reads(full=True)[0] == [("changed", "config.json")]


def test_a_touched_file_is_read_once_more_and_is_no_failure(snapshot, reads):
    os.utime(snapshot / "config.json", ns=(1, 1))
    assert reads() == ([], 3)
    assert reads() == ([], 0)


def test_a_copied_store_is_read_once_more(snapshot, store, model, reads):
    copy = snapshot.with_name("copy")
    shutil.copytree(snapshot, copy)
    shutil.rmtree(snapshot)
    copy.rename(snapshot)
    assert reads() == ([], model.size)
    assert reads() == ([], 0)


@pytest.mark.parametrize("kind", ["link", "loop", "nowhere", "fifo"])
def test_what_is_no_file(kind, snapshot, store, model, tmp_path):
    path = snapshot / "config.json"
    path.unlink()
    target = {"link": tmp_path / "good", "loop": path, "nowhere": tmp_path / "nowhere"}
    (tmp_path / "good").write_bytes(b"{}\n")
    if kind == "fifo":
        os.mkfifo(path)
    else:
        path.symlink_to(target[kind])
    for full in (False, True):
        (finding,) = store.snapshots.inspect(model, full=full)
        assert str(finding) == "config.json: expected 3 bytes, found no regular file"


def test_a_folder_instead_of_a_file(snapshot, reads):
    (snapshot / "config.json").unlink()
    (snapshot / "config.json").mkdir()
    assert reads() == ([("missing", "config.json")], 0)
    (snapshot / "config.json" / "x").write_bytes(b"")
    assert reads()[0] == [("extra", "config.json/x"), ("missing", "config.json")]


DAMAGED_RECORDS = {
    "missing": None,
    "empty": b"",
    "binary": b"\xff\xfe",
    "another shape": b"[1, 2]",
    "other values": b'{"config.json": 7}',
    "too few values": b'{"config.json": [1, 2]}',
    "nested without end": b"[" * 100_000,
    "a long number": b'{"config.json": [' + b"1" * 5000 + b", 2, 3]}",
    "nothing": b"null",
}


@pytest.mark.parametrize("case", DAMAGED_RECORDS)
def test_a_record_that_is_of_no_use(case, snapshot, store, model, reads):
    record = store.snapshots.record_folder / f"{model.tree_digest}.json"
    content = DAMAGED_RECORDS[case]
    if content is None:
        record.unlink()
    else:
        record.write_bytes(content)
    assert reads() == ([], model.size)
    assert set(json.loads(record.read_bytes())) == {"config.json", "onnx/a.onnx", "onnx/b.onnx"}
    assert reads() == ([], 0)


def test_a_record_that_cannot_be_written_is_no_failure(snapshot, store, model, reads):
    shutil.rmtree(store.snapshots.record_folder)
    store.snapshots.record_folder.write_bytes(b"")
    assert reads() == ([], model.size)
    assert reads() == ([], model.size)


def test_a_forged_record_does_not_help_another_size(snapshot, store, model, reads):
    path = snapshot / "config.json"
    replaced(path, b"{}  \n")
    status = path.stat()
    record = store.snapshots.record_folder / f"{model.tree_digest}.json"
    rows = json.loads(record.read_bytes())
    rows["config.json"] = [status.st_size, status.st_mtime_ns, status.st_ino]
    record.write_text(json.dumps(rows))
    assert reads()[0] == [("changed", "config.json")]


def test_build_replaces_what_is_damaged(snapshot, store, model, contents):
    (snapshot / "extra").write_bytes(b"")
    (snapshot / "config.json").unlink()
    assert store.snapshots.state(model) is SnapshotState.DAMAGED
    store.snapshots.build(model, store.blobs.path)
    assert files_below(snapshot) == contents
    assert store.snapshots.state(model) is SnapshotState.INSTALLED
    assert list(store.snapshots.building_folder.iterdir()) == []


def test_a_build_without_its_blob_leaves_nothing(store, model):
    store.blobs.discard(model.files[1].sha256)
    with pytest.raises(FileNotFoundError):
        store.snapshots.build(model, store.blobs.path)
    assert store.snapshots.state(model) is SnapshotState.MISSING
    assert list(store.snapshots.building_folder.iterdir()) == []


def test_a_failed_build_leaves_the_damaged_one(snapshot, store, model):
    (snapshot / "extra").write_bytes(b"")
    store.blobs.discard(model.files[1].sha256)
    with pytest.raises(FileNotFoundError):
        store.snapshots.build(model, store.blobs.path)
    assert (snapshot / "extra").exists()
    assert list(store.snapshots.building_folder.iterdir()) == []


def test_build_leaves_a_good_one_where_it_is(snapshot, store, model):
    before = (snapshot / "config.json").parent.stat().st_ino
    assert store.snapshots.build(model, store.blobs.path) == snapshot
    assert snapshot.stat().st_ino == before
    assert list(store.snapshots.building_folder.iterdir()) == []


def test_a_rival_is_judged_by_its_bytes(store, model, contents, monkeypatch):
    # Locks keep builders apart where they work. Here a rival always comes first: twice with something wrong.
    target = store.snapshots.path(model.tree_digest)
    rename, rivals = Path.rename, [b"[]\n", b"{", b"{}\n"]

    def overtaken(path, to):
        if to == target and rivals:
            for name, content in {**contents, "config.json": rivals.pop(0)}.items():
                (target / name).parent.mkdir(parents=True, exist_ok=True)
                (target / name).write_bytes(content)
        return rename(path, to)

    monkeypatch.setattr(Path, "rename", overtaken)
    store.snapshots.build(model, store.blobs.path)
    assert rivals == []
    assert files_below(target) == contents
    assert (target / "config.json").stat().st_nlink == 1
    assert store.snapshots.state(model) is SnapshotState.INSTALLED
    assert list(store.snapshots.building_folder.iterdir()) == []


def test_a_rival_that_never_gives_up_is_an_error(store, model, monkeypatch):
    target, rename = store.snapshots.path(model.tree_digest), Path.rename

    def overtaken(path, to):
        if to == target:
            target.mkdir()
            (target / "wrong").write_bytes(b"")
        return rename(path, to)

    monkeypatch.setattr(Path, "rename", overtaken)
    with pytest.raises(OSError, match="not empty"):
        store.snapshots.build(model, store.blobs.path)
    assert list(store.snapshots.building_folder.iterdir()) == []


def test_a_build_without_a_record_is_no_failure(store, model):
    store.snapshots.record_folder.parent.mkdir(parents=True, exist_ok=True)
    store.snapshots.record_folder.write_bytes(b"")
    store.snapshots.build(model, store.blobs.path)
    assert store.snapshots.state(model) is SnapshotState.INSTALLED


def test_discard(snapshot, store, model):
    store.snapshots.discard(model.tree_digest)
    assert store.snapshots.state(model) is SnapshotState.MISSING
    assert list(store.snapshots.record_folder.iterdir()) == []
    assert list(store.snapshots.building_folder.iterdir()) == []
    store.snapshots.discard(model.tree_digest)


def test_a_write_into_one_model_leaves_the_other_whole_or_found_out(snapshot, store, model):
    # Where the file system has no reflinks, both share the bytes: then both must be found out.
    other = replace(model, files=(model.files[0], replace(model.files[1], path="other.onnx")))
    store.snapshots.build(other, store.blobs.path)
    path = snapshot / "onnx" / "a.onnx"
    path.chmod(0o644)
    path.write_bytes(b"changed" * 1000)
    assert next(each.kind for each in store.snapshots.inspect(model, full=True)) == "changed"
    for state in (store.snapshots.state(other), store.snapshots.state(other)):
        shared = (store.snapshots.path(other.tree_digest) / "other.onnx").read_bytes() != b"weights" * 1000
        assert (state is SnapshotState.DAMAGED) == shared
    plan = store.plan([model])
    fetched = {file.sha256 for each in plan.models for file in each.fetch}
    assert fetched == ({model.files[1].sha256} if not store.blobs.is_whole(model.files[1].sha256, 7000) else set())


def test_an_unreadable_snapshot_is_an_error_and_no_yes(snapshot, store, model, monkeypatch):
    from vcm.core.manifest import Manifest
    from vcm.enforce.gate import inspect
    from vcm.errors import VcmError

    def refuse(path):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(VcmError, match="permission denied") as caught:
        inspect(model, Manifest(), store)
    assert caught.value.exit_code == 5


def test_many_files(store):
    content = b"x"
    digest = "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"
    store.blobs.prepare()
    store.blobs.path(digest).write_bytes(content)
    from vcm.core.lock import LockedModel

    files = tuple(LockedFile(f"{number % 7}/{number:04}", 1, digest) for number in range(500))
    many = LockedModel(name="many", source="url", url="https://h.example/x", files=files)
    store.snapshots.build(many, store.blobs.path)
    assert store.snapshots.inspect(many) == []


def test_a_file_that_the_disk_has_lost_is_damaged(snapshot, store, model, monkeypatch):
    from vcm.store import hashing

    read = hashing._read

    def fail(path, buffer, progress):
        if path.name == "config.json":
            raise OSError(errno.EIO, "Input/output error", str(path))
        return read(path, buffer, progress)

    monkeypatch.setattr(hashing, "_read", fail)
    (finding,) = store.snapshots.inspect(model, full=True)
    assert (finding.kind, finding.path, finding.actual) == ("changed", "config.json", "bytes that the disk cannot read")
    (planned,) = Store(store.root).plan([model]).models
    assert planned.state is SnapshotState.INSTALLED, "the quick look reads nothing"
    store.snapshots.forget(model.tree_digest)
    (planned,) = store.plan([model]).models
    assert [file.path for file in planned.keep] == ["onnx/a.onnx", "onnx/b.onnx"]
    assert [file.path for file in (*planned.fetch, *planned.reuse)] == ["config.json"]
