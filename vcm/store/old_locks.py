"""Locks as they were: in a file that somebody kept, or in what git has committed."""

from __future__ import annotations

import subprocess
from pathlib import Path

from vcm.core.lock import FILE_NAME, Lock, parse_lock
from vcm.core.wording import byte_count, system_reason
from vcm.errors import ConfigError
from vcm.store.inputs import read_input
from vcm.store.project import Project

_SECONDS = 60.0
_LARGEST = 200_000_000  # bytes: a million files, and none too many for the memory
_OF_ANOTHER_TIME = "name a models.lock of another time"
_NAME_ONE = "name the old lock: vcm diff OLD.lock"


def kept_lock(path: Path, *, named: str = "vcm diff OLD.lock") -> Lock:
    """The lock in a file of any name.

    Args:
        path: the file.
        named: how another one would be named.

    Raises:
        ConfigError: there is none, or it cannot be used.
    """
    try:
        data = read_input(path, _LARGEST)
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {system_reason(error)}", hint=_OF_ANOTHER_TIME) from error
    if len(data) > _LARGEST:
        raise ConfigError(f"{path}: longer than {byte_count(_LARGEST)}", hint=_OF_ANOTHER_TIME)
    return _parsed(data, str(path), named)


def committed_lock(project: Project) -> Lock:
    """The project's lock in the last commit of the branch that is checked out.

    Raises:
        ConfigError: git is not there, knows no such file, or has one that cannot be used.
    """
    # cat-file and not show: the blob's own bytes, whatever the user's configuration does to what is shown.
    done = _git(project.folder, "cat-file", "blob", f"HEAD:./{FILE_NAME}")
    if done.returncode == 0:
        return _parsed(done.stdout, f"HEAD:{FILE_NAME}")
    if _git(project.folder, "rev-parse", "--git-dir").returncode != 0:
        raise ConfigError(f"{project.folder} is in no git repository that git can read", hint=_NAME_ONE)
    raise ConfigError(f"git has no committed {FILE_NAME} in {project.folder}", hint=f"commit it, or {_NAME_ONE}")


def _parsed(data: bytes, name: str, named: str = "vcm diff OLD.lock") -> Lock:
    try:
        return parse_lock(data, file_name=name)
    except ConfigError as error:
        # Nobody is asked to mend what was: it is enough to compare with another. But a newer vcm can read a newer lock.
        if "newer than this vcm knows" not in error.message:
            error.hint = f"name another old lock: {named}"
        raise


def _git(folder: Path, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(  # noqa: S603  (no shell, and nothing of the project among the words)
            ("git", *arguments),  # noqa: S607
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            timeout=_SECONDS,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise ConfigError("git cannot be run here", hint=_NAME_ONE) from error
