"""A client to test, what its machine knows of a registry, and registries that want to know who asks."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.loopback import Asked, Loopback
from tests.tokens import PASSWORD, USER
from vcm.core.mirrors import Mirror
from vcm.errors import AUTHENTICATION_ERROR, RegistryError
from vcm.mirrors.opening import registry_client
from vcm.oci.client import RegistryClient
from vcm.settings import Settings

DATA = bytes(range(256)) * 4


@pytest.fixture
def login(tmp_path: Path):
    """Writes down what the machine knows of a registry, as ``docker login`` does."""

    def write(host: str, user: str = USER, password: str = PASSWORD, **more: str) -> Path:
        path = tmp_path / "docker" / "config.json"
        path.parent.mkdir(exist_ok=True)
        auth = base64.b64encode(f"{user}:{password}".encode()).decode()
        path.write_text(json.dumps({"auths": {host: {"auth": auth, **more}}}))
        return path

    return write


@pytest.fixture
def connect(tmp_path: Path) -> Iterator[Callable[..., RegistryClient]]:
    """Makes clients of registries, as the settings and a mirror say."""
    made: list[RegistryClient] = []

    def make(host: str, headers: dict[str, str] | None = None) -> RegistryClient:
        mirror = Mirror(name="rack", url=f"oci+http://{host}/m/{{repo}}", headers=headers or {})
        made.append(registry_client(Settings(cache_dir=tmp_path / "cache"), mirror))
        return made[-1]

    yield make
    for client in made:
        client.http.close()


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def put(
    client: RegistryClient, data: bytes = DATA, repository: str = "m/frames", sent: list[object] | None = None
) -> int:
    """Push a blob; ``sent`` gets something each time its bytes are sent."""
    with client.request(
        "POST", f"{client.base}/v2/{repository}/blobs/uploads/", repository=repository, push=True
    ) as answer:
        location = answer.headers["Location"]

    def body():
        if sent is not None:
            sent.append(data)
        return [data]

    url = f"{location}&digest=sha256:{sha256(data)}"
    headers = {"Content-Length": str(len(data)), "Content-Type": "application/octet-stream"}
    with client.request("PUT", url, headers, repository=repository, push=True, body=body) as answer:
        return answer.status


def get(client: RegistryClient, data: bytes = DATA, repository: str = "m/frames", **headers: str) -> tuple[int, bytes]:
    url = client.blob_url(repository, sha256(data))
    with client.request("GET", url, headers, repository=repository) as answer:
        return answer.status, answer.body(1 << 24, 10)


def mount(client: RegistryClient, source: str, target: str) -> int:
    url = f"{client.base}/v2/{target}/blobs/uploads/?mount=sha256:{sha256(DATA)}&from={source}"
    with client.request("POST", url, repository=target, push=True, mounted_from=source) as answer:
        return answer.status


def denial(client: RegistryClient, *, push: bool = False) -> tuple[str, str]:
    with pytest.raises(RegistryError) as caught:
        _ = put(client) if push else get(client)
    assert caught.value.error_code == AUTHENTICATION_ERROR
    assert PASSWORD not in str(vars(caught.value))
    return caught.value.message, caught.value.hint


@pytest.fixture
def guarded(loopback: Callable[..., Loopback], http_answer):
    """A registry that wants any Authorization at all, challenges as told, and answers as told."""

    def start(challenge: str, *answers: bytes) -> Loopback:
        left = list(answers)

        def respond(connection, asked: Asked) -> None:
            if asked.target.startswith("/v2/") and "authorization" not in asked.headers:
                named = challenge.replace("HERE", f"http://{asked.headers['host']}")
                connection.sendall(http_answer(401, {"WWW-Authenticate": named}))
            else:
                connection.sendall(left.pop(0) if len(left) > 1 else left[0])

        return loopback(respond)

    return start


def host_of(server: Loopback) -> str:
    return server.url.partition("://")[2]
