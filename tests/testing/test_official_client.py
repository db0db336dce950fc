"""The Hub's own client, in a process of its own, must find nothing odd about the simulator."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import textwrap
from typing import Any

import pytest

from vcm.testing import Fault, HubSimulator, Unfetched

pytest.importorskip("huggingface_hub")

WEIGHTS = bytes(range(256)) * 400
FILES = {
    "README.md": b"# Tiny\n",
    "config.json": b'{"hidden_size": 8}',
    "empty.txt": b"",
    "model.safetensors": WEIGHTS,
    "onnx/model.onnx": b"graph",
    "onnx/deeper/notes.txt": b"notes",
}
PRELUDE = """
import json, pathlib, sys
from huggingface_hub import HfApi, hf_hub_download, snapshot_download
from huggingface_hub import errors

api = HfApi()

def outcome(call):
    try:
        return str(call())
    except (errors.HfHubHTTPError, errors.LocalEntryNotFoundError) as raised:
        # Downloads wrap what they could not fetch and did not find in the cache.
        error = raised if isinstance(raised, errors.HfHubHTTPError) else raised.__cause__
        return f"{type(error).__name__} {error.response.status_code}"
"""


@pytest.fixture
def run(hub, tmp_path):
    """Run a script that leaves its findings in `found`, and return them."""

    def run_script(script: str, token: str = "") -> Any:
        whole = PRELUDE + textwrap.dedent(script) + "\nprint(json.dumps(found))\n"
        settings = {
            "HOME": str(tmp_path),
            "HF_HOME": str(tmp_path / "hf"),
            "HF_ENDPOINT": hub.endpoint,
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "PYTHONIOENCODING": "utf-8",
        }
        kept = {name: os.environ[name] for name in ("PATH", "SYSTEMROOT", "TEMP") if name in os.environ}
        environment = kept | settings | ({"HF_TOKEN": token} if token else {})
        done = subprocess.run(
            [sys.executable, "-c", whole],
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    yield run_script
    assert not [request for request in hub.requests if request.origin == "cdn" and "authorization" in request.headers]


@pytest.fixture
def repo(hub):
    return hub.add_repo("acme/tiny", FILES, tags=["v1.0"], card={"license": "mit"}, pipeline_tag="text-generation")


def test_model_info(run, repo):
    found = run("""
        info = api.model_info("acme/tiny", revision="v1.0", files_metadata=True, securityStatus=True)
        found = {
            "id": info.id, "sha": info.sha, "license": info.card_data.license, "gated": info.gated,
            "scans": info.security_repo_status["scansDone"],
            "files": [[f.rfilename, f.size, f.blob_id, f.lfs and f.lfs.sha256] for f in info.siblings],
            "expanded": api.model_info("acme/tiny", expand=["sha", "lastModified"]).sha,
            "listed": [model.id for model in api.list_models(search="tin", limit=3)],
        }
    """)
    assert found["id"] == "acme/tiny"
    assert found["sha"] == found["expanded"] == repo.head()
    assert (found["license"], found["gated"], found["scans"]) == ("mit", False, True)
    assert found["listed"] == ["acme/tiny"]
    expected = [
        [path, stored.size, stored.oid, stored.sha256 if stored.is_lfs else None]
        for path, stored in repo.files("main").items()
    ]
    assert found["files"] == expected


def test_listings(run, repo):
    repo.branch("refs/pr/1")
    repo.branch("feature/x")
    second = repo.commit({"config.json": b"{}"}, message="Change config")
    found = run("""
        found = {
            "plain": [[e.path, type(e).__name__] for e in api.list_repo_tree("acme/tiny", recursive=True)],
            "expanded": [
                [e.path, e.last_commit.title, e.security.safe if hasattr(e, "security") else None]
                for e in api.list_repo_tree("acme/tiny", recursive=True, expand=True)
            ],
            "by_branch": [e.path for e in api.list_repo_tree("acme/tiny", "onnx", revision="feature/x")],
            "tags": [[t.name, t.ref, t.target_commit] for t in api.list_repo_refs("acme/tiny").tags],
            "pulls": [p.ref for p in api.list_repo_refs("acme/tiny", include_pull_requests=True).pull_requests],
            "branches": sorted(b.name for b in api.list_repo_refs("acme/tiny").branches),
            "commits": [[c.commit_id, c.title] for c in api.list_repo_commits("acme/tiny", formatted=True)],
            "paths": [p.path for p in api.get_paths_info("acme/tiny", ["config.json", "absent", "onnx"], expand=True)],
        }
    """)
    assert [path for path, _ in found["plain"]] == sorted([*FILES, "onnx", "onnx/deeper"])
    assert ["onnx", "RepoFolder"] in found["plain"]
    assert ["config.json", "Change config", True] in found["expanded"]
    assert ["onnx", "initial commit", None] in found["expanded"]
    assert found["by_branch"] == ["onnx/deeper", "onnx/model.onnx"]
    first = repo.head("feature/x")
    assert found["tags"] == [["v1.0", "refs/tags/v1.0", first]]
    assert found["pulls"] == ["refs/pr/1"]
    assert found["branches"] == ["feature/x", "main"]
    assert found["commits"] == [[second, "Change config"], [first, "initial commit"]]
    assert found["paths"] == ["config.json", "onnx"]


class TestPages:
    @pytest.fixture
    def hub(self):
        with HubSimulator(page_size=3) as simulator:
            yield simulator

    def test_a_listing_of_several_pages(self, run, hub):
        files = {f"{number:02}.txt": b"x" for number in range(10)}
        hub.add_repo("acme/many", files)
        found = run("""
            found = {
                "plain": [entry.path for entry in api.list_repo_tree("acme/many")],
                "expanded": [entry.path for entry in api.list_repo_tree("acme/many", recursive=True, expand=True)],
            }
        """)
        assert found["plain"] == found["expanded"] == sorted(files)
        assert len([request for request in hub.requests if "/tree/" in request.path]) == 8


def test_snapshot(run, repo):
    repo.branch("refs/pr/1")
    found = run("""
        found = []
        for number, revision in enumerate(["main", "v1.0", "refs/pr/1"]):
            folder = pathlib.Path(snapshot_download("acme/tiny", revision=revision, cache_dir=f"cache{number}"))
            files = [path for path in folder.rglob("*") if path.is_file()]
            contents = {path.relative_to(folder).as_posix(): path.read_bytes().hex() for path in files}
            found.append([folder.name, contents])
    """)
    assert found == [[repo.head(), {path: content.hex() for path, content in FILES.items()}]] * 3


def test_resume_after_a_cut(run, hub):
    content = hashlib.sha256(b"seed").digest() * 400_000
    hub.add_repo("acme/heavy", {"model.safetensors": content})
    hub.fail(Fault(origin="cdn", method="GET", cut_after=12_000_000))
    found = run("""
        import hashlib
        path = hf_hub_download("acme/heavy", "model.safetensors")
        found = hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()
    """)
    assert found == hashlib.sha256(content).hexdigest()
    ranges = [request.headers.get("range") for request in hub.requests if request.origin == "cdn"]
    assert ranges == [None, "bytes=10485760-"]


def test_refusals(run, hub, repo, stranger):
    hub.add_repo("acme/gated", FILES, gated="auto")
    hub.add_repo("acme/secret", FILES, private=True)
    hub.add_repo("acme/off", FILES, disabled=True)
    script = """
        found = {
            "missing": outcome(lambda: api.model_info("acme/absent")),
            "missing file": outcome(lambda: hf_hub_download("acme/absent", "config.json")),
            "private": outcome(lambda: api.model_info("acme/secret")),
            "gated": outcome(lambda: hf_hub_download("acme/gated", "model.safetensors")),
            "gate": outcome(lambda: api.auth_check("acme/gated")),
            "disabled": outcome(lambda: hf_hub_download("acme/off", "config.json")),
            "revision": outcome(lambda: api.model_info("acme/tiny", revision="nowhere")),
            "commit": outcome(lambda: hf_hub_download("acme/tiny", "config.json", revision="0" * 40)),
            "entry": outcome(lambda: hf_hub_download("acme/tiny", "absent.bin")),
            "folder": outcome(lambda: list(api.list_repo_tree("acme/tiny", "absent"))),
        }
    """
    with_token = run(script, token=stranger)
    assert with_token == {
        "missing": "RepositoryNotFoundError 404",
        "missing file": "RepositoryNotFoundError 404",
        "private": "RepositoryNotFoundError 404",
        "gated": "GatedRepoError 403",
        "gate": "GatedRepoError 403",
        "disabled": "DisabledRepoError 403",
        "revision": "RevisionNotFoundError 404",
        "commit": "RevisionNotFoundError 404",
        "entry": "RemoteEntryNotFoundError 404",
        "folder": "RemoteEntryNotFoundError 404",
    }
    # Without a token the Hub does not tell a missing repository from bad credentials, and over plain http neither
    # does the client.
    bare = {"missing": "HfHubHTTPError 401", "missing file": "HfHubHTTPError 401", "private": "HfHubHTTPError 401"}
    assert run(script) == with_token | bare | {"gated": "GatedRepoError 401", "gate": "GatedRepoError 401"}


def test_granted_access(run, hub, reader):
    hub.add_repo("acme/gated", FILES, gated="auto")
    hub.add_repo("acme/secret", FILES, private=True)
    for name in ("acme/gated", "acme/secret"):
        hub.grant(reader, name)
    found = run(
        """
        found = {}
        for name in ("acme/gated", "acme/secret"):
            folder = pathlib.Path(snapshot_download(name))
            found[name] = {p.relative_to(folder).as_posix(): p.stat().st_size for p in folder.rglob("*") if p.is_file()}
        """,
        token=reader,
    )
    sizes = {path: len(content) for path, content in FILES.items()}
    assert found == {"acme/gated": sizes, "acme/secret": sizes}
    seen = [request for request in hub.requests if request.origin == "cdn"]
    assert len(seen) == 4


def test_renamed(run, hub, repo):
    hub.rename("acme/tiny", "corp/small")
    found = run("""
        folder = pathlib.Path(snapshot_download("acme/tiny"))
        found = {
            "id": api.model_info("acme/tiny").id,
            "files": {p.relative_to(folder).as_posix(): p.stat().st_size for p in folder.rglob("*") if p.is_file()},
            "one": pathlib.Path(hf_hub_download("acme/tiny", "onnx/model.onnx", cache_dir="other")).read_text(),
        }
    """)
    assert found["id"] == "corp/small"
    assert found["files"] == {path: len(content) for path, content in FILES.items()}
    assert found["one"] == "graph"


def test_busy_hub(run, hub, repo):
    hub.fail(Fault(path="*/tree/*", status=429, headers={"RateLimit": '"api";r=0;t=0'}))
    found = run('found = [entry.path for entry in api.list_repo_tree("acme/tiny")]')
    assert "config.json" in found
    assert [request.status for request in hub.requests if "/tree/" in request.path] == [429, 200]


def test_a_limit_is_waited_for(run, hub, repo):
    hub.limit("api", quota=1, window=2)
    found = run("""
        found = [outcome(lambda: api.model_info("acme/tiny").id), outcome(lambda: api.model_info("acme/tiny").id)]
        found += [entry.path for entry in api.list_repo_tree("acme/tiny")]
    """)
    assert found[:2] == ["acme/tiny", "HfHubHTTPError 429"]
    assert "config.json" in found
    assert [request.status for request in hub.requests] == [200, 429, 429, 200]


def test_far_away(run, hub, repo):
    hub.latency = 0.05
    found = run("""
        import time
        started = time.monotonic()
        folder = pathlib.Path(snapshot_download("acme/tiny"))
        found = [time.monotonic() - started, sum(path.is_file() for path in folder.rglob("*"))]
    """)
    assert found[0] >= 0.15
    assert found[1] == len(FILES)


def test_what_nobody_has(run, hub):
    digest = hashlib.sha256(b"what nobody has").hexdigest()
    big = Unfetched(size=13_000_000_000, sha256=digest)
    hub.add_repo("acme/big", {"model.gguf": big, "config.json": b"{}"}, card={"base_model": "acme/tiny"})
    found = run("""
        info = api.model_info("acme/big", files_metadata=True)
        entry = next(entry for entry in api.list_repo_tree("acme/big") if entry.path == "model.gguf")
        found = {
            "file": [[f.size, f.lfs.sha256, f.blob_id] for f in info.siblings if f.lfs],
            "entry": [[entry.size, entry.lfs.sha256, entry.blob_id]],
            "bytes": outcome(lambda: hf_hub_download("acme/big", "model.gguf")),
            "tags": info.tags,
        }
    """)
    stored = hub.repo("acme/big").files()["model.gguf"]
    assert found["file"] == found["entry"] == [[big.size, digest, stored.pointer_oid]]
    assert found["bytes"] == "HfHubHTTPError 404"
    assert "base_model:quantized:acme/tiny" in found["tags"]
