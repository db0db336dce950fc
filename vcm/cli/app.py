"""The entry point: ``vcm`` and ``python -m vcm``."""

from __future__ import annotations

import sys

from vcm.cli.dispatch import app, fail
from vcm.cli.interrupts import carried_through
from vcm.cli.streams import take_streams
from vcm.errors import ConfigError

_GLOBAL_FLAGS = ("--offline", "-q", "--quiet", "-v", "-vv", "--verbose")
_GLOBAL_OPTIONS = ("--project", "--cache-dir", "--color")


def hoisted(arguments: list[str]) -> list[str]:
    """The arguments with vcm's own options first, so that they may also stand behind the command."""
    first, rest = [], []
    pending = list(arguments)
    while pending:
        word = pending.pop(0)
        if word == "--":
            rest += [word, *pending]
            break
        if word in _GLOBAL_FLAGS or word.startswith(tuple(f"{option}=" for option in _GLOBAL_OPTIONS)):
            first.append(word)
        elif word in _GLOBAL_OPTIONS and pending:
            first += [word, pending.pop(0)]
        else:
            rest.append(word)
    return first + rest


def main(arguments: list[str] | None = None) -> int:
    """Run a command line; its exit code is returned.

    Args:
        arguments: without the program's name; by default those of this process.
    """
    words = sys.argv[1:] if arguments is None else arguments
    try:
        "".join(words).encode()
    except UnicodeEncodeError:
        return fail(ConfigError("an argument is not UTF-8 text", hint="write it in UTF-8"), json=False)
    try:
        app(args=hoisted(words), prog_name="vcm")
    except SystemExit as ending:
        return ending.code if isinstance(ending.code, int) else 1 if ending.code else 0
    return 0


def run() -> None:
    """The console script."""
    take_streams()
    sys.exit(carried_through(main))
