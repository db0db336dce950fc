"""Blobs: bytes under the name of their digest, or not there."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import vcm
from vcm.store.blobs import BlobStore

CONTENT = b"bytes" * 100
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def blobs(store):
    store.blobs.prepare()
    return store.blobs


def admitted(blobs: BlobStore, content: bytes = CONTENT) -> Path:
    digest = hashlib.sha256(content).hexdigest()
    partial = blobs.partial_path(digest)
    partial.write_bytes(content)
    blobs.admit(partial, digest)
    return blobs.path(digest)


def test_admit(blobs, store):
    path = admitted(blobs)
    assert path == store.root / "blobs" / "sha256" / DIGEST
    assert path.read_bytes() == CONTENT
    assert path.stat().st_mode & 0o777 == 0o444
    assert not blobs.partial_path(DIGEST).exists()
    assert blobs.has(DIGEST, 500)
    assert blobs.is_whole(DIGEST, 500)


def test_what_is_not_there(blobs):
    assert not blobs.has(DIGEST, 500)
    assert not blobs.is_whole(DIGEST, 500)
    blobs.discard(DIGEST)


def test_without_a_store(store):
    assert not store.blobs.has(DIGEST, 500)
    assert not store.blobs.is_whole(DIGEST, 500)
    store.blobs.discard(DIGEST)
    assert not store.root.exists()


def test_damage(blobs):
    path = admitted(blobs)
    path.chmod(0o644)
    path.write_bytes(b"Bytes" * 100)
    assert blobs.has(DIGEST, 500)
    assert not blobs.is_whole(DIGEST, 500)
    path.write_bytes(b"short")
    assert not blobs.has(DIGEST, 500)
    path.unlink()
    path.mkdir()
    assert not blobs.is_whole(DIGEST, 500)


def test_discard_keeps_the_bytes_of_snapshots(store, model, snapshot, contents):
    for file in model.files:
        store.blobs.discard(file.sha256)
    assert (snapshot / "config.json").read_bytes() == contents["config.json"]
    assert store.snapshots.inspect(model, full=True) == []


def test_names_of_partial_files(blobs):
    assert blobs.partial_path(DIGEST) == blobs.partial_path(DIGEST)
    assert blobs.partial_path(None) != blobs.partial_path(None)


AS_ANOTHER = """
import os
from pathlib import Path
from vcm.store.blobs import BlobStore
from vcm.store.writing import GrowingFile

if os.getuid() == 0:
    os.setuid(65534)
blobs = BlobStore(Path("store"))
with GrowingFile(blobs.partial_path("0" * 64)) as file:
    buffer = memoryview(bytearray(100))
    print(bytes(buffer[: file.read_into(buffer)]).decode())
    file.write(memoryview(b" and more"))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="it has no such users")
def test_the_partial_file_of_one_that_was_killed_before_the_blob_got_its_name(tmp_path):
    blobs = BlobStore(tmp_path / "store")
    blobs.prepare()
    partial = blobs.partial_path("0" * 64)
    partial.write_bytes(b"all bytes")
    partial.chmod(0o444)
    for each in (tmp_path, *tmp_path.rglob("*")):
        if os.getuid() == 0:
            os.chown(each, 65534, 65534)
    command = [sys.executable, "-c", AS_ANOTHER]
    environment = {**os.environ, "PYTHONPATH": str(Path(vcm.__file__).parents[1])}
    # From within: pytest's folders let nobody else pass.
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, check=False)
    assert (done.stdout, done.stderr) == ("all bytes\n", "")
    assert partial.read_bytes() == b"all bytes and more"


def test_one_at_a_time(blobs):
    order = []

    def work(name):
        with blobs.exclusive(DIGEST):
            order.append(f"{name} begins")
            time.sleep(0.05)
            order.append(f"{name} ends")

    threads = [threading.Thread(target=work, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert [order[i][0] for i in range(0, 8, 2)] == [order[i][0] for i in range(1, 8, 2)]
    assert list(blobs.partial_folder.iterdir()) == []


def test_different_blobs_do_not_wait_for_each_other(blobs):
    with blobs.exclusive(DIGEST), blobs.exclusive("0" * 64):
        pass


def test_a_wait_ends_when_it_is_called_off(blobs):
    cancelled = threading.Event()
    with blobs.exclusive(DIGEST):
        threading.Timer(0.1, cancelled.set).start()
        started = time.monotonic()
        with pytest.raises(KeyboardInterrupt), blobs.exclusive(DIGEST, cancelled):
            pass
        assert time.monotonic() - started < 20


def test_after_a_failure_the_next_may_work(blobs):
    with pytest.raises(RuntimeError), blobs.exclusive(DIGEST):
        raise RuntimeError
    with blobs.exclusive(DIGEST):
        pass


def test_plan(store, model, contents):
    plan = store.plan([model])
    assert (plan.bytes_to_fetch, plan.models[0].bytes_to_reuse) == (0, model.size)
    store.blobs.discard(model.files[1].sha256)
    plan = store.plan([model])
    assert [file.path for file in plan.models[0].fetch] == ["onnx/a.onnx"]
    assert plan.bytes_to_fetch == 7000


def test_plan_without_a_store(tmp_path, model):
    from vcm.store.store import Store

    plan = Store(tmp_path / "elsewhere").plan([model])
    assert plan.bytes_to_fetch == 7003
    assert not (tmp_path / "elsewhere").exists()
