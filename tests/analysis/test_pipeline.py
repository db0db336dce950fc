"""AnalysisPipeline's gate: which models it needs, and what happens when they are not what is locked."""

from __future__ import annotations

import hashlib
import inspect
import logging
import shutil

import pytest

from vcm import AnalysisPipeline, Config, ModelManager, ModelsConfig, ModelSource, load_config
from vcm.core.manifest import DeclaredDetector

DETECTORS = """
[models.frames]
repo = "acme/frames"
[models.unused]
repo = "acme/unused"
[models.spare]
repo = "acme/spare"
optional = true
[pipeline.detectors.faces]
kind = "image"
model = "frames"
[pipeline.detectors.plain]
kind = "words"
"""
SPARE = '[pipeline.detectors.more]\nkind = "image"\nmodel = "spare"\n'


def test_signatures():
    assert str(inspect.signature(AnalysisPipeline)) == "(config: 'Config', skip_model_check: 'bool' = False) -> 'None'"
    methods = {
        name: str(inspect.signature(getattr(AnalysisPipeline, name)))
        for name in vars(AnalysisPipeline)
        if name in ("verify_models", "analyze", "_extract_model_requirements", "_ensure_detection_pipeline")
    }
    assert methods == {
        "verify_models": "(self, download: 'bool' = False) -> 'bool'",
        "analyze": (
            "(self, video: 'str | Path | None' = None, *, reporter: 'Optional[Reporter]' = None) -> 'Dict[str, Any]'"
        ),
        "_extract_model_requirements": "(self) -> 'List[str]'",
        "_ensure_detection_pipeline": "(self) -> 'None'",
    }


@pytest.fixture
def lock(frames, hub, manifest, vcm, project):
    """Locks a project with that manifest; what it gives is its configuration."""
    for name in ("unused", "spare"):
        hub.add_repo(f"acme/{name}", {"x.safetensors": name.encode()})

    def make(text: str = DETECTORS) -> Config:
        manifest(text)
        result = vcm("lock")
        assert result.code == 0, result.err
        hub.clear_requests()
        return load_config(project)

    return make


def installed(config: Config) -> list[str]:
    models = ModelManager(config)
    return [source.name for source in config.models.sources if models.is_model_valid(source.name)]


def test_a_missing_model(lock, refusal, hub):
    config = lock()
    pipeline = AnalysisPipeline(config)
    assert pipeline._extract_model_requirements() == ["frames"]
    assert refusal(pipeline.verify_models) == (
        "ModelDownloadError",
        "NOT_INSTALLED",
        "frames: not installed",
        "run vcm sync, or start with --download-models",
    )
    with pytest.raises(RuntimeError, match=r"Call verify_models\(\) before analyze\(\)"):
        pipeline.analyze("film.mp4")
    assert hub.requests == []


def test_all_missing_models_are_named(lock, refusal):
    more = '[models.sounds]\nrepo = "acme/unused"\ngroups = ["audio", "all"]\n[models.optional]\nrepo = "acme/spare"\n'
    more += 'optional = true\n[pipeline.detectors.b]\nkind = "x"\nmodel = "sounds"\n'
    config = lock(DETECTORS + more + '[pipeline.detectors.c]\nkind = "x"\nmodel = "optional"\n')
    assert refusal(AnalysisPipeline(config).verify_models) == (
        "ModelDownloadError",
        "NOT_INSTALLED",
        "not installed: frames and sounds",
        "run vcm sync --group audio, or start with --download-models",
    )


def test_before_anything_is_verified(lock):
    with pytest.raises(RuntimeError, match=r"Call verify_models\(\) before analyze\(\)"):
        AnalysisPipeline(lock()).analyze("film.mp4")


def test_it_downloads_what_its_detectors_need(lock, hub, caplog):
    config = lock()
    pipeline = AnalysisPipeline(config)
    with caplog.at_level(logging.INFO):
        assert pipeline.verify_models(download=True) is True
    assert caplog.messages == ["verifying 1 model: frames", "downloading 1 model: frames", "ready: 1 model verified"]
    assert installed(config) == ["frames"]
    hub.clear_requests()
    assert pipeline.verify_models() is True
    assert pipeline.verify_models(download=True) is True
    assert AnalysisPipeline(config).verify_models() is True
    assert hub.requests == []


def test_it_may_download_by_itself(lock):
    config = lock()
    config.models.auto_download = True
    assert AnalysisPipeline(config).verify_models() is True


def test_a_download_that_fails(lock, hub, refusal):
    config = lock()
    hub.remove("acme/frames")
    pipeline = AnalysisPipeline(config)
    assert refusal(pipeline.verify_models, download=True)[1] == "NOT_FOUND"
    with pytest.raises(RuntimeError):
        pipeline.analyze("film.mp4")


def test_a_damaged_model_is_not_a_missing_one(lock, refusal):
    config = lock()
    AnalysisPipeline(config).verify_models(download=True)
    folder = ModelManager(config).get_model_path("frames")
    (folder / "config.json").unlink()
    assert refusal(AnalysisPipeline(config).verify_models) == (
        "ModelChecksumError",
        "CHECKSUM_MISMATCH",
        "frames: not what is locked: config.json: missing",
        "run vcm verify --repair",
    )
    assert AnalysisPipeline(config).verify_models(download=True) is True
    assert (folder / "config.json").is_file()


