"""A file comes from the first source that gives it, whatever the others do."""

from __future__ import annotations

import hashlib
import threading
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.conftest import TOKEN, closed_port
from tests.mirrors.conftest import DATA, DIGEST, locked, mirror_at
from tests.servers import needs
from vcm.core.mirrors import Mirror
from vcm.errors import (
    CHECKSUM_MISMATCH,
    NETWORK_ERROR,
    NOT_FOUND,
    NOT_INSTALLED,
    ModelChecksumError,
)
from vcm.install import receiving
from vcm.mirrors.folder import FolderMirror
from vcm.mirrors.opening import open_mirrors
from vcm.mirrors.registry import RegistryMirror
from vcm.store.blobs import BlobStore
from vcm.testing import Fault

OTHER = hashlib.shake_128(b"other").digest(len(DATA))
LABEL = "m/model.safetensors"
WRONG = f"mirror rack is not asked any more in this run: it sent wrong bytes for {LABEL}"
NO_ORIGIN_HINT = (
    "put it into a mirror with vcm push, or let the hub be asked: without --no-origin, and with fallback = true under "
    "[origin]"
)


def folder(path: Path, *files: bytes) -> Mirror:
    """A mirror that is a folder with some files."""
    blobs = BlobStore(path)
    blobs.prepare()
    for data in files:
        place = blobs.path(hashlib.sha256(data).hexdigest())
        place.write_bytes(data)
        place.chmod(0o444)
    return mirror_at(path.name, path.as_uri())


def nobody(name: str = "dead") -> Mirror:
    return mirror_at(name, f"http://127.0.0.1:{closed_port()}")


# In order


def test_a_mirror_that_has_it_is_all_that_is_asked(hub, rack, sync):
    run = sync(rack.mirror())
    run.assert_installed()
    assert (run.result.bytes_fetched, run.result.supplied) == (len(DATA), {"rack": len(DATA)})
    assert rack.ranges() == [None]
    assert hub.requests == []
    assert run.notices == []
    assert run.session.reporter.progress == {LABEL: len(DATA)}


@pytest.mark.parametrize("status", [404, 410, 403, 400])
def test_a_mirror_without_it_is_asked_once(hub, rack, sync, status):
    rack.fail(status=status)
    run = sync(rack.mirror(), token=TOKEN)
    run.assert_installed()
    assert run.result.supplied == {None: len(DATA)}
    notices = ["mirror rack failed for m/model.safetensors: answers 400"] if status == 400 else []
    assert (rack.ranges(), run.waits, run.notices) == ([None], [], notices)
    hub_saw = [request.headers.get("authorization") for request in hub.requests if request.origin == "hub"]
    assert hub_saw == [f"Bearer {TOKEN}"]
    rack_saw = [request.headers.get("authorization") for request in rack.simulator.requests]
    assert rack_saw == [None], "the hub's token goes to the hub only"


def test_mirrors_are_asked_in_their_order(hub, racks, rack, sync, tmp_path):
    empty, second = racks(b"something else"), racks()
    run = sync(empty.mirror("empty"), folder(tmp_path / "nfs"), second.mirror("second"), rack.mirror(), fallback=False)
    run.assert_installed()
    assert run.result.supplied == {"second": len(DATA)}
    assert (empty.ranges(), second.ranges(), rack.ranges(), hub.requests) == ([None], [None], [], [])


def test_a_folder_in_its_place_in_the_order(hub, rack, sync, tmp_path):
    run = sync(folder(tmp_path / "a"), folder(tmp_path / "b", DATA), rack.mirror())
    run.assert_installed()
    assert run.result.supplied == {"b": len(DATA)}
    assert (rack.ranges(), hub.requests) == ([], [])
    assert run.session.reporter.progress == {LABEL: len(DATA)}


def test_offline_folders_remain(hub, rack, sync, tmp_path):
    sync(rack.mirror(), folder(tmp_path / "nfs", DATA), offline=True).assert_installed()
    assert (rack.ranges(), hub.requests) == ([], [])


