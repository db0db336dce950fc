"""``push``: installed models brought to an OCI registry, for other machines to take from there."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vcm.cli import output
from vcm.cli.context import AllGroups, Groups, Json, chosen_groups, open_project, open_session
from vcm.cli.dispatch import command
from vcm.core.redistribution import caution
from vcm.core.wording import byte_count, counted, listed
from vcm.enforce import gate
from vcm.errors import RegistryError, exit_code_of

if TYPE_CHECKING:
    from vcm.core.lock import LockedModel
    from vcm.core.mirrors import Mirror, RegistryAddress
    from vcm.core.reporter import Reporter
    from vcm.pushing.packages import Pushed
    from vcm.session import Session

_READERS = "a mirror gives it to whoever can read the mirror"
_CAME = {"mounted": "taken from another repository", "present": "there already"}
_MARKS = {"pushed": "+", "missing": "+", "present": "=", "failed": "!"}


@command("push")
def push(
    mirror: Annotated[
        str | None,
        typer.Argument(
            metavar="MIRROR",
            help="A configured mirror's name, or oci://HOST/PATH/{repo}; else the one with push = true.",
        ),
    ] = None,
    tag: Annotated[
        str | None, typer.Option("--tag", metavar="TAG", help="Also by this tag, beside that of the commit.")
    ] = None,
    group: Groups = [],
    all_groups: AllGroups = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only ask the registry what it has not got.")] = False,
    json: Json = False,
) -> int:
    """Bring installed models to an OCI registry.

    Other machines take them from there. What the registry has is not sent again. Credentials are those of docker login
    and podman login.
    """
    from vcm.pushing.destination import checked_tag, destination

    project = open_project()
    manifest = project.manifest()
    with open_session(project, manifest) as session:
        chosen, address = destination(mirror, session.settings.mirrors)
        tag = checked_tag(tag) if tag is not None else None
        if session.settings.offline:
            raise RegistryError(
                "a push needs the network, and this run is offline",
                hint="run it without --offline, VCM_OFFLINE and HF_HUB_OFFLINE",
            )
        session.use.hold()
        answers = gate.check(
            project, manifest, session.store, groups=chosen_groups(group, all_groups), reporter=session.reporter
        )
        _refuse_unsound(answers)
        models = [answer.model for answer in answers if not answer.findings]
        _tell(session.reporter, answers)
        locked = project.fitting_lock(manifest).models
        began = time.monotonic()
        pushed = _push(session, chosen, address, models, locked, tag=tag, dry_run=dry_run)
        seconds = time.monotonic() - began
    errors = [each.error for each in pushed if each.error is not None]
    if json:
        output.print_json(_document(pushed, address.host, dry_run=dry_run), errors)
    else:
        _print(pushed, address.host, seconds, dry_run=dry_run)
    output.print_errors(errors)
    return exit_code_of(errors)


def _refuse_unsound(answers: Sequence[gate.Checked]) -> None:
    """Nothing is pushed unless all can be."""
    errors = [answer.error() for answer in answers if not answer.passes]
    if errors:
        errors[0].others = tuple(errors[1:])
        raise errors[0]


def _tell(reporter: Reporter, answers: Sequence[gate.Checked]) -> None:
    for answer in answers:
        if answer.findings:
            reporter.notice(f"{answer.model.name}: optional and not installed, so it is not pushed")
        elif (text := caution(answer.model, _READERS)) is not None:
            reporter.notice(text)


def _push(
    session: Session,
    mirror: Mirror,
    address: RegistryAddress,
    models: Sequence[LockedModel],
    locked: Sequence[LockedModel],
    *,
    tag: str | None,
    dry_run: bool,
) -> list[Pushed]:
    from vcm.mirrors.opening import registry_client
    from vcm.oci.upload import Uploader
    from vcm.pushing.pusher import Pusher

    registry = registry_client(session.settings, mirror)
    try:
        with session.use.needing(models, to_write=False):
            uploader = Uploader(registry, session.reporter, session.cancelled.wait, session.cancelled)
            pusher = Pusher(session.store, address, uploader, session.cancelled)
            return pusher.push(models, locked=locked, tag=tag, dry_run=dry_run)
    finally:
        registry.http.close()


def _reference(pushed: Pushed, host: str) -> str:
    return f"{host}/{pushed.repository}@sha256:{pushed.digest}"


def _document(pushed: Sequence[Pushed], host: str, *, dry_run: bool) -> dict[str, Any]:
    return {
        "dry_run": dry_run,
        "registry": host,
        "models": [
            {
                **output.model_document(each.model),
                "repository": each.repository,
                "tags": list(each.tags),
                "digest": f"sha256:{each.digest}",
                "reference": _reference(each, host),
                "status": each.status,
                **{f"bytes_{how}": size for how, size in each.sizes.items()},
                **({"error": output.error_document(each.error)} if each.error else {}),
            }
            for each in pushed
        ],
        **{f"bytes_{how}": sum(each.sizes[how] for each in pushed) for how in ("pushed", "mounted", "present")},
    }


def _print(pushed: Sequence[Pushed], host: str, seconds: float, *, dry_run: bool) -> None:
    done = [each for each in pushed if each.status in ("pushed", "missing")]
    came = {**_CAME, "pushed": "to upload" if dry_run else "uploaded"}
    if done:
        size = byte_count(sum(each.sizes["pushed"] for each in done))
        took = "" if dry_run else f" in {seconds:.1f} s"
        verb = "Would push" if dry_run else "Pushed"
        print(f"{verb} {counted(len(done), 'model')} to {host}: {size} {came['pushed']}{took}")
    elif all(each.status == "present" for each in pushed):
        print(f"Nothing to do: {host} has {counted(len(pushed), 'model')}")
    for each in pushed:
        sizes = [f"{byte_count(size)} {came[how]}" for how, size in each.sizes.items() if size]
        about = "failed" if each.error else listed(sizes)
        print(f" {_MARKS[each.status]} {each.model.name}  {_reference(each, host)}  {', '.join(each.tags)}  {about}")
