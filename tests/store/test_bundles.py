"""Reading tars that anybody may have made: what counts in them, and what is refused."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import tarfile
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vcm.core.bundles import SINCE
from vcm.errors import ConfigError, VcmError
from vcm.store import bundles
from vcm.store.admitting import NotAsClaimedError
from vcm.store.blobs import BlobStore
from vcm.store.bundles import BundleFile, Member

DATA = b"the right bytes"
SHA = hashlib.sha256(DATA).hexdigest()
BLOB = f"blobs/sha256/{SHA}"
END = bytes(1024)


def header(name: str, size: int, kind: bytes = tarfile.REGTYPE, **attributes) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.type = size, kind
    for key, value in attributes.items():
        setattr(info, key, value)
    return info.tobuf(tarfile.GNU_FORMAT)


def member(name: str, data: bytes, kind: bytes = tarfile.REGTYPE) -> bytes:
    return header(name, len(data), kind) + data + bytes(-len(data) % 512)


def pax(**records: str) -> bytes:
    """What stands before a header, and changes it."""
    text = b""
    for key, value in records.items():
        body = f" {key.replace('__', '.')}={value}\n".encode()
        length = len(body) + len(str(len(body) + 2))
        text += str(length).encode() + body
    return member("././@PaxHeader", text, tarfile.XHDTYPE)


@pytest.fixture
def opened(tmp_path):
    """A bundle of these bytes."""

    def write(data: bytes) -> BundleFile:
        path = tmp_path / "some.tar"
        path.write_bytes(data)
        return BundleFile(path)

    return write


@pytest.fixture
def blobs(tmp_path):
    store = BlobStore(tmp_path / "store")
    store.prepare()
    return store


def read(bundle: BundleFile) -> dict[str, list[bytes]]:
    data = bundle.path.read_bytes()
    return {
        sha256: [data[each.start : each.start + each.size] for each in members]
        for sha256, members in bundle.members.items()
    }


# What counts


def test_members_called_after_their_digest_count(opened):
    other = "f" * 64
    tar = opened(
        header("blobs/", 0, tarfile.DIRTYPE)
        + member(BLOB, DATA)
        + member("blobs/sha256/../x", b"no")
        + member("/" + BLOB, b"no")
        + member("../" + BLOB, b"no")
        + member(BLOB.upper(), b"no")
        + member(BLOB + "\n", b"no")
        + member(BLOB + "0", b"no")
        + header("blobs/sha256/" + "a" * 64, 0, tarfile.SYMTYPE, linkname="/etc/passwd")
        + header("blobs/sha256/" + "b" * 64, 0, tarfile.LNKTYPE, linkname=BLOB)
        + header("blobs/sha256/" + "c" * 64, 0, tarfile.FIFOTYPE)
        + header("blobs/sha256/" + "d" * 64, 0, tarfile.CHRTYPE)
        + member("./blobs/sha256/" + other, b"by hand")
        + END
    )
    assert read(tar) == {SHA: [DATA], other: [b"by hand"]}


def test_links_have_no_bytes_whatever_they_say(opened):
    size = 1 << 40
    links = b"".join(header("x", size, kind) for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE))
    assert read(opened(links + member(BLOB, DATA) + END)) == {SHA: [DATA]}


def test_what_stands_twice_is_there_twice(opened):
    assert read(opened(member(BLOB, b"the wrong bytes") + member(BLOB, DATA) + END)) == {
        SHA: [b"the wrong bytes", DATA]
    }


def test_names_and_sizes_may_stand_before_the_header(opened):
    long = member("././@LongLink", BLOB.encode() + b"\0", tarfile.GNUTYPE_LONGNAME)
    assert read(opened(long + member("cut off", DATA) + END)) == {SHA: [DATA]}
    padding = bytes(-len(DATA) % 512)
    tar = pax(path=BLOB, size=str(len(DATA)), comment="5 x=\n1") + header("y", 0) + DATA + padding + END
    assert read(opened(tar)) == {SHA: [DATA]}
    # Only for the one that follows.
    assert set(read(opened(pax(path=BLOB) + member("x", DATA) + member("y", DATA) + END))) == {SHA}
    # What is said of all is passed by.
    everywhere = member("pax_global_header", b"19 path=blobs/sha25\n", tarfile.XGLTYPE)
    assert read(opened(everywhere + member(BLOB, DATA) + END)) == {SHA: [DATA]}


@pytest.mark.parametrize("kind", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_every_format_is_read(kind, tmp_path):
    path = tmp_path / "x.tar"
    with tarfile.open(path, "w", format=kind) as tar:
        info = tarfile.TarInfo(BLOB)
        info.size = len(DATA)
        tar.addfile(info, io.BytesIO(DATA))
    assert read(BundleFile(path)) == {SHA: [DATA]}


def test_more_than_eight_gigabytes(opened, tmp_path):
    size = 9 << 30
    for kind in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        info = tarfile.TarInfo(BLOB)
        info.size = size
        head = info.tobuf(kind)
        bundle = opened(head)
        os.truncate(bundle.path, len(head) + size + 1024)
        assert bundle.members == {SHA: (Member(len(head), size),)}
        bundle.path.unlink()


def test_tar_itself_makes_one(tmp_path):
    (tmp_path / "blobs" / "sha256").mkdir(parents=True)
    (tmp_path / BLOB).write_bytes(DATA)
    for options in ([], ["--format=pax"], ["--format=v7"], ["--format=oldgnu"]):
        subprocess.run(["tar", *options, "-cf", "x.tar", "./blobs"], cwd=tmp_path, check=True)
        assert read(BundleFile(tmp_path / "x.tar")) == {SHA: [DATA]}


def test_a_delta_says_since_when(opened):
    for said, since in (
        ({"annotations": {SINCE: f"sha256:{SHA}"}}, SHA),
        ({"annotations": {SINCE: "sha256:x\x1b"}}, None),
        ({"annotations": {SINCE: 5}}, None),
        ({"annotations": []}, None),
        ([], None),
    ):
        bundle = opened(member("index.json", json.dumps(said).encode()) + member(BLOB, DATA) + END)
        assert bundle.since == since
    assert opened(member("index.json", b"[" * 100_000) + member(BLOB, DATA) + END).since is None


# What is refused


def refused(write, data: bytes) -> VcmError:
    with pytest.raises(VcmError) as caught:
        assert write(data).members
    return caught.value


@pytest.mark.parametrize(
    ("data", "code", "reason"),
    [
        (b"", 2, "no tar archive"),
        (b"{}", 2, "no tar archive"),
        (b"x" * 10_000, 2, "no tar archive"),
        (b"\x1f\x8b\x08" + bytes(600), 2, "compressed with gzip"),
        (b"\x28\xb5\x2f\xfd" + bytes(600), 2, "compressed with zstd"),
        (END, 2, "there are no blobs/ in it, so it is no bundle"),
        (member("model.safetensors", DATA) + END, 2, "there are no blobs/ in it, so it is no bundle"),
        (member(BLOB, DATA), 4, "damaged: it ends before its end mark, so it was cut short"),
        (member(BLOB, DATA) + bytes(511), 4, "damaged: it ends before its end mark, so it was cut short"),
        (member(BLOB, DATA)[:520], 4, f"damaged: it ends in the middle of {BLOB}, so it was cut short"),
        (header(BLOB, 1 << 62), 4, f"damaged: it ends in the middle of {BLOB}, so it was cut short"),
        (header(BLOB, -1), 4, f"damaged: it ends in the middle of {BLOB}, so it was cut short"),
        (member(BLOB, DATA) + b"x" * 512 + END, 4, "damaged: what stands at byte 1024 is no header"),
        (header("x\x1b[2J", 5), 4, "damaged: it ends in the middle of x\ufffd[2J, so it was cut short"),
        (
            member("x", bytes(2 << 20), tarfile.GNUTYPE_LONGNAME) + END,
            4,
            "damaged: it has a header that is larger than any is",
        ),
        (member("x", bytes(2 << 20), tarfile.XHDTYPE) + END, 4, "damaged: it has a header that is larger than any is"),
        (
            pax(size="9" * 18) + member(BLOB, DATA) + END,
            4,
            f"damaged: it ends in the middle of {BLOB}, so it was cut short",
        ),
        (member(BLOB, DATA, tarfile.GNUTYPE_SPARSE) + END, 2, f"{BLOB} is stored as a sparse file"),
        (pax(GNU__sparse__major="1") + member(BLOB, DATA) + END, 2, f"{BLOB} is stored as a sparse file"),
    ],
)
def test_what_is_no_bundle_is_refused(data, code, reason, opened, tmp_path):
    error = refused(opened, data)
    assert (error.exit_code, str(error)) == (code, f"--from {tmp_path / 'some.tar'}: {reason}")
    assert error.hint


def test_an_empty_bundle_is_one(opened):
    assert opened(member("oci-layout", b"{}") + member("index.json", b"{}") + END).members == {}


def test_members_are_counted(opened, monkeypatch):
    monkeypatch.setattr(bundles, "_MOST_MEMBERS", 3)
    assert read(opened(member("x", b"") + member(BLOB, DATA) + END)) == {SHA: [DATA]}
    assert str(refused(opened, header("x", 0) * 4 + END)).endswith(
        "damaged: it has more than 3 members, which no bundle has"
    )


@pytest.mark.parametrize("text", [b"2 " * (1 << 19), b"7 a=bc\n" * 150_000, b"1 " + b"a" * ((1 << 20) - 2)])
def test_what_stands_before_a_header_is_read_once(text, opened):
    started = time.process_time()
    bundle = opened(member("././@PaxHeader", text[: 1 << 20], tarfile.XHDTYPE) + member(BLOB, DATA) + END)
    assert bundle.members.keys() == {SHA}
    assert time.process_time() - started < 5


def test_what_is_no_file_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ConfigError) as caught:
        BundleFile(tmp_path / "pipe")
    assert str(caught.value) == f"--from {tmp_path / 'pipe'}: neither a folder nor a file"


# Whatever the bytes are


KINDS = st.sampled_from([bytes([kind]) for kind in b"0\x0015xgLSX7Z"])
NAMES = st.sampled_from([BLOB, "./" + BLOB, "../" + BLOB, "index.json", "oci-layout", "x", "blobs/sha256/" + "e" * 64])
PARTS = st.one_of(
    st.builds(member, NAMES, st.binary(max_size=1100), KINDS),
    st.builds(header, NAMES, st.integers(-(1 << 60), 1 << 60), KINDS),
    st.builds(lambda path, size: pax(path=path, size=size), NAMES, st.sampled_from(["0", "15", "-1", "9" * 18, "x"])),
    st.binary(min_size=512, max_size=512),
)


@given(parts=st.lists(PARTS, max_size=6), cut=st.integers(0, 3000), end=st.booleans())
def test_any_tar_is_read_or_refused(parts, cut, end, tmp_path_factory):
    data = b"".join(parts) + (END if end else b"")
    path = tmp_path_factory.getbasetemp() / "any.tar"
    path.write_bytes(data[: len(data) - cut] if not end else data)
    try:
        found = BundleFile(path).members
    except VcmError:
        return
    for sha256, members in found.items():
        assert len(sha256) == 64
        assert all(0 <= each.start <= each.start + each.size <= path.stat().st_size for each in members)


@given(
    files=st.lists(
        st.tuples(
            st.sampled_from(["blobs/sha256/", "./blobs/sha256/", "other/"]),
            st.binary(max_size=2000),
            st.sampled_from([tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]),
        ),
        min_size=1,
        max_size=8,
    )
)
def test_what_tarfile_writes_is_found(files, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "right.tar"
    expected: dict[str, list[bytes]] = {}
    with path.open("wb") as stream:
        stream.write(member("oci-layout", b"{}"))
        for folder, data, kind in files:
            sha256 = hashlib.sha256(data).hexdigest()
            info = tarfile.TarInfo(folder + sha256)
            info.size, info.mtime = len(data), 1.5
            stream.write(info.tobuf(kind) + data + bytes(-len(data) % 512))
            if "blobs" in folder:
                expected.setdefault(sha256, []).append(data)
        stream.write(END)
    assert read(BundleFile(path)) == expected


# Into the store


def admit(bundle: BundleFile, blobs: BlobStore, index: int = 0) -> list[int]:
    counts: list[int] = []
    bundle.admit(blobs, bundle.members[SHA][index], SHA, counts.append)
    return counts


def test_right_bytes_become_a_blob(opened, blobs):
    assert sum(admit(opened(member(BLOB, DATA) + END), blobs)) == len(DATA)
    assert blobs.path(SHA).read_bytes() == DATA
    assert blobs.path(SHA).stat().st_mode & 0o777 == 0o444
    assert list(blobs.partial_folder.iterdir()) == []


def test_wrong_bytes_do_not(opened, blobs):
    bundle = opened(member(BLOB, b"the wrong bytes") + member(BLOB, DATA) + END)
    with pytest.raises(NotAsClaimedError) as caught:
        admit(bundle, blobs)
    wrong = hashlib.sha256(b"the wrong bytes").hexdigest()
    assert str(caught.value) == f"is damaged, it should be sha256:{SHA}, not sha256:{wrong}"
    assert list(blobs.partial_folder.iterdir()) == list(blobs.folder.iterdir()) == []
    admit(bundle, blobs, 1)
    assert blobs.path(SHA).read_bytes() == DATA


def test_it_goes_on_from_what_is_there(opened, blobs):
    bundle = opened(member(BLOB, DATA) + END)
    blobs.partial_path(SHA).write_bytes(DATA[:4])
    assert admit(bundle, blobs) == [4, len(DATA) - 4]
    assert blobs.path(SHA).read_bytes() == DATA


@pytest.mark.parametrize("left", [b"xx", b"x" * 15, b"x" * 100])
def test_what_is_there_may_be_wrong(left, opened, blobs):
    blobs.partial_path(SHA).write_bytes(left)
    assert sum(admit(opened(member(BLOB, DATA) + END), blobs)) == len(DATA)
    assert blobs.path(SHA).read_bytes() == DATA


def test_a_stick_that_is_pulled_out(opened, blobs):
    bundle = opened(member(BLOB, DATA) + END)
    assert bundle.members
    bundle.path.unlink()
    with pytest.raises(NotAsClaimedError) as caught:
        admit(bundle, blobs)
    assert str(caught.value) == "cannot be read: no such file or directory"


def test_a_bundle_that_shrinks_meanwhile(opened, blobs):
    bundle = opened(member(BLOB, DATA) + END)
    assert bundle.members
    os.truncate(bundle.path, 520)
    with pytest.raises(NotAsClaimedError):
        admit(bundle, blobs)
    assert not Path(blobs.path(SHA)).exists()
