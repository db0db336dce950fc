"""Many processes and threads in one store: each byte comes once, nobody waits for what he does not want."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.robust.conftest import LARGE, Zoo
from tests.robust.harness import asked_from, digest_of, half_written, partial_sizes, wrong_in
from vcm.testing import Fault, HubSimulator

NO_LOCKS = "import fcntl; fcntl.flock = lambda *_: None\n"
RUN = "import runpy, sys; sys.argv[0] = 'vcm'; runpy.run_module('vcm', run_name='__main__', alter_sys=True)"
SHARES = [["large", "shards"], ["shards", "many"], ["many", "large"], ["large", "shards", "many"]]
"""What each of four projects requires."""

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts command lines in real processes, with locks or without."""
    started: list[subprocess.Popen[str]] = []

    def begin(*arguments: str | Path, locks: bool = True) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", RUN if locks else NO_LOCKS + RUN, *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        )
        started.append(process)
        return process

    yield begin
    for process in started:
        if process.returncode is None:
            process.kill()
            process.communicate()


@pytest.fixture
def projects(zoo: Zoo, project: Path, tmp_path: Path) -> list[Path]:
    """Four projects whose locks overlap."""
    blocks = {
        block.partition("]")[0]: f"[models.{block}"
        for block in (project / "models.toml").read_text().split("[models.")[1:]
    }
    made = []
    for number, names in enumerate(SHARES):
        folder = tmp_path / f"project{number}"
        folder.mkdir()
        (folder / "models.toml").write_text("".join(blocks[name] for name in names))
        made.append(folder)
    return made


@pytest.fixture
def locked(projects: list[Path], vcm: Callable[..., object], cache: Path, hub: HubSimulator) -> list[Path]:
    """The same, each with its lock; the store is empty."""
    for folder in projects:
        vcm("--project", folder, "lock")
        assert (folder / "models.lock").exists()
    shutil.rmtree(cache)
    hub.clear_requests()
    return projects


def endings(processes: list[subprocess.Popen[str]]) -> list[tuple[int, str]]:
    return [(process.returncode, out) for process in processes for out in [process.communicate(timeout=120)[0]]]


def assert_all_well(processes: list[subprocess.Popen[str]], cache: Path) -> None:
    results = endings(processes)
    assert [code for code, _ in results] == [0] * len(processes), results
    assert wrong_in(cache) == []
    assert len(list((cache / "snapshots").iterdir())) == 3
    left = [path.name for path in (cache / "partial").iterdir()]
    assert left == []


def until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_eight_processes_fetch_each_file_once(locked, start, zoo, hub, cache):
    hub.fail(Fault(origin="cdn", delay=0.02, times=None))
    sent = hub.bytes_sent
    processes = [start("--project", locked[number % 4], "sync", "--locked") for number in range(8)]
    assert_all_well(processes, cache)
    asked = asked_from(hub)
    assert set(asked) == set(zoo.keys.values())
    # Every part of a file was asked for by one, and once.
    assert not [key for key, starts in asked.items() if max(Counter(starts).values()) > 1]
    small = Counter(request.path.partition("?")[0] for request in hub.requests if "/resolve-cache/" in request.path)
    assert set(small.values()) == {1}
    assert hub.bytes_sent - sent < sum(zoo.sizes.values()) + 2000 * len(hub.requests)


def test_one_asks_a_mirror_that_lies_and_the_other_one_that_does_not(locked, start, zoo, hub, cache, monkeypatch):
    files = {digest_of(path): path.read_bytes() for path in zoo.folder.rglob("*") if path.is_file()}
    with HubSimulator() as lying, HubSimulator() as honest:
        for digest, data in files.items():
            name = f"blobs/sha256/{digest}"
            wrong = lying.add_file(name, data[:-1] + bytes([data[-1] ^ 1])).removesuffix(f"/{name}")
            right = honest.add_file(name, data).removesuffix(f"/{name}")
        lying.fail(Fault(origin="cdn", rate=4 << 20, times=None))
        processes = []
        for address in (wrong, right):
            monkeypatch.setenv("VCM_MIRRORS", f"{address} {right}")
            processes.append(start("--project", locked[0], "sync", "--locked", "--no-origin"))
            until(lambda: bool(lying.requests))
        assert [code for code, _ in endings(processes)] == [0, 0]
        assert wrong_in(cache) == []
        assert [path.name for path in (cache / "partial").iterdir()] == []
    assert hub.requests == []


