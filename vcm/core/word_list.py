"""Finding listed words in text: whole words, however they are written.

Two words are the same if Unicode's NFKC_Casefold makes them so (https://www.unicode.org/reports/tr44/#NFKC_CF):
``STRASSE`` is ``straße``; an accent makes another word. A word is a run of letters, digits and the marks on them, so
that ``don't`` is two, and a phrase is found across punctuation and line breaks. What is written without blanks
(Chinese, Japanese, Thai, Lao, Khmer, Burmese) counts as words of one character.
"""

from __future__ import annotations

import unicodedata

from vcm.core.records import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

_UNSPACED = ("CJK ", "HIRAGANA ", "KATAKANA ", "HALFWIDTH KATAKANA ", "THAI ", "LAO ", "KHMER ", "MYANMAR ")


@record(frozen=True)
class Hit:
    """A listed word in a text.

    Attributes:
        word: as it is listed.
        first: the number of the first of the text's words that belong to it, from 0.
        last: the number of the last.
    """

    word: str
    first: int
    last: int


@record(frozen=True)
class _Word:
    """One word of what is listed; with ``begins``, any word that begins so."""

    text: str
    begins: bool


class _Node:
    """What may follow the words read so far."""

    __slots__ = ("beginnings", "lengths", "listed", "words")

    def __init__(self) -> None:
        self.words: dict[str, _Node] = {}
        self.beginnings: dict[str, _Node] = {}
        self.lengths: set[int] = set()  # of the beginnings
        self.listed: str | None = None

    def add(self, word: _Word) -> _Node:
        if word.begins:
            self.lengths.add(len(word.text))
        return (self.beginnings if word.begins else self.words).setdefault(word.text, _Node())

    def after(self, word: str) -> Iterator[_Node]:
        if word in self.words:
            yield self.words[word]
        for length in self.lengths:
            if len(word) >= length and word[:length] in self.beginnings:
                yield self.beginnings[word[:length]]


class _Letters(dict[int, str]):
    """What becomes of a character when a text is cut into words, each looked up once."""

    def __missing__(self, code: int) -> str:
        letter = chr(code)
        category = unicodedata.category(letter)
        if category == "Cf":  # a soft hyphen, a joiner: not to be seen
            kept = ""
        elif category[0] not in "LMN":
            kept = " "
        else:
            kept = f" {letter} " if unicodedata.name(letter, "").startswith(_UNSPACED) else letter
        self[code] = kept
        return kept


_LETTERS = _Letters()


class WordList:
    """Words and phrases to look for; a ``*`` at the end of a word stands for any ending.

    The time that a text takes does not depend on how many words are listed.

    Args:
        listed: of those that are the same, the first counts.

    Raises:
        ValueError: one cannot be looked for; see ``parse_listed``.
    """

    def __init__(self, listed: Iterable[str]) -> None:
        self._root = _Node()
        for each in listed:
            node = self._root
            for word in parse_listed(each):
                node = node.add(word)
            node.listed = node.listed or each

    def find(self, words: Sequence[str]) -> Iterator[Hit]:
        """All that is listed in a text, also where one is part of another.

        Args:
            words: the text's, from ``words_of``.
        """
        for first in range(len(words)):
            nodes = [self._root]
            for last in range(first, len(words)):
                nodes = [after for node in nodes for after in node.after(words[last])]
                if not nodes:
                    break
                yield from (Hit(node.listed, first, last) for node in nodes if node.listed)


def words_of(text: str) -> list[str]:
    """The words of a text, written so that the same words are the same strings."""
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
    # Some characters only come out after a second time: U+0345 becomes a letter, whose neighbours may then combine.
    folded = text.casefold()
    if not folded.isascii():
        folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", folded).casefold())
    return folded.translate(_LETTERS).split()


def parse_listed(listed: str) -> list[_Word]:
    """The words of what is listed.

    Raises:
        ValueError: there is no letter in it, or a ``*`` stands elsewhere than at the end of a word.
    """
    *starred, rest = listed.split("*")
    words: list[_Word] = []
    for number, part in enumerate(starred):
        found = words_of(part)
        if not words_of(part[-1:]) or (number and words_of(part[:1])):
            raise ValueError("a '*' stands at the end of a word")
        words += [*(_Word(word, begins=False) for word in found[:-1]), _Word(found[-1], begins=True)]
    if starred and words_of(rest[:1]):
        raise ValueError("a '*' stands at the end of a word")
    words += [_Word(word, begins=False) for word in words_of(rest)]
    if not words:
        raise ValueError("there is no letter or digit in it")
    return words
