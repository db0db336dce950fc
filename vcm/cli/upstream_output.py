"""What ``diff``, ``outdated`` and ``lock --check --upstream`` say, as text and as JSON."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

from vcm.cli import output
from vcm.core.differences import FieldChange, FileChange, ModelDifference, by_role, changed_roles
from vcm.core.lock import Lock, LockedModel
from vcm.core.wording import byte_count, listed

WIDTH = 80
_MARKS = {"added": "+", "changed": "~", "removed": "-"}
# Said in the first line of a block already.
_RELEASE_KEYS = ("version", "ref", "commit", "committed")
# What somebody should look at before they agree.
_TRUST_KEYS = ("source", "repo", "repo_id", "url", "license")
_TRUST_MARK = "!"


def print_differences(before: Lock, after: Lock, differences: Sequence[ModelDifference]) -> None:
    """What changed between two locks, one block for each model that did."""
    if not differences:
        print("no difference")
        return
    for difference in differences:
        print(_headline(difference))
        for line in _block(difference):
            print(textwrap.fill(line, WIDTH, initial_indent="    ", subsequent_indent="      ", **_WHOLE_WORDS))
    counts = {change: sum(each.change == change for each in differences) for change in _MARKS}
    said = listed(f"{count} {change}" for change, count in counts.items() if count)
    print(f"{said}; {_sizes(_size(before.models), _size(after.models))} in all")


_WHOLE_WORDS: dict[str, Any] = {"break_long_words": False, "break_on_hyphens": False}


def _headline(difference: ModelDifference) -> str:
    before, after, model = difference.before, difference.after, difference.model
    releases = list(dict.fromkeys(output.release(each) for each in (before, after) if each))
    parts = [f" {_MARKS[difference.change]} {model.name}", model.repo or model.url or "", " → ".join(releases)]
    return "  ".join(parts) + (f"  (pulled in by {model.via})" if model.via else "")


def _block(difference: ModelDifference) -> Iterable[str]:
    for key in difference.keys:
        if key.key not in _RELEASE_KEYS:
            yield from _key_lines(key)
    if not difference.files:
        yield "the same files"
    for name, changes in by_role(difference.files).items():
        size = byte_count(sum(change.size for change in changes))
        if name == "code":
            # Code is named: whoever reviews it wants to read it.
            yield f"code: {', '.join(f'{change.path} {change.change}' for change in changes)}, {size}"
        else:
            yield f"{name}: {_counted(changes)}, {size}"
    if difference.before and difference.after and difference.before.size != difference.after.size:
        yield f"size: {_sizes(difference.before.size, difference.after.size)}"


def _key_lines(key: FieldChange) -> Iterable[str]:
    mark = f"{_TRUST_MARK} " if key.key in _TRUST_KEYS else ""
    yield f"{mark}{key.key.replace('_', '-')}: {key.before or 'none'} → {key.after or 'none'}"
    if key.key == "repo" and key.before and key.after:
        owners = [repo.rpartition("/")[0] or "none" for repo in (key.before, key.after)]
        if owners[0] != owners[1]:
            yield f"{_TRUST_MARK} owner: {owners[0]} → {owners[1]}"


def _counted(changes: Sequence[FileChange]) -> str:
    counts = {change: sum(each.change == change for each in changes) for change in _MARKS}
    return ", ".join(f"{count} {change}" for change, count in counts.items() if count)


def _size(models: Iterable[LockedModel]) -> int:
    return sum(model.size for model in models)


def _sizes(before: int, after: int) -> str:
    return f"{byte_count(before)} → {byte_count(after)}"


def differences_document(before: Lock, after: Lock, differences: Sequence[ModelDifference]) -> dict[str, Any]:
    """The JSON answer of ``diff``."""
    return {
        "models": [
            {
                **output.model_document(each.model),
                "status": each.change,
                "via": each.model.via,
                "before": _side(each.before),
                "after": _side(each.after),
                "changes": list(changed_roles(each.files)),
                "keys": [{"key": key.key, "before": key.before, "after": key.after} for key in each.keys],
                "files": [
                    {
                        "path": file.path,
                        "role": file.role,
                        "status": file.change,
                        "size_before": file.before,
                        "size_after": file.after,
                    }
                    for file in each.files
                ],
            }
            for each in differences
        ],
        "size_before": _size(before.models),
        "size_after": _size(after.models),
    }


def _side(model: LockedModel | None) -> dict[str, Any] | None:
    if model is None:
        return None
    keys = ("version", "ref", "commit", "repo", "repo_id", "url", "license", "format")
    sides: dict[str, Any] = {key: getattr(model, key) for key in keys}
    return sides | {"tree_digest": f"sha256:{model.tree_digest}", "size": model.size, "files": len(model.files)}
