"""Bad input of every kind: one clear message, the right exit code, nothing half done, and the next good run works."""

# ruff: noqa: PLR0917  (pytest hands fixtures over by name)
from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import closed_port
from vcm.core.manifest import parse_manifest
from vcm.errors import VcmError
from vcm.session import Session
from vcm.settings import Settings
from vcm.testing import Fault

COMMIT = "1234567890" * 4
CONFIG = "config.json"
WEIGHTS = "model.safetensors"

BAD_MANIFESTS: dict[str, tuple[bytes, str, str]] = {
    "not TOML": (
        b'[models.frames\nrepo = "acme/frames"\n',
        "models.toml:1: not TOML: Expected ']' at the end of a table declaration",
        "see https://toml.io, then mend models.toml:1",
    ),
    "cut off": (
        b'[models.frames]\nrepo = "acme/fra',
        "models.toml: not TOML: Unterminated string (at end of document)",
        "see https://toml.io, then mend models.toml",
    ),
    "not UTF-8": (
        b'[models.frames]\nrepo = "acme/fr\xe4mes"\n',
        "models.toml:2: not UTF-8 text",
        "save models.toml as UTF-8",
    ),
    "a byte-order mark": (
        b'\xef\xbb\xbf[models.frames]\nrepo = "acme/frames"\n',
        "models.toml:1: begins with a byte-order mark",
        "save models.toml as UTF-8 without one",
    ),
    "merge conflict": (
        b'[models.frames]\n<<<<<<< HEAD\nrepo = "acme/a"\n=======\nrepo = "acme/b"\n>>>>>>> other\n',
        "models.toml:2: merge-conflict markers",
        "resolve the conflict in models.toml (of a lock, keep one side whole), then run vcm lock",
    ),
    "unknown key": (
        b'[models.frames]\nrepo = "acme/frames"\nversoin = "~=1"\n',
        'models.toml:3: models.frames.versoin: unknown key, did you mean "version"?',
        (
            "allowed here: repo, version, revision, include, exclude, fallback, url, checksum, size, type, groups, "
            "optional, marker, allow-pickle, follow"
        ),
    ),
    "unknown table": (
        b'[modles.frames]\nrepo = "acme/frames"\n',
        'models.toml:1: modles: unknown key, did you mean "models"?',
        "allowed here: project, models, hub, cache, pipeline, policy, mirror, origin",
    ),
    "repo is a number": (
        b"[models.frames]\nrepo = 7\n",
        "models.toml:2: models.frames.repo: expected a string, found 7",
        "",
    ),
    "include is a string": (
        b'[models.frames]\nrepo = "acme/frames"\ninclude = "*.onnx"\n',
        'models.toml:3: models.frames.include: expected an array, found "*.onnx"',
        "",
    ),
    "optional is a word": (
        b'[models.frames]\nrepo = "acme/frames"\noptional = "yes"\n',
        'models.toml:3: models.frames.optional: expected true or false, found "yes"',
        "",
    ),
    "models is an array": (
        b'models = ["acme/frames"]\n',
        "models.toml:1: models: expected a table, found an array",
        "",
    ),
    "size is true": (
        b'[models.a]\nurl = "https://h.example/a.onnx"\nsize = true\n',
        "models.toml:3: models.a.size: expected a whole number, found true",
        "",
    ),
    "version and revision": (
        b'[models.frames]\nrepo = "acme/frames"\nversion = "~=1.0"\nrevision = "main"\n',
        'models.toml:4: models.frames.revision: "version" and "revision" exclude each other',
        "keep one of the two",
    ),
    "repo with dots": (
        b'[models.frames]\nrepo = "acme/../frames"\n',
        "models.toml:2: models.frames.repo: found \"acme/../frames\": a repo id is 'namespace/name'",
        "",
    ),
    "repo with two dots inside": (
        b'[models.frames]\nrepo = "acme/fr..ames"\n',
        "models.toml:2: models.frames.repo: found \"acme/fr..ames\": a repo id holds neither '--' nor '..'",
        "",
    ),
    "neither repo nor url": (
        b"[models.frames]\noptional = true\n",
        'models.toml:1: models.frames: expected either "repo" or "url", found neither',
        'add repo = "namespace/name"',
    ),
    "a vcm from the future": (
        b'[project]\nrequires-vcm = ">=99"\n',
        "models.toml:2: project.requires-vcm: this is vcm VERSION, the project wants >=99",
        "install a fitting vcm",
    ),
}


@pytest.mark.parametrize("case", BAD_MANIFESTS)
def test_manifest(case, project, cache, vcm, listing, error_of):
    from vcm import __version__

    text, message, hint = BAD_MANIFESTS[case]
    hint = hint or "mend it in models.toml"
    message = message.replace("VERSION", __version__)
    (project / "models.toml").write_bytes(text)
    before = listing(project)
    expected = f"error: {message}\nhint: {hint}\n"
    commands = (
        ["lock"], ["lock", "--check"], ["sync"], ["check"], ["verify"], ["list"], ["show", "frames"],
        ["path", "frames"], ["add", "x", "acme/x"], ["remove", "frames"],
    )  # fmt: skip
    for command in commands:
        result = vcm(*command)
        assert (result.code, result.out, result.err) == (2, "", expected)
    result = vcm("lock", "--json")
    assert (result.code, result.err) == (2, expected)
    assert error_of(result.out) == {
        "code": "CONFIG_ERROR",
        "message": message,
        "hint": hint,
        "model": None,
        "retry_after": None,
    }
    assert listing(project) == before
    assert not cache.exists()


