"""A real model, really pinned: this repository's own models.toml and models.lock.

The genuine bytes come out of a package of the ``minilm`` extra; only the hub in front of them is simulated.
"""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

import vcm as vcm_api
from tests.conftest import Result, snapshot_files
from vcm.testing import HubSimulator

ROOT = Path(__file__).parents[1]
REPO = "sentence-transformers/all-MiniLM-L6-v2"
COMMIT = "c9745ed1d9f207416be6d2e6f8de32d1f16199bf"
WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
WEIGHTS_SIZE = 90_868_376


@pytest.fixture
def own_project(project: Path) -> Path:
    """A copy of this repository's manifest and lock, as the current folder."""
    for name in ("models.toml", "models.lock"):
        shutil.copy(ROOT / name, project)
    return project


def serve(hub: HubSimulator, genuine: Path) -> None:
    """Put the genuine files on the hub, at the commit and with the identity that the Hub has for them."""
    files = {
        path.relative_to(genuine).as_posix(): path
        for path in genuine.rglob("*")
        # Its README is another than the Hub's at this commit.
        if path.is_file() and path.name != "README.md"
    }
    hub.add_repo(
        REPO,
        files,
        commit=COMMIT,
        repo_id="621ffdc136468d709f180294",
        pipeline_tag="sentence-similarity",
        card={"license": "apache-2.0"},
        lfs=lambda path, _: path == "model.safetensors",
    )


def test_locking_against_the_genuine_bytes_gives_the_committed_lock(
    hub: HubSimulator, genuine: Path, own_project: Path, vcm: Callable[..., Result]
) -> None:
    serve(hub, genuine)
    (own_project / "models.lock").unlink()

    result = vcm("lock")

    assert result.code == 0, result.err
    assert (own_project / "models.lock").read_bytes() == (ROOT / "models.lock").read_bytes()


def test_the_committed_lock_pins_the_published_weights(own_project: Path, vcm: Callable[..., Result]) -> None:
    result = vcm("show", "minilm", "--json")

    document = json.loads(result.out)
    weights = next(file for file in document["files"] if file["path"] == "model.safetensors")
    assert (document["repo"], document["commit"]) == (REPO, COMMIT)
    assert weights == {"path": "model.safetensors", "size": WEIGHTS_SIZE, "sha256": WEIGHTS_SHA256}


def test_sync_through_the_hub_installs_the_genuine_bytes(
    hub: HubSimulator, genuine: Path, own_project: Path, vcm: Callable[..., Result], cache: Path
) -> None:
    serve(hub, genuine)

    result = vcm("sync", "--locked")

    assert result.code == 0, result.err
    assert snapshot_files(cache)["model.safetensors"] == (genuine / "model.safetensors").read_bytes()
    assert vcm("check").code == 0


def test_a_folder_is_enough_where_there_is_no_hub(
    genuine: Path, own_project: Path, vcm: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")

    result = vcm("sync", "--from", genuine)

    assert result.code == 0, result.err
    folder = vcm_api.require("minilm")
    tokenizers = pytest.importorskip("tokenizers")
    tokens = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json")).encode("locked bytes only").tokens
    assert [token for token in tokens if token != "[PAD]"] == ["[CLS]", "locked", "bytes", "only", "[SEP]"]
    with (folder / "model.safetensors").open("rb") as weights:
        # Eight bytes of length, then JSON: https://github.com/huggingface/safetensors#format
        header = json.loads(weights.read(struct.unpack("<Q", weights.read(8))[0]))
    assert header["embeddings.word_embeddings.weight"]["shape"] == [30522, 384]
