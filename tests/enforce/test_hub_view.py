"""hub_view(): unchanged code in this process finds the locked models, and all is as before afterwards."""

from __future__ import annotations

import os
import subprocess
import sys
import types
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
from huggingface_hub import constants, errors, hf_hub_download, scan_cache_dir, snapshot_download

import vcm as package
from tests.enforce.conftest import COMMIT

MOVED = ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE")


def in_force() -> tuple[object, ...]:
    names = (*MOVED, "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "TRANSFORMERS_CACHE", "VCM_PROJECT")
    return (*[os.environ.get(name) for name in names], *[getattr(constants, name) for name in MOVED])


@pytest.fixture
def views(installed, cache):
    return lambda: [path.name for path in (cache / "hub-views").glob("*")]


def test_unchanged_code_gets_the_locked_files(installed, hub, views):
    before = in_force()
    with package.hub_view() as paths:
        assert paths == {"frames": installed}
        folder = Path(snapshot_download("acme/frames"))
        assert folder.name == COMMIT
        assert (folder / "config.json").samefile(installed / "config.json")
        assert Path(hf_hub_download("acme/frames", "config.json", revision="main")).samefile(installed / "config.json")
        assert constants.HF_HUB_OFFLINE
        found = scan_cache_dir(constants.HF_HUB_CACHE)
        assert [repo.repo_id for repo in found.repos] == ["acme/frames"]
        assert found.warnings == []
        with pytest.raises(errors.LocalEntryNotFoundError):
            snapshot_download("acme/other")
        with pytest.raises(errors.LocalEntryNotFoundError):
            snapshot_download("acme/frames", revision="v9")
    assert in_force() == before
    assert hub.requests == []
    assert views() == []


def test_what_was_set_before_comes_back(installed, monkeypatch):
    monkeypatch.setenv("TRANSFORMERS_CACHE", "/theirs")
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    before = dict(os.environ)
    with package.hub_view():
        assert "TRANSFORMERS_CACHE" not in os.environ
        assert os.environ["HF_HUB_OFFLINE"] == "1"
    assert dict(os.environ) == before
    with pytest.raises(ZeroDivisionError), package.hub_view():
        _ = 1 // 0
    assert dict(os.environ) == before


def test_copies_that_modules_hold(installed, monkeypatch):
    mine: Any = types.ModuleType("mine")
    mine.TRANSFORMERS_CACHE, mine.HF_HUB_OFFLINE, mine.DIFFUSERS_CACHE = "/old", False, Path("/not/a/text")
    monkeypatch.setitem(sys.modules, "mine", mine)
    late: Any = types.ModuleType("late")
    with package.hub_view():
        assert os.environ["HF_HUB_CACHE"] == mine.TRANSFORMERS_CACHE
        assert mine.HF_HUB_OFFLINE is True
        assert Path("/not/a/text") == mine.DIFFUSERS_CACHE
        # One that is imported now reads the environment of now.
        late.HF_HUB_CACHE, late.HF_HUB_OFFLINE = os.environ["HF_HUB_CACHE"], True
        monkeypatch.setitem(sys.modules, "late", late)
    assert (mine.TRANSFORMERS_CACHE, mine.HF_HUB_OFFLINE) == ("/old", False)
    assert (str(Path(os.environ["HF_HOME"], "hub")), False) == (late.HF_HUB_CACHE, late.HF_HUB_OFFLINE)


def test_sessions_of_older_clients_are_made_anew(installed, monkeypatch):
    made = []
    monkeypatch.setattr(
        sys.modules["huggingface_hub.utils._http"], "reset_sessions", lambda: made.append(1), raising=False
    )
    with package.hub_view():
        assert len(made) == 1
    assert len(made) == 2


def test_nested_and_from_threads(installed, views):
    together = Barrier(4, timeout=10)

    def work(_: int) -> tuple[str, str]:
        with package.hub_view():
            together.wait()
            with package.hub_view() as paths:
                folder = snapshot_download("acme/frames")
            together.wait()
            assert snapshot_download("acme/frames") == folder
            return folder, str(paths["frames"])

    before = in_force()
    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(work, range(4)))) == 1
    assert in_force() == before
    assert views() == []


def test_another_view_meanwhile(installed, hub, tmp_path, vcm, views):
    other = tmp_path / "other"
    other.mkdir()
    hub.add_repo("acme/other", {"config.json": b"{}"})
    (other / "models.toml").write_text('[models.other]\nrepo = "acme/other"\n')
    assert vcm("--project", other, "sync").code == 0
    with package.hub_view():
        with pytest.raises(package.ConfigError) as caught, package.hub_view(other):
            pass
        assert caught.value.message == f"another hub_view() is in force in this process, of {Path.cwd()}"
        assert caught.value.hint == "leave it first, or start one of the two with vcm run"
        assert snapshot_download("acme/frames")
    with package.hub_view(other) as paths:
        assert list(paths) == ["other"]
        assert package.require("other") == paths["other"]
    assert views() == []


def test_the_gate_stands_before_it(installed, cache, views):
    before = in_force()
    (installed / "config.json").chmod(0o644)
    (installed / "config.json").write_bytes(b"[]\n")
    with pytest.raises(package.ModelChecksumError), package.hub_view():
        pass
    assert in_force() == before
    assert views() == []


FORKS = """
import os, threading, vcm
from huggingface_hub import snapshot_download

def leaves_in_the_child():
    with vcm.hub_view():
        child = os.fork()
        assert snapshot_download("acme/frames")
        if child:
            assert os.waitpid(child, 0)[1] == 0
            assert snapshot_download("acme/frames")
    if not child:
        os._exit(0)

def outlives_the_parents_body():
    reading, writing = os.pipe()
    with vcm.hub_view():
        child = os.fork()
        if not child:
            os.close(writing)
            os.read(reading, 1)
            os._exit(0 if snapshot_download("acme/frames") else 1)
    os.close(writing)
    assert os.waitpid(child, 0)[1] == 0

def while_another_thread_enters():
    stop = threading.Event()
    def enter():
        while not stop.is_set():
            with vcm.hub_view():
                pass
    thread = threading.Thread(target=enter)
    thread.start()
    for _ in range(10):
        child = os.fork()
        if not child:
            with vcm.hub_view():
                os._exit(0 if snapshot_download("acme/frames") else 1)
        assert os.waitpid(child, 0)[1] == 0
    stop.set()
    thread.join()

leaves_in_the_child()
outlives_the_parents_body()
while_another_thread_enters()
with vcm.hub_view():
    pass
"""


def test_forks(installed, views):
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORKS], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert views() == []