def test_what_several_models_share_is_asked_once_of_a_mirror(hub, rack, session, model):
    repo = hub.add_repo("acme/n", {"other.safetensors": DATA})
    twin = locked(repo.head(), {"other.safetensors": DATA})
    twin.__dict__.update(name="n", repo="acme/n")
    rack.fail(status=404, times=None)
    within = session(mirrors=[rack.mirror()])
    results = within.install(within.store.plan([model, twin]), 1.0)
    assert [each.error for each in results] == [None, None]
    assert sum(each.bytes_fetched for each in results) == len(DATA)
    assert rack.ranges() == [None]


def test_401_is_told_once(rack, hub, sync):
    files = {f"{number}.safetensors": bytes([number]) * 100 for number in range(5)}
    repo = hub.add_repo("acme/many", files)
    many = locked(repo.head(), files)
    many.__dict__.update(repo="acme/many")
    rack.fail(status=401, times=None)
    run = sync(rack.mirror(), of=many)
    run.assert_installed(*files.values())
    (notice,) = run.notices
    assert notice == (
        "mirror rack: access denied (status 401); give that mirror the header it wants, in the user's own "
        "configuration; what it does not give us is asked of the next source"
    )
    assert len(rack.ranges()) == 5


# Waiting


@pytest.mark.parametrize(
    ("fault", "waits"),
    [
        ({"status": 429, "headers": {"Retry-After": "7"}}, [7.0, 7.0]),
        ({"status": 503, "headers": {"Retry-After": "900"}}, [30.0, 30.0]),
        ({"status": 503}, [2.0, 2.0]),
        ({"status": 500}, [0.5, 1.0]),
        ({"status": 408}, [0.5, 1.0]),
        ({"cut_after": 0}, [0.5, 1.0]),
    ],
)
def test_a_mirror_that_fails_is_waited_for_a_little(hub, rack, sync, fault, waits):
    rack.fail(times=None, **fault)
    run = sync(rack.mirror())
    run.assert_installed()
    assert run.waits == waits
    assert len(rack.ranges()) == 3
    assert run.result.supplied == {None: len(DATA)}
    (notice,) = run.notices
    assert notice.startswith(f"mirror rack failed for {LABEL}: "), "one file is no reason to give a mirror up"


def test_a_mirror_that_fails_once_is_asked_again(hub, rack, sync):
    rack.fail(status=503, headers={"Retry-After": "1"})
    rack.fail(cut_after=100_000)
    run = sync(rack.mirror())
    run.assert_installed()
    assert run.waits == [1.0, 0.5]
    assert rack.ranges() == [None, None, "bytes=100000-"]
    assert hub.requests == []


# Broken off, gone on elsewhere


def test_bytes_of_one_source_are_continued_from_the_next(hub, racks, rack, sync):
    rack.fail(cut_after=100_000)
    rack.fail(cut_after=0, times=None)
    second = racks()
    second.fail(cut_after=100_000)
    second.fail(status=500, times=None)
    run = sync(rack.mirror(), second.mirror("second"))
    run.assert_installed()
    assert run.result.bytes_fetched == len(DATA), "no byte came twice"
    assert run.result.supplied == {"rack": 100_000, "second": 100_000, None: 100_000}
    assert second.ranges()[0] == "bytes=100000-"
    assert [request.headers.get("range") for request in hub.requests] == ["bytes=200000-"] * 2


