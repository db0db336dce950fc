"""Transfers on the simulated hub, whose waits are noted and never slept."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event

import pytest

from tests.conftest import Notes
from vcm.http.client import Address, HttpClient
from vcm.hub.client import HubClient
from vcm.install.origin import Origin
from vcm.install.transfer import Transfer
from vcm.install.wanted import WantedFile
from vcm.store.blobs import BlobStore
from vcm.testing import HubSimulator, SimulatedRepo


@dataclass
class Fetching:
    """A transfer into a store, and what it told."""

    transfer: Transfer
    client: HubClient
    blobs: BlobStore
    notes: Notes
    waits: list[float] = field(default_factory=list)
    before_wait: list[Callable[[], None]] = field(default_factory=list)

    def partials(self) -> dict[str, int]:
        """Sizes of the partial files, by the digest they are for."""
        folder = self.blobs.partial_folder
        return {path.name: path.stat().st_size for path in folder.iterdir() if path.suffix != ".lock"}

    def stored(self) -> list[str]:
        """The digests of the blobs."""
        return sorted(path.name for path in self.blobs.folder.iterdir())


def wanted_file(hub: HubSimulator, repo: SimulatedRepo, data: bytes) -> WantedFile:
    """``acme/m``'s weights, as a lock promises them."""
    return WantedFile(
        model="m",
        path="model.safetensors",
        url=f"{hub.endpoint}/acme/m/resolve/{repo.head()}/model.safetensors",
        repo="acme/m",
        size=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
    )


@pytest.fixture
def fetching(hub: HubSimulator, cache: Path) -> Iterator[Callable[..., Fetching]]:
    """Makes transfers into the test's store."""
    made: list[HttpClient] = []

    def make(
        token: str | None = None, *, folder: Path = cache, read_seconds: float = 10.0, cancelled: Event | None = None
    ) -> Fetching:
        address = Address(hub.endpoint, token, None, read_seconds)
        http = HttpClient(address)
        made.append(http)

        def wait(seconds: float, _: str) -> None:
            new.waits.append(seconds)
            for action in new.before_wait:
                action()

        client = HubClient(http, address, token_source="HF_TOKEN" if token else None, wait=wait)
        blobs, notes = BlobStore(folder), Notes()
        new = Fetching(Transfer(blobs, Origin(lambda: client), notes, wait, cancelled), client, blobs, notes)
        return new

    yield make
    for http in made:
        http.close()
