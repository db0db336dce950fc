"""``vcm import``: from an application's YAML, and from a Hugging Face cache that nobody downloads again."""

# ruff: noqa: PLR0917  (pytest hands fixtures over by name)
from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from tests.conftest import oid_of
from vcm.core.lock import parse_lock
from vcm.store.files import _reflink
from vcm.store.project import Project

COMMIT = "1234567890" * 4
OTHER = "abcdef0123" * 4
CONFIG = b"{}\n"
WEIGHTS = bytes(range(256)) * 16
DIGEST = hashlib.sha256(WEIGHTS).hexdigest()

# From an application's YAML

YAML = f"""\
video: {{fps: 25}}
models:
  cache_dir: null
  sources:
    - name: "LLaVA 7b"
      url: "ADDRESS/acme/frames/resolve/main/model.safetensors"
      checksum: "{DIGEST}"
      size_bytes: 4096
      algorithm: "sha256"
      optional: false
    - name: "profanity"
      url: "https://example.com/profanity.pt"
      checksum: "md5:{"ab" * 16}"
      size_bytes: 500000000
      optional: true
"""
PICKLE_NOTE = (
    "note: profanity: its file may hold Python pickles, which run code when they are loaded; to accept that, set "
    "allow-pickle = true on [models.profanity]\n"
)


@pytest.fixture
def config(project, frames, hub):
    path = project / "config.yaml"
    path.write_text(YAML.replace("ADDRESS", hub.endpoint))
    return path


def test_a_yaml_becomes_a_manifest(config, project, vcm, plain, hub):
    result = vcm("import", "config.yaml")
    assert (result.code, plain(result.out), result.err) == (
        0,
        (
            "Made TMP/project/models.toml: 2 models, 500.0 MB\n"
            " + llava-7b  HUB/acme/frames/resolve/main/model.safetensors  4.1 kB\n"
            " + profanity  https://example.com/profanity.pt  500.0 MB\n"
            "Next: vcm lock\n"
        ),
        'note: "LLaVA 7b" is called llava-7b in models.toml\n' + PICKLE_NOTE,
    )
    assert plain((project / "models.toml").read_text()) == (
        "# Made by vcm import from config.yaml; yours to edit.\n"
        "\n"
        "[project]\n"
        'name = "project"\n'
        "\n"
        "[models.llava-7b]\n"
        'url = "HUB/acme/frames/resolve/main/model.safetensors"\n'
        f'checksum = "sha256:{DIGEST}"\n'
        "size = 4096\n"
        "\n"
        "[models.profanity]\n"
        'url = "https://example.com/profanity.pt"\n'
        f'checksum = "md5:{"ab" * 16}"\n'
        "size = 500000000\n"
        "optional = true\n"
    )
    assert hub.requests == []


def test_its_models_can_be_locked_and_installed(config, project, vcm):
    config.write_text(config.read_text().partition('    - name: "profanity"')[0] + "  cache_dir: ../elsewhere\n")
    config.write_text(config.read_text().replace("  cache_dir: null\n", ""))
    assert vcm("import", config).code == 0
    assert (project / "models.toml").read_text().endswith('[cache]\ndir = "../elsewhere"\n')
    assert vcm("sync").code == 0
    assert vcm("check").out == "1 model locked and installed, unchanged\n"


def test_a_dry_run_writes_nothing(config, project, vcm, plain):
    result = vcm("import", "config.yaml", "--dry-run")
    assert plain(result.out).splitlines()[0] == "Would make TMP/project/models.toml: 2 models, 500.0 MB"
    assert "Next" not in result.out
    assert [path.name for path in project.iterdir()] == ["config.yaml"]