@pytest.mark.parametrize("kind", ["http", "oci"])
def test_a_mirror_that_drips_is_left_and_its_bytes_are_kept(hub, loopback, http_answer, sync, monkeypatch, kind):
    monkeypatch.setattr(receiving, "_PATIENT_SECONDS", 0.2)

    def drip(connection, asked):
        start = int(asked.headers.get("range", "bytes=0-")[6:-1])
        said = {"Content-Length": str(len(DATA) - start), "Content-Range": f"bytes {start}-{len(DATA) - 1}/{len(DATA)}"}
        connection.sendall(http_answer(206 if start else 200, said, length=False))
        for byte in DATA[start:]:
            connection.sendall(bytes([byte]))
            time.sleep(0.02)

    server = loopback(drip)
    url = server.url if kind == "http" else f"oci://127.0.0.1:{server.port}/models/{{repo}}"
    run = sync(Mirror(name="slow", url=url))
    run.assert_installed()
    assert len(server.asked) == 3
    dripped = run.result.supplied["slow"]
    assert 3 <= dripped < 100
    assert run.result.supplied == {"slow": dripped, None: len(DATA) - dripped}


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "oci://127.0.0.1:1/models/{repo}"])
def test_every_mirror_may_be_silent_for_as_long(session, url):
    mirror: Any
    (mirror,) = open_mirrors(session(mirrors=(Mirror(name="m", url=url),)).settings)
    assert not isinstance(mirror, FolderMirror)
    http = mirror.client.http if isinstance(mirror, RegistryMirror) else mirror.http
    assert http._timeout.read_timeout == 30


def test_a_reset_in_the_middle(hub, loopback, sync):
    def answer(connection, asked):
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(DATA)}\r\nAccept-Ranges: bytes\r\n\r\n"
        connection.sendall(head.encode() + DATA[:50_000])
        time.sleep(0.05)
        connection.setsockopt(1, 13, b"\x01\0\0\0\0\0\0\0")  # SO_LINGER: a reset, not an end

    server = loopback(answer)
    run = sync(mirror_at("rack", server.url))
    run.assert_installed()
    assert len(server.asked) == 3
    assert run.result.supplied[None] >= len(DATA) - 150_000


def test_a_range_answered_with_the_whole_file_is_not_glued(hub, rack, sync):
    rack.fail(cut_after=100_000)
    rack.fail(ignore_range=True, times=None)
    run = sync(rack.mirror())
    run.assert_installed()
    assert rack.ranges() == [None, "bytes=100000-"]
    assert run.result.supplied == {"rack": len(DATA)}
    assert run.session.reporter.progress == {LABEL: len(DATA)}


def test_another_range_than_was_asked_for_costs_no_byte(hub, racks, rack, sync):
    rack.fail(cut_after=100_000)
    rack.fail(wrong_content_range=True, times=None)
    run = sync(rack.mirror())
    run.assert_installed()
    assert run.result.supplied == {"rack": 100_000, None: 200_000}
    reason = "the server sent another part of the file than was asked for"
    assert run.notices == [f"mirror rack failed for {LABEL}: {reason}"]


def test_a_folder_takes_over_from_a_broken_download(hub, rack, sync, tmp_path):
    rack.fail(cut_after=100_000)
    rack.fail(cut_after=0, times=None)
    run = sync(rack.mirror(), folder(tmp_path / "nfs", DATA))
    run.assert_installed()
    assert run.result.supplied == {"nfs": len(DATA)}
    assert run.session.reporter.progress == {LABEL: len(DATA)}


def test_the_next_run_continues_from_another_source(hub, rack, sync):
    hub.fail(Fault(origin="cdn", cut_after=120_000))
    hub.fail(Fault(origin="cdn", cut_after=0, times=None))
    assert sync().result.error.error_code == NETWORK_ERROR
    run = sync(rack.mirror())
    run.assert_installed()
    assert rack.ranges() == ["bytes=120000-"]
    assert run.result.supplied == {"rack": 180_000}


# Lies


@pytest.mark.parametrize(
    "lie", [{"corrupt": True}, {"flip": 250_000}, {"headers": {"Content-Length": None}, "endless": True}]
)
def test_wrong_bytes_cost_time_only(hub, rack, sync, lie):
    rack.fail(times=None, **lie)
    run = sync(rack.mirror())
    run.assert_installed()
    assert run.notices == [WRONG]
    assert rack.ranges() == [None], "it is asked for nothing more"
    assert run.result.supplied == {None: len(DATA)}
    assert [request.headers.get("range") for request in hub.requests] == [None, None], "whole, from one source"
    assert run.session.reporter.progress == {LABEL: len(DATA)}


