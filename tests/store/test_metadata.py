"""Kept answers: whatever happened to the file, what comes back is what was kept, or nothing."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vcm.core.metadata import KeptAnswer
from vcm.store.metadata import MetadataStore, _kept, _parsed, _text

ADDRESS = "https://hub.example/api/models/acme/frames/refs"
ANSWER = KeptAnswer(address=ADDRESS, fetched=1_800_000_000, body=b'{"tags": []}\n\n', etag='W/"5"', following=None)
AS_KEPT = _text(ANSWER)


@pytest.fixture
def answers(tmp_path):
    return MetadataStore(tmp_path / "cache")


def file_of(answers: MetadataStore, repo: str = "acme/frames"):
    (path,) = answers._folder(repo).iterdir()
    return path


def test_what_is_kept_comes_back(answers):
    assert answers.read("acme/frames", ADDRESS) is None
    assert answers.write("acme/frames", ANSWER)
    assert answers.read("acme/frames", ADDRESS) == ANSWER
    newer = replace(ANSWER, fetched=ANSWER.fetched + 1, following=f"{ADDRESS}?cursor=2")
    answers.write("acme/frames", newer)
    assert answers.read("acme/frames", ADDRESS) == newer
    assert answers.read("acme/frames", ADDRESS + "?") is None
    assert answers.read("acme/other", ADDRESS) is None


def test_one_answer_is_forgotten(answers):
    other = replace(ANSWER, address=f"{ADDRESS}?other")
    answers.forget("acme/frames", ADDRESS)
    answers.write("acme/frames", ANSWER)
    answers.write("acme/frames", other)
    answers.forget("acme/frames", ADDRESS)
    assert answers.read("acme/frames", ADDRESS) is None
    assert answers.read("acme/frames", other.address) == other


@given(
    st.builds(
        KeptAnswer,
        address=st.text(),
        fetched=st.integers(0, 1 << 40 - 1),
        body=st.binary(),
        etag=st.none() | st.text(),
        following=st.none() | st.text(),
        with_token=st.booleans(),
    )
)
def test_any_answer_survives(answer):
    assert _parsed(_text(answer)) == answer


@given(st.binary())
def test_any_other_bytes_are_no_answer(data):
    assert _parsed(data) is None


@given(st.integers(0, len(AS_KEPT) - 1), st.integers(0, 255))
def test_a_changed_byte_is_noticed(position, byte):
    changed = AS_KEPT[:position] + bytes([byte]) + AS_KEPT[position + 1 :]
    assert _parsed(changed) == (ANSWER if changed == AS_KEPT else None)


@given(st.integers(0, len(AS_KEPT) - 1), st.binary(max_size=3))
def test_a_cut_file_is_noticed(length, more):
    assert _parsed(AS_KEPT[:length] + more) == (ANSWER if AS_KEPT[:length] + more == AS_KEPT else None)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)
KEYS = st.sampled_from(["address", "fetched", "etag", "following", "with_token"])


@given(anything)
def test_a_digest_alone_makes_no_answer(value):
    rest = json.dumps(value).encode() + b"\n{}"
    assert _parsed(hashlib.sha256(rest).hexdigest().encode() + b"\n" + rest) is None


@given(st.dictionaries(KEYS, anything))
def test_a_foreign_entry_is_read_or_is_none(about):
    kept = _kept(about, b"")
    if kept is not None:
        assert _parsed(_text(kept)) == kept


@pytest.mark.parametrize("data", [b"", b"\n", b"\0" * 100, AS_KEPT[:-1], AS_KEPT + b" ", b"[" * 100_000])
def test_a_damaged_file_is_a_miss_and_is_replaced(answers, data):
    answers.write("acme/frames", ANSWER)
    file_of(answers).write_bytes(data)
    assert answers.read("acme/frames", ADDRESS) is None
    answers.write("acme/frames", ANSWER)
    assert answers.read("acme/frames", ADDRESS) == ANSWER


def test_an_answer_under_another_name_is_a_miss(answers):
    other = replace(ANSWER, address=f"{ADDRESS}?other")
    answers.write("acme/frames", ANSWER)
    path = file_of(answers)
    answers.write("acme/frames", other)
    (name,) = {each for each in path.parent.iterdir() if each != path}
    path.write_bytes(name.read_bytes())
    assert answers.read("acme/frames", ADDRESS) is None
    assert answers.read("acme/frames", other.address) == other


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such files there")
def test_what_is_no_file_is_a_miss(answers):
    answers.write("acme/frames", ANSWER)
    path = file_of(answers)
    path.unlink()
    os.mkfifo(path)
    assert answers.read("acme/frames", ADDRESS) is None
    path.unlink()
    path.mkdir()
    assert answers.read("acme/frames", ADDRESS) is None
    answers.write("acme/frames", ANSWER)
    assert answers.read("acme/frames", ADDRESS) is None
    path.rmdir()
    path.symlink_to(path)
    assert answers.read("acme/frames", ADDRESS) is None


def test_a_file_longer_than_any_answer_is_not_read(answers):
    answers.write("acme/frames", ANSWER)
    with file_of(answers).open("r+b") as stream:
        stream.truncate(1 << 40)
    assert answers.read("acme/frames", ADDRESS) is None


def test_a_folder_that_cannot_be_written_is_no_error(tmp_path):
    (tmp_path / "file").write_bytes(b"precious")
    answers = MetadataStore(tmp_path / "file")
    assert not answers.write("acme/frames", ANSWER)
    assert answers.read("acme/frames", ADDRESS) is None
    answers.clear()
    answers.clear("acme/frames")
    answers.forget("acme/frames", ADDRESS)
    assert (tmp_path / "file").read_bytes() == b"precious"


def test_one_repo_is_forgotten_or_all(answers):
    for repo in ("acme/frames", "acme/other", "legacy"):
        answers.write(repo, ANSWER)
    answers.clear("acme/frames")
    assert [answers.read(repo, ADDRESS) for repo in ("acme/frames", "acme/other", "legacy")] == [None, ANSWER, ANSWER]
    (answers.folder / "git-blobs").write_text("no answer of the hub")
    answers.clear()
    assert [answers.read(repo, ADDRESS) for repo in ("acme/frames", "acme/other", "legacy")] == [None] * 3
    assert [path.name for path in answers.folder.iterdir()] == ["git-blobs"]
    answers.clear()


@pytest.mark.parametrize(
    "repo", ["..", ".", "../..", "/etc", "a\\b", "c:", "a\0b", "\ud800", "x" * 300, "", "a/../../b"]
)
def test_no_name_leads_out_of_the_cache(answers, tmp_path, repo):
    assert answers._folder(repo).parent == answers.folder
    answers.write(repo, ANSWER)
    answers.clear(repo)
    answers.write(repo, ANSWER)
    assert {path.relative_to(tmp_path).parts[:2] for path in tmp_path.rglob("*") if path.is_file()} <= {
        ("cache", "hub-metadata")
    }


WRITER = """
import sys
from pathlib import Path
from vcm.core.metadata import KeptAnswer
from vcm.store.metadata import MetadataStore

store, mark = MetadataStore(Path(sys.argv[1])), sys.argv[2]
seen = 0
for number in range(150):
    body = mark.encode() * (1 + number * 37 % 5000)
    store.write("acme/frames", KeptAnswer(address="a", fetched=number, body=body))
    if number % 50 == 0:
        store.clear("acme/frames")
    found = store.read("acme/frames", "a")
    if found is not None:
        seen += 1
        assert len(set(found.body)) == 1 and len(found.body) == 1 + found.fetched * 37 % 5000, found
assert seen
"""


def test_processes_share_one_cache(tmp_path):
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, tmp_path / "cache", mark], stderr=subprocess.PIPE, text=True)
        for mark in "abcd"
    ]
    for each in writers:
        assert (each.communicate(timeout=60)[1], each.returncode) == ("", 0)
    assert [path.name for path in (tmp_path / "cache" / "hub-metadata").rglob(".*")] == []
