"""What locking costs, in requests and in time: a thousand real models, or a hundred repos on a hub that is far away."""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import tempfile
import tomllib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests import corpora
from tests.bench.contestants import HF_SETTINGS
from tests.bench.simulator import MANY, Remote, serving
from tests.bench.timing import Contestant, begin, compare, environment, run
from tests.counting import KINDS, api_calls, by_repo
from vcm.http import client as http

LOCK = (sys.executable, "-m", "vcm", "lock")
PEER_THREADS = 16
PEER = f"""
import sys
from concurrent.futures import ThreadPoolExecutor
from huggingface_hub import HfApi
api = HfApi()
repos = [f"bench/model-{{number}}" for number in range({MANY})]
with ThreadPoolExecutor({PEER_THREADS}) as pool:
    found = list(pool.map(lambda repo: api.model_info(repo, files_metadata=True), repos))
assert all(len(info.siblings) == 12 for info in found)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corpus", action="store_true", help="the real lists of models, counted by request")
    parser.add_argument("--rounds", type=int, help="(default: 5; with --corpus 1)")
    parser.add_argument("--latency", type=float, metavar="MS", help="of every answer (default: 50; with --corpus 0)")
    given = parser.parse_args()
    begin()
    with tempfile.TemporaryDirectory(prefix="vcm-bench-") as name:
        if given.corpus:
            _corpus(_Project(Path(name)), given.rounds or 1, (given.latency or 0) / 1000)
        else:
            latency = 50 if given.latency is None else given.latency
            _far_away(_Project(Path(name)), given.rounds or 5, latency / 1000)


class _Project:
    """A project whose lock and cache can be taken away."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.folder = home / "project"
        self.folder.mkdir()
        self.lock = self.folder / "models.lock"
        self._cache = home / "cache"

    def require(self, manifest: str) -> None:
        (self.folder / "models.toml").write_text(manifest, encoding="utf-8")

    def clear(self) -> None:
        self.lock.unlink(missing_ok=True)
        shutil.rmtree(self._cache, ignore_errors=True)

    def environment(self, endpoint: str) -> dict[str, str]:
        return environment(
            self.home, HF_ENDPOINT=endpoint, HF_HOME=self.home / "hf", VCM_CACHE_DIR=self._cache, **HF_SETTINGS
        )


@dataclass
class _Measured:
    """What one way to lock took, round after round; the requests are the last round's."""

    command: Sequence[str]
    seconds: list[float] = field(default_factory=list)
    requests: list[tuple[str, str]] = field(default_factory=list)


def _corpus(project: _Project, rounds: int, latency: float) -> None:
    if not corpora.FOLDER.is_dir():
        raise SystemExit(corpora.MISSING)
    repos = [*corpora.localai(), *corpora.handy()]
    project.require(corpora.manifest(repos, small_files=True))
    ways = {
        "first lock": _Measured(LOCK),
        "second lock": _Measured(LOCK),
        "lock --upgrade": _Measured((*LOCK, "--upgrade")),
    }
    with serving("corpus") as remote:
        remote.set_latency(latency)
        environ = project.environment(remote.endpoint)
        for _ in range(rounds):
            project.clear()
            for way in ways.values():
                remote.requests()
                way.seconds.append(run(way.command, environ, project.folder).seconds)
                way.requests = remote.requests()
    files = [file for model in tomllib.loads(project.lock.read_text())["model"] for file in model["files"]]
    small = sum(
        isinstance(content, bytes) for repo in repos for content in (*repo.small.values(), *repo.files.values())
    )
    _print(
        f"\n{len(repos)} models, {len(files)} files locked, {small} of them small; "
        f"{latency * 1000:g} ms latency ({rounds} rounds)"
    )
    ranged = {repo.id: repo.version is not None for repo in repos}
    for name, way in ways.items():
        _print_way(name, way, ranged, small)


def _print_way(name: str, way: _Measured, ranged: Mapping[str, bool], small: int) -> None:
    counted = by_repo(way.requests)
    fetched = len({target for origin, target in way.requests if origin == "hub" and "/resolve/" in target})
    _print(
        f"\n{name}: {statistics.median(way.seconds):.2f} s ({min(way.seconds):.2f}-{max(way.seconds):.2f}), "
        f"{len(way.requests)} requests; {fetched} small files fetched, {small - fetched} known"
    )
    asked = [kind for kind in KINDS if any(cost[kind] for cost in counted.values())]
    if not asked:
        return
    rows: list[Sequence[str]] = [("requests per model", "models", *asked, "API", "most API")]
    for has_range, title in ((False, "without a version range"), (True, "with one")):
        costs = [counted.get(repo, Counter()) for repo, its in ranged.items() if its == has_range]
        kinds = [f"{statistics.mean(cost[kind] for cost in costs):.2f}" for kind in asked]
        calls = [api_calls(cost) for cost in costs]
        rows.append((title, str(len(costs)), *kinds, f"{statistics.mean(calls):.2f}", str(max(calls))))
    others = sum((cost for repo, cost in counted.items() if repo not in ranged), Counter[str]())
    if others:
        kinds = [str(others[kind]) for kind in asked]
        rows.append(("of no model, in all", "", *kinds, str(api_calls(others)), ""))
    _print_table(rows)


def _far_away(project: _Project, rounds: int, latency: float) -> None:
    connections = getattr(http, "CONNECTIONS", None) or getattr(http, "_CONNECTIONS")  # noqa: B009  (either name)
    names = [f"model-{number}" for number in range(MANY)]
    project.require("\n".join(f'[models.{name}]\nrepo = "bench/{name}"\n' for name in names))
    with serving("many") as remote:
        remote.set_latency(latency)
        environ = project.environment(remote.endpoint)
        requests = _requests_of_a_lock(remote, project, environ)
        python = sys.executable
        peer = f"model_info, {PEER_THREADS} threads"
        measured = compare(
            f"{MANY} repos of 10 small files and 2 in Git LFS, {latency * 1000:g} ms latency",
            (
                Contestant(name="vcm lock", command=LOCK, prepare=project.clear),
                Contestant(name=peer, command=(python, "-c", PEER)),
                Contestant(name="vcm --version", command=(python, "-m", "vcm", "--version")),
                Contestant(name="import HfApi", command=(python, "-c", "from huggingface_hub import HfApi")),
            ),
            peer=peer,
            rounds=rounds,
            environ=environ,
            folder=project.folder,
        )
    least = sum(requests.values()) * latency / connections
    _print(f"\nvcm lock asks: {', '.join(f'{count} {kind}' for kind, count in requests.most_common())}")
    _print(f"{requests.total()} requests x {latency * 1000:g} ms / {connections} connections = {least:.3f} s")
    if least:
        whole = measured["vcm lock"].seconds
        asking = whole - measured["vcm --version"].seconds
        _print(f"vcm lock takes {whole / least:.2f} x that, without its start {asking / least:.2f} x")


def _requests_of_a_lock(remote: Remote, project: _Project, environ: Mapping[str, str]) -> Counter[str]:
    project.clear()
    remote.requests()
    run(LOCK, environ, project.folder)
    return sum(by_repo(remote.requests()).values(), Counter[str]())


def _print_table(rows: Sequence[Sequence[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        first, *rest = (cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        _print("  ".join([first.strip().ljust(widths[0]), *rest]))


def _print(line: str) -> None:
    print(line, flush=True)  # noqa: T201  (what a benchmark is for)


if __name__ == "__main__":
    main()