@pytest.mark.parametrize(
    ("body", "notices"),
    # A range that begins behind the end is refused, which says less than wrong bytes do.
    [
        (b"<html>sign in</html>", [f"mirror rack failed for {LABEL}: answers 416"]),
        (OTHER[:-1], [WRONG]),
        (OTHER + b"x", [WRONG]),
    ],
)
def test_a_file_of_another_size_is_not_even_read(hub, racks, sync, body, notices):
    rack = racks(b"")
    rack.put(body, DIGEST)
    hub.fail(Fault(origin="cdn", cut_after=50_000))
    hub.fail(Fault(origin="cdn", cut_after=0, times=3))
    sync()
    run = sync(rack.mirror())
    run.assert_installed()
    assert run.notices == notices
    assert run.result.supplied == {None: len(DATA) - 50_000}, "what was here is kept"


def test_compressed_bytes_are_refused(hub, rack, sync):
    rack.fail(gzip=True, times=None)
    run = sync(rack.mirror())
    run.assert_installed()
    assert run.result.supplied == {None: len(DATA)}
    notice = f"mirror rack failed for {LABEL}: sends it compressed, which nobody asked for"
    assert (rack.ranges(), run.notices) == ([None], [notice])


def test_a_folder_with_a_wrong_file(hub, sync, tmp_path):
    mirror = folder(tmp_path / "rack", DATA)
    path = BlobStore(tmp_path / "rack").path(DIGEST)
    path.chmod(0o644)
    path.write_bytes(OTHER)
    path.chmod(0o444)
    run = sync(mirror)
    run.assert_installed()
    assert run.notices == [WRONG]
    assert run.session.reporter.progress == {LABEL: len(DATA)}


DOUBT = f"one of the mirrors rack and second sent wrong bytes for {LABEL}: it comes whole from one now"


def test_of_several_nobody_is_blamed_until_one_has_sent_it_all(hub, racks, rack, sync):
    rack.fail(cut_after=100_000)
    rack.fail(cut_after=0, times=None)
    liar, third = racks(), racks()
    liar.fail(flip=150_000, times=None)
    run = sync(rack.mirror(), liar.mirror("second"), third.mirror("third"))
    run.assert_installed()
    assert run.notices[:2] == [
        DOUBT,
        f"mirror second is not asked any more in this run: it sent wrong bytes for {LABEL}",
    ]
    assert run.notices[2].startswith(f"mirror rack failed for {LABEL}: ")
    assert len(run.notices) == 3
    assert liar.ranges() == ["bytes=100000-", None]
    assert third.ranges() == [None]
    assert run.result.supplied == {"third": len(DATA)}
    assert hub.requests == []


def test_who_lies_and_breaks_off_does_not_have_the_next_one_blamed(hub, racks, rack, sync):
    rack.fail(flip=10, cut_after=100_000)
    rack.fail(cut_after=0, times=None)
    honest = racks()
    run = sync(rack.mirror(), honest.mirror("second"), fallback=False)
    run.assert_installed()
    doubt, failed = run.notices
    assert doubt == DOUBT
    assert failed.startswith(f"mirror rack failed for {LABEL}: ")
    assert honest.ranges() == ["bytes=100000-", None]
    assert run.result.supplied == {"second": len(DATA)}
    assert hub.requests == []


def test_what_one_of_several_did_is_an_error_where_lies_are(hub, racks, rack, sync):
    rack.fail(flip=10, cut_after=100_000)
    rack.fail(cut_after=0, times=None)
    error = sync(rack.mirror(), racks().mirror("second"), strict_mirrors=True).result.error
    assert error.exit_code == 4
    assert error.message.startswith(f"one of the mirrors rack and second sent wrong bytes: expected sha256:{DIGEST}")
    assert error.hint == (
        "repair that mirror; without --strict-mirrors, the next source is asked instead of rack and second"
    )


def test_nobody_is_blamed_for_bytes_of_an_earlier_run(hub, rack, sync, cache):
    partial = BlobStore(cache)
    partial.prepare()
    partial.partial_path(DIGEST).write_bytes(OTHER[:1000])
    run = sync(rack.mirror(), strict_mirrors=True)
    run.assert_installed()
    assert (run.notices, rack.ranges()) == ([], ["bytes=1000-", None])
    assert hub.requests == []


