"""The kind ``sentence-similarity``: subtitles that mean nearly the same as a phrase; no torch.

Options: ``phrases``; ``threshold``, the least cosine similarity of a finding, 0.5 unless told; ``label``, what to call
a finding instead of the phrase that is nearest.

It runs the models of sentence-transformers whose encoder is a BERT (MiniLM, BGE, E5, GTE …), with their tokenizer and
their pooling: https://sbert.net/docs/sentence_transformer/usage/custom_models.html
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from vcm.core.fields import Table
from vcm.core.findings import Match
from vcm.core.names import file_path
from vcm.core.subtitles import Cue
from vcm.detectors.base import TextDetector
from vcm.detectors.bert import WEIGHTS, Array, BertEncoder, read_shape
from vcm.detectors.model_files import (
    model_folder,
    read_json,
    read_model_file,
    reason,
    required_model_file,
    unusable,
)

_MODULES = "modules.json"
_REMEMBERED = 4096  # lines of text


class SentenceModel:
    """A model that turns a sentence into a vector of length 1.

    Args:
        folder: its files.

    Raises:
        ConfigError: it is none that can be run here; says which file is the reason.
    """

    def __init__(self, folder: Path) -> None:
        encoder_path, pooling_path = _modules(folder)
        inside = f"{encoder_path}/" if encoder_path else ""
        config = required_model_file(folder, f"{inside}config.json")
        self._encoder = BertEncoder(folder / encoder_path, read_shape(config))
        self._pools_first = _pools_first(folder, pooling_path)
        limits = read_model_file(folder, f"{inside}sentence_bert_config.json")
        longest = limits.integer("max_seq_length", least=1) if limits else None
        self._lower_case = limits.boolean("do_lower_case") if limits else False
        self._tokenizer_file = f"{inside}tokenizer.json"
        positions = self._encoder.shape.positions
        self._tokenizer = _tokenizer(folder, self._tokenizer_file, min(longest or positions, positions))

    def embed(self, text: str) -> Array:
        """The vector; what goes beyond the model's longest text is cut off.

        Raises:
            ConfigError: the tokenizer and the weights do not fit each other.
        """
        tokens = self._tokens(text.lower() if self._lower_case else text)
        with np.errstate(all="ignore"):
            vectors = self._encoder.encode(tokens)
            pooled = vectors[0] if self._pools_first else vectors.mean(axis=0)
            vector = np.asarray(pooled / max(float(np.linalg.norm(pooled)), 1e-12), dtype=np.float32)
        if not np.isfinite(vector).all():
            raise unusable(WEIGHTS, "gives numbers that are infinite or none")
        return vector

    def _tokens(self, text: str) -> NDArray[np.int64]:
        shape = self._encoder.shape
        try:
            tokens = np.array(self._tokenizer.encode(text).ids, dtype=np.int64)
        except Exception as error:  # noqa: BLE001  (the library raises Exception itself)
            raise unusable(self._tokenizer_file, f"cannot be used: {reason(error)}") from None
        if not 0 < len(tokens) <= shape.positions or tokens.max() >= shape.vocabulary:
            raise unusable(self._tokenizer_file, "makes tokens that the model does not know, none, or too many")
        return tokens


class SentenceSimilarity(TextDetector):
    """Finds lines of text that are near to one of some phrases.

    Args:
        model: what tells how near.
        phrases: to compare with.
        threshold: the least cosine similarity.
        label: of what is found; None for the nearest phrase.
    """

    def __init__(self, model: SentenceModel, phrases: Sequence[str], threshold: float, label: str | None) -> None:
        self._phrases = phrases
        self._vectors = np.stack([model.embed(phrase) for phrase in phrases])
        self._threshold = threshold
        self._label = label
        # Subtitles repeat themselves.
        self._embed = lru_cache(_REMEMBERED)(model.embed)

    def read(self, cue: Cue) -> Iterator[Match]:
        similarities = self._vectors @ self._embed(cue.text)
        nearest = int(similarities.argmax())
        score = min(float(similarities[nearest]), 1.0)
        if score >= self._threshold:
            yield Match(self._label or self._phrases[nearest], score, cue.start, cue.end)


def make(folder: Path | None, options: Table) -> SentenceSimilarity:
    """The detector that the options describe, on the model in a folder.

    Raises:
        ConfigError: an option cannot be used, or the model is none that can be run here.
    """
    phrases = options.texts("phrases")
    threshold = options.number("threshold", least=0, most=1)
    label = options.text("label")
    options.finish()
    if not phrases:
        raise options.error("phrases", "missing: what to compare with", 'list them: phrases = ["I will kill you"]')
    model = SentenceModel(model_folder(folder, options))
    return SentenceSimilarity(model, phrases, 0.5 if threshold is None else threshold, label)


def _modules(folder: Path) -> tuple[str, str | None]:
    """The folders, inside the model, of its encoder and of its pooling."""
    listed = read_json(folder, _MODULES)
    if listed is None:
        # sentence-transformers takes the mean then.
        return "", None
    paths: dict[str, str] = {}
    for module in listed if isinstance(listed, list) else [listed]:
        kind, path = (module.get("type"), module.get("path")) if isinstance(module, dict) else (None, None)
        if not isinstance(kind, str) or not isinstance(path, str):
            raise unusable(_MODULES, "expected a list of modules, each with a type and a path")
        name = kind.rpartition(".")[2]
        if name not in ("Transformer", "Pooling", "Normalize") or name in paths:
            raise unusable(_MODULES, f"the module {name} is none that vcm runs: a Transformer, a Pooling, a Normalize")
        paths[name] = _inside(path)
    if "Transformer" not in paths or "Pooling" not in paths:
        raise unusable(_MODULES, "names no Transformer or no Pooling")
    return paths["Transformer"], paths["Pooling"]


def _inside(path: str) -> str:
    try:
        return file_path(path) if path else path
    except ValueError as error:
        raise unusable(_MODULES, f"path: {error}") from None


def _pools_first(folder: Path, path: str | None) -> bool:
    """Whether the first token's vector stands for the text, instead of the mean of all."""
    if path is None:
        return False
    file = f"{path}/config.json" if path else "config.json"
    pooling = required_model_file(folder, file)
    prefix = "pooling_mode_"
    modes = {name.removeprefix(prefix) for name in pooling.names() if name.startswith(prefix) and pooling.boolean(name)}
    mode = pooling.text("pooling_mode")
    modes |= {f"{mode}_token" if mode == "cls" else f"{mode}_tokens"} if mode else set()
    if modes not in ({"cls_token"}, {"mean_tokens"}):
        raise unusable(file, f"pools by {', '.join(sorted(modes)) or 'nothing'}; vcm knows mean_tokens and cls_token")
    return modes == {"cls_token"}


def _tokenizer(folder: Path, file: str, longest: int) -> Tokenizer:
    if not (folder / file).is_file():
        raise unusable(file, "missing", "add the file to the model's include in models.toml, then run vcm sync")
    try:
        tokenizer = Tokenizer.from_file(str(folder / file))
        tokenizer.no_padding()
        tokenizer.enable_truncation(longest)
    except Exception as error:  # noqa: BLE001  (the library raises Exception itself)
        raise unusable(file, f"not a tokenizer: {reason(error)}") from None
    return tokenizer
