"""Every command on a good day: its whole output, on both channels."""

# ruff: noqa: PLR0917  (pytest hands fixtures over by name)
from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from vcm import __version__
from vcm.store.store import Store

COMMIT = "1234567890" * 4
DIGESTS = {
    "README.md": "1a0b37ad7ecce5b5dd7f7ff6bd1e8d7a8b2bb7e7b7a1c2f3f8b2c4c1d2a7d3c1",
    "config.json": "ca3d163bab055381827226140568f3bef7eaac187cebd76878e0b63e9e442356",
    "model.safetensors": "c8f5d0341d54d951a71b136e6e2afcb14d11ed8489a7ae126a8fee0df6ecf193",
}
INSTALLED = "Installed 1 model: 4.1 kB fetched, 12 B reused\n + frames  123456789012  installed\n"
NOTHING = "Nothing to do: 1 model installed, no network used\n"
COMMANDS = ["init", "add", "remove", "lock", "sync", "check", "verify", "list", "show", "path", "diff", "cache"]


@pytest.fixture
def tree(synced):
    """The tree digest of the model that is installed."""
    from vcm.core.lock import parse_lock

    return parse_lock(synced.read_bytes()).models[0].tree_digest


def test_init(project, vcm, plain):
    result = vcm("init")
    assert (result.code, plain(result.out), result.err) == (0, "Made TMP/project/models.toml\n", "")
    text = (project / "models.toml").read_text()
    assert text.startswith('[project]\nname = "project"\n')
    again = vcm("init")
    assert (again.code, again.out, plain(again.err)) == (
        2,
        "",
        "error: TMP/project/models.toml exists already\nhint: add a model with vcm add NAME REPO\n",
    )
    assert (project / "models.toml").read_text() == text


def test_init_elsewhere(tmp_path, project, vcm, plain):
    (tmp_path / "other").mkdir()
    result = vcm("--project", tmp_path / "other", "init")
    assert (result.code, plain(result.out), result.err) == (0, "Made TMP/other/models.toml\n", "")
    result = vcm("init", "--project", tmp_path / "none")
    assert (result.code, result.out, plain(result.err)) == (
        2,
        "",
        "error: TMP/none: no such folder\nhint: make it first, or name another with --project\n",
    )


ADDED = "Locked 1 model, 4.1 kB (small files: 2 fetched)\n + frames  acme/frames  {release}  3 files, 4.1 kB\n"


@pytest.mark.parametrize(
    ("reference", "release", "keys"),
    [
        ("acme/frames", "123456789012", ""),
        ("acme/frames@main", "main 123456789012", 'revision = "main"\n'),
        ("acme/frames@v1.2", "v1.2 123456789012", 'revision = "v1.2"\n'),
        (f"acme/frames@{COMMIT}", "123456789012", f'revision = "{COMMIT}"\n'),
        ("acme/frames~=1.0", "1.2 123456789012", 'version = "~=1.0"\n'),
        ("acme/frames >=1,<2", "1.2 123456789012", 'version = ">=1,<2"\n'),
    ],
)
def test_add(reference, release, keys, manifest, project, vcm, frames):
    manifest("# mine\n")
    result = vcm("add", "frames", reference)
    assert (result.code, result.out, result.err) == (
        0,
        ADDED.format(release=release) + INSTALLED.replace("123456789012", release),
        "fetching 1 file, 4.1 kB\n",
    )
    text = (project / "models.toml").read_text()
    assert text.rstrip("\n") == f'# mine\n\n[models.frames]\nrepo = "acme/frames"\n{keys}'.rstrip("\n")
    assert vcm("check").out == "1 model locked and installed, unchanged\n"


