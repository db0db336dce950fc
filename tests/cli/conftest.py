"""What the tests of the command line share: one model on the hub, texts without ports and paths, and listings."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import oid_of
from vcm.testing import HubSimulator, SimulatedRepo

COMMIT = "1234567890" * 4
WEIGHTS = bytes(range(256)) * 16
FILES = {"README.md": b"# frames\n", "config.json": b"{}\n", "model.safetensors": WEIGHTS}


@pytest.fixture
def frames(hub: HubSimulator) -> SimulatedRepo:
    """``acme/frames``: two small files and 4096 bytes of weights, always under the same commit."""
    return hub.add_repo(
        "acme/frames",
        FILES,
        commit=COMMIT,
        tags=["v1.2"],
        card={"license": "mit"},
        pipeline_tag="image-classification",
    )


@pytest.fixture
def wants_frames(manifest: Callable[[str], Path], frames: SimulatedRepo) -> Path:
    """A manifest that requires ``acme/frames``, and nothing else done yet."""
    return manifest('[models.frames]\nrepo = "acme/frames"\n')


@pytest.fixture
def locked(wants_frames: Path, vcm: Callable[..., Any], hub: HubSimulator, project: Path) -> Path:
    """The same, locked; nothing is installed."""
    assert vcm("lock").code == 0
    hub.clear_requests()
    return project / "models.lock"


@pytest.fixture
def synced(locked: Path, vcm: Callable[..., Any], hub: HubSimulator) -> Path:
    """The same, installed."""
    assert vcm("sync").code == 0
    hub.clear_requests()
    return locked


@pytest.fixture
def plain(hub: HubSimulator, tmp_path: Path) -> Callable[[str], str]:
    """Replaces what differs from run to run: the test's folder and the hub's ports."""
    replacements = {
        hub.endpoint: "HUB",
        hub.cdn_origin: "CDN",
        hub.endpoint.partition("://")[2]: "HUBHOST",
        hub.cdn_origin.partition("://")[2]: "CDNHOST",
        str(tmp_path): "TMP",
    }

    def replace(text: str) -> str:
        for found, word in replacements.items():
            text = text.replace(found, word)
        return text

    return replace


@pytest.fixture
def listing() -> Callable[[Path], dict[str, str | None]]:
    """Every file and folder below one, by path, with the SHA-256 of each file."""

    def look(root: Path) -> dict[str, str | None]:
        return {
            path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None
            for path in sorted(root.rglob("*"))
        }

    return look


@pytest.fixture
def assert_store_is_whole(cache: Path) -> Callable[[], None]:
    """Every visible blob has the bytes its name promises, and every visible snapshot the files its name promises."""

    def look() -> None:
        for blob in (cache / "blobs" / "sha256").glob("*"):
            assert hashlib.sha256(blob.read_bytes()).hexdigest() == blob.name
        for snapshot in (cache / "snapshots").glob("*"):
            lines = sorted(
                (path.relative_to(snapshot).as_posix().encode(), hashlib.sha256(path.read_bytes()).hexdigest().encode())
                for path in snapshot.rglob("*")
                if path.is_file()
            )
            text = b"".join(digest + b"  " + path + b"\n" for path, digest in lines)
            assert hashlib.sha256(text).hexdigest() == snapshot.name

    return look


@pytest.fixture
def hf_cache(tmp_path: Path) -> Path:
    """The user's Hugging Face cache, which may not exist."""
    return tmp_path / "hf-home" / "hub"


@pytest.fixture
def hf_repo(hf_cache: Path) -> Callable[..., Path]:
    """Puts a repo into the cache as the official client does: large files under their SHA-256, others as git blobs."""

    def put(
        repo: str, files: dict[str, bytes], refs: dict[str, str], commit: str = COMMIT, *, plain: bool = False
    ) -> Path:
        folder: Path = hf_cache / f"models--{repo.replace('/', '--')}"
        for path, data in files.items():
            target = folder / "snapshots" / commit / path
            target.parent.mkdir(parents=True, exist_ok=True)
            if plain:
                target.write_bytes(data)
                continue
            name = hashlib.sha256(data).hexdigest() if path.endswith((".safetensors", ".bin")) else oid_of(data)
            blob = folder / "blobs" / name
            blob.parent.mkdir(exist_ok=True)
            blob.write_bytes(data)
            target.symlink_to(os.path.relpath(blob, target.parent))
        for name, target_commit in refs.items():
            ref = folder / "refs" / name
            ref.parent.mkdir(parents=True, exist_ok=True)
            ref.write_text(target_commit)
        return folder

    return put


@pytest.fixture
def error_of() -> Callable[[str], dict[str, Any]]:
    """The ``error`` of a document that holds nothing else."""

    def read(out: str) -> dict[str, Any]:
        document = json.loads(out)
        assert list(document) == ["error"]
        error = document["error"]
        assert list(error) == ["code", "message", "hint", "model", "retry_after"]
        return dict(error)

    return read
