"""``bundle``: what is locked as one file, for a place without a network."""

from __future__ import annotations

import io
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vcm.cli import output
from vcm.cli.context import AllGroups, Groups, Json, chosen_groups, open_project, open_session, results_aside
from vcm.cli.dispatch import command
from vcm.core.bundles import Bundle, plan_bundle
from vcm.core.digest import text_digest
from vcm.core.lock import lock_text
from vcm.core.plan import models_in_scope
from vcm.core.redistribution import caution
from vcm.core.wording import byte_count, counted, system_reason
from vcm.errors import PERMISSION_ERROR, ConfigError, VcmError
from vcm.store.bundling import BundleWriter, Progress
from vcm.store.old_locks import kept_lock

if TYPE_CHECKING:
    from vcm.core.lock import LockedFile, LockedModel
    from vcm.session import Session

_OUTPUT = Path("-")
_READERS = "whoever has the bundle has it"


@command("bundle")
def bundle(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The tar to write; - is standard output.")],
    since: Annotated[
        Path | None,
        typer.Option("--since", metavar="OLD.lock", help="Leave out the files that this older lock names."),
    ] = None,
    group: Groups = [],
    all_groups: AllGroups = False,
    json: Json = False,
) -> int:
    """Write what is locked and installed into one file.

    The file is an OCI image layout as a tar, which skopeo reads as oci-archive. Every byte is hashed on the way.
    """
    if file == _OUTPUT:
        _refuse_output(json=json)
    project = open_project()
    manifest = project.manifest()
    models = models_in_scope(manifest, project.fitting_lock(manifest), chosen_groups(group, all_groups))
    before = kept_lock(since, named="vcm bundle FILE --since OLD.lock") if since else None
    planned = plan_bundle(models, before, text_digest(lock_text(before)) if before else None)
    with open_session(project, manifest) as session, session.use.needing(models, to_write=False):
        writer = BundleWriter(session.store, planned)
        for model in models:
            if text := caution(model, _READERS):
                session.reporter.notice(text)
        _write(session, writer, planned, file)
    with results_aside() if file == _OUTPUT else nullcontext():
        if json:
            output.print_json(_document(planned, file, writer.size))
        else:
            _print_bundle(planned, file, writer.size, since)
    return 0


def _refuse_output(*, json: bool) -> None:
    if json:
        raise ConfigError("the bundle and the JSON document cannot both be standard output", hint="name a file")
    if sys.stdout.isatty():
        raise ConfigError(
            "a bundle is nothing for a terminal",
            hint="name a file, or hand it on: vcm bundle - | ssh HOST 'cat > models.tar'",
        )


def _write(session: Session, writer: BundleWriter, planned: Bundle, file: Path) -> None:
    reporter, shown = session.reporter, dict[str, int]()

    def progress(model: LockedModel, locked: LockedFile, count: int) -> None:
        if session.cancelled.is_set():
            raise KeyboardInterrupt
        label = f"{model.name}/{locked.path}"
        if label not in shown:
            reporter.file_started(label, locked.size, 0)
        shown[label] = shown.get(label, 0) + count
        reporter.advanced(label, count)
        if shown[label] == locked.size:
            reporter.file_finished(label)

    files = [locked for _, locked in planned.files.values()]
    reporter.started(f"bundling {counted(len(files), 'file')}", sum(each.size for each in files))
    try:
        if file == _OUTPUT:
            _write_output(writer, progress)
        else:
            writer.write_file(file, progress)
    finally:
        reporter.finished()


def _write_output(writer: BundleWriter, progress: Progress) -> None:
    sys.stdout.flush()
    with io.FileIO(sys.stdout.fileno(), "w", closefd=False) as stream:

        def write(data: memoryview) -> None:
            while data:
                try:
                    data = data[stream.write(data) or 0 :]
                except OSError as error:
                    raise VcmError(
                        f"the bundle could not be handed on: {system_reason(error)}",
                        error_code=PERMISSION_ERROR,
                        hint="what was written of it is no bundle: see why its reader ended, then begin again",
                    ) from error

        writer.write(write, progress)


def _document(planned: Bundle, file: Path, size: int) -> dict[str, Any]:
    return {
        "file": str(file),
        "bytes": size,
        "files": len(planned.files),
        "since": f"sha256:{planned.since}" if planned.since else None,
        "files_left_out": len(planned.left_out),
        "bytes_left_out": planned.bytes_left_out,
        "models": [
            {
                **output.model_document(each.model),
                "manifest": f"sha256:{each.digest}",
                "reference": each.reference,
            }
            for each in planned.packages
        ],
    }


def _print_bundle(planned: Bundle, file: Path, size: int, since: Path | None) -> None:
    place = "standard output" if file == _OUTPUT else str(file)
    print(
        f"Bundled {counted(len(planned.packages), 'model')} into {place}: "
        f"{counted(len(planned.files), 'file')}, {byte_count(size)}"
    )
    if planned.left_out:
        left_out = f"{counted(len(planned.left_out), 'file')}, {byte_count(planned.bytes_left_out)}"
        print(f"Left out {left_out}, that {since} names{'' if planned.files else ': nothing is new'}")
    print(output.table([f" {each.model.name}", each.reference] for each in planned.packages))