def test_the_document_of_a_yaml(config, vcm, plain):
    result = vcm("import", "config.yaml", "--json")
    nothing = {"version": None, "commit": None, "repo": None, "files": 1}
    assert json.loads(plain(result.out)) == {
        "models": [
            {
                **nothing,
                "name": "llava-7b",
                "url": "HUB/acme/frames/resolve/main/model.safetensors",
                "bytes": 4096,
            },
            {**nothing, "name": "profanity", "url": "https://example.com/profanity.pt", "bytes": 500_000_000},
        ]
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["import"], "error: nothing to import from\nhint: name a YAML file, or use --hf-cache\n"),
        (
            ["import", "none.yaml"],
            "error: cannot read none.yaml: no such file or directory\nhint: name the application's YAML file\n",
        ),
        (["import", "."], "error: cannot read .: is a directory\nhint: name the application's YAML file\n"),
        (
            ["import", "empty.yaml"],
            (
                'error: empty.yaml: no "models" section with "sources"\n'
                "hint: name the YAML file in which the models are listed\n"
            ),
        ),
        (
            ["import", "placeholder.yaml"],
            (
                'error: placeholder.yaml:5: models.sources[0].checksum: found "abc123..." for "llava": '
                "sha256 has 64 hex digits\n"
                "hint: put the digest there that the file's publisher gives, or one computed from a copy you trust\n"
            ),
        ),
        (
            ["--project", "none", "import", "placeholder.yaml"],
            "error: TMP/project/none: no such folder\nhint: make it first, or name another with --project\n",
        ),
        (
            ["import", "--hf-cache"],
            "error: TMP/hf-home/hub: no such folder\nhint: name the cache: vcm import --hf-cache DIR\n",
        ),
        (
            ["import", "--hf-cache", "none"],
            "error: none: no such folder\nhint: name the cache: vcm import --hf-cache DIR\n",
        ),
        (
            ["import", "--hf-cache", "."],
            (
                "error: no model of . can be imported\n"
                "hint: name another cache: vcm import --hf-cache DIR, or begin with vcm init\n"
            ),
        ),
    ],
)
def test_what_cannot_be_imported(arguments, message, project, vcm, plain, hub):
    (project / "empty.yaml").write_text("models: {}\n")
    (project / "placeholder.yaml").write_text(
        "models:\n  sources:\n  - name: llava\n    url: https://example.com/a\n    checksum: abc123...\n"
    )
    result = vcm(*arguments)
    assert (result.code, result.out, plain(result.err)) == (2, "", message)
    assert not (project / "models.toml").exists()


@pytest.mark.parametrize("arguments", [["config.yaml"], ["--hf-cache"]])
def test_what_is_there_stays(arguments, config, project, vcm, plain, hf_repo):
    hf_repo("acme/frames", {"config.json": CONFIG}, {"main": COMMIT})
    (project / "models.toml").write_text("mine")
    result = vcm("import", *arguments)
    hint = "hint: move it away, or import into another folder with --project DIR\n"
    assert (result.code, plain(result.err)) == (2, f"error: TMP/project/models.toml exists already\n{hint}")
    assert (project / "models.toml").read_text() == "mine"

    (project / "models.toml").unlink()
    (project / "models.lock").write_text("mine")
    result = vcm("import", *arguments)
    assert (project / "models.lock").read_text() == "mine"
    if arguments == ["--hf-cache"]:
        assert (result.code, plain(result.err)) == (2, f"error: TMP/project/models.lock exists already\n{hint}")


# From a Hugging Face cache


FRAMES = {"config.json": CONFIG, "model.safetensors": WEIGHTS}