def test_a_mirror_is_blamed_for_what_the_hub_has_ended(hub, rack, sync):
    rack.fail(flip=10, cut_after=100_000)
    rack.fail(cut_after=0, times=None)
    run = sync(rack.mirror())
    run.assert_installed()
    assert run.notices == [WRONG]
    assert run.result.supplied == {None: len(DATA)}


def test_an_empty_file_that_is_not_empty(hub, racks, sync):
    rack = racks(b"")
    rack.put(b"x", hashlib.sha256(b"").hexdigest())
    repo = hub.add_repo("acme/many", {"empty": b""})
    empty = locked(repo.head(), {"empty": b""})
    empty.__dict__.update(repo="acme/many")
    sync(rack.mirror(), of=empty).assert_installed(b"")


def test_strict_mirrors_makes_a_lie_an_error(hub, rack, sync):
    rack.fail(corrupt=True)
    run = sync(rack.mirror(), strict_mirrors=True)
    error = run.result.error
    assert isinstance(error, ModelChecksumError)
    assert error.exit_code == 4
    assert error.message.startswith(f"mirror rack sent wrong bytes: expected sha256:{DIGEST}, got sha256:")
    assert error.hint == "repair that mirror; without --strict-mirrors, the next source is asked instead of rack"
    assert (error.model, error.file) == ("m", "model.safetensors")
    assert hub.requests == []
    assert list(run.session.store.blobs.folder.iterdir()) == []


def test_the_origins_own_lies_are_told_as_ever(hub, rack, sync):
    rack.fail(corrupt=True)
    hub.fail(Fault(origin="cdn", corrupt=True, times=None))
    error = sync(rack.mirror()).result.error
    assert isinstance(error, ModelChecksumError)
    assert error.hint.startswith("the publisher or something on the way changed the file")
    assert [line.split("  ")[0] for line in error.details] == ["mirror rack", "the hub"]
    assert len([request for request in hub.requests if request.origin == "cdn"]) == 2


# Off


def many_files(hub, count: int = 20) -> tuple[dict[str, bytes], object]:
    files = {f"{number:02}.safetensors": bytes([number]) * 1000 for number in range(count)}
    repo = hub.add_repo("acme/many", files)
    model = locked(repo.head(), files)
    model.__dict__.update(repo="acme/many")
    return files, model


def test_twenty_files_and_a_dead_mirror(hub, sync):
    files, model = many_files(hub)
    dead = nobody()
    began = time.monotonic()
    run = sync(dead, of=model)
    assert time.monotonic() - began < 20
    run.assert_installed(*files.values())
    host = urlsplit(dead.url).netloc
    assert run.notices == [f"mirror dead is not asked any more in this run: {host}: connection refused"]
    assert run.waits == []


def test_a_folder_that_is_not_mounted_is_told_once(hub, sync, tmp_path):
    files, model = many_files(hub)
    run = sync(mirror_at("nfs", (tmp_path / "nfs").as_uri()), of=model)
    run.assert_installed(*files.values())
    assert run.notices == [f"mirror nfs is not asked any more in this run: {tmp_path}/nfs/blobs/sha256: no such folder"]


def test_three_files_in_a_row_are_enough(hub, rack, sync):
    files, model = many_files(hub)
    rack.fail(status=500, times=None)
    run = sync(rack.mirror(), of=model)
    run.assert_installed(*files.values())
    assert run.notices == ["mirror rack is not asked any more in this run: answers 500"]


def test_a_server_that_is_killed_meanwhile(hub, loopback, sync):
    sent = threading.Event()

    def answer(connection, asked):
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(DATA)}\r\nAccept-Ranges: bytes\r\n\r\n"
        connection.sendall(head.encode() + DATA[:50_000])
        sent.set()
        server.stopping.wait(10)

    server = loopback(answer)

    def kill() -> None:
        sent.wait(10)
        time.sleep(0.1)
        server.stop()

    killer = threading.Thread(target=kill)
    killer.start()
    run = sync(mirror_at("rack", server.url))
    killer.join()
    run.assert_installed()
    assert run.result.supplied == {"rack": 50_000, None: 250_000}
    (notice,) = run.notices
    assert notice.startswith(f"mirror rack is not asked any more in this run: 127.0.0.1:{server.port}: ")


