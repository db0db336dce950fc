"""The entry point: ``vcm`` and ``python -m vcm``."""

from __future__ import annotations

import sys
from typing import cast

import typer
from typer.main import get_command

from vcm.cli.dispatch import app, fail
from vcm.cli.interrupts import carried_through, end
from vcm.cli.streams import take_streams
from vcm.errors import ConfigError

# Of the click that this typer stands on, its own or another.
_UsageError = cast("type[typer.BadParameter]", typer.BadParameter.__base__)
_GLOBAL_FLAGS = ("--offline", "-q", "--quiet", "-v", "-vv", "--verbose")
_GLOBAL_OPTIONS = ("--project", "--cache-dir", "--color")
# Made once, for a program may run many command lines: calling the app itself would make it anew for each.
_command = get_command(app)


def hoisted(arguments: list[str]) -> tuple[list[str], list[str]]:
    """Vcm's own options, which may also stand behind the command, and the command with what else follows it.

    Behind ``--``, and behind the program that ``vcm run`` shall start, they are not vcm's.
    """
    first, rest = list[str](), list[str]()
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
        elif rest[:1] == ["run"] and not word.startswith("-"):
            rest += ["--", word, *pending]
            break
        else:
            rest.append(word)
            if word == "--group" and pending:
                rest.append(pending.pop(0))
    return first, rest


def main(arguments: list[str] | None = None) -> int:
    """Run a command line; its exit code is returned.

    Args:
        arguments: without the program's name; by default those of this process.
    """
    first, rest = hoisted(sys.argv[1:] if arguments is None else arguments)
    words = first + rest
    own = words[: words.index("--") if "--" in words else None]
    json = "--json" in own
    try:
        # What is for a program may be any bytes.
        "".join(own if rest[:1] == ["run"] else words).encode()
    except UnicodeEncodeError:
        return fail(ConfigError("an argument is not UTF-8 text", hint="write it in UTF-8"), json=json)
    try:
        # Its own mode tells a usage error in its own way, which is no JSON.
        return int(_command(args=words, prog_name="vcm", standalone_mode=not json) or 0)
    except SystemExit as ending:
        return ending.code if isinstance(ending.code, int) else 1 if ending.code else 0
    except _UsageError as error:
        used = error.ctx.command_path if error.ctx else "vcm"
        return fail(ConfigError(error.format_message().rstrip("."), hint=f"see {used} --help"), json=True)


def run() -> None:
    """The console script."""
    take_streams()
    end(carried_through(main))
