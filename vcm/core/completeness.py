"""What the taken files refer to must be taken too: shards, configurations, tokenizers, components.

Only what a file says counts, or its own name (one shard of three, the graph to which weights belong); nothing is
guessed. Weights in another format than the taken ones were left out by decision, and so was a whole set of shards whose
index came along beside the weights that were chosen.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from vcm.core import names
from vcm.core.configs import MODEL_INDEX, MODULES, base_name, beside, code_references, is_config, parse, strings
from vcm.core.formats import Shard, bundle, is_index, is_licence, shard, weight_format
from vcm.core.manifest import Requirement
from vcm.errors import ConfigError

_MOST_GAPS = 1000
_GAPS_SHOWN = 5
_MODULE_FILES = ("config.json",)
_COMPONENT_FILES = (".json", ".txt", ".model")
"""Configurations, vocabularies, merges and sentencepiece models."""


@dataclass(frozen=True, slots=True)
class Gap:
    """Something that a taken file refers to and that is not taken.

    Attributes:
        path: a file, or with ``/`` at its end a folder of whose weights none is taken.
        named_by: the file that refers to it.
        present: whether the repo has it.
    """

    path: str
    named_by: str
    present: bool

    def __str__(self) -> str:
        what = f"the weights in {self.path}" if self.path.endswith("/") else self.path
        return f"{what}, named by {self.named_by}" + ("" if self.present else ", which the repo does not have")


def gaps(taken: Collection[str], present: Collection[str], read: Callable[[str], bytes | None]) -> list[Gap]:
    """What is missing, each path once; at most 1,000 of them.

    Args:
        taken: paths of the files to lock.
        present: all paths of the commit.
        read: gives the bytes of a taken file that ``configs.is_reference``, or None.
    """
    listing = _Listing(frozenset(taken), frozenset(present))
    found: dict[str, Gap] = {}
    for gap in islice(_all(listing, read), _MOST_GAPS):
        found.setdefault(gap.path, gap)
    return list(found.values())


class _Listing:
    """The two lists of paths, and what is often asked of them."""

    def __init__(self, taken: frozenset[str], present: frozenset[str]) -> None:
        self.taken = taken
        self.present = present
        self.weights = sorted(path for path in taken if _is_weights(path))
        self.formats = {weight_format(path) for path in self.weights}
        self._inside: dict[str, list[str]] = {}
        self._bundles: dict[str, list[str]] = {}
        for path in sorted(present, key=str.encode):
            self._inside.setdefault(path.rpartition("/")[0], []).append(path)
            name = bundle(path)
            if name is not None:
                self._bundles.setdefault(name, []).append(path)

    def inside(self, folder: str) -> list[str]:
        """The files of the repo that stand in a folder itself, in path order."""
        return self._inside.get(folder, [])

    def of_bundle(self, name: str) -> list[str]:
        """The files of the repo that are loaded as one, in path order."""
        return self._bundles.get(name, [])

    def takes_weights_in(self, folder: str) -> bool:
        """Whether any weights below a folder are taken."""
        position = bisect_left(self.weights, f"{folder}/")
        return position < len(self.weights) and self.weights[position].startswith(f"{folder}/")

    def missing(self, path: str) -> bool:
        """Whether the repo has a file that was cut off, and not because its weights are in another format."""
        if path in self.taken or path not in self.present:
            return False
        form = weight_format(path)
        return form is None or form in self.formats


def _all(listing: _Listing, read: Callable[[str], bytes | None]) -> Iterator[Gap]:
    sets: set[Shard | str] = set()
    for path in sorted(listing.taken, key=str.encode):
        if is_index(path):
            yield from _of_index(listing, path, parse(read(path)))
        elif is_config(path):
            yield from _of_config(listing, path, parse(read(path)))
        elif base_name(path) == MODULES:
            yield from _of_modules(listing, path, parse(read(path)))
        elif base_name(path) == MODEL_INDEX:
            yield from _of_model_index(listing, path, parse(read(path)))
        elif weight_format(path) is not None:
            yield from _of_shard(listing, path, sets)
            yield from _of_bundle(listing, path, sets)


def _of_index(listing: _Listing, path: str, index: Any) -> Iterator[Gap]:
    """Source: ``weight_map`` of https://huggingface.co/docs/transformers/big_models (a tensor's name to its shard)."""
    weight_map = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(weight_map, dict):
        return
    named = {beside(path, name) for name in weight_map.values() if isinstance(name, str)}
    shards = sorted(each for each in named if names.if_valid(each, names.file_path))
    missing = [each for each in shards if each not in listing.taken]
    # Libraries look for the whole file first, and then never at the index.
    is_unused = path.removesuffix(".index.json") in listing.taken
    is_left_out = len(missing) == len(shards) and bool(listing.weights)
    if not is_unused and not is_left_out:
        for each in missing:
            yield Gap(each, path, each in listing.present)


