"""What a check makes of servers that answer in their own ways."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from threading import Event

import pytest

from tests.conftest import Notes
from tests.loopback import http_answer
from vcm.core.lock import LockedFile, LockedModel
from vcm.core.mirrors import Mirror
from vcm.mirrors.checking import FileState, Holdings, MirrorCheck
from vcm.mirrors.opening import open_mirror
from vcm.settings import Settings

DATA = b"weights of a model"
FILE = LockedFile("model.onnx", len(DATA), sha256(DATA).hexdigest())


def model(name: str = "frames", *files: LockedFile, commit: str | None = "c" * 40) -> LockedModel:
    return LockedModel(name=name, source="huggingface", repo=f"acme/{name}", commit=commit, files=files or (FILE,))


def others(count: int) -> list[LockedFile]:
    return [LockedFile(f"{number:03}.bin", 7, sha256(b"%d" % number).hexdigest()) for number in range(count)]


@pytest.fixture
def check() -> Callable[..., Holdings]:
    """Checks a mirror with that address, without a wait."""

    def run(url: str, *models: LockedModel, deep: bool = False, waits: list[float] | None = None) -> Holdings:
        source = open_mirror(Settings(cache_dir=Path("nowhere")), Mirror(name="rack", url=url))
        waited = (waits if waits is not None else []).append
        try:
            return MirrorCheck(source, Notes(), waited, Event(), deep=deep).run(models or (model(),))
        finally:
            source.close()

    return run


def states(holdings: Holdings) -> list[tuple[str, str]]:
    return [(str(each.state), each.reason) for each in holdings.files]


PRESENT = [("present", "")]


@pytest.mark.parametrize("status", [403, 405, 501])
@pytest.mark.parametrize("knows_ranges", [False, True])
def test_a_server_that_answers_no_head_is_asked_for_a_byte(status, knows_ranges, loopback, check):
    def answer(connection, asked):
        if asked.method == "HEAD":
            connection.sendall(http_answer(status))
        elif knows_ranges:
            connection.sendall(http_answer(206, {"Content-Range": f"bytes 0-0/{len(DATA)}"}, DATA[:1]))
        else:
            connection.sendall(http_answer(body=DATA))

    server = loopback(answer)
    assert states(check(f"{server.url}/{{sha256}}")) == PRESENT
    assert [(each.method, each.headers.get("range")) for each in server.asked] == [("HEAD", None), ("GET", "bytes=0-0")]


def test_an_empty_file_has_no_first_byte_to_ask_for(loopback, check):
    server = loopback(lambda connection, asked: connection.sendall(http_answer(405 if asked.method == "HEAD" else 200)))
    empty = LockedFile("empty.txt", 0, sha256(b"").hexdigest())
    for deep in (False, True):
        assert states(check(f"{server.url}/{{sha256}}", model("a", empty), deep=deep)) == PRESENT
    assert not any("range" in each.headers for each in server.asked)


@pytest.mark.parametrize(
    ("answer", "state", "reason"),
    [
        (http_answer(404), "missing", "does not have it (status 404)"),
        (http_answer(401), "failed", "access denied (status 401)"),
        (http_answer(200, {"Content-Encoding": "gzip"}), "failed", "sends it compressed, which nobody asked for"),
        (
            http_answer(200, {"Content-Length": "17"}, length=False),
            "wrong",
            "wrong bytes: expected 18 bytes, got 17 bytes",
        ),
        (http_answer(200, length=False), "present", ""),
    ],
)
def test_what_answers_mean(answer, state, reason, loopback, check):
    assert states(check(f"{loopback(answer).url}/{{sha256}}")) == [(state, reason)]


@pytest.mark.parametrize(
    ("body", "state", "reason"),
    [
        (DATA, "present", ""),
        (DATA[:-1], "wrong", "wrong bytes: expected 18 bytes, got 17 bytes"),
        (DATA + b"!", "wrong", "wrong bytes: expected 18 bytes, got more"),
        (
            DATA[::-1],
            "wrong",
            f"wrong bytes: expected sha256:{FILE.sha256}, got sha256:{sha256(DATA[::-1]).hexdigest()}",
        ),
    ],
)
@pytest.mark.parametrize("length", [False, True])
def test_what_bodies_are(body, state, reason, length, loopback, check):
    server = loopback(http_answer(body=body, length=length))
    assert states(check(f"{server.url}/{{sha256}}", deep=True)) == [(state, reason)]


def test_a_body_without_an_end_is_not_read_to_it(loopback, check):
    def answer(connection, asked):
        connection.sendall(http_answer(length=False))
        while not server.stopping.is_set():
            connection.sendall(bytes(1 << 16))

    server = loopback(answer)
    assert states(check(f"{server.url}/{{sha256}}", deep=True)) == [
        ("wrong", "wrong bytes: expected 18 bytes, got more")
    ]


def test_what_fails_for_a_moment_is_tried_again_from_the_beginning(loopback, check):
    answers = iter([http_answer(503, {"Retry-After": "5"}), http_answer(body=DATA)[:-9], http_answer(body=DATA)])
    server = loopback(lambda connection, _: connection.sendall(next(answers)))
    waits: list[float] = []
    assert states(check(f"{server.url}/{{sha256}}", deep=True, waits=waits)) == PRESENT
    assert waits == [5.0, 0.5]


def test_a_mirror_that_fails_for_three_files_in_a_row_is_not_asked_any_more(loopback, check):
    server = loopback(http_answer(401))
    found = check(f"{server.url}/{{sha256}}", model("frames", *others(60)))
    counts = {state: [each.state for each in found.files].count(state) for state in FileState}
    assert found.error is not None
    assert found.error.message == "access denied (status 401)"
    assert counts[FileState.FAILED] == len(server.asked) < 20
    assert counts[FileState.FAILED] + counts[FileState.UNASKED] == 60


def test_a_mirror_that_has_none_of_many_files_is_asked_for_all(loopback, check):
    server = loopback(http_answer(404))
    found = check(f"{server.url}/{{sha256}}", model("frames", *others(60)))
    assert found.error is None
    assert {each.state for each in found.files} == {FileState.MISSING}
    assert [each.file.path for each in found.files] == [file.path for file in others(60)]
    assert len(server.asked) == 60


def test_what_stands_in_one_place_is_asked_for_once(loopback, check):
    server = loopback(http_answer(body=DATA))
    twice = (model("a"), model("b"))
    assert states(check(f"{server.url}/{{sha256}}", *twice)) == PRESENT
    assert states(check(f"{server.url}/{{repo}}/{{sha256}}", *twice)) == PRESENT * 2
    targets = sorted(each.target for each in server.asked)
    assert targets == sorted([f"/{FILE.sha256}", f"/acme/a/{FILE.sha256}", f"/acme/b/{FILE.sha256}"])


def test_an_address_that_names_what_a_file_has_not_got(loopback, check):
    server = loopback(http_answer(body=DATA))
    reason = "the mirror's address names something that it has not got"
    assert states(check(f"{server.url}/{{commit}}/{{path}}", model(commit=None))) == [("missing", reason)]
    assert not server.asked
