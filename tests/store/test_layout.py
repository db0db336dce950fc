"""The store as an OCI image layout: its index is true at every instant, whoever is killed, and whoever else writes."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from tests.robust.forking import die_at
from tests.robust.harness import wrong_in
from tests.store.test_pruning import HOUR, installed, known_project
from vcm.core.layout import MARK_BYTES
from vcm.core.lock import LockedModel
from vcm.core.modelpack import package
from vcm.core.reporter import Reporter
from vcm.errors import VcmError
from vcm.store.integrity import check_store, discard_damaged
from vcm.store.pruning import clean, plan_pruning, prune
from vcm.store.store import Store

REF_NAME = "org.opencontainers.image.ref.name"
linux = pytest.mark.skipif(sys.platform != "linux", reason="what touches a disk is known there")


def index(store: Store) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((store.root / "index.json").read_bytes())
    return document


def named(store: Store) -> set[str]:
    """The tree digests of what the index names."""
    return {model.tree_digest for model in store.layout.models()}


def add_foreign(store: Store, content: bytes = b"foreign") -> dict[str, Any]:
    """What another tool does: it puts a blob there, and a descriptor into the index."""
    digest = hashlib.sha256(content).hexdigest()
    store.blobs.path(digest).write_bytes(content)
    row = {
        "mediaType": "application/x",
        "digest": f"sha256:{digest}",
        "size": len(content),
        "annotations": {REF_NAME: "x"},
    }
    document = index(store)
    document["manifests"].append(row)
    (store.root / "index.json").write_text(json.dumps(document, indent=3))
    return row


@pytest.fixture
def two(store: Store) -> tuple[LockedModel, LockedModel]:
    """Two models with a file in common, installed and named."""
    models = installed(store, "one", b"1", b"shared"), installed(store, "two", b"2", b"shared")
    store.layout.record(models)
    return models


def test_a_model_is_named(store, two):
    assert (store.root / "oci-layout").read_bytes() == b'{"imageLayoutVersion":"1.0.0"}'
    entries = store.layout.entries()
    assert [entry.model.files for entry in entries] == [
        model.files for model in sorted(two, key=lambda model: package(model).reference)
    ]
    for entry in entries:
        artifact = package(entry.model)
        for sha256, content in ((entry.digest, artifact.manifest), (entry.config, artifact.config)):
            assert store.blobs.path(sha256).read_bytes() == content
            assert store.blobs.path(sha256).stat().st_mode & 0o777 == 0o444
    assert index(store)["manifests"] == [entry.descriptor for entry in entries]
    assert wrong_in(store.root) == []


def test_many_are_named_at_once(store):
    models = [installed(store, f"m{number}", b"%d" % number) for number in range(20)]
    store.layout.record(models)
    assert named(store) == {model.tree_digest for model in models}
    assert wrong_in(store.root) == []
    assert list(store.blobs.partial_folder.iterdir()) == []


def test_whatever_the_order_the_bytes_are_the_same(two, store, tmp_path):
    for number, models in enumerate([two[::-1], (two[1], two[0], two[1])]):
        other = Store(tmp_path / f"other{number}")
        for model in models:
            installed(other, model.name, *(store.blobs.path(file.sha256).read_bytes() for file in model.files))
            other.layout.record([model])
        assert (other.root / "index.json").read_bytes() == (store.root / "index.json").read_bytes()


def test_what_is_named_already_is_not_written_again(store, two):
    before = (store.root / "index.json").stat()
    os.utime(store.root / "index.json", (0, 0))
    store.layout.record(two)
    after = (store.root / "index.json").stat()
    assert after.st_ino == before.st_ino
    assert after.st_mtime_ns >= before.st_mtime_ns, "it is as new as what was asked of it"


def test_another_project_asks_for_it_by_another_name(store, two):
    store.layout.record([replace(two[0], requested="~=1.0", version="1.2", ref="v1.2")])
    assert {" ".join(sorted(entry.refs)) for entry in store.layout.entries()} == {"main v1.2", "main"}


def test_one_that_lacks_a_blob_is_not_named(store, two):
    store.blobs.discard(two[0].files[0].sha256)
    three = installed(store, "three", b"3")
    store.layout.record([*two, three])
    assert named(store) == {two[1].tree_digest, three.tree_digest}


def test_where_there_is_no_store_none_is_made(store, model, tmp_path):
    other = Store(tmp_path / "nowhere")
    other.layout.record([model])
    other.layout.drop([model.tree_digest])
    assert other.layout.models() == []
    assert not other.root.exists()


@pytest.mark.parametrize(
    "damage", [b"", b"{", b'{"schemaVersion":2,"manifests":[{"digest":', b"\x00" * 100, b"[]", b"[" * 100_000]
)
def test_a_damaged_index_is_made_anew(damage, store, two):
    (store.root / "index.json").write_bytes(damage)
    assert store.layout.models() == []
    store.layout.record(two[:1])
    assert named(store) == {two[0].tree_digest}
    store.layout.record(two)
    assert len(named(store)) == 2


@pytest.mark.parametrize("damaged", ["manifest", "config"])
def test_what_describes_a_model_is_made_anew(damaged, store, two):
    entry = store.layout.entries()[0]
    path = store.blobs.path(entry.digest if damaged == "manifest" else entry.config)
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    store.layout.drop([path.name])
    assert len(named(store)) == 1
    store.layout.record(two)
    assert len(named(store)) == 2
    assert wrong_in(store.root) == []


def test_an_index_of_something_else_stays(store, model, snapshot):
    path = store.root / "index.json"
    path.write_text('{"pages": []}')
    with pytest.raises(VcmError) as caught:
        store.layout.record([model])
    assert caught.value.message == f"{path} is not the index of an OCI image layout, which a store has under that name"
    assert caught.value.hint == "move it away, or choose another folder with --cache-dir"
    store.layout.drop([model.tree_digest])
    store.registry.record(store.root, [], store.root)
    before = path.stat()
    prune(store, time.time())
    clean(store, time.time())
    assert [each.name for each in store.root.iterdir()] == ["index.json"]
    assert path.read_text() == '{"pages": []}'
    assert path.stat().st_mtime_ns == before.st_mtime_ns


def test_what_another_tool_put_there_stays_until_prune(store, two, tmp_path):
    known_project(store, tmp_path / "project", *two)
    row = add_foreign(store)
    store.layout.record(two)
    three = installed(store, "three", b"3")
    store.layout.record([three])
    assert row in index(store)["manifests"]
    assert len(named(store)) == 3
    prune(store, time.time() + 2 * HOUR)
    assert named(store) == {model.tree_digest for model in two}
    assert len(index(store)["manifests"]) == 2
    assert len(list(store.blobs.folder.iterdir())) == 3 + 2 * 2


def test_a_name_of_a_model_means_that_model(store, two):
    """Whatever another tool has copied to it."""
    row = add_foreign(store)
    document = index(store)
    name = document["manifests"][0]["annotations"][REF_NAME]
    document["manifests"][0] = {**row, "annotations": {REF_NAME: name}}
    (store.root / "index.json").write_text(json.dumps(document))
    assert len(named(store)) == 1
    store.layout.record(two)
    assert len(named(store)) == 2
    assert sorted(each["annotations"][REF_NAME] for each in index(store)["manifests"]) == sorted(
        [*(package(model).reference for model in two), "x"]
    )


def test_a_descriptor_that_another_tool_has_rewritten_is_put_right(store, two):
    good = (store.root / "index.json").read_bytes()
    document = index(store)
    for row in document["manifests"]:
        del row["artifactType"], row["annotations"]["dev.vcm.refs"]
    (store.root / "index.json").write_text(json.dumps(document))
    assert len(named(store)) == 2
    store.layout.record(two)
    assert (store.root / "index.json").read_bytes() == good


@pytest.mark.parametrize("change", ["name", "digest", "size", "missing", "folder"])
def test_an_entry_that_is_not_what_it_says_is_no_model(change, store, two):
    document = index(store)
    row = document["manifests"][0]
    path = store.blobs.path(row["digest"][7:])
    if change == "name":
        row["annotations"][REF_NAME] = "acme/b:1"
    elif change == "digest":
        row["digest"] = document["manifests"][1]["digest"]
    elif change == "size":
        row["size"] += 1
    else:
        path.unlink()
        if change == "folder":
            path.mkdir()
    (store.root / "index.json").write_text(json.dumps(document))
    assert len(store.layout.models()) == 1


def test_prune_keeps_what_describes_what_stays_and_drops_the_rest_though_it_is_young(store, two, tmp_path):
    known_project(store, tmp_path / "project", two[0])
    for path in store.blobs.folder.iterdir():
        os.utime(path, (0, 0))
    entries = {entry.model.tree_digest: entry for entry in store.layout.entries()}
    os.utime(store.blobs.path(entries[two[1].tree_digest].digest))
    prune(store, time.time())
    assert named(store) == {two[0].tree_digest}
    assert {path.name for path in store.blobs.folder.iterdir()} == entries[two[0].tree_digest].needs
    assert plan_pruning(store, time.time()).pruning.drop == ()


def test_a_damaged_blob_is_named_no_more(store, two):
    path = store.blobs.path(two[0].files[1].sha256)
    path.chmod(0o644)
    path.write_bytes(b"SHARED")
    discard_damaged(store, check_store(store, Reporter()))
    assert named(store) == set()
    assert wrong_in(store.root) == []


def test_clean_takes_all_of_it(store, two):
    store.registry.record(store.root / "project", two, store.root)
    clean(store, time.time())
    assert not store.root.exists()


def test_others_may_read_what_they_may_read_of_the_registry(store, two):
    store.registry.record(store.root / "project", two, store.root)
    modes = {name: (store.root / name).stat().st_mode & 0o777 for name in ("registry.json", "index.json", "oci-layout")}
    assert len(set(modes.values())) == 1
    (store.root / "index.json").chmod(0o664)
    store.layout.record([installed(store, "three", b"3")])
    assert (store.root / "index.json").stat().st_mode & 0o777 == 0o664


# Killed, and beside others


def in_a_child(work: Callable[[], object]) -> int:
    """Do something in a process of its own; its id."""
    child = os.fork()
    if child:
        return child
    try:
        work()
    except BaseException:  # noqa: BLE001
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def kill_at_every_step(store: Store, folder: Path, work: Callable[[Store], object]) -> int:
    """Do something in stores that begin as this one, each time killed one step later; how many steps it has."""
    whole = Store(folder / "whole")
    shutil.copytree(store.root, whole.root)
    work(whole)
    for step in count(1):
        copy = Store(folder / f"step{step}")
        shutil.copytree(store.root, copy.root)

        def killed(copy: Store = copy, step: int = step) -> None:
            die_at(step, str(copy.root))
            work(copy)

        _, status = os.waitpid(in_a_child(killed), 0)
        assert wrong_in(copy.root) == [], f"step {step}"
        if status == 0:
            return step
        assert os.WTERMSIG(status) == signal.SIGKILL
        if step % 5 == 0:
            # The next one comes to the end.
            work(copy)
            assert wrong_in(copy.root) == [], f"after step {step}"
            assert index(copy) == index(whole)
        shutil.rmtree(copy.root)
    raise AssertionError


@linux
def test_record_killed_at_every_step(store, two, tmp_path):
    three = installed(store, "three", b"3", b"shared")
    assert kill_at_every_step(store, tmp_path, lambda store: store.layout.record([three])) > 15


@linux
def test_prune_killed_at_every_step(store, two, tmp_path):
    known_project(store, tmp_path / "project", two[0])
    later = time.time() + 2 * HOUR
    assert kill_at_every_step(store, tmp_path, lambda store: prune(store, later)) > 25


@linux
def test_those_that_install_at_once_lose_nothing(store):
    def install(name: bytes) -> None:
        own = Store(store.root)
        for number in range(12):
            own.layout.record([installed(own, "m", name + b"%d" % number)])

    children = [in_a_child(partial(install, each)) for each in (b"a", b"b", b"c")]
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0, 0]
    assert len(named(store)) == 36
    assert wrong_in(store.root) == []
    assert list(store.blobs.partial_folder.iterdir()) == []


def test_a_store_that_nobody_may_write_can_be_read(store, two, tmp_path):
    assert (store.root / "oci-layout").read_bytes() == MARK_BYTES
    shutil.rmtree(store.root / "partial")
    (store.root / "partial").write_text("")
    assert len(store.layout.models()) == 2
    store.layout.record(two)
    with pytest.raises(VcmError):
        store.layout.record([installed(Store(tmp_path / "other"), "x", b"x"), *two])
