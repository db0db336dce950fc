"""What each kind of mirror is asked, and what it is not told."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.mirrors.conftest import DATA, DIGEST, mirror_at
from vcm.core.lock import LockedFile, LockedModel
from vcm.core.mirrors import Mirror
from vcm.errors import AUTHENTICATION_ERROR, ModelNotFoundError, RegistryError
from vcm.http.faults import NetworkFaultError, UnreachableError
from vcm.install.source import OtherFileError
from vcm.mirrors.folder import FolderPlace
from vcm.mirrors.opening import open_mirror, open_mirrors
from vcm.mirrors.registry import RegistryPlace
from vcm.mirrors.web import WebPlace
from vcm.settings import Settings
from vcm.store.blobs import BlobStore

COMMIT = "3f" * 20
FILE = LockedFile("sub/model 1.safetensors", len(DATA), DIGEST)
MODEL = LockedModel(name="m", source="huggingface", repo="Acme/M_x", commit=COMMIT, files=(FILE,))
DIRECT = LockedModel(name="d", source="url", url="https://example.org/m.onnx", files=(FILE,))


@pytest.fixture
def settings(tmp_path):
    return Settings(cache_dir=tmp_path / "cache")


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://rack:8080", f"http://rack:8080/blobs/sha256/{DIGEST}"),
        ("http://rack:8080/store/", f"http://rack:8080/store/blobs/sha256/{DIGEST}"),
        ("https://b.corp/{sha256}?size={size}", f"https://b.corp/{DIGEST}?size=300000"),
        (
            "https://b.corp/{repo}/{commit}/{path}",
            f"https://b.corp/Acme/M_x/{COMMIT}/sub/model%201.safetensors",
        ),
        ("oci://registry.corp/models/{repo}", f"https://registry.corp/v2/models/acme/m_x/blobs/sha256:{DIGEST}"),
        ("oci+http://registry.corp/models", f"http://registry.corp/v2/models/blobs/sha256:{DIGEST}"),
        ("file:///mnt/my%20models", f"/mnt/my models/blobs/sha256/{DIGEST}"),
        ("file:///mnt/{repo}/{path}", "/mnt/Acme/M_x/sub/model 1.safetensors"),
    ],
)
def test_where_a_file_is_asked_for(settings, url, expected):
    place = open_mirror(settings, mirror_at("rack", url)).find(MODEL, FILE)
    assert place is not None
    assert (place.url, place.mirror, place.name) == (expected, "rack", "mirror rack")


@pytest.mark.parametrize("url", ["https://b.corp/{commit}/{path}", "file:///mnt/{commit}/{path}"])
def test_an_address_that_names_what_the_file_has_not_got(settings, url):
    assert open_mirror(settings, Mirror(name="rack", url=url)).find(DIRECT, FILE) is None


def test_offline_only_folders_are_asked(tmp_path):
    mirrors = [Mirror(name=name, url=url) for name, url in (("a", "http://a"), ("b", "oci://b/m"), ("c", "file:///c"))]
    opened = open_mirrors(Settings(cache_dir=tmp_path, offline=True, mirrors=tuple(mirrors)))
    assert [each.mirror for each in opened] == ["c"]
    opened = open_mirrors(Settings(cache_dir=tmp_path, mirrors=tuple(mirrors)))
    assert [each.mirror for each in opened] == ["a", "b", "c"]


# Headers


def found(settings: Settings, mirror: Mirror) -> WebPlace:
    place = open_mirror(settings, mirror).find(MODEL, FILE)
    assert isinstance(place, WebPlace)
    return place


def test_headers_hold_fields_and_stay_at_home(settings, loopback, http_answer):
    other = loopback(http_answer(body=DATA))
    home = loopback(http_answer(302, {"Location": f"{other.url}/x"}))
    headers = {"Authorization": "Bearer secret", "X-Task": "{repo}-{sha256}"}
    place = found(settings, mirror_at("rack", home.url, headers=headers))
    with place.request("GET", {"Range": "bytes=5-"}) as answer:
        assert answer.status == 200
        assert answer.url == f"{other.url}/x"
    with place.request("HEAD", url=answer.url):
        pass
    (asked,) = home.asked
    assert (asked.headers["authorization"], asked.headers["x-task"]) == ("Bearer secret", f"Acme/M_x-{DIGEST}")
    assert asked.headers["accept-encoding"] == "identity"
    assert [each.method for each in other.asked] == ["GET", "HEAD"]
    assert other.asked[0].headers["range"] == "bytes=5-"
    assert not [each for each in other.asked if {"authorization", "x-task"} & each.headers.keys()]


def test_a_redirect_at_home_keeps_the_headers(settings, loopback, http_answer):
    def answer(connection, asked):
        moved = http_answer(307, {"Location": "/there"})
        connection.sendall(http_answer(body=b"x") if asked.target == "/there" else moved)

    home = loopback(answer)
    with found(settings, mirror_at("rack", home.url, headers={"X-Key": "k"})).request("GET") as response:
        assert response.status == 200
    assert [each.headers["x-key"] for each in home.asked] == ["k", "k"]


def test_a_mirror_may_have_its_own_proxy(settings, loopback, http_answer):
    proxy = loopback(http_answer(body=b"x"))
    place = found(settings, mirror_at("p2p", "http://bucket.corp/v", proxy=proxy.url))
    with place.request("GET") as answer:
        assert answer.status == 200
    assert [each.target for each in proxy.asked] == [f"http://bucket.corp/v/blobs/sha256/{DIGEST}"]


# Refusals


def refusal(settings: Settings, url: str) -> RegistryError | None:
    place = open_mirror(settings, mirror_at("rack", url)).find(MODEL, FILE)
    assert isinstance(place, WebPlace | RegistryPlace)
    with place.request("GET") as answer:
        return place.refusal(answer)


@pytest.mark.parametrize(
    ("status", "headers", "expected"),
    [
        (404, {}, (ModelNotFoundError, "does not have it (status 404)", None)),
        (410, {}, (ModelNotFoundError, "does not have it (status 410)", None)),
        (403, {}, (ModelNotFoundError, "does not have it (status 403)", None)),
        (401, {}, (RegistryError, "access denied (status 401)", None)),
        (429, {"Retry-After": "7"}, (NetworkFaultError, "too many requests", 7.0)),
        (429, {}, (NetworkFaultError, "too many requests", 2.0)),
        (503, {"Retry-After": "0"}, (NetworkFaultError, "answers 503", 0.0)),
        (408, {}, (NetworkFaultError, "answers 408", None)),
        (500, {}, (NetworkFaultError, "answers 500", None)),
        (400, {}, (RegistryError, "answers 400", None)),
        (304, {}, (RegistryError, "answers 304", None)),
        (200, {"Content-Encoding": "gzip"}, (RegistryError, "sends it compressed, which nobody asked for", None)),
    ],
)
def test_what_a_refusal_means(settings, loopback, http_answer, status, headers, expected):
    error = refusal(settings, loopback(http_answer(status, headers)).url)
    assert error is not None
    assert (type(error), error.message, error.retry_after) == expected
    assert (error.error_code == AUTHENTICATION_ERROR) == (status == 401)


@pytest.mark.parametrize("status", [200, 206])
def test_what_is_no_refusal(settings, loopback, http_answer, status):
    assert refusal(settings, loopback(http_answer(status, {"Content-Encoding": "identity"}, b"x")).url) is None


def test_a_registry_says_403_of_what_it_does_not_give_us(settings, loopback, http_answer):
    server = loopback(http_answer(403))
    with pytest.raises(RegistryError) as caught:
        refusal(settings, f"oci://127.0.0.1:{server.port}/models")
    assert caught.value.error_code == AUTHENTICATION_ERROR


def test_a_registry_is_told_of_the_file_and_nobody_else_is(settings, loopback, http_answer):
    bucket = loopback(http_answer(206, body=b"x"))
    server = loopback(http_answer(307, {"Location": f"{bucket.url}/signed"}))
    headers = {"X-Task": "{sha256}", "X-Key": "k"}
    url = f"oci://127.0.0.1:{server.port}/models"
    place = open_mirror(settings, mirror_at("r", url, headers=headers)).find(MODEL, FILE)
    assert isinstance(place, RegistryPlace)
    with place.request("GET", {"Range": "bytes=0-"}) as answer:
        assert answer.status == 206
    with place.request("GET", url=answer.url):
        pass
    (asked,) = server.asked
    assert (asked.headers["x-task"], asked.headers["x-key"]) == (DIGEST, "k")
    assert [each.target for each in bucket.asked] == ["/signed", "/signed"]
    assert not [each for each in bucket.asked if {"x-task", "x-key", "authorization"} & each.headers.keys()]


@pytest.mark.parametrize("scheme", ["http", "oci"])
def test_a_mirror_may_be_silent_for_as_long_as_its_timeout_says(settings, loopback, http_answer, scheme):
    def answer(connection, asked):
        server.stopping.wait(0.4)
        connection.sendall(http_answer(body=DATA))

    server = loopback(answer)
    impatient = Mirror(name="rack", url=f"{scheme}://127.0.0.1:{server.port}/{{repo}}", timeout=0.1)
    place = open_mirror(settings, impatient).find(MODEL, FILE)
    assert isinstance(place, WebPlace | RegistryPlace)
    with pytest.raises(NetworkFaultError, match="no byte came for too long") as caught, place.request("GET"):
        pass
    assert caught.value.hint == "check the network, HTTPS_PROXY and the url of mirror rack"
    place = open_mirror(settings, replace(impatient, timeout=5.0)).find(MODEL, FILE)
    assert isinstance(place, WebPlace | RegistryPlace)
    with place.request("GET") as response:
        assert response.status == 200


def test_a_registrys_signed_address_that_has_expired_is_asked_for_anew(settings, loopback, http_answer):
    bucket = loopback(http_answer(403))
    server = loopback(http_answer(307, {"Location": f"{bucket.url}/signed"}))
    error = refusal(settings, f"oci://127.0.0.1:{server.port}/models")
    assert isinstance(error, NetworkFaultError)
    assert error.message == "the signed download address was refused"


# Folders


@pytest.fixture
def layout(tmp_path) -> Path:
    """A folder with the file's blob, as a store has it."""
    blobs = BlobStore(tmp_path / "layout")
    blobs.prepare()
    path = blobs.path(DIGEST)
    path.write_bytes(DATA)
    path.chmod(0o444)
    return path


