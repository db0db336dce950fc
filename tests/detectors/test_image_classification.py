"""Classifiers of the Hub on pictures, with ONNX Runtime."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.detectors.conftest import COLOURS, options
from vcm.core.findings import Match
from vcm.detectors.image_classification import make
from vcm.errors import ConfigError
from vcm.video.media import Frame

onnx = pytest.importorskip("onnx")
helper = onnx.helper
FLOAT, HALF, DOUBLE = onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.DOUBLE
PLACE = "models.toml: pipeline.detectors.it.options"
OTHER_MODEL = "choose another model, or another kind of detector for this one"


@pytest.fixture
def model(trained: Path, tmp_path: Path) -> Path:
    """A copy of the trained classifier, to be changed."""
    return Path(shutil.copytree(trained, tmp_path / "model"))


def frame(colour: tuple[int, int, int], start: float = 4.0) -> Frame:
    """A picture of one colour."""
    pixels: NDArray[np.uint8] = np.full((90, 160, 3), colour, dtype=np.uint8)
    return Frame(start, start + 0.5, pixels)


def network(inputs: list[tuple[str, int, list[Any]]], outputs: int = 3, kind: int = FLOAT, **mean: Any) -> Any:
    """A network that gives the mean of each channel."""
    name = inputs[0][0]
    graph = helper.make_graph(
        [helper.make_node("ReduceMean", [name], ["out"], **{"axes": [2, 3], "keepdims": 0, **mean})],
        "means",
        [helper.make_tensor_value_info(*each) for each in inputs],
        [helper.make_tensor_value_info("out", kind, None)],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def put(model: Path, change: Any) -> None:
    onnx.save(change, model / "onnx" / "model.onnx")


def change(model: Path, path: str, **values: Any) -> None:
    content = json.loads((model / path).read_text())
    (model / path).write_text(json.dumps({**content, **values}))


def refusal(folder: Path | None, **given: Any) -> tuple[str, str]:
    def look() -> None:
        list(make(folder, options(**{"labels": ["violence"], **given})).look(frame(COLOURS["calm"])))

    with pytest.raises(ConfigError) as caught:
        look()
    return str(caught.value), caught.value.hint


def test_what_pictures_show(trained: Path) -> None:
    detector = make(trained, options(labels=["violence", "dark"], every=0.5))

    assert detector.every == 0.5
    assert list(detector.look(frame(COLOURS["calm"]))) == []
    (found,) = detector.look(frame(COLOURS["violence"]))
    assert (found.label, found.start, found.end) == ("violence", 4.0, 4.5)
    assert 0.9 < found.score <= 1
    assert [match.label for match in detector.look(frame(COLOURS["dark"], start=9))] == ["dark"]


def test_the_scores_of_all_labels_together_are_one(trained: Path) -> None:
    detector = make(trained, options(labels=list(COLOURS), threshold=0))

    found = list(detector.look(frame((120, 60, 110))))

    assert [match.label for match in found] == list(COLOURS)
    assert sum(match.score for match in found) == pytest.approx(1)
    assert detector.every == 1.0


def test_where_several_labels_fit_each_has_a_score_of_its_own(model: Path) -> None:
    put(model, network([("pixels", FLOAT, [1, 3, 32, 32])]))
    change(model, "config.json", problem_type="multi_label_classification")
    change(model, "preprocessor_config.json", do_normalize=False, do_rescale=False)

    found = list(make(model, options(labels=list(COLOURS), threshold=0)).look(frame((0, 2, 255))))

    assert [match.score for match in found] == pytest.approx([0.5, 1 / (1 + np.exp(-2)), 1])


def test_half_precision_and_any_size(model: Path) -> None:
    put(model, network([("pixels", HALF, ["batch", 3, "height", "width"])], kind=HALF))
    change(model, "preprocessor_config.json", image_processor_type="CLIPImageProcessor", size=32, do_center_crop=False)

    (found,) = make(model, options(labels=["dark"])).look(frame((0, 0, 200)))

    assert found == Match("dark", found.score, 4.0, 4.5)
    assert found.score == pytest.approx(0.92, abs=0.02)


def test_one_of_several_files(model: Path) -> None:
    (model / "onnx" / "model.onnx").rename(model / "onnx" / "model_quantized.onnx")
    shutil.copy(model / "onnx" / "model_quantized.onnx", model / "other.onnx")

    assert refusal(model) == (
        f"{PLACE}.file: missing: the model has several ONNX files",
        "the model's: onnx/model_quantized.onnx, other.onnx",
    )
    assert refusal(model, file="../model.onnx") == (
        f'{PLACE}.file: the model has no ONNX file "../model.onnx"',
        "the model's: onnx/model_quantized.onnx, other.onnx",
    )
    assert list(make(model, options(labels=["dark"], file="other.onnx")).look(frame(COLOURS["dark"])))
    (model / "other.onnx").unlink()
    assert list(make(model, options(labels=["dark"])).look(frame(COLOURS["dark"])))


OPTIONS = [
    ({"labels": None}, f"{PLACE}.labels: missing: which of the model's labels are findings"),
    ({"labels": ["Violence"]}, f'{PLACE}.labels: the model knows no label "Violence", did you mean "violence"?'),
    ({"labels": ["gore"]}, f'{PLACE}.labels: the model knows no label "gore"'),
]


@pytest.mark.parametrize(("given", "message"), OPTIONS)
def test_labels_that_the_model_does_not_know(trained: Path, given: dict[str, Any], message: str) -> None:
    assert refusal(trained, **given) == (message, "the model's labels: calm, violence, dark")


def test_not_all_of_a_thousand_labels_are_listed(model: Path) -> None:
    change(model, "config.json", id2label={str(number): f"n{number}" for number in range(1000)})

    message, hint = refusal(model)

    assert message == f'{PLACE}.labels: the model knows no label "violence"'
    assert hint.startswith("the model's labels: n0, n1, ")
    assert hint.endswith(", n19 and 980 more")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"threshold": 2}, f"{PLACE}.threshold: expected a number from 0 to 1, found 2"),
        ({"every": 0}, f"{PLACE}.every: expected a number from 0.01 to 3600, found 0"),
        ({"evry": 1}, f'{PLACE}.evry: unknown key, did you mean "every"?'),
    ],
)
def test_options_that_cannot_be_used(trained: Path, given: dict[str, Any], message: str) -> None:
    assert refusal(trained, **given)[0] == message


def test_a_model_is_needed() -> None:
    assert refusal(None)[0] == "models.toml: pipeline.detectors.it.model: missing: this kind of detector needs a model"


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ({}, "config.json: id2label: missing: the model names no labels"),
        ([], "config.json: id2label: expected a table, found an array"),
        ({"1": "a"}, "config.json: id2label: expected labels that are numbered from 0 on"),
        ({"0": 1}, "config.json: id2label: expected labels that are numbered from 0 on"),
        ({"0": "\x1b[2J"}, "config.json: id2label: expected labels that are numbered from 0 on"),
    ],
)
def test_labels_that_are_none(model: Path, labels: Any, message: str) -> None:
    change(model, "config.json", id2label=labels)

    assert refusal(model) == (message, OTHER_MODEL)


def _logarithm() -> Any:
    made = network([("a", FLOAT, ["n", 3, 32, 32])])
    made.graph.node[0].output[0] = "mean"
    made.graph.node.append(helper.make_node("Log", ["mean"], ["out"]))
    return made


NETWORKS: dict[str, tuple[Callable[[], Any], str]] = {
    "two inputs": (
        lambda: network([("a", FLOAT, [1, 3, 32, 32]), ("b", FLOAT, [1])]),
        (
            "expected a network for one picture of 3 channels and 32x32, found a: tensor(float)[1, 3, 32, 32] and "
            "b: tensor(float)[1]"
        ),
    ),
    "double precision": (
        lambda: network([("a", DOUBLE, [1, 3, 32, 32])], kind=DOUBLE),
        "expected a network for one picture of 3 channels and 32x32, found a: tensor(double)[1, 3, 32, 32]",
    ),
    "channels last": (
        lambda: network([("a", FLOAT, [1, 32, 32, 3])]),
        "expected a network for one picture of 3 channels and 32x32, found a: tensor(float)[1, 32, 32, 3]",
    ),
    "another size": (
        lambda: network([("a", FLOAT, ["n", 3, 64, 64])]),
        "expected a network for one picture of 3 channels and 32x32, found a: tensor(float)['n', 3, 64, 64]",
    ),
    "not a number for each label": (
        lambda: network([("a", FLOAT, ["n", 3, 32, 32])], axes=[1, 2]),
        "expected one number for each of the 3 labels of config.json, found [1, 32]",
    ),
    "no numbers": (
        _logarithm,
        "gives numbers that are infinite or none",
    ),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_of_another_shape(model: Path, name: str) -> None:
    made, message = NETWORKS[name]
    put(model, made())

    # The mean of calm's red is below zero, and has no logarithm.
    assert refusal(model) == (f"onnx/model.onnx: {message}", OTHER_MODEL)


@pytest.mark.parametrize("content", [b"", b"\xff" * 100, b"not protobuf"])
def test_what_is_no_network(model: Path, content: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    (model / "onnx" / "model.onnx").write_bytes(content)

    message, hint = refusal(model)

    assert message.startswith("onnx/model.onnx: ONNX Runtime cannot load it: ")
    assert str(model) not in message
    assert "\n" not in message
    assert hint == OTHER_MODEL
    assert capfd.readouterr() == ("", "")


def test_operators_that_only_a_library_of_its_own_has(model: Path) -> None:
    made = network([("a", FLOAT, [1, 3, 32, 32])])
    made.graph.node[0].domain = "com.example.evil"
    made.opset_import.append(helper.make_opsetid("com.example.evil", 1))
    put(model, made)

    assert refusal(model)[0].startswith("onnx/model.onnx: ONNX Runtime cannot load it: ")


def test_no_network_at_all(model: Path) -> None:
    shutil.rmtree(model / "onnx")

    assert refusal(model) == ("onnx/model.onnx: the model has no ONNX file", OTHER_MODEL)


def test_no_preprocessor(model: Path) -> None:
    (model / "preprocessor_config.json").unlink()

    assert refusal(model) == (
        "preprocessor_config.json: missing",
        "add the file to the model's include in models.toml, then run vcm sync",
    )


@pytest.mark.parametrize("where", ["inside", "above", "absolute", "linked"])
def test_weights_outside_the_model_are_not_read(model: Path, tmp_path: Path, where: str) -> None:
    network_with = onnx.load(model / "onnx" / "model.onnx")
    weights = network_with.graph.initializer[0]
    secret = tmp_path / "secret.bin"
    secret.write_bytes(weights.raw_data)
    shutil.copy(secret, model / "onnx" / "weights.bin")
    (model / "onnx" / "link.bin").symlink_to(secret)
    places = {"inside": "weights.bin", "above": "../../secret.bin", "absolute": str(secret), "linked": "link.bin"}
    weights.ClearField("raw_data")
    weights.data_location = onnx.TensorProto.EXTERNAL
    weights.external_data.add(key="location", value=places[where])
    (model / "onnx" / "model.onnx").write_bytes(network_with.SerializeToString())

    if where == "inside":
        assert list(make(model, options(labels=["dark"])).look(frame(COLOURS["dark"])))
    else:
        assert refusal(model)[0].startswith("onnx/model.onnx: ONNX Runtime cannot load it: ")
