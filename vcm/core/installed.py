"""What a registry's file holds: entries of models, and which projects use those of the store.

JSON: ``version``, ``models`` by id, ``projects``. The rows of the store's snapshots are made here, one for each tree
digest; every sync asks whether they are there, so they are looked at as plain JSON.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from vcm.core.lock import LockedModel
from vcm.errors import CONFIG_ERROR, ModelRegistryError

if TYPE_CHECKING:
    from datetime import datetime

FORMAT_VERSION = 1
_MARK = "@sha256:"
"""Between what a model is and which of its snapshots this is, as in OCI references; no repo id holds an ``@``."""

_DAMAGED_HINT = "take a good copy of it from a backup, or move it away to begin with an empty one"

Document = dict[str, Any]


def parse_registry(data: bytes | None, file_name: str) -> Document:
    """The content of a registry's file.

    Raises:
        ModelRegistryError: it is not what a registry holds.
    """
    if data is None:
        return {"version": FORMAT_VERSION, "models": {}, "projects": []}
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        raise _damaged(file_name, "it is not JSON") from None
    if not isinstance(document, dict) or not isinstance(document.get("models"), dict):
        raise _damaged(file_name, 'it has no "models"')
    version = document.get("version")
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise _damaged(file_name, 'its "version" is no whole number of at least 1')
    if version > FORMAT_VERSION:
        raise ModelRegistryError(
            f"{file_name} has version {version}, newer than this vcm knows ({FORMAT_VERSION})",
            error_code=CONFIG_ERROR,
            hint="upgrade vcm: pip install --upgrade vcm",
        )
    projects = document.setdefault("projects", [])
    if not isinstance(projects, list) or not all(map(_may_be_a_folder, projects)):
        raise _damaged(file_name, 'its "projects" are no list of folders')
    return document


def _may_be_a_folder(place: object) -> bool:
    """Whether the system can be asked for it: names that are not UTF-8 are surrogates here, and no other may be."""
    try:
        return isinstance(place, str) and "\0" not in place and bool(place.encode(errors="surrogateescape"))
    except UnicodeEncodeError:
        return False


def _damaged(file_name: str, problem: str) -> ModelRegistryError:
    return ModelRegistryError(
        f"{file_name} is no registry of models: {problem}", error_code=CONFIG_ERROR, hint=_DAMAGED_HINT
    )


def record_models(
    document: Document,
    project: str,
    models: Sequence[LockedModel],
    paths: Mapping[str, str],
    now: Callable[[], datetime],
) -> bool:
    """Put a project's installed models into the document; whether that changed it.

    Args:
        document: a registry's content.
        project: the project's folder.
        models: all that it uses.
        paths: by tree digest, where the snapshots stand.
        now: asked where something is new.
    """
    rows, changed = document["models"], False
    keys = {key.rpartition(_MARK)[2]: key for key in rows if _MARK in key}
    for model in models:
        key = keys.setdefault(model.tree_digest, f"{model.repo or model.url}{_MARK}{model.tree_digest}")
        path = paths[model.tree_digest]
        if not _is_installed(rows.get(key), path):
            rows[key] = _installed(key, model, path, rows.get(key), now)
            changed = True
        projects = _projects(rows[key])
        if project not in projects:
            rows[key]["metadata"]["projects"] = sorted([*projects, project])
            changed = True
    used = {keys[model.tree_digest] for model in models}
    left = [_unlist(row, {project}) for key, row in rows.items() if key not in used]
    if project not in document["projects"]:
        document["projects"] = sorted([*document["projects"], project])
        changed = True
    return changed or any(left)


def forget_projects(document: Document, projects: Collection[str]) -> bool:
    """Take projects out of the document, and leave what they used; whether that changed it."""
    known = document["projects"]
    document["projects"] = [each for each in known if each not in projects]
    left = [_unlist(row, projects) for row in document["models"].values()]
    return any(left) or len(document["projects"]) < len(known)


def drop_snapshots(document: Document, tree_digests: Collection[str]) -> bool:
    """Take all entries of some snapshots (bare hex) out of the document; whether that changed it."""
    rows = document["models"]
    gone = {f"sha256:{digest}" for digest in tree_digests}
    document["models"] = {key: row for key, row in rows.items() if _metadata(row).get("tree_digest") not in gone}
    return len(document["models"]) < len(rows)


def _is_installed(row: object, path: str) -> bool:
    return (
        isinstance(row, dict)
        and row.get("path") == path
        and row.get("status") == "available"
        and isinstance(row.get("metadata"), dict)
    )


def _installed(key: str, model: LockedModel, path: str, before: object, now: Callable[[], datetime]) -> dict[str, Any]:
    """The row of a model that has just been installed; of one that was before, with the date and words of then."""
    from pathlib import Path

    from vcm.core.entries import ModelEntry, ModelStatus, entry_of, row_of, type_of_task

    with suppress(ModelRegistryError):
        known = entry_of(key, before)
        known.path, known.status = Path(path), ModelStatus.AVAILABLE
        return {**_object(before), **row_of(known)}
    metadata = {
        "source": model.source,
        "name": model.name,
        "repo": model.repo,
        "url": model.url,
        "commit": model.commit,
        "tree_digest": f"sha256:{model.tree_digest}",
        "task": model.type,
    }
    entry = ModelEntry(
        model_id=key,
        model_type=type_of_task(model.type),
        path=Path(path),
        status=ModelStatus.AVAILABLE,
        version=model.version or model.ref or model.commit or f"sha256:{model.tree_digest}",
        size_bytes=model.size,
        download_date=now(),
        metadata={name: value for name, value in metadata.items() if value is not None},
    )
    return row_of(entry)


def _unlist(row: object, projects: Collection[str]) -> bool:
    """Take projects from those that use a model; whether there was one."""
    users = _projects(row)
    others = [each for each in users if each not in projects]
    if len(others) == len(users):
        return False
    _metadata(row)["projects"] = others
    return True


def _projects(row: object) -> list[str]:
    projects = _metadata(row).get("projects")
    return [each for each in projects if isinstance(each, str)] if isinstance(projects, list) else []


def _metadata(row: object) -> dict[str, Any]:
    return _object(_object(row).get("metadata"))


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
