"""A served store: models that are installed, and a client that speaks HTTP as badly as a test wants."""

from __future__ import annotations

import hashlib
import http.client
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from tests.conftest import oid_of
from vcm.core.lock import LockedFile, LockedModel
from vcm.serve.routes import Routes
from vcm.serve.server import Server
from vcm.serve.shelf import Shelf
from vcm.store.store import Store

COMMIT = "1234567890" * 4
WEIGHTS = bytes(range(256)) * 4096
FILES = {"README.md": b"# tiny\n", "config.json": b"{}\n", "empty.txt": b"", "model.safetensors": WEIGHTS}
FILES |= {"onnx/deep/notes #1.txt": b"notes"}


@dataclass
class Answered:
    """An answer as it came."""

    status: int
    headers: dict[str, str]
    body: bytes


class Served:
    """A store that is being served in this process."""

    def __init__(self, root: Path) -> None:
        self.notices: list[str] = []
        self.gated: list[list[str]] = []
        self.log: list[str] = []
        self.server = Server("127.0.0.1", 0)
        self.url = self.server.url
        self.port = int(self.url.rpartition(":")[2])
        shelf = Shelf(Store(root), self.notices.append, lambda catalog: self.gated.append(catalog.gated))
        answer = Routes(shelf, only_this_machine=True).answer
        self._thread = Thread(target=self.server.run, args=(answer, self.log.append), daemon=True)
        self._thread.start()

    def ask(self, path: str, method: str = "GET", headers: dict[str, str] | None = None, body: bytes = b"") -> Answered:
        """One request of its own connection."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request(method, path, body or None, headers or {})
            answer = connection.getresponse()
            return Answered(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
        finally:
            connection.close()

    def say(self, data: bytes) -> bytes:
        """All that comes back for some bytes, until the connection is closed."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=20) as connection:
            connection.sendall(data)
            answer = b""
            while piece := connection.recv(65536):
                answer += piece
            return answer

    def stop(self) -> None:
        """Stop it."""
        self.server.close()
        self._thread.join(20)
        assert not self._thread.is_alive()


def put(root: Path, files: dict[str, bytes], **said: Any) -> LockedModel:
    """Have a model in a store, as sync leaves it there; ``.safetensors`` as from Git LFS."""
    store = Store(root)
    rows = []
    for path, data in sorted(files.items()):
        sha256 = hashlib.sha256(data).hexdigest()
        store.blobs.put(data, sha256)
        rows.append(LockedFile(path, len(data), sha256, None if path.endswith(".safetensors") else oid_of(data)))
    model = LockedModel(**{"name": "tiny", "source": "huggingface", "files": tuple(rows), **said})
    store.snapshots.build(model, store.blobs.path)
    store.layout.record([model])
    return model


@pytest.fixture
def served(cache: Path) -> Iterator[Served]:
    """The test's store, being served."""
    server = Served(cache)
    yield server
    server.stop()


@pytest.fixture
def installed(cache: Path) -> LockedModel:
    """``acme/tiny`` at its version 1.0, installed."""
    return put(
        cache, FILES, repo="acme/tiny", commit=COMMIT, requested="==1.0", version="1.0", ref="v1.0", license="mit"
    )
