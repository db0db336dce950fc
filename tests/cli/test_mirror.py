"""``vcm mirror``: which mirrors are in force, and what they have of the lock; against real servers."""

from __future__ import annotations

import json
import shutil
from hashlib import sha256

import pytest
import requests

from tests.cli.conftest import FILES, WEIGHTS
from tests.conftest import closed_port
from tests.loopback import http_answer
from tests.servers import needs

DIGESTS = {path: sha256(data).hexdigest() for path, data in FILES.items()}


@pytest.fixture
def folder(synced, cache, tmp_path):
    """A mirror that has all of it: a copy of the store's blobs that may be written into."""
    folder = tmp_path / "mirror"
    shutil.copytree(cache / "blobs" / "sha256", folder / "blobs" / "sha256")
    for path in (folder / "blobs" / "sha256").iterdir():
        path.chmod(0o644)
    return folder


@pytest.fixture
def blob(folder):
    """Where the mirror has one of the model's files."""
    return lambda path: folder / "blobs" / "sha256" / DIGESTS[path]


@needs("nginx")
def test_nginx_over_a_store(synced, hub, cache, nginx, vcm, monkeypatch):
    server = nginx(cache)
    monkeypatch.setenv("VCM_MIRRORS", f"rack={server.url}")
    result = vcm("mirror", "check")
    assert (result.code, result.out, result.err) == (0, "rack: all 3 files (4.1 kB)\n", "")
    asked = [line.split() for line in server.log.read_text().splitlines()]
    assert sorted(line[2:4] for line in asked) == sorted(["HEAD", f"/blobs/sha256/{each}"] for each in DIGESTS.values())
    result = vcm("mirror", "check", "--deep", "rack")
    assert (result.code, result.out) == (0, "rack: all 3 files (4.1 kB), every byte verified\n")
    assert result.err == "checking 3 files of mirror rack, 4.1 kB\n"
    assert sum(int(line.split()[1]) for line in server.log.read_text().splitlines()) == sum(map(len, FILES.values()))
    assert not hub.requests


@needs("nginx")
def test_what_a_mirror_lacks_is_named(folder, blob, nginx, vcm, monkeypatch):
    monkeypatch.setenv("VCM_MIRRORS", f"rack={nginx(folder).url} nfs={folder.as_uri()}")
    blob("README.md").unlink()
    blob("config.json").write_bytes(b"{ }\n")
    blob("model.safetensors").write_bytes(WEIGHTS[::-1])
    lines = "  frames/README.md: missing\n  frames/config.json: wrong bytes: expected 3 bytes, got 4 bytes\n"
    result = vcm("mirror", "check")
    assert (result.code, result.err) == (1, "")
    assert result.out == f"rack: 1 of 3 files (4.1 kB)\n{lines}nfs: 1 of 3 files (4.1 kB)\n{lines}"
    result = vcm("mirror", "check", "--deep", "-q")
    other = f"expected sha256:{DIGESTS['model.safetensors']}, got sha256:{sha256(WEIGHTS[::-1]).hexdigest()}"
    assert (result.code, result.err) == (1, "")
    assert result.out.splitlines() == [
        "rack: 0 of 3 files (0 B)",
        "  frames/README.md: missing",
        # Of what is sent, no more is read than what there should be.
        "  frames/config.json: wrong bytes: expected 3 bytes, got more",
        f"  frames/model.safetensors: wrong bytes: {other}",
        "nfs: 0 of 3 files (0 B)",
        "  frames/README.md: missing",
        "  frames/config.json: wrong bytes: expected 3 bytes, got 4 bytes",
        f"  frames/model.safetensors: wrong bytes: {other}",
    ]
    assert vcm("mirror", "check", "nfs").out.startswith("nfs: 1 of 3 files")


