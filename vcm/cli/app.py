"""The typer app: options, commands, and the one place where an error becomes text and an exit code."""

from __future__ import annotations

import functools
import os
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from vcm.cli import output
from vcm.errors import VcmError
from vcm.settings import colors_are_unwanted
from vcm.version import VERSION

INTERRUPTED = 130
_GLOBAL_FLAGS = ("--offline", "-q", "--quiet", "-v", "-vv", "--verbose")
_GLOBAL_OPTIONS = ("--project", "--cache-dir", "--color")

app = typer.Typer(
    name="vcm",
    help="A package manager for model weights: declare in models.toml, lock by SHA-256, sync, start on nothing else.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


@dataclass(frozen=True, slots=True)
class Options:
    """The options before the command."""

    project: Path | None = None
    cache_dir: Path | None = None
    offline: bool = False
    quiet: bool = False
    verbosity: int = 0
    color: str = "auto"

    @property
    def use_color(self) -> bool:
        """Whether standard error gets colours."""
        if self.color != "auto":
            return self.color == "always"
        return sys.stderr.isatty() and not colors_are_unwanted()


_options = Options()


def options() -> Options:
    """The options of this run."""
    return _options


def command(name: str) -> Callable[[Callable[..., int]], Callable[..., int]]:
    """Register a command: a function that returns its exit code and may raise VcmError."""

    def register(function: Callable[..., int]) -> Callable[..., int]:
        @functools.wraps(function)
        def guarded(*args: Any, **kwargs: Any) -> None:
            raise typer.Exit(_run(functools.partial(function, *args, **kwargs), json=bool(kwargs.get("json"))))

        app.command(name)(guarded)
        return function

    return register


def _run(action: Callable[[], int], *, json: bool) -> int:
    try:
        return action()
    except KeyboardInterrupt:
        print("interrupted; what was downloaded is kept for the next run", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of a pipe has gone, as `vcm list | head` does: no error, and nobody to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except VcmError as error:
        if _options.verbosity > 1:
            traceback.print_exc()
        return fail(error, json=json)


def fail(error: VcmError, *, json: bool) -> int:
    """Say what went wrong, and give the exit code for it."""
    if json:
        output.print_json({"error": output.error_document(error)})
    output.print_error(error, color=_options.use_color)
    return error.exit_code


def _show_version(value: bool) -> None:
    if value:
        print(f"vcm {VERSION}")
        raise typer.Exit


@app.callback()
def _globals(  # noqa: PLR0913
    project: Annotated[
        Path | None,
        typer.Option("--project", help="Folder with models.toml; else VCM_PROJECT, else the nearest one upwards."),
    ] = None,
    cache_dir: Annotated[Path | None, typer.Option("--cache-dir", help="The store's folder.")] = None,
    offline: Annotated[bool, typer.Option("--offline", help="No network at all.")] = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="No progress.")] = False,
    verbose: Annotated[int, typer.Option("-v", "--verbose", count=True, help="More detail; twice: tracebacks.")] = 0,
    color: Annotated[str, typer.Option("--color", help="auto, always or never.")] = "auto",
    version: Annotated[  # noqa: ARG001
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    global _options  # noqa: PLW0603  (one run, one command line)
    if color not in ("auto", "always", "never"):
        raise typer.BadParameter("allowed are auto, always and never", param_hint="--color")
    _options = Options(project, cache_dir, offline, quiet, verbose, color)


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


def _register() -> None:
    from vcm.cli import commands, demo  # noqa: F401  (each registers its own)


def main(arguments: list[str] | None = None) -> int:
    """Run a command line; its exit code is returned.

    Args:
        arguments: without the program's name; by default those of this process.
    """
    _register()

    try:
        app(args=hoisted(sys.argv[1:] if arguments is None else arguments), prog_name="vcm")
    except SystemExit as ending:
        return ending.code if isinstance(ending.code, int) else 1 if ending.code else 0
    return 0


def run() -> None:
    """The console script."""
    code = main()
    if code == INTERRUPTED:
        # Threads may still wait for a silent server. Nothing on the disk depends on how this process ends.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)
