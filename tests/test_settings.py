"""What the environment, the user's own configuration and models.toml say together."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import vcm as package
from tests.conftest import TOKEN
from tests.test_startup import NEVER, NOT_FOR_A_GATE, imported
from vcm.core.mirrors import Mirror
from vcm.core.notices import Notice
from vcm.errors import ConfigError
from vcm.settings import DEFAULT_ENDPOINT, hub_endpoint, read_settings, user_configuration_path
from vcm.store.notices import write_notices

MODEL = '[models.frames]\nrepo = "acme/frames"\n'
RACK = '[[mirror]]\nname = "rack"\nurl = "http://mirror.rack"\n'


@pytest.fixture
def own(tmp_path: Path) -> Callable[[str], Path]:
    """Writes the user's own configuration."""
    path = tmp_path / "config" / "vcm" / "config.toml"

    def write(text: str) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    return write


def of_project(name: str, host: str) -> Mirror:
    return Mirror(name=name, url=f"http://{host}/blobs/sha256/{{sha256}}", named_in="models.toml")


@pytest.mark.parametrize(
    "environ",
    [
        {"HOME": "/home/someone"},
        {"HOME": "/home/someone/"},
        {"HOME": "relative"},
        {"HOME": ""},
        {},
        {"HOME": "/home/someone", "XDG_CONFIG_HOME": "/elsewhere"},
        {"HOME": "/home/someone", "XDG_CONFIG_HOME": ""},
        {"HOME": "/home/someone", "XDG_CONFIG_HOME": "relative"},
    ],
)
def test_the_users_own_configuration_is_where_platformdirs_says(environ, monkeypatch):
    import platformdirs

    for name in ("HOME", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    expected = os.path.normpath(platformdirs.user_config_dir("vcm", appauthor=False))
    assert str(user_configuration_path()) == os.path.join(expected, "config.toml")  # noqa: PTH118


def test_without_any_mirror_the_hub_alone_is_asked():
    settings = read_settings()
    assert (settings.mirrors, settings.fallback) == ((), True)


def test_the_users_mirrors_come_before_those_of_the_project(own):
    path = own(RACK + '[[mirror]]\nname = "hall"\nurl = "http://mirror.hall"\n')
    same_address, others = of_project("other", "mirror.hall"), of_project("site", "mirror.site")
    settings = read_settings(manifest_mirrors=(of_project("rack", "evil"), same_address, others))
    assert [(each.name, each.url, each.named_in) for each in settings.mirrors] == [
        ("rack", "http://mirror.rack/blobs/sha256/{sha256}", str(path)),
        ("hall", "http://mirror.hall/blobs/sha256/{sha256}", str(path)),
        ("site", "http://mirror.site/blobs/sha256/{sha256}", "models.toml"),
    ]


def test_the_variable_replaces_the_mirrors_of_both_files(own, monkeypatch):
    own(RACK)
    site = of_project("site", "mirror.site")
    monkeypatch.setenv("VCM_MIRRORS", " ")
    assert [each.name for each in read_settings(manifest_mirrors=(site,)).mirrors] == ["rack", "site"]
    monkeypatch.setenv("VCM_MIRRORS", "here=file:///mnt/store")
    (mirror,) = read_settings(manifest_mirrors=(site,)).mirrors
    assert (mirror.name, mirror.url) == ("here", "file:///mnt/store/blobs/sha256/{sha256}")


@pytest.mark.parametrize(
    ("users", "manifests", "fallback"), [("true", True, True), ("false", True, False), ("true", False, False)]
)
def test_either_file_may_forbid_the_origin(own, users, manifests, fallback):
    own(f"[origin]\nfallback = {users}\n")
    assert read_settings(manifest_fallback=manifests).fallback is fallback


def test_the_users_own_endpoint_is_one_of_four_and_gets_the_token(own, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)

    def found(manifest: str | None = None) -> tuple[str, bool, str | None]:
        settings = read_settings(manifest_endpoint=manifest)
        assert hub_endpoint(manifest) == settings.endpoint
        return settings.endpoint, settings.token is not None, settings.withheld_token

    assert found() == (DEFAULT_ENDPOINT, True, None)
    own('[hub]\nendpoint = "https://hub.corp/"\n')
    assert found() == ("https://hub.corp", True, None)
    assert found("https://hub.other") == ("https://hub.other", False, "HF_TOKEN")
    assert found("https://hub.corp") == ("https://hub.corp", True, None)
    monkeypatch.setenv("HF_ENDPOINT", "https://hub.here")
    assert found("https://hub.corp") == ("https://hub.here", True, None)


def test_a_configuration_that_cannot_be_read(own, tmp_path):
    path = own("mirror = 1\n")

    def refusal() -> tuple[str, str]:
        with pytest.raises(ConfigError) as caught:
            read_settings()
        return caught.value.message, caught.value.hint

    check = "check that it is a file you may read, or remove it"
    assert refusal() == (f"{path}:1: mirror: expected an array, found 1", f"mend it in {path}")
    path.write_bytes(b"#" * (1 << 20) + b"\n")
    assert refusal() == (f"cannot read {path}: no regular file of at most 1.0 MB", check)
    path.unlink()
    os.mkfifo(path)
    assert refusal() == (f"cannot read {path}: no regular file of at most 1.0 MB", check)
    path.unlink()
    path.symlink_to(path)
    assert refusal() == (f"cannot read {path}: too many levels of symbolic links", check)
    path.unlink()
    path.parent.rmdir()
    path.parent.write_text("no folder")
    assert read_settings().mirrors == ()


def test_no_password_of_a_mirror_is_shown(own, monkeypatch):
    own('[[mirror]]\nname = "rack"\nurl = "http://me:hunter2@m"\nproxy = "http://me:hunter2@p"\n')
    settings = read_settings()
    assert settings.mirrors[0].headers == {"Authorization": "Basic bWU6aHVudGVyMg=="}
    assert "hunter2" not in repr(settings)
    assert "bWU6" not in repr(settings)


@pytest.fixture
def installed(hub, manifest, vcm):
    hub.add_repo("acme/frames", {"config.json": b"{}\n", "model.safetensors": b"w" * 256})
    path = manifest(MODEL)
    assert vcm("sync").code == 0
    # As if it was named meanwhile: the lock fits as before.
    path.write_text(RACK + MODEL)


def test_a_gate_neither_needs_the_users_configuration_nor_more_modules_for_mirrors(installed, own, vcm):
    path = own("broken\n")
    assert list(package.gate()) == ["frames"]
    assert vcm("check").code == 0
    assert not imported("-c", "import vcm; vcm.gate()") & NOT_FOR_A_GATE
    result = vcm("sync")
    assert result.code == 2
    assert result.err.startswith(f"error: {path}:1: not TOML: ")


def test_a_sync_with_nothing_to_do_asks_no_mirror(installed, own):
    own('[[mirror]]\nname = "hall"\nurl = "http://mirror.hall"\n')
    modules = imported("-m", "vcm", "sync")
    assert modules & NEVER == set()
    assert "vcm.core.mirror_config" in modules
    assert not {name for name in modules if name.startswith(("vcm.mirrors", "vcm.oci", "vcm.http"))}


def test_a_gate_says_what_the_users_own_hub_said(installed, own, vcm, cache, monkeypatch):
    commit = next(line for line in Path("models.lock").read_text().splitlines() if line.startswith("commit"))
    known = {("acme/frames", commit.partition('"')[2].rstrip('"')): (Notice("deprecated", "is deprecated"),)}
    write_notices(cache, "https://hub.corp", known)
    monkeypatch.delenv("HF_ENDPOINT")
    assert vcm("check").err == ""
    own('[hub]\nendpoint = "https://hub.corp"\n')
    assert vcm("check").err == "note: frames: is deprecated\n"
    own("broken")
    assert (vcm("check").code, vcm("check").err) == (0, "")


@pytest.mark.skipif(sys.platform == "win32", reason="users have homes there")
def test_a_user_without_a_home(monkeypatch, tmp_path):
    def unknown(_):
        raise KeyError

    for name in ("HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "VCM_CACHE_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", unknown)
    assert user_configuration_path() is None
    assert read_settings(cache_dir=tmp_path).mirrors == ()
    with pytest.raises(ConfigError) as caught:
        read_settings()
    assert str(caught.value) == "this user has no home, so nobody knows where the store is"
    assert caught.value.hint == "set VCM_CACHE_DIR, or HOME"
