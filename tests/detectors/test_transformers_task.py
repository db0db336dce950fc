"""The kind transformers: on tiny models of the real architectures where torch is, and what is told where it is not."""

from __future__ import annotations

import importlib.util
import json
import pickle
import shutil
import sys
import warnings
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tests.detectors.conftest import options
from tests.detectors.tiny_models import WHISPER_SECONDS, save_tiny_models
from vcm.core.findings import Match
from vcm.core.subtitles import Cue
from vcm.core.word_list import words_of
from vcm.detectors import image_classification
from vcm.detectors.transformers_loading import Runner
from vcm.detectors.transformers_task import SpeechTask, make
from vcm.errors import ConfigError
from vcm.testing import HubSimulator
from vcm.video.media import SOUND_RATE, Frame, Sound

PLACE = "models.toml: pipeline.detectors.it.options"
OTHER_MODEL = "choose another model, or another kind of detector for this one"
PIXELS: NDArray[np.uint8] = np.random.default_rng(0).integers(0, 255, (90, 160, 3), dtype=np.uint8)
NOISE = np.random.default_rng(0).normal(0, 0.1, 3 * SOUND_RATE).astype(np.float32)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with a folder for each model."""
    pytest.importorskip("torch")
    root = tmp_path_factory.mktemp("tiny")
    save_tiny_models(root)
    return root


@pytest.fixture
def bert(tiny: Path, tmp_path: Path) -> Path:
    """A copy of one, to be changed."""
    return Path(shutil.copytree(tiny / "bert", tmp_path / "bert"))


def refusal(folder: Path | None, **given: Any) -> tuple[str, str]:
    with pytest.raises(ConfigError) as caught:
        make(folder, options(**given))
    return str(caught.value), caught.value.hint


def scores(matches: Any) -> dict[str, float]:
    return {match.label: match.score for match in matches}


@pytest.fixture(autouse=True)
def _silent(capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    """Neither what transformers says nor its bars reach a terminal."""
    yield
    assert capfd.readouterr() == ("", "")


def test_pictures(tiny: Path) -> None:
    detector: Any = make(
        tiny / "vit", options(task="image-classification", labels=["nsfw", "safe"], threshold=0, every=2)
    )

    found = list(detector.look(Frame(3.0, 5.0, PIXELS)))

    assert detector.every == 2.0
    assert [(match.label, match.start, match.end) for match in found] == [("nsfw", 3.0, 5.0), ("safe", 3.0, 5.0)]
    assert sum(scores(found).values()) == pytest.approx(1)
    expected = detector.run.pipeline(_picture())
    assert scores(found) == pytest.approx({answer["label"]: answer["score"] for answer in expected})


def _picture() -> Any:
    from PIL import Image

    return Image.fromarray(PIXELS)


def test_the_same_model_as_onnx_says_the_same(tiny: Path, tmp_path: Path) -> None:
    import torch

    folder = Path(shutil.copytree(tiny / "vit", tmp_path / "vit"))
    given = {"labels": ["nsfw", "safe"], "threshold": 0}
    detector: Any = make(folder, options(task="image-classification", **given))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            detector.run.pipeline.model,
            (torch.zeros(1, 3, 32, 32),),
            str(folder / "model.onnx"),
            input_names=["pixel_values"],
            output_names=["logits"],
            dynamo=False,
        )
    frame = Frame(0.0, 1.0, PIXELS)

    found = scores(image_classification.make(folder, options(**given)).look(frame))

    assert found == pytest.approx(scores(detector.look(frame)), abs=1e-5)


def test_there_is_no_such_device(bert: Path) -> None:
    import torch

    if torch.cuda.device_count() > 7:
        pytest.skip("this machine has that many")
    message, hint = refusal(bert, task="text-classification", labels=["entailment"], device="cuda:7")
    assert message.startswith('torch cannot use the device "cuda:7": ')
    assert hint == 'leave the option device out, which is device = "cpu", or install the torch that suits this machine'


def test_pictures_and_prompts(tiny: Path) -> None:
    prompts = {"gore": ["kill you", "kill"], "calm": ["you"]}
    detector: Any = make(tiny / "clip", options(task="zero-shot-image-classification", prompts=prompts, threshold=0))

    found = scores(detector.look(Frame(0.0, 1.0, PIXELS)))

    single = {
        answer["label"]: answer["score"]
        for answer in detector.run(_picture(), candidate_labels=["kill you", "kill", "you"], hypothesis_template="{}")
    }
    # A category has what its texts have together.
    assert found == pytest.approx({"gore": single["kill you"] + single["kill"], "calm": single["you"]})
    listed: Any = make(
        tiny / "clip",
        options(task="zero-shot-image-classification", prompts=["kill", "you"], labels=["you"], threshold=0),
    )
    assert list(scores(listed.look(Frame(0.0, 1.0, PIXELS)))) == ["you"]


def test_prompts_are_read_once_and_not_for_every_picture(tiny: Path) -> None:
    given = {"task": "zero-shot-image-classification", "prompts": ["kill", "you"], "threshold": 0}
    detector: Any = make(tiny / "clip", options(**given))
    plain = Runner(tiny / "clip", "zero-shot-image-classification", "cpu")
    read: list[int] = []
    detector.run.pipeline.model.text_model.encoder.register_forward_hook(lambda *_: read.append(1))
    for pixels in (PIXELS, PIXELS[::-1, :40].copy()):
        expected = plain(Image.fromarray(pixels), candidate_labels=["kill", "you"], hypothesis_template="{}")
        found = scores(detector.look(Frame(0.0, 1.0, pixels)))
        assert found == pytest.approx({each["label"]: each["score"] for each in expected}, abs=1e-6)
    assert read == [1]


def test_questions_about_pictures(tiny: Path, tmp_path: Path) -> None:
    given = {"task": "image-text-to-text", "prompt": "kill you", "words": ["kill", "you"]}
    detector: Any = make(tiny / "llava", options(**given))
    asked = [
        {"role": "user", "content": [{"type": "image", "image": _picture()}, {"type": "text", "text": "kill you"}]}
    ]
    # Random weights give random answers, but always the same.
    (answer,) = detector.run(
        text=asked, return_full_text=False, generate_kwargs={"do_sample": False, "max_new_tokens": 64}
    )
    said = dict.fromkeys(words_of(answer["generated_text"]))
    assert said

    found = list(detector.look(Frame(2.0, 3.0, PIXELS)))

    assert found == [Match(word, 1.0, 2.0, 3.0) for word in said]
    folder = Path(shutil.copytree(tiny / "llava", tmp_path / "llava"))
    (folder / "chat_template.jinja").unlink()
    assert refusal(folder, **given) == (
        "chat_template.jinja: the model does not say how it is to be asked",
        OTHER_MODEL,
    )


def test_sounds(tiny: Path) -> None:
    detector: Any = make(tiny / "ast", options(task="audio-classification", labels=["gunshot"], threshold=0, seconds=3))

    (found,) = detector.listen(Sound(6.0, 9.0, NOISE))

    assert detector.seconds == 3.0
    assert (found.label, found.start, found.end) == ("gunshot", 6.0, 9.0)
    # The end of a video leaves next to nothing.
    assert len(list(detector.listen(Sound(9.0, 9.001, NOISE[:16])))) == 1


def test_lines_of_text(tiny: Path) -> None:
    detector: Any = make(tiny / "bert", options(task="text-classification", labels=["entailment"], threshold=0))

    assert [match.label for match in detector.read(Cue(1.0, 2.0, "kill you " * 50))] == ["entailment"]
    assert len(list(detector.read(Cue(1.0, 2.0, "")))) == 1


def test_lines_of_text_and_topics(tiny: Path) -> None:
    detector: Any = make(
        tiny / "bert", options(task="zero-shot-classification", prompts={"threat": ["kill", "you"]}, threshold=0)
    )

    (found,) = detector.read(Cue(1.0, 2.0, "kill you"))

    single = detector.run("kill you", candidate_labels=["kill", "you"], multi_label=True)["scores"]
    assert (found.label, found.score) == ("threat", pytest.approx(max(single)))
    assert list(detector.read(Cue(1.0, 2.0, " "))) == []


@pytest.mark.parametrize("model", ["whisper", "wav2vec2"])
def test_speech(tiny: Path, model: str) -> None:
    given = {"task": "automatic-speech-recognition", "label": "word", "seconds": WHISPER_SECONDS}
    recogniser = Runner(tiny / model, "automatic-speech-recognition", "cpu")
    answer = recogniser({"raw": NOISE, "sampling_rate": SOUND_RATE}, return_timestamps="word")
    # Random weights say random letters, but always the same.
    words = words_of(" ".join(chunk["text"] for chunk in answer["chunks"]))
    assert words
    detector: Any = make(tiny / model, options(**given, words=words))

    found = list(detector.listen(Sound(10.0, 13.0, NOISE)))

    assert found
    assert {match.label for match in found} == {"word"}
    assert all(10.0 <= match.start < match.end <= 13.0 for match in found)
    assert detector._timestamps == "word"


def test_nothing_is_asked_of_a_hub(
    tiny: Path, hub: HubSimulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants, hf_hub_download

    hub.add_repo("acme/base", {"config.json": b"{}"})
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)

    class Curious(SimpleNamespace):
        """A pipeline that wants a file of the hub."""

        def __call__(self, repo: str) -> str:
            return hf_hub_download(repo, "config.json", endpoint=hub.endpoint, cache_dir=tmp_path / "hub")

    runner = Runner(tiny / "bert", "text-classification", "cpu")
    runner.pipeline = Curious()

    with pytest.raises(ConfigError) as caught:
        runner("acme/base")
    assert hub.requests == []
    assert str(caught.value).startswith("transformers: the model fails: LocalEntryNotFoundError: ")
    # What the program itself does with the hub goes on as before.
    assert Path(Curious()("acme/base")).read_bytes() == b"{}"


class _Opens:
    """A pickle that makes a file when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (str(self.path), "w")


