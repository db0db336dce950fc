"""Small files: none is fetched twice, and none is believed without a hash."""

from __future__ import annotations

import hashlib
from pathlib import Path

from vcm.core.digest import git_blob_hash
from vcm.errors import ModelDownloadError
from vcm.testing import Fault, HubSimulator

WEIGHTS = hashlib.shake_128(b"weights").digest(4000)
LICENCE = b"Permission is hereby granted\n" * 10
SHARED = {"LICENSE": LICENCE, "config.json": b"{}", "model.safetensors": WEIGHTS}


def text(*names: str) -> str:
    return "".join(f'[models.{name}]\nrepo = "acme/{name}"\n' for name in names)


def fetched(hub: HubSimulator) -> list[str]:
    return sorted(request.path for request in hub.requests if "/resolve/" in request.path)


def git_id(data: bytes) -> str:
    digest = git_blob_hash(len(data))
    digest.update(data)
    return digest.hexdigest()


def test_the_same_content_is_fetched_once_over_all_repos(hub, session, read_manifest):
    for name in ("a", "b", "c"):
        hub.add_repo(f"acme/{name}", {**SHARED, "README.md": name.encode()})
    locking = session().resolve(read_manifest(text("a", "b", "c")), None)
    assert (locking.small_files_fetched, locking.small_files_reused) == (5, 0)
    assert [path.rpartition("/")[2] for path in fetched(hub)].count("LICENSE") == 1
    assert {model.files[0].sha256 for model in locking.after.models} == {hashlib.sha256(LICENCE).hexdigest()}


def test_another_run_takes_them_from_the_store(hub, session, read_manifest):
    hub.add_repo("acme/a", SHARED)
    session().resolve(read_manifest(text("a")), None)
    hub.add_repo("acme/b", {**SHARED, "README.md": b"b"})
    hub.clear_requests()
    locking = session().resolve(read_manifest(text("b")), None)
    assert (locking.small_files_fetched, locking.small_files_reused) == (1, 2)
    assert [path.rpartition("/")[2] for path in fetched(hub)] == ["README.md"]


def test_a_blob_that_was_changed_is_not_believed(hub, session, read_manifest, cache):
    hub.add_repo("acme/a", SHARED)
    session().resolve(read_manifest(text("a")), None)
    blob = cache / "blobs" / "sha256" / hashlib.sha256(LICENCE).hexdigest()
    blob.chmod(0o644)
    blob.write_bytes(LICENCE.replace(b"granted", b"refused"))
    locking = session().resolve(read_manifest(text("a")), None)
    assert (locking.small_files_fetched, locking.small_files_reused) == (1, 1)
    assert blob.read_bytes() == LICENCE


def test_an_index_that_lies_is_not_believed(hub, session, read_manifest, cache):
    hub.add_repo("acme/a", {**SHARED, "README.md": b"x" * len(LICENCE)})
    first = session().resolve(read_manifest(text("a")), None).after
    index = cache / "hub-metadata" / "git-blobs"
    other = hashlib.sha256(b"x" * len(LICENCE)).hexdigest()
    index.write_text(f"{git_id(LICENCE)} {other} {len(LICENCE)}\n")
    assert session().resolve(read_manifest(text("a")), None).after == first


def make_hub_cache(folder: Path, repo: str, name: str, data: bytes) -> Path:
    blob = folder / "hub" / f"models--{repo.replace('/', '--')}" / "blobs" / name
    blob.parent.mkdir(parents=True)
    blob.write_bytes(data)
    return blob


def test_the_users_hugging_face_cache_is_used_whatever_repo_it_is_in(hub, session, read_manifest, tmp_path, cache):
    hub.add_repo("acme/a", SHARED)
    blob = make_hub_cache(tmp_path / "hf-home", "other/repo", git_id(LICENCE), LICENCE)
    before = blob.stat()
    locking = session().resolve(read_manifest(text("a")), None)
    assert (locking.small_files_fetched, locking.small_files_reused) == (1, 1)
    assert (cache / "blobs" / "sha256" / hashlib.sha256(LICENCE).hexdigest()).read_bytes() == LICENCE
    assert (blob.stat().st_mtime_ns, blob.stat().st_mode) == (before.st_mtime_ns, before.st_mode)


def test_a_hugging_face_cache_that_lies_is_not_believed(hub, session, read_manifest, tmp_path):
    hub.add_repo("acme/a", SHARED)
    make_hub_cache(tmp_path / "hf-home", "acme/a", git_id(LICENCE), LICENCE.replace(b"granted", b"refused"))
    locking = session().resolve(read_manifest(text("a")), None)
    assert (locking.small_files_fetched, locking.small_files_reused) == (2, 0)
    assert locking.after.models[0].files[0].sha256 == hashlib.sha256(LICENCE).hexdigest()


def test_one_repo_that_cannot_give_a_file_does_not_fail_the_others(hub, session, read_manifest):
    for name in ("a", "b"):
        hub.add_repo(f"acme/{name}", SHARED)
    hub.fail(Fault(path="/acme/a/resolve/*", status=404, times=None))
    # Whoever comes first is asked for what both have.
    try:
        session().resolve(read_manifest(text("a", "b")), None)
    except ModelDownloadError as error:
        assert (error.model, error.others) == ("a", ())  # noqa: PT017
    hub.clear_faults()
    assert len(session().resolve(read_manifest(text("a", "b")), None).after.models) == 2