def test_add_with_everything(manifest, project, hub, vcm, cache):
    hub.add_repo("acme/many", {"a.onnx": b"a", "fp16/b.onnx": b"b", "c.bin": b"c", "d.json": b"{}"}, commit=COMMIT)
    manifest("")
    result = vcm(
        "add", "many", "acme/many", "--include", "*.onnx", "--include", "*.bin", "--exclude", "fp16/**",
        "--group", "audio", "--group", "video", "--optional", "--allow-pickle", "--no-sync",
    )  # fmt: skip
    assert (result.code, result.out, result.err) == (
        0,
        "Locked 1 model, 2 B\n + many  acme/many  123456789012  2 files, 2 B\n",
        "",
    )
    assert (project / "models.toml").read_text().strip() == (
        '[models.many]\nrepo = "acme/many"\ninclude = ["*.onnx", "*.bin"]\nexclude = ["fp16/**"]\n'
        'groups = ["audio", "video"]\noptional = true\nallow-pickle = true'
    )
    assert not (cache / "snapshots").exists()
    assert vcm("sync").out == "Nothing to do: 0 models installed, no network used\n"
    assert vcm("sync", "--group", "video").out == "Installed 1 model: 2 B fetched\n + many  123456789012  installed\n"


def test_add_installs_a_model_of_a_group_that_was_just_asked_for(manifest, vcm, frames):
    manifest("")
    assert (
        vcm("add", "frames", "acme/frames", "--group", "audio").out == ADDED.format(release="123456789012") + INSTALLED
    )


def test_add_a_file(manifest, project, hub, vcm, plain):
    url = hub.add_file("profanity.onnx", b"p" * 50)
    manifest("")
    result = vcm("add", "profanity", url)
    assert (result.code, plain(result.out), result.err) == (
        0,
        (
            "Locked 1 model, 50 B\n + profanity  CDN/files/profanity.onnx  -  1 file, 50 B\n"
            "Installed 1 model: 0 B fetched, 50 B reused\n + profanity  -  installed\n"
        ),
        "",
    )
    assert plain((project / "models.toml").read_text()).strip() == (
        '[models.profanity]\nurl = "CDN/files/profanity.onnx"'
    )
    assert Path(vcm("path", "profanity", "profanity.onnx").out.strip()).read_bytes() == b"p" * 50


def test_add_json(manifest, vcm, frames):
    manifest("")
    document = json.loads(vcm("add", "frames", "acme/frames", "--json").out)
    assert list(document) == ["models", "bytes_fetched", "bytes_reused"]
    assert document["models"][0]["status"] == "installed"
    assert next(iter(json.loads(vcm("remove", "frames", "--json").out))) == "changed"


def test_add_says_what_was_left_out(manifest, hub, vcm):
    hub.add_repo("acme/twice", {"a.safetensors": b"a" * 10, "a.onnx": b"b" * 1000, "a.bin": b"c" * 500}, commit=COMMIT)
    manifest("")
    result = vcm("add", "twice", "acme/twice", "-q")
    assert (result.code, result.err) == (
        0,
        "note: twice: took the weights in safetensors; left out onnx and pytorch, which saves 1.5 kB\n",
    )


REMOVABLE = """\
# The models of this program.   (two blanks)

[models.frames]  # the first
repo = "acme/frames"

# about the other
[models."other"]
repo   =   'acme/frames'
revision = "main"

# about the hub
[cache]
disk-headroom = 1.5
"""


def test_remove(manifest, project, vcm, frames, hub, cache):
    manifest(REMOVABLE)
    assert vcm("sync").code == 0
    hub.clear_requests()
    result = vcm("remove", "other")
    assert (result.code, result.out, result.err) == (
        0,
        "Locked 1 model, 4.1 kB\n - other  acme/frames  main 123456789012  3 files, 4.1 kB\n",
        "",
    )
    assert (project / "models.toml").read_text() == REMOVABLE.replace(
        '[models."other"]\nrepo   =   \'acme/frames\'\nrevision = "main"\n', ""
    )
    assert hub.requests == []
    assert len(list((cache / "snapshots").iterdir())) == 1
    assert vcm("sync").out == NOTHING


