"""``vcm sync`` beside a Hugging Face cache and other folders: bytes that are on this machine are not fetched again."""

# ruff: noqa: PLR0917  (pytest hands fixtures over by name)
from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import COMMIT, FILES, WEIGHTS
from vcm.store.files import _reflink

OTHER = "abcdef0123" * 4
DIGEST = hashlib.sha256(WEIGHTS).hexdigest()
INSTALLED = "Installed 1 model: 0 B fetched, 4.1 kB reused\n + frames  123456789012  installed\n"
TAKEN = "taking 3 files from this machine, 4.1 kB\n"


@pytest.fixture
def only_locked(locked, cache):
    """The model is locked, and the store has none of its bytes."""
    shutil.rmtree(cache)
    return locked


def as_links(hf_repo: Callable[..., Path], _: Path) -> None:
    hf_repo("acme/frames", FILES, {"main": COMMIT})


def as_plain_files(hf_repo: Callable[..., Path], _: Path) -> None:
    hf_repo("acme/frames", FILES, {"main": COMMIT}, plain=True)


def at_another_commit(hf_repo: Callable[..., Path], _: Path) -> None:
    hf_repo("acme/frames", FILES, {"main": OTHER}, OTHER, plain=True)
    hf_repo("acme/frames", {path: b"x" * len(data) for path, data in FILES.items()}, {}, COMMIT, plain=True)


def without_snapshots(hf_repo: Callable[..., Path], _: Path) -> None:
    shutil.rmtree(hf_repo("acme/frames", FILES, {"main": COMMIT}) / "snapshots")


def in_another_repo(hf_repo: Callable[..., Path], _: Path) -> None:
    hf_repo("other/mirror", {f"deep/{path}": data for path, data in FILES.items()}, {}, OTHER)


def in_the_shared_store(hf_repo: Callable[..., Path], hf_cache: Path) -> None:
    """As clients of 2.x keep what came by Xet: two links to a file whose name is 64 hex and no SHA-256."""
    repo = hf_repo("acme/frames", FILES, {"main": COMMIT})
    shared = hf_cache / "blobs" / "ab" / ("ab" * 32)
    shared.parent.mkdir(parents=True)
    (hf_cache / "blobs" / ".huggingface-shared-blobs").write_text("1\n")
    (repo / "blobs" / DIGEST).rename(shared)
    shared.chmod(0o444)
    (repo / "blobs" / DIGEST).symlink_to(f"../../blobs/ab/{shared.name}")


LAYOUTS = [as_links, as_plain_files, at_another_commit, without_snapshots, in_another_repo, in_the_shared_store]


@pytest.mark.parametrize("put", LAYOUTS, ids=lambda put: put.__name__)
def test_what_the_cache_has_is_not_fetched(
    put, only_locked, hf_repo, hf_cache, vcm, hub, cache, listing, assert_store_is_whole
):
    put(hf_repo, hf_cache)
    before = listing(hf_cache)
    result = vcm("sync", "--offline")
    assert (result.code, result.out, result.err) == (0, INSTALLED, TAKEN)
    assert hub.requests == []
    assert listing(hf_cache) == before
    assert list((cache / "partial").iterdir()) == []
    assert_store_is_whole()
    assert vcm("verify").code == 0


def test_the_bytes_are_shared(only_locked, hf_repo, vcm, cache):
    blob = hf_repo("acme/frames", FILES, {"main": COMMIT}) / "blobs" / DIGEST
    can_reflink = _reflink(blob, blob.with_name("probe"))
    assert vcm("sync").code == 0
    mine = cache / "blobs" / "sha256" / DIGEST
    assert can_reflink or mine.samefile(blob)
    assert mine.stat().st_mode & 0o777 == 0o444


def test_where_nothing_can_be_linked_it_is_copied(only_locked, hf_repo, vcm, cache, hub, monkeypatch):
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    blob = hf_repo("acme/frames", FILES, {"main": COMMIT}) / "blobs" / DIGEST
    monkeypatch.setattr(os, "link", refuse)
    assert vcm("sync").out == INSTALLED
    assert hub.requests == []
    assert not (cache / "blobs" / "sha256" / DIGEST).samefile(blob)
    assert blob.stat().st_mode & 0o200, "a copy leaves the cache's file as it was"


