"""Locked bytes from where they are already: mirrors beside the hub, and many nodes at one registry.

    python tests/bench/fleet.py mirrors --size 1 --rounds 3
    python tests/bench/fleet.py nodes --nodes 20 --size 1

It needs docker-registry and nginx (Debian: ``docker-registry nginx-light``), and of the disk below TMPDIR three times
``--size``; ``nodes`` as much again for each node.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TypeVar

from tests.bench.simulator import Remote, serving
from tests.bench.timing import Contestant, begin, compare, environment, print_line, print_table, run, script
from tests.conftest import closed_port
from tests.servers import Nginx, Process, Registry

GIBIBYTE = 1 << 30
_FILES = 5
_NOWHERE = "http://127.0.0.1:9"
"""An address at which nobody listens: for a hub that must not be asked."""


class Site:
    """A hub with one model, a project that has locked and installed it, and a registry that it was pushed to."""

    def __init__(self, folder: Path, size: int, started: ExitStack, *, files: int) -> None:
        self.folder = folder
        self.size = size
        self.project = folder / "project"
        self.project.mkdir()
        self.store = folder / "store"
        source = folder / "hub" / "bench" / "model"
        source.mkdir(parents=True)
        for number in range(files):
            _write(source / f"model-{number + 1:05}-of-{files:05}.safetensors", size // files)
        (source / "config.json").write_text("{}")
        self.hub: Remote = started.enter_context(serving("folder", (folder / "hub").resolve()))
        (self.project / "models.toml").write_text('[models.model]\nrepo = "bench/model"\ninclude = ["**"]\n')
        self.registry = started.enter_context(_running(Registry(folder / "registry", logged=True)))
        self.registry_mirror = f"registry=oci://{self.registry.host}/models/{{repo}}"
        own = self.environ(self.store, HF_ENDPOINT=self.hub.endpoint, VCM_MIRRORS=self.registry_mirror)
        for words in (("lock",), ("sync",), ("push", "registry")):
            run((script("vcm"), *words), own, self.project)

    def environ(self, cache: Path, **told: str) -> dict[str, str]:
        """The environment of a machine whose store is that folder."""
        return environment(self.folder, HF_HOME=self.folder / "hf", VCM_CACHE_DIR=cache, **told)


_Server = TypeVar("_Server", bound=Process)


@contextmanager
def _running(server: _Server) -> Iterator[_Server]:
    try:
        yield server
    finally:
        server.stop()


def mirrors(folder: Path, given: argparse.Namespace) -> None:
    """``vcm sync`` into an empty store from each kind of mirror, beside the hub."""
    with ExitStack() as started:
        site = Site(folder, int(given.size * GIBIBYTE), started, files=_FILES)
        nginx = started.enter_context(_running(Nginx(site.store, folder / "nginx")))
        port = closed_port()
        serve = [str(script("vcm")), "--cache-dir", str(site.store), "serve", "--port", str(port)]
        served = started.enter_context(_running(Process(serve, port, site.environ(site.store))))
        cache = folder / "node"

        def clear() -> None:
            shutil.rmtree(cache, ignore_errors=True)
            os.sync()

        def contestant(name: str, endpoint: str, mirror: str | None) -> Contestant:
            told = [f"HF_ENDPOINT={endpoint}", *([f"VCM_MIRRORS={mirror}"] if mirror else [])]
            return Contestant(name=name, command=["env", *told, script("vcm"), "sync", "--frozen"], prepare=clear)

        measured = compare(
            f"vcm sync of {given.size:g} GiB in {_FILES} files",
            [
                contestant("hub simulator", site.hub.endpoint, None),
                contestant("mirror: nginx", _NOWHERE, nginx.url),
                contestant("mirror: registry", _NOWHERE, site.registry_mirror),
                contestant("mirror: vcm serve", _NOWHERE, served.url),
                contestant("hub: vcm serve", served.url, None),
                contestant("mirror: file", _NOWHERE, site.store.as_uri()),
            ],
            peer="hub simulator",
            rounds=given.rounds,
            environ=site.environ(cache),
            folder=site.project,
        )
        rows = [(name, f"{site.size / each.seconds / 1e6:.0f}") for name, each in measured.items()]
        print_table("the same in MB/s", ("", "MB/s"), rows)


def nodes(folder: Path, given: argparse.Namespace) -> None:
    """Many processes, each with a store of its own, at one registry; the hub is there and must not be asked."""
    with ExitStack() as started:
        site = Site(folder, int(given.size * GIBIBYTE), started, files=1)
        site.hub.requests()
        before = _bytes_sent(site.registry)
        begun = time.monotonic()
        running = [_node(site, number) for number in range(given.nodes)]
        ended = _ends(running, lambda number: shutil.rmtree(site.folder / f"node-{number}"))
        seconds = [moment - begun for moment in ended]
        asked = site.hub.requests()
        sent = _bytes_sent(site.registry) - before
        rows = [
            ("seconds until the first node had it", f"{min(seconds):.1f}"),
            ("seconds until half of them had it", f"{statistics.median(seconds):.1f}"),
            ("seconds until the last node had it", f"{max(seconds):.1f}"),
            ("MB/s of all nodes together", f"{site.size * given.nodes / max(seconds) / 1e6:.0f}"),
            ("requests to the hub", str(len(asked))),
            ("GiB that left the registry", f"{sent / GIBIBYTE:.2f}"),
        ]
        print_table(f"{given.nodes} nodes, a model of {given.size:g} GiB, one registry", ("", ""), rows)


def _node(site: Site, number: int) -> subprocess.Popen[bytes]:
    cache = site.folder / f"node-{number}"
    told = site.environ(cache, HF_ENDPOINT=site.hub.endpoint, VCM_MIRRORS=site.registry_mirror)
    command = [str(script("vcm")), "sync", "--frozen", "--no-origin", "-q"]
    return subprocess.Popen(command, cwd=site.project, env=told, stdout=subprocess.DEVNULL)


def _ends(running: Sequence[subprocess.Popen[bytes]], ended: Callable[[int], object]) -> list[float]:
    """When each process ended; one that failed ends the benchmark."""
    moments = dict[int, float]()
    while len(moments) < len(running):
        for number, process in enumerate(running):
            if number not in moments and process.poll() is not None:
                moments[number] = time.monotonic()
                if process.returncode:
                    for each in running:
                        each.kill()
                    raise SystemExit(f"node {number} ended with {process.returncode}")
                ended(number)
        time.sleep(0.02)
    return list(moments.values())


def _bytes_sent(registry: Registry) -> int:
    """The bytes of all answers to requests for blobs, by the registry's own log."""
    text = registry.log.read_text(errors="replace")
    return sum(int(size) for size in re.findall(r'"GET /v2/\S+/blobs/\S+ HTTP/1\.1" 20[06] (\d+)', text))


def _write(path: Path, size: int) -> None:
    block = os.urandom(1 << 20)
    with path.open("wb") as file:
        for number in range(size >> 20):
            # Every mebibyte is another one.
            file.write(number.to_bytes(8, "big") + block[8:])


def main() -> None:
    """Measure what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("mirrors", "nodes"))
    parser.add_argument("--size", type=float, default=1.0, metavar="GIB", help="of the model (default: 1)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--nodes", type=int, default=20)
    given = parser.parse_args()
    begin()
    with tempfile.TemporaryDirectory(prefix="vcm-bench-") as folder:
        (mirrors if given.what == "mirrors" else nodes)(Path(folder), given)
    print_line("")


if __name__ == "__main__":
    main()
