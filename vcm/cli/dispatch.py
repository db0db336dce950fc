"""The typer app and its commands' frame: the one place where an error becomes text and an exit code."""

from __future__ import annotations

import errno
import functools
import os
import sys
from collections.abc import Callable, Iterator, MutableMapping
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.main import get_command

from vcm.cli import output
from vcm.cli.context import Options, options, set_options
from vcm.core.wording import system_reason
from vcm.errors import INSUFFICIENT_SPACE, PERMISSION_ERROR, ConfigError, VcmError, exit_code_of
from vcm.version import VERSION

INTERRUPTED = 130

# Each command and the module of vcm.cli that registers it, in the order of the help. A run imports only its own.
COMMANDS = {
    "init": "beginning",
    "import": "beginning",
    "add": "locking",
    "remove": "locking",
    "lock": "locking",
    "sync": "syncing",
    "check": "checking",
    "verify": "checking",
    "list": "checking",
    "show": "checking",
    "path": "checking",
    "run": "running",
    "analyze": "analyzing",
    "outdated": "upstream",
    "diff": "upstream",
    "cache": "cache",
    "push": "pushing",
    "mirror": "mirrors",
    "bundle": "bundling",
    "serve": "serving",
    "demo": "demo",
}
# Those that fetch nothing, unless such an option makes them.
_LOCAL = frozenset(
    {"init", "check", "verify", "list", "show", "path", "run", "analyze", "cache", "mirror", "push", "bundle", "serve"}
)
_FETCHING = ("download_models", "repair")
_registered: dict[str, typer.Typer] = {}


class _Commands(MutableMapping[str, Any]):
    """The commands by name, as typer wants them; each is read and made when it is asked for."""

    def __init__(self) -> None:
        self._made: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._made:
            import_module(f"vcm.cli.{COMMANDS[name]}")
            self._made[name] = get_command(_registered[name])
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(COMMANDS)

    def __len__(self) -> int:
        return len(COMMANDS)

    def __setitem__(self, name: str, command: Any) -> None:
        self._made[name] = command

    def __delitem__(self, name: str) -> None:
        del self._made[name]


class _Group(TyperGroup):
    """``vcm`` itself."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = _Commands()


app = typer.Typer(
    name="vcm",
    cls=_Group,
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
            fetches = name not in _LOCAL or any(kwargs.get(option) for option in _FETCHING)
            action = functools.partial(function, *args, **kwargs)
            raise typer.Exit(_run(action, json=bool(kwargs.get("json")), fetches=fetches))

        single = _registered[name] = typer.Typer(add_completion=False, rich_markup_mode=None)
        single.command(name)(guarded)
        return function

    return register


def _run(action: Callable[[], int], *, json: bool, fetches: bool) -> int:
    try:
        code = action()
        # Now, while an error of the output can still be told.
        sys.stdout.flush()
    except KeyboardInterrupt:
        print(
            "interrupted; what was downloaded is kept for the next run" if fetches else "interrupted", file=sys.stderr
        )
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
            import traceback

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
    errors = (error, *error.others)
    if json:
        each = {"errors": [output.error_document(one) for one in errors]} if error.others else {}
        output.print_json(each, errors)
    output.print_errors(errors)
    return exit_code_of(errors)


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
