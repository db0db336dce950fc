"""Sessions and transfers on the simulated hub, whose waits are noted and never slept."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Lock

import pytest

from vcm.core.manifest import Manifest, parse_manifest
from vcm.core.reporter import Reporter
from vcm.hub.client import HubClient
from vcm.hub.http import Address, HttpClient
from vcm.install.session import Session
from vcm.install.transfer import Transfer
from vcm.settings import Settings, Token
from vcm.store.blobs import BlobStore
from vcm.testing import HubSimulator
from vcm.version import VERSION


class Notes(Reporter):
    """Remembers what it is told."""

    def __init__(self) -> None:
        self.notices: list[str] = []
        self.tasks: list[tuple[str, int]] = []
        self.progress: dict[str, int] = defaultdict(int)
        self.already: dict[str, int] = {}
        self.waits: list[tuple[float, str]] = []
        self.finished_files: list[str] = []
        self.ends = 0
        self.on_start: Callable[[], object] = lambda: None
        self.on_advance: Callable[[], object] = lambda: None
        self._lock = Lock()

    def notice(self, text: str) -> None:
        self.notices.append(text)

    def started(self, task: str, total_bytes: int) -> None:
        self.tasks.append((task, total_bytes))
        self.on_start()

    def file_started(self, label: str, size: int, already: int) -> None:
        self.already[label] = already
        with self._lock:
            self.progress[label] = already

    def advanced(self, label: str, count: int) -> None:
        with self._lock:
            self.progress[label] += count
        self.on_advance()

    def file_finished(self, label: str) -> None:
        self.finished_files.append(label)

    def waiting(self, label: str, seconds: float, reason: str) -> None:
        self.waits.append((seconds, reason))

    def finished(self) -> None:
        self.ends += 1


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
        new = Fetching(Transfer(blobs, client, notes, wait, cancelled), client, blobs, notes)
        return new

    yield make
    for http in made:
        http.close()


@pytest.fixture
def read_manifest() -> Callable[[str], Manifest]:
    """Reads a manifest's text."""

    def read(text: str) -> Manifest:
        return parse_manifest(text.encode(), vcm_version=VERSION)

    return read


@pytest.fixture
def session(hub: HubSimulator, cache: Path) -> Iterator[Callable[..., Session]]:
    """Makes sessions of the test's store and hub; ``session.reporter`` is a Notes."""
    made: list[Session] = []

    def make(
        token: str | None = None, *, folder: Path = cache, offline: bool = False, cancelled: Event | None = None
    ) -> Session:
        settings = Settings(
            cache_dir=folder,
            endpoint=hub.endpoint,
            token=Token(token, "HF_TOKEN") if token else None,
            offline=offline,
        )
        notes = Notes()
        new = Session(settings, notes, cancelled, sleep=lambda _: None)
        made.append(new)
        return new

    yield make
    for each in made:
        each.close()
