"""A configuration as programs see it: which models, from where, into which folder."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from vcm.core.lock import LockedModel
from vcm.core.manifest import DEFAULT_MERGE_GAP, FILE_NAME, DeclaredDetector, Requirement
from vcm.core.plan import in_scope
from vcm.core.wording import system_reason
from vcm.errors import ConfigError
from vcm.settings import cache_folder, read_settings
from vcm.store.project import Project

_YAML_SUFFIXES = (".yaml", ".yml")


@dataclass
class ModelSource:
    """One downloadable model.

    Attributes:
        name: what the program asks for.
        url: address of the file; for a model in a repo, the repo's page at the locked commit.
        checksum: digest of the file in hex; for a model in a repo, the tree digest of its locked files; empty while
            nothing is locked.
        size_bytes: bytes of all its files; 0 while unknown.
        algorithm: of ``checksum``.
        optional: whether the program goes on when it cannot be had.
    """

    name: str
    url: str
    checksum: str
    size_bytes: int
    algorithm: str = "sha256"
    optional: bool = False


@dataclass
class ModelsConfig:
    """The models of a configuration.

    Attributes:
        cache_dir: the store's folder; None for the one of the environment and platform.
        sources: what may be needed here, platform markers considered.
        auto_download: whether ``verify_models`` may download without being asked to.
    """

    cache_dir: str | None = None
    sources: list[ModelSource] = field(default_factory=list)
    auto_download: bool = False


@dataclass
class Config:
    """A whole configuration.

    Attributes:
        models: always present, if empty.
        project: the folder of the ``models.toml`` it was read from; None for one out of a YAML, or made by hand.
        detectors: what the pipeline runs. Only in a YAML may one name a model that is no source; nothing is analysed
            with it then.
        roots: by name of a model that another one pulled in, as an adapter does its base model, that other one.
        merge_gap: seconds; what detectors find no further apart than this is one segment of the video.
        margin: seconds by which a segment begins earlier, and ends later, than what was found.
        video: what the pipeline analyses where it is told no other.
    """

    models: ModelsConfig = field(default_factory=ModelsConfig)
    project: Path | None = None
    detectors: tuple[DeclaredDetector, ...] = ()
    roots: dict[str, str] = field(default_factory=dict)
    merge_gap: float = DEFAULT_MERGE_GAP
    margin: float = 0.0
    video: Path | None = None


def load_config(config_path: str | Path) -> Config:
    """Read a ``models.toml``, and the lock beside it where there is one; or an application's YAML.

    Of a YAML (``.yaml``, ``.yml``), ``models:`` and ``detectors:`` are read, as ``vcm.core.yaml_config`` describes.
    What a source's checksum says is then what is locked. A relative ``cache_dir`` is one beside the file.

    Args:
        config_path: the file, or the folder with the ``models.toml``.

    Returns:
        The configuration; ``models.cache_dir`` is the folder in force, be it the platform's own.

    Raises:
        ConfigError: there is none, or it or its lock cannot be used.
    """
    given = Path(config_path).absolute()
    try:
        is_folder = given.is_dir()
    except OSError:
        is_folder = False  # as of a name that is too long
    if given.suffix.lower() in _YAML_SUFFIXES and not is_folder:
        return _read_yaml(given)
    if not is_folder and given.name != FILE_NAME:
        raise ConfigError(
            f"{given}: this is not called {FILE_NAME}", hint=f"name a {FILE_NAME}, its folder, or a .yaml file"
        )
    project = Project(given if is_folder else given.parent)
    manifest = project.manifest()
    settings = read_settings(
        manifest_endpoint=manifest.endpoint, manifest_cache_dir=manifest.cache_dir, project_dir=project.folder
    )
    lock = project.lock()
    sources = []
    for requirement in in_scope(manifest, ("*",)):
        locked = lock.get(requirement.name) if lock else None
        # A stale lock may hold a url where the manifest has a repo by now.
        page = f"{settings.endpoint}/{(locked.repo if locked else None) or requirement.repo}"
        sources.append(_source(requirement, locked, requirement.url or page))
        pulled_in = [model for model in lock.models if model.via == requirement.name] if lock else []
        sources += [_source(requirement, model, f"{settings.endpoint}/{model.repo}") for model in pulled_in]
    models = ModelsConfig(cache_dir=str(settings.cache_dir), sources=sources)
    roots = {model.name: model.via for model in lock.models if model.via} if lock else {}
    return Config(
        models=models,
        project=project.folder,
        detectors=manifest.detectors,
        merge_gap=manifest.merge_gap,
        margin=manifest.margin,
        roots=roots,
    )


def _read_yaml(path: Path) -> Config:
    from vcm.core.yaml_config import LARGEST, parse_yaml_application
    from vcm.store.inputs import read_input

    try:
        data = read_input(path, LARGEST)
    except OSError as error:
        raise ConfigError(
            f"cannot read {path}: {system_reason(error)}", hint="name the application's YAML file"
        ) from None
    found, detectors = parse_yaml_application(data, str(path))
    sources = [
        ModelSource(
            name=source.name,
            url=source.url,
            checksum=source.checksum.hex,
            size_bytes=source.size_bytes,
            algorithm=source.checksum.algorithm,
            optional=source.optional,
        )
        for source in found.sources
    ]
    folder = cache_folder(manifest=found.cache_dir, project_dir=path.parent)
    models = ModelsConfig(cache_dir=str(folder), sources=sources, auto_download=found.auto_download)
    return Config(models=models, detectors=detectors)


def _source(requirement: Requirement, locked: LockedModel | None, address: str) -> ModelSource:
    """The source of a required model, or of one that it pulls in."""
    if locked is None:
        return ModelSource(requirement.name, address, checksum="", size_bytes=0, optional=requirement.optional)
    is_file = requirement.url is not None
    return ModelSource(
        name=locked.name,
        url=address if is_file or not locked.commit else f"{address}/tree/{locked.commit}",
        checksum=locked.files[0].sha256 if is_file else locked.tree_digest,
        size_bytes=locked.size,
        optional=requirement.optional,
    )