def test_what_a_name_claims_is_not_believed(only_locked, hf_repo, vcm, hub, listing, hf_cache, assert_store_is_whole):
    repo = hf_repo("acme/frames", FILES, {"main": COMMIT})
    (repo / "blobs" / DIGEST).write_bytes(b"x" * len(WEIGHTS))
    # What a download that was broken off leaves, of the right size and with the right bytes for all one knows.
    (repo / "blobs" / f"{DIGEST}.incomplete").write_bytes(WEIGHTS)
    before = listing(hf_cache)
    result = vcm("sync")
    assert (result.code, result.out.splitlines()[0]) == (0, "Installed 1 model: 4.1 kB fetched, 12 B reused")
    assert result.err == TAKEN + "fetching 1 file, 4.1 kB\n"
    assert len([each for each in hub.requests if each.origin == "cdn"]) == 1
    assert listing(hf_cache) == before
    assert (repo / "blobs" / DIGEST).stat().st_mode & 0o200, "what is not taken is left as it was"
    assert_store_is_whole()


def test_links_that_lead_out_of_the_cache_are_not_followed(only_locked, hf_repo, vcm, hub, tmp_path):
    repo = hf_repo("acme/frames", FILES, {"main": COMMIT})
    outside = tmp_path / "outside"
    (repo / "blobs" / DIGEST).rename(outside)
    (repo / "blobs" / DIGEST).symlink_to(outside)
    result = vcm("sync", "--offline")
    assert (result.code, result.err.splitlines()[:2]) == (
        1,
        [
            "taking 2 files from this machine, 12 B",
            "error: frames/model.safetensors: not in the store, and this run is offline (4.1 kB)",
        ],
    )
    assert outside.stat().st_mode & 0o200


def test_a_snapshots_link_into_somebody_elses_folder_is_not_taken_for_a_copy(synced, vcm, hub, cache, tmp_path):
    (snapshot,) = (cache / "snapshots").iterdir()
    (tmp_path / "mine").write_bytes(WEIGHTS)
    for path in (snapshot / "model.safetensors", cache / "blobs" / "sha256" / DIGEST):
        path.unlink()
    (snapshot / "model.safetensors").symlink_to(tmp_path / "mine")
    assert vcm("sync").out.startswith("Installed 1 model: 4.1 kB fetched")
    assert (tmp_path / "mine").stat().st_mode & 0o200


