"""``mirror``: who is asked for the locked files before the hub, and what they have of them."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vcm.cli import output
from vcm.cli.context import AllGroups, Groups, Json, chosen_groups, open_project, open_session
from vcm.cli.dispatch import command
from vcm.core.plan import models_in_scope
from vcm.core.wording import byte_count, counted, did_you_mean
from vcm.errors import ConfigError, RegistryError
from vcm.settings import user_configuration_path

if TYPE_CHECKING:
    from vcm.core.mirrors import Mirror
    from vcm.mirrors.checking import CheckedFile, Holdings
    from vcm.settings import Settings

_FILES_SHOWN = 5


class Action(StrEnum):
    """What to say of the mirrors."""

    LIST = "list"
    CHECK = "check"


@command("mirror")
def mirror(
    action: Annotated[Action, typer.Argument(metavar="ACTION", help="list or check.")],
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[MIRROR]...", help="With check: these only; by default all.")
    ] = None,
    deep: Annotated[
        bool, typer.Option("--deep", help="With check: fetch and hash every byte; nothing is kept.")
    ] = False,
    group: Groups = [],
    all_groups: AllGroups = False,
    json: Json = False,
) -> int:
    """Who is asked before the hub, and what they have of the lock.

    list: the mirrors in force, in order, and where each is named. check: which of the locked files each has; exit 1
    where one lacks any.
    """
    project = open_project()
    manifest = project.manifest()
    if action is Action.LIST:
        if names or deep or group or all_groups:
            raise ConfigError("vcm mirror list takes nothing but --json", hint="run vcm mirror check")
        with open_session(project, manifest) as session:
            return _list(session.settings, json=json)
    models = models_in_scope(manifest, project.fitting_lock(manifest), chosen_groups(group, all_groups))
    with open_session(project, manifest) as session:
        from vcm.mirrors.checking import MirrorCheck
        from vcm.mirrors.opening import open_mirror

        answers: list[tuple[Mirror, Holdings]] = []
        for each in _chosen(session.settings, names or []):
            source = open_mirror(session.settings, each)
            try:
                check = MirrorCheck(source, session.reporter, session.cancelled.wait, session.cancelled, deep=deep)
                answers.append((each, check.run(models)))
            finally:
                source.close()
            if not json:
                _print_holdings(*answers[-1], deep=deep)
    is_whole = not any(holdings.absent for _, holdings in answers)
    if json:
        rows = [_holdings_document(*answer) for answer in answers]
        output.print_json({"ok": is_whole, "deep": deep, "mirrors": rows})
    return 0 if is_whole else 1


def _chosen(settings: Settings, names: Sequence[str]) -> Iterable[Mirror]:
    known = {each.name: each for each in settings.mirrors}
    if not known:
        raise ConfigError(
            "no mirror is named anywhere",
            details=("[[mirror]]", 'name = "rack"', 'url = "http://mirror.rack:8080"'),
            hint=f"write such lines into models.toml or {user_configuration_path() or 'your own configuration'}, "
            "or set VCM_MIRRORS to an address",
        )
    for name in names:
        if name not in known:
            raise ConfigError(f'no mirror "{name}"{did_you_mean(name, known)}', hint=f"mirrors: {', '.join(known)}")
    chosen = [each for name, each in known.items() if not names or name in names]
    remote = next((each.name for each in chosen if each.kind != "file"), None)
    if settings.offline and remote is not None:
        raise RegistryError(
            f"mirror {remote} is asked over the network, and this run is offline",
            hint="run it without --offline, VCM_OFFLINE and HF_HUB_OFFLINE, or name mirrors that are folders",
        )
    return chosen


def _list(settings: Settings, *, json: bool) -> int:
    if json:
        found = [{**_mirror_document(each), "kind": each.kind, "push": each.push} for each in settings.mirrors]
        output.print_json({"mirrors": found, "endpoint": settings.endpoint, "fallback": settings.fallback})
        return 0
    rows = [(each.name, each.shown_url, each.named_in) for each in settings.mirrors]
    if rows:
        print(output.table(rows, columns=output.terminal_columns(sys.stdout)))
    last = "then" if rows else "no mirrors:"
    print(f"{last} {settings.endpoint}" if settings.fallback else "and nobody else: fallback = false")
    return 0


def _mirror_document(mirror: Mirror) -> dict[str, Any]:
    return {"name": mirror.name, "url": mirror.shown_url, "named_in": mirror.named_in}


def _holdings_document(mirror: Mirror, holdings: Holdings) -> dict[str, Any]:
    return {
        **_mirror_document(mirror),
        "files": len(holdings.files),
        "files_present": len(holdings.present),
        "bytes": _size(holdings.files),
        "bytes_present": _size(holdings.present),
        "absent": [
            {
                "model": each.model,
                "path": each.file.path,
                "sha256": each.file.sha256,
                "size": each.file.size,
                "status": str(each.state),
                "message": each.reason,
                "hint": each.hint,
            }
            for each in holdings.absent
        ],
        "error": output.error_document(holdings.error) if holdings.error else None,
    }


def _size(files: Iterable[CheckedFile]) -> int:
    return sum(each.file.size for each in files)


def _print_holdings(mirror: Mirror, holdings: Holdings, *, deep: bool) -> None:
    _print_files(mirror, holdings, deep=deep)
    for hint in holdings.hints:
        print(f"  hint: {hint}")


def _print_files(mirror: Mirror, holdings: Holdings, *, deep: bool) -> None:
    from vcm.mirrors.checking import FileState

    present, error = holdings.present, holdings.error
    if error is not None and not present:
        print(f"{mirror.name}: cannot be asked: {error.message}")
        return
    count = f"all {counted(len(present), 'file')}"
    if holdings.absent:
        count = f"{len(present)} of {counted(len(holdings.files), 'file')}"
    verified = ", every byte verified" if deep and not holdings.absent else ""
    print(f"{mirror.name}: {count} ({byte_count(_size(present))}){verified}")
    # What was not asked for any more says nothing of the mirror that its error does not.
    told = [each for each in holdings.absent if each.state is not FileState.UNASKED]
    for each in told[:_FILES_SHOWN]:
        print(f"  {each.model}/{each.file.path}: {'missing' if each.state is FileState.MISSING else each.reason}")
    if len(told) > _FILES_SHOWN:
        print(f"  and {len(told) - _FILES_SHOWN} more")
    if error is not None:
        print(f"  {counted(len(holdings.absent) - len(told), 'file')} not asked for any more: {error.message}")
