"""Servers that fail and lie, alone and together: the right bytes or the right error, soon, and never the token.

Which faults meet is drawn at random. In the suite a few hundred draws are made; thousands, in minutes:

    ROBUST_DRAWS=5000 ROBUST_SEED=1 python -m pytest -m long -s tests/robust/test_liars.py

What goes wrong says its seed and its faults.
"""

# ruff: noqa: S311  (what is drawn is no secret)
from __future__ import annotations

import functools
import hashlib
import os
import random
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any, Literal

import pytest

from tests.conftest import TOKEN
from tests.robust.conftest import noise
from tests.robust.harness import wrong_in
from vcm.core.lock import LockedModel
from vcm.errors import CHECKSUM_MISMATCH, ModelChecksumError, VcmError
from vcm.http.client import Address
from vcm.session import Session
from vcm.testing import Fault, HubSimulator

DRAWS = int(os.environ.get("ROBUST_DRAWS", "1000"))
SEED = int(os.environ.get("ROBUST_SEED", "1"))
FEW = 25
DEADLINE = 30.0
"""Seconds for one draw, in which nobody sleeps between attempts and silence is noticed after a fifth of a second."""
SILENCE = 0.2
SIZE = 20_000
WEIGHTS = noise("weights", SIZE)
OTHER = noise("other", SIZE)
DIGEST = hashlib.sha256(WEIGHTS).hexdigest()
CONFIG = b'{"a": 1}\n'
TEXT = '[models.m]\nrepo = "acme/m"\n'

Kind = Literal["passing", "wrong", "either", "final", "harmless"]


@dataclass(frozen=True)
class Lie:
    """A fault and what it is to a downloader.

    Attributes:
        kind: ``passing``: another attempt helps; ``wrong``: bytes that are not the promised ones; ``either`` of them;
            ``final``: no attempt helps; ``harmless``: the right bytes by another way.
        code: the exit code when it never ends; 0 where even that does no harm.
    """

    kind: Kind
    code: int
    fault: dict[str, Any]

    def queued(self, times: int | None) -> Fault:
        return Fault(**{"path": "*", "origin": "cdn", **self.fault}, times=times)


def lies(dice: random.Random, third: str) -> dict[str, Lie]:
    """One of each, with numbers of their own."""
    at = dice.randint(1, SIZE - 1)
    hub = {"origin": "hub", "path": "*/resolve/*model.safetensors"}
    seconds = str(dice.randint(0, 60))
    limits = {"RateLimit": f'"resolvers";r=0;t={seconds}', "RateLimit-Policy": '"fixed window";"resolvers";q=9;w=300'}
    return {
        "cut at the first byte": Lie("passing", 3, {"cut_after": 0}),
        "cut": Lie("passing", 0, {"cut_after": at}),
        "stalled": Lie("passing", 0, {"stall_after": at}),
        "stalled at once": Lie("passing", 3, {"stall_after": 0}),
        "server error": Lie("passing", 3, {"status": dice.choice([500, 502, 503, 504, 408])}),
        "server error of the hub": Lie("passing", 3, {**hub, "status": dice.choice([500, 502, 503, 504, 408])}),
        "busy": Lie("passing", 3, {"status": 429, "headers": {"Retry-After": seconds}}),
        "busy hub": Lie("passing", 3, {**hub, "status": 429, "headers": limits}),
        "expired": Lie("passing", 3, {"status": 403}),
        "no such range": Lie("passing", 3, {"status": 416, "headers": {"Content-Range": f"bytes */{SIZE}"}}),
        "wrong range": Lie("passing", 0, {"wrong_content_range": True}),
        "range of another size": Lie("either", 4, {"status": 206, "headers": {"Content-Range": f"bytes 0-9/{at}"}}),
        "range ignored": Lie("harmless", 0, {"ignore_range": True}),
        "compressed": Lie("harmless", 0, {"gzip": True, "ignore_range": True}),
        "late": Lie("harmless", 0, {"delay": 0.05}),
        "wrong bytes": Lie("wrong", 4, {"corrupt": True}),
        "one wrong byte": Lie("wrong", 4, {"flip": at}),
        "another file": Lie("wrong", 4, {"status": 200, "body": OTHER}),
        "a shorter file": Lie("wrong", 4, {"status": 200, "body": WEIGHTS[:at]}),
        "a longer file": Lie("wrong", 4, {"status": 200, "body": WEIGHTS + b"x" * at}),
        "without end": Lie("wrong", 4, {"endless": True}),
        "a web page": Lie("wrong", 4, {"status": 200, "body": b"<html>", "headers": {"Content-Type": "text/html"}}),
        "elsewhere": Lie("harmless", 0, {**hub, "status": 302, "headers": {"Location": f"{third}/files/right"}}),
        "elsewhere, wrong": Lie("wrong", 4, {**hub, "status": 302, "headers": {"Location": f"{third}/files/wrong"}}),
        "elsewhere, nothing": Lie("final", 3, {**hub, "status": 302, "headers": {"Location": f"{third}/files/none"}}),
        "in a circle": Lie("passing", 3, {"status": 302, "headers": {"Location": "?again"}}),
        "gone": Lie("final", 3, {**hub, "status": 404, "headers": {"X-Error-Code": "EntryNotFound"}}),
        "moved": Lie("final", 3, {**hub, "status": 404, "headers": {"X-Error-Code": "RevisionNotFound"}}),
        "gated": Lie("final", 3, {**hub, "status": 403, "headers": {"X-Error-Code": "GatedRepo"}}),
    }


