"""``add``, ``remove`` and ``lock``: what is required, and what it is pinned to."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Annotated, Any

import typer

from vcm.cli import output
from vcm.cli.context import Json, Name, Refresh, open_project, open_session
from vcm.cli.dispatch import command
from vcm.cli.installing import carry_out
from vcm.core import names
from vcm.core.manifest import Manifest, parse_manifest
from vcm.core.plan import models_in_scope
from vcm.core.policy import refuse_violations
from vcm.core.wording import counted, did_you_mean
from vcm.enforce import gate
from vcm.errors import ConfigError
from vcm.version import VERSION


@command("add")
def add(
    name: Name,
    reference: Annotated[
        str,
        typer.Argument(metavar="REPO", help="namespace/name, REPO@REVISION, 'REPO~=1.2', or the address of a file."),
    ],
    include: Annotated[
        list[str], typer.Option("--include", metavar="GLOB", help="Take only files like this (may be repeated).")
    ] = [],
    exclude: Annotated[
        list[str], typer.Option("--exclude", metavar="GLOB", help="Leave files like this out (may be repeated).")
    ] = [],
    group: Annotated[
        list[str], typer.Option("--group", metavar="NAME", help="Install only when this group is asked for.")
    ] = [],
    optional: Annotated[bool, typer.Option("--optional", help="The program can do without it.")] = False,
    allow_pickle: Annotated[
        bool, typer.Option("--allow-pickle", help="Accept files that may run code when they are loaded.")
    ] = False,
    no_follow: Annotated[
        bool, typer.Option("--no-follow", help="Leave out what it pulls in from other repos, such as a base model.")
    ] = False,
    no_sync: Annotated[bool, typer.Option("--no-sync", help="Lock only.")] = False,
    json: Json = False,
) -> int:
    """Require a model: write it into models.toml, lock it, install it."""
    from vcm.core.editing import add_model
    from vcm.core.reference import parse_reference

    values: dict[str, Any] = parse_reference(reference)
    choices = {"include": include, "exclude": exclude, "groups": group, "optional": optional}
    values |= {key: value for key, value in {**choices, "allow-pickle": allow_pickle}.items() if value}
    if no_follow:
        values["follow"] = False
    try:
        names.model_name(name)
    except ValueError as error:
        raise ConfigError(f'"{name}": {error}', hint="choose another name") from None
    return _edit(lambda text: add_model(text, name, values), sync=not no_sync, json=json)


@command("remove")
def remove(name: Name, json: Json = False) -> int:
    """Stop requiring a model. Its bytes stay in the store, which other projects may use."""
    from vcm.core.editing import remove_model

    return _edit(lambda text: remove_model(text, name), sync=False, json=json)


def _edit(edit: Callable[[str], str], *, sync: bool, json: bool) -> int:
    """Edit the manifest and lock it. Only when that works is anything written."""
    project = open_project()
    before = project.manifest_bytes()
    edited_from = parse_manifest(before, vcm_version=VERSION)
    after = edit(before.decode()).encode()
    manifest = parse_manifest(after, vcm_version=VERSION)
    old_lock = project.lock()
    with open_session(project, manifest) as session:
        locking = session.resolve(manifest, old_lock, edited_from=edited_from)
        project.write_manifest(after)
        try:
            project.write_lock(locking.after)
        except BaseException:
            project.write_manifest(before)
            raise
        if not json:
            output.print_lock(locking, verb="Locked")
        if sync:
            old = {model.name for model in old_lock.models} if old_lock else set()
            new = {model.name for model in locking.after.models} - old
            models = models_in_scope(manifest, locking.after, _groups_of(manifest, new))
            return carry_out(session, manifest, models, json=json)
        if json:
            output.print_json(output.lock_document(locking))
        return 0


def _groups_of(manifest: Manifest, names: set[str]) -> tuple[str, ...]:
    """The groups of models that were just asked for by name."""
    return tuple({group for model in manifest.models if model.name in names for group in model.groups})


@command("lock")
def lock(
    check: Annotated[
        bool, typer.Option("--check", help="Only tell whether models.lock fits models.toml; no network.")
    ] = False,
    upstream: Annotated[
        bool, typer.Option("--upstream", help="With --check: ask the hub whether all is there as it was locked.")
    ] = False,
    upgrade: Annotated[
        bool, typer.Option("--upgrade", help="Take the newest that is allowed, for all models.")
    ] = False,
    upgrade_model: Annotated[
        list[str], typer.Option("--upgrade-model", metavar="NAME", help="The same for one model (may be repeated).")
    ] = [],
    refresh: Refresh = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell what would be locked.")] = False,
    json: Json = False,
) -> int:
    """Pin every file of every model by SHA-256 in models.lock.

    What is locked and still fits stays as it is, until --upgrade.
    """
    project = open_project()
    manifest = project.manifest()
    if upstream and not check:
        raise ConfigError("--upstream goes with --check", hint="run vcm lock --check --upstream")
    if check:
        found = project.fitting_lock(manifest)
        refuse_violations(manifest.policy, found.models, time.time())
        if upstream:
            from vcm.cli.upstream import confirm_lock

            return confirm_lock(project, manifest, found, json=json)
        if json:
            output.print_json({"ok": True, "models": [output.model_document(model) for model in found.models]})
        else:
            print(f"models.lock fits models.toml ({counted(len(found.models), 'model')})")
        return 0
    known = [model.name for model in manifest.models]
    for name in upgrade_model:
        if name not in known:
            raise ConfigError(
                f'no model "{name}" in models.toml{did_you_mean(name, known)}', hint=f"models: {', '.join(known)}"
            )
    with open_session(project, manifest, "refresh" if refresh else "normal") as session:
        wanted = ("*",) if upgrade else tuple(upgrade_model)
        locking = session.resolve(manifest, project.lock(), upgrade=wanted, asks_all=refresh)
        for text in gate.known_notices(locking.after.models, manifest, session.store):
            session.reporter.notice(text)
    if not dry_run:
        project.write_lock(locking.after)
    if json:
        output.print_json(output.lock_document(locking))
    else:
        output.print_lock(locking, verb="Would lock" if dry_run else "Locked")
    return 0