def test_lock(wants_frames, vcm, frames, hub, project, cache):
    dry = vcm("lock", "--dry-run")
    assert (dry.code, dry.out, dry.err) == (
        0,
        "Would lock 1 model, 4.1 kB (small files: 2 fetched)\n + frames  acme/frames  123456789012  3 files, 4.1 kB\n",
        "",
    )
    assert not (project / "models.lock").exists()
    first = vcm("lock")
    locked = ADDED.format(release="123456789012").replace("2 fetched", "2 already here")
    assert (first.code, first.out, first.err) == (0, locked, "")
    text = (project / "models.lock").read_bytes()
    hub.clear_requests()
    again = vcm("lock")
    assert (again.code, again.out, again.err) == (0, "models.lock is up to date (1 model, no network used)\n", "")
    assert hub.requests == []
    frames.commit({"model.safetensors": b"new"}, commit="abcdef0123" * 4)
    assert vcm("lock").out == again.out
    upgraded = vcm("lock", "--upgrade", "--dry-run")
    assert (upgraded.code, upgraded.out) == (
        0,
        "Would lock 1 model, 15 B\n ~ frames  acme/frames  123456789012 → abcdef0123ab  3 files, 15 B\n",
    )
    assert (project / "models.lock").read_bytes() == text
    result = vcm("lock", "--upgrade-model", "frames")
    assert (result.code, result.out) == (0, upgraded.out.replace("Would lock", "Locked"))
    assert vcm("lock", "--upgrade").out == "models.lock is up to date (1 model)\n"
    assert not (cache / "snapshots").exists()


def test_lock_json(wants_frames, vcm):
    document = json.loads(vcm("lock", "--json").out)
    assert document == {
        "changed": True,
        "small_files_fetched": 2,
        "small_files_reused": 0,
        "models": [
            {
                "name": "frames",
                "version": None,
                "commit": COMMIT,
                "status": "added",
                "via": None,
                "tree_digest": document["models"][0]["tree_digest"],
                "size": 4108,
                "files": 3,
            }
        ],
    }
    again = json.loads(vcm("lock", "--json").out)
    assert (again["changed"], again["models"][0]["status"]) == (False, "unchanged")


def test_lock_check(wants_frames, vcm, manifest, hub, project):
    missing = vcm("lock", "--check")
    assert (missing.code, missing.out) == (1, "")
    assert missing.err.endswith("/project\nhint: run vcm lock\n")
    vcm("lock")
    hub.clear_requests()
    good = vcm("lock", "--check")
    assert (good.code, good.out, good.err) == (0, "models.lock fits models.toml (1 model)\n", "")
    assert json.loads(vcm("lock", "--check", "--json").out) == {
        "ok": True,
        "models": [{"name": "frames", "version": None, "commit": COMMIT}],
    }
    manifest('# moved\n[models.frames]\nrepo = "acme/frames"\n')
    assert vcm("lock", "--check").code == 0
    manifest('[models.frames]\nrepo = "acme/frames"\nrevision = "main"\n[models.x]\nrepo = "acme/x"\n')
    stale = vcm("lock", "--check")
    assert (stale.code, stale.out, stale.err) == (
        1,
        "",
        "error: models.lock does not fit models.toml: x not locked yet\nhint: run vcm lock\n",
    )
    assert json.loads(vcm("lock", "--check", "--json").out)["error"]["code"] == "LOCK_OUTDATED"
    assert hub.requests == []


def test_sync(wants_frames, vcm, hub):
    first = vcm("sync")
    assert (first.code, first.out, first.err) == (
        0,
        ADDED.format(release="123456789012") + INSTALLED,
        "fetching 1 file, 4.1 kB\n",
    )
    hub.clear_requests()
    for extra in ([], ["--locked"], ["--frozen"], ["--offline"], ["--all-groups"]):
        again = vcm("sync", *extra)
        assert (again.code, again.out, again.err) == (0, NOTHING, "")
    dry = vcm("sync", "--dry-run")
    assert (dry.code, dry.out, dry.err) == (0, "Nothing to do: 1 model installed\n", "")
    assert hub.requests == []


def test_sync_dry_run(wants_frames, project, cache, vcm):
    locking = vcm("sync", "--dry-run")
    assert locking.code == 0
    assert locking.out.startswith("Would lock 1 model, 4.1 kB (small files: 2 fetched)\n")
    assert not (project / "models.lock").exists()
    vcm("lock")
    dry = vcm("sync", "--dry-run")
    assert (dry.code, dry.out, dry.err) == (
        0,
        "Would fetch 4.1 kB for 1 model\n install frames: fetch 4.1 kB, reuse 12 B\n      4.1 kB  model.safetensors\n",
        "",
    )
    assert json.loads(vcm("sync", "--dry-run", "--json").out) == {
        "models": [
            {
                "name": "frames",
                "version": None,
                "commit": COMMIT,
                "status": "missing",
                "bytes_to_fetch": 4096,
                "bytes_to_reuse": 12,
                "files": [{"path": "model.safetensors", "size": 4096, "sha256": DIGESTS["model.safetensors"]}],
            }
        ],
        "bytes_to_fetch": 4096,
        "bytes_lacking": 0,
        "bytes_supplied": {"store": 0, "hub_cache": 0, "bundles": 0, "folders": 0, "partial": 0, "mirrors": 0},
    }
    assert not (cache / "snapshots").exists()


