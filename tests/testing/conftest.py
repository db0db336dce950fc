"""A simulator with two tokens, and the plainest of clients."""

from __future__ import annotations

import http.client
import json
from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit

import pytest

from vcm.testing import HubSimulator

READER = "hf_reader"
STRANGER = "hf_stranger"


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