# Nobody


def test_every_source_is_told_in_the_error(hub, rack, sync):
    dead = nobody()
    rack.fail(status=404)
    hub.fail(Fault(path="*/resolve/*", status=404, headers={"X-Error-Code": "EntryNotFound"}, times=None))
    error = sync(dead, rack.mirror()).result.error
    assert (error.error_code, error.exit_code) == (NOT_FOUND, 3)
    assert error.message.endswith("no such file")
    assert error.details == (
        f"mirror dead  {urlsplit(dead.url).netloc}: connection refused",
        "mirror rack  does not have it (status 404)",
        f"the hub      {error.message}",
    )
    assert error.hint.startswith("what was locked is gone from the hub: vcm sync --from DIR")


def test_without_the_origin(hub, rack, sync):
    rack.fail(status=404)
    error = sync(rack.mirror(), fallback=False).result.error
    assert (error.error_code, error.exit_code) == (NOT_INSTALLED, 1)
    assert str(error) == f"{LABEL}: not in the store, no mirror gave it, and this run does not ask the hub (300.0 kB)"
    assert error.details == ("mirror rack  does not have it (status 404)",)
    assert error.hint == NO_ORIGIN_HINT
    assert hub.requests == []


def test_without_the_origin_a_mirror_that_may_work_later_is_a_network_error(hub, rack, sync):
    rack.fail(status=404)
    error = sync(nobody(), rack.mirror(), fallback=False).result.error
    assert (error.error_code, error.exit_code) == (NETWORK_ERROR, 3)
    assert error.hint == "see to that mirror, then run the same command again: what has come is kept"
    assert hub.requests == []


def test_without_the_origin_wrong_bytes_are_wrong_bytes(hub, rack, sync):
    rack.fail(corrupt=True)
    error = sync(rack.mirror(), fallback=False).result.error
    assert (error.error_code, error.exit_code) == (CHECKSUM_MISMATCH, 4)
    assert error.hint == "repair that mirror: vcm mirror check --deep says which of its files are wrong"


@pytest.mark.parametrize("other", [OTHER, DATA[:-1]], ids=["bytes", "size"])
def test_without_the_origin_a_folders_wrong_bytes_are_wrong_bytes(hub, sync, tmp_path, other):
    mirror = folder(tmp_path / "rack", DATA)
    path = BlobStore(tmp_path / "rack").path(DIGEST)
    path.chmod(0o644)
    path.write_bytes(other)
    error = sync(mirror, fallback=False).result.error
    assert (error.error_code, error.exit_code) == (CHECKSUM_MISMATCH, 4)
    assert error.hint == "repair that mirror: vcm mirror check --deep says which of its files are wrong"


def test_without_the_origin_a_mirror_that_lied_has_lied_for_all(hub, rack, sync):
    files, model = many_files(hub, 2)
    for data in files.values():
        rack.put(data)
    rack.fail(corrupt=True, times=None)
    within = sync(rack.mirror(), of=model, fallback=False)
    assert within.result.error.error_code == CHECKSUM_MISMATCH
    assert len(within.notices) == 1


def test_without_the_origin_and_without_mirrors(hub, sync):
    error = sync(fallback=False).result.error
    assert str(error) == (
        f"{LABEL}: not in the store, and this run asks mirrors only, of which none is named (300.0 kB)"
    )
    assert (error.error_code, error.details) == (NOT_INSTALLED, ())
    assert error.hint == (
        "set VCM_MIRRORS to an address, or write a [[mirror]] into your own configuration: vcm mirror check says "
        "where that is"
    )
    assert hub.requests == []


