"""The lock: ``models.lock`` as frozen values, and its canonical text.

TOML, one ``[[model]]`` each in name order, one line per file, so that a diff reads well and two branches that add
different models merge. No time stamp and no machine's path: the same answers of the hub give the same bytes.

A gate reads it at every start of a program, and TOML in Python is slow. Text that vcm wrote needs no TOML: it is cut at
its own marks, checked like any other, and taken only if it is, byte for byte, what vcm would write of those values.
Whatever else there is to say about a text, tomllib and its ``ConfigError`` say it.
"""

from __future__ import annotations

import json
import re
from itertools import pairwise

from vcm.core import names
from vcm.core.cached import cached_property
from vcm.core.digest import tree_digest
from vcm.core.fields import Document, Table, find_line, parse_toml
from vcm.core.records import record
from vcm.errors import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, Literal

    from vcm.core.manifest import Manifest

FILE_NAME = "models.lock"
LOCK_VERSION = 1
_HEADER = "# Written by vcm lock; not meant to be edited by hand.\n"
_FOREIGN_HINT = "it was left untouched: move it away, or run vcm in another folder"
_DAMAGED_HINT = "take one whole version of it from version control, then run vcm lock"
# A file that lock_text wrote, unless its path needs escapes or it is as large as no file is.
_ROW = re.compile(
    r'  \{ path = "([^"\\\x00-\x1f\x7f]+)", size = (0|[1-9][0-9]{0,17}), '
    rf'sha256 = "({names.SHA256})"(?:, oid = "({names.COMMIT})")? \}},\n'
)
_FILE_KEYS = frozenset({"path", "size", "sha256", "oid"})


@record(frozen=True)
class LockedFile:
    """One file of a locked model.

    Attributes:
        path: inside the model, ``/`` between its parts.
        size: bytes.
        sha256: bare hex, over the content.
        oid: git blob id of the content where the Hub has one, None for LFS files.
    """

    path: str
    size: int
    sha256: str
    oid: str | None = None

    def __init__(self, path: str, size: int, sha256: str, oid: str | None = None) -> None:
        # What every record would do by itself, in half the time: a lock may hold 20,000 of them.
        self.__dict__.update(path=path, size=size, sha256=sha256, oid=oid)


@record(frozen=True, kw_only=True)
class LockedModel:
    """One model, pinned.

    Attributes:
        source: ``huggingface``, or ``url`` for a direct file.
        repo: the canonical repo id on the hub.
        asked: the repo id that was asked for, where the hub calls that repo by another name.
        repo_id: the hub's own ``_id`` of that repo, which a new repo under an old name does not have.
        requested: the specifier or revision that was asked for; None for the default branch.
        committed: when the commit was made, ISO 8601 as the hub gives it; only where a policy asks for its age.
        fallback_for: the repo that was asked for, when another was taken.
        via: the model of the manifest that pulled this one in.
        format: the one weight format that was taken, where the repo has weights.
    """

    name: str
    source: Literal["huggingface", "url"]
    files: tuple[LockedFile, ...]
    repo: str | None = None
    asked: str | None = None
    url: str | None = None
    repo_id: str | None = None
    gated: str | None = None
    requested: str | None = None
    version: str | None = None
    ref: str | None = None
    commit: str | None = None
    committed: str | None = None
    fallback_for: str | None = None
    via: str | None = None
    format: str | None = None
    type: str | None = None
    license: str | None = None

    @property
    def root(self) -> str:
        """The model of the manifest that this one is here for: itself, or the one that pulled it in."""
        return self.via or self.name

    @cached_property
    def tree_digest(self) -> str:
        """The identity of the model's files, as bare hex."""
        return tree_digest(self.files)

    @cached_property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)


# Written and read in this order: (key in the file, attribute).
_KEYS = ("source", "repo", "asked", "url", "repo-id", "gated", "requested", "version", "ref", "commit", "committed")
_TEXT_KEYS = [(key, key.replace("-", "_")) for key in (*_KEYS, "fallback-for", "via", "format", "type", "license")]


@record(frozen=True, kw_only=True)
class Lock:
    """A whole ``models.lock``.

    Attributes:
        manifest_sha256: the digest of the manifest's meaning that this lock answers.
        models: in name order.
    """

    manifest_sha256: str
    models: tuple[LockedModel, ...]

    @cached_property
    def _by_name(self) -> dict[str, LockedModel]:
        return {model.name: model for model in self.models}

    @cached_property
    def by_root(self) -> dict[str, tuple[LockedModel, ...]]:
        """For each model of the manifest, what is locked for it: itself and what it pulls in, in name order."""
        found: dict[str, tuple[LockedModel, ...]] = {}
        for model in self.models:
            found[model.root] = (*found.get(model.root, ()), model)
        return found

    def get(self, name: str) -> LockedModel | None:
        """The model of that name."""
        return self._by_name.get(name)


