"""``outdated`` and ``diff``: what has changed, on the hub and between two locks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from vcm.cli import output
from vcm.cli.context import Json, open_project, open_session, options
from vcm.cli.dispatch import command
from vcm.core.lock import Lock
from vcm.core.manifest import Manifest
from vcm.core.wording import counted
from vcm.errors import VcmError
from vcm.store.project import Project


@command("outdated")
def outdated(
    refresh: Annotated[
        bool, typer.Option("--refresh", help="Ask the hub, whatever it said in the last hours.")
    ] = False,
    exit_code: Annotated[bool, typer.Option("--exit-code", help="Exit 1 when something is to do.")] = False,
    json: Json = False,
) -> int:
    """What is newer than what is locked, what really changed in it, and what became of the repos."""
    from vcm.cli import upstream_output

    project = open_project()
    manifest = project.manifest()
    models = project.fitting_lock(manifest).models
    with open_session(project, manifest, freshness="refresh" if refresh else "normal") as session:
        news = session.news(models, manifest)
    errors = [each.error for each in news if each.error]
    if json:
        output.print_json(_with_error(upstream_output.news_document(news), errors))
    else:
        upstream_output.print_news(news)
    _print_errors(errors)
    if errors:
        return errors[0].exit_code
    return 1 if exit_code and any(each.needs_action for each in news) else 0


def confirm_lock(project: Project, manifest: Manifest, lock: Lock, *, json: bool) -> int:
    """``lock --check --upstream``: is every locked model still what it was? Exit 0, 1, or 3 where nobody can tell."""
    from vcm.cli import upstream_output

    with open_session(project, manifest) as session:
        answers = session.confirm(lock.models)
    errors = [answer.error for answer in answers if answer.error]
    if json:
        output.print_json(_with_error(upstream_output.confirmation_document(answers), errors))
    else:
        upstream_output.print_confirmation(answers)
    _print_errors(errors)
    if any(answer.is_wrong for answer in answers):
        return 1
    return errors[0].exit_code if errors else 0


def _with_error(document: dict[str, Any], errors: list[VcmError]) -> dict[str, Any]:
    return document | ({"error": output.error_document(errors[0])} if errors else {})


def _print_errors(errors: list[VcmError]) -> None:
    """Each once: where the hub is down, there is one to say for all models."""
    alike: dict[tuple[str, str], list[VcmError]] = {}
    for error in errors:
        alike.setdefault((error.message, error.hint), []).append(error)
    for first, *others in alike.values():
        if others:
            first.details += (f"the same for {counted(len(others), 'other model')}",)
        output.print_error(first, color=options().use_color)


@command("diff")
def diff(
    old: Annotated[
        Path | None, typer.Argument(metavar="[OLD.lock]", help="The older lock; by default the one git has committed.")
    ] = None,
    json: Json = False,
) -> int:
    """What changed in models.lock, for whoever reviews it."""
    from vcm.cli import upstream_output
    from vcm.core.differences import lock_differences
    from vcm.store.old_locks import committed_lock, kept_lock

    project = open_project()
    after = project.required_lock()
    before = committed_lock(project) if old is None else kept_lock(old)
    differences = lock_differences(before, after)
    if json:
        output.print_json(upstream_output.differences_document(before, after, differences))
    else:
        upstream_output.print_differences(before, after, differences)
    return 0