def test_several_files_that_nobody_gave(hub, rack, sync, tmp_path):
    _, model = many_files(hub, 2)
    error = sync(rack.mirror(), folder(tmp_path / "nfs"), of=model, fallback=False).result.error
    assert error.message == (
        "2 files are not in the store, no mirror gave them, and this run does not ask the hub: "
        "00.safetensors (1.0 kB) and 01.safetensors (1.0 kB)"
    )
    assert error.details == ("mirror rack  does not have it (status 404)", "mirror nfs   does not have it")
    assert (error.error_code, error.hint) == (NOT_INSTALLED, NO_ORIGIN_HINT)


def test_several_files_that_nobody_may_fetch(hub, sync):
    _, model = many_files(hub, 2)
    error = sync(of=model, offline=True).result.error
    assert error.message == (
        "2 files are not in the store, and this run is offline: 00.safetensors (1.0 kB) and 01.safetensors (1.0 kB)"
    )
    assert error.details == ()


def test_a_mirror_that_fails_for_single_files_is_told_at_the_end(hub, rack, sync):
    files, model = many_files(hub, 2)
    for data in files.values():
        rack.put(data)
    rack.fail(status=500, path="*" + hashlib.sha256(files["01.safetensors"]).hexdigest(), times=None)
    within = sync(rack.mirror(), of=model)
    within.assert_installed(*files.values())
    assert within.notices == ["mirror rack failed for m/01.safetensors: answers 500"]


def test_offline_with_a_folder_that_has_it_not(hub, sync, tmp_path):
    error = sync(folder(tmp_path / "nfs"), offline=True).result.error
    assert str(error) == f"{LABEL}: not in the store, no mirror gave it, and this run is offline (300.0 kB)"
    assert error.details == ("mirror nfs  does not have it",)


# Several connections


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(receiving, "_LOOK_SECONDS", 0.01)
    monkeypatch.setattr(receiving, "_FAST", 1 << 60)
    monkeypatch.setattr(receiving, "_WORTH_READING_AHEAD", 1)
    monkeypatch.setattr(receiving, "SEGMENT", 32_768)


def test_a_slow_mirror_is_asked_over_several_connections(hub, rack, sync, impatient):
    rack.fail(rate=600_000, times=None)
    run = sync(rack.mirror())
    run.assert_installed()
    assert run.result.supplied == {"rack": len(DATA)}
    assert len(rack.ranges()) > 5
    assert hub.requests == []


@pytest.mark.parametrize("fault", [{"ignore_range": True}, {"status": 500}, {"gzip": True}, {"cut_after": 0}])
def test_a_mirror_that_bears_one_connection_only(hub, rack, sync, impatient, fault):
    rack.fail(rate=2_000_000)
    rack.fail(times=3, **fault)
    run = sync(rack.mirror())
    run.assert_installed()
    assert not [each for each in run.notices if "not asked any more" in each]


# Other people's servers


@needs("nginx")
def test_nginx_over_a_store(hub, nginx, sync, session, model, tmp_path):
    other = session(folder=tmp_path / "other")
    assert other.install(other.store.plan([model]), 1.0)[0].error is None
    hub.clear_requests()
    server = nginx(tmp_path / "other")
    sync(mirror_at("rack", server.url)).assert_installed()
    assert server.log.read_text() == f"200 {len(DATA)} GET /blobs/sha256/{DIGEST} -\n"
    assert hub.requests == []


@needs("docker-registry")
def test_a_registry(hub, registry, sync, tmp_path):
    import requests

    begun = requests.post(f"{registry.url}/v2/models/acme/m/blobs/uploads/", timeout=10)
    where = f"{begun.headers['Location']}&digest=sha256:{DIGEST}"
    assert requests.put(where, data=DATA, timeout=10).status_code == 201
    mirror = Mirror(name="registry", url=f"oci://{registry.host}/models/{{repo}}")
    run = sync(mirror)
    run.assert_installed()
    assert run.result.supplied == {"registry": len(DATA)}
    registry.kill()
    run = sync(mirror, folder=tmp_path / "second")
    run.assert_installed()
    assert run.result.supplied == {None: len(DATA)}
    assert len(run.notices) == 1
