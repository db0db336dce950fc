"""Who gets what from the simulator, and what every answer has in common."""

from __future__ import annotations

import re

import pytest

from tests.testing.conftest import FILES, SMALL, WEIGHTS
from vcm.testing import HubSimulator, default_lfs


class TestAccess:
    def test_unknown_repository(self, hub, reader, fetch):
        for path in ("/api/models/acme/absent", "/api/models/absent/tree/main", "/acme/absent/resolve/main/a"):
            anonymous = fetch(hub.endpoint + path)
            assert anonymous.error == (401, None, "Invalid username or password.")
            assert anonymous.headers["www-authenticate"].startswith("Bearer realm=")
            assert fetch(hub.endpoint + path, token=reader).error == (404, "RepoNotFound", "Repository not found")

    @pytest.mark.parametrize("credentials", ["Bearer hf_wrong", "Basic dTpw", "Bearer"])
    def test_invalid_credentials(self, api, fetch, credentials):
        answer = fetch(api, headers={"Authorization": credentials})
        assert answer.error == (401, None, "Invalid username or password.")

    def test_private_is_invisible(self, hub, fetch, reader, stranger):
        hub.add_repo("acme/secret", FILES, private=True)
        hub.grant(reader, "acme/secret")
        url = f"{hub.endpoint}/api/models/acme/secret"
        assert fetch(url).error[:2] == (401, None)
        assert fetch(url, token=stranger).error[:2] == (404, "RepoNotFound")
        assert fetch(f"{url}?blobs=1", token=reader).json["private"] is True

    def test_gated(self, hub, fetch, follow, reader, stranger):
        stored = hub.add_repo("acme/gated", FILES, gated="manual").files("main")["model.safetensors"]
        hub.grant(reader, "acme/gated")
        url, stars = f"{hub.endpoint}/acme/gated/resolve/main", "*" * 64
        for path in ("config.json", "model.safetensors", "absent.txt"):
            anonymous, known = fetch(f"{url}/{path}"), fetch(f"{url}/{path}", token=stranger)
            assert anonymous.error[:2] == (401, "GatedRepo")
            assert anonymous.error[2].endswith("Please log in.")
            assert "x-repo-commit" not in anonymous.headers
            assert known.error[:2] == (403, "GatedRepo")
        assert fetch(f"{url}/README.md").body == FILES["README.md"]
        assert fetch(f"{url}/LICENSE").error[1] == "EntryNotFound"
        assert fetch(f"{hub.endpoint}/acme/gated/raw/main/README.md").error[1] == "GatedRepo"
        assert follow(f"{url}/model.safetensors", token=reader).body == WEIGHTS

        api = f"{hub.endpoint}/api/models/acme/gated"
        for token, digest in ((None, stars), (stranger, stars), (reader, stored.sha256)):
            info = fetch(f"{api}?blobs=true", token=token).json
            assert info["gated"] == "manual"
            assert next(item["lfs"]["sha256"] for item in info["siblings"] if "lfs" in item) == digest
            tree = {entry["path"]: entry for entry in fetch(f"{api}/tree/main", token=token).json}
            assert tree["model.safetensors"]["lfs"]["oid"] == digest
            assert tree["model.safetensors"]["oid"] == stored.pointer_oid
        assert fetch(f"{api}/refs").status == 200
        assert fetch(f"{api}/commits/main").error[:2] == (401, "GatedRepo")
        assert fetch(f"{api}/auth-check").error[:2] == (401, "GatedRepo")
        assert fetch(f"{api}/auth-check", token=reader).body == b"OK"

    def test_disabled(self, hub, fetch):
        hub.add_repo("acme/off", FILES, disabled=True)
        answer = fetch(f"{hub.endpoint}/acme/off/resolve/main/config.json")
        assert answer.error == (403, None, "Access to this resource is disabled.")
        assert fetch(f"{hub.endpoint}/api/models/acme/off").json["disabled"] is True

    def test_renamed(self, hub, repo, fetch, follow):
        hub.rename("acme/tiny", "acme/small")
        hub.rename("acme/small", "corp/small")
        api = fetch(f"{hub.endpoint}/api/models/acme/tiny/tree/main?recursive=true")
        assert (api.status, api.headers["location"]) == (307, "/api/models/corp/small/tree/main?recursive=true")
        assert fetch(f"{hub.endpoint}/api/models/acme/tiny/paths-info/main", "POST", body="paths=a").status == 307
        file = fetch(f"{hub.endpoint}/acme/tiny/resolve/main/sub/notes.txt")
        assert (file.status, file.headers["location"]) == (307, "/corp/small/resolve/main/sub/notes.txt")
        assert "x-repo-commit" not in file.headers
        assert follow(f"{hub.endpoint}/acme/small/resolve/main/model.safetensors").body == WEIGHTS
        assert follow(f"{hub.endpoint}/api/models/acme/tiny").json["id"] == "corp/small"
        assert fetch(f"{hub.endpoint}/api/models/CORP/Small").headers["location"] == "/api/models/corp/small"

    def test_a_name_taken_again_redirects_no_more(self, hub, repo, fetch):
        hub.rename("acme/tiny", "acme/small")
        stranger = hub.add_repo("acme/tiny", {"a": b"other"})
        first, other = (fetch(f"{hub.endpoint}/api/models/acme/{name}").json for name in ("small", "tiny"))
        assert (other["id"], other["siblings"]) == ("acme/tiny", [{"rfilename": "a"}])
        assert (first["_id"], other["_id"]) == (repo.repo_id, stranger.repo_id)
        assert repo.repo_id != stranger.repo_id

    def test_a_repo_made_anew_under_an_old_name_is_another_one(self, hub, repo, fetch):
        seen = [repo.repo_id]
        for _ in range(2):
            hub.remove("acme/tiny")
            hub.add_repo("Acme/Tiny" if len(seen) == 1 else "acme/tiny", FILES)
            seen.append(fetch(f"{hub.endpoint}/api/models/{hub.repo('acme/tiny').id}").json["_id"])
        assert len(set(seen)) == 3

    def test_a_rename_there_and_back_is_the_same_repo(self, hub, repo, api, fetch):
        before = fetch(api).json
        hub.rename("acme/tiny", "acme/small")
        hub.rename("acme/small", "acme/tiny")
        assert fetch(api).json == before
        assert fetch(api.replace("tiny", "small")).headers["location"] == "/api/models/acme/tiny"

    def test_old_bare_names_serve_files_directly(self, hub, fetch):
        hub.add_repo("bert", FILES)
        hub.rename("bert", "google/bert")
        assert fetch(f"{hub.endpoint}/bert/resolve/main/config.json").body == SMALL
        assert fetch(f"{hub.endpoint}/api/models/bert").headers["location"] == "/api/models/google/bert"

    def test_removed(self, hub, repo, reader, fetch):
        hub.rename("acme/tiny", "acme/small")
        hub.remove("acme/small")
        for name in ("tiny", "small"):
            assert fetch(f"{hub.endpoint}/api/models/acme/{name}", token=reader).error[1] == "RepoNotFound"

    def test_who_am_i(self, hub, reader, fetch):
        assert fetch(f"{hub.endpoint}/api/whoami-v2", token=reader).json["type"] == "user"
        assert fetch(f"{hub.endpoint}/api/whoami-v2").status == 401

    def test_other_routes(self, hub, repo, web, fetch):
        for path in ("/api/agent-harnesses", "/api/datasets/acme/tiny", "/acme/tiny", "/acme/tiny/blob/main/README.md"):
            assert fetch(hub.endpoint + path).status == 404
        assert fetch(f"{hub.endpoint}/api/models/acme/tiny", "POST", body="").status == 404


