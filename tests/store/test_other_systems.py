"""The store on Windows and macOS, as far as a made-up file system can show it."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import pytest
from pyfakefs.fake_filesystem import FakeFilesystem, OSType
from pyfakefs.fake_filesystem_unittest import Patcher

from tests.conftest import oid_of
from vcm.core.lock import LockedFile, LockedModel
from vcm.core.plan import SnapshotState
from vcm.errors import VcmError
from vcm.store import files as store_files
from vcm.store.admitting import Claim, NotAsClaimedError, admit
from vcm.store.files import disk_errors
from vcm.store.store import Store

CONTENTS = {"config.json": b"{}\n", "onnx/a.onnx": b"weights" * 1000, "tokenizer/straße.txt": b"words"}


def digest_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


SYSTEMS = ["windows", "windows without links", "macos"]


@dataclass
class Made:
    """A store on the system that the file system pretends to be of, with one model installed."""

    store: Store
    model: LockedModel
    snapshot: Path

    def contents(self) -> dict[str, bytes]:
        return {
            path.relative_to(self.snapshot).as_posix(): path.read_bytes()
            for path in self.snapshot.rglob("*")
            if path.is_file()
        }


def refuse_links(*_: object) -> None:
    raise PermissionError(errno.EPERM, "Operation not permitted")


def keep_read_only_files(fs: FakeFilesystem, patches: pytest.MonkeyPatch) -> None:
    """As Windows does: nobody removes a read-only file, or puts another in its place."""
    remove, rename = fs.remove, fs.rename

    def check(path: Any) -> None:
        if fs.isfile(path) and not fs.stat(path).st_mode & stat.S_IWUSR:
            raise PermissionError(errno.EACCES, "Access is denied", str(path))

    def careful_remove(path: Any) -> None:
        check(path)
        remove(path)

    def careful_rename(old: Any, new: Any, force_replace: bool = False) -> None:
        check(new)
        rename(old, new, force_replace)

    patches.setattr(fs, "remove", careful_remove)
    patches.setattr(fs, "rename", careful_rename)


@contextmanager
def pretended(system: str) -> Iterator[Made]:
    """Not as a fixture: pytest must not tell of a failure in there."""
    with Patcher() as patcher, pytest.MonkeyPatch.context() as patches:
        assert patcher.fs is not None
        made_up = vars(store_files)["os"]
        # The made-up ioctl says yes to everything.
        patches.setattr(store_files, "_reflink", lambda *_: False)
        patcher.fs.os = OSType.MACOS if system == "macos" else OSType.WINDOWS
        if system != "macos":
            # What our modules see.
            patches.setattr(made_up, "name", "nt", raising=False)
            keep_read_only_files(patcher.fs, patches)
        if system.endswith("links"):
            patches.setattr(made_up, "link", refuse_links, raising=False)
        store = Store(Path("/Users/me/cache" if system == "macos" else "C:\\Users\\me\\cache"))
        store.blobs.prepare()
        files = tuple(LockedFile(path, len(data), put(store, data)) for path, data in CONTENTS.items())
        model = LockedModel(name="m", source="huggingface", repo="acme/m", commit="1" * 40, files=files)
        yield Made(store, model, store.snapshots.build(model, store.blobs.path))


def put(store: Store, data: bytes) -> str:
    sha256 = digest_of(data)
    partial = store.blobs.partial_folder / sha256
    partial.write_bytes(data)
    store.blobs.admit(partial, sha256)
    return sha256


def overwrite(path: Path, data: bytes) -> None:
    path.chmod(0o666)
    path.write_bytes(data)


@pytest.mark.parametrize("system", SYSTEMS)
def test_what_the_made_up_system_refuses(system: str) -> None:
    """What the other tests stand on."""
    with pretended(system) as made:
        blobs = made.store.blobs
        blob = blobs.path(digest_of(b"{}\n"))
        if system == "macos":
            assert Path(str(blob).upper()).exists()
        else:
            with pytest.raises(PermissionError):
                blob.unlink()
            with pytest.raises(OSError, match=r"(?i)exist"):
                blobs.folder.rename(blobs.partial_folder)
            with pytest.raises(PermissionError):
                os.open(blobs.folder, os.O_RDONLY)


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_snapshot(system: str) -> None:
    with pretended(system) as made:
        assert made.contents() == CONTENTS
        assert made.store.snapshots.inspect(made.model) == []
        assert made.store.snapshots.inspect(made.model, full=True) == []
        assert list(made.store.blobs.partial_folder.iterdir()) == []
        assert not any(path.stat().st_mode & stat.S_IWUSR for path in made.snapshot.rglob("*") if path.is_file())


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_blob_that_is_there_is_replaced(system: str) -> None:
    with pretended(system) as made:
        for data in CONTENTS.values():
            put(made.store, data)
        assert made.contents() == CONTENTS
        assert made.store.snapshots.state(made.model) is SnapshotState.INSTALLED


@pytest.mark.parametrize("system", SYSTEMS)
def test_blobs_and_snapshots_go_though_they_are_read_only(system: str) -> None:
    with pretended(system) as made:
        for file in made.model.files:
            made.store.blobs.discard(file.sha256)
        made.store.snapshots.discard(made.model.tree_digest)
        made.store.snapshots.discard(made.model.tree_digest)
        assert [path for path in made.store.root.rglob("*") if path.is_file()] == []
        assert made.store.snapshots.state(made.model) is SnapshotState.MISSING


def damage(snapshot: Path, kind: str) -> None:
    file, extra = snapshot / "onnx" / "a.onnx", snapshot / "onnx" / "more" / "extra.py"
    if kind == "changed":
        overwrite(file, b"x" * 7000)
        return
    if kind == "extra":
        extra.parent.mkdir()
        extra.write_bytes(b"import os")
        extra.chmod(0o444)
        return
    file.chmod(0o666)
    file.unlink()
    if kind == "folder":
        file.mkdir()
        (file / "x").write_bytes(b"")
        (file / "x").chmod(0o444)


# Building anew is taking away and building, which the tests above show of every system; repairing is its own work.
@pytest.mark.parametrize(("system", "way"), [("windows", "build"), *((system, "repair") for system in SYSTEMS)])
def test_what_is_damaged_is_put_right(system: str, way: str) -> None:
    with pretended(system) as made:
        store, model = made.store, made.model
        for kind in ("changed", "missing", "extra", "folder"):
            damage(made.snapshot, kind)
            store.snapshots.forget(model.tree_digest)
            assert store.snapshots.state(model) is SnapshotState.DAMAGED, kind
            # A linked file is the blob itself.
            for data in CONTENTS.values():
                if not store.blobs.is_whole(digest_of(data), len(data)):
                    store.blobs.discard(digest_of(data))
                    put(store, data)

            getattr(store.snapshots, way)(model, store.blobs.path)

            assert made.contents() == CONTENTS, kind
            assert store.snapshots.inspect(model, full=True) == [], kind
            assert list(store.blobs.partial_folder.iterdir()) == [], kind


@pytest.mark.parametrize("system", SYSTEMS)
def test_bytes_from_elsewhere(system: str) -> None:
    with pretended(system) as made:
        blobs = made.store.blobs
        source = made.store.root.parent / "hub" / "blob"
        source.parent.mkdir()
        source.write_bytes(b"data")
        taken = admit(blobs, source, Claim(digest_of(b"data"), oid_of(b"data"), 4), may_link=True)
        assert taken == (digest_of(b"data"), 4)
        assert blobs.path(digest_of(b"data")).read_bytes() == source.read_bytes() == b"data"
        if system != "macos":
            # There, nobody could delete it any more if it were read-only.
            assert not blobs.path(digest_of(b"data")).samefile(source)
            assert source.stat().st_mode & stat.S_IWUSR
        with pytest.raises(NotAsClaimedError):
            admit(blobs, source, Claim("0" * 64), may_link=True)
        assert list(blobs.partial_folder.iterdir()) == []


@pytest.fixture
def decomposing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system that keeps the letters of names taken apart, as that of old macOS disks does."""
    scan: Any = os.scandir

    class Scan:
        def __init__(self, folder: str) -> None:
            self._scan = scan(folder)

        def __enter__(self) -> Self:
            return self

        def __exit__(self, *_: object) -> None:
            self._scan.close()

        def __iter__(self) -> Iterator[Any]:
            for entry in self._scan:
                yield Entry(entry)

    class Entry:
        def __init__(self, entry: os.DirEntry[str]) -> None:
            self.name = unicodedata.normalize("NFD", entry.name)
            # Whatever way it is spelled, it is found.
            self.path = entry.path

    monkeypatch.setattr("vcm.store.snapshots.os.scandir", Scan)


