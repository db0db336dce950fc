"""Views on the disk: whole, the snapshot's own bytes, and each for one program only."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import pytest

from vcm.core.hub_view import HubView, ViewedRepo, make_hub_view
from vcm.core.pruning import Kind, make_pruning
from vcm.errors import VcmError
from vcm.store.hub_views import open_view
from vcm.store.inventory import take_inventory
from vcm.store.leases import Leases
from vcm.store.pruning import clean, plan_cleaning, prune

REPO = "models--acme--frames"


@pytest.fixture
def opened(store, model, snapshot, request):
    """Opens views of the model; closes them afterwards."""

    def make(inheritable=False):
        view = open_view(make_hub_view([replace(model, ref="refs/pr/1")]), [model], store, inheritable=inheritable)
        request.addfinalizer(view.close)
        return view

    return make


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """The temporary folder."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def held(hub: Path) -> dict[str, bytes]:
    return {path.relative_to(hub).as_posix(): path.read_bytes() for path in hub.rglob("*") if path.is_file()}


def expected(files: dict[str, bytes]) -> dict[str, bytes]:
    commit = "1" * 40
    found = {f"{REPO}/snapshots/{commit}/{path}": data for path, data in files.items()}
    return found | {f"{REPO}/refs/main": commit.encode(), f"{REPO}/refs/refs/pr/1": commit.encode()}


def views(store) -> list[str]:
    return [part.name for part in take_inventory(store.root) if part.kind is Kind.VIEW]


def test_hard_links_to_what_the_gate_checks(opened, snapshot, contents):
    view = opened()
    assert held(view.hub) == expected(contents)
    for path in contents:
        inside = view.hub / REPO / "snapshots" / ("1" * 40) / path
        assert inside.samefile(snapshot / path)
        assert not inside.is_symlink()
    assert view.offered.read_text().startswith("What a program started by vcm run finds")


def test_a_program_gets_what_no_other_has_written_into(opened, contents):
    first = opened()
    (first.hub / REPO / "refs" / "main").write_text("2" * 40)
    (first.hub / REPO / "snapshots" / ("1" * 40) / "model.py").write_text("evil()")
    (first.hub / "models--evil--repo").mkdir()
    second = opened()
    assert first.folder != second.folder
    assert first.folder.exists()
    assert held(second.hub) == expected(contents)


def test_gone_when_it_is_let_go_of(opened, store):
    first, second = opened(), opened()
    first.close()
    assert views(store) == [second.folder.name]
    second.close()
    assert views(store) == []
    assert [path.name for path in (store.root / "in-use").iterdir()] == ["store.lock"]


def leave(view) -> None:
    """End the program that runs on a view, without more ado."""
    for _, lease in view.leases:
        lease.let_go()


def test_the_next_program_takes_over_what_nobody_has_touched(opened, store, contents):
    running, gone = opened(), opened()
    inode = (gone.hub / REPO).stat().st_ino
    leave(gone)
    third = opened()
    assert (third.hub / REPO).stat().st_ino == inode
    assert held(third.hub) == expected(contents)
    assert sorted(views(store)) == sorted([running.folder.name, third.folder.name])
    assert len(list((store.root / "in-use").glob("*.json"))) == 2


SNAPSHOT = f"hub/{REPO}/snapshots/{'1' * 40}"


@pytest.mark.parametrize(
    "touch",
    [
        lambda folder: (folder / "hub" / "version.txt").write_text("1"),
        lambda folder: (folder / "hub" / "models--evil--repo" / "snapshots" / ("2" * 40)).mkdir(parents=True),
        lambda folder: (folder / "more").mkdir(),
        lambda folder: (folder / SNAPSHOT / "model.py").write_text("evil()"),
        lambda folder: (folder / SNAPSHOT / "config.json").unlink(),
        lambda folder: other_bytes(folder / SNAPSHOT / "config.json"),
        lambda folder: linked(folder / SNAPSHOT / "config.json"),
        lambda folder: linked(folder / SNAPSHOT / "onnx"),
        lambda folder: linked(folder / "hub" / REPO / "refs"),
        lambda folder: linked(folder / "hub" / REPO / "refs" / "main"),
        lambda folder: (folder / "hub" / REPO / "refs" / "main").write_text("1" * 40 + "\n"),
        lambda folder: (folder / "hub" / REPO / "refs" / "main").write_text("2" * 40),
        lambda folder: (folder / "hub" / REPO / "refs" / "v1").write_text("1" * 40),
        lambda folder: (folder / "offered.txt").write_text("nothing"),
    ],
)
def test_what_a_program_has_changed_is_nobodys(touch, opened, store, contents):
    gone = opened()
    touch(gone.folder)
    leave(gone)
    second = opened()
    assert views(store) == [second.folder.name]
    assert {path.name for path in second.folder.iterdir()} == {"hub", "offered.txt"}
    assert held(second.hub) == expected(contents)
    assert {path.name for path in second.hub.iterdir()} == {REPO}
    assert not any(path.is_symlink() for path in second.folder.rglob("*"))


