"""The gate: only the locked bytes get through, no network is touched, and every no says what to do."""

# ruff: noqa: PLR0917  (pytest hands fixtures over by name)
from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import vcm as package
from vcm.core.lock import parse_lock

REPAIR = "run vcm verify --repair"
CONFIG_DIGEST = "ca3d163bab055381827226140568f3bef7eaac187cebd76878e0b63e9e442356"


@pytest.fixture
def isolated(monkeypatch, hub):
    """From here on there is no network: the hub is a closed port, and sockets do not connect."""
    hub.clear_requests()
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")

    def refuse(*_):
        raise AssertionError("the gate asked for the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)


def test_yes(installed, isolated, hub, project):
    assert package.gate() == {"frames": installed}
    assert package.gate(project) == package.gate(str(project)) == {"frames": installed}
    assert package.gate(groups=["*"]) == {"frames": installed}
    assert package.require("frames") == package.require("frames", project) == installed
    assert hub.requests == []


def test_a_yes_needs_no_writing(installed, isolated, cache):
    before = {path: path.stat().st_mtime_ns for path in cache.rglob("*")}
    package.gate()
    assert {path: path.stat().st_mtime_ns for path in cache.rglob("*")} == before


def test_no_project(project, refusal):
    expected = (
        "ConfigError",
        "CONFIG_ERROR",
        f"no models.toml in {project} or above it",
        "make one with vcm init, or name --project DIR",
    )
    assert refusal(package.gate) == expected
    assert refusal(package.require, "frames") == expected


def test_no_lock(manifest, project, refusal):
    manifest('[models.frames]\nrepo = "acme/frames"\n')
    expected = ("LockError", "LOCK_OUTDATED", f"no models.lock in {project}", "run vcm lock")
    assert refusal(package.gate) == expected
    assert refusal(package.require, "frames") == expected


STALE = [
    ('[models.frames]\nrepo = "acme/frames"\nrevision = "main"\n', "a requirement has changed"),
    ('[models.frames]\nrepo = "acme/frames"\n[models.x]\nrepo = "acme/x"\n', "x not locked yet"),
    ("", "frames no longer required"),
    ('[models.x]\nrepo = "acme/x"\n', "x not locked yet; frames no longer required"),
]


@pytest.mark.parametrize(("text", "reason"), STALE)
def test_stale(text, reason, installed, isolated, manifest, refusal):
    manifest(text)
    expected = ("LockError", "LOCK_OUTDATED", f"models.lock does not fit models.toml: {reason}", "run vcm lock")
    assert refusal(package.gate) == expected
    if "models.frames" in text:
        assert refusal(package.require, "frames") == expected


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff", b"version = 1\n[[package]]\n"])
def test_a_foreign_lock(content, installed, isolated, locked, refusal):
    locked.write_bytes(content)
    expected = (
        "ConfigError",
        "CONFIG_ERROR",
        "models.lock: not a vcm lock",
        "it was left untouched: move it away, or run vcm in another folder",
    )
    assert refusal(package.gate) == expected
    assert refusal(package.require, "frames") == expected
    assert locked.read_bytes() == content


def test_a_lock_of_the_future(installed, isolated, locked, refusal):
    locked.write_bytes(locked.read_bytes().replace(b"lock-version = 1", b"lock-version = 9"))
    assert refusal(package.gate)[2] == "models.lock:2: lock-version: version 9 is newer than this vcm knows (1)"


def test_an_edited_lock(installed, isolated, locked, refusal):
    text = locked.read_bytes()
    locked.write_bytes(text.replace(CONFIG_DIGEST.encode(), b"0" * 64))
    kind, code, message, _ = refusal(package.gate)
    assert (kind, code) == ("ConfigError", "CONFIG_ERROR")
    assert 'model "frames"' in message
    assert message.endswith(": edited or damaged")


def test_a_manifest_that_is_broken(installed, isolated, manifest, refusal):
    manifest("[models")
    kind, code, message, _ = refusal(package.gate)
    assert (kind, code) == ("ConfigError", "CONFIG_ERROR")
    assert message.startswith("models.toml: not TOML: ")


def test_not_installed(locked, isolated, refusal):
    expected = ("ModelDownloadError", "NOT_INSTALLED", "frames: not installed", "run vcm sync")
    assert refusal(package.gate) == expected
    assert refusal(package.require, "frames") == expected


def test_a_model_that_is_unknown(installed, isolated, refusal):
    assert refusal(package.require, "frame") == (
        "ConfigError",
        "CONFIG_ERROR",
        'no model "frame" in models.toml, did you mean "frames"?',
        "models of this project: frames",
    )


def rewrite(path: Path, content: bytes, *, keep_inode: bool = False, keep_time: bool = True) -> None:
    before = path.stat()
    if keep_inode:
        path.chmod(0o644)
        path.write_bytes(content)
    else:
        other = path.with_name("other")
        other.write_bytes(content)
        other.replace(path)
    if keep_time:
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def changed(found: str) -> str:
    return f"frames: not what is locked: config.json: expected sha256:{CONFIG_DIGEST}, found sha256:{found}"


def add_in_a_folder(path: Path) -> None:
    path.with_name("a").mkdir()
    path.with_name("a").joinpath("b").touch()


def put_a_link(path: Path) -> None:
    path.rename(path.parent.parent.parent / "moved")
    path.symlink_to("../../moved")


def put_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def add_many(path: Path) -> None:
    for name in "abcde":
        path.with_name(name).touch()


def remove_all(path: Path) -> None:
    for each in path.parent.iterdir():
        each.unlink()


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda path: path.unlink(), "frames: not what is locked: config.json: missing"),
    "extra": (
        lambda path: path.with_name("code.py").write_bytes(b""),
        "frames: not what is locked: code.py: does not belong there",
    ),
    "extra in a folder": (
        add_in_a_folder,
        "frames: not what is locked: a/b: does not belong there",
    ),
    "longer": (
        lambda path: rewrite(path, b"{ }\n"),
        "frames: not what is locked: config.json: expected 3 bytes, found 4 bytes",
    ),
    "another byte, same size and time": (
        lambda path: rewrite(path, b"[]\n"),
        changed("37517e5f3dc66819f61f5a7bb8ace1921282415f10551d2defa5c3eb0985b570"),
    ),
    "another byte in the same inode": (
        lambda path: rewrite(path, b"[]\n", keep_inode=True, keep_time=False),
        changed("37517e5f3dc66819f61f5a7bb8ace1921282415f10551d2defa5c3eb0985b570"),
    ),
    "a link to the right bytes": (
        put_a_link,
        "frames: not what is locked: config.json: expected 3 bytes, found no regular file",
    ),
    "a folder": (put_a_folder, "frames: not what is locked: config.json: missing"),
    "many": (
        add_many,
        (
            "frames: not what is locked: a: does not belong there; b: does not belong there; c: does not belong there; "
            "and 2 more"
        ),
    ),
    "all": (
        remove_all,
        "frames: not what is locked: config.json: missing; model.safetensors: missing",
    ),
}


