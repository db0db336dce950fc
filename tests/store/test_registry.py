"""ModelRegistry: the published API, many processes at once, and the store's own record."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import pytest
from filelock import FileLock

import vcm.store.registry as registry_module
from tests.core.test_entries import ENTRY, ROW
from vcm import ModelEntry, ModelRegistry, ModelStatus, ModelType
from vcm.core.lock import LockedFile, LockedModel
from vcm.errors import CONFIG_ERROR, INSUFFICIENT_SPACE, PERMISSION_ERROR, ModelRegistryError

DAMAGED_HINT = "take a good copy of it from a backup, or move it away to begin with an empty one"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "models" / "registry.json"


@pytest.fixture
def registry(file: Path) -> ModelRegistry:
    return ModelRegistry(registry_file=file)


def entry(**changes: Any) -> ModelEntry:
    return replace(ENTRY, **{"metadata": dict(ENTRY.metadata), **changes})


def held(registry: ModelRegistry, model_id: str = "gpt2") -> ModelEntry:
    found = registry.get_model(model_id)
    assert found is not None
    return found


def content(file: Path) -> dict[str, object]:
    found: dict[str, object] = json.loads(file.read_bytes())
    return found


def write(file: Path, value: object) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(value))


# The published API


def test_the_published_examples(registry):
    gpt2 = ModelEntry(
        model_id="gpt2",
        model_type=ModelType.TEXT_GENERATION,
        path=Path("./models/huggingface/gpt2"),
        status=ModelStatus.DOWNLOADING,
        version="main",
        size_bytes=0,
        download_date=datetime.now(),  # noqa: DTZ005  (as published)
        metadata={"source": "huggingface"},
    )
    assert registry.add_model(gpt2) is True
    assert registry.add_model(gpt2) is False
    model = held(registry)
    assert (model.status, model.path) == (ModelStatus.DOWNLOADING, Path("models/huggingface/gpt2"))
    assert registry.get_model("gpt3") is None
    assert registry.list_models() == [gpt2]
    assert registry.list_models(model_type=ModelType.TEXT_GENERATION) == [gpt2]
    assert registry.list_models(status=ModelStatus.AVAILABLE) == []
    assert registry.update_model_status("gpt2", ModelStatus.AVAILABLE) is True
    assert registry.update_model_status(
        "gpt2", ModelStatus.AVAILABLE, metadata={"download_duration": 120, "file_count": 5}
    )
    assert held(registry).metadata == {"source": "huggingface", "download_duration": 120, "file_count": 5}
    assert registry.list_models(model_type=ModelType.TEXT_GENERATION, status=ModelStatus.AVAILABLE) == [gpt2]
    assert registry.list_models(model_type=ModelType.EMBEDDING) == []
    assert registry.update_model_status("gpt3", ModelStatus.AVAILABLE) is False
    registry.save()
    registry.load()
    assert held(registry).status is ModelStatus.AVAILABLE
    assert registry.remove_model("gpt2") is True
    assert registry.remove_model("gpt2") is False
    assert registry.list_models() == []


def test_asking_makes_no_file(registry, file):
    assert registry.list_models() == []
    assert registry.get_model("gpt2") is None
    assert not file.parent.exists()


def test_what_the_file_holds(registry, file):
    registry.add_model(entry(model_id="b"))
    registry.add_model(entry(model_id="a"))
    assert content(file) == {"version": 1, "models": {"a": ROW, "b": ROW}, "projects": []}
    text = file.read_text()
    assert text == json.dumps(json.loads(text), indent=1, sort_keys=True) + "\n"
    assert ModelRegistry(file).list_models() == [entry(model_id="a"), entry(model_id="b")]


def test_an_entry_that_was_changed_is_kept_by_save(registry, file):
    given = entry()
    registry.add_model(given)
    registry.add_model(entry(model_id="other"))
    given.version = "v2"
    held(registry, "other").metadata["note"] = "mine"
    before = file.read_bytes()
    assert registry.get_model("gpt2") is given
    assert file.read_bytes() == before
    registry.save()
    other = ModelRegistry(file)
    assert held(other).version == "v2"
    assert held(other, "other").metadata == {"source": "huggingface", "note": "mine"}


def test_load_forgets_what_was_not_saved(registry):
    registry.add_model(entry())
    held(registry).version = "v2"
    registry.load()
    assert held(registry).version == "main"


def test_save_writes_only_what_was_changed_here(registry, file):
    registry.add_model(entry())
    mine = held(registry)
    other = ModelRegistry(file)
    other.update_model_status("gpt2", ModelStatus.AVAILABLE)
    mine.version = "v2"
    assert registry.get_model("gpt2") is mine
    assert (mine.version, mine.status) == ("v2", ModelStatus.AVAILABLE)
    other.update_model_status("gpt2", ModelStatus.DELETED)
    registry.save()
    kept = held(other)
    assert (kept.version, kept.status) == ("v2", ModelStatus.DELETED)


def test_save_brings_nothing_back(registry, file):
    registry.add_model(entry())
    held(registry).version = "v2"
    ModelRegistry(file).remove_model("gpt2")
    registry.save()
    assert content(file)["models"] == {}
    assert registry.get_model("gpt2") is None


def test_save_refuses_what_cannot_be_kept(registry, file):
    registry.add_model(entry())
    before = file.read_bytes()
    held(registry).size_bytes = -1
    for act in (registry.save, registry.save):
        with pytest.raises(ModelRegistryError) as caught:
            act()
        assert str(caught.value) == "gpt2: size_bytes: expected a whole number of at least 0, found -1"
    assert file.read_bytes() == before
    registry.load()
    assert held(registry).size_bytes == 0


def test_an_entry_that_is_held_follows_the_file(registry, file):
    registry.add_model(entry())
    entry_here = held(registry)
    ModelRegistry(file).update_model_status("gpt2", ModelStatus.AVAILABLE, {"a": 1})
    registry.list_models()
    assert (entry_here.status, entry_here.metadata) == (ModelStatus.AVAILABLE, {"source": "huggingface", "a": 1})


def test_put_takes_the_place_of_what_was(registry, file):
    old = entry()
    registry.put_model(old)
    write(file, {"version": 1, "models": {"gpt2": {**ROW, "from-the-future": 1}}})
    new = entry(version="v2", metadata={})
    registry.put_model(new)
    assert old == entry()
    assert registry.get_model("gpt2") is new
    assert content(file)["models"] == {"gpt2": {**ROW, "version": "v2", "metadata": {}, "from-the-future": 1}}


# What else may stand in the file


def test_what_a_newer_vcm_wrote_is_kept(registry, file):
    write(file, {"version": 1, "models": {"gpt2": {**ROW, "signed": [1]}}, "projects": ["/p"], "leases": {"a": 1}})
    registry.update_model_status("gpt2", ModelStatus.AVAILABLE)
    held(registry).version = "v2"
    registry.save()
    assert content(file) == {
        "version": 1,
        "models": {"gpt2": {**ROW, "status": "available", "version": "v2", "signed": [1]}},
        "projects": ["/p"],
        "leases": {"a": 1},
    }


def test_a_damaged_row_is_set_aside(registry, file):
    damaged = {**ROW, "status": "quantised"}
    write(file, {"version": 1, "models": {"a": ROW, "b": damaged, "c": None}})
    assert [each.model_id for each in registry.list_models()] == ["a"]
    for model_id, problem in {
        "b": "status: allowed are downloading, available, error, deleted and pending; found 'quantised'",
        "c": "expected an object, found None",
    }.items():
        for ask in (registry.get_model, lambda each: registry.update_model_status(each, ModelStatus.AVAILABLE)):
            with pytest.raises(ModelRegistryError) as caught:
                ask(model_id)
            assert str(caught.value) == f"{model_id}: {problem}"
        assert registry.add_model(entry(model_id=model_id)) is False
    registry.add_model(entry(model_id="d"))
    registry.save()
    assert content(file)["models"] == {"a": ROW, "b": damaged, "c": None, "d": ROW}
    assert registry.remove_model("b") is True
    assert registry.add_model(entry(model_id="b")) is True


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "it is not JSON"),
        (b"{", "it is not JSON"),
        (b"\xff\xfe\x00", "it is not JSON"),
        (b"[" * 100_000, "it is not JSON"),
        (b'{"version": 1, "models": {"a": ' + b"9" * 5000 + b"}}", "it is not JSON"),
        (b"[]", 'it has no "models"'),
        (b'{"version": 1, "models": []}', 'it has no "models"'),
        (b'{"models": {}}', 'its "version" is no whole number of at least 1'),
        (b'{"version": "1", "models": {}}', 'its "version" is no whole number of at least 1'),
        (b'{"version": 1, "models": {}, "projects": [3]}', 'its "projects" are no list of folders'),
        (b'{"version": 1, "models": {}, "projects": [""]}', 'its "projects" are no list of folders'),
        (rb'{"version": 1, "models": {}, "projects": ["/a\u0000"]}', 'its "projects" are no list of folders'),
        (rb'{"version": 1, "models": {}, "projects": ["/\ud800"]}', 'its "projects" are no list of folders'),
    ],
    ids=range(13),
)
def test_a_damaged_file_is_refused_and_never_overwritten(registry, file, data, problem, tmp_path):
    file.parent.mkdir()
    file.write_bytes(data)
    asks = [
        lambda: registry.add_model(entry()),
        lambda: registry.get_model("gpt2"),
        registry.list_models,
        lambda: registry.update_model_status("gpt2", ModelStatus.AVAILABLE),
        lambda: registry.remove_model("gpt2"),
        registry.save,
        registry.load,
        registry.projects,
        lambda: registry.record(tmp_path, [], tmp_path),
        lambda: registry.forget([tmp_path]),
        lambda: registry.drop(["0" * 64]),
    ]
    for ask in asks:
        with pytest.raises(ModelRegistryError) as caught:
            ask()
        assert str(caught.value) == f"{file} is no registry of models: {problem}"
        assert (caught.value.hint, caught.value.error_code) == (DAMAGED_HINT, CONFIG_ERROR)
    assert file.read_bytes() == data


def test_a_newer_file_is_refused(registry, file):
    write(file, {"version": 2, "models": {}})
    with pytest.raises(ModelRegistryError) as caught:
        registry.list_models()
    assert str(caught.value) == f"{file} has version 2, newer than this vcm knows (1)"
    assert caught.value.hint == "upgrade vcm: pip install --upgrade vcm"


def test_what_is_no_file_is_refused(tmp_path):
    for place in (tmp_path, *([] if os.name == "nt" else [tmp_path / "pipe"])):
        if place != tmp_path:
            os.mkfifo(place)
        with pytest.raises(ModelRegistryError) as caught:
            ModelRegistry(place).list_models()
        assert str(caught.value) == f"{place} is no regular file"
    with pytest.raises(ModelRegistryError, match="no file can be called"):
        ModelRegistry(Path("a\0b")).list_models()


@pytest.mark.skipif(os.name == "nt", reason="Windows has other permissions")
def test_a_file_that_may_not_be_written(registry, file, monkeypatch):
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(file))

    registry.add_model(entry())
    before = file.read_bytes()
    monkeypatch.setattr(registry_module, "replace_file", refuse)
    with pytest.raises(ModelRegistryError) as caught:
        registry.update_model_status("gpt2", ModelStatus.AVAILABLE)
    assert str(caught.value) == f"cannot use {file}: permission denied"
    assert caught.value.hint == f"make room, or see who may write {file}, then try again"
    assert caught.value.error_code == PERMISSION_ERROR
    assert file.read_bytes() == before
    assert held(registry).status is ModelStatus.DOWNLOADING


def test_a_file_that_may_not_be_read(file, monkeypatch):
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(file))

    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("{}")
    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(ModelRegistryError) as caught:
        ModelRegistry(file).list_models()
    assert str(caught.value) == f"cannot use {file}: permission denied"
    assert caught.value.hint == f"see who may read {file}, then try again"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_leaves_the_old_file(registry, file, monkeypatch):
    registry.add_model(entry())
    before = file.read_bytes()
    monkeypatch.setattr(os, "fsync", lambda _: os.write(os.open("/dev/full", os.O_WRONLY), b"x"))
    with pytest.raises(ModelRegistryError) as caught:
        registry.remove_model("gpt2")
    assert str(caught.value).startswith(f"no space left for {file}")
    assert caught.value.error_code == INSUFFICIENT_SPACE
    assert file.read_bytes() == before
    assert sorted(each.name for each in file.parent.iterdir()) == ["registry.json", "registry.json.lock"]


# Many at once


def run_python(code: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )


def test_eight_processes_lose_nothing(registry, file):
    registry.add_model(entry(model_id="shared"))
    code = """
        import sys
        from dataclasses import replace
        from vcm import ModelRegistry, ModelStatus
        registry, name = ModelRegistry(sys.argv[1]), sys.argv[2]
        other = replace(registry.get_model("shared"), metadata={})
        for number in range(10):
            assert registry.add_model(replace(other, model_id=f"{name}-{number}"))
            assert registry.update_model_status("shared", ModelStatus.AVAILABLE, {f"{name}-{number}": True})
        """
    workers = [run_python(code, file, name) for name in "abcdefgh"]
    seen = 0
    while any(worker.poll() is None for worker in workers):
        # Whoever reads meanwhile sees the old or the new, and never less than before.
        now = len(registry.list_models())
        assert now >= seen
        seen = now
        sleep(0.01)
    assert [worker.communicate()[1] for worker in workers] == [""] * 8
    names = {f"{name}-{number}" for name in "abcdefgh" for number in range(10)}
    assert {each.model_id for each in registry.list_models()} == {*names, "shared"}
    assert set(held(registry, "shared").metadata) == {*names, "source"}
    assert sorted(each.name for each in file.parent.iterdir()) == ["registry.json", "registry.json.lock"]


def test_threads_of_one_registry_lose_nothing(registry, file):
    def work(name: str) -> None:
        for number in range(10):
            registry.add_model(entry(model_id=f"{name}-{number}"))
            registry.update_model_status(f"{name}-{number}", ModelStatus.AVAILABLE)
            registry.remove_model(f"{name}-{number - 1}")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, "abcdefgh"))
    assert [each.model_id for each in ModelRegistry(file).list_models()] == [f"{name}-9" for name in "abcdefgh"]
    assert {each.status for each in registry.list_models()} == {ModelStatus.AVAILABLE}


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
def test_a_killed_writer_leaves_a_whole_file_and_no_lock(registry, file):
    code = """
        import itertools, sys
        from dataclasses import replace
        from vcm import ModelRegistry
        registry = ModelRegistry(sys.argv[1])
        first = registry.get_model("first")
        print("on", flush=True)
        for number in itertools.count():
            registry.put_model(replace(first, model_id=f"m{number % 50}", version=f"{number}"))
        """
    registry.add_model(entry(model_id="first"))
    for wait in (0.0, 0.003, 0.01, 0.02, 0.05):
        worker = run_python(code, file)
        assert worker.stdout is not None
        assert worker.stdout.readline() == "on\n"
        sleep(wait)
        worker.send_signal(signal.SIGKILL)
        worker.communicate()
        before = len(registry.list_models())
        began = monotonic()
        assert registry.add_model(entry(model_id=f"after {wait}"))
        assert monotonic() - began < 5
        assert len(registry.list_models()) == before + 1


def test_who_hangs_with_the_lock_is_not_waited_for_for_ever(registry, file, monkeypatch):
    monkeypatch.setattr(registry_module, "_PATIENCE_SECONDS", 0.1)
    registry.add_model(entry())
    with FileLock(f"{file}.lock"):
        assert registry.get_model("gpt2") is not None
        with pytest.raises(ModelRegistryError) as caught:
            registry.remove_model("gpt2")
    assert str(caught.value) == f"{file} has been held by another process for 0 s"
    assert caught.value.hint == "end the process that hangs, then try again"
    assert registry.remove_model("gpt2")


# The store's own record


def locked(repo: str, **changes: Any) -> LockedModel:
    model = LockedModel(
        name=repo,
        source="huggingface",
        repo=f"acme/{repo}",
        commit="1" * 40,
        ref="v1.0",
        version="1.0",
        type="image-classification",
        files=(LockedFile("a", 7, "a" * 64), LockedFile(repo, 3, "b" * 64)),
    )
    return replace(model, **changes)


def test_what_is_recorded_of_an_installed_model(registry, tmp_path):
    model = locked("frames")
    before = datetime.now(UTC).replace(microsecond=0)
    registry.record(tmp_path / "project", [model], tmp_path / "cache")
    (found,) = registry.list_models()
    assert before <= found.download_date <= datetime.now(UTC)
    assert found == ModelEntry(
        model_id=f"acme/frames@sha256:{model.tree_digest}",
        model_type=ModelType.CLASSIFICATION,
        path=tmp_path / "cache" / "snapshots" / model.tree_digest,
        status=ModelStatus.AVAILABLE,
        version="1.0",
        size_bytes=10,
        download_date=found.download_date,
        metadata={
            "source": "huggingface",
            "name": "frames",
            "repo": "acme/frames",
            "commit": "1" * 40,
            "tree_digest": f"sha256:{model.tree_digest}",
            "task": "image-classification",
            "projects": [str(tmp_path / "project")],
        },
    )
    assert registry.projects() == (tmp_path / "project",)


def test_a_direct_file_is_recorded_by_its_url(registry, tmp_path):
    url = "https://example.com/user@v1/words.onnx"
    model = LockedModel(name="words", source="url", url=url, files=(LockedFile("words.onnx", 3, "b" * 64),))
    registry.record(tmp_path, [model], tmp_path)
    (found,) = registry.list_models()
    assert found.model_id == f"{url}@sha256:{model.tree_digest}"
    assert (found.version, found.model_type) == (f"sha256:{model.tree_digest}", ModelType.OTHER)
    assert (found.metadata["url"], found.metadata["name"]) == (url, "words")
    registry.record(tmp_path, [model], tmp_path)
    assert registry.list_models() == [found]


def test_what_is_known_is_not_written_again(registry, file, tmp_path, monkeypatch):
    models = [locked(f"m{number}", files=(LockedFile("a", number, "a" * 64),)) for number in range(20)]
    registry.record(tmp_path, models, tmp_path)
    inode = file.stat().st_ino

    def refuse(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(registry_module, "replace_file", refuse)
    monkeypatch.setattr(ModelRegistry, "_exclusive", refuse)
    ModelRegistry(file).record(tmp_path, models, tmp_path)
    ModelRegistry(file).forget([tmp_path / "elsewhere"])
    ModelRegistry(file).drop(["0" * 64])
    assert file.stat().st_ino == inode


def test_two_snapshots_of_one_repo_are_two_entries(registry, tmp_path):
    old, new = locked("m"), locked("m", files=(LockedFile("a", 8, "c" * 64),))
    registry.record(tmp_path / "p", [old], tmp_path)
    registry.record(tmp_path / "q", [old], tmp_path)
    registry.record(tmp_path / "p", [new], tmp_path)
    users = {each.metadata["tree_digest"]: each.metadata["projects"] for each in registry.list_models()}
    assert users == {
        f"sha256:{old.tree_digest}": [str(tmp_path / "q")],
        f"sha256:{new.tree_digest}": [str(tmp_path / "p")],
    }
    registry.record(tmp_path / "p", [], tmp_path)
    assert held(registry, f"acme/m@sha256:{new.tree_digest}").metadata["projects"] == []
    assert registry.projects() == (tmp_path / "p", tmp_path / "q")


def test_one_snapshot_of_two_repos_is_one_entry(registry, tmp_path):
    registry.record(tmp_path / "p", [locked("m")], tmp_path)
    registry.record(tmp_path / "q", [replace(locked("m"), name="other", repo="acme/mirror", commit="2" * 40)], tmp_path)
    (found,) = registry.list_models()
    assert found.model_id.startswith("acme/m@")
    assert found.metadata["projects"] == [str(tmp_path / "p"), str(tmp_path / "q")]
    assert found.metadata["name"] == "m"


def test_a_row_that_is_not_right_any_more_is_put_right(registry, file, tmp_path):
    model = locked("m")
    registry.record(tmp_path, [model], tmp_path)
    (first,) = registry.list_models()
    model_id, date = first.model_id, first.download_date
    registry.update_model_status(model_id, ModelStatus.DELETED, {"note": "mine"})
    registry.record(tmp_path, [model], tmp_path / "moved")
    (found,) = registry.list_models()
    assert found.path == tmp_path / "moved" / "snapshots" / model.tree_digest
    assert (found.status, found.download_date, found.metadata["note"]) == (ModelStatus.AVAILABLE, date, "mine")
    for row in (None, 3, {}, {"path": str(found.path), "status": "available", "metadata": 3}):
        write(file, {"version": 1, "models": {model_id: row}})
        registry.record(tmp_path, [model], tmp_path)
        assert held(registry, model_id).metadata["projects"] == [str(tmp_path)]


def test_forgetting_and_dropping(registry, tmp_path):
    keep, gone = locked("keep"), locked("gone")
    registry.record(tmp_path / "p", [keep, gone], tmp_path)
    registry.record(tmp_path / "q", [keep], tmp_path)
    registry.add_model(entry(metadata={"tree_digest": f"sha256:{gone.tree_digest}"}))
    registry.add_model(entry(model_id="unrelated"))
    registry.forget([tmp_path / "p"])
    assert registry.projects() == (tmp_path / "q",)
    registry.drop([gone.tree_digest])
    assert {each.model_id: each.metadata.get("projects") for each in registry.list_models()} == {
        f"acme/keep@sha256:{keep.tree_digest}": [str(tmp_path / "q")],
        "unrelated": None,
    }


def test_the_record_leaves_a_programs_own_entries_alone(registry, tmp_path):
    registry.add_model(entry(model_id="acme/m"))
    registry.record(tmp_path, [locked("m")], tmp_path)
    registry.record(tmp_path, [], tmp_path)
    assert registry.get_model("acme/m") == entry(model_id="acme/m")


def test_relative_folders_are_the_same_projects(registry, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    registry.record(Path("p"), [], tmp_path)
    registry.record(tmp_path / "p", [], tmp_path)
    assert registry.projects() == (tmp_path / "p",)
    registry.forget([Path("p")])
    assert registry.projects() == ()
