"""What is recorded of a model on this machine, and how it stands in a file.

A record, never evidence: whether a model's bytes are right is for the lock and the snapshot to say.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import Any, Dict

from vcm.core.wording import listed
from vcm.errors import CONFIG_ERROR, ModelRegistryError


class ModelType(str, Enum):
    """What a model is for."""

    TEXT_GENERATION = "text-generation"
    TEXT_TO_IMAGE = "text-to-image"
    IMAGE_TO_TEXT = "image-to-text"
    AUDIO_TO_TEXT = "audio-to-text"
    TEXT_TO_AUDIO = "text-to-audio"
    EMBEDDING = "embedding"
    CLASSIFICATION = "classification"
    OTHER = "other"


class ModelStatus(str, Enum):
    """What state a model is in."""

    DOWNLOADING = "downloading"
    AVAILABLE = "available"
    ERROR = "error"
    DELETED = "deleted"
    PENDING = "pending"


@dataclass
class ModelEntry:
    """One model of this machine.

    Attributes:
        model_id: unique in its registry.
        model_type: what it is for.
        path: where its files are, or will be.
        status: what state it is in.
        version: the version or revision that was asked for.
        size_bytes: bytes of all files; 0 while that is not known.
        download_date: when it came.
        metadata: whatever else there is to say, as JSON can hold it.
    """

    model_id: str
    model_type: ModelType
    path: Path
    status: ModelStatus
    version: str
    size_bytes: int
    download_date: datetime
    metadata: Dict[str, Any] = field(default_factory=dict)


# The Hub's tasks that go by another name here: https://huggingface.co/tasks
_TYPES_OF_TASKS = {
    "automatic-speech-recognition": ModelType.AUDIO_TO_TEXT,
    "text-to-speech": ModelType.TEXT_TO_AUDIO,
    "feature-extraction": ModelType.EMBEDDING,
    "image-feature-extraction": ModelType.EMBEDDING,
    "sentence-similarity": ModelType.EMBEDDING,
}


def type_of_task(task: str | None) -> ModelType:
    """The type of a model whose task the Hub, or a manifest, calls so."""
    if task is None:
        return ModelType.OTHER
    if task.endswith("-classification"):
        return ModelType.CLASSIFICATION
    known = {each.value: each for each in ModelType}
    return _TYPES_OF_TASKS.get(task) or known.get(task, ModelType.OTHER)


def row_of(entry: ModelEntry) -> dict[str, Any]:
    """The entry as it stands in the file, below its id.

    Raises:
        ModelRegistryError: it holds something that no entry may, or that JSON cannot hold.
    """
    if not isinstance(entry.model_id, str) or not entry.model_id:
        raise _refused(str(entry.model_id), "model_id: expected a text that is not empty")
    if not isinstance(entry.path, Path):
        raise _refused(entry.model_id, f"path: expected a Path, found {entry.path!r:.100}")
    if not isinstance(entry.download_date, datetime):
        raise _refused(entry.model_id, f"download_date: expected a datetime, found {entry.download_date!r:.100}")
    values = {
        "model_type": entry.model_type,
        "path": str(entry.path),
        "status": entry.status,
        "version": entry.version,
        "size_bytes": entry.size_bytes,
        "download_date": entry.download_date.isoformat(),
        "metadata": entry.metadata,
    }
    try:
        row: dict[str, Any] = json.loads(json.dumps(values, allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise _refused(entry.model_id, f"JSON cannot hold its metadata: {error}") from None
    entry_of(entry.model_id, row)
    return row


def entry_of(model_id: str, row: object) -> ModelEntry:
    """The entry that stands in the file below an id.

    Raises:
        ModelRegistryError: the row is none; says which key is wrong.
    """
    if not isinstance(row, dict):
        raise _refused(model_id, f"expected an object, found {row!r:.100}")
    return ModelEntry(
        model_id=model_id,
        model_type=_choice(model_id, row, "model_type", ModelType),
        path=Path(_typed(model_id, row, "path", str)),
        status=_choice(model_id, row, "status", ModelStatus),
        version=_typed(model_id, row, "version", str),
        size_bytes=_size(model_id, row),
        download_date=_date(model_id, row),
        # A copy all the way down: what its owner does to it must not change the row.
        metadata=json.loads(json.dumps(_typed(model_id, row, "metadata", dict))),
    )


def _typed(model_id: str, row: dict[str, Any], key: str, kind: type[Any]) -> Any:
    value = row.get(key)
    if not isinstance(value, kind):
        expected = "a text" if kind is str else "an object"
        raise _refused(model_id, f"{key}: expected {expected}, found {value!r:.100}")
    return value


def _choice(model_id: str, row: dict[str, Any], key: str, kind: type[Any]) -> Any:
    value = row.get(key)
    known = {each.value: each for each in kind}
    if not isinstance(value, str) or value not in known:
        raise _refused(model_id, f"{key}: allowed are {listed(known)}; found {value!r:.100}")
    return known[value]


def _size(model_id: str, row: dict[str, Any]) -> int:
    value = row.get("size_bytes")
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise _refused(model_id, f"size_bytes: expected a whole number of at least 0, found {value!r:.100}")
    return value


def _date(model_id: str, row: dict[str, Any]) -> datetime:
    value = row.get("download_date")
    try:
        return datetime.fromisoformat(value if isinstance(value, str) else "")
    except ValueError:
        raise _refused(
            model_id, f"download_date: expected a date such as 2026-01-31T12:00:00+00:00, found {value!r:.100}"
        ) from None


def _refused(model_id: str, problem: str) -> ModelRegistryError:
    return ModelRegistryError(
        problem,
        model=model_id,
        error_code=CONFIG_ERROR,
        hint="mend the entry, or remove it with remove_model and add it again",
    )