_json_string = json.JSONEncoder(ensure_ascii=False).encode


def toml_string(text: str) -> str:
    """A TOML basic string. JSON's escapes are TOML's, but for DEL, which only TOML forbids."""
    return _json_string(text).replace("\x7f", "\\u007f")


def lock_text(lock: Lock) -> str:
    """The lock's canonical text."""
    return "".join(_lines(lock))


def _lines(lock: Lock) -> Iterator[str]:
    yield _HEADER
    yield f'lock-version = {LOCK_VERSION}\nmanifest-sha256 = "{lock.manifest_sha256}"\n'
    for model in lock.models:
        yield f"\n[[model]]\nname = {toml_string(model.name)}\n"
        for key, attribute in _TEXT_KEYS:
            value = getattr(model, attribute)
            if value is not None:
                yield f"{key} = {toml_string(value)}\n"
        yield f'tree-digest = "sha256:{model.tree_digest}"\nsize = {model.size}\nfiles = [\n'
        for file in model.files:
            oid = f', oid = "{file.oid}"' if file.oid else ""
            yield f'  {{ path = {toml_string(file.path)}, size = {file.size}, sha256 = "{file.sha256}"{oid} }},\n'
        yield "]\n"


def parse_lock(data: bytes, *, file_name: str = FILE_NAME) -> Lock:
    """``models.lock`` from its bytes; what comes back is whole and true to itself.

    Raises:
        ConfigError: not a lock of vcm, of a newer vcm, or damaged; names the model and the line.
    """
    return _parse_own(data) or _parse_any(data, file_name)


def _parse_own(data: bytes) -> Lock | None:
    """The lock, if this is the canonical text of one; None for all else, whatever may be the matter with it."""
    try:
        text = data.decode()
        lock = _lock(Document(FILE_NAME, text), _cut(text))
    except (ValueError, ConfigError):
        return None
    # What the cutting mistook or overlooked (an escape, a comment, a key that stands twice, odd numerals) shows here.
    return lock if lock_text(lock) == text else None


def _cut(text: str) -> dict[str, Any]:
    """What tomllib would make of canonical text, but for finished files; ValueError or nonsense for any other."""
    top, *models = text.split("\n[[model]]\n")
    return {
        "lock-version": LOCK_VERSION,
        "manifest-sha256": top[-66:-2],
        "model": [_cut_model(each) for each in models],
    }


def _cut_model(text: str) -> dict[str, Any]:
    head, rows = text.split("\nfiles = [\n")
    *texts, size = head.split("\n")
    return {
        **dict(line[:-1].split(' = "') for line in texts),
        "size": int(size.removeprefix("size = ")),
        "files": [
            LockedFile(names.portable_file_path(path), int(size), sha256, oid or None)
            for path, size, sha256, oid in _ROW.findall(rows)
        ],
    }


def _parse_any(data: bytes, file_name: str) -> Lock:
    try:
        document, values = parse_toml(file_name, data)
    except ConfigError as error:
        if b"lock-version" not in data:
            raise _foreign(file_name) from None
        if "merge-conflict" not in error.message:
            error.hint = _DAMAGED_HINT
        raise
    if "lock-version" not in values:
        raise _foreign(file_name)
    try:
        return _lock(document, values)
    except ConfigError as error:
        error.hint = error.hint or _DAMAGED_HINT
        raise


def _foreign(file_name: str) -> ConfigError:
    return ConfigError(f"{file_name}: not a vcm lock", hint=_FOREIGN_HINT)


def _lock(document: Document, values: dict[str, Any]) -> Lock:
    top = Table(document, (), values)
    version = top.integer("lock-version", least=1)
    if version is not None and version > LOCK_VERSION:
        raise top.error(
            "lock-version",
            f"version {version} is newer than this vcm knows ({LOCK_VERSION})",
            "upgrade vcm: pip install --upgrade vcm",
        )
    manifest_sha256 = top.required_text("manifest-sha256", _hex64)
    models: list[LockedModel] = []
    for position, row in enumerate(top.array("model")):
        if not isinstance(row, dict):
            raise top.error("model", "expected [[model]] tables")
        model = _model(Table(document, ("model", position), row))
        if models and model.name <= models[-1].name:
            known = {each.name for each in models}
            problem = "stands twice" if model.name in known else "is out of order"
            raise document.error(("model", position, "name"), f'model "{model.name}" {problem}')
        models.append(model)
    top.finish()
    _check_via(document, models)
    return Lock(manifest_sha256=manifest_sha256, models=tuple(models))


def _check_via(document: Document, models: list[LockedModel]) -> None:
    roots = {model.name for model in models if model.via is None}
    for position, model in enumerate(models):
        if model.root not in roots:
            problem = f'model "{model.name}" is here for "{model.via}", which is not locked in its own right'
            raise document.error(("model", position, "via"), problem)


