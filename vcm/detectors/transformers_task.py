"""The kind ``transformers``: a task of ``transformers.pipeline``, on the torch that is installed.

Options of every task: ``task``, one of ``TASKS``; ``device``, ``cpu`` unless told. Those of one task stand with its
class. Scores are the pipeline's own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vcm.core.fields import Table
from vcm.core.findings import Match
from vcm.core.subtitles import Cue
from vcm.core.word_list import words_of
from vcm.core.wording import did_you_mean, printable
from vcm.detectors.base import FrameDetector, SoundDetector, TextDetector
from vcm.detectors.labels import check_labels
from vcm.detectors.model_files import model_folder, unusable
from vcm.detectors.transformers_loading import Runner, remember_texts
from vcm.detectors.word_list import listed_words
from vcm.video.media import SOUND_RATE, Frame, Sound

Prompts = Mapping[str, tuple[str, ...]]

# Whisper hears 30 s at once: a stretch, and the end of the one before.
_LONGEST_SPEECH = 28.0
_OVERLAP = 2.0
_SAME_MOMENT = 0.01  # seconds
_SHORT_ANSWER = {"do_sample": False, "max_new_tokens": 64}
_LEAST_SAMPLES = SOUND_RATE // 10


class _Task:
    """What the tasks have in common.

    Attributes:
        run: the pipeline, once the options are known to be good.
    """

    run: Runner

    def start(self, run: Runner, options: Table) -> None:
        """Take the pipeline that was loaded.

        Raises:
            ConfigError: an option does not fit the model.
        """
        self.run = run


class _Classifier(_Task):
    """A model with labels of its own. Options: ``labels``, those that are findings; ``threshold``, 0.5 unless told."""

    def __init__(self, options: Table) -> None:
        self._labels = options.texts("labels") or ()
        self._threshold = _threshold(options)

    def start(self, run: Runner, options: Table) -> None:
        check_labels(options, self._labels, run.labels)
        super().start(run, options)

    def _matches(self, answers: Iterable[Any], start: float, end: float) -> Iterator[Match]:
        scores = {answer["label"]: answer["score"] for answer in answers}
        yield from _found({label: scores.get(label, 0.0) for label in self._labels}, self._threshold, start, end)


class _Prompted(_Task):
    """A model that is told what to look for.

    Options: ``prompts``, texts by category, or a list of texts; ``labels``, the categories that are findings, all
    unless told (the others are there to compare with); ``threshold``, 0.5 unless told.
    """

    def __init__(self, options: Table) -> None:
        self._prompts = options.parsed("prompts", _prompts) or {}
        if not self._prompts:
            raise options.error(
                "prompts",
                "missing: what to look for",
                'give texts by category: prompts = { gore = ["a bloody wound"] }',
            )
        self._labels = options.texts("labels") or tuple(self._prompts)
        for label in self._labels:
            if label not in self._prompts:
                problem = f'prompts have no category "{printable(label)}"{did_you_mean(label, self._prompts)}'
                raise options.error("labels", problem, f"the categories: {', '.join(self._prompts)}")
        self._threshold = _threshold(options)
        self._texts = list(dict.fromkeys(text for texts in self._prompts.values() for text in texts))

    def _matches(self, scores: Mapping[str, float], start: float, end: float, *, shares: bool) -> Iterator[Match]:
        """What is found; with ``shares``, the scores of all texts together are 1, and a category has its texts' sum."""
        by_label = {
            label: sum(scores[text] for text in texts) if shares else max(scores[text] for text in texts)
            for label, texts in self._prompts.items()
            if label in self._labels
        }
        yield from _found(by_label, self._threshold, start, end)


class ImageTask(_Classifier, FrameDetector):
    """``image-classification``. Option: ``every``, seconds between two pictures, 1 unless told."""

    def __init__(self, options: Table) -> None:
        super().__init__(options)
        self.every = _every(options)

    def look(self, frame: Frame) -> Iterator[Match]:
        answers = self.run(Image.fromarray(frame.pixels), top_k=len(self.run.labels))
        yield from self._matches(answers, frame.start, frame.end)


