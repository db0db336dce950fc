"""Bytes found in a Hugging Face cache, a hostile one too."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from vcm.settings import read_settings
from vcm.store.hub_cache import HubCache, folder_name

COMMIT = "1234567890" * 4
CONFIG = b'{"hidden_size": 8}'


def oid_of(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


@pytest.fixture
def hub_cache(tmp_path: Path) -> Path:
    folder = tmp_path / "hub"
    folder.mkdir()
    return folder


@pytest.fixture
def frames(hub_cache: Path) -> Path:
    """A repo as the official client keeps it: one small file."""
    repo = hub_cache / "models--acme--frames"
    blob = repo / "blobs" / oid_of(CONFIG)
    blob.parent.mkdir(parents=True)
    blob.write_bytes(CONFIG)
    link = repo / "snapshots" / COMMIT / "sub" / "config.json"
    link.parent.mkdir(parents=True)
    link.symlink_to(Path("../../../blobs", blob.name))
    return repo


def test_a_small_file_is_found_by_its_git_blob_id_whatever_the_repo(hub_cache: Path, frames: Path) -> None:
    other = hub_cache / "models--legacy" / "blobs"
    other.mkdir(parents=True)
    (other / oid_of(b"x")).write_bytes(b"x")

    cache = HubCache(hub_cache)

    assert cache.small_file(oid_of(CONFIG)) == frames / "blobs" / oid_of(CONFIG)
    assert cache.small_file(oid_of(b"x")) == other / oid_of(b"x")
    assert cache.small_file("0" * 40) is None


def test_the_repos_are_looked_through_once(hub_cache: Path, frames: Path) -> None:
    cache = HubCache(hub_cache)
    assert cache.small_file(oid_of(b"late")) is None
    (frames / "blobs" / oid_of(b"late")).write_bytes(b"late")
    assert cache.small_file(oid_of(b"late")) is None
    assert HubCache(hub_cache).small_file(oid_of(b"late")) is not None


def test_what_is_no_regular_file_of_a_git_blob_is_not_found(hub_cache: Path, frames: Path, tmp_path: Path) -> None:
    blobs = frames / "blobs"
    outside = tmp_path / "secret"
    outside.write_bytes(b"secret")
    (blobs / ("1" * 40)).symlink_to(outside)
    os.mkfifo(blobs / ("2" * 40))
    (blobs / ("3" * 40)).mkdir()
    (blobs / f"{'4' * 40}.incomplete").write_bytes(b"half")
    (hub_cache / "models--a--file").write_bytes(b"")
    (hub_cache / "datasets--acme--faces" / "blobs").mkdir(parents=True)
    (hub_cache / "datasets--acme--faces" / "blobs" / ("5" * 40)).write_bytes(b"")

    cache = HubCache(hub_cache)

    assert [digit for digit in "12345" if cache.small_file(digit * 40)] == []


def test_a_file_is_found_by_its_place_in_a_snapshot(hub_cache: Path, frames: Path) -> None:
    plain = frames / "snapshots" / COMMIT / "model.safetensors"
    plain.write_bytes(b"weights")

    cache = HubCache(hub_cache)

    assert cache.snapshot_file("acme/frames", COMMIT, "sub/config.json") == frames / "blobs" / oid_of(CONFIG)
    assert cache.snapshot_file("acme/frames", COMMIT, "model.safetensors") == plain
    assert cache.snapshot_file("acme/frames", COMMIT, "absent.json") is None
    assert cache.snapshot_file("acme/frames", "0" * 40, "model.safetensors") is None
    assert cache.snapshot_file("acme/frames", COMMIT, "sub") is None


def test_a_blob_may_lie_in_the_store_that_all_repos_of_the_cache_share(hub_cache: Path, frames: Path) -> None:
    shared = hub_cache / "blobs" / "ab" / ("ab" * 32)
    shared.parent.mkdir(parents=True)
    shared.write_bytes(b"weights")
    (frames / "blobs" / ("c" * 64)).symlink_to(Path("../../blobs/ab", shared.name))
    (frames / "snapshots" / COMMIT / "model.safetensors").symlink_to(Path("../../blobs", "c" * 64))

    assert HubCache(hub_cache).snapshot_file("acme/frames", COMMIT, "model.safetensors") == shared


@pytest.mark.parametrize(
    ("repo", "commit", "path"),
    [
        ("acme/../frames", COMMIT, "sub/config.json"),
        ("../acme", COMMIT, "sub/config.json"),
        ("acme/frames", "main", "sub/config.json"),
        ("acme/frames", f"{COMMIT}/sub", "config.json"),
        ("acme/frames", COMMIT, "../../../../secret"),
        ("acme/frames", COMMIT, "/etc/passwd"),
        ("acme/frames", COMMIT, "sub/config.json\0"),
        ("acme/frames", COMMIT, ""),
    ],
)
def test_names_that_are_none_find_nothing(
    hub_cache: Path, frames: Path, tmp_path: Path, repo: str, commit: str, path: str
) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    assert HubCache(hub_cache).snapshot_file(repo, commit, path) is None


def test_a_link_that_leads_out_of_the_cache_or_nowhere_is_not_followed(
    hub_cache: Path, frames: Path, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "hub-twin").mkdir()
    (tmp_path / "hub-twin" / "file").write_bytes(b"secret")
    snapshot = frames / "snapshots" / COMMIT
    (snapshot / "out").symlink_to(tmp_path / "secret")
    (snapshot / "twin").symlink_to(tmp_path / "hub-twin" / "file")
    (snapshot / "loop").symlink_to("loop")
    (snapshot / "gone").symlink_to("../../blobs/gone")
    os.mkfifo(snapshot / "pipe")

    cache = HubCache(hub_cache)

    for path in ("out", "twin", "loop", "gone", "pipe"):
        assert cache.snapshot_file("acme/frames", COMMIT, path) is None


def test_a_cache_may_itself_be_a_link(hub_cache: Path, frames: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(hub_cache)
    cache = HubCache(tmp_path / "link")
    assert cache.snapshot_file("acme/frames", COMMIT, "sub/config.json") == frames / "blobs" / oid_of(CONFIG)
    assert cache.small_file(oid_of(CONFIG)) is not None


def test_where_there_is_no_cache_nothing_is_found(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for folder in (None, tmp_path / "absent", tmp_path / "file", tmp_path):
        cache = HubCache(folder)
        assert cache.small_file(oid_of(CONFIG)) is None
        assert cache.snapshot_file("acme/frames", COMMIT, "config.json") is None


def test_a_repo_has_its_folder() -> None:
    assert (folder_name("acme/Frames"), folder_name("gpt2")) == ("models--acme--Frames", "models--gpt2")


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"HF_HUB_CACHE": "/a", "HUGGINGFACE_HUB_CACHE": "/b", "HF_HOME": "/c"}, "/a"),
        ({"HUGGINGFACE_HUB_CACHE": "/b", "HF_HOME": "/c"}, "/b"),
        ({"HF_HOME": "/c"}, "/c/hub"),
        ({"XDG_CACHE_HOME": "/d"}, "/d/huggingface/hub"),
        ({"HF_HUB_CACHE": "", "HF_HOME": "/c"}, "/c/hub"),
    ],
)
def test_the_environment_says_where_the_cache_is(environ: dict[str, str], expected: str) -> None:
    assert read_settings(environ=environ, cache_dir="/store").hub_cache == Path(expected)


def test_the_cache_is_in_the_home_folder_unless_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert read_settings(environ={}, cache_dir="/store").hub_cache == tmp_path / ".cache" / "huggingface" / "hub"
    found = read_settings(environ={"HF_HUB_CACHE": "~/models"}, cache_dir="/store").hub_cache
    assert found == tmp_path / "models"
