"""How far a program trusts files that look unchanged: ``full`` and ``max_age``."""

from __future__ import annotations

import json
import os
import subprocess
import time
from datetime import timedelta
from pathlib import Path

import pytest

import vcm as package

DAY = 24 * 3600
ASKING = [package.gate, lambda **options: package.require("frames", **options)]


@pytest.fixture
def unseen(installed):
    """A byte of the snapshot is another one, and nothing of the file tells."""
    path = installed / "config.json"
    before = path.stat()
    path.chmod(0o644)
    path.write_bytes(b"[]\n")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    package.gate()
    return path


@pytest.fixture
def record(installed, cache):
    return cache / "verified" / f"{installed.name}.json"


def verified(record: Path) -> list[int]:
    return [row[3] for row in json.loads(record.read_bytes()).values()]


def backdate(record: Path, seconds: float) -> None:
    rows = json.loads(record.read_bytes())
    for row in rows.values():
        row[3] -= seconds
    record.write_text(json.dumps(rows))


@pytest.mark.parametrize("ask", ASKING)
def test_every_byte(ask, unseen, refusal):
    ask()
    found = refusal(ask, full=True)
    assert found[:2] == ("ModelChecksumError", "CHECKSUM_MISMATCH")
    assert found[2].startswith("frames: not what is locked: config.json: expected sha256:ca3d163b")
    assert refusal(ask, full=True, max_age=DAY) == found


@pytest.mark.parametrize("ask", ASKING)
@pytest.mark.parametrize("day", [DAY, float(DAY), timedelta(days=1)])
def test_what_was_hashed_too_long_ago(ask, day, unseen, record, refusal):
    backdate(record, DAY - 60)
    ask(max_age=day)
    backdate(record, 120)
    ask()
    assert refusal(ask, max_age=day)[1] == "CHECKSUM_MISMATCH"


@pytest.mark.parametrize("ask", ASKING)
def test_that_it_was_hashed_is_recorded(ask, record):
    backdate(record, 2 * DAY)
    ask()
    assert max(verified(record)) < time.time() - DAY
    ask(max_age=DAY)
    assert min(verified(record)) > time.time() - 60
    backdate(record, 2 * DAY)
    ask(full=True)
    assert min(verified(record)) > time.time() - 60


def test_syncing_and_verifying_are_recorded_too(record, vcm):
    assert min(verified(record)) > time.time() - 60
    backdate(record, 2 * DAY)
    assert vcm("check").code == vcm("sync").code == 0
    assert max(verified(record)) < time.time() - DAY
    assert vcm("verify").code == 0
    assert min(verified(record)) > time.time() - 60


def test_a_record_of_an_older_vcm_says_nothing_of_when(record, unseen, refusal):
    rows = json.loads(record.read_bytes())
    record.write_text(json.dumps({path: row[:3] for path, row in rows.items()}))
    package.gate()
    assert refusal(package.gate, max_age=10 * 365 * DAY)[1] == "CHECKSUM_MISMATCH"


def test_an_age_that_is_none(installed, refusal):
    assert refusal(package.gate, max_age="7 days") == (
        "ConfigError", "CONFIG_ERROR", "max_age: expected a timedelta or seconds, found '7 days'", "pass seconds",
    )  # fmt: skip


def test_a_store_that_cannot_be_written(tmpfs, locked, vcm, monkeypatch, refusal):
    store = tmpfs("size=16m")
    monkeypatch.setenv("VCM_CACHE_DIR", str(store))
    assert vcm("sync").code == 0
    (record,) = (store / "verified").iterdir()
    backdate(record, 2 * DAY)
    folder = package.require("frames")
    before = folder.joinpath("config.json").stat()
    subprocess.run(("mount", "-o", "remount,ro", store), check=True, timeout=10)
    for _ in range(2):
        assert package.gate() == package.gate(full=True) == package.gate(max_age=DAY) == {"frames": folder}
    assert max(verified(record)) < time.time() - DAY
    # Each time it is hashed, not only the first: what changes in between is seen.
    subprocess.run(("mount", "-o", "remount,rw", store), check=True, timeout=10)
    folder.joinpath("config.json").chmod(0o644)
    folder.joinpath("config.json").write_bytes(b"[]\n")
    os.utime(folder / "config.json", ns=(before.st_atime_ns, before.st_mtime_ns))
    subprocess.run(("mount", "-o", "remount,ro", store), check=True, timeout=10)
    assert package.gate() == {"frames": folder}
    assert refusal(package.gate, max_age=DAY)[1] == "CHECKSUM_MISMATCH"