class ImagePromptTask(_Prompted, FrameDetector):
    """``zero-shot-image-classification``, as with CLIP. Option: ``every``, seconds, as above."""

    def __init__(self, options: Table) -> None:
        super().__init__(options)
        self.every = _every(options)
        if len(self._texts) == 1:
            raise options.error(
                "prompts",
                "a single text: the scores of all of them together are 1",
                "add what else may be seen, and name in labels what is a finding",
            )

    def start(self, run: Runner, options: Table) -> None:
        remember_texts(run.pipeline.model)
        super().start(run, options)

    def look(self, frame: Frame) -> Iterator[Match]:
        answers = self.run(Image.fromarray(frame.pixels), candidate_labels=self._texts, hypothesis_template="{}")
        # SigLIP gives each text a probability of its own, the others shares of one.
        shares = "siglip" not in str(self.run.pipeline.model.config.model_type)
        scores = {answer["label"]: answer["score"] for answer in answers}
        yield from self._matches(scores, frame.start, frame.end, shares=shares)


class AnswerTask(_Task, FrameDetector):
    """``image-text-to-text``, as with LLaVA: a question about each picture, and a word list on the answer.

    Options: ``prompt``, the question; ``words`` and ``label`` as for the kind ``word-list``; ``every``, as above.
    """

    def __init__(self, options: Table) -> None:
        self._prompt = options.required_text("prompt")
        self._words = listed_words(options)
        self._label = options.text("label")
        self.every = _every(options)

    def start(self, run: Runner, options: Table) -> None:
        if not getattr(run.pipeline.processor, "chat_template", None):
            raise unusable("chat_template.jinja", "the model does not say how it is to be asked")
        super().start(run, options)

    def look(self, frame: Frame) -> Iterator[Match]:
        picture = {"type": "image", "image": Image.fromarray(frame.pixels)}
        asked = [{"role": "user", "content": [picture, {"type": "text", "text": self._prompt}]}]
        (answer,) = self.run(text=asked, return_full_text=False, generate_kwargs=_SHORT_ANSWER)
        hits = self._words.find(words_of(answer["generated_text"]))
        for label in dict.fromkeys(self._label or hit.word for hit in hits):
            yield Match(label, 1.0, frame.start, frame.end)


class SoundTask(_Classifier, SoundDetector):
    """``audio-classification``. Option: ``seconds``, how long the stretches are, 10 unless told."""

    def __init__(self, options: Table) -> None:
        super().__init__(options)
        self.seconds = options.number("seconds", least=1, most=60) or 10.0

    def listen(self, sound: Sound) -> Iterator[Match]:
        answers = self.run(_samples(sound.samples), top_k=len(self.run.labels))
        yield from self._matches(answers, sound.start, sound.end)


class SpeechTask(_Task, SoundDetector):
    """``automatic-speech-recognition``, and a word list on what is said.

    Each stretch is heard together with the last two seconds of the one before, so that a word that was cut in two is
    heard whole once; what was found in those two seconds already is not found again. A finding has the time of its
    words where the model tells it (Whisper, CTC), else that of the stretch.

    Options: ``words`` and ``label`` as for the kind ``word-list``; ``seconds``, how long the stretches are, 28 unless
    told.
    """

    def __init__(self, options: Table) -> None:
        self._words = listed_words(options)
        self._label = options.text("label")
        self.seconds = options.number("seconds", least=1, most=_LONGEST_SPEECH) or _LONGEST_SPEECH
        self._before = Sound(0.0, 0.0, np.zeros(0, dtype=np.float32))
        self._found_before: list[Match] = []
        self._timestamps: str | bool = False

    def start(self, run: Runner, options: Table) -> None:
        super().start(run, options)
        kind = run.pipeline.type
        if kind == "seq2seq_whisper":
            # Words have times only where the model tells which of its attention heads follow the sound.
            aligned = getattr(run.pipeline.model.generation_config, "alignment_heads", None)
            self._timestamps = "word" if aligned else True
        elif kind != "seq2seq":
            self._timestamps = "word"

    def listen(self, sound: Sound) -> Iterator[Match]:
        heard = self._with_overlap(sound)
        parameters = {"return_timestamps": self._timestamps} if self._timestamps else {}
        answer = self.run(_samples(heard.samples), **parameters)
        matches = list(dict.fromkeys(self._matches(answer, heard)))
        known, self._found_before = self._found_before, matches
        for match in matches:
            if match.end > sound.start or not any(_overlap(match, other) for other in known):
                yield match

    def _with_overlap(self, sound: Sound) -> Sound:
        before, self._before = self._before, sound
        if abs(before.end - sound.start) > _SAME_MOMENT:
            self._found_before = []
            return sound
        end = before.samples[-int(_OVERLAP * SOUND_RATE) :]
        return Sound(sound.start - len(end) / SOUND_RATE, sound.end, np.concatenate([end, sound.samples]))

    def _matches(self, answer: Any, heard: Sound) -> Iterator[Match]:
        words: list[str] = []
        times: list[tuple[float, float]] = []
        for piece in answer.get("chunks") or [answer]:
            found = words_of(piece["text"])
            words += found
            times += [_time(piece.get("timestamp"), heard)] * len(found)
        for hit in self._words.find(words):
            yield Match(
                self._label or hit.word,
                1.0,
                times[hit.first][0],
                max(time[1] for time in times[hit.first : hit.last + 1]),
            )


