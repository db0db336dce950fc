"""Bytes that are on this machine already: found by size, believed only after hashing."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from vcm.core.lock import LockedFile, LockedModel
from vcm.core.plan import Origin, make_plan
from vcm.errors import ConfigError
from vcm.install.nearby import Nearby
from vcm.store.hub_cache import HubCache
from vcm.store.store import Store

WEIGHTS = hashlib.shake_128(b"weights").digest(4000)


@pytest.fixture
def stick(tmp_path):
    folder = tmp_path / "stick"
    folder.mkdir()
    return folder


@pytest.fixture
def nearby(cache):
    """Looks in an empty store, in no Hugging Face cache, and in the folders that are named."""

    def look(*folders: Path, size: int, path: str = "x", sha256: str = "0" * 64) -> list[Path]:
        file = LockedFile(path, size, sha256)
        model = LockedModel(name="m", source="huggingface", repo="acme/m", commit="1" * 40, files=(file,))
        found = list(Nearby(Store(cache), HubCache(None), folders).candidates([(model, file)]))
        assert all((each.origin, each.may_link) == (Origin.FOLDERS, False) for each in found)
        return [each.path for each in found]

    return look


def test_files_are_found_by_size_and_the_likeliest_come_first(stick, nearby):
    names = ("a.bin", "deep/model.safetensors", f"sha256-{'0' * 64}", "deep/onnx/model.safetensors", "z.bin")
    for path in (*names, "other.bin"):
        (stick / path).parent.mkdir(parents=True, exist_ok=True)
        (stick / path).write_bytes(b"x" * (5 if path != "other.bin" else 6))
    found = nearby(stick, size=5, path="onnx/model.safetensors")
    assert found[:3] == [stick / names[2], stick / names[3], stick / names[1]]
    assert set(found[3:]) == {stick / "a.bin", stick / "z.bin"}
    assert nearby(stick, size=7) == []
    assert nearby(size=5) == []


def test_what_is_neither_folder_nor_bundle_is_said(stick, nearby):
    path = stick / "x"
    with pytest.raises(ConfigError) as caught:
        nearby(stick, path, size=1)
    assert str(caught.value) == f"--from {path}: no such folder or bundle"
    assert caught.value.hint == "name a folder that holds the files, or what vcm bundle has written"
    assert caught.value.exit_code == 2


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_what_is_no_file_is_passed_by(stick, nearby):
    os.mkfifo(stick / "pipe")
    (stick / "dangling").symlink_to("nowhere")
    (stick / "loop").symlink_to("loop")
    (stick / "up").symlink_to("..")
    (stick / "empty").write_bytes(b"")
    # A folder may be one of links, as the snapshots of the Hugging Face cache are: each file counts once.
    (stick / "link").symlink_to("empty")
    assert nearby(stick, size=0) == [stick / "empty"]


def test_folders_are_looked_through_only_when_something_is_asked(stick, cache, monkeypatch):
    nearby = Nearby(Store(cache), HubCache(stick), [stick])
    monkeypatch.setattr(os, "walk", None)
    monkeypatch.setattr(os, "scandir", None)
    assert nearby.found(make_plan([], {}, ())) == {}


@pytest.fixture
def synced(hub, session, read_manifest):
    """Locks and installs one model with a folder at hand."""
    hub.add_repo("acme/m", {"config.json": b"{}", "onnx/model.onnx": WEIGHTS})

    def sync(folder, *, offline=False, when_started=lambda: None):
        locked = session().resolve(read_manifest('[models.m]\nrepo = "acme/m"'), None).after
        hub.clear_requests()
        within = session(offline=offline)
        # The folder has been looked through by then, and no file is touched yet.
        within.reporter.on_start = when_started
        (result,) = within.install(within.store.plan(locked.models), 1.0, [folder])
        return result

    return sync


def test_the_right_bytes_are_taken_from_the_folder_and_stay_there(hub, synced, stick):
    file = stick / "another name.bin"
    file.write_bytes(WEIGHTS)
    result = synced(stick)
    assert (result.status, result.bytes_fetched, result.bytes_reused) == ("installed", 0, 4002)
    assert hub.requests == []
    installed = result.path / "onnx" / "model.onnx"
    assert installed.read_bytes() == file.read_bytes() == WEIGHTS
    file.write_bytes(b"x" * 4000)
    assert installed.read_bytes() == WEIGHTS, "the folder's owner may do with it what he likes"


def test_the_right_bytes_do_without_a_network(hub, synced, stick):
    (stick / "model.onnx").write_bytes(WEIGHTS)
    result = synced(stick, offline=True)
    assert result.status == "installed"
    assert hub.requests == []


def test_the_same_size_is_not_enough(hub, cache, synced, stick):
    (stick / "model.onnx").write_bytes(b"x" * 4000)
    result = synced(stick)
    assert (result.status, result.bytes_fetched) == ("installed", 4000)
    assert (result.path / "onnx" / "model.onnx").read_bytes() == WEIGHTS
    assert list((cache / "partial").iterdir()) == []


def test_the_right_file_among_wrong_ones_is_found(hub, synced, stick):
    for number in range(5):
        (stick / f"{number}.bin").write_bytes(WEIGHTS if number == 3 else b"%d" % number * 4000)
    assert synced(stick).bytes_fetched == 0


@pytest.mark.parametrize("name", ["model.onnx", "another name.bin"])
def test_a_file_that_is_gone_meanwhile_is_no_reason_to_fail(hub, synced, stick, name):
    file = stick / name
    file.write_bytes(WEIGHTS)
    result = synced(stick, when_started=lambda: file.unlink(missing_ok=True))
    assert (result.status, result.error) == ("installed", None)
    assert result.bytes_fetched == 4000


def test_a_file_that_changed_meanwhile_is_not_taken(hub, synced, stick):
    file = stick / "model.onnx"
    file.write_bytes(WEIGHTS)
    result = synced(stick, when_started=lambda: file.write_bytes(b"y" * 4000))
    assert (result.status, result.bytes_fetched) == ("installed", 4000)
    assert (result.path / "onnx" / "model.onnx").read_bytes() == WEIGHTS
