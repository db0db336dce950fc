"""``vcm outdated``: the table, the document, the exit code, and what the gate says afterwards."""

from __future__ import annotations

import json
import logging
import subprocess
import sys

import pytest

import vcm as package
from tests.cli.conftest import COMMIT, FILES
from tests.conftest import TOKEN
from vcm.enforce import gate
from vcm.http import retries
from vcm.testing import Fault

NEWER, NEWEST = "b" * 40, "c" * 40
UP_TO_DATE = """\
NAME    LOCKED        ALLOWED       LATEST        CHANGES
frames  123456789012  123456789012  123456789012  nothing
        2026-01-01    2026-01-01    2026-01-01
everything is up to date
"""
DATES = "        2026-01-01    2026-01-01    2026-01-01\n"


@pytest.fixture
def by_version(manifest, frames, vcm):
    """Version 1.2 is locked, 1.3 is allowed, 2.0 is the newest."""
    manifest('[models.frames]\nrepo = "acme/frames"\nversion = "~=1.2"\n')
    assert vcm("lock").code == 0
    frames.commit({"model.safetensors": b"better", "tokenizer.json": b"[]", "config.json": b"{1}"}, commit=NEWER)
    frames.tag("v1.3")
    frames.commit({"modeling.py": b"pass"}, commit=NEWEST)
    frames.tag("v2.0")
    return frames


def test_everything_is_up_to_date(locked, vcm):
    result = vcm("outdated", "--exit-code")
    assert (result.code, result.out, result.err) == (0, UP_TO_DATE, "")


def test_the_table(by_version, vcm):
    by_version.card["new_version"] = "acme/frames-2"
    by_version.tag("v1.2")
    result = vcm("outdated", "--refresh")
    assert (result.code, result.err) == (0, "")
    assert result.out == (
        "NAME    LOCKED      ALLOWED     LATEST      CHANGES\n"
        "frames  1.2         1.3         2.0         weights,\n"
        "        2026-01-01  2026-01-01  2026-01-01  tokenizer,\n"
        "                                            config\n"
        "frames: acme/frames is deprecated, and its successor acme/frames-2 is not there;\n"
        "  look at its page for another\n"
        "frames: the tag v1.2 of acme/frames points at cccccccccccc now, not at the\n"
        "  locked 123456789012; find out why, then run vcm lock --upgrade-model frames\n"
    )
    assert vcm("outdated", "--exit-code").code == 1


def test_it_does_as_it_says(by_version, vcm):
    assert vcm("lock", "--upgrade-model", "frames").code == 0
    result = vcm("outdated", "--exit-code", "--refresh")
    assert result.code == 0
    assert result.out.endswith("everything is up to date\n")


def test_the_document(by_version, vcm):
    by_version.card["new_version"] = "acme/frames-2"
    result = vcm("outdated", "--json", "--refresh")
    assert (result.code, result.err) == (0, "")
    assert json.loads(result.out) == {
        "models": [
            {
                "name": "frames",
                "version": "1.2",
                "commit": COMMIT,
                "current": {"version": "1.2", "commit": COMMIT, "date": "2026-01-01T00:00:00.000Z"},
                "allowed": {"version": "1.3", "commit": NEWER, "date": "2026-01-01T00:01:00.000Z"},
                "latest": {"version": "2.0", "commit": NEWEST, "date": "2026-01-01T00:02:00.000Z"},
                "changes": ["weights", "tokenizer", "config"],
                "notices": [
                    {
                        "kind": "deprecated",
                        "message": "acme/frames is deprecated, and its successor acme/frames-2 is not there",
                    }
                ],
            }
        ]
    }


def test_a_replacement_stands_in_the_document(locked, frames, hub, vcm):
    hub.rename("acme/frames", "other/frames")
    (model,) = json.loads(vcm("outdated", "--json", "--refresh").out)["models"]
    assert model["notices"] == [
        {"kind": "renamed", "message": "acme/frames is called other/frames now", "replacement": "other/frames"}
    ]


