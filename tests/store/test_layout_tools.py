"""The store in the hands of tools that others wrote: skopeo reads and writes it, nginx serves it."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest
import requests

from tests.robust.harness import wrong_in
from tests.servers import needs, skopeo
from vcm.core.layout import Entry
from vcm.core.lock import parse_lock
from vcm.core.modelpack import package
from vcm.store.store import Store

FILES = {"model.safetensors": bytes(range(256)) * 16, "config.json": b"{}\n", "README.md": b"# same\n"}


@pytest.fixture
def entries(hub, manifest, vcm, cache) -> list[Entry]:
    """Three installed models: two of one commit, and one with a file in common with them."""
    hub.add_repo("Acme/Frames__X", FILES, commit="12" * 20)
    hub.add_repo("acme/other", {**FILES, "config.json": b"{ }\n"})
    manifest(
        '[models.frames]\nrepo = "Acme/Frames__X"\n[models.other]\nrepo = "acme/other"\n'
        '[models.small]\nrepo = "Acme/Frames__X"\ninclude = ["*.json"]\n'
    )
    assert vcm("sync").code == 0
    return Store(cache).layout.entries()


@pytest.fixture
def copied():
    """Runs skopeo copy, which has to do it."""

    def copy(*arguments: str) -> None:
        done = skopeo("copy", *arguments)
        assert done.returncode == 0, done.stderr

    return copy


def tree(folder: Path) -> dict[str, bytes]:
    """The files below a folder."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_each_installed_model_has_a_name(entries, project):
    locked = parse_lock((project / "models.lock").read_bytes()).models
    assert {entry.name for entry in entries} == {package(model).reference for model in locked}
    assert {entry.name.rpartition("-")[0] for entry in entries} >= {"acme/frames-x:121212121212"}
    assert len(entries) == 3


@needs("skopeo", "docker-registry")
def test_from_the_store_to_a_registry_and_back(entries, cache, registry, tmp_path, copied):
    for number, entry in enumerate(entries):
        address = f"docker://{registry.host}/models/{number}:{entry.digest[:12]}"
        copied("--dest-tls-verify=false", f"oci:{cache}:{entry.name}", address)
        answer = registry.manifest(f"models/{number}", entry.digest[:12])
        assert hashlib.sha256(answer.content).hexdigest() == entry.digest
        for file in entry.model.files:
            assert registry.blob(file.sha256).read_bytes() == FILES.get(file.path, b"") or file.path == "config.json"
        copied("--src-tls-verify=false", address, f"oci:{tmp_path / 'back'}:{entry.name}")
    needed = {f"blobs/sha256/{each}" for entry in entries for each in entry.needs}
    back = tree(tmp_path / "back")
    assert {path: data for path, data in back.items() if path.startswith("blobs")} == {
        path: (cache / path).read_bytes() for path in needed
    }
    # What another tool has copied is a store for all that.
    assert sorted(Store(tmp_path / "back").layout.models(), key=str) == sorted(
        (each.model for each in entries), key=str
    )


@needs("skopeo")
def test_a_look_at_a_manifest(entries, cache):
    for entry in entries:
        done = skopeo("inspect", "--raw", f"oci:{cache}:{entry.name}")
        assert hashlib.sha256(done.stdout.encode()).hexdigest() == entry.digest


