"""The gate inside real programs: threads, forked and spawned processes, a web server, a test run, a notebook."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest

import vcm as package

LARGE = {f"{number}.safetensors": bytes([number]) * (12 << 20) for number in range(3)}
"""Files that are hashed by more than one thread, and for longer than a fork takes."""

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing is forked on this system")


@pytest.fixture
def large(hub, manifest, vcm, cache):
    """The snapshot of a model that takes a while to hash."""
    hub.add_repo("acme/large", LARGE)
    manifest('[models.large]\nrepo = "acme/large"\n')
    assert vcm("sync").code == 0
    (snapshot,) = (cache / "snapshots").iterdir()
    return snapshot


@pytest.fixture
def program(project):
    """Runs a Python program that lies in the project, and gives what it printed."""

    def run(text: str, *, folder: Path = project) -> str:
        path = project / "program.py"
        path.write_text(text)
        done = subprocess.run(
            (sys.executable, path), cwd=folder, capture_output=True, text=True, timeout=60, check=False
        )
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    return run


def test_threads(installed, cache):
    """Sixteen at once, in every manner, and the record that all of them write stays whole."""
    start = Barrier(16)
    manners: list[dict[str, Any]] = [{}, {"full": True}, {"max_age": 0}, {"max_age": 3600}]

    def ask(number: int) -> list[object]:
        start.wait()
        options = manners[number % len(manners)]
        return [package.gate(**options), package.require("frames", **options)] * 2

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(ask, range(16)))
    assert answers == [[{"frames": installed}, installed] * 2] * 16
    assert len(list((cache / "verified").iterdir())) == 1
    assert package.gate(max_age=3600) == {"frames": installed}


FORKED = """
import os, signal, sys, threading, time, warnings
import vcm

warnings.simplefilter("ignore", DeprecationWarning)  # of a fork beside threads, from Python 3.12 on
expected = vcm.gate(full=True)
ended = threading.Event()

def hash_without_end():
    while not ended.is_set():
        assert vcm.gate(full=True) == expected

def worker():
    signal.alarm(30)
    assert vcm.gate(max_age=0) == expected
    assert vcm.require("large", full=True) == expected["large"]

threads = [threading.Thread(target=hash_without_end) for _ in range(2)]
for thread in threads:
    thread.start()
children = []
for number in range(8):
    time.sleep(0.003 * number)
    child = os.fork()
    if not child:
        try:
            worker()
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
            os._exit(1)
        # As a web server's worker ends, which waits for the threads that it believes to have.
        sys.exit(0)
    children.append(child)
print([os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children])
ended.set()
for thread in threads:
    thread.join()
"""


@needs_fork
def test_forks_while_other_threads_hash(large, program):
    assert program(FORKED) == f"{[0] * 8}\n"


POOLS = """
import multiprocessing, sys, threading, warnings
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
import vcm

warnings.simplefilter("ignore", DeprecationWarning)

def ask(name):
    return str(vcm.require(name, max_age=0))

def refuse(name):
    return vcm.require(name)

if __name__ == "__main__":
    with ThreadPoolExecutor(4) as threads:
        expected = list(threads.map(ask, ["large"] * 4))
        with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context(sys.argv[1])) as processes:
            assert list(processes.map(ask, ["large"] * 4)) == expected
            try:
                processes.submit(refuse, "larg").result()
            except vcm.ConfigError as error:
                print(error, error.hint, sep="\\n")
"""


@pytest.mark.parametrize("method", [pytest.param("fork", marks=needs_fork), "spawn"])
def test_process_pools_after_threads(method, large, program):
    assert program(POOLS.replace("sys.argv[1]", repr(method))) == (
        'no model "larg" in models.toml, did you mean "large"?\nmodels of this project: large\n'
    )


def make_app() -> Any:
    """A web server whose start waits for the gate."""
    from fastapi import FastAPI

    @asynccontextmanager
    async def lifespan(app):
        app.state.models = package.gate()
        yield

    app = FastAPI(lifespan=lifespan)

    @app.get("/folder/{name}")
    def folder(name: str) -> str:
        return str(package.require(name, max_age=3600))

    @app.get("/names")
    async def names() -> list[str]:
        return list(app.state.models)

    return app


def test_a_web_server_starts_behind_the_gate(installed):
    from fastapi.testclient import TestClient

    with TestClient(make_app()) as client:
        assert client.get("/names").json() == ["frames"]
        assert client.get("/folder/frames").json() == str(installed)


def test_a_web_server_that_is_refused_does_not_start(installed):
    from fastapi.testclient import TestClient

    (installed / "config.json").unlink()
    with pytest.raises(package.ModelChecksumError) as caught, TestClient(make_app()):
        pytest.fail("it has started")
    assert str(caught.value) == "frames: not what is locked: config.json: missing"
    assert caught.value.hint == "run vcm verify --repair"


CONFTEST = """
import pytest
import vcm

@pytest.fixture(scope="session")
def frames():
    return vcm.require("frames")
"""
TESTS = """
def test_config(frames):
    assert (frames / "config.json").read_text() == "{}\\n"

def test_weights(frames):
    assert (frames / "model.safetensors").stat().st_size == 4096
"""


def run_tests(folder: Path) -> str:
    command = (sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", "--rootdir", folder)
    # Only pytest's own plugins, which takes a third of the time.
    environ = os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    return subprocess.run(
        (*command, folder), cwd=folder, env=environ, capture_output=True, text=True, timeout=60, check=False
    ).stdout


def test_a_test_run_asks_for_its_model(installed, project):
    folder = project / "tests"
    folder.mkdir()
    (folder / "conftest.py").write_text(CONFTEST)
    (folder / "test_frames.py").write_text(TESTS)
    assert "2 passed" in run_tests(folder)
    (installed / "more.json").touch()
    refused = run_tests(folder)
    assert "2 errors" in refused
    assert "ModelChecksumError: frames: not what is locked: more.json: does not belong there" in refused
    assert "hint: run vcm verify --repair" in refused


CELLS = """\
import vcm
folder = vcm.require("frames")
print(folder.name)
(folder / "config.json").chmod(0o644)
_ = (folder / "config.json").write_text("[]\\n")
vcm.require("frames")
_ = (folder / "config.json").write_text("{}\\n")
print(vcm.require("frames") == folder)
"""


def test_a_notebook_below_the_project_sees_what_changes_between_two_cells(installed, project):
    folder = project / "notebooks" / "first"
    folder.mkdir(parents=True)
    done = subprocess.run(
        (sys.executable, "-i", "-q"), input=CELLS, cwd=folder, capture_output=True, text=True, timeout=30, check=True
    )
    assert done.stdout == f"{installed.name}\nTrue\n"
    assert "ModelChecksumError: frames: not what is locked: config.json: expected sha256:ca3d163b" in done.stderr
    assert "hint: run vcm verify --repair" in done.stderr
