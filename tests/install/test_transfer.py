"""One file's way into the store, through everything that can go wrong with it."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from threading import Event
from types import SimpleNamespace
from typing import Any

import pytest
from pyfakefs.fake_filesystem_unittest import Patcher

from tests.conftest import TOKEN
from tests.install.conftest import wanted_file
from vcm.core.manifest import parse_checksum
from vcm.core.reporter import Reporter
from vcm.errors import (
    AUTHENTICATION_ERROR,
    CHECKSUM_MISMATCH,
    NETWORK_ERROR,
    NOT_FOUND,
    PERMISSION_ERROR,
    DiskSpaceError,
    ModelChecksumError,
    ModelDownloadError,
    VcmError,
)
from vcm.http.client import Address, HttpClient
from vcm.hub.client import HubClient
from vcm.install.origin import Origin
from vcm.install.transfer import Transfer
from vcm.install.wanted import WantedFile
from vcm.store.blobs import BlobStore
from vcm.testing import Fault, HubSimulator, SimulatedRepo

DATA = hashlib.shake_128(b"weights").digest(300_000)
DIGEST = hashlib.sha256(DATA).hexdigest()
DISABLED = "Access to this resource is disabled."
WRONG_HINT = (
    "the publisher or something on the way changed the file: run vcm lock --upgrade-model m only if you expected a "
    "change"
)


@pytest.fixture
def repo(hub):
    return hub.add_repo("acme/m", {"model.safetensors": DATA, "config.json": b"{}", "empty": b""})


@pytest.fixture
def wanted(hub, repo):
    return wanted_file(hub, repo, DATA)


def small(hub: HubSimulator, repo: SimulatedRepo, **changes: Any) -> WantedFile:
    config = repo.files()["config.json"]
    values: dict[str, Any] = {
        "model": "m",
        "path": "config.json",
        "url": f"{hub.endpoint}/acme/m/resolve/{repo.head()}/config.json",
        "repo": "acme/m",
        "size": 2,
        "oid": config.oid,
    }
    return WantedFile(**(values | changes))


def ranges(hub: HubSimulator, origin: str = "cdn") -> list[str | None]:
    """The ranges asked of an origin, in order."""
    return [request.headers.get("range") for request in hub.requests if request.origin == origin]


def cdn(**what: Any) -> Fault:
    return Fault(origin="cdn", **what)


def assert_whole(made: Any, wanted: WantedFile) -> None:
    path = made.blobs.path(DIGEST)
    assert path.read_bytes() == DATA
    assert made.stored() == [DIGEST]
    assert made.partials() == {}
    assert made.notes.progress == {wanted.label: len(DATA)}, "what was told of the progress adds up"
    assert made.notes.finished_files == [wanted.label]


# Whole


def test_a_file_is_fetched_once_and_is_read_only(hub, fetching, wanted):
    made = fetching()
    fetched = made.transfer.fetch(wanted)
    assert (fetched.sha256, fetched.size, fetched.bytes_fetched) == (DIGEST, len(DATA), len(DATA))
    assert_whole(made, wanted)
    assert made.blobs.path(DIGEST).stat().st_mode & 0o777 == 0o444
    hub.clear_requests()
    assert made.transfer.fetch(wanted).bytes_fetched == 0
    assert hub.requests == []


def test_a_small_file_is_checked_against_its_git_id_and_named_by_its_digest(hub, repo, fetching):
    made = fetching()
    digest = hashlib.sha256(b"{}").hexdigest()
    assert made.transfer.fetch(small(hub, repo)).sha256 == digest
    assert made.stored() == [digest]
    assert made.partials() == {}


def test_an_empty_file(hub, repo, fetching):
    made = fetching()
    digest = hashlib.sha256(b"").hexdigest()
    empty = small(hub, repo, path="empty", url=f"{hub.endpoint}/acme/m/resolve/main/empty", size=0, oid=None)
    assert made.transfer.fetch(empty).sha256 == digest
    assert made.transfer.fetch(replace(empty, sha256=digest)).size == 0
    with pytest.raises(ModelChecksumError):
        made.transfer.fetch(replace(empty, sha256=DIGEST))
    assert made.stored() == [digest]


def test_a_file_whose_size_nobody_promised(fetching, wanted):
    made = fetching()
    assert made.transfer.fetch(replace(wanted, size=None)).size == len(DATA)
    assert_whole(made, wanted)


@pytest.mark.parametrize("algorithm", ["sha512", "sha384", "blake2b", "sha1", "md5"])
def test_other_checksums(fetching, wanted, algorithm):
    made = fetching()
    unnamed = replace(wanted, sha256=None)
    right = parse_checksum(f"{algorithm}:{hashlib.new(algorithm, DATA).hexdigest()}")
    wrong = parse_checksum(f"{algorithm}:{hashlib.new(algorithm, b'other').hexdigest()}")
    with pytest.raises(ModelChecksumError) as caught:
        made.transfer.fetch(replace(unnamed, checksum=wrong))
    assert (caught.value.expected, caught.value.actual) == (str(wrong), str(right))
    assert made.stored() == []
    assert made.transfer.fetch(replace(unnamed, checksum=right)).sha256 == DIGEST
    assert made.stored() == [DIGEST]
    assert made.partials() == {}


# Cut, and gone on from there


@pytest.mark.parametrize("offsets", [[0], [1], [70_000], [len(DATA) - 1], [1, 10, 100, 1000, 10_000, 100_000]])
def test_a_cut_download_goes_on_where_it_was(hub, fetching, wanted, offsets):
    for offset in offsets:
        hub.fail(cdn(cut_after=offset))
    made = fetching()
    fetched = made.transfer.fetch(wanted)
    assert fetched.bytes_fetched == len(DATA), "no byte came twice"
    assert_whole(made, wanted)
    here = 0
    asked: list[str | None] = [None]
    for offset in offsets:
        here += offset
        asked.append(f"bytes={here}-" if here else None)
    assert ranges(hub) == ranges(hub, "hub") == asked
    assert made.waits == [2.0] * len(offsets), "counted anew whenever bytes arrive"
    if here:
        assert made.notes.waits[0] == (2.0, made.notes.waits[0][1])


def test_patience_ends_when_nothing_arrives(hub, fetching, wanted):
    hub.fail(cdn(cut_after=1000))
    hub.fail(cdn(cut_after=0, times=None))
    made = fetching()
    with pytest.raises(ModelDownloadError) as caught:
        made.transfer.fetch(wanted)
    assert made.waits == [2.0, 4.0, 8.0]
    host = hub.cdn_origin.removeprefix("http://")
    assert str(caught.value) == f"m/model.safetensors: {host}: the answer broke off: fewer bytes than announced"
    assert (caught.value.error_code, caught.value.exit_code) == (NETWORK_ERROR, 3)
    assert caught.value.hint, "says what to do next"
    assert made.partials() == {DIGEST: 1000}, "the bytes are kept"
    assert made.stored() == []


@pytest.mark.parametrize("offset", [1, 100_000, len(DATA) - 1])
def test_the_next_run_goes_on_where_the_last_one_was(hub, fetching, wanted, offset):
    hub.fail(cdn(cut_after=offset))
    hub.fail(cdn(cut_after=0, times=3))
    first = fetching()
    with pytest.raises(ModelDownloadError):
        first.transfer.fetch(wanted)
    hub.clear_requests()
    second = fetching()
    assert second.transfer.fetch(wanted).bytes_fetched == len(DATA) - offset
    assert ranges(hub) == [f"bytes={offset}-"]
    assert second.notes.kept_bytes == {wanted.label: offset}
    assert_whole(second, wanted)


def test_the_partial_of_a_run_may_be_whole_already(hub, fetching, wanted):
    made = fetching()
    made.blobs.prepare()
    made.blobs.partial_path(DIGEST).write_bytes(DATA)
    assert made.transfer.fetch(wanted).bytes_fetched == 0
    assert hub.requests == []
    assert_whole(made, wanted)


@pytest.mark.parametrize("size", [1, 1000, len(DATA), len(DATA) + 1])
def test_a_partial_with_other_bytes_costs_one_more_download_and_nothing_else(hub, fetching, wanted, size):
    made = fetching()
    made.blobs.prepare()
    made.blobs.partial_path(DIGEST).write_bytes(b"x" * size)
    assert made.transfer.fetch(wanted).sha256 == DIGEST
    assert_whole(made, wanted)
    assert ranges(hub)[-1] is None, "fetched whole"


def test_a_partial_of_the_right_size_when_the_size_is_not_known(hub, fetching, wanted):
    made = fetching()
    made.blobs.prepare()
    made.blobs.partial_path(DIGEST).write_bytes(DATA)
    assert made.transfer.fetch(replace(wanted, size=None)).sha256 == DIGEST
    assert_whole(made, wanted)


def test_a_whole_answer_to_a_range_is_not_glued(hub, fetching, wanted):
    hub.fail(cdn(cut_after=1000))
    hub.fail(cdn(ignore_range=True))
    made = fetching()
    made.transfer.fetch(wanted)
    assert ranges(hub) == [None, "bytes=1000-"]
    assert_whole(made, wanted)


def test_a_compressed_whole_answer_to_a_range_is_not_glued(hub, fetching, wanted):
    hub.fail(cdn(cut_after=1000))
    hub.fail(cdn(ignore_range=True, gzip=True))
    made = fetching()
    made.transfer.fetch(wanted)
    assert_whole(made, wanted)


def test_another_part_than_was_asked_for_is_refused(hub, fetching, wanted):
    hub.fail(cdn(cut_after=1000))
    hub.fail(cdn(wrong_content_range=True))
    made = fetching()
    made.transfer.fetch(wanted)
    assert ranges(hub) == [None, "bytes=1000-", None]
    assert "the server sent another part of the file than was asked for" in made.notes.waits[1][1]
    assert_whole(made, wanted)


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "bytes */300000",
        "bytes 1000-299999",
        "bytes 999-299999/300000",
        "bytes=1000-299999/300000",
        "items 1000-299999/300000",
        "bytes -1-5/300000",
        "bytes " + "1" * 5000 + "-299999/300000",
        "bytes 1000-299999/" + "9" * 5000,
    ],
)
def test_ranges_that_make_no_sense(hub, fetching, wanted, header):
    hub.fail(cdn(cut_after=1000))
    hub.fail(cdn(headers={"Content-Range": header}))
    made = fetching()
    made.transfer.fetch(wanted)
    assert_whole(made, wanted)


def test_a_part_of_a_file_of_another_size(hub, fetching, wanted):
    hub.fail(cdn(cut_after=1000))
    hub.fail(cdn(headers={"Content-Range": "bytes 1000-299999/300001"}))
    made = fetching()
    made.transfer.fetch(wanted)
    assert_whole(made, wanted)


def test_a_range_that_cannot_be_satisfied_begins_anew(hub, fetching, wanted):
    made = fetching()
    made.blobs.prepare()
    made.blobs.partial_path(DIGEST).write_bytes(DATA[:1000])
    hub.fail(cdn(status=416))
    made.transfer.fetch(wanted)
    assert ranges(hub) == ["bytes=1000-", None]
    assert made.notes.waits == [(2.0, "the server refused to go on from the bytes that are here")]
    assert_whole(made, wanted)


def test_a_range_that_is_always_refused_ends(hub, fetching, wanted):
    hub.fail(cdn(status=416, times=None))
    made = fetching()
    with pytest.raises(ModelDownloadError):
        made.transfer.fetch(wanted)
    assert len(hub.requests) < 10


# Wrong bytes


def test_wrong_bytes_are_thrown_away_and_fetched_once_more(hub, fetching, wanted):
    hub.fail(cdn(corrupt=True))
    made = fetching()
    assert made.transfer.fetch(wanted).bytes_fetched == 2 * len(DATA)
    assert ranges(hub) == [None, None]
    assert_whole(made, wanted)


def test_wrong_bytes_twice_are_an_error_that_names_both(hub, fetching, wanted):
    hub.fail(cdn(corrupt=True, times=2))
    made = fetching()
    with pytest.raises(ModelChecksumError) as caught:
        made.transfer.fetch(wanted)
    error = caught.value
    actual = hashlib.sha256(bytes(255 - byte for byte in DATA)).hexdigest()
    assert (error.expected, error.actual) == (f"sha256:{DIGEST}", f"sha256:{actual}")
    assert str(error) == f"m/model.safetensors: wrong bytes: expected sha256:{DIGEST}, got sha256:{actual}"
    assert error.hint == WRONG_HINT
    assert (error.error_code, error.exit_code, error.model, error.file) == (
        CHECKSUM_MISMATCH,
        4,
        "m",
        "model.safetensors",
    )
    assert len(hub.requests) == 4
    assert made.partials() == {}, "wrong bytes are no use to the next run"
    assert made.stored() == []
    assert made.notes.progress == {wanted.label: 0}
    assert made.notes.finished_files == [wanted.label]


def test_a_small_file_with_the_wrong_git_id(hub, repo, fetching):
    hub.fail(Fault(path="/api/resolve-cache/*", corrupt=True, times=2))
    made = fetching()
    oid = repo.files()["config.json"].oid
    with pytest.raises(ModelChecksumError) as caught:
        made.transfer.fetch(small(hub, repo))
    assert caught.value.expected == f"git blob {oid}"
    assert caught.value.actual.startswith("git blob ")
    assert made.stored() == []
    assert made.partials() == {}


@pytest.mark.parametrize("difference", [-1, 1, -299_999, 10**12])
def test_a_size_that_is_not_the_promised_one(hub, fetching, wanted, difference):
    made = fetching()
    promised = replace(wanted, size=len(DATA) + difference)
    with pytest.raises(ModelChecksumError) as caught:
        made.transfer.fetch(promised)
    assert (caught.value.expected, caught.value.actual) == (f"{promised.size} bytes", f"{len(DATA)} bytes")
    assert made.stored() == []
    assert made.partials() == {}
    assert len(hub.requests) == 4


@pytest.mark.parametrize("length", ["1000", "300001"])
def test_an_announced_length_that_is_a_lie(hub, fetching, wanted, length):
    hub.fail(cdn(headers={"Content-Length": length}))
    made = fetching()
    made.transfer.fetch(wanted)
    assert_whole(made, wanted)


def test_a_body_without_an_end_stops_at_the_promised_size(hub, fetching, wanted):
    hub.fail(cdn(endless=True, times=2))
    made = fetching()
    with pytest.raises(ModelChecksumError) as caught:
        made.transfer.fetch(wanted)
    assert (caught.value.expected, caught.value.actual) == (f"{len(DATA)} bytes", f"more than {len(DATA)} bytes")
    assert made.stored() == []
    assert made.partials() == {}, "wrong bytes are no use to the next run"
    assert made.notes.progress == {wanted.label: 0}


@pytest.mark.parametrize("fault", [cdn(endless=True), cdn(headers={"Content-Length": None}), cdn(gzip=True)])
def test_a_body_whose_length_nobody_knows_is_refused(hub, fetching, wanted, fault):
    hub.fail(fault)
    made = fetching()
    with pytest.raises(ModelDownloadError) as caught:
        made.transfer.fetch(replace(wanted, size=None))
    assert str(caught.value) == "m/model.safetensors: the server does not say how long the file is"
    assert caught.value.hint == "add size (in bytes) to it in models.toml"
    assert made.stored() == []
    assert made.partials() == {}


@pytest.mark.parametrize("fault", [cdn(gzip=True), cdn(headers={"Content-Length": None})])
def test_what_is_sent_otherwise_than_asked_is_taken_when_the_size_is_known(hub, fetching, wanted, fault):
    hub.fail(fault)
    made = fetching()
    made.transfer.fetch(wanted)
    assert_whole(made, wanted)


def test_a_page_in_place_of_the_file(hub, fetching, wanted):
    hub.fail(cdn(status=200, body=b"<html>Please log in</html>", times=None))
    made = fetching()
    with pytest.raises(ModelChecksumError) as caught:
        made.transfer.fetch(wanted)
    assert (caught.value.expected, caught.value.actual) == (f"{len(DATA)} bytes", "26 bytes")
    assert made.stored() == []


def test_a_git_lfs_pointer_in_place_of_the_file(hub, repo, fetching, wanted):
    made = fetching()
    with pytest.raises(ModelChecksumError):
        made.transfer.fetch(replace(wanted, url=wanted.url.replace("/resolve/", "/raw/")))
    assert made.stored() == []


# Refusals


def test_a_signed_address_that_expired_is_asked_for_anew(hub, fetching, wanted):
    hub.signed_url_seconds = -1
    made = fetching()
    made.before_wait.append(lambda: setattr(hub, "signed_url_seconds", 3600))
    made.transfer.fetch(wanted)
    assert_whole(made, wanted)
    assert [(request.origin, request.status) for request in hub.requests] == [
        ("hub", 302),
        ("cdn", 403),
        ("hub", 302),
        ("cdn", 200),
    ]
    assert made.notes.waits == [(2.0, "the signed download address was refused")]


def test_a_download_goes_on_after_its_address_expired(hub, fetching, wanted, monkeypatch):
    hub.fail(cdn(cut_after=1000))
    made = fetching()
    later = SimpleNamespace(time=lambda: time.time() + hub.signed_url_seconds + 1)
    made.before_wait.append(lambda: monkeypatch.setattr("vcm.testing.cdn.time", later))
    made.transfer.fetch(wanted)
    assert_whole(made, wanted)
    signed = [request.path for request in hub.requests if request.origin == "cdn"]
    assert len(set(signed)) == 2


def test_a_signed_address_that_is_always_refused(hub, fetching, wanted):
    hub.signed_url_seconds = -1
    made = fetching()
    with pytest.raises(ModelDownloadError) as caught:
        made.transfer.fetch(wanted)
    assert str(caught.value) == "m/model.safetensors: the signed download address was refused"
    assert made.waits == [2.0, 4.0, 8.0]
    assert made.partials() == {}


@pytest.mark.parametrize(
    ("status", "headers", "message", "code"),
    [
        (404, {"X-Error-Code": "EntryNotFound"}, "no such file", NOT_FOUND),
        (404, {"X-Error-Code": "RevisionNotFound"}, "no such revision", NOT_FOUND),
        (404, {"X-Error-Code": "RepoNotFound"}, "no such repo, or it is private", NOT_FOUND),
        (401, {}, "no such repo, or it is private", NOT_FOUND),
        (401, {"X-Error-Code": "GatedRepo"}, "the repo is gated, and access was not granted", AUTHENTICATION_ERROR),
        (403, {"X-Error-Message": DISABLED}, "the repo is disabled by the hub or its owner", NOT_FOUND),
        (403, {}, "access denied", AUTHENTICATION_ERROR),
        (400, {"X-Error-Message": "Invalid"}, "the hub answers 400 (Invalid)", NETWORK_ERROR),
    ],
)  # fmt: skip
def test_a_refusal_of_the_hub_is_not_tried_again(hub, fetching, wanted, *, status, headers, message, code):
    hub.fail(Fault(path="*/resolve/*", status=status, headers=headers, times=None))
    made = fetching()
    with pytest.raises(ModelDownloadError) as caught:
        made.transfer.fetch(wanted)
    assert str(caught.value) == f"m/model.safetensors: {message}"
    assert caught.value.error_code == code
    assert made.waits == []
    assert len(hub.requests) == 1
    assert made.partials() == {}


@pytest.mark.parametrize("status", [401, 404])
def test_a_refusal_of_the_cdn_is_not_said_to_be_the_hubs(hub, fetching, wanted, status):
    hub.fail(cdn(status=status, times=None))
    made = fetching()
    with pytest.raises(ModelDownloadError) as caught:
        made.transfer.fetch(wanted)
    assert made.waits == []
    assert "no such repo" not in str(caught.value), "the hub has just shown that the repo is there"
    assert "HF_TOKEN" not in caught.value.hint, "no token is sent there"


def test_a_direct_url_on_a_gated_repo_names_the_page_to_visit(hub, fetching, wanted):
    hub.add_repo("acme/gated", {"model.safetensors": DATA}, gated="auto")
    made = fetching()
    direct = replace(wanted, repo=None, url=f"{hub.endpoint}/acme/gated/resolve/main/model.safetensors")
    with pytest.raises(ModelDownloadError) as caught:
        made.transfer.fetch(direct)
    assert caught.value.error_code == AUTHENTICATION_ERROR
    assert "None" not in caught.value.hint


def test_a_direct_url_that_is_gone(hub, fetching, wanted):
    made = fetching()
    with pytest.raises(ModelDownloadError) as caught:
        made.transfer.fetch(replace(wanted, repo=None, url=f"{hub.cdn_origin}/files/gone.onnx"))
    assert (str(caught.value), caught.value.hint) == ("m/model.safetensors: not found", "check the model's url")


@pytest.mark.parametrize("status", [204, 206, 304, 418])
def test_answers_that_are_no_file(hub, fetching, wanted, status):
    hub.fail(cdn(status=status, times=None))
    made = fetching()
    with pytest.raises(ModelDownloadError) as caught:
        made.transfer.fetch(wanted)
    assert caught.value.hint, "says what to do next"
    assert made.stored() == []


def test_a_busy_server_says_how_long_to_wait(hub, fetching, wanted):
    hub.fail(Fault(path="*/resolve/*", status=429, headers={"Retry-After": "17"}))
    hub.fail(cdn(status=503, headers={"Retry-After": "5"}))
    made = fetching()
    made.transfer.fetch(wanted)
    assert made.waits == [17.0, 5.0]
    assert_whole(made, wanted)


def test_a_server_that_falls_silent(hub, fetching, wanted):
    hub.fail(cdn(stall_after=1000, delay=60))
    made = fetching(read_seconds=1.0)
    started = time.monotonic()
    made.transfer.fetch(wanted)
    assert time.monotonic() - started < 30
    assert ranges(hub) == [None, "bytes=1000-"]
    assert made.notes.waits[0][1].endswith("the answer broke off: no byte came for too long")
    assert_whole(made, wanted)


def test_no_secret_is_in_an_error_of_a_download(hub, fetching, wanted):
    hub.fail(cdn(cut_after=0, times=None))
    made = fetching(TOKEN)
    with pytest.raises(ModelDownloadError) as caught:
        made.transfer.fetch(wanted)
    said = " ".join([str(caught.value), caught.value.hint, *(reason for _, reason in made.notes.waits)])
    assert "Signature" not in said
    assert "hf_simulated" not in said


# Called off


def test_calling_off_keeps_the_bytes(hub, fetching, wanted):
    cancelled = Event()
    hub.fail(cdn(stall_after=50_000, delay=0.3))
    made = fetching(cancelled=cancelled)
    made.notes.on_advance = cancelled.set
    with pytest.raises(KeyboardInterrupt):
        made.transfer.fetch(wanted)
    (here,) = made.partials().values()
    assert 0 < here <= 50_000
    assert made.blobs.partial_path(DIGEST).read_bytes() == DATA[:here]
    assert made.stored() == []
    again = fetching()
    assert again.transfer.fetch(wanted).bytes_fetched == len(DATA) - here
    assert_whole(again, wanted)


def test_calling_off_during_a_wait(hub, fetching, wanted):
    cancelled = Event()
    hub.fail(cdn(cut_after=1000))
    made = fetching(cancelled=cancelled)
    made.before_wait.append(cancelled.set)
    with pytest.raises(KeyboardInterrupt):
        made.transfer.fetch(wanted)
    assert made.partials() == {DIGEST: 1000}
    assert len(hub.requests) == 2


def test_calling_off_while_another_fetches_it(hub, fetching, wanted):
    cancelled = Event()
    made, other = fetching(), fetching(cancelled=cancelled)
    with made.blobs.exclusive(DIGEST), ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(other.transfer.fetch, wanted)
        cancelled.set()
        with pytest.raises(KeyboardInterrupt):
            waiting.result(5)
    assert hub.requests == []


# Several at once


def test_threads_that_want_the_same_bytes_fetch_them_once(hub, fetching, wanted):
    hub.fail(cdn(stall_after=1000, delay=0.2))
    made = [fetching() for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        fetched = list(pool.map(lambda each: each.transfer.fetch(wanted), made))
    assert sorted(each.bytes_fetched for each in fetched) == [0, 0, 0, len(DATA)]
    assert len(ranges(hub)) == len(ranges(hub, "hub")) == 1
    assert made[0].stored() == [DIGEST]


CHILD = """
import json, resource, sys
from pathlib import Path
from vcm.core.reporter import Reporter
from vcm.hub.client import HubClient
from vcm.http.client import Address, HttpClient
from vcm.install.origin import Origin
from vcm.install.transfer import Transfer
from vcm.install.wanted import WantedFile
from vcm.store.blobs import BlobStore