@pytest.fixture
def place(settings, layout) -> Callable[[], FolderPlace]:
    def find() -> FolderPlace:
        found = open_mirror(settings, mirror_at("nfs", layout.parents[2].as_uri())).find(MODEL, FILE)
        assert isinstance(found, FolderPlace)
        return found

    return find


def taken(place: FolderPlace, folder: Path) -> Path:
    blobs, counts = BlobStore(folder), list[int]()
    blobs.prepare()
    place.take(blobs, counts.append)
    assert sum(counts) == len(DATA)
    path = blobs.path(DIGEST)
    assert path.read_bytes() == DATA
    assert path.stat().st_mode & 0o777 == 0o444
    assert list(blobs.partial_folder.iterdir()) == []
    return path


def test_a_blob_of_another_store_becomes_one_file_with_ours(place, layout, cache):
    assert place().check() == layout
    ours = taken(place(), cache)
    # A reflink, where the file system has them, is a file of its own.
    assert ours.stat().st_nlink in (1, 2)
    assert layout.stat().st_nlink == ours.stat().st_nlink
    layout.unlink()
    assert ours.read_bytes() == DATA


@pytest.mark.parametrize("mode", [0o644, 0o464, 0o446])
def test_what_somebody_may_write_into_is_copied(place, layout, cache, mode):
    layout.chmod(mode)
    assert taken(place(), cache).stat().st_ino != layout.stat().st_ino
    assert layout.stat().st_mode & 0o777 == mode, "it is left as it is"


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root gives files away")
def test_what_is_another_users_is_copied(place, layout, cache):
    os.chown(layout, 12345, -1)
    assert taken(place(), cache).stat().st_ino != layout.stat().st_ino