def test_a_pickle_is_read_for_its_numbers(bert: Path) -> None:
    import torch
    from safetensors.torch import load_file

    torch.save(load_file(bert / "model.safetensors"), bert / "pytorch_model.bin")
    (bert / "model.safetensors").unlink()

    detector: Any = make(bert, options(task="text-classification", labels=["entailment"], threshold=0))

    assert len(list(detector.read(Cue(1.0, 2.0, "kill")))) == 1


@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_pickle_is_not_run(bert: Path, tmp_path: Path, zipped: bool) -> None:
    import torch

    proof = tmp_path / "proof"
    if zipped:
        torch.save({"weight": _Opens(proof)}, bert / "pytorch_model.bin")
    else:
        (bert / "pytorch_model.bin").write_bytes(pickle.dumps(_Opens(proof)))
    (bert / "model.safetensors").unlink()

    message, hint = refusal(bert, task="text-classification", labels=["entailment"])

    assert message.startswith("transformers: the model cannot be loaded: ")
    assert hint == OTHER_MODEL
    assert not proof.exists()


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("config.json", "{}"),
        ("config.json", '{"model_type": "bert", "hidden_size": "many"}'),
        ("config.json", '{"model_type": "unheard-of"}'),
        ("tokenizer.json", "{}"),
        ("model.safetensors", ""),
    ],
)
def test_a_model_that_cannot_be_loaded(bert: Path, path: str, content: str) -> None:
    (bert / path).write_text(content)

    message, hint = refusal(bert, task="text-classification", labels=["entailment"])

    assert message.startswith("transformers: the model cannot be loaded: ")
    assert "\n" not in message
    assert hint == OTHER_MODEL


