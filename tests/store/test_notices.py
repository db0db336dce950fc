"""What is kept of the hub's notices for the gate."""

from __future__ import annotations

import json
import os

import pytest

from vcm.core.notices import Notice
from vcm.store.notices import read_notices, write_notices

HUB, OTHER = "https://hub.example", "https://other.example"
OLD, NEW = "1" * 40, "2" * 40
GATED = Notice("gated", "acme/m is gated")
DEPRECATED = Notice("deprecated", "acme/m is deprecated", replacement="acme/n")


@pytest.fixture
def file(cache):
    return cache / "hub-metadata" / "notices.json"


def test_what_is_written_is_read(cache, file):
    write_notices(cache, HUB, {("acme/m", OLD): (GATED, DEPRECATED), ("acme/n", NEW): ()})
    assert read_notices(cache) == {(HUB, "acme/m", OLD): (GATED, DEPRECATED)}
    assert json.loads(file.read_bytes()) == {
        HUB: {
            "acme/m": {
                OLD: [
                    {"kind": "gated", "message": "acme/m is gated"},
                    {"kind": "deprecated", "message": "acme/m is deprecated", "replacement": "acme/n"},
                ]
            }
        }
    }


def test_advice_for_one_project_is_not_kept(cache):
    write_notices(cache, HUB, {("acme/m", OLD): (Notice("gone", "gone", "run vcm lock --upgrade-model m"),)})
    assert read_notices(cache)[HUB, "acme/m", OLD] == (Notice("gone", "gone"),)


def test_others_notices_stay(cache):
    write_notices(cache, HUB, {("acme/m", OLD): (GATED,), ("acme/n", OLD): (GATED,)})
    write_notices(cache, OTHER, {("acme/m", OLD): (GATED,)})
    write_notices(cache, HUB, {("acme/m", NEW): (DEPRECATED,)})
    assert read_notices(cache) == {
        (HUB, "acme/m", NEW): (DEPRECATED,),
        (HUB, "acme/n", OLD): (GATED,),
        (OTHER, "acme/m", OLD): (GATED,),
    }


def test_two_commits_of_one_repo(cache):
    write_notices(cache, HUB, {("acme/m", OLD): (GATED,), ("acme/m", NEW): (DEPRECATED,)})
    assert read_notices(cache) == {(HUB, "acme/m", OLD): (GATED,), (HUB, "acme/m", NEW): (DEPRECATED,)}


def test_what_is_no_longer_so_is_forgotten(cache, file):
    write_notices(cache, HUB, {("acme/m", OLD): (GATED,)})
    write_notices(cache, HUB, {("acme/m", OLD): ()})
    assert read_notices(cache) == {}
    assert json.loads(file.read_bytes()) == {}


def test_nothing_to_say_writes_nothing(cache, file):
    write_notices(cache, HUB, {("acme/m", OLD): ()})
    assert not file.exists()
    write_notices(cache, HUB, {("acme/m", OLD): (GATED,)})
    before = file.stat().st_ino
    write_notices(cache, HUB, {("acme/m", OLD): (GATED,), ("acme/n", OLD): ()})
    assert file.stat().st_ino == before


def test_a_cache_that_cannot_be_written_keeps_none(cache):
    cache.write_text("in the way")
    write_notices(cache, HUB, {("acme/m", OLD): (GATED,)})
    assert read_notices(cache) == {}


def row(**keys: object) -> bytes:
    found = {"kind": "gated", "message": "words", **keys}
    return json.dumps({HUB: {"acme/m": {OLD: [found]}}}).encode()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"\xff",
        b"[]",
        b"null",
        b"[" * 100_000,
        b'{"https://hub.example": []}',
        b'{"https://hub.example": {"acme/m": 3}}',
        b'{"https://hub.example": {"acme/m": {"1": {}}}}',
        b'{"https://hub.example": {"acme/m": {"1": [3, null, {}]}}}',
        row(kind="new-kind"),
        row(kind=["gated"]),
        row(message=3),
        row(message="steers \x1b[2J the terminal"),
        row(message="long" * 1000),
        b" " * (1 << 20) + row(),
    ],
    ids=range(16),
)
def test_a_damaged_file_is_as_good_as_none(data, cache, file):
    file.parent.mkdir(parents=True)
    file.write_bytes(data)
    assert read_notices(cache) == {}
    write_notices(cache, HUB, {("acme/n", OLD): (GATED,)})
    assert read_notices(cache) == {(HUB, "acme/n", OLD): (GATED,)}


def test_a_damaged_row_leaves_the_others(cache, file):
    write_notices(cache, HUB, {("acme/m", OLD): (GATED,)})
    content = json.loads(file.read_bytes())
    content[HUB]["acme/m"][OLD] += [{"kind": "gone"}, {"kind": "gone", "message": "gone", "replacement": 3}]
    file.write_text(json.dumps(content))
    assert read_notices(cache)[HUB, "acme/m", OLD] == (GATED, Notice("gone", "gone"))


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such files")
def test_a_pipe_is_not_waited_for(cache, file):
    file.parent.mkdir(parents=True)
    os.mkfifo(file)
    assert read_notices(cache) == {}
