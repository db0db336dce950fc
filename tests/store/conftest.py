"""A store with one model whose blobs are there."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from vcm.core.lock import LockedFile, LockedModel
from vcm.store.store import Store

CONTENTS = {"config.json": b"{}\n", "onnx/a.onnx": b"weights" * 1000, "onnx/b.onnx": b"weights" * 1000}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty store."""
    return Store(tmp_path / "store")


@pytest.fixture
def contents() -> dict[str, bytes]:
    """The files of the model; two of them are the same."""
    return dict(CONTENTS)


@pytest.fixture
def model(store: Store) -> LockedModel:
    """A locked model whose blobs are in the store."""
    files = []
    store.blobs.prepare()
    for path, content in CONTENTS.items():
        digest = hashlib.sha256(content).hexdigest()
        files.append(LockedFile(path, len(content), digest))
        partial = store.blobs.partial_path(digest)
        partial.write_bytes(content)
        store.blobs.admit(partial, digest)
    return LockedModel(name="frames", source="huggingface", repo="acme/frames", commit="1" * 40, files=tuple(files))


@pytest.fixture
def snapshot(store: Store, model: LockedModel) -> Path:
    """The model's snapshot, built and recorded."""
    return store.snapshots.build(model, store.blobs.path)
