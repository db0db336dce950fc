"""SIGKILL, at random moments and at every single step: nothing wrong is visible, and the next run goes on.

A run is killed, the store is looked at with nothing but ``hashlib``, and the same command line runs again in the same
store, until one run is done. In the suite this is done a few times. Hundreds and thousands of times, in minutes:

    ROBUST_KILLS=2000 ROBUST_SEED=1 python -m pytest -m long -s tests/robust/test_kills.py

The count is printed, and what goes wrong says its seed.
"""

# ruff: noqa: S311  (the moments of kills are no secret)
from __future__ import annotations

import os
import random
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import oid_of
from tests.robust.conftest import LARGE, Zoo
from tests.robust.harness import Ended, Forge, asked_from, digest_of, partial_sizes, wrong_in
from vcm.testing import Fault, HubSimulator

KILLS = int(os.environ.get("ROBUST_KILLS", "500"))
SEED = int(os.environ.get("ROBUST_SEED", "1"))
FEW = 4
"""Kills of each scene in the suite."""
MOST_RUNS = 12
"""Killed runs in a row; the next is left alone, so that many a store comes to its end."""
RATE = 8 << 20
"""Bytes a second of every connection: a run takes a third of a second, most of it downloading."""
LOST = 1 << 20
"""Bytes of one connection that may be under way when a run is killed."""


@dataclass
class Scene:
    """A store before a run, and the command line that is killed.

    Attributes:
        arguments: the command line.
        known: names of blobs and snapshots that are damaged from the beginning.
        prepare: makes the store; it is copied for every attempt.
        before: called before every run; may say another command line.
        after: called when one was done.
    """

    arguments: list[str | Path]
    known: list[str] = field(default_factory=list)
    before: Callable[[], list[str | Path] | None] = lambda: None
    after: Callable[[], None] = lambda: None


@dataclass
class Storm:
    """Runs that are killed, in one store after another."""

    forge: Forge
    hub: HubSimulator
    zoo: Zoo
    cache: Path
    scene: Scene
    start: Path
    kills: int = 0
    runs: int = 0
    stores: int = 0
    again: int = 0
    alive: Counter[str] = field(default_factory=Counter)

    def begin(self) -> None:
        """A store as the scene has it."""
        shutil.rmtree(self.cache, ignore_errors=True)
        if self.start.exists():
            # With its links: a snapshot shares its files with the blobs.
            shutil.copytree(self.start, self.cache, copy_function=Links(self.start))
        self.stores += 1

    def run(self, where: str, **order: Any) -> Ended:
        """One run, and a look at what it leaves."""
        partial, there = partial_sizes(self.cache), self._whole()
        self.hub.clear_requests()
        sent = self.hub.bytes_sent
        ended = self.forge.run(*(self.scene.before() or self.scene.arguments), **order)
        self.runs += 1
        assert ended.was_killed or ended.code == 0, f"{where}: {ended}"
        assert "Traceback" not in ended.output, f"{where}: {ended}"
        assert wrong_in(self.cache, self.scene.known) == [], f"{where}: {ended}"
        self._assert_bytes_are_used(partial, there, where)
        if ended.was_killed:
            self.kills += 1
            self.alive[self._moment()] += 1
            lost = self.hub.bytes_sent - sent - sum(partial_sizes(self.cache).values()) + sum(partial.values())
            gained = sum(self.zoo.sizes.get(name, 0) for name in self._whole() - there)
            self.again = max(self.again, lost - gained)
        return ended

    def finish(self, where: str) -> None:
        """A run that is left alone comes to the end."""
        assert self.run(where).code == 0
        self.scene.after()
        assert wrong_in(self.cache) == [], where
        assert partial_sizes(self.cache) == {}, where
        assert self.forge.run("verify").code == 0, where

    def _whole(self) -> set[str]:
        return {path.name for path in (self.cache / "blobs" / "sha256").glob("*")}.difference(self.scene.known)

    def _assert_bytes_are_used(self, partial: dict[str, int], there: set[str], where: str) -> None:
        asked = asked_from(self.hub)
        for digest, key in self.zoo.keys.items():
            starts = asked.get(key, [])
            assert not (starts and digest in there), f"{where}: {digest} is there and was fetched"
            if starts:
                assert min(starts) == partial.get(digest, 0), f"{where}: {digest} has {partial}, asked from {starts}"

    def _moment(self) -> str:
        """What a killed run was doing, as far as the store tells."""
        names = [path.name for path in (self.cache / "partial").glob("*")]
        for word in ("discarded-", "snapshot-", "adopted-", "copy-"):
            if any(name.startswith(word) for name in names):
                return word.rstrip("-")
        return "downloading" if partial_sizes(self.cache) else "between"