class TestEveryAnswer:
    def test_rate_limits_and_request_ids(self, api, web, reader, fetch):
        anonymous, known, file = fetch(api), fetch(api, token=reader), fetch(f"{web}/resolve/main/absent")
        assert re.fullmatch(r'"api";r=499;t=\d+', anonymous.headers["ratelimit"])
        assert anonymous.headers["ratelimit-policy"] == '"fixed window";"api";q=500;w=300'
        assert known.headers["ratelimit"].startswith('"api";r=999;')
        assert file.headers["ratelimit"].startswith('"resolvers";r=2999;')
        assert anonymous.headers["x-request-id"]
        assert fetch(api, headers={"X-Amzn-Trace-Id": "abc"}).headers["x-request-id"] == "abc"

    def test_requests_are_logged(self, hub, web, follow):
        hub.clear_requests()
        follow(f"{web}/resolve/main/model.safetensors", headers={"X-Own": "1"})
        first, second = hub.requests
        assert (first.origin, first.method, first.status) == ("hub", "GET", 302)
        assert first.path == "/acme/tiny/resolve/main/model.safetensors"
        assert first.headers["x-own"] == "1"
        assert (second.origin, second.status) == ("cdn", 200)


class TestLife:
    def test_start_twice_stop_twice_and_again(self, fetch):
        hub = HubSimulator()
        with pytest.raises(RuntimeError, match="not running"):
            _ = hub.endpoint
        hub.add_repo("acme/tiny", FILES)
        for _ in range(2):
            hub.start()
            hub.start()
            assert fetch(f"{hub.endpoint}/api/models/acme/tiny").status == 200
            hub.stop()
            hub.stop()

    def test_default_lfs_rule(self):
        assert default_lfs("a/MODEL.SafeTensors", 1)
        assert default_lfs("tokenizer.json", (10 << 20) + 1)
        assert not default_lfs("tokenizer.json", 10 << 20)
        assert not default_lfs("empty.bin", 0)
