"""ModelManager and load_config: the published signatures, and what they promise."""

from __future__ import annotations

import hashlib
import inspect
import threading
from dataclasses import fields
from pathlib import Path

import pytest

from vcm import (
    Config,
    ConfigError,
    DiskSpaceError,
    HuggingFaceRegistry,
    ModelChecksumError,
    ModelDownloadError,
    ModelManager,
    ModelsConfig,
    ModelSource,
    load_config,
)
from vcm.testing import Fault

COMMIT = "1234567890" * 4
CONTENT = b"profanity" * 1000
DIGEST = hashlib.sha256(CONTENT).hexdigest()


def test_signatures():
    assert str(inspect.signature(ModelManager)) == (
        "(config: 'Config', registry: 'Optional[HuggingFaceRegistry]' = None) -> 'None'"
    )
    assert str(inspect.signature(ModelManager.get_model_info)) == "(self, model_name: 'str') -> 'ModelMetadata'"
    verify = inspect.signature(ModelManager.verify_models)
    assert str(verify).startswith(
        "(self, sources: 'Optional[List[ModelSource]]' = None, "
        "progress_callback: 'Optional[ProgressCallback]' = None) -> 'Dict[str, bool]'"
    )
    assert list(inspect.signature(ModelManager.is_model_valid).parameters) == ["self", "model_name"]
    assert inspect.signature(ModelManager.is_model_valid).return_annotation == "bool"
    assert list(inspect.signature(ModelManager.get_model_path).parameters) == ["self", "model_name"]
    assert inspect.signature(ModelManager.get_model_path).return_annotation == "Path"


def test_fields():
    assert [each.name for each in fields(ModelSource)] == [
        "name", "url", "checksum", "size_bytes", "algorithm", "optional",
    ]  # fmt: skip
    source = ModelSource("a", "https://h.example/a", DIGEST, 1)
    assert (source.algorithm, source.optional) == ("sha256", False)
    assert [each.name for each in fields(ModelsConfig)] == ["cache_dir", "sources", "auto_download"]
    assert isinstance(Config().models, ModelsConfig)
    assert (Config().models.sources, Config().models.auto_download) == ([], False)
    assert issubclass(ModelChecksumError, ModelDownloadError)
    assert issubclass(DiskSpaceError, ModelDownloadError)


@pytest.fixture
def source(hub):
    """A direct file whose digest is known."""
    return ModelSource("profanity", hub.add_file("profanity.onnx", CONTENT), DIGEST, len(CONTENT))


def manager(*sources: ModelSource, cache_dir: str | None = None) -> ModelManager:
    return ModelManager(Config(ModelsConfig(cache_dir=cache_dir, sources=list(sources))))


def test_a_configuration_made_by_hand(source, hub, cache):
    models = manager(source)
    assert models.cache_dir == cache
    assert not models.is_model_valid("profanity")
    path = models.get_model_path("profanity")
    assert path.name == "profanity.onnx"
    assert not path.exists()
    assert hub.requests == []
    assert models.verify_models() == {"profanity": True}
    assert path.read_bytes() == CONTENT
    assert models.is_model_valid("profanity")
    hub.clear_requests()
    assert models.verify_models() == {"profanity": True}
    assert manager(source).verify_models([source]) == {"profanity": True}
    assert hub.requests == []


def test_its_own_folder(source, tmp_path, monkeypatch, cache):
    monkeypatch.delenv("VCM_CACHE_DIR")
    models = manager(source, cache_dir=str(tmp_path / "mine"))
    assert models.cache_dir == tmp_path / "mine"
    models.verify_models()
    assert models.get_model_path("profanity").is_relative_to(tmp_path / "mine")
    assert not cache.exists()


