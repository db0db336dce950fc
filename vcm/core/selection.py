"""Which files of a commit a requirement takes.

A repo often holds the same weights several times. Without ``include``, everything that is no weight file is taken,
plus the weights of ONE format: the first of ``formats.FORMATS`` that the repo has. With ``allow-pickle = true`` the
format of PyTorch comes right after safetensors, because then its files may be used.

A repo of GGUF or GGML files often holds the same weights in twenty quantisations, and only its user can choose one,
with ``include``. The text of a licence comes with what it licenses, whatever the patterns say.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

from pathspec import GitIgnoreSpec

from vcm.core import names
from vcm.core.formats import (
    FORMATS,
    PICKLE_FORMAT,
    holds_pickle,
    is_licence,
    is_projector,
    shard,
    variant,
    weight_format,
)
from vcm.core.manifest import Requirement
from vcm.core.metadata import RemoteFile
from vcm.core.wording import byte_count
from vcm.errors import ConfigError

# Quantisations in the order in which they are commonly advised: small enough to use, large enough to be good.
_COMMON_CHOICES = (
    "Q4_K_M",
    "Q4_K_S",
    "Q5_K_M",
    "Q4_0",
    "Q4_1",
    "Q5_K_S",
    "Q5_0",
    "Q6_K",
    "Q8_0",
    "Q3_K_M",
    "F16",
    "BF16",
)
_MOST_TRIED = 20
_NESTED_SET = re.compile(r"(?<!\\)\[[!^]?(?:\[|.[^\]]*(?:--|&&|~~|\|\|))")
"""What Python's own patterns may take for a set within a set some day; it warns of it, and warnings are everybody's."""


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
        ConfigError: a pickle-bearing file without ``allow-pickle``, several variants of which ``include`` must choose,
            a name that not every system can hold, or a pattern that is no glob.
    """
    files = list(files)
    matching = sorted(filter(_matcher(requirement), files), key=lambda file: file.path.encode())
    if requirement.include:
        selection = Selection(files=tuple(matching), unmatched=_unmatched(files, requirement.include))
    else:
        selection = _one_format(matching, requirement)
        _refuse_variants(selection, matching, requirement)
    refuse_pickle(selection.files, requirement)
    _refuse_unportable(selection.files, requirement)
    return replace(selection, files=_with_licences(selection.files, files))


def _with_licences(taken: tuple[RemoteFile, ...], files: list[RemoteFile]) -> tuple[RemoteFile, ...]:
    """What was taken, and the licences; but no licence alone, for that is not what was asked for."""
    paths = {file.path for file in taken}
    more = [
        file
        for file in files
        if is_licence(file.path) and file.path not in paths and names.if_valid(file.path, names.portable_file_path)
    ]
    if not taken or not more:
        return taken
    if names.first_collision(file.path for file in (*taken, *more)) is not None:
        # Exclude cannot mend that, so the odd one stays out instead of the whole model.
        beside = list(taken)
        for file in more[:_MOST_TRIED]:
            if names.first_collision(each.path for each in (*beside, file)) is None:
                beside.append(file)
        more = beside[len(taken) :]
    return tuple(sorted((*taken, *more), key=lambda file: file.path.encode()))


def _matcher(requirement: Requirement) -> Callable[[RemoteFile], bool]:
    include = _spec("include", requirement) if requirement.include else None
    exclude = _spec("exclude", requirement) if requirement.exclude else None

    def matches(file: RemoteFile) -> bool:
        if include is not None and not include.match_file(file.path):
            return False
        return exclude is None or not exclude.match_file(file.path)

    return matches


def _spec(key: Literal["include", "exclude"], requirement: Requirement) -> GitIgnoreSpec:
    globs = []
    for pattern in getattr(requirement, key):
        try:
            globs.append(_glob(pattern))
        except (ValueError, re.error):
            raise ConfigError(
                f'{key}: "{pattern}" is no gitignore-style glob',
                hint=f"mend it under [models.{requirement.name}] in models.toml",
                model=requirement.name,
            ) from None
    return GitIgnoreSpec([part for glob in globs for part in glob.patterns])


@lru_cache(maxsize=1024)
def _glob(pattern: str) -> GitIgnoreSpec:
    if _NESTED_SET.search(pattern):
        raise ValueError(pattern)
    return GitIgnoreSpec.from_lines([pattern])


def _unmatched(files: list[RemoteFile], patterns: Iterable[str]) -> tuple[str, ...]:
    def matches_any(pattern: str) -> bool:
        return any(_glob(pattern).match_file(file.path) for file in files)

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


def _refuse_variants(selection: Selection, matching: Iterable[RemoteFile], requirement: Requirement) -> None:
    """Refuse the same weights in several quantisations.

    Raises:
        ConfigError: lists them with their sizes, and shows how to choose one.
    """
    variants: dict[str, list[RemoteFile]] = {}
    for file in selection.files:
        name = variant(file.path) if weight_format(file.path) == selection.format else None
        if name is not None:
            variants.setdefault(name, []).append(file)
    if len(variants) <= 1:
        return
    sizes = {name: sum(file.size for file in parts) for name, parts in variants.items()}
    rows = []
    for name in sorted(variants, key=lambda name: (-sizes[name], name)):
        parts = variants[name]
        rows.append(f"{byte_count(sizes[name]):>9}  {name}" + (f"  ({len(parts)} files)" if len(parts) > 1 else ""))
    beside = [file.path for file in selection.files if is_projector(file.path)]
    patterns = json.dumps(
        [*_patterns_for(_common_choice(variants), variants, matching), *map(_path_pattern, beside)], ensure_ascii=False
    )
    raise ConfigError(
        f"{requirement.repo} has {len(variants)} variants of its weights in {selection.format}, and vcm cannot choose",
        details=rows,
        hint=f"choose one under [models.{requirement.name}], such as include = {patterns}",
        model=requirement.name,
    )


def _common_choice(variants: Iterable[str]) -> str:
    """The variant that most people take, as far as the names tell."""
    ordered = sorted(variants, key=str.encode)
    for token in _COMMON_CHOICES:
        for name in ordered:
            if re.search(rf"(^|[^A-Za-z0-9]){token}([^A-Za-z0-9]|$)", name, re.IGNORECASE):
                return name
    return ordered[0]


def _patterns_for(choice: str, variants: dict[str, list[RemoteFile]], files: Iterable[RemoteFile]) -> list[str]:
    """What ``include`` needs to take one variant and nothing else: its quantisation, else the paths of its files."""
    wanted = {file.path for file in variants[choice]}
    for token in _COMMON_CHOICES:
        found = re.search(token, choice, re.IGNORECASE)
        if found:
            spec = GitIgnoreSpec.from_lines([f"*{found[0]}*"])
            if {file.path for file in files if spec.match_file(file.path)} == wanted:
                return [f"*{found[0]}*"]
    return list(dict.fromkeys(_path_pattern(path) for path in sorted(wanted)))


def _path_pattern(path: str) -> str:
    part = shard(path)
    return replace(part, start=exact_pattern(part.start)).path("?????") if part else exact_pattern(path)


def exact_pattern(path: str) -> str:
    """The gitignore-style glob that only this file matches."""
    return "/" + re.sub(r"([\\*?\[])", r"\\\1", path)


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
                "a file of this name may hold Python pickles, which run code when they are loaded",
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
