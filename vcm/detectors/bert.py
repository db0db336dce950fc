"""BERT's encoder in numpy: enough for the small models that turn a sentence into a vector.

Source: Devlin et al. 2018, https://arxiv.org/abs/1810.04805, as transformers' ``BertModel`` writes its weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from vcm.core.fields import Table
from vcm.core.records import record
from vcm.detectors.model_files import reason, unusable

WEIGHTS = "model.safetensors"
_PREFIXES = ("", "bert.")
_TYPES = ("F32", "F16")

Array = NDArray[np.float32]


@record(frozen=True)
class Shape:
    """The measures of an encoder, as ``config.json`` names them."""

    hidden_size: int
    intermediate_size: int
    layers: int
    heads: int
    vocabulary: int
    positions: int
    token_types: int
    epsilon: float


def read_shape(config: Table) -> Shape:
    """The measures of the model whose ``config.json`` this is.

    Raises:
        ConfigError: it is no BERT, or one with parts that are not built here.
    """
    for key, expected in (("model_type", "bert"), ("hidden_act", "gelu"), ("position_embedding_type", "absolute")):
        found = config.text(key) or ("" if key == "model_type" else expected)
        if found != expected:
            raise config.error(key, f'expected "{expected}", the only one that vcm runs, found "{found}"')
    shape = Shape(
        hidden_size=_count(config, "hidden_size"),
        intermediate_size=_count(config, "intermediate_size"),
        layers=_count(config, "num_hidden_layers"),
        heads=_count(config, "num_attention_heads"),
        vocabulary=_count(config, "vocab_size"),
        positions=_count(config, "max_position_embeddings"),
        token_types=_count(config, "type_vocab_size"),
        epsilon=config.number("layer_norm_eps", least=0, most=1) or 1e-12,
    )
    if shape.hidden_size % shape.heads:
        raise config.error("num_attention_heads", f"{shape.hidden_size} numbers cannot be parted among {shape.heads}")
    return shape


class BertEncoder:
    """The encoder, on the weights of a model.

    Args:
        folder: the model's, with its ``model.safetensors``.
        shape: what the weights must fit.

    Raises:
        ConfigError: a weight is missing, or has another shape or type.
    """

    def __init__(self, folder: Path, shape: Shape) -> None:
        self.shape = shape
        self._weights = _read_weights(folder, shape)

    def encode(self, tokens: NDArray[np.int64]) -> Array:
        """One vector for each token: tokens x hidden size.

        Args:
            tokens: numbers below the vocabulary's size, at most as many as there are positions.
        """
        weights = self._weights
        hidden = (
            weights["embeddings.word_embeddings.weight"][tokens]
            + weights["embeddings.position_embeddings.weight"][: len(tokens)]
            + weights["embeddings.token_type_embeddings.weight"][0]
        )
        hidden = self._normalised(hidden, "embeddings.LayerNorm")
        for number in range(self.shape.layers):
            layer = f"encoder.layer.{number}"
            attended = self._linear(self._attention(hidden, layer), f"{layer}.attention.output.dense")
            hidden = self._normalised(hidden + attended, f"{layer}.attention.output.LayerNorm")
            inner = _gelu(self._linear(hidden, f"{layer}.intermediate.dense"))
            hidden = self._normalised(
                hidden + self._linear(inner, f"{layer}.output.dense"), f"{layer}.output.LayerNorm"
            )
        return hidden

    def _attention(self, hidden: Array, layer: str) -> Array:
        query, key, value = (
            self._linear(hidden, f"{layer}.attention.self.{part}")
            .reshape(len(hidden), self.shape.heads, -1)
            .transpose(1, 0, 2)
            for part in ("query", "key", "value")
        )
        scores = query @ key.transpose(0, 2, 1) / np.float32(np.sqrt(query.shape[-1]))
        shares = np.exp(scores - scores.max(axis=-1, keepdims=True))
        shares /= shares.sum(axis=-1, keepdims=True)
        mixed: Array = shares @ value
        return mixed.transpose(1, 0, 2).reshape(hidden.shape)

    def _linear(self, inputs: Array, name: str) -> Array:
        weight, bias = self._weights[f"{name}.weight"], self._weights[f"{name}.bias"]
        return np.asarray(inputs @ weight.T + bias)

    def _normalised(self, inputs: Array, name: str) -> Array:
        centred = inputs - inputs.mean(axis=-1, keepdims=True)
        deviation = np.sqrt((centred * centred).mean(axis=-1, keepdims=True) + np.float32(self.shape.epsilon))
        centred /= deviation
        return np.asarray(centred * self._weights[f"{name}.weight"] + self._weights[f"{name}.bias"])


def _gelu(inputs: Array) -> Array:
    """The input times the share of a normal distribution below it (Hendrycks, Gimpel: https://arxiv.org/abs/1606.08415).

    The error function is Abramowitz and Stegun's 7.1.26, off by 1.5e-7 at most.
    """
    scaled = np.abs(inputs) * np.float32(np.sqrt(0.5))
    t = 1 / (1 + np.float32(0.3275911) * scaled)
    series = np.zeros_like(t)
    for factor in (1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592):
        series = (series + np.float32(factor)) * t
    error_function = np.copysign(1 - series * np.exp(-scaled * scaled), inputs)
    return np.asarray(inputs * (1 + error_function) / 2)


def _count(config: Table, key: str) -> int:
    count = config.integer(key, least=1)
    if count is None:
        raise config.error(key, "missing")
    return count


def _read_weights(folder: Path, shape: Shape) -> Mapping[str, Array]:
    try:
        with safe_open(folder / WEIGHTS, framework="np") as file:
            names = set(file.keys())
            prefix = next((each for each in _PREFIXES if f"{each}embeddings.LayerNorm.weight" in names), "")
            weights: dict[str, Array] = {}
            for name, expected in _expected(shape):
                if prefix + name not in names:
                    raise unusable(WEIGHTS, f"has no weights {prefix}{name}, which config.json promises")
                part = file.get_slice(prefix + name)
                if tuple(part.get_shape()) != expected or part.get_dtype() not in _TYPES:
                    found = f"{part.get_dtype()} {list(part.get_shape())}"
                    raise unusable(WEIGHTS, f"{prefix}{name}: expected F32 or F16 {list(expected)}, found {found}")
                weights[name] = np.asarray(part[:], dtype=np.float32)
    except FileNotFoundError:
        raise unusable(
            WEIGHTS, "missing", "add the file to the model's include in models.toml, then run vcm sync"
        ) from None
    except (SafetensorError, OSError, ValueError) as error:
        raise unusable(WEIGHTS, f"cannot be read: {reason(error)}") from None
    return weights


def _expected(shape: Shape) -> Iterator[tuple[str, tuple[int, ...]]]:
    size, inner = shape.hidden_size, shape.intermediate_size
    yield "embeddings.word_embeddings.weight", (shape.vocabulary, size)
    yield "embeddings.position_embeddings.weight", (shape.positions, size)
    yield "embeddings.token_type_embeddings.weight", (shape.token_types, size)
    yield from _pair("embeddings.LayerNorm", (size,))
    for number in range(shape.layers):
        layer = f"encoder.layer.{number}"
        for part in ("self.query", "self.key", "self.value", "output.dense"):
            yield from _pair(f"{layer}.attention.{part}", (size, size))
        yield from _pair(f"{layer}.attention.output.LayerNorm", (size,))
        yield from _pair(f"{layer}.intermediate.dense", (inner, size))
        yield from _pair(f"{layer}.output.dense", (size, inner))
        yield from _pair(f"{layer}.output.LayerNorm", (size,))


def _pair(name: str, weight: tuple[int, ...]) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield f"{name}.weight", weight
    yield f"{name}.bias", weight[:1]