def test_long_names_and_many_changes_fit_80_columns(manifest, hub, vcm):
    name, version = "a-model-with-a-rather-long-name", "2024.12.31.post1.dev20241231"
    repo = hub.add_repo(f"an-organisation/{name}", {**FILES, "vocab.txt": b"a"}, tags=[f"v{version}"])
    manifest(f'[models.{name}]\nrepo = "an-organisation/{name}"\nversion = ">=1.dev0"\n')
    assert vcm("lock").code == 0
    changed = {"model.safetensors": b"new", "vocab.txt": b"b", "chat_template.jinja": b"", "config.json": b"{1}"}
    repo.commit({**changed, "x.py": b"", "LICENSE": b"", "README.md": b"", "x.zip": b""})
    repo.tag("v2025.1")
    result = vcm("outdated", "--refresh")
    assert max(map(len, result.out.splitlines())) <= 80
    assert result.out == (
        "NAME                    LOCKED        ALLOWED     LATEST      CHANGES\n"
        "a-model-with-a-rather…  2024.12.31.…  2025.1      2025.1      weights,\n"
        "                        2026-01-01    2026-01-01  2026-01-01  tokenizer,\n"
        "                                                              template,\n"
        "                                                              config, code,\n"
        "                                                              licence, docs,\n"
        "                                                              other\n"
        "to take what is allowed: vcm lock --upgrade-model\n"
        "  a-model-with-a-rather-long-name\n"
    )


def test_a_direct_file_and_a_readme_commit(manifest, hub, frames, vcm):
    url = hub.add_file("words.onnx", b"words")
    manifest(f'[models.frames]\nrepo = "acme/frames"\n[models.words]\nurl = "{url}"\n')
    assert vcm("lock").code == 0
    frames.commit({"README.md": b"# better\n"}, commit=NEWER)
    result = vcm("outdated", "--refresh", "--exit-code")
    assert (result.code, result.out) == (
        0,
        (
            "NAME    LOCKED        ALLOWED       LATEST        CHANGES\n"
            "frames  123456789012  bbbbbbbbbbbb  bbbbbbbbbbbb  docs\n"
            "        2026-01-01    2026-01-01    2026-01-01\n"
            "words   -             -             -             -\n"
            "everything is up to date\n"
        ),
    )


def test_models_of_groups_are_listed_too(manifest, frames, vcm):
    manifest('[models.frames]\nrepo = "acme/frames"\ngroups = ["video"]\n')
    assert vcm("lock").code == 0
    assert vcm("outdated").out == UP_TO_DATE


def test_one_failure_does_not_hide_the_others(manifest, frames, hub, vcm, monkeypatch):
    hub.add_repo("acme/other", FILES, commit=NEWER)
    manifest('[models.frames]\nrepo = "acme/frames"\n[models.other]\nrepo = "acme/other"\n')
    assert vcm("lock").code == 0
    # Not 5xx, for which it would wait and try again.
    hub.fail(Fault(path="/api/models/acme/other", status=400, times=None))
    result = vcm("outdated", "--refresh", "--exit-code")
    assert (result.code, result.out) == (
        3,
        (
            "NAME    LOCKED        ALLOWED       LATEST        CHANGES\n"
            "frames  123456789012  123456789012  123456789012  nothing\n"
            "        2026-01-01    2026-01-01    2026-01-01\n"
            "other   bbbbbbbbbbbb  ?             ?             not known\n"
        ),
    )
    assert result.err == (
        "error: other: acme/other: the hub answers 400\n"
        "hint: check HF_ENDPOINT; if it is right, tell whoever runs that hub\n"
    )
    document = json.loads(vcm("outdated", "--refresh", "--json").out)
    frames_row, other = document["models"]
    assert "error" not in frames_row
    assert other["current"] == {"version": None, "commit": NEWER, "date": None}
    assert (other["allowed"], other["latest"], other["changes"], other["notices"]) == (None, None, [], [])
    assert other["error"] == document["error"]
    assert document["error"]["code"] == "NETWORK_ERROR"


def test_a_hub_that_is_down_is_said_once(manifest, frames, hub, vcm, monkeypatch):
    hub.add_repo("acme/other", FILES, commit=NEWER)
    hub.add_repo("acme/third", FILES, commit=NEWER)
    names = ("frames", "other", "third")
    manifest("".join(f'[models.{name}]\nrepo = "acme/{name}"\n' for name in names))
    assert vcm("lock").code == 0
    monkeypatch.setattr(retries, "DELAYS", ())
    address = hub.endpoint.removeprefix("http://")
    hub.stop()
    for words in (("outdated", "--refresh"), ("lock", "--check", "--upstream")):
        result = vcm(*words)
        assert result.code == 3
        assert result.err == (
            f"error: frames, other and third: {address}: connection refused\n"
            "hint: check the network, HTTPS_PROXY and HF_ENDPOINT; without a network use --offline or --from DIR\n"
        )
        document = json.loads(vcm(*words, "--json").out)
        assert [model["error"]["message"] for model in document["models"]] == [
            f"{name}: {address}: connection refused" for name in names
        ]