def test_the_next_good_manifest_works(project, vcm, frames):
    (project / "models.toml").write_bytes(b"[models")
    assert vcm("sync").code == 2
    (project / "models.toml").write_text('[models.frames]\nrepo = "acme/frames"\n')
    assert vcm("sync").code == 0
    assert vcm("check").code == 0


def test_control_characters_of_a_manifest_do_not_reach_the_terminal(manifest, vcm):
    manifest('[models.frames]\nrepo = "acme/frames"\nrevision = "\\u001b[31mred\\u0007"\n')
    result = vcm("lock")
    assert result.code == 2
    assert result.err.replace("\n", "").isprintable()
    manifest('"\\u001b[2Jmodels\\nerror" = 1\n')
    result = vcm("lock")
    assert result.code == 2
    assert result.err.replace("\n", "").isprintable()
    assert result.err.count("\n") == 2


def test_a_folder_called_models_toml(project, vcm, listing, plain, tmp_path, hub):
    (project / "models.toml").mkdir()
    before = listing(project)
    for arguments in (["lock"], ["init"], ["--project", project, "sync"], ["add", "x", "acme/x"]):
        result = vcm(*arguments)
        assert result.code in (2, 5)
        assert result.out == ""
        assert plain(result.err).startswith("error: ")
        assert "TMP/project/models.toml" in plain(result.err)
        # What is there is no manifest: neither making one nor adding to it can be the next thing to do.
        assert "make one with vcm init" not in result.err
        assert "vcm add" not in result.err
    assert listing(project) == before


def test_a_folder_called_models_lock(wants_frames, project, vcm, plain):
    (project / "models.lock").mkdir()
    for arguments in (["lock"], ["sync"], ["check"]):
        result = vcm(*arguments)
        assert (result.code, result.out, plain(result.err)) == (
            5,
            "",
            "error: cannot read TMP/project/models.lock: is a directory\nhint: check that it is a file you may read\n",
        )
    (project / "models.lock").rmdir()
    assert vcm("sync").code == 0


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
@pytest.mark.parametrize("name", ["models.toml", "models.lock"])
def test_a_pipe_keeps_nobody_waiting(name, wants_frames, project, vcm, plain):
    (project / name).unlink(missing_ok=True)
    os.mkfifo(project / name)
    for arguments in (["lock"], ["sync"], ["check"]):
        result = vcm(*arguments)
        assert (result.code, result.out, plain(result.err)) == (
            5,
            "",
            f"error: cannot read TMP/project/{name}: no regular file\nhint: check that it is a file you may read\n",
        )


DAMAGED = "take one whole version of it from version control, then run vcm lock"
FOREIGN = ("models.lock: not a vcm lock", "it was left untouched: move it away, or run vcm in another folder")


def conflicted(text: bytes) -> bytes:
    return text.replace(b"[[model]]", b"<<<<<<< HEAD\n[[model]]", 1) + b"=======\n>>>>>>> other\n"


def twice(text: bytes) -> bytes:
    return text + text[text.index(b"\n[[model]]") :]


def changed_digest(text: bytes) -> bytes:
    start = text.index(b', sha256 = "') + len(b', sha256 = "')
    return text[:start] + b"0" * 64 + text[start + 64 :]


BAD_LOCKS: dict[str, tuple[Callable[[bytes], bytes], str, str]] = {
    "merge conflict": (
        conflicted,
        "models.lock:5: merge-conflict markers",
        "resolve the conflict in models.lock (of a lock, keep one side whole), then run vcm lock",
    ),
    "duplicate name": (twice, "", DAMAGED),
    "changed digest": (changed_digest, "", DAMAGED),
    "bad hex": (
        lambda text: text.replace(b', sha256 = "', b', sha256 = "x', 1),
        'models.lock:17: model "frames": files[0]: sha256 of "README.md" is not 64 lower-case hex digits',
        DAMAGED,
    ),
    "newer": (
        lambda text: text.replace(b"lock-version = 1", b"lock-version = 2"),
        "models.lock:2: lock-version: version 2 is newer than this vcm knows (1)",
        "upgrade vcm: pip install --upgrade vcm",
    ),
    "cut off": (
        lambda text: text[: text.index(b"tree-digest") + 30],
        "",
        DAMAGED,
    ),
    "not UTF-8": (lambda text: text.replace(b"frames", b"fr\xe4mes", 1), "models.lock:6: not UTF-8 text", DAMAGED),
    "another tool's TOML": (lambda _: b'version = 1\n[[package]]\nname = "a"\n', *FOREIGN),
    "another tool's JSON": (lambda _: b'{"models": []}\n', *FOREIGN),
    "another tool's bytes": (lambda _: bytes(range(256)), *FOREIGN),
    "an empty file": (lambda _: b"", *FOREIGN),
}