def test_progress(source, hub):
    other = b"other" * 300_000
    sources = [
        source,
        ModelSource("other", hub.add_file("other.onnx", other), hashlib.sha256(other).hexdigest(), len(other)),
    ]
    calls: list[tuple[str, int, int]] = []
    lock = threading.Lock()

    def progress(name, done, total):
        with lock:
            calls.append((name, done, total))

    assert manager(*sources).verify_models(progress_callback=progress) == {"profanity": True, "other": True}
    for each in sources:
        mine = [(done, total) for name, done, total in calls if name == each.name]
        assert {total for _, total in mine} == {each.size_bytes}
        assert mine[-1][0] == each.size_bytes
        assert [done for done, _ in mine] == sorted(done for done, _ in mine)


def test_progress_after_a_fault_still_sums_to_the_total(source, hub):
    hub.fail(Fault(path="*profanity*", corrupt=True))
    calls: list[int] = []
    manager(source).verify_models(progress_callback=lambda _, done, __: calls.append(done))
    assert calls[-1] == len(CONTENT)
    assert max(calls) == len(CONTENT)
    assert min(calls) >= 0


def test_progress_of_many_files(hub, manifest, vcm, project):
    files = {f"{number}.safetensors": bytes([number]) * 50_000 for number in range(20)}
    hub.add_repo("acme/many", files)
    manifest('[models.many]\nrepo = "acme/many"\n')
    assert vcm("lock").code == 0
    calls: list[tuple[str, int, int]] = []
    ModelManager(load_config(project)).verify_models(progress_callback=lambda *call: calls.append(call))
    assert calls[-1] == ("many", 1_000_000, 1_000_000)
    assert sorted(done for _, done, _ in calls) == [done for _, done, _ in calls]


def test_a_name_with_a_slash(hub):
    # As the models of the Hub are called.
    source = ModelSource("acme/profanity", hub.add_file("profanity.onnx", CONTENT), DIGEST, len(CONTENT))
    calls: list[tuple[str, int, int]] = []
    assert manager(source).verify_models(progress_callback=lambda *call: calls.append(call)) == {"acme/profanity": True}
    assert calls[-1] == ("acme/profanity", len(CONTENT), len(CONTENT))


def test_optional(hub, source):
    gone = ModelSource("gone", f"{hub.cdn_origin}/files/gone.onnx", "0" * 64, 5, optional=True)
    assert manager(gone, source).verify_models() == {"gone": False, "profanity": True}


def test_required(hub, source, refusal):
    gone = ModelSource("gone", f"{hub.cdn_origin}/files/gone.onnx", "0" * 64, 5)
    models = manager(gone, source)
    assert refusal(models.verify_models) == (
        "ModelDownloadError",
        "NOT_FOUND",
        "gone/gone.onnx: not found",
        "check the model's url",
    )
    # What fails does not undo the others.
    assert models.is_model_valid("profanity")


def test_wrong_bytes(source, refusal, cache):
    source.checksum = "0" * 64
    assert refusal(manager(source).verify_models) == (
        "ModelChecksumError",
        "CHECKSUM_MISMATCH",
        f"profanity/profanity.onnx: wrong bytes: expected sha256:{'0' * 64}, got sha256:{DIGEST}",
        (
            "the publisher or something on the way changed the file: "
            "correct checksum and size_bytes only if you expected a change"
        ),
    )
    assert not (cache / "snapshots").exists()


def test_no_room(source, refusal):
    source.size_bytes = 1 << 60
    assert refusal(manager(source).verify_models)[:2] == ("DiskSpaceError", "INSUFFICIENT_SPACE")


def test_looking_never_deletes(source, cache):
    models = manager(source)
    models.verify_models()
    path = models.get_model_path("profanity")
    path.chmod(0o644)
    path.write_bytes(b"damaged")
    (path.parent / "extra").touch()
    before = {each: each.read_bytes() for each in cache.rglob("*") if each.is_file()}
    assert not models.is_model_valid("profanity")
    assert {each: each.read_bytes() for each in cache.rglob("*") if each.is_file()} == before
    assert models.verify_models() == {"profanity": True}
    assert path.read_bytes() == CONTENT
    assert not (path.parent / "extra").exists()