@needs("skopeo")
def test_copied_into_the_store(entries, cache, tmp_path, copied, vcm):
    """Its own names are not lost, and what came is there until prune."""
    other = tmp_path / "other"
    copied(f"oci:{cache}:{entries[0].name}", f"oci:{other}:x")
    (blob,) = [path for path in (other / "blobs" / "sha256").iterdir() if path.name == entries[0].digest]
    foreign = json.loads(blob.read_bytes()) | {"annotations": {"a": "b"}}
    data = json.dumps(foreign).encode()
    blob.unlink()
    blob.with_name(hashlib.sha256(data).hexdigest()).write_bytes(data)
    row = json.loads((other / "index.json").read_bytes())["manifests"][0]
    row |= {"digest": f"sha256:{hashlib.sha256(data).hexdigest()}", "size": len(data)}
    (other / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [row]}))
    copied(f"oci:{other}:x", f"oci:{cache}:foreign")
    layout = Store(cache).layout
    assert {entry.name for entry in layout.entries()} == {entry.name for entry in entries}
    assert wrong_in(cache) == []
    copied(f"oci:{cache}:foreign", f"oci:{tmp_path / 'again'}:x")
    (cache / "registry.json").touch()
    assert vcm("sync").out.startswith("Nothing to do")
    assert layout.entries() == entries, "with what the lock said of branches"
    assert len(json.loads(layout.index_file.read_bytes())["manifests"]) == 4
    assert vcm("cache", "prune").code == 0
    assert layout.entries() == entries
    assert len(json.loads(layout.index_file.read_bytes())["manifests"]) == 3


@needs("nginx")
def test_a_web_server_over_the_folder(entries, cache, nginx, tmp_path):
    server = nginx(cache)
    copy = tmp_path / "copy"
    (copy / "blobs" / "sha256").mkdir(parents=True)
    assert requests.get(f"{server.url}/oci-layout", timeout=10).json() == {"imageLayoutVersion": "1.0.0"}
    (copy / "oci-layout").write_bytes(requests.get(f"{server.url}/oci-layout", timeout=10).content)
    (copy / "index.json").write_bytes(requests.get(f"{server.url}/index.json", timeout=10).content)
    for sha256 in {each for entry in entries for each in entry.needs}:
        answer = requests.get(f"{server.url}/blobs/sha256/{sha256}", timeout=10)
        assert answer.status_code == 200
        (copy / "blobs" / "sha256" / sha256).write_bytes(answer.content)
    assert wrong_in(copy) == []
    assert Store(copy).layout.entries() == entries


# When it is written


def test_a_store_of_an_older_vcm_gets_its_index_when_nothing_else_is_to_do(entries, cache, vcm, hub):
    before = (cache / "index.json").read_bytes()
    for entry in entries:
        for sha256 in (entry.digest, entry.config):
            (cache / "blobs" / "sha256" / sha256).unlink()
    (cache / "index.json").unlink()
    (cache / "oci-layout").unlink()
    hub.clear_requests()
    assert vcm("sync").out.startswith("Nothing to do")
    assert (cache / "index.json").read_bytes() == before
    assert wrong_in(cache) == []
    assert hub.requests == []


def test_what_an_older_vcm_installs_beside_it_is_named_by_the_next_sync(entries, cache, vcm):
    layout = Store(cache).layout
    layout.drop([entries[0].digest])
    assert len(layout.entries()) == 2
    (cache / "registry.json").touch()
    assert vcm("sync").code == 0
    assert layout.entries() == entries


@pytest.mark.parametrize("lost", ["deleted", "damaged", "not marked", "repaired"])
def test_one_sync_names_what_all_projects_have_installed(lost, entries, cache, hub, vcm, tmp_path):
    """Whoever runs it: the others have nothing to do, and will not look."""
    hub.add_repo("acme/mine", {**FILES, "config.json": b"[]\n"})
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "models.toml").write_text('[models.mine]\nrepo = "acme/mine"\n')
    assert vcm("--project", folder, "sync").code == 0
    layout = Store(cache).layout
    everything = layout.entries()
    assert len(everything) == 4
    if lost == "deleted":
        layout.index_file.unlink()
    elif lost == "damaged":
        layout.index_file.write_bytes(layout.index_file.read_bytes()[:-100])
        hub.add_repo("acme/new", {"config.json": b"new"})
        (folder / "models.toml").write_text('[models.mine]\nrepo = "acme/mine"\n[models.new]\nrepo = "acme/new"\n')
    elif lost == "not marked":
        (cache / "oci-layout").unlink()
        layout.index_file.unlink()
    else:
        shared = Store(cache).blobs.path(hashlib.sha256(FILES["model.safetensors"]).hexdigest())
        shared.chmod(0o644)
        shared.write_bytes(bytes(len(FILES["model.safetensors"])))
    assert vcm("--project", folder, "sync").code == 0
    found = [entry for entry in layout.entries() if entry.model.repo != "acme/new"]
    assert found == everything
    assert wrong_in(cache, [path.name for path in (cache / "snapshots").iterdir()]) == []