def _of_shard(listing: _Listing, path: str, sets: set[Shard | str]) -> Iterator[Gap]:
    one = shard(path)
    if one is None:
        return
    whole = Shard(one.start, 1, one.count, one.end)
    if whole not in sets:
        sets.add(whole)
        for number in range(1, int(one.count) + 1):
            each = one.path(number)
            if each not in listing.taken:
                yield Gap(each, path, each in listing.present)


def _of_bundle(listing: _Listing, path: str, sets: set[Shard | str]) -> Iterator[Gap]:
    name = bundle(path)
    if name is not None and name not in sets:
        sets.add(name)
        for each in listing.of_bundle(name):
            if each not in listing.taken:
                yield Gap(each, path, present=True)


def _of_config(listing: _Listing, path: str, config: Any) -> Iterator[Gap]:
    for text in strings(config):
        if "." in text and listing.missing(beside(path, text)):
            yield Gap(beside(path, text), path, present=True)
    for repo, module in code_references(config):
        if repo is None:
            # Beside the configuration, or at the top for one in a sub-folder.
            for each in (beside(path, f"{module}.py"), f"{module}.py"):
                if listing.missing(each):
                    yield Gap(each, path, present=True)


def _of_modules(listing: _Listing, path: str, modules: Any) -> Iterator[Gap]:
    """Source: https://sbert.net/docs/package_reference/sentence_transformer/models.html (modules.json)."""
    entries = modules if isinstance(modules, list) else ()
    folders = (entry.get("path") for entry in entries if isinstance(entry, dict))
    for folder in dict.fromkeys(folder for folder in folders if isinstance(folder, str) and folder):
        yield from _of_folder(listing, beside(path, folder), path, _MODULE_FILES)


def _of_model_index(listing: _Listing, path: str, index: Any) -> Iterator[Gap]:
    """Source: https://huggingface.co/docs/diffusers/using-diffusers/loading (a component to its library and class)."""
    for component, value in index.items() if isinstance(index, dict) else ():
        if not component or not isinstance(value, list) or not value or not isinstance(value[0], str):
            continue
        # Where a library stands, a module of the repo's own may stand, for the whole pipeline too.
        folder = beside(path, component)
        own = beside(path if component == "_class_name" else f"{folder}/", f"{value[0]}.py")
        if listing.missing(own):
            yield Gap(own, path, present=True)
        if not component.startswith("_"):
            yield from _of_folder(listing, folder, path, _COMPONENT_FILES)


def _of_folder(listing: _Listing, folder: str, named_by: str, side_files: tuple[str, ...]) -> Iterator[Gap]:
    """What a part of a model that stands in a folder of its own needs: its side files, and some weights."""
    has_weights = False
    for path in listing.inside(folder):
        if _is_weights(path):
            has_weights = True
        elif path.endswith(side_files) and path not in listing.taken and not is_index(path) and not is_licence(path):
            yield Gap(path, named_by, present=True)
    # Whoever takes no weights at all wants the configurations only.
    if has_weights and listing.weights and not listing.takes_weights_in(folder):
        yield Gap(f"{folder}/", named_by, present=True)


def _is_weights(path: str) -> bool:
    return weight_format(path) is not None and not is_index(path)


def refuse_gaps(found: Collection[Gap], requirement: Requirement) -> None:
    """Refuse to lock a model that lacks something.

    Raises:
        ConfigError: names the first of the gaps and what to change.
    """
    if not found:
        return
    ordered = sorted(found, key=lambda gap: not gap.present)
    first, name = ordered[0], f"[models.{requirement.name}]"
    if not first.present:
        hint = f"take another version of {requirement.repo}, or leave {first.named_by} out with exclude under {name}"
    elif requirement.include:
        hint = f"widen include under {name}" + (", or narrow exclude" if requirement.exclude else "")
    elif first.path.endswith("/"):
        # Its weights are in another format than was taken, and there may be one that all parts have.
        hint = (
            f"leave the format that is not whole out with exclude under {name}, or name all that is needed with include"
        )
    else:
        hint = f"narrow exclude under {name}"
    if len(ordered) == 1:
        raise ConfigError(f"not taken: {first}", hint=hint, model=requirement.name)
    more = len(ordered) - _GAPS_SHOWN
    raise ConfigError(
        f"not taken: {len(ordered)} files that others refer to",
        details=[*map(str, ordered[:_GAPS_SHOWN]), *([f"and {more} more"] if more > 0 else [])],
        hint=hint,
        model=requirement.name,
    )