@pytest.mark.parametrize("case", BAD_LOCKS)
def test_lock(case, synced, project, cache, vcm, listing, error_of):
    damage, message, hint = BAD_LOCKS[case]
    good = synced.read_bytes()
    bad = damage(good)
    synced.write_bytes(bad)
    before, store = listing(project), listing(cache)
    if case == "changed digest":
        from vcm.core.lock import parse_lock

        digest = parse_lock(good).models[0].tree_digest
        line = good[: good.index(b"tree-digest")].count(b"\n") + 1
        found = vcm("check").err
        assert found.startswith(f'error: models.lock:{line}: model "frames": model[0].tree-digest: the rows of files')
        assert f"not sha256:{digest}: edited or damaged\n" in found
        message = found.splitlines()[0].removeprefix("error: ")
    elif case == "duplicate name":
        line = bad[: bad.rindex(b"name = ")].count(b"\n") + 1
        message = f'models.lock:{line}: model[1].name: model "frames" stands twice'
    elif case == "cut off":
        message = vcm("check").err.splitlines()[0].removeprefix("error: ")
        assert message.startswith(("models.lock:14: not TOML: ", "models.lock: not TOML: "))
    expected = f"error: {message}\nhint: {hint}\n"
    commands = (
        ["lock"], ["lock", "--check"], ["lock", "--upgrade"], ["sync"], ["sync", "--locked"], ["sync", "--frozen"],
        ["check"], ["verify"], ["list"], ["show", "frames"], ["path", "frames"], ["add", "x", "acme/frames"],
        ["remove", "frames"],
    )  # fmt: skip
    for command in commands:
        result = vcm(*command)
        assert (result.code, result.out, result.err) == (2, "", expected), command
    result = vcm("sync", "--json")
    assert (result.code, result.err) == (2, expected)
    error = error_of(result.out)
    assert (error["code"], error["message"], error["hint"]) == ("CONFIG_ERROR", message, hint)
    assert synced.read_bytes() == bad
    assert listing(project) == before
    assert listing(cache) == store
    synced.write_bytes(good)
    assert vcm("sync").code == 0


@dataclass(frozen=True)
class Bad:
    """A hub's answer that must be refused."""

    fault: Fault
    message: str
    hint: str = ""
    code: int = 3
    error_code: str = "NETWORK_ERROR"
    requests: int = field(default=1)


def edited(**changes: Any) -> Callable[[Any], Any]:
    return lambda rows: [{**row, **changes} if row["path"] == CONFIG else row for row in rows]


def edited_pointer(**changes: Any) -> Callable[[Any], Any]:
    def edit(rows: Any) -> Any:
        return [{**row, "lfs": {**row["lfs"], **changes}} if "lfs" in row else row for row in rows]

    return edit


INFO = "/api/models/acme/frames"
TREE = "*/tree/*"
SUBJECT = "the files of acme/frames at 123456789012"
NOT_JSON = "check HF_ENDPOINT, and that no proxy or login page answers in the hub's place"
WRONG_BYTES = (
    "the publisher or something on the way changed the file: "
    "run vcm lock --upgrade-model frames only if you expected a change"
)
LISTED_OTHERWISE = "what is announced and what is sent do not agree: try again, then tell whoever publishes the file"