def _model(table: Table) -> LockedModel:
    name = table.required_text("name", names.model_name)
    try:
        return _model_fields(table, name)
    except ConfigError as error:
        error.message = error.message.replace(": ", f': model "{name}": ', 1)
        raise


def _model_fields(table: Table, name: str) -> LockedModel:
    source = table.required_text("source", _one_of("huggingface", "url"))
    texts = {attribute: table.text(key, _CHECKS[key]) for key, attribute in _TEXT_KEYS if key != "source"}
    needed = ("url",) if source == "url" else ("repo", "commit")
    for key in needed:
        if texts[key] is None:
            raise table.error(key, f'the key "{key}" is missing')
    files = _files(table)
    model = LockedModel(name=name, source="url" if source == "url" else "huggingface", files=files, **texts)
    digest = table.required_text("tree-digest")
    if digest != f"sha256:{model.tree_digest}":
        raise table.error(
            "tree-digest", f"the rows of files give sha256:{model.tree_digest}, not {digest}: edited or damaged"
        )
    if table.integer("size") != model.size:
        raise table.error("size", f"the rows of files add up to {model.size} bytes")
    table.finish()
    return model


def _files(table: Table) -> tuple[LockedFile, ...]:
    rows = table.array("files")
    if not rows:
        raise table.error("files", "a model has at least one file")
    files = []
    for position, row in enumerate(rows):
        try:
            # What was cut out of canonical text took the same checks.
            files.append(row if isinstance(row, LockedFile) else _file(row))
        except ValueError as error:
            raise _row_error(table, position, str(error)) from None
    paths = [file.path for file in files]
    # By code points, which is the order of their bytes in UTF-8 too.
    if paths != sorted(set(paths)):
        position = next(at for at, (before, after) in enumerate(pairwise(paths), start=1) if before >= after)
        raise _row_error(table, position, f'"{paths[position]}" stands twice or out of order')
    collision = names.first_collision(paths)
    if collision:
        raise table.error("files", f'"{collision[0]}" and "{collision[1]}" cannot stand side by side')
    return tuple(files)


def _row_error(table: Table, position: int, problem: str) -> ConfigError:
    document = table.document
    line = find_line(document.text, (*table.key, "files"))
    place = f"{document.name}:{line + 1 + position}" if line else document.name
    return ConfigError(f"{place}: files[{position}]: {problem}")


def _file(row: object) -> LockedFile:
    if not isinstance(row, dict):
        raise ValueError("expected { path, size, sha256, oid }")  # noqa: TRY004
    if not row.keys() <= _FILE_KEYS:
        raise ValueError(f"unknown key {min(row.keys() - _FILE_KEYS)!r}")
    path, size, sha256, oid = row.get("path"), row.get("size"), row.get("sha256"), row.get("oid")
    if not isinstance(path, str):
        raise ValueError("path is missing or not a string")  # noqa: TRY004
    names.portable_file_path(path)
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size < 2**63:
        raise ValueError(f'size of "{path}" is not a number of bytes')
    if not isinstance(sha256, str) or not names.is_sha256(sha256):
        raise ValueError(f'sha256 of "{path}" is not 64 lower-case hex digits')
    if oid is not None and not (isinstance(oid, str) and names.is_commit(oid)):
        raise ValueError(f'oid of "{path}" is not 40 lower-case hex digits')
    return LockedFile(path, size, sha256, oid)


def _hex64(text: str) -> None:
    if not names.is_sha256(text):
        raise ValueError("expected 64 lower-case hex digits")


def _commit(text: str) -> None:
    if not names.is_commit(text):
        raise ValueError("a commit is 40 lower-case hex digits")


def _one_of(*choices: str) -> Any:
    def check(text: str) -> None:
        if text not in choices:
            raise ValueError(f"allowed are {', '.join(choices)}")

    return check


_CHECKS = {key: names.line for key, _ in _TEXT_KEYS} | {
    "repo": names.repo_id,
    "asked": names.repo_id,
    "committed": names.date,
    "fallback-for": names.repo_id,
    "via": names.model_name,
    "url": names.http_url,
    "gated": _one_of("auto", "manual"),
    "ref": names.revision,
    "commit": _commit,
    "type": names.task,
}


def staleness(lock: Lock, manifest: Manifest) -> str | None:
    """Why the lock does not fit the manifest any more, in a few words; None where it fits."""
    locked = lock.by_root.keys()
    wanted = {model.name for model in manifest.models}
    reasons = []
    if wanted - locked:
        reasons.append(f"{', '.join(sorted(wanted - locked))} not locked yet")
    if locked - wanted:
        reasons.append(f"{', '.join(sorted(locked - wanted))} no longer required")
    if not reasons and lock.manifest_sha256 != manifest.digest:
        reasons.append("a requirement has changed")
    return "; ".join(reasons) or None