def test_an_upgrade_that_asks_for_care_is_named_by_its_notice_alone(manifest, frames, hub, vcm):
    other = hub.add_repo("acme/other", FILES)
    manifest('[models.frames]\nrepo = "acme/frames"\nrevision = "v1.2"\n[models.other]\nrepo = "acme/other"\n')
    assert vcm("lock").code == 0
    for repo in (frames, other):
        repo.commit({"config.json": b"{1}"}, commit=NEWER)
    frames.tag("v1.2")
    assert vcm("outdated", "--refresh").out.endswith(
        "  locked 123456789012; find out why, then run vcm lock --upgrade-model frames\n"
        "to take what is allowed: vcm lock --upgrade-model other\n"
    )


def test_offline_what_is_known_serves(locked, vcm, hub):
    result = vcm("outdated", "--offline")
    # Locking asked all but the dates.
    assert (result.code, result.out, hub.requests) == (0, UP_TO_DATE.replace(DATES, ""), [])
    assert vcm("outdated").out == UP_TO_DATE
    hub.clear_requests()
    result = vcm("outdated", "--offline")
    assert (result.code, result.out, hub.requests) == (0, UP_TO_DATE, [])


def test_a_stale_lock_is_locked_first(locked, manifest, vcm):
    manifest('[models.frames]\nrepo = "acme/other"\n')
    result = vcm("outdated")
    assert (result.code, result.out, result.err) == (
        1,
        "",
        "error: models.lock does not fit models.toml: a requirement has changed\nhint: run vcm lock\n",
    )


def test_nothing_is_locked(manifest, vcm):
    manifest("")
    vcm("lock")
    assert vcm("outdated").out == "NAME  LOCKED  ALLOWED  LATEST  CHANGES\neverything is up to date\n"
    assert json.loads(vcm("outdated", "--json").out) == {"models": []}


def test_a_gate_that_was_passed_is_news_no_more(noticed, frames, hub, vcm, monkeypatch):
    assert vcm("outdated", "--exit-code").out.endswith(
        "frames: acme/frames has been gated since it was locked (auto); accept its terms\n"
        "  on its page, then run vcm lock --refresh\n"
    )
    hub.grant(TOKEN, "acme/frames")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    frames.commit({"config.json": b"{1}"})
    assert vcm("lock", "--refresh").code == 0
    assert f'commit = "{COMMIT}"' in noticed.read_text()
    result = vcm("check")
    assert (result.code, result.err) == (0, "")
    assert "gated" not in vcm("outdated").out


# What the gate says


@pytest.fixture
def noticed(synced, frames, vcm, hub, monkeypatch):
    """An installed model whose repo is gated by now, which ``outdated`` has found out."""
    frames.gated = "auto"
    assert vcm("outdated", "--refresh").code == 0
    hub.clear_requests()
    monkeypatch.setattr(gate, "_logged", set())
    return synced


NOTICE = "frames: acme/frames has been gated since it was locked (auto)"


def test_check_says_it_once_and_asks_nobody(noticed, vcm, hub):
    result = vcm("check")
    assert (result.code, result.out, result.err) == (
        0,
        "1 model locked and installed, unchanged\n",
        f"note: {NOTICE}\n",
    )
    assert json.loads(vcm("check", "--json").out)["ok"] is True
    assert hub.requests == []


def test_the_gate_logs_it_once(noticed, caplog):
    caplog.set_level(logging.WARNING, "vcm")
    package.gate()
    package.require("frames")
    package.gate()
    assert [(record.name, record.getMessage()) for record in caplog.records] == [("vcm", NOTICE)]


def test_require_logs_it_too(noticed, caplog):
    package.require("frames")
    assert [record.getMessage() for record in caplog.records] == [NOTICE]


def test_a_program_sees_it_without_setting_up_a_log(noticed):
    done = subprocess.run(
        [sys.executable, "-c", "import vcm; vcm.gate()"], capture_output=True, text=True, timeout=20, check=False
    )
    assert (done.returncode, done.stderr) == (0, f"{NOTICE}\n")


def test_what_another_hub_says_is_not_said(noticed, vcm, monkeypatch, caplog):
    monkeypatch.setenv("HF_ENDPOINT", "https://another.example")
    assert vcm("check").err == ""
    monkeypatch.setenv("HF_ENDPOINT", "no address")
    package.gate()
    assert caplog.records == []


def test_another_commit_has_other_notices(noticed, frames, vcm):
    frames.gated = False
    frames.commit({"config.json": b"{1}"})
    assert vcm("lock", "--upgrade").code == 0
    assert vcm("sync").code == 0
    assert vcm("check").err == ""


def test_a_gate_without_notices_loads_no_log(synced):
    program = "import sys, vcm; vcm.gate(); print('logging' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=20, check=False)
    assert (done.stdout, done.stderr) == ("False\n", "")
