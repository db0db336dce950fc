"""``vcm demo``: a tour on a hub of its own, on this machine, in a folder that is gone afterwards."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vcm.cli.context import options
from vcm.cli.dispatch import command

if TYPE_CHECKING:
    from vcm.testing import HubSimulator

_MANIFEST = """\
[project]
name = "demo"

[models.frames]
repo = "acme/frame-classifier"
version = "~=1.0"
include = ["*.onnx", "*.json"]

[models.whisper]
repo = "acme/whisper-tiny"
"""

_PROGRAM = """\
import vcm

paths = vcm.gate()  # only the locked bytes get through
print("the program runs on", ", ".join(f"{name} ({len(list(path.iterdir()))} files)" for name, path in paths.items()))
"""

_UNCHANGED = """\
import os
from pathlib import Path

# What from_pretrained("acme/whisper-tiny") does when it is offline.
repo = Path(os.environ["HF_HUB_CACHE"], "models--acme--whisper-tiny")
commit = (repo / "refs" / "main").read_text()
print("found on the Hub:", commit[:12], *sorted(path.name for path in (repo / "snapshots" / commit).iterdir()))
"""


class _Unexpected(Exception):  # noqa: N818  (it is caught a few lines below, and never shown)
    """A step of the tour ended in another way than it should."""


@dataclass(frozen=True, slots=True)
class _Tour:
    folder: Path
    environment: dict[str, str]
    color: bool

    def say(self, text: str) -> None:
        bold, plain = ("\033[1m", "\033[0m") if self.color else ("", "")
        print(f"\n{bold}{text}{plain}", flush=True)

    def run(self, *words: str, expect: int = 0) -> str:
        """Show a command, run it, and show what it says."""
        print(f"$ {' '.join(words)}", flush=True)
        # The tour's own Python, so that it works without vcm or python on the PATH.
        words_run = [sys.executable if word == "python" else word for word in words]
        real = words_run if words[0] == "python" else [sys.executable, "-m", *words_run]
        done = subprocess.run(  # noqa: S603  (commands of this file)
            real,
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            check=False,
        )
        print(_last_lines(done.stdout), end="", flush=True)
        if done.returncode != 0:
            print(f"[exit code {done.returncode}]", flush=True)
        if done.returncode != expect:
            raise _Unexpected
        return done.stdout

    def write(self, name: str, text: str) -> None:
        """Write a file and show it."""
        (self.folder / name).write_text(text, encoding="utf-8")
        print(f"$ cat {name}\n{text}", end="", flush=True)

    def change(self, name: str, old: str, new: str) -> None:
        """Replace a text in a file, as an editor would."""
        print(f"$ sed -i 's/{old}/{new}/' {name}", flush=True)
        path = self.folder / name
        path.write_text(path.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")


@command("demo")
def demo() -> int:
    """A tour on a hub of its own; nothing is left behind."""
    from vcm.testing import HubSimulator

    with tempfile.TemporaryDirectory(prefix="vcm-demo-") as folder, HubSimulator() as hub:
        _publish(hub)
        project = Path(folder, "project")
        project.mkdir()
        tour = _Tour(project, _environment(hub, Path(folder)), options().colors(sys.stdout))
        try:
            _walk(tour)
        except _Unexpected:
            print("\nThis is not how the tour should go: please report it with the lines above.", file=sys.stderr)
            return 1
    tour.say("That was all. In a project of yours: vcm init, then vcm add NAME REPO.")
    return 0


def _walk(tour: _Tour) -> None:
    tour.say("1. A project declares the models it needs.")
    tour.write("models.toml", _MANIFEST)
    tour.say("2. Locking asks the hub what that means today, and pins every file by SHA-256.")
    tour.run("vcm", "lock")
    tour.say("3. Syncing makes the store hold exactly that. The second time there is nothing to do.")
    tour.run("vcm", "sync")
    tour.run("vcm", "sync")
    tour.say("4. A program with a gate starts only on the locked bytes.")
    tour.write("program.py", _PROGRAM)
    tour.run("python", "program.py")
    tour.say("5. One that knows nothing of vcm, and asks for models by their names on the Hub, gets those as well.")
    tour.write("unchanged.py", _UNCHANGED)
    tour.run("vcm", "run", "--", "python", "unchanged.py")
    tour.say("6. Somebody changes a requirement and forgets to lock: the program refuses to start.")
    tour.change("models.toml", "~=1.0", "~=2.0")
    tour.run("python", "program.py", expect=1)
    tour.run("vcm", "check", expect=1)
    tour.run("vcm", "sync")
    tour.run("python", "program.py")
    tour.say("7. A file of a model is changed behind everybody's back: caught, and repaired.")
    path = Path(tour.run("vcm", "path", "whisper", "model.safetensors").strip())
    print(f"$ chmod u+w {path.name} && printf '!' >> {path.name}", flush=True)
    path.chmod(0o644)
    with path.open("ab") as stream:
        stream.write(b"!")
    tour.run("python", "program.py", expect=1)
    tour.run("vcm", "verify", "--repair")
    tour.run("python", "program.py")


def _publish(hub: HubSimulator) -> None:
    frames = hub.add_repo(
        "acme/frame-classifier",
        {"frames.onnx": _weights("frames 1.0", 300_000), "config.json": b'{"labels": 2}\n', "README.md": b"# frames\n"},
        tags=["v1.0"],
        card={"license": "mit"},
        pipeline_tag="image-classification",
    )
    frames.commit({"frames.onnx": _weights("frames 2.0", 400_000)}, message="Better weights")
    frames.tag("v2.0")
    hub.add_repo(
        "acme/whisper-tiny",
        {
            "model.safetensors": _weights("whisper", 600_000),
            "pytorch_model.bin": _weights("whisper, pickled", 600_000),
            "config.json": b'{"model_type": "whisper"}\n',
        },
        pipeline_tag="automatic-speech-recognition",
    )


def _weights(seed: str, size: int) -> bytes:
    """Bytes that look like weights and are the same every time."""
    return hashlib.shake_128(seed.encode()).digest(size)


def _environment(hub: HubSimulator, folder: Path) -> dict[str, str]:
    """The user's environment, without what would lead out of the tour."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "VCM_", "HUGGING_FACE_"))}
    return {
        **kept,
        "HF_ENDPOINT": hub.endpoint,
        "HF_HOME": str(folder / "hf-home"),
        "VCM_CACHE_DIR": str(folder / "cache"),
        "NO_PROXY": "127.0.0.1",
        "no_proxy": "127.0.0.1",
        "PYTHONIOENCODING": "utf-8",
    }


def _last_lines(text: str) -> str:
    """Of a traceback, only what it ends with: the error and its hint."""
    return text[text.rindex("\nvcm.") + 1 :] if text.startswith("Traceback") and "\nvcm." in text else text
