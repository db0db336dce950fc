"""ModelRegistry: what is on this machine, since when, and for which projects.

    <cache>/registry.json         the store's own; a program may keep others
    <cache>/registry.json.lock    held by whoever changes it

JSON: ``version``, ``models`` by id, ``projects``. Every change takes the lock, reads the file anew, and replaces it
whole, so that no change of another process is lost, and who reads without the lock sees the old or the new. Keys that
only a newer vcm knows are kept. A row that cannot be used is set aside: it stays in the file, and only who asks for it
by name is refused. A file that cannot be used is never overwritten.

``record`` stands in the way of every sync, so it looks at plain JSON: entries are made where a program asks for them.
"""

from __future__ import annotations

import json
import os
import stat
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, List, Literal, Optional

from vcm.core.installed import Document, drop_snapshots, forget_projects, parse_registry, record_models
from vcm.core.lock import LockedModel
from vcm.errors import ModelRegistryError, VcmError
from vcm.store.exclusion import lock
from vcm.store.files import disk_errors, replace_file
from vcm.store.snapshots import SnapshotStore

if TYPE_CHECKING:
    from datetime import datetime

    from vcm.core.entries import ModelEntry, ModelStatus, ModelType

_PATIENCE_SECONDS = 30.0
"""A change takes milliseconds: who holds the lock longer hangs."""


