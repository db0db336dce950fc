"""Several connections for one file: what goes wrong with a piece harms neither the other pieces nor other files."""

from __future__ import annotations

import gzip
import hashlib
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest

from tests.conftest import TOKEN
from tests.install.conftest import wanted_file
from vcm.errors import DiskSpaceError
from vcm.http.faults import NetworkFaultError
from vcm.install import receiving
from vcm.install.ahead import BUFFERS, ReadAhead, Segment
from vcm.install.hashing import Buffers
from vcm.install.wanted import WantedFile
from vcm.testing import Fault

PIECE = 50_000
DATA = hashlib.shake_128(b"ahead").digest(2_000_000)
DIGEST = hashlib.sha256(DATA).hexdigest()
SECONDS = 30.0


@pytest.fixture
def eager(monkeypatch):
    """Any file is read ahead, in small pieces."""
    monkeypatch.setattr(receiving, "_LOOK_SECONDS", 0.01)
    monkeypatch.setattr(receiving, "_FAST", 1 << 60)
    monkeypatch.setattr(receiving, "_WORTH_READING_AHEAD", 1)
    monkeypatch.setattr(receiving, "SEGMENT", PIECE)


@pytest.fixture
def wanted(hub):
    repo = hub.add_repo("acme/m", {"model.safetensors": DATA})
    return wanted_file(hub, repo, DATA)


def in_time(action: Any) -> Any:
    """What the action gives; a test that hangs fails."""
    pool = ThreadPoolExecutor(1)
    try:
        return pool.submit(action).result(SECONDS)
    finally:
        pool.shutdown(wait=False)


def begin_slowly(hub: Any) -> None:
    """The next answer is so slow that more connections are worth it."""
    hub.fail(Fault(origin="cdn", rate=1_000_000))


def asked(hub: Any) -> Counter[str]:
    return Counter(request.origin for request in hub.requests)


def test_buffers_of_pieces_that_fail_are_given_back():
    buffers = Buffers(BUFFERS, 10)

    def fill(segment: Segment) -> None:
        if segment.start >= 50:
            raise NetworkFaultError("cut")
        segment.size = 10

    def read() -> list[int]:
        starts = []
        with suppress(NetworkFaultError):
            for segment in ReadAhead(fill, lambda: 8, buffers).segments(0, 1000):
                starts.append(segment.start)
                buffers.give_back(segment.buffer)
        return starts

    for _ in range(3):
        assert in_time(read) == [0, 10, 20, 30, 40]
    assert len({id(in_time(buffers.take)) for _ in range(BUFFERS)}) == BUFFERS


def test_a_full_disk_ends_every_attempt(fetching, wanted, hub, eager, tmpfs):
    made = fetching(folder=tmpfs("size=1m"))
    for _ in range(4):
        begin_slowly(hub)
        with pytest.raises(DiskSpaceError):
            in_time(lambda: made.transfer.fetch(wanted))
        made.blobs.partial_path(DIGEST).unlink()


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 503])
def test_an_address_that_is_refused_is_made_anew(status, fetching, wanted, hub, eager):
    begin_slowly(hub)
    hub.fail(Fault(origin="cdn", skip=4, status=status))
    made = fetching()
    assert in_time(lambda: made.transfer.fetch(wanted)).bytes_fetched == len(DATA)
    assert made.waits == []
    assert asked(hub)["hub"] <= 4


def test_an_address_that_has_expired_is_not_made_anew_for_every_piece(fetching, wanted, hub, eager):
    hub.signed_url_seconds = 0.2
    begin_slowly(hub)
    hub.fail(Fault(origin="cdn", skip=4, times=1, delay=0.3))
    made = fetching()

    def renew() -> None:
        hub.signed_url_seconds = 60.0

    made.notes.on_advance = renew
    assert in_time(lambda: made.transfer.fetch(wanted)).bytes_fetched == len(DATA)
    assert made.blobs.path(DIGEST).read_bytes() == DATA
    assert 1 < asked(hub)["hub"] <= 10, "once by each piece that was on its way, at most"
    assert asked(hub)["cdn"] > 30


def test_who_asks_for_time_is_not_asked_again_at_once(fetching, wanted, hub, eager):
    begin_slowly(hub)
    hub.fail(Fault(origin="cdn", skip=4, status=429, headers={"Retry-After": "7"}))
    made = fetching()
    in_time(lambda: made.transfer.fetch(wanted))
    assert made.waits == [7.0]
    assert made.blobs.path(DIGEST).read_bytes() == DATA


def test_a_hub_that_counts_requests_is_asked_once_for_a_file(fetching, hub, eager):
    repo = hub.add_repo("acme/private", {"words.txt": DATA}, private=True, lfs=lambda *_: False)
    hub.grant(TOKEN, "acme/private")
    url = f"{hub.endpoint}/acme/private/resolve/{repo.head()}/words.txt"
    hub.limit("resolvers", quota=1000)
    hub.fail(Fault(origin="hub", rate=20_000_000))
    made = fetching(TOKEN)
    file = WantedFile(model="m", path="words.txt", url=url, repo="acme/private", size=len(DATA), sha256=DIGEST)
    in_time(lambda: made.transfer.fetch(file))
    assert asked(hub) == {"hub": 1}


def test_bytes_that_are_all_here_need_no_end(fetching, wanted, hub):
    hub.fail(Fault(origin="cdn", gzip=True, cut_after=len(gzip.compress(DATA, 1)) - 4))
    made = fetching()
    assert made.transfer.fetch(wanted).bytes_fetched == len(DATA)
    assert asked(hub) == {"hub": 1, "cdn": 1}
    assert made.waits == []
