"""What the detectors' tests share: tables of options, as models.toml holds them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.detectors.training import train_scene_classifier
from vcm.core.fields import Document, Table

COLOURS = {"calm": (40, 90, 200), "violence": (200, 30, 30), "dark": (10, 10, 10)}


def options(**values: Any) -> Table:
    """The options of a detector that is called ``it``."""
    return Table(Document("models.toml", ""), ("pipeline", "detectors", "it", "options"), values)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a classifier that knows the colours."""
    pytest.importorskip("onnx")
    folder = tmp_path_factory.mktemp("scenes")
    train_scene_classifier(folder, COLOURS)
    return folder
