"""``run``: a program that was not written for vcm, on the locked models and nothing else."""

from __future__ import annotations

import os
import signal
import sys
from typing import Annotated

import typer

from vcm.cli import output
from vcm.cli.context import (
    AllGroups,
    Groups,
    chosen_groups,
    open_project,
    open_reporter,
    open_store,
    options,
    results_aside,
)
from vcm.cli.dispatch import command
from vcm.cli.interrupts import hand_over_signals
from vcm.core.manifest import Manifest
from vcm.core.plan import ALL_GROUPS
from vcm.core.wording import system_reason
from vcm.enforce import gate
from vcm.errors import ConfigError


@command("run")
def run(
    program: Annotated[list[str], typer.Argument(metavar="COMMAND...", help="The program, and what it is told.")],
    download_models: Annotated[
        bool, typer.Option("--download-models", help="First lock and install what is missing, as vcm sync does.")
    ] = False,
    group: Groups = [],
    all_groups: AllGroups = False,
) -> int:
    """Start a program on the locked models, and nothing else.

    It does not start unless vcm check says yes. What it asks the Hub for comes from HF_HUB_CACHE, a folder with the
    locked repos; it is offline. Options behind COMMAND are its own.
    """
    if download_models:
        _refuse_no_program(program[0])
        code = _sync(group, all_groups)
        if code:
            return code
    project = open_project()
    manifest = project.manifest()
    store = open_store(project, manifest)
    groups = chosen_groups(group, all_groups)
    answers = gate.check(project, manifest, store, groups=groups, reporter=open_reporter())
    failing = [answer.error() for answer in answers if not answer.passes]
    for error in failing:
        output.print_error(error)
    for text in gate.known_notices([answer.model for answer in answers], manifest, store):
        print(f"note: {text}", file=sys.stderr)
    if failing:
        return 1

    from vcm.enforce.hub_view import prepare

    prepared = prepare(project, store, answers)
    absent = [
        f"{answer.model.name}: optional, and not installed: {answer.error().hint}"
        for answer in answers
        if answer.findings
    ]
    for text in (*prepared.view.notices, *absent):
        print(f"note: {text}", file=sys.stderr)
    if not options().quiet:
        more = "" if prepared.view.is_summed_up() else f" ({prepared.opened.offered})"
        # Clients that are offline on purpose say that they cannot connect.
        advice = (
            f"a client that cannot connect asked for another: vcm add NAME REPO{_groups_left_out(manifest, groups)}"
        )
        print(f"vcm: offline, {prepared.view.summary()}{more}; {advice}", file=sys.stderr)
    try:
        return _start(program, prepared.environment)
    except (OSError, ValueError) as error:
        prepared.opened.close()
        reason = system_reason(error) if isinstance(error, OSError) else str(error)
        raise _cannot_run(program[0], reason) from error


def _refuse_no_program(name: str) -> None:
    """Refuse what could only fail after hours of downloading."""
    import shutil

    if shutil.which(name) is None:
        raise _cannot_run(name, "no such program")


def _cannot_run(name: str, reason: str) -> ConfigError:
    return ConfigError(
        f"cannot run {name}: {reason}",
        hint="check its name, PATH, and whether it may be executed; a script begins with #! and a program",
    )


def _groups_left_out(manifest: Manifest, chosen: tuple[str, ...]) -> str:
    """How the program would find the models that are declared and only not asked for."""
    groups = dict.fromkeys(
        model.groups[0]
        for model in manifest.models
        if model.groups and ALL_GROUPS not in chosen and not {*model.groups} & {*chosen}
    )
    return "".join(f", or vcm run --group {group}" for group in groups)


def _sync(group: list[str], all_groups: bool) -> int:
    from vcm.cli.syncing import sync

    with results_aside():  # standard output is the program's
        return sync(group=group, all_groups=all_groups)


def _start(program: list[str], environment: dict[str, str]) -> int:
    sys.stdout.flush()
    sys.stderr.flush()
    if os.name != "nt":
        hand_over_signals()
        os.execvpe(program[0], program, environment)  # noqa: S606  (what the user asked for)
    return run_beside(program, environment)


def run_beside(program: list[str], environment: dict[str, str]) -> int:
    """Run a program to its end and give its exit code: Windows has no exec, only what looks like one."""
    import shutil
    import subprocess

    found = shutil.which(program[0], path=environment.get("PATH")) or program[0]
    with subprocess.Popen([found, *program[1:]], env=environment) as child:  # noqa: S603  (what the user asked for)
        # Ctrl-C goes to both; what it means is for the program to say.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        code = child.wait()
    # Windows counts codes beyond what C calls an int.
    return code - (1 << 32) if code >= 1 << 31 else code
