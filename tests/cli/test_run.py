"""vcm run: the gate, then the program, in this process's place and with nothing of vcm's left in it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import COMMIT, FILES
from tests.conftest import Result
from vcm.cli import running
from vcm.cli.app import hoisted

OFFERED = (
    "vcm: offline, 1 locked repo: acme/frames@main; a client that cannot connect asked for another: vcm add NAME REPO\n"
)


@pytest.fixture
def vcm_run(project: Path) -> Callable[..., Result]:
    """Runs ``vcm run`` to its end in a process of its own."""

    def run(*words: str | Path, before: tuple[str, ...] = (), **more: Any) -> Result:
        command = [*before, sys.executable, "-m", "vcm", "run", *map(str, words)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, **more)
        return Result(done.returncode, done.stdout, done.stderr)

    return run


def python(source: str) -> tuple[str, ...]:
    return sys.executable, "-c", source


def talking(source: str) -> subprocess.Popen[str]:
    """A program under vcm run, and pipes to it and from it."""
    command = [sys.executable, "-m", "vcm", "run", *python(source)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def views(cache: Path) -> list[Path]:
    return list((cache / "hub-views").glob("*"))


def test_the_program_runs_on_the_locked_files(synced, vcm_run, hub):
    source = (
        "from huggingface_hub import snapshot_download as s; import os; f = s('acme/frames'); print(f, *os.listdir(f))"
    )
    result = vcm_run(*python(source))
    assert (result.code, result.err) == (0, OFFERED)
    folder, *files = result.out.split()
    assert Path(folder).name == COMMIT
    assert {*files} == {*FILES}
    assert hub.requests == []


def test_exit_code_input_folder_and_arguments_pass_through(synced, vcm_run, project):
    source = "import os, sys; print(os.getcwd(), sys.argv[1:], sys.stdin.read()); sys.exit(7)"
    inside = project / "inside"
    inside.mkdir()
    words = ["-v", "--project", "x", "-q", "--", "--json", "--help", "a b", "\udcff"]
    result = vcm_run(*python(source), *words, cwd=inside, input="said", env={**os.environ, "PYTHONIOENCODING": "utf-8"})
    assert result.code == 7
    assert result.out == f"{inside} {words} said\n"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("run python -v x.py", "run -- python -v x.py"),
        ("run -- python -v x.py", "run -- python -v x.py"),
        ("run -q -- python -q", "-q run -- python -q"),
        ("run -q python -- -q", "-q run -- python -- -q"),
        ("--project run run --cache-dir y x --project z", "--project run --cache-dir y run -- x --project z"),
        ("run --group g --download-models x --group h", "run --group g --download-models -- x --group h"),
        ("run --group=g --all-groups x", "run --group=g --all-groups -- x"),
        ("run", "run"),
        ("run --help", "run --help"),
        ("sync run -q", "-q sync run"),
        ("add run acme/run -v", "-v add run acme/run"),
        ("sync --group run -q", "-q sync --group run"),
    ],
)
def test_options_behind_the_program_are_the_programs(given, expected):
    own, rest = hoisted(given.split())
    assert own + rest == expected.split()


def test_without_a_program(synced, vcm):
    for words in (["run"], ["run", "--"], ["run", "--download-models"]):
        result = vcm(*words)
        assert (result.code, result.out) == (2, "")
        assert "Missing argument 'COMMAND...'" in result.err


def test_the_programs_json_is_not_vcms(locked, vcm):
    assert vcm("run", "python", "--json").out == ""


@pytest.mark.parametrize("kind", ["absent", "plain", "script"])
def test_a_program_that_cannot_be_run(kind, synced, vcm_run, project, cache):
    path = project / "program"
    reason = {"absent": "no such file or directory", "plain": "permission denied", "script": "exec format error"}[kind]
    if kind != "absent":
        path.write_text("echo no\n")
        path.chmod(0o755 if kind == "script" else 0o644)
    result = vcm_run("-q", path)
    assert (result.code, result.out) == (2, "")
    assert result.err == (
        f"error: cannot run {path}: {reason}\n"
        "hint: check its name, PATH, and whether it may be executed; a script begins with #! and a program\n"
    )
    assert views(cache) == []


def test_a_program_that_is_not_there_costs_no_download(locked, vcm, hub, cache):
    hub.clear_requests()
    result = vcm("run", "--download-models", "pyhton", "serve.py")
    assert (result.code, result.out) == (2, "")
    assert result.err == (
        "error: cannot run pyhton: no such program\n"
        "hint: check its name, PATH, and whether it may be executed; a script begins with #! and a program\n"
    )
    assert (hub.requests, views(cache)) == ([], [])


def test_it_does_not_start_where_check_says_no(locked, vcm, vcm_run, project, hub):
    started = project / "started"
    result = vcm_run("touch", started)
    assert result == Result(1, "", "error: frames: not installed\nhint: run vcm sync\n")
    assert vcm("sync").code == 0
    snapshot = Path(vcm("path", "frames").out.strip())
    (snapshot / "config.json").chmod(0o644)
    (snapshot / "config.json").write_text("[]\n")
    check = vcm("check")
    assert vcm_run("touch", started) == check == Result(1, "", check.err)
    (project / "models.lock").unlink()
    assert vcm_run("touch", started) == vcm("check")
    assert not started.exists()


def test_download_models(wants_frames, vcm_run, hub, cache):
    source = "print('the program'); import vcm; print(vcm.require('frames'))"
    result = vcm_run("--download-models", *python(source))
    assert result.code == 0
    assert result.out.splitlines()[0] == "the program"
    assert "Locked 1 model" in result.err
    assert "Installed 1 model" in result.err
    assert result.err.endswith(OFFERED)
    again = vcm_run("--download-models", "-q", "true")
    assert again == Result(0, "", "")


def test_what_is_declared_and_not_offered(hub, manifest, vcm, vcm_run):
    hub.add_repo("acme/frames", FILES, commit=COMMIT)
    hub.add_repo("acme/large", {"config.json": b"{}"})
    manifest(
        '[models.frames]\nrepo = "acme/frames"\n'
        '[models.large]\nrepo = "acme/large"\ngroups = ["gpu"]\noptional = true\n'
    )
    assert vcm("sync").code == 0
    assert vcm_run("true").err == OFFERED[:-1] + ", or vcm run --group gpu\n"
    absent = "note: large: optional, and not installed: run vcm sync --group gpu\n"
    assert vcm_run("--group", "gpu", "true").err == vcm_run("--all-groups", "true").err == absent + OFFERED


def test_a_failed_download_does_not_start_the_program(locked, vcm, vcm_run, project, monkeypatch):
    monkeypatch.setenv("VCM_OFFLINE", "1")
    result = vcm_run("--download-models", "touch", project / "started")
    failed = vcm("sync")
    assert result == Result(failed.code, "", failed.out + failed.err)
    assert failed.code != 0
    assert not (project / "started").exists()


CACHES = (
    "TRANSFORMERS_CACHE",
    "PYTORCH_TRANSFORMERS_CACHE",
    "PYTORCH_PRETRAINED_BERT_CACHE",
    "SENTENCE_TRANSFORMERS_HOME",
    "LLAMA_CACHE",
)


def test_no_variable_of_the_user_leads_past_the_view(synced, vcm_run, cache, project, monkeypatch):
    for name in (*CACHES, "HUGGINGFACE_HUB_CACHE", "HF_HUB_CACHE"):
        monkeypatch.setenv(name, "/elsewhere")
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE", "LLAMA_ARG_OFFLINE"):
        monkeypatch.setenv(name, "0")
    monkeypatch.setenv("HF_TOKEN", "theirs")
    found = json.loads(vcm_run(*python("import json, os; print(json.dumps(dict(os.environ)))")).out)
    (view,) = views(cache)
    assert not {*CACHES} & found.keys()
    expected = {
        "HF_HUB_CACHE": str(view / "hub"),
        "HUGGINGFACE_HUB_CACHE": str(view / "hub"),
        "VCM_PROJECT": str(project),
        "VCM_CACHE_DIR": str(cache),
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "HF_DATASETS_OFFLINE": "1",
        "LLAMA_ARG_OFFLINE": "1",
        "HF_TOKEN": "theirs",
    }
    assert {name: found[name] for name in expected} == expected
    assert {
        name: text for name, text in os.environ.items() if name not in {*expected, *CACHES}
    }.items() <= found.items()


def test_the_same_project_and_store_inside(synced, cache, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("VCM_CACHE_DIR")
    source = "import vcm, os; os.chdir('/'); print(vcm.require('frames'))"
    command = [sys.executable, "-m", "vcm", "--project", "project", "--cache-dir", "cache", "run", *python(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, Path(done.stdout.strip()).parent) == (0, cache / "snapshots")


def test_nothing_of_vcm_is_left_in_the_program(synced, cache):
    """Signals, threads and open files are those of a program that was started by itself, but for the lease."""
    found: list[list[Any]] = []
    for before in ([], [sys.executable, "-m", "vcm", "run", "-q"]):
        child = subprocess.Popen([*before, "cat", "/proc/self/status"], stdout=subprocess.PIPE, text=True)
        lines = dict(line.split(":", 1) for line in child.communicate()[0].splitlines())
        found.append([lines[key].strip() for key in ("SigBlk", "SigIgn", "SigCgt", "Threads")])
        assert int(lines["Pid"]) == child.pid
        listed = subprocess.run([*before, "ls", "-l", "/proc/self/fd"], stdout=subprocess.PIPE, text=True, check=True)
        found[-1].append([line.partition(" -> ")[2] for line in listed.stdout.splitlines()])
    itself, under = found
    assert under[:4] == itself[:4]
    extra = [each for each in under[4] if each not in itself[4] and not each.startswith(("/proc/", "pipe:"))]
    assert len(extra) == 1
    assert Path(extra[0]).parent == cache / "in-use"
    assert len(under[4]) == len(itself[4]) + 1


def test_what_was_ignored_stays_ignored(synced):
    def ignore() -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    source = "import signal; print(signal.getsignal(signal.SIGINT) == signal.SIG_IGN)"
    command = [sys.executable, "-m", "vcm", "run", *python(source)]
    done = subprocess.run(command, capture_output=True, text=True, preexec_fn=ignore, check=False)
    assert done.stdout == "True\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL, signal.SIGUSR1])
def test_a_signal_reaches_the_program(number, synced, vcm_process):
    process = vcm_process("run", "sh", "-c", "echo $$; exec sleep 60")
    assert process.stdout is not None
    assert int(process.stdout.readline()) == process.pid
    process.send_signal(number)
    process.communicate(timeout=10)
    assert process.returncode == -number


def test_prune_beside_a_running_program(synced, vcm, vcm_process, cache, project):
    source = (
        "import sys; from huggingface_hub import snapshot_download as s; print('up', flush=True); "
        "sys.stdin.readline(); print(open(s('acme/frames') + '/config.json').read(), end='')"
    )
    process = talking(source)
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    snapshot = Path(vcm("path", "frames").out.strip())
    (project / "models.lock").unlink()
    assert vcm("cache", "prune").code == 0
    assert snapshot.is_dir()
    clean = vcm("cache", "clean")
    assert (clean.code, clean.err.splitlines()[0]) == (5, f"error: {cache} is in use by 1 running vcm")
    assert process.communicate("go on\n")[0] == FILES["config.json"].decode()
    assert vcm("cache", "prune").code == 0
    assert not snapshot.exists()
    assert views(cache) == []


def test_two_programs_at_once_and_one_after(synced, vcm, vcm_run, cache):
    source = "import os, sys; print(os.environ['HF_HUB_CACHE'], flush=True); sys.stdin.read()"
    started = [talking(source) for _ in range(2)]
    folders = [Path(str(each.stdout and each.stdout.readline().strip())) for each in started]
    assert folders[0] != folders[1]
    assert vcm_run("true").code == 0
    assert all((each / "models--acme--frames").is_dir() for each in folders)
    for each in started:
        each.communicate()
    assert vcm_run("true").code == 0
    # As many as ran at once stand until prune, or until they are taken over.
    assert len(views(cache)) == 3
    assert vcm("cache", "prune").code == 0
    assert views(cache) == []
    assert [path.name for path in (cache / "in-use").iterdir()] == ["store.lock"]


def test_one_program_inside_another(synced, vcm_run):
    result = vcm_run("-q", sys.executable, "-m", "vcm", "run", "-q", *python("import vcm; print(*vcm.gate())"))
    assert result == Result(0, "frames\n", "")


@pytest.fixture
def unprivileged() -> tuple[str, ...]:
    """What takes root's right to write everywhere away from a command."""
    words = ("setpriv", "--bounding-set=-all", "--inh-caps=-all")
    if os.name == "nt" or os.getuid() != 0:
        pytest.skip("needs root, to make a store that belongs to somebody else")
    try:
        subprocess.run([*words, "true"], check=True, capture_output=True)
    except (OSError, subprocess.SubprocessError):
        pytest.skip("setpriv cannot be used here")
    return words


