"""What the commands share: the options before the command, and the project and session they lead to."""

from __future__ import annotations

import io
import sys
from contextlib import redirect_stdout
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Annotated, TextIO

import typer

from vcm.core.plan import ALL_GROUPS
from vcm.core.records import record
from vcm.enforce import gate
from vcm.errors import ConfigError
from vcm.settings import cache_folder, colors_are_unwanted, is_cache_named, project_folder, read_settings
from vcm.store.project import Project, find_project
from vcm.store.store import Store

if TYPE_CHECKING:
    from vcm.core.manifest import Manifest
    from vcm.core.metadata import Freshness
    from vcm.core.reporter import Reporter
    from vcm.session import Session

Json = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")]
Groups = Annotated[
    list[str], typer.Option("--group", metavar="NAME", help="Also the models of this group (may be repeated).")
]
AllGroups = Annotated[bool, typer.Option("--all-groups", help="The models of all groups.")]
Refresh = Annotated[
    bool, typer.Option("--refresh", help="Ask the hub about everything, whatever it said in the last 24 hours.")
]
Name = Annotated[str, typer.Argument(metavar="NAME", help="The model's name in models.toml.")]


@record(frozen=True)
class Options:
    """The options before the command."""

    project: Path | None = None
    cache_dir: Path | None = None
    offline: bool = False
    quiet: bool = False
    verbosity: int = 0
    color: str = "auto"

    @property
    def use_color(self) -> bool:
        """Whether standard error gets colours."""
        return self.colors(sys.stderr)

    def colors(self, stream: TextIO) -> bool:
        """Whether that stream gets colours."""
        if self.color != "auto":
            return self.color == "always"
        return stream.isatty() and not colors_are_unwanted()


_options = Options()


def options() -> Options:
    """The options of this run."""
    return _options


def set_options(given: Options) -> None:
    """Take the options of this run: one process, one command line."""
    global _options  # noqa: PLW0603
    _options = given


def open_project() -> Project:
    """The project that is meant."""
    return gate.open_project(_options.project)


def open_store(project: Project, manifest: Manifest) -> Store:
    """The store that this run uses, for commands that only look."""
    return gate.open_store(project, manifest, _options.cache_dir)


def open_own_store() -> Store:
    """The store that is meant: that of the project, or outside of any the user's own."""
    if is_cache_named(_options.cache_dir):
        # Whoever cleans up shall not have to mend a project's manifest first.
        return Store(cache_folder(argument=_options.cache_dir))
    if _options.project is None and project_folder() is None:
        try:
            find_project(Path.cwd())
        except ConfigError:
            return Store(cache_folder())
    project = gate.open_project(_options.project)
    return gate.open_store(project, project.manifest())


def open_reporter() -> Reporter:
    """What tells of this run's progress."""
    from vcm.cli.progress import make_reporter

    return make_reporter(quiet=_options.quiet, verbose=_options.verbosity > 0)


def open_session(
    project: Project,
    manifest: Manifest | None,
    freshness: Freshness = "normal",
    *,
    cache_dir: Path | None = None,
    no_origin: bool = False,
    strict_mirrors: bool = False,
) -> Session:
    """A session with this run's settings, for commands that may fetch.

    Args:
        project: which one.
        manifest: says where the hub and the store are, where nobody else does.
        freshness: which answers of the hub do that are known already.
        cache_dir: over this store.
        no_origin: whether the hub is not asked, whatever the settings say.
        strict_mirrors: whether a mirror that sends wrong bytes is an error.
    """
    from vcm.session import Session

    settings = read_settings(
        cache_dir=cache_dir or _options.cache_dir,
        offline=_options.offline,
        manifest_endpoint=manifest.endpoint if manifest else None,
        manifest_mirrors=manifest.mirrors if manifest else (),
        manifest_fallback=manifest.origin_fallback if manifest else True,
        manifest_cache_dir=manifest.cache_dir if manifest else None,
        project_dir=project.folder,
    )
    if no_origin or strict_mirrors:
        from dataclasses import replace

        settings = replace(settings, fallback=settings.fallback and not no_origin, strict_mirrors=strict_mirrors)
    return Session(settings, open_reporter(), Event(), freshness=freshness, project=project.folder)


def results_aside() -> redirect_stdout[TextIO]:
    """Where standard output is another's: what is printed meanwhile goes to standard error, and with -q nowhere."""
    return redirect_stdout(io.StringIO() if _options.quiet else sys.stderr)


def chosen_groups(groups: list[str], all_groups: bool) -> tuple[str, ...]:
    """The groups that were asked for."""
    return (ALL_GROUPS,) if all_groups else tuple(groups)
