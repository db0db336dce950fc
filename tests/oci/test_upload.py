"""Blobs on their way to a registry: to a real one that is killed meanwhile, and to some that nobody should meet."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable, Iterator
from threading import Event
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import Notes
from tests.loopback import Loopback, http_answer
from tests.oci.conftest import sha256
from tests.servers import needs
from tests.tokens import PASSWORD, USER
from vcm.errors import ModelChecksumError, RegistryError, VcmError
from vcm.http.client import Address, HttpClient
from vcm.http.faults import NetworkFaultError
from vcm.oci.client import RegistryClient
from vcm.oci.credentials import Credentials, Keyring
from vcm.oci.upload import AT_ONCE, Blob, Uploader

SMALL = b"small"
LARGE = bytes(range(256)) * (AT_ONCE // 64)  # four times what goes at once
REPOSITORY = "models/acme/frames"
CREDENTIALS = Credentials(source="the test", remedy="mend it", login=(USER, PASSWORD))


class Made:
    """An uploader, the waits it would have made, and from where on a blob was asked for."""

    def __init__(self, base: str, keyring: Keyring | None = None) -> None:
        self.http = HttpClient(Address(base, read_seconds=10))
        self.waits: list[float] = []
        self.notes = Notes()
        self.starts: list[int] = []
        self.cancelled = Event()
        self.on_wait: Callable[[], object] = lambda: None
        self.uploader = Uploader(RegistryClient(self.http, base, keyring), self.notes, self._wait, self.cancelled)

    def _wait(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.on_wait()

    def upload(self, data: bytes, *, meanwhile: Callable[[int], object] = lambda _: None, **rest: str) -> bool:
        def pieces(start: int) -> Iterator[bytes]:
            self.starts.append(start)
            while start < len(data):
                meanwhile(start)
                yield data[start : start + (1 << 16)]
                start += 1 << 16

        blob = Blob(sha256(data), len(data), "frames/model", pieces)
        return self.uploader.upload(REPOSITORY, blob, **rest)


@pytest.fixture
def uploading():
    made: list[Made] = []

    def make(base: str, keyring: Keyring | None = None) -> Made:
        made.append(Made(base, keyring))
        return made[-1]

    yield make
    for each in made:
        each.http.close()


def once(action: Callable[[], object], at: int) -> Callable[[int], None]:
    done: list[bool] = []

    def act(start: int) -> None:
        if start >= at and not done:
            done.append(True)
            action()

    return act


@needs("docker-registry")
@pytest.mark.parametrize("data", [b"", b"1", SMALL, LARGE], ids=["empty", "one byte", "small", "large"])
def test_a_blob_comes_to_the_registry(registry, uploading, data):
    made = uploading(registry.url)

    assert not made.uploader.has_blob(REPOSITORY, sha256(data), len(data), push=True)
    assert made.upload(data) is False
    assert made.uploader.has_blob(REPOSITORY, sha256(data), len(data), push=True)
    assert registry.blob(sha256(data)).read_bytes() == data
    assert made.waits == []
    assert made.notes.progress["frames/model"] == len(data)


@needs("docker-registry")
def test_a_registry_that_is_killed_in_the_middle_has_the_blob_in_the_end(registry, uploading):
    made = uploading(registry.url)

    def restart() -> None:
        registry.kill()
        registry.start()

    made.upload(LARGE, meanwhile=once(restart, len(LARGE) // 2))

    assert registry.blob(sha256(LARGE)).read_bytes() == LARGE
    # It drops an upload of which it has more than it has confirmed: nobody can go on with that.
    assert made.starts == [0, 0]
    assert made.waits == [2.0]
    assert made.notes.progress["frames/model"] == len(LARGE)


@needs("docker-registry")
def test_a_registry_that_was_killed_after_the_last_byte_is_not_sent_one_more(registry, uploading):
    made = uploading(registry.url)
    request = made.uploader.registry.request

    def killed_before_the_end(method, *arguments, **rest):
        if method == "PUT" and not made.waits:
            registry.kill()
        return request(method, *arguments, **rest)

    made.uploader.registry.request = killed_before_the_end
    made.on_wait = registry.start

    made.upload(LARGE)

    assert registry.blob(sha256(LARGE)).read_bytes() == LARGE
    assert made.starts == [0]
    assert made.waits == [2.0]


@needs("docker-registry")
def test_a_registry_that_has_lost_its_disk_gets_it_anew(registry, uploading):
    made = uploading(registry.url)

    def wipe() -> None:
        registry.kill()
        shutil.rmtree(registry.folder / "data")
        registry.start()

    made.upload(LARGE, meanwhile=once(wipe, len(LARGE) // 2))

    assert registry.blob(sha256(LARGE)).read_bytes() == LARGE
    assert made.starts == [0, 0]
    assert made.notes.progress["frames/model"] == len(LARGE)


@needs("docker-registry")
def test_a_blob_is_taken_from_another_repository(registry, uploading):
    made = uploading(registry.url)
    made.upload(LARGE)
    digest = sha256(LARGE)
    blob = Blob(digest, len(LARGE), "other/model", lambda start: [LARGE[start:]])

    assert made.uploader.upload("other/place", blob, REPOSITORY) is True
    assert made.uploader.has_blob("other/place", digest, len(LARGE), push=True)
    # Where it is not, the same request begins an upload.
    blob = Blob(sha256(SMALL), len(SMALL), "other/small", lambda start: [SMALL[start:]])
    assert made.uploader.upload("other/place", blob, REPOSITORY) is False
    assert registry.blob(sha256(SMALL)).read_bytes() == SMALL


@needs("docker-registry")
def test_other_bytes_are_refused_by_the_registry(registry, uploading):
    made = uploading(registry.url)
    blob = Blob(sha256(SMALL), len(LARGE), "frames/model", lambda start: [LARGE[start:]])

    with pytest.raises(ModelChecksumError) as caught:
        made.uploader.upload(REPOSITORY, blob)

    assert caught.value.message == f"damaged: {registry.host} computes another digest from what it was sent"
    assert caught.value.hint == "run vcm verify --repair"
    assert not registry.blob(sha256(SMALL)).exists()


@needs("docker-registry")
def test_a_truncated_blob_of_the_registry_is_told(registry, uploading):
    made = uploading(registry.url)
    made.upload(SMALL)
    registry.blob(sha256(SMALL)).write_bytes(b"smal")

    with pytest.raises(RegistryError) as caught:
        made.uploader.has_blob(REPOSITORY, sha256(SMALL), len(SMALL), push=True)

    assert caught.value.message == f"{registry.host} has 4 bytes as sha256:{sha256(SMALL)}, which has 5"


@needs("docker-registry", "openssl")
def test_a_token_that_is_over_before_the_upload_is(private_registry, token_server, uploading):
    # One second may be over at once, for a token's are whole ones.
    token_server.lifetime = 2
    # Whatever it says: so the refusal comes after the bytes.
    token_server.announced = 300
    made = uploading(private_registry.url, Keyring(private_registry.host, (), CREDENTIALS))

    def outlast() -> None:
        time.sleep(2.1)
        token_server.lifetime = 300

    made.upload(LARGE, meanwhile=once(outlast, len(LARGE) // 2))

    assert private_registry.blob(sha256(LARGE)).read_bytes() == LARGE
    assert made.starts == [0]
    assert made.waits == []
    assert len(token_server.asked) > 1


class Pretended:
    """A registry that does what a test says, and keeps what it is sent.

    Attributes:
        answers: to each request, by its method, one after the other; the last one again and again. The first item is
            the status, then come headers, then a body.
        bodies: what came with each request.
    """

    def __init__(self, loopback: Callable[..., Loopback], http_answer: Callable[..., bytes]) -> None:
        self.answers: dict[str, list[tuple[Any, ...]]] = {
            "HEAD": [(404,)],
            "POST": [(202, {"Location": "/upload?state=1"})],
            "PATCH": [(202, {"Location": "/upload?state=2"})],
            "PUT": [(201,)],
        }
        self.bodies: list[bytes] = []
        self._http_answer = http_answer
        self.server = loopback(self._answer)

    @property
    def asked(self) -> list[str]:
        return [f"{each.method} {each.target}" for each in self.server.asked]

    def _answer(self, connection, asked) -> None:
        answers = self.answers[asked.method]
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        status, headers, body = answer + ({}, b"")[len(answer) - 1 :]
        if status is None:
            return
        sent, size = asked.body, int(asked.headers.get("content-length", 0))
        while len(sent) < size and (piece := connection.recv(1 << 20)):
            sent += piece
        self.bodies.append(sent)
        said = self._http_answer(status, headers, body)
        connection.sendall(said.removesuffix(body) if asked.method == "HEAD" else said)


@pytest.fixture
def pretended(loopback, http_answer):
    return Pretended(loopback, http_answer)


class Keeping:
    """A registry that keeps what it got of an upload when the connection breaks, as the specification wants it.

    Attributes:
        cuts: after how many bytes of each request's body the connection breaks.
        kept: what it has.
    """

    def __init__(self, loopback: Callable[..., Loopback], http_answer: Callable[..., bytes], cuts: list[int]) -> None:
        self.cuts = cuts
        self.kept = b""
        self._http_answer = http_answer
        self.server = loopback(self._answer)

    def _answer(self, connection, asked) -> None:
        if asked.method == "HEAD":
            connection.sendall(b"HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
            return
        size = int(asked.headers.get("content-length", 0))
        if "content-range" in asked.headers:
            assert asked.headers["content-range"] == f"{len(self.kept)}-{len(self.kept) + size - 1}"
        most = min(size, self.cuts.pop(0)) if size and self.cuts else size
        body = asked.body
        while len(body) < most and (piece := connection.recv(most - len(body))):
            body += piece
        self.kept += body[:most]
        if most < size:
            return
        status = {"POST": 202, "PATCH": 202, "GET": 204, "PUT": 201}[asked.method]
        headers = {"Location": "/upload", "Range": f"0-{max(0, len(self.kept) - 1)}"}
        connection.sendall(self._http_answer(status, headers))


@settings(max_examples=8)
@given(st.lists(st.integers(0, len(LARGE)), max_size=6))
def test_no_byte_is_sent_twice_that_the_registry_has(cuts):
    # Not the fixtures, which would last over all examples.
    started: list[Loopback] = []

    def loopback(answer):
        started.append(Loopback(answer))
        return started[-1]

    keeping = Keeping(loopback, http_answer, list(cuts))
    made = Made(keeping.server.url)
    try:
        made.upload(LARGE)
    except NetworkFaultError:
        # Three times in a row, hardly a byte got through.
        assert made.waits == [*made.waits[:-3], 2.0, 4.0, 8.0]
        assert sum(cut < 2 for cut in cuts) > 1
    else:
        assert keeping.kept == LARGE
        assert made.notes.progress["frames/model"] == len(LARGE)
    finally:
        made.http.close()
        for each in started:
            each.stop()


def test_patience_is_counted_anew_when_bytes_got_through(loopback, http_answer, uploading):
    keeping = Keeping(loopback, http_answer, [len(LARGE) // 8] * 6)
    made = uploading(keeping.server.url)

    made.upload(LARGE)

    assert keeping.kept == LARGE
    assert made.waits == [2.0] * 6
    assert made.starts == [len(LARGE) // 8 * part for part in range(7)]


def refusal(code: str, message: str = "no") -> bytes:
    return f'{{"errors": [{{"code": "{code}", "message": "{message}"}}]}}'.encode()


UPLOADS = f"/v2/{REPOSITORY}/blobs/uploads/"


def test_requests_of_a_large_blob(pretended, uploading):
    made = uploading(pretended.server.url)

    made.upload(LARGE)

    assert pretended.asked == [
        f"POST {UPLOADS}",
        "PATCH /upload?state=1",
        f"PUT /upload?state=2&digest=sha256:{sha256(LARGE)}",
    ]
    assert pretended.bodies == [b"", LARGE, b""]
    patch = pretended.server.asked[1].headers
    assert patch["content-range"] == f"0-{len(LARGE) - 1}"
    assert patch["content-length"] == str(len(LARGE))
    assert patch["content-type"] == "application/octet-stream"
    assert "transfer-encoding" not in patch


def test_a_small_blob_goes_with_the_closing_request(pretended, uploading):
    pretended.answers["POST"] = [(202, {"Location": "upload-7"})]

    uploading(pretended.server.url).upload(SMALL)

    assert pretended.asked == [f"POST {UPLOADS}", f"PUT {UPLOADS}upload-7?digest=sha256:{sha256(SMALL)}"]
    assert pretended.bodies == [b"", SMALL]


def test_another_origin_may_take_the_bytes(pretended, uploading, loopback, http_answer):
    other = Pretended(loopback, http_answer)
    pretended.answers["POST"] = [(202, {"Location": f"{other.server.url}/take?signature=s"})]
    other.answers["PATCH"] = [(202,)]

    uploading(pretended.server.url).upload(LARGE)

    assert pretended.asked == [f"POST {UPLOADS}"]
    # Without a new Location, it goes on at the old one.
    assert other.asked == ["PATCH /take?signature=s", f"PUT /take?signature=s&digest=sha256:{sha256(LARGE)}"]
    assert all("authorization" not in each.headers for each in other.server.asked)


def test_what_the_registry_has_is_not_sent_again(pretended, uploading):
    third = len(LARGE) // 3
    pretended.answers["PATCH"] = [(503, {"Retry-After": "7"}), (202,)]
    pretended.answers["GET"] = [(204, {"Range": f"0-{third - 1}", "Location": "/upload?state=there"})]
    made = uploading(pretended.server.url)

    made.upload(LARGE)

    assert made.waits == [7.0]
    assert made.starts == [0, third]
    assert pretended.asked[2:] == [
        f"HEAD /v2/{REPOSITORY}/blobs/sha256:{sha256(LARGE)}",
        "GET /upload?state=1",
        "PATCH /upload?state=there",
        f"PUT /upload?state=there&digest=sha256:{sha256(LARGE)}",
    ]
    assert pretended.bodies[4] == LARGE[third:]
    assert pretended.server.asked[4].headers["content-range"] == f"{third}-{len(LARGE) - 1}"
    assert made.notes.progress["frames/model"] == len(LARGE)


@pytest.mark.parametrize(
    "answer",
    [
        (404,),
        (400,),
        (204,),
        # docker-registry says so for none, and for one byte.
        (204, {"Range": "0-0"}),
        (204, {"Range": f"0-{len(LARGE)}"}),
        (204, {"Range": "5-9"}),
        (204, {"Range": "0--1"}),
        (204, {"Range": "0-99999999999999999999"}),
        (501,),
    ],
    ids=str,
)
def test_where_the_registry_does_not_say_what_it_has_all_is_sent_again(pretended, uploading, answer):
    pretended.answers["PATCH"] = [(500,), (202,)]
    pretended.answers["GET"] = [answer]
    made = uploading(pretended.server.url)

    made.upload(LARGE)

    assert made.starts == [0, 0]
    assert pretended.asked[4] == f"POST {UPLOADS}"
    assert made.notes.progress["frames/model"] == len(LARGE)


def test_an_answer_that_is_lost_at_the_end_costs_nothing(pretended, uploading):
    pretended.answers["PUT"] = [(None,)]
    pretended.answers["HEAD"] = [(200, {}, SMALL)]
    made = uploading(pretended.server.url)

    assert made.upload(SMALL) is False

    assert [each.split()[0] for each in pretended.asked] == ["POST", "PUT", "HEAD"]


def test_patience_has_an_end(pretended, uploading):
    pretended.answers["PATCH"] = [(503, {}, refusal("UNAVAILABLE", "storage \\u001b[2J is full"))]
    pretended.answers["GET"] = [(404,)]
    made = uploading(pretended.server.url)

    with pytest.raises(NetworkFaultError) as caught:
        made.upload(LARGE)

    address = pretended.server.url.removeprefix("http://")
    assert caught.value.message == f"{address} answers 503 (UNAVAILABLE: storage \ufffd[2J is full)"
    assert made.waits == [2.0, 4.0, 8.0]


def test_a_registry_that_takes_a_part_is_not_believed_to_have_all(pretended, uploading):
    pretended.answers["PATCH"] = [(202, {"Range": "0-4095"}), (202,)]
    pretended.answers["GET"] = [(204, {"Range": "0-4095"})]
    made = uploading(pretended.server.url)

    made.upload(LARGE)

    assert made.starts == [0, 4096]


def test_a_wrong_digest_after_a_resumed_upload_is_not_the_file_s_fault_at_once(pretended, uploading):
    pretended.answers["PATCH"] = [(500,), (202,)]
    pretended.answers["GET"] = [(204, {"Range": "0-4095"})]
    pretended.answers["PUT"] = [(400, {}, refusal("DIGEST_INVALID")), (201,)]
    made = uploading(pretended.server.url)

    made.upload(LARGE)

    assert made.starts == [0, 4096, 0]


ERRORS = [
    (
        "POST",
        403,
        refusal("DENIED", "read only"),
        f"HOST: {REPOSITORY} may not be written to, and no credentials for HOST were found (DENIED: read only)",
        "docker login HOST, podman login HOST, or set REGISTRY_AUTH_FILE to a file that knows it",
    ),
    (
        "POST",
        404,
        refusal("NAME_UNKNOWN"),
        f"HOST has no repository {REPOSITORY} (NAME_UNKNOWN: no)",
        "check the mirror's address; some registries want a repository to be made before anything is pushed to it",
    ),
    (
        "POST",
        405,
        refusal("UNSUPPORTED", ""),
        "HOST takes no uploads (UNSUPPORTED)",
        "if it is only a cache, push to the registry behind it",
    ),
    (
        "PATCH",
        413,
        b"<html>" * 30000,
        "HOST refused a blob of 4.2 MB",
        "raise the limit of it, or of the proxy before it, for one blob: in parts it has another digest",
    ),
    (
        "PATCH",
        416,
        refusal("BLOB_UPLOAD_INVALID", "chunk too large"),
        "HOST refused a blob of 4.2 MB (BLOB_UPLOAD_INVALID: chunk too large)",
        "raise the limit of it, or of the proxy before it, for one blob: in parts it has another digest",
    ),
    ("PUT", 400, b'{"errors": 7}', f"HOST answers 400 for {REPOSITORY}", "ask whoever runs that registry"),
    ("PUT", 400, b'{"errors": []}', f"HOST answers 400 for {REPOSITORY}", "ask whoever runs that registry"),
    ("PUT", 400, b"[" * 9999, f"HOST answers 400 for {REPOSITORY}", "ask whoever runs that registry"),
]


@pytest.mark.parametrize(("method", "status", "body", "message", "hint"), ERRORS)
def test_refusals(pretended, uploading, method, status, body, message, hint):  # noqa: PLR0917  (a row of the table)
    pretended.answers[method] = [(status, {}, body)]
    made = uploading(pretended.server.url)

    with pytest.raises(VcmError) as caught:
        made.upload(LARGE)

    host = pretended.server.url.removeprefix("http://")
    assert caught.value.message == message.replace("HOST", host)
    assert caught.value.hint == hint.replace("HOST", host)
    assert made.waits == []


@pytest.mark.parametrize("location", ["", "ftp://else/x", "http://user:pass@else/x", "http://[", "http://a:b/"])
def test_places_that_are_none(pretended, uploading, location):
    pretended.answers["POST"] = [(202, {"Location": location} if location else {})]

    with pytest.raises(RegistryError) as caught:
        uploading(pretended.server.url).upload(LARGE)

    assert re.search(r"does not say where to upload to|at something that is no web address", caught.value.message)
    assert "pass" not in str(caught.value)


def test_whoever_may_not_mount_may_upload(pretended, uploading):
    pretended.answers["POST"] = [(403, {}, refusal("DENIED")), (202, {"Location": "/upload"})]

    assert uploading(pretended.server.url).upload(SMALL, mounted_from="secret/place") is False

    assert pretended.asked == [
        f"POST {UPLOADS}?mount=sha256:{sha256(SMALL)}&from=secret/place",
        f"POST {UPLOADS}",
        f"PUT /upload?digest=sha256:{sha256(SMALL)}",
    ]


def test_what_is_called_off_ends(pretended, uploading):
    made = uploading(pretended.server.url)

    with pytest.raises(KeyboardInterrupt):
        made.upload(LARGE, meanwhile=once(made.cancelled.set, len(LARGE) // 2))

    assert made.starts == [0]
