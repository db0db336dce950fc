"""Manifests made out of what is there already: an application's YAML, or a Hugging Face cache."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from vcm.core import names
from vcm.core.formats import holds_pickle, variant, weight_format
from vcm.core.manifest import Requirement
from vcm.core.metadata import RemoteFile
from vcm.core.reference import file_name as name_in_url
from vcm.core.selection import exact_pattern, select
from vcm.core.wording import printable
from vcm.errors import ConfigError

if TYPE_CHECKING:
    from vcm.core.yaml_config import YamlModels

_DEFAULT_BRANCH = "main"


def valid_name(text: str) -> str:
    """The name nearest to ``text`` that a model can have: ``LLaVA 1.5 (7B)`` becomes ``llava-1.5-7b``.

    Raises:
        ValueError: there is not one letter or digit in it to begin with.
    """
    ascii_text = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    trimmed = re.sub(r"[^a-z0-9._-]+", "-", ascii_text).strip("._-")
    return names.model_name(trimmed[: names.LONGEST_NAME].rstrip("._-"))


def manifest_text(origin: str, project: str, models: Mapping[str, Mapping[str, Any]], cache_dir: str | None) -> str:
    """A new ``models.toml``.

    Args:
        origin: what it was made from, for its first line.
        project: the project's name.
        models: each model's name and the keys of its table.
        cache_dir: the store's folder; None for the platform's own place.
    """
    import tomlkit

    document = tomlkit.document()
    document.add(tomlkit.comment(f"Made by vcm import from {printable(origin)}; yours to edit."))
    document["project"] = {"name": project}
    tables = tomlkit.table(is_super_table=True)
    for name, values in models.items():
        table = tomlkit.table()
        for key, value in values.items():
            lines = isinstance(value, list) and len(value) > 1
            table.add(key, tomlkit.item(value).multiline(multiline=True) if lines else value)
        tables.add(name, table)
    if models:
        document["models"] = tables
    if cache_dir is not None:
        document["cache"] = {"dir": cache_dir}
    return tomlkit.dumps(document)


def models_from_yaml(yaml_models: YamlModels, file_name: str) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """The tables of a manifest, by name and in the YAML's order, and what to tell about them.

    Raises:
        ConfigError: a name that cannot be made valid, or two that become the same.
    """
    models: dict[str, dict[str, Any]] = {}
    notices: list[str] = []
    came_from: dict[str, str] = {}
    hint = f"give it another name in {file_name}"
    for source in yaml_models.sources:
        try:
            name = valid_name(source.name)
        except ValueError as error:
            raise ConfigError(f'{file_name}: "{source.name}": {error}', hint=hint) from None
        if name in models:
            raise ConfigError(
                f'{file_name}: "{came_from[name]}" and "{source.name}" would both be called {name}', hint=hint
            )
        came_from[name] = source.name
        if name != source.name:
            notices.append(f'"{source.name}" is called {name} in models.toml')
        if holds_pickle(name_in_url(source.url, name)):
            notices.append(
                f"{name}: its file may hold Python pickles, which run code when they are loaded; to accept that, set "
                f"allow-pickle = true on [models.{name}]"
            )
        models[name] = {"url": source.url, "checksum": str(source.checksum), "size": source.size_bytes}
        if source.optional:
            models[name]["optional"] = True
    return models, notices


def snapshots_in_order(refs: Mapping[str, str], snapshots: Mapping[str, int]) -> list[str]:
    """The commits of a cached repo, the one to import first: the default branch's, else the newest.

    Args:
        refs: the commit of each branch or tag.
        snapshots: when each commit's folder was last changed.
    """
    return sorted(snapshots, key=lambda commit: (refs.get(_DEFAULT_BRANCH) != commit, -snapshots[commit], commit))


def revision_of(refs: Mapping[str, str], commit: str) -> str | None:
    """What to ask for to get this commit: nothing for the default branch, else a ref that names it, else itself."""
    known = [ref for ref, target in refs.items() if target == commit]
    if _DEFAULT_BRANCH in known:
        return None
    # refs/pr/1 is a proposal: a branch or tag of that commit says more.
    return min(known, key=lambda ref: (ref.startswith("refs/"), ref), default=commit)


def names_for(repos: Iterable[str]) -> dict[str, str]:
    """A model's name for each repo: that of the repo, with its owner where two would be called the same."""
    repos = sorted(repos)
    short = {repo: _name_or(repo.rpartition("/")[2], "model") for repo in repos}
    counts = Counter(short.values())
    taken: dict[str, str] = {}
    for repo in repos:
        wanted = short[repo] if counts[short[repo]] == 1 else _name_or(repo.replace("/", "-"), "model")
        name, number = wanted, 1
        while name in taken or (name != short[repo] and name in counts):
            number += 1
            name = f"{wanted[: names.LONGEST_NAME - 8]}-{number}"
        taken[name] = repo
    return {repo: name for name, repo in taken.items()}


def _name_or(text: str, otherwise: str) -> str:
    try:
        return valid_name(text)
    except ValueError:
        return otherwise


def cached_requirement(
    repo: str, revision: str | None, files: Sequence[RemoteFile], listing: Collection[RemoteFile] | None
) -> dict[str, Any]:
    """The keys of a requirement that takes exactly these files.

    Args:
        repo: their repo.
        revision: what to ask for.
        files: what is to be taken.
        listing: all files of the commit; None where nobody knows more than ``files``.

    Where it is not known what else there is, a single configuration or quantisation is named: without that, the next
    upgrade would take all the rest, or not know which.
    """
    requirement = Requirement(
        name="model", repo=repo, revision=revision, allow_pickle=any(holds_pickle(file.path) for file in files)
    )
    values: dict[str, Any] = {"repo": repo}
    if revision is not None:
        values["revision"] = revision
    if requirement.allow_pickle:
        values["allow-pickle"] = True
    paths = sorted((file.path for file in files), key=str.encode)
    is_known = listing is not None or _looks_whole(paths)
    if not is_known or _taken(requirement, files if listing is None else listing) != paths:
        values["include"] = [exact_pattern(path) for path in paths]
    return values


def _looks_whole(paths: Iterable[str]) -> bool:
    """Whether these may be all files that a model needs: with weights, but not those of one variant among others."""
    return any(weight_format(path) for path in paths) and not any(variant(path) for path in paths)


def _taken(requirement: Requirement, listing: Iterable[RemoteFile]) -> list[str] | None:
    try:
        return [file.path for file in select(listing, requirement).files]
    except ConfigError:
        return None
