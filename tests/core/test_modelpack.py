"""A model as an OCI artifact: what is written is what is read, and nothing else is believed."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.core.test_lock_properties import hub_models, url_models
from vcm.core.lock import LockedFile, LockedModel
from vcm.core.mirrors import repository
from vcm.core.modelpack import package, read_manifest

models = hub_models | url_models
MODEL = LockedModel(
    name="frames",
    source="huggingface",
    repo="Acme/Frames",
    commit="12" * 20,
    gated="auto",
    license="apache-2.0",
    files=(
        LockedFile("README.md", 3, "a" * 64, "3" * 40),
        LockedFile("config.json", 2, "b" * 64, "4" * 40),
        LockedFile("über/model.safetensors", 4096, "c" * 64),
    ),
)
# https://github.com/opencontainers/image-spec/blob/main/annotations.md, org.opencontainers.image.ref.name
COMPONENT = r"[A-Za-z0-9]+(?:(?:[-._:@+]|--)[A-Za-z0-9]+)*"
REF_NAME = re.compile(rf"{COMPONENT}(?:/{COMPONENT})*")
# https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pulling-manifests
PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
REPOSITORY = re.compile(rf"{PART}(?:/{PART})*")
TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}")
# schema/config-schema.json of the CNCF model-spec, v0.0.7
DESCRIPTOR_KEYS = {"name", "sourceURL", "revision", "licenses"}


def test_the_same_bytes_for_ever():
    """Registries are full of these: another digest would be pushed beside the old one."""
    made = package(MODEL)
    assert made.digest == "06a5b9776064802b86f19474579b886b027fe164a519295eb992eee71b51aef0"
    assert made.config.decode() == (
        '{"descriptor":{"name":"Acme/Frames","sourceURL":"https://huggingface.co/Acme/Frames",'
        f'"revision":"{"12" * 20}","licenses":["apache-2.0"]}},"config":{{"format":"safetensors"}},'
        f'"modelfs":{{"type":"layers","diffIds":["sha256:{"a" * 64}","sha256:{"b" * 64}","sha256:{"c" * 64}"]}}}}'
    )
    assert made.reference == f"acme/frames:121212121212-{made.digest[:12]}"


@given(models, st.randoms())
def test_what_is_written_is_read(model, random):
    made = package(model)
    read, config = read_manifest(made.manifest)
    assert (read.files, read.commit, read.gated, read.license) == (
        model.files, model.commit, model.gated, model.license,
    )  # fmt: skip
    assert (read.repo, read.url, read.source) == (model.repo, model.url, model.source)
    assert config == made.config_digest
    assert package(read).manifest == made.manifest
    # Neither the order of the files nor how the commit was asked for is in it.
    files = list(model.files)
    random.shuffle(files)
    asked = {"requested": "~=1.0", "version": "1.2", "ref": "v1.2", "via": "x", "type": "fill-mask", "format": "onnx"}
    assert package(replace(model, files=tuple(files), **asked)).manifest == made.manifest


@given(models)
def test_it_is_what_the_specifications_want(model):
    made = package(model)
    manifest, config = json.loads(made.manifest), json.loads(made.config)
    assert made.manifest.isascii()
    assert made.config.isascii()
    assert list(config) == ["descriptor", "config", "modelfs"]
    assert config["descriptor"].keys() <= DESCRIPTOR_KEYS
    assert config["config"].keys() <= {"format"}
    assert config["modelfs"] == {"type": "layers", "diffIds": [layer["digest"] for layer in manifest["layers"]]}
    annotations = [manifest["annotations"], *(layer["annotations"] for layer in manifest["layers"])]
    assert all(isinstance(value, str) for each in annotations for value in each.values())
    assert REF_NAME.fullmatch(made.reference)
    assert TAG.fullmatch(made.tag)


@given(models)
def test_a_repository_is_one_that_registries_allow(model):
    path = repository("models/{repo}", model)
    assert REPOSITORY.fullmatch(path)
    assert path.startswith("models")


@pytest.mark.parametrize("repo", ["a__b", "_", "_/_", "a-_-b/c._d", "A/B", "a---b"])
def test_odd_repos_have_names(repo):
    assert REF_NAME.fullmatch(package(replace(MODEL, repo=repo)).reference)


def set_at(value: Any, path: str, new: Any) -> None:
    *keys, last = [int(key) if key.isdigit() else key for key in path.split("|")]
    for key in keys:
        value = value[key]
    if new is None:
        del value[last]
    else:
        value[last] = new


@pytest.mark.parametrize(
    ("path", "new"),
    [
        ("mediaType", "application/vnd.oci.image.index.v1+json"),
        ("artifactType", None),
        ("artifactType", "application/vnd.docker.ai.model"),
        ("config", None),
        ("config", []),
        ("config|mediaType", "application/vnd.oci.image.config.v1+json"),
        ("config|digest", "sha512:" + "a" * 64),
        ("config|digest", 7),
        ("annotations", None),
        ("annotations", ["x"]),
        ("annotations|org.opencontainers.image.title", "../../etc"),
        ("annotations|org.opencontainers.image.title", None),
        ("annotations|org.opencontainers.image.title", {"a": 1}),
        ("annotations|org.opencontainers.image.revision", "main"),
        ("annotations|org.opencontainers.image.revision", 5),
        ("annotations|org.opencontainers.image.revision", None),
        ("annotations|org.opencontainers.image.licenses", "mit\x1b[2J"),
        ("annotations|org.opencontainers.image.licenses", "\ud800"),
        ("annotations|org.opencontainers.image.licenses", ["mit"]),
        ("annotations|dev.vcm.gated", "open"),
        ("annotations|dev.vcm.gated", ["auto"]),
        ("layers", []),
        ("layers", {"a": 1}),
        ("layers|0", "x"),
        ("layers|0|mediaType", "application/vnd.cncf.model.doc.v1.tar"),
        ("layers|0|mediaType", "application/vnd.cncf.model.doc.v1.raw+zstd"),
        ("layers|0|mediaType", "application/vnd-cncf-model-doc-v1-raw"),
        ("layers|0|mediaType", 1),
        ("layers|0|digest", "sha256:" + "A" * 64),
        ("layers|0|digest", "a" * 64),
        ("layers|0|size", -1),
        ("layers|0|size", 2**63),
        ("layers|0|size", 1.0),
        ("layers|0|size", float("inf")),
        ("layers|0|size", True),
        ("layers|0|size", "3"),
        ("layers|0|annotations", {}),
        ("layers|0|annotations|dev.vcm.git-blob-id", "x"),
        ("layers|0|annotations|org.cncf.model.filepath", "../x"),
        ("layers|0|annotations|org.cncf.model.filepath", "/etc/passwd"),
        ("layers|0|annotations|org.cncf.model.filepath", "CON"),
        ("layers|0|annotations|org.cncf.model.filepath", "a\\b"),
        ("layers|0|annotations|org.cncf.model.filepath", "\ud800"),
        ("layers|0|annotations|org.cncf.model.filepath", "config.json"),
        ("layers|0|annotations|org.cncf.model.filepath", "CONFIG.json"),
        ("layers|0|annotations|org.cncf.model.filepath", "config.json/x"),
        ("layers|0|annotations|org.cncf.model.filepath", 3),
    ],
)
def test_what_no_model_has_is_refused(path, new):
    manifest = json.loads(package(MODEL).manifest)
    set_at(manifest, path, new)
    with pytest.raises(ValueError, match=r"\Anot a manifest of a model\Z"):
        read_manifest(json.dumps(manifest).encode())


def test_a_direct_url_that_no_client_would_ask_is_refused():
    model = LockedModel(name="a", source="url", url="https://host/a", files=MODEL.files[:1])
    manifest = json.loads(package(model).manifest)
    manifest["annotations"]["org.opencontainers.image.source"] = "file:///etc/passwd"
    with pytest.raises(ValueError, match="not a manifest of a model"):
        read_manifest(json.dumps(manifest).encode())


@pytest.mark.parametrize("data", [b"", b"null", b"[]", b"7", b"\xff", b"[" * 100_000, b'{"annotations":' * 50_000])
def test_what_is_no_manifest_at_all(data):
    with pytest.raises(ValueError, match="not a manifest of a model"):
        read_manifest(data)
