"""Locking on the simulated hub."""

from __future__ import annotations

from collections.abc import Callable, Collection

import pytest

from vcm.core.lock import Lock
from vcm.core.manifest import Manifest
from vcm.session import Session


@pytest.fixture
def lock(session: Callable[..., Session], read_manifest: Callable[[str], Manifest]) -> Callable[..., Lock]:
    """Locks a manifest's text; what was noticed and asked is in ``session.reporter`` and ``hub.requests``."""

    def make(
        text: str,
        before: Lock | None = None,
        *,
        upgrade: Collection[str] = (),
        token: str | None = None,
        within: Session | None = None,
    ) -> Lock:
        return (within or session(token)).resolve(read_manifest(text), before, upgrade=upgrade).after

    return make