def test_a_model_for_another_task(tiny: Path) -> None:
    assert refusal(tiny / "bert", task="audio-classification", labels=["x"])[0].startswith(
        "transformers: the model cannot be loaded: "
    )


def test_labels_that_the_model_does_not_know(tiny: Path) -> None:
    assert refusal(tiny / "vit", task="image-classification", labels=["porn"]) == (
        f'{PLACE}.labels: the model knows no label "porn"',
        "the model's labels: safe, nsfw",
    )
    assert refusal(tiny / "vit", task="image-classification")[0] == (
        f"{PLACE}.labels: missing: which of the model's labels are findings"
    )


class _Recogniser:
    """Hears tones of half a second as words, by their level; of what is shorter only a mumble."""

    pipeline = SimpleNamespace(type="ctc")
    said = ("", "hello", "damn", "you")

    def __call__(self, sound: dict[str, Any], return_timestamps: str) -> dict[str, Any]:
        assert return_timestamps == "word"
        levels = np.round(sound["raw"] * 10).astype(int)
        edges = [0, *(np.flatnonzero(np.diff(levels)) + 1), len(levels)]
        chunks: list[dict[str, Any]] = [
            {
                "text": self.said[levels[first]] if last - first >= SOUND_RATE // 2 else "mumble",
                "timestamp": (first / SOUND_RATE, last / SOUND_RATE),
            }
            for first, last in pairwise(edges)
            if levels[first]
        ]
        return {"text": " ".join(chunk["text"] for chunk in chunks), "chunks": chunks}


