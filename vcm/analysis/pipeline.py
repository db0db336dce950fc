"""AnalysisPipeline: a program that starts only on the locked models, and says what is to be found in a video."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, List, Optional

from vcm.analysis.report import make_report
from vcm.core.fields import Document
from vcm.core.lock import LockedModel
from vcm.core.manifest import FILE_NAME, DeclaredDetector
from vcm.core.reporter import Reporter
from vcm.core.wording import counted, did_you_mean, listed
from vcm.enforce.config import Config
from vcm.enforce.gate import Checked
from vcm.enforce.manager import ModelManager
from vcm.errors import NOT_INSTALLED, ConfigError, ModelDownloadError
from vcm.store.project import Project

if TYPE_CHECKING:
    from vcm.analysis.detecting import MadeDetector

_log = logging.getLogger(__name__)


class AnalysisPipeline:
    """The gate of an analysis, and the analysis behind it.

    What it does is logged as ``vcm.analysis.pipeline``: each step as INFO, what is left out as WARNING.

    Args:
        config: what ``load_config`` gives, or one made by hand.
        skip_model_check: start on whatever is there, as programs did before there was a gate; it is logged, and the
            report says so.
    """

    def __init__(self, config: Config, skip_model_check: bool = False) -> None:
        self.config = config
        self._skip_model_check = skip_model_check
        self._model_manager: Optional[ModelManager] = None
        self._models_verified = False
        self._models_complete = False
        self._lock_sha256: Optional[str] = None
        self._used: dict[str, LockedModel] = {}
        self._detectors: Optional[list[MadeDetector]] = None

    def verify_models(self, download: bool = False) -> bool:
        """Let the pipeline go on only if the models of its detectors are the locked ones.

        Args:
            download: bring what is missing first.

        Returns:
            True when all are there, False when only optional ones are missing: the analysis goes on without the
            detectors that need them. Once true, it stays so.

        Raises:
            ModelDownloadError: required models are missing; names all of them.
            ModelChecksumError: a model is not what is locked.
            LockError: there is no lock, or it does not fit the manifest.
            PolicyError: a model is locked that the project's policy does not allow.
            ConfigError: a detector names a model that is not declared.
        """
        if self._models_complete:
            return True
        self._models_verified, self._detectors = False, None
        if self._skip_model_check:
            _log.warning("the models are not checked, because skip_model_check was asked for")
            self._models_verified = self._models_complete = True
            return True
        names = self._extract_model_requirements()
        missing = self._gate(names, download=download or self.config.models.auto_download) if names else []
        if missing:
            _log.warning("optional models are missing: %s", ", ".join(missing))
        _log.info("ready: %s verified", counted(len(names) - len(missing), "model"))
        self._models_verified, self._models_complete = True, not missing
        return self._models_complete

    def analyze(self, video: str | Path | None = None, *, reporter: Optional[Reporter] = None) -> Dict[str, Any]:
        """Find in a video what the detectors look for.

        Args:
            video: the file; by default the configuration's ``video``.
            reporter: told of the bytes of the video that were read.

        Returns:
            The report, as ``vcm.analysis.report`` describes it; it goes into JSON as it is.

        Raises:
            RuntimeError: the models were not verified before.
            ConfigError: there is no detector or no video, or a detector cannot be made of its options and model.
            ModelChecksumError: a model has changed since it was verified.
            VcmError: the video cannot be read, or changes meanwhile, or a detector fails.
        """
        if not self._models_verified:
            raise RuntimeError("Call verify_models() before analyze()")
        chosen = self.config.video if video is None else video
        if chosen is None:
            raise ConfigError("no video to analyse", hint="name one: analyze(video)")
        path = Path(chosen)
        self._ensure_detection_pipeline()
        assert self._detectors is not None
        from vcm.analysis.watching import watch

        _log.info("analysing %s with %s", path.name, counted(len(self._detectors), "detector"))
        watched = watch(path, self._detectors, reporter or Reporter())
        for outcome in watched.outcomes:
            if outcome.skipped is not None:
                _log.warning("the detector %s did not run: %s", outcome.name, outcome.skipped)
        if watched.damaged:
            _log.warning("%s of %s could not be decoded", counted(watched.damaged, "packet"), path.name)
        report = make_report(
            lock_sha256=self._lock_sha256,
            verified=not self._skip_model_check,
            models=self._used.values(),
            watched=watched,
            gap=self.config.merge_gap,
            margin=self.config.margin,
        )
        found, flagged = counted(len(report["findings"]), "finding"), counted(len(report["segments"]), "segment")
        _log.info("done: %s in %s of %s", found, flagged, path.name)
        return report

    def _extract_model_requirements(self) -> List[str]:
        """The names of the models that the detectors need, and of what those pull in; without detectors, all.

        Raises:
            ConfigError: a detector names a model that is not declared for this machine.
        """
        known = [source.name for source in self.config.models.sources]
        if not self.config.detectors:
            return known
        needed = dict.fromkeys(detector.model for detector in self.config.detectors if detector.model)
        for name in needed:
            if name not in known:
                raise ConfigError(
                    f'a detector needs the model "{name}", which is not declared for this machine'
                    f"{did_you_mean(name, known)}",
                    hint=f"declare [models.{name}] in {FILE_NAME}",
                )
        # An adapter runs on its base model: what is locked for a model is needed with it.
        return [name for name in known if self._root(name) in needed]

    def _gate(self, names: List[str], *, download: bool) -> list[str]:
        """Let models through, and give the names of optional ones that are missing."""
        _log.info("verifying %s: %s", counted(len(names), "model"), ", ".join(names))
        sources = [source for source in self.config.models.sources if source.name in names]
        manager = self._model_manager = ModelManager(self.config)
        answers = manager.inspect(sources)
        to_bring = [answer.model.name for answer in answers if answer.findings]
        if to_bring and download:
            _log.info("downloading %s: %s", counted(len(to_bring), "model"), ", ".join(to_bring))
            manager.verify_models(sources)
            answers = manager.inspect(sources)
        self._refuse(answers)
        for notice in manager.notices(sources):
            _log.warning("%s", notice)
        return [answer.model.name for answer in answers if answer.findings]

    def _root(self, name: str) -> str:
        return self.config.roots.get(name, name)

    def _refuse(self, answers: list[Checked]) -> None:
        """Raise for required models that are missing, all together, and for those that are not what is locked."""
        absent = [answer for answer in answers if answer.is_absent and not answer.optional]
        if absent:
            groups = dict.fromkeys(answer.groups[0] for answer in absent if answer.groups)
            sync = " ".join(["run vcm sync", *(f"--group {group}" for group in groups)])
            names = [answer.model.name for answer in absent]
            raise ModelDownloadError(
                "not installed" if len(names) == 1 else f"not installed: {listed(names)}",
                error_code=NOT_INSTALLED,
                hint=f"{sync}, or start with --download-models" if self.config.project else "use --download-models",
                model=names[0] if len(names) == 1 else None,
            )
        for answer in answers:
            if not answer.passes:
                error = answer.error()
                error.hint = error.hint if self.config.project else "use --download-models"
                raise error

    def _ensure_detection_pipeline(self) -> None:
        """Make the detectors, once: all but those whose optional model is missing.

        Raises:
            ConfigError: there are none, or one cannot be made of its kind, options and model.
            ModelChecksumError: a model has changed since it was verified.
            VcmError: a detector cannot be made.
        """
        if self._detectors is not None:
            return
        # Not above: a program that only verifies its models needs nothing of what detectors need.
        from vcm.analysis.detecting import MadeDetector, check_detectors, make_detector

        check_detectors(self.config.detectors)
        from vcm.analysis.watching import file_digest

        project = Project(self.config.project) if self.config.project else None
        text = project.manifest_bytes().decode(errors="replace") if project else ""
        document = Document(FILE_NAME if project else "the configuration", text)
        made = []
        self._used = {}
        for declared in self.config.detectors:
            answers = self._looked_at_again(declared)
            absent = [answer.model.name for answer in answers if answer.is_absent]
            if absent:
                made.append(MadeDetector(declared, None, f"its model {absent[0]} is not installed"))
                continue
            _log.info("building the detector %s (%s)", declared.name, declared.kind)
            folder = next((answer.path for answer in answers if answer.model.name == declared.model), None)
            made.append(make_detector(declared, folder, document))
            self._used.update((answer.model.name, answer.model) for answer in answers)
        self._lock_sha256 = file_digest(project.lock_path) if project and project.lock_path.exists() else None
        self._detectors = made

    def _looked_at_again(self, declared: DeclaredDetector) -> list[Checked]:
        """A detector's model and what that pulls in, as they are now: installed and unchanged, or optional and absent.

        Minutes may have gone by since the gate, and what is loaded now is what counts.
        """
        if declared.model is None:
            return []
        self._model_manager = self._model_manager or ModelManager(self.config)
        sources = [source for source in self.config.models.sources if self._root(source.name) == declared.model]
        answers = self._model_manager.inspect(sources)
        for answer in answers:
            if not answer.passes and (answer.is_absent or not self._skip_model_check):
                raise answer.error()
        return answers