def test_nothing_is_looked_for_when_nothing_is_to_be_had(synced, hf_repo, vcm, monkeypatch):
    hf_repo("acme/frames", FILES, {"main": COMMIT})

    def refuse(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr("vcm.store.hub_cache._entries", refuse)
    monkeypatch.setattr("vcm.store.hub_cache.HubCache.resolved", refuse)
    assert vcm("sync").out == "Nothing to do: 1 model installed, no network used\n"


# What a dry run tells


def test_a_dry_run_tells_what_may_come_from_where(manifest, hub, hf_repo, vcm, cache, tmp_path, listing, hf_cache):
    sizes = {"cached": 1000, "stick": 2000, "half": 3000, "none": 4000}
    files = {f"{name}.onnx": hashlib.shake_128(name.encode()).digest(size) for name, size in sizes.items()}
    hub.add_repo("acme/four", files, commit=COMMIT)
    manifest('[models.four]\nrepo = "acme/four"\n')
    assert vcm("lock").code == 0
    hf_repo("acme/four", {"cached.onnx": files["cached.onnx"]}, {"main": COMMIT}, plain=True)
    stick = tmp_path / "stick"
    stick.mkdir()
    # Its size is right; a dry run reads no byte.
    (stick / "whatever").write_bytes(b"x" * 2000)
    partial = cache / "partial" / hashlib.sha256(files["half.onnx"]).hexdigest()
    partial.parent.mkdir(parents=True, exist_ok=True)
    partial.write_bytes(files["half.onnx"][:1234])
    before, requests = listing(cache), len(hub.requests)

    result = vcm("sync", "--dry-run", "--from", stick)

    assert (result.code, result.out.splitlines()[:5]) == (
        0,
        [
            "Would fetch 10.0 kB for 1 model",
            " of which up to 1.0 kB are in the Hugging Face cache",
            " of which up to 1.2 kB are in downloads that were broken off",
            " of which up to 2.0 kB are in the folders that were named",
            " install four: fetch 10.0 kB, reuse 0 B",
        ],
    )
    document = json.loads(vcm("sync", "--dry-run", "--from", stick, "--json").out)
    assert document["bytes_to_fetch"] == 10_000
    assert document["bytes_supplied"] == {
        "store": 0,
        "hub_cache": 1000,
        "bundles": 0,
        "folders": 2000,
        "partial": 1234,
        "mirrors": 0,
    }
    assert vcm("sync", "--dry-run", "--frozen", "--from", stick).out == result.out
    assert listing(cache) == before
    assert len(hub.requests) == requests

    assert vcm("sync", "--from", stick).out.startswith("Installed 1 model: 7.8 kB fetched")


def test_a_dry_run_refuses_a_folder_that_is_none(locked, vcm, tmp_path):
    result = vcm("sync", "--dry-run", "--from", tmp_path / "none")
    assert (result.code, result.out) == (2, "")
    assert result.err.endswith(
        "none: no such folder or bundle\nhint: name a folder that holds the files, or what vcm bundle has written\n"
    )


# Beside the official client


@pytest.fixture
def official(hub, tmp_path) -> Callable[[str], str]:
    """Runs a script with the official client, in the test's Hugging Face cache."""
    pytest.importorskip("huggingface_hub")

    def run(script: str) -> str:
        environment = {
            name: os.environ[name] for name in ("PATH", "SYSTEMROOT", "TEMP", "HF_HOME") if name in os.environ
        }
        environment |= {"HOME": str(tmp_path), "HF_ENDPOINT": hub.endpoint, "HF_HUB_DISABLE_XET": "1"}
        environment |= {"HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(script)],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


DOWNLOAD = "from huggingface_hub import snapshot_download\nprint(snapshot_download('acme/frames'))"
DELETIONS = {
    "delete_revisions": f"""
        from huggingface_hub import scan_cache_dir
        scan_cache_dir().delete_revisions("{COMMIT}").execute()
    """,
    "hf cache rm": """
        import subprocess, sys, pathlib
        hf = pathlib.Path(sys.executable).with_name("hf")
        subprocess.run([hf, "cache", "rm", "model/acme/frames", "-y"], check=True, capture_output=True)
    """,
}


@pytest.mark.parametrize("deletion", DELETIONS)
def test_the_official_client_may_delete_and_download_again(
    deletion, only_locked, official, vcm, hub, hf_cache, cache, assert_store_is_whole
):
    official(DOWNLOAD)
    hub.clear_requests()
    assert vcm("sync", "--offline").out == INSTALLED
    assert hub.requests == []

    official(DELETIONS[deletion])

    assert not list(hf_cache.glob("models--*/blobs/*"))
    assert_store_is_whole()
    assert vcm("verify").out == "1 model locked and installed, every byte verified\n"
    assert vcm("sync").out == "Nothing to do: 1 model installed, no network used\n"

    folder = Path(official(DOWNLOAD).strip())
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.name in FILES} == FILES
    assert vcm("verify").code == 0
    # And what it has downloaded anew serves once more.
    shutil.rmtree(cache)
    assert vcm("sync", "--offline").out == INSTALLED


def test_the_official_client_goes_on_using_what_is_shared(only_locked, official, vcm, hub):
    official(DOWNLOAD)
    assert vcm("sync", "--offline").out == INSTALLED
    hub.clear_requests()
    offline = DOWNLOAD.replace("'acme/frames'", "'acme/frames', local_files_only=True")
    folder = Path(official(offline).strip())
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.name in FILES} == FILES
    # Forced to, it writes new files and renames them: ours stay what they are.
    official(DOWNLOAD.replace("'acme/frames'", "'acme/frames', force_download=True"))
    assert vcm("verify").code == 0