def test_sync_json(locked, vcm, cache, hub):
    result = vcm("sync", "--json")
    document = json.loads(result.out)
    (path,) = (cache / "snapshots").iterdir()
    model = {"name": "frames", "version": None, "commit": COMMIT, "path": str(path)}
    assert document == {
        "models": [{**model, "status": "installed", "bytes_fetched": 4096, "bytes_reused": 12}],
        "bytes_fetched": 4096,
        "bytes_reused": 12,
    }
    hub.clear_requests()
    assert json.loads(vcm("sync", "--json").out) == {
        "models": [{**model, "status": "present", "bytes_fetched": 0, "bytes_reused": 0}],
        "bytes_fetched": 0,
        "bytes_reused": 0,
    }
    assert hub.requests == []


def test_sync_locked(wants_frames, vcm, hub, project):
    result = vcm("sync", "--locked")
    assert (result.code, result.out) == (1, "")
    assert result.err.endswith("/project\nhint: run vcm lock\n")
    vcm("lock")
    assert vcm("sync", "--locked").out == INSTALLED


def test_sync_frozen_does_not_look_at_the_manifest(locked, project, vcm):
    (project / "models.toml").unlink()
    result = vcm("sync", "--frozen")
    assert (result.code, result.out) == (0, INSTALLED)


def test_sync_frozen_refuses_a_group_that_it_cannot_know(locked, vcm):
    # The lock knows no groups: to ignore the wish would install something else than was asked for.
    result = vcm("sync", "--frozen", "--group", "audio")
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith("error: ")


def test_sync_from_a_folder(locked, tmp_path, vcm, hub):
    stick = tmp_path / "stick" / "deep"
    stick.mkdir(parents=True)
    (stick / "wrong.safetensors").write_bytes(b"x" * 4096)
    (stick / "named-otherwise.bin").write_bytes(bytes(range(256)) * 16)
    result = vcm("sync", "--from", tmp_path / "stick", "--offline")
    assert (result.code, result.out, result.err) == (
        0,
        "Installed 1 model: 0 B fetched, 4.1 kB reused\n + frames  123456789012  installed\n",
        "taking 1 file from this machine, 4.1 kB\n",
    )
    assert hub.requests == []
    assert vcm("verify").code == 0


def test_groups(manifest, hub, vcm):
    for name in ("base", "audio", "video"):
        hub.add_repo(f"acme/{name}", {"config.json": name.encode()}, commit=COMMIT)
    manifest(
        '[models.audio]\nrepo = "acme/audio"\ngroups = ["audio"]\n[models.base]\nrepo = "acme/base"\n'
        '[models.video]\nrepo = "acme/video"\ngroups = ["video", "media"]\n'
    )
    vcm("lock")
    assert vcm("sync").out == "Installed 1 model: 0 B fetched, 4 B reused\n + base  123456789012  installed\n"
    assert vcm("check").out == "1 model locked and installed, unchanged\n"
    missing = vcm("check", "--group", "media")
    assert (missing.code, missing.out, missing.err) == (
        1,
        "",
        "error: video: not installed\nhint: run vcm sync --group video\n",
    )
    assert vcm("sync", "--group", "media").out.endswith(" + video  123456789012  installed\n")
    assert vcm("sync", "--all-groups").out.endswith(" + audio  123456789012  installed\n")
    assert vcm("check", "--all-groups").out == "3 models locked and installed, unchanged\n"


