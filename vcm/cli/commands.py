"""The commands: each parses, calls and prints."""

from __future__ import annotations

import sys
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vcm.cli import output
from vcm.cli.app import Options, command, options
from vcm.core.lock import staleness, toml_string
from vcm.core.plan import ALL_GROUPS, models_in_scope
from vcm.core.wording import byte_count, counted, did_you_mean
from vcm.enforce import gate
from vcm.errors import ConfigError
from vcm.settings import project_folder, read_settings
from vcm.store.project import Project, find_project

if TYPE_CHECKING:
    from vcm.core.manifest import Manifest
    from vcm.install.session import Session
    from vcm.install.syncing import Synced

Json = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")]
Groups = Annotated[list[str], typer.Option("--group", help="Also the models of this group (may be repeated).")]
AllGroups = Annotated[bool, typer.Option("--all-groups", help="The models of all groups.")]
Name = Annotated[str, typer.Argument(help="The model's name in models.toml.")]

_TEMPLATE = """\
[project]
name = {name}

# A model is what the program asks for by name, and where it comes from:
#
#   [models.frames]
#   repo = "namespace/name"      # on the Hugging Face Hub
#   version = "~=1.2"            # or: revision = "main"; neither: the default branch
#   include = ["*.onnx", "*.json"]
#
# vcm add NAME REPO writes such a table, locks it and installs it.
"""


def _groups(groups: list[str], all_groups: bool) -> tuple[str, ...]:
    return (ALL_GROUPS,) if all_groups else tuple(groups)


def _project() -> Project:
    return gate.open_project(options().project)


def _session(project: Project, manifest: Manifest | None) -> Session:
    from vcm.cli.progress import make_reporter
    from vcm.install.session import Session

    given: Options = options()
    settings = read_settings(
        cache_dir=given.cache_dir,
        offline=given.offline,
        manifest_endpoint=manifest.endpoint if manifest else None,
        manifest_cache_dir=manifest.cache_dir if manifest else None,
        project_dir=project.folder,
    )
    return Session(settings, make_reporter(quiet=given.quiet), Event())


@command("init")
def init() -> int:
    """Make a models.toml in this folder (or --project DIR)."""
    project = Project((options().project or project_folder() or Path.cwd()).absolute())
    if project.manifest_path.exists():
        raise ConfigError(f"{project.manifest_path} exists already", hint="add a model with vcm add NAME REPO")
    if not project.folder.is_dir():
        raise ConfigError(f"{project.folder}: no such folder", hint="make it first, or name another with --project")
    project.write_manifest(_TEMPLATE.format(name=toml_string(project.folder.name)).encode())
    print(f"Made {project.manifest_path}")
    return 0


@command("add")
def add(  # noqa: PLR0913
    name: Name,
    reference: Annotated[
        str,
        typer.Argument(metavar="REPO", help="namespace/name, REPO@REVISION, 'REPO~=1.2', or the address of a file."),
    ],
    include: Annotated[list[str], typer.Option("--include", help="Take only files like this (may be repeated).")] = [],
    exclude: Annotated[list[str], typer.Option("--exclude", help="Leave files like this out.")] = [],
    group: Annotated[list[str], typer.Option("--group", help="Install only when this group is asked for.")] = [],
    optional: Annotated[bool, typer.Option("--optional", help="The program can do without it.")] = False,
    allow_pickle: Annotated[bool, typer.Option("--allow-pickle", help="Accept files that may run code.")] = False,
    no_sync: Annotated[bool, typer.Option("--no-sync", help="Lock only.")] = False,
    json: Json = False,
) -> int:
    """Require a model: write it into models.toml, lock it, install it."""
    from vcm.core.editing import add_model
    from vcm.core.reference import parse_reference

    values: dict[str, Any] = parse_reference(reference)
    choices = {"include": include, "exclude": exclude, "groups": group, "optional": optional}
    values |= {key: value for key, value in {**choices, "allow-pickle": allow_pickle}.items() if value}
    project = _project()
    before = project.manifest_bytes()
    return _edit(project, add_model(_text(project), name, values).encode(), before, sync=not no_sync, json=json)


@command("remove")
def remove(name: Name, json: Json = False) -> int:
    """Stop requiring a model. Its bytes stay in the store, which other projects may use."""
    from vcm.core.editing import remove_model

    project = _project()
    before = project.manifest_bytes()
    return _edit(project, remove_model(_text(project), name).encode(), before, sync=False, json=json)


def _text(project: Project) -> str:
    project.manifest()
    return project.manifest_bytes().decode()


