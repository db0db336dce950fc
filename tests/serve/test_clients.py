"""``vcm serve`` as a command, and what clients make of it: the Hub's own, transformers, and vcm."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.conftest import Result, closed_port
from tests.serve.conftest import COMMIT, FILES, Served, put
from vcm.serve.server import Server
from vcm.testing import HubSimulator

if sys.platform == "win32":
    pytest.skip("signals are another matter there", allow_module_level=True)

Serve = Callable[..., tuple[subprocess.Popen[str], str]]


@pytest.fixture
def serve(vcm_process: Callable[..., subprocess.Popen[str]]) -> Iterator[Serve]:
    """Starts ``vcm serve``; the process, and the address it prints."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str) -> tuple[subprocess.Popen[str], str]:
        process = vcm_process("serve", "--port", "0", *arguments)
        started.append(process)
        assert process.stdout is not None
        return process, process.stdout.readline().strip()

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


def ended(process: subprocess.Popen[str], how: signal.Signals) -> tuple[int, str, float]:
    """End a server; its exit code, what it said, and the seconds it took."""
    process.send_signal(how)
    began = time.monotonic()
    _, err = process.communicate(timeout=30)
    return process.returncode, err, time.monotonic() - began


@pytest.mark.parametrize(("how", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_command(serve: Serve, cache: Path, how: signal.Signals, code: int) -> None:
    put(cache, FILES, repo="acme/gated", commit=COMMIT, gated="auto")
    process, url = serve()
    _, _, port = url.rpartition(":")
    assert url == f"http://127.0.0.1:{port}"
    assert requests.get(url, timeout=10).text == "vcm serve: 1 model, read-only; point HF_ENDPOINT here\n"
    # Who is in the middle of a file does not keep it.
    with socket.create_connection(("127.0.0.1", int(port))) as connection:
        connection.sendall(
            f"GET /acme/gated/resolve/main/model.safetensors HTTP/1.1\r\nHost: {url[7:]}\r\n\r\n".encode()
        )
        assert connection.recv(8) == b"HTTP/1.1"
        found, err, seconds = ended(process, how)
    assert (found, seconds < 5) == (code, True)
    assert err == (
        f"serving 1 model of {cache}, 1.1 MB; Ctrl-C ends it\n"
        f"  any client of the Hub: HF_ENDPOINT={url}\n"
        f"  vcm sync, as a mirror: VCM_MIRRORS={url}\n"
        "only this machine can reach it; --host 0.0.0.0 lets the network in\n"
        "interrupted\n"
    )


def test_it_warns_of_gated_models_that_leave_this_machine(
    vcm: Callable[..., Result], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(cache, FILES, repo="acme/gated", commit=COMMIT, gated="auto")
    # As with --host 0.0.0.0, but that no test opens a door to the network.
    monkeypatch.setattr(Server, "only_this_machine", False)
    monkeypatch.setattr(Server, "run", lambda *_: None)
    result = vcm("-q", "serve", "--port", "0")
    assert result.code == 0
    assert result.err == (
        "note: acme/gated: gated, and whoever reaches this port gets the files without accepting the terms\n"
    )


def test_the_address_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server("127.0.0.1", 0)
    server.close()
    monkeypatch.setattr(server, "_host", "0.0.0.0")
    assert re.fullmatch(r"http://[\w.-]+:\d+", server.url)
    assert not server.url.startswith(("http://0.0.0.0", "http://127.")) or not _has_network()
    monkeypatch.setattr(server, "_host", "fd00::1")
    assert server.url.startswith("http://[fd00::1]:")


def _has_network() -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        return probe.connect_ex(("192.0.2.1", 9)) == 0


def test_an_empty_store(serve: Serve, cache: Path) -> None:
    process, url = serve("--host", "localhost")
    assert requests.get(url, timeout=10).text == "vcm serve: 0 models, read-only; point HF_ENDPOINT here\n"
    lines = ended(process, signal.SIGTERM)[1].splitlines()
    assert lines[0] == f"serving 0 models of {cache}, 0 B; Ctrl-C ends it"
    assert lines[3] == "note: nothing is installed here yet: what vcm sync installs is served at once"
    assert not cache.exists()
    assert url.startswith(("http://127.0.0.1:", "http://[::1]:"))


def test_where_it_cannot_listen(vcm: Callable[..., Result], serve: Serve) -> None:
    _, url = serve()
    port = url.rpartition(":")[2]
    hint = "hint: choose another --port (0: any that is free), or another --host\n"
    assert vcm("serve", "--port", port) == Result(
        2, "", f"error: cannot listen at 127.0.0.1:{port}: address already in use\n{hint}"
    )
    free = closed_port()
    for host in ("192.0.2.7", "no such host", "a" * 300):
        result = vcm("serve", "--host", host, "--port", str(free))
        assert (result.code, result.out) == (2, "")
        assert result.err.startswith(f"error: cannot listen at {host}:{free}: ")
        assert result.err.endswith(hint)


def test_memory_stays_flat(serve: Serve, cache: Path) -> None:
    if sys.platform != "linux":
        pytest.skip("needs /proc")
    put(cache, {"model.safetensors": bytes(32 << 20)}, repo="acme/large", commit=COMMIT)
    process, url = serve()

    def peak() -> int:
        status = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii")
        return int(status.partition("VmHWM:")[2].split()[0]) << 10

    def fetch(path: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(["curl", "-sf", "-o", os.devnull, f"{url}{path}"])

    assert fetch("/").wait() == 0
    before = peak()
    clients = [fetch("/acme/large/resolve/main/model.safetensors") for _ in range(4)]
    assert [client.wait(30) for client in clients] == [0] * 4
    assert peak() - before < 8 << 20


class TestFromTheHub:
    """The same repo, once from the Hub's simulator, and once from a store that was installed from there."""

    MANIFEST = '[models.tiny]\nrepo = "acme/tiny"\n[models.tagged]\nrepo = "acme/tagged"\nversion = "~=1.0"\n'

    @pytest.fixture
    def url(
        self,
        hub: HubSimulator,
        vcm: Callable[..., Result],
        manifest: Callable[[str], Path],
        served: Served,
    ) -> str:
        about: dict[str, Any] = {"card": {"license": "mit"}, "pipeline_tag": "text-generation"}
        hub.add_repo("acme/tiny", FILES, commit=COMMIT, **about)
        hub.add_repo("acme/tagged", {"config.json": b"{}", "model.safetensors": b"weights"}, tags=["v1.0"], **about)
        manifest(self.MANIFEST)
        assert vcm("sync").code == 0
        # As the command does when it starts: projects may lose their locks later.
        assert served.ask("/index.json").status == 200
        return served.url

    def test_vcm_locks_and_installs_the_same(
        self,
        url: str,
        project: Path,
        tmp_path: Path,
        vcm: Callable[..., Result],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        lock = (project / "models.lock").read_bytes()
        (project / "models.lock").unlink()
        monkeypatch.setenv("HF_ENDPOINT", url)
        monkeypatch.setenv("HF_HOME", str(tmp_path / "other-home"))
        result = vcm("sync", "--cache-dir", tmp_path / "other")
        assert result.code == 0, result.err
        assert (project / "models.lock").read_bytes() == lock
        assert vcm("verify", "--cache-dir", tmp_path / "other").code == 0
        assert vcm("lock", "--check", "--upstream", "--cache-dir", tmp_path / "other").code == 0

    def test_vcm_takes_it_for_a_mirror(
        self, url: str, hub: HubSimulator, tmp_path: Path, vcm: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        hub.clear_requests()
        monkeypatch.setenv("VCM_MIRRORS", url)
        result = vcm("sync", "--frozen", "--cache-dir", tmp_path / "other")
        assert (result.code, hub.requests) == (0, []), result.err
        assert vcm("verify", "--cache-dir", tmp_path / "other").code == 0
        assert vcm("mirror", "check").code == 0

    def test_what_prune_removes_is_gone(
        self, url: str, manifest: Callable[[str], Path], vcm: Callable[..., Result]
    ) -> None:
        found = f"{url}/acme/tagged/resolve/v1.0/config.json"
        assert requests.get(found, timeout=10).content == b"{}"
        manifest('[models.tiny]\nrepo = "acme/tiny"\n')
        assert vcm("lock").code == vcm("cache", "prune").code == 0
        assert requests.get(found, timeout=10).headers["X-Error-Code"] == "RepoNotFound"
        assert requests.get(f"{url}/acme/tiny/resolve/main/config.json", timeout=10).content == FILES["config.json"]

    def test_the_hubs_own_client_gets_the_same_cache(self, url: str, hub: HubSimulator, tmp_path: Path) -> None:
        pytest.importorskip("huggingface_hub")
        script = """
            import json
            from huggingface_hub import HfApi, constants, errors, hf_hub_download, snapshot_download

            api = HfApi()
            snapshot_download("acme/tiny")
            snapshot_download("acme/tagged", revision="v1.0")
            hf_hub_download("acme/tiny", "config.json", revision="1234567890123456789012345678901234567890")

            def outcome(call):
                try:
                    return str(call())
                except (errors.HfHubHTTPError, errors.LocalEntryNotFoundError) as error:
                    return type(error).__name__

            info = api.model_info("acme/tiny", files_metadata=True)
            print(json.dumps({
                "info": [info.id, info.sha, info.gated, info.pipeline_tag, info.card_data.license],
                "files": [[f.rfilename, f.size, f.blob_id, f.lfs and f.lfs.sha256] for f in info.siblings],
                "tree": [entry.path for entry in api.list_repo_tree("acme/tiny", recursive=True)],
                "expanded": sorted(entry.path for entry in api.list_repo_tree("acme/tiny", "onnx", expand=True)),
                "listed": api.list_repo_files("acme/tagged", revision="v1.0"),
                "paths": [entry.path for entry in api.get_paths_info("acme/tiny", ["onnx", "config.json", "none"])],
                "exists": [api.file_exists("acme/tiny", name) for name in ("config.json", "none")],
                "known": [api.repo_exists("acme/tiny"), api.revision_exists("acme/tiny", "v9")],
                "tags": [[tag.name, tag.ref] for tag in api.list_repo_refs("acme/tagged").tags],
                "errors": [
                    outcome(lambda: hf_hub_download("acme/tiny", "config.json", revision="v9")),
                    outcome(lambda: api.model_info("acme/tiny", revision="v9")),
                    outcome(lambda: api.list_repo_tree("acme/tiny", "none").__next__()),
                ],
            }))
        """
        found = [
            _run(script, endpoint, tmp_path / f"home-{number}") for number, endpoint in enumerate((hub.endpoint, url))
        ]
        assert found[0] == found[1]
        assert found[0][0]["errors"] == ["RevisionNotFoundError", "RevisionNotFoundError", "RemoteEntryNotFoundError"]

    def test_what_is_not_installed_is_not_there_and_no_cache_says_that_it_never_was(
        self, url: str, tmp_path: Path
    ) -> None:
        pytest.importorskip("huggingface_hub")
        script = """
            import json
            from huggingface_hub import errors, hf_hub_download, snapshot_download

            raised = []
            for call in (
                lambda: hf_hub_download("acme/tiny", "pytorch_model.bin"),
                lambda: hf_hub_download("acme/none", "config.json"),
                lambda: snapshot_download("acme/none"),
            ):
                try:
                    call()
                except Exception as error:
                    raised.append(type(error).__name__)
            print(json.dumps(raised))
        """
        raised, kept = _run(script, url, tmp_path / "home")
        assert raised == ["RemoteEntryNotFoundError", "RepositoryNotFoundError", "RepositoryNotFoundError"]
        assert kept == {}

    def test_the_hf_command(self, url: str, tmp_path: Path) -> None:
        command = Path(sys.executable).with_name("hf")
        if not command.exists():
            pytest.skip("the hf command is not installed")
        target = tmp_path / "downloaded"
        done = subprocess.run(
            [command, "download", "acme/tiny", "--local-dir", target],
            env=_environment(url, tmp_path / "home"),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert {path: (target / path).read_bytes() for path in FILES} == FILES


@pytest.mark.long
def test_transformers_finds_a_genuine_model(genuine: Path, serve: Serve, cache: Path, tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    files = {path.relative_to(genuine).as_posix(): path.read_bytes() for path in genuine.rglob("*") if path.is_file()}
    put(cache, files, repo="sentence-transformers/all-MiniLM-L6-v2", commit=COMMIT)
    script = """
        import json
        from transformers import AutoConfig, AutoTokenizer

        name = "sentence-transformers/all-MiniLM-L6-v2"
        tokens = AutoTokenizer.from_pretrained(name)("hi").input_ids
        print(json.dumps([AutoConfig.from_pretrained(name).model_type, tokens]))
    """
    assert _run(script, serve()[1], tmp_path / "home")[0] == ["bert", [101, 7632, 102]]


def _run(script: str, endpoint: str, home: Path) -> tuple[Any, dict[str, str]]:
    """What a script prints, and the cache it leaves: by path, a link's target or a small file's text."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        env=_environment(endpoint, home),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    hub = home / "hub"
    kept = {
        path.relative_to(hub).as_posix(): str(path.readlink()) if path.is_symlink() else path.read_bytes().hex()[:2000]
        for path in hub.rglob("models--*/**/*")
        if path.is_symlink() or path.is_file()
    }
    return json.loads(done.stdout.splitlines()[-1]), kept


def _environment(endpoint: str, home: Path) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH",) if name in os.environ}
    switches = ("HF_HUB_DISABLE_TELEMETRY", "HF_HUB_DISABLE_PROGRESS_BARS", "HF_HUB_DISABLE_UPDATE_CHECK")
    return {**kept, "HF_ENDPOINT": endpoint, "HF_HOME": str(home), "HOME": str(home), **dict.fromkeys(switches, "1")}