BAD_ANSWERS: dict[str, Bad] = {
    "HTML": Bad(
        Fault(path=INFO, status=200, headers={"Content-Type": "text/html"}, body=b"<html>log in"),
        "frames: acme/frames: the hub's answer is not JSON: '<html>log in'",
        NOT_JSON,
    ),
    "truncated JSON": Bad(
        Fault(path=TREE, status=200, body=b'[{"type": "file", "pa'),
        f"""frames: {SUBJECT}: the hub's answer is not JSON: '[{{"type": "file", "pa'""",
        NOT_JSON,
    ),
    "bytes": Bad(
        Fault(path=INFO, status=200, body=b"\xff\xfe\x00"),
        "frames: acme/frames: the hub's answer is not JSON: '\ufffd\ufffd\\x00'",
        NOT_JSON,
    ),
    "a number of 5000 digits": Bad(
        Fault(path=TREE, status=200, body=b'[{"size":' + b"9" * 5000 + b"}]"),
        f"""frames: {SUBJECT}: the hub's answer is not JSON: '[{{"size":{"9" * 51}'""",
        NOT_JSON,
    ),
    "nested without end": Bad(
        Fault(path=TREE, status=200, body=b"[" * 100_000),
        f"frames: {SUBJECT}: the hub's answer is not JSON: '{'[' * 60}'",
        NOT_JSON,
    ),
    "an array for an object": Bad(
        Fault(path=INFO, edit=lambda value: [value]), "frames: acme/frames: the hub's answer has an unexpected shape"
    ),
    "an object for an array": Bad(
        Fault(path=TREE, edit=lambda value: {"files": value}),
        f"frames: {SUBJECT}: the hub's answer has an unexpected shape (tree)",
    ),
    "a branch for a commit": Bad(
        Fault(path=INFO, edit=lambda value: {**value, "sha": "main"}),
        "frames: acme/frames: the hub sends no usable sha",
    ),
    "an id with dots": Bad(
        Fault(path=INFO, edit=lambda value: {**value, "id": "../../etc"}),
        "frames: acme/frames: the hub sends an unusable id '../../etc': a repo id is 'namespace/name'",
    ),
    "a path upwards": Bad(
        Fault(path=TREE, edit=edited(path="a/../../evil")),
        f"frames: {SUBJECT}: the hub sends an unusable path 'a/../../evil': the path has an empty part, '.' or '..'",
    ),
    "an absolute path": Bad(
        Fault(path=TREE, edit=edited(path="/etc/cron.d/evil")),
        f"frames: {SUBJECT}: the hub sends an unusable path '/etc/cron.d/evil': "
        "the path is not relative, or holds a backslash",
    ),
    "a drive": Bad(
        Fault(path=TREE, edit=edited(path="C:evil")),
        f"frames: {SUBJECT}: the hub sends an unusable path 'C:evil': the path begins with a drive letter",
    ),
    "a backslash": Bad(
        Fault(path=TREE, edit=edited(path="..\\evil")),
        f"frames: {SUBJECT}: the hub sends an unusable path '..\\\\evil': "
        "the path is not relative, or holds a backslash",
    ),
    "a path with NUL": Bad(
        Fault(path=TREE, edit=edited(path="a\0b")),
        f"frames: {SUBJECT}: the hub sends an unusable path 'a\\x00b': the path holds characters that cannot be shown",
    ),
    "a path with half a character": Bad(
        Fault(path=TREE, edit=edited(path="a\ud800b")),
        f"frames: {SUBJECT}: the hub sends an unusable path 'a\\ud800b': "
        "the path holds characters that cannot be shown",
    ),
    "a reserved name": Bad(
        Fault(path=TREE, edit=edited(path="aux.json")),
        "frames/aux.json: 'aux.json' is a reserved name on Windows",
        "leave it out with exclude on [models.frames]",
        2,
        "CONFIG_ERROR",
    ),
    "names that differ in case only": Bad(
        Fault(path=TREE, edit=edited(path="readme.MD")),
        'frames: "README.md" and "readme.MD" cannot stand side by side on every system',
        "leave it out with exclude on [models.frames]",
        2,
        "CONFIG_ERROR",
    ),
    "the same file twice": Bad(
        Fault(path=TREE, edit=lambda rows: [*rows, rows[0]]), f"frames: {SUBJECT}: the hub lists README.md twice"
    ),
    "a masked digest": Bad(
        Fault(path=TREE, edit=edited_pointer(oid="*" * 64)),
        "frames: acme/frames: the hub hides the digests of this repo's files",
        error_code="AUTHENTICATION_ERROR",
    ),
    "a short digest": Bad(
        Fault(path=TREE, edit=edited_pointer(oid="abc")),
        f"frames: {SUBJECT}: the hub gives no usable SHA-256 for model.safetensors",
    ),
    "a digest in capitals": Bad(
        Fault(path=TREE, edit=edited_pointer(oid="A" * 64)),
        f"frames: {SUBJECT}: the hub gives no usable SHA-256 for model.safetensors",
    ),
    "two sizes": Bad(
        Fault(path=TREE, edit=edited_pointer(size=7)),
        f"frames: {SUBJECT}: the hub gives two sizes for model.safetensors",
    ),
    "a negative size": Bad(
        Fault(path=TREE, edit=edited(size=-1)), f"frames: {SUBJECT}: the hub sends no usable size for config.json"
    ),
    "a size that is no number": Bad(
        Fault(path=TREE, edit=edited(size=float("nan"))),
        f"frames: {SUBJECT}: the hub sends no usable size for config.json",
    ),
    "a size that is too small": Bad(
        Fault(path=TREE, edit=edited(size=1)),
        "frames/config.json: wrong bytes: expected 1 bytes, got 3 bytes",
        LISTED_OTHERWISE,
        4,
        "CHECKSUM_MISMATCH",
    ),
    "a size that is too large": Bad(
        Fault(path=TREE, edit=edited(size=4)),
        "frames/config.json: wrong bytes: expected 4 bytes, got 3 bytes",
        LISTED_OTHERWISE,
        4,
        "CHECKSUM_MISMATCH",
    ),
    "a redirect in a circle": Bad(
        Fault(path=INFO, status=302, headers={"Location": INFO}, times=None),
        "frames: HUBHOST: more than 10 redirects for one request",
        "the server or a proxy is set up wrongly: check HF_ENDPOINT",
    ),
    "a redirect to a stranger": Bad(
        Fault(path=INFO, status=302, headers={"Location": f"http://evil.example{INFO}"}),
        "frames: HUBHOST: redirects to another host (evil.example)",
        "if you trust it, set HF_ENDPOINT=http://evil.example",
    ),
    "a redirect to a file": Bad(
        Fault(path=INFO, status=302, headers={"Location": "file:///etc/passwd"}),
        "frames: HUBHOST: redirects to something that is no web address",
    ),
    "a next page on a stranger": Bad(
        Fault(path=TREE, headers={"Link": '<http://evil.example/2>; rel="next"'}),
        f"frames: {SUBJECT}: the hub's next page is on another host",
    ),
    "an endless answer": Bad(
        Fault(path=INFO, endless=True),
        "frames: HUB/api/models/acme/frames: the answer is longer than 67108864 bytes",
    ),
    "wrong bytes of a small file": Bad(
        Fault(path="*/resolve-cache/*/config.json", corrupt=True, times=None),
        "frames/config.json: wrong bytes: expected git blob 0967ef424bce6791893e9a57bb952f80fd536e93, "
        "got git blob e8be9b8f9f3be6a0d2ac7a9bd1bbcf1ce1d2c5a9",
        LISTED_OTHERWISE,
        4,
        "CHECKSUM_MISMATCH",
    ),
    "no more requests for hours": Bad(
        Fault(path=INFO, status=429, headers={"Retry-After": "9999"}),
        "frames: acme/frames: too many requests",
        "try again in 9999 s",
    ),
    "an unknown status": Bad(
        Fault(path=INFO, status=418, headers={"X-Error-Message": "short and stout"}),
        "frames: acme/frames: the hub answers 418 (short and stout)",
    ),
}


