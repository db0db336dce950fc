"""A small image classifier, really trained: which of a few colours a picture mostly has.

It is published as classifiers on the Hub are: ``config.json`` with the labels, ``preprocessor_config.json`` with what
is done to a picture, ``onnx/model.onnx`` with the network.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

SIZE = 32
_MEAN, _STD = 0.5, 0.25
_EXAMPLES, _STEPS, _RATE = 64, 400, 0.5
_OPSET = 17


def train_scene_classifier(folder: Path, colours: Mapping[str, tuple[int, int, int]]) -> None:
    """Train a classifier on noisy pictures of each colour, and write it as a model of the Hub.

    Args:
        folder: where the model's files are written; made if need be.
        colours: by label; red, green and blue from 0 to 255.
    """
    weights, bias = _softmax_regression(*_pictures(colours))
    config = {
        "architectures": ["SceneForImageClassification"],
        "id2label": {str(number): label for number, label in enumerate(colours)},
        "label2id": {label: number for number, label in enumerate(colours)},
    }
    preprocessing = {
        "image_processor_type": "ViTImageProcessor",
        "do_resize": True,
        "size": {"height": SIZE, "width": SIZE},
        "resample": 2,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": [_MEAN] * 3,
        "image_std": [_STD] * 3,
    }
    (folder / "onnx").mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")
    (folder / "preprocessor_config.json").write_text(json.dumps(preprocessing, indent=2), encoding="utf-8")
    onnx.save(_network(weights, bias), folder / "onnx" / "model.onnx")


def _pictures(colours: Mapping[str, tuple[int, int, int]]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The mean colours of pictures, prepared as the classifier will see them, and the number of each one's label."""
    noise = np.random.default_rng(20).normal(0, 25, (len(colours), _EXAMPLES, SIZE, SIZE, 3))
    tints = np.random.default_rng(21).normal(0, 12, (len(colours), _EXAMPLES, 1, 1, 3))
    colour = np.array(list(colours.values()), dtype=np.float64)[:, None, None, None, :]
    pixels = np.clip(colour + tints + noise, 0, 255) / 255
    means = ((pixels - _MEAN) / _STD).mean(axis=(2, 3)).reshape(-1, 3)
    return means.astype(np.float32), np.repeat(np.arange(len(colours)), _EXAMPLES)


def _softmax_regression(
    inputs: NDArray[np.float32], answers: NDArray[np.int64]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Gradient descent on the cross-entropy; the weights (inputs x labels) and the bias."""
    wanted = np.eye(answers.max() + 1, dtype=np.float32)[answers]
    weights = np.zeros((inputs.shape[1], wanted.shape[1]), dtype=np.float32)
    bias = np.zeros(wanted.shape[1], dtype=np.float32)
    for _ in range(_STEPS):
        logits = inputs @ weights + bias
        scores = np.exp(logits - logits.max(axis=1, keepdims=True))
        error = (scores / scores.sum(axis=1, keepdims=True) - wanted) / len(inputs)
        weights -= _RATE * inputs.T @ error
        bias -= _RATE * error.sum(axis=0)
    right = (inputs @ weights + bias).argmax(axis=1) == answers
    assert right.mean() > 0.95, "the colours are too near to each other"
    return weights, bias


def _network(weights: NDArray[np.float32], bias: NDArray[np.float32]) -> onnx.ModelProto:
    """The mean over the picture, then the regression."""
    graph = helper.make_graph(
        [
            helper.make_node("ReduceMean", ["pixel_values"], ["means"], axes=[2, 3], keepdims=0),
            helper.make_node("Gemm", ["means", "weights", "bias"], ["logits"]),
        ],
        "scenes",
        [helper.make_tensor_value_info("pixel_values", TensorProto.FLOAT, ["batch", 3, SIZE, SIZE])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", len(bias)])],
        [numpy_helper.from_array(weights, "weights"), numpy_helper.from_array(bias, "bias")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=8)
    onnx.checker.check_model(model)
    return model
