"""A project with one locked and installed model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vcm.testing import HubSimulator, SimulatedRepo

COMMIT = "1234567890" * 4
FILES = {"config.json": b"{}\n", "model.safetensors": bytes(range(256)) * 16}


@pytest.fixture
def frames(hub: HubSimulator) -> SimulatedRepo:
    """``acme/frames``, always under the same commit."""
    return hub.add_repo("acme/frames", FILES, commit=COMMIT)


@pytest.fixture
def locked(frames: SimulatedRepo, manifest: Callable[[str], Path], vcm: Callable[..., Any], project: Path) -> Path:
    """The project's lock; nothing is installed."""
    manifest('[models.frames]\nrepo = "acme/frames"\n')
    assert vcm("lock").code == 0
    return project / "models.lock"


@pytest.fixture
def installed(locked: Path, vcm: Callable[..., Any], hub: HubSimulator, cache: Path) -> Path:
    """The model's snapshot."""
    assert vcm("sync").code == 0
    hub.clear_requests()
    (snapshot,) = (cache / "snapshots").iterdir()
    return snapshot


@pytest.fixture
def refusal() -> Callable[..., tuple[str, str, str, str]]:
    """What an error says: its class, code, message and hint."""
    from vcm.errors import VcmError

    def ask(action: Callable[..., Any], *arguments: Any, **options: Any) -> tuple[str, str, str, str]:
        with pytest.raises(VcmError) as caught:
            action(*arguments, **options)
        error = caught.value
        return type(error).__name__, error.error_code, str(error), error.hint

    return ask