@needs("docker-registry")
def test_a_registry(synced, registry, vcm, manifest, monkeypatch):
    manifest(
        f'[[mirror]]\nname = "registry"\nurl = "oci://{registry.host}/models/{{repo}}"\n'
        '[models.frames]\nrepo = "acme/frames"\n'
    )
    result = vcm("mirror", "check")
    assert (result.code, result.out) == (
        1,
        (
            "registry: 0 of 3 files (0 B)\n  frames/README.md: missing\n  frames/config.json: missing\n"
            "  frames/model.safetensors: missing\n"
        ),
    )
    for data in FILES.values():
        place = requests.post(f"{registry.url}/v2/models/acme/frames/blobs/uploads/", timeout=10).headers["Location"]
        put = requests.put(place, params={"digest": f"sha256:{sha256(data).hexdigest()}"}, data=data, timeout=10)
        assert put.status_code == 201
    for options, verified in ((), ""), (("--deep",), ", every byte verified"):
        result = vcm("mirror", "check", *options)
        assert (result.code, result.out) == (0, f"registry: all 3 files (4.1 kB){verified}\n")
    # What is served from a damaged disk is what --deep is for: the registry does not look.
    with registry.blob(DIGESTS["config.json"]).open("r+b") as stream:
        stream.write(b"[")
    assert vcm("mirror", "check").code == 0
    assert vcm("mirror", "check", "--deep").out.startswith("registry: 2 of 3 files (4.1 kB)\n  frames/config.json: ")


def test_a_mirror_that_cannot_be_asked(folder, vcm, monkeypatch):
    gone = closed_port()
    monkeypatch.setenv("VCM_MIRRORS", f"rack=http://127.0.0.1:{gone} nfs={folder.as_uri()} tape=file:///nowhere")
    result = vcm("mirror", "check")
    assert (result.code, result.out) == (
        1,
        (
            f"rack: cannot be asked: 127.0.0.1:{gone}: connection refused\n"
            "  hint: check the network, HTTPS_PROXY and the url of mirror rack\n"
            "nfs: all 3 files (4.1 kB)\n"
            "tape: cannot be asked: /nowhere/blobs/sha256: no such folder\n"
            "  hint: mount it, or mend the url of mirror tape\n"
        ),
    )
    assert vcm("--offline", "mirror", "check", "nfs").code == 0
    result = vcm("--offline", "mirror", "check")
    assert (result.code, result.out) == (3, "")
    assert result.err == (
        "error: mirror rack is asked over the network, and this run is offline\n"
        "hint: run it without --offline, VCM_OFFLINE and HF_HUB_OFFLINE, or name mirrors that are folders\n"
    )


@pytest.mark.parametrize(("scheme", "status"), [("oci", 401), ("oci", 403), ("http", 401)])
def test_a_mirror_that_denies_us_is_told_with_what_to_do(synced, loopback, vcm, manifest, scheme, status):
    """Of one file as of all; said twice is once too often."""
    server = loopback(http_answer(status, {"WWW-Authenticate": 'Basic realm="x"'}))
    host = server.url.removeprefix("http://")
    hint = f"docker login {host}, podman login {host}, or set REGISTRY_AUTH_FILE to a file that knows it"
    reason = f"{host}: acme/frames may not be read, and no credentials for {host} were found"
    if scheme == "http":
        hint = "give that mirror the header it wants, in the user's own configuration"
        reason = "access denied (status 401)"
    address = f"{scheme}://{host}{'/{repo}' if scheme == 'oci' else ''}"
    told = {
        "": f"rack: cannot be asked: {reason}\n",
        'include = ["README.md"]\n': f"rack: 0 of 1 file (0 B)\n  frames/README.md: {reason}\n",
    }
    for include, out in told.items():
        manifest(f'[[mirror]]\nname = "rack"\nurl = "{address}"\n[models.frames]\nrepo = "acme/frames"\n{include}')
        assert vcm("lock").code == 0
        result = vcm("mirror", "check")
        assert (result.code, result.out) == (1, f"{out}  hint: {hint}\n")
        (answer,) = json.loads(vcm("mirror", "check", "--json").out)["mirrors"]
        assert {each["hint"] for each in answer["absent"] if each["status"] == "failed"} == {hint}


