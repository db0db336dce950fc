"""A locked model as an OCI artifact: a CNCF ModelPack manifest of raw layers.

https://github.com/modelpack/model-spec/blob/main/docs/spec.md. Each file is one layer as it is: a layer's digest
is the lock's digest, and a registry that holds the artifact is a mirror. No time stamp, no mode, no owner, and nothing
of how the commit was asked for: the same files of the same commit always give the same bytes, on every machine.
"""

from __future__ import annotations

import json
import re

from vcm.core import names
from vcm.core.cached import cached_property
from vcm.core.digest import text_digest
from vcm.core.formats import only_format
from vcm.core.lock import LockedFile, LockedModel
from vcm.core.mirrors import repository
from vcm.core.records import record
from vcm.core.roles import role

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
INDEX_TYPE = "application/vnd.oci.image.index.v1+json"
ARTIFACT_TYPE = "application/vnd.cncf.model.manifest.v1+json"
CONFIG_TYPE = "application/vnd.cncf.model.config.v1+json"
_LAYER_TYPE = "application/vnd.cncf.model.{kind}.v1.raw"
_RAW = re.compile(_LAYER_TYPE.format(kind="(weight|weight.config|doc|code|dataset)").replace(".", r"\."))
_KINDS = {"weights": "weight", "docs": "doc", "licence": "doc", "code": "code"}
"""By a file's role, the kind of its layer; all else is configuration of the weights."""

FILE_PATH = "org.cncf.model.filepath"
"""Where modctl, Docker Model Runner, KitOps and RamaLama read a layer's path."""
TITLE = "org.opencontainers.image.title"
"""Where oras, podman and CRI-O read it; on a manifest, what it is called."""
REF_NAME = "org.opencontainers.image.ref.name"
"""On a descriptor of an index, the name by which ``skopeo copy oci:STORE:NAME`` finds it."""
REVISION = "org.opencontainers.image.revision"
SOURCE = "org.opencontainers.image.source"
LICENSES = "org.opencontainers.image.licenses"
GIT_ID = "dev.vcm.git-blob-id"
GATED = "dev.vcm.gated"
_UNTESTED = "org.cncf.model.file.mediatype.untested"
_HUB = "https://huggingface.co/"
_SHORT = 12
"""Hex digits of a digest where its beginning will do."""
_LARGEST = 2**63


@record(frozen=True)
class Package:
    """A locked model's artifact.

    Attributes:
        model: what it is of.
        manifest: the manifest's bytes.
        config: the bytes of the configuration that it names.
    """

    model: LockedModel
    manifest: bytes
    config: bytes

    @cached_property
    def digest(self) -> str:
        """The manifest's SHA-256, as bare hex."""
        return text_digest(self.manifest.decode())

    @cached_property
    def config_digest(self) -> str:
        """The configuration's SHA-256, as bare hex."""
        return text_digest(self.config.decode())

    @property
    def tag(self) -> str:
        """Its tag in a registry: the commit's beginning; of a direct url, the tree digest's."""
        return (self.model.commit or self.model.tree_digest)[:_SHORT]

    @property
    def reference(self) -> str:
        """Its name in an OCI image layout."""
        return reference(self.model, self.digest)


def reference(model: LockedModel, digest: str) -> str:
    """What a package is called in an OCI image layout: ``acme/frames:<commit>-<manifest digest>``, 12 digits of each.

    With the digest, because one commit may be there more than once, with other files each time. The names are those
    of https://github.com/opencontainers/image-spec/blob/main/annotations.md (org.opencontainers.image.ref.name), where
    no two of ``_`` stand together, and no three of ``-``.

    Args:
        model: which.
        digest: of its manifest, bare hex.
    """
    name = re.sub(r"__+|--+", "-", repository("{repo}", model)) or "model"
    return f"{name}:{(model.commit or model.tree_digest)[:_SHORT]}-{digest[:_SHORT]}"


def package(model: LockedModel) -> Package:
    """The artifact of a locked model."""
    files = sorted(model.files, key=lambda file: file.path.encode())
    config = _json(
        {
            "descriptor": _set(
                name=model.repo or model.name,
                sourceURL=_source(model),
                revision=model.commit,
                licenses=[model.license] if model.license else None,
            ),
            "config": _set(format=only_format(file.path for file in files)),
            "modelfs": {"type": "layers", "diffIds": [f"sha256:{file.sha256}" for file in files]},
        }
    )
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "artifactType": ARTIFACT_TYPE,
        "config": descriptor(CONFIG_TYPE, text_digest(config.decode()), len(config)),
        "layers": [_layer(file) for file in files],
        "annotations": _set(
            **{
                SOURCE: _source(model),
                REVISION: model.commit,
                LICENSES: model.license,
                TITLE: model.repo or model.name,
                GATED: model.gated,
                "dev.vcm.lock.version": "1",
            }
        ),
    }
    return Package(model, _json(manifest), config)


