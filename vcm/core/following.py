"""What a model pulls in from other repos: the base model of an adapter, and code that its configuration names."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

from vcm.core import names
from vcm.core.configs import ADAPTER_CONFIG, base_name, code_references, is_config, parse
from vcm.core.lock import LockedModel
from vcm.core.manifest import Requirement
from vcm.core.metadata import RepoInfo
from vcm.core.wording import printable

CARD = "README.md"
CODE_ALONE = ("*.py",)
"""What is included of a repo that is wanted for its code: no weights."""

_LONGEST_SLUG = 48
_LONGEST_SHOWN = 80


@dataclass(frozen=True, slots=True)
class Reference:
    """Another repo that is part of what runs.

    Attributes:
        repo: its id; None where what is written is none, such as a path on the publisher's disk.
        kind: weights to which an adapter is added, or Python files.
        revision: which one, where it is said.
        named_by: the file that names it.
        written: what is written there, short enough for a message and without what would steer a terminal.
    """

    repo: str | None
    kind: Literal["base-model", "code"]
    revision: str | None
    named_by: str
    written: str


def references(
    model_repo: str, info: RepoInfo, read: Callable[[str], bytes | None], taken: Collection[str]
) -> list[Reference]:
    """The other repos that a model needs, each once: base models first, then code, in the order of the files.

    Args:
        model_repo: the repo as it was asked for.
        info: what the hub says of it.
        read: gives the bytes of a taken file that ``configs.is_reference``, or None.
        taken: the paths of the files to lock.
    """
    itself = {model_repo.lower(), info.repo.lower()}
    paths = sorted(taken, key=str.encode)
    found: dict[tuple[str, str | None], Reference] = {}
    for reference in (*_base_models(info, read, paths), *_code(read, paths)):
        if reference.repo is None or reference.repo.lower() not in itself:
            found.setdefault((reference.kind, reference.repo and reference.repo.lower()), reference)
    return list(found.values())


def _base_models(info: RepoInfo, read: Callable[[str], bytes | None], paths: list[str]) -> list[Reference]:
    adapters = [path for path in paths if base_name(path) == ADAPTER_CONFIG]
    written = list(_adapter_bases(read, adapters))
    named = [reference for reference in written if reference.repo]
    # The adapter's own word counts first; the card's where that is a folder on the publisher's disk, or nothing. A word
    # without a namespace may be either.
    if any("/" in reference.written for reference in named) or not (info.is_adapter or adapters):
        return named
    card = [Reference(repo, "base-model", None, CARD, repo) for repo in info.base_models]
    return card or named or written


def _adapter_bases(read: Callable[[str], bytes | None], adapters: list[str]) -> Iterator[Reference]:
    """Source: ``base_model_name_or_path`` and ``revision`` (of the base, not of the adapter) of peft's PeftConfig."""
    for path in adapters:
        config = parse(read(path))
        written = config.get("base_model_name_or_path") if isinstance(config, dict) else None
        if isinstance(written, str) and written.strip():
            yield Reference(
                names.if_valid(written, names.repo_id),
                "base-model",
                names.if_valid(config.get("revision"), names.revision),
                path,
                _shown(written),
            )


def _code(read: Callable[[str], bytes | None], paths: list[str]) -> Iterator[Reference]:
    for path in paths:
        if is_config(path):
            for repo, _ in code_references(parse(read(path))):
                checked = names.if_valid(repo, names.repo_id)
                if repo is not None and checked is not None:
                    yield Reference(checked, "code", None, path, repo)


def _shown(text: str) -> str:
    return printable(text if len(text) <= _LONGEST_SHOWN else f"{text[: _LONGEST_SHOWN - 3]}...")


def python_files(paths: Iterable[str]) -> tuple[str, ...]:
    """The Python files among some paths, in path order: code that a program may run when it trusts the repo."""
    return tuple(sorted((path for path in paths if path.lower().endswith(".py")), key=str.encode))


def is_there_with(other: Requirement, requirement: Requirement) -> bool:
    """Whether a requirement is installed wherever another one is, so that nothing has to bring its repo once more."""
    groups = set(requirement.groups)
    return (
        (not other.groups or (bool(groups) and groups <= set(other.groups)))
        and other.marker in (None, requirement.marker)
        and (requirement.optional or not other.optional)
    )


def with_free_names(models: Iterable[LockedModel], declared: Iterable[str]) -> list[LockedModel]:
    """Locked models in name order, each with a name of its own; what the manifest names keeps that.

    The names follow from what is locked, and from nothing that was locked before.

    Args:
        models: entries, with any names for those that were pulled in.
        declared: the names in the manifest.
    """
    taken = set(declared)
    named = []
    for model in sorted(models, key=lambda model: (model.root, model.asked or model.repo or "")):
        if model.via is not None:
            model = replace(model, name=entry_name(model.via, model.asked or model.repo or "", taken))  # noqa: PLW2901
            taken.add(model.name)
        named.append(model)
    return sorted(named, key=lambda model: model.name)


def entry_name(root: str, repo: str, taken_names: Collection[str]) -> str:
    """The name of the lock's entry for a repo that a model pulls in: ``adapter.llama-3.1-8b``.

    Args:
        root: the model of the manifest.
        repo: what it pulls in.
        taken_names: names that other entries have.
    """
    owner, _, name = repo.rpartition("/")
    for slug in (name, f"{owner}-{name}"):
        candidate = _joined(root, slug)
        if candidate not in taken_names:
            return candidate
    number = 2
    while (candidate := _joined(root, name, f"-{number}")) in taken_names:
        number += 1
    return candidate


def _joined(root: str, slug: str, end: str = "") -> str:
    slug = slug.lower()[:_LONGEST_SLUG].strip("._-") or "repo"
    return root[: names.LONGEST_NAME - len(slug) - len(end) - 1].rstrip("._-") + f".{slug}{end}"