@pytest.mark.parametrize("case", DAMAGES)
def test_damage(case, installed, isolated, refusal):
    damage, message = DAMAGES[case]
    damage(installed / "config.json")
    found = refusal(package.gate)
    if case == "many":
        # The order of a folder's entries is the file system's.
        assert found[2].endswith("; and 2 more")
        return
    assert found == ("ModelChecksumError", "CHECKSUM_MISMATCH", message, REPAIR)
    assert refusal(package.require, "frames") == found
    assert refusal(package.gate) == found


def test_a_touched_file_is_no_damage(installed, isolated):
    os.utime(installed / "config.json", ns=(1, 1))
    assert package.gate() == {"frames": installed}


def test_without_a_record_every_byte_counts(installed, isolated, cache, refusal):
    path = installed / "config.json"
    rewrite(path, b"[]\n", keep_inode=True)
    shutil.rmtree(cache / "verified")
    assert refusal(package.gate)[:2] == ("ModelChecksumError", "CHECKSUM_MISMATCH")


def test_a_record_cannot_make_an_extra_file_belong(installed, isolated, cache, refusal):
    (installed / "evil.py").write_bytes(b"")
    (record,) = (cache / "verified").iterdir()
    rows = json.loads(record.read_bytes())
    status = (installed / "evil.py").stat()
    rows["evil.py"] = [0, status.st_mtime_ns, status.st_ino]
    record.write_text(json.dumps(rows))
    assert refusal(package.gate)[2] == "frames: not what is locked: evil.py: does not belong there"


