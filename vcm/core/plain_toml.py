"""The TOML that most manifests are made of, read without ``tomllib``: importing that takes longer than a gate.

One header or key on a line, plain strings, whole numbers, true and false, arrays of strings on one line, comments.
What is written otherwise, or wrong, is ``tomllib``'s to read or to refuse: this never judges.
"""

from __future__ import annotations

import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_STRING = r'"[^"\\]*"'
_LINE = re.compile(
    r"(?:\[(?P<table>[A-Za-z0-9_-]+)(?:\.(?P<inner>[A-Za-z0-9_-]+))?\]"
    rf'|(?P<key>[A-Za-z0-9_-]+) *= *(?:"(?P<text>[^"\\]*)"|(?P<word>true|false)|(?P<number>0|[1-9][0-9]{{0,17}})'
    rf"|\[ *(?:(?P<array>{_STRING}(?: *, *{_STRING})*) *,? *)?\]))? *(?:#.*)?"
)


def read_plain(text: str) -> dict[str, Any] | None:
    """What ``tomllib`` makes of a text; None where it is not all plain."""
    if not text.replace("\n", "").isprintable():
        return None
    top: dict[str, Any] = {}
    table = top
    for line in text.split("\n"):
        match = _LINE.fullmatch(line)
        if match is None:
            return None
        if match["table"]:
            name, within = match["table"], top
            if match["inner"]:
                name, within = match["inner"], top.setdefault(name, {})
            if not isinstance(within, dict) or name in within:
                return None
            table = within[name] = {}
        elif match["key"]:
            if match["key"] in table:
                return None
            table[match["key"]] = _value(match)
    return top


def _value(match: re.Match[str]) -> object:
    if match["text"] is not None:
        return match["text"]
    if match["word"]:
        return match["word"] == "true"
    if match["number"]:
        return int(match["number"])
    # Without quotes and backslashes in them, strings are all that stands between two quotes.
    return (match["array"] or "").split('"')[1::2]