class ModelRegistry:
    """A file of model entries; any number of processes and threads may use it at once.

    What is asked of it is answered from the file as it is now. An entry it hands out, or was given, may be changed and
    then kept with ``save``.
    """

    def __init__(self, registry_file: Path) -> None:
        """Take a file, which need not be there yet.

        Args:
            registry_file: the JSON file.
        """
        self.registry_file = Path(registry_file)
        self._name = str(self.registry_file)
        self._guard = threading.RLock()
        self._bytes: bytes | None = None
        self._rows: dict[str, Any] = {}
        self._held: dict[str, tuple[dict[str, Any], ModelEntry]] = {}
        """By id, entries that a program holds, each with the row that it was when it was last read or kept."""

    def add_model(self, entry: ModelEntry) -> bool:
        """Add an entry.

        Returns:
            True if it was added, False if there is one of that id.

        Raises:
            ModelRegistryError: the entry cannot be kept, or the file cannot be used.
        """
        from vcm.core.entries import row_of

        row = row_of(entry)

        def add(document: Document) -> bool:
            return document["models"].setdefault(entry.model_id, row) is row

        with self._guard:
            added = self._change(add)
            if added:
                self._held[entry.model_id] = row, entry
            return added

    def put_model(self, entry: ModelEntry) -> None:
        """Add an entry, or let it stand in the place of the one of its id, which whoever holds it may keep as it is.

        Raises:
            ModelRegistryError: the entry cannot be kept, or the file cannot be used.
        """
        from vcm.core.entries import row_of

        row = row_of(entry)

        def put(document: Document) -> bool:
            before = document["models"].get(entry.model_id)
            document["models"][entry.model_id] = {**before, **row} if isinstance(before, dict) else row
            return True

        with self._guard:
            self._held.pop(entry.model_id, None)
            self._change(put)
            self._held[entry.model_id] = self._rows[entry.model_id], entry

    def get_model(self, model_id: str) -> Optional[ModelEntry]:
        """The entry of that id, None where there is none.

        Raises:
            ModelRegistryError: its row is damaged, or the file cannot be used.
        """
        with self._guard:
            self._refresh(self._read())
            return self._entry(model_id)

    def list_models(
        self, model_type: Optional[ModelType] = None, status: Optional[ModelStatus] = None
    ) -> List[ModelEntry]:
        """The entries in the order of their ids; damaged rows are left out.

        Args:
            model_type: only those of this type.
            status: only those in this state.

        Raises:
            ModelRegistryError: the file cannot be used.
        """
        with self._guard:
            self._refresh(self._read())
            return [
                entry
                for entry in self._usable()
                if model_type in (None, entry.model_type) and status in (None, entry.status)
            ]

    def update_model_status(
        self, model_id: str, status: ModelStatus, metadata: Optional[Dict[str, Any]] = None
    ) -> bool:
        """Set an entry's status.

        Args:
            model_id: which.
            status: what it is now.
            metadata: keys to set in the entry's own.

        Returns:
            False if there is no such entry.

        Raises:
            ModelRegistryError: its row is damaged, or the file cannot be used.
        """
        from vcm.core.entries import entry_of, row_of

        def update(document: Document) -> bool:
            rows = document["models"]
            if model_id not in rows:
                return False
            entry = entry_of(model_id, rows[model_id])
            entry.status = status
            entry.metadata.update(metadata or {})
            rows[model_id] |= row_of(entry)
            return True

        return self._change(update)

    def remove_model(self, model_id: str) -> bool:
        """Remove an entry, a damaged one too; its files stay.

        Returns:
            False if there is no such entry.

        Raises:
            ModelRegistryError: the file cannot be used.
        """
        missing = object()

        def remove(document: Document) -> bool:
            return document["models"].pop(model_id, missing) is not missing

        return self._change(remove)

    def save(self) -> None:
        """Keep what was done to entries that this registry handed out or was given.

        Only what was done to them here is written, key by key; an entry that has been removed stays so.

        Raises:
            ModelRegistryError: an entry cannot be kept, or the file cannot be used.
        """

        def write(document: Document) -> bool:
            rows = document["models"]
            for model_id, (row, entry) in self._held.items():
                if isinstance(rows.get(model_id), dict):
                    rows[model_id] |= _edits(row, entry)
            return True

        with self._guard:
            self._change(write)

    def load(self) -> None:
        """Read the file; what was done to entries and not saved is forgotten.

        Raises:
            ModelRegistryError: the file cannot be used.
        """
        with self._guard:
            self._held, self._bytes = {}, None
            self._refresh(self._read())

    # The store's own record

    def record(self, project: Path, models: Sequence[LockedModel], root: Path) -> None:
        """Remember that a project's models are installed; writes nothing where that is known.

        There is one entry for each set of files, under the id ``<repo or url>@sha256:<tree digest>``, with name,
        commit, version and date of the first time.

        Args:
            project: the project's folder; it is known from now on.
            models: all of its models that are installed: it uses no others any more.
            root: the store's folder.

        Raises:
            ModelRegistryError: the file cannot be used.
        """
        self._change_if_new(_recording(project, models, root))

    def is_recorded(self, project: Path, models: Sequence[LockedModel], root: Path) -> bool:
        """Whether ``record`` would write nothing.

        Raises:
            ModelRegistryError: the file cannot be used.
        """
        return not _recording(project, models, root)(parse_registry(self._read(), self._name))

    def projects(self) -> tuple[Path, ...]:
        """The projects that are known, in the order of their paths.

        Raises:
            ModelRegistryError: the file cannot be used.
        """
        return tuple(map(Path, parse_registry(self._read(), self._name)["projects"]))

    def forget(self, projects: Collection[Path]) -> None:
        """Forget projects; the entries of what they used stay.

        Raises:
            ModelRegistryError: the file cannot be used.
        """
        places = {str(project.absolute()) for project in projects}
        self._change_if_new(lambda document: forget_projects(document, places))

    def drop(self, tree_digests: Collection[str]) -> None:
        """Drop all entries of snapshots that are gone.

        Args:
            tree_digests: bare hex.

        Raises:
            ModelRegistryError: the file cannot be used.
        """
        digests = frozenset(tree_digests)
        self._change_if_new(lambda document: drop_snapshots(document, digests))

    # The file

    def _change_if_new(self, change: Callable[[Document], bool]) -> None:
        """Make a change that comes to nothing most of the time: then no lock is taken."""
        if change(parse_registry(self._read(), self._name)):
            self._change(change)

    def _change(self, change: Callable[[Document], bool]) -> bool:
        """Let ``change`` work on the file's content; it says whether there is something to keep."""
        with self._guard, self._exclusive():
            data = self._read()
            document = parse_registry(data, self._name)
            changed = change(document)
            if changed:
                new = (json.dumps(document, indent=1, sort_keys=True) + "\n").encode()
                if new != data:
                    replace_file(self.registry_file, new)
                data = new
            self._refresh(data)
            return changed

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        with self._errors():
            try:
                release = lock(Path(f"{self.registry_file}.lock"), patience=_PATIENCE_SECONDS)
            except TimeoutError:
                raise ModelRegistryError(
                    f"{self.registry_file} has been held by another process for {_PATIENCE_SECONDS:.0f} s",
                    hint="end the process that hangs, then try again",
                ) from None
            try:
                yield
            finally:
                release()

    @contextmanager
    def _errors(self, verb: Literal["read", "write"] = "write") -> Iterator[None]:
        try:
            with disk_errors(self.registry_file):
                yield
        except ModelRegistryError:
            raise
        except VcmError as error:
            raise ModelRegistryError(
                error.message,
                error_code=error.error_code,
                hint=f"{'make room, or ' if verb == 'write' else ''}see who may {verb} {self.registry_file}, "
                "then try again",
            ) from error

    def _read(self) -> bytes | None:
        """The file's bytes; None where there is none."""
        with self._errors("read"):
            try:
                # Opening a pipe would wait for ever.
                if not stat.S_ISREG(os.stat(self.registry_file).st_mode):  # noqa: PTH116
                    raise ModelRegistryError(f"{self.registry_file} is no regular file", hint="name another file")
                return self.registry_file.read_bytes()
            except FileNotFoundError:
                return None
            except ValueError as error:
                raise ModelRegistryError(f"no file can be called {self.registry_file!s:.200}: {error}") from None

    # What a program holds of it

    def _refresh(self, data: bytes | None) -> None:
        """Take in the file's content. Entries that are held follow it, but for what was done to them here."""
        if data is not None and data == self._bytes:
            return
        self._rows, self._bytes = parse_registry(data, self._name)["models"], data
        held, self._held = self._held, {}
        for model_id, (row, entry) in held.items():
            with suppress(ModelRegistryError):
                self._held[model_id] = self._followed(model_id, row, entry)

    def _followed(self, model_id: str, row: dict[str, Any], entry: ModelEntry) -> tuple[dict[str, Any], ModelEntry]:
        from dataclasses import fields

        from vcm.core.entries import entry_of

        new = self._rows.get(model_id)
        now = entry_of(model_id, new)
        if new != row:
            edits = _edits(row, entry)
            for each in fields(entry):
                if each.name not in edits:
                    setattr(entry, each.name, getattr(now, each.name))
        return dict(new or {}), entry

    def _entry(self, model_id: str) -> ModelEntry | None:
        from vcm.core.entries import entry_of

        if model_id not in self._rows:
            return None
        if model_id not in self._held:
            row = self._rows[model_id]
            self._held[model_id] = row, entry_of(model_id, row)
        return self._held[model_id][1]

    def _usable(self) -> Iterator[ModelEntry]:
        for model_id in sorted(self._rows):
            try:
                entry = self._entry(model_id)
            except ModelRegistryError:
                continue
            if entry is not None:
                yield entry


def _edits(row: dict[str, Any], entry: ModelEntry) -> dict[str, Any]:
    """What was done to an entry since it was this row.

    Raises:
        ModelRegistryError: something that no entry may be.
    """
    from vcm.core.entries import row_of

    return {key: value for key, value in row_of(entry).items() if value != row.get(key)}


def _now() -> datetime:
    from datetime import UTC, datetime

    return datetime.now(UTC).replace(microsecond=0)


def _recording(project: Path, models: Sequence[LockedModel], root: Path) -> Callable[[Document], bool]:
    place, snapshots = str(project.absolute()), SnapshotStore(root)
    paths = {model.tree_digest: str(snapshots.path(model.tree_digest)) for model in models}
    return lambda document: record_models(document, place, models, paths, _now)
