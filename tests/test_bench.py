"""What the benchmarks stand on: a hub made of nginx that real clients believe, and bytes that differ."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.bench.cases import CASES
from tests.bench.contestants import HF_SETTINGS, wanted
from tests.bench.server import ECHO_MODULE, Published, Served, publish, serving
from tests.bench.targets import of_download
from tests.bench.timing import environment, run

needs_nginx = pytest.mark.skipif(
    not (shutil.which("nginx") and shutil.which("curl") and ECHO_MODULE.exists()),
    reason="nginx with its module echo, or curl, is not installed",
)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Published:
    folder = tmp_path_factory.mktemp("bench")
    CASES["shards"].write(folder / "hub" / "bench", 80_000, 2)
    return publish(folder)


def _environ(home: Path, served: Served, **added: str | Path) -> dict[str, str]:
    told = environment(home, HF_HOME=home / "hf", **HF_SETTINGS, **served.environment(), **added)
    # What is compiled already will do: no time is taken here.
    return told | {"PYTHONPYCACHEPREFIX": "", "PYTHONDONTWRITEBYTECODE": "1"}


@needs_nginx
def test_vcm_installs_over_https_from_far_away(published, tmp_path):
    (tmp_path / "models.toml").write_text('[models.shards]\nrepo = "bench/shards"\n')
    with serving(published, tls=True, latency=0.01) as served:
        environ = _environ(tmp_path, served, VCM_CACHE_DIR=tmp_path / "cache")
        run((sys.executable, "-m", "vcm", "sync"), environ, tmp_path)
        (model,) = tomllib.loads((tmp_path / "models.lock").read_text())["model"]
        assert model["commit"] == published.commits["bench/shards"]
        files = wanted(published, served, tmp_path / "models.lock")
        assert len(files) == 10
        for file in files:
            content = (published.contents / file.output).read_bytes()
            assert hashlib.sha256(content).hexdigest() == file.sha256
            fetched = subprocess.run(["curl", "-sfL", file.url], env=environ, check=True, capture_output=True)
            assert fetched.stdout == content


@needs_nginx
def test_the_official_client_downloads(published, tmp_path):
    download = "import sys, huggingface_hub as hub; hub.snapshot_download('bench/shards', local_dir=sys.argv[1])"
    with serving(published) as served:
        run((sys.executable, "-c", download, tmp_path / "got"), _environ(tmp_path, served), tmp_path)
    for path in (published.contents / "bench" / "shards").iterdir():
        assert (tmp_path / "got" / path.name).read_bytes() == path.read_bytes()


@needs_nginx
def test_a_large_file_takes_a_redirect_to_another_origin_and_a_range(published):
    with serving(published) as served:
        url = f"{served.endpoint}/bench/shards/resolve/main/model-00001-of-00008.safetensors"
        told = [
            "curl",
            "-s",
            "-o",
            "/dev/null",
            "-r",
            "1-3",
            "-w",
            "%{http_code} %{size_download} %{redirect_url}",
            url,
        ]
        status, _, elsewhere = subprocess.run(told, check=True, capture_output=True, text=True).stdout.split()
        assert status == "302"
        assert not elsewhere.startswith(served.endpoint)
        told[-1] = elsewhere
        assert subprocess.run(told, check=True, capture_output=True, text=True).stdout.split() == ["206", "3"]


@pytest.mark.parametrize("case", CASES)
def test_no_two_files_of_a_case_are_the_same(case, tmp_path):
    CASES[case].write(tmp_path, 4 << 20, 40)
    digests = [hashlib.sha256(path.read_bytes()).digest() for path in tmp_path.rglob("*") if path.is_file()]
    assert len(digests) == len(set(digests)) > 0
    sizes = [path.stat().st_size for path in tmp_path.rglob("model*.safetensors")]
    assert case not in ("large", "shards", "huge") or sum(sizes) == 4 << 20


def test_targets_of_a_download():
    def ratios(case: str, *, tls: bool, is_far: bool) -> dict[str, float]:
        return {target.peer: target.at_most for target in of_download(case, tls=tls, is_far=is_far)}

    assert ratios("large", tls=False, is_far=False) == {
        "hf download": 0.5,
        "aria2c -x8 -s8": 0.45,
        "curl | openssl dgst": 1.0,
    }
    assert ratios("shards", tls=True, is_far=True) == {"hf download": 0.8, "aria2c -x8 -s8": 1.0}
    assert ratios("small", tls=True, is_far=False) == {"hf download": 0.35}
    assert ratios("small", tls=False, is_far=True) == {"hf download": 0.4}
    assert ratios("many", tls=False, is_far=False) == {}
