"""Bytes from elsewhere on this machine: shared or copied, hashed, and believed then."""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path

import pytest

from tests.conftest import oid_of
from vcm.store.admitting import Claim, NotAsClaimedError, admit
from vcm.store.blobs import BlobStore
from vcm.store.files import _reflink
from vcm.store.hashing import Hasher

CONTENT = b"bytes" * 100
DIGEST = hashlib.sha256(CONTENT).hexdigest()
WHOLE = Claim(sha256=DIGEST, size=500)


@pytest.fixture
def blobs(store):
    store.blobs.prepare()
    return store.blobs


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "source"
    path.write_bytes(CONTENT)
    return path


@pytest.fixture
def can_reflink(source):
    probe = source.with_name("probe")
    answer = _reflink(source, probe)
    if answer:
        probe.unlink()
    return answer


def refusal(blobs: BlobStore, source: Path, claim: Claim, **options: object) -> str:
    with pytest.raises(NotAsClaimedError) as caught:
        admit(blobs, source, claim, **options)  # type: ignore[arg-type]
    assert list(blobs.folder.iterdir()) == []
    assert list(blobs.partial_folder.iterdir()) == []
    return str(caught.value)


@pytest.mark.parametrize(
    "claim", [WHOLE, Claim(), Claim(size=500), Claim(oid=oid_of(CONTENT)), Claim(DIGEST, oid_of(CONTENT), 500)]
)
@pytest.mark.parametrize("may_link", [False, True])
def test_what_is_as_claimed(claim, may_link, blobs, source):
    told: list[int] = []
    assert admit(blobs, source, claim, may_link=may_link, progress=told.append) == (DIGEST, 500)
    assert blobs.path(DIGEST).read_bytes() == source.read_bytes() == CONTENT
    assert blobs.path(DIGEST).stat().st_mode & 0o777 == 0o444
    assert list(blobs.partial_folder.iterdir()) == []
    assert sum(told) == 500


def test_a_copy_is_its_owners_to_change(blobs, source):
    admit(blobs, source, WHOLE)
    source.write_bytes(b"changed afterwards")
    assert blobs.is_whole(DIGEST, 500)


def test_a_link_is_one_file_and_read_only(blobs, source, can_reflink):
    admit(blobs, source, WHOLE, may_link=True)
    assert can_reflink or blobs.path(DIGEST).samefile(source)
    assert can_reflink or source.stat().st_mode & 0o222 == 0
    # A second time both names are there already.
    admit(blobs, source, WHOLE, may_link=True)
    assert list(blobs.partial_folder.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() != 0, reason="only root can give files away")
def test_the_file_of_another_user_is_copied(blobs, source):
    os.chown(source, 12345, 12345)
    admit(blobs, source, WHOLE, may_link=True)
    assert not blobs.path(DIGEST).samefile(source)
    assert source.stat().st_mode & 0o200


@pytest.mark.parametrize("may_link", [False, True])
@pytest.mark.parametrize(
    ("content", "claim", "reason"),
    [
        (b"Bytes" * 100, WHOLE, f"is damaged, it should be sha256:{DIGEST}, not sha256:"),
        (CONTENT, Claim(sha256=DIGEST, size=501), "is damaged, it should have 501 bytes, not 500"),
        (b"", WHOLE, "is damaged, it should have 500 bytes, not 0"),
        (b"x", Claim(oid=oid_of(b"y")), f"is damaged, it should be the git blob {oid_of(b'y')}, not {oid_of(b'x')}"),
    ],
)
def test_what_is_not_as_claimed_is_left_as_it_was(content, claim, reason, may_link, blobs, source):
    source.write_bytes(content)
    assert refusal(blobs, source, claim, may_link=may_link).startswith(reason)
    assert source.read_bytes() == content
    assert source.stat().st_mode & 0o200


@pytest.mark.parametrize("kind", ["missing", "folder", "link", "pipe"])
def test_what_is_no_file(kind, blobs, tmp_path, source):
    path = tmp_path / "path"
    if kind == "folder":
        path.mkdir()
    elif kind == "link":
        path.symlink_to(source)
    elif kind == "pipe":
        os.mkfifo(path)
    assert refusal(blobs, path, WHOLE) == ("is gone" if kind == "missing" else "cannot be read")


@pytest.mark.parametrize("may_link", [False, True])
@pytest.mark.parametrize("kind", ["rewritten", "longer", "another file", "gone"])
def test_what_changes_while_it_is_read(kind, may_link, blobs, source):
    def change(_: int) -> None:
        if kind == "rewritten":
            source.write_bytes(b"later" * 100)
        elif kind == "longer":
            with source.open("ab") as stream:
                stream.write(b"more")
        else:
            source.rename(source.with_name("moved"))
            if kind == "another file":
                source.write_bytes(b"later" * 100)

    try:
        admit(blobs, source, Claim(), may_link=may_link, progress=change)
    except NotAsClaimedError as error:
        assert str(error) in ("changed while it was read", "is gone")  # noqa: PT017
    # Whatever was taken, if anything: a blob is what its name says.
    for blob in blobs.folder.iterdir():
        assert hashlib.sha256(blob.read_bytes()).hexdigest() == blob.name
    assert list(blobs.partial_folder.iterdir()) == []


def test_work_that_is_called_off_leaves_nothing(blobs, source):
    def stop(_: int) -> None:
        raise KeyboardInterrupt

    for may_link in (False, True):
        with pytest.raises(KeyboardInterrupt):
            admit(blobs, source, WHOLE, may_link=may_link, progress=stop)
    assert list(blobs.folder.iterdir()) == list(blobs.partial_folder.iterdir()) == []
    assert source.stat().st_mode & 0o200


@pytest.mark.parametrize("may_link", [False, True])
def test_what_was_found_out_is_remembered(may_link, blobs, source):
    hasher = Hasher()
    refusal(blobs, source, Claim(sha256="0" * 64), may_link=may_link, hasher=hasher)
    assert hasher.known(source) == DIGEST


@pytest.mark.skipif(sys.platform != "linux", reason="no such files")
def test_what_says_that_it_is_empty_is_not_read(blobs):
    """In a folder such as ``/``, that may be a file of the system, which keeps its reader until there is something."""
    digest = hashlib.sha256().hexdigest()
    assert admit(blobs, Path("/proc/self/status"), Claim(sha256=digest, size=0)) == (digest, 0)
    assert blobs.path(digest).read_bytes() == b""
