"""``vcm bundle`` and ``vcm sync --from FILE``: the locked bytes carried to where there is no network."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Result, snapshot_files
from tests.servers import needs, skopeo
from vcm.core.bundles import SINCE
from vcm.testing import HubSimulator

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


def digest(data: bytes | bytearray) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def project_synced(hub: HubSimulator, manifest: Callable[[str], Path], vcm: Callable[..., Result]) -> None:
    """Two models, locked and installed."""
    hub.add_repo("acme/frames", FRAMES)
    hub.add_repo("acme/Sound_Model", SOUND)
    manifest(MANIFEST)
    assert vcm("sync", "--all-groups").code == 0
    hub.clear_requests()


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, hub: HubSimulator) -> Callable[..., Path]:
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
        assert "note: frames: it states no licence, and mirroring is redistribution: check whether" in result.err

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
        command = [sys.executable, "-m", "vcm", "-q", "bundle", "-"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            process.stdout.read(1000)
            process.stdout.close()
            said = process.stderr.read().decode()
        assert process.returncode == 5
        assert said.endswith(
            "error: the bundle could not be handed on: broken pipe\n"
            "hint: what was written of it is no bundle: see why its reader ended, then begin again\n"
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
        assert (result.code, result.out) == (1, "")
        assert result.err == (
            "error: not all that is locked is in the store\n"
            "  frames/README.md (9 B)\n"
            "  frames/config.json (13 B)\n"
            "  frames/model.safetensors (3.0 MB)\n"
            "hint: run vcm sync, with the same groups\n"
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


def sync_from(vcm, *places: Path):
    return vcm("-q", "sync", "--frozen", "--offline", *(word for place in places for word in ("--from", place)))


@pytest.mark.usefixtures("project_synced")
class TestDamage:
    def test_a_flipped_byte_is_told_and_other_sources_are_used(self, vcm, cache, elsewhere, tmp_path):
        bad, stick = tmp_path / "bad.tar", tmp_path / "stick"
        assert vcm("bundle", bad, "--all-groups").code == 0
        data = bytearray(bad.read_bytes())
        place = data.index(FRAMES["model.safetensors"][:64]) + 1_234_567
        data[place] ^= 1
        bad.write_bytes(data)
        shutil.copytree(cache / "snapshots", stick)
        wrong = bytearray(FRAMES["model.safetensors"])
        wrong[1_234_567] ^= 1
        notice = (
            f"{bad}: frames/model.safetensors in it is damaged, it should be "
            f"sha256:{digest(FRAMES['model.safetensors'])}, not sha256:{digest(wrong)}"
        )
        elsewhere("first")
        result = sync_from(vcm, bad)
        assert result.code == 1
        assert notice in result.err
        assert "error: frames/model.safetensors: not in the store, and this run is offline (3.0 MB)" in result.err
        assert vcm("path", "sound").code == 0
        assert {path.suffix for path in (tmp_path / "first" / "partial").iterdir()} == {".lock"}
        cache = elsewhere("second")
        result = sync_from(vcm, bad, stick)
        assert result.code == 0
        assert notice in result.err
        assert snapshot_files(cache) == FRAMES | SOUND

    def test_a_bundle_that_was_cut_short(self, vcm, elsewhere, tmp_path):
        cut = tmp_path / "cut.tar"
        assert vcm("bundle", cut).code == 0
        os.truncate(cut, 1_000_000)
        elsewhere()
        result = sync_from(vcm, cut)
        assert result.code == 4
        weights = f"blobs/sha256/{digest(FRAMES['model.safetensors'])}"
        assert result.err == (
            f"error: --from {cut}: damaged: it ends in the middle of {weights}, so it was cut short\n"
            "hint: bring it once more, from where it was made\n"
        )

    def test_killed_in_the_middle_it_goes_on(self, vcm, elsewhere, tmp_path):
        assert vcm("bundle", tmp_path / "models.tar", "--all-groups").code == 0
        cache = elsewhere()
        # What a killed run leaves.
        partial = cache / "partial" / digest(FRAMES["model.safetensors"])
        partial.parent.mkdir(parents=True)
        partial.write_bytes(FRAMES["model.safetensors"][:2_000_000])
        assert sync_from(vcm, tmp_path / "models.tar").code == 0
        assert snapshot_files(cache) == FRAMES | SOUND

    @pytest.mark.parametrize("left", [b"x" * 2_000_000, b"x" * 4_000_000], ids=["shorter", "longer"])
    def test_what_was_left_may_be_wrong(self, left, vcm, elsewhere, tmp_path):
        assert vcm("bundle", tmp_path / "models.tar", "--all-groups").code == 0
        cache = elsewhere()
        partial = cache / "partial" / digest(FRAMES["model.safetensors"])
        partial.parent.mkdir(parents=True)
        partial.write_bytes(left)
        result = sync_from(vcm, tmp_path / "models.tar")
        assert (result.code, result.err) == (0, "")
        assert snapshot_files(cache) == FRAMES | SOUND
        assert list((cache / "partial").iterdir()) == []


@needs("skopeo", "docker-registry")
@pytest.mark.usefixtures("project_synced")
class TestBesideSkopeo:
    def test_it_pushes_a_bundle_and_brings_one_back(self, vcm, registry, elsewhere, tmp_path):
        tar, back = tmp_path / "models.tar", tmp_path / "back.tar"
        document = json.loads(vcm("bundle", tar, "--all-groups", "--json").out)
        for model in document["models"]:
            pushed = skopeo(
                "copy",
                "--dest-tls-verify=false",
                f"oci-archive:{tar}:{model['reference']}",
                f"docker://{registry.host}/models/{model['name']}:v1",
            )
            assert pushed.returncode == 0, pushed.stderr
            answer = registry.manifest(f"models/{model['name']}", "v1")
            assert answer.headers["Docker-Content-Digest"] == model["manifest"]
        frames = next(model for model in document["models"] if model["name"] == "frames")
        pulled = skopeo(
            "copy",
            "--src-tls-verify=false",
            f"docker://{registry.host}/models/frames@{frames['manifest']}",
            f"oci-archive:{back}:frames",
        )
        assert pulled.returncode == 0, pulled.stderr
        cache = elsewhere()
        result = vcm("sync", "--locked", "--offline", "--from", back)
        assert result.code == 0, result
        assert snapshot_files(cache) == FRAMES


@pytest.fixture
def old_lock(
    project_synced: None,
    hub: HubSimulator,
    vcm: Callable[..., Result],
    project: Path,
    tmp_path: Path,
) -> Path:
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
            f"Bundled 2 models into {delta}: 1 file, {delta.stat().st_size / 1000:.1f} kB",
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
        elsewhere()
        assert vcm("sync", "--frozen", "--offline", "--from", full).code == 0
        shutil.move("new.lock", "models.lock")
        assert vcm("sync", "--frozen", "--offline", "--from", delta).code == 0
        assert Path(vcm("path", "frames", "model.safetensors").out.strip()).read_bytes() == b"new weights"
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
            f"hint: {delta} is a delta, without what the models.lock with sha256:{digest(old_lock.read_bytes())} "
            "names: bring the full bundle, or install that lock's first\n"
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

    @pytest.mark.usefixtures("project_synced")
    def test_what_is_no_lock(self, vcm, tmp_path):
        (tmp_path / "old.lock").write_text("x")
        result = vcm("bundle", tmp_path / "models.tar", "--since", tmp_path / "old.lock")
        assert result.code == 2
        assert result.err == (
            f"error: {tmp_path / 'old.lock'}: not a vcm lock\n"
            "hint: name another old lock: vcm bundle FILE --since OLD.lock\n"
        )
        assert not (tmp_path / "models.tar").exists()


@pytest.mark.usefixtures("project_synced")
def test_killed_at_any_instant_there_is_no_half_bundle(vcm, vcm_process, tmp_path):
    target, whole = tmp_path / "models.tar", tmp_path / "whole.tar"
    assert vcm("bundle", whole).code == 0
    for delay in (0.0, 0.02):
        process = vcm_process("-q", "bundle", target)
        deadline = time.monotonic() + 30
        while not list(tmp_path.glob(".models.tar.*")) and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.001)
        time.sleep(delay)
        process.kill()
        process.communicate()
        assert not target.exists() or target.read_bytes() == whole.read_bytes()
        target.unlink(missing_ok=True)
    assert vcm("bundle", target).code == 0
    assert [path.name for path in tmp_path.iterdir() if "models.tar" in path.name] == ["models.tar"]


@pytest.mark.usefixtures("project_synced")
def test_what_a_killed_bundle_left_is_room_for_the_next(vcm, tmpfs):
    folder = tmpfs("size=4m")
    (folder / ".models.tar.unfinished-0123").write_bytes(bytes(3_000_000))
    others = folder / ".more.tar.unfinished-0123"
    others.touch()
    assert vcm("bundle", folder / "models.tar").code == 0
    assert {*folder.iterdir()} == {folder / "models.tar", others}


@pytest.mark.usefixtures("project_synced")
def test_two_bundles_into_one_file(vcm, vcm_process, tmp_path):
    target = tmp_path / "models.tar"
    process = vcm_process("-q", "bundle", target)
    deadline = time.monotonic() + 30
    while not (found := list(tmp_path.glob(".models.tar.*"))) and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.001)
    process.send_signal(signal.SIGSTOP)
    try:
        assert vcm("bundle", target).code == 0
        assert all(path.exists() for path in found), "another process is writing it"
    finally:
        process.send_signal(signal.SIGCONT)
    process.communicate()
    assert process.returncode == 0
    assert [path.name for path in tmp_path.iterdir() if "models.tar" in path.name] == ["models.tar"]


@pytest.mark.usefixtures("project_synced")
def test_interrupted_it_leaves_nothing(vcm_process, tmp_path):
    process = vcm_process("-q", "bundle", tmp_path / "models.tar")
    deadline = time.monotonic() + 30
    while not list(tmp_path.glob(".models.tar.*")) and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.001)
    process.send_signal(signal.SIGINT)
    process.communicate()
    assert process.returncode in (0, 130)
    assert [path.name for path in tmp_path.iterdir() if "tar" in path.name] == ["models.tar"][: process.returncode == 0]


@pytest.mark.usefixtures("project_synced")
def test_a_disk_that_is_too_small_is_told_before(vcm, tmpfs):
    small = tmpfs("size=1M")
    result = vcm("-q", "bundle", small / "models.tar")
    assert (result.code, list(small.iterdir())) == (5, [])
    assert result.err.endswith(
        f"error: the bundle has 3.0 MB, but 1.0 MB are free in {small}\n"
        "hint: free some space, or choose another place for the bundle\n"
    )


@pytest.mark.usefixtures("project_synced")
def test_a_disk_that_fills_up_meanwhile(vcm, tmpfs, monkeypatch):
    small = tmpfs("size=1M")
    monkeypatch.setattr("vcm.store.bundling.free_space", lambda _: 1 << 30)
    result = vcm("-q", "bundle", small / "models.tar")
    assert (result.code, list(small.iterdir())) == (5, [])
    assert f"error: no space left for {small / 'models.tar'}" in result.err