LOADS = (
    "from huggingface_hub import snapshot_download as s, scan_cache_dir as c; import os; f = s('acme/frames'); "
    "print(open(f + '/config.json').read(), os.environ['HF_HUB_CACHE'], len(c().warnings))"
)


@pytest.mark.parametrize("may_write", [False, True])
def test_a_store_of_another_user(may_write, synced, cache, unprivileged, vcm_run, tmp_path):
    """Who may write its folders may still not link to files of another: Linux protects hard links."""
    for folder, folders, files in os.walk(cache):
        Path(folder).chmod(0o777 if may_write else 0o755)
        for name in ("", *folders, *files):
            os.chown(Path(folder, name), 65534, 65534)
    if may_write:
        (cache / "in-use" / "store.lock").unlink()  # which only its owner may open
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    result = vcm_run(*python(LOADS), before=unprivileged, env={**os.environ, "TMPDIR": str(temporary)})
    assert (result.code, result.err) == (0, OFFERED)
    assert result.out.startswith(f"{{}}\n {temporary}/vcm-0/hub-views/")
    assert result.out.endswith("/hub 0\n")
    again = vcm_run("true", before=unprivileged, env={**os.environ, "TMPDIR": str(temporary)})
    assert again.code == 0
    assert len(list((temporary / "vcm-0" / "hub-views").iterdir())) == 1
    assert views(cache) == []
    assert (cache / "hub-views").exists() == may_write