class TextTask(_Classifier, TextDetector):
    """``text-classification``."""

    def read(self, cue: Cue) -> Iterator[Match]:
        (answers,) = self.run([cue.text], top_k=None, truncation=True)
        yield from self._matches(answers, cue.start, cue.end)


class TopicTask(_Prompted, TextDetector):
    """``zero-shot-classification``: a line of text against topics, each on its own."""

    def read(self, cue: Cue) -> Iterator[Match]:
        if cue.text.strip():
            answer = self.run(cue.text, candidate_labels=self._texts, multi_label=True)
            scores = dict(zip(answer["labels"], answer["scores"], strict=True))
            yield from self._matches(scores, cue.start, cue.end, shares=False)


Task = ImageTask | ImagePromptTask | AnswerTask | SoundTask | SpeechTask | TextTask | TopicTask
TASKS: Mapping[str, type[Task]] = {
    "audio-classification": SoundTask,
    "automatic-speech-recognition": SpeechTask,
    "image-classification": ImageTask,
    "image-text-to-text": AnswerTask,
    "text-classification": TextTask,
    "zero-shot-classification": TopicTask,
    "zero-shot-image-classification": ImagePromptTask,
}


def make(folder: Path | None, options: Table) -> Task:
    """The detector that the options describe, on the model in a folder.

    Raises:
        ConfigError: an option cannot be used, torch is missing, or the model cannot be loaded.
    """
    task = options.required_text("task", _task)
    device = options.text("device", _device) or "cpu"
    detector = TASKS[task](options)
    options.finish()
    detector.start(Runner(model_folder(folder, options), task, device), options)
    return detector


def _task(text: str) -> None:
    if text not in TASKS:
        raise ValueError(f"no task for a detector{did_you_mean(text, TASKS)}; there are {', '.join(TASKS)}")


def _device(text: str) -> None:
    if not re.fullmatch(r"cpu|mps|(?:cuda|xpu)(?::\d{1,3})?", text):
        raise ValueError("a device is cpu, cuda, cuda:0, mps or xpu")


def _threshold(options: Table) -> float:
    threshold = options.number("threshold", least=0, most=1)
    return 0.5 if threshold is None else threshold


def _every(options: Table) -> float:
    return options.number("every", least=0.01, most=3600) or 1.0


def _prompts(value: object) -> Prompts:
    texts = {text: [text] for text in value if isinstance(text, str)} if isinstance(value, list) else value
    if not isinstance(texts, dict) or (isinstance(value, list) and len(texts) != len(value)):
        raise ValueError("expected texts by category, or a list of different texts")
    for group in texts.values():
        if (
            not isinstance(group, list)
            or not group
            or not all(isinstance(text, str) and text.strip() for text in group)
        ):
            raise ValueError("expected a list of texts for each category")
    return {category: tuple(dict.fromkeys(group)) for category, group in texts.items()}


def _found(scores: Mapping[str, float], threshold: float, start: float, end: float) -> Iterator[Match]:
    for label, score in scores.items():
        if score >= threshold:
            yield Match(label, min(float(score), 1.0), start, end)


def _samples(samples: NDArray[np.float32]) -> dict[str, Any]:
    """Sound as pipelines take it; with silence after the end of a video that leaves less than a model's window."""
    silence = np.zeros(max(_LEAST_SAMPLES - len(samples), 0), dtype=np.float32)
    return {"raw": np.concatenate([samples, silence]), "sampling_rate": SOUND_RATE}


def _time(stamp: Any, heard: Sound) -> tuple[float, float]:
    """When a piece of speech was, within what was heard; the model may leave either end open."""
    start, end = stamp or (None, None)
    first = heard.start if start is None else min(heard.start + float(start), heard.end)
    last = heard.end if end is None else min(heard.start + float(end), heard.end)
    return (first, last) if first < last else (min(first, heard.end - _SAME_MOMENT), heard.end)


def _overlap(match: Match, other: Match) -> bool:
    return match.label == other.label and match.start < other.end and other.start < match.end
