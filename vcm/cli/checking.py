"""``check``, ``verify``, ``list``, ``show`` and ``path``: what is there, and whether it is right."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from vcm.cli import output
from vcm.cli.context import (
    AllGroups,
    Groups,
    Json,
    Name,
    chosen_groups,
    open_project,
    open_reporter,
    open_session,
    open_store,
)
from vcm.cli.dispatch import command
from vcm.cli.installing import carry_out
from vcm.core.lock import staleness
from vcm.core.plan import models_in_scope
from vcm.core.wording import counted, did_you_mean
from vcm.enforce import gate
from vcm.errors import ConfigError, exit_code_of


@command("check")
def check(group: Groups = [], all_groups: AllGroups = False, json: Json = False) -> int:
    """Is all locked, installed and unchanged? Exit 0 or 1.

    No network is used. A file that looks changed is hashed before it is called so.
    """
    project = open_project()
    manifest = project.manifest()
    store = open_store(project, manifest)
    answers = gate.check(project, manifest, store, groups=chosen_groups(group, all_groups), reporter=open_reporter())
    failing = [answer for answer in answers if not answer.passes]
    _print_answers(answers, "unchanged", json=json)
    for text in gate.known_notices([answer.model for answer in answers], manifest, store):
        print(f"note: {text}", file=sys.stderr)
    return 1 if failing else 0


@command("verify")
def verify(
    repair: Annotated[bool, typer.Option("--repair", help="Put right what is missing or damaged.")] = False,
    group: Groups = [],
    all_groups: AllGroups = False,
    json: Json = False,
) -> int:
    """Hash every byte of every installed model again.

    Exit 1 where a model is missing, 4 where bytes are wrong.
    """
    project = open_project()
    manifest = project.manifest()
    models = models_in_scope(manifest, project.fitting_lock(manifest), chosen_groups(group, all_groups))
    with open_session(project, manifest) as session:
        reporter, total = session.reporter, sum(model.size for model in models)
        reporter.started(f"verifying {counted(len(models), 'model')}", total)
        try:
            answers = gate.inspect_all(
                models, manifest, session.store, full=True, reporter=reporter, cancelled=session.cancelled
            )
        finally:
            reporter.finished()
        failing = [answer for answer in answers if not answer.passes]
        if failing and repair:
            _report_damage(failing)
            for answer in failing:
                # Its record may be older than the damage: without it, what was found just now decides.
                session.store.snapshots.forget(answer.model.tree_digest)
            return carry_out(session, manifest, [answer.model for answer in failing], whole=False, json=json)
    _print_answers(answers, "every byte verified", json=json)
    return exit_code_of([answer.error() for answer in failing])


def _report_damage(failing: list[gate.Checked]) -> None:
    for answer in failing:
        print(f"{'' if answer.is_absent else 'damaged: '}{answer.error()}", file=sys.stderr)


def _print_answers(answers: list[gate.Checked], word: str, *, json: bool) -> None:
    errors = [answer.error() for answer in answers if not answer.passes]
    if json:
        output.print_json(output.check_document(answers), errors)
    elif not errors:
        absent = [answer.model.name for answer in answers if answer.is_absent]
        extra = f"; optional and not installed: {', '.join(absent)}" if absent else ""
        print(f"{counted(len(answers) - len(absent), 'model')} locked and installed, {word}{extra}")
    for error in errors:
        output.print_error(error)


@command("list")
def list_models(json: Json = False) -> int:
    """What is locked and installed."""
    project = open_project()
    manifest = project.manifest()
    locked = project.required_lock()
    reason = staleness(locked, manifest)
    if reason is not None:
        print(f"note: models.lock does not fit models.toml: {reason}", file=sys.stderr)
    store = open_store(project, manifest)
    answers = gate.inspect_all(locked.models, manifest, store, reporter=open_reporter())
    if json:
        output.print_json(output.list_document(answers, manifest))
    else:
        output.print_list(answers, manifest)
    return 0


@command("show")
def show(name: Name, json: Json = False) -> int:
    """One model in full."""
    answer = _inspect(name)
    if json:
        output.print_json(output.show_document(answer))
    else:
        output.print_show(answer)
    return 0


@command("path")
def path(
    name: Name,
    file: Annotated[str | None, typer.Argument(metavar="FILE", help="A file inside the model.")] = None,
) -> int:
    """Where a model is: the bare path on standard output."""
    answer = _inspect(name)
    if answer.findings:
        raise answer.error()
    if file is None:
        print(answer.path)
        return 0
    known = [each.path for each in answer.model.files]
    if file not in known:
        raise ConfigError(
            f'{name} has no file "{file}"{did_you_mean(file, known)}', hint=f"vcm show {name} lists its files"
        )
    print(answer.path / file)
    return 0


def _inspect(name: str) -> gate.Checked:
    project = open_project()
    manifest = project.manifest()
    model = gate.locked_model(project, manifest, name)
    return gate.inspect(model, manifest, open_store(project, manifest))
