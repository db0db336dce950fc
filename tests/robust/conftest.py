"""A zoo of models on a hub, locked, and the process that forks others."""

from __future__ import annotations

import hashlib
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.robust.harness import Forge
from vcm.testing import HubSimulator

if sys.platform != "linux":
    collect_ignore_glob = ["test_*.py"]

LARGE = 2 << 20
"""Bytes of the zoo's largest file."""


def noise(seed: str, size: int) -> bytes:
    """The same bytes for the same seed."""
    return hashlib.shake_128(seed.encode()).digest(size)


@dataclass(frozen=True)
class Zoo:
    """Three locked models, some of whose files are the same.

    Attributes:
        sizes: bytes by digest, of every file.
        keys: the last segment of its address at the CDN by digest, of every large file.
        folder: the files once more, for ``--from``.
    """

    sizes: dict[str, int]
    keys: dict[str, str]
    folder: Path


@pytest.fixture(scope="module")
def forge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forge]:
    """Runs command lines in processes that begin at once."""
    made = Forge(tmp_path_factory.mktemp("forge") / "output")
    yield made
    made.close()


@pytest.fixture
def zoo(
    hub: HubSimulator, manifest: Callable[[str], Path], vcm: Callable[..., Any], cache: Path, tmp_path: Path
) -> Zoo:
    """The models, locked; the store is empty."""
    shards = {f"model-{number}.safetensors": noise(f"shard {number}", 100_000 + number) for number in range(6)}
    repos = {
        "acme/large": {"config.json": b"{}\n", "model.safetensors": noise("large", LARGE)},
        "acme/shards": {"config.json": b'{"shards": 6}\n', "README.md": b"# Shards\n", **shards},
        "acme/many": {
            "config.json": b'{"many": 1}\n',
            **{f"{number % 5}/{number}.safetensors": noise(f"many {number}", 500 + number) for number in range(15)},
            **dict(list(shards.items())[:3]),
        },
    }
    folder, sizes, keys = tmp_path / "zoo", dict[str, int](), dict[str, str]()
    for name, files in repos.items():
        stored = hub.add_repo(name, files).files("main")
        for path, content in files.items():
            copy = folder / name / path
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(content)
            digest = stored[path].sha256
            sizes[digest] = len(content)
            if stored[path].is_lfs:
                keys[digest] = stored[path].storage_key
    manifest("".join(f'[models.{name.partition("/")[2]}]\nrepo = "{name}"\n' for name in repos))
    assert vcm("lock").code == 0
    shutil.rmtree(cache)
    hub.clear_requests()
    return Zoo(sizes, keys, folder)
