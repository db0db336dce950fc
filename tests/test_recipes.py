"""docs/recipes.md, taken at its word: every command of vcm in it runs, in its order, and so do its programs."""

from __future__ import annotations

import configparser
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import Result
from vcm.testing import HubSimulator

ROOT = Path(__file__).parents[1]
RECIPES = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", RECIPES, re.MULTILINE | re.DOTALL)
OF_ONE_MACHINE = re.sub(r"^## Beyond one machine\n.*?^(?=## )", "", RECIPES, flags=re.MULTILINE | re.DOTALL)


def block(language: str, containing: str) -> str:
    found = [text for kind, text in BLOCKS if kind == language and containing in text]
    assert len(found) == 1, f"{len(found)} blocks of {language} contain {containing!r}"
    return str(found[0])


@pytest.fixture
def app(hub: HubSimulator, project: Path, cache: Path, vcm: Callable[..., Result]) -> Path:
    """A project with a locked model and the programs that the recipes start; nothing is installed."""
    hub.add_repo("acme/frames", {"model.safetensors": b"weights", "config.json": b"{}"})
    (project / "models.toml").write_text('[models.minilm]\nrepo = "acme/frames"\n')
    assert vcm("lock").code == 0
    shutil.rmtree(cache)
    (project / "serve.py").write_text(
        "import pathlib, vcm\nprint(pathlib.Path(vcm.require('minilm'), 'model.safetensors').read_text())\n"
    )
    (project / "test_app.py").write_text("import vcm\n\n\ndef test_app():\n    assert vcm.gate()\n")
    return project


