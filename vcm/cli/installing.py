"""A plan carried out and told: what ``sync``, ``add`` and ``verify --repair`` have in common."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vcm.cli import output
from vcm.core.lock import LockedModel
from vcm.core.manifest import DEFAULT_HEADROOM, Manifest
from vcm.errors import DiskSpaceError, VcmError, exit_code_of
from vcm.install.syncing import Synced, check_space

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
    whole: bool = True,
    json: bool,
) -> int:
    """Install models, say what became of each, and give the exit code.

    Args:
        session: whose store and hub to use.
        manifest: tells which models are optional; without one, none is.
        models: what to install.
        folders: where to look for bytes first; bundles, too.
        skipped: locked models that are not for this machine, or in no group that was asked for.
        asked_hub: whether locking has used the network before.
        whole: whether these are all models that the project uses here.
        json: whether to print one JSON document.
    """
    headroom = manifest.disk_headroom if manifest else DEFAULT_HEADROOM
    began = time.monotonic()
    plan = session.store.plan(models, session.reporter, session.cancelled)
    answers = session.install(plan, headroom, folders, whole=whole)
    seconds = time.monotonic() - began
    answers += [Synced(model=model, status="skipped") for model in skipped]
    _say_what_is_missing(answers, session, headroom)
    errors = errors_of(answers, manifest)
    if json:
        output.print_json(output.sync_document(answers, [each.name for each in session.settings.mirrors]), errors)
    else:
        output.print_sync(answers, asked_hub=asked_hub, seconds=seconds)
    print_failures(answers, manifest)
    return exit_code_of(errors)


def _say_what_is_missing(answers: Sequence[Synced], session: Session, headroom: float) -> None:
    """Where the disk was full in the middle, tell how much the rest needs, as before a beginning."""
    full = {
        answer.model.name: answer.error
        for answer in answers
        if isinstance(answer.error, DiskSpaceError) and not answer.error.needed
    }
    if not full:
        return
    try:
        plan = session.store.plan(answer.model for answer in answers if answer.error)
        check_space(plan.to_fetch, session.store, headroom)
    except DiskSpaceError as needed:
        for error in full.values():
            error.message, error.hint, error.file = needed.message, needed.hint, None
            error.needed, error.free = needed.needed, needed.free


def errors_of(answers: Iterable[Synced], manifest: Manifest | None) -> list[VcmError]:
    """The errors that end a command: those of models that are not optional."""
    optional = _optional(manifest)
    return [answer.error for answer in answers if answer.error and answer.model.root not in optional]


def print_failures(answers: Iterable[Synced], manifest: Manifest | None) -> None:
    """All errors, with what to do next."""
    optional = _optional(manifest)
    for answer in answers:
        if answer.error is None:
            continue
        if answer.model.root in optional:
            answer.error.hint = "it is optional, so this is no failure"
        output.print_error(answer.error)


def _optional(manifest: Manifest | None) -> set[str]:
    return {model.name for model in manifest.models if model.optional} if manifest else set()
