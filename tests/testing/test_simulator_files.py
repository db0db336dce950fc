"""File contents from the simulator: redirects, the CDN, ranges, and what the headers say."""

from __future__ import annotations

import re
import time
from urllib.parse import quote

import pytest

from tests.testing.conftest import FILES, SMALL, WEIGHTS, git_blob, pointer, sha256


class TestResolve:
    def test_lfs_file_is_on_the_cdn(self, hub, web, repo, fetch):
        answer = fetch(f"{web}/resolve/main/model.safetensors")
        assert answer.status == 302
        assert answer.headers["location"].startswith(hub.cdn_origin + "/")
        assert answer.headers["x-linked-etag"] == f'"{sha256(WEIGHTS)}"'
        assert answer.headers["x-linked-size"] == str(len(WEIGHTS))
        assert answer.headers["x-repo-commit"] == repo.head()
        assert answer.headers["accept-ranges"] == "bytes"
        assert "etag" not in answer.headers
        assert int(answer.headers["content-length"]) == len(answer.body) != len(WEIGHTS)
        content = fetch(answer.headers["location"])
        assert content.body == WEIGHTS
        assert re.fullmatch(r'"[0-9a-f]{64}"', content.headers["etag"])
        assert sha256(WEIGHTS) not in content.headers["etag"]

    def test_small_public_file_is_behind_a_relative_redirect(self, web, repo, fetch, follow):
        answer = fetch(f"{web}/resolve/v1.0/config.json")
        assert answer.status == 307
        expected = f"/api/resolve-cache/models/acme/tiny/{repo.head()}/config.json?"
        assert answer.headers["location"].startswith(expected)
        assert f"etag=%22{git_blob(SMALL)}%22" in answer.headers["location"]
        assert answer.headers["x-linked-etag"] == f'"{git_blob(SMALL)}"'
        assert answer.headers["x-repo-commit"] == repo.head()
        assert "x-linked-size" not in answer.headers
        assert int(answer.headers["content-length"]) == len(answer.body)
        final = follow(f"{web}/resolve/v1.0/config.json")
        assert final.body == SMALL
        assert final.headers["etag"] == f'"{git_blob(SMALL)}"'
        assert final.headers["x-repo-commit"] == repo.head()

    def test_direct_answers(self, hub, repo, web, reader, fetch):
        hub.add_repo("acme/secret", {"config.json": SMALL}, private=True)
        hub.add_repo("legacy", {"config.json": SMALL})
        hub.grant(reader, "acme/secret")
        assert (fetch(f"{web}/resolve/main/empty.txt").status, fetch(f"{web}/resolve/main/empty.txt").body) == (
            200,
            b"",
        )
        assert fetch(f"{hub.endpoint}/legacy/resolve/main/config.json").body == SMALL
        private = fetch(f"{hub.endpoint}/acme/secret/resolve/main/config.json", token=reader)
        assert (private.status, private.body) == (200, SMALL)
        assert private.headers["etag"] == f'"{git_blob(SMALL)}"'
        assert "x-linked-etag" not in private.headers

    def test_resolve_cache_wants_a_commit(self, hub, repo, fetch):
        base = f"{hub.endpoint}/api/resolve-cache/models/acme/tiny"
        assert fetch(f"{base}/{repo.head()}/sub/notes.txt").body == b"notes"
        assert fetch(f"{base}/main/sub/notes.txt").status == 400

    def test_raw_shows_the_pointer(self, web, fetch):
        assert fetch(f"{web}/raw/main/model.safetensors").body == pointer(WEIGHTS)
        assert fetch(f"{web}/raw/main/config.json").body == SMALL

    def test_missing_file_still_tells_the_commit(self, web, repo, fetch):
        answer = fetch(f"{web}/resolve/main/absent.bin")
        assert answer.error == (404, "EntryNotFound", "Entry not found")
        assert answer.headers["x-repo-commit"] == repo.head()
        assert answer.body == b"Entry not found"

    def test_encoded_names(self, hub, fetch, follow):
        hub.add_repo("acme/odd", {"sub dir/ä#?%.txt": b"odd", "w ä.bin": b"heavy"})
        base = f"{hub.endpoint}/acme/odd/resolve/main"
        assert follow(f"{base}/{quote('sub dir/ä#?%.txt')}").body == b"odd"
        assert follow(f"{base}/{quote('w ä.bin')}").body == b"heavy"
        assert fetch(f"{base}/x%0d%0aX-Injected:%201").headers.get("x-injected") is None

    @pytest.mark.parametrize(
        ("asked", "status", "content_range", "part"),
        [
            ("bytes=0-9", 206, "bytes 0-9/2048", WEIGHTS[:10]),
            ("bytes=2000-", 206, "bytes 2000-2047/2048", WEIGHTS[2000:]),
            ("bytes=-48", 206, "bytes 2000-2047/2048", WEIGHTS[2000:]),
            ("bytes=-9999", 206, "bytes 0-2047/2048", WEIGHTS),
            ("bytes=2040-9999", 206, "bytes 2040-2047/2048", WEIGHTS[2040:]),
            ("bytes=2048-", 416, "bytes */2048", None),
            ("bytes=-0", 416, "bytes */2048", None),
            ("bytes=9-1", 416, "bytes */2048", None),
            ("lines=1-2", 200, None, WEIGHTS),
            ("bytes=-", 200, None, WEIGHTS),
        ],
    )
    def test_ranges_on_both_origins(self, hub, follow, asked, status, content_range, part):
        hub.add_repo("acme/ranges", {"on.hub": WEIGHTS, "on.cdn": WEIGHTS}, lfs=lambda path, _: path == "on.cdn")
        for path in ("on.hub", "on.cdn"):
            answer = follow(f"{hub.endpoint}/acme/ranges/resolve/main/{path}", headers={"Range": asked})
            assert answer.status == status
            assert answer.headers.get("content-range") == content_range
            assert answer.body == part or status == 416
        assert hub.requests[-1].origin == "cdn"

    def test_not_modified(self, web, fetch):
        for path, etag in (("config.json", git_blob(SMALL)), ("model.safetensors", sha256(WEIGHTS))):
            answer = fetch(f"{web}/resolve/main/{path}", headers={"If-None-Match": f'"{etag}"'})
            assert (answer.status, answer.body, answer.headers["etag"]) == (304, b"", f'"{etag}"')

    def test_head_says_what_get_says(self, web, follow):
        for path in ("config.json", "model.safetensors", "empty.txt"):
            head, got = (follow(f"{web}/resolve/main/{path}", method) for method in ("HEAD", "GET"))
            assert head.body == b""
            assert head.headers["content-length"] == got.headers["content-length"] == str(len(FILES[path]))

    def test_no_answer_speaks_of_xet(self, api, web, fetch, follow):
        answers = [fetch(f"{api}/tree/main?recursive=true"), follow(f"{web}/resolve/main/model.safetensors")]
        assert not any("xet-hash" in name or "xetHash" in str(a.body) for a in answers for name in a.headers)


