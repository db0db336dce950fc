"""The gate: the check at program start that lets only the locked bytes through. It never touches the network.

It fails closed: a lock that cannot be read or does not fit, a model that is unknown, not installed or changed, is no.
"""

from __future__ import annotations

import time
from pathlib import Path

from vcm.core.manifest import Requirement
from vcm.core.plan import models_in_scope
from vcm.core.policy import refuse_violations
from vcm.core.records import record
from vcm.core.wording import did_you_mean
from vcm.errors import NOT_INSTALLED, ConfigError, ModelChecksumError, ModelDownloadError, VcmError
from vcm.settings import cache_folder, hub_endpoint, project_folder
from vcm.store.files import disk_errors
from vcm.store.notices import read_notices
from vcm.store.project import Project, find_project
from vcm.store.store import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence
    from datetime import timedelta
    from threading import Event

    from vcm.core.lock import LockedModel
    from vcm.core.manifest import Manifest
    from vcm.core.reporter import Reporter
    from vcm.store.snapshots import Finding

_FINDINGS_SHOWN = 3


@record(frozen=True)
class Checked:
    """What the check found for one model.

    Attributes:
        path: where the snapshot stands, or would stand.
        optional: whether the program can do without it.
        groups: the groups of which one must be asked for to have it installed; none for always.
    """

    model: LockedModel
    path: Path
    findings: tuple[Finding, ...]
    optional: bool = False
    groups: tuple[str, ...] = ()

    @property
    def is_absent(self) -> bool:
        """Whether there is no snapshot at all."""
        return any(finding.kind == "absent" for finding in self.findings)

    @property
    def passes(self) -> bool:
        """Whether a program may start: installed and unchanged, or optional and absent."""
        return not self.findings or (self.optional and self.is_absent)

    def error(self) -> VcmError:
        """The error for a model that does not pass."""
        name = self.model.name
        if self.is_absent:
            hint = f"run vcm sync --group {self.groups[0]}" if self.groups else "run vcm sync"
            return ModelDownloadError("not installed", error_code=NOT_INSTALLED, hint=hint, model=name)
        shown = "; ".join(str(finding) for finding in self.findings[:_FINDINGS_SHOWN])
        more = len(self.findings) - _FINDINGS_SHOWN
        return ModelChecksumError(
            f"not what is locked: {shown}" + (f"; and {more} more" if more > 0 else ""),
            expected=self.findings[0].expected,
            actual=self.findings[0].actual,
            hint="run vcm verify --repair",
            model=name,
        )


def open_project(project: str | Path | None = None) -> Project:
    """The project that is meant: the argument, VCM_PROJECT, or the current folder upwards.

    Raises:
        ConfigError: there is none.
    """
    folder = project or project_folder()
    return find_project(Path.cwd()) if not folder else Project(Path(folder).absolute())


def open_store(project: Project, manifest: Manifest, cache_dir: str | Path | None = None) -> Store:
    """The store that this project uses."""
    # Not all settings: a token that cannot be used is no reason to refuse what is installed.
    return Store(cache_folder(argument=cache_dir, manifest=manifest.cache_dir, project_dir=project.folder))


def check(  # noqa: PLR0913  (all but the first three go by name)
    project: Project,
    manifest: Manifest,
    store: Store,
    *,
    groups: Collection[str] = (),
    full: bool = False,
    max_age: float | None = None,
    reporter: Reporter | None = None,
) -> list[Checked]:
    """Judge every model that matters here by the policy, then look at it.

    Args:
        project: where the lock is.
        manifest: what is required.
        store: where the models are.
        groups: groups that matter beside the models without one.
        full: hash every byte.
        max_age: seconds; hash what was verified longer ago.
        reporter: told where much has to be hashed.

    Raises:
        LockError: there is no lock, or it is stale.
        PolicyError: a model is locked that the policy does not allow.
        ConfigError: manifest or lock cannot be used.
        VcmError: the store cannot be read.
    """
    models = models_in_scope(manifest, project.fitting_lock(manifest), groups)
    refuse_violations(manifest.policy, models, time.time())
    return inspect_all(models, manifest, store, full=full, max_age=max_age, reporter=reporter)


def inspect(
    model: LockedModel, manifest: Manifest, store: Store, *, full: bool = False, max_age: float | None = None
) -> Checked:
    """Look at one model; as ``inspect_all``."""
    return inspect_all([model], manifest, store, full=full, max_age=max_age)[0]


def inspect_all(  # noqa: PLR0913  (all but the first three go by name)
    models: Sequence[LockedModel],
    manifest: Manifest,
    store: Store,
    *,
    full: bool = False,
    max_age: float | None = None,
    reporter: Reporter | None = None,
    cancelled: Event | None = None,
) -> list[Checked]:
    """Look at some models, in their order.

    Args:
        models: what the lock promises.
        manifest: which are optional, and their groups.
        store: where they are.
        full: hash every byte, instead of comparing size, time and inode first; the reporter has been told that this
            begins.
        max_age: seconds; hash also what was verified longer ago.
        reporter: told of the files that are hashed.
        cancelled: once set, it ends with KeyboardInterrupt.

    Raises:
        VcmError: the store cannot be read.
    """
    with disk_errors(store.root):
        found = store.snapshots.inspect_all(models, full=full, max_age=max_age, reporter=reporter, cancelled=cancelled)
    answers = []
    for model, findings in zip(models, found, strict=True):
        requirement = manifest.get(model.root) or Requirement(name=model.root)
        path = store.snapshots.path(model.tree_digest)
        answers.append(Checked(model, path, tuple(findings), requirement.optional, requirement.groups))
    return answers