def other_bytes(path: Path) -> None:
    data = path.read_bytes()
    path.unlink()
    path.write_bytes(data)


def linked(path: Path) -> None:
    aside = path.rename(path.parents[-4] / f"{path.name}.aside-{os.urandom(4).hex()}")
    path.symlink_to(aside)


def test_a_snapshot_that_was_mended_meanwhile(opened, store, model, snapshot):
    gone = opened()
    leave(gone)
    store.snapshots.discard(model.tree_digest)
    store.snapshots.build(model, store.blobs.path)
    other_bytes(snapshot / "config.json")
    assert (opened().folder / SNAPSHOT / "config.json").samefile(snapshot / "config.json")


def test_what_a_killed_program_had_only_begun(opened, store, contents):
    source = (
        "import os, sys; from pathlib import Path; from vcm.store.leases import Leases; "
        "lease = Leases(Path(sys.argv[1])).take([]); "
        "(Path(sys.argv[1]) / 'hub-views' / lease.name / 'hub').mkdir(parents=True); os._exit(9)"
    )
    subprocess.run([sys.executable, "-c", source, store.root], check=False)
    assert len(views(store)) == 1
    view = opened()
    assert views(store) == [view.folder.name]
    assert held(view.hub) == expected(contents)


def test_killed_at_any_moment(opened, store, model, contents):
    """Whatever was begun: the next view is whole, and no other is left."""
    view, deaths = make_hub_view([replace(model, ref="refs/pr/1")]), 0
    for number in range(1, 100):
        child = os.fork()
        if child == 0:
            die_at(number)
            open_view(view, [model], store, inheritable=True)
            os._exit(0)
        status = os.waitpid(child, 0)[1]
        if status == 0:
            break
        assert os.WTERMSIG(status) == signal.SIGKILL
        deaths += 1
        if number % 2:
            # Else what was left is for the next one to die over.
            following = opened()
            assert held(following.hub) == expected(contents)
            assert views(store) == [following.folder.name]
            leave(following)
    assert deaths > 10


def die_at(number: int) -> None:
    """SIGKILL to this process before it touches the disk for the so-manieth time."""
    left = [number]

    def count(event: str, _: tuple[object, ...]) -> None:
        if event in ("os.mkdir", "os.link", "os.rename", "os.remove", "os.rmdir", "open", "fcntl.flock"):
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)


def test_many_at_once_that_take_over(opened, store, model, contents):
    for _ in range(3):
        leave(opened())
    source = (
        "import sys; from pathlib import Path; from dataclasses import replace; from vcm.store.store import Store; "
        "from vcm.core.lock import LockedFile, LockedModel; from vcm.core.hub_view import make_hub_view; "
        "from vcm.store.hub_views import open_view; "
        "files = tuple(LockedFile(*each) for each in eval(sys.argv[2])); "
        "model = LockedModel(name='frames', source='huggingface', repo='acme/frames', commit='1' * 40, "
        "ref='refs/pr/1', files=files); "
        "view = open_view(make_hub_view([model]), [model], Store(Path(sys.argv[1])), inheritable=False); "
        "print(view.hub, flush=True); sys.stdin.read()"
    )
    files = repr([(file.path, file.size, file.sha256) for file in model.files])
    command = [sys.executable, "-c", source, str(store.root), files]
    started = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(6)]
    hubs = [Path(str(each.stdout and each.stdout.readline().strip())) for each in started]
    assert len({*hubs}) == 6
    assert all(held(hub) == expected(contents) for hub in hubs)
    for each in started:
        each.communicate()


def test_prune_leaves_a_running_program_what_it_runs_on(opened, store, snapshot, model):
    store.registry.record(Path("/nowhere"), [model], store.root)
    view = opened()
    prune(store, time.time() + 1e7)
    assert snapshot.is_dir()
    assert view.hub.is_dir()
    with pytest.raises(VcmError, match="is in use by 1 running vcm"):
        clean(store, time.time())
    leave(view)
    pruned = prune(store, time.time() + 1e7)
    assert [part.name for part in pruned.pruning.dropped(Kind.VIEW)] == [view.folder.name]
    assert not view.folder.exists()
    assert not snapshot.exists()
    # All names of the bytes are gone, so the disk has them back.
    assert pruned.pruning.freed >= model.size / 2
    assert all(part.kind is Kind.REGISTRY or part.kind is Kind.STORE_LOCK for part in plan_cleaning(store).drop)


