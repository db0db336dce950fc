"""ModelManager: the models of a configuration, verified and brought here."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Dict, List, Optional

from vcm.core import names
from vcm.core.lock import LockedFile, LockedModel
from vcm.core.manifest import DEFAULT_HEADROOM, Manifest, parse_checksum
from vcm.core.plan import Plan, SnapshotState
from vcm.core.policy import refuse_violations
from vcm.core.reference import file_name
from vcm.core.reporter import Reporter
from vcm.core.wording import did_you_mean
from vcm.enforce.config import Config, ModelSource
from vcm.enforce.gate import Checked, inspect_all, known_notices
from vcm.errors import ConfigError, ModelChecksumError, VcmError
from vcm.session import Session
from vcm.settings import Settings, read_settings
from vcm.store.files import disk_errors
from vcm.store.project import Project
from vcm.store.store import Store

if TYPE_CHECKING:
    from vcm.resolve.registry import HuggingFaceRegistry, ModelMetadata

ProgressCallback = Callable[[str, int, int], None]

_CHANGED = (
    "the publisher or something on the way changed the file: "
    "correct checksum and size_bytes only if you expected a change"
)


class ModelManager:
    """Verifies the models of a configuration and downloads what is missing.

    With a configuration out of a ``models.toml``, the lock beside it says which bytes are right; it is never changed
    here. With one made by hand, each source's own checksum does.
    """

    def __init__(self, config: Config, registry: Optional[HuggingFaceRegistry] = None) -> None:
        """Take a configuration.

        Args:
            config: its models.
            registry: whom to ask about them; by default the hub of the configuration, once it is needed.

        Raises:
            ConfigError: its models cannot be used.
            PolicyError: a model is locked that the project's policy does not allow.
        """
        if not isinstance(config, Config):
            raise ConfigError(
                f"expected a Config, found {config!r:.100}", hint="give what vcm.load_config(...) returns"
            )
        self.config = config
        self._registry = registry
        self._manifest: Manifest | None = None
        self._locked: dict[str, LockedModel] = {}
        if config.project is not None:
            project = Project(config.project)
            self._manifest = project.manifest()
            self._locked = {model.name: model for model in project.fitting_lock(self._manifest).models}
            refuse_violations(self._manifest.policy, self._locked.values(), time.time())
        else:
            for source in config.models.sources:
                if source.name in self._locked:
                    raise ConfigError(f"{source.name}: two sources have this name", hint="name each model once")
                self._locked[source.name] = _from_source(source)
        self._settings = self._read_settings()
        self.cache_dir: Path = self._settings.cache_dir

    def __repr__(self) -> str:
        return f"ModelManager(models={sorted(self._locked)}, cache_dir={str(self.cache_dir)!r})"

    def _read_settings(self) -> Settings:
        manifest, cache_dir = self._manifest, self.config.models.cache_dir
        return read_settings(
            # What load_config has read of a project is decided already.
            cache_dir=cache_dir if manifest else None,
            manifest_endpoint=manifest.endpoint if manifest else None,
            manifest_mirrors=manifest.mirrors if manifest else (),
            manifest_fallback=manifest.origin_fallback if manifest else True,
            manifest_cache_dir=cache_dir,
            project_dir=self.config.project,
        )

    def verify_models(
        self,
        sources: Optional[List[ModelSource]] = None,
        progress_callback: Optional[ProgressCallback] = None,
    ) -> Dict[str, bool]:
        """Have every model here and verified; what is there already is left as it is.

        Args:
            sources: the models that matter; by default all of the configuration.
            progress_callback: called with name, bytes that are here, bytes in all, while something is downloaded; from
                several threads, but never by two at once. What it raises ends the download and comes out here.

        Returns:
            By name, true for a model that is installed and verified, false for an optional one that cannot be had.

        Raises:
            ModelDownloadError: a required model cannot be had.
            ModelChecksumError: what comes for it is not what is locked.
            DiskSpaceError: there is not enough room.
            ConfigError: a source cannot be used.
        """
        wanted = self.config.models.sources if sources is None else sources
        for source in wanted:
            if not isinstance(source, ModelSource):
                raise ConfigError(
                    f"sources: expected ModelSource, found {source!r:.100}",
                    hint="choose among those of config.models.sources",
                )
        models = [self._model(source.name, source) for source in wanted]
        optional = {source.name for source in wanted if source.optional}
        headroom = self._manifest.disk_headroom if self._manifest else DEFAULT_HEADROOM
        plan = Store(self._settings.cache_dir).plan(models)
        reporter = _CallbackReporter(plan, progress_callback)
        with Session(self._settings, reporter, project=self.config.project) as session:
            answers = session.install(plan, headroom, whole=sources is None)
        for answer in answers:
            if answer.error is not None and answer.model.name not in optional:
                if isinstance(answer.error, ModelChecksumError) and self._manifest is None:
                    answer.error.hint = _CHANGED
                raise answer.error
        return {answer.model.name: answer.error is None for answer in answers}

    def inspect(self, sources: List[ModelSource]) -> List[Checked]:
        """What the gate finds of some models: each installed and unchanged, absent, or not what is locked. No network.

        Raises:
            ConfigError: a model is not locked, and its source does not say enough.
            VcmError: the store cannot be read.
        """
        optional = {source.name for source in sources if source.optional}
        models = [self._model(source.name, source) for source in sources]
        answers = inspect_all(models, self._manifest or Manifest(), Store(self._settings.cache_dir))
        return [replace(answer, optional=answer.model.name in optional) for answer in answers]

    def notices(self, sources: List[ModelSource]) -> List[str]:
        """What ``vcm outdated`` found out about some models: deprecated, renamed, gone. Nobody is asked."""
        if self._manifest is None:
            return []
        models = [self._model(source.name) for source in sources]
        return known_notices(models, self._manifest, Store(self._settings.cache_dir))

    def is_model_valid(self, model_name: str) -> bool:
        """Whether the model is installed and unchanged, by the quick check; no network, and nothing is removed.

        Returns:
            False also where the store cannot be read, and for a name that the configuration does not have.
        """
        model = self._locked.get(model_name)
        if model is None:
            return False
        store = Store(self._settings.cache_dir)
        try:
            with disk_errors(store.root):
                return store.snapshots.state(model) is SnapshotState.INSTALLED
        except VcmError:
            return False

    def get_model_path(self, model_name: str) -> Path:
        """Where the model is, or will be: the file of a direct source, the folder of a repo's model.

        Raises:
            ConfigError: there is no such model.
        """
        model = self._model(model_name)
        folder = Store(self._settings.cache_dir).snapshots.path(model.tree_digest)
        return folder / model.files[0].path if model.source == "url" else folder

    def get_model_info(self, model_name: str) -> ModelMetadata:
        """What the hub says of the repo that a model is locked to.

        Raises:
            ConfigError: there is no such model, or it comes from no repo.
            ModelNotFoundError: the repo is gone.
            RegistryError: the hub cannot be reached, or its answer cannot be used.
        """
        repo = self._model(model_name).repo
        if repo is None:
            raise ConfigError(
                f"{model_name} is a direct file, of which the hub knows nothing",
                hint="ask about a model that has a repo in models.toml",
            )
        return self.registry.query_model(repo)

    @property
    def registry(self) -> HuggingFaceRegistry:
        """Whom to ask about models."""
        if self._registry is None:
            from vcm.resolve.registry import HuggingFaceRegistry

            self._registry = HuggingFaceRegistry(settings=self._settings)
        return self._registry

    def _model(self, name: str, source: ModelSource | None = None) -> LockedModel:
        model = self._locked.get(name)
        if model is None and source is not None:
            model = self._locked[name] = _from_source(source)
        if model is None:
            known = sorted(self._locked)
            raise ConfigError(
                f'no model "{name}" in the configuration{did_you_mean(name, known)}',
                hint=f"models of this configuration: {', '.join(known) or 'none'}",
            )
        return model


def _from_source(source: ModelSource) -> LockedModel:
    """A direct file whose configuration says all there is to know is as good as locked."""
    text = str(source.checksum)
    algorithm = str(source.algorithm).lower().replace("-", "")
    try:
        checksum = parse_checksum(text if ":" in text else f"{algorithm}:{text}")
    except ValueError as error:
        raise ConfigError(f"{source.name}: checksum: {error}", hint="put the published digest there") from None
    if checksum.algorithm != "sha256":
        raise ConfigError(
            f"{source.name}: only a SHA-256 can be verified without a lock, found {checksum.algorithm}",
            hint="declare the url in models.toml (vcm import makes one of a YAML): vcm lock computes the SHA-256 too",
        )
    try:
        names.http_url(source.url)
    except ValueError as error:
        raise ConfigError(f"{source.name}: url: {error}", hint="name the file's own address") from None
    if not isinstance(source.size_bytes, int) or source.size_bytes < 0:
        raise ConfigError(
            f"{source.name}: size_bytes: expected a whole number of at least 0, found {source.size_bytes!r:.100}",
            hint="put the file's published size there",
        )
    file = LockedFile(file_name(source.url, source.name), source.size_bytes, checksum.hex)
    return LockedModel(name=source.name, source="url", url=source.url, files=(file,))


class _CallbackReporter(Reporter):
    """Adds up the bytes of each model's files for a callback."""

    def __init__(self, plan: Plan, callback: ProgressCallback | None) -> None:
        self._callback = callback
        self._total = {each.model.name: each.model.size for each in plan.models}
        # What the store has already, and what comes with another file, is never announced.
        self._done = {each.model.name: each.bytes_to_reuse for each in plan.models}
        self._models = {
            f"{each.model.name}/{file.path}": each.model.name for each in plan.models for file in each.fetch
        }
        self._lock = threading.Lock()

    def file_started(self, label: str, size: int, already: int) -> None:
        self.advanced(label, already)

    def advanced(self, label: str, count: int) -> None:
        name = self._models.get(label)
        if name is None:
            # What is there already, and only hashed again.
            return
        with self._lock:
            self._done[name] += count
            if self._callback is not None:
                self._callback(name, self._done[name], self._total[name])