def descriptor(media_type: str, sha256: str, size: int, **rest: Any) -> dict[str, Any]:
    """What points to a blob: https://github.com/opencontainers/image-spec/blob/main/descriptor.md."""
    return {"mediaType": media_type, "digest": f"sha256:{sha256}", "size": size, **rest}


def sha256_in(digest: object) -> str | None:
    """The bare hex of an OCI digest, ``sha256:<hex>``; None for all else, whatever it is.

    https://github.com/opencontainers/image-spec/blob/main/descriptor.md#digests.
    """
    algorithm, _, text = digest.partition(":") if isinstance(digest, str) else ("", "", "")
    return text if algorithm == "sha256" and names.is_sha256(text) else None


def _layer(file: LockedFile) -> dict[str, Any]:
    kind = _KINDS.get(role(file.path), "weight.config")
    annotations = _set(**{FILE_PATH: file.path, TITLE: file.path, _UNTESTED: "true", GIT_ID: file.oid})
    return descriptor(_LAYER_TYPE.format(kind=kind), file.sha256, file.size, annotations=annotations)


def _source(model: LockedModel) -> str | None:
    return f"{_HUB}{model.repo}" if model.repo else model.url


def _set(**values: Any) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}


def _json(value: dict[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=True, separators=(",", ":")).encode()


def read_manifest(data: bytes) -> tuple[LockedModel, str]:
    """The model of which a manifest is, as far as it tells, and its configuration's digest as bare hex.

    Args:
        data: may be anybody's.

    Raises:
        ValueError: it is not one that ``package`` has made.
    """
    try:
        return _described(json.loads(data))
    except (KeyError, TypeError, AttributeError, RecursionError, ValueError) as error:
        raise ValueError("not a manifest of a model") from error


def _described(manifest: dict[str, Any]) -> tuple[LockedModel, str]:
    said, config = manifest["annotations"], manifest["config"]
    if (manifest["mediaType"], manifest["artifactType"]) != (MANIFEST_TYPE, ARTIFACT_TYPE):
        raise ValueError("another kind of artifact")
    if config["mediaType"] != CONFIG_TYPE:
        raise ValueError("another kind of configuration")
    files = sorted((_file(layer) for layer in manifest["layers"]), key=lambda file: file.path)
    if not files or names.first_collision([file.path for file in files]):
        raise ValueError("no files, or some that cannot stand side by side")
    commit, gated, licence = said.get(REVISION), said.get(GATED), said.get(LICENSES)
    if gated not in (None, "auto", "manual"):
        raise ValueError("access that no hub has")
    repo = names.repo_id(said[TITLE]) if commit is not None else None
    model = LockedModel(
        name=repo or names.model_name(said[TITLE]),
        source="url" if repo is None else "huggingface",
        repo=repo,
        url=names.http_url(said[SOURCE]) if repo is None else None,
        commit=None if commit is None else _git_id(commit),
        gated=gated,
        format=only_format(file.path for file in files),
        license=None if licence is None else names.line(licence),
        files=tuple(files),
    )
    return model, _checked_sha256(config["digest"])


def _file(layer: dict[str, Any]) -> LockedFile:
    if not _RAW.fullmatch(layer["mediaType"]):
        raise ValueError("a layer that is no file")
    size, oid = layer["size"], layer["annotations"].get(GIT_ID)
    if type(size) is not int or not 0 <= size < _LARGEST:
        raise ValueError("not a number of bytes")
    path = names.portable_file_path(layer["annotations"][FILE_PATH])
    return LockedFile(path, size, _checked_sha256(layer["digest"]), None if oid is None else _git_id(oid))


def _checked_sha256(digest: object) -> str:
    sha256 = sha256_in(digest)
    if sha256 is None:
        raise ValueError("not a SHA-256")
    return sha256


def _git_id(text: str) -> str:
    if not names.is_commit(text):
        raise ValueError("not a git id")
    return text