def _edit(project: Project, after: bytes, before: bytes, *, sync: bool, json: bool) -> int:
    """Lock an edited manifest. Only when that works is anything written."""
    from vcm.core.manifest import parse_manifest
    from vcm.version import VERSION

    manifest = parse_manifest(after, vcm_version=VERSION)
    old_lock = project.lock()
    session = _session(project, manifest)
    try:
        locking = session.resolve(manifest, old_lock, edited_from=parse_manifest(before, vcm_version=VERSION))
        project.write_manifest(after)
        project.write_lock(locking.after)
        if not json:
            output.print_lock(locking, verb="Locked")
        if not sync:
            if json:
                output.print_json(output.lock_document(locking))
            return 0
        old = {model.name for model in old_lock.models} if old_lock else set()
        names = {model.name for model in locking.after.models} - old
        return _install(session, project, manifest, _groups_of(manifest, names), json=json)
    finally:
        session.close()


def _groups_of(manifest: Manifest, names: set[str]) -> tuple[str, ...]:
    """The groups of models that were just asked for by name."""
    return tuple({group for model in manifest.models if model.name in names for group in model.groups})


@command("lock")
def lock(
    check: Annotated[bool, typer.Option("--check", help="Only tell whether models.lock fits; no network.")] = False,
    upgrade: Annotated[
        bool, typer.Option("--upgrade", help="Take the newest that is allowed, for all models.")
    ] = False,
    upgrade_model: Annotated[list[str], typer.Option("--upgrade-model", help="The same for one model.")] = [],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Write nothing.")] = False,
    json: Json = False,
) -> int:
    """Pin every file of every model by SHA-256 in models.lock."""
    project = _project()
    manifest = project.manifest()
    if check:
        found = project.fitting_lock(manifest)
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
    session = _session(project, manifest)
    try:
        locking = session.resolve(manifest, project.lock(), upgrade=("*",) if upgrade else tuple(upgrade_model))
    finally:
        session.close()
    if not dry_run:
        project.write_lock(locking.after)
    if json:
        output.print_json(output.lock_document(locking))
    else:
        output.print_lock(locking, verb="Would lock" if dry_run else "Locked")
    return 0


@command("sync")
def sync(  # noqa: PLR0913
    locked: Annotated[bool, typer.Option("--locked", help="Refuse when models.lock does not fit.")] = False,
    frozen: Annotated[bool, typer.Option("--frozen", help="Use models.lock without looking at models.toml.")] = False,
    group: Groups = [],
    all_groups: AllGroups = False,
    from_folder: Annotated[
        list[Path], typer.Option("--from", metavar="DIR", help="Take bytes from this folder first (may be repeated).")
    ] = [],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell what would be done.")] = False,
    json: Json = False,
) -> int:
    """Make the store hold exactly what models.lock says."""
    if frozen:
        return _sync_frozen(from_folder, dry_run=dry_run, json=json)
    project = _project()
    manifest = project.manifest()
    session = _session(project, manifest)
    try:
        locking = session.lock_for_sync(project, manifest, locked=locked, write=not dry_run)
        if not json and locking.before != locking.after:
            output.print_lock(locking, verb="Would lock" if dry_run else "Locked")
        models = models_in_scope(manifest, locking.after, _groups(group, all_groups))
        return _carry_out(session, manifest, models, from_folder, dry_run=dry_run, json=json)
    finally:
        session.close()


def _sync_frozen(folders: list[Path], *, dry_run: bool, json: bool) -> int:
    given = options().project or project_folder()
    project = Project(given.absolute()) if given else find_project(Path.cwd(), "models.lock")
    session = _session(project, None)
    try:
        models = project.required_lock().models
        return _carry_out(session, None, models, folders, dry_run=dry_run, json=json)
    finally:
        session.close()


def _install(session: Session, project: Project, manifest: Manifest, groups: tuple[str, ...], *, json: bool) -> int:
    models = models_in_scope(manifest, project.fitting_lock(manifest), groups)
    return _carry_out(session, manifest, models, [], dry_run=False, json=json)


def _carry_out(
    session: Session, manifest: Manifest | None, models: Any, folders: list[Path], *, dry_run: bool, json: bool
) -> int:
    from vcm.core.manifest import DEFAULT_HEADROOM

    plan = session.plan(models)
    if dry_run:
        if json:
            output.print_json(output.plan_document(plan))
        else:
            output.print_plan(plan)
        return 0
    answers = session.install(plan, manifest.disk_headroom if manifest else DEFAULT_HEADROOM, folders)
    optional = {model.name for model in manifest.models if model.optional} if manifest else set()
    errors = [answer.error for answer in answers if answer.error and answer.model.name not in optional]
    if json:
        document = output.sync_document(answers)
        if errors:
            document["error"] = output.error_document(errors[0])
        output.print_json(document)
    else:
        output.print_sync(answers)
    _tell(answers, optional)
    return errors[0].exit_code if errors else 0


