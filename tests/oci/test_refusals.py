"""What registries say against something, in words and with what to do next."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from tests.loopback import Loopback
from vcm.errors import NOT_FOUND, RegistryError
from vcm.http.client import Address, HttpClient
from vcm.http.faults import NetworkFaultError
from vcm.oci.refusals import DIGEST_INVALID, Refusal, refused


def body(code: str, message: str = "it said") -> bytes:
    return json.dumps(
        {"errors": [{"code": code, "message": message, "detail": {"any": 1}}, {"code": "OTHER"}]}
    ).encode()


@pytest.fixture
def refuse(loopback: Callable[..., Loopback], http_answer):
    """The error for an answer that a server really gives."""

    def answer(status: int, data: bytes = b"", size: int | None = None, **headers: str) -> RegistryError:
        http = HttpClient(Address(loopback(http_answer(status, headers, data)).url))
        with http.request("GET", http._address.endpoint) as got:
            error = refused(got, "registry.corp", "m/frames", size=size)
        http.close()
        return error

    return answer


ELSEWHERE = "check the mirror's address; some registries want a repository to be made before anything is pushed to it"
CACHE = "if it is only a cache, push to the registry behind it"
RIGHT = "ask for the right to push there, or run docker login registry.corp as somebody who has it"
TELL = "ask whoever runs that registry"


@pytest.mark.parametrize(
    ("status", "code", "message", "hint"),
    [
        (404, "BLOB_UNKNOWN", "registry.corp has no such blob in m/frames", "push the model there"),
        (404, "MANIFEST_UNKNOWN", "registry.corp has no such manifest in m/frames", "push the model there"),
        (404, "NAME_UNKNOWN", "registry.corp has no repository m/frames", ELSEWHERE),
        (404, "", "registry.corp has no repository m/frames", ELSEWHERE),
        (404, "MANIFEST_BLOB_UNKNOWN", "registry.corp has lost a blob of m/frames meanwhile", "push it again"),
        (404, "BLOB_UPLOAD_UNKNOWN", "registry.corp has forgotten the upload to m/frames", "try again"),
        (400, "NAME_INVALID", "registry.corp allows no repository m/frames", "change the path in the mirror's address"),
        (400, "MANIFEST_INVALID", "registry.corp does not take the manifest of a model for m/frames", TELL),
        (405, "UNSUPPORTED", "registry.corp takes no uploads", CACHE),
        (405, "", "registry.corp takes no uploads", CACHE),
        (400, "DENIED", "registry.corp does not allow this in m/frames", RIGHT),
        (418, "TEAPOT", "registry.corp answers 418 for m/frames", TELL),
    ],
)
def test_a_code_has_a_meaning(refuse, status, code, message, hint):
    error = refuse(status, body(code))
    said = ": ".join(word for word in (code, "it said") if word)
    assert (error.message, error.hint) == (f"{message} ({said})", hint)
    assert (error.error_code == NOT_FOUND) == ("no such" in message or ("no repository m" in message and status == 404))


@pytest.mark.parametrize(("status", "data"), [(413, b"<html>"), (400, b'{"errors":[{"code":"SIZE_INVALID"}]}')])
def test_a_blob_that_is_too_large_is_told_with_its_size(refuse, status, data):
    error = refuse(status, data, size=20_000_000_000)
    assert error.message.removesuffix(" (SIZE_INVALID)") == "registry.corp refused a blob of 20.0 GB"
    assert (
        error.hint == "raise the limit of it, or of the proxy before it, for one blob: in parts it has another digest"
    )


@pytest.mark.parametrize(
    ("status", "data", "message"),
    [
        (429, body("TOOMANYREQUESTS", "slow"), "registry.corp: too many requests (TOOMANYREQUESTS: slow)"),
        (403, body("TOOMANYREQUESTS", "slow"), "registry.corp: too many requests (TOOMANYREQUESTS: slow)"),
        (503, b"", "registry.corp answers 503"),
    ],
)
def test_a_busy_registry_is_tried_again(refuse, status, data, message):
    for headers, seconds, hint in (({}, None, "try again later"), ({"Retry-After": "7"}, 7, "try again in 7 s")):
        error = refuse(status, data, **headers)
        assert isinstance(error, NetworkFaultError)
        assert (error.message, error.hint, error.retry_after) == (message, hint, seconds)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"<html>",
        b"[]",
        b"3",
        b"{}",
        b'{"errors": null}',
        b'{"errors": []}',
        b'{"errors": [3]}',
        b'{"errors": [{}]}',
        b"[" * 60_000,
        b" " * 70_000,
        b"\xff",
    ],
)
def test_junk_says_nothing(refuse, data):
    assert refuse(400, data).message == "registry.corp answers 400 for m/frames"


def test_words_are_fit_for_a_terminal_and_few(refuse):
    message = refuse(400, body("X", "\x1b[31m" + "a" * 1000)).message
    assert message == "registry.corp answers 400 for m/frames (X: \ufffd[31m" + "a" * 195 + ")"


def test_all_codes_are_there_for_who_needs_them(loopback, http_answer):
    http = HttpClient(Address(loopback(http_answer(400, body=body(DIGEST_INVALID))).url))
    with http.request("GET", http._address.endpoint) as answer:
        assert Refusal(answer).codes == (DIGEST_INVALID, "OTHER")
    http.close()