def test_a_link_is_followed_to_its_file(place, layout, cache, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    layout.rename(elsewhere)
    layout.symlink_to(elsewhere)
    assert taken(place(), cache).stat().st_mode & 0o222 == 0


def test_what_is_not_there(place, layout, cache):
    layout.unlink()
    with pytest.raises(ModelNotFoundError, match=r"^does not have it"):
        taken(place(), cache)
    layout.mkdir()
    with pytest.raises(ModelNotFoundError, match=r"^does not have it: what stands there is no file"):
        taken(place(), cache)
    layout.rmdir()
    os.mkfifo(layout)
    with pytest.raises(ModelNotFoundError, match="what stands there is no file"):
        taken(place(), cache)


def test_a_folder_that_is_not_mounted(place, layout, cache):
    root = layout.parents[2]
    root.rename(root.with_name("unmounted"))
    with pytest.raises(UnreachableError) as caught:
        taken(place(), cache)
    assert str(caught.value) == f"{root / 'blobs' / 'sha256'}: no such folder"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (DATA[:-1], "wrong bytes: expected 300000 bytes, got 299999 bytes"),
        (DATA[:-1] + b"x", f"wrong bytes: expected sha256:{DIGEST}, got other bytes of that size"),
    ],
)
def test_another_file_in_its_place(place, layout, cache, data, message):
    layout.chmod(0o644)
    layout.write_bytes(data)
    layout.chmod(0o444)
    with pytest.raises(OtherFileError) as caught:
        taken(place(), cache)
    assert caught.value.message == message
    assert list((cache / "blobs" / "sha256").iterdir()) == []
    assert list((cache / "partial").iterdir()) == []
