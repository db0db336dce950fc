"""Pruning with real processes: killed in the middle of it, and beside others that use the store."""

from __future__ import annotations

import fcntl
import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from vcm.core.lock import Lock, LockedFile, LockedModel, lock_text
from vcm.core.plan import SnapshotState
from vcm.core.pruning import Kind
from vcm.errors import ModelRegistryError, VcmError
from vcm.store.inventory import take_inventory
from vcm.store.leases import Leases
from vcm.store.pruning import clean, plan_pruning, prunable_bytes, prune, read_projects
from vcm.store.store import Store

HOUR = 3600.0
PRUNE = """
import sys, time
from pathlib import Path
from vcm.store.pruning import prune
from vcm.store.store import Store
store = Store(Path(sys.argv[1]))
print("ready", flush=True)
rounds = 0
while sys.stdin.readline().strip() != "end" if sys.argv[2] == "once" else not Path(sys.argv[2]).exists():
    prune(store, time.time() + 7200)  # as if nothing were young
    rounds += 1
    time.sleep(0.005)
print(rounds, flush=True)
"""


def installed(store: Store, name: str, *contents: bytes) -> LockedModel:
    """A model in the store, with its snapshot."""
    store.blobs.prepare()
    files = []
    for number, content in enumerate(contents):
        digest = hashlib.sha256(content).hexdigest()
        files.append(LockedFile(f"f{number}", len(content), digest))
        partial = store.blobs.partial_path(None)
        partial.write_bytes(content)
        store.blobs.admit(partial, digest)
    model = LockedModel(name=name, source="huggingface", repo="acme/a", commit="1" * 40, files=tuple(files))
    store.snapshots.build(model, store.blobs.path)
    return model


def known_project(store: Store, folder: Path, *models: LockedModel) -> Path:
    """A project whose lock has these models, and which the store knows."""
    folder.mkdir()
    lock = Lock(manifest_sha256="0" * 64, models=tuple(sorted(models, key=lambda model: model.name)))
    (folder / "models.lock").write_text(lock_text(lock))
    store.registry.record(folder, models, store.root)
    return folder


def assert_whole(store: Store) -> None:
    for blob in store.blobs.folder.iterdir():
        assert hashlib.sha256(blob.read_bytes()).hexdigest() == blob.name
    for snapshot in store.snapshots.folder.iterdir():
        lines = sorted(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}" for path in snapshot.iterdir())
        text = "".join(f"{line}\n" for line in sorted(lines, key=lambda line: line.partition("  ")[2]))
        assert hashlib.sha256(text.encode()).hexdigest() == snapshot.name


@pytest.fixture
def pruner(store: Store) -> Iterator[Callable[[str | Path], subprocess.Popen[str]]]:
    """Starts processes that prune: once for each line on standard input, or until a file is there."""
    started: list[subprocess.Popen[str]] = []

    def start(until: str | Path) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", PRUNE, store.root, until],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_a_prune_that_is_killed_leaves_nothing_wrong_and_the_next_one_ends_it(store, tmp_path, pruner):
    kept = installed(store, "kept", b"kept", b"shared")
    known_project(store, tmp_path / "project", kept)
    unfinished = 0
    for number in range(8):
        for each in range(20):
            installed(store, "m", b"%d of %d" % (each, number), b"shared", bytes([each, number]) * 50_000)
        process = pruner("once")
        process.stdin.write("\n")
        process.stdin.flush()
        time.sleep(0.004 * number)
        process.send_signal(signal.SIGKILL)
        process.wait()

        assert_whole(store)
        assert store.snapshots.state(kept) is SnapshotState.INSTALLED
        unfinished += len(plan_pruning(store, time.time() + 2 * HOUR).pruning.drop) > 0
        prune(store, time.time() + 2 * HOUR)
        assert {part.kind for part in take_inventory(store.root)} <= {
            Kind.SNAPSHOT,
            Kind.RECORD,
            Kind.BLOB,
            Kind.REGISTRY,
            Kind.STORE_LOCK,
        }
        assert len(list(store.blobs.folder.iterdir())) == 2
        assert_whole(store)
    assert unfinished > 0


def test_prune_beside_syncs_takes_nothing_from_them(hub, session, store, tmp_path, pruner):
    """Each round is the first sync of a project, over bytes that prune may take until its lease is there."""
    hub.add_repo("acme/a", {"a.safetensors": b"shared" * 1000, "b.safetensors": b"own" * 1000}, commit="1" * 40)
    files = tuple(
        LockedFile(path, len(content), hashlib.sha256(content).hexdigest())
        for path, content in (("a.safetensors", b"shared" * 1000), ("b.safetensors", b"own" * 1000))
    )
    model = LockedModel(name="a", source="huggingface", repo="acme/a", commit="1" * 40, files=files)
    stop = tmp_path / "stop"
    process = pruner(stop)
    for number in range(20):
        folder = tmp_path / f"project{number}"
        folder.mkdir()
        lock = Lock(manifest_sha256="0" * 64, models=(model,))
        (folder / "models.lock").write_text(lock_text(lock))
        one = session(folder=store.root, project=folder)
        (answer,) = one.install(one.store.plan([model]), 1.0)
        assert answer.error is None
        assert store.snapshots.state(model) is SnapshotState.INSTALLED
        assert all(store.blobs.is_whole(file.sha256, file.size) for file in files)
        time.sleep(0.02)
        assert store.snapshots.state(model) is SnapshotState.INSTALLED  # the project is known
        (folder / "models.lock").unlink()
        if number % 3:
            time.sleep(0.01 * (number % 3))
    stop.write_text("")
    out, _ = process.communicate(timeout=60)
    assert int(out) > 20