@pytest.mark.parametrize("case", BAD_ANSWERS)
def test_hub(case, wants_frames, project, cache, hub, vcm, plain, listing, error_of, assert_store_is_whole):
    bad = BAD_ANSWERS[case]
    before = listing(project)
    hub.fail(bad.fault)
    result = vcm("lock", "--json")
    lines = plain(result.err).splitlines()
    if case == "wrong bytes of a small file":
        assert lines[0].rpartition(" ")[0] == f"error: {bad.message}".rpartition(" ")[0]
    else:
        assert lines[0] == f"error: {bad.message}"
    # Every error says what to do next.
    assert len(lines) == 2
    assert lines[1].startswith("hint: ")
    if bad.hint:
        assert lines[1] == f"hint: {bad.hint}"
    assert result.code == bad.code
    error = error_of(result.out)
    assert error["code"] == bad.error_code
    assert error["model"] == "frames"
    assert error["retry_after"] == (9999 if "hours" in case else None)
    assert plain(error["message"]) == lines[0].removeprefix("error: ")
    assert plain(error["hint"]) == lines[1].removeprefix("hint: ") != ""
    assert listing(project) == before
    assert_store_is_whole()
    assert not (cache / "snapshots").exists()
    assert [path for path in (cache / "partial").glob("*") if path.suffix != ".lock"] == []

    hub.clear_faults()
    assert vcm("sync").code == 0
    assert vcm("check").code == 0


def test_a_wait_that_the_hub_asks_for_is_told(wants_frames, hub, vcm):
    hub.fail(Fault(path=INFO, status=429, headers={"Retry-After": "9999"}))
    assert "9999 s" in vcm("lock").err


@pytest.mark.parametrize(
    "link",
    ['<http://[/>; rel="next"', '<http://host:port/>; rel="next"', "<http://host:99999/>; rel=next", 'rel="next"', "<"],
)
def test_a_link_that_is_no_address(link, wants_frames, hub, vcm, listing, project):
    before = listing(project)
    hub.fail(Fault(path=TREE, headers={"Link": link}))
    result = vcm("lock")
    if result.code == 0:
        return
    assert (result.code, result.out) == (3, "")
    assert result.err.startswith("error: frames: ")
    assert listing(project) == before


@pytest.mark.parametrize("location", ["http://[/x", "http://host:port/", "http:///", "http://h:99999/"])
@pytest.mark.parametrize("path", [INFO, "*/resolve/*/config.json"])
def test_a_redirect_to_what_is_no_address_is_refused_at_once(path, location, wants_frames, hub, vcm, listing, project):
    before = listing(project)
    hub.fail(Fault(path=path, status=302, headers={"Location": location}))
    result = vcm("lock")
    assert (result.code, result.out) == (3, "")
    assert result.err.startswith("error: frames")
    assert listing(project) == before
    # Such an answer is no fault of the way: asking again would only take time.
    assert sum(request.path.partition("?")[0] == INFO for request in hub.requests) == 1


@pytest.mark.parametrize("length", ["9" * 5000, "-1", "12abc", "1" * 19])
def test_a_redirect_whose_length_is_no_length(length, wants_frames, hub, vcm):
    hub.fail(Fault(path=INFO, status=302, headers={"Location": "file:///", "Content-Length": length}))
    result = vcm("lock")
    assert (result.code, result.out) == (3, "")
    assert result.err.startswith("error: frames: ")