def gate(
    project: str | Path | None = None,
    groups: str | Collection[str] = (),
    *,
    full: bool = False,
    max_age: timedelta | float | None = None,
) -> dict[str, Path]:
    """Let the program go on only if every model it requires is the locked one.

    Threads may call it at once, and so may processes that were forked while others did.

    Args:
        project: the folder with ``models.toml``; by default VCM_PROJECT, or found from the current folder upwards.
        groups: groups that are required beside the models without one; ``"*"`` for all.
        full: hash every byte, instead of trusting a file whose size, time and inode are those it had when it was
            last hashed.
        max_age: how long such trust lasts, as a ``timedelta`` or in seconds: what was hashed longer ago is hashed
            again, and that is recorded. In a store that cannot be written nothing is recorded, and all is hashed as
            soon as it is older.

    Returns:
        The snapshot's folder of every installed model, by name. Optional models that are not installed are left out.

    Raises:
        LockError: there is no lock, or it does not fit the manifest.
        PolicyError: a model is locked that the policy does not allow.
        ModelDownloadError: a model is not installed (``error_code`` NOT_INSTALLED).
        ModelChecksumError: a file is missing, extra or changed.
        ConfigError: manifest, lock or environment cannot be used.
    """
    opened = open_project(project)
    manifest = opened.manifest()
    answers = passing(opened, manifest, open_store(opened, manifest), groups, full=full, max_age=_seconds(max_age))
    return {answer.model.name: answer.path for answer in answers}


def passing(
    project: Project,
    manifest: Manifest,
    store: Store,
    groups: str | Collection[str],
    *,
    full: bool = False,
    max_age: float | None = None,
) -> list[Checked]:
    """What is installed of the models that are required, all of it as it is locked; raises as ``gate``."""
    groups = (groups,) if isinstance(groups, str) else groups
    answers = check(project, manifest, store, groups=groups, full=full, max_age=max_age)
    for answer in answers:
        if not answer.passes:
            raise answer.error()
    _log_notices([answer.model for answer in answers], manifest, store)
    return [answer for answer in answers if not answer.findings]


def _seconds(age: timedelta | float | None) -> float | None:
    if age is None or isinstance(age, int | float):
        return age
    try:
        # Not by asking for its class, which takes as long to import as a gate takes.
        return age.total_seconds()
    except AttributeError:
        raise ConfigError(f"max_age: expected a timedelta or seconds, found {age!r}", hint="pass seconds") from None


def require(
    name: str,
    project: str | Path | None = None,
    *,
    full: bool = False,
    max_age: timedelta | float | None = None,
) -> Path:
    """The folder with the locked files of one model.

    Args:
        name: the model's name in ``models.toml``.
        project: as for ``gate``, here and below.
        full: hash every byte of this model.
        max_age: a ``timedelta``, or seconds: hash again what was hashed longer ago.

    Raises:
        LockError: there is no lock, or it does not fit the manifest.
        PolicyError: the model, or what it pulls in, is not what the policy allows.
        ModelDownloadError: the model is not installed (``error_code`` NOT_INSTALLED).
        ModelChecksumError: a file is missing, extra or changed.
        ConfigError: there is no such model, or manifest, lock or environment cannot be used.
    """
    from vcm.enforce.remembering import RememberingProject

    opened = RememberingProject(open_project(project).folder)
    manifest = opened.manifest()
    models = _locked_models(opened, manifest, name)
    refuse_violations(manifest.policy, models, time.time())
    store = open_store(opened, manifest)
    answer = inspect(models[0], manifest, store, full=full, max_age=_seconds(max_age))
    if answer.findings:
        raise answer.error()
    _log_notices(models[:1], manifest, store)
    return answer.path


def known_notices(models: Iterable[LockedModel], manifest: Manifest, store: Store) -> list[str]:
    """What ``vcm outdated`` found out of these models' repos, in one sentence each; nobody is asked."""
    known = read_notices(store.root)
    if not known:
        return []
    try:
        endpoint = hub_endpoint(manifest.endpoint)
    except ConfigError:
        return []
    return [
        f"{model.name}: {notice.message}"
        for model in models
        for notice in known.get((endpoint, model.repo or "", model.commit or ""), ())
        # A lock that was made anew since then knows of the gate itself.
        if notice.kind != "gated" or model.gated is None
    ]


_logged: set[str] = set()


def _log_notices(models: Iterable[LockedModel], manifest: Manifest, store: Store) -> None:
    for text in known_notices(models, manifest, store):
        if text not in _logged:
            import logging

            _logged.add(text)
            logging.getLogger("vcm").warning("%s", text)


def locked_model(project: Project, manifest: Manifest, name: str) -> LockedModel:
    """One model of the lock, by name.

    Raises:
        ConfigError: the manifest has no such model.
        LockError: there is no lock, or it does not fit the manifest.
    """
    return _locked_models(project, manifest, name)[0]


def _locked_models(project: Project, manifest: Manifest, name: str) -> list[LockedModel]:
    """One model of the lock, by name, and what it pulls in or what it was pulled in with."""
    known = [requirement.name for requirement in manifest.models]
    root = name
    if name not in known:
        lock = project.lock()
        entry = lock.get(name) if lock else None
        root = entry.root if entry else name
    if root not in known:
        raise ConfigError(
            f'no model "{name}" in models.toml{did_you_mean(name, known)}',
            hint=f"models of this project: {', '.join(known) or 'none'}",
        )
    # A lock that fits names every model.
    models = project.fitting_lock(manifest).by_root[root]
    return sorted(models, key=lambda model: model.name != name)