def test_prune_beside_commands(hub, vcm_process, cache, tmp_path, vcm):
    """Four first syncs, in processes of their own, beside one that prunes all the time."""
    hub.add_repo("acme/a", {"model.safetensors": b"weights" * 5000, "config.json": b"{}", "notes.txt": b"x"})
    stop = tmp_path / "stop"
    cache.mkdir()  # in a store that has just come to be, prune spares what is young, which nothing is for this one
    pruning = subprocess.Popen([sys.executable, "-c", PRUNE, cache, stop], stdout=subprocess.PIPE, text=True)
    try:
        for number in range(2):
            folders = [tmp_path / f"p{number}-{each}" for each in range(2)]
            for folder in folders:
                folder.mkdir()
                (folder / "models.toml").write_text('[models.a]\nrepo = "acme/a"\n')
            running = [vcm_process("sync", "--project", folder) for folder in folders]
            errors = [process.communicate(timeout=60)[1] for process in running]
            assert [process.returncode for process in running] == [0, 0], errors
            for folder in folders:
                assert vcm("verify", "--project", folder).code == 0
                (folder / "models.lock").unlink()
    finally:
        stop.write_text("")
        out, _ = pruning.communicate(timeout=60)
    assert pruning.returncode == 0
    assert int(out.split()[-1]) > 8


def test_where_locks_do_nothing_prune_keeps_what_a_lease_names(store, tmp_path, monkeypatch):
    monkeypatch.setattr(fcntl, "flock", lambda *_: None)
    model, other = installed(store, "m", b"one"), installed(store, "o", b"two")
    known_project(store, tmp_path / "project")
    lease = Leases(store.root).take([model])
    prune(store, time.time() + 2 * HOUR)
    assert store.snapshots.state(model) is SnapshotState.INSTALLED
    assert store.snapshots.state(other) is SnapshotState.MISSING
    lease._release()
    prune(store, time.time() + 25 * HOUR)
    assert list(store.blobs.folder.iterdir()) == []


def test_leftovers_of_the_killed_go_those_of_the_running_stay(store, tmp_path):
    known_project(store, tmp_path / "project")
    store.blobs.prepare()
    (store.blobs.partial_folder / f"snapshot-{'a' * 32}").mkdir()
    (store.blobs.partial_folder / f"{'a' * 64}.lock").touch()
    old = store.blobs.partial_folder / ("b" * 64)
    old.write_bytes(b"part")
    os.utime(old, (time.time() - 8 * 24 * HOUR,) * 2)
    time.sleep(0.02)
    later = time.time() + 2 * HOUR
    with Leases(store.root).take([]):
        (store.blobs.partial_folder / f"copy-{'a' * 32}").write_bytes(b"half")
        assert prune(store, later).pruning.freed == 4
        assert sorted(path.name[:8] for path in store.blobs.partial_folder.iterdir()) == ["aaaaaaaa", "copy-aaa"]
    assert prune(store, time.time()).pruning.drop == ()
    prune(store, later)
    assert list(store.blobs.partial_folder.iterdir()) == []


def test_answers_that_nobody_asks_for(store, tmp_path):
    known_project(store, tmp_path / "project")
    folder = store.root / "hub-metadata" / "models--acme--a"
    folder.mkdir(parents=True)
    for name, days in (("a" * 64, 31), ("b" * 64, 29)):
        (folder / name).write_text("x")
        os.utime(folder / name, (time.time() - days * 24 * HOUR,) * 2)
    prune(store, time.time())
    assert [path.name for path in folder.iterdir()] == ["b" * 64]
    os.utime(folder / ("b" * 64), (0, 0))
    prune(store, time.time())
    assert not folder.exists()


def test_read_projects(store, tmp_path):
    model = installed(store, "m", b"one")
    good = known_project(store, tmp_path / "good", model)
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    (damaged / "models.lock").write_text("x")
    gone = (tmp_path / "empty", tmp_path / "file", tmp_path / "nowhere" / "at" / "all")

    found = read_projects([good, *gone, damaged])

    assert (found.locks, found.gone) == ({good: (model,)}, gone)
    ((folder, error),) = found.unreadable
    assert (folder, error.message) == (damaged, "models.lock: not a vcm lock")
    with pytest.raises(VcmError) as raised:
        found.refuse_uncertain()
    assert raised.value.message == "nothing was pruned: what a project needs cannot be read"
    assert raised.value.details == (f"{damaged}: models.lock: not a vcm lock",)
    assert raised.value.hint == f"put it right, or remove {damaged / 'models.lock'} if nobody needs it"


def test_prunable_bytes(store, tmp_path):
    assert prunable_bytes(store, time.time()) == 0
    installed(store, "m", b"x" * 1000)
    assert prunable_bytes(store, time.time()) == 0, "who uses it, nobody has taken down"
    store.registry.record(tmp_path, [], store.root)
    assert prunable_bytes(store, time.time()) > 1000
    (store.root / "registry.json").write_text("x")
    assert prunable_bytes(store, time.time()) == 0
    with pytest.raises(ModelRegistryError):
        prune(store, time.time())
    assert len(list(store.snapshots.folder.iterdir())) == 1


def test_clean_removes_all_and_the_folder(store, tmp_path):
    known_project(store, tmp_path / "project", installed(store, "m", b"x"))
    store.root.joinpath("hub-metadata", "models--a--b").mkdir(parents=True)
    clean(store, time.time())
    assert not store.root.exists()
    clean(store, time.time())
    assert not store.root.exists()