def test_an_endless_redirect_is_left_alone(wants_frames, vcm_process, hub):
    hub.fail(Fault(path="*/resolve/*/config.json", endless=True))
    process = vcm_process("lock")
    try:
        out, err = process.communicate(timeout=30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        pytest.fail("the body of a redirect is read without end, into memory")
    assert (process.returncode, err) == (0, "")
    assert out.startswith("Locked 1 model, ")


BAD_FILES: dict[str, tuple[Fault, str, str, int, str]] = {
    "wrong bytes": (
        Fault(origin="cdn", corrupt=True, times=None),
        (
            "wrong bytes: expected sha256:c8f5d0341d54d951a71b136e6e2afcb14d11ed8489a7ae126a8fee0df6ecf193, "
            "got sha256:191016cc9f08e7f1187290730ae5ea234aa5e4073168f28b478100dee65988da"
        ),
        WRONG_BYTES,
        4,
        "CHECKSUM_MISMATCH",
    ),
    "a longer file": (
        Fault(origin="cdn", status=200, body=b"x" * 5000, times=None),
        "wrong bytes: expected 4096 bytes, got 5000 bytes",
        WRONG_BYTES,
        4,
        "CHECKSUM_MISMATCH",
    ),
    "a shorter file": (
        Fault(origin="cdn", status=200, body=b"<html>log in", times=None),
        "wrong bytes: expected 4096 bytes, got 12 bytes",
        WRONG_BYTES,
        4,
        "CHECKSUM_MISMATCH",
    ),
    "a redirect in a circle": (
        Fault(
            path=f"*/resolve/*/{WEIGHTS}",
            status=302,
            headers={"Location": f"/acme/frames/resolve/main/{WEIGHTS}"},
            times=None,
        ),
        "HUBHOST: more than 10 redirects for one request",
        "the server or a proxy is set up wrongly: check HF_ENDPOINT",
        3,
        "NETWORK_ERROR",
    ),
    "gone, or private": (
        Fault(path=f"*/resolve/*/{WEIGHTS}", status=401, times=None),
        "acme/frames at 123456789012: no such repo, or it is private",
        (
            "if it is private, set HF_TOKEN to a token that may read it; if it is gone, vcm sync --from DIR takes it "
            "from a machine that has it, vcm lock --upgrade-model frames what there is today"
        ),
        3,
        "NOT_FOUND",
    ),
    "gone from the hub": (
        Fault(path=f"*/resolve/*/{WEIGHTS}", status=404, headers={"X-Error-Code": "EntryNotFound"}, times=None),
        "acme/frames at 123456789012: no such file",
        (
            "what was locked is gone from the hub: vcm sync --from DIR takes it from a machine that has it, "
            "vcm lock --upgrade-model frames what there is today"
        ),
        3,
        "NOT_FOUND",
    ),
    "forbidden": (
        Fault(path=f"*/resolve/*/{WEIGHTS}", status=403, times=None),
        "acme/frames at 123456789012: access denied",
        "set HF_TOKEN to a token that may read it",
        3,
        "AUTHENTICATION_ERROR",
    ),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_file(case, locked, project, cache, hub, vcm, plain, listing, assert_store_is_whole):
    fault, message, hint, code, error_code = BAD_FILES[case]
    before = listing(project)
    hub.fail(fault)
    text = vcm("sync")
    assert (text.code, text.out, plain(text.err)) == (
        code,
        "Installed 0 models: 0 B fetched\n ! frames  123456789012  failed\n",
        f"fetching 1 file, 4.1 kB\nerror: frames/{WEIGHTS}: {message}\nhint: {hint}\n",
    )
    document = vcm("sync", "--json")
    assert document.code == code
    error = {
        "code": error_code,
        "message": f"frames/{WEIGHTS}: {message}",
        "hint": hint,
        "model": "frames",
        "retry_after": None,
    }
    assert json.loads(plain(document.out)) == {
        "models": [
            {
                "name": "frames",
                "version": None,
                "commit": COMMIT,
                "path": None,
                "status": "failed",
                "bytes_fetched": 0,
                "bytes_reused": 0,
                "error": error,
            }
        ],
        "bytes_fetched": 0,
        "bytes_reused": 0,
        "error": error,
    }
    assert listing(project) == before
    assert_store_is_whole()
    assert not (cache / "snapshots").exists()
    hub.clear_faults()
    assert vcm("sync").code == 0
    assert vcm("verify").code == 0


def test_an_endless_file(locked, hub, vcm, assert_store_is_whole):
    hub.fail(Fault(origin="cdn", endless=True, times=None))
    result = vcm("sync")
    assert (result.code, result.err) == (
        4,
        (
            "fetching 1 file, 4.1 kB\n"
            "error: frames/model.safetensors: wrong bytes: expected 4096 bytes, got more than 4096 bytes\n"
            f"hint: {WRONG_BYTES}\n"
        ),
    )
    assert_store_is_whole()
    hub.clear_faults()
    assert vcm("sync").code == 0
    assert vcm("verify").code == 0


def test_a_file_that_the_cdn_does_not_have_is_no_missing_repo(locked, hub, vcm):
    hub.fail(Fault(origin="cdn", status=404, times=None))
    result = vcm("sync")
    assert result.code == 3
    assert "error: frames/model.safetensors: " in result.err
    assert "no such repo" not in result.err
    assert "check the spelling" not in result.err


def test_a_failed_add_leaves_nothing(project, vcm, hub, frames, listing, cache):
    vcm("init")
    before = listing(project)
    hub.fail(Fault(path=TREE, edit=edited(path="../evil")))
    result = vcm("add", "frames", "acme/frames")
    assert (result.code, result.out) == (3, "")
    assert listing(project) == before
    assert not [path for path in cache.rglob("*") if path.is_file() and "hub-metadata" not in path.parts]
    assert vcm("add", "frames", "acme/frames").code == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["add", "Frames", "acme/frames"], "a model's name is made of a-z, 0-9, '.', '_' and '-'"),
        (["add", "frames", "acme/../frames"], '"acme/../frames" names no model: a repo id is'),
        (["add", "frames", ""], '"" names no model'),
        (["add", "", "acme/frames"], "a model's name is made of"),
        (["add", "frames", "acme/frames~=1"], "a version is a PEP 440 specifier"),
        (["add", "frames", "acme/frames@../.."], "a revision is the name of a branch, a tag or a commit"),
        (["add", "frames", "ftp://h.example/x"], "names no model"),
        (["add", "frames", "https://h.example/x.onnx", "--include", "*"], '"include" goes with "repo", not with "url"'),
        (["add", "frames", "acme/frames", "--include", ""], "expected a string that is not empty"),
        (["add", "frames", "acme/frames", "--group", "A B"], "a group's name is made of"),
        (["remove", "frames"], 'models.toml has no model "frames"'),
        (["path", "frames"], 'no model "frames" in models.toml'),
        (["show", "frames"], 'no model "frames" in models.toml'),
        (["lock", "--upgrade-model", "frames"], 'no model "frames" in models.toml'),
        (["sync", "--group", "audio"], 'no model is in a group "audio"'),
        (["sync", "--from", "nowhere"], "--from nowhere: no such folder or bundle"),
        (["check", "--group", "audio"], 'no model is in a group "audio"'),
    ],
)
def test_arguments(arguments, message, project, vcm, listing, hub):
    vcm("init")
    vcm("lock")
    before = listing(project)
    result = vcm(*arguments)
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith("error: ")
    assert message in result.err
    assert listing(project) == before
    assert hub.requests == []


