"""What a push is made of: models as artifacts, each with its repository, and the blobs that they have in common."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Literal

from vcm.core.lock import LockedModel
from vcm.core.mirrors import RegistryAddress, repository
from vcm.core.modelpack import Package, package
from vcm.core.records import record
from vcm.core.wording import listed
from vcm.errors import ConfigError, VcmError

Status = Literal["pushed", "present", "missing", "failed"]
Came = Literal["pushed", "mounted", "present"]
Outcome = Came | VcmError

_SHOWN = 12


@record(frozen=True, kw_only=True)
class Pushed:
    """What became of one model.

    Attributes:
        repository: where in the registry it is.
        digest: of its manifest, bare hex.
        tags: by which it can be asked for there, too.
        status: ``missing`` where something is to be done that was not to be done yet.
        sizes: bytes that were uploaded, taken by the registry from another of its repositories, and there already; a
            blob that came for another model is there already.
        error: why it failed.
    """

    model: LockedModel
    repository: str
    digest: str
    tags: tuple[str, ...]
    status: Status
    sizes: Mapping[Came, int]
    error: VcmError | None = None


@record(frozen=True)
class Item:
    """A model to push: its artifact, and the repository it belongs to."""

    package: Package
    repository: str

    @property
    def model(self) -> LockedModel:
        """What it is of."""
        return self.package.model

    @property
    def blobs(self) -> dict[str, tuple[str | None, int]]:
        """By digest, the path of the first file with these bytes, and their number; no path for the configuration."""
        files = {file.sha256: (file.path, file.size) for file in reversed(self.model.files)}
        return {self.package.config_digest: (None, len(self.package.config)), **files}

    @property
    def second_tag(self) -> str:
        """For other files of the same commit than those that have its tag: with the tree digest's beginning."""
        return f"{self.package.tag}-{self.model.tree_digest[:_SHOWN]}"


@record(frozen=True)
class SharedBlob:
    """A blob of one or several models.

    Attributes:
        sha256: bare hex.
        size: bytes.
        item: one of the models.
        path: of a file in it that has these bytes; None for its configuration.
        repositories: where it belongs, each once.
    """

    sha256: str
    size: int
    item: Item
    path: str | None
    repositories: tuple[str, ...]

    @property
    def label(self) -> str:
        """How it is called on the screen."""
        return f"{self.item.model.name}/{self.path or 'its configuration'}"


def item_of(model: LockedModel, address: RegistryAddress) -> Item:
    """A model as it goes to a registry."""
    return Item(package(model), repository(address.template, model))


def blobs_of(items: Iterable[Item]) -> list[SharedBlob]:
    """Every blob once, the largest first: the last one to end decides how long all takes."""
    found: dict[str, SharedBlob] = {}
    for item in items:
        for sha256, (path, size) in item.blobs.items():
            known = found.get(sha256) or SharedBlob(sha256, size, item, path, ())
            found[sha256] = replace(known, repositories=tuple(dict.fromkeys((*known.repositories, item.repository))))
    return sorted(found.values(), key=lambda each: -each.size)


def refuse_ambiguous(tag: str, items: Sequence[Item]) -> None:
    """Refuse a tag that would name two models.

    Raises:
        ConfigError: says which.
    """
    named: dict[str, dict[str, str]] = {}
    for item in items:
        named.setdefault(item.repository, {}).setdefault(item.package.digest, item.model.name)
    for repository_name, models in named.items():
        if len(models) > 1:
            raise ConfigError(
                f"--tag {tag} would name {listed(models.values())}, which all go to {repository_name}",
                hint="leave out --tag: each has a tag of its own",
            )
