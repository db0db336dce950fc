"""Bytes found in a Hugging Face cache, a hostile one too."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from pyfakefs.fake_filesystem import FakeFilesystem
from pyfakefs.helpers import set_uid

from tests.conftest import oid_of
from vcm.core.metadata import RemoteFile
from vcm.settings import read_settings
from vcm.store.hub_cache import CachedRepo, HubCache, folder_name

COMMIT = "1234567890" * 4
CONFIG = b'{"hidden_size": 8}'


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

    assert cache.blobs(oid_of(CONFIG)) == [frames / "blobs" / oid_of(CONFIG)]
    assert cache.blobs(oid_of(b"x")) == [other / oid_of(b"x")]
    assert cache.blobs("0" * 40) == []


def test_the_repos_are_looked_through_once(hub_cache: Path, frames: Path) -> None:
    cache = HubCache(hub_cache)
    assert cache.blobs(oid_of(b"late")) == []
    (frames / "blobs" / oid_of(b"late")).write_bytes(b"late")
    assert cache.blobs(oid_of(b"late")) == []
    assert len(HubCache(hub_cache).blobs(oid_of(b"late"))) == 1


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

    assert [digit for digit in "12345" if cache.blobs(digit * 40)] == []


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
    assert len(cache.blobs(oid_of(CONFIG))) == 1


def test_where_there_is_no_cache_nothing_is_found(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for folder in (None, tmp_path / "absent", tmp_path / "file", tmp_path):
        cache = HubCache(folder)
        assert cache.blobs(oid_of(CONFIG)) == []
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


def test_the_repos_of_a_cache(hub_cache: Path, frames: Path) -> None:
    (frames / "refs" / "refs" / "pr").mkdir(parents=True)
    (frames / "refs" / "main").write_text(COMMIT)
    (frames / "refs" / "refs" / "pr" / "1").write_text(f"{'2' * 40}\n")
    (frames / "refs" / "broken").write_text("gone")
    (frames / "refs" / "long").write_text("1" * 1000)
    (frames / "refs" / "out").symlink_to("/etc/hostname")
    os.mkfifo(frames / "refs" / "pipe")
    (frames / "refs" / "a b").write_text(COMMIT)
    os.utime(frames / "snapshots" / COMMIT, ns=(7, 7))
    (frames / "snapshots" / "main").mkdir()
    (frames / "snapshots" / ("3" * 40)).symlink_to(COMMIT)
    for name in ("models--legacy", "models--a--b--c", "models--", "models--a--\x1b[31m", "spaces--a--b", "datasets--a"):
        (hub_cache / name).mkdir()
    (hub_cache / "models--a--link").symlink_to(frames)
    (hub_cache / "models--a--file").write_text("")
    (hub_cache / "version.txt").write_text("1")

    repos, problems = HubCache(hub_cache).repos()

    assert repos == [
        CachedRepo("acme/frames", {"main": COMMIT, "refs/pr/1": "2" * 40}, {COMMIT: 7}),
        CachedRepo("legacy", {}, {}),
    ]
    assert sorted(problems) == [
        "2 of datasets and spaces: vcm is for models",
        "a/file: no folder of the cache",
        "a/link: no folder of the cache",
        "acme/frames: a b: no branch or tag",
        "acme/frames: broken: no branch or tag",
        "acme/frames: long: no branch or tag",
        "acme/frames: out: no branch or tag",
        "acme/frames: pipe: no branch or tag",
        "models--: no name of a model's folder",
        "models--a--b--c: no name of a model's folder",
        "models--a--\ufffd[31m: no name of a model's folder",
    ]


def test_the_files_of_a_snapshot_and_what_their_names_claim(hub_cache: Path, frames: Path) -> None:
    snapshot, blobs = frames / "snapshots" / COMMIT, frames / "blobs"
    shared = hub_cache / "blobs" / "ab" / ("ab" * 32)
    shared.parent.mkdir(parents=True)
    shared.write_bytes(b"weights")
    (blobs / ("c" * 64)).symlink_to(Path("../../blobs/ab", shared.name))
    (snapshot / "model.safetensors").symlink_to(Path("../../blobs", "c" * 64))
    (snapshot / "straight.bin").symlink_to(Path("../../../blobs/ab", shared.name))
    (snapshot / "plain.txt").write_bytes(b"plain")
    (blobs / "etag").write_bytes(b"odd")
    (snapshot / "odd.txt").symlink_to("../../blobs/etag")
    for ignored in (".DS_Store", "sub/desktop.ini", "model.safetensors.incomplete"):
        (snapshot / ignored).write_bytes(b"")
    os.mkfifo(snapshot / "pipe")
    (snapshot / "aux.txt").write_bytes(b"")
    (snapshot / "\x1b[31m").write_bytes(b"")

    found = HubCache(hub_cache).snapshot("acme/frames", COMMIT)

    assert found.listing is None
    assert found.files == {
        RemoteFile("sub/config.json", len(CONFIG), oid=oid_of(CONFIG)): blobs / oid_of(CONFIG),
        RemoteFile("model.safetensors", 7, sha256="c" * 64): shared,
        RemoteFile("straight.bin", 7): shared,
        RemoteFile("plain.txt", 5): snapshot / "plain.txt",
        RemoteFile("odd.txt", 3): blobs / "etag",
    }
    assert sorted(found.left_out) == [
        "aux.txt: 'aux.txt' is a reserved name on Windows",
        "pipe: no regular file",
        "\ufffd[31m: the path holds characters that cannot be shown",
    ]


def write_tree(frames: Path, files: object, version: int = 1) -> None:
    (frames / "trees").mkdir(exist_ok=True)
    (frames / "trees" / f"{COMMIT}.json").write_text(json.dumps({"format_version": version, "files": files}))


def test_a_tree_says_what_plain_files_are_and_what_is_missing(hub_cache: Path, frames: Path) -> None:
    snapshot = frames / "snapshots" / COMMIT
    (snapshot / "plain.txt").write_bytes(b"plain")
    (snapshot / "foreign.txt").write_bytes(b"")
    write_tree(
        frames,
        {
            "sub/config.json": {"size": len(CONFIG), "blob_id": oid_of(CONFIG)},
            "plain.txt": {"size": 5, "blob_id": oid_of(b"plain")},
            "model.safetensors": {"size": 9, "blob_id": "1" * 40, "lfs_sha256": "c" * 64, "lfs_size": 9},
        },
    )

    found = HubCache(hub_cache).snapshot("acme/frames", COMMIT)

    assert found.listing == (
        RemoteFile("sub/config.json", len(CONFIG), oid=oid_of(CONFIG)),
        RemoteFile("plain.txt", 5, oid=oid_of(b"plain")),
        RemoteFile("model.safetensors", 9, sha256="c" * 64),
    )
    assert {file.path: file.oid for file in found.files} == {
        "sub/config.json": oid_of(CONFIG),
        "plain.txt": oid_of(b"plain"),
    }
    assert found.left_out == ["foreign.txt: no file of this commit"]


@pytest.mark.parametrize(
    ("files", "version"),
    [
        ({}, 2),
        ([], 1),
        ({"sub/config.json": None}, 1),
        ({"sub/config.json": {"size": 1}}, 1),
        ({"sub/config.json": {"size": "1", "blob_id": "1" * 40}}, 1),
        ({"sub/config.json": {"size": 1, "blob_id": 1}}, 1),
        ({"../x": {"size": 1, "blob_id": "1" * 40}}, 1),
        ({"x": {"size": 1, "blob_id": "1" * 40, "lfs_sha256": "short"}}, 1),
    ],
)
def test_a_tree_that_no_client_wrote_is_not_there(hub_cache: Path, frames: Path, files: object, version: int) -> None:
    write_tree(frames, files, version)
    found = HubCache(hub_cache).snapshot("acme/frames", COMMIT)
    assert (found.listing, len(found.files), found.left_out) == (None, 1, [])


@pytest.mark.parametrize("data", [b"", b"{}", b"[" * 100_000, b"\xff", b"1"])
def test_nor_is_one_of_other_bytes(hub_cache: Path, frames: Path, data: bytes) -> None:
    write_tree(frames, {})
    (frames / "trees" / f"{COMMIT}.json").write_bytes(data)
    assert HubCache(hub_cache).snapshot("acme/frames", COMMIT).listing is None


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("/etc/hostname", "model.onnx leads to no file of the cache"),
        ("model.onnx", "model.onnx leads to no file of the cache"),
        ("../../blobs/gone", "model.onnx leads to no file of the cache"),
        ("sub", "model.onnx leads to no file of the cache"),
        ("..", "model.onnx leads to no file of the cache"),
    ],
)
def test_a_snapshot_with_a_link_that_leads_astray_is_none(
    hub_cache: Path, frames: Path, target: str, reason: str
) -> None:
    (frames / "snapshots" / COMMIT / "model.onnx").symlink_to(target)
    with pytest.raises(ValueError, match=f"^{reason}$"):
        HubCache(hub_cache).snapshot("acme/frames", COMMIT)


def test_nor_is_one_without_files_or_with_two_of_one_name(hub_cache: Path, frames: Path) -> None:
    cache = HubCache(hub_cache)
    (frames / "snapshots" / ("2" * 40)).mkdir()
    for commit in ("2" * 40, "3" * 40):
        with pytest.raises(ValueError, match=r"^none of its files is there$"):
            cache.snapshot("acme/frames", commit)
    (frames / "snapshots" / COMMIT / "SUB").write_bytes(b"")
    with pytest.raises(ValueError, match=r"cannot stand side by side on every system$"):
        cache.snapshot("acme/frames", COMMIT)


def test_nor_is_one_with_more_files_than_any_model(
    hub_cache: Path, frames: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vcm.store.hub_cache.MOST_ENTRIES", 3)
    (frames / "snapshots" / COMMIT / "more.txt").write_bytes(b"")
    with pytest.raises(ValueError, match=r"^3 files or more$"):
        HubCache(hub_cache).snapshot("acme/frames", COMMIT)


def test_what_this_user_may_not_read_is_told(fs: FakeFilesystem) -> None:
    snapshots = Path("/hub/models--acme--frames/snapshots")
    fs.create_file(snapshots / COMMIT / "config.json")
    fs.create_file("/hub/models--acme--other/refs/main")
    Path("/hub/models--acme--other/refs").chmod(0)
    (snapshots / COMMIT).chmod(0)
    cache = HubCache(Path("/hub"))
    set_uid(1000)
    try:
        repos, problems = cache.repos()
        with pytest.raises(ValueError, match=r"^permission denied$"):
            cache.snapshot("acme/frames", COMMIT)
    finally:
        set_uid(0)
    assert ([repo.repo for repo in repos], problems) == (["acme/frames"], ["acme/other: permission denied"])
