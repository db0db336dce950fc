"""A store in a folder of a group: what the umask lets its users do there, and what is told to those who may only read.

The users are this machine's, by number; they may read everything, because Python itself may be root's alone.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Result

GROUP, FIRST, SECOND = 70_000, 70_001, 70_002
A, B = b"a" * 5000, b"b" * 5000


@pytest.fixture
def store_with(hub, tmp_path: Path, manifest, vcm) -> Callable[[int], Path]:
    """Makes a store in a folder into which the whole group may write; the first user has installed a model there."""
    if os.name == "nt" or os.getuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("only root can be several users, with setpriv")
    hub.add_repo("acme/a", {"model.safetensors": A})
    hub.add_repo("acme/b", {"model.safetensors": B})

    def make(umask: int) -> Path:
        folder = tmp_path / "store"
        folder.mkdir()
        os.chown(folder, 0, GROUP)
        folder.chmod(0o2775)
        manifest('[models.a]\nrepo = "acme/a"\n')
        before = os.umask(umask)
        try:
            assert vcm("--cache-dir", folder, "sync").code == 0
        finally:
            os.umask(before)
        for path in folder.rglob("*"):
            assert path.stat().st_gid == GROUP
            mode = path.stat().st_mode
            os.chown(path, FIRST, GROUP)
            path.chmod(mode)
        return folder

    return make


@pytest.fixture
def second(tmp_path: Path) -> Callable[..., Result]:
    """Runs a command line as the second user, in a project of that one."""

    def run(store: Path, models: str, *arguments: str) -> Result:
        project = tmp_path / "second"
        project.mkdir(exist_ok=True)
        os.chown(project, SECOND, SECOND)
        (project / "models.toml").write_text("".join(f'[models.{name}]\nrepo = "acme/{name}"\n' for name in models))
        environment = {"VCM_CACHE_DIR": str(store), "HOME": str(project), "TMPDIR": str(project)}
        done = subprocess.run(
            [
                *("setpriv", f"--reuid={SECOND}", f"--regid={SECOND}", f"--groups={GROUP}"),
                *("--inh-caps=-all,+dac_read_search", "--ambient-caps=-all,+dac_read_search"),
                *(sys.executable, "-m", "vcm", *arguments),
            ],
            cwd=project,
            env={**os.environ, **environment},
            umask=0o002,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        if "setpriv" in done.stderr:
            pytest.skip(f"setpriv cannot be used here: {done.stderr}")
        return Result(done.returncode, done.stdout, done.stderr)

    return run


def test_a_group_uses_one_store(store_with, second):
    store = store_with(0o002)
    for path in store.rglob("*"):
        is_read_only = path.is_relative_to(store / "blobs" / "sha256") or path.suffix == ".safetensors"
        wanted = 0o2775 if path.is_dir() else 0o444 if is_read_only else 0o664
        assert oct(path.stat().st_mode & 0o7777) == oct(wanted), path
    # The first user's download was broken off: only its owner could make it read-only in the end.
    partial = store / "partial" / hashlib.sha256(B).hexdigest()
    partial.write_bytes(B[:1000])
    os.chown(partial, FIRST, GROUP)
    partial.chmod(0o664)
    done = second(store, "ab", "sync")
    assert (done.code, done.err) == (0, "fetching 1 file, 5.0 kB\n")
    blob = store / "blobs" / "sha256" / hashlib.sha256(B).hexdigest()
    assert (blob.read_bytes(), blob.stat().st_uid, blob.stat().st_mode & 0o777) == (B, SECOND, 0o444)


def test_who_may_only_read_uses_it_all_the_same(store_with, second):
    # Its folders are the first user's alone, as that one's umask says.
    store = store_with(0o022)
    cannot = "cannot use {}: permission denied"
    done = second(store, "a", "sync")
    assert (done.code, done.out.splitlines()[-1]) == (0, "Nothing to do: 1 model installed")
    assert done.err == (
        "note: the store cannot take down that this project uses it, so vcm cache prune may remove its models: "
        f"{cannot.format(store / 'registry.json.lock')}\n"
    )
    done = second(store, "ab", "sync")
    assert done.code == 5
    assert done.err == (
        f"error: {cannot.format(store / 'in-use' / 'store.lock')}\n"
        "hint: check who owns it, or choose another folder with --cache-dir\n"
    )