def _tell(answers: list[Synced], optional: set[str]) -> None:
    for answer in answers:
        if answer.error is None:
            continue
        if answer.model.name in optional:
            answer.error.hint = "it is optional, so this is no failure"
        output.print_error(answer.error, color=options().use_color)


@command("check")
def check(group: Groups = [], all_groups: AllGroups = False, json: Json = False) -> int:
    """Tell whether all is locked, installed and unchanged; exit 0 or 1, no network."""
    project = _project()
    manifest = project.manifest()
    store = gate.open_store(project, manifest, options().cache_dir)
    answers = gate.check(project, manifest, store, groups=_groups(group, all_groups))
    failing = [answer for answer in answers if not answer.passes]
    _print_answers(answers, "unchanged", json=json)
    return 1 if failing else 0


@command("verify")
def verify(
    repair: Annotated[bool, typer.Option("--repair", help="Fetch what is missing or damaged.")] = False,
    group: Groups = [],
    all_groups: AllGroups = False,
    json: Json = False,
) -> int:
    """Hash every byte of every installed model again."""
    project = _project()
    manifest = project.manifest()
    session = _session(project, manifest)
    chosen = _groups(group, all_groups)
    models = models_in_scope(manifest, project.fitting_lock(manifest), chosen)
    session.reporter.started(f"verifying {counted(len(models), 'model')}", sum(model.size for model in models))
    answers = gate.check(project, manifest, session.store, groups=chosen, full=True, progress=session.reporter.advanced)
    session.reporter.finished()
    failing = [answer for answer in answers if not answer.passes]
    if failing and repair:
        _report_damage(failing)
        return _repair(session, manifest, [answer.model for answer in failing], json=json)
    _print_answers(answers, "every byte verified", json=json)
    return max((answer.error().exit_code for answer in failing), default=0)


def _repair(session: Session, manifest: Manifest, models: list[Any], *, json: bool) -> int:
    for model in models:
        # Its record may be older than the damage: without it, every byte is hashed before the plan is made.
        session.store.snapshots.forget(model.tree_digest)
    try:
        return _carry_out(session, manifest, models, [], dry_run=False, json=json)
    finally:
        session.close()


def _report_damage(failing: list[gate.Checked]) -> None:
    for answer in failing:
        print(f"damaged: {answer.error()}", file=sys.stderr)


def _print_answers(answers: list[gate.Checked], word: str, *, json: bool) -> None:
    failing = [answer for answer in answers if not answer.passes]
    if json:
        document = output.check_document(answers)
        if failing:
            document["error"] = output.error_document(failing[0].error())
        output.print_json(document)
    elif not failing:
        absent = [answer.model.name for answer in answers if answer.is_absent]
        extra = f"; optional and not installed: {', '.join(absent)}" if absent else ""
        print(f"{counted(len(answers) - len(absent), 'model')} locked and installed, {word}{extra}")
    for answer in failing:
        output.print_error(answer.error(), color=options().use_color)


@command("list")
def list_models(json: Json = False) -> int:
    """What is locked and installed."""
    project = _project()
    manifest = project.manifest()
    locked = project.required_lock()
    reason = staleness(locked, manifest)
    if reason is not None:
        print(f"note: models.lock does not fit models.toml: {reason}", file=sys.stderr)
    store = gate.open_store(project, manifest, options().cache_dir)
    answers = [gate.inspect(model, manifest, store) for model in locked.models]
    if json:
        output.print_json(output.list_document(locked, answers))
        return 0
    rows = [
        (
            answer.model.name,
            answer.model.repo or answer.model.url or "",
            output.release(answer.model),
            byte_count(answer.model.size),
            output.state(answer),
        )
        for answer in answers
    ]
    print(output.table([("NAME", "SOURCE", "LOCKED", "SIZE", "STATE"), *rows]))
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
    file: Annotated[str | None, typer.Argument(metavar="[FILE]", help="A file inside the model.")] = None,
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
    project = _project()
    manifest = project.manifest()
    model = gate.locked_model(project, manifest, name)
    return gate.inspect(model, manifest, gate.open_store(project, manifest, options().cache_dir))