def test_optional(manifest, hub, vcm, frames):
    manifest('[models.frames]\nrepo = "acme/frames"\n[models.other]\nrepo = "acme/other"\noptional = true\n')
    hub.add_repo("acme/other", {"o.onnx": b"o"}, commit=COMMIT)
    vcm("lock")
    hub.remove("acme/other")
    result = vcm("sync")
    assert (result.code, result.out, result.err) == (
        0,
        INSTALLED + " ! other  123456789012  failed\n",
        (
            "fetching 2 files, 4.1 kB\n"
            "error: other/o.onnx: acme/other at 123456789012: no such repo, or it is private\n"
            "hint: it is optional, so this is no failure\n"
        ),
    )
    check = vcm("check")
    assert (check.code, check.out, check.err) == (
        0,
        "1 model locked and installed, unchanged; optional and not installed: other\n",
        "",
    )


def test_check(synced, vcm, cache, hub, tree):
    good = vcm("check")
    assert (good.code, good.out, good.err) == (0, "1 model locked and installed, unchanged\n", "")
    model: dict[str, Any] = {
        "name": "frames",
        "version": None,
        "commit": COMMIT,
        "path": str(cache / "snapshots" / tree),
        "status": "installed",
        "optional": False,
        "findings": [],
    }
    assert json.loads(vcm("check", "--json").out) == {"ok": True, "models": [model]}
    target = cache / "snapshots" / tree / "model.safetensors"
    target.unlink()
    (cache / "snapshots" / tree / "extra").write_bytes(b"")
    bad = vcm("check")
    assert (bad.code, bad.out, bad.err) == (
        1,
        "",
        (
            "error: frames: not what is locked: extra: does not belong there; model.safetensors: missing\n"
            "hint: run vcm verify --repair\n"
        ),
    )
    document = json.loads(vcm("check", "--json").out)
    assert document == {
        "ok": False,
        "models": [
            {
                **model,
                "status": "damaged",
                "findings": [
                    {"kind": "extra", "path": "extra", "expected": "", "actual": ""},
                    {"kind": "missing", "path": "model.safetensors", "expected": "", "actual": ""},
                ],
            }
        ],
        "error": {
            "code": "CHECKSUM_MISMATCH",
            "message": "frames: not what is locked: extra: does not belong there; model.safetensors: missing",
            "hint": "run vcm verify --repair",
            "model": "frames",
            "retry_after": None,
        },
    }
    assert hub.requests == []


def test_verify_and_repair(synced, vcm, cache, hub, tree):
    good = vcm("verify")
    assert (good.code, good.out, good.err) == (
        0,
        "1 model locked and installed, every byte verified\n",
        "verifying 1 model, 4.1 kB\n",
    )
    assert hub.requests == []
    target = cache / "snapshots" / tree / "model.safetensors"
    target.chmod(0o644)
    target.write_bytes(b"x" + bytes(range(256))[1:] + bytes(range(256)) * 15)
    bad = vcm("verify")
    assert (bad.code, bad.out) == (4, "")
    assert bad.err.startswith(
        "verifying 1 model, 4.1 kB\nerror: frames: not what is locked: model.safetensors: expected "
        f"sha256:{DIGESTS['model.safetensors']}, found sha256:"
    )
    assert bad.err.endswith("\nhint: run vcm verify --repair\n")
    assert hub.requests == []
    repaired = vcm("verify", "--repair")
    assert repaired.code == 0
    assert repaired.out == "Installed 1 model: 4.1 kB fetched, 12 B reused\n ~ frames  123456789012  repaired\n"
    assert vcm("verify").code == 0
    assert vcm("verify", "--repair", "--json").code == 0


def test_verify_of_what_is_not_installed(locked, vcm):
    result = vcm("verify")
    assert (result.code, result.out, result.err) == (
        1,
        "",
        "verifying 1 model, 4.1 kB\nerror: frames: not installed\nhint: run vcm sync\n",
    )