def test_the_document(folder, blob, vcm, monkeypatch):
    monkeypatch.setenv("VCM_MIRRORS", f"nfs={folder.as_uri()} tape=file:///nowhere/{{sha256}}?")
    assert vcm("mirror", "check", "--json").code == 2
    monkeypatch.setenv("VCM_MIRRORS", f"nfs={folder.as_uri()} tape=file:///nowhere/{{sha256}}")
    blob("README.md").unlink()
    result = vcm("mirror", "check", "--json")
    document = json.loads(result.out)
    assert result.code == 1
    assert (document["ok"], document["deep"], len(document["mirrors"])) == (False, False, 2)
    nfs, tape = document["mirrors"]
    assert nfs == {
        "name": "nfs",
        "url": f"{folder.as_uri()}/blobs/sha256/{{sha256}}",
        "named_in": "VCM_MIRRORS",
        "files": 3,
        "files_present": 2,
        "bytes": 4108,
        "bytes_present": 4099,
        "absent": [
            {
                "model": "frames",
                "path": "README.md",
                "sha256": DIGESTS["README.md"],
                "size": 9,
                "status": "missing",
                "message": "does not have it",
                "hint": "",
            }
        ],
        "error": None,
    }
    assert tape["files_present"] == 0
    assert tape["error"]["message"] == "/nowhere: no such folder"
    assert {each["status"] for each in tape["absent"]} <= {"failed", "unasked"}


def test_no_mirror_at_all(synced, vcm, plain):
    for command in (("mirror", "check"), ("mirror", "check", "rack")):
        result = vcm(*command)
        assert (result.code, result.out) == (2, "")
        assert plain(result.err) == (
            "error: no mirror is named anywhere\n"
            "  [[mirror]]\n"
            '  name = "rack"\n'
            '  url = "http://mirror.rack:8080"\n'
            "hint: write such lines into models.toml or TMP/config/vcm/config.toml, or set VCM_MIRRORS to an address\n"
        )
    assert plain(vcm("mirror", "list").out) == "no mirrors: HUB\n"


def test_another_mirror_than_those_that_are_named(synced, vcm, monkeypatch):
    monkeypatch.setenv("VCM_MIRRORS", "rack=http://mirror.rack hall=http://mirror.hall")
    result = vcm("mirror", "check", "rock")
    assert (result.code, result.out) == (2, "")
    assert result.err == 'error: no mirror "rock", did you mean "rack"?\nhint: mirrors: rack, hall\n'
    result = vcm("mirror", "list", "rack")
    assert (result.code, result.err) == (
        2,
        "error: vcm mirror list takes nothing but --json\nhint: run vcm mirror check\n",
    )


def test_the_list(synced, vcm, plain, manifest, tmp_path):
    own = tmp_path / "config" / "vcm" / "config.toml"
    own.parent.mkdir(parents=True)
    own.write_text(
        '[[mirror]]\nname = "site"\nurl = "oci://me:hunter2@registry.corp/{repo}"\npush = true\n'
        '[[mirror]]\nname = "cloud"\nurl = "https://bucket.corp/{path}?sig=hunter2"\n'
    )
    text = '[[mirror]]\nname = "rack"\nurl = "http://mirror.rack"\n[models.frames]\nrepo = "acme/frames"\n'
    manifest(text)
    result = vcm("mirror", "list")
    assert (result.code, result.err) == (0, "")
    assert plain(result.out) == (
        "site   oci://registry.corp/{repo}                TMP/config/vcm/config.toml\n"
        "cloud  https://bucket.corp/{path}                TMP/config/vcm/config.toml\n"
        "rack   http://mirror.rack/blobs/sha256/{sha256}  models.toml\n"
        "then HUB\n"
    )
    manifest(f"{text}[origin]\nfallback = false\n")
    assert vcm("mirror", "list").out.endswith("\nand nobody else: fallback = false\n")
    result = vcm("mirror", "list", "--json")
    document = json.loads(plain(result.out))
    assert document == {
        "mirrors": [
            {
                "name": "site",
                "url": "oci://registry.corp/{repo}",
                "named_in": "TMP/config/vcm/config.toml",
                "kind": "oci",
                "push": True,
            },
            {
                "name": "cloud",
                "url": "https://bucket.corp/{path}",
                "named_in": "TMP/config/vcm/config.toml",
                "kind": "http",
                "push": False,
            },
            {
                "name": "rack",
                "url": "http://mirror.rack/blobs/sha256/{sha256}",
                "named_in": "models.toml",
                "kind": "http",
                "push": False,
            },
        ],
        "endpoint": "HUB",
        "fallback": False,
    }
