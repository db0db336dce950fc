"""``init`` and ``import``: a new manifest, empty or out of what is there already."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vcm.cli import output
from vcm.cli.context import Json, open_session, options
from vcm.cli.dispatch import command
from vcm.core.lock import Lock, toml_string
from vcm.core.manifest import parse_manifest
from vcm.core.wording import byte_count, counted, did_you_mean, listed, printable, short_commit, system_reason
from vcm.errors import ConfigError
from vcm.settings import project_folder
from vcm.store.inputs import read_input
from vcm.store.project import Project
from vcm.version import VERSION

if TYPE_CHECKING:
    from vcm.install.adopting import CachedModel

_NAME = 'name = "NAME"'
_EMPTY = f"""\
[project]
{_NAME}

# A model is what the program asks for by name, and where it comes from:
#
#   [models.frames]
#   repo = "namespace/name"      # on the Hugging Face Hub
#   version = "~=1.2"            # or: revision = "main"; neither: the default branch
#   include = ["*.onnx", "*.json"]
#
# vcm add NAME REPO writes such a table, locks it and installs it.
"""
_TEMPLATES = Path(__file__).with_name("templates")
_EXISTS = "move it away, or import into another folder with --project DIR"


@command("init")
def init(
    template: Annotated[
        str | None, typer.Option("--template", metavar="NAME", help="Begin with this one: video-censor.")
    ] = None,
) -> int:
    """Make a models.toml in this folder (or --project DIR)."""
    text = _EMPTY if template is None else _template(template)
    project = _new_project("add a model with vcm add NAME REPO")
    name = toml_string(_project_name(project))
    project.write_manifest(text.replace(_NAME, f"name = {name}", 1).encode())
    print(f"Made {project.manifest_path}")
    if template is not None:
        print("Next: vcm lock")
    return 0


def _template(name: str) -> str:
    known = {path.stem: path for path in _TEMPLATES.glob("*.toml")}
    if name not in known:
        raise ConfigError(
            f'no template "{printable(name)}"{did_you_mean(name, known)}', hint=f"there is {listed(sorted(known))}"
        )
    return known[name].read_text(encoding="utf-8")


@command("import")
def import_models(
    source: Annotated[
        Path | None, typer.Argument(metavar="FILE", help="The application's YAML; with --hf-cache, the cache's folder.")
    ] = None,
    hf_cache: Annotated[
        bool, typer.Option("--hf-cache", help="Take the models of the Hugging Face cache, without a network.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell what would be taken.")] = False,
    json: Json = False,
) -> int:
    """Make a models.toml out of YAML, or of the Hugging Face cache.

    Of a YAML file, the models: section is read. Of the cache, one commit of each model is taken: locked, installed
    and not downloaded again.
    """
    if hf_cache:
        return _import_cache(source, dry_run=dry_run, json=json)
    if source is None:
        raise ConfigError("nothing to import from", hint="name a YAML file, or use --hf-cache")
    return _import_yaml(source, dry_run=dry_run, json=json)


def _import_yaml(file: Path, *, dry_run: bool, json: bool) -> int:
    from vcm.cli.progress import make_reporter
    from vcm.core.importing import manifest_text, models_from_yaml
    from vcm.core.yaml_config import LARGEST, parse_yaml_config

    project = _new_project(_EXISTS)
    try:
        data = read_input(file, LARGEST)
    except OSError as error:
        raise ConfigError(
            f"cannot read {file}: {system_reason(error)}", hint="name the application's YAML file"
        ) from None
    found = parse_yaml_config(data, str(file))
    if not found.sources:
        raise ConfigError(
            f'{file}: no "models" section with "sources"', hint="name the YAML file in which the models are listed"
        )
    models, notices = models_from_yaml(found, str(file))
    reporter = make_reporter(quiet=options().quiet)
    for notice in notices:
        reporter.notice(notice)
    text = manifest_text(file.name, _project_name(project), models, found.cache_dir)
    parse_manifest(text.encode(), vcm_version=VERSION)
    if not dry_run:
        project.write_manifest(text.encode())
    if json:
        output.print_json({"models": [_url_document(name, values) for name, values in models.items()]})
        return 0
    size = sum(values["size"] for values in models.values())
    print(f"{_made(project, dry_run=dry_run)}: {counted(len(models), 'model')}, {byte_count(size)}")
    for name, values in models.items():
        print(f" + {name}  {values['url']}  {byte_count(values['size'])}")
    if not dry_run:
        print("Next: vcm lock")
    return 0


def _url_document(name: str, values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": name,
        "version": None,
        "commit": None,
        "repo": None,
        "url": values["url"],
        "files": 1,
        "bytes": values["size"],
    }


def _import_cache(folder: Path | None, *, dry_run: bool, json: bool) -> int:
    from vcm.core.importing import manifest_text
    from vcm.install.adopting import Adopter, survey
    from vcm.store.hub_cache import HubCache

    project = _place_for_both()
    with open_session(project, None) as session:
        folder = folder or session.settings.hub_cache
        if folder is None or not folder.is_dir():
            raise ConfigError(f"{folder}: no such folder", hint="name the cache: vcm import --hf-cache DIR")
        models = survey(HubCache(folder), session.reporter.notice)
        if dry_run and models:
            _print_models(project, models, json=json, dry_run=True)
            return 0
        # Until the lock is written that names what was taken.
        session.use.hold()
        adopted = Adopter(session.store, session.reporter, session.cancelled).adopt(models)
        if not adopted:
            raise ConfigError(
                f"no model of {folder} can be imported",
                hint="name another cache: vcm import --hf-cache DIR, or begin with vcm init",
            )
        tables = {model.name: model.values for model, _ in adopted}
        text = manifest_text("the Hugging Face cache", _project_name(project), tables, None)
        manifest = parse_manifest(text.encode(), vcm_version=VERSION)
        locked = [model for _, model in adopted]
        _write(project, text, Lock(manifest_sha256=manifest.digest, models=tuple(locked)))
        is_named = session.use.is_named()
        session.use.remember(locked)
        session.use.name(locked, anew=not is_named)
    _print_models(project, [model for model, _ in adopted], json=json, dry_run=False)
    return 0


def _place_for_both(made: Lock | None = None) -> Project:
    """The project to import into, which has no manifest.

    Args:
        made: the only lock that may be there: a run that was killed before it wrote the manifest has left the same.
    """
    project = _new_project(_EXISTS)
    refusal = ConfigError(f"{project.lock_path} exists already", hint=_EXISTS)
    try:
        there = project.lock()
    except ConfigError:
        raise refusal from None
    if made is not None and there not in (None, made):
        raise refusal
    return project


def _write(project: Project, text: str, lock: Lock) -> None:
    """Manifest and lock, or neither of them. After a kill, at most the lock: a manifest alone would be locked anew."""
    _place_for_both(lock)  # Hashing took its time: what somebody has put there meanwhile stays.
    project.write_lock(lock)
    try:
        project.write_manifest(text.encode())
    except BaseException:
        with suppress(OSError):
            project.lock_path.unlink()
        raise


def _made(project: Project, *, dry_run: bool, both: bool = False) -> str:
    return f"{'Would make' if dry_run else 'Made'} {project.manifest_path}{' and models.lock' if both else ''}"


def _print_models(project: Project, models: Sequence[CachedModel], *, json: bool, dry_run: bool) -> None:
    if json:
        output.print_json({"models": [_repo_document(model) for model in models]})
        return
    size = sum(model.size for model in models)
    print(f"{_made(project, dry_run=dry_run, both=True)}: {counted(len(models), 'model')}, {byte_count(size)}")
    for model in models:
        files = f"{counted(len(model.files), 'file')}, {byte_count(model.size)}"
        print(f" + {model.name}  {model.repo}  {_release(model)}  {files}")
    if not dry_run:
        print("Next: vcm check")


def _release(model: CachedModel) -> str:
    short, revision = short_commit(model.commit), model.values.get("revision")
    return short if revision in (None, model.commit) else f"{revision} {short}"


def _repo_document(model: CachedModel) -> dict[str, Any]:
    return {
        "name": model.name,
        "version": None,
        "commit": model.commit,
        "repo": model.repo,
        "url": None,
        "files": len(model.files),
        "bytes": model.size,
    }


def _new_project(hint: str) -> Project:
    """The project whose models.toml is to be made: this folder, or the one that is named.

    Args:
        hint: what to do where there is a models.toml already.

    Raises:
        ConfigError: there is one, or no such folder.
    """
    project = Project((options().project or project_folder() or Path.cwd()).absolute())
    if project.manifest_path.is_dir():
        raise ConfigError(f"{project.manifest_path} is a folder", hint="move it away, then run the command again")
    if project.manifest_path.exists():
        raise ConfigError(f"{project.manifest_path} exists already", hint=hint)
    if not project.folder.is_dir():
        raise ConfigError(f"{project.folder}: no such folder", hint="make it first, or name another with --project")
    return project


def _project_name(project: Project) -> str:
    """What a new project is called: as its folder."""
    return os.fsencode(project.folder.name or "project").decode("utf-8", "replace")
