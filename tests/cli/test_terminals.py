"""Where output leads: narrow terminals, those that know few letters, readers that leave, and what cannot be written."""

from __future__ import annotations

import fcntl
import json
import os
import re
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from vcm.cli.output import table
from vcm.testing import Fault

if sys.platform == "win32":
    pytest.skip("there are no such terminals there", allow_module_level=True)

ABSENT = "sys_platform == 'nowhere'"


@pytest.fixture
def excluded(hub, manifest, vcm):
    """Models of which some need not be here, locked and synced."""
    for name in ("here", "elsewhere", "heard", "luxury"):
        hub.add_repo(f"acme/{name}", {"config.json": b"{}", f"{name}.onnx": name.encode()}, commit="12" * 20)
    manifest(
        '[models.here]\nrepo = "acme/here"\n'
        f'[models.elsewhere]\nrepo = "acme/elsewhere"\nmarker = "{ABSENT}"\n'
        '[models.heard]\nrepo = "acme/heard"\ngroups = ["audio", "sound"]\noptional = true\n'
    )
    assert vcm("sync").code == 0


def test_list_says_what_need_not_be_here(excluded, vcm):
    lines = vcm("list").out.splitlines()
    assert [line.split(maxsplit=5)[5] for line in lines[1:]] == [
        f"not for this machine: {ABSENT}",
        "missing (group audio and sound, optional)",
        "installed",
    ]
    models = json.loads(vcm("list", "--json").out)["models"]
    assert [(each["name"], each["status"], each.get("marker")) for each in models] == [
        ("elsewhere", "excluded", ABSENT),
        ("heard", "missing", None),
        ("here", "installed", None),
    ]
    statuses = {each["name"]: each["status"] for each in json.loads(vcm("sync", "--json").out)["models"]}
    assert statuses == {"elsewhere": "skipped", "heard": "skipped", "here": "present"}


@pytest.fixture
def on_terminal(project) -> Callable[..., tuple[int, str]]:
    """Runs a command on a terminal of so many columns: exit code, and what is written there."""

    def run(*arguments: str, columns: int = 80, **environment: str) -> tuple[int, str]:
        control, terminal = os.openpty()
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        process = subprocess.Popen(
            [sys.executable, "-m", "vcm", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=terminal,
            stderr=terminal,
            env={**os.environ, "TERM": "xterm", "CI": "", **environment},
        )
        os.close(terminal)
        text = b""
        with suppress(OSError):
            while more := os.read(control, 65536):
                text += more
        os.close(control)
        return process.wait(timeout=20), text.decode().replace("\r\n", "\n")

    return run


def test_list_fits_the_terminal(excluded, on_terminal):
    code, text = on_terminal("list", columns=60)
    assert code == 0
    assert text.splitlines() == [
        "NAME       SOURCE         LOCKED        SIZE  STATE",
        "elsewhere  acme/elsewhe…  121212121212  11 B  not for this …",
        "heard      acme/heard     121212121212  7 B   missing (grou…",
        "here       acme/here      121212121212  6 B   installed",
    ]
    assert "not for this machine: sys_platform == 'nowhere'\n" in on_terminal("list", columns=200)[1]


def test_columns_stay_readable():
    rows = [["n" * 30, "x" * 30], ["short", "also"]]
    assert table(rows) == f"{'n' * 30}  {'x' * 30}\nshort{' ' * 27}also"
    assert table(rows, columns=40) == f"{'n' * 18}…  {'x' * 18}…\nshort{' ' * 16}also"
    assert table(rows, columns=5) == f"{'n' * 11}…  {'x' * 11}…\nshort{' ' * 9}also"
    assert table([], columns=5) == ""


@pytest.mark.parametrize(
    ("environment", "colored"),
    [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)],
)
def test_colors(environment, colored, project, on_terminal):
    code, text = on_terminal("list", **environment)
    assert code == 2
    assert text.startswith("\x1b[1;31merror\x1b[0m: " if colored else "error: ")