@pytest.fixture
def grouped(hub, manifest, vcm, cache):
    """``base`` is installed; ``audio`` is of a group, ``spare`` is optional, ``elsewhere`` is for another system."""
    for name in ("base", "audio", "spare", "elsewhere"):
        hub.add_repo(f"acme/{name}", {"config.json": name.encode()})
    manifest(
        '[models.base]\nrepo = "acme/base"\n[models.audio]\nrepo = "acme/audio"\ngroups = ["audio"]\n'
        '[models.spare]\nrepo = "acme/spare"\noptional = true\n'
        '[models.elsewhere]\nrepo = "acme/elsewhere"\nmarker = "sys_platform == \'plan9\'"\n'
    )
    assert vcm("sync").code == 0
    lock = parse_lock((Path.cwd() / "models.lock").read_bytes())
    return {model.name: cache / "snapshots" / model.tree_digest for model in lock.models}


def test_groups(grouped, isolated, refusal):
    assert sorted(package.gate()) == ["base", "spare"]
    assert refusal(package.gate, groups=["audio"]) == (
        "ModelDownloadError",
        "NOT_INSTALLED",
        "audio: not installed",
        "run vcm sync --group audio",
    )
    assert refusal(package.gate, groups="*")[2] == "audio: not installed"
    assert refusal(package.require, "audio")[3] == "run vcm sync --group audio"
    assert refusal(package.gate, groups=["audoi"]) == (
        "ConfigError",
        "CONFIG_ERROR",
        'no model is in a group "audoi", did you mean "audio"?',
        "groups of this project: audio",
    )


def test_groups_that_are_one_word(grouped, vcm):
    assert vcm("sync", "--all-groups").code == 0
    # A string is a collection of letters, too.
    assert sorted(package.gate(groups="audio")) == ["audio", "base", "spare"]


def test_optional(grouped, isolated, refusal):
    shutil.rmtree(grouped["spare"])
    assert package.gate() == {"base": grouped["base"]}
    assert refusal(package.require, "spare") == (
        "ModelDownloadError",
        "NOT_INSTALLED",
        "spare: not installed",
        "run vcm sync",
    )


def test_an_optional_model_that_is_damaged_is_no(grouped, isolated, refusal):
    (grouped["spare"] / "more").touch()
    assert refusal(package.gate)[:3] == (
        "ModelChecksumError",
        "CHECKSUM_MISMATCH",
        "spare: not what is locked: more: does not belong there",
    )


def test_where_the_project_is(installed, isolated, project, tmp_path, monkeypatch, refusal):
    inner = project / "a" / "b"
    inner.mkdir(parents=True)
    monkeypatch.chdir(inner)
    assert package.gate() == {"frames": installed}
    monkeypatch.chdir(tmp_path)
    assert refusal(package.gate)[0] == "ConfigError"
    monkeypatch.setenv("VCM_PROJECT", str(project))
    assert package.gate() == {"frames": installed}
    monkeypatch.setenv("VCM_PROJECT", str(tmp_path))
    assert refusal(package.gate)[2] == f"no models.toml in {tmp_path}"
    assert package.gate(project) == {"frames": installed}


def test_where_the_store_is(installed, isolated, cache, tmp_path, monkeypatch, manifest, refusal):
    cache.rename(tmp_path / "moved")
    assert refusal(package.gate)[1] == "NOT_INSTALLED"
    manifest('[models.frames]\nrepo = "acme/frames"\n[cache]\ndir = "../moved"\n')
    assert refusal(package.gate)[1] == "NOT_INSTALLED"
    monkeypatch.delenv("VCM_CACHE_DIR")
    assert package.require("frames").parent.parent.resolve() == tmp_path / "moved"


def test_an_error_survives_a_process_pool(locked, isolated):
    import pickle

    with pytest.raises(package.VcmError) as caught:
        package.gate()
    again = pickle.loads(pickle.dumps(caught.value))  # noqa: S301  (our own bytes)
    assert (type(again), str(again), again.hint, again.model) == (
        type(caught.value),
        str(caught.value),
        caught.value.hint,
        "frames",
    )


