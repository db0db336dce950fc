"""Ctrl-C, SIGKILL and company: nothing wrong is ever visible, and the next run goes on."""

# ruff: noqa: PLR0917  (pytest hands fixtures over by name)
from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from vcm.store.project import Project
from vcm.testing import Fault, Unfetched

if sys.platform == "win32":
    pytest.skip("signals are another matter there", allow_module_level=True)

import fcntl
import termios

COMMIT = "1234567890" * 4
LARGE = bytes(range(256)) * 8192
HALF = len(LARGE) // 2
STOPPED = "interrupted; what was downloaded is kept for the next run\n"
SOON = 5.0
"""Seconds: a process ends within one, a machine may stand still for some, and what it waits for takes a minute."""


@pytest.fixture
def large(hub, manifest, vcm):
    """A model of 2 MB, locked."""
    repo = hub.add_repo("acme/large", {"config.json": b"{}\n", "model.safetensors": LARGE}, commit=COMMIT)
    manifest('[models.large]\nrepo = "acme/large"\n')
    assert vcm("lock").code == 0
    hub.clear_requests()
    return repo


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str], seconds: float = 15.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)


def interrupt(process: subprocess.Popen[str]) -> tuple[int, str, str, float]:
    """Send Ctrl-C; the exit code, both outputs, and the seconds it took."""
    process.send_signal(signal.SIGINT)
    started = time.monotonic()
    try:
        out, err = process.communicate(timeout=10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        pytest.fail("Ctrl-C has no effect")
    return process.returncode, out, err, time.monotonic() - started


def partial_size(cache: Path) -> int:
    return sum(path.stat().st_size for path in (cache / "partial").glob("*") if path.suffix != ".lock")


@pytest.mark.parametrize("arguments", [["sync"], ["-vv", "sync", "--json"]])
def test_a_download_is_interrupted_and_goes_on(arguments, large, vcm_process, vcm, hub, cache, assert_store_is_whole):
    hub.fail(Fault(origin="cdn", stall_after=HALF))
    process = vcm_process(*arguments)
    wait_for(lambda: partial_size(cache) == HALF, process)
    code, out, err, seconds = interrupt(process)
    assert (code, out) == (130, "")
    named = "fetching large/model.safetensors, 2.1 MB\n" if "-vv" in arguments else ""
    assert err == "fetching 1 file, 2.1 MB\n" + named + STOPPED
    assert seconds < SOON
    assert partial_size(cache) == HALF
    assert not (cache / "snapshots").exists()
    assert_store_is_whole()

    hub.clear_requests()
    result = vcm("sync", "--json")
    assert result.code == 0
    assert json.loads(result.out)["bytes_fetched"] == len(LARGE) - HALF
    ranges = [request.headers.get("range") for request in hub.requests if request.origin == "cdn"]
    assert ranges == [f"bytes={HALF}-"]
    assert vcm("verify").code == 0
    assert partial_size(cache) == 0


@pytest.mark.parametrize("path", ["/api/models/acme/large", "*/tree/*", "*/resolve-cache/*", "*/resolve/*"])
def test_locking_is_interrupted(path, large, vcm_process, vcm, hub, project, cache):
    (project / "models.lock").unlink()
    for blob in (cache / "blobs" / "sha256").iterdir():
        blob.unlink()
    shutil.rmtree(cache / "hub-metadata")
    hub.fail(Fault(path=path, stall_after=1))
    process = vcm_process("lock")
    wait_for(lambda: any("/api/" in request.path or "/resolve" in request.path for request in hub.requests), process)
    time.sleep(0.2)
    code, out, err, seconds = interrupt(process)
    assert (code, out, err) == (130, "", STOPPED)
    assert seconds < SOON
    assert sorted(each.name for each in project.iterdir()) == ["models.toml"]
    assert partial_size(cache) <= 1
    hub.clear_faults()
    assert vcm("lock").code == 0


def test_a_wait_for_the_next_try_is_interrupted(large, vcm_process, hub):
    hub.fail(Fault(origin="cdn", status=503, headers={"Retry-After": "300"}, times=None))
    process = vcm_process("sync")
    told = [process.stderr.readline() for _ in range(2)]
    code, _, err, seconds = interrupt(process)
    assert (code, err) == (130, STOPPED)
    assert told[1].endswith("next try in 300 s\n")
    assert seconds < SOON


def test_a_wait_for_another_process_is_interrupted(large, vcm_process, vcm, hub, cache):
    hub.fail(Fault(origin="cdn", stall_after=HALF))
    first = vcm_process("sync")
    wait_for(lambda: partial_size(cache) == HALF, first)
    second = vcm_process("sync")
    try:
        assert second.stderr.readline() == "fetching 1 file, 2.1 MB\n"
        time.sleep(0.3)
        code, _, err, seconds = interrupt(second)
        assert (code, err.endswith(STOPPED)) == (130, True)
        assert seconds < SOON
    finally:
        first.kill()
        first.communicate()
    # The bytes of the one that was killed serve the next.
    hub.clear_requests()
    assert vcm("sync").code == 0
    assert [request.headers.get("range") for request in hub.requests if request.origin == "cdn"] == [f"bytes={HALF}-"]


@pytest.fixture
def many(hub, manifest, vcm):
    """Two models with some files in common, locked."""
    files = {f"{number}.safetensors": hashlib.sha256(b"%d" % number).digest() * 8000 for number in range(8)}
    hub.add_repo("acme/a", {"config.json": b"{}\n", **files}, commit=COMMIT)
    hub.add_repo("acme/b", {"config.json": b"{}\n", **dict(list(files.items())[4:]), "b/c.safetensors": LARGE})
    manifest('[models.a]\nrepo = "acme/a"\n[models.b]\nrepo = "acme/b"\n')
    assert vcm("lock").code == 0
    hub.clear_requests()
    return len(files) + 1


def test_killed_at_twenty_moments(many, vcm_process, vcm, hub, tmp_path, monkeypatch):
    moments = [0.1 + 0.02 * number for number in range(20)]
    cache = tmp_path / "killed"
    monkeypatch.setenv("VCM_CACHE_DIR", str(cache))
    unfinished = 0
    for number, seconds in enumerate(moments):
        # Slow enough that most moments fall into the work.
        hub.clear_faults()
        hub.fail(Fault(origin="cdn", delay=0.02, times=None))
        process = vcm_process("sync")
        time.sleep(seconds)
        process.kill()
        out, err = process.communicate()
        assert "Traceback" not in err
        if process.returncode == 0 or "Installed" in out:
            cache = tmp_path / f"killed{number}"
            monkeypatch.setenv("VCM_CACHE_DIR", str(cache))
            continue
        unfinished += 1
        for blob in (cache / "blobs" / "sha256").glob("*"):
            assert hashlib.sha256(blob.read_bytes()).hexdigest() == blob.name
        for snapshot in (cache / "snapshots").glob("*"):
            lines = sorted(
                (path.relative_to(snapshot).as_posix().encode(), hashlib.sha256(path.read_bytes()).hexdigest())
                for path in snapshot.rglob("*")
                if path.is_file()
            )
            text = b"".join(digest.encode() + b"  " + path + b"\n" for path, digest in lines)
            assert hashlib.sha256(text).hexdigest() == snapshot.name
    assert unfinished >= 5
    assert vcm("sync").code == 0
    assert vcm("verify").code == 0


@pytest.mark.parametrize("count", [2, 4])
def test_processes_share_an_empty_store(count, many, vcm_process, vcm, hub, tmp_path, monkeypatch):
    monkeypatch.setenv("VCM_CACHE_DIR", str(tmp_path / "shared"))
    hub.fail(Fault(origin="cdn", delay=0.05, times=None))
    processes = [vcm_process("sync") for _ in range(count)]
    results = [(*process.communicate(timeout=60), process.returncode) for process in processes]
    assert [code for _, _, code in results] == [0] * count, results
    bodies = Counter(request.path.partition("?")[0] for request in hub.requests if request.origin == "cdn")
    assert len(bodies) == many
    assert set(bodies.values()) == {1}
    assert vcm("verify").out == "2 models locked and installed, every byte verified\n"
    assert list((tmp_path / "shared" / "partial").iterdir()) == []


def test_a_blob_that_another_process_admits_meanwhile_is_kept(large, vcm, hub, monkeypatch):
    from vcm.store.blobs import BlobStore

    digest = hashlib.sha256(LARGE).hexdigest()
    look = BlobStore.size
    looks: list[Path] = []

    def size(blobs: BlobStore, sha256: str) -> int | None:
        answer = look(blobs, sha256)
        if sha256 == digest and answer is None:
            looks.append(blobs.path(sha256))
            if len(looks) == 2:
                # Planned, and found nowhere on this machine: this instant is when the other process is done.
                blobs.path(sha256).write_bytes(LARGE)
        return answer

    monkeypatch.setattr(BlobStore, "size", size)
    result = vcm("sync")
    assert result.code == 0
    assert len(looks) == 2
    assert [request for request in hub.requests if request.origin == "cdn"] == []


def test_a_process_that_is_told_to_end(large, vcm_process, vcm, hub, cache):
    hub.fail(Fault(origin="cdn", stall_after=HALF))
    process = vcm_process("sync")
    wait_for(lambda: partial_size(cache) == HALF, process)
    process.terminate()
    out, err = process.communicate(timeout=SOON)
    assert (process.returncode, out, err) == (143, "", "fetching 1 file, 2.1 MB\n" + STOPPED)
    # Nobody holds what it held.
    assert json.loads(vcm("sync", "--json").out)["bytes_fetched"] == len(LARGE) - HALF


def test_two_interrupts_in_a_row(large, vcm_process, hub, cache):
    hub.fail(Fault(origin="cdn", stall_after=HALF))
    process = vcm_process("sync")
    wait_for(lambda: partial_size(cache) == HALF, process)
    for number in (signal.SIGINT, signal.SIGINT, signal.SIGTERM):
        process.send_signal(number)
    _, err = process.communicate(timeout=10)
    assert (process.returncode, err) == (130, "fetching 1 file, 2.1 MB\n" + STOPPED)


ANNOUNCED = """
import sys
from vcm.cli.app import run
sys.argv = ["vcm", "sync"]
print("begun", file=sys.stderr, flush=True)
run()
"""


AS_ANOTHER_EXCEPTION = """
import os, signal, sys
from vcm.cli.interrupts import carried_through, end

class Attribute:
    def __set_name__(self, owner, name):
        os.kill(os.getpid(), signal.SIGINT)

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "_socket":
            os.kill(os.getpid(), signal.SIGINT)

def work():
    try:
        if expected == "RuntimeError":
            type("Made", (), {"attribute": Attribute()})
        else:
            sys.meta_path.insert(0, Finder())
            import _ssl
    except Exception as error:
        print(type(error).__name__)
        raise
    return 0

expected = sys.argv[1]
end(carried_through(work))
"""


WHILE_IT_IS_TOLD = """
import io, os, signal, sys
from vcm.cli.interrupts import carried_through, end

class Told(io.FileIO):
    def write(self, data):
        if b"interrupted" in data:
            os.kill(os.getpid(), signal.SIGTERM)
        return super().write(data)

def work():
    sys.stderr = io.TextIOWrapper(io.BufferedWriter(Told(2, "w", closefd=False)), line_buffering=True)
    os.kill(os.getpid(), signal.SIGINT)

end(carried_through(work))
"""


def test_interrupted_while_it_is_told():
    done = subprocess.run(
        [sys.executable, "-c", WHILE_IT_IS_TOLD],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert (done.returncode, done.stderr) == (130, "interrupted\n")


@pytest.mark.parametrize("expected", ["RuntimeError", "ImportError"])
def test_interrupted_where_python_makes_another_exception_of_it(expected):
    done = subprocess.run(
        [sys.executable, "-c", AS_ANOTHER_EXCEPTION, expected],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert (done.returncode, done.stderr) == (130, "interrupted\n")
    assert done.stdout == f"{expected}\n" or (sys.version_info >= (3, 12) and not done.stdout)


WHERE_NOTHING_CAN_BE_RAISED = """
import _thread, os, signal, sys, time, weakref
from vcm.cli.interrupts import carried_through, end

class Referred:
    def __del__(self):
        if where == "destructor":
            os.kill(os.getpid(), signal.SIGINT)

def callback(reference):
    if where == "callback":
        os.kill(os.getpid(), signal.SIGINT)

def work():
    referred = Referred()
    reference = weakref.ref(referred, callback)
    del referred
    try:
        time.sleep(60)
    finally:
        print("put away")

where = sys.argv[1]
if len(sys.argv) > 2:
    start = _thread.start_new_thread
    def again(function, arguments):
        # What was dropped is about to be repeated; the next signal comes while Python reports it.
        if function.__name__ == "_repeat":
            os.kill(os.getpid(), signal.SIGINT)
        return start(function, arguments)
    _thread.start_new_thread = again
end(carried_through(work))
"""


@pytest.mark.parametrize("more", [[], ["twice"]])
@pytest.mark.parametrize("where", ["destructor", "callback"])
def test_interrupted_where_nothing_can_be_raised(where, more):
    """Python would report it as ignored, and go on."""
    done = subprocess.run(
        [sys.executable, "-c", WHERE_NOTHING_CAN_BE_RAISED, where, *more],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "put away\n", "interrupted\n")


def test_interrupted_at_any_moment(many, vcm, hub, project, tmp_path, monkeypatch):
    """While locking, downloading over many threads, linking: the next run goes on from what is there."""
    hub.fail(Fault(origin="cdn", delay=0.05, times=None))
    codes: Counter[int] = Counter()
    cache = tmp_path / "interrupted"
    monkeypatch.setenv("VCM_CACHE_DIR", str(cache))
    for number in range(12):
        if number % 4 == 0:
            (project / "models.lock").unlink(missing_ok=True)
            shutil.rmtree(cache, ignore_errors=True)
        process = subprocess.Popen(
            [sys.executable, "-c", ANNOUNCED],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509
        )
        assert process.stderr is not None
        assert process.stderr.readline() == "begun\n"
        time.sleep(0.02 + 0.03 * number)
        ending = signal.SIGTERM if number % 3 == 0 else signal.SIGINT
        process.send_signal(ending)
        started = time.monotonic()
        _, err = process.communicate(timeout=10)
        assert time.monotonic() - started < SOON
        assert "Traceback" not in err
        # Killed by the signal itself only where Python is shutting down, and has no handlers any more.
        code = 128 + ending if process.returncode == -ending else process.returncode
        assert code in (0, 128 + ending)
        codes[code] += 1
        for blob in (cache / "blobs" / "sha256").glob("*"):
            assert hashlib.sha256(blob.read_bytes()).hexdigest() == blob.name
    assert codes[130] + codes[143] >= 6
    assert vcm("sync").code == 0
    assert vcm("verify").code == 0


def test_verifying_is_interrupted(hub, manifest, vcm, vcm_process, project, cache):
    size = 1 << 34  # 17 GB that take no room, and more time than it takes to look
    hub.add_repo("acme/zeros", {"model.safetensors": Unfetched(size=size, sha256="0" * 64)})
    manifest('[models.zeros]\nrepo = "acme/zeros"\n')
    assert vcm("lock").code == 0
    (model,) = Project(project).required_lock().models
    snapshot = cache / "snapshots" / model.tree_digest
    snapshot.mkdir(parents=True)
    with (snapshot / "model.safetensors").open("wb") as stream:
        stream.truncate(size)
    process = vcm_process("verify")
    assert process.stderr.readline() == "verifying 1 model, 17.2 GB\n"
    code, out, err, seconds = interrupt(process)
    assert (code, out, err.splitlines()[-1]) == (130, "", "interrupted")  # there is nothing to be kept
    assert seconds < SOON


UNHEEDING = """
import sys, time
from vcm.cli.interrupts import carried_through

def work():
    words = ["begun"]
    while True:
        try:
            while words:
                print(words.pop(), flush=True)
            time.sleep(60)
        except KeyboardInterrupt:
            print("once", flush=True)

sys.exit(carried_through(work))
"""


@pytest.mark.parametrize("ignored", [False, True])
def test_what_does_not_heed_it_ends_all_the_same(ignored):
    handler = signal.SIG_IGN if ignored else signal.default_int_handler
    process = subprocess.Popen(
        [sys.executable, "-c", UNHEEDING],
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, handler),  # noqa: PLW1509
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    process.send_signal(signal.SIGINT)
    if ignored:
        # A job in the background, of a shell without job control.
        time.sleep(1.0)
        assert process.poll() is None
        process.terminate()
    started = time.monotonic()
    out, _ = process.communicate(timeout=10)
    assert time.monotonic() - started < SOON
    assert (process.returncode, out) == (143 if ignored else 130, "once\n")


def test_the_terminal_is_left_clean(large, hub, cache, monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("CI", raising=False)
    hub.fail(Fault(origin="cdn", stall_after=HALF))
    control, terminal = os.openpty()

    def begin() -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    process = subprocess.Popen(
        [sys.executable, "-m", "vcm", "sync"],
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,
        preexec_fn=begin,  # noqa: PLW1509
    )
    os.close(terminal)
    text = b""
    while b"model.safetensors" not in text and b"large/model" not in text:
        text += os.read(control, 65536)
    os.write(control, b"\x03")
    with suppress(OSError):
        while more := os.read(control, 65536):
            text += more
    os.close(control)
    assert process.wait(timeout=10) == 130
    last = text.decode().rpartition("\x1b[J")[2]
    assert last == STOPPED.replace("\n", "\r\n")
    assert "fetching 1 file" in text.decode()


IMPATIENT = """
import os, runpy, signal, sys, weakref

class Impatient:
    def find_spec(self, name, path=None, target=None):
        if name.startswith("vcm.cli.") and name not in ("vcm.cli.app", "vcm.cli.output"):
            if how == "raised":
                raise KeyboardInterrupt
            referred = Impatient()
            reference = weakref.ref(referred, lambda _: os.kill(os.getpid(), signal.SIGINT))
            del referred

how = sys.argv[1]
sys.meta_path.insert(0, Impatient())
sys.argv = ["vcm", "list"]
runpy.run_module("vcm", run_name="__main__")
"""


@pytest.mark.parametrize("how", ["raised", "where nothing can be raised"])
def test_an_interrupt_before_anything_began(how, project):
    result = subprocess.run(
        [sys.executable, "-c", IMPATIENT, how],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert (result.returncode, result.stdout, result.stderr) == (130, "", "")
