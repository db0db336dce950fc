"""A simulator with two tokens, and the plainest of clients."""

from __future__ import annotations

import hashlib
import http.client
import json
from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit

import pytest

from vcm.testing import HubSimulator

READER = "hf_reader"
STRANGER = "hf_stranger"


WEIGHTS = bytes(range(256)) * 8
SMALL = b'{"hidden_size": 8}'
FILES = {
    "README.md": b"# Tiny\n",
    "config.json": SMALL,
    "empty.txt": b"",
    "model.safetensors": WEIGHTS,
    "sub/deeper/more.bin": b"more",
    "sub/notes.txt": b"notes",
}


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def git_blob(content: bytes) -> str:
    return hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()  # noqa: S324


def pointer(content: bytes) -> bytes:
    return (f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256(content)}\nsize {len(content)}\n").encode()


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes
    url: str

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def error(self):
        return self.status, self.headers.get("x-error-code"), self.headers.get("x-error-message")


def fetch(
    url: str,
    method: str = "GET",
    *,
    token: str | None = None,
    headers: dict[str, str] | None = None,
    body: str | None = None,
) -> Answer:
    """One request on a connection of its own, following nothing."""
    parts = urlsplit(url)
    sent = dict(headers or {})
    if token:
        sent["Authorization"] = f"Bearer {token}"
    connection = http.client.HTTPConnection(str(parts.hostname), parts.port or 80, timeout=10)
    try:
        connection.request(method, parts.path + (f"?{parts.query}" if parts.query else ""), body=body, headers=sent)
        response = connection.getresponse()
        received = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, received, response.read(), url)
    finally:
        connection.close()


def follow(url: str, method: str = "GET", *, token: str | None = None, headers: dict[str, str] | None = None) -> Answer:
    """Like fetch, but goes after redirects, and leaves the token behind when the origin changes."""
    answer = fetch(url, method, token=token, headers=headers)
    while "location" in answer.headers:
        target = urljoin(answer.url, answer.headers["location"])
        same = urlsplit(target).netloc == urlsplit(answer.url).netloc
        answer = fetch(target, method, token=token if same else None, headers=headers)
    return answer


@pytest.fixture(name="fetch")
def _fetch():
    return fetch


@pytest.fixture(name="follow")
def _follow():
    return follow


@pytest.fixture
def reader():
    return READER


@pytest.fixture
def stranger():
    return STRANGER


@pytest.fixture
def hub():
    with HubSimulator(tokens=[READER, STRANGER]) as simulator:
        yield simulator


@pytest.fixture
def repo(hub):
    return hub.add_repo(
        "acme/tiny",
        FILES,
        tags=["v1.0"],
        card={"license": "mit", "library_name": "transformers", "new_version": "acme/big"},
        pipeline_tag="text-generation",
    )


@pytest.fixture
def api(hub, repo):
    return f"{hub.endpoint}/api/models/acme/tiny"


@pytest.fixture
def web(hub, repo):
    return f"{hub.endpoint}/acme/tiny"
