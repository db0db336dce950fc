"""The simulator's API answers, read with nothing between the test and the wire."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from typing import Any
from urllib.parse import quote

import pytest

from tests.testing.conftest import FILES, SMALL, WEIGHTS, git_blob, pointer, sha256
from vcm.testing import HubSimulator


def next_url(answer: Any) -> str:
    found = re.fullmatch(r'<(.*)>; rel="next"', answer.headers.get("link", ""))
    return found[1] if found else ""


class TestModelInfo:
    def test_fields(self, api, repo, fetch):
        info = fetch(api).json
        assert info["id"] == info["modelId"] == "acme/tiny"
        assert re.fullmatch(r"[0-9a-f]{24}", info["_id"])
        assert info["_id"] == repo.repo_id
        assert info["author"] == "acme"
        assert info["sha"] == repo.head()
        assert (info["private"], info["gated"], info["disabled"]) == (False, False, False)
        assert info["lastModified"] == info["createdAt"] == "2026-01-01T00:00:00.000Z"
        assert info["cardData"]["new_version"] == "acme/big"
        assert info["pipeline_tag"] == "text-generation"
        assert {"transformers", "license:mit", "region:us"} <= set(info["tags"])
        assert info["siblings"] == [{"rfilename": path} for path in sorted(FILES)]

    @pytest.mark.parametrize("spelling", ["true", "True", "1"])
    def test_blobs(self, api, fetch, spelling):
        siblings = {item["rfilename"]: item for item in fetch(f"{api}?blobs={spelling}").json["siblings"]}
        assert siblings["config.json"] == {"rfilename": "config.json", "blobId": git_blob(SMALL), "size": len(SMALL)}
        text = pointer(WEIGHTS)
        assert siblings["model.safetensors"] == {
            "rfilename": "model.safetensors",
            "blobId": git_blob(text),
            "size": len(WEIGHTS),
            "lfs": {"sha256": sha256(WEIGHTS), "size": len(WEIGHTS), "pointerSize": len(text)},
        }

    def test_expand_shows_the_named_fields_only(self, api, fetch):
        info = fetch(f"{api}?expand[]=sha&expand=gated").json
        assert set(info) == {"_id", "id", "sha", "gated"}
        assert fetch(f"{api}?expand=nonsense").status == 400

    def test_security_status(self, api, repo, fetch):
        repo.issues["model.safetensors"] = "unsafe"
        found = {"scansDone": True, "filesWithIssues": [{"path": "model.safetensors", "level": "unsafe"}]}
        assert fetch(f"{api}?securityStatus=true").json["securityRepoStatus"] == found
        assert fetch(f"{api}/scan").json == found

    def test_the_query_does_not_choose_the_revision(self, api, repo, fetch):
        first = repo.head()
        second = repo.commit({"config.json": b"{}"})
        assert fetch(f"{api}?revision={first}").json["sha"] == second
        assert fetch(f"{api}/revision/{first}").json["sha"] == first

    @pytest.mark.parametrize("revision", ["main", "v1.0", "refs/pr/1", "feature/x", "refs/heads/main"])
    def test_revisions(self, api, repo, fetch, revision):
        repo.branch("refs/pr/1")
        repo.branch("feature/x", "v1.0")
        assert fetch(f"{api}/revision/{quote(revision, safe='')}").json["sha"] == repo.head()

    def test_slashes_of_a_revision_must_be_encoded(self, api, repo, fetch):
        repo.branch("refs/pr/1")
        assert fetch(f"{api}/revision/refs/pr/1").status == 404

    def test_unknown_revision(self, api, fetch):
        answer = fetch(f"{api}/revision/nowhere")
        assert answer.error == (404, "RevisionNotFound", "Invalid rev id: nowhere")
        assert answer.json == {"error": "Invalid rev id: nowhere"}

    def test_head_has_the_headers_of_get(self, api, fetch):
        got, head = fetch(api), fetch(api, "HEAD")
        assert head.body == b""
        assert head.headers["content-length"] == str(len(got.body))
        assert head.headers["etag"] == got.headers["etag"]

    def test_the_hub_says_what_the_model_is_to_its_base(self, hub, fetch):
        weights = {"model.safetensors": b"weights"}
        for name, files, card, tags in (
            ("tuned", weights, {}, ["base_model:acme/base", "base_model:finetune:acme/base"]),
            ("lora", weights | {"adapter_config.json": b"{}"}, {}, ["base_model:adapter:acme/base"]),
            ("small", {"small-Q4_0.gguf": b"weights"}, {}, ["base_model:quantized:acme/base"]),
            ("stated", weights, {"base_model_relation": "adapter"}, ["base_model:adapter:acme/base"]),
        ):
            hub.add_repo(f"acme/{name}", files, card={"base_model": "acme/base", **card})
            found = fetch(f"{hub.endpoint}/api/models/acme/{name}").json["tags"]
            assert set(found) == {"base_model:acme/base", *tags, "region:us"}
        several = hub.add_repo("acme/merged", weights, card={"base_model": ["acme/a", "acme/b"]})
        several.card["base_model_relation"] = "merge"
        merged = {f"base_model:{relation}acme/{name}" for relation in ("", "merge:") for name in ("a", "b")}
        assert set(fetch(f"{hub.endpoint}/api/models/acme/merged").json["tags"]) == {*merged, "region:us"}

    def test_a_card_is_as_old_as_its_commit(self, api, repo, fetch):
        old = fetch(api).json
        repo.commit({"README.md": b"# New\n"}, card={"license": "apache-2.0", "pipeline_tag": "fill-mask"})
        repo.commit({"config.json": b"{}"})
        new = fetch(api).json
        assert new["cardData"] == {"license": "apache-2.0", "pipeline_tag": "fill-mask"}
        assert {"license:apache-2.0", "region:us"} <= set(new["tags"])
        then = fetch(f"{api}/revision/v1.0").json
        assert (then["cardData"], then["tags"]) == (old["cardData"], old["tags"])
        assert then["cardData"]["new_version"] == "acme/big"

    def test_last_modified_is_the_date_of_the_commit_that_was_asked_for(self, api, repo, fetch):
        repo.commit({"config.json": b"{}"}, date="2026-05-06T07:08:09.000Z")
        assert fetch(api).json["lastModified"] == "2026-05-06T07:08:09.000Z"
        assert fetch(f"{api}/revision/v1.0").json["lastModified"] == "2026-01-01T00:00:00.000Z"

    def test_search(self, hub, repo, fetch):
        for number in range(3):
            hub.add_repo(f"other/tiny-{number}", {"a": b"a"})
        hub.add_repo("acme/hidden-tiny", {"a": b"a"}, private=True)
        first = fetch(f"{hub.endpoint}/api/models?search=TINY&limit=2")
        assert [item["id"] for item in first.json] == ["acme/tiny", "other/tiny-0"]
        rest = fetch(next_url(first))
        assert [item["id"] for item in rest.json] == ["other/tiny-1", "other/tiny-2"]
        assert "link" not in rest.headers
        assert [item["id"] for item in fetch(f"{hub.endpoint}/api/models?filter=license:mit").json] == ["acme/tiny"]


class TestTree:
    def test_recursive(self, api, fetch):
        entries = fetch(f"{api}/tree/main?recursive=true").json
        assert [entry["path"] for entry in entries] == sorted([*FILES, "sub", "sub/deeper"])
        by_path = {entry["path"]: entry for entry in entries}
        assert by_path["sub"]["type"] == "directory"
        assert by_path["sub"]["size"] == 0
        assert by_path["config.json"] == {
            "type": "file",
            "oid": git_blob(SMALL),
            "size": len(SMALL),
            "path": "config.json",
        }
        assert by_path["model.safetensors"]["oid"] == git_blob(pointer(WEIGHTS))
        assert by_path["model.safetensors"]["lfs"] == {
            "oid": sha256(WEIGHTS),
            "size": len(WEIGHTS),
            "pointerSize": len(pointer(WEIGHTS)),
        }

    def test_folder_ids_are_git_tree_ids(self, api, fetch):
        deeper = b"100644 more.bin\0" + bytes.fromhex(git_blob(pointer(b"more")))
        expected = hashlib.sha1(f"tree {len(deeper)}\0".encode() + deeper).hexdigest()  # noqa: S324
        entries = fetch(f"{api}/tree/main/sub").json
        assert [(entry["path"], entry["oid"]) for entry in entries if entry["type"] == "directory"] == [
            ("sub/deeper", expected)
        ]

    def test_not_recursive(self, api, fetch):
        top = [entry["path"] for entry in fetch(f"{api}/tree/main").json]
        assert top == ["README.md", "config.json", "empty.txt", "model.safetensors", "sub"]

    @pytest.mark.parametrize("folder", ["sub/deeper", "sub%2Fdeeper"])
    def test_folder(self, api, fetch, folder):
        assert [entry["path"] for entry in fetch(f"{api}/tree/main/{folder}").json] == ["sub/deeper/more.bin"]

    def test_missing_folder(self, api, fetch):
        answer = fetch(f"{api}/tree/main/absent")
        assert answer.error == (404, "EntryNotFound", 'absent does not exist on "main"')

    def test_pages(self, api, hub, fetch):
        url, seen, pages = f"{api}/tree/main?recursive=true&limit=3", [], 0
        while url:
            answer = fetch(url)
            seen += [entry["path"] for entry in answer.json]
            pages += 1
            url = next_url(answer)
            assert not url or url.startswith(hub.endpoint)
        assert pages == 3
        assert seen == sorted([*FILES, "sub", "sub/deeper"])

    def test_next_page_is_on_the_host_that_was_asked(self, api, fetch):
        answer = fetch(f"{api}/tree/main?limit=1", headers={"Host": "localhost:99"})
        assert answer.headers["link"].startswith("<http://localhost:99/api/models/acme/tiny/tree/main?")

    def test_page_size_of_the_server(self, fetch):
        with HubSimulator(page_size=2) as hub:
            hub.add_repo("acme/many", {f"{number}.txt": b"x" for number in range(5)})
            assert len(fetch(f"{hub.endpoint}/api/models/acme/many/tree/main?limit=100").json) == 2

    @pytest.mark.parametrize("query", ["cursor=nonsense", "cursor=bm9wZQ==", "limit=0", "limit=x"])
    def test_bad_query(self, api, fetch, query):
        assert fetch(f"{api}/tree/main?{query}").status == 400

    def test_expand(self, api, repo, fetch):
        first = repo.head()
        second = repo.commit({"sub/notes.txt": b"other notes"}, message="Change notes\n\nbecause")
        repo.issues["model.safetensors"] = "suspicious"
        entries = {entry["path"]: entry for entry in fetch(f"{api}/tree/main?recursive=true&expand=true").json}
        assert entries["config.json"]["lastCommit"] == {
            "id": first,
            "title": "initial commit",
            "date": "2026-01-01T00:00:00.000Z",
        }
        assert entries["sub/notes.txt"]["lastCommit"]["id"] == entries["sub"]["lastCommit"]["id"] == second
        assert entries["sub/notes.txt"]["lastCommit"]["title"] == "Change notes"
        assert entries["model.safetensors"]["securityFileStatus"]["status"] == "suspicious"
        assert {"avScan", "pickleImportScan"} <= set(entries["config.json"]["securityFileStatus"])

    def test_tree_size(self, api, fetch):
        assert fetch(f"{api}/treesize/main/sub").json == {"path": "sub", "size": 9}
        assert fetch(f"{api}/treesize/main/absent").status == 404

    def test_paths_info_form_and_json(self, api, fetch):
        form = fetch(
            f"{api}/paths-info/main",
            "POST",
            body="paths=model.safetensors&paths=absent&paths=sub&expand=False",
            headers={"Content-Type": "application/x-www-form-urlencoded"},
        )
        as_json = fetch(
            f"{api}/paths-info/main",
            "POST",
            body=json.dumps({"paths": ["model.safetensors", "sub"], "expand": True}),
            headers={"Content-Type": "application/json"},
        )
        assert [entry["path"] for entry in form.json] == ["model.safetensors", "sub"]
        assert form.json[0]["lfs"]["oid"] == sha256(WEIGHTS)
        assert "lastCommit" not in form.json[0]
        assert "lastCommit" in as_json.json[0]


class TestNotModified:
    @pytest.mark.parametrize(
        "path",
        [
            "/acme/tiny",
            "/acme/tiny/revision/v1.0?blobs=true",
            "/acme/tiny/refs",
            "/acme/tiny/tree/main?recursive=true&limit=2",
            "/acme/tiny/commits/main?limit=1",
            "?search=tiny",
        ],
    )
    def test_what_is_known_is_not_sent_again(self, hub, repo, fetch, path):
        url = f"{hub.endpoint}/api/models{path}"
        first = fetch(url)
        body = first.body
        digest = base64.b64encode(hashlib.sha1(body).digest()).decode().rstrip("=")  # noqa: S324
        assert first.headers["etag"] == f'W/"{len(body):x}-{digest}"'
        known = fetch(url, headers={"If-None-Match": first.headers["etag"]})
        assert (known.status, known.body, known.headers["etag"]) == (304, b"", first.headers["etag"])
        assert known.headers.get("link") == first.headers.get("link")
        assert known.headers["ratelimit"].startswith('"api";r=498;')
        assert known.headers["ratelimit-policy"] == '"fixed window";"api";q=500;w=300'
        other = fetch(url, headers={"If-None-Match": 'W/"2-other"'})
        assert (other.status, other.body) == (200, body)

    def test_a_page_after_the_first_has_an_etag_of_its_own(self, api, fetch):
        first = fetch(f"{api}/tree/main?recursive=true&limit=2")
        second = fetch(next_url(first), headers={"If-None-Match": first.headers["etag"]})
        assert second.status == 200
        assert fetch(next_url(first), headers={"If-None-Match": second.headers["etag"]}).status == 304

    def test_what_changed_is_sent(self, api, repo, fetch):
        answers = [fetch(url) for url in (api, f"{api}/refs", f"{api}/commits/main", f"{api}/tree/main")]
        repo.commit({"config.json": b"{}"})
        for answer in answers:
            again = fetch(answer.url, headers={"If-None-Match": answer.headers["etag"]})
            assert again.status == 200
            assert again.body != answer.body

    def test_a_client_may_know_several(self, api, fetch):
        etag = fetch(api).headers["etag"]
        assert fetch(api, headers={"If-None-Match": f'W/"0-x", {etag.removeprefix("W/")}'}).status == 304
        assert fetch(api, headers={"If-None-Match": "*"}).status == 304


class TestHistory:
    def test_refs(self, api, repo, fetch):
        repo.branch("refs/pr/7")
        repo.branch("refs/convert/parquet")
        head = repo.head()
        answer = fetch(f"{api}/refs").json
        assert answer == {
            "tags": [{"name": "v1.0", "ref": "refs/tags/v1.0", "targetCommit": head}],
            "branches": [{"name": "main", "ref": "refs/heads/main", "targetCommit": head}],
            "converts": [{"name": "parquet", "ref": "refs/convert/parquet", "targetCommit": head}],
        }
        pulls = fetch(f"{api}/refs?include_prs=1").json["pullRequests"]
        assert pulls == [{"name": "7", "ref": "refs/pr/7", "targetCommit": head}]

    def test_commits(self, api, repo, fetch):
        ids = [repo.head(), *(repo.commit({"a.txt": bytes([n])}, message=f"Change {n}") for n in range(3))]
        first = fetch(f"{api}/commits/main?limit=3")
        assert [item["id"] for item in first.json] == ids[:0:-1]
        assert first.json[0]["authors"][0]["user"] == "acme"
        assert first.json[0]["title"] == "Change 2"
        assert first.headers["x-total-count"] == "4"
        rest = fetch(next_url(first))
        assert [item["id"] for item in rest.json] == ids[:1]
        assert "link" not in rest.headers

    def test_a_commit_changes_only_what_it_names(self, repo):
        first = repo.head()
        second = repo.commit({"config.json": None, "new.txt": b"new"})
        assert set(repo.files("main")) == set(FILES) - {"config.json"} | {"new.txt"}
        assert set(repo.files(first)) == set(FILES)
        assert repo.files("v1.0") == repo.files(first)
        assert second != first

    def test_commit_ids_are_repeatable(self):
        ids = []
        for _ in range(2):
            hub = HubSimulator()
            made = hub.add_repo("acme/same", {"a": b"a"})
            ids.append((made.repo_id, made.head(), made.commit({"b": b"b"})))
        assert ids[0] == ids[1]

    def test_moved_tag_and_deleted_tag(self, api, repo, fetch):
        second = repo.commit({"a": b"a"})
        repo.tag("v1.0")
        assert fetch(f"{api}/revision/v1.0").json["sha"] == second
        repo.delete_tag("v1.0")
        assert fetch(f"{api}/revision/v1.0").error[1] == "RevisionNotFound"

    def test_squashed_history(self, api, web, repo, fetch):
        first = repo.head()
        repo.delete_tag("v1.0")
        second = repo.commit({"a": b"a"})
        repo.delete_commit(first)
        assert fetch(f"{api}/tree/{first}").error[:2] == (404, "RevisionNotFound")
        assert fetch(f"{web}/resolve/{first}/config.json").error[:2] == (404, "RevisionNotFound")
        assert [item["id"] for item in fetch(f"{api}/commits/main").json] == [second]

    def test_misuse_is_told(self, repo, hub):
        for call, arguments in (
            (repo.files, ["nowhere"]),
            (repo.head, ["nowhere"]),
            (repo.tag, ["x", "nowhere"]),
            (repo.delete_tag, ["nowhere"]),
            (hub.rename, ["acme/absent", "acme/x"]),
            (hub.remove, ["acme/absent"]),
        ):
            with pytest.raises(KeyError, match=r"there is no|has no"):
                call(*arguments)
        with pytest.raises(ValueError, match="40 lower-case"):
            repo.commit({}, commit="abc")
        with pytest.raises(ValueError, match="with other files"):
            repo.commit({"a": b"b"}, commit=repo.head())
        with pytest.raises(ValueError, match="or as the one before"):
            repo.commit({}, commit=repo.head())
        with pytest.raises(ValueError, match="already a repository"):
            hub.add_repo("Acme/Tiny", {})
        with pytest.raises(ValueError, match="only a token"):
            hub.grant("hf_unknown", "acme/tiny")