endpoint, folder, wanted = sys.argv[1], sys.argv[2], WantedFile(**json.loads(sys.argv[3]))
address = Address(endpoint)
client = HubClient(HttpClient(address), address, token_source=None, wait=lambda *_: None)
transfer = Transfer(BlobStore(Path(folder)), Origin(lambda: client), Reporter(), lambda *_: None)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
fetched = transfer.fetch(wanted)
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps([fetched.bytes_fetched, (after - before) * (1 if sys.platform == "darwin" else 1024)]))
"""
NEEDS_RESOURCE = pytest.mark.skipif(sys.platform == "win32", reason="the resource module is POSIX's")


def child(hub: HubSimulator, cache: Path, **wanted: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", CHILD, hub.endpoint, str(cache), json.dumps(wanted)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def as_values(wanted: WantedFile) -> dict[str, Any]:
    return {name: getattr(wanted, name) for name in ("model", "path", "url", "repo", "size", "sha256")}


@NEEDS_RESOURCE
def test_processes_that_want_the_same_bytes_fetch_them_once(hub, cache, wanted):
    hub.fail(cdn(stall_after=1000, delay=0.8))
    children = [child(hub, cache, **as_values(wanted)) for _ in range(3)]
    results = [json.loads(each.communicate(timeout=30)[0])[0] for each in children]
    assert sorted(results) == [0, 0, len(DATA)]
    assert len(ranges(hub)) == 1
    assert [path.name for path in (cache / "blobs" / "sha256").iterdir()] == [DIGEST]


@NEEDS_RESOURCE
def test_a_killed_process_leaves_its_bytes_and_its_right_to_the_next(hub, cache, fetching, wanted):
    hub.fail(cdn(stall_after=100_000, delay=0))
    process = child(hub, cache, **as_values(wanted))
    partial = cache / "partial" / DIGEST
    deadline = time.monotonic() + 20
    while not (partial.exists() and partial.stat().st_size == 100_000):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=10)
    hub.clear_requests()
    made = fetching()
    assert made.transfer.fetch(wanted).bytes_fetched == len(DATA) - 100_000
    assert ranges(hub) == ["bytes=100000-"]
    assert_whole(made, wanted)


@NEEDS_RESOURCE
def test_memory_stays_flat(hub, cache, tmp_path):
    size = 64 << 20
    large = tmp_path / "large.safetensors"
    block = hashlib.shake_128(b"block").digest(1 << 20)
    digest = hashlib.sha256()
    with large.open("wb") as stream:
        for _ in range(64):
            stream.write(block)
            digest.update(block)
    repo = hub.add_repo("acme/large", {"large.safetensors": large})
    url = f"{hub.endpoint}/acme/large/resolve/{repo.head()}/large.safetensors"
    process = child(hub, cache, model="m", path="l", url=url, repo="acme/large", size=size, sha256=digest.hexdigest())
    fetched, growth = json.loads(process.communicate(timeout=60)[0])
    assert fetched == size
    assert growth < 40 << 20


# The disk


@pytest.fixture
def fake_disk():
    # On a real disk only root could fill it up, and root is refused nothing.
    with Patcher(allow_root_user=False) as patcher:
        assert patcher.fs is not None
        yield patcher.fs


def test_a_full_disk_keeps_what_came(fake_disk, tmp_path):
    folder = tmp_path / "full"
    fake_disk.create_dir(folder)
    with HubSimulator() as hub:
        repo = hub.add_repo("acme/m", {"model.safetensors": DATA})
        wanted = WantedFile(
            model="m",
            path="model.safetensors",
            url=f"{hub.endpoint}/acme/m/resolve/{repo.head()}/model.safetensors",
            repo="acme/m",
            size=len(DATA),
            sha256=DIGEST,
        )
        made, http = directly(hub, folder / "cache")
        fake_disk.set_disk_usage(fake_disk.get_disk_usage()[1] + 100_000)
        with pytest.raises(DiskSpaceError) as caught:
            made.fetch(wanted)
        assert caught.value.exit_code == 5
        assert str(caught.value).startswith(f"no space left for {folder / 'cache'}")
        assert caught.value.free < len(DATA)
        assert caught.value.hint.startswith("free some space")
        assert not (folder / "cache" / "blobs" / "sha256" / DIGEST).exists()
        fake_disk.set_disk_usage(1 << 40)
        assert made.fetch(wanted).sha256 == DIGEST
        http.close()


def test_a_folder_that_may_not_be_written(fake_disk, tmp_path):
    folder = tmp_path / "locked"
    fake_disk.create_dir(folder)
    fake_disk.chmod(folder, 0o555)
    with HubSimulator() as hub:
        made, http = directly(hub, folder / "cache")
        wanted = WantedFile(model="m", path="x", url=f"{hub.endpoint}/x", size=1, sha256=DIGEST)
        with pytest.raises(VcmError) as caught:
            made.fetch(wanted)
        assert (caught.value.error_code, caught.value.exit_code) == (PERMISSION_ERROR, 5)
        assert "permission denied" in str(caught.value)
        assert caught.value.hint == "check who owns it, or choose another folder with --cache-dir"
        assert hub.requests == []
        http.close()


def directly(hub: HubSimulator, folder: Path) -> tuple[Transfer, HttpClient]:
    """A transfer into a folder of the fake disk, made while the disk is fake."""
    address = Address(hub.endpoint)
    http = HttpClient(address)
    client = HubClient(http, address, token_source=None, wait=lambda *_: None)
    return Transfer(BlobStore(folder), Origin(lambda: client), Reporter(), lambda *_: None), http


def test_a_folder_in_the_way_of_a_partial_file(fetching, wanted):
    made = fetching()
    made.blobs.prepare()
    made.blobs.partial_path(DIGEST).mkdir()
    with pytest.raises(VcmError) as caught:
        made.transfer.fetch(wanted)
    assert caught.value.error_code == PERMISSION_ERROR
    assert os.strerror(errno.EISDIR).lower() in str(caught.value)


def test_without_locks_what_nobody_can_find_again_is_not_left(hub, fetching, wanted, monkeypatch):
    fcntl = pytest.importorskip("fcntl")
    monkeypatch.setattr(fcntl, "flock", lambda *_: None)
    hub.fail(cdn(status=404, skip=1, times=None))
    hub.fail(cdn(cut_after=1000))
    made = fetching()
    with pytest.raises(ModelDownloadError):
        made.transfer.fetch(wanted)
    assert made.partials() == {}


def test_two_states_of_a_file_that_nothing_pins_are_never_glued(hub, fetching):
    within = fetching()
    url = hub.add_file("m.onnx", b"a" * 3000)
    hub.fail(cdn(cut_after=1000))
    hub.fail(Fault(path="/m.onnx", cut_after=1000))
    within.before_wait.append(lambda: hub.add_file("m.onnx", b"b" * 3000))
    fetched = within.transfer.fetch(WantedFile(model="m", path="m.onnx", url=url))
    assert fetched.sha256 == hashlib.sha256(b"b" * 3000).hexdigest()
    assert not [each for each in hub.requests if "range" in each.headers]


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
def test_a_file_is_closed_before_it_is_renamed(hub, fetching, wanted, monkeypatch):
    # Windows renames no open file.
    within = fetching()
    admit, open_at_rename = within.blobs.admit, []

    def watched(partial, sha256):
        inode = partial.stat().st_ino
        for descriptor in Path("/proc/self/fd").iterdir():
            with suppress(OSError):
                if descriptor.stat().st_ino == inode:
                    open_at_rename.append(descriptor)
        admit(partial, sha256)

    monkeypatch.setattr(within.blobs, "admit", watched)
    within.transfer.fetch(wanted)
    assert not open_at_rename