def test_a_running_program_keeps_no_leftover(opened, store):
    opened()
    left = store.root / "partial" / ("snapshot-" + "ab" * 16)
    left.mkdir(parents=True)
    parts = take_inventory(store.root)
    later = time.time() + 7200
    pruning = make_pruning(parts, [], Leases(store.root).claims(later), later)
    assert [part.place for part in pruning.dropped(Kind.LEFTOVER)] == [f"partial/{left.name}"]


def test_a_snapshot_that_has_gone(store, model, snapshot, opened):
    (snapshot / "config.json").unlink()
    with pytest.raises(VcmError) as caught:
        opened()
    assert str(caught.value) == f"{snapshot / 'config.json'} has gone meanwhile"
    assert (caught.value.error_code, caught.value.hint) == ("NOT_INSTALLED", "run vcm sync")
    assert views(store) == []
    assert Leases(store.root).claims(time.time()) == []


def test_where_links_are_refused_it_stands_in_the_temporary_folder(
    opened, store, snapshot, temporary, monkeypatch, contents
):
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EPERM, "no")  # as fs.protected_hardlinks does

    monkeypatch.setattr(os, "link", refuse)
    view = opened()
    assert view.folder.is_relative_to(temporary)
    assert held(view.hub) == expected(contents)
    assert (view.hub / REPO / "snapshots" / ("1" * 40) / "config.json").readlink() == snapshot / "config.json"
    # What it points at is kept from prune.
    (claim,) = Leases(store.root).claims(time.time())
    assert claim.snapshots == frozenset({snapshot.name})
    assert views(store) == []
    second = opened()
    view.close()
    assert not view.folder.exists()
    assert second.folder.exists()


def test_nobody_else_enters_it_there_whatever_the_umask(opened, temporary, monkeypatch):
    monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError(errno.EXDEV, "no")))
    before = os.umask(0)
    try:
        view = opened()
    finally:
        os.umask(before)
    (folder,) = temporary.iterdir()
    assert view.folder.is_relative_to(folder)
    assert folder.stat().st_mode & 0o777 == 0o700


def test_where_locks_do_nothing_it_stands_in_the_temporary_folder(opened, store, temporary, monkeypatch):
    monkeypatch.setattr(fcntl, "flock", lambda *_: None)
    first = opened()
    second = opened()
    assert first.folder.is_relative_to(temporary)
    assert first.folder.exists()
    second.close()
    # Nobody can tell whether another program still runs on its view.
    assert first.folder.exists()


@pytest.mark.parametrize("made", ["writable", "link"])
def test_a_folder_that_somebody_else_may_have_made_is_not_used(made, opened, temporary, monkeypatch):
    guessed = temporary / f"vcm-{os.getuid()}"
    if made == "link":
        (temporary / "theirs").mkdir()
        guessed.symlink_to(temporary / "theirs")
    else:
        guessed.mkdir()
        guessed.chmod(0o777)
    monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError(errno.EXDEV, "no")))
    view = opened()
    assert not view.folder.resolve().is_relative_to(guessed.resolve())
    assert view.folder.is_relative_to(temporary)


def test_no_place_at_all(store, model, snapshot, monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError(errno.EXDEV, "no")))
    with pytest.raises(VcmError) as caught:
        open_view(make_hub_view([model]), [model], store, inheritable=False)
    place = tmp_path / "gone" / f"vcm-{os.getuid()}"
    assert str(caught.value) == f"cannot use {place}: no such file or directory"
    assert caught.value.hint == (
        "run vcm as a user who may write the store, or point TMPDIR at a folder that can be written"
    )
    assert Leases(store.root).claims(time.time()) == []


def test_a_disk_that_ignores_case(store, model, snapshot, monkeypatch):
    """Two names of one folder: what is there already serves both."""
    models = [model, replace(model, name="other", repo="Acme/Frames")]
    view = make_hub_view(models)
    monkeypatch.setattr(ViewedRepo, "folder", REPO)
    opened = open_view(view, models, store, inheritable=False)
    assert [path.name for path in opened.hub.iterdir()] == [REPO]
    opened.close()


def test_an_empty_view(store):
    opened = open_view(HubView(()), [], store, inheritable=False)
    assert list(opened.hub.iterdir()) == []
    opened.close()


def test_a_fork_holds_on_to_it(opened, store):
    view = opened()
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(writing)
        os.read(reading, 1)
        os._exit(0)
    view.close()
    assert view.folder.exists()
    os.close(writing)
    os.waitpid(child, 0)
    os.close(reading)
    opened().close()
    assert views(store) == []
