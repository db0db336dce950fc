"""The tour, as somebody sees it who has nothing but this package."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest


def test_the_tour_shows_every_promise_and_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Whatever the user's environment says, the tour stays on this machine and in its own folder.
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("HF_TOKEN", "hf_mustNotAppear")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("VCM_CACHE_DIR", str(tmp_path / "users-own-store"))

    done = subprocess.run(
        [sys.executable, "-m", "vcm", "demo"], cwd=tmp_path, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    steps = re.sub(r"/\S+/vcm-demo-\w+", "DEMO", done.stdout)
    steps = re.sub(r"\b[0-9a-f]{64}\b", "DIGEST", re.sub(r"\b[0-9a-f]{12}\b", "COMMIT", steps))
    assert "hf_mustNotAppear" not in steps
    for expected in (
        " + frames  acme/frame-classifier  1.0 COMMIT  2 files, 300.0 kB\n",
        "Nothing to do: 2 models installed, no network used\n",
        "$ python program.py\nthe program runs on frames (2 files), whisper (2 files)\n",
        (
            "$ vcm run -- python unchanged.py\n"
            "vcm: offline, 2 locked repos: acme/frame-classifier@v1.0, acme/whisper-tiny@main; a client that cannot "
            "connect asked for another: vcm add NAME REPO\n"
            "found on the Hub: COMMIT config.json model.safetensors\n"
        ),
        (
            "$ python program.py\nvcm.errors.LockError: models.lock does not fit models.toml: a requirement has "
            "changed\nhint: run vcm lock\n[exit code 1]\n"
        ),
        " ~ frames  acme/frame-classifier  1.0 COMMIT → 2.0 COMMIT  2 files, 400.0 kB\n",
        (
            "vcm.errors.ModelChecksumError: whisper: not what is locked: model.safetensors: expected 600000 bytes, "
            "found 600001 bytes\nhint: run vcm verify --repair\n[exit code 1]\n"
        ),
        " ~ whisper  COMMIT  repaired\n",
    ):
        assert expected in steps
    assert not list(temporary.iterdir())
    assert not (tmp_path / "users-own-store").exists()
    assert Path(tempfile.gettempdir()).exists()
