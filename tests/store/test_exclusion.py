"""Keeping others out, and noticing where that is not possible."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path
from threading import Event, Timer

import pytest

from vcm.store import exclusion
from vcm.store.blobs import BlobStore
from vcm.store.exclusion import NoLocksError, locks_work

WAYS = {"flock": exclusion.try_lock, "filelock": exclusion._by_filelock}
DIGEST = "0" * 64


@pytest.fixture(params=WAYS)
def try_lock(request, monkeypatch):
    monkeypatch.setattr(exclusion, "try_lock", WAYS[request.param])
    return WAYS[request.param]


def refuse(*_):
    raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))


def test_a_lock_keeps_a_second_one_out(try_lock, tmp_path):
    path = tmp_path / "x.lock"
    release = try_lock(path)
    assert release is not None
    assert try_lock(path) is None
    release()
    again = try_lock(path)
    assert again is not None
    again()


def test_it_is_waited_for(try_lock, tmp_path):
    path = tmp_path / "made" / "x.lock"
    release = exclusion.lock(path)
    with pytest.raises(TimeoutError):
        exclusion.lock(path, patience=0.03)
    cancelled = Event()
    cancelled.set()
    with pytest.raises(KeyboardInterrupt):
        exclusion.lock(path, cancelled)
    Timer(0.05, release).start()
    exclusion.lock(path)()


def test_locks_work_here(try_lock, tmp_path):
    assert locks_work(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_lock_whose_file_is_gone_is_no_lock(tmp_path, monkeypatch):
    path = tmp_path / "x.lock"
    flock = fcntl.flock

    def too_late(descriptor, operation):
        path.unlink()
        flock(descriptor, operation)

    with monkeypatch.context() as patched:
        patched.setattr(fcntl, "flock", too_late)
        assert exclusion.try_lock(path) is None
    release = exclusion.try_lock(path)
    assert release is not None
    release()


def test_no_descriptor_is_left_open(tmp_path, monkeypatch):
    before = os.listdir("/proc/self/fd")  # noqa: PTH208
    release = exclusion.try_lock(tmp_path / "x.lock")
    assert release is not None
    assert exclusion.try_lock(tmp_path / "x.lock") is None
    release()
    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(NoLocksError):
        exclusion.try_lock(tmp_path / "x.lock")
    assert os.listdir("/proc/self/fd") == before  # noqa: PTH208


@pytest.mark.parametrize("flock", [refuse, lambda *_: None], ids=["refused", "nothing"])
def test_locks_that_do_not_work_are_noticed(flock, tmp_path, monkeypatch):
    monkeypatch.setattr(fcntl, "flock", flock)
    assert not locks_work(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_another_matter(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(NotADirectoryError):
        locks_work(tmp_path / "file")


def test_without_locks_nobody_is_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr(fcntl, "flock", refuse)
    for release in (exclusion.lock(tmp_path / "x.lock"), exclusion.lock(tmp_path / "x.lock")):
        release()


def test_without_locks_nobody_waits_and_nobody_shares_a_partial_file(tmp_path, monkeypatch):
    monkeypatch.setattr(fcntl, "flock", lambda *_: None)
    one, other = BlobStore(tmp_path), BlobStore(tmp_path)
    with one.exclusive(DIGEST), other.exclusive(DIGEST):
        assert one.partial_path(DIGEST) != other.partial_path(DIGEST)
        assert one.partial_path(DIGEST) != one.partial_path(DIGEST)
    assert list(one.partial_folder.iterdir()) == []


def test_it_is_found_out_once(tmp_path, monkeypatch):
    asked: list[Path] = []

    def ask(folder: Path) -> bool:
        asked.append(folder)
        return True

    monkeypatch.setattr("vcm.store.blobs.locks_work", ask)
    blobs = BlobStore(tmp_path)
    for _ in range(3):
        with blobs.exclusive(DIGEST):
            assert blobs.partial_path(DIGEST) == tmp_path / "partial" / DIGEST
    assert asked == [tmp_path / "partial"]


def test_a_folder_that_is_cleaned_away_meanwhile_is_made_again(tmp_path):
    blobs = BlobStore(tmp_path)
    assert blobs.can_exclude
    blobs.partial_folder.rmdir()
    with blobs.exclusive(DIGEST):
        assert blobs.partial_folder.is_dir()
