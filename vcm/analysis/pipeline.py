"""AnalysisPipeline: a program that starts only on the locked models."""

from __future__ import annotations

import logging

from vcm.enforce.config import Config, ModelSource
from vcm.enforce.manager import ModelManager
from vcm.errors import NOT_INSTALLED, ConfigError, ModelDownloadError

_log = logging.getLogger(__name__)


class AnalysisPipeline:
    """The gate of an analysis: its detectors' models are verified before anything runs.

    Args:
        config: what ``load_config`` gives, or one made by hand.
        skip_model_check: start on whatever is there, as programs did before there was a gate; it is logged.
    """

    def __init__(self, config: Config, skip_model_check: bool = False) -> None:
        self.config = config
        self._skip_model_check = skip_model_check
        self._models_verified = False

    def verify_models(self, download: bool = False) -> bool:
        """Let the pipeline go on only if the models of its detectors are the locked ones.

        Args:
            download: bring what is missing first.

        Returns:
            True when all are there, False when only optional ones are missing. Once true, it stays so.

        Raises:
            ModelDownloadError: a required model is missing or damaged.
            LockError: there is no lock, or it does not fit the manifest.
            ConfigError: a detector names a model that is not declared.
        """
        if self._models_verified:
            return True
        if self._skip_model_check:
            _log.warning("the models are not checked, because skip_model_check was asked for")
            self._models_verified = True
            return True
        sources = self._required_sources()
        manager = ModelManager(self.config)
        if download or self.config.models.auto_download:
            _log.info("verifying models, downloading what is missing: %s", [source.name for source in sources])
            answers = manager.verify_models(sources)
        else:
            answers = {source.name: manager.is_model_valid(source.name) for source in sources}
            for source in sources:
                if not answers[source.name] and not source.optional:
                    raise ModelDownloadError(
                        "not installed, or not what is locked",
                        error_code=NOT_INSTALLED,
                        hint="run vcm sync, or start with --download-models",
                        model=source.name,
                    )
        missing = [name for name, present in answers.items() if not present]
        if missing:
            _log.warning("optional models are missing: %s", missing)
        self._models_verified = not missing
        return self._models_verified

    def _required_sources(self) -> list[ModelSource]:
        """The models that the detectors name; without detectors, all of the configuration."""
        sources = {source.name: source for source in self.config.models.sources}
        if not self.config.detectors:
            return list(sources.values())
        needed = dict.fromkeys(detector.model for detector in self.config.detectors if detector.model)
        for name in needed:
            if name not in sources:
                raise ConfigError(
                    f'a detector needs the model "{name}", which is not declared for this machine',
                    hint=f"declare [models.{name}] in models.toml",
                )
        # An adapter runs on its base model: what is locked for a model is needed with it.
        return [source for source in sources.values() if self.config.roots.get(source.name, source.name) in needed]
