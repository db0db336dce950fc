"""What stands in front of every program reads no more than it needs, for one model and for a thousand."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys

import pytest

import vcm as package
from vcm.cli import dispatch
from vcm.core.lock import Lock, LockedFile, LockedModel, lock_text
from vcm.core.manifest import parse_manifest
from vcm.settings import cache_folder
from vcm.version import VERSION

# Each takes longer than the whole check of a project, or is a sign of something that does.
NEVER = {"requests", "urllib3", "tqdm", "packaging", "yaml", "tomlkit", "pathspec", "filelock", "tomllib", "asyncio"}
NEVER |= {"concurrent.futures", "logging", "dataclasses", "platformdirs", "tempfile", "hashlib", "ssl", "socket"}
# What typer cannot do without, and a gate can.
NOT_FOR_A_GATE = NEVER | {
    "typer",
    "typing",
    "inspect",
    "shutil",
    "uuid",
    "subprocess",
    "threading",
    "difflib",
    "random",
}


@pytest.fixture
def installed(manifest, vcm, hub):
    hub.add_repo("acme/frames", {"config.json": b"{}\n", "model.safetensors": bytes(range(256))})
    manifest('[models.frames]\nrepo = "acme/frames"\ninclude = ["*.json", "*.safetensors"]\n')
    assert vcm("sync").code == 0


def imported(*arguments: str, expect: int = 0) -> set[str]:
    """The modules that a Python process imports, without those of its own start."""
    listed = [
        subprocess.run((sys.executable, "-X", "importtime", *words), capture_output=True, text=True, check=False)
        for words in (("-c", "pass"), arguments)
    ]
    assert listed[1].returncode == expect, listed[1].stderr
    start, whole = ({line.rpartition("|")[2].strip() for line in each.stderr.splitlines()} for each in listed)
    return whole - start


def test_a_gate(installed):
    assert not imported("-c", "import vcm; vcm.gate(); vcm.require('frames')") & NOT_FOR_A_GATE


def test_import_vcm():
    assert {name for name in imported("-c", "import vcm") if "." in name} == {"vcm.version"}


@pytest.mark.parametrize("command", ["sync", "check", "list"])
def test_a_command_with_nothing_to_do(command, installed):
    modules = imported("-m", "vcm", command)
    assert modules & NEVER == set()
    assert not {f"vcm.cli.{name}" for name in ("beginning", "locking", "upstream", "demo")} & modules
    assert "vcm.enforce.gate" in modules


def test_a_program_is_started_with_little_more_than_a_gate(installed):
    # Python tells what it imported at its end, which does not come after an exec: the program is one that is not there.
    modules = imported("-m", "vcm", "run", "/nowhere/program", expect=2)
    assert modules & NEVER == set()
    assert not {name for name in modules if name.startswith(("vcm.install", "vcm.hub.", "vcm.resolve", "vcm.session"))}


def test_each_command_is_where_the_table_says(vcm):
    vcm("--help")
    found = {name: single.registered_commands[0].callback.__module__ for name, single in dispatch._registered.items()}
    assert found == {name: f"vcm.cli.{module}" for name, module in dispatch.COMMANDS.items()}


@pytest.mark.parametrize(
    "environ",
    [
        {"HOME": "/home/someone"},
        {"HOME": "/home/someone/"},
        {"HOME": "relative"},
        {"HOME": ""},
        {},
        {"HOME": "/home/someone", "XDG_CACHE_HOME": "/elsewhere"},
        {"HOME": "/home/someone", "XDG_CACHE_HOME": ""},
        {"HOME": "/home/someone", "XDG_CACHE_HOME": "relative"},
    ],
)
def test_the_platforms_own_folder_is_the_one_that_platformdirs_names(environ, monkeypatch):
    import platformdirs

    for name in ("HOME", "XDG_CACHE_HOME", "VCM_CACHE_DIR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert str(cache_folder()) == os.path.normpath(platformdirs.user_cache_dir("vcm", appauthor=False))


def test_a_thousand_models(manifest, project, cache):
    text = "".join(f'[models.model-{number}]\nrepo = "acme/model-{number}"\n' for number in range(1000))
    models = []
    for number in range(1000):
        data = b"weights of %d" % number
        file = LockedFile("model.onnx", len(data), hashlib.sha256(data).hexdigest())
        model = LockedModel(
            name=f"model-{number}",
            source="huggingface",
            repo=f"acme/model-{number}",
            commit=f"{number:040x}",
            files=(file,),
        )
        folder = cache / "snapshots" / model.tree_digest
        folder.mkdir(parents=True)
        (folder / "model.onnx").write_bytes(data)
        status = (folder / "model.onnx").stat()
        record = cache / "verified" / f"{model.tree_digest}.json"
        record.parent.mkdir(exist_ok=True)
        record.write_text(json.dumps({"model.onnx": [status.st_size, status.st_mtime_ns, status.st_ino]}))
        models.append(model)
    digest = parse_manifest(manifest(text).read_bytes(), vcm_version=VERSION).digest
    locked = Lock(manifest_sha256=digest, models=tuple(sorted(models, key=lambda model: model.name)))
    (project / "models.lock").write_text(lock_text(locked))
    assert package.gate() == {model.name: cache / "snapshots" / model.tree_digest for model in locked.models}
    (cache / "snapshots" / models[-1].tree_digest / "more").touch()
    with pytest.raises(package.VcmError) as caught:
        package.gate()
    assert str(caught.value) == "model-999: not what is locked: more: does not belong there"
