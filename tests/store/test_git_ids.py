"""Git blob ids: found again, over runs and processes, and believed by nobody."""

from __future__ import annotations

import hashlib
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vcm.core.digest import git_blob_hash
from vcm.store.git_ids import GitIds, digest_of

OID, SHA256 = "a" * 40, "b" * 64


def test_a_pair_is_found_by_the_next_run(tmp_path: Path) -> None:
    GitIds(tmp_path).add(OID, SHA256, 12)
    later = GitIds(tmp_path)
    assert later.find(OID, 12) == SHA256
    assert later.find(OID, 13) is None
    assert later.find("c" * 40, 12) is None


def test_a_pair_is_written_once(tmp_path: Path) -> None:
    for _ in range(2):
        ids = GitIds(tmp_path)
        ids.add(OID, SHA256, 12)
        ids.add(OID, SHA256, 12)
    assert ids.path.read_text() == f"{OID} {SHA256} 12\n"


def test_what_several_runs_write_at_once_is_all_there(tmp_path: Path) -> None:
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for attempt in range(60):
            folder = tmp_path / str(attempt)
            runs = [GitIds(folder) for _ in range(8)]

            def write(number: int, runs: list[GitIds] = runs) -> None:
                for each in range(3):
                    runs[number].add(f"{number:020x}{each:020x}", SHA256, each)

            with ThreadPoolExecutor(8) as pool:
                list(pool.map(write, range(8)))
            later = GitIds(folder)
            assert all(later.find(f"{number:020x}{each:020x}", each) for number in range(8) for each in range(3))
    finally:
        sys.setswitchinterval(interval)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(before=st.binary(max_size=200), after=st.binary(max_size=200))
def test_damage_costs_nothing_but_the_damaged_lines(tmp_path: Path, before: bytes, after: bytes) -> None:
    ids = GitIds(tmp_path)
    ids.path.parent.mkdir(exist_ok=True)
    ids.path.write_bytes(before + f"\n{OID} {SHA256} 12\n".encode() + after)
    assert ids.find(OID, 12) == SHA256


def test_a_folder_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "hub-metadata").write_text("a file, where the folder should be")
    ids = GitIds(tmp_path)
    ids.add(OID, SHA256, 12)
    assert ids.find(OID, 12) == SHA256, "within the run it is known"
    assert GitIds(tmp_path).find(OID, 12) is None


def test_a_file_that_is_too_long_is_begun_anew(tmp_path: Path) -> None:
    ids = GitIds(tmp_path)
    ids.path.parent.mkdir()
    ids.path.write_text(f"{OID} {SHA256} 12\n")
    with ids.path.open("r+b") as stream:
        stream.truncate(1 << 40)
    assert ids.find(OID, 12) is None
    ids.add(OID, SHA256, 12)
    assert ids.path.read_text() == f"{OID} {SHA256} 12\n"


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such files there")
def test_what_is_no_file_keeps_nobody_waiting(tmp_path: Path) -> None:
    ids = GitIds(tmp_path)
    ids.path.parent.mkdir()
    os.mkfifo(ids.path)
    assert ids.find(OID, 12) is None
    ids.add(OID, SHA256, 12)
    assert GitIds(tmp_path).find(OID, 12) == SHA256
    ids.path.unlink()
    ids.path.mkdir()
    again = GitIds(tmp_path)
    again.add(OID, SHA256, 12)
    assert again.find(OID, 12) == SHA256
    assert GitIds(tmp_path).find(OID, 12) is None


def test_the_digest_of_a_file_with_a_git_blob_id(tmp_path: Path) -> None:
    data = b"x" * 3_000_000
    (tmp_path / "file").write_bytes(data)
    git = git_blob_hash(len(data))
    git.update(data)
    oid = git.hexdigest()
    assert digest_of(tmp_path / "file", oid, len(data)) == hashlib.sha256(data).hexdigest()
    assert digest_of(tmp_path / "file", OID, len(data)) is None
    assert digest_of(tmp_path / "file", oid, len(data) + 1) is None
    assert digest_of(tmp_path / "absent", oid, 1) is None
    assert digest_of(tmp_path, oid, 1) is None