def test_a_password_in_an_address_is_not_repeated(project, vcm):
    vcm("init")
    result = vcm("add", "frames", "https://me:hunter2@h.example/x.onnx")
    assert result.code == 2
    assert "a URL must not carry a user name or password" in result.err
    assert "hunter2" not in result.err


@pytest.mark.parametrize("arguments", [["add", "\udcff", "acme/x"], ["add", "x", "acme/frames", "--include", "\udcff"]])
def test_arguments_that_are_no_text(arguments, project, vcm, frames, listing):
    vcm("init")
    before = listing(project)
    result = vcm(*arguments)
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith("error: ")
    assert listing(project) == before


def test_init_in_a_folder_whose_name_is_no_text(tmp_path, project, vcm):
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff"))
    try:
        folder.mkdir()
    except OSError:
        pytest.skip("this file system holds text only")
    result = vcm("--project", folder, "init")
    assert result.code in (0, 2)
    if result.code == 0:
        parse_manifest((folder / "models.toml").read_bytes(), vcm_version="1.0")


def test_init_at_the_root(fs, monkeypatch, capsys):
    from vcm.cli.app import main

    monkeypatch.chdir("/")
    assert main(["init"]) == 0, capsys.readouterr().err
    parse_manifest(Path("/models.toml").read_bytes(), vcm_version="1.0")


def test_a_working_folder_that_is_gone(vcm_process, tmp_path, monkeypatch):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    for command in ("list", "init", "sync"):
        out, err = vcm_process(command).communicate(timeout=10)
        assert out == ""
        assert err.startswith("error: ")
        assert "Traceback" not in err


def test_no_hub(cache):
    endpoint = f"http://127.0.0.1:{closed_port()}"
    waits: list[float] = []
    session = Session(Settings(cache_dir=cache, endpoint=endpoint), sleep=waits.append)
    manifest = parse_manifest(b'[models.frames]\nrepo = "acme/frames"\n', vcm_version="1.0")
    try:
        with pytest.raises(VcmError) as caught:
            session.resolve(manifest, None)
    finally:
        session.close()
    assert waits == [2.0, 4.0, 8.0]
    assert str(caught.value) == f"frames: {endpoint.partition('://')[2]}: connection refused"
    assert caught.value.hint == (
        "check the network, HTTPS_PROXY and HF_ENDPOINT; without a network use --offline or --from DIR"
    )
    assert (caught.value.exit_code, caught.value.error_code) == (3, "NETWORK_ERROR")
    assert not cache.exists()


def test_offline(locked, vcm, hub, listing, project, cache):
    before = listing(project)
    result = vcm("sync", "--offline")
    assert (result.code, result.out, result.err) == (
        1,
        "Installed 0 models: 0 B fetched\n ! frames  123456789012  failed\n",
        (
            "error: frames/model.safetensors: not in the store, and this run is offline (4.1 kB)\n"
            "hint: run vcm sync where the hub can be reached, or vcm sync --from with a bundle or folder that has it\n"
        ),
    )
    locked.unlink()
    shutil.rmtree(cache / "hub-metadata")
    unknown = [
        f"error: {model}: what the hub says of {repo} is not in the metadata cache, and this run is offline\n"
        "hint: run it once without --offline, VCM_OFFLINE and HF_HUB_OFFLINE: what the hub says then serves offline "
        "too\n"
        for model, repo in (("a", "acme/x"), ("frames", "acme/frames"))
    ]
    for command, errors in ((["lock", "--offline"], unknown[1:]), (["add", "a", "acme/x", "--offline"], unknown)):
        result = vcm(*command)
        assert (result.code, result.out, result.err) == (3, "", "".join(errors))
    assert hub.requests == []
    assert listing(project) == {name: digest for name, digest in before.items() if name != "models.lock"}


def test_a_cache_that_is_a_file(wants_frames, project, cache, vcm, plain, listing):
    cache.write_bytes(b"precious")
    before = listing(project)
    result = vcm("sync")
    assert (result.code, result.out, plain(result.err)) == (
        5,
        "",
        (
            "error: frames: cannot use TMP/cache/blobs/sha256: not a directory\n"
            "hint: check who owns it, or choose another folder with --cache-dir\n"
        ),
    )
    assert listing(project) == before
    assert cache.read_bytes() == b"precious"
    cache.unlink()
    assert vcm("sync").code == 0
    assert vcm("check").code == 0


def test_a_cache_that_is_read_only(locked, cache, tmpfs, vcm, plain, listing, project, hub):
    folder = tmpfs("size=1m")
    remount = ["mount", "-o", "remount,ro", str(folder)]
    subprocess.run(remount, check=True, capture_output=True, timeout=10)
    before = listing(project)
    result = vcm("sync", "--cache-dir", folder)
    assert (result.code, result.out) == (5, "")
    lines = plain(result.err).splitlines()
    assert lines[0].startswith("error: cannot use TMP/tmpfs0")
    assert lines[0].endswith(": the file system is read-only")
    assert lines[1:] == ["hint: check who owns it, or choose another folder with --cache-dir"]
    assert listing(project) == before
    assert list(folder.iterdir()) == []
    assert hub.requests == []
    assert vcm("sync").code == 0


def test_an_installed_model_in_a_read_only_cache_is_used(locked, tmpfs, vcm):
    folder = tmpfs("size=1m")
    assert vcm("sync", "--cache-dir", folder).code == 0
    shutil.rmtree(folder / "verified")
    shutil.rmtree(folder / "partial")
    subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True, capture_output=True, timeout=10)
    for command in ("check", "verify", "sync"):
        result = vcm(command, "--cache-dir", folder)
        assert (result.code, result.err.replace("verifying 1 model, 4.1 kB\n", "")) == (0, "")


