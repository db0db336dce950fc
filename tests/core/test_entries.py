"""Entries of models: what a file holds of them, and what is refused."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vcm.core.entries import ModelEntry, ModelStatus, ModelType, entry_of, row_of, type_of_task
from vcm.errors import CONFIG_ERROR, ModelRegistryError

ENTRY = ModelEntry(
    model_id="gpt2",
    model_type=ModelType.TEXT_GENERATION,
    path=Path("models/huggingface/gpt2"),
    status=ModelStatus.DOWNLOADING,
    version="main",
    size_bytes=0,
    download_date=datetime(2026, 1, 31, 12, 30, tzinfo=UTC),
    metadata={"source": "huggingface"},
)
ROW = {
    "model_type": "text-generation",
    "path": str(Path("models/huggingface/gpt2")),
    "status": "downloading",
    "version": "main",
    "size_bytes": 0,
    "download_date": "2026-01-31T12:30:00+00:00",
    "metadata": {"source": "huggingface"},
}

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
zones = st.none() | st.builds(timezone, st.timedeltas(timedelta(hours=-23), timedelta(hours=23)))
entries = st.builds(
    ModelEntry,
    model_id=st.text(min_size=1),
    model_type=st.sampled_from(ModelType),
    path=st.text().map(Path),
    status=st.sampled_from(ModelStatus),
    version=st.text(),
    size_bytes=st.integers(min_value=0),
    download_date=st.datetimes(timezones=zones),
    metadata=st.dictionaries(st.text(), json_values, max_size=4),
)


def test_the_published_fields_in_their_order():
    assert [each.name for each in fields(ModelEntry)] == [
        "model_id",
        "model_type",
        "path",
        "status",
        "version",
        "size_bytes",
        "download_date",
        "metadata",
    ]
    assert [each.value for each in ModelType] == [
        "text-generation",
        "text-to-image",
        "image-to-text",
        "audio-to-text",
        "text-to-audio",
        "embedding",
        "classification",
        "other",
    ]
    assert [each.value for each in ModelStatus] == ["downloading", "available", "error", "deleted", "pending"]
    assert isinstance(ModelStatus.AVAILABLE, str)


def test_an_entry_and_its_row():
    assert row_of(ENTRY) == ROW
    assert entry_of("gpt2", ROW) == ENTRY


@given(entries)
def test_whatever_an_entry_holds_comes_back(entry):
    text = json.dumps(row_of(entry))
    assert entry_of(entry.model_id, json.loads(text)) == entry


def test_plain_texts_do_for_type_and_status():
    texts: dict[str, Any] = {"model_type": "embedding", "status": "error"}
    kinds: dict[str, Any] = {"model_type": ModelType.EMBEDDING, "status": ModelStatus.ERROR}
    assert entry_of("gpt2", row_of(replace(ENTRY, **texts))) == replace(ENTRY, **kinds)


def test_an_entry_does_not_share_its_metadata_with_the_row():
    row = {**ROW, "metadata": {"list": [1]}}
    entry_of("gpt2", row).metadata["list"].append(2)
    assert row["metadata"] == {"list": [1]}


MISSING = object()
TYPES = (
    "model_type: allowed are text-generation, text-to-image, image-to-text, audio-to-text, text-to-audio, embedding, "
    "classification and other; found "
)


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        ("model_type", "video", f"{TYPES}'video'"),
        ("model_type", ["other"], f"{TYPES}['other']"),
        ("path", 3, "path: expected a text, found 3"),
        ("status", MISSING, "status: allowed are downloading, available, error, deleted and pending; found None"),
        ("version", None, "version: expected a text, found None"),
        ("size_bytes", -1, "size_bytes: expected a whole number of at least 0, found -1"),
        ("size_bytes", True, "size_bytes: expected a whole number of at least 0, found True"),
        ("size_bytes", 1.0, "size_bytes: expected a whole number of at least 0, found 1.0"),
        ("download_date", "soon", "download_date: expected a date such as 2026-01-31T12:00:00+00:00, found 'soon'"),
        ("download_date", 3, "download_date: expected a date such as 2026-01-31T12:00:00+00:00, found 3"),
        ("metadata", [], "metadata: expected an object, found []"),
    ],
)
def test_a_damaged_row_is_refused_by_its_key(key, value, problem):
    row = {name: each for name, each in {**ROW, key: value}.items() if each is not MISSING}
    with pytest.raises(ModelRegistryError) as caught:
        entry_of("gpt2", row)
    assert str(caught.value) == f"gpt2: {problem}"
    assert caught.value.hint == "mend the entry, or remove it with remove_model and add it again"
    assert (caught.value.error_code, caught.value.model) == (CONFIG_ERROR, "gpt2")


@pytest.mark.parametrize("row", [None, 3, [], "text"])
def test_a_row_is_an_object(row):
    with pytest.raises(ModelRegistryError) as caught:
        entry_of("gpt2", row)
    assert str(caught.value) == f"gpt2: expected an object, found {row!r}"


@given(json_values)
def test_anything_at_all_is_an_entry_or_refused(value):
    for row in (value, *({**ROW, key: value} for key in ROW)):
        with suppress(ModelRegistryError):
            kept = row_of(entry_of("x", row))
            # There are several ways to write a date or a path, of which one is kept.
            assert row_of(entry_of("x", kept)) == kept
            assert {**kept, "path": "", "download_date": ""} == {**row, "path": "", "download_date": ""}


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"model_id": ""}, "model_id: expected a text that is not empty"),
        ({"path": "text"}, "gpt2: path: expected a Path, found 'text'"),
        ({"download_date": "2026-01-31"}, "gpt2: download_date: expected a datetime, found '2026-01-31'"),
        ({"size_bytes": -1}, "gpt2: size_bytes: expected a whole number of at least 0, found -1"),
        (
            {"metadata": {"when": datetime(2026, 1, 31, tzinfo=UTC)}},
            "gpt2: JSON cannot hold its metadata: Object of type datetime is not JSON serializable",
        ),
        (
            {"metadata": {"rate": float("nan")}},
            "gpt2: JSON cannot hold its metadata: Out of range float values are not JSON compliant",
        ),
    ],
)
def test_what_cannot_be_kept_is_refused(change: dict[str, Any], problem):
    with pytest.raises(ModelRegistryError) as caught:
        row_of(replace(ENTRY, **change))
    assert str(caught.value) == problem


def test_what_contains_itself_is_refused():
    endless: dict[str, object] = {}
    endless["self"] = endless
    with pytest.raises(ModelRegistryError) as caught:
        row_of(replace(ENTRY, metadata=endless))
    assert str(caught.value) == "gpt2: JSON cannot hold its metadata: Circular reference detected"


@pytest.mark.parametrize(
    ("task", "kind"),
    [
        (None, ModelType.OTHER),
        ("text-generation", ModelType.TEXT_GENERATION),
        ("image-classification", ModelType.CLASSIFICATION),
        ("automatic-speech-recognition", ModelType.AUDIO_TO_TEXT),
        ("text-to-speech", ModelType.TEXT_TO_AUDIO),
        ("sentence-similarity", ModelType.EMBEDDING),
        ("robotics", ModelType.OTHER),
    ],
)
def test_tasks_of_the_hub_and_their_types(task, kind):
    assert type_of_task(task) is kind