def test_unknown_models(source, refusal):
    models = manager(source)
    assert not models.is_model_valid("profanty")
    assert refusal(models.get_model_path, "profanty") == (
        "ConfigError",
        "CONFIG_ERROR",
        'no model "profanty" in the configuration, did you mean "profanity"?',
        "models of this configuration: profanity",
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"checksum": "abc"}, "profanity: checksum: sha256 has 64 hex digits"),
        ({"checksum": ""}, "profanity: checksum: sha256 has 64 hex digits"),
        (
            {"checksum": "0" * 32, "algorithm": "md5"},
            "profanity: only a SHA-256 can be verified without a lock, found md5",
        ),
        ({"url": "https://h.example/"}, "profanity: the url gives no usable file name: the path is empty"),
        (
            {"url": "https://h.example/a%2F..%2F..%2Fevil%00"},
            "profanity: the url gives no usable file name: the path holds characters that cannot be shown",
        ),
        ({"url": "file:///etc/passwd"}, "profanity: url: a URL begins with http:// or https:// and names a host"),
        (
            {"algorithm": "crc32"},
            'profanity: checksum: no algorithm "crc32". Known are sha256, sha384, sha512, blake2b, sha1 and md5',
        ),
        ({"size_bytes": None}, "profanity: size_bytes: expected a whole number of at least 0, found None"),
        ({"size_bytes": -1}, "profanity: size_bytes: expected a whole number of at least 0, found -1"),
    ],
)
def test_sources_that_cannot_be_used(changes, message, source, refusal):
    for key, value in changes.items():
        setattr(source, key, value)
    assert refusal(manager, source)[:3] == ("ConfigError", "CONFIG_ERROR", message)


@pytest.mark.parametrize(
    "changes", [{"checksum": f"sha256:{DIGEST}"}, {"checksum": DIGEST.upper()}, {"algorithm": "SHA-256"}]
)
def test_a_checksum_as_publishers_write_it(changes, source):
    for key, value in changes.items():
        setattr(source, key, value)
    assert manager(source).verify_models() == {"profanity": True}


def test_what_is_no_configuration_and_no_source(source, refusal):
    assert refusal(ModelManager, "config.yaml")[2:] == (
        "expected a Config, found 'config.yaml'", "give what vcm.load_config(...) returns",
    )  # fmt: skip
    for sources in (["profanity"], "profanity"):
        assert refusal(manager(source).verify_models, sources)[3] == "choose among those of config.models.sources"


def test_how_it_is_shown(source, cache):
    assert repr(manager(source)) == f"ModelManager(models=['profanity'], cache_dir='{cache}')"


def test_a_callback_that_fails_ends_it_and_the_next_call_goes_on(source):
    def fail(*_):
        raise RuntimeError("the bar broke")

    models = manager(source)
    with pytest.raises(RuntimeError, match="the bar broke"):
        models.verify_models(progress_callback=fail)
    assert not models.is_model_valid("profanity")
    assert models.verify_models() == {"profanity": True}


def test_a_project(installed, project, hub, cache):
    config = load_config(project / "models.toml")
    (source,) = config.models.sources
    assert (source.name, source.size_bytes, source.optional) == ("frames", 4099, False)
    assert source.url == f"{hub.endpoint}/acme/frames/tree/{COMMIT}"
    assert source.checksum == installed.name
    assert config.models.cache_dir == str(cache)
    models = ModelManager(config)
    assert models.is_model_valid("frames")
    assert models.get_model_path("frames") == installed
    assert models.verify_models() == {"frames": True}
    assert hub.requests == []


def test_a_project_without_a_lock(manifest, project, refusal):
    manifest('[models.frames]\nrepo = "acme/frames"\n')
    config = load_config(str(project))
    assert [(each.name, each.checksum, each.size_bytes) for each in config.models.sources] == [("frames", "", 0)]
    assert refusal(ModelManager, config) == (
        "LockError",
        "LOCK_OUTDATED",
        f"no models.lock in {project}",
        "run vcm lock",
    )


