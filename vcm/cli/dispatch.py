"""The typer app and its commands' frame: the one place where an error becomes text and an exit code."""

from __future__ import annotations

import errno
import functools
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from vcm.cli import output
from vcm.cli.context import Options, options, set_options
from vcm.core.wording import system_reason
from vcm.errors import INSUFFICIENT_SPACE, PERMISSION_ERROR, ConfigError, VcmError
from vcm.version import VERSION

INTERRUPTED = 130

app = typer.Typer(
    name="vcm",
    help="A package manager for model weights: declare in models.toml, lock by SHA-256, sync, start on nothing else.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


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
        code = action()
        # Now, while an error of the output can still be told.
        sys.stdout.flush()
    except KeyboardInterrupt:
        print("interrupted; what was downloaded is kept for the next run", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of a pipe has gone, as `vcm list | head` does: no error, and nobody to tell.
        _discard_output()
        return 0
    except OSError as error:
        # What the store and the project raise is ours by now: this is the output, or a current folder that is gone.
        _discard_output()
        return fail(_system_error(error), json=False)
    except VcmError as error:
        if options().verbosity > 1:
            traceback.print_exc()
        return fail(error, json=json)
    return code


def _discard_output() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _system_error(error: OSError) -> VcmError:
    reason = system_reason(error)
    if error.errno == errno.ENOENT and error.filename is None:
        return ConfigError("the current folder does not exist any more", hint="cd to another, or name --project DIR")
    place = f"use {error.filename}" if error.filename else "write to standard output"
    return VcmError(
        f"cannot {place}: {reason}",
        error_code=INSUFFICIENT_SPACE if error.errno == errno.ENOSPC else PERMISSION_ERROR,
        hint="check where it leads",
    )


def fail(error: VcmError, *, json: bool) -> int:
    """Say what went wrong, and give the exit code for it."""
    if json:
        output.print_json({}, [error])
    output.print_errors((error, *error.others))
    return error.exit_code


def _show_version(value: bool) -> None:
    if value:
        print(f"vcm {VERSION}")
        raise typer.Exit


@app.callback()
def _globals(
    project: Annotated[
        Path | None,
        typer.Option(
            "--project",
            metavar="DIR",
            help="The folder with models.toml; else VCM_PROJECT, else the nearest one upwards.",
        ),
    ] = None,
    cache_dir: Annotated[
        Path | None,
        typer.Option(
            "--cache-dir",
            metavar="DIR",
            help="The store's folder; else VCM_CACHE_DIR, else that of models.toml or of the platform.",
        ),
    ] = None,
    offline: Annotated[bool, typer.Option("--offline", help="No network at all.")] = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="No progress; notices and errors only.")] = False,
    verbose: Annotated[
        int,
        typer.Option("-v", "--verbose", count=True, show_default=False, help="Name every file; twice: tracebacks too."),
    ] = 0,
    color: Annotated[str, typer.Option("--color", metavar="WHEN", help="auto, always or never.")] = "auto",
    version: Annotated[  # noqa: ARG001
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    if color not in ("auto", "always", "never"):
        raise typer.BadParameter("allowed are auto, always and never", param_hint="--color")
    set_options(Options(project, cache_dir, offline, quiet, verbose, color))
