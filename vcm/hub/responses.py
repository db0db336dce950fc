"""The hub's JSON to values, each checked; pure.

Nothing a hub sends is believed: every function raises RegistryError, which says what is wrong with the answer.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, Literal

from vcm.core import names
from vcm.core.metadata import Ref, RemoteFile, RepoInfo
from vcm.errors import RegistryError

_MASK = "*" * 64
_LARGEST_FILE = 1 << 50
_LICENSE_LENGTH = 100


def parse_json(data: bytes, subject: str) -> Any:
    """A JSON value from its bytes.

    Raises:
        RegistryError: it is none.
    """
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        start = data[:60].decode("utf-8", "replace")
        raise RegistryError(
            f"{subject}: the hub's answer is not JSON: {start!r}",
            hint="check HF_ENDPOINT, and that no proxy or login page answers in the hub's place",
        ) from None


def repo_info(value: Any, subject: str) -> RepoInfo:
    """The answer of ``/api/models/{id}/revision/{rev}``."""
    info = _object(value, subject)
    card = info.get("cardData")
    card = card if isinstance(card, dict) else {}
    gated = info.get("gated") or None
    return RepoInfo(
        repo=_checked(info.get("id", info.get("modelId")), names.repo_id, subject, "id"),
        commit=_commit(info.get("sha"), subject, "sha"),
        repo_id=_short_text(info.get("_id")),
        gated=None if gated is None else ("auto" if gated == "auto" else "manual"),
        disabled=info.get("disabled") is True,
        task=names.if_valid(info.get("pipeline_tag"), names.task),
        license=_license(card, info.get("tags")),
        new_version=names.if_valid(card.get("new_version"), names.repo_id),
        base_models=_base_models(card),
        is_adapter=_is_adapter(card, info.get("tags")),
        tags=_tags(info.get("tags")),
    )


def refs(value: Any, subject: str) -> tuple[Ref, ...]:
    """The answer of ``/api/models/{id}/refs``: tags and branches whose names can be asked for."""
    answer = _object(value, subject)
    found: list[Ref] = []
    kinds: tuple[tuple[str, Literal["tag", "branch"]], ...] = (("tags", "tag"), ("branches", "branch"))
    for key, kind in kinds:
        for item in _array(answer.get(key, []), subject, key):
            entry = _object(item, subject)
            name = names.if_valid(entry.get("name"), names.revision)
            if name is not None:
                found.append(Ref(name, kind, _commit(entry.get("targetCommit"), subject, f"commit of {name}")))
    return tuple(found)


def tree_files(value: Any, subject: str) -> list[RemoteFile]:
    """One page of ``/api/models/{id}/tree/{commit}?recursive=true``: its files."""
    entries = (_object(item, subject) for item in _array(value, subject, "tree"))
    return distinct((_tree_file(entry, subject) for entry in entries if entry.get("type") == "file"), subject)


def distinct(files: Iterable[RemoteFile], subject: str) -> list[RemoteFile]:
    """The files, if no two have one path."""
    by_path: dict[str, RemoteFile] = {}
    for file in files:
        if by_path.setdefault(file.path, file) is not file:
            raise RegistryError(f"{subject}: the hub lists {file.path} twice")
    return list(by_path.values())


def commit_date(value: Any, commit: str, subject: str) -> str:
    """The answer of ``/api/models/{id}/commits/{commit}?limit=1``: when that commit was made."""
    items = _array(value, subject, "commits")
    first = _object(items[0] if items else None, subject)
    if first.get("id") != commit:
        raise RegistryError(f"{subject}: the hub answers with another commit")
    return _checked(first.get("date"), names.date, subject, "date")


def repo_ids(value: Any, subject: str) -> tuple[str, ...]:
    """The answer of ``/api/models?search=``: ids that can be asked for, each once."""
    entries = (_object(item, subject) for item in _array(value, subject, "models"))
    usable = (names.if_valid(entry.get("id", entry.get("modelId")), names.repo_id) for entry in entries)
    return tuple(dict.fromkeys(each for each in usable if each is not None))


def _tree_file(entry: dict[str, Any], subject: str) -> RemoteFile:
    path = _checked(entry.get("path"), names.file_path, subject, "path")
    size = _size(entry.get("size"), subject, path)
    pointer = entry.get("lfs")
    if pointer is None:
        return RemoteFile(path, size, oid=_commit(entry.get("oid"), subject, f"oid of {path}"))
    pointer = _object(pointer, subject)
    if _size(pointer.get("size"), subject, path) != size:
        raise RegistryError(f"{subject}: the hub gives two sizes for {path}")
    # The digest is called "oid" here and "sha256" in model info; "xetHash" has 64 hex digits too, and is neither.
    digest = pointer.get("oid", pointer.get("sha256"))
    if digest == _MASK:
        return RemoteFile(path, size, masked=True)
    if not isinstance(digest, str) or not names.is_sha256(digest):
        raise RegistryError(f"{subject}: the hub gives no usable SHA-256 for {path}")
    return RemoteFile(path, size, sha256=digest)


def _object(value: Any, subject: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise RegistryError(f"{subject}: the hub's answer has an unexpected shape")
    return value


def _array(value: Any, subject: str, what: str) -> list[Any]:
    if not isinstance(value, list):
        raise RegistryError(f"{subject}: the hub's answer has an unexpected shape ({what})")
    return value


def _checked(value: Any, check: Any, subject: str, what: str) -> str:
    if not isinstance(value, str):
        raise RegistryError(f"{subject}: the hub's answer lacks {what}")
    try:
        return str(check(value))
    except ValueError as error:
        raise RegistryError(f"{subject}: the hub sends an unusable {what} {value[:80]!r}: {error}") from None


def _commit(value: Any, subject: str, what: str) -> str:
    if not isinstance(value, str) or not names.is_commit(value):
        raise RegistryError(f"{subject}: the hub sends no usable {what}")
    return value


def _size(value: Any, subject: str, path: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _LARGEST_FILE:
        raise RegistryError(f"{subject}: the hub sends no usable size for {path}")
    return value


def _short_text(value: Any) -> str | None:
    if not isinstance(value, str) or not value.strip() or not value.isprintable():
        return None
    return value if len(value) <= _LICENSE_LENGTH else None


def _license(card: dict[str, Any], tags: Any) -> str | None:
    found = card.get("license")
    if isinstance(found, list):
        # What is no text is no licence, and must not vanish beside one that is allowed.
        found = ", ".join(each if isinstance(each, str) else "?" for each in found)
    if not found and isinstance(tags, list):
        marked = (tag.removeprefix("license:") for tag in tags if isinstance(tag, str) and tag.startswith("license:"))
        found = next(marked, None)
    return _short_text(found)


def _base_models(card: dict[str, Any]) -> tuple[str, ...]:
    found = card.get("base_model")
    named = (names.if_valid(each, names.repo_id) for each in (found if isinstance(found, list) else [found]))
    return tuple(dict.fromkeys(name for name in named if name is not None))


def _tags(tags: Any) -> tuple[str, ...]:
    return tuple(filter(None, map(_short_text, tags))) if isinstance(tags, list) else ()


def _is_adapter(card: dict[str, Any], tags: Any) -> bool:
    # The hub itself adds the tag: https://huggingface.co/docs/hub/model-cards#specifying-a-base-model
    computed = isinstance(tags, list) and any(
        isinstance(tag, str) and tag.startswith("base_model:adapter:") for tag in tags
    )
    return card.get("base_model_relation") == "adapter" or computed