def test_the_lock_is_never_changed(installed, locked, project):
    before = locked.read_bytes(), locked.stat().st_mtime_ns
    ModelManager(load_config(project)).verify_models()
    assert (locked.read_bytes(), locked.stat().st_mtime_ns) == before


def test_what_the_hub_says_of_a_locked_model(installed, frames, project, hub, refusal, tmp_path):
    frames.tag("v1.0")
    models = ModelManager(load_config(project))
    assert models.get_model_info("frames").versions == ["1.0"]
    hub.clear_requests()
    assert models.get_model_info("frames").name == "acme/frames"
    assert hub.requests == []
    own = HuggingFaceRegistry(tmp_path / "own")
    given = ModelManager(load_config(project), own)
    assert given.registry is own
    assert given.get_model_info("frames") == own.get_cached_metadata("acme/frames")
    assert refusal(models.get_model_info, "frmes") == (
        "ConfigError", "CONFIG_ERROR", 'no model "frmes" in the configuration, did you mean "frames"?',
        "models of this configuration: frames",
    )  # fmt: skip


def test_the_hub_that_only_the_project_names_is_the_one_that_is_asked(hub, frames, manifest, vcm, project, monkeypatch):
    monkeypatch.delenv("HF_ENDPOINT")
    manifest(f'[hub]\nendpoint = "{hub.endpoint}"\n[models.frames]\nrepo = "acme/frames"\n')
    assert vcm("lock").code == 0
    assert ModelManager(load_config(project)).get_model_info("frames").versions == ["main"]


def test_the_hub_knows_nothing_of_a_direct_file(source, refusal):
    assert refusal(manager(source).get_model_info, "profanity") == (
        "ConfigError", "CONFIG_ERROR", "profanity is a direct file, of which the hub knows nothing",
        "ask about a model that has a repo in models.toml",
    )  # fmt: skip


def test_configurations_that_cannot_be_read(project, tmp_path, manifest, refusal):
    assert refusal(load_config, project)[2] == f"no models.toml in {project}"
    manifest("")
    assert load_config(project).models.sources == []
    (project / "other.toml").touch()
    assert refusal(load_config, project / "other.toml")[2] == f"{project}/other.toml: this is not called models.toml"


@pytest.mark.parametrize("name", ["typo.toml", "folder", "models.tmol"])
def test_a_configuration_that_is_not_there_is_not_another_one(name, project, manifest):
    manifest('[models.frames]\nrepo = "acme/frames"\n')
    with pytest.raises(ConfigError):
        load_config(project / name)


def test_what_a_program_sees():
    import vcm

    assert [name for name in vcm.__all__ if getattr(vcm, name, None) is None] == []
    with pytest.raises(AttributeError, match="module 'vcm' has no attribute 'gaet'"):
        vcm.gaet  # noqa: B018
    assert (Path(vcm.__file__).parent / "py.typed").is_file()


def test_a_source_is_where_the_manifest_says_also_when_the_lock_is_stale(hub, manifest, vcm, project):
    manifest(f'[models.a]\nurl = "{hub.add_file("m.onnx", b"abc")}"\n')
    assert vcm("lock").code == 0
    manifest('[models.a]\nrepo = "acme/x"\n')
    assert load_config(project).models.sources[0].url == f"{hub.endpoint}/acme/x"


def test_progress_counts_what_the_store_has(hub, manifest, vcm, project):
    hub.add_repo("acme/m", {"config.json": b"{}", "model.safetensors": b"w" * 5000})
    manifest('[models.m]\nrepo = "acme/m"\n')
    assert vcm("lock").code == 0
    calls = []
    ModelManager(load_config(project)).verify_models(progress_callback=lambda *call: calls.append(call))
    assert calls[-1] == ("m", 5002, 5002)
