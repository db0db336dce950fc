"""What the tests of the gate have, too; and kinds of detectors that somebody else has made."""

from __future__ import annotations

import os
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.enforce.conftest import frames, refusal

__all__ = ["frames", "kinds", "refusal"]


@pytest.fixture
def kinds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Installs a package with kinds of detectors: each a body of ``make(folder, options)``, by name."""

    def install(**bodies: str) -> None:
        folder = tmp_path / "site"
        (folder / "others_kinds-1.0.dist-info").mkdir(parents=True)
        header = (
            "from vcm.core.findings import Match\n"
            "from vcm.detectors.base import FrameDetector, SoundDetector, TextDetector\n"
        )
        functions = [
            f"def {name}(folder, options):\n{textwrap.indent(textwrap.dedent(body), '    ')}\n"
            for name, body in bodies.items()
        ]
        (folder / "others_kinds.py").write_text(header + "\n".join(functions))
        entries = "".join(f"{name} = others_kinds:{name}\n" for name in bodies)
        (folder / "others_kinds-1.0.dist-info" / "METADATA").write_text("Name: others-kinds\nVersion: 1.0\n")
        (folder / "others_kinds-1.0.dist-info" / "entry_points.txt").write_text(f"[vcm.detectors]\n{entries}")
        monkeypatch.delitem(sys.modules, "others_kinds", raising=False)
        monkeypatch.syspath_prepend(folder)
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder), *sys.path[1:]]))

    return install
