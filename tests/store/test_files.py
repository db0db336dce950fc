"""Files: the old or the new and never half of either; the disk's refusals in our words."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from pathlib import Path, PureWindowsPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vcm.core import names
from vcm.errors import DiskSpaceError, VcmError
from vcm.store import files
from vcm.store.files import copy_file, disk_errors, free_space, hash_file, link_file, remove_folder, replace_file
from vcm.store.project import Project, find_project


def test_replace(tmp_path):
    path = tmp_path / "models.lock"
    replace_file(path, b"one")
    assert path.read_bytes() == b"one"
    replace_file(path, b"two")
    assert path.read_bytes() == b"two"
    assert [each.name for each in tmp_path.iterdir()] == ["models.lock"]


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o664])
def test_replace_keeps_the_mode(mode, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    path.chmod(mode)
    replace_file(path, b"new")
    assert stat.S_IMODE(path.stat().st_mode) == mode


def test_replace_follows_a_link(tmp_path):
    (tmp_path / "real").mkdir()
    real = tmp_path / "real" / "models.toml"
    real.write_bytes(b"old")
    link = tmp_path / "models.toml"
    link.symlink_to(real)
    replace_file(link, b"new")
    assert link.is_symlink()
    assert real.read_bytes() == b"new"
    assert [each.name for each in (tmp_path / "real").iterdir()] == ["models.toml"]


@pytest.mark.parametrize("where", ["fsync", "replace", "write"])
def test_replace_that_fails_leaves_the_old(where, tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def fail(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    if where == "fsync":
        monkeypatch.setattr(os, "fsync", fail)
    elif where == "replace":
        monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises((OSError, TypeError)):
        replace_file(path, "no bytes" if where == "write" else b"new")  # type: ignore[arg-type]
    assert path.read_bytes() == b"old"
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


def test_replace_that_is_interrupted_leaves_the_old(tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        replace_file(path, b"new")
    assert path.read_bytes() == b"old"
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


def test_a_full_disk(fs):
    fs.set_disk_usage(1000)
    fs.create_file("/store/old", contents=b"old")
    fs.create_file("/store/filler", contents=b"x" * 990)
    with pytest.raises(DiskSpaceError) as caught, disk_errors(Path("/store")):
        replace_file(Path("/store/old"), b"x" * 500)
    assert str(caught.value) == "no space left for /store (7 B free)"
    assert caught.value.hint == (
        "free some space or choose another folder with --cache-dir, then run the command again"
    )
    assert (caught.value.error_code, caught.value.exit_code, caught.value.free) == ("INSUFFICIENT_SPACE", 5, 7)
    assert Path("/store/old").read_bytes() == b"old"
    assert sorted(os.listdir("/store")) == ["filler", "old"]  # noqa: PTH208  (the fake one)


REFUSALS = [
    (errno.EACCES, "permission denied"),
    (errno.EPERM, "permission denied"),
    (errno.EROFS, "the file system is read-only"),
    (errno.ENOTDIR, "not a directory"),
    (errno.EIO, "input/output error"),
    (errno.ENAMETOOLONG, "file name too long"),
    (errno.EMFILE, "too many open files"),
]


@pytest.mark.parametrize(("number", "reason"), REFUSALS)
def test_refusals(number, reason, tmp_path):
    with pytest.raises(VcmError) as caught, disk_errors(tmp_path):
        raise OSError(number, os.strerror(number), "/somewhere/file")
    assert str(caught.value) == f"cannot use /somewhere/file: {reason}"
    assert caught.value.hint == "check who owns it, or choose another folder with --cache-dir"
    assert (caught.value.error_code, caught.value.exit_code) == ("PERMISSION_ERROR", 5)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_no_space(number, tmp_path):
    with pytest.raises(DiskSpaceError) as caught, disk_errors(tmp_path / "not" / "there"):
        raise OSError(number, os.strerror(number))
    assert str(caught.value).startswith(f"no space left for {tmp_path}/not/there (")


def test_no_space_where_another_store_is_no_help(tmp_path):
    with pytest.raises(DiskSpaceError) as caught, disk_errors(tmp_path, hint="make the project's folder writable"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert caught.value.hint == "free some space, then run the command again"


def test_a_refusal_without_a_file_names_the_place(tmp_path):
    with pytest.raises(VcmError, match="cannot use ") as caught, disk_errors(tmp_path, "do this"):
        raise OSError(errno.EACCES, "Permission denied")
    assert str(caught.value) == f"cannot use {tmp_path}: permission denied"
    assert caught.value.hint == "do this"


def test_our_own_errors_pass(tmp_path):
    mine = VcmError("mine")
    with pytest.raises(VcmError) as caught, disk_errors(tmp_path):
        raise mine
    assert caught.value is mine


def test_a_folder_that_may_not_be_written(fs):
    from pyfakefs.helpers import set_uid

    fs.create_dir("/store")
    fs.chmod("/store", 0o555)
    set_uid(1000)
    try:
        with pytest.raises(VcmError) as caught, disk_errors(Path("/store")):
            replace_file(Path("/store/file"), b"x")
    finally:
        set_uid(0)
    assert caught.value.error_code == "PERMISSION_ERROR"
    assert str(caught.value).endswith(": permission denied")
    assert os.listdir("/store") == []  # noqa: PTH208  (the fake one)


def test_free_space(fs):
    fs.set_disk_usage(1000)
    fs.create_file("/store/file", contents=b"x" * 400)
    assert free_space(Path("/store")) == 600
    assert free_space(Path("/store/not/yet/there")) == 600


def test_hash(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"x" * 3_000_000)
    digest, size = hash_file(path)
    assert size == 3_000_000
    assert digest == hashlib.sha256(b"x" * 3_000_000).hexdigest()
    (tmp_path / "empty").touch()
    assert hash_file(tmp_path / "empty") == (
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        0,
    )


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "blob"
    path.write_bytes(b"bytes")
    path.chmod(0o444)
    return path


def test_link(source, tmp_path):
    target = tmp_path / "target"
    link_file(source, target)
    assert target.read_bytes() == b"bytes"
    assert not target.is_symlink()


@pytest.mark.parametrize("number", [errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP, errno.EACCES])
def test_link_falls_back_to_a_copy(number, source, tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(files, "_reflink", lambda *_: False)
    monkeypatch.setattr(os, "link", refuse)
    target = tmp_path / "target"
    link_file(source, target)
    assert target.read_bytes() == b"bytes"
    assert target.stat().st_ino != source.stat().st_ino
    assert stat.S_IMODE(target.stat().st_mode) == 0o444


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS])
def test_link_does_not_hide_a_full_disk(number, source, tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(files, "_reflink", lambda *_: False)
    monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(OSError, match=os.strerror(number)):
        link_file(source, tmp_path / "target")
    assert not (tmp_path / "target").exists()


@pytest.mark.parametrize(("number", "attempts"), [(errno.EOPNOTSUPP, 1), (errno.EXDEV, 1), (errno.EINVAL, 3)])
def test_that_a_file_system_has_no_reflinks_is_found_out_once(number, attempts, source, tmp_path, monkeypatch):
    # One file may be refused for what it is (EINVAL), which says nothing of the next.
    fcntl = pytest.importorskip("fcntl")
    asked = []

    def refuse(*_):
        asked.append(1)
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "ioctl", refuse)
    monkeypatch.setattr(files, "_without_reflinks", set())
    for each in "abc":
        link_file(source, tmp_path / each)
        assert (tmp_path / each).read_bytes() == b"bytes"
    assert len(asked) == attempts


def test_link_without_a_source(tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        link_file(tmp_path / "source", tmp_path / "target")
    assert caught.value.filename == str(tmp_path / "source")
    assert list(tmp_path.iterdir()) == []


def test_link_does_not_replace(source, tmp_path):
    target = tmp_path / "target"
    target.write_bytes(b"other")
    with pytest.raises(FileExistsError):
        link_file(source, target)
    with pytest.raises(FileExistsError):
        copy_file(source, target)
    assert target.read_bytes() == b"other"


def test_remove_folder(tmp_path):
    folder = tmp_path / "folder"
    (folder / "a").mkdir(parents=True)
    (folder / "a" / "b").write_bytes(b"")
    (folder / "a" / "b").chmod(0o444)
    (tmp_path / "outside").write_bytes(b"kept")
    (folder / "link").symlink_to(tmp_path / "outside")
    remove_folder(folder)
    remove_folder(folder)
    assert [each.name for each in tmp_path.iterdir()] == ["outside"]


def test_find_project(tmp_path, monkeypatch):
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    (tmp_path / "a" / "models.toml").touch()
    assert find_project(inner) == Project(tmp_path / "a")
    (inner / "models.toml").touch()
    assert find_project(inner) == Project(inner)
    monkeypatch.chdir(inner)
    assert find_project(Path()).folder == inner
    (tmp_path / "a" / "models.lock").touch()
    assert find_project(inner, "models.lock") == Project(tmp_path / "a")


def test_find_no_project(fs):
    fs.create_dir("/a/b")
    with pytest.raises(VcmError) as caught:
        find_project(Path("/a/b"))
    assert str(caught.value) == "no models.toml in /a/b or above it"
    assert caught.value.hint == "make one with vcm init, or name --project DIR"


def test_the_lock_is_not_written_twice(tmp_path):
    from vcm.core.lock import Lock

    project, lock = Project(tmp_path), Lock(manifest_sha256="0" * 64, models=())
    assert project.write_lock(lock)
    before = project.lock_path.stat()
    assert not project.write_lock(lock)
    assert project.lock_path.stat().st_ino == before.st_ino
    assert project.required_lock() == lock


@pytest.mark.parametrize(
    "path",
    [
        "con", "CON", "Aux.json", "a/nul", "com1.txt", "LPT9", "com¹", "a.", "a ", "a./b", "a /b", "a:b", "c:/x", "C:x",
        "a<b", "a>b", 'a"b', "a|b", "a?b", "a*b", "\\a", "a\\b", "\\\\server\\share", "/a", "//a", "a//b", "./a", "..",
        "a/..", "a/../b", "", "a\0", "a\nb", "a\x7f", "~", "~/a", "a" * 256, "a/" * 600 + "a", "\ud800",
    ],
)  # fmt: skip
def test_paths_that_not_every_system_can_hold(path):
    with pytest.raises(ValueError, match=r"."):
        names.portable_file_path(path)


@pytest.mark.parametrize(
    "path", ["a", "a/b.c", ".hidden", "a b", "console", "com10", "nul-1", "é/ü", "a~b", "..a", "a..b"]
)
def test_paths_that_every_system_can_hold(path):
    assert names.portable_file_path(path) == path


@given(
    st.text(max_size=40)
    | st.lists(st.sampled_from(["a", "..", ".", "C:", "con", "", "\\", " ", "b."]), max_size=5).map("/".join)
)
def test_an_accepted_path_stays_inside_on_windows(path):
    try:
        names.portable_file_path(path)
    except ValueError:
        return
    root = PureWindowsPath("C:\\cache\\snapshots\\digest")
    joined = root / path
    assert joined.is_relative_to(root)
    assert ".." not in joined.parts
    assert "/".join(joined.relative_to(root).parts) == path
    assert not any(PureWindowsPath(part).drive for part in path.split("/"))


@pytest.mark.parametrize(
    "paths",
    [
        ["a", "A"],
        ["a/b", "A/c"],
        ["a", "a/b"],
        ["A", "a/b"],
        ["é", "e\u0301"],
        ["ß", "SS"],
        ["x/a", "x/A"],
        ["a/b", "a"],
    ],
)
def test_paths_that_collide(paths):
    collision = names.first_collision(paths)
    assert collision is not None
    assert collision[1] == paths[1]