def test_list(locked, manifest, hub, vcm, plain, cache):
    before = vcm("list")
    assert (before.code, before.out, before.err) == (
        0,
        "NAME    SOURCE       LOCKED        SIZE    STATE\nframes  acme/frames  123456789012  4.1 kB  missing\n",
        "",
    )
    vcm("sync")
    assert vcm("list").out == before.out.replace("missing", "installed")
    (path,) = (cache / "snapshots").iterdir()
    assert json.loads(vcm("list", "--json").out) == {
        "models": [
            {
                "name": "frames",
                "version": None,
                "commit": COMMIT,
                "source": "huggingface",
                "repo": "acme/frames",
                "url": None,
                "size": 4108,
                "files": 3,
                "path": str(path),
                "status": "installed",
            }
        ]
    }
    (path / "config.json").unlink()
    assert vcm("list").out == before.out.replace("missing", "damaged")


def test_show(synced, vcm, plain, tree):
    result = vcm("show", "frames")
    assert (result.code, result.err) == (0, "")
    lines = plain(result.out).splitlines()
    assert lines[:10] == [
        "name         frames",
        "source       huggingface",
        "repo         acme/frames",
        "repo-id      550572d68ddc4f324b8d95bd",
        f"commit       {COMMIT}",
        "format       safetensors",
        "type         image-classification",
        "license      mit",
        f"tree-digest  {tree}",
        "size         4.1 kB (4108 bytes)",
    ]
    (entry,) = Store(Path(os.environ["VCM_CACHE_DIR"])).layout.entries()
    assert lines[10:15] == [
        f"path         TMP/cache/snapshots/{tree}",
        "status       installed",
        f"oci-name     acme/frames:{COMMIT[:12]}-{entry.digest[:12]}",
        f"oci-digest   sha256:{entry.digest}",
        "files",
    ]
    assert [line.split()[0] for line in lines[15:]] == ["9", "3", "4096"]
    assert [line.split()[2] for line in lines[15:]] == ["README.md", "config.json", "model.safetensors"]
    assert lines[17].split()[1] == DIGESTS["model.safetensors"]
    document = json.loads(vcm("show", "frames", "--json").out)
    assert list(document) == [
        "name", "source", "repo", "repo_id", "commit", "format", "type", "license", "tree_digest", "size", "path",
        "status", "oci_name", "oci_digest", "files",
    ]  # fmt: skip
    assert document["files"][2] == {
        "path": "model.safetensors",
        "size": 4096,
        "sha256": DIGESTS["model.safetensors"],
    }
    assert sorted(document["files"][0]) == ["oid", "path", "sha256", "size"]


def test_path(synced, vcm, plain, tree):
    result = vcm("path", "frames")
    assert (result.code, plain(result.out), result.err) == (0, f"TMP/cache/snapshots/{tree}\n", "")
    result = vcm("path", "frames", "config.json")
    assert (result.code, plain(result.out), result.err) == (0, f"TMP/cache/snapshots/{tree}/config.json\n", "")
    result = vcm("path", "frames", "confg.json")
    assert (result.code, result.out, result.err) == (
        2,
        "",
        'error: frames has no file "confg.json", did you mean "config.json"?\nhint: vcm show frames lists its files\n',
    )
    result = vcm("path", "frame")
    assert (result.code, result.out, result.err) == (
        2,
        "",
        'error: no model "frame" in models.toml, did you mean "frames"?\nhint: models of this project: frames\n',
    )


def test_path_of_what_is_not_installed(locked, vcm):
    result = vcm("path", "frames")
    assert (result.code, result.out, result.err) == (1, "", "error: frames: not installed\nhint: run vcm sync\n")


def test_the_projects_own_options_before_and_behind(locked, tmp_path, project, vcm, monkeypatch):
    monkeypatch.chdir(tmp_path)
    missing = vcm("check")
    assert missing.code == 2
    for arguments in (
        ["--project", project, "--cache-dir", tmp_path / "other", "-q", "sync"],
        ["sync", "--project", project, "--cache-dir", tmp_path / "other", "-q"],
        [f"--project={project}", "sync", "--quiet", f"--cache-dir={tmp_path / 'other'}"],
    ):
        result = vcm(*arguments)
        assert (result.code, result.err) == (0, "")
    assert (tmp_path / "other" / "snapshots").is_dir()
    assert not (tmp_path / "cache" / "snapshots").exists()
    assert vcm("check", "--project", project).code == 1
    monkeypatch.setenv("VCM_PROJECT", str(project))
    monkeypatch.setenv("VCM_CACHE_DIR", str(tmp_path / "other"))
    assert vcm("check").code == 0


