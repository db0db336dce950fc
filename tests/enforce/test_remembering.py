"""``require`` again and again in one process: quick, and it sees every change between two calls."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier, Event

import pytest

import vcm as package
from vcm.enforce.remembering import RememberingProject
from vcm.errors import VcmError

LONG_AGO = 1_000_000_000


def age(path: Path) -> None:
    """Let a file be old enough to be remembered."""
    os.utime(path, (LONG_AGO, LONG_AGO))


@pytest.fixture
def remembered(installed, project) -> RememberingProject:
    """A project whose files this process knows by now."""
    age(project / "models.toml")
    age(project / "models.lock")
    assert package.require("frames") == installed
    known = RememberingProject(project)
    assert known.lock() is RememberingProject(project).lock()
    assert known.manifest() is RememberingProject(project).manifest()
    return known


def rewrite(path: Path, old: str, new: str) -> None:
    """Change a file in place; its time of writing is put back, and its size is the same where the words are."""
    status = path.stat()
    path.chmod(0o644)
    path.write_text(path.read_text().replace(old, new))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def changed_bytes(snapshot: Path) -> None:
    file = snapshot / "config.json"
    file.chmod(0o644)
    file.write_bytes(b"[]\n")


def replaced_file(snapshot: Path) -> None:
    file = snapshot / "config.json"
    status = file.stat()
    other = snapshot.parent / "other"
    other.write_bytes(b"[]\n")
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
    other.replace(file)


def extra_file(snapshot: Path) -> None:
    (snapshot / "more.json").write_bytes(b"")


def missing_file(snapshot: Path) -> None:
    (snapshot / "config.json").unlink()


def a_link(snapshot: Path) -> None:
    (snapshot / "config.json").rename(snapshot.parent / "config.json")
    (snapshot / "config.json").symlink_to(snapshot.parent / "config.json")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (changed_bytes, "frames: not what is locked: config.json: expected sha256:ca3d163b"),
        (replaced_file, "frames: not what is locked: config.json: expected sha256:ca3d163b"),
        (extra_file, "frames: not what is locked: more.json: does not belong there"),
        (missing_file, "frames: not what is locked: config.json: missing"),
        (a_link, "frames: not what is locked: config.json: expected 3 bytes, found no regular file"),
        (shutil.rmtree, "frames: not installed"),
    ],
)
def test_a_change_of_the_files_is_seen(damage: Callable[[Path], None], message, remembered, installed):
    damage(installed)
    with pytest.raises(VcmError) as caught:
        package.require("frames")
    assert str(caught.value).startswith(message)


def test_a_change_of_the_record_is_seen(remembered, installed, cache):
    (record,) = (cache / "verified").iterdir()
    changed_bytes(installed)
    size, mtime, inode = (installed / "config.json").stat()[6], (installed / "config.json").stat().st_mtime_ns, 0
    record.write_text(f'{{"config.json": [{size}, {mtime}, {inode}]}}')
    with pytest.raises(VcmError, match=r"not what is locked: config\.json"):
        package.require("frames")
    record.unlink()
    with pytest.raises(VcmError, match=r"not what is locked: config\.json"):
        package.require("frames")


def test_a_change_of_the_lock_is_seen(remembered, installed, project):
    rewrite(project / "models.lock", "1234567890" * 4, "1234567890" * 3 + "0123456789")
    assert RememberingProject(project).required_lock().models[0].commit == "1234567890" * 3 + "0123456789"
    assert package.require("frames") == installed
    rewrite(project / "models.lock", "size = 3", "size = 4")
    with pytest.raises(VcmError, match="the rows of files add up to 4100 bytes"):
        package.require("frames")
    (project / "models.lock").unlink()
    with pytest.raises(VcmError, match=r"no models\.lock in"):
        package.require("frames")


def test_a_change_of_the_manifest_is_seen(remembered, project):
    rewrite(project / "models.toml", "acme/frames", "acme/framed")
    with pytest.raises(VcmError, match=r"models\.lock does not fit models\.toml: a requirement has changed"):
        package.require("frames")
    rewrite(project / "models.toml", "acme/framed", "acme/frames")
    package.require("frames")
    rewrite(project / "models.toml", "[models.frames]", "[policy]\nowners = ['other']\n[models.frames]")
    with pytest.raises(VcmError, match='its owner is "acme", allowed is other'):
        package.require("frames")
    (project / "models.toml").unlink()
    with pytest.raises(VcmError, match=r"no models\.toml in"):
        package.require("frames", project)


def test_a_replaced_lock_is_seen(remembered, project):
    other = project / "other"
    shutil.copy(project / "models.lock", other)
    rewrite(other, "1234567890" * 4, "0" * 40)
    other.replace(project / "models.lock")
    assert RememberingProject(project).required_lock().models[0].commit == "0" * 40


def test_what_was_written_a_moment_ago_is_read_each_time(installed, project):
    # Two changes within one step of the file system's clock look the same from outside.
    (project / "models.toml").touch()
    assert RememberingProject(project).manifest() is not RememberingProject(project).manifest()
    soon = time.time() + 1000
    os.utime(project / "models.toml", (soon, soon))
    assert RememberingProject(project).manifest() is not RememberingProject(project).manifest()


def test_fifty_threads_at_once(installed, project):
    age(project / "models.toml")
    age(project / "models.lock")
    start, damaged = Barrier(50), Event()

    def ask(number: int) -> list[Path | str]:
        start.wait()
        before = package.require("frames")
        start.wait()
        if number == 0:
            changed_bytes(installed)
            damaged.set()
        damaged.wait()
        try:
            return [before, package.require("frames")]
        except VcmError as error:
            return [before, error.error_code]

    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(ask, range(50)))
    assert answers == [[installed, "CHECKSUM_MISMATCH"]] * 50
