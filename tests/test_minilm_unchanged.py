"""Unchanged code of the Hub's own libraries on this repository's lock, with the genuine bytes and no network."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import vcm as vcm_api
from tests.conftest import Result
from tests.test_minilm import COMMIT, REPO, ROOT

SENTENCES = ("a gun is fired", "somebody shoots", "the cake is in the oven")

# Programs as anybody writes them; none knows of vcm.
LIBRARIES = f"""
import json
from huggingface_hub import hf_hub_download, scan_cache_dir, snapshot_download
from tokenizers import Tokenizer
from transformers import AutoConfig, AutoTokenizer

folder = snapshot_download("{REPO}")
assert folder.endswith("{COMMIT}"), folder
assert json.load(open(hf_hub_download("{REPO}", "1_Pooling/config.json")))["pooling_mode_mean_tokens"]
assert hf_hub_download("{REPO}", "modules.json", revision="{COMMIT}") == folder + "/modules.json"
found = scan_cache_dir()
assert [repo.repo_id for repo in found.repos] == ["{REPO}"] and not found.warnings, found
config = AutoConfig.from_pretrained("{REPO}")
assert (config.model_type, config.hidden_size) == ("bert", 384), config
tokenizer = AutoTokenizer.from_pretrained("{REPO}", revision="main")
assert tokenizer.tokenize("locked bytes only") == ["locked", "bytes", "only"]
assert Tokenizer.from_pretrained("{REPO}").encode("locked").tokens[:2] == ["[CLS]", "locked"]
"""
REFUSED = f"""
from huggingface_hub import snapshot_download
from transformers import AutoConfig
for ask in (
    lambda: AutoConfig.from_pretrained("google-bert/bert-base-uncased"),
    lambda: AutoConfig.from_pretrained("{REPO}", revision="v1"),
    lambda: snapshot_download("google-bert/bert-base-uncased"),
):
    try:
        ask()
    except Exception as error:
        print(type(error).__name__)
"""
EMBEDDING = f"""
from sentence_transformers import SentenceTransformer
rows = SentenceTransformer("{REPO}", device="cpu").encode({SENTENCES!r}, normalize_embeddings=True)
near, far = float(rows[0] @ rows[1]), float(rows[0] @ rows[2])
print(rows.shape, near > 0.5 > 0.3 > far)
"""


@pytest.fixture(scope="module")
def store(genuine: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with the model, and beside it the project."""
    folder = tmp_path_factory.mktemp("minilm")
    for name in ("models.toml", "models.lock"):
        shutil.copy(ROOT / name, folder)
    command = [sys.executable, "-m", "vcm", "--project", str(folder), "--cache-dir", str(folder / "store")]
    subprocess.run([*command, "--offline", "sync", "--from", str(genuine)], check=True, capture_output=True)
    return folder / "store"


@pytest.fixture
def here(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The project as the current folder, and no hub anywhere."""
    monkeypatch.chdir(store.parent)
    monkeypatch.setenv("VCM_CACHE_DIR", str(store))
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")


@pytest.fixture
def vcm_run(here: None) -> Callable[[str], Result]:
    """Runs Python code under ``vcm run``."""

    def run(source: str) -> Result:
        command = [sys.executable, "-m", "vcm", "run", "-q", sys.executable, "-c", source]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return Result(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture
def _no_network(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    asked: list[object] = []
    monkeypatch.setattr(socket, "getaddrinfo", lambda *address, **_: asked.append(address))
    monkeypatch.setattr(socket.socket, "connect", lambda _, address: asked.append(address))
    yield
    assert asked == []


def test_libraries_under_run(vcm_run: Callable[[str], Result]) -> None:
    result = vcm_run(LIBRARIES + REFUSED)
    assert (result.code, result.out) == (0, "OSError\nOSError\nLocalEntryNotFoundError\n"), result.err


@pytest.mark.usefixtures("_no_network", "here")
@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
def test_libraries_in_this_process(capsys: pytest.CaptureFixture[str]) -> None:
    # Imported before: they hold copies of what the environment said then.
    import transformers  # noqa: F401

    with vcm_api.hub_view():
        exec(compile(LIBRARIES + REFUSED, "unchanged", "exec"), {})  # noqa: S102
    assert capsys.readouterr().out == "OSError\nOSError\nLocalEntryNotFoundError\n"


@pytest.mark.long
def test_an_embedding_under_run(vcm_run: Callable[[str], Result]) -> None:
    pytest.importorskip("sentence_transformers")
    result = vcm_run(EMBEDDING)
    assert (result.code, result.out) == (0, "(3, 384) True\n"), result.err


@pytest.mark.long
@pytest.mark.usefixtures("_no_network", "here")
@pytest.mark.filterwarnings("ignore")
def test_an_embedding_in_this_process(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("sentence_transformers")
    with vcm_api.hub_view():
        exec(compile(EMBEDDING, "unchanged", "exec"), {})  # noqa: S102
    assert capsys.readouterr().out == "(3, 384) True\n"