def test_an_optional_model_may_be_missing_but_not_another_one(lock, hub, refusal, caplog):
    config = lock(DETECTORS + SPARE)
    hub.remove("acme/spare")
    pipeline = AnalysisPipeline(config)
    assert pipeline.verify_models(download=True) is False
    assert caplog.messages == ["optional models are missing: spare"]
    assert installed(config) == ["frames"]
    hub.clear_requests()
    assert pipeline.verify_models() is False, "asked again, it looks again"
    folder = ModelManager(config).get_model_path("spare")
    folder.mkdir()
    (folder / "more").touch()
    assert refusal(pipeline.verify_models)[:3] == (
        "ModelChecksumError",
        "CHECKSUM_MISMATCH",
        "spare: not what is locked: more: does not belong there; x.safetensors: missing",
    )
    assert hub.requests == []


def test_an_optional_model_that_comes_later(lock):
    config = lock(DETECTORS + SPARE)
    ModelManager(config).verify_models([source for source in config.models.sources if source.name == "frames"])
    pipeline = AnalysisPipeline(config)
    assert pipeline.verify_models() is False
    assert pipeline.verify_models(download=True) is True


def test_without_detectors_all_models_are_needed(lock, hub, caplog):
    config = lock(DETECTORS.partition("[pipeline")[0])
    hub.remove("acme/spare")
    assert AnalysisPipeline(config).verify_models(download=True) is False
    assert caplog.messages == ["optional models are missing: spare"]
    assert installed(config) == ["frames", "unused"]


def test_a_check_that_is_skipped(lock, hub, caplog):
    config = lock()
    assert AnalysisPipeline(config, skip_model_check=True).verify_models() is True
    assert caplog.messages == ["the models are not checked, because skip_model_check was asked for"]
    assert installed(config) == []
    assert hub.requests == []


def test_no_model_no_lock(manifest, project, caplog):
    manifest('[pipeline.detectors.words]\nkind = "word-list"\n')
    with caplog.at_level(logging.INFO):
        assert AnalysisPipeline(load_config(project)).verify_models() is True
    assert caplog.messages == ["ready: 0 models verified"]


def test_a_model_for_another_system(lock, refusal):
    config = lock(
        '[models.frames]\nrepo = "acme/frames"\nmarker = "sys_platform == \'plan9\'"\n'
        '[pipeline.detectors.faces]\nkind = "image"\nmodel = "frames"\n'
    )
    assert refusal(AnalysisPipeline(config).verify_models) == (
        "ConfigError",
        "CONFIG_ERROR",
        'a detector needs the model "frames", which is not declared for this machine',
        "declare [models.frames] in models.toml",
    )


def test_a_name_that_nobody_knows(lock, refusal):
    config = lock()
    config.detectors = (DeclaredDetector(name="faces", kind="image", model="frmaes", options={}),)
    assert refusal(AnalysisPipeline(config).verify_models, download=True)[2] == (
        'a detector needs the model "frmaes", which is not declared for this machine, did you mean "frames"?'
    )


def test_a_lock_that_does_not_fit(lock, manifest, refusal):
    config = lock()
    manifest(DETECTORS.replace("acme/frames", "acme/other"))
    assert refusal(AnalysisPipeline(config).verify_models, download=True)[:3] == (
        "LockError",
        "LOCK_OUTDATED",
        "models.lock does not fit models.toml: a requirement has changed",
    )


def test_a_model_that_the_policy_does_not_allow(lock, manifest, refusal):
    config = lock()
    AnalysisPipeline(config).verify_models(download=True)
    manifest(DETECTORS + '[policy]\nowners = ["other"]\n')
    assert refusal(AnalysisPipeline(config).verify_models)[:2] == ("PolicyError", "POLICY_VIOLATION")


def test_a_detector_needs_what_its_model_pulls_in(lock, hub, refusal):
    hub.add_repo("meta/llama", {"config.json": b"{}", "model.safetensors": b"base"})
    adapter = b'{"base_model_name_or_path": "meta/llama"}'
    hub.add_repo("acme/lora", {"adapter_config.json": adapter, "adapter_model.safetensors": b"adapter"})
    config = lock(
        '[models.lora]\nrepo = "acme/lora"\n[models.frames]\nrepo = "acme/frames"\n'
        '[pipeline.detectors.words]\nkind = "text"\nmodel = "lora"\n'
    )
    pipeline = AnalysisPipeline(config)
    assert pipeline._extract_model_requirements() == ["lora", "lora.llama"]
    assert pipeline.verify_models(download=True) is True
    assert installed(config) == ["lora", "lora.llama"]
    shutil.rmtree(ModelManager(config).get_model_path("lora.llama"))
    assert refusal(AnalysisPipeline(config).verify_models)[2] == "lora.llama: not installed"


def test_what_became_of_a_model_is_told(lock, hub, vcm, caplog):
    config = lock()
    hub.add_repo("acme/better", {"x.safetensors": b"better"})
    hub.repo("acme/frames").card["new_version"] = "acme/better"
    assert vcm("outdated", "--refresh").code == 0
    AnalysisPipeline(config).verify_models(download=True)
    assert caplog.messages == ["frames: acme/frames is deprecated, its successor is acme/better"]


def test_a_configuration_made_by_hand(hub, refusal):
    content = b"words"
    digest = hashlib.sha256(content).hexdigest()
    source = ModelSource("words", hub.add_file("words.onnx", content), digest, len(content))
    config = Config(ModelsConfig(sources=[source]))
    assert refusal(AnalysisPipeline(config).verify_models)[2:] == (
        "words: not installed",
        "use --download-models",
    )
    assert AnalysisPipeline(config).verify_models(download=True) is True
    assert AnalysisPipeline(config).verify_models() is True
    ModelManager(config).get_model_path("words").unlink()
    assert refusal(AnalysisPipeline(config).verify_models) == (
        "ModelChecksumError",
        "CHECKSUM_MISMATCH",
        "words: not what is locked: words.onnx: missing",
        "use --download-models",
    )
    assert AnalysisPipeline(config).verify_models(download=True) is True
