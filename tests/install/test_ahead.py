"""Large files over several connections: in order, in bounded memory, and whole whatever one connection does."""

from __future__ import annotations

import hashlib
import threading
import time
from itertools import pairwise
from threading import Event, Lock
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import TOKEN
from tests.install.conftest import wanted_file
from vcm.errors import ModelChecksumError, ModelDownloadError, RegistryError
from vcm.install import receiving
from vcm.install.ahead import ReadAhead, Segment
from vcm.install.hashing import Buffers, Hashing
from vcm.install.wanted import WantedFile
from vcm.testing import Fault, HubSimulator

DATA = hashlib.shake_128(b"large").digest(2_000_000)
DIGEST = hashlib.sha256(DATA).hexdigest()
PIECE = 100_000
SLOW = Fault(origin="cdn", rate=500_000)
"""The first answer: two tenths of a second are enough to see that it is slow."""


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(receiving, "_LOOK_SECONDS", 0.2)
    monkeypatch.setattr(receiving, "_WORTH_READING_AHEAD", 500_000)
    monkeypatch.setattr(receiving, "SEGMENT", PIECE)


@pytest.fixture
def wanted(hub, impatient):
    repo = hub.add_repo("acme/m", {"model.safetensors": DATA})
    hub.fail(SLOW)
    return wanted_file(hub, repo, DATA)


def ranges(hub: HubSimulator) -> list[str]:
    """The ranges that the download server was asked for; empty for a whole file."""
    return [request.headers.get("range", "") for request in hub.requests if request.origin == "cdn"]


def resolved(hub: HubSimulator) -> int:
    return len([request for request in hub.requests if "/resolve/" in request.path])


def assert_whole(made: Any) -> None:
    assert made.blobs.path(DIGEST).read_bytes() == DATA
    assert made.partials() == {}
    assert made.notes.progress == {"m/model.safetensors": len(DATA)}, "what was told of the progress adds up"


def test_a_slow_connection_gets_company(hub, fetching, wanted):
    made = fetching()
    fetched = made.transfer.fetch(wanted)
    assert (fetched.sha256, fetched.size, fetched.bytes_fetched) == (DIGEST, len(DATA), len(DATA))
    assert_whole(made)
    first, *pieces = ranges(hub)
    assert first == ""
    # One after the other, none twice, none missing.
    starts = sorted(int(piece.partition("=")[2].partition("-")[0]) for piece in pieces)
    assert len(starts) >= 15
    assert all(after - before == PIECE for before, after in pairwise(starts))
    assert resolved(hub) == 1, "the signed address serves all pieces"
    assert made.waits == []


def test_the_token_stays_with_the_hub(hub, fetching, wanted):
    fetching(token=TOKEN).transfer.fetch(wanted)
    sent = {request.origin: request.headers.get("authorization") for request in hub.requests}
    assert sent == {"hub": f"Bearer {TOKEN}", "cdn": None}


def test_a_fast_connection_stays_alone(hub, fetching, wanted, monkeypatch):
    monkeypatch.setattr(receiving, "_FAST", 1)
    made = fetching()
    made.transfer.fetch(wanted)
    assert ranges(hub) == [""]
    assert_whole(made)


@pytest.mark.parametrize("header", [("Accept-Ranges", None), ("RateLimit", '"resolvers";r=90;t=60')])
def test_a_server_that_knows_no_parts_or_counts_requests_is_asked_once(header, hub, fetching, wanted):
    hub.clear_faults()
    hub.fail(Fault(origin="cdn", rate=2_000_000, headers=dict([header])))
    made = fetching()
    made.transfer.fetch(wanted)
    assert ranges(hub) == [""]
    assert_whole(made)


def test_many_files_at_once_share_the_connections(hub, fetching, impatient):
    contents = {f"{name}.safetensors": hashlib.shake_128(name.encode()).digest(1_000_000) for name in "abcdefgh"}
    repo = hub.add_repo("acme/m", contents)
    hub.fail(Fault(origin="cdn", rate=2_000_000, times=8))
    made = fetching()
    files = [
        WantedFile(
            model="m",
            path=name,
            url=f"{hub.endpoint}/acme/m/resolve/{repo.head()}/{name}",
            size=len(data),
            sha256=hashlib.sha256(data).hexdigest(),
        )
        for name, data in contents.items()
    ]
    threads = [threading.Thread(target=made.transfer.fetch, args=(file,)) for file in files]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(made.stored()) == {file.sha256 for file in files}
    assert ranges(hub) == [""] * 8


@pytest.mark.parametrize(
    "fault",
    [
        Fault(origin="cdn", skip=4, cut_after=30_000),
        Fault(origin="cdn", skip=4, status=403, body=b"<Error>expired</Error>"),
        Fault(origin="cdn", skip=4, status=503),
        Fault(origin="cdn", skip=4, wrong_content_range=True),
        Fault(origin="cdn", skip=4, ignore_range=True),
        Fault(origin="cdn", skip=4, gzip=True),
    ],
    ids=["cut", "expired", "busy", "another-part", "the-whole", "compressed"],
)
def test_one_piece_that_fails_is_asked_for_anew(fault, hub, fetching, wanted):
    hub.fail(fault)
    made = fetching()
    made.transfer.fetch(wanted)
    assert_whole(made)
    assert resolved(hub) == 2, "from the beginning, since the signed address may have expired"
    assert made.waits == []


