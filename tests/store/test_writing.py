"""A file that grows: durable in steps, and bytes that could not be made durable are not kept."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from vcm.store import writing
from vcm.store.writing import GrowingFile


@pytest.fixture
def path(tmp_path, monkeypatch):
    """Where it grows; every ten bytes are flushed."""
    monkeypatch.setattr(writing, "_STEP", 10)
    return tmp_path / "file"


@pytest.fixture
def broken(monkeypatch):
    """The disk takes nothing any more."""

    def refuse(descriptor):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    return lambda: monkeypatch.setattr(os, "fsync", refuse)


def content(path: Path) -> bytes:
    with GrowingFile(path) as file:
        buffer = memoryview(bytearray(1000))
        return bytes(buffer[: file.read_into(buffer)])


def test_it_grows_and_goes_on_where_it_ended(path):
    for part in (b"first ", b"second, which is longer than a step ", b"third"):
        with GrowingFile(path) as file:
            buffer = memoryview(bytearray(1000))
            while file.read_into(buffer):
                pass
            file.write(memoryview(part))
            file.write(memoryview(b""))
            file.sync()
    assert path.read_bytes() == b"first second, which is longer than a step third"


def test_it_begins_anew(path):
    with GrowingFile(path) as file:
        file.write(memoryview(b"wrong bytes, more than there will be"))
        file.clear()
        file.write(memoryview(b"right"))
        file.sync()
    assert content(path) == b"right"


def test_what_cannot_be_made_durable_at_the_end_is_not_kept(path, broken):
    with GrowingFile(path) as file:
        file.write(memoryview(b"bytes"))
        broken()
        with pytest.raises(OSError, match=os.strerror(errno.EIO)):
            file.sync()
    assert content(path) == b""


def test_what_cannot_be_made_durable_on_the_way_is_told_by_the_next_call(path, broken):
    broken()
    file = GrowingFile(path)
    file.write(memoryview(b"more than ten bytes"))
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        file.sync()
    file.close()
    assert content(path) == b""


def test_nor_is_it_kept_where_there_is_no_next_call(path, broken):
    broken()
    with GrowingFile(path) as file:
        file.write(memoryview(b"more than ten bytes"))
    file.close()
    assert content(path) == b""


@pytest.mark.skipif(os.name == "nt", reason="no such links, and no pipes in folders")
@pytest.mark.parametrize("make", [os.symlink, os.link, lambda _, path: os.mkfifo(path)])
def test_what_is_no_file_of_its_own_is_left_alone(path, tmp_path, make):
    other = tmp_path / "other"
    other.write_bytes(b"somebody else's")
    make(other, path)
    with GrowingFile(path) as file:
        assert file.read_into(memoryview(bytearray(10))) == 0
        file.write(memoryview(b"ours"))
        file.clear()
        file.write(memoryview(b"ours"))
    assert content(path) == b"ours"
    assert other.read_bytes() == b"somebody else's"


@pytest.mark.skipif(not hasattr(os, "posix_fadvise"), reason="no advice here")
def test_a_file_system_that_takes_no_advice_loses_nothing(path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    monkeypatch.setattr(os, "posix_fadvise", refuse)
    with GrowingFile(path) as file:
        file.write(memoryview(b"more than ten bytes"))
        file.sync()
    assert content(path) == b"more than ten bytes"
