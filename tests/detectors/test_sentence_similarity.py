"""Sentences get the vectors that sentence-transformers gives them, without torch."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from tests.detectors.conftest import options
from vcm.core.findings import Match
from vcm.core.subtitles import Cue
from vcm.detectors.bert import _expected, read_shape
from vcm.detectors.model_files import read_model_file
from vcm.detectors.sentence_similarity import SentenceModel, make
from vcm.errors import ConfigError

SENTENCES = ["I will kill you.", "What a beautiful day!", "", "Ünïcödé 你好 🎬", "word " * 600]
# The first six numbers of each, from sentence-transformers 6.2.0 on torch 2.15.0.
RECORDED = [
    [-0.02048318, 0.01044557, -0.01165803, -0.03291077, -0.02695747, -0.05896715],
    [-0.04591120, 0.10843111, 0.08345246, -0.01964622, -0.04388404, -0.01250803],
    [-0.11884240, 0.04829866, -0.00254807, -0.01101118, 0.05195080, 0.01029181],
    [-0.00629369, 0.02378240, 0.00500742, 0.05661793, -0.01086976, -0.04350904],
]
CONFIG = {
    "model_type": "bert",
    "hidden_size": 8,
    "intermediate_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "vocab_size": 9,
    "max_position_embeddings": 10,
    "type_vocab_size": 2,
}
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "kill", "you", "day", "nice", "##s"]
MODULES = [
    {"idx": 0, "name": "0", "type": "sentence_transformers.models.Transformer", "path": ""},
    {"idx": 1, "name": "1", "type": "sentence_transformers.models.Pooling", "path": "1_Pooling"},
]
OTHER_MODEL = "choose another model, or another kind of detector for this one"
INCLUDE = "add the file to the model's include in models.toml, then run vcm sync"


def write(folder: Path, path: str, value: object) -> None:
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    (folder / path).write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A BERT of two layers with a vocabulary of nine, of random weights."""
    folder = tmp_path / "tiny"
    write(folder, "config.json", CONFIG)
    write(folder, "modules.json", MODULES)
    write(folder, "1_Pooling/config.json", {"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False})
    config = read_model_file(folder, "config.json")
    assert config
    random = np.random.default_rng(1)
    weights = {name: random.normal(0, 0.5, shape).astype(np.float32) for name, shape in _expected(read_shape(config))}
    save_file(weights, folder / "model.safetensors")
    tokenizer = Tokenizer(models.WordPiece({word: number for number, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def test_the_genuine_model_gives_the_recorded_numbers(genuine: Path) -> None:
    model = SentenceModel(genuine)

    for sentence, expected in zip(SENTENCES, RECORDED, strict=False):
        vector = model.embed(sentence)
        np.testing.assert_allclose(vector[:6], expected, atol=1e-5)
        assert np.linalg.norm(vector) == pytest.approx(1)


def test_the_genuine_model_on_torch(genuine: Path) -> None:
    # What it brings along warns as it is imported, and is none of the project's.
    library = pytest.importorskip("sentence_transformers", exc_type=ImportError)
    model = SentenceModel(genuine)

    expected = library.SentenceTransformer(str(genuine), device="cpu").encode(SENTENCES)

    np.testing.assert_allclose(np.stack([model.embed(each) for each in SENTENCES]), expected, atol=1e-4)


@pytest.mark.parametrize("pooling", ["mean", "cls"])
@pytest.mark.parametrize("prefix", ["", "bert."])
def test_a_small_one_on_torch(tiny: Path, pooling: str, prefix: str) -> None:
    library = pytest.importorskip("sentence_transformers", exc_type=ImportError)
    write(tiny, "sentence_bert_config.json", {"max_seq_length": 5, "do_lower_case": False})
    write(tiny, "1_Pooling/config.json", {"embedding_dimension": 8, "pooling_mode": pooling, "include_prompt": True})
    weights = load_file(tiny / "model.safetensors")
    save_file({prefix + name: value for name, value in weights.items()}, tiny / "model.safetensors", {"format": "pt"})
    texts = ["kill you", "nice days you kill you nice day", "unknown"]

    vectors = np.stack([SentenceModel(tiny).embed(text) for text in texts])

    expected = library.SentenceTransformer(str(tiny), device="cpu").encode(texts, normalize_embeddings=True)
    np.testing.assert_allclose(vectors, expected, atol=1e-5)


def test_lines_that_mean_nearly_the_same(genuine: Path) -> None:
    detector = make(genuine, options(phrases=["I will kill you", "go to hell"], threshold=0.5))

    (found,) = detector.read(Cue(3.0, 5.0, "I'm going to murder you!"))
    assert (found.label, found.start, found.end) == ("I will kill you", 3.0, 5.0)
    assert 0.5 <= found.score < 0.9
    assert list(detector.read(Cue(3.0, 5.0, "What a beautiful day!"))) == []
    (found,) = detector.read(Cue(1.0, 2.0, "go to hell"))
    assert found == Match("go to hell", found.score, 1.0, 2.0)
    assert found.score == pytest.approx(1)


def test_a_label_for_all_phrases_and_without_modules_the_mean(tiny: Path) -> None:
    (tiny / "modules.json").unlink()
    detector = make(tiny, options(phrases=["kill you", "kills"], threshold=0.99, label="threat"))

    assert list(detector.read(Cue(1, 2, "Kill… you!"))) != []
    assert [match.label for match in detector.read(Cue(1, 2, "kill you"))] == ["threat"]


def test_the_encoder_in_a_folder_of_its_own(tiny: Path) -> None:
    expected = SentenceModel(tiny).embed("kill you")
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        (tiny / "0_Transformer").mkdir(exist_ok=True)
        shutil.move(tiny / name, tiny / "0_Transformer" / name)
    write(tiny, "modules.json", [{"type": "x.Transformer", "path": "0_Transformer"}, MODULES[1]])

    np.testing.assert_array_equal(SentenceModel(tiny).embed("kill you"), expected)


def config(**changes: Any) -> Callable[[Path], None]:
    return lambda folder: write(folder, "config.json", {**CONFIG, **changes})


def file(path: str, value: object) -> Callable[[Path], None]:
    return lambda folder: write(folder, path, value)


def without(path: str) -> Callable[[Path], None]:
    return lambda folder: (folder / path).unlink()


def weights(name: str, value: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        found = load_file(folder / "model.safetensors")
        if value is None:
            del found[name]
        else:
            found[name] = value
        save_file(found, folder / "model.safetensors")

    return change


BIAS = "encoder.layer.1.output.dense.bias"
WRONG = {
    "no configuration": (without("config.json"), "config.json: missing", INCLUDE),
    "another architecture": (
        config(model_type="mpnet"),
        'config.json: model_type: expected "bert", the only one that vcm runs, found "mpnet"',
        OTHER_MODEL,
    ),
    "another activation": (
        config(hidden_act="relu"),
        'config.json: hidden_act: expected "gelu", the only one that vcm runs, found "relu"',
        OTHER_MODEL,
    ),
    "heads that do not fit": (
        config(num_attention_heads=3),
        "config.json: num_attention_heads: 8 numbers cannot be parted among 3",
        OTHER_MODEL,
    ),
    "a billion layers": (
        config(num_hidden_layers=10**9),
        "model.safetensors: has no weights encoder.layer.2.attention.self.query.weight, which config.json promises",
        OTHER_MODEL,
    ),
    "no layers": (
        config(num_hidden_layers=0),
        "config.json: num_hidden_layers: expected a whole number of at least 1, found 0",
        OTHER_MODEL,
    ),
    "a size that is none": (
        config(hidden_size="8"),
        'config.json: hidden_size: expected a whole number, found "8"',
        OTHER_MODEL,
    ),
    "configuration nested deeply": (
        file("config.json", "[" * 100_000),
        "config.json: not JSON, or nested too deeply",
        OTHER_MODEL,
    ),
    "configuration is a list": (file("config.json", []), "config.json: not a JSON object", OTHER_MODEL),
    "weights of another shape": (
        weights(BIAS, np.zeros(7, np.float32)),
        f"model.safetensors: {BIAS}: expected F32 or F16 [8], found F32 [7]",
        OTHER_MODEL,
    ),
    "weights of another type": (
        weights(BIAS, np.zeros(8, np.int64)),
        f"model.safetensors: {BIAS}: expected F32 or F16 [8], found I64 [8]",
        OTHER_MODEL,
    ),
    "weights missing": (
        weights(BIAS, None),
        f"model.safetensors: has no weights {BIAS}, which config.json promises",
        OTHER_MODEL,
    ),
    "weights that are no numbers": (
        weights(BIAS, np.full(8, np.nan, np.float32)),
        "model.safetensors: gives numbers that are infinite or none",
        OTHER_MODEL,
    ),
    "no weights": (without("model.safetensors"), "model.safetensors: missing", INCLUDE),
    "no tokenizer": (without("tokenizer.json"), "tokenizer.json: missing", INCLUDE),
    "fewer words than the tokenizer has": (
        lambda folder: (
            config(vocab_size=5)(folder),
            weights("embeddings.word_embeddings.weight", np.zeros((5, 8), np.float32))(folder),
        ),
        "tokenizer.json: makes tokens that the model does not know, none, or too many",
        OTHER_MODEL,
    ),
    "another module": (
        file("modules.json", [*MODULES, {"type": "sentence_transformers.models.Dense", "path": "2_Dense"}]),
        "modules.json: the module Dense is none that vcm runs: a Transformer, a Pooling, a Normalize",
        OTHER_MODEL,
    ),
    "modules of another shape": (
        file("modules.json", {"a": 1}),
        "modules.json: expected a list of modules, each with a type and a path",
        OTHER_MODEL,
    ),
    "a module outside": (
        file("modules.json", [{"type": "x.Transformer", "path": "../elsewhere"}, MODULES[1]]),
        "modules.json: path: the path has an empty part, '.' or '..'",
        OTHER_MODEL,
    ),
    "no pooling": (
        file("modules.json", MODULES[:1]),
        "modules.json: names no Transformer or no Pooling",
        OTHER_MODEL,
    ),
    "another pooling": (
        file("1_Pooling/config.json", {"pooling_mode_max_tokens": True, "pooling_mode_mean_tokens": True}),
        "1_Pooling/config.json: pools by max_tokens, mean_tokens; vcm knows mean_tokens and cls_token",
        OTHER_MODEL,
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_model_that_cannot_be_run(tiny: Path, name: str) -> None:
    change, message, hint = WRONG[name]
    change(tiny)

    with pytest.raises(ConfigError) as caught:
        make(tiny, options(phrases=["kill you"]))

    assert (str(caught.value), caught.value.hint) == (message, hint)


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("model.safetensors", b""),
        ("model.safetensors", b"\xff" * 100),
        ("model.safetensors", b"\x02\0\0\0\0\0\0\0{}"),
        ("tokenizer.json", b"{}"),
        ("tokenizer.json", b"[" * 100_000),
        ("tokenizer.json", b'{"model": {"type": "WordPiece", "vocab": {}}}'),
    ],
)
def test_damaged_files(tiny: Path, path: str, content: bytes) -> None:
    (tiny / path).write_bytes(content)

    with pytest.raises(ConfigError) as caught:
        make(tiny, options(phrases=["kill you"]))

    assert caught.value.file == path


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "models.toml: pipeline.detectors.it.options.phrases: missing: what to compare with"),
        (
            {"phrases": [" "]},
            "models.toml: pipeline.detectors.it.options.phrases[0]: expected a string that is not empty",
        ),
        (
            {"phrases": ["a"], "treshold": 1},
            'models.toml: pipeline.detectors.it.options.treshold: unknown key, did you mean "threshold"?',
        ),
    ],
)
def test_options_that_cannot_be_used(tiny: Path, given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make(tiny, options(**given))

    assert str(caught.value) == message


def test_a_model_is_needed() -> None:
    with pytest.raises(ConfigError) as caught:
        make(None, options(phrases=["a"]))

    assert str(caught.value) == "models.toml: pipeline.detectors.it.model: missing: this kind of detector needs a model"
    assert caught.value.hint == 'name one of the manifest: model = "…"'
