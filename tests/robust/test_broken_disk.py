"""A disk that fails, once and at any moment, and one that is full: a clear error, and nothing wrong to see."""

from __future__ import annotations

import errno
import hashlib
import os
import random
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.robust.conftest import noise
from tests.robust.harness import Ended, Forge, partial_sizes, wrong_in
from vcm.testing import Fault

SEED = int(os.environ.get("ROBUST_SEED", "1"))
FAILING = [
    "fsync",
    "rename",
    "replace",
    "link",
    "mkdir",
    "chmod",
    "unlink",
    "scandir",
    "lstat",
    "stat",
    "rmdir",
    "open",
]
"""Functions of ``os``; the first six fail in the suite, too."""


def assert_is_clear(ended: Ended, reasons: tuple[str, ...], where: str) -> None:
    """It ended well, or with an error that says what happened and what to do."""
    assert "Traceback" not in ended.output, f"{where}: {ended}"
    if ended.code != 0:
        assert ended.code == 5, f"{where}: {ended}"
        assert "error: " in ended.output, f"{where}: {ended}"
        assert any(reason in ended.output for reason in (*reasons, " too little")), f"{where}: {ended}"
        assert "hint: " in ended.output, f"{where}: {ended}"


def fail_at(forge: Forge, cache: Path, name: str, number: int, error: int) -> None:
    """A run during which a function fails at its so-manieth call, and one after it."""
    where = f"{name} fails at call {number}"
    ended = forge.run("sync", **{"break": [name, number, error]})
    assert_is_clear(ended, (os.strerror(error).lower(), "permission denied", "no space left"), where)
    assert wrong_in(cache) == [], where
    after = forge.run("sync")
    assert after.code == 0, f"{where}, then: {after}"
    assert wrong_in(cache) == [], where
    assert forge.run("check").code == 0, where


def calls_of(forge: Forge, name: str) -> int:
    """How often a run calls a function."""
    return int(forge.run("sync", count=name).output.rpartition("calls: ")[2])


def test_a_call_that_fails(zoo, forge, cache):
    dice = random.Random(SEED)  # noqa: S311
    for name in FAILING[:6]:
        calls = calls_of(forge, name)
        shutil.rmtree(cache)
        fail_at(forge, cache, name, dice.randint(1, calls), dice.choice([errno.EIO, errno.ENOSPC]))
        shutil.rmtree(cache)


@pytest.mark.long
@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC, errno.EACCES])
@pytest.mark.parametrize("name", FAILING)
def test_every_call_that_fails(name, error, zoo, forge, cache, capsys):
    calls = calls_of(forge, name)
    for number in range(1, calls + 1):
        shutil.rmtree(cache)
        fail_at(forge, cache, name, number, error)
    with capsys.disabled():
        print(f"\n{name} failed with {errno.errorcode[error]} at each of {calls} calls")  # noqa: T201


@pytest.mark.parametrize("name", ["fsync", "rename"])
def test_a_disk_that_always_fails(name, zoo, forge, cache):
    ended = forge.run("sync", **{"break": [name, 0, errno.EIO]})
    assert ended.code == 5, ended
    assert_is_clear(ended, ("input/output error",), name)
    assert wrong_in(cache) == []
    assert not list((cache / "snapshots").glob("*"))
    assert forge.run("sync").code == 0
    assert forge.run("verify").code == 0


def test_bytes_that_could_not_be_made_durable_are_not_believed_later(hub, manifest, vcm, forge, cache):
    # The system says once that it could not write, and drops what it could not. Until they are dropped the bytes can
    # still be read, and hashed, and the next fsync has nothing to complain of.
    content = noise("one", 100_000)
    hub.add_repo("acme/one", {"model.safetensors": content})
    manifest('[models.one]\nrepo = "acme/one"\n')
    assert vcm("lock").code == 0
    blob = cache / "blobs" / "sha256" / hashlib.sha256(content).hexdigest()
    refused = 0
    for number in range(1, calls_of(forge, "fsync") + 1):
        shutil.rmtree(cache)
        ended = forge.run("sync", **{"break": ["fsync", number, errno.EIO]})
        if blob.exists():
            continue
        refused += 1
        assert ended.code == 5
        assert sum(partial_sizes(cache).values()) == 0
        sent = hub.bytes_sent
        assert forge.run("sync").code == 0
        assert hub.bytes_sent - sent > len(content)
    assert refused == 1


# Full


@pytest.fixture
def small(tmpfs: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Puts the store onto a file system of its own."""

    def put(options: str) -> Path:
        cache = tmpfs(options) / "cache"
        monkeypatch.setenv("VCM_CACHE_DIR", str(cache))
        return cache

    return put


def test_a_disk_that_is_too_small_from_the_start(zoo, forge, small):
    cache = small("size=3m")
    ended = forge.run("sync")
    assert ended.code == 5
    assert "2.7 MB are still to fetch, which needs 5.4 MB free" in ended.output
    assert wrong_in(cache) == []


@pytest.mark.parametrize("room", [0, 700_000, 2_300_000])
def test_somebody_else_fills_the_disk_meanwhile(room, zoo, forge, small, hub):
    cache = small("size=8m")
    # What was checked before the first byte is not there any more when it is needed.
    ballast = cache.parent / "ballast"
    hub.fail(Fault(origin="cdn", rate=4 << 20, delay=0.05, times=None))

    def fill() -> None:
        while not any(request.origin == "cdn" for request in hub.requests):
            time.sleep(0.01)
        with ballast.open("xb") as stream:
            os.posix_fallocate(stream.fileno(), 0, shutil.disk_usage(cache).free - room)

    filling = threading.Thread(target=fill)
    filling.start()
    ended = forge.run("sync")
    filling.join()
    assert_is_clear(ended, (" too little",), f"room for {room}")
    assert ended.code == 5, ended
    assert wrong_in(cache) == []
    here = sum(partial_sizes(cache).values()) + sum(path.stat().st_size for path in cache.glob("blobs/sha256/*"))
    assert here > room * 0.6 - 200_000

    hub.clear_faults()
    ballast.unlink()
    sent = hub.bytes_sent
    again = forge.run("sync")
    assert again.code == 0, again
    # What had come before was not fetched again.
    assert hub.bytes_sent - sent < sum(zoo.sizes.values()) - here + 200_000
    assert forge.run("verify").code == 0


@pytest.mark.parametrize("count", [12, 42, 75])
def test_no_room_for_more_files(count, zoo, forge, small):
    cache = small(f"size=50m,nr_inodes={count}")
    ended = forge.run("sync")
    assert_is_clear(ended, ("no space left for ", "too little"), f"{count} inodes")
    assert ended.code == 5, ended
    assert wrong_in(cache) == []


def test_copies_that_find_no_room(zoo, forge, small, project):
    # As many bytes as there are to copy, and none for the rest of a file's last block.
    cache = small("size=2700k")
    with (project / "models.toml").open("a") as stream:
        stream.write("[cache]\ndisk-headroom = 1\n")
    ended = forge.run("sync", "--offline", "--from", zoo.folder)
    assert ended.code == 5, ended
    assert wrong_in(cache) == []
    assert partial_sizes(cache) == {}