@pytest.mark.parametrize("whole", [True, False])
def test_where_nothing_is_to_do_and_all_is_named_nothing_is_touched(whole, entries, cache, vcm):
    def stamps() -> dict[Path, tuple[int, int]]:
        return {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in cache.rglob("*")}

    before = stamps()
    assert vcm(*(["sync"] if whole else ["check"])).code == 0
    assert stamps() == before


def test_a_store_that_nobody_may_write(entries, cache, vcm):
    (cache / "index.json").unlink()
    shutil.rmtree(cache / "partial")
    (cache / "partial").write_text("")
    done = vcm("sync")
    assert (done.code, done.err) == (0, "")
    assert not (cache / "index.json").exists()


def test_a_store_whose_index_is_something_else(hub, manifest, vcm, cache):
    hub.add_repo("acme/frames", FILES)
    manifest('[models.frames]\nrepo = "acme/frames"\n')
    cache.mkdir()
    (cache / "index.json").write_text("[]")
    done = vcm("sync")
    assert done.code == 0
    assert done.err.endswith(
        f"other tools do not find the new models in the store: {cache}/index.json is not the index of an OCI image "
        "layout, which a store has under that name\n"
    )
    assert vcm("check").code == 0
    assert (cache / "index.json").read_text() == "[]"


def test_what_describes_a_model_is_repaired(entries, cache, vcm):
    (cache / "blobs" / "sha256" / entries[0].digest).unlink()
    (cache / "blobs" / "sha256" / entries[0].digest).write_bytes(b"{}")
    done = vcm("cache", "verify", "--repair")
    assert (done.code, done.out) == (0, f"blob sha256:{entries[0].digest}: repaired\n")
    assert Store(cache).layout.entries() == entries
    assert wrong_in(cache) == []


def test_a_model_that_cannot_be_repaired_is_named_no_more(entries, cache, vcm, hub, project):
    store = Store(cache)
    locked = {model.name: model for model in parse_lock((project / "models.lock").read_bytes()).models}
    file = next(each for each in locked["other"].files if each.path == "config.json")
    for path in (store.blobs.path(file.sha256), store.snapshots.path(locked["other"].tree_digest) / file.path):
        path.chmod(0o644)
        path.write_bytes(b"{!}\n")
    assert vcm("verify", "--repair", "--offline").code == 1
    assert {entry.name for entry in store.layout.entries()} == {
        package(locked[name]).reference for name in ("frames", "small")
    }
    assert vcm("verify", "--repair").code == 0
    assert store.layout.entries() == entries


def test_an_import_names_what_it_takes(entries, cache, vcm, tmp_path, monkeypatch):
    hub_cache = tmp_path / "hf" / "models--acme--mine"
    snapshot = hub_cache / "snapshots" / ("34" * 20)
    snapshot.mkdir(parents=True)
    (hub_cache / "refs").mkdir()
    (hub_cache / "refs" / "main").write_text("34" * 20)
    for name, content in FILES.items():
        (snapshot / name).write_bytes(content + b" ")
    folder = tmp_path / "imported"
    folder.mkdir()
    monkeypatch.chdir(folder)
    done = vcm("--project", folder, "import", "--hf-cache", tmp_path / "hf")
    assert done.code == 0, done.err
    found = {entry.name.rpartition("-")[0] for entry in Store(cache).layout.entries()}
    assert "acme/mine:343434343434" in found
    assert len(Store(cache).layout.entries()) == 4
