"""``vcm cache``: what the store has, for whom, and what of it nobody needs."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path

import pytest

from tests.conftest import Result
from vcm.core.lock import parse_lock
from vcm.store.exclusion import lock, try_lock
from vcm.store.leases import Leases
from vcm.store.store import Store

WEIGHTS = bytes(range(256)) * 16
OTHER_WEIGHTS = bytes(reversed(range(256))) * 32
HOUR = 3600


@pytest.fixture
def audio(hub):
    """``acme/audio``: a small file and 8192 bytes of weights."""
    return hub.add_repo("acme/audio", {"README.md": b"# audio\n", "model.safetensors": OTHER_WEIGHTS})


@pytest.fixture
def both(wants_frames, audio, manifest, vcm, hub):
    """Two models, installed."""
    manifest('[models.audio]\nrepo = "acme/audio"\n[models.frames]\nrepo = "acme/frames"\n')
    assert vcm("sync").code == 0
    hub.clear_requests()


@pytest.fixture
def another(tmp_path, vcm, project):
    """Makes another project that has the given manifest, and syncs it."""

    def make(text, name="another"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "models.toml").write_text(text)
        assert vcm("sync", "--project", folder).code == 0
        return folder

    return make


@pytest.fixture
def aged(cache):
    """Makes all blobs older than those that a lock may have fetched just now."""

    def age(seconds=2 * HOUR):
        for path in (cache / "blobs" / "sha256").iterdir():
            os.utime(path, (time.time() - seconds,) * 2)

    return age


def blobs(cache: Path) -> int:
    """How many there are, with the manifest and the configuration of each model."""
    return len(list((cache / "blobs" / "sha256").iterdir()))


def descriptions(cache: Path) -> list[bytes]:
    """The manifests and configurations that the index names."""
    entries = Store(cache).layout.entries()
    return [
        (cache / "blobs" / "sha256" / each).read_bytes() for entry in entries for each in (entry.digest, entry.config)
    ]


def snapshots(cache: Path) -> int:
    return len(list((cache / "snapshots").iterdir()))


# Which store


def test_dir_outside_of_a_project(vcm, cache):
    assert (vcm("cache", "dir").code, vcm("cache", "dir").out) == (0, f"{cache}\n")
    assert json.loads(vcm("cache", "dir", "--json").out) == {"dir": str(cache)}
    assert not cache.exists()


def test_dir_of_a_project(vcm, manifest, tmp_path, monkeypatch, project):
    monkeypatch.delenv("VCM_CACHE_DIR")
    manifest(f'[cache]\ndir = "{tmp_path}/own"\n')
    assert vcm("cache", "dir").out == f"{tmp_path}/own\n"
    assert vcm("--cache-dir", tmp_path / "given", "cache", "dir").out == f"{tmp_path}/given\n"
    monkeypatch.chdir("/")
    assert vcm("cache", "dir", "--project", project).out == f"{tmp_path}/own\n"
    monkeypatch.setenv("VCM_PROJECT", str(project))
    assert vcm("cache", "dir").out == f"{tmp_path}/own\n"


def test_dir_where_the_manifest_is_damaged(vcm, manifest, tmp_path, cache, monkeypatch):
    manifest("[models")
    assert vcm("cache", "dir").out == f"{cache}\n"
    assert vcm("cache", "prune").out == f"Nothing to prune in {cache}\n"
    monkeypatch.delenv("VCM_CACHE_DIR")
    assert vcm("cache", "dir").code == 2
    assert vcm("cache", "dir", "--cache-dir", tmp_path / "given").out == f"{tmp_path}/given\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("prune", "--repair"),
            "error: --repair does not go with vcm cache prune\nhint: run vcm cache verify --repair\n",
        ),
        (("size", "--dry-run"), "error: vcm cache size removes nothing\nhint: leave out --dry-run\n"),
    ],
)
def test_options_that_do_not_go_together(vcm, words, message):
    result = vcm("cache", *words)
    assert (result.code, result.err) == (2, message)


def test_an_unknown_action(vcm):
    assert vcm("cache", "empty").code == 2


@pytest.mark.parametrize("action", ["size", "list", "verify", "prune", "clean"])
def test_where_there_is_no_store(action, vcm, cache):
    result = vcm("cache", action)
    assert (result.code, result.err) == (0, "")
    assert vcm("cache", action, "--json").code == 0
    assert not cache.exists()


# What is there


def test_size(both, vcm, cache, another):
    other = another('[models.frames]\nrepo = "acme/frames"\n')
    document = json.loads(vcm("cache", "size", "--json").out)
    frames = 9 + 3 + 4096
    audio = 8 + 8192
    described = sum(map(len, descriptions(cache)))
    records = {path.name: path.stat().st_size for path in (cache / "verified").iterdir()}
    by_size = sorted(records.values())
    assert document.pop("metadata") > sum(by_size)
    assert document.pop("bytes") > frames + audio
    ours, theirs = document.pop("projects")[::-1]
    assert document == {
        "dir": str(cache),
        "blobs": frames + audio + described,
        "snapshots": 0,
        "partial": 0,
        "prunable": 0,
    }
    assert (Path(theirs["project"]), Path(ours["project"])) == (other, Path.cwd())
    assert (theirs["unique"], theirs["shared"]) == (0, theirs["bytes"])
    assert ours["shared"] == theirs["bytes"]
    assert ours["bytes"] == frames + audio + sum(by_size)
    assert ours["unique"] == ours["bytes"] - ours["shared"]


def test_size_for_people(both, vcm, cache, project):
    lines = vcm("cache", "size").out.splitlines()
    assert lines[0].endswith(f" in {cache}")
    assert [line.split()[0] for line in lines[1:6]] == ["blobs", "snapshots", "partial", "metadata", "prunable"]
    assert lines[1] == f"blobs        {(12308 + sum(map(len, descriptions(cache)))) / 1000:.1f} kB"
    assert lines[6:8] == ["", f"{'PROJECT'.ljust(len(str(project)))}      BYTES     UNIQUE     SHARED"]
    assert lines[8].startswith(str(project))


def test_list(both, vcm, cache, another, project):
    other = another('[models.pictures]\nrepo = "acme/frames"\n')
    audio, frames = json.loads(vcm("cache", "list", "--json").out)["models"]
    (locked,) = [model for model in parse_lock(Path("models.lock").read_bytes()).models if model.name == "frames"]
    assert frames.pop("installed").startswith("20")
    assert frames == {
        "name": "pictures",  # of several projects' names for it, that of the first
        "version": None,
        "commit": locked.commit,
        "repo": "acme/frames",
        "url": None,
        "tree_digest": f"sha256:{locked.tree_digest}",
        "size": 4108,
        "path": str(cache / "snapshots" / locked.tree_digest),
        "projects": sorted([str(project), str(other)]),
    }
    assert audio["projects"] == [str(project)]
    head, *lines = vcm("cache", "list").out.splitlines()
    assert head.split("  ")[0] == "SOURCE"
    assert [line.split()[0] for line in lines] == ["acme/audio", "acme/frames"]


def test_list_of_what_nobody_locks(both, vcm, project):
    shutil.rmtree(project)
    os.chdir("/")
    audio, frames = json.loads(vcm("cache", "list", "--json").out)["models"]
    assert (audio["repo"], audio["name"], audio["projects"]) == ("acme/audio", "audio", [])
    assert frames["commit"] == "1234567890" * 4


# Prune


def test_nothing_to_prune(both, vcm, cache, listing):
    before = listing(cache)
    assert vcm("cache", "prune") == Result(0, f"Nothing to prune in {cache}\n", "")
    assert {path: digest for path, digest in listing(cache).items() if "in-use" not in path} == {
        path: digest for path, digest in before.items() if "in-use" not in path
    }
    assert vcm("check").code == 0


def test_prune_a_model_that_is_not_required_any_more(both, vcm, cache, aged, assert_store_is_whole, hub):
    assert vcm("remove", "audio").code == 0
    aged()
    planned = vcm("cache", "prune", "--dry-run", "--json")
    document = json.loads(planned.out)
    (model,) = document.pop("models")
    freed = document.pop("bytes_freed")
    assert freed > 8200
    assert document == {
        "dry_run": True,
        "bytes_linked_elsewhere": 0,
        "snapshots": 1,
        "blobs": 4,
        "partial": 0,
        "leftovers": 0,
        "answers": 0,
        "forgotten": [],
        "unreadable": [],
        "running": 0,
    }
    assert (model["name"], model["repo"]) == ("audio", "acme/audio")
    assert (blobs(cache), snapshots(cache)) == (9, 2)
    digest = model["tree_digest"].removeprefix("sha256:")[:12]
    commit = model["commit"][:12]
    line = f" - audio  acme/audio  {commit}  {digest}  8.2 kB\n"
    assert vcm("cache", "prune", "--dry-run").out.endswith(line)

    done = vcm("cache", "prune")

    assert (done.code, done.err) == (0, "")
    assert done.out == f"Freed {freed / 1000:.1f} kB: 1 model, 4 blobs and 1 small file\n{line}"
    assert (blobs(cache), snapshots(cache)) == (5, 1)
    assert_store_is_whole()
    assert vcm("check").code == 0
    assert [row["repo"] for row in json.loads(vcm("cache", "list", "--json").out)["models"]] == ["acme/frames"]
    assert vcm("cache", "prune").out == f"Nothing to prune in {cache}\n"
    assert hub.requests == []


def test_prune_says_what_files_outside_of_the_store_keep(both, vcm, cache, aged, tmp_path):
    assert vcm("remove", "audio").code == 0
    aged()
    (snapshot,) = [path for path in (cache / "snapshots").iterdir() if not (path / "config.json").exists()]
    os.link(snapshot / "model.safetensors", tmp_path / "elsewhere")
    share = (tmp_path / "elsewhere").stat().st_size
    document = json.loads(vcm("cache", "prune", "--dry-run", "--json").out)
    assert document["bytes_linked_elsewhere"] == share

    done = vcm("cache", "prune").out.splitlines()

    assert done[0].endswith(": 1 model, 4 blobs and 1 small file")
    assert done[1] == f"{share / 1000:.1f} kB more stay on the disk: files outside of the store share them"
    assert (tmp_path / "elsewhere").stat().st_size == share


def test_what_another_project_locks_stays(both, vcm, cache, another, aged, project):
    another('[models.frames]\nrepo = "acme/frames"\n')
    shutil.rmtree(project)
    os.chdir(cache)
    aged()
    assert vcm("cache", "prune", "--dry-run").out.startswith(
        f"Would forget {project}: it has no models.lock any more\nWould free "
    )
    done = vcm("cache", "prune")
    assert done.out.startswith(f"Forgot {project}: it has no models.lock any more\nFreed ")
    assert (blobs(cache), snapshots(cache)) == (5, 1)
    assert vcm("cache", "prune").out == f"Nothing to prune in {cache}\n"


def test_a_second_project_is_known_although_nothing_had_to_be_done(both, vcm, cache, another, aged, project):
    folder = another('[models.audio]\nrepo = "acme/audio"\n')
    (folder / "models.lock").rename(folder / "kept")
    assert vcm("cache", "prune", "--json").code == 0  # forgotten
    (folder / "kept").rename(folder / "models.lock")
    assert vcm("sync", "--frozen", "--project", folder).out.startswith("Nothing to do")
    shutil.rmtree(project)
    os.chdir(folder)
    aged()
    assert vcm("cache", "prune").code == 0
    assert vcm("check").code == 0
    assert snapshots(cache) == 1


def test_a_store_in_which_nobody_can_take_a_lease(both, vcm, cache, another, manifest, plain):
    """As a store is that others may only read."""
    shutil.rmtree(cache / "in-use")
    (cache / "in-use").write_text("")
    another('[models.audio]\nrepo = "acme/audio"\n')
    shutil.rmtree(next(path for path in (cache / "snapshots").iterdir() if (path / "config.json").exists()))
    failed = vcm("sync")
    assert (failed.code, plain(failed.err)) == (
        5,
        (
            "error: cannot use TMP/cache/in-use/store.lock: not a directory\n"
            "hint: check who owns it, or choose another folder with --cache-dir\n"
        ),
    )


def test_a_sync_that_failed_has_made_the_project_known(wants_frames, vcm, cache, aged, hub):
    from vcm.testing import Fault

    hub.fail(Fault(path="*model.safetensors", status=404, times=None))
    assert vcm("sync").code == 3
    there = blobs(cache)
    aged()
    assert vcm("cache", "prune").out == f"Nothing to prune in {cache}\n"
    assert blobs(cache) == there > 0


def test_what_locking_has_just_fetched_stays_for_an_hour(locked, vcm, cache, aged):
    assert vcm("cache", "prune").code == 0
    assert blobs(cache) == 2
    aged()
    assert vcm("cache", "prune").code == 0
    assert blobs(cache) == 0
    assert vcm("sync", "--locked").code == 0


@pytest.mark.parametrize("damage", ["text", "pipe", "folder"])
def test_a_lock_that_cannot_be_read_stops_prune(damage, both, vcm, another, cache, listing):
    folder = another('[models.frames]\nrepo = "acme/frames"\n')
    (folder / "models.lock").unlink()
    if damage == "text":
        (folder / "models.lock").write_text("lock-version = 1\n<<<<<<< HEAD\n")
    elif damage == "pipe":
        os.mkfifo(folder / "models.lock")
    else:
        (folder / "models.lock").mkdir()
    shutil.rmtree(Path.cwd())
    os.chdir(cache)
    before = listing(cache / "snapshots")

    done, planned = vcm("cache", "prune"), vcm("cache", "prune", "--dry-run", "--json")

    assert done.code == (2 if damage == "text" else 5)
    problem, rest = done.err.splitlines()[1:2], done.err.splitlines()[2:]
    assert done.err.startswith("error: nothing was pruned: what a project needs cannot be read\n")
    assert problem[0].startswith(f"  {folder}: ")
    assert rest == [f"hint: put it right, or remove {folder / 'models.lock'} if nobody needs it"]
    assert done.out == ""
    assert listing(cache / "snapshots") == before
    document = json.loads(planned.out)
    assert (planned.code, document["bytes_freed"], document["snapshots"]) == (0, 0, 0)
    assert [row["project"] for row in document["unreadable"]] == [str(folder)]
    assert vcm("cache", "prune", "--dry-run").out.endswith(
        "Would prune nothing, because what a project needs cannot be read\n"
    )
    for action in ("size", "list"):
        looked = vcm("cache", action)
        assert (looked.code, looked.err.startswith(f"note: {folder}: ")) == (0, True)


def test_a_registry_that_cannot_be_read_stops_prune(both, vcm, cache):
    (cache / "registry.json").write_text("{")
    for words in (["prune"], ["prune", "--dry-run"], ["size"], ["list"]):
        result = vcm("cache", *words)
        assert result.code == 2
        assert "registry.json" in result.err
    assert snapshots(cache) == 2
    synced = vcm("sync")
    assert synced.code == 0
    assert (
        "note: the store cannot take down that this project uses it, so vcm cache prune may remove its " in synced.err
    )


def test_a_store_that_does_not_know_its_projects_is_not_pruned(both, vcm, cache):
    """As one that an older vcm has filled, or whose damaged record was moved away."""
    (cache / "registry.json").unlink()
    result = vcm("cache", "prune")
    assert (result.code, result.out, result.err) == (
        2,
        "",
        (
            "error: nothing was pruned: this store has models, and no record of the projects that use them\n"
            "hint: run vcm sync once in each project that uses it, then prune; vcm cache clean removes everything\n"
        ),
    )
    assert vcm("cache", "prune", "--dry-run").out == (
        "Would prune nothing: this store has models, and no record of the projects that use them\n"
    )
    assert snapshots(cache) == 2
    assert vcm("sync").code == 0
    assert vcm("cache", "prune").out.startswith("Nothing to prune in ")


def test_a_process_that_hangs_with_the_registry_is_waited_for_once(wants_frames, vcm, cache, monkeypatch):
    cache.mkdir()
    place = cache / "registry.json.lock"
    monkeypatch.setattr("vcm.store.registry._PATIENCE_SECONDS", 0.1)
    waits = []

    def counted(path, *rest, **named):
        waits.append(path)
        return lock(path, *rest, **named)

    release = try_lock(place)
    assert release is not None
    monkeypatch.setattr("vcm.store.registry.lock", counted)
    synced = vcm("sync")
    release()
    assert (synced.code, waits.count(place)) == (0, 1)
    assert synced.err.count("registry.json has been held by another process for 0 s\n") == 1


def test_prune_leaves_what_is_not_vcms(both, vcm, cache, project, tmp_path):
    foreign = [
        cache / "notes.txt",
        cache / "blobs" / "sha256" / "README",
        cache / "snapshots" / "mine" / "file",
        cache / "partial" / "film.part",
        cache / "verified" / "list.json",
        cache / "hub-metadata" / "other" / "x",
        cache / "in-use" / "note.json.txt",
    ]
    for path in foreign:
        path.parent.mkdir(exist_ok=True)
        path.write_text("mine")
        os.utime(path, (0, 0))
    shutil.rmtree(project)
    os.chdir(tmp_path)

    assert vcm("cache", "prune").code == 0
    assert [path.read_text() for path in foreign] == ["mine"] * len(foreign)
    assert vcm("cache", "clean").code == 0
    assert sorted(path for path in cache.rglob("*") if path.is_file()) == sorted(foreign)


def test_prune_beside_a_running_vcm(both, vcm, cache, project, aged):
    assert vcm("remove", "audio").code == 0
    aged()
    with Leases(cache).take(None):
        done = vcm("cache", "prune")
        assert done.out == f"Nothing to prune in {cache}\nLeft alone what 1 running vcm may need\n"
        assert json.loads(vcm("cache", "prune", "--json").out)["running"] == 1
    assert vcm("cache", "prune").out.startswith("Freed ")


# Clean


def test_clean(both, vcm, cache):
    planned = vcm("cache", "clean", "--dry-run")
    assert planned.out.startswith("Would free ")
    assert ": 2 models, 9 blobs, 6 hub answers and " in planned.out
    assert snapshots(cache) == 2
    done = vcm("cache", "clean")
    assert done.out.startswith("Freed ")
    assert ": 2 models, 9 blobs, 6 hub answers and " in done.out
    assert not cache.exists()
    assert vcm("cache", "clean").out == f"Nothing of vcm in {cache}\n"
    assert not cache.exists()
    assert vcm("sync").code == 0
    assert vcm("check").code == 0


def test_clean_json(both, vcm):
    document = json.loads(vcm("cache", "clean", "--json").out)
    assert document.pop("bytes_freed") > 12308
    assert document.pop("answers") > 0
    assert document == {
        "dry_run": False,
        "bytes_linked_elsewhere": 0,
        "snapshots": 2,
        "blobs": 9,
        "partial": 0,
        "leftovers": 0,
    }


def test_clean_beside_a_running_vcm(both, vcm, cache):
    with Leases(cache).take([]):
        done = vcm("cache", "clean")
    assert (done.code, done.out) == (5, "")
    assert done.err == (
        f"error: {cache} is in use by 1 running vcm\nhint: wait until it is done, then run vcm cache clean again\n"
    )
    assert vcm("check").code == 0


# Verify


def test_verify(both, vcm, cache):
    done = vcm("cache", "verify")
    assert (done.code, done.out) == (0, "9 blobs and 2 models, every byte verified\n")
    document = json.loads(vcm("cache", "verify", "--json").out)
    size = 12308 + sum(map(len, descriptions(cache)))
    assert document == {"ok": True, "blobs": 9, "snapshots": 2, "bytes": size, "damaged": []}


def damage(cache: Path, content: bytes) -> Path:
    """Change one byte of the blob that has this content; where the file system shares by links, of its snapshot too."""
    (path,) = [each for each in (cache / "blobs" / "sha256").iterdir() if each.read_bytes() == content]
    path.chmod(0o644)
    with path.open("r+b") as stream:
        stream.write(b"X")
    return path


def test_verify_finds_damage_and_repairs_it(both, vcm, cache, hub, assert_store_is_whole):
    path = damage(cache, WEIGHTS)
    found = vcm("cache", "verify", "--json")
    document = json.loads(found.out)
    assert (found.code, document["ok"], document["error"]["code"]) == (4, False, "CHECKSUM_MISMATCH")
    assert document["error"]["message"] == (
        "1 blob and 1 model of the store no longer have the bytes that their names promise"
    )
    assert [(row["kind"], row["name"], row["status"]) for row in document["damaged"]] == [
        ("blob", None, "damaged"),
        ("snapshot", "frames", "damaged"),
    ]
    assert hub.requests == []

    done = vcm("cache", "verify", "--repair")

    assert done.code == 0
    assert f"blob sha256:{path.name}: repaired\n" in done.out
    assert_store_is_whole()
    assert vcm("check").code == 0
    assert vcm("cache", "verify").code == 0


def test_what_nobody_locks_cannot_be_repaired(both, vcm, cache, project, tmp_path, assert_store_is_whole):
    path = damage(cache, WEIGHTS)
    shutil.rmtree(project)
    os.chdir(tmp_path)
    done = vcm("cache", "verify", "--repair")
    assert done.code == 0
    assert f"blob sha256:{path.name}: removed\n" in done.out
    assert (blobs(cache), snapshots(cache)) == (8, 1)
    assert_store_is_whole()


def test_what_cannot_be_fetched_again_is_removed(both, vcm, cache, assert_store_is_whole):
    path = damage(cache, WEIGHTS)
    done = vcm("--offline", "cache", "verify", "--repair")
    assert done.code == 1
    assert "error: frames/model.safetensors: not in the store, and this run is offline (4.1 kB)\n" in done.err
    assert f"blob sha256:{path.name}: removed\n" in done.out
    assert " of frames: removed\n" in done.out
    assert "repaired" not in done.out
    assert snapshots(cache) == 1
    assert_store_is_whole()


def test_a_blob_of_a_snapshot_that_is_whole_is_only_removed(both, vcm, cache, hub, assert_store_is_whole):
    (snapshot,) = [path for path in (cache / "snapshots").iterdir() if (path / "config.json").exists()]
    file = snapshot / "model.safetensors"
    content = file.read_bytes()
    file.unlink()
    file.write_bytes(content)
    path = damage(cache, WEIGHTS)
    assert vcm("cache", "verify", "--repair").out == f"blob sha256:{path.name}: removed\n"
    assert hub.requests == []
    assert_store_is_whole()
    assert vcm("check").code == 0


# Disk space


def test_too_little_space_says_what_prune_would_free(both, vcm, manifest, hub, monkeypatch, aged):
    hub.add_repo("acme/new", {"model.safetensors": bytes(5000)})
    manifest('[models.new]\nrepo = "acme/new"\n')
    assert vcm("lock").code == 0
    aged()
    freed = json.loads(vcm("cache", "prune", "--dry-run", "--json").out)["bytes_freed"]
    monkeypatch.setattr("vcm.install.syncing.free_space", lambda _: 9000)
    done = vcm("sync")
    assert done.code == 5
    assert done.err.splitlines()[-1] == (
        f"hint: vcm cache prune would free {freed / 1000:.1f} kB; else free some space, choose another folder with "
        "--cache-dir, or lower disk-headroom under [cache]"
    )


def test_the_store_knows_the_real_path_of_a_project(wants_frames, vcm, project, tmp_path, cache):
    (tmp_path / "link").symlink_to(project)
    assert vcm("sync", "--project", tmp_path / "link").code == 0
    assert Store(cache).registry.projects() == (project.resolve(),)