def test_a_subfolder_belongs_to_its_project(synced, project, vcm, monkeypatch):
    (project / "a" / "b").mkdir(parents=True)
    monkeypatch.chdir(project / "a" / "b")
    assert vcm("check").code == 0
    assert vcm("sync", "--frozen").out == NOTHING


def test_quiet_is_only_about_progress(locked, vcm):
    result = vcm("-q", "sync")
    assert (result.code, result.out, result.err) == (0, INSTALLED, "")
    result = vcm("path", "x", "-q")
    assert (result.code, result.err.startswith("error: ")) == (2, True)


RED, CYAN, OFF = "\033[1;31m", "\033[1;36m", "\033[0m"
COLORED = f"{RED}error{OFF}: no models.lock in TMP/project\n{CYAN}hint{OFF}: run vcm lock\n"
PLAIN = "error: no models.lock in TMP/project\nhint: run vcm lock\n"


def test_colors(wants_frames, vcm, plain, monkeypatch):
    assert plain(vcm("check").err) == PLAIN
    assert plain(vcm("check", "--color", "always").err) == COLORED
    assert plain(vcm("--color=always", "check").err) == COLORED
    monkeypatch.setenv("NO_COLOR", "1")
    assert plain(vcm("check", "--color", "always").err) == COLORED
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    result = vcm("check", "--color", "never")
    assert plain(result.err) == PLAIN
    bad = vcm("check", "--color", "blue")
    assert (bad.code, bad.out) == (2, "")
    assert "--color: allowed are auto, always and never" in bad.err


def test_colors_of_a_terminal(wants_frames, project, plain):
    import pty

    def said(environment: dict[str, str]) -> Any:
        primary, secondary = pty.openpty()
        with os.fdopen(secondary, "wb") as terminal:
            process = subprocess.Popen(
                [sys.executable, "-m", "vcm", "check"], stdout=subprocess.DEVNULL, stderr=terminal, env=environment
            )
            assert process.wait(timeout=20) == 1
        with os.fdopen(primary, "rb", buffering=0) as reading:
            return plain(reading.read(4096).decode().replace("\r\n", "\n"))

    assert said(os.environ | {"TERM": "xterm"}) == COLORED
    assert said(os.environ | {"TERM": "xterm", "NO_COLOR": "1"}) == PLAIN


def test_a_traceback_only_when_asked_for(wants_frames, hub, vcm):
    hub.remove("acme/frames")
    expected = (
        "error: frames: acme/frames: no such repo, or it is private\n"
        "hint: check the spelling; for a private repo set HF_TOKEN\n"
    )
    for arguments in (["lock"], ["-v", "lock"]):
        result = vcm(*arguments)
        assert (result.code, result.out, result.err) == (3, "", expected)
    for arguments in (["-vv", "lock"], ["lock", "-v", "-v"], ["lock", "-vv", "--json"]):
        result = vcm(*arguments)
        assert result.code == 3
        assert result.err.startswith("Traceback (most recent call last):\n")
        assert result.err.endswith(expected)
    assert json.loads(result.out)["error"]["code"] == "NOT_FOUND"


@pytest.mark.parametrize("command", COMMANDS)
def test_help(command, vcm):
    for option in ("--help", "-h"):
        result = vcm(command, option)
        assert (result.code, result.err) == (0, "")
        assert result.out.startswith(f"Usage: vcm {command} ")
        assert "<" not in result.out, "what an option takes is said in a word"


