"""A docker-registry as a mirror: killed in the middle of a pull, and with other bytes on its disk."""

from __future__ import annotations

import hashlib
import json
from threading import Lock

import pytest
import requests

from tests.mirrors.conftest import DATA, DIGEST, Run, locked
from tests.servers import needs
from vcm.core.mirrors import Mirror

pytestmark = needs("docker-registry")

LARGE = hashlib.shake_128(b"large").digest(1 << 20) * 24
SEVERAL = {f"{number}.safetensors": number.to_bytes(4) + LARGE[: 8 << 20] for number in range(4)}
TEXT = '[models.m]\nrepo = "acme/m"\n'


def put(registry, data: bytes) -> None:
    begun = requests.post(f"{registry.url}/v2/models/acme/m/blobs/uploads/", timeout=10)
    where = f"{begun.headers['Location']}&digest=sha256:{hashlib.sha256(data).hexdigest()}"
    assert requests.put(where, data=data, timeout=30).status_code == 201


@pytest.fixture
def mirror(registry) -> Mirror:
    return Mirror(name="registry", url=f"oci://{registry.host}/models/{{repo}}")


def flip(registry, sha256: str = DIGEST) -> None:
    """A byte on the registry's disk, which it serves as it is."""
    path = registry.blob(sha256)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("comes_back", [True, False])
@pytest.mark.parametrize("files", [{"model.safetensors": LARGE}, SEVERAL], ids=["one", "several"])
def test_killed_in_the_middle_of_a_pull(hub, registry, mirror, session, files, comes_back):
    model = locked(hub.add_repo("acme/m", files).head(), files)
    for data in files.values():
        put(registry, data)
    within, lock = session(mirrors=[mirror]), Lock()
    killed: list[int] = []

    def kill():
        with lock:
            if not killed and sum(within.reporter.progress.values()) > 2 << 20:
                killed.append(sum(within.reporter.progress.values()))
                registry.kill()

    def wait(_):
        with lock:
            if comes_back and registry.process.poll() is not None:
                registry.start()

    within.reporter.on_advance, within._sleep = kill, wait
    (result,) = within.install(within.store.plan([model]), 1.0)

    assert killed
    Run(result, within, []).assert_installed(*files.values())
    total = sum(map(len, files.values()))
    assert sum(result.supplied.values()) == total
    assert result.supplied["registry"] >= killed[0], "what it gave is kept"
    assert result.bytes_fetched < total + (1 << 20)
    if comes_back:
        assert result.supplied == {"registry": total}
        assert hub.requests == []
        assert within.reporter.notices == []
    else:
        assert result.supplied[None] > 0
        (notice,) = within.reporter.notices
        assert notice.startswith("mirror registry is not asked any more in this run: ")


def test_killed_where_nobody_else_may_be_asked(hub, registry, mirror, session, cache):
    files = {"model.safetensors": LARGE}
    model = locked(hub.add_repo("acme/m", files).head(), files)
    put(registry, LARGE)
    within = session(mirrors=[mirror], fallback=False)
    within.reporter.on_advance = lambda: registry.process.poll() is None and registry.kill()
    (result,) = within.install(within.store.plan([model]), 1.0)
    assert result.error.exit_code == 3
    assert hub.requests == []
    assert list((cache / "blobs" / "sha256").iterdir()) == []
    assert not (cache / "snapshots").exists() or list((cache / "snapshots").iterdir()) == []
    kept = within.store.blobs.partial_path(model.files[0].sha256).stat().st_size
    assert kept

    registry.start()
    again = session(mirrors=[mirror], fallback=False)
    (result,) = again.install(again.store.plan([model]), 1.0)
    Run(result, again, []).assert_installed(LARGE)
    assert result.bytes_fetched == len(LARGE) - kept


@pytest.fixture
def flipped(hub, model, registry, manifest, vcm, monkeypatch):
    """A locked project, and a registry with one other byte in its file."""
    manifest(TEXT)
    assert vcm("lock").code == 0
    hub.clear_requests()
    put(registry, DATA)
    flip(registry)
    monkeypatch.setenv("VCM_MIRRORS", f"registry=oci://{registry.host}/models/{{repo}}")


def nothing_is_left(cache) -> bool:
    partial = [path for path in (cache / "partial").iterdir() if path.suffix != ".lock"]
    return not partial and not list((cache / "blobs" / "sha256").iterdir())


def test_a_flipped_byte(flipped, hub, vcm):
    done = vcm("sync", "--json")
    assert done.code == 0
    assert done.err.splitlines()[1:] == [
        "note: mirror registry is not asked any more in this run: it sent wrong bytes for m/model.safetensors"
    ]
    assert json.loads(done.out)["sources"] == {"registry": 0, "origin": len(DATA)}
    assert vcm("verify").code == 0


def test_a_flipped_byte_and_no_origin(flipped, hub, vcm, cache):
    done = vcm("sync", "--no-origin")
    assert done.code == 4
    assert "error: m/model.safetensors: not in the store, no mirror gave it" in done.err
    assert f"registry  wrong bytes: expected sha256:{DIGEST}, got sha256:" in done.err
    assert hub.requests == []
    assert nothing_is_left(cache)


def test_a_flipped_byte_where_that_is_an_error(flipped, hub, vcm, cache):
    done = vcm("sync", "--strict-mirrors")
    assert done.code == 4
    assert f"mirror registry sent wrong bytes: expected sha256:{DIGEST}, got sha256:" in done.err
    assert hub.requests == []
    assert nothing_is_left(cache)
    assert vcm("sync").code == 0


def test_a_flipped_byte_is_found_by_whoever_looks_deep(flipped, vcm):
    assert vcm("mirror", "check").code == 0
    done = vcm("mirror", "check", "--deep")
    assert done.code == 1
    assert f"m/model.safetensors: wrong bytes: expected sha256:{DIGEST}, got sha256:" in done.out
