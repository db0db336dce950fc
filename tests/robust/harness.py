"""What the proofs share: a model zoo on a slow hub, processes that begin at once, and a look that trusts nothing."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vcm.testing import HubSimulator

ENVIRONMENT = ("HF_ENDPOINT", "HF_HOME", "HF_TOKEN", "VCM_CACHE_DIR", "VCM_MIRRORS")


@dataclass(frozen=True)
class Ended:
    """How a child ended.

    Attributes:
        code: exit code; negative for the signal that ended it.
        output: what it wrote, both outputs in one.
        seconds: how long it ran.
    """

    code: int
    output: str
    seconds: float

    @property
    def was_killed(self) -> bool:
        return self.code == -signal.SIGKILL


class Forge:
    """Runs command lines, each in a process of its own that begins within milliseconds.

    Args:
        output: a file for what they write.
    """

    def __init__(self, output: Path) -> None:
        self._output = output
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("forking.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        )

    def close(self) -> None:
        """End the process that forks."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(10)
        assert self._process.stdout is not None
        self._process.stdout.close()

    def run(self, *arguments: str | Path, **order: Any) -> Ended:
        """Run a command line in the current folder, to its end; what else an order may hold, ``forking`` says."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        order |= {
            "arguments": [str(each) for each in arguments],
            "folder": str(Path.cwd()),
            "environment": {name: os.environ[name] for name in ENVIRONMENT if name in os.environ},
            "output": str(self._output),
            "root": os.environ["VCM_CACHE_DIR"],
        }
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        started = time.monotonic()
        code = int(self._process.stdout.readline())
        return Ended(code, self._output.read_text(), time.monotonic() - started)


def digest_of(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def tree_digest_of(folder: Path) -> str:
    """What the contract calls the tree digest of the files below a folder."""
    rows = sorted(
        (path.relative_to(folder).as_posix().encode(), digest_of(path).encode())
        for path in folder.rglob("*")
        if path.is_file()
    )
    return hashlib.sha256(b"".join(digest + b"  " + path + b"\n" for path, digest in rows)).hexdigest()


def wrong_in(cache: Path, known: Collection[str] = ()) -> list[str]:
    """What is visible in a store and is not what its name says, or is named by its index and not there.

    Args:
        cache: the store.
        known: names of blobs and snapshots that the test itself has damaged, which may still be so.
    """
    blobs = [path.name for path in (cache / "blobs" / "sha256").glob("*") if digest_of(path) != path.name]
    snapshots = [path.name for path in (cache / "snapshots").glob("*") if tree_digest_of(path) != path.name]
    return sorted({*blobs, *snapshots}.difference(known) | {f"no {each}" for each in missing_in(cache)})


def missing_in(cache: Path) -> set[str]:
    """The digests that the index names, or a manifest that it names, and of which there is no blob."""
    index = cache / "index.json"
    rows = json.loads(index.read_bytes())["manifests"] if index.exists() else []
    named = [row["digest"] for row in rows]
    there = {f"sha256:{path.name}": path for path in (cache / "blobs" / "sha256").glob("*")}
    for digest in list(named):
        if digest in there:
            with suppress(ValueError):
                manifest = json.loads(there[digest].read_bytes())
                named += [row["digest"] for row in (manifest["config"], *manifest["layers"])]
    return set(named) - there.keys()


def partial_sizes(cache: Path) -> dict[str, int]:
    """Bytes of the downloads that may go on, by digest."""
    return {name: size for name, size in half_written(cache, "*").items() if len(name) == 64}


def half_written(cache: Path, pattern: str) -> dict[str, int]:
    """Bytes of the files that are on their way into the store, by name; one may be done while they are looked at."""
    sizes: dict[str, int] = {}
    for path in (cache / "partial").glob(pattern):
        with suppress(FileNotFoundError):
            if path.is_file():
                sizes[path.name] = path.stat().st_size
    return sizes


def asked_from(hub: HubSimulator) -> dict[str, list[int]]:
    """By storage key of a file, at which bytes the answers of the CDN were asked to begin."""
    asked: dict[str, list[int]] = defaultdict(list)
    for request in hub.requests:
        if request.origin == "cdn" and request.method == "GET":
            start = request.headers.get("range", "bytes=0-").removeprefix("bytes=").partition("-")[0]
            asked[request.path.partition("?")[0].rpartition("/")[2]].append(int(start))
    return asked
