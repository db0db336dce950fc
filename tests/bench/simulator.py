"""The hub simulator in a process of its own, so that it shares no interpreter with what is measured.

``python -m tests.bench.simulator FOLDER`` serves every ``FOLDER/namespace/name`` as a repository, prints its endpoint
and ends with its standard input.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def simulator(folder: Path) -> Iterator[str]:
    """The endpoint of a hub that serves the repositories of a folder; their files must not change meanwhile."""
    command = (sys.executable, __file__, folder)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin
        assert process.stdout
        endpoint = process.stdout.readline().strip()
        if not endpoint:
            raise SystemExit("the simulator did not start")
        try:
            yield endpoint
        finally:
            process.stdin.close()


def _serve(folder: Path) -> None:
    from vcm.testing import HubSimulator

    with HubSimulator() as hub:
        for root in sorted(folder.glob("*/*")):
            files = {path.relative_to(root).as_posix(): path for path in root.rglob("*") if path.is_file()}
            hub.add_repo(root.relative_to(folder).as_posix(), files)
        print(hub.endpoint, flush=True)  # noqa: T201  (whoever started this waits for it)
        sys.stdin.read()


if __name__ == "__main__":
    _serve(Path(sys.argv[1]))
