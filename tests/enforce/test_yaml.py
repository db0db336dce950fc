"""An application's YAML as its configuration: read, downloaded, verified, and waited for before an analysis."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path

import platformdirs
import pytest

from vcm import AnalysisPipeline, ModelManager, ModelSource, load_config
from vcm.core.manifest import DeclaredDetector

LLAVA = b"llava" * 5000
PROFANITY = b"profanity" * 1000

# As the published examples have it, with checksums of what the hub really serves.
TEXT = """\
version: 1.0
detections:
  nudity: {{enabled: true, sensitivity: 0.7, model: local}}
detectors:
  - type: llava
    name: scenes
    model_name: llava-7b
    categories: [Nudity, Violence]
    prompt_file: prompts/llava.txt
  - type: speech-profanity
    name: words
    model: profanity-detector
    categories: [Profanity]
    enabled: {words}
models:
  cache_dir: {cache_dir}  # null = platform default; or "/custom/path"
  sources:
    - name: "llava-7b"
      url: "{llava}"
      checksum: "{llava_digest}"
      size_bytes: 25000
      algorithm: "sha256"
      optional: false
    - name: "profanity-detector"
      url: "{profanity}"
      checksum: "{profanity_digest}"
      size_bytes: 9000
      optional: true
"""


@pytest.fixture
def write(hub, tmp_path: Path):
    """Writes the YAML; by default as published."""
    values = {
        "cache_dir": "null",
        "words": "true",
        "llava": hub.add_file("llava-7b.onnx", LLAVA),
        "llava_digest": hashlib.sha256(LLAVA).hexdigest(),
        "profanity": hub.add_file("profanity.onnx", PROFANITY),
        "profanity_digest": hashlib.sha256(PROFANITY).hexdigest(),
    }
    folder = tmp_path / "application"
    folder.mkdir()

    def make(text: str = TEXT, name: str = "video-censor.yaml", **changes: str) -> Path:
        path = folder / name
        path.write_text(text.format(**{**values, **changes}))
        return path

    return make


def test_the_configuration(write, cache, hub):
    config = load_config(str(write()))
    assert config.models.cache_dir == str(cache)
    assert config.models.auto_download is False
    assert config.models.sources == [
        ModelSource(
            "llava-7b", f"{hub.cdn_origin}/files/llava-7b.onnx", hashlib.sha256(LLAVA).hexdigest(), 25_000, "sha256"
        ),
        ModelSource(
            "profanity-detector",
            f"{hub.cdn_origin}/files/profanity.onnx",
            hashlib.sha256(PROFANITY).hexdigest(),
            9_000,
            optional=True,
        ),
    ]
    assert config.project is None
    assert config.detectors == (
        DeclaredDetector(
            name="scenes",
            kind="llava",
            model="llava-7b",
            options={"categories": ["Nudity", "Violence"], "prompt_file": "prompts/llava.txt"},
        ),
        DeclaredDetector(
            name="words", kind="speech-profanity", model="profanity-detector", options={"categories": ["Profanity"]}
        ),
    )
    assert hub.requests == []


@pytest.mark.parametrize("name", ["config.yaml", "config.yml", "Config.YAML"])
def test_a_file_without_models(name, write, cache):
    config = load_config(write("version: 1.0\n", name))
    assert (config.models.sources, config.detectors, config.models.cache_dir) == ([], (), str(cache))
    assert ModelManager(config).verify_models() == {}


def test_where_the_models_are(write, monkeypatch, tmp_path):
    assert load_config(write(cache_dir="elsewhere")).models.cache_dir == str(tmp_path / "cache")
    monkeypatch.delenv("VCM_CACHE_DIR")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert load_config(write()).models.cache_dir == platformdirs.user_cache_dir("vcm", appauthor=False)
    assert load_config(write(cache_dir="models")).models.cache_dir == str(tmp_path / "application" / "models")
    assert load_config(write(cache_dir="~/m")).models.cache_dir == str(tmp_path / "home" / "m")
    assert load_config(write(cache_dir="/custom/path")).models.cache_dir == str(Path("/custom/path"))


def test_the_manager(write, hub):
    config = load_config(write())
    models = ModelManager(config)
    assert [models.is_model_valid(source.name) for source in config.models.sources] == [False, False]
    calls: list[tuple[str, int, int]] = []
    assert models.verify_models(progress_callback=lambda *call: calls.append(call)) == {
        "llava-7b": True,
        "profanity-detector": True,
    }
    assert {("llava-7b", 25_000, 25_000), ("profanity-detector", 9_000, 9_000)} <= set(calls)
    assert models.get_model_path("llava-7b").read_bytes() == LLAVA
    hub.clear_requests()
    again = ModelManager(load_config(write()))
    assert again.verify_models() == {"llava-7b": True, "profanity-detector": True}
    assert again.is_model_valid("profanity-detector")
    assert hub.requests == []


def test_wrong_bytes(write, refusal):
    wrong = "0" * 64
    models = ModelManager(load_config(write(llava_digest=wrong)))
    kind, code, message, _ = refusal(models.verify_models)
    assert (kind, code) == ("ModelChecksumError", "CHECKSUM_MISMATCH")
    found = hashlib.sha256(LLAVA).hexdigest()
    assert message == f"llava-7b/llava-7b.onnx: wrong bytes: expected sha256:{wrong}, got sha256:{found}"
    assert models.is_model_valid("profanity-detector")


def test_another_algorithm_is_read_and_cannot_be_verified(write, refusal):
    text = TEXT.replace('algorithm: "sha256"', 'algorithm: "sha512"')
    config = load_config(write(text, llava_digest="ab" * 64))
    assert (config.models.sources[0].algorithm, config.models.sources[0].checksum) == ("sha512", "ab" * 64)
    assert refusal(ModelManager, config) == (
        "ConfigError",
        "CONFIG_ERROR",
        "llava-7b: only a SHA-256 can be verified without a lock, found sha512",
        "declare the url in models.toml (vcm import makes one of a YAML): vcm lock computes the SHA-256 too",
    )


def test_another_algorithm_by_way_of_import(write, vcm, project):
    path = write(TEXT.replace('algorithm: "sha256"', 'algorithm: "md5"'), llava_digest=hashlib.md5(LLAVA).hexdigest())  # noqa: S324
    assert vcm("import", path).code == 0
    assert vcm("lock").code == 0
    models = ModelManager(load_config(project))
    assert models.verify_models() == {"llava-7b": True, "profanity-detector": True}
    assert models.get_model_path("llava-7b").read_bytes() == LLAVA


def test_the_pipeline(write, refusal, caplog):
    pipeline = AnalysisPipeline(load_config(write()))
    kind, code, message, _ = refusal(pipeline.verify_models)
    assert (kind, code, message.partition(":")[0]) == ("ModelDownloadError", "NOT_INSTALLED", "llava-7b")
    with caplog.at_level(logging.INFO):
        assert pipeline.verify_models(download=True) is True
    assert ModelManager(load_config(write())).is_model_valid("profanity-detector")


def test_a_detector_that_is_not_enabled_needs_nothing(write):
    assert AnalysisPipeline(load_config(write(words="false"))).verify_models(download=True) is True
    assert not ModelManager(load_config(write())).is_model_valid("profanity-detector")


def test_the_pipeline_that_may_download_by_itself(write):
    config = load_config(write(TEXT.replace("models:\n", "models:\n  auto_download: true\n")))
    assert AnalysisPipeline(config).verify_models() is True


def test_a_detector_whose_model_is_no_source_lets_nothing_be_analysed(write, refusal, hub):
    """Applications name models of the Hub there, which their detectors fetch themselves, unverified."""
    config = load_config(write(TEXT.replace("model_name: llava-7b", "model_name: openai/clip-vit-base-patch32")))
    assert config.detectors[0].model == "openai/clip-vit-base-patch32"
    # What is listed can be brought here; only the analysis needs the rest.
    assert ModelManager(config).verify_models() == {"llava-7b": True, "profanity-detector": True}
    kind, code, message, _ = refusal(AnalysisPipeline(config).verify_models, download=True)
    assert (kind, code) == ("ConfigError", "CONFIG_ERROR")
    assert "openai/clip-vit-base-patch32" in message


def test_mistakes_name_their_place(write, refusal, tmp_path):
    path = write(TEXT.replace("size_bytes: 9000\n", "size_byte: 9000\n"))
    assert refusal(load_config, path) == (
        "ConfigError",
        "CONFIG_ERROR",
        f'{path}:24: models.sources[1]: the key "size_bytes" is missing',
        f"mend it in {path}",
    )
    assert refusal(load_config, path.with_name("typo.yaml"))[2:] == (
        f"cannot read {path.with_name('typo.yaml')}: no such file or directory",
        "name the application's YAML file",
    )
    assert refusal(load_config, path.with_name("video-censor.json"))[2:] == (
        f"{path.with_name('video-censor.json')}: this is not called models.toml",
        "name a models.toml, its folder, or a .yaml file",
    )


@pytest.mark.parametrize(
    ("name", "problem"),
    [("x" * 300 + ".yaml", "cannot read {}: file name too long"), ("x" * 300, "{}: this is not called models.toml")],
)
def test_names_that_no_disk_holds(name, problem, refusal, tmp_path):
    path = tmp_path / name
    assert refusal(load_config, path)[2] == problem.format(path)


def test_a_folder_may_be_called_so(manifest, project, tmp_path):
    manifest("")
    project.rename(tmp_path / "models.yaml")
    assert load_config(tmp_path / "models.yaml").project == tmp_path / "models.yaml"
