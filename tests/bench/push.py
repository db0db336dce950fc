"""Models to docker-registry, and from there into an empty cache, beside skopeo and oras.

    python tests/bench/push.py [--files 5] [--size 400] [--rounds 3] [--pull] [--tmpfs]

oras is the package of that name (``pip install 'vcm[bench]'``); where it is not installed, it takes no part.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.bench.cases import write_large
from tests.bench.contestants import HF_SETTINGS
from tests.bench.server import publish, serving
from tests.bench.targets import ORAS_PULL, ORAS_PUSH, PULL, PUSH, SKOPEO_PULL, SKOPEO_PUSH, TARGETS, print_targets
from tests.bench.timing import Contestant, begin, compare, environment, run, script
from tests.servers import Registry, program, stopped_at_the_end
from vcm.core.lock import parse_lock
from vcm.core.modelpack import MANIFEST_TYPE, REF_NAME, descriptor, package

REPO = "bench/pushed"
MEBIBYTE = 1 << 20
_ORAS = """
import sys
from oras.client import OrasClient

verb, target, folder, *files = sys.argv[1:]
client = OrasClient(insecure=True)
if verb == "push":
    client.push(target=target, files=files, disable_path_validation=True)
else:
    client.pull(target=target, outdir=folder)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=5)
    parser.add_argument("--size", type=float, default=400.0, metavar="MIB", help="of each (default: 400)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--pull", action="store_true", help="also from the registry into an empty cache")
    parser.add_argument("--tmpfs", action="store_true", help="in /dev/shm instead of below TMPDIR")
    given = parser.parse_args()
    begin()
    below = "/dev/shm" if given.tmpfs else None  # noqa: S108  (it is the memory that is asked for)
    with tempfile.TemporaryDirectory(prefix="vcm-bench-", dir=below) as name:
        race = _Race(Path(name), given.files, int(given.size * MEBIBYTE))
        with stopped_at_the_end(race.registry):
            title = f"{given.files} files of {given.size:g} MiB each"
            race.push(f"{title} to docker-registry", given.rounds)
            if given.pull:
                race.pull(f"{title} from docker-registry", given.rounds)


class _Race:
    """One installed model, an empty registry, and who brings the one to the other."""

    def __init__(self, folder: Path, files: int, size: int) -> None:
        self._folder = folder
        self._project = folder / "project"
        self._outputs = folder / "outputs"
        self._source = folder / "hub" / REPO
        self._project.mkdir()
        for number in range(files):
            write_large(self._source / f"model-{number}.safetensors", size)
        (self._project / "models.toml").write_text(f'[models.bench]\nrepo = "{REPO}"\n')
        self._environ = environment(folder, HF_HOME=folder / "hf", VCM_CACHE_DIR=folder / "cache", **HF_SETTINGS)
        with serving(publish(folder)) as served:
            run((script("vcm"), "sync"), self._environ | served.environment(), self._project)
        self.registry = Registry(folder / "registry")
        self._layout = _layout(folder / "layout", folder / "cache", self._project / "models.lock")

    def push(self, title: str, rounds: int) -> None:
        """Time everybody against a registry that has nothing."""
        files = [f"{path}:application/octet-stream" for path in sorted(self._source.iterdir())]
        commands = {
            PUSH: (script("vcm"), "-q", "push", f"oci://{self.registry.host}/{{repo}}"),
            SKOPEO_PUSH: self._skopeo(
                f"oci:{self._layout}:bench", "--dest-tls-verify=false", to=self._remote("skopeo")
            ),
            ORAS_PUSH: self._oras("push", *files),
        }
        self._compare(title, commands, self._empty_registry, rounds, peer=SKOPEO_PUSH)

    def pull(self, title: str, rounds: int) -> None:
        """Time everybody into an empty folder."""
        self._empty_registry()
        run(
            (script("vcm"), "-q", "push", f"oci://{self.registry.host}/{{repo}}", "--tag", "all"),
            self._environ,
            self._project,
        )
        source = f"docker://{self.registry.host}/{REPO}:all"
        commands = {
            PULL: (script("vcm"), "-q", "--cache-dir", self._outputs / "cache", "sync", "--frozen"),
            SKOPEO_PULL: self._skopeo(source, "--src-tls-verify=false", to=f"oci:{self._outputs}/oci:bench"),
            ORAS_PULL: self._oras("pull"),
        }
        self._compare(title, commands, self._empty_outputs, rounds, peer=SKOPEO_PULL)

    def _compare(
        self,
        title: str,
        commands: Mapping[str, tuple[str | Path, ...]],
        prepare: Callable[[], None],
        rounds: int,
        *,
        peer: str,
    ) -> None:
        chosen = [name for name in commands if "oras" not in name or importlib.util.find_spec("oras")]
        measured = compare(
            title,
            [Contestant(name=name, command=commands[name], prepare=prepare) for name in chosen],
            peer=peer,
            rounds=rounds,
            environ=self._environ | {"VCM_MIRRORS": f"oci://{self.registry.host}/{{repo}}"},
            folder=self._project,
        )
        print_targets(measured, TARGETS)

    def _remote(self, name: str) -> str:
        return f"docker://{self.registry.host}/{name}:bench"

    def _skopeo(self, source: str, option: str, *, to: str) -> tuple[str, ...]:
        return (str(program("skopeo")), "--insecure-policy", "copy", "-q", option, source, to)

    def _oras(self, verb: str, *files: str) -> tuple[str | Path, ...]:
        name = "oras:bench" if verb == "push" else f"{REPO}:all"
        return (sys.executable, "-c", _ORAS, verb, f"{self.registry.host}/{name}", self._outputs / "oras", *files)

    def _empty_registry(self) -> None:
        self.registry.stop()
        shutil.rmtree(self.registry.folder / "data", ignore_errors=True)
        # What the last one left to be written is nothing the next one shall wait for.
        os.sync()
        self.registry.start()

    def _empty_outputs(self) -> None:
        shutil.rmtree(self._outputs, ignore_errors=True)
        self._outputs.mkdir()
        os.sync()


def _layout(folder: Path, cache: Path, lock: Path) -> Path:
    """The installed model as an OCI image layout, which is what skopeo takes."""
    made = package(parse_lock(lock.read_bytes()).models[0])
    blobs = folder / "blobs" / "sha256"
    shutil.copytree(cache / "blobs" / "sha256", blobs, copy_function=os.link)
    (blobs / made.digest).write_bytes(made.manifest)
    (blobs / made.config_digest).write_bytes(made.config)
    (folder / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    named = descriptor(MANIFEST_TYPE, made.digest, len(made.manifest), annotations={REF_NAME: "bench"})
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [named]}))
    return folder


if __name__ == "__main__":
    main()
