"""A locked model, and mirrors that have its files: simulators whose every fault can be had."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from vcm.core.lock import LockedFile, LockedModel
from vcm.core.mirror_config import mirror_address
from vcm.core.mirrors import Mirror
from vcm.install.syncing import Synced
from vcm.session import Session
from vcm.testing import Fault, HubSimulator

DATA = hashlib.shake_128(b"weights").digest(300_000)
DIGEST = hashlib.sha256(DATA).hexdigest()


class Rack:
    """A web server with blobs; ``simulator`` takes faults and remembers requests."""

    def __init__(self, simulator: HubSimulator) -> None:
        self.simulator = simulator
        self.url = ""

    def put(self, data: bytes, digest: str | None = None) -> None:
        """Have some bytes, under their own digest or a wrong one."""
        name = f"blobs/sha256/{digest or hashlib.sha256(data).hexdigest()}"
        self.url = self.simulator.add_file(name, data).removesuffix(f"/{name}")

    def fail(self, **what: Any) -> None:
        """Go wrong once, or as often as ``times`` says."""
        self.simulator.fail(Fault(origin="cdn", **what))

    def ranges(self) -> list[str | None]:
        """The ranges it was asked for, in order."""
        return [request.headers.get("range") for request in self.simulator.requests]

    def mirror(self, name: str = "rack", **changes: Any) -> Mirror:
        """How it is configured."""
        return mirror_at(name, self.url, **changes)


def mirror_at(name: str, address: str, **changes: Any) -> Mirror:
    """A mirror by the address that a user writes."""
    return Mirror(name=name, url=mirror_address(address)[0], **changes)


@pytest.fixture
def racks() -> Iterator[Callable[..., Rack]]:
    """Starts web servers with blobs."""
    made: list[HubSimulator] = []

    def start(*files: bytes) -> Rack:
        simulator = HubSimulator()
        simulator.__enter__()
        made.append(simulator)
        rack = Rack(simulator)
        for data in files or (DATA,):
            rack.put(data)
        return rack

    yield start
    for each in made:
        each.__exit__(None, None, None)


@pytest.fixture
def rack(racks: Callable[..., Rack]) -> Rack:
    """A web server that has the model's one file."""
    return racks()


@pytest.fixture
def model(hub: HubSimulator) -> LockedModel:
    """``acme/m``, one file of weights, as it is locked."""
    repo = hub.add_repo("acme/m", {"model.safetensors": DATA})
    return locked(repo.head(), {"model.safetensors": DATA})


def locked(commit: str, files: dict[str, bytes]) -> LockedModel:
    """A model of the hub as a lock has it."""
    return LockedModel(
        name="m",
        source="huggingface",
        repo="acme/m",
        commit=commit,
        files=tuple(
            LockedFile(path, len(data), hashlib.sha256(data).hexdigest()) for path, data in sorted(files.items())
        ),
    )


@dataclass
class Run:
    """One sync, and what it told."""

    result: Synced
    session: Session
    waits: list[float]

    @property
    def notices(self) -> list[str]:
        """The warnings."""
        return list(self.session.reporter.notices)  # type: ignore[attr-defined]

    def assert_installed(self, *data: bytes) -> None:
        """The model is here, whole, and nothing else is left."""
        assert self.result.error is None
        assert self.result.path is not None
        found = sorted(path.read_bytes() for path in self.result.path.rglob("*") if path.is_file())
        assert found == sorted(data or (DATA,))
        partial = self.session.store.blobs.partial_folder
        assert [path.name for path in partial.iterdir() if path.suffix != ".lock"] == []
        for path in self.session.store.blobs.folder.iterdir():
            assert hashlib.sha256(path.read_bytes()).hexdigest() == path.name
            assert path.stat().st_mode & 0o777 == 0o444


@pytest.fixture
def sync(session: Callable[..., Session], model: LockedModel) -> Callable[..., Run]:
    """Installs the model in a session of its own, whose waits are noted and never slept."""

    def run(*mirrors: Mirror, of: LockedModel = model, **settings: Any) -> Run:
        within = session(mirrors=mirrors, **settings)
        waits: list[float] = []
        within._sleep = waits.append
        (result,) = within.install(within.store.plan([of]), 1.0)
        return Run(result, within, waits)

    return run
