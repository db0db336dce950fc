"""``sync``: the store made to hold exactly what is locked."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vcm.cli import output
from vcm.cli.context import AllGroups, Groups, Json, chosen_groups, open_project, open_session, options
from vcm.cli.dispatch import command
from vcm.cli.installing import carry_out, errors_of, print_failures
from vcm.core.lock import LockedModel
from vcm.core.manifest import Manifest
from vcm.core.plan import models_in_scope
from vcm.errors import ConfigError, exit_code_of
from vcm.settings import project_folder
from vcm.store.project import Project, find_project

if TYPE_CHECKING:
    from vcm.session import Session


@command("sync")
def sync(
    locked: Annotated[bool, typer.Option("--locked", help="Refuse when models.lock does not fit.")] = False,
    frozen: Annotated[bool, typer.Option("--frozen", help="Use models.lock without looking at models.toml.")] = False,
    group: Groups = [],
    all_groups: AllGroups = False,
    from_folder: Annotated[
        list[Path],
        typer.Option(
            "--from", metavar="DIR|FILE", help="Take bytes from this folder or bundle first (may be repeated)."
        ),
    ] = [],
    no_origin: Annotated[bool, typer.Option("--no-origin", help="Ask mirrors only, not the hub.")] = False,
    strict_mirrors: Annotated[
        bool, typer.Option("--strict-mirrors", help="A mirror that sends wrong bytes is an error.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell what would be done.")] = False,
    json: Json = False,
) -> int:
    """Make the store hold exactly what models.lock says.

    It locks first where there is no models.lock, or it does not fit.
    """
    if frozen:
        if locked or group or all_groups:
            raise ConfigError(
                "--frozen installs all of models.lock and does not look at models.toml, where the groups stand",
                hint="leave out --frozen, or the options beside it",
            )
        return _sync_frozen(from_folder, no_origin, strict_mirrors, dry_run=dry_run, json=json)
    project = open_project()
    manifest = project.manifest()
    with open_session(project, manifest, no_origin=no_origin, strict_mirrors=strict_mirrors) as session:
        locking = session.lock_for_sync(project, manifest, locked=locked, write=not dry_run)
        if not json and locking.before != locking.after:
            output.print_lock(locking, verb="Would lock" if dry_run else "Locked")
        models = models_in_scope(manifest, locking.after, chosen_groups(group, all_groups))
        if dry_run:
            return _print_plan(session, manifest, models, from_folder, json=json)
        chosen = {model.name for model in models}
        skipped = [model for model in locking.after.models if model.name not in chosen]
        return carry_out(
            session,
            manifest,
            models,
            folders=from_folder,
            skipped=skipped,
            asked_hub=locking.requested,
            json=json,
        )


def _sync_frozen(folders: list[Path], no_origin: bool, strict_mirrors: bool, *, dry_run: bool, json: bool) -> int:
    given = options().project or project_folder()
    project = Project(given.absolute()) if given else find_project(Path.cwd(), "models.lock")
    try:
        # The store and the hub are those that the gate will use, where the manifest can be read at all.
        manifest: Manifest | None = project.manifest()
    except ConfigError:
        manifest = None
    with open_session(project, manifest, no_origin=no_origin, strict_mirrors=strict_mirrors) as session:
        models = project.required_lock().models
        if dry_run:
            return _print_plan(session, None, models, folders, json=json)
        return carry_out(session, None, models, folders=folders, json=json)


def _print_plan(
    session: Session, manifest: Manifest | None, models: Iterable[LockedModel], folders: list[Path], *, json: bool
) -> int:
    plan = session.supplied(session.store.plan(models, session.reporter, session.cancelled), folders)
    answers = session.failures(plan) if plan.lacking else []
    errors = errors_of(answers, manifest)
    if json:
        output.print_json(output.plan_document(plan), errors)
    else:
        output.print_plan(plan)
    print_failures(answers, manifest)
    return exit_code_of(errors)