@dataclass
class Stage:
    """One model on one hub, beside another host; a store that begins anew with every draw."""

    hub: HubSimulator
    third: HubSimulator
    cache: Path
    model: LockedModel
    make: Callable[..., Session]

    def begin(self, before: bytes) -> None:
        """An empty store, but for bytes that an earlier run has left."""
        shutil.rmtree(self.cache, ignore_errors=True)
        self.hub.clear_faults()
        if before:
            (self.cache / "partial").mkdir(parents=True)
            (self.cache / "partial" / DIGEST).write_bytes(before)

    def sync(self, what: object) -> VcmError | None:
        """Install the model; the error, if it fails. A run that does not end fails the test."""
        cancelled = Event()
        session = self.make(TOKEN, cancelled=cancelled)

        def install() -> VcmError | None:
            try:
                (result,) = session.install(session.store.plan([self.model]), 1.0)
            except VcmError as error:
                return error
            return result.error

        pool = ThreadPoolExecutor(1)
        running = pool.submit(install)
        try:
            error = running.result(DEADLINE)
        except TimeoutError:
            pytest.fail(f"{what}: no end after {DEADLINE} s")
        finally:
            cancelled.set()
            pool.shutdown(wait=False)
            session.close()
        self._assert_no_token(session, error, what)
        assert wrong_in(self.cache) == [], what
        return error

    def _assert_no_token(self, session: Session, error: VcmError | None, what: object) -> None:
        notes: Any = session.reporter
        told = [*notes.notices, *(reason for _, reason in notes.waits)]
        if error is not None:
            told += [str(error), error.hint, repr(error), *error.details]
        assert not [text for text in told if TOKEN in text], what
        for file in self.cache.rglob("*"):
            assert not file.is_file() or TOKEN.encode() not in file.read_bytes(), (what, file)
        outside = [*self.third.requests, *(each for each in self.hub.requests if each.origin == "cdn")]
        assert not [each for each in outside if "authorization" in each.headers or TOKEN in str(each)], what


@pytest.fixture
def stage(
    hub: HubSimulator,
    session: Callable[..., Session],
    cache: Path,
    read_manifest: Callable[[str], Any],
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Stage]:
    """The model, locked."""
    impatient = functools.partial(Address, read_seconds=SILENCE)
    monkeypatch.setattr("vcm.resolve.connecting.Address", impatient)
    hub.add_repo("acme/m", {"config.json": CONFIG, "model.safetensors": WEIGHTS})
    (model,) = session().resolve(read_manifest(TEXT), None).after.models
    with HubSimulator() as third:
        third.add_file("right", WEIGHTS)
        third.add_file("wrong", OTHER)
        yield Stage(hub, third, cache, model, session)


def earlier(dice: random.Random) -> bytes:
    """What an earlier run may have left of the file."""
    here = dice.choice([0, 0, 1, dice.randint(1, SIZE - 1), SIZE])
    return dice.choice([WEIGHTS, WEIGHTS, OTHER, WEIGHTS + b"more"])[: here or 0] if here else b""


def assert_code(error: VcmError | None, codes: set[int], what: object) -> None:
    assert (error.exit_code if error else 0) in codes, (what, error)
    if error is not None:
        assert error.hint, (what, error)
        assert (error.model, error.file) == ("m", "model.safetensors"), (what, error)
        assert (error.error_code == CHECKSUM_MISMATCH) == isinstance(error, ModelChecksumError), (what, error)


def then_it_works(stage: Stage, what: object) -> None:
    """Without the liars the next run has the right bytes."""
    stage.hub.clear_faults()
    error = stage.sync(what)
    assert error is None, (what, error)
    snapshot = stage.cache / "snapshots" / stage.model.tree_digest
    assert (snapshot / "model.safetensors").read_bytes() == WEIGHTS, what
    assert (snapshot / "config.json").read_bytes() == CONFIG, what


