"""Words for numbers, choices and what comes from strangers, the same in every message."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

_STEP = 1000
_SHORT_COMMIT = 12


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
    import difflib

    near = difflib.get_close_matches(word, list(choices), n=1, cutoff=0.6)
    return f', did you mean "{near[0]}"?' if near else ""


def short_commit(commit: str) -> str:
    """The beginning of a commit's id, which is enough to tell it from others."""
    return commit[:_SHORT_COMMIT]


def printable(text: str) -> str:
    """Text that may come from a stranger, without what would steer a terminal."""
    return "".join(each if each.isprintable() else "\ufffd" for each in text)


def system_reason(error: OSError) -> str:
    """What the operating system has against something, without the path: ``no such file or directory``."""
    return (error.strerror or str(error)).lower()
