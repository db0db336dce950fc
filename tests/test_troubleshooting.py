"""The README's table of what goes wrong: each row is provoked, and says what the row quotes."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Result
from vcm.testing import Fault, HubSimulator

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
ROWS = {
    title: (re.findall(r"`([^`]+)`", words), code)
    for title, words, code in re.findall(r"^\| \*\*(.+?)\*\*(.*?) \| (.+?) \|", README, re.MULTILINE)
}
FRAMES = '[models.frames]\nrepo = "acme/frames"\n'


@pytest.fixture
def frames(hub: HubSimulator, project: Path, vcm: Callable[..., Result], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A locked project that needs a model of the hub."""
    monkeypatch.setattr("vcm.http.retries.DELAYS", (0.0, 0.0, 0.0))
    hub.add_repo("acme/frames", {"model.safetensors": b"weights", "config.json": b"{}"})
    (project / "models.toml").write_text(FRAMES)
    assert vcm("lock").code == 0
    return project


def told(result: Result, title: str) -> list[bool]:
    """Whether the program ended and spoke as the row says, for each thing that the row quotes."""
    quoted, code = ROWS[title]
    assert str(result.code) in re.findall("[0-9]", code), result.err
    return [words in result.err + result.out for words in quoted]


def test_every_row_is_tested() -> None:
    titles = set(re.findall(r'told\(.*, "([^"]+)"\)', Path(__file__).read_text(encoding="utf-8")))
    assert titles | {"The model is not found in a program"} == set(ROWS)


def test_network(frames, hub, vcm, monkeypatch):
    hub.fail(Fault(path="/api/models/acme/frames*", status=429, headers={"Retry-After": "0"}, times=None))
    assert told(vcm("lock", "--refresh"), "Network") == [False, True]
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert told(vcm("lock", "--refresh"), "Network") == [True, False]


def test_disk_space(frames, vcm, monkeypatch):
    monkeypatch.setattr("vcm.install.syncing.free_space", lambda _: 1)
    assert told(vcm("sync"), "Disk space") == [True]
    monkeypatch.undo()


def test_corrupted_files(frames, vcm, cache):
    assert vcm("sync").code == 0
    (weights,) = cache.glob("snapshots/*/model.safetensors")
    weights.chmod(0o644)
    weights.write_bytes(b"WEIGHTS")
    assert told(vcm("verify"), "Corrupted files") == [True]
    assert vcm("verify", "--repair").code == 0
    assert vcm("check").code == 0


def test_gated_repos(frames, hub, vcm):
    hub.add_repo("acme/gated", {"model.safetensors": b"secret"}, gated="manual")
    assert told(vcm("add", "gated", "acme/gated"), "Gated repos") == [True]


def test_offline(frames, hub, vcm, cache, tmp_path, monkeypatch):
    assert told(vcm("sync", "--offline"), "Offline") == [True]
    (tmp_path / "stick").mkdir()
    (tmp_path / "stick" / "model.safetensors").write_bytes(b"weights")
    (tmp_path / "stick" / "config.json").write_bytes(b"{}")
    shutil.rmtree(cache)
    assert vcm("sync", "--offline", "--from", tmp_path / "stick").code == 0
    assert vcm("bundle", tmp_path / "models.tar").code == 0
    shutil.rmtree(cache)
    assert vcm("sync", "--offline", "--from", tmp_path / "models.tar").code == 0
    assert [vcm(*words, "--offline").code for words in (["check"], ["list"], ["sync"])] == [0, 0, 0]


def test_mirrors(frames, hub, vcm, monkeypatch):
    empty = hub.add_file("blobs/sha256/x", b"").removesuffix("/blobs/sha256/x")
    for address, code, is_off in ((empty, 1, False), ("http://127.0.0.1:9", 3, True)):
        monkeypatch.setenv("VCM_MIRRORS", address)
        done = vcm("sync", "--no-origin")
        assert (done.code, told(done, "Mirrors")) == (code, [True, is_off])
    assert vcm("mirror", "check").code == 1
    assert vcm("sync").code == 0


def test_deprecated_models(frames, hub, vcm):
    hub.repo("acme/frames").card["new_version"] = "acme/frames-2"
    hub.add_repo("acme/frames-2", {"model.safetensors": b"weights-2"})
    assert vcm("sync").code == 0
    assert told(vcm("outdated", "--refresh"), "Deprecated models") == [True]
    assert told(vcm("check"), "Deprecated models") == [True]


def test_a_stale_lock(frames, vcm):
    (frames / "models.toml").write_text(FRAMES + 'exclude = ["config.json"]\n')
    assert told(vcm("check"), "Stale lock") == [True]
    assert [vcm(*words).code for words in (["lock"], ["sync"], ["check"])] == [0, 0, 0]
