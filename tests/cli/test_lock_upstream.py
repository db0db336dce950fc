"""``vcm lock --check --upstream``: is what is locked still there, and still the same?"""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest

from tests.cli.conftest import COMMIT, FILES, WEIGHTS
from tests.conftest import TOKEN
from vcm.testing import Fault, SimulatedRepo
from vcm.testing.content import store

CHECK = ("lock", "--check", "--upstream")
FITS = "models.lock fits models.toml, and upstream is as it was locked (1 model)\n"
WRONG = "1 of 1 model not as locked any more\n"


@pytest.fixture
def by_tag(manifest, frames, vcm, hub):
    manifest('[models.frames]\nrepo = "acme/frames"\nrevision = "v1.2"\n')
    assert vcm("lock").code == 0
    hub.clear_requests()
    return frames


@pytest.fixture
def findings(vcm):
    """The findings of the one model, as (kind, path), and the exit code."""

    def look():
        result = vcm(*CHECK, "--json")
        document = json.loads(result.out)
        (model,) = document["models"]
        assert document["ok"] == (result.code == 0)
        return result.code, [(each["kind"], each.get("path")) for each in model["findings"]]

    return look


def rewrite(repo: SimulatedRepo, **files: bytes | None) -> None:
    """Give the locked commit other files, as no honest hub would; ``_`` stands for the dot."""
    commit = repo.commits[COMMIT]
    kept = dict(commit.files)
    for name, content in files.items():
        path = name.replace("_", ".")
        is_lfs = kept.pop(path).is_lfs
        if content is not None:
            kept[path] = store(content, is_lfs=is_lfs)
    repo.commits[COMMIT] = replace(commit, files=dict(sorted(kept.items())))


def test_all_is_as_it_was(by_tag, vcm, hub, project):
    before = (project / "models.lock").read_bytes()
    result = vcm(*CHECK)
    assert (result.code, result.out, result.err) == (0, FITS, "")
    assert [request.path for request in hub.requests] == [
        f"/api/models/acme/frames/revision/{COMMIT}",
        "/api/models/acme/frames/refs",
        f"/api/models/acme/frames/tree/{COMMIT}?recursive=true",
    ]
    assert (project / "models.lock").read_bytes() == before


def test_the_document(by_tag, vcm):
    assert json.loads(vcm(*CHECK, "--json").out) == {
        "ok": True,
        "models": [{"name": "frames", "version": None, "commit": COMMIT, "findings": []}],
    }


def test_no_old_answer_serves(locked, vcm, hub, frames):
    vcm(*CHECK)
    vcm("outdated")
    hub.clear_requests()
    assert vcm(*CHECK).code == 0
    assert [request.path for request in hub.requests] == [
        f"/api/models/acme/frames/revision/{COMMIT}",
        f"/api/models/acme/frames/tree/{COMMIT}?recursive=true",
    ]
    rewrite(frames, config_json=None)
    assert vcm(*CHECK).code == 1


def test_newer_commits_are_no_finding(by_tag, findings):
    by_tag.commit({"model.safetensors": b"newer"})
    assert findings() == (0, [])


def test_every_changed_and_missing_file_is_named(locked, vcm, frames):
    rewrite(frames, README_md=None, config_json=b"{12}", model_safetensors=WEIGHTS[::-1])
    result = vcm(*CHECK)
    assert (result.code, result.err) == (1, "")
    assert re.sub(r"[0-9a-f]{64}", "DIGEST", result.out) == (
        "! frames: README.md is not in the locked commit any more\n"
        "! frames: config.json has 4 bytes, locked are 3\n"
        "! frames: model.safetensors has\n"
        "  sha256:DIGEST,\n"
        "  locked is\n"
        "  sha256:DIGEST\n" + WRONG
    )
    (model,) = json.loads(vcm(*CHECK, "--json").out)["models"]
    assert model["findings"][0] == {
        "kind": "missing",
        "message": "README.md is not in the locked commit any more",
        "path": "README.md",
    }
    assert [each["kind"] for each in model["findings"]] == ["missing", "changed", "changed"]


def test_a_small_file_of_another_blob(locked, findings, frames):
    rewrite(frames, config_json=b"[]\n")
    assert findings() == (1, [("changed", "config.json")])


def test_a_moved_tag(by_tag, vcm):
    by_tag.commit({"config.json": b"{1}"}, commit="b" * 40)
    by_tag.tag("v1.2")
    result = vcm(*CHECK)
    assert (result.code, result.out) == (
        1,
        "! frames: the tag v1.2 of acme/frames points at bbbbbbbbbbbb now, not at the\n  locked 123456789012\n" + WRONG,
    )


def test_a_deleted_tag(by_tag, findings):
    by_tag.delete_tag("v1.2")
    assert findings() == (1, [("tag-moved", None)])


def test_a_rewritten_history_and_a_tag_moved_with_it(by_tag, findings):
    by_tag.commit({}, message="Super-squash")
    by_tag.tag("v1.2")
    by_tag.delete_commit(COMMIT)
    assert findings() == (1, [("tag-moved", None), ("commit-gone", None)])


def test_a_renamed_repo_is_only_a_note(by_tag, vcm, hub, findings):
    hub.rename("acme/frames", "other/frames")
    result = vcm(*CHECK)
    assert (result.code, result.out, result.err) == (
        0,
        "note: frames: acme/frames is called other/frames now\n" + FITS,
        "",
    )
    assert findings() == (0, [("renamed", None)])