def test_one_of_many_is_killed_and_the_others_go_on_from_its_bytes(locked, start, zoo, hub, cache):
    hub.fail(Fault(path=f"*{_large_key(zoo)}", origin="cdn", stall_after=LARGE // 3))
    digest = next(digest for digest, size in zoo.sizes.items() if size == LARGE)
    first = start("--project", locked[0], "sync", "--locked")
    until(lambda: partial_sizes(cache).get(digest, 0) > LARGE // 4)
    others = [start("--project", locked[number % 4], "sync", "--locked") for number in range(1, 4)]
    first.send_signal(signal.SIGKILL)
    first.communicate()
    here = partial_sizes(cache)[digest]
    assert LARGE // 4 < here < LARGE
    assert_all_well(others, cache)
    starts = sorted(asked_from(hub)[_large_key(zoo)])
    assert starts[0] == 0
    assert here in starts
    assert len(set(starts)) == len(starts)


def test_nobody_waits_for_what_he_does_not_want(zoo, start, hub, cache, tmp_path):
    hub.add_repo("acme/other", {"config.json": b"other", "model.safetensors": b"other weights"})
    other = tmp_path / "other"
    other.mkdir()
    (other / "models.toml").write_text('[models.other]\nrepo = "acme/other"\n')
    hub.fail(Fault(path=f"*{_large_key(zoo)}", origin="cdn", stall_after=LARGE // 2))
    first = start("sync")
    until(lambda: bool(partial_sizes(cache)))
    assert endings([start("--project", other, "sync")])[0][0] == 0
    assert first.poll() is None
    first.kill()
    first.communicate()
    assert endings([start("sync")])[0][0] == 0
    assert wrong_in(cache) == []


@pytest.mark.parametrize("rounds", [1, pytest.param(25, marks=pytest.mark.long)])
def test_without_locks_it_is_slower_and_never_wrong(rounds, locked, start, zoo, hub, cache):
    hub.fail(Fault(origin="cdn", delay=0.01, times=None))
    for _ in range(rounds):
        shutil.rmtree(cache, ignore_errors=True)
        hub.clear_requests()
        processes = [start("--project", locked[number % 4], "sync", "--locked", locks=False) for number in range(8)]
        assert_all_well(processes, cache)
        assert set(asked_from(hub)) == set(zoo.keys.values())


@pytest.mark.parametrize("rounds", [1, pytest.param(25, marks=pytest.mark.long)])
def test_without_locks_damage_is_repaired_by_all_at_once(rounds, locked, start, zoo, hub, cache):
    assert_all_well([start("--project", locked[3], "sync", "--locked")], cache)
    for _ in range(rounds):
        for snapshot in (cache / "snapshots").iterdir():
            file = next(path for path in sorted(snapshot.rglob("*.safetensors")) if path.is_file())
            file.chmod(0o644)
            file.write_bytes(file.read_bytes()[:-1] + b"?")
        processes = [start("--project", locked[number % 4], "sync", "--locked", locks=False) for number in range(4)]
        assert_all_well(processes, cache)


def test_without_locks_one_is_killed_and_nobody_takes_over_what_may_still_be_written(locked, start, zoo, hub, cache):
    hub.fail(Fault(path=f"*{_large_key(zoo)}", origin="cdn", rate=4 << 20, times=None))
    first = start("--project", locked[0], "sync", "--locked", locks=False)
    until(lambda: any(size > LARGE // 4 for size in half_written(cache, "unnamed-*").values()))
    others = [start("--project", locked[number % 4], "sync", "--locked", locks=False) for number in range(1, 3)]
    first.kill()
    first.communicate()
    results = endings(others)
    assert [code for code, _ in results] == [0] * 2, results
    assert wrong_in(cache) == []
    assert partial_sizes(cache) == {}


REQUIRE = """
import sys, threading
import vcm

barrier, paths, errors = threading.Barrier(50), set(), []

def ask():
    barrier.wait()
    try:
        paths.add(str(vcm.require("shards")))
    except BaseException as error:
        errors.append(repr(error))

threads = [threading.Thread(target=ask) for _ in range(50)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join(60)
print(len(paths), *errors)
"""


@pytest.mark.parametrize("case", ["recorded", "not recorded", "damaged", "absent"])
def test_fifty_threads_ask_for_a_model_at_once(case, zoo, vcm, cache):
    assert vcm("sync").code == 0
    if case == "not recorded":
        shutil.rmtree(cache / "verified")
    for snapshot in (cache / "snapshots").iterdir():
        if case == "damaged":
            next(path for path in snapshot.rglob("*.safetensors")).unlink()
    if case == "absent":
        shutil.rmtree(cache / "snapshots")
    done = subprocess.run(
        [sys.executable, "-c", REQUIRE],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert done.stderr == ""
    if case in ("recorded", "not recorded"):
        assert done.stdout == "1\n"
    else:
        error = "ModelChecksumError(" if case == "damaged" else "ModelDownloadError("
        assert done.stdout.startswith("0 ")
        assert done.stdout.count(error) == 50


def test_threads_of_one_program_install_at_once(locked, hub, session, cache, zoo):
    from vcm.store.project import Project

    hub.fail(Fault(origin="cdn", delay=0.01, times=None))
    models = [Project(folder).required_lock().models for folder in locked]
    barrier = threading.Barrier(8)

    def install(number: int) -> set[str]:
        within = session(freshness="normal")
        barrier.wait()
        return {each.status for each in within.install(within.store.plan(models[number % 4]), 1.0)}

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(install, range(8)))
    assert all(result <= {"installed", "present"} for result in results)
    assert wrong_in(cache) == []
    asked = asked_from(hub)
    assert not [key for key, starts in asked.items() if max(Counter(starts).values()) > 1]


def _large_key(zoo: Zoo) -> str:
    return next(zoo.keys[digest] for digest, size in zoo.sizes.items() if size == LARGE)
