"""Using a store so that prune knows of it: by a lease while something runs, by the project's name for good."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING

from vcm.core.lock import LockedModel
from vcm.errors import DiskSpaceError, VcmError
from vcm.store.files import disk_errors, written_at
from vcm.store.store import Store

if TYPE_CHECKING:
    from vcm.store.leases import Lease


class StoreUse:
    """How one session uses a store.

    Args:
        store: which.
        project: the folder of the project that it is used for, if there is one.
        cancelled: ends the waiting for prune.
        notice: told what the user should know.
    """

    def __init__(self, store: Store, project: Path | None, cancelled: Event, notice: Callable[[str], None]) -> None:
        self._store = store
        self._project = project
        self._cancelled = cancelled
        self._notice = notice
        self._held: Lease | None = None
        self._refused: VcmError | None = None

    def hold(self) -> None:
        """Keep prune from removing anything, until it is let go.

        A store that cannot be written is no error here: nobody can put anything into it. Nor is one made for this,
        where there is none: what comes to be in it is young, which prune spares.
        """
        if self._held is None and self._store.root.is_dir():
            with suppress(VcmError):
                self._held = self._taken(None)

    def let_go(self) -> None:
        """End what ``hold`` began."""
        if self._held is not None:
            self._held.release()
            self._held = None

    @contextmanager
    def needing(self, models: Sequence[LockedModel], *, to_write: bool) -> Iterator[None]:
        """Keep prune from removing what these models need; nothing more is held from then on.

        Args:
            models: which.
            to_write: whether anything is to be written; else a store that cannot be written will do.

        Raises:
            VcmError: the store cannot be written.
        """
        self._refused = None
        try:
            lease = self._taken(models)
        except VcmError:
            if to_write:
                raise
            lease = None
        try:
            self.let_go()
            yield
        finally:
            if lease is not None:
                lease.release()

    def _taken(self, models: Sequence[LockedModel] | None) -> Lease | None:
        """A lease; None where the disk is too full for one."""
        from vcm.store.leases import Leases

        try:
            with disk_errors(self._store.root):
                return Leases(self._store.root).take(models, self._cancelled)
        except DiskSpaceError:
            # Whether there is room for what shall come is said with numbers, later.
            return None

    def is_known(self) -> bool:
        """Whether the store knows the project, if there is one; true also where nobody can tell."""
        try:
            return self._project is None or self._project.resolve() in self._store.registry.projects()
        except VcmError:
            return True

    def is_remembered(self, models: Sequence[LockedModel]) -> bool:
        """Whether the store knows that the project has these models installed, and no others."""
        try:
            return self._project is None or self._store.registry.is_recorded(
                self._project.resolve(), models, self._store.root
            )
        except VcmError:
            return False

    def is_named(self) -> bool:
        """Whether the store's index will name all that is installed: it is as new as the record of that."""
        root = self._store.root
        return written_at(root / "index.json") >= max(written_at(root / "registry.json"), 1)

    def name(self, models: Sequence[LockedModel], *, anew: bool, quiet: bool = False) -> None:
        """Let the store's index name installed models, for other tools; costs little where it does already.

        Args:
            models: what is installed.
            anew: whether those of other projects may be missing in it, too.
            quiet: say nothing where it cannot be done, as in a store that nobody here may write.
        """
        try:
            self._store.layout.record(models, self._cancelled)
            if anew or not self._store.layout.is_whole:
                self._store.layout.record([*self._installed(), *models], self._cancelled, whole=True)
        except VcmError as error:
            if not quiet:
                self._notice(f"other tools do not find the new models in the store: {error}")

    def _installed(self) -> list[LockedModel]:
        """The models of all known projects that are installed."""
        from vcm.store.pruning import read_projects

        models = read_projects(self._store.registry.projects()).models
        return [model for model in models if self._store.snapshots.path(model.tree_digest).is_dir()]

    def remember(self, models: Sequence[LockedModel], *, quiet: bool = False) -> None:
        """Let the store know which models the project has installed; costs little where it does already.

        Args:
            models: all that the project uses here.
            quiet: say nothing where it cannot be done, because something worse has to be said.
        """
        if self._project is None:
            return
        # Tried once while a lease is held: a process that hangs with the registry in its hands is not waited for twice.
        if self._refused is None:
            try:
                self._store.registry.record(self._project.resolve(), models, self._store.root)
            except VcmError as error:
                self._refused = error
        if self._refused is not None and not quiet:
            self._notice(
                "the store cannot take down that this project uses it, so vcm cache prune may remove its "
                f"models: {self._refused}"
            )
