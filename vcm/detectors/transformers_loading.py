"""A ``transformers.pipeline`` on a model's folder, and nothing else: no network, no code of the model's, no noise."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from vcm.core.configs import ADAPTER_CONFIG, code_references, is_config, strings
from vcm.core.formats import is_index
from vcm.core.names import file_path
from vcm.detectors.kinds import missing_library
from vcm.detectors.model_files import OTHER_MODEL, read_json, reason, unusable
from vcm.errors import ConfigError

KIND = "transformers"
_WEIGHTS = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)


class Runner:
    """A pipeline of transformers, which runs quietly and whose failures are ConfigErrors.

    Args:
        folder: the model's.
        task: as transformers names it.
        device: as torch names it: ``cpu``, ``cuda``, ``cuda:1``.

    Raises:
        ConfigError: transformers or torch is missing, the model needs code of its own, or cannot be loaded.
    """

    def __init__(self, folder: Path, task: str, device: str) -> None:
        check_files(folder)
        check_libraries()
        safe = any((folder / name).is_file() for name in _WEIGHTS[:2])
        with self._failing("cannot be loaded"), _quiet(), _offline():
            import torch
            from transformers import pipeline

            _check_device(device)

            self.pipeline: Any = pipeline(
                task,
                model=str(folder),
                device=device,
                dtype=torch.float32 if device == "cpu" else "auto",
                trust_remote_code=False,
                # Of a checkpoint that is a pickle, torch reads numbers, and refuses what is none.
                model_kwargs={"use_safetensors": True} if safe else {"use_safetensors": False, "weights_only": True},
            )

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels that a classifier knows."""
        return tuple(map(str, self.pipeline.model.config.id2label.values()))

    def __call__(self, *inputs: Any, **parameters: Any) -> Any:
        """What the pipeline says to an input.

        Raises:
            ConfigError: it fails.
        """
        with self._failing("fails"), _quiet(), _offline():
            return self.pipeline(*inputs, **parameters)

    @contextmanager
    def _failing(self, what: str) -> Iterator[None]:
        try:
            yield
        except ConfigError:
            raise
        except Exception as error:
            why = f"{type(error).__name__}: {reason(error)}"
            raise ConfigError(f"transformers: the model {what}: {why}", hint=OTHER_MODEL) from error


def remember_texts(model: Any) -> None:
    """Have a model that compares pictures with texts read the same texts once, and not again for every picture.

    Args:
        model: of transformers; left as it is where the part that reads is not called ``text_model``.
    """
    reader = getattr(model, "text_model", None)
    if reader is None:
        return
    read, last = reader.forward, dict[str, Any]()

    def forward(*positional: Any, **named: Any) -> Any:
        tokens = named.get("input_ids")
        if tokens is None:
            return read(*positional, **named)
        if not last or not tokens.equal(last["tokens"]):
            last.update(answer=read(*positional, **named), tokens=tokens)
        return copy(last["answer"])  # CLIP writes its projection into what it is given

    reader.forward = forward


def check_files(folder: Path) -> None:
    """Nothing, if the model is one that transformers can load without anything else.

    Raises:
        ConfigError: it needs code, another model, or has no weights.
    """
    for path in sorted(folder.rglob("*.json")):
        name = path.relative_to(folder).as_posix()
        if is_config(name) and any(code_references(read_json(folder, name))):
            raise unusable(name, "the model needs Python code of its publisher's, which vcm never runs")
        if is_index(name):
            _check_index(folder, name)
    if (folder / ADAPTER_CONFIG).is_file():
        raise unusable(ADAPTER_CONFIG, "the model is an adapter of another one")
    if not any((folder / name).is_file() for name in _WEIGHTS):
        raise unusable(
            _WEIGHTS[0],
            "missing, and so is pytorch_model.bin",
            "add the weights to the model's include in models.toml, then run vcm sync",
        )


def _check_index(folder: Path, name: str) -> None:
    """Nothing, if the shards that an index names are files of the model."""
    index = read_json(folder, name)
    for shard in set(strings(index.get("weight_map") if isinstance(index, dict) else None)):
        try:
            file_path(shard)
        except ValueError as error:
            raise unusable(name, f"a shard cannot be used: {error}") from None


def check_libraries() -> None:
    """Nothing, if transformers and torch are installed.

    Raises:
        ConfigError: one is not.
    """
    if find_spec("transformers") is None:
        raise missing_library(KIND, "transformers")
    if find_spec("torch") is None:
        raise ConfigError(
            f'the kind of detector "{KIND}" needs torch, which is not installed',
            hint="install the torch that suits this machine: https://pytorch.org/get-started/locally",
        )


def _check_device(device: str) -> None:
    """Nothing, if torch can compute there.

    Raises:
        ConfigError: it cannot.
    """
    import torch

    try:
        torch.empty(1, device=device)
    except Exception as error:
        raise ConfigError(
            f'torch cannot use the device "{device}": {reason(error)}',
            hint='leave the option device out, which is device = "cpu", or install the torch that suits this machine',
        ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Neither logs nor progress of transformers, nor warnings: they are for those who write programs with it."""
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(logging.CRITICAL)
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


@contextmanager
def _offline() -> Iterator[None]:
    """No request of the Hub's client, whatever a model's files make transformers look for."""
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before
