"""``vcm sync`` with mirrors: what it says of them, and what it does without the hub."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.mirrors.conftest import DATA, DIGEST, locked, mirror_at
from vcm.core.mirrors import Mirror
from vcm.errors import DiskSpaceError
from vcm.testing import Fault

TEXT = '[models.m]\nrepo = "acme/m"\n'
NO_ORIGIN = "[origin]\nfallback = false\n"


@pytest.fixture
def project_with(hub, model, rack, racks, manifest, vcm, monkeypatch):  # noqa: PLR0917  (all that there is)
    """A locked project on a machine with mirrors: some that have nothing, and the rack."""

    def make(*others, text=TEXT):
        manifest(text)
        assert vcm("lock").code == 0
        hub.clear_requests()
        monkeypatch.setenv(
            "VCM_MIRRORS", " ".join([*(f"{name}={racks(b'').url}" for name in others), f"rack={rack.url}"])
        )

    return make


def test_where_bytes_came_from_is_told(hub, rack, project_with, vcm):
    project_with("empty")
    done = vcm("sync")
    assert (done.code, done.err) == (0, "fetching 1 file, 300.0 kB\n")
    assert done.out.startswith("Installed 1 model: 300.0 kB fetched (300.0 kB from rack)\n + m")
    assert hub.requests == []
    assert vcm("sync").out == "Nothing to do: 1 model installed, no network used\n"


def test_where_bytes_came_from_as_json(hub, rack, project_with, vcm):
    project_with("empty")
    document = json.loads(vcm("sync", "--json").out)
    assert document["sources"] == {"empty": 0, "rack": len(DATA), "origin": 0}
    assert document["bytes_fetched"] == len(DATA)
    assert json.loads(vcm("sync", "--json").out)["sources"] == {"empty": 0, "rack": 0, "origin": 0}


def test_the_hub_is_the_origin(hub, rack, project_with, vcm):
    project_with()
    rack.fail(status=404)
    document = json.loads(vcm("sync", "--json").out)
    assert document["sources"] == {"rack": 0, "origin": len(DATA)}


def test_without_mirrors_nothing_is_said_of_them(hub, model, manifest, vcm):
    manifest(TEXT)
    done = vcm("sync", "--json")
    assert "sources" not in json.loads(done.out)


def test_a_lie_costs_a_line(hub, rack, project_with, vcm):
    project_with()
    rack.fail(corrupt=True)
    done = vcm("sync")
    assert done.code == 0
    assert done.err == (
        "fetching 1 file, 300.0 kB\n"
        "note: mirror rack is not asked any more in this run: it sent wrong bytes for m/model.safetensors\n"
    )
    assert "from rack" not in done.out


def test_strict_mirrors(hub, rack, project_with, vcm):
    project_with()
    rack.fail(corrupt=True)
    done = vcm("sync", "--strict-mirrors")
    assert done.code == 4
    assert "error: m/model.safetensors: mirror rack sent wrong bytes: expected sha256:" in done.err
    assert hub.requests == []


@pytest.mark.parametrize("options", [("--no-origin",), ("--no-origin", "--frozen")])
def test_no_origin(hub, rack, project_with, vcm, options):
    project_with()
    done = vcm("sync", *options)
    assert done.code == 0
    assert hub.requests == []


def test_no_origin_where_no_mirror_has_it(hub, rack, project_with, vcm):
    project_with()
    rack.fail(status=404)
    done = vcm("sync", "--no-origin", "--json")
    assert done.code == 1
    assert hub.requests == []
    error = json.loads(done.out)["error"]
    assert (error["code"], error["details"]) == ("NOT_INSTALLED", ["mirror rack  does not have it (status 404)"])


def test_no_origin_and_a_lock_that_does_not_fit(hub, rack, project_with, manifest, vcm):
    project_with(text=TEXT + NO_ORIGIN)
    manifest(TEXT + NO_ORIGIN + '[models.n]\nrepo = "acme/n"\n')
    done = vcm("sync")
    assert done.code == 1
    assert done.err == "error: models.lock does not fit models.toml: n not locked yet\nhint: run vcm lock\n"
    assert hub.requests == []


def test_locking_asks_the_hub_all_the_same(hub, rack, project_with, vcm):
    project_with(text=TEXT + NO_ORIGIN)
    assert vcm("lock", "--upgrade").code == 0
    assert hub.requests


def test_no_origin_with_nothing_to_fetch(hub, model, manifest, vcm):
    manifest(TEXT)
    assert vcm("sync").code == 0
    hub.clear_requests()
    assert vcm("sync", "--no-origin").out == "Nothing to do: 1 model installed, no network used\n"
    assert hub.requests == []


def test_a_repair_asks_mirrors_too(hub, rack, project_with, vcm, cache):
    project_with()
    assert vcm("sync").code == 0
    for path in [*(cache / "snapshots").rglob("model.safetensors"), *(cache / "blobs" / "sha256").iterdir()]:
        path.chmod(0o644)
        path.write_bytes(b"x" * len(DATA))
    assert vcm("verify").code == 4
    done = vcm("verify", "--repair")
    assert done.code == 0, done.err
    assert "(300.0 kB from rack)" in done.out
    assert hub.requests == []


# A disk with less room than the model has bytes


def folder_mirror(folder: Path, *, mode: int = 0o444) -> Mirror:
    """Another store that has the model's one file."""
    blob = folder / "blobs" / "sha256" / DIGEST
    blob.parent.mkdir(parents=True)
    blob.write_bytes(DATA)
    blob.chmod(mode)
    return mirror_at("nfs", folder.as_uri())


