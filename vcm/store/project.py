"""A project on the disk: where its manifest and lock are, read and written."""

from __future__ import annotations

import stat
from pathlib import Path

from vcm.core import lock as lock_format
from vcm.core import manifest as manifest_format
from vcm.core.lock import Lock, lock_text, parse_lock, staleness
from vcm.core.manifest import Manifest, parse_manifest
from vcm.core.records import record
from vcm.core.wording import system_reason
from vcm.errors import PERMISSION_ERROR, ConfigError, LockError, VcmError
from vcm.store.files import disk_errors, replace_file
from vcm.version import VERSION

_CHECK = "check that it is a file you may read"


@record(frozen=True)
class Project:
    """A folder with a ``models.toml``."""

    folder: Path

    @property
    def manifest_path(self) -> Path:
        """The manifest's file."""
        return self.folder / manifest_format.FILE_NAME

    @property
    def lock_path(self) -> Path:
        """The lock's file."""
        return self.folder / lock_format.FILE_NAME

    def manifest_bytes(self) -> bytes:
        """The manifest as it stands.

        Raises:
            ConfigError: there is none, or it cannot be read.
        """
        data = _read(self.manifest_path)
        if data is None:
            raise ConfigError(f"no models.toml in {self.folder}", hint="make one with vcm init, or name --project DIR")
        return data

    def manifest(self) -> Manifest:
        """The manifest as values.

        Raises:
            ConfigError: there is none, or it cannot be used.
        """
        return parse_manifest(self.manifest_bytes(), vcm_version=VERSION)

    def lock(self) -> Lock | None:
        """The lock as values; None where there is none.

        Raises:
            ConfigError: it is damaged, of a newer vcm, or no vcm lock at all.
        """
        data = _read(self.lock_path)
        return None if data is None else parse_lock(data)

    def required_lock(self) -> Lock:
        """The lock as values.

        Raises:
            LockError: there is none.
            ConfigError: it cannot be used.
        """
        lock = self.lock()
        if lock is None:
            raise LockError(f"no models.lock in {self.folder}", hint="run vcm lock")
        return lock

    def fitting_lock(self, manifest: Manifest) -> Lock:
        """The lock, if it is true to the manifest.

        Raises:
            LockError: there is none, or it is stale; says why.
            ConfigError: it cannot be used.
        """
        lock = self.required_lock()
        reason = staleness(lock, manifest)
        if reason is not None:
            raise LockError(f"models.lock does not fit models.toml: {reason}", hint="run vcm lock")
        return lock

    def write_lock(self, lock: Lock) -> bool:
        """Write the lock unless it stands there already, byte for byte; says whether it wrote."""
        data = lock_text(lock).encode()
        if _read(self.lock_path) == data:
            return False
        with disk_errors(self.folder, hint="make the project's folder writable"):
            replace_file(self.lock_path, data)
        return True

    def write_manifest(self, data: bytes) -> None:
        """Replace the manifest, whole or not at all."""
        with disk_errors(self.folder, hint="make the project's folder writable"):
            replace_file(self.manifest_path, data)


def find_project(start: Path, file_name: str = manifest_format.FILE_NAME) -> Project:
    """The project around ``start``: the nearest folder upwards with a ``models.toml`` (or another of its files).

    Raises:
        ConfigError: there is none.
    """
    start = start.absolute()
    for folder in (start, *start.parents):
        if (folder / file_name).exists():
            return Project(folder)
    raise ConfigError(f"no {file_name} in {start} or above it", hint="make one with vcm init, or name --project DIR")


def _read(path: Path) -> bytes | None:
    try:
        # Opening a pipe would wait for ever, and a device may have no end.
        if stat.S_IFMT(path.stat().st_mode) not in (stat.S_IFREG, stat.S_IFDIR):
            raise VcmError(f"cannot read {path}: no regular file", error_code=PERMISSION_ERROR, hint=_CHECK)
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise VcmError(
            f"cannot read {path}: {system_reason(error)}", error_code=PERMISSION_ERROR, hint=_CHECK
        ) from error
