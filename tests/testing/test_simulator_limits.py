"""What a client meets that asks too often, from too far away, or for bytes that nobody has."""

from __future__ import annotations

import re
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.testing.conftest import FILES, Answer, git_blob, sha256
from vcm.testing import Fault, HubSimulator, Unfetched

REMAINING = re.compile(r'"(\w+)";r=(\d+);t=(\d+)')


def remaining(answer: Answer) -> tuple[str, int, int]:
    matched = REMAINING.fullmatch(answer.headers["ratelimit"])
    assert matched
    return matched[1], int(matched[2]), int(matched[3])


class TestLimits:
    def test_what_exceeds_the_quota_is_refused(self, hub, api, fetch):
        hub.limit("api", quota=3, window=60)
        answers = [fetch(api) for _ in range(5)]
        assert [answer.status for answer in answers] == [200, 200, 200, 429, 429]
        assert [remaining(answer)[:2] for answer in answers] == [("api", left) for left in (2, 1, 0, 0, 0)]
        assert all(59 <= remaining(answer)[2] <= 60 for answer in answers)
        assert {answer.headers["ratelimit-policy"] for answer in answers} == {'"fixed window";"api";q=3;w=60'}
        refused = answers[-1]
        assert refused.json == {"error": refused.headers["x-error-message"]}
        assert refused.json["error"].startswith("We had to rate limit your IP. ")
        assert "x-error-code" not in refused.headers
        assert [request.status for request in hub.requests] == [200, 200, 200, 429, 429]

    def test_who_waits_as_long_as_the_header_says_is_let_through_again(self, hub, api, fetch):
        hub.limit("api", quota=1, window=0.9)
        assert fetch(api).status == 200
        refused = fetch(api)
        assert (refused.status, remaining(refused)) == (429, ("api", 0, 1))
        time.sleep(1)
        assert [fetch(api).status for _ in range(2)] == [200, 429]

    def test_what_is_not_modified_not_found_or_moved_counts_too(self, hub, repo, api, fetch):
        etag = fetch(api).headers["etag"]
        hub.rename("acme/tiny", "acme/small")
        hub.limit("api", quota=3, window=60)
        small = api.replace("tiny", "small")
        statuses = [
            fetch(small, headers={"If-None-Match": etag}).status,
            fetch(f"{small}/revision/absent").status,
            fetch(api).status,
            fetch(small).status,
        ]
        assert statuses == [200, 404, 307, 429]

    def test_buckets_are_counted_apart(self, hub, api, web, follow, fetch):
        hub.limit("resolvers", quota=3, window=60)
        # A small file is two requests to the Hub; a large one is one, and one to the CDN, which counts nothing.
        assert follow(f"{web}/resolve/main/config.json").status == 200
        assert follow(f"{web}/resolve/main/model.safetensors").status == 200
        refused = fetch(f"{web}/resolve/main/config.json")
        assert (refused.status, remaining(refused)[:2]) == (429, ("resolvers", 0))
        assert refused.body.decode() == refused.headers["x-error-message"]
        assert fetch(api).status == 200

    def test_callers_are_counted_apart(self, hub, api, reader, stranger, fetch):
        hub.limit("api", quota=1, window=60)
        assert [fetch(api, token=token).status for token in (None, reader, stranger)] == [200, 200, 200]
        assert [fetch(api, token=token).status for token in (None, reader, stranger)] == [429, 429, 429]
        assert fetch(api, headers={"Authorization": "Bearer hf_wrong"}).status == 429

    def test_a_limit_counts_from_when_it_is_set_and_can_be_taken_back(self, hub, api, fetch):
        fetch(api)
        hub.limit("api", quota=1)
        assert fetch(api).headers["ratelimit"] == '"api";r=0;t=300'
        assert fetch(api).status == 429
        hub.limit("api", quota=2)
        assert fetch(api).status == 200
        hub.clear_limits()
        assert fetch(api).headers["ratelimit"] == '"api";r=499;t=300'

    def test_without_a_limit_nothing_is_refused_and_one_request_is_always_left(self, hub, api, fetch):
        answers = [fetch(f"{hub.endpoint}/nothing/here") for _ in range(102)]
        assert {answer.status for answer in answers} == {401}
        assert remaining(answers[-1])[:2] == ("pages", 1)

    def test_many_at_once_get_no_more_than_the_quota(self, hub, api, fetch):
        hub.limit("api", quota=20, window=60)
        with ThreadPoolExecutor(16) as pool:
            statuses = list(pool.map(lambda _: fetch(api).status, range(50)))
        assert (statuses.count(200), statuses.count(429)) == (20, 30)

    def test_misuse_is_told(self, hub):
        with pytest.raises(ValueError, match="there is no bucket 'cdn'; the Hub counts api, resolvers, pages"):
            hub.limit("cdn", quota=1)
        for quota, window in ((0, 1), (1, 0)):
            with pytest.raises(ValueError, match=f"a quota of {quota} requests in {window} seconds lets nobody"):
                hub.limit("api", quota=quota, window=window)