class TestCdn:
    @pytest.fixture
    def location(self, web, fetch):
        return fetch(f"{web}/resolve/main/model.safetensors").headers["location"]

    def test_refuses_the_token_of_the_hub(self, location, reader, fetch):
        answer = fetch(location, token=reader)
        assert answer.status == 400
        assert b"<Error>" in answer.body

    def test_urls_expire(self, hub, web, fetch):
        hub.signed_url_seconds = 0.05
        location = fetch(f"{web}/resolve/main/model.safetensors").headers["location"]
        time.sleep(0.06)
        answer = fetch(location)
        assert answer.status == 403
        assert answer.headers["content-type"] == "application/xml"
        assert "x-error-code" not in answer.headers

    def test_urls_cannot_be_made_up(self, location, fetch):
        assert fetch(location.partition("?")[0]).status == 403
        assert fetch(location.replace("Expires=1", "Expires=2")).status == 403

    def test_plain_files_need_no_signature(self, hub, fetch, tmp_path):
        (tmp_path / "model.gguf").write_bytes(WEIGHTS)
        url = hub.add_file("folder/my model.gguf", tmp_path / "model.gguf")
        assert url.startswith(hub.cdn_origin)
        assert fetch(url).body == WEIGHTS
        assert fetch(url, headers={"Range": "bytes=5-6"}).body == WEIGHTS[5:7]
        assert fetch(f"{hub.cdn_origin}/files/absent").status == 404

    def test_content_from_disk(self, hub, tmp_path, follow):
        content = bytes(range(251)) * 20_000
        (tmp_path / "big.safetensors").write_bytes(content)
        made = hub.add_repo("acme/disk", {"big.safetensors": tmp_path / "big.safetensors"})
        stored = made.files("main")["big.safetensors"]
        assert (stored.size, stored.sha256, stored.git_oid) == (len(content), sha256(content), git_blob(content))
        assert stored.read() == content
        url = f"{hub.endpoint}/acme/disk/resolve/main/big.safetensors"
        assert follow(url).body == content
        assert follow(url, headers={"Range": "bytes=1234567-"}).body == content[1234567:]
