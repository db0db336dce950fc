"""ModelDownloader: the published examples, and what may go wrong on the way."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic, sleep
from typing import Any, TypeVar

import pytest

from tests.conftest import TOKEN, snapshot_files
from vcm import (
    ConfigError,
    DiskSpaceError,
    ModelChecksumError,
    ModelDownloader,
    ModelDownloadError,
    ModelEntry,
    ModelRegistry,
    ModelRegistryError,
    ModelStatus,
    ModelType,
)
from vcm.core.downloads import DownloadRequest, as_download_error
from vcm.core.lock import LockedFile, LockedModel
from vcm.core.plan import PlannedModel, SnapshotState
from vcm.errors import (
    AUTHENTICATION_ERROR,
    CHECKSUM_MISMATCH,
    CONFIG_ERROR,
    INSUFFICIENT_SPACE,
    NETWORK_ERROR,
    NOT_FOUND,
    RegistryError,
)
from vcm.install.progress import DownloadProgress
from vcm.testing import Fault, HubSimulator, SimulatedRepo, Unfetched

WEIGHTS = hashlib.shake_128(b"weights").digest(3_000_000)
KEYS = {
    "model_id",
    "status",
    "progress",
    "downloaded_bytes",
    "total_bytes",
    "files_completed",
    "files_total",
    "estimated_remaining",
}
TYPES = (
    "types are text-generation, text-to-image, image-to-text, audio-to-text, text-to-audio, embedding, "
    "classification and other"
)
Value = TypeVar("Value")


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    return tmp_path / "models"


@pytest.fixture
def registry(storage: Path) -> ModelRegistry:
    return ModelRegistry(registry_file=storage / "registry.json")


@pytest.fixture
def downloader(hub: HubSimulator, registry: ModelRegistry, storage: Path) -> ModelDownloader:
    return ModelDownloader(registry=registry, download_dir=storage, max_workers=2)


@pytest.fixture
def gpt2(hub: HubSimulator) -> SimulatedRepo:
    return hub.add_repo("gpt2", {"config.json": b"{}", "model.safetensors": WEIGHTS}, tags=["v1.0"])


def run(work: Awaitable[Value]) -> Value:
    async def main() -> Value:
        return await work

    return asyncio.run(main())


def download(downloader: ModelDownloader, model_id: str = "gpt2", **arguments: Any) -> ModelEntry:
    entry = run(downloader.download_model_hf(model_id, ModelType.TEXT_GENERATION, **arguments))
    assert entry is not None
    return entry


def refused(downloader: ModelDownloader, *arguments: Any, **more: Any) -> ModelDownloadError:
    with pytest.raises(ModelDownloadError) as caught:
        run(downloader.download_model_hf(*arguments, **more))
    return caught.value


def held(registry: ModelRegistry, model_id: str = "gpt2") -> ModelEntry:
    found = registry.get_model(model_id)
    assert found is not None
    return found


async def until(true: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not true():
            await asyncio.sleep(0.005)


def fetched(hub: HubSimulator) -> int:
    return sum(1 for request in hub.requests if request.origin == "cdn")


# What is published


def test_the_published_workflow(hub, storage, capsys):
    hub.add_repo("microsoft/DialoGPT-medium", {"config.json": b"{}", "model.safetensors": WEIGHTS})

    async def download_workflow() -> ModelEntry | None:
        storage_path = storage
        registry_file = storage_path / "registry.json"
        registry = ModelRegistry(registry_file=registry_file)
        downloader = ModelDownloader(registry=registry, download_dir=storage_path, max_workers=2)
        model_id = "microsoft/DialoGPT-medium"
        existing_model = registry.get_model(model_id)
        if existing_model:
            print(f"Model {model_id} already available at {existing_model.path}")
            return existing_model
        print(f"Downloading {model_id}...")
        model_entry = await downloader.download_model_hf(model_id=model_id, model_type=ModelType.TEXT_GENERATION)
        if model_entry and model_entry.status == ModelStatus.AVAILABLE:
            print(f"Download completed: {model_entry.path}")
            print(f"Model size: {model_entry.size_bytes / (1024**2):.1f} MB")
            return model_entry
        print("Download failed")
        return None

    first = asyncio.run(download_workflow())
    assert first is not None
    second = asyncio.run(download_workflow())
    assert second == first
    assert capsys.readouterr().out == (
        "Downloading microsoft/DialoGPT-medium...\n"
        f"Download completed: {first.path}\n"
        "Model size: 2.9 MB\n"
        f"Model microsoft/DialoGPT-medium already available at {first.path}\n"
    )
    assert {path.name: path.read_bytes() for path in first.path.iterdir()} == {
        "config.json": b"{}",
        "model.safetensors": WEIGHTS,
    }


def test_the_published_examples(hub, gpt2, downloader, registry):
    whisper = hub.add_repo("openai/whisper-base", {"model.safetensors": b"old"}, tags=["v1.0"])
    whisper.commit({"model.safetensors": b"newer"})
    hub.add_repo("bert-base-uncased", {"config.json": b"{}", "tokenizer.json": b"[]", "model.safetensors": WEIGHTS})

    async def download_models() -> tuple[Any, ...]:
        return (
            await downloader.download_model_hf(model_id="gpt2", model_type=ModelType.TEXT_GENERATION),
            await downloader.download_model_hf(
                model_id="openai/whisper-base", model_type=ModelType.AUDIO_TO_TEXT, revision="v1.0"
            ),
            await downloader.download_model_hf(
                model_id="bert-base-uncased",
                model_type=ModelType.EMBEDDING,
                specific_files=["config.json", "tokenizer.json"],
            ),
        )

    whole, old, configs = asyncio.run(download_models())
    assert sorted(path.name for path in whole.path.iterdir()) == ["config.json", "model.safetensors"]
    assert (old.path / "model.safetensors").read_bytes() == b"old"
    assert (old.version, old.model_type) == ("v1.0", ModelType.AUDIO_TO_TEXT)
    assert sorted(path.name for path in configs.path.iterdir()) == ["config.json", "tokenizer.json"]
    assert registry.list_models() == [configs, whole, old]
    assert registry.list_models(model_type=ModelType.EMBEDDING) == [configs]


def test_the_published_batch(hub, gpt2, downloader, capsys):
    hub.add_repo("openai/whisper-base", {"model.safetensors": b"whisper"})
    models_to_download = [
        ("gpt2", ModelType.TEXT_GENERATION),
        ("openai/whisper-base", ModelType.AUDIO_TO_TEXT),
        ("sentence-transformers/all-MiniLM-L6-v2", ModelType.EMBEDDING),
    ]

    async def batch_download() -> None:
        tasks = [downloader.download_model_hf(model_id, model_type) for model_id, model_type in models_to_download]
        results = await asyncio.gather(*tasks, return_exceptions=True)
        for i, result in enumerate(results):
            model_id = models_to_download[i][0]
            if isinstance(result, Exception):
                print(f"Failed to download {model_id}: {result}")
            else:
                print(f"Successfully downloaded {model_id}")

    asyncio.run(batch_download())
    assert capsys.readouterr().out == (
        "Successfully downloaded gpt2\n"
        "Successfully downloaded openai/whisper-base\n"
        "Failed to download sentence-transformers/all-MiniLM-L6-v2: sentence-transformers/all-MiniLM-L6-v2: "
        "no such repo, or it is private\n"
    )


def test_the_published_error(downloader, registry):
    error = refused(downloader, "invalid/model", ModelType.TEXT_GENERATION)
    assert str(error) == "invalid/model: no such repo, or it is private"
    assert error.hint == "check the spelling; for a private repo set HF_TOKEN"
    assert (error.error_code, error.retry_after, error.model) == (NOT_FOUND, None, "invalid/model")
    entry = held(registry, "invalid/model")
    assert entry.status is ModelStatus.ERROR
    assert entry.metadata["error"] == {"code": NOT_FOUND, "message": str(error)}
    assert downloader.get_download_progress("invalid/model") is None


def test_what_the_entry_says(gpt2, downloader, registry, storage):
    before = datetime.now(UTC).replace(microsecond=0)
    entry = download(downloader)
    digest = entry.path.name
    assert before <= entry.download_date <= datetime.now(UTC)
    assert entry == ModelEntry(
        model_id="gpt2",
        model_type=ModelType.TEXT_GENERATION,
        path=storage / "snapshots" / digest,
        status=ModelStatus.AVAILABLE,
        version="main",
        size_bytes=len(WEIGHTS) + 2,
        download_date=entry.download_date,
        metadata={
            "source": "huggingface",
            "repo": "gpt2",
            "commit": gpt2.head(),
            "tree_digest": f"sha256:{digest}",
            "file_count": 2,
            "format": "safetensors",
        },
    )
    assert held(registry) is entry
    assert ModelRegistry(registry.registry_file).get_model("gpt2") == entry


def test_information_without_a_download(hub, downloader, storage):
    repo = hub.add_repo(
        "acme/frames",
        {"config.json": b"{}", "model.safetensors": WEIGHTS},
        card={"license": "mit", "tags": ["video"]},
        pipeline_tag="image-classification",
        gated="auto",
    )
    info = run(downloader.get_model_info_hf("acme/frames"))
    assert info == {
        "model_id": "acme/frames",
        "commit": repo.head(),
        "size": len(WEIGHTS) + 2,
        "files": 2,
        "tags": info["tags"],
        "pipeline_tag": "image-classification",
        "license": "mit",
        "gated": "auto",
        "new_version": None,
    }
    assert {"video", "license:mit"} <= set(info["tags"])
    assert fetched(hub) == 0
    assert not (storage / "snapshots").exists()


@pytest.mark.parametrize("model_id", ["acme/nothing", "no id", "../../etc", ""])
def test_no_information(downloader, model_id):
    assert run(downloader.get_model_info_hf(model_id)) is None


# What is taken


def test_pickles_only_when_they_are_named(hub, downloader, registry):
    hub.add_repo("acme/old", {"config.json": b"{}", "pytorch_model.bin": b"pickle"})
    error = refused(downloader, "acme/old", ModelType.OTHER)
    assert str(error) == (
        "acme/old/pytorch_model.bin: a file of this name may hold Python pickles, which run code when they are loaded"
    )
    assert (error.hint, error.error_code) == ("name the files to take with specific_files", CONFIG_ERROR)
    entry = download(downloader, "acme/old", specific_files=["config.json", "pytorch_model.bin"])
    assert (entry.path / "pytorch_model.bin").read_bytes() == b"pickle"
    assert "error" not in entry.metadata


def test_a_choice_among_many_variants_is_the_callers(hub, downloader):
    hub.add_repo("acme/gguf", {"m-Q4_K_M.gguf": b"4", "m-Q8_0.gguf": b"88"})
    error = refused(downloader, "acme/gguf", ModelType.TEXT_GENERATION)
    assert error.message == "acme/gguf has 2 variants of its weights in gguf, and vcm cannot choose"
    assert error.details == ("      2 B  m-Q8_0.gguf", "      1 B  m-Q4_K_M.gguf")
    assert error.hint == "name the files to take with specific_files"
    entry = download(downloader, "acme/gguf", specific_files=["m-Q8_0.gguf"])
    assert [path.name for path in entry.path.iterdir()] == ["m-Q8_0.gguf"]


def test_names_of_files_are_no_patterns(hub, downloader):
    hub.add_repo("acme/odd", {"[a]*.txt": b"1", "a.txt": b"2", "sub/a.txt": b"3"}, lfs=lambda *_: False)
    with pytest.raises(ModelDownloadError, match="Windows cannot hold"):
        download(downloader, "acme/odd", specific_files=["[a]*.txt"])
    entry = download(downloader, "acme/odd", specific_files=["a.txt"])
    assert [path.name for path in entry.path.iterdir()] == ["a.txt"]


@pytest.mark.parametrize("files", [["config.json", "gone.json"], ["gone.json"], ["../secret"], [""], ["sub"]])
def test_a_file_that_the_repo_does_not_have(hub, downloader, files):
    hub.add_repo("acme/m", {"config.json": b"{}", "sub/a.json": b"{}"})
    error = refused(downloader, "acme/m", ModelType.OTHER, specific_files=files)
    assert error.error_code == NOT_FOUND
    assert error.model == "acme/m"
    assert "has no" in error.message
    assert "models.toml" not in error.hint
    assert "[models." not in error.hint


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        (("a/b/c", "other"), "'a/b/c' at 'main' names no model of the hub: a repo id is 'namespace/name'", None),
        ((3, "other"), "3 at 'main' names no model of the hub: 'int' object has no attribute 'split'", None),
        (
            ("gpt2", "other", "a b"),
            "'gpt2' at 'a b' names no model of the hub: a revision is the name of a branch, a tag or a commit",
            None,
        ),
        (
            ("gpt2", "video"),
            "gpt2: 'video' is no type of model",
            TYPES,
        ),
        (("gpt2", "other", "main", []), "gpt2: specific_files names no file", "leave it out to take all"),
    ],
)
def test_a_call_that_means_nothing(hub, downloader, registry, arguments, message, hint):
    error = refused(downloader, *arguments)
    assert str(error) == message
    assert error.hint == (hint or "name it as its page does: namespace/name")
    assert registry.list_models() == []
    assert hub.requests == []


def test_at_least_one_worker(registry, storage):
    with pytest.raises(ConfigError) as caught:
        ModelDownloader(registry, storage, 0)
    assert str(caught.value) == "max_workers: expected at least 1, found 0"


# Again


def test_what_is_here_is_not_fetched_again(hub, gpt2, downloader, registry):
    first = download(downloader)
    hub.clear_requests()
    second = download(downloader)
    assert second == first
    assert fetched(hub) == 0
    assert registry.list_models() == [first]


def test_main_is_what_it_is_today(hub, gpt2, downloader):
    first = download(downloader)
    gpt2.commit({"config.json": b"{1}"})
    second = download(downloader)
    assert second.metadata["commit"] == gpt2.head() != first.metadata["commit"]
    assert (second.path / "config.json").read_bytes() == b"{1}"
    assert first.path.is_dir()


def test_what_a_program_noted_stays(gpt2, downloader, registry):
    download(downloader)
    registry.update_model_status("gpt2", ModelStatus.AVAILABLE, {"note": "mine"})
    gpt2.commit({"config.json": b"{1}"})
    assert download(downloader).metadata["note"] == "mine"


def test_what_was_available_stays_so_when_nothing_better_comes(hub, gpt2, downloader, registry):
    first = replace(download(downloader))
    gpt2.commit({"model.safetensors": WEIGHTS[::-1]})
    hub.fail(Fault(origin="cdn", corrupt=True, times=None))
    with pytest.raises(ModelChecksumError):
        download(downloader)
    assert held(registry) == first


def test_an_entry_whose_files_are_gone_is_not_available(hub, gpt2, downloader, registry, storage):
    download(downloader)
    (storage / "snapshots").rename(storage / "elsewhere")
    hub.remove("gpt2")
    refused(downloader, "gpt2", ModelType.OTHER)
    assert held(registry).status is ModelStatus.ERROR


def test_the_store_is_shared_with_the_command_line(hub, gpt2, registry, cache, vcm, manifest):
    manifest('[models.m]\nrepo = "gpt2"\n')
    assert vcm("sync").code == 0
    hub.clear_requests()
    entry = download(ModelDownloader(registry, cache))
    assert fetched(hub) == 0
    assert [entry.path.name] == [path.name for path in (cache / "snapshots").iterdir()]


# What may go wrong


def test_wrong_bytes(hub, gpt2, downloader, registry, storage):
    hub.fail(Fault(origin="cdn", corrupt=True, times=None))
    error = refused(downloader, "gpt2", ModelType.TEXT_GENERATION)
    assert isinstance(error, ModelChecksumError)
    assert (error.error_code, error.model, error.file) == (CHECKSUM_MISMATCH, "gpt2", "model.safetensors")
    assert error.expected == f"sha256:{hashlib.sha256(WEIGHTS).hexdigest()}"
    assert error.hint == "the publisher or something on the way changed the file: try again later"
    assert held(registry).status is ModelStatus.ERROR
    assert snapshot_files(storage) == {}
    hub.clear_faults()
    assert download(downloader).status is ModelStatus.AVAILABLE
    assert "error" not in held(registry).metadata


def test_a_gated_repo(hub, registry, storage, monkeypatch):
    hub.add_repo("acme/gated", {"model.safetensors": WEIGHTS}, gated="manual")
    error = refused(ModelDownloader(registry, storage), "acme/gated", ModelType.OTHER)
    assert error.error_code == AUTHENTICATION_ERROR
    assert held(registry, "acme/gated").metadata["error"]["code"] == AUTHENTICATION_ERROR
    hub.grant(TOKEN, "acme/gated")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert download(ModelDownloader(registry, storage), "acme/gated").status is ModelStatus.AVAILABLE
    assert TOKEN.encode() not in registry.registry_file.read_bytes()


def test_a_revision_that_is_not_there(gpt2, downloader):
    error = refused(downloader, "gpt2", ModelType.OTHER, "v2.0")
    assert str(error) == "gpt2: no such revision"
    assert error.hint == "its branches and tags: v1.0, main"


def test_no_room(hub, downloader, registry):
    hub.add_repo("acme/huge", {"model.safetensors": Unfetched(size=1 << 49, sha256="a" * 64)})
    error = refused(downloader, "acme/huge", ModelType.OTHER)
    assert isinstance(error, DiskSpaceError)
    assert error.error_code == INSUFFICIENT_SPACE
    assert error.hint == "free some space, or choose another download_dir"
    assert held(registry, "acme/huge").status is ModelStatus.ERROR


def test_a_folder_that_is_a_file(gpt2, hub, registry, tmp_path):
    (tmp_path / "in-the-way").write_text("")
    error = refused(ModelDownloader(registry, tmp_path / "in-the-way"), "gpt2", ModelType.OTHER)
    assert error.hint == "see who may write download_dir, or choose another"
    assert held(registry).status is ModelStatus.ERROR


def test_offline(hub, gpt2, downloader, registry, storage, monkeypatch):
    first = download(downloader)
    hub.add_repo("acme/other", {"model.safetensors": b"other"})
    hub.clear_requests()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    offline = ModelDownloader(registry, storage)
    assert download(offline) == first
    error = refused(offline, "acme/other", ModelType.OTHER)
    assert error.error_code == NETWORK_ERROR
    assert str(error) == (
        "acme/other: what the hub says of acme/other at main is not in the metadata cache, and this run is offline"
    )
    assert run(offline.get_model_info_hf("acme/other")) is None
    assert hub.requests == []


def test_a_damaged_registry(gpt2, downloader, registry, hub):
    registry.registry_file.parent.mkdir()
    registry.registry_file.write_text("{")
    with pytest.raises(ModelRegistryError):
        download(downloader)
    assert registry.registry_file.read_text() == "{"
    assert hub.requests == []
    assert downloader.get_download_progress("gpt2") is None


def test_what_nobody_foresaw_reaches_the_caller(gpt2, downloader, monkeypatch):
    class Odd(Exception):  # noqa: N818
        pass

    def fail(*_: object) -> None:
        raise Odd

    monkeypatch.setattr("vcm.downloader.refuse_missing", fail)
    with pytest.raises(Odd):
        download(downloader)
    assert downloader.get_download_progress("gpt2") is None
    monkeypatch.undo()


# While it goes on


@pytest.fixture
def slow(hub: HubSimulator, gpt2: SimulatedRepo) -> Iterator[HubSimulator]:
    """A hub that stops in the middle of the weights, for a second."""
    hub.fail(Fault(origin="cdn", stall_after=1_500_000, delay=1, times=1))
    yield hub
    hub.clear_faults()


def progress_of(downloader: ModelDownloader, model_id: str = "gpt2") -> dict[str, Any]:
    found = downloader.get_download_progress(model_id)
    assert found is not None
    assert set(found) == KEYS
    return found


def test_progress_and_status_while_it_goes_on(slow, downloader, registry):
    async def main() -> None:
        task = asyncio.create_task(downloader.download_model_hf("gpt2", ModelType.TEXT_GENERATION))
        await until(lambda: (downloader.get_download_progress("gpt2") or {}).get("downloaded_bytes", 0) > 2)
        now = progress_of(downloader)
        await until(lambda: progress_of(downloader)["downloaded_bytes"] >= 1_500_000)
        now = progress_of(downloader)
        assert (now["model_id"], now["status"]) == ("gpt2", "downloading")
        assert (now["downloaded_bytes"], now["total_bytes"]) == (1_500_002, len(WEIGHTS) + 2)
        assert now["progress"] == 1_500_002 / 3_000_002
        assert (now["files_completed"], now["files_total"]) == (1, 2)
        assert isinstance(now["estimated_remaining"], int)
        entry = held(registry)
        assert (entry.status, entry.size_bytes) == (ModelStatus.DOWNLOADING, len(WEIGHTS) + 2)
        seen = [now]
        while not task.done():
            await asyncio.sleep(0.002)
            found = downloader.get_download_progress("gpt2")
            seen += [found] if found else []
        for key in ("progress", "downloaded_bytes", "files_completed"):
            values = [each[key] for each in seen]
            assert values == sorted(values)
        assert downloader.get_download_progress("gpt2") is None

    asyncio.run(main())
    assert held(registry).status is ModelStatus.AVAILABLE


def test_the_event_loop_is_not_kept_waiting(slow, downloader):
    async def main() -> int:
        task = asyncio.create_task(downloader.download_model_hf("gpt2", ModelType.OTHER))
        turns = 0
        while not task.done():
            await asyncio.sleep(0.001)
            turns += 1
        return turns

    # Hundreds in the second of the stall; a few, if the loop had to wait for it.
    assert asyncio.run(main()) > 20


@pytest.mark.parametrize("how", ["cancel_download", "another thread", "task"])
def test_a_download_that_is_called_off_goes_on_the_next_time(slow, downloader: ModelDownloader, registry, how):
    async def main() -> ModelEntry | None:
        task = asyncio.create_task(downloader.download_model_hf("gpt2", ModelType.TEXT_GENERATION))
        await until(lambda: (downloader.get_download_progress("gpt2") or {}).get("downloaded_bytes", 0) >= 1_500_000)
        began = monotonic()
        if how == "task":
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        else:
            if how == "another thread":
                assert await asyncio.to_thread(downloader.cancel_download, "gpt2") is True
            else:
                assert downloader.cancel_download("gpt2") is True
            assert await task is None
        assert monotonic() - began < 1
        assert downloader.cancel_download("gpt2") is False
        assert downloader.get_download_progress("gpt2") is None
        assert registry.get_model("gpt2") is None
        return await downloader.download_model_hf("gpt2", ModelType.TEXT_GENERATION)

    entry = asyncio.run(main())
    assert entry is not None
    assert (entry.path / "model.safetensors").read_bytes() == WEIGHTS
    _, last = [request for request in slow.requests if request.origin == "cdn"]
    assert int(last.headers["range"].removeprefix("bytes=").removesuffix("-")) >= 1_500_000


def test_calling_off_brings_back_what_the_registry_said(slow, gpt2, downloader, registry):
    slow.clear_faults()
    refused(downloader, "gpt2", ModelType.OTHER, specific_files=["gone"])
    before = held(registry)
    assert before.status is ModelStatus.ERROR
    before = replace(before)
    slow.fail(Fault(origin="cdn", stall_after=1_500_000, delay=1))

    async def main() -> None:
        task = asyncio.create_task(downloader.download_model_hf("gpt2", ModelType.TEXT_GENERATION))
        await until(lambda: (downloader.get_download_progress("gpt2") or {}).get("downloaded_bytes", 0) >= 1_500_000)
        assert held(registry).status is ModelStatus.DOWNLOADING
        assert downloader.cancel_download("gpt2")
        assert await task is None

    asyncio.run(main())
    assert held(registry) == before


def test_nothing_to_call_off(gpt2, downloader):
    assert downloader.cancel_download("gpt2") is False
    assert downloader.get_download_progress("gpt2") is None
    download(downloader)
    assert downloader.cancel_download("gpt2") is False


def test_two_calls_for_one_model_are_one_download(slow, downloader: ModelDownloader):
    async def main() -> list[ModelEntry | None]:
        calls = [downloader.download_model_hf("gpt2", ModelType.OTHER) for _ in range(5)]
        return await asyncio.gather(*calls)

    entries = asyncio.run(main())
    assert all(entry is entries[0] for entry in entries)
    assert fetched(slow) == 1


def test_one_who_leaves_takes_nothing_from_the_others(slow, downloader: ModelDownloader):
    async def main() -> ModelEntry | None:
        leaves, stays = (asyncio.create_task(downloader.download_model_hf("gpt2", ModelType.OTHER)) for _ in range(2))
        await until(lambda: (downloader.get_download_progress("gpt2") or {}).get("downloaded_bytes", 0) >= 1_500_000)
        leaves.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaves
        return await stays

    entry = asyncio.run(main())
    assert entry is not None
    assert fetched(slow) == 1


def test_two_revisions_of_one_model_come_one_after_the_other(hub, downloader: ModelDownloader, registry):
    repo = hub.add_repo("acme/m", {"model.safetensors": b"old"}, tags=["v1.0"])
    repo.commit({"model.safetensors": b"newer"})

    async def main() -> list[ModelEntry | None]:
        calls = [downloader.download_model_hf("acme/m", ModelType.OTHER, each) for each in ("v1.0", "main", "v1.0")]
        return await asyncio.gather(*calls)

    assert [entry and entry.version for entry in asyncio.run(main())] == ["v1.0", "main", "v1.0"]
    assert [path.name for path in registry.list_models()[0].path.iterdir()] == ["model.safetensors"]


def test_no_more_at_once_than_were_allowed(hub, downloader, registry):
    for number in range(4):
        hub.add_repo(f"acme/m{number}", {"model.safetensors": WEIGHTS[number:]})
    hub.fail(Fault(origin="cdn", stall_after=1000, delay=0.8, times=None))
    names = [f"acme/m{number}" for number in range(4)]

    async def main() -> None:
        tasks = [asyncio.create_task(downloader.download_model_hf(name, ModelType.OTHER)) for name in names]
        await until(lambda: len(registry.list_models()) == 4)
        most = 0
        pending = set()
        while not all(task.done() for task in tasks):
            now = [found for name in names if (found := downloader.get_download_progress(name))]
            most = max(most, sum(each["status"] == "downloading" for each in now))
            pending |= {each["model_id"] for each in now if each["status"] == "pending"}
            await asyncio.sleep(0.005)
        assert most == 2
        assert len(pending) == 2

    asyncio.run(main())
    assert {each.status for each in registry.list_models()} == {ModelStatus.AVAILABLE}


def test_one_that_is_pending_is_called_off_at_once(slow, hub, registry, storage):
    hub.add_repo("acme/later", {"model.safetensors": b"later"})
    downloader = ModelDownloader(registry, storage, max_workers=1)

    async def main() -> None:
        first = asyncio.create_task(downloader.download_model_hf("gpt2", ModelType.OTHER))
        await until(lambda: (downloader.get_download_progress("gpt2") or {}).get("downloaded_bytes", 0) >= 1_500_000)
        second = asyncio.create_task(downloader.download_model_hf("acme/later", ModelType.OTHER))
        await until(lambda: registry.get_model("acme/later"))
        assert held(registry, "acme/later").status is ModelStatus.PENDING
        assert progress_of(downloader, "acme/later")["status"] == "pending"
        assert downloader.cancel_download("acme/later")
        assert await second is None
        assert registry.get_model("acme/later") is None
        assert await first is not None

    asyncio.run(main())


def test_several_loops_may_share_one_downloader(slow, downloader):
    entries: list[ModelEntry] = []
    threads = [threading.Thread(target=lambda: entries.append(download(downloader))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(entries) == 3
    assert fetched(slow) == 1


def test_no_thread_is_left_behind(gpt2, downloader):
    download(downloader)
    for _ in range(200):
        if not any(thread.name.startswith("vcm-") for thread in threading.enumerate()):
            break
        sleep(0.01)
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("vcm-")]


# Numbers


def test_numbers_never_go_back():
    files = tuple(LockedFile(name, size, name * 64) for name, size in (("a", 100), ("b", 50), ("c", 10)))
    model = LockedModel(name="m", source="huggingface", repo="m", commit="1" * 40, files=files)
    now = 0.0
    progress = DownloadProgress("m", lambda: now)
    assert (progress.as_dict()["progress"], progress.as_dict()["estimated_remaining"]) == (0.0, None)
    progress.begin(PlannedModel(model, SnapshotState.MISSING, files[:2], files[2:]))
    assert (progress.as_dict()["downloaded_bytes"], progress.as_dict()["files_completed"]) == (10, 1)
    progress.file_started("m/a", 100, 40)
    progress.advanced("m/a", 20)
    now = 2.0
    assert (progress.as_dict()["downloaded_bytes"], progress.as_dict()["estimated_remaining"]) == (70, 9)
    progress.advanced("m/a", -60)
    assert progress.as_dict()["downloaded_bytes"] == 70
    progress.advanced("m/a", 100)
    assert (progress.as_dict()["downloaded_bytes"], progress.as_dict()["files_completed"]) == (110, 2)
    progress.advanced("m/a", 1)
    assert progress.as_dict()["downloaded_bytes"] == 110
    progress.file_started("m/b", 50, 0)
    progress.advanced("m/b", 50)
    last = progress.as_dict()
    assert (last["progress"], last["files_completed"], last["estimated_remaining"]) == (1.0, 3, 0)


def test_hints_are_for_programs():
    request = DownloadRequest("acme/m", ModelType.OTHER, "main", None)
    error = as_download_error(RegistryError("gone", hint="run vcm lock", retry_after=3.0), request)
    assert isinstance(error, ModelDownloadError)
    assert (error.hint, error.retry_after) == ("", 3.0)
    assert isinstance(error.__cause__, RegistryError)
    untouched = ModelRegistryError("damaged", hint="see models.toml")
    assert as_download_error(untouched, request) is untouched
