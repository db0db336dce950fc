"""A repair that fails loses nothing that was whole."""

from __future__ import annotations

import json
import shutil

import pytest


def test_what_was_whole_in_a_snapshot_that_cannot_be_repaired_is_not_fetched_again(hub, manifest, vcm, cache):
    hub.add_repo("acme/m", {"config.json": b"{}", "model.safetensors": b"w" * 100_000})
    manifest('[models.m]\nrepo = "acme/m"\n')
    assert vcm("sync").code == 0
    shutil.rmtree(cache / "blobs")
    (snapshot,) = (cache / "snapshots").iterdir()
    (snapshot / "config.json").chmod(0o644)
    (snapshot / "config.json").write_bytes(b"[]")
    assert vcm("sync", "--offline").code != 0
    assert not snapshot.exists()
    hub.clear_requests()
    assert vcm("sync").code == 0
    assert (snapshot / "model.safetensors").read_bytes() == b"w" * 100_000
    assert not [request for request in hub.requests if "model.safetensors" in request.path]


@pytest.mark.parametrize("row", [[], {}, [1], None, "x"])
def test_a_damaged_record_of_another_snapshot_is_in_the_way_of_no_repair(hub, manifest, vcm, cache, row):
    hub.add_repo("acme/m", {"config.json": b"{}", "other.json": b"[]"})
    manifest('[models.m]\nrepo = "acme/m"\n')
    assert vcm("sync").code == 0
    (snapshot,) = (cache / "snapshots").iterdir()
    (snapshot / "config.json").chmod(0o644)
    (snapshot / "config.json").write_bytes(b"[]")
    (cache / "verified" / f"{'0' * 64}.json").write_text(json.dumps({"config.json": row}))
    assert vcm("verify", "--repair").code == 0
    assert (snapshot / "config.json").read_bytes() == b"{}"