@pytest.mark.parametrize("name", lies(random.Random(0), ""))
def test_a_lie_that_never_ends(name, stage):
    dice = random.Random(SEED)
    lie = lies(dice, stage.third.cdn_origin)[name]
    stage.begin(b"")
    stage.hub.fail(lie.queued(None))
    error = stage.sync(name)
    assert_code(error, {lie.code}, name)
    assert (stage.cache / "snapshots").exists() == (lie.code == 0)
    then_it_works(stage, name)


@pytest.mark.parametrize("name", lies(random.Random(0), ""))
def test_a_lie_told_once(name, stage):
    dice = random.Random(SEED)
    lie = lies(dice, stage.third.cdn_origin)[name]
    stage.begin(WEIGHTS[: SIZE // 3])
    stage.hub.fail(lie.queued(1))
    error = stage.sync(name)
    assert_code(error, {3} if lie.kind == "final" else {0}, name)
    then_it_works(stage, name)


def draw_some(stage: Stage, number: int) -> int:
    """A few lies, each told once. How it must end can be said beforehand: patience is three attempts, and one more."""
    dice = random.Random(f"{SEED} some {number}")
    known = lies(dice, stage.third.cdn_origin)
    names = [dice.choice(list(known)) for _ in range(dice.randint(1, 5))]
    before = earlier(dice)
    what = (SEED, number, names, len(before), before[:4])
    stage.begin(before)
    for name in names:
        stage.hub.fail(known[name].queued(1))
    kinds = Counter(known[name].kind for name in names)
    # Bytes left by an earlier run may be wrong, too: that uses up the one more.
    wrong = kinds["wrong"] + kinds["either"] + (before[:1] != WEIGHTS[:1] and bool(before)) + (len(before) > SIZE)
    error = stage.sync(what)
    codes = {0, 3, 4}
    # Who says that there is no such range, although none was asked for, is not asked again.
    is_final = kinds["final"] or "no such range" in names
    if not is_final and kinds["passing"] + kinds["either"] <= 3 and wrong <= 1:
        codes = {0}
    elif not wrong:
        codes = {0, 3}
    assert_code(error, codes, what)
    then_it_works(stage, what)
    return error.exit_code if error else 0


def draw_many(stage: Stage, number: int) -> int:
    """Lies everywhere, some without end, about the hub's own answers too: whatever comes of it is no wrong byte."""
    dice = random.Random(f"{SEED} many {number}")
    what: list[object] = [SEED, number, "many"]
    stage.begin(earlier(dice))
    for _ in range(dice.randint(1, 8)):
        known = lies(dice, stage.third.cdn_origin)
        name = dice.choice(list(known))
        lie = known[name].fault
        if dice.random() < 0.3:
            lie = {**lie, "origin": None, "path": dice.choice(["*", "*/resolve*", "*config.json*", "*resolve-cache*"])}
        more: dict[str, Any] = dice.choice(
            [{}, {}, {"cut_after": dice.randint(0, SIZE)}, {"delay": 0.02}, {"gzip": True}]
        )
        times, skip = dice.choice([1, 1, 2, 3, None]), dice.choice([0, 0, 1, 2])
        fault: dict[str, Any] = {"origin": "cdn", "path": "*", **more, **lie, "times": times, "skip": skip}
        what += [name, *more, times, skip]
        stage.hub.fail(Fault(**fault))
    error = stage.sync(what)
    assert (error.exit_code if error else 0) in (0, 3, 4), (what, error)
    then_it_works(stage, what)
    return error.exit_code if error else 0


@pytest.mark.parametrize("draw", [draw_some, draw_many])
def test_lies_drawn_at_random(draw, stage):
    for number in range(FEW):
        draw(stage, number)


@pytest.mark.long
@pytest.mark.parametrize("draw", [draw_some, draw_many])
def test_thousands_of_lies(draw, stage, capsys):
    started, ends = time.monotonic(), Counter[int]()
    for number in range(DRAWS):
        ends[draw(stage, number)] += 1
        stage.hub.clear_requests()
        stage.third.clear_requests()
    with capsys.disabled():
        print(f"\n{DRAWS} draws in {time.monotonic() - started:.0f} s, exit codes {dict(ends)}")  # noqa: T201
    assert len(ends) == 3


@pytest.mark.parametrize("parts", [1, 7])
def test_cut_at_any_byte(parts, stage):
    """The file comes in pieces, cut at the same byte of every answer."""
    dice = random.Random(SEED)
    for number in range(10):
        at = dice.randint(SIZE // (parts + 1), SIZE - 1)
        stage.begin(earlier(dice))
        stage.hub.fail(Fault(origin="cdn", cut_after=at, times=None))
        assert stage.sync((number, at)) is None
        then_it_works(stage, (number, at))
