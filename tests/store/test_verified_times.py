"""How long ago a file was hashed: told for each file, and never later than it was."""

from __future__ import annotations

import json
import os
import shutil
import time

import pytest

from tests.conftest import Notes
from vcm.store.store import Store

HOUR = 3600
DAY = 24 * HOUR


@pytest.fixture
def reads(store, model):
    """Which files a look has read; None where it found something wrong."""

    def look(**options):
        notes = Notes()
        findings = Store(store.root).snapshots.inspect_all([model], reporter=notes, **options)
        return None if findings != [[]] else sorted(path.removeprefix("frames/") for path in notes.progress)

    return look


@pytest.fixture
def times(store, model):
    """When each file was verified, as recorded; given other times, records those."""
    record = store.snapshots.record_folder / f"{model.tree_digest}.json"

    def look(**changes):
        rows = json.loads(record.read_bytes())
        for path, row in rows.items():
            if "every" in changes:
                row[3:] = [] if changes["every"] is None else [changes["every"]]
            elif path in changes.get("some", {}):
                row[3] = changes["some"][path]
        record.write_text(json.dumps(rows))
        return {path: row[3] if len(row) > 3 else None for path, row in rows.items()}

    return look


ALL = ["config.json", "onnx/a.onnx", "onnx/b.onnx"]


def now() -> int:
    return int(time.time())


def test_absurd_ages_and_times_make_no_difference_to_what_is_right(snapshot, times, reads):
    forever, never = 10**400, -(10**400)
    assert reads(max_age=forever) == reads(max_age=float("inf")) == []
    assert reads(max_age=never) == reads(max_age=float("nan")) == reads(max_age=-1) == ALL
    times_of_no_clock: list[object] = [forever, never, -1, 0.5, "now", None, [], True]
    for absurd in times_of_no_clock:
        times(some=dict.fromkeys(ALL, absurd))
        assert reads(max_age=HOUR) == ALL


def test_a_new_snapshot_was_verified_when_it_was_built(snapshot, times, reads):
    assert set(times()) == set(ALL)
    assert all(now() - 60 < each <= now() for each in times().values())
    assert reads(max_age=HOUR) == []


def test_what_was_verified_longer_ago_is_hashed_and_that_is_recorded(snapshot, times, reads):
    times(every=now() - DAY)
    assert reads() == []
    assert reads(max_age=2 * DAY) == []
    assert reads(max_age=HOUR) == ALL
    assert all(now() - 60 < each for each in times().values())
    assert reads(max_age=HOUR) == []


def test_a_file_that_is_hashed_says_nothing_of_the_others(snapshot, times, reads):
    times(every=now() - DAY)
    os.utime(snapshot / "config.json", ns=(1, 1))
    assert reads() == ["config.json"]
    found = times()
    assert found.pop("config.json") > now() - 60
    assert all(each <= now() - DAY for each in found.values())
    assert reads(max_age=HOUR) == ["onnx/a.onnx", "onnx/b.onnx"]


def test_only_the_files_that_are_due_are_hashed(snapshot, times, reads):
    times(some={"onnx/b.onnx": now() - DAY})
    assert reads(max_age=HOUR) == ["onnx/b.onnx"]


def test_a_mended_file_says_nothing_of_the_others(snapshot, store, model, times, reads):
    times(every=now() - DAY)
    (snapshot / "config.json").unlink()
    store.snapshots.repair(model, store.blobs.path)
    found = times()
    assert [path for path, verified in found.items() if verified <= now() - DAY] == ["onnx/a.onnx", "onnx/b.onnx"]
    assert reads() == []
    assert reads(max_age=HOUR) == ["onnx/a.onnx", "onnx/b.onnx"]


def test_a_clock_that_was_set_back_keeps_nothing_alive(snapshot, times, reads):
    times(every=now() + DAY)
    assert reads() == []
    assert reads(max_age=10 * DAY) == ALL
    assert reads(max_age=10 * DAY) == []


@pytest.mark.parametrize("verified", [None, "2020", 1.5, True, [], 10**400, -(10**400)])
def test_a_time_that_is_none(verified, snapshot, times, reads):
    times(every=verified)
    assert reads() == []
    assert reads(max_age=HOUR) == ALL
    assert reads(max_age=HOUR) == []


@pytest.mark.parametrize("max_age", [0, -1, float("nan"), float("-inf")])
def test_no_age_is_no_trust(max_age, snapshot, reads):
    assert reads(max_age=max_age) == ALL
    assert reads(max_age=max_age) == ALL


def test_any_age_is_the_quick_look(snapshot, times, reads):
    times(every=1)
    assert reads(max_age=float("inf")) == []


def test_a_look_at_every_byte_is_recorded(snapshot, times, reads):
    times(every=now() - DAY)
    assert reads(full=True) == ALL
    assert reads(max_age=HOUR) == []


def test_damage_is_found_when_its_time_has_come_and_is_not_recorded(snapshot, times, reads):
    path = snapshot / "config.json"
    before = path.stat()
    path.chmod(0o644)
    path.write_bytes(b"[]\n")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    times(every=now() - DAY)
    assert reads() == []
    assert reads(max_age=HOUR) is None
    assert all(each <= now() - DAY for each in times().values())
    assert reads(max_age=HOUR) is None


def test_where_nothing_can_be_recorded_it_is_hashed_each_time(snapshot, store, times, reads):
    shutil.rmtree(store.snapshots.record_folder)
    store.snapshots.record_folder.write_bytes(b"")
    assert reads(max_age=HOUR) == ALL
    assert reads(max_age=HOUR) == ALL


def test_what_a_long_run_has_read_is_as_old_as_the_run(store, model, snapshot, times):
    """What the hasher of an old store remembers was read at some time since the store was opened."""
    long_run = Store(store.root)
    assert long_run.snapshots.inspect(model, full=True) == []
    long_run.snapshots._opened -= DAY
    (store.snapshots.record_folder / f"{model.tree_digest}.json").unlink()
    assert long_run.snapshots.inspect(model) == []
    assert all(each <= now() - DAY for each in times().values())
