"""Syncing: the store becomes what the lock says, and what fails for one model leaves the others alone."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from pyfakefs.fake_filesystem_unittest import Patcher

from vcm.core.plan import SnapshotState
from vcm.errors import (
    NOT_INSTALLED,
    DiskSpaceError,
    ModelChecksumError,
    ModelDownloadError,
    VcmError,
)
from vcm.store.files import free_space
from vcm.store.snapshots import SnapshotStore
from vcm.testing import Fault, HubSimulator, LoggedRequest


def weights(seed: str, size: int = 5000) -> bytes:
    return hashlib.shake_128(seed.encode()).digest(size)


SHARED = weights("shared")
TEXT = """
[models.a]
repo = "acme/a"

[models.b]
repo = "acme/b"
"""


@pytest.fixture
def repos(hub):
    """Two repos that have one large file in common, and each one of its own."""
    for name in "ab":
        own = {"config.json": name.encode(), "own.safetensors": weights(name)}
        hub.add_repo(f"acme/{name}", {**own, "shared.safetensors": SHARED})
    return hub


@pytest.fixture
def locked(repos, session, read_manifest):
    models = session().resolve(read_manifest(TEXT), None).after.models
    repos.clear_requests()
    return models


@pytest.fixture
def install(session):
    """Plans and installs in a session of its own; the results by name."""

    def run(models, *, folders=(), headroom=1.0, offline=False, cancelled=None, within=None):
        within = within or session(offline=offline, cancelled=cancelled)
        return {result.model.name: result for result in within.install(within.store.plan(models), headroom, folders)}

    return run


def files_of(result: Any) -> dict[str, bytes]:
    return {
        path.relative_to(result.path).as_posix(): path.read_bytes() for path in result.path.rglob("*") if path.is_file()
    }


def contents(name: str) -> dict[str, bytes]:
    return {"config.json": name.encode(), "own.safetensors": weights(name), "shared.safetensors": SHARED}


def downloads(hub: HubSimulator) -> list[LoggedRequest]:
    return [request for request in hub.requests if request.origin == "cdn"]


def blob(cache: Path, data: bytes) -> Path:
    return cache / "blobs" / "sha256" / hashlib.sha256(data).hexdigest()


def damage(path: Path, data: bytes) -> None:
    path.chmod(0o644)
    path.write_bytes(data)


# Carried out


def test_a_plan_is_carried_out(hub, cache, session, locked, install):
    within = session()
    plan = within.store.plan(locked)
    assert [each.state for each in plan.models] == [SnapshotState.MISSING] * 2
    assert plan.bytes_to_fetch == 15_000
    results = install(locked, within=within)
    for name, result in results.items():
        assert (result.status, result.error) == ("installed", None)
        assert files_of(result) == contents(name)
        assert result.path == cache / "snapshots" / result.model.tree_digest
    assert sum(result.bytes_fetched for result in results.values()) == 15_000
    assert sum(result.bytes_reused for result in results.values()) == 5002
    assert len(downloads(hub)) == 3, "what two models share is fetched once"
    notes = within.reporter
    assert notes.tasks == [("fetching 3 files", 15_000)]
    assert sorted(notes.progress.values()) == [5000] * 3
    assert (len(notes.finished_files), notes.ends) == (3, 1)
    assert list((cache / "partial").iterdir()) == []


def test_a_second_time_there_is_nothing_to_do(hub, locked, install):
    install(locked)
    hub.clear_requests()
    results = install(locked)
    assert {result.status for result in results.values()} == {"present"}
    assert {(result.bytes_fetched, result.bytes_reused) for result in results.values()} == {(0, 0)}
    assert hub.requests == []


def test_the_bytes_of_another_model_are_not_fetched_again(hub, locked, install):
    install(locked[:1])
    hub.clear_requests()
    result = install(locked)["b"]
    assert (result.bytes_fetched, result.bytes_reused) == (5000, 5001)
    assert len(downloads(hub)) == 1


def test_one_file_twice_in_a_model(hub, session, read_manifest, install):
    hub.add_repo("acme/twice", {"x/a.safetensors": SHARED, "y/a.safetensors": SHARED})
    models = session().resolve(read_manifest('[models.t]\nrepo = "acme/twice"'), None).after.models
    result = install(models)["t"]
    assert files_of(result) == {"x/a.safetensors": SHARED, "y/a.safetensors": SHARED}
    assert len(downloads(hub)) == 1
    assert (result.bytes_fetched, result.bytes_reused) == (5000, 5000)


def test_two_names_for_the_same_files(hub, session, read_manifest, install):
    hub.add_repo("acme/one", {"a.safetensors": SHARED})
    text = '[models.x]\nrepo = "acme/one"\n[models.y]\nrepo = "acme/one"'
    models = session().resolve(read_manifest(text), None).after.models
    results = install(models)
    assert results["x"].path == results["y"].path
    assert {result.status for result in results.values()} == {"installed"}
    assert len(downloads(hub)) == 1


def test_a_direct_file(hub, session, read_manifest, install):
    url = hub.add_file("detector.onnx", SHARED)
    digest = hashlib.sha256(SHARED).hexdigest()
    text = f'[models.d]\nurl = "{url}"\nchecksum = "sha256:{digest}"\nsize = 5000'
    models = session().resolve(read_manifest(text), None).after.models
    assert hub.requests == []
    assert files_of(install(models)["d"]) == {"detector.onnx": SHARED}


def test_files_come_at_the_same_time(hub, session, read_manifest, install):
    hub.add_repo("acme/many", {f"{number}.safetensors": weights(str(number)) for number in range(16)})
    models = session().resolve(read_manifest('[models.m]\nrepo = "acme/many"'), None).after.models
    hub.clear_requests()
    hub.fail(Fault(delay=0.15, times=None))
    started = time.monotonic()
    assert install(models)["m"].status == "installed"
    assert time.monotonic() - started < 0.8 * 0.15 * len(hub.requests)


# Failures


def test_a_model_that_fails_leaves_the_others_alone(hub, cache, locked, install):
    key = hub.repo("acme/a").files()["own.safetensors"].storage_key
    hub.fail(Fault(origin="cdn", path=f"*{key}", corrupt=True, times=None))
    results = install(locked)
    assert results["a"].status == "failed"
    assert results["a"].path is None
    error = results["a"].error
    assert isinstance(error, ModelChecksumError)
    assert (error.model, error.file, error.exit_code) == ("a", "own.safetensors", 4)
    assert results["b"].status == "installed"
    assert files_of(results["b"]) == contents("b")
    assert [path.name for path in (cache / "snapshots").iterdir()] == [results["b"].model.tree_digest]
    hub.clear_faults()
    hub.clear_requests()
    again = install(locked)
    assert [again[name].status for name in "ab"] == ["installed", "present"]
    assert len(downloads(hub)) == 1, "what came the first time is kept"


@pytest.mark.parametrize(("gone", "there"), ["ab", "ba"])
@pytest.mark.parametrize("why", ["removed", "gated", "disabled"])
def test_a_repo_that_is_gone_leaves_the_others_alone(hub, locked, install, gone, there, why):
    if why == "removed":
        hub.remove(f"acme/{gone}")
    else:
        setattr(hub.repo(f"acme/{gone}"), why, "auto" if why == "gated" else True)
    results = install(locked)
    assert results[gone].status == "failed"
    assert isinstance(results[gone].error, ModelDownloadError)
    assert (results[gone].error.model, results[gone].error.exit_code) == (gone, 3)
    assert results[there].error is None, "the file they share is in its own repo too"
    assert files_of(results[there]) == contents(there)


def test_a_renamed_repo_is_still_found(hub, locked, install):
    hub.rename("acme/a", "acme/elsewhere")
    assert {result.status for result in install(locked).values()} == {"installed"}


def test_a_commit_that_another_has_rewritten_is_caught(hub, locked, install):
    commit = locked[0].commit
    hub.remove("acme/a")
    hub.add_repo("acme/a", {**contents("a"), "own.safetensors": weights("evil")}, commit=commit)
    result = install(locked)["a"]
    assert result.status == "failed"
    assert isinstance(result.error, ModelChecksumError)


def test_bytes_of_this_machine_count_as_done(locked, session, install, tmp_path):
    folder = tmp_path / "stick"
    folder.mkdir()
    (folder / "anything").write_bytes(SHARED)
    within = session()
    install(locked, folders=[folder], within=within)
    notes = within.reporter
    assert [task.partition(" ")[0] for task, _ in notes.tasks] == ["taking", "fetching"]
    assert notes.progress["a/shared.safetensors"] == len(SHARED), "what was taken is not fetched"


@pytest.mark.parametrize("change", [b"x" * 5000, SHARED[:-1], SHARED + b"x", b""])
def test_a_damaged_blob_is_fetched_again(hub, cache, locked, install, change):
    install(locked[:1])
    damage(blob(cache, SHARED), change)
    hub.clear_requests()
    results = install(locked)
    assert files_of(results["b"]) == contents("b")
    assert blob(cache, SHARED).read_bytes() == SHARED
    assert sum(result.bytes_fetched for result in results.values()) == 10_000
    assert files_of(results["a"]) == contents("a"), "its file may have been the same one on the disk"


@pytest.mark.parametrize("kind", ["changed", "missing", "extra", "shorter", "folder", "link"])
def test_a_damaged_snapshot_is_repaired(hub, cache, locked, install, kind, tmp_path):
    first = install(locked)
    hub.clear_requests()
    file = first["a"].path / "own.safetensors"
    if kind in ("changed", "shorter"):
        damage(file, b"x" * (5000 if kind == "changed" else 7))
    elif kind == "extra":
        (first["a"].path / "extra.py").write_bytes(b"import os")
    else:
        file.unlink()
        if kind == "folder":
            file.mkdir()
        elif kind == "link":
            outside = tmp_path / "outside"
            outside.write_bytes(weights("a"))
            file.symlink_to(outside)
    results = install(locked)
    assert [results[name].status for name in "ab"] == ["repaired", "present"]
    assert files_of(results["a"]) == contents("a")
    assert not (results["a"].path / "own.safetensors").is_symlink()
    again = install(locked)
    assert {result.status for result in again.values()} == {"present"}


def test_a_damaged_snapshot_whose_blob_is_whole_needs_no_network(hub, locked, install):
    result = install(locked)["a"]
    (result.path / "own.safetensors").unlink()
    hub.clear_requests()
    assert install(locked, offline=True)["a"].status == "repaired"
    assert hub.requests == []


def test_a_snapshot_without_its_blobs_is_enough(hub, cache, locked, install):
    install(locked)
    for path in (cache / "blobs" / "sha256").iterdir():
        path.unlink()
    hub.clear_requests()
    assert {result.status for result in install(locked).values()} == {"present"}
    assert hub.requests == []


# Offline


def test_offline_and_not_there(hub, locked, install):
    results = install(locked, offline=True)
    for name in "ab":
        error = results[name].error
        assert isinstance(error, ModelDownloadError)
        assert results[name].status == "failed"
        assert (error.error_code, error.exit_code, error.model) == (NOT_INSTALLED, 1, name)
        assert error.message == (
            "2 files are not in the store, and this run is offline: own.safetensors (5.0 kB) and "
            "shared.safetensors (5.0 kB)"
        )
        assert error.hint == (
            "run vcm sync where the hub can be reached, or vcm sync --from with a bundle or folder that has it"
        )
    assert hub.requests == []


# The disk


def test_what_does_not_fit_is_not_begun(hub, cache, session, locked):
    within = session()
    plan = within.store.plan(locked)
    free = free_space(cache)
    headroom = 2.0 * free / plan.bytes_to_fetch
    with pytest.raises(DiskSpaceError) as caught:
        within.install(plan, headroom)
    error = caught.value
    assert error.needed == int(15_000 * headroom)
    assert 0 < error.free < error.needed
    assert error.exit_code == 5
    assert error.message.startswith("15.0 kB are still to fetch, which needs ")
    assert error.hint.endswith("or lower disk-headroom under [cache]")
    assert hub.requests == []
    assert not (cache / "snapshots").exists()
    assert not list((cache / "partial").iterdir())


def test_bytes_that_are_here_already_need_no_space(cache, session, locked):
    within = session()
    within.store.blobs.prepare()
    within.store.blobs.partial_path(hashlib.sha256(SHARED).hexdigest()).write_bytes(SHARED[:4000])
    plan = within.store.plan(locked)
    with pytest.raises(DiskSpaceError) as caught:
        within.install(plan, 1e15)
    assert caught.value.needed == int(11_000 * 1e15)


def test_nothing_to_fetch_needs_no_space(locked, install):
    install(locked)
    assert {result.status for result in install(locked, headroom=1e15).values()} == {"present"}


def test_a_disk_that_is_too_small(tmp_path):
    from vcm.core.lock import LockedFile, LockedModel
    from vcm.session import Session
    from vcm.settings import Settings
    from vcm.store.leases import Leases

    with Patcher() as patcher, HubSimulator() as hub:
        assert patcher.fs is not None
        cache = tmp_path / "cache"
        patcher.fs.create_dir(cache)
        repo = hub.add_repo("acme/a", {"a.safetensors": SHARED})
        file = LockedFile("a.safetensors", 5000, hashlib.sha256(SHARED).hexdigest())
        model = LockedModel(name="a", source="huggingface", repo="acme/a", commit=repo.head(), files=(file,))
        within = Session(Settings(cache_dir=cache, endpoint=hub.endpoint), sleep=lambda _: None)
        patcher.fs.set_disk_usage(1 << 30)  # from here on, it counts
        with Leases(cache).take([model]):
            # What sync writes down before it looks how much room there is.
            used = patcher.fs.get_disk_usage()[1]
        for free, fits in ((9_999, False), (10_000, True)):
            patcher.fs.set_disk_usage(used + free)
            plan = within.store.plan([model])
            if fits:
                (result,) = within.install(plan, 2.0)
                assert result.status == "installed"
            else:
                with pytest.raises(DiskSpaceError) as caught:
                    within.install(plan, 2.0)
                assert (caught.value.needed, caught.value.free) == (10_000, free)
        within.close()


# Beside others


def overtake(monkeypatch: pytest.MonkeyPatch, before_link: Callable[[], object]) -> None:
    """Has something happen once, after the blobs are there and before they are linked."""
    build, left = SnapshotStore.build, [before_link]

    def overtaken(snapshots, model, blob_path):
        if left:
            left.pop()()
        return build(snapshots, model, blob_path)

    monkeypatch.setattr(SnapshotStore, "build", overtaken)


def test_a_blob_that_is_removed_before_it_is_linked_is_obtained_again(hub, cache, locked, install, monkeypatch):
    gone = hashlib.sha256(SHARED).hexdigest()
    overtake(monkeypatch, (cache / "blobs" / "sha256" / gone).unlink)
    results = install(locked)
    assert {result.status for result in results.values()} == {"installed"}
    assert sum(result.bytes_fetched for result in results.values()) == 20_000
    assert len(downloads(hub)) == 4


def test_a_blob_that_is_removed_every_time_is_an_error(cache, locked, install, monkeypatch):
    link = os.link

    def remove(source, target):
        if Path(source).name == hashlib.sha256(SHARED).hexdigest():
            Path(source).unlink()
        link(source, target)

    monkeypatch.setattr(os, "link", remove)
    monkeypatch.setattr("vcm.store.files._reflink", lambda *_: False)
    results = install(locked)
    assert {result.status for result in results.values()} == {"failed"}
    assert {result.error.exit_code for result in results.values()} == {5}
    assert not list((cache / "snapshots").iterdir())


def test_a_blob_that_is_removed_while_offline_is_not_installed(cache, locked, install, session, monkeypatch):
    install(locked)
    gone = hashlib.sha256(SHARED).hexdigest()
    for model in locked:
        session().store.snapshots.discard(model.tree_digest)
    overtake(monkeypatch, (cache / "blobs" / "sha256" / gone).unlink)
    results = install(locked, offline=True)
    assert {result.error.error_code for result in results.values()} == {NOT_INSTALLED}


def test_what_another_process_has_repaired_is_not_discarded(hub, cache, locked, install, session):
    install(locked)
    store = session().store
    own = next(file for file in locked[0].files if file.path == "own.safetensors")
    damaged = store.snapshots.path(locked[0].tree_digest) / "own.safetensors"
    damaged.unlink()
    store.blobs.discard(own.sha256)
    hub.fail(Fault(path="*own.safetensors", status=404, times=None))

    def repair(*_: object) -> None:
        damaged.write_bytes(weights("a"))

    within = session()
    within.reporter.file_started = repair
    results = install(locked, within=within)
    assert results["a"].status == "failed"
    assert store.snapshots.state(locked[0]) is SnapshotState.INSTALLED


# Called off


def test_calling_off_keeps_the_bytes_and_the_next_run_goes_on(hub, cache, session, locked, install):
    cancelled = Event()
    hub.fail(Fault(origin="cdn", stall_after=2000, delay=0.2, times=None))
    within = session(cancelled=cancelled)
    within.reporter.on_advance = cancelled.set
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        install(locked, within=within)
    assert time.monotonic() - started < 10
    assert within.reporter.ends == 1
    deadline = time.monotonic() + 20
    while not any(path.suffix != ".lock" for path in (cache / "partial").iterdir()):
        assert time.monotonic() < deadline
    assert not (cache / "snapshots").exists()
    # The threads let go in their own time; what they hold is free when they are gone.
    hub.clear_faults()
    results = install(locked)
    assert {result.status for result in results.values()} == {"installed"}
    assert any("range" in request.headers for request in downloads(hub))


def test_calling_off_does_not_wait_for_a_silent_server(hub, session, locked, install):
    cancelled = Event()
    hub.fail(Fault(origin="cdn", stall_after=2000, delay=0, times=None))
    within = session(cancelled=cancelled)
    within.reporter.on_advance = cancelled.set
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        install(locked, within=within)
    assert time.monotonic() - started < 10
    hub.stop()


def test_a_run_that_was_called_off_before_it_began(hub, session, locked, install):
    cancelled = Event()
    cancelled.set()
    with pytest.raises(KeyboardInterrupt):
        install(locked, within=session(cancelled=cancelled))
    assert hub.requests == []


def test_a_store_that_cannot_be_made(session, locked, install, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    within = session(folder=tmp_path / "file" / "cache")
    with pytest.raises(VcmError) as caught:
        install(locked, within=within)
    assert caught.value.exit_code == 5
    assert caught.value.hint
