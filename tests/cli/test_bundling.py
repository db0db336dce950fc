"""``vcm bundle`` and ``vcm sync --from FILE``: the locked bytes carried to where there is no network."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import snapshot_files
from tests.servers import needs, skopeo
from vcm.core.bundles import SINCE
from vcm.store.project import Project

FRAMES = {
    "config.json": b'{"frames": 1}',
    "model.safetensors": hashlib.shake_128(b"frames").digest(3_000_000),
    "README.md": b"# Frames\n",
}
SOUND = {"sound.json": b'{"sound": 1}', "deep/model.onnx": hashlib.shake_128(b"sound").digest(50_000)}
MANIFEST = """
[models.frames]
repo = "acme/frames"

[models.sound]
repo = "acme/Sound_Model"
groups = ["audio"]
"""


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def project_synced(hub, manifest, vcm) -> None:
    """Two models, locked and installed."""
    hub.add_repo("acme/frames", FRAMES)
    hub.add_repo("acme/Sound_Model", SOUND)
    manifest(MANIFEST)
    assert vcm("sync", "--all-groups").code == 0
    hub.clear_requests()


@pytest.fixture
def elsewhere(monkeypatch, tmp_path, hub) -> Callable[[], Path]:
    """From now on, this is another machine: another store, and no hub that could be reached."""

    def go(name: str = "elsewhere") -> Path:
        monkeypatch.setenv("VCM_CACHE_DIR", str(tmp_path / name))
        monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
        monkeypatch.setenv("HF_HOME", str(tmp_path / f"{name}-hf"))
        return tmp_path / name

    return go


def members(path: Path) -> dict[str, bytes]:
    with tarfile.open(path) as tar:
        return {each.name: tar.extractfile(each).read() for each in tar}  # type: ignore[union-attr]


@pytest.mark.usefixtures("project_synced")
class TestOneFile:
    def test_the_whole_journey(self, vcm, hub, elsewhere, tmp_path):
        result = vcm("bundle", tmp_path / "models.tar", "--all-groups")
        assert result.code == 0, result
        lines = result.out.splitlines()
        assert lines[0] == f"Bundled 2 models into {tmp_path / 'models.tar'}: 5 files, 3.1 MB"
        assert [line.split()[0] for line in lines[1:]] == ["frames", "sound"]

        cache = elsewhere()
        planned = vcm("sync", "--frozen", "--offline", "--from", tmp_path / "models.tar", "--dry-run")
        assert (planned.code, planned.out.splitlines()[:3]) == (
            0,
            [
                "Would fetch 3.1 MB for 2 models",
                " of which up to 3.1 MB are in the bundles that were named",
                " install frames: fetch 3.0 MB, reuse 0 B",
            ],
        )
        assert not (cache / "blobs").exists()
        done = vcm("sync", "--frozen", "--offline", "--from", tmp_path / "models.tar")
        assert (done.code, done.out.splitlines()[0].partition(", in")[0]) == (
            0,
            "Installed 2 models: 0 B fetched, 3.1 MB reused",
        )
        assert snapshot_files(cache) == FRAMES | SOUND
        assert vcm("check", "--all-groups", "--offline").code == 0
        assert vcm("verify", "--all-groups", "--offline").code == 0
        gate = subprocess.run(
            [sys.executable, "-c", "import vcm; print(*vcm.gate(groups=['audio']))"],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        assert gate.stdout == "frames sound\n", gate.stderr
        assert hub.requests == []
        assert vcm("sync", "--frozen", "--offline", "--from", tmp_path / "models.tar").out == (
            "Nothing to do: 2 models installed, no network used\n"
        )

    def test_what_is_in_it(self, vcm, project, tmp_path):
        assert vcm("bundle", tmp_path / "models.tar").code == 0
        contents = members(tmp_path / "models.tar")
        names = list(contents)
        assert names[:2] == ["oci-layout", "index.json"]
        assert names[2:] == sorted(names[2:])
        assert json.loads(contents["oci-layout"]) == {"imageLayoutVersion": "1.0.0"}
        for name in names[2:]:
            assert name == f"blobs/sha256/{digest(contents[name])}"
        index = json.loads(contents["index.json"])
        assert "annotations" not in index
        (described,) = index["manifests"]
        layers = json.loads(contents[f"blobs/sha256/{described['digest'][7:]}"])["layers"]
        assert {each["digest"][7:] for each in layers} == {digest(data) for data in FRAMES.values()}
        assert len(names) == 2 + len(FRAMES) + 2

    def test_the_same_lock_gives_the_same_bytes(self, vcm, elsewhere, tmp_path):
        first, second = tmp_path / "first.tar", tmp_path / "second.tar"
        assert vcm("bundle", first, "--all-groups").code == 0
        elsewhere()
        assert vcm("sync", "--frozen", "--offline", "--from", first).code == 0
        assert vcm("bundle", second, "--all-groups").code == 0
        assert first.read_bytes() == second.read_bytes()
        with tarfile.open(first) as tar:
            assert {(each.mtime, each.uid, each.gid, each.mode, each.uname) for each in tar} == {(0, 0, 0, 0o444, "")}

    def test_json(self, vcm, tmp_path):
        result = vcm("bundle", tmp_path / "models.tar", "--json")
        document = json.loads(result.out)
        (model,) = document.pop("models")
        assert document == {
            "file": str(tmp_path / "models.tar"),
            "bytes": (tmp_path / "models.tar").stat().st_size,
            "files": 3,
            "since": None,
            "files_left_out": 0,
            "bytes_left_out": 0,
        }
        index = json.loads(members(tmp_path / "models.tar")["index.json"])["manifests"][0]
        assert (model["name"], model["manifest"], model["reference"]) == (
            "frames",
            index["digest"],
            index["annotations"]["org.opencontainers.image.ref.name"],
        )

    def test_through_a_pipe(self, vcm, vcm_process, tmp_path):
        assert vcm("bundle", tmp_path / "models.tar").code == 0
        with (tmp_path / "piped.tar").open("wb") as piped:
            done = subprocess.run(
                [sys.executable, "-m", "vcm", "bundle", "-"],
                stdout=piped,
                stderr=subprocess.PIPE,
                text=True,
                check=True,
            )
        assert (tmp_path / "piped.tar").read_bytes() == (tmp_path / "models.tar").read_bytes()
        assert "Bundled 1 model into standard output: 3 files, 3.0 MB\n" in done.stderr

    def test_a_reader_that_goes_is_told(self):
        done = subprocess.run(
            f"{sys.executable} -m vcm -q bundle - | head -c 1000 >/dev/null; echo ${{PIPESTATUS[0]}}",
            shell=True,
            executable="/bin/bash",
            capture_output=True,
            text=True,
            check=True,
        )
        assert (done.stdout, done.stderr) == (
            "5\n",
            "error: the bundle could not be handed on: broken pipe\n"
            "hint: what was written of it is no bundle: see why its reader ended, then begin again\n",
        )

    def test_an_old_file_is_replaced_when_the_new_one_is_whole(self, vcm, cache, tmp_path):
        target = tmp_path / "models.tar"
        target.write_bytes(b"old")
        blob = cache / "blobs" / "sha256" / digest(FRAMES["model.safetensors"])
        blob.chmod(0o644)
        with blob.open("r+b") as stream:
            stream.seek(1_500_000)
            stream.write(b"\0\0\0\0")
        before = set(tmp_path.iterdir())
        result = vcm("bundle", target)
        assert (result.code, result.out) == (4, "")
        found = digest(blob.read_bytes())
        expected = digest(FRAMES["model.safetensors"])
        assert result.err.endswith(
            f"error: frames/model.safetensors: damaged in the store: expected sha256:{expected}, got sha256:{found}\n"
            "hint: run vcm verify --repair, then bundle again\n"
        )
        assert target.read_bytes() == b"old"
        assert set(tmp_path.iterdir()) == before
        assert vcm("verify", "--repair").code == 0
        assert vcm("bundle", target).code == 0
        assert len(members(target)) == 7

    def test_what_is_not_installed_is_named(self, vcm, cache, tmp_path):
        shutil.rmtree(cache)
        result = vcm("bundle", tmp_path / "models.tar")
        assert (result.code, result.out, result.err) == (
            1,
            "",
            "error: not all that is locked is in the store\n"
            "  frames/README.md (9 B)\n"
            "  frames/config.json (13 B)\n"
            "  frames/model.safetensors (3.0 MB)\n"
            "hint: run vcm sync, with the same groups\n",
        )
        assert not (tmp_path / "models.tar").exists()

    def test_a_blob_that_is_gone_comes_from_its_snapshot(self, vcm, cache, tmp_path):
        assert vcm("bundle", tmp_path / "first.tar").code == 0
        shutil.rmtree(cache / "blobs")
        assert vcm("bundle", tmp_path / "second.tar").code == 0
        assert (tmp_path / "first.tar").read_bytes() == (tmp_path / "second.tar").read_bytes()

    def test_where_no_file_can_be(self, vcm, tmp_path):
        os.mkfifo(tmp_path / "pipe")
        for place in (tmp_path, tmp_path / "pipe"):
            result = vcm("bundle", place)
            assert result.code == 2
            assert result.err.endswith(
                f"error: {place} is no regular file\nhint: name a file, or write to standard output: vcm bundle -\n"
            )
        result = vcm("bundle", tmp_path / "none" / "models.tar")
        assert (result.code, result.err.splitlines()[-2:]) == (
            5,
            [
                f"error: cannot use {tmp_path / 'none' / 'models.tar'}: no such file or directory",
                "hint: choose another place for the bundle",
            ],
        )

    def test_the_document_and_the_bundle_do_not_share_standard_output(self, vcm):
        result = vcm("bundle", "-", "--json")
        assert result.code == 2
        assert json.loads(result.out)["error"]["message"] == (
            "the bundle and the JSON document cannot both be standard output"
        )


@pytest.fixture
def old_lock(project_synced, hub, vcm, project, tmp_path) -> Path:
    """The lock of yesterday; today frames has new weights."""
    old = tmp_path / "old.lock"
    shutil.copy(project / "models.lock", old)
    hub.repo("acme/frames").commit({"model.safetensors": b"new weights"})
    assert vcm("lock", "--upgrade").code == 0
    assert vcm("sync", "--all-groups").code == 0
    return old


class TestDelta:
    def test_it_holds_what_is_new(self, old_lock, vcm, tmp_path, elsewhere):
        full, delta = tmp_path / "full.tar", tmp_path / "delta.tar"
        result = vcm("bundle", delta, "--since", old_lock, "--all-groups")
        assert result.code == 0, result
        assert result.out.splitlines()[:2] == [
            f"Bundled 2 models into {delta}: 1 file, {8.7} kB",
            f"Left out 4 files, 50.0 kB, that {old_lock} names",
        ]
        assert json.loads(members(delta)["index.json"])["annotations"] == {
            SINCE: f"sha256:{digest(old_lock.read_bytes())}"
        }
        assert len(json.loads(members(delta)["index.json"])["manifests"]) == 2
        shutil.move("models.lock", "new.lock")
        shutil.copy(old_lock, "models.lock")
        assert vcm("sync", "--frozen", "--offline").code == 0
        assert vcm("bundle", full, "--all-groups").code == 0
        cache = elsewhere()
        assert vcm("sync", "--frozen", "--offline", "--from", full).code == 0
        shutil.move("new.lock", "models.lock")
        assert vcm("sync", "--frozen", "--offline", "--from", delta).code == 0
        assert b"new weights" in snapshot_files(cache).values()
        assert vcm("check", "--all-groups").code == 0

    def test_a_store_without_the_older_files_is_told_which_lock(self, old_lock, vcm, tmp_path, elsewhere):
        delta = tmp_path / "delta.tar"
        assert vcm("bundle", delta, "--since", old_lock).code == 0
        elsewhere()
        result = vcm("sync", "--locked", "--offline", "--from", delta)
        assert result.code == 1
        assert result.err.endswith(
            "error: frames: 2 files are not in the store, and this run is offline: README.md (9 B) and "
            "config.json (13 B)\n"
            f"hint: {delta} is a delta, without what the models.lock with sha256:{digest(old_lock.read_bytes())} names: "
            "bring the full bundle, or install that lock's first\n"
        )

    def test_nothing_new_is_a_bundle_too(self, old_lock, vcm, project, tmp_path):
        delta = tmp_path / "delta.tar"
        result = vcm("bundle", delta, "--since", project / "models.lock")
        size = delta.stat().st_size
        assert result.out.splitlines()[:2] == [
            f"Bundled 1 model into {delta}: 0 files, {size / 1000:.1f} kB",
            f"Left out 3 files, 33 B, that {project / 'models.lock'} names: nothing is new",
        ]
        assert len(members(delta)) == 4

    def test_what_is_no_lock(self, project_synced, vcm, tmp_path):
        (tmp_path / "old.lock").write_text("x")
        result = vcm("bundle", tmp_path / "models.tar", "--since", tmp_path / "old.lock")
        assert result.code == 2
        assert not (tmp_path / "models.tar").exists()
        print(result.err)
