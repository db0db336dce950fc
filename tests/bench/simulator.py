"""The hub simulator in a process of its own, so that it shares no interpreter with what is measured.

``python -m tests.bench.simulator folder FOLDER`` serves every ``FOLDER/namespace/name`` as a repository, ``corpus`` in
place of it the real lists of models, and ``many`` a hundred repositories of the usual small files. It prints its
endpoint, answers each line of its standard input with one of JSON (``requests``: origin and target of every request
since the last time; ``latency SECONDS``), and ends with its standard input.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vcm.testing import HubSimulator

ROOT = Path(__file__).parents[2]

MANY = 100
"""Repositories that ``many`` serves, ``bench/model-0`` and so on: two files in Git LFS and ten small ones each."""

_SHARED = (".gitattributes", "LICENSE", "special_tokens_map.json")
_OWN = (
    "README.md", "config.json", "generation_config.json", "merges.txt", "tokenizer.json", "tokenizer_config.json",
    "vocab.json",
)  # fmt: skip


class Remote:
    """A running simulator, by the pipes to its process."""

    def __init__(self, orders: IO[str], answers: IO[str]) -> None:
        self._orders = orders
        self._answers = answers
        self.endpoint = answers.readline().strip()
        if not self.endpoint:
            raise SystemExit("the simulator did not start")

    def requests(self) -> list[tuple[str, str]]:
        """Origin and target of each request since the last time, or since the start."""
        return [(origin, target) for origin, target in self._ask("requests")]

    def set_latency(self, seconds: float) -> None:
        """Let every answer from now on take so long to come."""
        self._ask(f"latency {seconds}")

    def _ask(self, order: str) -> Any:
        self._orders.write(f"{order}\n")
        self._orders.flush()
        return json.loads(self._answers.readline())


@contextmanager
def serving(*what: str | Path) -> Iterator[Remote]:
    """A simulator that serves what the words after ``python -m tests.bench.simulator`` say."""
    command: Sequence[str | Path] = (sys.executable, "-m", "tests.bench.simulator", *what)
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin
        assert process.stdout
        try:
            yield Remote(process.stdin, process.stdout)
        finally:
            process.stdin.close()


@contextmanager
def simulator(folder: Path) -> Iterator[str]:
    """The endpoint of a hub that serves the repositories of a folder; their files must not change meanwhile."""
    with serving("folder", folder.resolve()) as remote:
        yield remote.endpoint


def _serve(publish: Callable[..., None], *arguments: str) -> None:
    from vcm.testing import HubSimulator

    with HubSimulator() as hub:
        publish(hub, *arguments)
        # As for whoever pays for it: a client that keeps to its budget shall not wait for the next window here.
        hub.limit("api", quota=1_000_000)
        hub.limit("resolvers", quota=1_000_000)
        print(hub.endpoint, flush=True)  # noqa: T201  (whoever started this waits for it)
        for line in sys.stdin:
            order, _, value = line.strip().partition(" ")
            answer: object = None
            if order == "latency":
                hub.latency = float(value)
            else:
                answer = [(request.origin, request.path) for request in hub.requests]
                hub.clear_requests()
            print(json.dumps(answer), flush=True)  # noqa: T201  (likewise)


def _folder(hub: HubSimulator, name: str) -> None:
    folder = Path(name)
    for root in sorted(folder.glob("*/*")):
        files = {path.relative_to(root).as_posix(): path for path in root.rglob("*") if path.is_file()}
        hub.add_repo(root.relative_to(folder).as_posix(), files)


def _corpus(hub: HubSimulator) -> None:
    from tests import corpora

    for repo in (*corpora.localai(), *corpora.handy()):
        repo.publish(hub)


def _many(hub: HubSimulator) -> None:
    from vcm.testing import Unfetched

    for number in range(MANY):
        repo = f"bench/model-{number}"
        files: dict[str, Any] = {name: json.dumps({"shared": name}).encode() for name in _SHARED}
        files |= {name: json.dumps({"repo": repo, "text": name * (number + 1)}).encode() for name in _OWN}
        for name in ("decoder.safetensors", "encoder.safetensors"):
            files[name] = Unfetched(size=5 << 30, sha256=hashlib.sha256(f"{repo}/{name}".encode()).hexdigest())
        hub.add_repo(repo, files)


_PUBLISHERS: dict[str, Callable[..., None]] = {"folder": _folder, "corpus": _corpus, "many": _many}

if __name__ == "__main__":
    _serve(_PUBLISHERS[sys.argv[1]], *sys.argv[2:])
