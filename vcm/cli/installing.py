"""A plan carried out and told: what ``sync``, ``add`` and ``verify --repair`` have in common."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vcm.cli import output
from vcm.core.lock import LockedModel
from vcm.core.manifest import DEFAULT_HEADROOM, Manifest
from vcm.install.syncing import Synced

if TYPE_CHECKING:
    from vcm.session import Session


def carry_out(
    session: Session,
    manifest: Manifest | None,
    models: Iterable[LockedModel],
    *,
    folders: Sequence[Path] = (),
    skipped: Iterable[LockedModel] = (),
    asked_hub: bool = False,
    json: bool,
) -> int:
    """Install models, say what became of each, and give the exit code.

    Args:
        session: whose store and hub to use.
        manifest: tells which models are optional; without one, none is.
        models: what to install.
        folders: where to look for bytes first.
        skipped: locked models that are not for this machine, or in no group that was asked for.
        asked_hub: whether locking has used the network before.
        json: whether to print one JSON document.
    """
    headroom = manifest.disk_headroom if manifest else DEFAULT_HEADROOM
    plan = session.store.plan(models, session.reporter, session.cancelled)
    answers = session.install(plan, headroom, folders)
    answers += [Synced(model=model, status="skipped") for model in skipped]
    optional = {model.name for model in manifest.models if model.optional} if manifest else set()
    errors = [answer.error for answer in answers if answer.error and answer.model.root not in optional]
    if json:
        output.print_json(output.sync_document(answers), errors)
    else:
        output.print_sync(answers, asked_hub=asked_hub)
    _print_failures(answers, optional)
    return errors[0].exit_code if errors else 0


def _print_failures(answers: Sequence[Synced], optional: set[str]) -> None:
    for answer in answers:
        if answer.error is None:
            continue
        if answer.model.root in optional:
            answer.error.hint = "it is optional, so this is no failure"
        output.print_error(answer.error)