def test_what_the_official_client_downloaded_is_not_downloaded_again(
    hub, frames, tmp_path, hf_cache, project, vcm, plain, cache, listing, assert_store_is_whole
):
    pytest.importorskip("huggingface_hub")
    hub.add_repo(
        "other/frames", {"a [x].json": CONFIG, "pytorch_model.bin": b"pickle", "b.onnx": b"graph"}, tags=["v2"]
    )
    script = (
        "from huggingface_hub import snapshot_download as get\n"
        "get('acme/frames'); get('other/frames', revision='v2', allow_patterns=['*.json', '*.onnx'])\n"
    )
    environment = {
        name: value for name, value in os.environ.items() if name in ("PATH", "SYSTEMROOT", "TEMP", "HF_HOME")
    } | {"HOME": str(tmp_path), "HF_ENDPOINT": hub.endpoint, "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    before = listing(hf_cache)
    hub.clear_requests()

    result = vcm("import", "--hf-cache")

    other = hub.repo("other/frames").head()[:12]
    assert (result.code, plain(result.out), result.err) == (
        0,
        (
            "Made TMP/project/models.toml and models.lock: 2 models, 4.1 kB\n"
            " + acme-frames  acme/frames  123456789012  3 files, 4.1 kB\n"
            f" + other-frames  other/frames  v2 {other}  2 files, 8 B\n"
            "Next: vcm check\n"
        ),
        "hashing 2 models, 4.1 kB\n",
    )
    assert (project / "models.toml").read_text() == (
        "# Made by vcm import from the Hugging Face cache; yours to edit.\n"
        "\n"
        "[project]\n"
        'name = "project"\n'
        "\n"
        "[models.acme-frames]\n"
        'repo = "acme/frames"\n'
        "\n"
        "[models.other-frames]\n"
        'repo = "other/frames"\n'
        'revision = "v2"\n'
    )
    assert vcm("check").out == "2 models locked and installed, unchanged\n"
    assert vcm("verify").code == 0
    assert vcm("sync", "--locked").out == "Nothing to do: 2 models installed, no network used\n"
    assert vcm("lock").out == "models.lock is up to date (2 models, no network used)\n"
    assert hub.requests == []
    assert listing(hf_cache) == before
    assert_store_is_whole()

    # What the hub says beside that, the next upgrade adds; files and commits are the same.
    offline = parse_lock((project / "models.lock").read_bytes())
    assert vcm("lock", "--upgrade").code == 0
    online = parse_lock((project / "models.lock").read_bytes())
    for mine, theirs in zip(offline.models, online.models, strict=True):
        kept = ("name", "source", "repo", "requested", "version", "ref", "commit", "format", "files")
        assert [getattr(mine, key) for key in kept] == [getattr(theirs, key) for key in kept]
    assert vcm("sync").out == "Nothing to do: 2 models installed, no network used\n"


def test_the_bytes_are_shared_and_read_only(hf_repo, vcm, cache):
    folder = hf_repo("acme/frames", FRAMES, {"main": COMMIT})
    can_reflink = _reflink(folder / "refs" / "main", folder / "probe")
    assert vcm("import", "--hf-cache").code == 0
    for blob in (folder / "blobs").iterdir():
        sha256 = hashlib.sha256(blob.read_bytes()).hexdigest()
        mine = cache / "blobs" / "sha256" / sha256
        assert mine.samefile(blob) or can_reflink
        assert mine.stat().st_mode & 0o777 == 0o444
    assert list((cache / "partial").iterdir()) == []
    # A cache with read-only files can be cleaned as any other.
    shutil.rmtree(folder)
    assert vcm("verify").code == 0


def test_a_second_project_takes_what_is_there(hf_repo, vcm, cache, tmp_path, plain):
    hf_repo("acme/frames", FRAMES, {"main": COMMIT})
    assert vcm("import", "--hf-cache").code == 0
    before = {path.name: path.stat().st_ino for path in (cache / "blobs" / "sha256").iterdir()}
    (tmp_path / "second").mkdir()
    result = vcm("--project", tmp_path / "second", "import", "--hf-cache")
    assert (result.code, plain(result.out).splitlines()[0]) == (
        0,
        "Made TMP/second/models.toml and models.lock: 1 model, 4.1 kB",
    )
    assert {path.name: path.stat().st_ino for path in (cache / "blobs" / "sha256").iterdir()} == before
    assert list((cache / "partial").iterdir()) == []


def test_a_damaged_blob_of_the_store_is_replaced(hf_repo, vcm, cache, assert_store_is_whole, tmp_path):
    hf_repo("acme/frames", FRAMES, {"main": COMMIT})
    blob = cache / "blobs" / "sha256" / DIGEST
    blob.parent.mkdir(parents=True)
    blob.write_bytes(b"x" * len(WEIGHTS))
    assert vcm("import", "--hf-cache").code == 0
    assert vcm("verify").code == 0
    assert_store_is_whole()


def test_plain_files_of_no_ref_are_locked_at_their_commit(hf_repo, hf_cache, project, vcm, plain, cache):
    hf_repo("acme/Frames.V2", {**FRAMES, "b.onnx": b"graph", "sub/[1].txt": b""}, {}, plain=True)
    shutil.move(hf_cache, project / "copied")

    result = vcm("import", "--hf-cache", "copied", "--json")

    assert json.loads(result.out) == {
        "models": [
            {
                "name": "frames.v2",
                "version": None,
                "commit": COMMIT,
                "repo": "acme/Frames.V2",
                "url": None,
                "files": 4,
                "bytes": 4104,
            }
        ]
    }
    assert (project / "models.toml").read_text().partition("\n[models.")[2] == (
        '"frames.v2"]\n'
        'repo = "acme/Frames.V2"\n'
        f'revision = "{COMMIT}"\n'
        "include = [\n"
        '    "/b.onnx",\n'
        '    "/config.json",\n'
        '    "/model.safetensors",\n'
        '    "/sub/\\\\[1].txt",\n'
        "]\n"
    )
    (model,) = parse_lock((project / "models.lock").read_bytes()).models
    assert (model.requested, model.ref, model.commit, model.format) == (COMMIT, None, COMMIT, None)
    assert [file.oid for file in model.files] == [None] * 4
    assert vcm("check").code == 0


def test_one_snapshot_of_each_repo_is_taken_and_the_rest_named(hf_repo, hf_cache, project, vcm, plain):
    hf_repo("acme/a", {"new.json": CONFIG}, {"v1": OTHER}, OTHER)
    hf_repo("acme/a", {"main.json": CONFIG}, {"main": COMMIT})
    folder = hf_repo("acme/b", {"old.json": CONFIG}, {}, COMMIT)
    hf_repo("acme/b", {"new.json": CONFIG}, {"v2": OTHER}, OTHER)
    os.utime(folder / "snapshots" / COMMIT, ns=(1, 1))
    hf_repo("acme/c", {"a.bin": b"pickle", "b.json": CONFIG}, {"main": COMMIT})
    (hf_cache / "models--acme--empty" / "refs").mkdir(parents=True)
    (hf_cache / "datasets--acme--faces").mkdir()

    result = vcm("import", "--hf-cache")

    assert (result.code, result.err) == (
        0,
        (
            "note: left out 1 of datasets and spaces: vcm is for models\n"
            "note: acme/a: took 123456789012, left out abcdef0123ab\n"
            "note: acme/b: took abcdef0123ab, left out 123456789012\n"
            "note: left out acme/empty: no snapshot of it is there\n"
            "note: c: allow-pickle = true, because some of its files may hold Python pickles, which run code when they "
            "are loaded\n"
            "hashing 3 models, 15 B\n"
        ),
    )
    models = parse_lock((project / "models.lock").read_bytes()).models
    assert [(each.name, each.requested, each.ref, each.format, each.files[0].path) for each in models] == [
        ("a", None, None, None, "main.json"),
        ("b", "v2", "v2", None, "new.json"),
        ("c", None, None, "pytorch", "a.bin"),
    ]
    assert models[2].files[1].oid == oid_of(CONFIG)
    assert vcm("check").code == 0


@pytest.mark.parametrize(
    ("path", "promised"), [("model.safetensors", f"sha256:{DIGEST}"), ("config.json", f"the git blob {oid_of(CONFIG)}")]
)
def test_bytes_that_are_not_what_their_name_says_are_not_taken(
    path, promised, hf_repo, project, vcm, plain, cache, assert_store_is_whole
):
    folder = hf_repo("acme/frames", FRAMES, {"main": COMMIT})
    hf_repo("acme/other", {"config.json": b"[]"}, {"main": COMMIT})
    damaged = (folder / "snapshots" / COMMIT / path).resolve()
    damaged.write_bytes(b"damaged")
    found = hashlib.sha256(b"damaged").hexdigest() if path == "model.safetensors" else oid_of(b"damaged")
    algorithm = "sha256:" if path == "model.safetensors" else ""

    result = vcm("import", "--hf-cache")

    assert (result.code, result.err) == (
        0,
        (
            f"hashing 2 models, {9 + (3 if path == 'model.safetensors' else 4096)} B\n"
            f"note: left out acme/frames: {path} is damaged, it should be {promised}, not {algorithm}{found}; "
            "for a good copy: vcm add frames acme/frames\n"
        ).replace("4105 B", "4.1 kB"),
    )
    assert [model.name for model in parse_lock((project / "models.lock").read_bytes()).models] == ["other"]
    assert vcm("check").code == 0
    assert_store_is_whole()
    assert damaged.stat().st_mode & 0o200, "what is not taken is left as it is"


def test_where_nothing_can_be_taken_nothing_is_written(hf_repo, project, vcm, plain):
    folder = hf_repo("acme/frames", FRAMES, {"main": COMMIT})
    (folder / "snapshots" / COMMIT / "gone.json").symlink_to("../../blobs/gone")
    result = vcm("import", "--hf-cache")
    assert (result.code, result.out, plain(result.err)) == (
        2,
        "",
        (
            "note: left out acme/frames at 123456789012: gone.json leads to no file of the cache\n"
            "error: no model of TMP/hf-home/hub can be imported\n"
            "hint: name another cache: vcm import --hf-cache DIR, or begin with vcm init\n"
        ),
    )
    assert list(project.iterdir()) == []


def test_where_the_first_choice_is_broken_the_next_is_taken(hf_repo, project, vcm):
    folder = hf_repo("acme/frames", FRAMES, {"main": COMMIT})
    hf_repo("acme/frames", {"config.json": b"[]"}, {"v1": OTHER}, OTHER)
    (folder / "snapshots" / COMMIT / "gone.json").symlink_to("../../blobs/gone")
    result = vcm("import", "--hf-cache")
    assert (result.code, result.err) == (
        0,
        ("note: left out acme/frames at 123456789012: gone.json leads to no file of the cache\nhashing 1 model, 2 B\n"),
    )
    (model,) = parse_lock((project / "models.lock").read_bytes()).models
    assert (model.commit, model.ref) == (OTHER, "v1")


INDEX = b'{"weight_map": {"a": "model-00001-of-00003.safetensors", "b": "model-00002-of-00003.safetensors"}}'


@pytest.mark.parametrize("more", [{}, {"model.safetensors.index.json": INDEX}])
def test_a_download_that_was_broken_off_is_no_model(more, hf_repo, project, vcm):
    hf_repo("acme/frames", {"model-00001-of-00003.safetensors": WEIGHTS, **more}, {"main": COMMIT})
    hf_repo("acme/frames", FRAMES, {"v1": OTHER}, OTHER)
    result = vcm("import", "--hf-cache")
    assert (result.code, result.err) == (
        0,
        (
            "note: left out acme/frames at 123456789012: the cache lacks model-00002-of-00003.safetensors, named by "
            "model-00001-of-00003.safetensors; and 1 more\nhashing 1 model, 4.1 kB\n"
        ),
    )
    (model,) = parse_lock((project / "models.lock").read_bytes()).models
    assert (model.commit, model.ref) == (OTHER, "v1")


def test_one_file_of_many_stays_one_file(hub, hf_repo, project, vcm):
    files = {"m-Q4_K_M.gguf": b"4" * 50, "m-Q8_0.gguf": b"8" * 90, "README.md": b"# m\n"}
    variants = hub.add_repo("acme/variants", files)
    tokenizer = hub.add_repo("acme/words", {"tokenizer.json": b"{}", "model.safetensors": WEIGHTS})
    hf_repo("acme/variants", {"m-Q4_K_M.gguf": b"4" * 50}, {"main": variants.head()}, variants.head())
    hf_repo("acme/words", {"tokenizer.json": b"{}"}, {"main": tokenizer.head()}, tokenizer.head())
    assert vcm("import", "--hf-cache").code == 0
    assert vcm("lock", "--upgrade").code == 0
    models = parse_lock((project / "models.lock").read_bytes()).models
    assert [[file.path for file in model.files] for model in models] == [["m-Q4_K_M.gguf"], ["tokenizer.json"]]
    assert vcm("sync").out == "Nothing to do: 2 models installed, no network used\n"


def test_a_dry_run_only_looks(hf_repo, hf_cache, project, vcm, plain, cache):
    hf_repo("acme/frames", FRAMES, {"main": COMMIT})
    result = vcm("import", "--hf-cache", "--dry-run")
    assert (result.code, plain(result.out), result.err) == (
        0,
        (
            "Would make TMP/project/models.toml and models.lock: 1 model, 4.1 kB\n"
            " + frames  acme/frames  123456789012  2 files, 4.1 kB\n"
        ),
        "",
    )
    assert list(project.iterdir()) == []
    assert not cache.exists()
    assert all(blob.stat().st_mode & 0o200 for blob in hf_cache.glob("*/blobs/*"))


def test_a_cache_on_another_file_system_is_copied_if_there_is_room(hf_repo, vcm, tmpfs, plain, project):
    folder = hf_repo("acme/frames", {**FRAMES, "model.safetensors": b"x" * 600_000}, {"main": COMMIT})
    small = tmpfs("size=256k")
    result = vcm("--cache-dir", small, "import", "--hf-cache")
    assert (result.code, result.out) == (5, "")
    assert plain(result.err).startswith(
        "error: the Hugging Face cache is on another file system, so that 600.0 kB must be copied to TMP/tmpfs0; "
    )
    assert result.err.endswith(
        "hint: free some space, or choose a folder beside the Hugging Face cache with --cache-dir\n"
    )
    assert list(project.iterdir()) == []

    large = tmpfs("size=8m")
    assert vcm("--cache-dir", large, "import", "--hf-cache").code == 0
    assert vcm("--cache-dir", large, "verify").code == 0
    # A copy has an inode of its own, so the cache's files stay as they were.
    assert all(blob.stat().st_mode & 0o200 for blob in (folder / "blobs").iterdir())


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() != 0, reason="only root can give files away")
def test_files_of_another_user_are_copied(hf_repo, vcm, cache):
    folder = hf_repo("acme/frames", FRAMES, {"main": COMMIT})
    for blob in (folder / "blobs").iterdir():
        os.chown(blob, 12345, 12345)
    assert vcm("import", "--hf-cache").code == 0
    for blob in (folder / "blobs").iterdir():
        mine = cache / "blobs" / "sha256" / hashlib.sha256(blob.read_bytes()).hexdigest()
        assert not mine.samefile(blob)
        assert blob.stat().st_mode & 0o200


