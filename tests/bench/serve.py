"""A served store beside nginx over the same folder, and ``vcm sync`` from it beside the hub simulator.

python tests/bench/serve.py [--size 1] [--rounds 5] [--clients 1 8] [--tmpfs]
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.bench.cases import GIBIBYTE, write_large
from tests.bench.contestants import HF_SETTINGS
from tests.bench.simulator import simulator
from tests.bench.timing import Contestant, begin, compare, environment, print_line, run, script
from tests.servers import Nginx, stopped_at_the_end

REPO = "bench/served"
FILE = "model.safetensors"
_CLIENTS = """
for _ in $(seq "$1"); do curl -sf -o /dev/null "$2" & clients="$clients $!"; done
for each in $clients; do wait "$each" || exit 1; done
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=float, default=1.0, metavar="GIB", help="of the one file")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8], metavar="N", help="at the same time")
    parser.add_argument("--tmpfs", action="store_true", help="in /dev/shm instead of below TMPDIR")
    given = parser.parse_args()
    begin()
    below = "/dev/shm" if given.tmpfs else None  # noqa: S108  (it is the memory that is asked for)
    with tempfile.TemporaryDirectory(prefix="vcm-bench-", dir=below) as name:
        _measure(Path(name), int(given.size * GIBIBYTE), given.rounds, given.clients)


def _measure(folder: Path, size: int, rounds: int, clients: list[int]) -> None:
    source = folder / "hub" / REPO / FILE
    write_large(source, size)
    with source.open("rb") as stream:
        sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
    project, store = folder / "project", folder / "cache"
    project.mkdir()
    (project / "models.toml").write_text(f'[models.bench]\nrepo = "{REPO}"\n')
    environ = environment(folder, HF_HOME=folder / "hf", VCM_CACHE_DIR=store, **HF_SETTINGS)
    with simulator(folder / "hub") as hub:
        run((script("vcm"), "sync"), environ | {"HF_ENDPOINT": hub}, project)
        nginx = Nginx(store, folder / "nginx")
        with stopped_at_the_end(nginx), served(environ, project) as (url, server):
            addresses = {
                "vcm serve": f"{url}/{REPO}/resolve/main/{FILE}",
                "nginx": f"{nginx.url}/blobs/sha256/{sha256}",
            }
            for count in clients:
                measured = compare(
                    f"{size / GIBIBYTE:g} GiB to {count} times curl",
                    [
                        Contestant(name=name, command=("bash", "-c", _CLIENTS, "bash", str(count), address))
                        for name, address in addresses.items()
                    ],
                    peer="nginx",
                    rounds=rounds,
                    environ=environ,
                    folder=folder,
                )
                speeds = [f"{name} {count * size / each.seconds / 1e6:.0f} MB/s" for name, each in measured.items()]
                print_line(", ".join(speeds))
            other, sync = folder / "other", (script("vcm"), "sync", "--frozen")
            compare(
                f"vcm sync --frozen of {size / GIBIBYTE:g} GiB",
                [
                    Contestant(
                        name=f"from {name}",
                        command=("env", f"HF_ENDPOINT={endpoint}", f"VCM_CACHE_DIR={other}", *sync),
                        prepare=lambda: shutil.rmtree(other, ignore_errors=True),
                    )
                    for name, endpoint in (("vcm serve", url), ("the simulator", hub))
                ],
                peer="from the simulator",
                rounds=rounds,
                environ=environ,
                folder=project,
            )
            status = Path(f"/proc/{server.pid}/status").read_text(encoding="ascii")
            print_line(f"\npeak memory of vcm serve: {int(status.partition('VmHWM:')[2].split()[0]) / 1024:.0f} MiB")


@contextmanager
def served(environ: Mapping[str, str], folder: Path) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """``vcm serve`` of the store that the environment names: its address and its process."""
    command = (sys.executable, "-m", "vcm", "-q", "serve", "--port", "0")
    with subprocess.Popen(
        command, env=dict(environ), cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout
        try:
            yield process.stdout.readline().strip(), process
        finally:
            process.terminate()


if __name__ == "__main__":
    main()