def _speech(length: float, *words: tuple[float, int]) -> NDArray[np.float32]:
    samples = np.zeros(int(length * SOUND_RATE), dtype=np.float32)
    for start, word in words:
        samples[int(start * SOUND_RATE) :][: SOUND_RATE // 2] = word / 10
    return samples


def _listen(detector: SpeechTask, samples: NDArray[np.float32]) -> list[Match]:
    step = int(detector.seconds * SOUND_RATE)
    return [
        match
        for first in range(0, len(samples), step)
        for match in detector.listen(
            Sound(first / SOUND_RATE, min(first + step, len(samples)) / SOUND_RATE, samples[first : first + step])
        )
    ]


def _speech_task(**given: Any) -> SpeechTask:
    detector = SpeechTask(options(seconds=4, **given))
    detector.start(_Recogniser(), options())  # type: ignore[arg-type]
    return detector


@pytest.mark.parametrize("start", [0.0, 1.0, 3.0, 3.4, 3.75, 3.9, 4.0, 7.6, 9.5])
def test_a_word_is_heard_once_wherever_it_is_cut(start: float) -> None:
    found = _listen(_speech_task(words=["damn"]), _speech(10, (start, 2)))

    assert found == [Match("damn", 1.0, pytest.approx(start), pytest.approx(start + 0.5))]  # type: ignore[arg-type]


def test_words_that_belong_together_and_their_time() -> None:
    speech = _speech(10, (1, 1), (3.3, 2), (3.9, 3), (6, 2), (8, 2), (8.6, 3))

    found = _listen(_speech_task(words=["damn you", "damn"], label="profanity"), speech)

    times = [(round(match.start, 2), round(match.end, 2)) for match in found]
    assert times == [(3.3, 3.8), (3.3, 4.4), (6.0, 6.5), (8.0, 8.5), (8.0, 9.1)]


def test_another_video_begins_anew() -> None:
    detector = _speech_task(words=["damn"])

    assert len(_listen(detector, _speech(4, (3, 2)))) == 1
    assert len(_listen(detector, _speech(4, (3, 2)))) == 1


TASK = "audio-classification, automatic-speech-recognition, image-classification, image-text-to-text, "
TASK += "text-classification, zero-shot-classification, zero-shot-image-classification"
NO_TASK = 'no task for a detector, did you mean "image-classification"?'
OPTIONS: list[tuple[dict[str, Any], str]] = [
    ({}, f'{PLACE[:-8]}.options: the key "task" is missing'),
    (
        {"task": "image-clasification"},
        f'{PLACE}.task: found "image-clasification": {NO_TASK}; there are {TASK}',
    ),
    (
        {"task": "image-classification", "device": "gpu"},
        f'{PLACE}.device: found "gpu": a device is cpu, cuda, cuda:0, mps or xpu',
    ),
    (
        {"task": "image-classification", "labels": ["a"], "words": ["b"]},
        f"{PLACE}.words: unknown key",
    ),
    ({"task": "audio-classification", "seconds": 0}, f"{PLACE}.seconds: expected a number from 1 to 60, found 0"),
    (
        {"task": "automatic-speech-recognition", "words": ["a"], "seconds": 30},
        f"{PLACE}.seconds: expected a number from 1 to 28, found 30",
    ),
    (
        {"task": "image-text-to-text", "words": ["yes"]},
        f'{PLACE}: the key "prompt" is missing',
    ),
    ({"task": "automatic-speech-recognition"}, f"{PLACE}.words: missing: the words to look for"),
    ({"task": "zero-shot-classification"}, f"{PLACE}.prompts: missing: what to look for"),
    (
        {"task": "zero-shot-classification", "prompts": {"a": "b"}},
        f"{PLACE}.prompts: found a table: expected a list of texts for each category",
    ),
    (
        {"task": "zero-shot-classification", "prompts": "a"},
        f'{PLACE}.prompts: found "a": expected texts by category, or a list of different texts',
    ),
    (
        {"task": "zero-shot-classification", "prompts": ["a", "a"]},
        f"{PLACE}.prompts: found an array: expected texts by category, or a list of different texts",
    ),
    (
        {"task": "zero-shot-classification", "prompts": ["gore", "calm"], "labels": ["gor"]},
        f'{PLACE}.labels: prompts have no category "gor", did you mean "gore"?',
    ),
    (
        {"task": "zero-shot-image-classification", "prompts": {"gore": ["blood"]}},
        f"{PLACE}.prompts: a single text: the scores of all of them together are 1",
    ),
    (
        {"task": "image-classification", "labels": ["a"]},
        "models.toml: pipeline.detectors.it.model: missing: this kind of detector needs a model",
    ),
]


@pytest.mark.parametrize(("given", "message"), OPTIONS)
def test_options_that_cannot_be_used(given: dict[str, Any], message: str) -> None:
    assert refusal(None, **given)[0] == message


FILES: dict[str, tuple[dict[str, Any], str, str]] = {
    "code of its own": (
        {"config.json": {"auto_map": {"AutoModel": "modeling_evil.Evil"}}, "model.safetensors": {}},
        "config.json: the model needs Python code of its publisher's, which vcm never runs",
        OTHER_MODEL,
    ),
    "code in another repo, for the tokenizer": (
        {
            "tokenizer_config.json": {"auto_map": {"AutoTokenizer": ["evil/repo--tok.Evil", None]}},
            "model.safetensors": {},
        },
        "tokenizer_config.json: the model needs Python code of its publisher's, which vcm never runs",
        OTHER_MODEL,
    ),
    "a task of its own": (
        {"config.json": {"custom_pipelines": {"x": {"impl": "evil.Pipeline"}}}, "model.safetensors": {}},
        "config.json: the model needs Python code of its publisher's, which vcm never runs",
        OTHER_MODEL,
    ),
    "an adapter": (
        {"adapter_config.json": {"base_model_name_or_path": "/etc"}, "model.safetensors": {}},
        "adapter_config.json: the model is an adapter of another one",
        OTHER_MODEL,
    ),
    "a shard elsewhere": (
        {"model.safetensors.index.json": {"weight_map": {"a": "../../other.safetensors"}}},
        "model.safetensors.index.json: a shard cannot be used: the path has an empty part, '.' or '..'",
        OTHER_MODEL,
    ),
    "no weights": (
        {"config.json": {}, "model.onnx": {}},
        "model.safetensors: missing, and so is pytorch_model.bin",
        "add the weights to the model's include in models.toml, then run vcm sync",
    ),
}


@pytest.mark.parametrize("name", FILES)
def test_a_model_that_needs_more_than_its_files(tmp_path: Path, name: str) -> None:
    files, message, hint = FILES[name]
    for path, value in files.items():
        (tmp_path / path).write_text(json.dumps(value))

    assert refusal(tmp_path, task="image-classification", labels=["a"]) == (message, hint)


class _Hides:
    """An importer that does not know a library."""

    def __init__(self, finder: Any, library: str) -> None:
        self.finder = finder
        self.library = library

    def find_spec(self, name: str, *rest: Any) -> Any:
        return None if name == self.library else self.finder.find_spec(name, *rest)


@pytest.mark.parametrize(
    ("library", "hint"),
    [
        ("torch", "install the torch that suits this machine: https://pytorch.org/get-started/locally"),
        ("transformers", "pip install 'vcm[transformers]'"),
    ],
)
def test_a_library_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, library: str, hint: str) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"")
    monkeypatch.setattr(sys, "meta_path", [_Hides(finder, library) for finder in sys.meta_path])
    monkeypatch.delitem(sys.modules, library, raising=False)
    assert importlib.util.find_spec(library) is None

    assert refusal(tmp_path, task="image-classification", labels=["a"]) == (
        f'the kind of detector "transformers" needs {library}, which is not installed',
        hint,
    )
