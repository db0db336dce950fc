"""The README, taken at its word: every block of it runs."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from tests.conftest import Result
from vcm.analysis.report import Outcome, Watched, make_report
from vcm.core.fields import Document, Table
from vcm.core.findings import Finding
from vcm.core.lock import LockedModel
from vcm.core.manifest import Requirement, parse_manifest
from vcm.core.mirror_config import mirror_address, parse_user_configuration
from vcm.detectors.kinds import find_kind
from vcm.errors import ConfigError
from vcm.testing import HubSimulator
from vcm.version import VERSION

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
REFERENCE = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
RECIPES = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", README + REFERENCE, re.MULTILINE | re.DOTALL)

FINDING = Finding("a", None, "x", 0.5, 0.0, 1.0)


def block(language: str, containing: str) -> str:
    found = [text for kind, text in BLOCKS if kind == language and containing in text]
    assert len(found) == 1, f"{len(found)} blocks of {language} contain {containing!r}"
    return str(found[0])


def copy_of_the_project(target: Path) -> Path:
    """What a clone would have, without what lies about in a working copy."""
    left_out = shutil.ignore_patterns(".git", ".venv", "__pycache__", ".*_cache", ".hypothesis", "*.egg-info")
    return Path(shutil.copytree(ROOT, target, ignore=left_out))


def test_no_block_is_forgotten() -> None:
    known = [
        "vcm demo",
        "vcm run -- python program.py",
        "[models.minilm]",
        "[models.profanity]",
        "push = true",
        "vcm.gate()",
        "refuse if it does not fit",
        "[[mirror]]",
        "vcm push registry",
        "--no-origin",
        "vcm bundle",
        "vcm run",
        "vcm import",
        "vcm outdated",
        "vcm cache",
        "vcm analyze",
        "[pipeline]",
        "HubSimulator",
        "pytest",
    ]
    assert len(BLOCKS) == len(known)
    assert all(any(word in text for _, text in BLOCKS) for word in known)


def test_the_first_command_sets_up_everything_and_ends_with_the_tour(tmp_path: Path) -> None:
    clone = copy_of_the_project(tmp_path / "clone")
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}

    done = subprocess.run(
        ["sh", "-c", block("sh", "vcm demo")], cwd=clone, env=environment, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.rstrip().endswith("In a project of yours: vcm init, then vcm add NAME REPO.")


def test_the_test_command_is_the_one_that_runs_now() -> None:
    # Running it here would run this test again: CI takes the line from the README and runs it.
    command = block("sh", "pytest").strip()
    assert "<!-- tests -->\n```sh\n" + command in README
    assert "sed -n '/<!-- tests -->/,/^```$/p' README.md" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert subprocess.run(["sh", "-n", "-c", command], check=False).returncode == 0


def test_the_five_minutes(
    hub: HubSimulator, project: Path, vcm: Callable[..., Result], cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = {"model.safetensors": b"weights", "config.json": b"{}", "vocab.txt": b"a\n", "train.py": b"pass\n"}
    repo = "sentence-transformers/all-MiniLM-L6-v2"
    hub.add_repo(repo, files)

    *lines, last = block("sh", "vcm run -- python program.py").splitlines()
    for line in lines:
        program, *words = shlex.split(line, comments=True)
        assert program == "vcm"
        assert vcm(*words) == Result(0, *_outputs(words[0], cache, project))
    (project / "program.py").write_text(
        "from huggingface_hub import hf_hub_download\n"
        f"print(open(hf_hub_download({repo!r}, 'model.safetensors')).read())\n"
    )
    words = [sys.executable if word == "python" else word for word in shlex.split(last, comments=True)[1:]]
    done = subprocess.run([sys.executable, "-m", "vcm", *words], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "weights\n"), done.stderr

    (project / "models.toml").write_text(block("toml", "[models.minilm]"))
    assert vcm("sync").code == 0
    names: dict[str, object] = {}
    exec(compile(block("python", "vcm.gate()"), "README.md", "exec"), names)  # noqa: S102
    folder = names["folder"]
    assert isinstance(folder, Path)
    assert sorted(path.name for path in folder.iterdir()) == sorted(files)

    shutil.rmtree(cache)
    assert vcm(*shlex.split(block("sh", "refuse if it does not fit"), comments=True)[1:]).code == 0
    hub.clear_requests()
    assert vcm("sync").out == "Nothing to do: 1 model installed, no network used\n"
    assert hub.requests == []


def test_programs_that_you_do_not_want_to_change(
    hub: HubSimulator, project: Path, vcm: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add_repo("acme/frames", {"config.json": b"{}", "model.safetensors": b"weights"})
    (project / "models.toml").write_text('[models.frames]\nrepo = "acme/frames"\n')
    (project / "serve.py").write_text(
        "import sys; from huggingface_hub import snapshot_download; "
        "snapshot_download('acme/frames'); print(*sys.argv[1:])"
    )
    first, second = block("sh", "serve.py --port").splitlines()
    told = []
    for line in (second, first):
        program, *words = shlex.split(line, comments=True)
        assert program == "vcm"
        words = [sys.executable if word == "python" else word for word in words]
        command = [sys.executable, "-m", "vcm", *words]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        told.append(done.stdout)
    assert told == ["\n", "--port 8080\n"]


def test_when_the_world_moves_on(hub: HubSimulator, project: Path, vcm: Callable[..., Result]) -> None:
    repo = hub.add_repo("acme/frames", {"model.onnx": b"weights", "tokenizer.json": b"{}", "README.md": b"# one"})
    assert vcm("init").code == 0
    assert vcm("add", "frames", "acme/frames").code == 0
    for arguments in (
        ["init", "-q"],
        ["add", "."],
        ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "one"],
    ):
        subprocess.run(["git", *arguments], cwd=project, check=True)
    lines = [shlex.split(line, comments=True)[1:] for line in block("sh", "vcm outdated").splitlines()]
    assert [vcm(*line).code for line in lines] == [0, 0, 0]
    repo.commit({"README.md": b"# two"})
    assert vcm(*lines[0], "--refresh").code == 0
    repo.commit({"tokenizer.json": b"{1}"})
    outdated = vcm(*lines[0], "--refresh")
    assert outdated.code == 1
    assert vcm(*shlex.split(outdated.out.splitlines()[-1].partition(": vcm ")[2])).code == 0
    assert "tokenizer: 1 changed, 3 B" in vcm(*lines[1]).out
    assert [vcm(*line).code for line in lines] == [0, 0, 0]


def test_the_store(hub: HubSimulator, project: Path, vcm: Callable[..., Result]) -> None:
    hub.add_repo("acme/frames", {"model.onnx": b"weights"})
    assert [vcm(*words).code for words in (["init"], ["add", "frames", "acme/frames"])] == [0, 0]
    lines = [shlex.split(line, comments=True)[1:] for line in block("sh", "vcm cache").splitlines()]
    assert [vcm(*line).code for line in lines] == [0, 0]


def _outputs(command: str, cache: Path, project: Path) -> tuple[str, str]:
    commit = _locked_commit(project)[:12]
    return {
        "init": (f"Made {project / 'models.toml'}\n", ""),
        "add": (
            (
                "Locked 1 model, 16 B (small files: 3 fetched)\n"
                f" + minilm  sentence-transformers/all-MiniLM-L6-v2  main {commit}  4 files, 16 B\n"
                f"Installed 1 model: 7 B fetched, 9 B reused\n + minilm  main {commit}  installed\n"
            ),
            (
                "note: minilm: holds Python code, which runs only where a program says trust_remote_code; pinned like "
                "every other file: train.py\nfetching 1 file, 7 B\n"
            ),
        ),
        "check": ("1 model locked and installed, unchanged\n", ""),
    }[command]


def _locked_commit(project: Path) -> str:
    lock = project / "models.lock"
    match = re.search(r'^commit = "(\w+)"', lock.read_text(), re.MULTILINE) if lock.exists() else None
    return match[1] if match else ""


def test_coming_from_elsewhere(vcm: Callable[..., Result], project: Path, tmp_path: Path) -> None:
    snapshot = tmp_path / "hf-home" / "hub" / "models--acme--frames" / "snapshots" / ("1" * 40)
    snapshot.mkdir(parents=True)
    (snapshot / "model.safetensors").write_bytes(b"weights")
    source = {"name": "a", "url": "https://example.com/a.onnx", "checksum": "ab" * 32, "size_bytes": 1}
    (project / "config.yaml").write_text(json.dumps({"models": {"cache_dir": None, "sources": [source]}}))
    lines = block("sh", "vcm import").splitlines()
    assert len(lines) == 2
    for line in lines:
        assert vcm(*shlex.split(line, comments=True)[1:]).code == 0
        (project / "models.toml").unlink()
    assert (project / "models.lock").exists()


def test_the_manifest_in_full_has_every_key_and_is_one() -> None:
    text = block("toml", "[models.profanity]")
    manifest = parse_manifest(text.encode(), vcm_version=VERSION)
    assert [model.name for model in manifest.models] == ["frames", "whisper", "profanity"]
    keys = {each.name.replace("_", "-") for each in fields(Requirement)} - {"name"}
    assert {key for key in keys if re.search(rf"^{key} = ", text, re.MULTILINE)} == keys
    assert manifest.origin_fallback is False
    for value in (manifest, manifest.policy):
        assert all(getattr(value, each.name) for each in fields(value) if each.name != "origin_fallback")


def test_the_users_own_configuration_is_one() -> None:
    found = parse_user_configuration(block("toml", "push = true").encode(), file_name="config.toml")
    registry, p2p = found.mirrors
    assert (registry.name, registry.push, list(registry.headers)) == ("registry", True, ["Authorization"])
    assert (p2p.name, bool(p2p.proxy), len(p2p.headers)) == ("p2p", True, 1)
    assert (found.fallback, found.endpoint) == (True, "https://hub.corp")


def test_every_address_of_a_mirror_is_one() -> None:
    table = REFERENCE.partition("\n| `url` |")[2].partition("\n\n")[0]
    addresses = re.findall(r"^\| `([^`]+)`", table, re.MULTILINE)
    assert [mirror_address(each)[1] for each in addresses] == [None] * 4


def test_every_kind_of_detector_and_option_is_in_the_tables_and_exists() -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("PIL")
    from vcm.detectors.transformers_task import TASKS

    section = REFERENCE.partition("## Detectors")[2].partition("## The report")[0]
    kinds, tasks, told = (
        {row[0]: row for row in map(cells, table.splitlines()[2:])}
        for table in re.findall(r"^\| (?:kind|task|option) \|.*\n(?:\|.*\n)+", section, re.MULTILINE)
    )
    installed = {each.name for each in entry_points(group="vcm.detectors") if each.module.startswith("vcm.")}
    assert (set(kinds), set(tasks)) == (installed, set(TASKS))
    example = parse_manifest(block("toml", "[models.profanity]").encode(), vcm_version=VERSION)
    assert {each.kind for each in example.detectors} <= installed
    every = {name for row in (*kinds.values(), *tasks.values()) for name in re.findall(r"`([a-z]+)`", row[-1])}
    assert every - {"task"} == set(told)
    given = {"words": ["x"], "phrases": ["x"], "prompts": ["x", "y"], "prompt": "x", "labels": ["x"]}
    for kind, task in [
        *((kind, "") for kind in kinds if kind != "transformers"),
        *(("transformers", t) for t in tasks),
    ]:
        cell = tasks[task][-1] + kinds[kind][-1] if task else kinds[kind][-1]
        documented = set(re.findall(r"`([a-z]+)`", cell))
        needed = {"task": task} | given if task else given
        options = {name: value for name, value in needed.items() if name in documented} | {"nonsense": 1}
        table = Table(Document("models.toml", ""), ("pipeline", "detectors", "a", "options"), options)
        with pytest.raises(ConfigError) as caught:
            find_kind(kind)(None, table)
        assert set(caught.value.hint.removeprefix("allowed here: ").split(", ")) == documented, (kind, task)


def cells(row: str) -> list[str]:
    first, *rest = row.strip("| ").split(" | ")
    return [re.findall(r"`([^`]+)`", first)[0], *rest]


def test_the_first_lines_of_the_video_pipeline_install_what_the_template_needs(
    project: Path, vcm: Callable[..., Result]
) -> None:
    install, init, analyze = (shlex.split(line, comments=True) for line in block("sh", "vcm analyze").splitlines())
    assert vcm(*init[1:]).code == 0
    manifest = parse_manifest((project / "models.toml").read_bytes(), vcm_version=VERSION)
    assert {each.kind for each in manifest.detectors} == {"transformers", "word-list"}
    assert install == ["pip", "install", ".[transformers]", "torch"]
    assert vcm(*analyze[1:]).err.startswith("error: cannot read film.mp4: no such file")


def test_the_detectors_of_the_readme_are_some() -> None:
    manifest = parse_manifest(
        b'[models]\nframes.repo = "a/b"\nminilm.repo = "a/c"\n'
        + block("toml", "[pipeline.detectors.threats]").encode(),
        vcm_version=VERSION,
    )
    assert "transformers" not in {each.kind for each in manifest.detectors}
    for each in manifest.detectors:
        table = Table(Document("models.toml", ""), ("pipeline", "detectors", each.name, "options"), dict(each.options))
        if each.model is None:
            find_kind(each.kind)(None, table)
        else:
            # Of all that could be wrong, only the model is.
            with pytest.raises(ConfigError, match=r"model: missing"):
                find_kind(each.kind)(None, table)


def test_the_keys_of_the_report_are_documented() -> None:
    section = REFERENCE.partition("## The report")[2].partition("## Commands")[0]
    table = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", section, re.MULTILINE))
    watched = Watched("a.mp4", "a", 1, 1.0, (("a.srt", "b"),), 0, (Outcome("a", "b", None, "why"),), (FINDING,))
    model = LockedModel(name="m", source="huggingface", files=())
    report = make_report(lock_sha256=None, verified=True, models=[model], watched=watched, gap=1, margin=0)
    assert list(table) == list(report)
    for key, value in report.items():
        inside = value[0] if isinstance(value, list) else value
        for name in inside if isinstance(inside, dict) else ():
            assert f"`{name}`" in table[key], (key, name)


def test_the_hub_for_tests() -> None:
    source = block("python", "HubSimulator")
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_every_command_and_option_is_in_the_table_and_exists(vcm: Callable[..., Result]) -> None:
    section = REFERENCE.partition("## Commands")[2].partition("Exit codes")[0]
    table, common = section.rpartition("|\n\n")[::2]
    told: dict[str, set[str]] = {}
    for row in table.splitlines():
        for name in re.findall(r"`vcm ([a-z]+)", row):
            told.setdefault(name, set()).update(re.findall(r"(?<![\w-])--[a-z-]+", row))
    names = re.findall(r"^  ([a-z]+) ", vcm("--help").out.partition("Commands:")[2], re.MULTILINE)
    assert list(told) == names
    for name in names:
        there = set(re.findall(r"^  (?:-\w, )?(--[a-z-]+)", vcm(name, "--help").out, re.MULTILINE))
        assert told[name] | {"--help"} == there - {"--json"}, name
        assert ("--json" in there) == (name not in ("init", "path", "run", "analyze", "serve", "demo")), name
    for option in re.findall(r"^  (?:-\w, )?(--[a-z-]+)", vcm("--help").out, re.MULTILINE):
        assert option in (*common.replace("`", " ").split(), "--quiet", "--verbose", "--version", "--help")
    assert {*re.findall(r"`vcm ([a-z]+)", README + REFERENCE + RECIPES)} <= {*names}