def test_a_read_only_volume(wants_frames, vcm, tmpfs, vcm_run, tmp_path):
    volume = tmpfs("size=4m")
    assert vcm("--cache-dir", volume, "sync").code == 0
    subprocess.run(["mount", "-o", "remount,ro", volume], check=True)
    environment = {**os.environ, "VCM_CACHE_DIR": str(volume), "TMPDIR": str(tmp_path)}
    result = vcm_run(*python(LOADS), env=environment)
    assert (result.code, result.err) == (0, OFFERED)
    assert f" {tmp_path}/vcm-0/hub-views/" in result.out


def test_many_repos_are_listed_in_a_file(hub, manifest, vcm, vcm_run, cache):
    names = [f"m{number}" for number in range(6)]
    for name in names:
        hub.add_repo(f"acme/{name}", {"config.json": b"{}"})
    manifest("".join(f'[models.{name}]\nrepo = "acme/{name}"\n' for name in names))
    assert vcm("sync").code == 0
    result = vcm_run("true")
    (view,) = views(cache)
    assert result.err == (
        "vcm: offline, 6 locked repos: acme/m0@main, acme/m1@main, acme/m2@main, acme/m3@main and 2 more "
        f"({view / 'offered.txt'}); a client that cannot connect asked for another: vcm add NAME REPO\n"
    )
    assert all(f"acme/{name}\n" in (view / "offered.txt").read_text() for name in names)


