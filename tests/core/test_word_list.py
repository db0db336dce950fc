"""Listed words are found as whole words, however they are written, and fast."""

from __future__ import annotations

import random
import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vcm.core.word_list import Hit, WordList, words_of

LETTERS = st.text("abc", min_size=1, max_size=3)


def found(listed: list[str], text: str) -> list[str]:
    return [hit.word for hit in WordList(listed).find(words_of(text))]


@pytest.mark.parametrize(
    ("listed", "text"),
    [
        ("damn", "Damn, that hurts!"),
        ("damn", "god-damn"),
        ("damn", "(DAMN)"),
        ("damn", "da\u00admn"),  # a soft hyphen is not to be seen
        ("damn", "\uff24\uff21\uff2d\uff2e"),  # full width
        ("god", "god's own"),
        ("don't", "I don\u2019t"),
        ("straße", "STRASSE"),
        ("café", "cafe\u0301"),
        ("İstanbul", "i\u0307stanbul"),
        ("what the hell", "What the…\nHELL?!"),
        ("damn*", "damnation"),
        ("damn* you", "damned you"),
        ("mother*", "mother"),
        ("笨蛋", "你这个笨蛋。"),
        ("ばか", "おまえはばかだ"),
        ("हिन्दी", "यह हिन्दी है"),
        ("4", "call 4 help"),
    ],
)
def test_found(listed: str, text: str) -> None:
    assert found([listed], text) == [listed]


@pytest.mark.parametrize(
    ("listed", "text"),
    [
        ("ass", "a class passes"),
        ("damn", "damned"),
        ("damn*", "goddamned"),
        ("what the hell", "what hell the"),
        ("schon", "schön"),
        ("हिन्द", "यह हिन्दी है"),
        ("hell", ""),
        ("hell", "he ll"),
    ],
)
def test_not_found(listed: str, text: str) -> None:
    assert found([listed], text) == []


def test_one_within_another_is_found_too_and_the_place_is_told() -> None:
    listed = WordList(["hell", "what the hell", "the*", "the"])

    assert list(listed.find(words_of("So what the hell."))) == [
        Hit("what the hell", 1, 3),
        Hit("the", 2, 2),
        Hit("the*", 2, 2),
        Hit("hell", 3, 3),
    ]


def test_the_same_word_listed_twice_is_one() -> None:
    assert found(["Damn", "damn", "DAMN!"], "damn") == ["Damn"]


@pytest.mark.parametrize("listed", ["f*ck", "*", "* you", "damn *", "da*mn*", "damn**"])
def test_a_star_elsewhere(listed: str) -> None:
    with pytest.raises(ValueError, match=re.escape("a '*' stands at the end of a word")):
        WordList([listed])


@pytest.mark.parametrize("listed", ["", "?!", "\u00ad"])
def test_nothing_to_look_for(listed: str) -> None:
    with pytest.raises(ValueError, match="there is no letter or digit in it"):
        WordList([listed])


@given(st.text())
def test_words_are_what_they_are_when_read_again(text: str) -> None:
    assert words_of(" ".join(words_of(text))) == words_of(text)


@given(st.text())
def test_case_makes_no_difference(text: str) -> None:
    assert words_of(text.casefold()) == words_of(text)


@given(
    st.lists(st.tuples(st.lists(LETTERS, min_size=1, max_size=3), st.booleans()), max_size=8),
    st.lists(LETTERS, max_size=12),
)
def test_as_found_word_by_word(listed: list[tuple[list[str], bool]], words: list[str]) -> None:
    wanted = {" ".join(each) + "*" * star: (each, star) for each, star in listed}
    expected = {
        Hit(name, first, first + len(each) - 1)
        for name, (each, star) in wanted.items()
        for first in range(len(words) - len(each) + 1)
        if words[first : first + len(each) - 1] == each[:-1]
        and (words[first + len(each) - 1].startswith(each[-1]) if star else words[first + len(each) - 1] == each[-1])
    }

    assert set(WordList(wanted).find(words)) == expected


def test_many_words_and_many_lines() -> None:
    choice = random.Random(7)  # noqa: S311  (no secret)
    words = ["".join(choice.choices("abcdefghij", k=choice.randint(3, 9))) for _ in range(20_000)]
    listed = WordList([*words[:3000], *(f"{word}*" for word in words[3000:4000])])
    # The worst: a thousand phrases that all begin alike, and texts that repeat their beginning.
    alike = WordList([*(f"the the the {word}" for word in words[:1000])])
    lines = [" ".join(choice.choices(words, k=12)) for _ in range(2000)]

    started = time.process_time()
    hits = sum(1 for line in lines for _ in listed.find(words_of(line)))
    hits += sum(1 for _ in alike.find(words_of("the " * 10_000)))
    taken = time.process_time() - started

    assert hits > 1000
    assert taken < 2.0