def test_a_cache_that_is_full(locked, tmpfs, vcm, plain, listing, project, hub):
    folder = tmpfs("size=64k")
    filler = folder / "filler"
    with contextlib.suppress(OSError), filler.open("wb", buffering=0) as stream:
        while stream.write(b"x" * 4096):
            pass
    before = listing(project)
    result = vcm("sync", "--cache-dir", folder)
    assert (result.code, result.out, plain(result.err)) == (
        5,
        "",
        (
            "error: 4.1 kB are still to fetch, which needs 8.2 kB free in TMP/tmpfs0; 0 B are free, 8.2 kB too little\n"
            "hint: free some space, choose another folder with --cache-dir, or lower disk-headroom under [cache]\n"
        ),
    )
    assert listing(project) == before
    assert hub.requests == []
    filler.unlink()
    assert vcm("sync", "--cache-dir", folder).code == 0


def test_a_cache_that_fills_up_on_the_way(locked, tmpfs, vcm, plain, listing, project):
    # Room for bytes, but for no further file: the disk is full in the middle of the work.
    folder = tmpfs("size=1m,nr_inodes=6")
    before = listing(project)
    result = vcm("sync", "--cache-dir", folder)
    assert result.code == 5
    lines = [line for line in plain(result.err).splitlines() if not line.startswith("fetching ")]
    assert lines[0].startswith("error: ")
    assert "no space left for TMP/tmpfs0" in lines[0]
    assert lines[1] == ("hint: free some space or choose another folder with --cache-dir, then run the command again")
    assert listing(project) == before
    assert not list(folder.glob("snapshots/*"))
    subprocess.run(["mount", "-o", "remount,nr_inodes=0", str(folder)], check=True, capture_output=True, timeout=10)
    assert vcm("sync", "--cache-dir", folder).code == 0
    assert vcm("verify", "--cache-dir", folder).code == 0


@pytest.fixture
def full_project(tmpfs: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A project on a disk with room for one more page, which a manifest fits into and a long lock does not."""
    folder = tmpfs("size=64k")
    (folder / "models.toml").write_text("# mine\n")
    with contextlib.suppress(OSError), (folder / "filler").open("wb", buffering=0) as stream:
        while stream.write(b"x" * 4096):
            pass
    with (folder / "filler").open("r+b") as stream:
        stream.truncate((folder / "filler").stat().st_size - 4096)
    here = Path.cwd()
    monkeypatch.chdir(folder)
    yield folder
    os.chdir(here)


def test_a_project_that_fills_up_between_manifest_and_lock(hub, full_project, vcm):
    hub.add_repo("acme/many", {f"{number}.onnx": bytes([number]) for number in range(60)})
    result = vcm("add", "many", "acme/many", "--project", full_project)
    assert (result.code, result.out) == (5, "")
    assert result.err.startswith("error: ")
    # A manifest without its lock would be half an edit.
    assert (full_project / "models.toml").read_text() == "# mine\n"
    assert sorted(path.name for path in full_project.iterdir()) == ["filler", "models.toml"]


def test_a_read_only_project_is_named_by_its_own_files(frames, tmpfs, vcm, plain):
    folder = tmpfs("size=1m")
    (folder / "models.toml").write_text('[models.frames]\nrepo = "acme/frames"\n')
    subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True, capture_output=True, timeout=10)
    result = vcm("lock", "--project", folder)
    assert (result.code, result.out, plain(result.err)) == (
        5,
        "",
        (
            "error: cannot use TMP/tmpfs0/models.lock: the file system is read-only\n"
            "hint: make the project's folder writable\n"
        ),
    )


def test_standard_output_that_is_full(synced, project):
    if not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full here")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    for extra in ({}, {"PYTHONUNBUFFERED": "1"}):
        with Path("/dev/full").open("w") as full:
            result = subprocess.run(
                [sys.executable, "-m", "vcm", "list"],
                stdout=full,
                stderr=subprocess.PIPE,
                text=True,
                timeout=20,
                env=environment | extra,
                check=False,
            )
        assert result.returncode == 5
        assert result.stderr.startswith("error: ")
        assert "Traceback" not in result.stderr


def test_no_standard_error(synced, project):
    result = subprocess.run(
        ["sh", "-c", '"$0" -m vcm sync 2>&-', sys.executable], capture_output=True, text=True, timeout=20, check=False
    )
    assert (result.returncode, result.stdout) == (0, "Nothing to do: 1 model installed, no network used\n")


def test_names_that_the_terminal_cannot_show(hub, manifest, vcm, project):
    hub.add_repo("acme/french", {"modèle.json": b"{}"})
    manifest('[models.french]\nrepo = "acme/french"\n')
    assert vcm("sync").code == 0
    for command in (["show", "french"], ["show", "french", "--json"], ["path", "french", "modèle.json"]):
        result = subprocess.run(
            [sys.executable, "-m", "vcm", *command],
            capture_output=True,
            timeout=20,
            check=False,
            env=os.environ | {"PYTHONIOENCODING": "ascii"},
        )
        assert (result.returncode, result.stderr) == (0, b"")
    assert json.loads(vcm("show", "french", "--json").out)["files"][0]["path"] == "modèle.json"