def run_words(words: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command line as the recipe's machine would, where ``vcm`` and ``python`` are on the path."""
    programs = {"vcm": [sys.executable, "-m", "vcm"]}
    line = [*programs.get(Path(words[0]).name, [words[0]]), *words[1:]]
    line = [sys.executable if Path(word).name == "python" else word for word in line]
    return subprocess.run(
        line,
        # Only pytest's own plugins, which takes a third of the time.
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", **environment},
        capture_output=True,
        text=True,
        check=False,
        # A suite that was started in the background ignores Ctrl-C, and so would what it starts.
        preexec_fn=None if os.name == "nt" else lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def vcm_lines(steps: list[dict[str, Any]]) -> list[list[str]]:
    return [shlex.split(step["run"]) for step in steps if step.get("run", "").startswith("vcm ")]


def test_no_block_is_forgotten() -> None:
    # What is beyond one machine stands in test_beyond_one_machine.py.
    kinds = re.findall(r"^```(\w+)$", OF_ONE_MACHINE, re.MULTILINE)
    assert kinds == ["yaml"] * 3 + ["dockerfile", "yaml", "ini", "python", "python"]


def test_the_job(app: Path) -> None:
    job = yaml.safe_load(block("yaml", "name: models\non:"))["jobs"]["models"]
    lines = vcm_lines(job["steps"])
    assert [line[1] for line in lines] == ["lock", "sync", "run", "cache"]
    done = [run_words(line) for line in lines]
    assert [each.returncode for each in done] == [0, 0, 0, 0], [each.stderr for each in done]
    assert "1 passed" in done[2].stdout
    (app / "models.toml").write_text('[models.minilm]\nrepo = "acme/frames"\nexclude = ["config.json"]\n')
    assert [run_words(line).returncode for line in lines[:3]] == [1, 1, 1]


def test_the_job_on_a_schedule(app: Path, hub: HubSimulator) -> None:
    job = yaml.safe_load(block("yaml", "name: upstream"))["jobs"]["upstream"]
    lines = vcm_lines(job["steps"])
    assert len(lines) == 2
    assert [run_words(line).returncode for line in lines] == [0, 0]
    hub.repo("acme/frames").commit({"model.safetensors": b"others!"})
    # Answers of the last 24 hours would do; a job starts without any.
    assert [run_words([*line, "--refresh"]).returncode for line in lines[1:]] == [1]


def test_the_hook(app: Path) -> None:
    (hook,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
    (used,) = yaml.safe_load(block("yaml", "id: vcm-lock-check"))["repos"]
    assert [each["id"] for each in used["hooks"]] == [hook["id"]]
    line = shlex.split(hook["entry"])
    for path, wanted in (("models.toml", True), ("services/api/models.lock", True), ("my_models.toml", False)):
        assert bool(re.search(hook["files"], path)) == wanted
    assert run_words(line).returncode == 0
    (app / "models.toml").write_text('[models.minilm]\nrepo = "acme/frames"\nexclude = ["config.json"]\n')
    assert run_words(line).returncode == 1
    assert run_words([*line, "--project", str(app)]).returncode == 1


def test_the_image(app: Path, cache: Path) -> None:
    lines = block("dockerfile", "FROM").splitlines()
    (sync,) = [line.partition(" vcm ")[2] for line in lines if line.startswith("RUN --mount")]
    done = run_words(["vcm", *shlex.split(sync)])
    assert done.returncode == 0, done.stderr
    (start,) = [json.loads(line.removeprefix("CMD ")) for line in lines if line.startswith("CMD ")]
    # In another container: the same bytes with other inodes, on a disk that is not to be written.
    copied = cache.with_name("copied")
    shutil.copytree(cache, copied)
    shutil.rmtree(cache)
    done = run_words(start, VCM_CACHE_DIR=str(copied), HF_ENDPOINT="http://127.0.0.1:9")
    assert (done.returncode, done.stdout) == (0, "weights\n"), done.stderr


def test_the_init_container(app: Path) -> None:
    pod = yaml.safe_load(block("yaml", "kind: Deployment"))["spec"]["template"]["spec"]
    (first,), (second,) = pod["initContainers"], pod["containers"]
    assert first["env"][0] == second["env"][0]
    done = run_words(first["command"])
    assert done.returncode == 0, done.stderr
    done = run_words(second["command"], HF_ENDPOINT="http://127.0.0.1:9")
    assert (done.returncode, done.stdout) == (0, "weights\n"), done.stderr


def test_the_service(app: Path) -> None:
    unit = configparser.ConfigParser()
    unit.optionxform = str  # type: ignore[assignment]  # the keys of systemd have capitals
    unit.read_string(block("ini", "[Service]"))
    for key in ("ExecStartPre", "ExecStart"):
        done = run_words(shlex.split(unit["Service"][key]))
        assert done.returncode == 0, done.stderr
    assert done.stdout == "weights\n"
    (app / "models.toml").write_text('[models.minilm]\nrepo = "acme/frames"\nexclude = ["config.json"]\n')
    done = run_words(shlex.split(unit["Service"]["ExecStartPre"]))
    assert str(done.returncode) in unit["Service"]["RestartPreventExitStatus"].split()


def test_the_web_server(app: Path) -> None:
    check = (
        "from fastapi.testclient import TestClient\n"
        "with TestClient(app) as client:\n    print(client.get('/models').json())\n"
    )
    program = app / "server.py"
    program.write_text(block("python", "FastAPI") + check)
    refused = run_words(["python", "-W", "ignore", str(program)])
    assert refused.returncode == 1
    assert "minilm: not installed" in refused.stderr
    assert run_words(["vcm", "sync"]).returncode == 0
    done = run_words(["python", "-W", "ignore", str(program)])
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("{'minilm': '")


def test_the_fixture(app: Path) -> None:
    (app / "conftest.py").write_text(block("python", "pytest.fixture"))
    (app / "test_app.py").write_text("def test_app(minilm):\n    assert (minilm / 'config.json').exists()\n")
    assert run_words(["python", "-m", "pytest", "-q"]).returncode == 1
    assert run_words(["vcm", "sync"]).returncode == 0
    done = run_words(["python", "-m", "pytest", "-q"])
    assert done.returncode == 0, done.stdout