def test_a_server_that_wants_one_connection_gets_one(hub, fetching, wanted):
    hub.fail(Fault(origin="cdn", skip=1, status=503, times=40))
    made = fetching()
    made.before_wait.append(hub.clear_faults)
    made.transfer.fetch(wanted)
    assert_whole(made)
    assert made.waits == [2.0]
    assert len([asked for asked in ranges(hub) if asked.endswith("-")]) == 1, "the rest came in one piece"


def test_a_server_that_never_gives_a_piece(hub, fetching, wanted):
    hub.fail(Fault(origin="cdn", status=503, times=None))
    made = fetching()
    with pytest.raises(ModelDownloadError) as caught:
        made.transfer.fetch(wanted)
    assert caught.value.exit_code == 3
    assert made.waits[-3:] == [2.0, 4.0, 8.0]
    kept = made.partials()[DIGEST]
    assert 0 < kept < len(DATA)
    assert (made.blobs.partial_folder / DIGEST).read_bytes() == DATA[:kept]


def test_wrong_bytes_in_one_piece_are_thrown_away_and_the_file_is_fetched_once_more(hub, fetching, wanted):
    hub.fail(Fault(origin="cdn", skip=6, corrupt=True))
    made = fetching()
    fetched = made.transfer.fetch(wanted)
    assert fetched.bytes_fetched == 2 * len(DATA)
    assert_whole(made)


def test_wrong_bytes_twice(hub, fetching, wanted):
    hub.fail(Fault(origin="cdn", skip=6, corrupt=True, times=None))
    made = fetching()
    with pytest.raises(ModelChecksumError) as caught:
        made.transfer.fetch(wanted)
    assert caught.value.expected == f"sha256:{DIGEST}"
    assert (made.stored(), made.partials()) == ([], {})


def test_calling_off_keeps_a_beginning_without_gaps(hub, fetching, wanted):
    cancelled = Event()
    hub.fail(Fault(origin="cdn", rate=200_000, times=None))
    made = fetching(cancelled=cancelled)
    threading.Timer(1.0, cancelled.set).start()
    with pytest.raises(KeyboardInterrupt):
        made.transfer.fetch(wanted)
    kept = (made.blobs.partial_folder / DIGEST).read_bytes()
    assert 0 < len(kept) < len(DATA)
    assert kept == DATA[: len(kept)]
    hub.clear_faults()
    again = fetching()
    fetched = again.transfer.fetch(wanted)
    assert fetched.bytes_fetched == len(DATA) - len(kept)
    assert_whole(again)


def test_a_piece_that_stalls_holds_up_nobody_for_ever(hub, fetching, wanted):
    hub.fail(Fault(origin="cdn", skip=4, stall_after=10, delay=60))
    made = fetching(read_seconds=0.4)
    started = time.monotonic()
    made.transfer.fetch(wanted)
    assert time.monotonic() - started < 30
    assert_whole(made)


# Without a network


@given(
    size=st.integers(1, 400),
    start=st.integers(0, 100),
    piece=st.integers(1, 50),
    connections=st.lists(st.integers(1, 8), min_size=1, max_size=20),
    buffers=st.integers(1, 10),
)
def test_pieces_come_in_order_and_in_so_many_buffers(size, start, piece, connections, buffers):
    data = bytes(number % 251 for number in range(start + size))
    allowed = iter(connections * 1000)
    busy, most, lock = [0], [0], Lock()

    def fill(segment: Segment) -> None:
        with lock:
            busy[0] += 1
            most[0] = max(most[0], busy[0])
        segment.buffer[: segment.end - segment.start] = data[segment.start : segment.end]
        segment.size = segment.end - segment.start
        with lock:
            busy[0] -= 1

    pool = Buffers(buffers, piece)
    ahead = ReadAhead(fill, lambda: next(allowed), pool)
    found = bytearray(data[:start])
    for segment in ahead.segments(start, start + size):
        assert (segment.start, segment.is_complete) == (len(found), True)
        found += segment.buffer[: segment.size]
        pool.give_back(segment.buffer)
    assert bytes(found) == data
    assert most[0] <= min(buffers, 9)


def test_after_a_failure_no_piece_comes_any_more():
    stopped = Event()

    def fill(segment: Segment) -> None:
        if segment.start == 20:
            raise RegistryError("broken")
        if segment.start > 20:
            assert ahead.stopped.wait(5)
            stopped.set()
        segment.size = 10

    ahead = ReadAhead(fill, lambda: 4, Buffers(8, 10))
    found = []
    with pytest.raises(RegistryError, match="broken"):
        found += [segment.start for segment in ahead.segments(0, 1000)]
    assert stopped.wait(5), "who is on the way is told to stop"


def test_hashing_in_a_thread_is_in_order_and_gives_every_buffer_back():
    digest = hashlib.sha256()
    hashing, buffers = Hashing([digest], threaded=True), Buffers(3, 1000)
    for number in range(200):
        buffer = buffers.take()
        buffer[:] = bytes([number]) * 1000
        hashing.feed(buffer, number * 5, buffers)
    hashing.finish()
    assert digest.digest() == hashlib.sha256(b"".join(bytes([n]) * (n * 5) for n in range(200))).digest()
    assert [buffers.take_at_once() is not None for _ in range(4)] == [True, True, True, False]
