"""Who takes part in a download, and how each is told what to fetch."""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.bench.server import Published, Served
from tests.bench.timing import Command, script

VCM = "vcm sync --frozen"
HF = "hf download"
ARIA2C = "aria2c -x8 -s8"
CURL = "curl | openssl dgst"
WGET = "wget -O"
OPENSSL = "openssl dgst"

PARALLEL = "8"
HF_SETTINGS = {
    "HF_HUB_DISABLE_XET": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_UPDATE_CHECK": "1",
}
"""The client of the peer without what it would ask of other hosts or draw on a screen."""

_SNAPSHOTS = """
import sys
from huggingface_hub import snapshot_download
for repo in sys.argv[1:]:
    snapshot_download(repo)
"""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A file to download, and what its bytes must hash to."""

    url: str
    output: str
    sha256: str


def wanted(published: Published, served: Served, lock: Path) -> list[Wanted]:
    """The files of a lock, each at the address of its commit."""
    models = tomllib.loads(lock.read_text())["model"]
    return [
        Wanted(
            url=f"{served.endpoint}/{model['repo']}/resolve/{published.commits[model['repo']]}/{file['path']}",
            output=f"{model['repo']}/{file['path']}",
            sha256=file["sha256"],
        )
        for model in models
        for file in model["files"]
    ]


def commands(published: Published, served: Served, files: Sequence[Wanted], outputs: Path) -> Mapping[str, Command]:
    """The command of each contestant, by name; all write below ``outputs``, or nothing."""
    return {
        VCM: (script("vcm"), "sync", "--frozen"),
        HF: _hugging_face(sorted(published.files)),
        ARIA2C: _aria2c(served, files, outputs),
        CURL: _curl(published.folder, files, outputs),
        **({WGET: _wget(served, files[0], outputs)} if len(files) == 1 else {}),
        OPENSSL: _openssl(published.contents),
    }


def _hugging_face(repos: Sequence[str]) -> Command:
    if len(repos) == 1:
        return script("hf"), "download", repos[0]
    # Of many, in one process: its start is paid once.
    return sys.executable, "-c", _SNAPSHOTS, *repos


def _aria2c(served: Served, files: Sequence[Wanted], outputs: Path) -> Command:
    listed = outputs.with_name("aria2c.txt")
    listed.write_text("".join(f"{file.url}\n out={file.output}\n checksum=sha-256={file.sha256}\n" for file in files))
    quiet = ("--no-conf", "--quiet", "--download-result=hide")
    trusting = [f"--ca-certificate={served.certificate}"] if served.certificate else []
    split = ("-x", PARALLEL, "-s", PARALLEL, "-j", PARALLEL)
    return "aria2c", *quiet, *trusting, *split, "-d", outputs, "-i", listed


def _curl(folder: Path, files: Sequence[Wanted], outputs: Path) -> Command:
    if len(files) == 1:
        return _shell('curl -sfL "$1" | openssl dgst -sha256', files[0].url)
    listed = folder / "curl.txt"
    listed.write_text("".join(f'url = "{file.url}"\noutput = "{outputs}/{file.output}"\n' for file in files))
    fetch = f'curl -sfL --create-dirs --parallel --parallel-max {PARALLEL} --config "$1"'
    return _shell(f'{fetch} && find "$2" -type f -print0 | xargs -0 openssl dgst -sha256', listed, outputs)


def _wget(served: Served, file: Wanted, outputs: Path) -> Command:
    trusting = [f"--ca-certificate={served.certificate}"] if served.certificate else []
    return "wget", "--no-config", "-q", *trusting, "-O", outputs / "wget", file.url


def _openssl(contents: Path) -> Command:
    return _shell('find "$1" -type f -print0 | xargs -0 openssl dgst -sha256', contents)


def _shell(line: str, *arguments: str | Path) -> Command:
    return "sh", "-c", line, "sh", *arguments
