"""Editing ``models.toml``: a table more or less, and every other byte as it was.

tomlkit writes the new table. It does not cut the old ones: it counts a comment above ``[hub]`` as the end of the
table before it, and would remove it with that table. So lines are inserted and taken out here, and the result is
parsed and compared with what it should say before anyone sees it.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from vcm.errors import ConfigError

_MODEL_HEADER = re.compile(r"""\s*\[\s*models\s*\.\s*(?:"([^"]+)"|'([^']+)'|([A-Za-z0-9_-]+))\s*\]\s*(?:#.*)?""")
_ANY_HEADER = re.compile(r"\s*\[\[?[^\[\]=,]+\]\]?\s*(?:#.*)?")


def add_model(text: str, name: str, values: Mapping[str, Any]) -> str:
    """The manifest's text with ``[models.NAME]`` after the other models.

    Raises:
        ConfigError: there is such a model, or the file's shape leaves no room for another.
    """
    before = tomllib.loads(text)
    models = before.setdefault("models", {})
    if name in models:
        raise ConfigError(
            f'models.toml has a model "{name}" already', hint=f"edit it there, or run vcm remove {name} first"
        )
    import tomlkit

    ending = "\r" if "\r\n" in text else ""
    block = [line + ending for line in tomlkit.dumps({"models": {name: dict(values)}}).splitlines()]
    lines = text.split("\n")
    last = len(text.rstrip().split("\n")) if text.strip() else 0
    position = max((end for _, end in _blocks(lines).values()), default=last)
    above = [ending] if position else []
    following = lines[position:] or [""]
    below = [ending] if following[0].strip() else []
    if position == len(lines) and ending:
        lines[-1] += ending
    result = "\n".join([*lines[:position], *above, *block, *below, *following])
    models[name] = dict(values)
    return _proved(result, before, "add this to it by hand: " + " ".join(line.rstrip() for line in block))


def remove_model(text: str, name: str) -> str:
    """The manifest's text without ``[models.NAME]``; comments around it stay.

    Raises:
        ConfigError: there is no such model, or it is not written as a table of its own.
    """
    expected = tomllib.loads(text)
    models = expected.get("models", {})
    if name not in models:
        raise ConfigError(
            f'models.toml has no model "{name}"', hint=f"models of this project: {', '.join(models) or 'none'}"
        )
    del models[name]
    lines = text.split("\n")
    start, end = _blocks(lines).get(name, (0, 0))
    if start < end:
        blank_above = start > 0 and not lines[start - 1].strip()
        if not any(line.strip() for line in lines[end:]) and len(lines) - end <= 1 and blank_above:
            start -= 1
        elif end < len(lines) - 1 and not lines[end].strip() and (start == 0 or blank_above):
            end += 1
    result = "\n".join(lines[:start] + (lines[end:] or [""]))
    if not models:
        expected.pop("models", None)
    return _proved(result, expected, f"remove [models.{name}] from it by hand")


def _blocks(lines: list[str]) -> dict[str, tuple[int, int]]:
    """First and one-past-last line of each model's table; blank lines and comments at its end are not its own."""
    headers = [index for index, line in enumerate(lines) if _ANY_HEADER.fullmatch(line)]
    blocks = {}
    for index, following in pairwise([*headers, len(lines)]):
        match = _MODEL_HEADER.fullmatch(lines[index])
        if match:
            blocks[match[1] or match[2] or match[3]] = (index, _end(lines, index, following))
    return blocks


def _end(lines: list[str], start: int, end: int) -> int:
    while end > start and (not lines[end - 1].strip() or lines[end - 1].lstrip().startswith("#")):
        end -= 1
    return end


def _meaning(values: Mapping[str, Any]) -> str:
    # As text, in which a nan is equal to itself.
    return json.dumps({**values, "models": values.get("models", {})}, sort_keys=True, default=repr)


def _proved(result: str, expected: Mapping[str, Any], by_hand: str) -> str:
    try:
        found = tomllib.loads(result)
        same = _meaning(found) == _meaning(expected)
    except (ValueError, RecursionError):
        same = False
    if not same:
        raise ConfigError("models.toml is written in a way that vcm cannot edit", hint=by_hand)
    return result
