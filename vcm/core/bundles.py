"""A bundle: locked models as one file, to carry to where there is no network.

It is an OCI image layout (https://github.com/opencontainers/image-spec/blob/main/image-layout.md) in a tar archive,
which skopeo and podman call ``oci-archive``: ``oci-layout``, ``index.json``, and ``blobs/sha256/<hex>`` for each
manifest, configuration and file. A delta holds no file that an older lock names. Its index is that of a full bundle,
with an annotation beside the manifests::

    "annotations": { "dev.vcm.bundle.since": "sha256:<of the older lock's file>" }
"""

from __future__ import annotations

import json
import re

from vcm.core import names
from vcm.core.cached import cached_property
from vcm.core.layout import entry_of, index_bytes, merged
from vcm.core.modelpack import Package, package, sha256_in
from vcm.core.records import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from vcm.core.lock import Lock, LockedFile, LockedModel

SINCE = "dev.vcm.bundle.since"
"""On a delta's index, which lock's files it leaves out: the SHA-256 of its text."""
_BLOB = re.compile(rf"(?:\./)?blobs/sha256/({names.SHA256})")


def blob_name(sha256: str) -> str:
    """Where an OCI image layout has a blob."""
    return f"blobs/sha256/{sha256}"


def blob_digest(name: str) -> str | None:
    """The SHA-256 that a member's name promises, which begins with ``./`` where somebody made the tar by hand."""
    match = _BLOB.fullmatch(name)
    return match[1] if match else None


@record(frozen=True)
class Bundle:
    """What a bundle holds.

    Attributes:
        packages: the models' artifacts, in name order.
        files: those whose bytes are in it, by SHA-256 in order, each with a model that has it.
        left_out: those that an older lock names, by SHA-256.
        since: the SHA-256 of that lock's text; None for a full bundle.
    """

    packages: tuple[Package, ...]
    files: dict[str, tuple[LockedModel, LockedFile]]
    left_out: dict[str, LockedFile]
    since: str | None = None

    @cached_property
    def index(self) -> bytes:
        """The bytes of ``index.json``."""
        rows = [entry.descriptor for entry in merged((), map(entry_of, self.packages))]
        return index_bytes(rows, {SINCE: f"sha256:{self.since}"} if self.since else None)

    @property
    def bytes_left_out(self) -> int:
        """Bytes of the files that an older lock names."""
        return sum(file.size for file in self.left_out.values())

    @cached_property
    def small(self) -> dict[str, bytes]:
        """By SHA-256, the manifests and configurations."""
        return {each.digest: each.manifest for each in self.packages} | {
            each.config_digest: each.config for each in self.packages
        }


def plan_bundle(models: Iterable[LockedModel], before: Lock | None = None, since: str | None = None) -> Bundle:
    """What a bundle of these models holds.

    Args:
        models: in name order.
        before: an older lock, for a delta.
        since: the SHA-256 of its text.
    """
    packages = tuple(package(model) for model in models)
    known = {file.sha256 for model in before.models for file in model.files} if before else set()
    files = {file.sha256: (each.model, file) for each in packages for file in each.model.files}
    return Bundle(
        packages,
        {sha256: files[sha256] for sha256 in sorted(files.keys() - known)},
        {sha256: files[sha256][1] for sha256 in sorted(files.keys() & known)},
        since,
    )


def since_of(index: bytes) -> str | None:
    """The SHA-256 of the lock since which a delta was made; None where an index, which may be anybody's, has none."""
    try:
        return sha256_in(json.loads(index)["annotations"][SINCE])
    except (KeyError, TypeError, ValueError, RecursionError):
        return None