def test_one_repo_at_two_commits(hub, manifest, vcm, vcm_run):
    repo = hub.add_repo("acme/frames", {"config.json": b"one"}, tags=["v1.0"])
    repo.commit({"config.json": b"two"})
    repo.tag("v2.0")
    manifest(
        '[models.old]\nrepo = "acme/frames"\nrevision = "v1.0"\n[models.new]\nrepo = "acme/frames"\nversion = ">=2"\n'
    )
    assert vcm("sync").code == 0
    source = """
from huggingface_hub import hf_hub_download
for revision in ("v1.0", "v2.0", "main"):
    try:
        print(open(hf_hub_download("acme/frames", "config.json", revision=revision)).read())
    except Exception as error:
        print(type(error).__name__)
"""
    result = vcm_run(*python(source))
    assert result.out == "one\ntwo\nLocalEntryNotFoundError\n"
    assert result.err.startswith('note: acme/frames has no "main" offline: it would be new (2.0 ')


def test_without_exec_the_exit_code_is_the_programs(capfd):
    handler = signal.getsignal(signal.SIGINT)
    try:
        code = running.run_beside(
            list(python("import os; print(os.environ['A'], flush=True); os._exit(9)")), {**os.environ, "A": "b"}
        )
    finally:
        signal.signal(signal.SIGINT, handler)
    assert (code, capfd.readouterr().out) == (9, "b\n")


def test_llama_cpps_lookup(synced, vcm_run, cache):
    """What llama.cpp reads of a cache (common/hf-cache.cpp): refs/main, else any ref that is a file; then all below."""
    assert vcm_run("true").code == 0
    (view,) = views(cache)
    (repo,) = (view / "hub").iterdir()
    assert repo.name.removeprefix("models--").replace("--", "/") == "acme/frames"
    refs = [path for path in (repo / "refs").iterdir() if path.is_file()]
    commits = {path.name: path.read_text() for path in refs}
    assert commits == {"main": COMMIT}
    found = {path.name: path.read_bytes() for path in (repo / "snapshots" / commits["main"]).rglob("*")}
    assert found == FILES


def test_a_server_is_reached_by_nobody(synced, vcm_run, hub):
    """Offline is not only said: a client that tries all the same sends nothing to the hub."""
    source = "from huggingface_hub import HfApi; HfApi().model_info('acme/frames')"
    result = vcm_run(*python(source))
    assert result.code == 1
    assert "OfflineModeIsEnabled" in result.err
    assert hub.requests == []
