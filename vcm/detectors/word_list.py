"""The kind ``word-list``: words and phrases in subtitles; no model.

Options: ``words``, those to look for (see ``vcm.core.word_list``); ``label``, what to call a finding instead of the
word itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from vcm.core.fields import Table
from vcm.core.findings import Match
from vcm.core.subtitles import Cue
from vcm.core.word_list import WordList, parse_listed, words_of
from vcm.detectors.base import TextDetector
from vcm.detectors.model_files import no_model


class WordListDetector(TextDetector):
    """Finds listed words in subtitles; a finding lasts as long as its line is shown, and is certain.

    Args:
        words: what to look for.
        label: what to call what is found; None for the word as it is listed.
    """

    def __init__(self, words: WordList, label: str | None) -> None:
        self._words = words
        self._label = label

    def read(self, cue: Cue) -> Iterator[Match]:
        labels = (self._label or hit.word for hit in self._words.find(words_of(cue.text)))
        for label in dict.fromkeys(labels):
            yield Match(label, 1.0, cue.start, cue.end)


def make(folder: Path | None, options: Table) -> WordListDetector:
    """The detector that the options describe.

    Raises:
        ConfigError: an option cannot be used, or there is a model.
    """
    detector = WordListDetector(listed_words(options), options.text("label"))
    options.finish()
    no_model(folder, options)
    return detector


def listed_words(options: Table) -> WordList:
    """The option ``words``.

    Raises:
        ConfigError: it is missing, or one of them cannot be looked for.
    """
    words = options.texts("words", parse_listed)
    if not words:
        raise options.error("words", "missing: the words to look for", 'list them: words = ["damn*", "what the hell"]')
    return WordList(words)