class Links:
    """Copies files of one tree into another, links among them as links."""

    def __init__(self, root: Path) -> None:
        self._copies: dict[int, str] = {}

    def __call__(self, source: str, target: str) -> None:
        inode = os.stat(source).st_ino  # noqa: PTH116
        if inode in self._copies:
            os.link(self._copies[inode], target)
        else:
            shutil.copy2(source, target)
            self._copies[inode] = target


@pytest.fixture
def installed(zoo: Zoo, forge: Forge, cache: Path) -> Zoo:
    """The zoo, all of it installed."""
    assert forge.run("sync").code == 0
    return zoo


def downloading(request: pytest.FixtureRequest) -> Scene:
    request.getfixturevalue("zoo")
    return Scene(["sync"])


def one_large_file(request: pytest.FixtureRequest) -> Scene:
    request.getfixturevalue("zoo")
    manifest: Callable[[str], Path] = request.getfixturevalue("manifest")
    manifest('[models.large]\nrepo = "acme/large"\n')
    assert request.getfixturevalue("vcm")("lock").code == 0
    return Scene(["sync"])


def linking(request: pytest.FixtureRequest) -> Scene:
    request.getfixturevalue("installed")
    cache: Path = request.getfixturevalue("cache")
    for name in ("snapshots", "verified"):
        shutil.rmtree(cache / name)
    return Scene(["sync", "--locked"])