def test_gone(by_tag, findings, hub):
    hub.remove("acme/frames")
    assert findings() == (1, [("gone", None)])


def test_disabled(by_tag, findings):
    by_tag.disabled = True
    assert findings() == (1, [("disabled", None)])


@pytest.mark.parametrize("commit", [COMMIT, "b" * 40])
def test_a_name_that_a_stranger_took_over(commit, by_tag, findings, hub):
    hub.remove("acme/frames")
    hub.add_repo("acme/frames", FILES, commit=commit, repo_id="f" * 24)
    assert findings() == (1, [("identity-changed", None)])


def test_gated_by_now_without_access(by_tag, vcm, plain):
    by_tag.gated = "manual"
    result = vcm(*CHECK)
    assert (result.code, result.out, plain(result.err)) == (
        3,
        "note: frames: acme/frames has been gated since it was locked (manual)\n",
        (
            "error: frames: acme/frames: the repo is gated, and access was not granted\n"
            "hint: accept its terms at HUB/acme/frames, then set HF_TOKEN to a token of that account\n"
        ),
    )


def test_gated_by_now_with_access(by_tag, hub, findings, monkeypatch):
    by_tag.gated = "manual"
    hub.grant(TOKEN, "acme/frames")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert findings() == (0, [("gated", None)])


def test_a_hub_that_cannot_be_asked(by_tag, vcm, hub, monkeypatch):
    hub.fail(Fault(status=400, times=None))
    result = vcm(*CHECK, "--json")
    document = json.loads(result.out)
    assert (result.code, document["ok"]) == (3, False)
    assert document["models"][0]["error"] == document["error"]
    assert result.err.startswith("error: frames: acme/frames at 1234567890")


def test_what_is_wrong_outweighs_what_is_not_known(manifest, frames, hub, vcm):
    hub.add_repo("acme/other", FILES)
    manifest('[models.frames]\nrepo = "acme/frames"\n[models.other]\nrepo = "acme/other"\n')
    assert vcm("lock").code == 0
    rewrite(frames, README_md=None)
    hub.fail(Fault(path="/api/models/acme/other/*", status=400, times=None))
    result = vcm(*CHECK)
    assert (result.code, result.out) == (
        1,
        "! frames: README.md is not in the locked commit any more\n1 of 2 models not as locked any more\n",
    )
    assert result.err.startswith("error: other: ")


def test_the_offline_part_comes_first(locked, manifest, vcm, hub):
    manifest('[models.frames]\nrepo = "acme/other"\n')
    result = vcm(*CHECK)
    assert (result.code, hub.requests) == (1, [])
    assert result.err == "error: models.lock does not fit models.toml: a requirement has changed\nhint: run vcm lock\n"


def test_offline_nobody_can_tell(locked, vcm, hub):
    assert vcm(*CHECK).code == 0
    hub.clear_requests()
    result = vcm("--offline", *CHECK)
    assert (result.code, result.out, hub.requests) == (3, "", [])
    assert result.err.startswith("error: this needs the hub, and this run is offline\n")


def test_upstream_without_check(locked, vcm):
    result = vcm("lock", "--upstream")
    assert (result.code, result.out, result.err) == (
        2,
        "",
        "error: --upstream goes with --check\nhint: run vcm lock --check --upstream\n",
    )


# Direct files


@pytest.fixture
def direct(manifest, hub, vcm):
    url = hub.add_file("words.onnx", b"words" * 100_000)
    manifest(f'[models.words]\nurl = "{url}"\n')
    assert vcm("lock").code == 0
    hub.clear_requests()
    return url


def test_a_direct_file(direct, vcm, hub):
    assert vcm(*CHECK).out == FITS
    (request,) = hub.requests
    assert (request.method, request.path) == ("GET", "/files/words.onnx")


def test_a_direct_file_behind_a_redirect(direct, manifest, hub, vcm):
    hub.fail(Fault(path="/words.onnx", status=302, headers={"Location": direct}, times=None))
    manifest(f'[models.words]\nurl = "{hub.endpoint}/words.onnx"\n')
    assert vcm("lock").code == 0
    assert vcm(*CHECK).out == FITS


def test_a_direct_file_of_another_length(direct, findings, hub):
    hub.add_file("words.onnx", b"other words")
    assert findings() == (1, [("changed", "words.onnx")])


def test_a_server_that_announces_no_length(direct, findings, hub):
    hub.fail(Fault(origin="cdn", headers={"Content-Length": None}, times=None))
    assert findings() == (0, [])


@pytest.mark.parametrize("status", [404, 410])
def test_a_direct_file_that_is_gone(status, direct, vcm, hub, plain):
    hub.fail(Fault(origin="cdn", status=status, times=None))
    result = vcm(*CHECK)
    assert (result.code, plain(result.out)) == (1, "! words: CDN/files/words.onnx is not there any more\n" + WRONG)


@pytest.mark.parametrize("status", [401, 403])
def test_a_direct_file_that_is_refused(status, direct, vcm, hub):
    hub.fail(Fault(origin="cdn", status=status, times=None))
    result = vcm(*CHECK)
    assert (result.code, result.out) == (3, "")
    assert result.err.startswith("error: words: ")
