"""Many files hashed at once: each once, told of, and ended at will."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from pathlib import Path
from threading import Event

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conftest import Notes
from vcm.store.hashing import WORTH_TELLING, Hasher, Job


def digest_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def put(tmp_path):
    def write(name: str, data: bytes) -> Job:
        (tmp_path / name).write_bytes(data)
        return (f"m/{name}", tmp_path / name)

    return write


def sparse(path: Path, size: int) -> Job:
    with path.open("wb") as stream:
        stream.truncate(size)
    return (path.name, path)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.binary(max_size=5), max_size=8), st.booleans())
def test_each_answer_stands_where_its_file_does(tmp_path_factory, contents, anew):
    folder = tmp_path_factory.mktemp("files")
    jobs = []
    for number, content in enumerate(contents):
        path = folder / str(number)
        path.write_bytes(content)
        jobs.append((path.name, path))
    hasher = Hasher()
    for _ in range(2):
        assert hasher.digests(jobs, anew=anew) == [digest_of(content) for content in contents]


def test_what_cannot_be_read_is_said_in_its_place(put, tmp_path):
    good = put("good", b"good")
    gone, folder = ("gone", tmp_path / "gone"), ("folder", tmp_path)
    first, second, third = Hasher().digests([gone, good, folder])
    assert isinstance(first, FileNotFoundError)
    assert second == digest_of(b"good")
    assert isinstance(third, IsADirectoryError)


def test_a_file_under_two_names_is_read_once(put, tmp_path):
    one = put("one", b"x" * 1000)
    os.link(one[1], tmp_path / "two")
    two = ("m/two", tmp_path / "two")
    notes, read = Notes(), list[Path]()
    hasher = Hasher()
    notes.on_advance = lambda: read.append(tmp_path)
    assert hasher.digests([one, two], notes) == [digest_of(b"x" * 1000)] * 2
    # Both are told of: the total is that of the files.
    assert notes.progress == {"m/one": 1000, "m/two": 1000}
    assert hasher.known(two[1]) == digest_of(b"x" * 1000)


def test_what_was_read_is_known_until_it_changes(put):
    job, notes = put("file", b"before"), Notes()
    hasher = Hasher()
    hasher.digests([job], notes)
    hasher.digests([job], notes)
    assert hasher.digest(job[1]) == digest_of(b"before")
    assert notes.progress == {"m/file": 6}
    hasher.digests([job], notes, anew=True)
    assert notes.progress == {"m/file": 12}
    os.utime(job[1], ns=(1, 1))
    assert hasher.known(job[1]) is None
    job[1].write_bytes(b"after!")
    assert hasher.digest(job[1]) == digest_of(b"after!")


def test_a_name_that_leads_elsewhere_by_then_is_read_itself(put, tmp_path):
    # Two names of one file; while the first is read, somebody gives the second other bytes.
    one = put("one", b"good" * 1000)
    two = ("m/two", tmp_path / "two")
    os.link(one[1], two[1])
    notes = Notes()

    def swap() -> None:
        notes.on_advance = lambda: None
        one[1].unlink()
        one[1].write_bytes(b"evil" * 1000)

    notes.on_advance = swap
    hasher = Hasher()
    hasher.digests([one, two], notes)
    assert hasher.digests([one, two]) == [digest_of(b"evil" * 1000), digest_of(b"good" * 1000)]


def test_large_files_are_read_at_once_and_the_largest_first(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    jobs = [sparse(tmp_path / str(size), size << 20) for size in (5, 40, 6, 39)]
    notes, threads, order = Notes(), set[int](), list[str]()
    begun = notes.file_started

    def started(label: str, size: int, already: int) -> None:
        order.append(label)
        threads.add(threading.get_ident())
        begun(label, size, already)

    monkeypatch.setattr(notes, "file_started", started)
    found = Hasher().digests(jobs, notes, announced=True)
    assert found == [digest_of(bytes(size << 20)) for size in (5, 40, 6, 39)]
    assert len(threads) == 2
    assert sorted(order[:2]) == ["39", "40"]
    assert notes.progress == {"5": 5 << 20, "40": 40 << 20, "6": 6 << 20, "39": 39 << 20}
    assert sorted(notes.finished_files) == sorted(order)
    assert notes.tasks == []


def test_little_work_needs_no_thread(put, monkeypatch):
    def refuse(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr("concurrent.futures.ThreadPoolExecutor", refuse)
    jobs = [put(str(number), b"x" * number) for number in range(100)]
    notes = Notes()
    Hasher().digests(jobs, notes)
    assert (notes.tasks, notes.finished_files) == ([], [])


@pytest.mark.parametrize(
    ("size", "announced", "tasks"),
    [
        (WORTH_TELLING - 1, False, []),
        (WORTH_TELLING, False, [("hashing 1 file", WORTH_TELLING)]),
        (WORTH_TELLING, True, []),
    ],
)
def test_what_takes_a_while_is_announced(size, announced, tasks, tmp_path):
    notes = Notes()
    Hasher().digests([sparse(tmp_path / "large", size)], notes, announced=announced)
    assert (notes.tasks, notes.ends) == (tasks, len(tasks))
    assert (notes.progress["large"], notes.finished_files) == (size, ["large"])


def test_what_is_announced_is_what_is_told_of(tmp_path):
    jobs = [sparse(tmp_path / "one", WORTH_TELLING), ("two", tmp_path / "two")]
    os.link(tmp_path / "one", tmp_path / "two")
    notes = Notes()
    Hasher().digests(jobs, notes)
    assert notes.tasks == [("hashing 2 files", 2 * WORTH_TELLING)]
    assert sum(notes.progress.values()) == 2 * WORTH_TELLING


@pytest.mark.parametrize("how", ["cancelled", "ctrl-c"])
def test_it_ends_at_once_when_it_is_called_off(how, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 3)
    jobs = [sparse(tmp_path / str(number), 1 << 33) for number in range(4)]  # 34 GB that take no room
    cancelled, notes, main = Event(), Notes(), threading.current_thread()

    def end() -> None:
        if how == "cancelled":
            cancelled.set()
        elif threading.current_thread() is main:
            raise KeyboardInterrupt

    notes.on_advance = end
    before = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        Hasher().digests(jobs, notes, cancelled)
    assert time.monotonic() - before < 10
    deadline = time.monotonic() + 20
    while any(thread.name.startswith("vcm-hash") for thread in threading.enumerate()):
        assert time.monotonic() < deadline, "the other threads stop, too"
        time.sleep(0.01)
