"""The token goes to the hub's origin, and nowhere else: no output, no lock, no file, no other server."""

# ruff: noqa: PLR0917  (pytest hands fixtures over by name)
from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import TOKEN
from vcm.testing import Fault, HubSimulator, LoggedRequest

SECRET = TOKEN
COMMIT = "1234567890" * 4
INFO = "/api/models/acme/gated"


@pytest.fixture(autouse=True)
def _token(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", SECRET)


@pytest.fixture
def gated(hub, manifest):
    repo = hub.add_repo(
        "acme/gated", {"config.json": b"{}\n", "model.safetensors": b"w" * 4096}, commit=COMMIT, gated="manual"
    )
    hub.grant(SECRET, "acme/gated")
    manifest('[models.gated]\nrepo = "acme/gated"\n')
    return repo


@pytest.fixture
def secretive(vcm, project, tmp_path):
    """Runs a command and looks for the token everywhere."""

    def run(*arguments):
        result = vcm(*arguments)
        assert SECRET not in result.out
        assert SECRET not in result.err
        for path in tmp_path.rglob("*"):
            assert SECRET not in str(path)
            if path.is_file():
                assert SECRET.encode() not in path.read_bytes(), path
        return result

    return run


def carried(hub: HubSimulator, origin: str | None = None) -> list[LoggedRequest]:
    return [
        request for request in hub.requests if "authorization" in request.headers and origin in (None, request.origin)
    ]


def test_everything_that_works(gated, hub, secretive):
    for arguments in (
        ["lock", "-vv"], ["lock", "--upgrade", "--json"], ["sync", "-vv"], ["sync", "--json"],
        ["check", "-vv", "--json"], ["verify", "-vv"], ["list"], ["show", "gated", "--json"], ["path", "gated"],
    ):  # fmt: skip
        assert secretive(*arguments).code == 0
    assert {request.headers["authorization"] for request in carried(hub)} == {f"Bearer {SECRET}"}
    assert carried(hub, "hub")
    assert any(request.origin == "cdn" for request in hub.requests)
    assert carried(hub, "cdn") == []


def test_access_that_is_not_granted(gated, hub, secretive, plain):
    gated.access.clear()
    expected = (
        "error: gated: acme/gated: the repo is gated, and access was not granted (Access to model acme/gated is "
        "restricted and you are not in the authorized list. Visit https://huggingface.co/acme/gated to ask for "
        "access.)\n"
        "hint: accept its terms at HUB/acme/gated with the account whose token is in HF_TOKEN\n"
    )
    for arguments in (["lock"], ["lock", "--json"], ["lock", "-vv"], ["add", "x", "acme/gated"]):
        result = secretive(*arguments)
        assert result.code == 3
        assert plain(result.err).replace("error: gated and x:", "error: gated:").endswith(expected)
    # Access is asked for before any byte of a large file.
    assert all(request.origin == "hub" and "/resolve/" not in request.path for request in hub.requests)


def test_access_without_a_token(gated, hub, vcm, plain, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")
    result = vcm("lock")
    assert (result.code, result.out, plain(result.err)) == (
        3,
        "",
        (
            "error: gated: acme/gated: the repo is gated, and access was not granted\n"
            "hint: accept its terms at HUB/acme/gated, then set HF_TOKEN to a token of that account\n"
        ),
    )
    assert carried(hub) == []


def test_access_that_is_lost_between_lock_and_sync(gated, hub, secretive, plain):
    assert secretive("lock").code == 0
    gated.access.clear()
    result = secretive("sync", "-vv")
    assert result.code == 3
    assert "error: gated/model.safetensors: acme/gated: " in result.err
    assert ": the repo is gated, and access was not granted" in result.err
    assert "hint: accept its terms at HUB/acme/gated with the account whose token is in HF_TOKEN\n" in plain(result.err)


def test_a_token_that_is_not_valid(gated, secretive, plain, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_expired")
    result = secretive("lock", "-vv")
    assert result.code == 3
    assert "hf_expired" not in result.err
    assert plain(result.err).endswith(
        "error: gated: acme/gated: the hub does not accept the token in HF_TOKEN\n"
        "hint: make a new one at HUB/settings/tokens, or unset it for public repos\n"
    )


@pytest.mark.parametrize(
    "fault",
    [
        Fault(path=INFO, status=403, headers={"X-Error-Message": f"{SECRET} may not"}),
        Fault(path=INFO, status=418, headers={"X-Error-Message": f"Bearer {SECRET}"}),
        Fault(path=INFO, status=200, body=f"<html>authorization: Bearer {SECRET}".encode()),
        Fault(path=INFO, status=302, headers={"Location": f"http://{SECRET}.example/"}),
        Fault(path="*/tree/*", edit=lambda rows: [{**rows[0], "path": f"../{SECRET}"}]),
    ],
    ids=["refusal", "status", "body", "redirect", "path"],
)
@pytest.mark.parametrize("option", ["-v", "-vv", "--json"])
def test_a_server_that_repeats_the_token(fault, option, gated, hub, secretive):
    # A proxy's page of diagnosis, say; it ends in a log of the build otherwise.
    hub.fail(fault)
    assert secretive("lock", option).code == 3


def test_signatures_are_not_shown(gated, hub, vcm):
    assert vcm("lock").code == 0
    hub.fail(Fault(origin="cdn", status=404, times=None))
    for option in ("-v", "-vv", "--json"):
        result = vcm("sync", option)
        assert result.code == 3
        assert any("Signature=" in request.path for request in hub.requests)
        assert "Signature=" not in result.out + result.err


@pytest.fixture
def stranger():
    with HubSimulator(tokens=[SECRET]) as other:
        yield other


def test_an_endpoint_of_the_manifest_gets_no_token(stranger, manifest, secretive, monkeypatch):
    monkeypatch.delenv("HF_ENDPOINT", raising=False)
    stranger.add_repo("acme/frames", {"config.json": b"{}\n", "model.safetensors": b"w" * 4096}, commit=COMMIT)
    manifest(f'[models.frames]\nrepo = "acme/frames"\n[hub]\nendpoint = "{stranger.endpoint}"\n')
    notice = (
        f"note: the token in HF_TOKEN is not sent to {stranger.endpoint}, which only models.toml names; "
        f"if you trust it, set HF_ENDPOINT={stranger.endpoint}\n"
    )
    first = secretive("lock")
    assert (first.code, first.err) == (0, notice)
    assert secretive("sync").err == "fetching 1 file, 4.1 kB\n" + notice
    assert stranger.requests
    assert carried(stranger) == []
    monkeypatch.setenv("HF_ENDPOINT", stranger.endpoint)
    trusted = secretive("lock", "--upgrade")
    assert (trusted.code, trusted.err) == (0, "")
    assert carried(stranger)


def test_the_users_endpoint_wins(gated, hub, stranger, manifest, secretive):
    manifest(f'[models.gated]\nrepo = "acme/gated"\n[hub]\nendpoint = "{stranger.endpoint}"\n')
    result = secretive("lock")
    assert (result.code, result.err) == (0, "")
    assert stranger.requests == []


def test_a_redirect_to_a_stranger_carries_no_token(gated, hub, stranger, secretive):
    assert secretive("lock").code == 0
    address = stranger.add_file("model.safetensors", b"w" * 4096)
    hub.fail(Fault(path="*/resolve/*", status=302, headers={"Location": address}))
    assert secretive("sync").code == 0
    assert stranger.requests
    assert carried(stranger) == []


def test_a_file_elsewhere_gets_no_token(hub, stranger, manifest, secretive):
    manifest(f'[models.a]\nurl = "{stranger.add_file("a.onnx", b"a")}"\n')
    assert secretive("sync").code == 0
    assert stranger.requests
    assert carried(stranger) == []


def test_a_netrc_is_not_read(gated, hub, stranger, manifest, secretive, tmp_path, monkeypatch):
    home = tmp_path / "home"
    home.mkdir()
    netrc = home / ".netrc"
    netrc.write_text("default login me password hunter2\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setenv("HF_TOKEN_PATH", str(tmp_path / "none"))
    manifest(f'[models.a]\nurl = "{stranger.add_file("a.onnx", b"a")}"\n')
    assert secretive("sync").code == 0
    assert carried(stranger) == []


@pytest.mark.parametrize(
    "text", ["hf_abc\ndef", "hf_abc\r\nX-Evil: 1", "hf abc", "hf_\u00e4bc", "hf_\x00".strip("\x00") + "\x07"]
)
def test_a_damaged_token(text, gated, hub, vcm, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", text)
    result = vcm("lock")
    assert (result.code, result.out, result.err) == (
        2,
        "",
        "error: the token in HF_TOKEN holds characters no token has\nhint: set HF_TOKEN again\n",
    )
    assert hub.requests == []


def test_blanks_around_a_token_do_no_harm(gated, hub, secretive, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", f"  {SECRET}\n")
    assert secretive("lock").code == 0


def test_a_damaged_token_does_not_close_the_gate(gated, vcm, monkeypatch):
    assert vcm("sync").code == 0
    monkeypatch.setenv("HF_TOKEN", "hf_abc\ndef")
    # Nothing here needs the hub.
    for arguments in (["check"], ["list"], ["path", "gated"]):
        assert vcm(*arguments).code == 0


@pytest.mark.parametrize("way", ["HF_TOKEN_PATH", "HF_HOME", "HUGGING_FACE_HUB_TOKEN", "XDG_CACHE_HOME"])
def test_where_a_token_may_be(way, gated, hub, vcm, tmp_path, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.delenv("HF_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    places = {
        "HF_TOKEN_PATH": tmp_path / "secrets" / "mine",
        "HF_HOME": tmp_path / "hf" / "token",
        "XDG_CACHE_HOME": tmp_path / "xdg" / "huggingface" / "token",
    }
    if way in places:
        places[way].parent.mkdir(parents=True)
        places[way].write_text(f"{SECRET}\n")
        value = {"HF_HOME": tmp_path / "hf", "XDG_CACHE_HOME": tmp_path / "xdg"}.get(way, places[way])
        monkeypatch.setenv(way, str(value))
    else:
        monkeypatch.setenv(way, SECRET)
    assert vcm("lock").code == 0
    assert {request.headers.get("authorization") for request in hub.requests} == {f"Bearer {SECRET}"}
    gated.access.clear()
    result = vcm("lock", "--upgrade")
    assert f"token is in {places.get(way, way)}\n" in result.err
    assert SECRET not in result.err


def test_no_implicit_token(gated, hub, vcm, monkeypatch):
    monkeypatch.setenv("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")
    assert vcm("lock").code == 3
    assert hub.requests
    assert carried(hub) == []


def test_a_strangers_manifest_does_not_read_the_environment(hub, frames, manifest, secretive, monkeypatch, tmp_path):
    monkeypatch.delenv("VCM_CACHE_DIR")
    manifest(f'[models.frames]\nrepo = "acme/frames"\n[cache]\ndir = "{tmp_path}/$HF_TOKEN"\n')
    assert secretive("sync", "--json").code == 0


def test_the_token_is_in_no_argument_and_no_representation(gated, cache):
    from vcm.http.client import Address
    from vcm.settings import read_settings

    settings = read_settings()
    assert settings.token is not None
    assert settings.token.text == SECRET
    assert SECRET not in repr(settings)
    assert SECRET not in repr(Address("https://h.example", SECRET))
    assert SECRET not in str(settings.token)


def test_a_program_that_crashes_shows_no_token(gated, project):
    text = "import vcm\nvcm.gate()\n"
    result = subprocess.run(
        [sys.executable, "-c", text], capture_output=True, text=True, timeout=20, check=False, env=os.environ
    )
    assert result.returncode == 1
    assert "LockError: no models.lock in" in result.stderr
    assert SECRET not in result.stderr
    assert Path(project / "models.toml").exists()
