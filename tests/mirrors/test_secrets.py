"""What a mirror is trusted with stays between us and it, whatever it and those around it do."""

from __future__ import annotations

import base64
import json
import os
import socket
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.conftest import TOKEN
from tests.loopback import Asked
from tests.mirrors.conftest import DATA, DIGEST, mirror_at
from vcm.core.mirrors import Mirror

PASSWORD = "kept/secret pw"
QUOTED = "kept%2Fsecret%20pw"
BASIC = base64.b64encode(f"me:{PASSWORD}".encode()).decode()
HEADER = "header-of-the-mirror"
SIGNATURE = "signed-for-us"
SECRETS = (PASSWORD, QUOTED, BASIC, HEADER, SIGNATURE, TOKEN)


def everything_below(*folders: Path) -> str:
    """Names and contents of all files."""
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    return "".join(f"{path}\n{path.read_bytes().decode('latin-1')}" for path in files)


def echo(http_answer: Callable[..., bytes], status: int, location: str = "") -> Callable[[socket.socket, Asked], None]:
    """A server that repeats all that it was told, wherever that is possible."""

    def answer(connection: socket.socket, asked: Asked) -> None:
        names = ("authorization", "x-key", *asked.headers)
        basic = asked.headers.get("authorization", "").removeprefix("Basic ")
        told = " ".join(
            [base64.b64decode(basic).decode(), *(asked.headers.get(name, "") for name in names), asked.target]
        )
        said = {"X-Error-Message": told, "WWW-Authenticate": f'Basic realm="{told}"', "Retry-After": "0"}
        if location:
            said["Location"] = f"{location}?told={told.replace(' ', '+')}"
        escaped = json.dumps({"errors": [{"code": "DENIED", "message": told}], "error": told}).replace("/", "\\/")
        body = escaped.encode()
        connection.sendall(http_answer(status, {"Content-Type": "application/json", **said}, body))

    return answer


@pytest.fixture
def machine(hub, model, manifest, vcm, monkeypatch, tmp_path):
    """A locked project, and a machine with a token and a mirror that wants passwords, headers and a signature."""
    manifest('[models.m]\nrepo = "acme/m"\n')
    assert vcm("lock").code == 0
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))

    def use(url: str) -> None:
        host = urlsplit(url).netloc
        path = tmp_path / "config" / "vcm" / "config.toml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(
            f'[[mirror]]\nname = "web"\nheaders = {{ "X-Key" = "{HEADER}" }}\n'
            f'url = "http://me:{QUOTED}@{host}/{{sha256}}?sig={SIGNATURE}"\n'
            f'[[mirror]]\nname = "registry"\nheaders = {{ "X-Key" = "{HEADER}" }}\n'
            f'url = "oci+http://me:{QUOTED}@{host}/models/{{repo}}"\n'
        )

    return use


@pytest.mark.parametrize("status", [200, 308, 401, 403, 429])
def test_no_output_repeats_what_a_mirror_repeats(machine, loopback, http_answer, vcm, cache, status):
    away = "http://127.0.0.1:9/gone" if status in {301, 308} else ""
    server = loopback(echo(http_answer, status, away))
    machine(server.url)
    checked = vcm("mirror", "check", "--deep", "-vv")
    synced = [vcm("sync", "--no-origin", how) for how in ("-vv", "--json")]
    said = "".join(each.out + each.err for each in (*synced, checked, vcm("mirror", "list", "--json")))
    assert server.asked
    assert "registry" in said
    assert [secret for secret in SECRETS if secret in said] == []
    there = everything_below(cache, Path.cwd())
    assert [secret for secret in SECRETS if secret in there] == []


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("kind", ["web", "registry"])
def test_where_a_mirror_leads_to_gets_the_request_only(  # noqa: PLR0917  (a row of the table)
    machine, loopback, http_answer, stranger, vcm, kind, status
):
    def away(connection, asked):
        is_wanted = asked.target.startswith("/v2/") == (kind == "registry")
        if is_wanted and asked.target.startswith("/v2/") and "authorization" not in asked.headers:
            connection.sendall(http_answer(401, {"WWW-Authenticate": 'Basic realm="x"'}))
        elif is_wanted:
            connection.sendall(http_answer(status, {"Location": f"{stranger.url}/there"}))
        else:
            connection.sendall(http_answer(404))

    server = loopback(away)
    machine(server.url)
    assert vcm("sync").code == 0
    mine = [each for each in server.asked if each.target.startswith("/v2/") == (kind == "registry")]
    assert mine[-1].headers["authorization"] == f"Basic {BASIC}"
    assert mine[-1].headers["x-key"] == HEADER
    assert stranger.asked
    for each in stranger.asked:
        assert each.headers.keys() <= {"host", "user-agent", "accept", "accept-encoding", "range"}
        assert each.target == "/there"


def test_the_token_goes_to_no_mirror_not_even_at_the_hubs_own_address(hub, sync):
    at_home = f"{hub.endpoint}/{{repo}}/resolve/{{commit}}/{{path}}"
    run = sync(mirror_at("home", at_home), token=TOKEN)
    run.assert_installed()
    assert run.result.supplied == {"home": len(DATA)}
    assert {request.headers.get("authorization") for request in hub.requests} == {None}


@pytest.mark.parametrize(
    "location", ["file:///etc/passwd", "ftp://127.0.0.1/x", "gopher://x", "http://[", "javascript:1", "unix:/x"]
)
@pytest.mark.parametrize("kind", ["http", "oci"])
def test_a_redirect_leads_to_web_addresses_only(hub, loopback, http_answer, sync, location, kind):
    server = loopback(http_answer(302, {"Location": location}))
    url = server.url if kind == "http" else f"oci://127.0.0.1:{server.port}/models/{{repo}}"
    run = sync(Mirror(name="m", url=url))
    run.assert_installed()
    assert run.result.supplied == {None: len(DATA)}
    assert len(server.asked) == 1


@pytest.mark.parametrize("what", ["fifo", "device", "link", "folder"])
def test_what_is_no_file_is_not_opened(hub, sync, tmp_path, what):
    place = tmp_path / "rack" / "blobs" / "sha256" / DIGEST
    place.parent.mkdir(parents=True)
    if what == "fifo":
        os.mkfifo(place)
    elif what == "folder":
        place.mkdir()
    else:
        place.symlink_to("/dev/zero" if what == "device" else "/proc/self/fd/0")
    run = sync(mirror_at("rack", (tmp_path / "rack").as_uri()))
    run.assert_installed()
    assert run.result.supplied == {None: len(DATA)}
