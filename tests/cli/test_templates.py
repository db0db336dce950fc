"""``vcm init --template``: a manifest that can be locked, of models that are really there."""

from __future__ import annotations

import json
import re
from collections import defaultdict

import pytest

from tests.corpora import FOLDER, MISSING
from vcm.cli.beginning import _TEMPLATES
from vcm.core.fields import Document, Table
from vcm.core.manifest import Requirement, parse_manifest
from vcm.core.metadata import RemoteFile
from vcm.core.selection import select
from vcm.detectors.kinds import find_kind
from vcm.errors import ConfigError
from vcm.version import VERSION

PINS = "pins/26_video-censor_models.json"
COMPLETE = ("recorded/01_model-info_clip-vit-base-patch32_200.json", "recorded/95_model-info_whisper-base_200.json")
JSON = b"{}\n"
INDEX = json.dumps({"weight_map": {"a": "pytorch_model-00001-of-00002.bin", "b": "pytorch_model-00002-of-00002.bin"}})

# By repo, its commit and files: for CLIP and Whisper all that the Hub lists, for the others all that is known.
REPOS = {
    "openai/clip-vit-base-patch32": (
        "3d74acf9a28c67741b2f4f2ea7635f0aaf6f0268",
        [
            "config.json", "flax_model.msgpack", "merges.txt", "preprocessor_config.json", "pytorch_model.bin",
            "special_tokens_map.json", "tf_model.h5", "tokenizer.json", "tokenizer_config.json", "vocab.json",
        ],
    ),
    "openai/whisper-base": (
        "e37978b90ca9030d5170a5c07aadb050351a65bb",
        [
            "added_tokens.json", "config.json", "flax_model.msgpack", "generation_config.json", "merges.txt",
            "model.safetensors", "normalizer.json", "preprocessor_config.json", "pytorch_model.bin",
            "special_tokens_map.json", "tf_model.h5", "tokenizer.json", "tokenizer_config.json", "vocab.json",
        ],
    ),
    "MIT/ast-finetuned-audioset-10-10-0.4593": (
        "f826b80d28226b62986cc218e5cec390b1096902",
        ["config.json", "model.safetensors", "preprocessor_config.json", "pytorch_model.bin"],
    ),
    "liuhaotian/llava-v1.5-7b": (
        "4481d270cc22fd5c4d1bb5df129622006ccd9234",
        [
            "config.json", "generation_config.json", "pytorch_model-00001-of-00002.bin",
            "pytorch_model-00002-of-00002.bin", "pytorch_model.bin.index.json", "tokenizer.model",
        ],
    ),
}  # fmt: skip


@pytest.fixture
def template(vcm, project):
    """The template's manifest, as it is made."""
    result = vcm("init", "--template", "video-censor")
    assert (result.code, result.err) == (0, "")
    assert result.out == f"Made {project / 'models.toml'}\nNext: vcm lock\n"
    return parse_manifest((project / "models.toml").read_bytes(), vcm_version=VERSION)


def test_a_template_nobody_knows(vcm, project):
    result = vcm("init", "--template", "video-sensor")
    assert (result.code, result.err) == (
        2,
        'error: no template "video-sensor", did you mean "video-censor"?\nhint: there is video-censor\n',
    )
    assert not (project / "models.toml").exists()


def test_every_template_can_be_read(vcm, tmp_path):
    names = [path.stem for path in _TEMPLATES.iterdir()]
    assert names == ["video-censor"]
    for name in names:
        folder = tmp_path / f'odd "{name}"'
        folder.mkdir()
        assert vcm("init", "--template", name, "--project", folder).code == 0
        assert parse_manifest((folder / "models.toml").read_bytes(), vcm_version=VERSION).name == folder.name


def test_the_template_locks_and_installs(template, hub, vcm, project):
    for repo, (commit, paths) in REPOS.items():
        files = {path: INDEX.encode() if path.endswith("index.json") else JSON for path in paths}
        hub.add_repo(repo, {".gitattributes": b"", "README.md": b"# x\n", **files}, commit=commit)

    result = vcm("lock")
    assert result.code == 0, result.err
    assert result.err == ""
    assert vcm("sync").code == 0
    assert vcm("check").code == 0

    document = {model["name"]: model for model in json.loads(vcm("list", "--json").out)["models"]}
    assert {name: (model["repo"], model["commit"]) for name, model in document.items()} == {
        requirement.name: (requirement.repo, REPOS[requirement.repo][0]) for requirement in template.models
    }
    assert {name: model["status"] for name, model in document.items()} == {
        "clip": "installed",
        "llava": "missing",
        "sounds": "installed",
        "whisper": "installed",
    }
    assert vcm("sync", "--group", "llava").code == 0


