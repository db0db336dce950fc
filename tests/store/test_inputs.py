"""Files that the user names: pipes and devices too."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from vcm.store import inputs
from vcm.store.inputs import read_input

if sys.platform == "win32":
    pytest.skip("there are no such files there", allow_module_level=True)


@pytest.fixture
def pipe(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    return path


def test_a_file_is_read_whole_or_beyond_what_is_allowed(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    assert read_input(path, 5) == b"12345"
    assert read_input(path, 4) == b"12345"
    assert read_input(path, 2) == b"123"
    path.write_bytes(b"")
    assert read_input(path, 5) == b""
    assert read_input(Path("/dev/zero"), 5) == bytes(6)
    assert read_input(Path("/dev/null"), 5) == b""


def test_a_pipe_is_read_to_its_end(pipe):
    def write() -> None:
        with pipe.open("wb", buffering=0) as stream:
            for piece in (b"a" * 100_000, b"b" * 100_000):
                time.sleep(0.1)
                stream.write(piece)

    writing = threading.Thread(target=write)
    writing.start()
    assert read_input(pipe, 1 << 20) == b"a" * 100_000 + b"b" * 100_000
    writing.join()


def test_a_pipe_that_nobody_writes_into(pipe, vcm, manifest, monkeypatch, tmp_path):
    monkeypatch.setattr(inputs, "_PATIENCE", 0.2)
    manifest("")
    assert vcm("lock").code == 0
    silent = f"cannot read {pipe}: nothing came from it for 0 s"
    result = vcm("diff", pipe)
    assert (result.code, result.err) == (2, f"error: {silent}\nhint: name a models.lock of another time\n")
    result = vcm("--project", tmp_path, "import", pipe)
    assert (result.code, result.err) == (2, f"error: {silent}\nhint: name the application's YAML file\n")


def test_the_output_of_another_command_is_compared(vcm, manifest, project):
    manifest("")
    assert vcm("lock").code == 0
    reading, writing = os.pipe()
    os.write(writing, (project / "models.lock").read_bytes())
    os.close(writing)
    done = subprocess.run(
        [sys.executable, "-m", "vcm", "diff", f"/dev/fd/{reading}"],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
        pass_fds=[reading],
    )
    os.close(reading)
    assert (done.returncode, done.stderr) == (0, "")


def test_an_endless_lock(vcm, manifest, monkeypatch):
    monkeypatch.setattr("vcm.store.old_locks._LARGEST", 1_000_000)
    manifest("")
    assert vcm("lock").code == 0
    result = vcm("diff", "/dev/zero")
    assert (result.code, result.err) == (
        2,
        "error: /dev/zero: longer than 1.0 MB\nhint: name a models.lock of another time\n",
    )


@pytest.mark.parametrize("place", ["", "nothing", "folder"])
def test_what_cannot_be_read(place, tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="directory"):
        read_input(tmp_path / place, 5)
