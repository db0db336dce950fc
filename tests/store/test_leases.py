"""Leases: seen by prune as long as somebody holds them, and not after that."""

from __future__ import annotations

import fcntl
import signal
import subprocess
import sys
import time
from pathlib import Path
from threading import Event, Thread

import pytest

from vcm.core.pruning import Claim
from vcm.store.leases import Leases

DAY = 24 * 3600.0


@pytest.fixture
def leases(store):
    return Leases(store.root)


@pytest.fixture
def no_locks(monkeypatch):
    monkeypatch.setattr(fcntl, "flock", lambda *_: None)


def test_a_lease(leases, model):
    before = time.time()
    with leases.take([model]):
        (claim,) = leases.claims(time.time())
        assert claim.blobs == {file.sha256 for file in model.files}
        assert claim.snapshots == {model.tree_digest}
        assert before - 1 < claim.began <= time.time()
    assert leases.claims(time.time()) == []
    assert [path.name for path in leases.folder.iterdir()] == ["store.lock"]


def test_a_lease_on_everything(leases):
    with leases.take(None), leases.take([]):
        first, second = sorted(leases.claims(time.time()), key=lambda claim: claim.blobs is None)
    assert first == Claim(first.name, first.began, frozenset(), frozenset())
    assert second == Claim(second.name, second.began, None, None)


def test_released_twice(leases):
    lease = leases.take(None)
    lease.release()
    lease.release()
    assert leases.claims(time.time()) == []


def test_without_a_store(leases):
    assert leases.claims(0.0) == []
    assert not leases.folder.exists()


def child(root: Path, *, wait: float) -> subprocess.Popen[str]:
    """A process that takes a lease, says so, and goes on."""
    source = f"""
import sys, time
from pathlib import Path
from vcm.store.leases import Leases
lease = Leases(Path(sys.argv[1])).take([])
print("taken", flush=True)
time.sleep({wait})
"""
    process = subprocess.Popen([sys.executable, "-c", source, root], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "taken\n"
    return process


def test_who_was_killed_needs_nothing(leases, store):
    process = child(store.root, wait=60)
    assert len(leases.claims(time.time())) == 1
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert len(list(leases.folder.glob("*.json"))) == 1
    assert leases.claims(time.time()) == []


@pytest.mark.usefixtures("no_locks")
def test_where_locks_do_nothing_a_lease_counts_for_a_day(leases):
    lease = leases.take([])
    assert len(leases.claims(time.time())) == 1
    lease._release()  # as if it had been killed
    assert len(leases.claims(time.time() + DAY - 60)) == 1
    assert leases.claims(time.time() + DAY + 60) == []


def test_a_lease_that_nobody_can_try_counts_for_a_day(leases, monkeypatch):
    with leases.take([]):
        (lock,) = (path for path in leases.folder.glob("*.lock") if path.name != "store.lock")
        lock.unlink()
        lock.symlink_to("elsewhere")  # as good as another user's: it cannot be opened
        assert len(leases.claims(time.time())) == 1
        assert leases.claims(time.time() + DAY + 60) == []
        lock.unlink()


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", "[" * 100_000, '{"blobs": 1, "snapshots": {"a": 1}}', "\xff", '{"blobs": null}']
)
def test_a_damaged_lease_that_is_held_needs_everything(text, leases):
    with leases.take([]):
        (path,) = leases.folder.glob("*.json")
        path.write_bytes(text.encode("latin-1"))
        (claim,) = leases.claims(time.time())
        assert (claim.blobs, claim.snapshots) == (None, None)


def test_a_lease_waits_for_prune(leases):
    taken = Event()

    def take():
        with leases.take(None):
            taken.set()

    thread = Thread(target=take)
    with leases.exclusive():
        thread.start()
        assert not taken.wait(0.2)
        assert leases.claims(time.time()) == []
    thread.join(10)
    assert taken.is_set()


def test_waiting_can_be_called_off(leases):
    cancelled = Event()
    cancelled.set()
    with leases.exclusive(), pytest.raises(KeyboardInterrupt):
        leases.take(None, cancelled)


def test_a_folder_that_cannot_be_written(leases, store):
    store.root.mkdir()
    (store.root / "in-use").write_text("")
    with pytest.raises(OSError, match="in-use"):
        leases.take(None)
    assert [path.name for path in store.root.iterdir()] == ["in-use"]
