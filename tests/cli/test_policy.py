"""``[policy]`` through the command line: what is refused, what is left alone, and what to do next."""

from __future__ import annotations

import json

import pytest

from tests.cli.conftest import FILES
from vcm.testing import Fault

FRAMES = '[models.frames]\nrepo = "acme/frames"\n'
AGED = FRAMES + '[policy]\nmin-age = "7 days"\n'
UNDATED = "error: frames: min-age: the date of its commit is not in models.lock, allowed are 7 days and more\n"
LICENSED = '[policy]\nlicenses = ["mit"]\n'


def hint(model: str, rule: str) -> str:
    return (
        f'hint: choose another model, change [policy], or add [policy.exceptions.{model}] with {rule} = "the reason"\n'
    )


@pytest.fixture
def bytes_of_both(project):
    return lambda: [(project / name).read_bytes() for name in ("models.toml", "models.lock")]


def test_an_age_that_is_asked_for_after_locking(synced, manifest, vcm, hub):
    manifest(AGED)
    for words in (("check",), ("lock", "--check"), ("sync", "--locked")):
        result = vcm(*words)
        assert (result.code, result.out, result.err) == (1, "", UNDATED + "hint: run vcm lock\n")
    assert hub.requests == []
    assert vcm("lock").code == 0
    assert 'committed = "2026-01-01T00:00:00.000Z"\n' in synced.read_text()
    assert (vcm("check").code, vcm("lock", "--check").code) == (0, 0)
    hub.clear_requests()
    assert vcm("lock").out == "models.lock is up to date (1 model, no network used)\n"
    assert hub.requests == []


def test_sync_finds_out_how_old_a_commit_is(synced, manifest, vcm):
    manifest(AGED)
    assert vcm("sync").code == 0
    assert vcm("check").code == 0


def test_a_hub_that_tells_no_date(locked, manifest, vcm, hub):
    hub.fail(Fault(path="/api/models/acme/frames/commits/*", status=404, times=None))
    manifest(AGED)
    result = vcm("lock")
    assert (result.code, result.err) == (1, UNDATED + hint("frames", "min-age"))
    manifest(AGED + '[policy.exceptions.frames]\nmin-age = "this hub tells no dates"\n')
    hub.clear_requests()
    assert vcm("lock").out == "models.lock is up to date (1 model, no network used)\n"
    assert hub.requests == []


def test_a_model_that_breaks_a_rule_is_not_added(wants_frames, manifest, hub, vcm, bytes_of_both):
    manifest(FRAMES + "\n" + LICENSED + "# because of contract 12\n")
    assert vcm("lock").code == 0
    hub.add_repo("acme/other", FILES, card={"license": "cc-by-nc-4.0"})
    hub.add_repo(
        "acme/adapter", {"adapter_config.json": b'{"base_model_name_or_path": "acme/other"}'}, card={"license": "mit"}
    )
    before = bytes_of_both()
    problem = 'licenses: its licence is "cc-by-nc-4.0", allowed is mit'
    result = vcm("add", "other", "acme/other")
    assert (result.code, result.out) == (1, "")
    assert result.err == f"error: other: {problem}\n" + hint("other", "licenses")
    result = vcm("add", "adapter", "acme/adapter", "--no-sync", "--json")
    assert json.loads(result.out)["error"]["message"] == f"adapter.other: {problem}"
    assert result.err.endswith(f"error: adapter.other: {problem}\n" + hint('"adapter.other"', "licenses"))
    assert bytes_of_both() == before


def test_lock_check_judges_what_lock_would_refuse(locked, manifest, vcm, hub):
    manifest(FRAMES + '[policy]\nlicenses = ["apache-2.0"]\n')
    message = 'frames: licenses: its licence is "mit", allowed is apache-2.0'
    for words in (("lock", "--check"), ("lock", "--check", "--upstream"), ("lock",), ("check",)):
        result = vcm(*words)
        assert (result.code, result.out, result.err) == (1, "", f"error: {message}\n" + hint("frames", "licenses"))
    error = json.loads(vcm("lock", "--check", "--json").out)["error"]
    assert (error["code"], error["message"]) == ("POLICY_VIOLATION", message)
    assert hub.requests == []


def test_a_model_with_an_exception_is_not_removed_without_it(synced, manifest, vcm, bytes_of_both):
    manifest(FRAMES + LICENSED + '[policy.exceptions.frames]\nlicenses = "bought"\n')
    before = bytes_of_both()
    result = vcm("remove", "frames")
    assert (result.code, result.out, bytes_of_both()) == (2, "", before)
    assert result.err == (
        "error: models.toml:3: policy.exceptions.frames: no such model in this file\n"
        "hint: remove the table, or name a model of this project: none\n"
    )


def test_a_licence_that_is_asked_for_after_an_import(hf_home, frames, project, manifest, vcm):
    hf_home("acme/frames", FILES, frames.head())
    assert vcm("import", "--hf-cache").code == 0
    manifest((project / "models.toml").read_text() + "\n" + LICENSED)
    result = vcm("check")
    assert (result.code, result.err) == (
        1,
        "error: frames: licenses: its licence is not in models.lock, allowed is mit\nhint: run vcm lock\n",
    )
    assert vcm("lock").code == 0
    assert 'license = "mit"\n' in (project / "models.lock").read_text()
    assert vcm("check").code == 0


@pytest.fixture
def hf_home(tmp_path):
    """Puts plain files into the Hugging Face cache, as on Windows."""

    def put(repo: str, files: dict[str, bytes], commit: str) -> None:
        folder = tmp_path / "hf-home" / "hub" / f"models--{repo.replace('/', '--')}"
        (folder / "snapshots" / commit).mkdir(parents=True)
        (folder / "refs").mkdir()
        (folder / "refs" / "main").write_text(commit)
        for path, data in files.items():
            (folder / "snapshots" / commit / path).write_bytes(data)

    return put