def test_help_of_all(vcm, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    result = vcm("--help")
    assert "...\n" not in result.out.partition("\n")[2], "every command is told in one line"
    assert (result.code, result.err) == (0, "")
    assert [name for name in COMMANDS if f"\n  {name} " not in result.out] == []
    assert vcm().code in (0, 2)


def test_version(vcm):
    result = vcm("--version")
    assert (result.code, result.out, result.err) == (0, f"vcm {__version__}\n", "")


@pytest.mark.parametrize("arguments", [["lokc"], ["lock", "--chek"], ["add", "frames"], ["sync", "--group"]])
def test_usage(arguments, project, vcm):
    result = vcm(*arguments)
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith(("Usage: vcm ", "Error: "))


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        (["sync", "--json", "--bogus"], "No such option: --bogus", "see vcm sync --help"),
        (["show", "--json"], "Missing argument 'NAME'", "see vcm show --help"),
        (["zzz", "--json"], "No such command 'zzz'", "see vcm --help"),
        (["list", "--json", "--color", "blue"], None, None),
    ],
)
def test_usage_in_json(arguments, message, hint, project, vcm, error_of):
    result = vcm(*arguments)
    assert result.code == 2
    error = error_of(result.out)
    assert error["code"] == "CONFIG_ERROR"
    if message:
        assert (error["message"], error["hint"]) == (message, hint)
        assert result.err == f"error: {message}\nhint: {hint}\n"
    assert vcm("sync", "--json", "--help").code == 0
    assert json.loads(vcm("list", "--json").out)["error"]["code"] == "CONFIG_ERROR"


@pytest.mark.parametrize("buffering", [{}, {"PYTHONUNBUFFERED": "1"}])
@pytest.mark.parametrize("command", ["list", "--help"])
def test_a_reader_that_leaves_early(command, buffering, synced, project):
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    reading, writing = os.pipe()
    os.close(reading)
    try:
        result = subprocess.run(
            [sys.executable, "-m", "vcm", *command.split()],
            stdout=writing,
            stderr=subprocess.PIPE,
            text=True,
            timeout=20,
            check=False,
            env=environment | buffering,
        )
    finally:
        os.close(writing)
    assert (result.returncode, result.stderr) == (0, "")


def test_verbose_names_every_file_that_is_fetched(hub, vcm, manifest):
    hub.add_repo("acme/frames", {"model.onnx": b"weights", "config.json": b"{}"})
    manifest('[models.frames]\nrepo = "acme/frames"\n')
    assert vcm("sync", "-v").err == (
        "fetching frames/config.json, 2 B\nfetching 1 file, 7 B\nfetching frames/model.onnx, 7 B\n"
    )


def test_what_is_not_for_this_machine_is_skipped_and_said_so(hub, vcm, manifest):
    hub.add_repo("acme/frames", {"model.onnx": b"weights"})
    manifest(
        '[models.here]\nrepo = "acme/frames"\n'
        '[models.elsewhere]\nrepo = "acme/frames"\nmarker = "sys_platform == \'amiga\'"\n'
        '[models.later]\nrepo = "acme/frames"\ngroups = ["audio"]\n'
    )
    document = json.loads(vcm("sync", "--json").out)
    assert {model["name"]: model["status"] for model in document["models"]} == {
        "elsewhere": "skipped",
        "here": "installed",
        "later": "skipped",
    }
    assert vcm("sync").out == "Nothing to do: 1 model installed, no network used\n"


def test_a_sync_that_asked_the_hub_does_not_deny_it(synced, vcm, hub, project, cache):
    shutil.rmtree(cache / "hub-metadata")
    path = project / "models.toml"
    path.write_text(path.read_text() + "optional = true\n")
    assert vcm("sync").out.endswith("Nothing to do: 1 model installed\n")
    assert hub.requests
    assert vcm("sync").out == NOTHING


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("Bad", "acme/frames"), '"Bad": a model\'s name is made of'),
        (("x", "acme/frames~=9"), '"acme/frames~=9" names no model: a version is a PEP 440 specifier'),
    ],
)
def test_what_add_was_given_is_not_blamed_on_a_line_of_the_manifest(synced, vcm, words, message):
    result = vcm("add", *words)
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith(f"error: {message}")
    assert "\nhint: " in result.err


def test_a_repo_that_is_gone_is_called_so_also_when_it_was_locked(locked, vcm, hub, project, cache):
    hub.remove("acme/frames")
    shutil.rmtree(cache / "hub-metadata")
    path = project / "models.toml"
    path.write_text(path.read_text() + "optional = true\n")
    result = vcm("lock")
    assert result.code == 3
    assert result.err.startswith("error: frames: acme/frames: no such repo, or it is private\nhint: check the spelling")
    hub.add_repo("acme/mirror", {"model.safetensors": b"w"})
    path.write_text(path.read_text() + 'fallback = ["acme/mirror"]\n')
    assert vcm("lock").code == 0