PROGRAM = """
import sys
import vcm
first = sorted(name for name in sys.modules if name.startswith("vcm"))
paths = vcm.gate()
heavy = {"requests", "urllib3", "typer", "click", "tqdm", "tomlkit", "filelock", "ssl", "asyncio", "http.client"}
print(first, sorted(heavy & set(sys.modules)), *paths)
"""


def test_a_program_at_its_start(installed, project):
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
        env=os.environ | {"HF_ENDPOINT": "http://127.0.0.1:1"},
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == "['vcm', 'vcm.version'] [] frames\n"


def test_a_program_that_is_refused_names_the_way_out(locked, project):
    result = subprocess.run(
        [sys.executable, "-c", "import vcm; vcm.gate()"], capture_output=True, text=True, timeout=20, check=False
    )
    assert result.returncode == 1
    assert result.stderr.rstrip().endswith("ModelDownloadError: frames: not installed\nhint: run vcm sync")


POLICY = '[models.frames]\nrepo = "acme/frames"\n[policy]\n'
LICENCE = "licenses: it states no licence, allowed is mit"
EXCEPT = 'choose another model, change [policy], or add [policy.exceptions.frames] with licenses = "the reason"'


def test_a_policy_is_judged_before_the_disk_is_looked_at(locked, isolated, manifest, refusal):
    manifest(POLICY + "licenses = ['mit']\n")
    expected = ("PolicyError", "POLICY_VIOLATION", f"frames: {LICENCE}", EXCEPT)
    assert refusal(package.gate) == expected
    assert refusal(package.require, "frames") == expected


def test_a_policy_that_is_kept_lets_through(installed, isolated, manifest):
    manifest(POLICY + "owners = ['acme']\nformats = ['safetensors']\nmax-size = '1 MB'\n")
    assert package.gate() == {"frames": installed}
    assert package.require("frames") == installed


def test_an_exception_lets_through(installed, isolated, manifest):
    manifest(POLICY + "licenses = ['mit']\n[policy.exceptions.frames]\nlicenses = 'bought'\n")
    assert package.gate() == {"frames": installed}


@pytest.mark.parametrize(("days", "passes"), [(6.9, False), (7.1, True)])
def test_the_age_of_a_commit_is_judged_by_the_clock(days, passes, installed, isolated, manifest, locked, refusal):
    made = datetime.now(UTC) - timedelta(days=days)
    text = locked.read_text()
    written = made.strftime("%Y-%m-%dT%H:%M:%S.000Z")
    locked.write_text(text.replace("\nformat = ", f'\ncommitted = "{written}"\nformat = '))
    manifest(POLICY + "min-age = '7 days'\n")
    if passes:
        assert package.gate() == {"frames": installed}
    else:
        problem = f"frames: min-age: its commit of {written} is 6 days old, allowed are 7 days and more"
        assert refusal(package.gate)[2] == problem


def test_what_a_model_pulls_in_is_judged_with_it(installed, isolated, manifest, locked, refusal):
    whole = locked.read_text()
    head, _, model = whole.partition("\n[[model]]\n")
    via = model.replace('name = "frames"', 'name = "frames.base"').replace("acme/frames", "strange/base")
    via = via.replace("\nformat = ", '\nvia = "frames"\nformat = ')
    locked.write_text(f"{head}\n[[model]]\n{model}\n[[model]]\n{via}")
    manifest(POLICY + "owners = ['acme']\n")
    message = 'frames.base: owners: its owner is "strange", allowed is acme'
    assert refusal(package.gate)[2] == refusal(package.require, "frames")[2] == message


def test_check_lists_what_the_policy_refuses(installed, manifest, vcm):
    manifest(POLICY + "licenses = ['mit']\nowners = ['openai', 'meta']\n")
    first, second = f"frames: {LICENCE}", 'frames: owners: its owner is "acme", allowed are openai and meta'
    result = vcm("check")
    assert (result.code, result.out) == (1, "")
    assert result.err == (f"error: 2 violations of the policy in models.toml\n  {first}\n  {second}\nhint: {EXCEPT}\n")
    assert json.loads(vcm("check", "--json").out)["error"] == {
        "code": "POLICY_VIOLATION",
        "message": "2 violations of the policy in models.toml",
        "hint": EXCEPT,
        "model": None,
        "retry_after": None,
        "details": [first, second],
    }
