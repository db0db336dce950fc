"""The inventory: all that vcm puts into a store is known, and nothing else."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from vcm.core.pruning import Kind
from vcm.store.files import walk
from vcm.store.inventory import FOLDERS, take_inventory
from vcm.store.leases import Leases

HEX = "ab" * 32
UNIQUE = "12" * 16  # as temporary_name gives them


@pytest.fixture
def places(store) -> Callable[[], dict[str, Kind]]:
    return lambda: {part.place: part.kind for part in take_inventory(store.root)}


def test_no_store(places):
    assert places() == {}


def test_a_model(places, store, model, snapshot):
    digest = model.tree_digest
    assert places() == {
        f"snapshots/{digest}": Kind.SNAPSHOT,
        f"verified/{digest}.json": Kind.RECORD,
        **{f"blobs/sha256/{file.sha256}": Kind.BLOB for file in model.files},
    }
    (part,) = [part for part in take_inventory(store.root) if part.kind is Kind.SNAPSHOT]
    assert sorted(file.size for file in part.files) == sorted(file.size for file in model.files)


@pytest.mark.parametrize(
    ("place", "kind"),
    [
        (f"partial/{HEX}", Kind.PARTIAL),
        (f"partial/{HEX}.lock", Kind.LOCK),
        ("partial/index.json.lock", Kind.LOCK),
        (f"partial/unnamed-{UNIQUE}", Kind.LEFTOVER),
        (f"partial/copy-{UNIQUE}", Kind.LEFTOVER),
        (f"partial/adopted-{UNIQUE}", Kind.LEFTOVER),
        (f"partial/lock-probe-{UNIQUE}", Kind.LEFTOVER),
        (f"partial/snapshot-{UNIQUE}/config.json", Kind.LEFTOVER),
        (f"partial/discarded-{UNIQUE}/config.json", Kind.LEFTOVER),
        (f"verified/.{HEX}.json.{UNIQUE}", Kind.LEFTOVER),
        (f"hub-metadata/models--acme--a/{HEX}", Kind.ANSWER),
        (f"hub-metadata/models--acme--a/.{HEX}.{UNIQUE}", Kind.LEFTOVER),
        ("hub-metadata/git-blobs", Kind.INDEX),
        ("hub-metadata/notices.json", Kind.INDEX),
        (f"in-use/{UNIQUE}.json", Kind.LEASE),
        (f"in-use/{UNIQUE}.lock", Kind.LEASE),
        ("in-use/store.lock", Kind.STORE_LOCK),
        (f"hub-views/{UNIQUE}/hub", Kind.VIEW),
        ("registry.json", Kind.REGISTRY),
        ("registry.json.lock", Kind.REGISTRY),
        (f".registry.json.{UNIQUE}", Kind.LEFTOVER),
        ("oci-layout", Kind.LAYOUT),
        (f".oci-layout.{UNIQUE}", Kind.LEFTOVER),
        (f".index.json.{UNIQUE}", Kind.LEFTOVER),
    ],
)
def test_each_name(place, kind, places, store):
    path = store.root / place
    path.parent.mkdir(parents=True)
    path.write_text("x")
    is_folder = kind is Kind.VIEW or (kind is Kind.LEFTOVER and place.endswith("config.json"))
    known = "/".join(place.split("/")[:2]) if is_folder else place
    assert places() == {known: kind}


@pytest.mark.parametrize(
    "place",
    [
        f"blobs/sha256/{HEX[:-1]}",
        f"blobs/sha256/{HEX.upper()}",
        f"blobs/sha256/{HEX}.txt",
        f"blobs/{HEX}",
        f"blobs/sha256/{HEX}/file",
        f"snapshots/{HEX}",
        f"snapshots/model/{HEX}",
        f"verified/{HEX}",
        "partial/notes.lock",
        "partial/copy-of-my-thesis",
        f"partial/{HEX}/file",
        f"hub-metadata/{HEX}",
        f"hub-metadata/datasets--a--b/{HEX}",
        "hub-metadata/models--a--b/notes",
        "in-use/a.json",
        f"hub-views/{UNIQUE}",
        "hub-views/mine/hub",
        "models.toml",
        "index.json",
        "index.json.lock",
        "registry.json.bak",
        f".notes.{UNIQUE}",
        f"registry.json/{HEX}",
        ".ssh/id_ed25519",
    ],
)
def test_what_is_not_vcms(place, places, store):
    path = store.root / place
    path.parent.mkdir(parents=True)
    path.write_text("x")
    assert places() == {}


def test_an_index_is_one_of_a_layout_where_the_layout_says_that_it_is_one(places, store):
    store.root.mkdir()
    for name in ("index.json", "oci-layout"):
        (store.root / name).write_text("{}")
    assert places() == {"index.json": Kind.LAYOUT, "oci-layout": Kind.LAYOUT}


@pytest.mark.parametrize("place", [f"blobs/sha256/{HEX}", f"snapshots/{HEX}", f"partial/{HEX}", "registry.json"])
def test_a_link_is_not_vcms(place, places, store, tmp_path):
    (tmp_path / "mine").mkdir()
    path = store.root / place
    path.parent.mkdir(parents=True)
    path.symlink_to(tmp_path / "mine")
    assert places() == {}


def test_a_file_where_a_folder_belongs(places, store):
    store.root.mkdir()
    for name in ("partial", "snapshots", "blobs", "hub-metadata"):
        (store.root / name).write_text("x")
    assert places() == {}


def test_walk(tmp_path):
    deep = tmp_path.joinpath(*"abcdefgh")
    deep.mkdir(parents=True)
    (deep / "file").write_text("x")
    (tmp_path / "link").symlink_to(deep)
    assert sorted((path, status.st_size) for path, status in walk(str(tmp_path)) if path != "link") == [
        ("a/b/c/d/e/f/g/h/file", 1)
    ]
    assert list(walk(str(tmp_path / "nowhere"))) == []


def everything(root: Path) -> Iterator[str]:
    for parent, folders, files in os.walk(root):
        place = Path(parent).relative_to(root)
        if place.parts[:1] == ("snapshots",) and len(place.parts) > 1:
            continue
        yield from ((place / name).as_posix() for name in files)
        yield from ((place / name).as_posix() + "/" for name in folders if not place.parts)


def test_all_that_vcm_leaves_is_known(session, hub, cache, project, places, tmp_path):
    """A store after all sorts of work: whatever stands in it is a part of it, or a folder that vcm makes."""
    from vcm.cli.app import main

    hub.add_repo("acme/frames", {"model.safetensors": bytes(4096), "config.json": b"{}"}, tags=["v1.0"])
    (project / "models.toml").write_text('[models.frames]\nrepo = "acme/frames"\n')
    for words in (["sync"], ["outdated"], ["check"], ["verify"], ["cache", "prune"], ["lock", "--upgrade"]):
        assert main(words) in (0, 1)
    with Leases(cache).take(None):
        known = {part.place for part in take_inventory(cache)}
        found = set(everything(cache))
    assert {place for place in found if not place.endswith("/")} == {
        place for place in known if not place.startswith("snapshots/")
    }
    assert {place.rstrip("/") for place in found if place.endswith("/")} <= {*FOLDERS}
