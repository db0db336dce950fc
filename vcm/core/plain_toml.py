"""The TOML that most manifests are made of, read without ``tomllib``: importing that takes longer than a gate.

One header or key on a line, plain strings, whole numbers, true and false, arrays of strings on one line, comments.
What is written otherwise, or wrong, is ``tomllib``'s to read or to refuse: this never judges.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_BARE = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"
_WORDS = {"true": True, "false": False}
_MOST_DIGITS = 18


def read_plain(text: str) -> dict[str, Any] | None:
    """What ``tomllib`` makes of a text; None where it is not all plain."""
    if "\\" in text or not text.replace("\n", "").isprintable():
        return None
    top: dict[str, Any] = {}
    table = top
    try:
        for untrimmed in text.split("\n"):
            line = untrimmed.strip(" ")
            if line.startswith("[["):
                table = _one_more_table(top, line)
            elif line.startswith("["):
                table = _table(top, line)
            elif line and not line.startswith("#"):
                key, _, value = line.partition("=")
                _add(table, key.rstrip(" "), _value(value.strip(" ")))
    except ValueError:
        return None
    return top


def _table(top: dict[str, Any], line: str) -> dict[str, Any]:
    header = _without_comment(line, line.index("]") + 1)
    outer, dot, inner = header[1:-1].partition(".")
    table: dict[str, Any] = {}
    if not dot:
        _add(top, outer, table)
        return table
    if outer not in top:
        _add(top, outer, {})
    _add(top[outer], inner, table)
    return table


def _one_more_table(top: dict[str, Any], line: str) -> dict[str, Any]:
    header = _without_comment(line, line.index("]]") + 2)[2:-2]
    if header not in top:
        _add(top, header, [])
    elif not isinstance(top[header], list) or not all(isinstance(each, dict) for each in top[header][:1] or [None]):
        raise ValueError
    table: dict[str, Any] = {}
    top[header].append(table)
    return table


def _add(table: object, key: str, value: object) -> None:
    if not isinstance(table, dict) or key in table or not key or key.strip(_BARE):
        raise ValueError
    table[key] = value


def _value(text: str) -> object:
    if text.startswith('"'):
        return _without_comment(text, text.index('"', 1) + 1)[1:-1]
    if text.startswith("["):
        # No string holds a quote: what stands between every second pair of them is all that is no string.
        between, strings = text[1:-1].split('"')[::2], text[1:-1].split('"')[1::2]
        first, *middle, last = [each.strip(" ") for each in between] if strings else ["", between[0].strip(" ")]
        if (
            text[-1] == "]"
            and not first
            and all(each == "," for each in middle)
            and last in ("", ",")[: 1 + len(strings)]
        ):
            return strings
        raise ValueError
    word = text.partition("#")[0].rstrip(" ")
    if word in _WORDS:
        return _WORDS[word]
    if not (word.isascii() and word.isdecimal() and len(word) <= _MOST_DIGITS) or (word[0] == "0" and word != "0"):
        raise ValueError
    return int(word)


def _without_comment(text: str, end: int) -> str:
    rest = text[end:].lstrip(" ")
    if rest and not rest.startswith("#"):
        raise ValueError
    return text[:end]
