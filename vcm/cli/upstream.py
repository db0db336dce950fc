"""``outdated`` and ``diff``: what has changed, on the hub and between two locks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vcm.cli import output
from vcm.cli.context import Json, open_project
from vcm.cli.dispatch import command


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
