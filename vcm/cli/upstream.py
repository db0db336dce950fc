"""``outdated`` and ``diff``: what has changed, on the hub and between two locks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vcm.cli import output
from vcm.cli.context import Json, Refresh, open_project, open_session
from vcm.cli.dispatch import command
from vcm.core.lock import Lock
from vcm.core.manifest import Manifest
from vcm.errors import exit_code_of
from vcm.store.project import Project


@command("outdated")
def outdated(
    refresh: Refresh = False,
    exit_code: Annotated[bool, typer.Option("--exit-code", help="Exit 1 when something is to do.")] = False,
    json: Json = False,
) -> int:
    """What is newer, what changed in it, what became of the repos."""
    from vcm.cli import upstream_output

    project = open_project()
    manifest = project.manifest()
    models = project.fitting_lock(manifest).models
    with open_session(project, manifest, freshness="refresh" if refresh else "normal") as session:
        news = session.news(models, manifest)
    errors = [each.error for each in news if each.error]
    if json:
        output.print_json(upstream_output.news_document(news), errors)
    else:
        upstream_output.print_news(news)
    output.print_errors(errors)
    if errors:
        return exit_code_of(errors)
    return 1 if exit_code and any(each.needs_action for each in news) else 0


def confirm_lock(project: Project, manifest: Manifest, lock: Lock, *, json: bool) -> int:
    """``lock --check --upstream``: is every locked model still what it was? Exit 0, 1, or 3 where nobody can tell."""
    from vcm.cli import upstream_output

    with open_session(project, manifest) as session:
        answers = session.confirm(lock.models)
    errors = [answer.error for answer in answers if answer.error]
    if json:
        output.print_json(upstream_output.confirmation_document(answers), errors)
    else:
        upstream_output.print_confirmation(answers)
    output.print_errors(errors)
    if any(answer.is_wrong for answer in answers):
        return 1
    return exit_code_of(errors)


@command("diff")
def diff(
    old: Annotated[
        Path | None, typer.Argument(metavar="OLD.lock", help="The older lock; by default the one git has committed.")
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