@pytest.mark.usefixtures("decomposing")
def test_a_name_may_come_back_in_another_form_of_unicode(tmp_path: Path) -> None:
    store = Store(tmp_path / "cache")
    store.blobs.prepare()
    data = {"modèle/poids été.onnx": b"weights", "plain.txt": b"plain"}
    files = tuple(LockedFile(path, len(each), put(store, each)) for path, each in data.items())
    model = LockedModel(name="m", source="huggingface", repo="acme/m", commit="1" * 40, files=files)
    snapshot = store.snapshots.build(model, store.blobs.path)
    assert store.snapshots.inspect(model) == []
    assert store.snapshots.inspect(model, full=True) == []
    (snapshot / "plain.txt").unlink()
    assert [str(finding) for finding in store.snapshots.inspect(model)] == ["plain.txt: missing"]
    store.snapshots.repair(model, store.blobs.path)
    assert store.snapshots.inspect(model, full=True) == []


def test_elsewhere_another_form_of_a_name_is_another_file(tmp_path: Path) -> None:
    store = Store(tmp_path / "cache")
    store.blobs.prepare()
    file = LockedFile("été.onnx", 7, put(store, b"weights"))
    model = LockedModel(name="m", source="huggingface", repo="acme/m", commit="1" * 40, files=(file,))
    snapshot = store.snapshots.build(model, store.blobs.path)
    apart = snapshot / unicodedata.normalize("NFD", "été.onnx")
    (snapshot / "été.onnx").rename(apart)
    if (snapshot / "été.onnx").exists():
        pytest.skip("here, it is the same one")
    assert sorted(finding.kind for finding in store.snapshots.inspect(model)) == ["extra", "missing"]


@pytest.mark.parametrize(
    ("name", "length", "code", "is_long"),
    [("nt", 261, errno.ENOENT, True), ("nt", 200, errno.ENOENT, False), ("posix", 261, errno.ENOENT, False)],
)
def test_a_path_that_is_too_long_for_windows_is_called_so(
    name: str, length: int, code: int, is_long: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = "C:\\" + "x" * (length - 3)
    monkeypatch.setattr(store_files, "_on_windows", lambda: name == "nt")
    with pytest.raises(VcmError) as caught, disk_errors(tmp_path):
        raise OSError(code, os.strerror(code), path)
    if is_long:
        assert caught.value.message == f"cannot use {path}: 261 characters are more than this Windows allows"
        assert caught.value.hint == (
            "choose a folder with a shorter name with --cache-dir, or allow long paths in Windows (LongPathsEnabled)"
        )
    else:
        assert caught.value.message == f"cannot use {path}: no such file or directory"