def test_manifest_and_lock_come_together_or_not_at_all(hf_repo, project, vcm, monkeypatch):
    hf_repo("acme/frames", FRAMES, {"main": COMMIT})

    def interrupted(*_: object) -> bool:
        assert (project / "models.lock").exists()
        raise KeyboardInterrupt

    monkeypatch.setattr(Project, "write_manifest", interrupted)
    assert vcm("import", "--hf-cache").code == 130
    assert list(project.iterdir()) == []


def test_what_a_killed_import_has_left_is_gone_on_with(hf_repo, project, vcm, plain):
    hf_repo("acme/frames", FRAMES, {"main": COMMIT})
    assert vcm("import", "--hf-cache").code == 0
    # The lock comes first. A manifest alone would be locked anew, at what the hub has by then.
    (project / "models.toml").unlink()
    assert vcm("import", "--hf-cache").code == 0
    assert vcm("check").code == 0


def test_a_lock_of_something_else_stays(hf_repo, project, vcm, plain):
    hf_repo("acme/frames", FRAMES, {"main": COMMIT})
    assert vcm("import", "--hf-cache").code == 0
    (project / "models.toml").unlink()
    before = (project / "models.lock").read_bytes()
    hf_repo("acme/more", FRAMES, {"main": COMMIT})
    result = vcm("import", "--hf-cache")
    assert result.code == 2
    assert plain(result.err).endswith(
        "error: TMP/project/models.lock exists already\n"
        "hint: move it away, or import into another folder with --project DIR\n"
    )
    assert (project / "models.lock").read_bytes() == before
    assert not (project / "models.toml").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="signals are another matter there")
def test_ctrl_c_while_hashing(hf_repo, hf_cache, vcm_process, project, cache, vcm):
    folder = hf_repo("acme/frames", FRAMES, {"main": COMMIT})
    with (folder / "snapshots" / COMMIT / "large.gguf").open("wb") as stream:
        stream.truncate(1 << 34)  # 17 GB that take no room
    process = vcm_process("import", "--hf-cache")
    deadline = time.monotonic() + 30
    while not list((cache / "partial").glob("adopted-*")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out) == (130, "")
    assert err.endswith("interrupted; what was downloaded is kept for the next run\n")
    assert list(project.iterdir()) == []
    assert list((cache / "partial").iterdir()) == []
    assert all(path.stat().st_mode & 0o200 for path in hf_cache.rglob("large.gguf"))