def repairing(request: pytest.FixtureRequest) -> Scene:
    request.getfixturevalue("installed")
    cache: Path = request.getfixturevalue("cache")
    damaged = []
    for snapshot in sorted((cache / "snapshots").iterdir()):
        # A file that is as it was, with its last byte wrong; the blob shares it.
        file = max((path for path in snapshot.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
        name = next(blob.name for blob in (cache / "blobs" / "sha256").iterdir() if blob.samefile(file))
        file.chmod(0o644)
        file.write_bytes(file.read_bytes()[:-1] + b"?")
        file.chmod(0o444)
        damaged += [snapshot.name, name]
    # One snapshot is not only wrong in one file.
    (snapshot / "extra").write_bytes(b"")
    return Scene(["sync"], known=damaged)


def repairing_what_is_locked(request: pytest.FixtureRequest) -> Scene:
    return replace(repairing(request), arguments=["verify", "--repair"])


def repairing_the_store(request: pytest.FixtureRequest) -> Scene:
    """Which leaves to sync what somebody else would have to say where it is from."""

    def after() -> None:
        assert forge.run("sync").code == 0

    forge: Forge = request.getfixturevalue("forge")
    return replace(repairing(request), arguments=["cache", "verify", "--repair"], after=after)


def pruning(request: pytest.FixtureRequest) -> Scene:
    """Two of three models are not needed any more."""
    request.getfixturevalue("installed")
    manifest: Callable[[str], Path] = request.getfixturevalue("manifest")
    manifest('[models.large]\nrepo = "acme/large"\n')
    assert request.getfixturevalue("vcm")("lock").code == 0
    forge: Forge = request.getfixturevalue("forge")

    def before() -> list[str | Path]:
        # Whatever is gone, what is locked is there.
        assert forge.run("check").code == 0
        return ["cache", "prune"]

    def after() -> None:
        snapshots = list((Path(os.environ["VCM_CACHE_DIR"]) / "snapshots").iterdir())
        assert len(snapshots) == 1

    return Scene([], before=before, after=after)


def adopting(request: pytest.FixtureRequest) -> Scene:
    return Scene(["sync", "--from", request.getfixturevalue("zoo").folder])


def importing(request: pytest.FixtureRequest) -> Scene:
    """Out of a Hugging Face cache, into an empty project."""
    zoo: Zoo = request.getfixturevalue("zoo")
    project: Path = request.getfixturevalue("project")
    hub = Path(os.environ["HF_HOME"], "hub")
    commit = "12" * 20
    for file in sorted(path for path in zoo.folder.rglob("*") if path.is_file()):
        owner, name, *rest = file.relative_to(zoo.folder).parts
        folder = hub / f"models--{owner}--{name}"
        data = file.read_bytes()
        digest = next((each for each, size in zoo.sizes.items() if size == len(data) and each in zoo.keys), None)
        blob = folder / "blobs" / (digest or oid_of(data))
        target = folder / "snapshots" / commit / Path(*rest)
        for each in (blob, target, folder / "refs" / "main"):
            each.parent.mkdir(parents=True, exist_ok=True)
        blob.write_bytes(data)
        target.symlink_to(os.path.relpath(blob, target.parent))
        (folder / "refs" / "main").write_text(commit)

    def before() -> list[str | Path]:
        # What stands there after a kill is whole, and the manifest never without its lock.
        stands = {path.name for path in project.iterdir() if path.suffix in (".toml", ".lock")}
        assert stands in (set(), {"models.lock"}, {"models.toml", "models.lock"}), stands
        done: list[str | Path] = ["sync", "--locked", "--offline", "--from", zoo.folder]
        return done if "models.toml" in stands else ["import", "--hf-cache"]

    return Scene([], before=before)


def mirrored(request: pytest.FixtureRequest) -> Scene:
    """From a mirror that lies about every other file, half of which a kill may leave, then from one that does not."""
    zoo: Zoo = request.getfixturevalue("zoo")
    monkeypatch: pytest.MonkeyPatch = request.getfixturevalue("monkeypatch")
    files = {digest_of(path): path.read_bytes() for path in zoo.folder.rglob("*") if path.is_file()}
    addresses = []
    for lies in (True, False):
        simulator = HubSimulator()
        simulator.__enter__()
        request.addfinalizer(lambda each=simulator: each.__exit__(None, None, None))  # type: ignore[misc]
        for number, (digest, data) in enumerate(sorted(files.items())):
            sent = bytes(len(data)) if lies and number % 2 else data
            url = simulator.add_file(f"blobs/sha256/{digest}", sent)
        simulator.fail(Fault(origin="cdn", rate=RATE, times=None))
        addresses.append(url.partition("/blobs/")[0])
    monkeypatch.setenv("VCM_MIRRORS", " ".join(addresses))
    return Scene(["sync", "--no-origin"])


def carried(request: pytest.FixtureRequest) -> Scene:
    """From a bundle, into an empty store."""
    request.getfixturevalue("installed")
    forge: Forge = request.getfixturevalue("forge")
    bundle: Path = request.getfixturevalue("tmp_path") / "models.tar"
    assert forge.run("bundle", bundle).code == 0
    shutil.rmtree(request.getfixturevalue("cache"))
    return Scene(["sync", "--no-origin", "--from", bundle])


def bundling(request: pytest.FixtureRequest) -> Scene:
    """Where a bundle stands, it is whole."""
    request.getfixturevalue("installed")
    forge: Forge = request.getfixturevalue("forge")
    bundle: Path = request.getfixturevalue("tmp_path") / "models.tar"
    assert forge.run("bundle", bundle).code == 0
    whole = digest_of(bundle)

    def before() -> list[str | Path]:
        assert digest_of(bundle) == whole
        return ["bundle", bundle]

    return Scene([], before=before)


SCENES = [downloading, linking, repairing, pruning, adopting]
MORE_SCENES = [one_large_file, repairing_what_is_locked, repairing_the_store, importing, mirrored, carried, bundling]


@pytest.fixture
def storm(request: pytest.FixtureRequest, zoo: Zoo, forge: Forge, project: Path, tmp_path: Path) -> Storm:
    """A storm over the scene that the test names."""
    hub: HubSimulator = request.getfixturevalue("hub")
    scene, cache, start = request.param(request), tmp_path / "cache", tmp_path / "start"
    if cache.exists():
        shutil.copytree(cache, start, copy_function=Links(cache))
    made = Storm(forge, hub, zoo, cache, scene, start)
    if request.param is importing:
        begin = made.begin

        def afresh() -> None:
            begin()
            for each in ("models.toml", "models.lock"):
                (project / each).unlink(missing_ok=True)

        made.begin = afresh  # type: ignore[method-assign]
    hub.fail(Fault(origin="cdn", rate=RATE, times=None))
    return made


def rage(storm: Storm, kills: int, seed: int) -> None:
    """Kill so many runs, at random moments of time and at random steps."""
    dice = random.Random(f"{seed} {storm.scene.arguments[:2]}")
    storm.begin()
    longest = storm.forge.run(*(storm.scene.before() or storm.scene.arguments)).seconds
    assert longest < 30
    steps = 50
    while storm.kills < kills:
        storm.begin()
        for number in range(MOST_RUNS):
            where = f"seed {seed}, store {storm.stores}, run {number}"
            order: dict[str, Any] = {"kill_after": dice.uniform(0, 1.05 * longest)}
            if dice.random() < 0.5:
                order = {"die": dice.randint(1, steps)}
            ended = storm.run(f"{where}, {order}", **order)
            if "die" in order and ended.was_killed:
                steps = max(steps, order["die"] * 2)
            if not ended.was_killed or storm.kills == kills:
                break
        storm.finish(where)


@pytest.mark.parametrize("storm", SCENES, indirect=True)
def test_a_few_kills(storm):
    rage(storm, FEW, SEED)
    assert storm.again <= LOST * 8


@pytest.mark.parametrize("storm", [one_large_file], indirect=True)
def test_little_is_fetched_again(storm):
    dice = random.Random(SEED)
    storm.hub.clear_faults()
    storm.hub.fail(Fault(origin="cdn", rate=LARGE, times=None))
    storm.begin()
    sent, killed = storm.hub.bytes_sent, 0
    while True:
        ended = storm.run(f"{killed}", kill_after=dice.uniform(0.2, 0.4))
        if not ended.was_killed:
            break
        killed += 1
    storm.finish("the end")
    assert killed >= 2
    assert storm.hub.bytes_sent - sent <= LARGE + killed * LOST


@pytest.mark.long
@pytest.mark.parametrize("storm", SCENES + MORE_SCENES, indirect=True)
def test_many_kills(storm, capsys):
    rage(storm, KILLS // len(SCENES + MORE_SCENES), SEED)
    with capsys.disabled():
        print(f"\n{storm.kills} kills in {storm.runs} runs over {storm.stores} stores: {dict(storm.alive)}")  # noqa: T201


@pytest.mark.long
@pytest.mark.parametrize("storm", SCENES + MORE_SCENES, indirect=True)
def test_killed_at_every_step(storm, capsys):
    step = 0
    while True:
        step += 1
        storm.begin()
        if not storm.run(f"step {step}", die=step).was_killed:
            break
        storm.finish(f"after step {step}")
    with capsys.disabled():
        print(f"\n{storm.kills} kills, one at every step: {dict(storm.alive)}")  # noqa: T201
    assert storm.kills > 30
