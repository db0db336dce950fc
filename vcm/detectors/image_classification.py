"""The kind ``image-classification``: a classifier of the Hub, as ONNX, on sampled pictures.

Options: ``labels``, which of the model's labels are findings; ``threshold``, from which score on, 0.5 unless told;
``every``, seconds between two pictures, 1 unless told; ``file``, the ONNX file where the model has several.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from vcm.core.fields import Table
from vcm.core.findings import Match
from vcm.core.wording import listed
from vcm.detectors.base import FrameDetector
from vcm.detectors.labels import check_labels, model_labels
from vcm.detectors.model_files import model_folder, reason, required_model_file, unusable
from vcm.detectors.preprocessing import PREPROCESSOR_CONFIG, Preprocessing, read_preprocessing
from vcm.video.media import Frame

CONFIG = "config.json"
_USUAL = ("onnx/model.onnx", "model.onnx")
_MOST_SHOWN = 20
_TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16}
_SILENT = 4  # of ONNX Runtime's severities: only what ends the process


class ImageClassifier(FrameDetector):
    """Names what pictures show.

    Args:
        network: what turns prepared pixels into one number for each label.
        preprocessing: what is done to a picture before.
        labels: all that the model knows, in the order of its outputs.
        wanted: those that are findings.
        threshold: the least score of a finding.
        every: seconds between two pictures.
        exclusive: whether one label fits a picture (softmax), or any number of them (sigmoid).
    """

    def __init__(  # noqa: PLR0913  (all go by name)
        self,
        *,
        network: Network,
        preprocessing: Preprocessing,
        labels: tuple[str, ...],
        wanted: tuple[str, ...],
        threshold: float,
        every: float,
        exclusive: bool,
    ) -> None:
        self.every = every
        self._network = network
        self._preprocessing = preprocessing
        self._wanted = [(labels.index(label), label) for label in dict.fromkeys(wanted)]
        self._threshold = threshold
        self._exclusive = exclusive

    def look(self, frame: Frame) -> Iterator[Match]:
        logits = self._network.run(self._preprocessing.apply(frame.pixels))
        scores = _softmax(logits) if self._exclusive else _sigmoid(logits)
        for number, label in self._wanted:
            if scores[number] >= self._threshold:
                yield Match(label, float(scores[number]), frame.start, frame.end)


class Network:
    """An ONNX file, run on the processor; its code is ONNX Runtime's own, and no library that comes with it is loaded.

    Args:
        folder: the model's.
        file: the path of the ONNX file in it.
        outputs: how many numbers are expected of it.
        size: height and width of what it will be shown; None where they differ.

    Raises:
        ConfigError: it is no network that takes one picture and gives so many numbers.
    """

    def __init__(self, folder: Path, file: str, outputs: int, size: tuple[int, int] | None) -> None:
        self._file = file
        self._outputs = outputs
        settings = onnxruntime.SessionOptions()
        settings.log_severity_level = _SILENT
        # Threads that wait actively for the next picture would take the processor from reading it.
        settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = onnxruntime.InferenceSession(folder / file, settings, providers=["CPUExecutionProvider"])
        except Exception as error:  # noqa: BLE001  (ONNX Runtime's errors have no common parent)
            raise unusable(file, f"ONNX Runtime cannot load it: {_without(folder, reason(error))}") from None
        inputs = self._session.get_inputs()
        if len(inputs) != 1 or inputs[0].type not in _TYPES or not _takes(inputs[0].shape, size):
            found = listed(f"{each.name}: {each.type}{list(each.shape)}" for each in inputs)
            wanted = "x".join(map(str, size)) if size else "any size"
            raise unusable(file, f"expected a network for one picture of 3 channels and {wanted}, found {found}")
        self._input = inputs[0].name
        self._type = _TYPES[inputs[0].type]
        names = [each.name for each in self._session.get_outputs()]
        self._output = "logits" if "logits" in names else names[0]

    def run(self, pixels: NDArray[np.float32]) -> NDArray[np.float64]:
        """What the network gives for one picture (3 x height x width).

        Raises:
            ConfigError: it fails, or gives something else than a number for each label.
        """
        with np.errstate(over="ignore"):  # what half precision cannot hold shows in the answer
            inputs = pixels[None].astype(self._type)
        try:
            (found,) = self._session.run([self._output], {self._input: inputs})
        except Exception as error:  # noqa: BLE001  (as above)
            raise unusable(self._file, f"ONNX Runtime cannot run it: {reason(error)}") from None
        if not isinstance(found, np.ndarray) or found.shape != (1, self._outputs) or found.dtype.kind != "f":
            shape = list(found.shape) if isinstance(found, np.ndarray) else type(found).__name__
            raise unusable(
                self._file, f"expected one number for each of the {self._outputs} labels of {CONFIG}, found {shape}"
            )
        if not np.isfinite(found).all():
            raise unusable(self._file, "gives numbers that are infinite or none")
        return np.asarray(found[0], dtype=np.float64)


def make(folder: Path | None, options: Table) -> ImageClassifier:
    """The detector that the options describe, on the model in a folder.

    Raises:
        ConfigError: an option cannot be used, or the model is no image classifier with an ONNX file.
    """
    wanted = options.texts("labels") or ()
    threshold = options.number("threshold", least=0, most=1)
    every = options.number("every", least=0.01, most=3600)
    file = options.text("file")
    options.finish()
    folder = model_folder(folder, options)
    config = required_model_file(folder, CONFIG)
    labels = model_labels(config)
    check_labels(options, wanted, labels)
    preprocessing = read_preprocessing(required_model_file(folder, PREPROCESSOR_CONFIG))
    return ImageClassifier(
        network=Network(folder, _network_file(folder, file, options), len(labels), preprocessing.output_size),
        preprocessing=preprocessing,
        labels=labels,
        wanted=wanted,
        threshold=0.5 if threshold is None else threshold,
        every=every or 1.0,
        exclusive=config.text("problem_type") != "multi_label_classification",
    )


def _network_file(folder: Path, wanted: str | None, options: Table) -> str:
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.onnx"))
    choice = f"the model's: {', '.join(files[:_MOST_SHOWN])}"
    if not files:
        raise unusable("onnx/model.onnx", "the model has no ONNX file")
    if wanted is not None:
        if wanted not in files:
            raise options.error("file", f'the model has no ONNX file "{wanted}"', choice)
        return wanted
    usual = [file for file in _USUAL if file in files] or files
    if len(usual) > 1 and usual is files:
        raise options.error("file", "missing: the model has several ONNX files", choice)
    return usual[0]


def _takes(shape: list[object], size: tuple[int, int] | None) -> bool:
    """Whether an input of that shape (numbers, or names for what is open) takes one picture of the size."""
    wanted = (1, 3, *(size or (None, None)))
    return len(shape) == len(wanted) and all(
        not isinstance(found, int) or each is None or found == each for found, each in zip(shape, wanted, strict=True)
    )


def _without(folder: Path, text: str) -> str:
    return text.replace(f"{folder}/", "")


def _softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    powers = np.exp(logits - logits.max())
    return powers / powers.sum()  # type: ignore[no-any-return]


def _sigmoid(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    return 0.5 * (1 + np.tanh(logits / 2))