def test_its_detectors_use_its_models(template):
    assert {detector.name: (detector.kind, detector.model) for detector in template.detectors} == {
        "pictures": ("transformers", "clip"),
        "speech": ("transformers", "whisper"),
        "subtitles": ("word-list", None),
        "noises": ("transformers", "sounds"),
    }


def test_its_options_are_those_of_its_kinds(template, project):
    for library in ("numpy", "PIL"):
        pytest.importorskip(library)
    # What is commented out there, too.
    text, marker, rest = (project / "models.toml").read_text().partition("# [pipeline.detectors.questions]")
    whole = text + (marker + rest).replace("# ", "") + '[models.llava-hf]\nrepo = "llava-hf/llava-1.5-7b-hf"\n'
    detectors = parse_manifest(whole.encode(), vcm_version=VERSION).detectors
    assert len(detectors) == len(template.detectors) + 1
    for detector in detectors:
        options = Table(Document("models.toml", ""), (detector.name,), dict(detector.options))
        make = find_kind(detector.kind)
        if detector.model is None:
            make(None, options)
        else:
            # All of the options were read before.
            with pytest.raises(ConfigError, match="this kind of detector needs a model"):
                make(None, options)


@pytest.mark.long  # torch alone takes seconds to import
def test_the_template_analyses_a_video(template, hub, vcm, project, tmp_path):
    """With models of the same architectures, as small as can be, where the real ones are."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("av")
    from safetensors.torch import load_file

    from tests.detectors.tiny_models import save_tiny_models
    from tests.video.making import make_video

    save_tiny_models(tmp_path / "tiny")
    tiny = {"clip": "openai/clip-vit-base-patch32", "whisper": "openai/whisper-base"}
    for name, repo in {**tiny, "ast": "MIT/ast-finetuned-audioset-10-10-0.4593"}.items():
        folder = tmp_path / "tiny" / name
        if name == "clip":
            torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
            (folder / "model.safetensors").unlink()
        files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
        hub.add_repo(repo, files, commit=REPOS[repo][0])
    hub.add_repo("liuhaotian/llava-v1.5-7b", {"pytorch_model.bin": b"x"}, commit=REPOS["liuhaotian/llava-v1.5-7b"][0])
    manifest = project / "models.toml"
    manifest.write_text(re.sub(r"labels = .\"Gunshot.*", 'labels = ["gunshot"]', manifest.read_text()))
    film = make_video(project / "film.mp4", [(3.0, "blue")], tones=[(0.0, 3.0, 440.0)])
    film.with_suffix(".srt").write_text("1\n00:00:01,000 --> 00:00:02,000\nDamned\n")

    result = vcm("analyze", film, "--download-models")

    assert result.code == 0, result.err
    report = json.loads(result.out)
    assert {each["name"]: each["status"] for each in report["detectors"]} == {
        "pictures": "ran", "speech": "ran", "subtitles": "ran", "noises": "ran",
    }  # fmt: skip
    assert [model["name"] for model in report["models"]] == ["clip", "sounds", "whisper"]
    assert ("profanity", 1.0, 2.0) in [(each["label"], each["start"], each["end"]) for each in report["findings"]]


@pytest.mark.skipif(not FOLDER.is_dir(), reason=MISSING)
def test_the_template_is_true_to_what_is_published(template):
    pinned: dict[tuple[str | None, str | None], dict[str, int]] = defaultdict(dict)
    for row in json.loads((FOLDER / PINS).read_text(encoding="utf-8"))["rows"]:
        pinned[row["repo"], row["revision"]][row["path"]] = row["size"]
    listed = {}
    for name in COMPLETE:
        body = json.loads((FOLDER / name).read_text(encoding="utf-8"))["response"]["body"]
        listed[body["id"], body["sha"]] = [sibling["rfilename"] for sibling in body["siblings"]]

    assert {(requirement.repo, requirement.revision) for requirement in template.models} == set(pinned)
    for requirement in template.models:
        key = requirement.repo, requirement.revision
        assert key[1] == REPOS[key[0]][0]
        sizes = pinned[key]
        names = listed.get(key, list(sizes))
        # What our tests serve is what there is, as far as anybody has told.
        told = {name for name in names if name not in (".gitattributes", "README.md")}
        assert told <= set(REPOS[key[0]][1])
        assert key not in listed or told == set(REPOS[key[0]][1])
        taken = taken_paths(requirement, names)
        assert taken <= set(names)
        # What others have pinned of it, they need.
        assert set(sizes) - {"README.md"} <= taken


def taken_paths(requirement: Requirement, names: list[str]) -> set[str]:
    files = [RemoteFile(name, 1, "0" * 40) for name in names]
    return {file.path for file in select(files, requirement).files}