class TestLatency:
    def test_every_answer_of_both_origins_takes_so_long(self, hub, api, web, fetch, follow):
        hub.latency = 0.1
        for url, answers in ((api, 1), (f"{api}x", 1), (f"{web}/resolve/main/model.safetensors", 2)):
            started = time.monotonic()
            follow(url)
            assert time.monotonic() - started >= 0.1 * answers
        hub.latency = 60
        hub.latency = 0
        assert fetch(api).status == 200

    def test_it_adds_to_a_fault_that_delays(self, hub, api, fetch):
        hub.latency = 0.1
        hub.fail(Fault(delay=0.1))
        started = time.monotonic()
        assert fetch(api).status == 200
        assert time.monotonic() - started >= 0.2

    def test_many_connections_wait_at_the_same_time(self, fetch):
        with HubSimulator(latency=0.5) as hub:
            hub.add_repo("acme/tiny", FILES)
            started = time.monotonic()
            with ThreadPoolExecutor(64) as pool:
                found = list(pool.map(lambda _: fetch(f"{hub.endpoint}/api/models/acme/tiny").status, range(64)))
            assert found == [200] * 64
            # In turn it would be half a minute.
            assert 0.5 <= time.monotonic() - started < 10

    def test_stopping_does_not_wait_for_it(self, hub, api, fetch):
        hub.latency = 60
        with ThreadPoolExecutor(1) as pool:
            pending = pool.submit(fetch, api)
            while not hub.requests:
                time.sleep(0.01)
            started = time.monotonic()
            hub.stop()
            assert time.monotonic() - started < 30
            pending.exception(timeout=30)


class TestUnfetched:
    SIZE = 13_000_000_000
    DIGEST = sha256(b"what nobody has")

    @pytest.fixture
    def repo(self, hub):
        files = {
            "config.json": Unfetched(size=9, sha256="0" * 64),
            "big.gguf": Unfetched(size=self.SIZE, sha256=self.DIGEST),
        }
        return hub.add_repo("acme/tiny", {**files, "README.md": b"# Big\n"}, lfs=lambda *_: False)

    def test_it_is_listed_like_any_other_lfs_file(self, api, repo, fetch):
        text = f"version https://git-lfs.github.com/spec/v1\noid sha256:{self.DIGEST}\nsize {self.SIZE}\n".encode()
        entries = {entry["path"]: entry for entry in fetch(f"{api}/tree/main").json}
        assert entries["big.gguf"] == {
            "type": "file",
            "oid": git_blob(text),
            "size": self.SIZE,
            "lfs": {"oid": self.DIGEST, "size": self.SIZE, "pointerSize": len(text)},
            "path": "big.gguf",
        }
        assert entries["config.json"]["lfs"]["oid"] == "0" * 64
        assert "lfs" not in entries["README.md"]
        assert fetch(f"{api}/treesize/main/").json["size"] == self.SIZE + 9 + 6

    def test_its_bytes_are_nowhere(self, hub, web, repo, fetch, follow):
        answer = fetch(f"{web}/resolve/main/big.gguf", "HEAD")
        assert (answer.status, answer.headers["x-linked-etag"]) == (302, f'"{self.DIGEST}"')
        assert answer.headers["x-linked-size"] == str(self.SIZE)
        for headers in ({}, {"Range": "bytes=0-99"}):
            missing = follow(f"{web}/resolve/main/big.gguf", headers=headers)
            assert missing.url.startswith(hub.cdn_origin)
            assert (missing.status, b"NoSuchKey" in missing.body) == (404, True)
        assert fetch(hub.add_file("big.gguf", Unfetched(size=1, sha256=self.DIGEST))).status == 404
        with pytest.raises(FileNotFoundError, match="nobody has the bytes of"):
            repo.files()["big.gguf"].read()

    def test_a_commit_can_lose_and_gain_it(self, api, repo, fetch):
        repo.commit({"big.gguf": b"found again", "README.md": None}, message="Found")
        found = {entry["path"]: entry["size"] for entry in fetch(f"{api}/tree/main").json}
        assert found == {"big.gguf": 11, "config.json": 9}

    def test_misuse_is_told(self):
        with pytest.raises(ValueError, match="a file in Git LFS has at least one byte, not 0"):
            Unfetched(size=0, sha256=self.DIGEST)
        for digest in ("", "0" * 40, "A" * 64, "0" * 64 + "\n"):
            with pytest.raises(ValueError, match="a SHA-256 is 64 lower-case hexadecimal digits, not "):
                Unfetched(size=1, sha256=digest)