@pytest.mark.parametrize("environment", [{"TERM": "dumb"}, {"CI": "true"}])
def test_progress_without_moving_the_cursor(environment, locked, on_terminal):
    code, text = on_terminal("sync", **environment)
    assert code == 0
    assert text == (
        "fetching 1 file, 4.1 kB\nInstalled 1 model: 4.1 kB fetched, 12 B reused\n + frames  123456789012  installed\n"
    )


def run_with(arguments: list[str], **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # type: ignore[call-overload,no-any-return]
        [sys.executable, "-m", "vcm", *arguments], text=True, timeout=20, check=False, **options
    )


def test_few_letters(frames, wants_frames, hub, manifest, vcm, project):
    assert vcm("lock").code == 0
    (project / "old.lock").write_bytes((project / "models.lock").read_bytes())
    frames.commit({"model.safetensors": b"new"})
    assert vcm("lock", "--upgrade").code == 0
    arguments = ["diff", "old.lock"]
    known = run_with(arguments, capture_output=True)
    assert " → " in known.stdout
    done = run_with(arguments, capture_output=True, env=os.environ | {"PYTHONIOENCODING": "ascii"})
    assert (done.returncode, done.stdout, done.stderr) == (0, known.stdout.replace("→", "->"), "")


@pytest.mark.parametrize("arguments", [["check"], ["check", "--json"], ["sync", "--bogus", "--json"]])
def test_a_reader_that_has_gone_hides_no_failure(arguments, locked, vcm):
    reading, writing = os.pipe()
    os.close(reading)
    done = run_with(arguments, stdout=writing, stderr=subprocess.PIPE)
    os.close(writing)
    assert done.returncode == vcm(*arguments).code != 0
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_standard_error_that_is_full(unbuffered, locked, vcm, project):
    with Path("/dev/full").open("w") as full:
        environment = os.environ | {"PYTHONUNBUFFERED": unbuffered}
        done = run_with(["-v", "sync"], stdout=subprocess.PIPE, stderr=full, env=environment)
        assert (done.returncode, done.stdout.splitlines()[0]) == (
            0,
            "Installed 1 model: 4.1 kB fetched, 12 B reused",
        )
        assert run_with(["show", "nothing"], stdout=subprocess.PIPE, stderr=full, env=environment).returncode == 2


def test_a_disk_that_fills_up_on_the_way(hub, manifest, vcm, vcm_process, tmpfs, plain):
    folder = tmpfs("size=3m")
    hub.add_repo("acme/large", {"large.onnx": bytes(2_000_000)}, commit="12" * 20)
    manifest('[models.large]\nrepo = "acme/large"\n[cache]\ndisk-headroom = 1\n')
    assert vcm("lock").code == 0
    hub.fail(Fault(origin="cdn", stall_after=1_000_000, delay=2.0))
    process = vcm_process("--cache-dir", folder, "sync")
    while not any(each.stat().st_size == 1_000_000 for each in folder.glob("partial/*")):
        assert process.poll() is None
        time.sleep(0.02)
    with suppress(OSError), (folder / "filler").open("wb", buffering=0) as stream:
        while stream.write(bytes(4096)):
            pass
    _, err = process.communicate(timeout=20)
    message, hint = plain(err).splitlines()[-2:]
    assert process.returncode == 5
    # Nobody can tell exactly what the last pages of a disk hold.
    needed = r"error: large: (\S+ kB) are still to fetch, which needs \1 free in TMP/tmpfs0; .* free, .* kB too little"
    assert re.fullmatch(needed, message)
    assert hint == "hint: free some space, choose another folder with --cache-dir, or lower disk-headroom under [cache]"
    (folder / "filler").unlink()
    hub.clear_requests()
    assert vcm("--cache-dir", folder, "sync").code == 0
    assert ["bytes=1" in request.headers["range"] for request in hub.requests if request.origin == "cdn"] == [True]