def test_what_is_shared_with_a_folder_needs_no_room(hub, sync, tmpfs):
    full = tmpfs("size=400k")
    mirror = folder_mirror(full / "other")
    for options in ({}, {"fallback": False}, {"offline": True}):
        run = sync(mirror, folder=full / f"cache{len(options)}", **options)
        run.assert_installed()
    assert (full / "cache0" / "blobs" / "sha256" / DIGEST).stat().st_nlink > 2
    assert hub.requests == []


@pytest.mark.parametrize("place", ["here", "elsewhere"])
def test_what_is_copied_out_of_a_folder_needs_room(hub, sync, tmpfs, tmp_path, place):
    full = tmpfs("size=400k")
    if place == "here":
        # Whoever may write into it would write into the store.
        mirror = folder_mirror(full / "other", mode=0o644)
    else:
        mirror = folder_mirror(tmp_path / "other")
        (full / "ballast").write_bytes(bytes(300_000))
    with pytest.raises(DiskSpaceError, match=r"300\.0 kB are still to fetch, which needs 300\.0 kB free in"):
        sync(mirror, folder=full / "cache")


def test_whom_a_network_lies_before_may_need_room(hub, rack, racks, sync, tmpfs, tmp_path):
    full = tmpfs("size=400k")
    mirror = folder_mirror(full / "other")
    missing = mirror_at("away", (tmp_path / "away").as_uri())
    with pytest.raises(DiskSpaceError):
        sync(rack.mirror(), mirror, folder=full / "cache")
    assert rack.ranges() == []
    sync(missing, mirror, folder=full / "cache").assert_installed()


# Several errors at once


TWO = '[models.a]\nrepo = "acme/a"\n[models.b]\nrepo = "acme/b"\n'


def test_of_several_errors_each_is_told_and_the_gravest_counts(hub, manifest, vcm):
    for name in "ab":
        hub.add_repo(f"acme/{name}", {"model.safetensors": name.encode() * 100})
    manifest(TWO)
    assert vcm("lock").code == 0
    hub.fail(Fault(path="/acme/a/resolve/*", origin="hub", status=403, times=None))
    hub.fail(Fault(path="*", origin="cdn", corrupt=True, times=None))
    done = vcm("-q", "sync")
    assert done.code == 4, "wrong bytes matter more than who may not read"
    lines = done.err.splitlines()
    assert [line.partition("/")[0] for line in lines[::2]] == ["error: a", "error: b"]
    assert lines[1] == "hint: set HF_TOKEN to a token that may read it"
    assert lines[3].startswith("hint: ")
    assert lines[3] != lines[1]
    document = json.loads(vcm("sync", "--json").out)
    assert [each["error"]["code"] for each in document["models"]] == ["AUTHENTICATION_ERROR", "CHECKSUM_MISMATCH"]
    assert document["error"] == document["models"][1]["error"]


def test_of_several_models_that_cannot_be_locked_each_is_told(hub, manifest, vcm):
    hub.add_repo("acme/b", {"model.bin": b"pickled"})
    manifest(TWO)
    done = vcm("lock", "--json")
    document = json.loads(done.out)
    assert done.code == 3
    assert [(each["model"], each["code"]) for each in document["errors"]] == [("a", "NOT_FOUND"), ("b", "CONFIG_ERROR")]
    assert document["error"] == document["errors"][0]
    assert done.err.count("hint: ") == 2


def test_of_one_models_files_the_gravest_error_is_told(hub, sync):
    files = {"a.json": b"{}", "b.json": b"[]", "c.safetensors": b"c" * 100}
    model = locked(hub.add_repo("acme/two", files).head(), files)
    model = replace(model, repo="acme/two")
    hub.fail(Fault(path="*/a.json", status=403, times=None))
    hub.fail(Fault(path="*", origin="cdn", corrupt=True, times=None))
    assert sync(of=model).result.error.error_code == "CHECKSUM_MISMATCH"


# What a dry run says of what nobody can give


def test_a_dry_run_tells_what_nobody_can_give(project_with, vcm, monkeypatch, tmp_path):
    project_with()
    asks = "Would fetch 300.0 kB for 1 model\n"
    lacks = (
        "Would fetch 0 B of 300.0 kB for 1 model: nobody can give the rest\n"
        " install m: fetch 300.0 kB, reuse 0 B\n    300.0 kB  model.safetensors  lacking\n"
    )
    assert vcm("sync", "--dry-run", "--no-origin").out.startswith(asks), "the mirror may have it"
    offline = vcm("--offline", "sync", "--dry-run")
    assert (offline.code, offline.out) == (1, lacks)
    assert offline.err == (
        "error: m/model.safetensors: not in the store, and this run is offline (300.0 kB)\n"
        "hint: run vcm sync where the hub can be reached, or vcm sync --from with a bundle or folder that has it\n"
    )
    monkeypatch.setenv("VCM_MIRRORS", f"nfs={folder_mirror(tmp_path / 'nfs').url}")
    for options in (("--offline", "sync", "--dry-run"), ("sync", "--dry-run", "--no-origin")):
        done = vcm(*options)
        assert (done.code, done.err) == (0, "")
        assert done.out.startswith(f"{asks} of which up to 300.0 kB are in mirrors that are folders\n")
    (tmp_path / "nfs" / "blobs" / "sha256" / DIGEST).unlink()
    done = vcm("sync", "--dry-run", "--no-origin", "--json")
    document = json.loads(done.out)
    assert (done.code, document["error"]["code"], document["bytes_lacking"]) == (1, "NOT_INSTALLED", len(DATA))
    assert vcm("sync", "--dry-run").out.startswith(asks), "the hub may have it"


def test_a_dry_run_forgives_what_is_optional(project_with, vcm):
    project_with(text=TEXT + "optional = true\n")
    done = vcm("--offline", "sync", "--dry-run")
    assert done.code == 0
    assert done.err.endswith("hint: it is optional, so this is no failure\n")
