"""Words for numbers and choices, the same in every message."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_STEP = 1000


def byte_count(count: float) -> str:
    """A number of bytes for people, in the decimal units of disks: ``90.9 MB``."""
    value = float(count)
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if round(abs(value), 1) < _STEP or unit == "TB":
            break
        value /= _STEP
    return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"


def counted(count: int, noun: str) -> str:
    """``1 file``, ``3 files``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def listed(words: Iterable[str]) -> str:
    """``a, b and c``."""
    *rest, last = list(words) or ["nothing"]
    return f"{', '.join(rest)} and {last}" if rest else last


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """``, did you mean "version"?`` when a choice is near, else nothing."""
    near = difflib.get_close_matches(word, list(choices), n=1, cutoff=0.6)
    return f', did you mean "{near[0]}"?' if near else ""
