"""A served store, asked over real connections: files, ranges, refusals, strangers, and a store that changes."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import oid_of
from tests.serve.conftest import COMMIT, FILES, WEIGHTS, Served, put

CONFIG = "/acme/tiny/resolve/main/config.json"
LARGE = "/acme/tiny/resolve/main/model.safetensors"
SHA256 = hashlib.sha256(WEIGHTS).hexdigest()

pytestmark = pytest.mark.usefixtures("installed")


def told(served: Served, path: str) -> Any:
    answer = served.ask(path)
    assert answer.status == 200, answer
    return json.loads(answer.body)


@pytest.mark.parametrize("revision", ["main", "v1.0", COMMIT])
def test_every_file_by_every_revision(served: Served, revision: str) -> None:
    for path, data in FILES.items():
        answer = served.ask(f"/acme/tiny/resolve/{revision}/{path.replace(' ', '%20').replace('#', '%23')}")
        etag = SHA256 if path == "model.safetensors" else oid_of(data)
        assert (answer.status, answer.body) == (200, data)
        assert (answer.headers["etag"], answer.headers["x-repo-commit"]) == (f'"{etag}"', COMMIT)
        assert answer.headers.get("x-linked-etag") == (f'"{SHA256}"' if etag == SHA256 else None)
        assert answer.headers.get("x-linked-size") == (str(len(data)) if etag == SHA256 else None)


def test_what_a_head_tells_is_what_a_get_tells(served: Served) -> None:
    head, get = served.ask(LARGE, "HEAD"), served.ask(LARGE)
    assert head.body == b""
    assert {**head.headers, "date": ""} == {**get.headers, "date": ""}
    assert head.headers["content-length"] == str(len(WEIGHTS))


def test_ranges(served: Served) -> None:
    answer = served.ask(LARGE, headers={"Range": "bytes=1000-1999"})
    assert (answer.status, answer.body) == (206, WEIGHTS[1000:2000])
    assert answer.headers["content-range"] == f"bytes 1000-1999/{len(WEIGHTS)}"
    answer = served.ask(LARGE, headers={"Range": "bytes=-10", "If-Range": f'"{SHA256}"'})
    assert (answer.status, answer.body) == (206, WEIGHTS[-10:])
    answer = served.ask(LARGE, headers={"Range": "bytes=-10", "If-Range": '"other"'})
    assert (answer.status, answer.body) == (200, WEIGHTS)
    answer = served.ask(LARGE, headers={"Range": f"bytes={len(WEIGHTS)}-"})
    assert (answer.status, answer.headers["content-range"]) == (416, f"bytes */{len(WEIGHTS)}")
    assert served.ask("/acme/tiny/resolve/main/empty.txt", headers={"Range": "bytes=0-"}).status == 416


def test_what_a_client_has_is_not_sent_again(served: Served) -> None:
    answer = served.ask(LARGE, headers={"If-None-Match": f'"{SHA256}"'})
    assert (answer.status, answer.body) == (304, b"")
    listing = served.ask("/api/models/acme/tiny")
    again = served.ask("/api/models/acme/tiny", headers={"If-None-Match": listing.headers["etag"]})
    assert (again.status, again.body) == (304, b"")


def test_the_api(served: Served) -> None:
    info = told(served, "/api/models/acme/tiny/revision/v1.0")
    assert (info["id"], info["sha"], info["tags"]) == ("acme/tiny", COMMIT, ["license:mit"])
    assert info["siblings"] == [{"rfilename": path} for path in sorted(FILES)]
    assert told(served, "/api/models/acme/tiny") == info
    assert [each["path"] for each in told(served, "/api/models/acme/tiny/tree/main")] == [
        "README.md",
        "config.json",
        "empty.txt",
        "model.safetensors",
        "onnx",
    ]
    assert [each["path"] for each in told(served, "/api/models/acme/tiny/tree/main/onnx%2Fdeep")] == [
        "onnx/deep/notes #1.txt"
    ]
    refs = told(served, "/api/models/acme/tiny/refs")
    assert refs["branches"] == [{"name": "main", "ref": "refs/heads/main", "targetCommit": COMMIT}]
    assert refs["tags"] == [{"name": "v1.0", "ref": "refs/tags/v1.0", "targetCommit": COMMIT}]
    assert [each["id"] for each in told(served, "/api/models?search=TIN&author=acme&limit=5")] == ["acme/tiny"]
    assert told(served, "/api/models?search=none") == told(served, "/api/models?limit=0") == []
    assert served.ask("/api/models/acme/tiny/auth-check").body == b"OK"


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/acme/none/resolve/main/config.json", 404, "RepoNotFound"),
        ("/api/models/acme/none", 404, "RepoNotFound"),
        ("/api/datasets/acme/tiny", 404, None),
        ("/acme/tiny/resolve/v2/config.json", 404, "RevisionNotFound"),
        (f"/acme/tiny/resolve/{COMMIT[:12]}/config.json", 404, "RevisionNotFound"),
        ("/api/models/acme/tiny/revision/v2", 404, "RevisionNotFound"),
        ("/acme/tiny/resolve/main/none.json", 404, "EntryNotFound"),
        ("/acme/tiny/resolve/main/../../../../../etc/passwd", 404, "EntryNotFound"),
        ("/acme/tiny/resolve/main/onnx%2F..%2Fconfig.json", 404, "EntryNotFound"),
        ("/acme/tiny/resolve/main/config.json%00", 404, "EntryNotFound"),
        ("/api/models/acme/tiny/tree/main/none", 404, "EntryNotFound"),
        ("/acme/tiny/blob/main/config.json", 404, None),
        ("/acme/tiny", 404, None),
        ("/api/models/acme/tiny/commits/main", 404, None),
        ("/blobs/sha256/" + "0" * 64, 404, None),
        ("/blobs/sha256/..%2f..%2fregistry.json", 404, None),
        ("/registry.json", 404, "RepoNotFound"),
        ("/api/whoami-v2", 401, None),
        ("/%ff", 400, None),
    ],
)
def test_what_is_not_there(served: Served, path: str, status: int, code: str | None) -> None:
    answer = served.ask(path)
    assert (answer.status, answer.headers.get("x-error-code")) == (status, code)
    assert json.loads(answer.body) == {"error": answer.headers["x-error-message"]}
    # No client shall note in its cache that a commit lacks a file that is only not installed here.
    assert "x-repo-commit" not in answer.headers


def test_it_is_read_only(served: Served) -> None:
    for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS"):
        answer = served.ask("/api/models/acme/tiny", method, body=b"x" * 3000)
        assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD")


def test_many_paths_in_one_question(served: Served) -> None:
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    where = "/api/models/acme/tiny/paths-info/main"
    answer = served.ask(where, "POST", form, b"paths=config.json&paths=none&paths=onnx&expand=False")
    assert [(each["path"], each["type"]) for each in json.loads(answer.body)] == [
        ("config.json", "file"),
        ("onnx", "directory"),
    ]
    answer = served.ask(where, "POST", {"Content-Type": "application/json"}, b'{"paths": ["model.safetensors"]}')
    assert json.loads(answer.body)[0]["lfs"]["oid"] == SHA256
    for body in (b"{", b"[]", b'{"paths": 3}', b"[" * 100_000, b"\xff"):
        assert served.ask(where, "POST", {"Content-Type": "application/json"}, body).status == 400
    assert served.ask(where, "POST", form, b"paths=a&" * 2001).status == 400
    assert served.ask(where, "POST", {**form, "Content-Length": str(1 << 40)}).status == 413
    assert served.ask(where, "POST", {**form, "Transfer-Encoding": "chunked"}).status == 411


def test_it_is_an_oci_image_layout(served: Served, cache: Path) -> None:
    assert served.ask("/oci-layout").body == (cache / "oci-layout").read_bytes()
    index = served.ask("/index.json")
    assert index.body == (cache / "index.json").read_bytes()
    (row,) = json.loads(index.body)["manifests"]
    manifest = json.loads(served.ask(f"/blobs/{row['digest'].replace(':', '/')}").body)
    for each in (manifest["config"], *manifest["layers"]):
        data = served.ask(f"/blobs/{each['digest'].replace(':', '/')}").body
        assert (len(data), hashlib.sha256(data).hexdigest()) == (each["size"], each["digest"][7:])


class TestStrangers:
    @pytest.mark.parametrize(
        ("data", "status"),
        [
            (b"nonsense\r\n\r\n", 400),
            (b"\x16\x03\x01\x02\r\n\r\n", 400),
            (b"GET / HTTP/1.1\r\n\r\n", 400),
            (b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 70_000, 431),
            (b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 40_000 + b"\r\n\r\n", 431),
            (b"GET / HTTP/1.1\r\nHost: rebound.example\r\nConnection: close\r\n\r\n", 421),
            (b"GET http://rebound.example/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", 421),
            (b"GET / HTTP/1.1\r\nHost: [::1]:8300\r\nConnection: close\r\n\r\n", 200),
            (b"GET / HTTP/1.1\r\nHost: 127.0.0.5\r\nConnection: close\r\n\r\n", 200),
            (b"GET / HTTP/1.1\r\nHost: [\r\nConnection: close\r\n\r\n", 421),
            (b"\r\n\r\nGET / HTTP/1.0\r\n\r\n", 200),
            (b"\r\n" * 40_000, 431),
        ],
    )
    def test_what_they_say(self, served: Served, data: bytes, status: int) -> None:
        assert served.say(data).startswith(f"HTTP/1.1 {status} ".encode())
        assert served.ask("/").status == 200

    def test_requests_that_come_together_are_answered_in_turn(self, served: Served) -> None:
        one = f"GET {CONFIG} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
        answer = served.say(one + one + one.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n") + one)
        assert answer.count(b"HTTP/1.1 200 OK") == answer.count(b"\r\n\r\n{}\n") == 3

    def test_a_body_that_nobody_asked_for_is_not_the_next_request(self, served: Served) -> None:
        inner = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
        head = f"GET {CONFIG} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(inner)}\r\n\r\n".encode()
        assert served.say(head + inner).count(b"HTTP/1.1") == 1

    def test_who_leaves_in_the_middle_disturbs_nobody(self, served: Served) -> None:
        for _ in range(20):
            with socket.create_connection(("127.0.0.1", served.port)) as connection:
                connection.sendall(f"GET {LARGE} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
                connection.recv(10)
        assert served.ask(LARGE).body == WEIGHTS

    def test_who_says_nothing_is_left(self, served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("vcm.serve.server._IDLE_SECONDS", 0.1)
        with socket.create_connection(("127.0.0.1", served.port), timeout=5) as connection:
            connection.sendall(b"GET / HTT")
            assert connection.recv(1) == b""

    def test_the_log_holds_no_header(self, served: Served) -> None:
        served.ask(CONFIG, headers={"Authorization": "Bearer hf_secret"})
        served.ask("/a%0ab%1b[31m")
        deadline = time.monotonic() + 20
        while len(served.log) < 2 and time.monotonic() < deadline:
            # A line is written once its answer is sent, by a thread of its own.
            time.sleep(0.01)
        assert {*served.log} == {f"127.0.0.1 GET {CONFIG} 200 3", "127.0.0.1 GET /a%0ab%1b[31m 404 68"}


def test_more_connections_than_it_has_places_for(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vcm.serve.server.MOST_CONNECTIONS", 2)
    served = Served(cache)
    held = [socket.create_connection(("127.0.0.1", served.port)) for _ in range(2)]
    waiting = threading.Thread(target=served.ask, args=("/",))
    waiting.start()
    waiting.join(0.2)
    assert waiting.is_alive()
    for connection in held:
        connection.close()
    waiting.join(20)
    assert not waiting.is_alive()
    served.stop()


def test_who_takes_nothing_of_an_answer_does_not_keep_its_place(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vcm.serve.server.MOST_CONNECTIONS", 1)
    monkeypatch.setattr("vcm.serve.server._STALLED_SECONDS", 0.3)
    put(cache, {"model.safetensors": bytes(16 << 20)}, repo="acme/tiny", commit=COMMIT, requested="main", ref="main")
    served = Served(cache)
    path = "/acme/tiny/resolve/main/model.safetensors"
    with socket.create_connection(("127.0.0.1", served.port)) as silent:
        silent.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
        assert served.ask(path, "HEAD").status == 200
    assert served.log[0] == f"127.0.0.1 GET {path} 200 left, it took nothing for 0 s"
    served.stop()


def test_many_clients_at_once(served: Served) -> None:
    wrong: list[int] = []

    def fetch(number: int) -> None:
        path, data = (LARGE, WEIGHTS) if number % 2 else (CONFIG, FILES["config.json"])
        wrong.append(sum(served.ask(path).body != data for _ in range(10)))

    threads = [threading.Thread(target=fetch, args=(number,)) for number in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(30)
    assert wrong == [0] * 8


class TestAStoreThatChanges:
    def test_what_is_installed_meanwhile_is_there(self, served: Served, cache: Path) -> None:
        assert served.ask("/acme/gated/resolve/main/a.txt").status == 404
        put(cache, {"a.txt": b"a"}, repo="acme/gated", commit="a" * 40, gated="auto", asked="acme/old")
        put(cache, {"config.json": b"{ }"}, repo="acme/tiny", commit="b" * 40, requested="b" * 40)
        for name in ("acme/gated", "acme/old"):
            assert served.ask(f"/{name}/resolve/main/a.txt").body == b"a"
            assert told(served, f"/api/models/{name}")["id"] == "acme/gated"
        assert told(served, "/api/models/acme/gated")["gated"] == "auto"
        # A second commit beside the first, and each by its own names; nobody has locked main, and it came last.
        for names, data in ((("main", "b" * 40), b"{ }"), (("v1.0", COMMIT), b"{}\n")):
            for name in names:
                assert served.ask(f"/acme/tiny/resolve/{name}/config.json").body == data
        assert served.gated == [[], ["acme/gated"]]

    def test_two_installs_of_one_commit_are_one(self, served: Served, cache: Path) -> None:
        put(cache, {"config.json": FILES["config.json"], "more.txt": b"more"}, repo="acme/tiny", commit=COMMIT)
        assert served.ask("/acme/tiny/resolve/main/more.txt").body == b"more"
        assert served.ask(LARGE).body == WEIGHTS

    def test_a_direct_url_is_a_blob(self, served: Served, cache: Path) -> None:
        put(cache, {"words.onnx": b"words"}, source="url", url="https://example.com/words.onnx")
        assert served.ask(f"/blobs/sha256/{hashlib.sha256(b'words').hexdigest()}").body == b"words"
        assert served.ask("/").body == b"vcm serve: 1 model, read-only; point HF_ENDPOINT here\n"

    def test_a_damaged_file_is_not_served(self, served: Served, cache: Path) -> None:
        (snapshot,) = (cache / "snapshots").iterdir()
        assert served.ask(LARGE).status == 200
        for path in (snapshot / "model.safetensors", cache / "blobs" / "sha256" / SHA256):
            path.chmod(0o644)
            with path.open("r+b") as stream:
                stream.write(b"!")
        for _ in range(2):
            answer = served.ask(LARGE)
            assert (answer.status, "x-error-code" in answer.headers) == (410, False)
        assert served.ask(f"/blobs/sha256/{SHA256}").status == 410
        assert [each.partition(" is ")[2] for each in served.notices] == [
            "damaged and not served: run vcm cache verify --repair"
        ] * len(served.notices)
        assert 1 <= len(served.notices) <= 2

    def test_a_file_that_was_only_touched_is_served(self, served: Served, cache: Path) -> None:
        (snapshot,) = (cache / "snapshots").iterdir()
        os.utime(snapshot / "model.safetensors", (1, 1))
        assert served.ask(LARGE).body == WEIGHTS
        assert served.notices == []

    def test_either_of_blob_and_snapshot_will_do(self, served: Served, cache: Path) -> None:
        (cache / "blobs" / "sha256" / SHA256).unlink()
        assert served.ask(LARGE).body == served.ask(f"/blobs/sha256/{SHA256}").body == WEIGHTS
        shutil.rmtree(cache / "snapshots")
        assert served.ask(CONFIG).body == b"{}\n"
        assert (served.ask(LARGE).status, served.ask(LARGE, "HEAD").status) == (410, 410)

    def test_something_else_in_its_place_is_not_opened(self, served: Served, cache: Path) -> None:
        (snapshot,) = (cache / "snapshots").iterdir()
        for path in (snapshot / "config.json", cache / "blobs" / "sha256" / hashlib.sha256(b"{}\n").hexdigest()):
            path.unlink()
            os.mkfifo(path)
        assert (served.ask(CONFIG).status, served.ask(CONFIG, "HEAD").status) == (410, 410)

    def test_what_is_removed_while_it_is_sent_is_sent_to_its_end(self, served: Served, cache: Path) -> None:
        with socket.create_connection(("127.0.0.1", served.port)) as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
            connection.sendall(f"GET {LARGE} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
            got = connection.recv(1000)
            shutil.rmtree(cache)
            while piece := connection.recv(65536):
                got += piece
        assert got.partition(b"\r\n\r\n")[2] == WEIGHTS
        assert served.ask(LARGE).status == 404

    @pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"schemaVersion":2,"manifests":[1,{}]}', b"\xff" * 100])
    def test_an_index_that_is_none(self, served: Served, cache: Path, data: bytes) -> None:
        (cache / "index.json").write_bytes(data)
        assert served.ask(CONFIG).status == 404
        assert served.ask("/").status == 200
