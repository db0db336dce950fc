"""Which files of a commit a requirement takes.

A repo often holds the same weights several times. Without ``include``, everything that is no weight file is taken,
plus the weights of ONE format: the first of ``formats.FORMATS`` that the repo has. With ``allow-pickle = true`` the
format of PyTorch comes right after safetensors, because then its files may be used.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from pathspec import GitIgnoreSpec

from vcm.core import names
from vcm.core.formats import FORMATS, PICKLE_FORMAT, holds_pickle, weight_format
from vcm.core.manifest import Requirement
from vcm.core.metadata import RemoteFile
from vcm.errors import ConfigError

__all__ = ["Selection", "refuse_pickle", "select", "weight_format"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """The files to lock, and what was decided on the way.

    Attributes:
        files: in path order.
        format: the one weight format taken; None where the repo has no weights or ``include`` decided.
        left_out: formats that the repo has too.
        saved: bytes of the weights that were left out.
        unmatched: patterns of ``include`` that no file matches.
    """

    files: tuple[RemoteFile, ...]
    format: str | None = None
    left_out: tuple[str, ...] = ()
    saved: int = 0
    unmatched: tuple[str, ...] = ()


def select(files: Iterable[RemoteFile], requirement: Requirement) -> Selection:
    """The files of a commit that the requirement takes.

    Raises:
        ConfigError: a pickle-bearing file without ``allow-pickle``, a name that not every system can hold, or a
            pattern that is no glob.
    """
    files = list(files)
    matching = sorted(filter(_matcher(requirement), files), key=lambda file: file.path.encode())
    if requirement.include:
        selection = Selection(files=tuple(matching), unmatched=_unmatched(files, requirement.include))
    else:
        selection = _one_format(matching, requirement)
    refuse_pickle(selection.files, requirement)
    _refuse_unportable(selection.files, requirement)
    return selection


def _matcher(requirement: Requirement) -> Callable[[RemoteFile], bool]:
    include = _spec("include", requirement) if requirement.include else None
    exclude = _spec("exclude", requirement) if requirement.exclude else None

    def matches(file: RemoteFile) -> bool:
        if include is not None and not include.match_file(file.path):
            return False
        return exclude is None or not exclude.match_file(file.path)

    return matches


def _spec(key: Literal["include", "exclude"], requirement: Requirement) -> GitIgnoreSpec:
    for pattern in getattr(requirement, key):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                GitIgnoreSpec.from_lines([pattern])
        except (ValueError, re.error, FutureWarning):
            raise ConfigError(
                f'{key}: "{pattern}" is no gitignore-style glob',
                hint=f"mend it under [models.{requirement.name}] in models.toml",
                model=requirement.name,
            ) from None
    return GitIgnoreSpec.from_lines(getattr(requirement, key))


def _unmatched(files: list[RemoteFile], patterns: Iterable[str]) -> tuple[str, ...]:
    def matches_any(pattern: str) -> bool:
        spec = GitIgnoreSpec.from_lines([pattern])
        return any(spec.match_file(file.path) for file in files)

    return tuple(pattern for pattern in patterns if not pattern.startswith("!") and not matches_any(pattern))


def _one_format(files: list[RemoteFile], requirement: Requirement) -> Selection:
    order = list(FORMATS)
    if requirement.allow_pickle:
        order.remove(PICKLE_FORMAT)
        order.insert(1, PICKLE_FORMAT)
    formats = {file.path: weight_format(file.path) for file in files}
    present = [name for name in order if name in formats.values()]
    taken = present[0] if present else None
    kept = tuple(file for file in files if formats[file.path] in (None, taken))
    return Selection(
        files=kept,
        format=taken,
        left_out=tuple(present[1:]),
        saved=sum(file.size for file in files) - sum(file.size for file in kept),
    )


def refuse_pickle(files: Iterable[RemoteFile], requirement: Requirement) -> None:
    """Refuse files that may hold pickles, unless the requirement allows them.

    Raises:
        ConfigError: names the file and the two ways out.
    """
    if requirement.allow_pickle:
        return
    for file in files:
        if holds_pickle(file.path):
            raise ConfigError(
                "this format holds Python pickles, which run code when they are loaded",
                hint=f"leave it out with exclude, or set allow-pickle = true on [models.{requirement.name}]",
                model=requirement.name,
                file=file.path,
            )


def _refuse_unportable(files: tuple[RemoteFile, ...], requirement: Requirement) -> None:
    hint = f"leave it out with exclude on [models.{requirement.name}]"
    for file in files:
        try:
            names.portable_file_path(file.path)
        except ValueError as error:
            raise ConfigError(str(error), hint=hint, model=requirement.name, file=file.path) from None
    collision = names.first_collision(file.path for file in files)
    if collision:
        raise ConfigError(
            f'"{collision[0]}" and "{collision[1]}" cannot stand side by side on every system',
            hint=hint,
            model=requirement.name,
        )
