"""The hub's API: what it says becomes values, and what it should not say becomes an error."""

from __future__ import annotations

import json
import time

import pytest

from tests.conftest import TOKEN
from vcm.core.metadata import Ref, RemoteFile, RepoInfo
from vcm.errors import AUTHENTICATION_ERROR, NETWORK_ERROR, NOT_FOUND, ModelNotFoundError, RegistryError
from vcm.http.faults import NetworkFaultError
from vcm.hub import responses
from vcm.testing import Fault, HubSimulator

WEIGHTS = b"weights" * 100
COMMIT = "0123456789abcdef0123456789abcdef01234567"
FILES = {"config.json": b"{}", "onnx/model.onnx": WEIGHTS, "model.safetensors": WEIGHTS[1:]}


@pytest.fixture
def repo(hub):
    return hub.add_repo(
        "acme/tiny",
        FILES,
        tags=["v1.0"],
        card={"license": "mit", "new_version": "acme/large"},
        pipeline_tag="text-classification",
        repo_id="0123456789abcdef01234567",
    )


def told(caught: pytest.ExceptionInfo[RegistryError]) -> tuple[str, str]:
    return str(caught.value), caught.value.hint


# What is asked and understood


def test_info(hub, repo, connect):
    client = connect(hub.endpoint).client
    expected = RepoInfo(
        repo="acme/tiny",
        commit=repo.head(),
        repo_id="0123456789abcdef01234567",
        task="text-classification",
        license="mit",
        new_version="acme/large",
        tags=("text-classification", "license:mit", "region:us"),
    )
    for revision in (None, "main", "v1.0", repo.head()):
        assert client.info("acme/tiny", revision) == expected
    assert [request.path for request in hub.requests] == [
        "/api/models/acme/tiny",
        "/api/models/acme/tiny/revision/main",
        "/api/models/acme/tiny/revision/v1.0",
        f"/api/models/acme/tiny/revision/{repo.head()}",
    ]


def test_a_revision_with_slashes_is_one_segment(hub, repo, connect):
    repo.branch("refs/pr/1")
    repo.branch("release/1 %+&")
    client = connect(hub.endpoint).client
    for revision in ("refs/pr/1", "release/1 %+&"):
        assert client.info("acme/tiny", revision).commit == repo.head()
    assert hub.requests[0].path == "/api/models/acme/tiny/revision/refs%2Fpr%2F1"


def test_refs(hub, repo, connect):
    other = repo.commit({"config.json": b"{1}"}, branch="v2.0")
    assert set(connect(hub.endpoint).client.refs("acme/tiny")) == {
        Ref("v1.0", "tag", repo.head()),
        Ref("main", "branch", repo.head()),
        Ref("v2.0", "branch", other),
    }


@pytest.mark.parametrize("page_size", [1, 2, 3, 1000])
def test_a_listing_over_many_pages(connect, page_size):
    with HubSimulator(page_size=page_size) as hub:
        names = {f"folder-{number % 3}/part {number}+ü.bin": b"%d" % number for number in range(20)}
        repo = hub.add_repo("acme/many", names)
        files = connect(hub.endpoint).client.tree("acme/many", repo.head())
        pages = len(hub.requests)
    assert {file.path: file.size for file in files} == {path: len(data) for path, data in names.items()}
    assert all(file.sha256 == repo.files()[file.path].sha256 and file.oid is None for file in files)
    assert pages == -(-23 // page_size)


def test_small_files_have_a_git_id_and_large_ones_a_sha256(hub, repo, connect):
    stored = repo.files()
    assert set(connect(hub.endpoint).client.tree("acme/tiny", repo.head())) == {
        RemoteFile("config.json", 2, oid=stored["config.json"].oid),
        RemoteFile("onnx/model.onnx", 700, sha256=stored["onnx/model.onnx"].sha256),
        RemoteFile("model.safetensors", 699, sha256=stored["model.safetensors"].sha256),
    }


def test_the_address_of_a_file_is_escaped(connect):
    client = connect("https://hub.example/prefix").client
    assert client.file_url("acme/x", COMMIT, "a b/ü?#%.bin") == (
        f"https://hub.example/prefix/acme/x/resolve/{COMMIT}/a%20b/%C3%BC%3F%23%25.bin"
    )


def test_a_hub_below_a_path_is_asked_there(connect, loopback, http_answer):
    server = loopback(http_answer(body=b'{"id": "acme/x", "sha": "%s"}' % COMMIT.encode()))
    assert connect(f"{server.url}/mirror/hub").client.info("acme/x", None).commit == COMMIT
    assert server.asked[0].target == "/mirror/hub/api/models/acme/x"


def test_a_renamed_repo_answers_with_its_present_name(hub, repo, connect):
    hub.rename("acme/tiny", "acme/small")
    client = connect(hub.endpoint).client
    info = client.info("acme/tiny", None)
    assert (info.repo, info.repo_id) == ("acme/small", "0123456789abcdef01234567")
    assert len(client.tree("acme/tiny", info.commit)) == 3
    assert len(client.refs("acme/tiny")) == 2


# Who may not


@pytest.mark.parametrize("token", [None, TOKEN])
def test_a_repo_that_does_not_exist_and_one_that_is_private_look_alike(hub, connect, token):
    hub.add_repo("acme/secret", FILES, private=True)
    client = connect(hub.endpoint, token).client
    for repo in ("acme/secret", "acme/nothing"):
        with pytest.raises(ModelNotFoundError) as caught:
            client.info(repo, "v1.0")
        hint = (
            "check the spelling, and that the token in HF_TOKEN may read it"
            if token
            else ("check the spelling; for a private repo set HF_TOKEN")
        )
        assert told(caught) == (f"{repo} at v1.0: no such repo, or it is private", hint)
        assert caught.value.error_code == NOT_FOUND
        assert caught.value.exit_code == 3


def test_a_granted_token_sees_the_private_repo(hub, connect):
    hub.add_repo("acme/secret", FILES, private=True)
    hub.grant(TOKEN, "acme/secret")
    assert connect(hub.endpoint, TOKEN).client.info("acme/secret", None).repo == "acme/secret"


def test_a_revision_that_does_not_exist(hub, repo, connect):
    made = connect(hub.endpoint)
    with pytest.raises(ModelNotFoundError) as caught:
        made.client.info("acme/tiny", "v9.9")
    assert told(caught) == ("acme/tiny at v9.9: no such revision", "check version or revision in models.toml")
    with pytest.raises(ModelNotFoundError) as caught:
        made.client.tree("acme/tiny", COMMIT)
    assert str(caught.value) == "the files of acme/tiny at 0123456789ab: no such revision"
    assert made.waits == []


def test_a_token_that_the_hub_does_not_know(hub, repo, connect):
    made = connect(hub.endpoint, "hf_expired", source="/home/me/.cache/huggingface/token")
    with pytest.raises(RegistryError) as caught:
        made.client.info("acme/tiny", None)
    assert told(caught) == (
        "acme/tiny: the hub does not accept the token in /home/me/.cache/huggingface/token",
        f"make a new one at {hub.endpoint}/settings/tokens, or unset it for public repos",
    )
    assert caught.value.error_code == AUTHENTICATION_ERROR
    assert "hf_expired" not in repr(caught.value.__dict__)
    assert made.waits == []


def test_a_disabled_repo(hub, connect):
    hub.add_repo("acme/banned", FILES, disabled=True)
    with pytest.raises(ModelNotFoundError) as caught:
        connect(hub.endpoint).client.info("acme/banned", None)
    assert told(caught) == (
        "acme/banned: the repo is disabled by the hub or its owner",
        "name another repo in models.toml",
    )


def test_a_gated_repo_without_a_token(hub, connect):
    repo = hub.add_repo("acme/gated", FILES, gated="manual")
    client = connect(hub.endpoint).client
    assert client.info("acme/gated", None).gated == "manual"
    files = {file.path: file for file in client.tree("acme/gated", repo.head())}
    assert files["model.safetensors"] == RemoteFile("model.safetensors", 699, masked=True)
    assert not files["config.json"].masked
    with pytest.raises(RegistryError) as caught:
        client.check_access("acme/gated")
    assert told(caught) == (
        "acme/gated: the repo is gated, and access was not granted",
        f"accept its terms at {hub.endpoint}/acme/gated, then set HF_TOKEN to a token of that account",
    )
    assert (caught.value.error_code, caught.value.exit_code) == (AUTHENTICATION_ERROR, 3)


def test_a_gated_repo_with_a_token_that_was_not_let_in(hub, connect):
    hub.add_repo("acme/gated", FILES, gated="auto")
    client = connect(hub.endpoint, TOKEN).client
    assert client.info("acme/gated", None).gated == "auto"
    with pytest.raises(RegistryError) as caught:
        client.check_access("acme/gated")
    assert told(caught) == (
        (
            "acme/gated: the repo is gated, and access was not granted (Access to model acme/gated is restricted and "
            "you are not in the authorized list. Visit https://huggingface.co/acme/gated to ask for access.)"
        ),
        f"accept its terms at {hub.endpoint}/acme/gated with the account whose token is in HF_TOKEN",
    )


def test_a_gated_repo_with_a_token_that_was(hub, connect):
    repo = hub.add_repo("acme/gated", FILES, gated="auto")
    hub.grant(TOKEN, "acme/gated")
    client = connect(hub.endpoint, TOKEN).client
    client.check_access("acme/gated")
    assert not any(file.masked for file in client.tree("acme/gated", repo.head()))


def test_what_a_server_says_cannot_draw_on_the_terminal(hub, repo, connect, loopback, http_answer):
    words = "bad\x1b[2J\x9b31m\x07" + "x" * 500
    server = loopback(http_answer(403, {"X-Error-Message": words}))
    with pytest.raises(RegistryError) as caught:
        connect(server.url).client.info("acme/tiny", None)
    assert caught.value.message.isprintable()
    assert len(caught.value.message) < 300


# What is tried again


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_a_passing_failure_is_passed_over(hub, repo, connect, status):
    hub.fail(Fault(path="/api/*", status=status, times=3))
    made = connect(hub.endpoint)
    assert made.client.info("acme/tiny", None).repo == "acme/tiny"
    assert made.waits == [2.0, 4.0, 8.0]
    reason = "too many requests" if status == 429 else f"the hub answers {status}"
    assert made.reasons == [f"acme/tiny: {reason}"] * 3


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_a_lasting_failure_is_told_after_three_new_tries(hub, repo, connect, status):
    hub.fail(Fault(path="/api/*", status=status, times=None))
    made = connect(hub.endpoint)
    with pytest.raises(NetworkFaultError) as caught:
        made.client.info("acme/tiny", None)
    reason = "too many requests" if status == 429 else f"the hub answers {status}"
    assert told(caught) == (f"acme/tiny: {reason}", "try again later")
    assert (caught.value.error_code, caught.value.exit_code) == (NETWORK_ERROR, 3)
    assert made.waits == [2.0, 4.0, 8.0]
    assert len(hub.requests) == 4


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 409, 410, 416, 418, 451, 501])
def test_a_refusal_is_not_tried_again(hub, repo, connect, status):
    hub.fail(Fault(path="/api/*", status=status, times=None))
    made = connect(hub.endpoint)
    with pytest.raises(RegistryError) as caught:
        made.client.info("acme/tiny", None)
    assert not isinstance(caught.value, NetworkFaultError)
    assert made.waits == []
    assert len(hub.requests) == 1


@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ({"Retry-After": "7"}, 7.0),
        ({"Retry-After": "0"}, 0.0),
        ({"Retry-After": "600"}, 600.0),
        ({"RateLimit": '"api";r=0;t=55'}, 56.0),
        ({"RateLimit": '"api";r=0;t=55', "Retry-After": "3"}, 3.0),
        ({"RateLimit": '"api";r=12;t=55'}, 2.0),
        ({"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}, 2.0),
        ({"Retry-After": "-5"}, 2.0),
        ({"Retry-After": "1e9"}, 2.0),
        ({"Retry-After": "9" * 400}, 2.0),
        ({"RateLimit": "garbage;;;=r=0"}, 2.0),
    ],
)
def test_who_says_how_long_to_wait_is_heard(hub, repo, connect, headers, wait):
    hub.fail(Fault(path="/api/*", status=429, headers={"RateLimit": None, **headers}))
    made = connect(hub.endpoint)
    made.client.info("acme/tiny", None)
    assert made.waits == [wait]


@pytest.mark.parametrize(
    ("headers", "asked"), [({"Retry-After": "601"}, 601.0), ({"RateLimit": '"api";r=0;t=900'}, 901.0)]
)
def test_who_asks_for_too_much_is_not_waited_for(hub, repo, connect, headers, asked):
    hub.fail(Fault(path="/api/*", status=429, headers=headers, times=None))
    made = connect(hub.endpoint)
    with pytest.raises(NetworkFaultError) as caught:
        made.client.info("acme/tiny", None)
    assert caught.value.retry_after == asked
    assert made.waits == []
    assert len(hub.requests) == 1


def test_a_cut_answer_is_asked_for_again(hub, repo, connect):
    hub.fail(Fault(path="/api/*", cut_after=30, times=2))
    made = connect(hub.endpoint)
    assert made.client.info("acme/tiny", None).repo == "acme/tiny"
    assert made.waits == [2.0, 4.0]


def test_each_page_has_patience_of_its_own(connect):
    with HubSimulator(page_size=1) as hub:
        repo = hub.add_repo("acme/tiny", {"a": b"1", "b": b"2"})
        hub.fail(Fault(path="*/tree/*", status=503, times=3))
        hub.fail(Fault(path="*/tree/*", status=503, times=3, skip=1))
        made = connect(hub.endpoint)
        assert len(made.client.tree("acme/tiny", repo.head())) == 2
    assert made.waits == [2.0, 4.0, 8.0] * 2


# What no hub should say


@pytest.mark.parametrize(
    ("body", "start"),
    [
        (b"<!doctype html><title>Log in</title>", "'<!doctype html><title>Log in</title>'"),
        (b"", "''"),
        (b'{"id": "acme/tiny", ', """'{"id": "acme/tiny", '"""),
        (b"\xff\xfe\x00", "'��\\x00'"),
        (b"[" * 100_000, "'" + "[" * 60 + "'"),
        (b"1" * 5000, "'" + "1" * 60 + "'"),
        (b"\x1b[2J", "'\\x1b[2J'"),
    ],
)
def test_an_answer_that_is_not_json(hub, repo, connect, body, start):
    hub.fail(Fault(path="/api/*", status=200, body=body))
    made = connect(hub.endpoint)
    with pytest.raises(RegistryError) as caught:
        made.client.info("acme/tiny", None)
    assert told(caught) == (
        f"acme/tiny: the hub's answer is not JSON: {start}",
        "check HF_ENDPOINT, and that no proxy or login page answers in the hub's place",
    )
    assert made.waits == []


def test_an_answer_without_an_end(hub, repo, connect):
    hub.fail(Fault(path="/api/*", endless=True))
    started = time.monotonic()
    with pytest.raises(RegistryError) as caught:
        connect(hub.endpoint).client.info("acme/tiny", None)
    assert str(caught.value) == f"{hub.endpoint}/api/models/acme/tiny: the answer is longer than {64 << 20} bytes"
    assert time.monotonic() - started < 30


@pytest.mark.parametrize("value", [None, True, 1, "text", [], ["x"], [[]]])
def test_answers_of_another_shape(value):
    for read in (responses.repo_info, responses.refs):
        with pytest.raises(RegistryError):
            read(value, "x")
    if value != []:
        with pytest.raises(RegistryError):
            responses.tree_files(value, "x")
    with pytest.raises(RegistryError):
        responses.refs({"tags": value if value != [] else {}, "branches": []}, "x")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sha": None}, "x: the hub sends no usable sha"),
        ({"sha": "main"}, "x: the hub sends no usable sha"),
        ({"sha": COMMIT.upper()}, "x: the hub sends no usable sha"),
        ({"sha": COMMIT + "\n"}, "x: the hub sends no usable sha"),
        ({"sha": COMMIT[:39]}, "x: the hub sends no usable sha"),
        ({"sha": "\N{ARABIC-INDIC DIGIT ZERO}" * 40}, "x: the hub sends no usable sha"),
        ({"id": None}, "x: the hub's answer lacks id"),
        ({"id": 5}, "x: the hub's answer lacks id"),
        ({"id": "a/b/c"}, "x: the hub sends an unusable id 'a/b/c': a repo id is 'namespace/name'"),
        (
            {"id": "../../etc"},
            "x: the hub sends an unusable id '../../etc': a repo id is 'namespace/name'",
        ),
        (
            {"id": "a\x1b[2J"},
            (
                "x: the hub sends an unusable id 'a\\x1b[2J': each part of a repo id is 1 to 96 of A-Z, a-z, 0-9, "
                "'-', '_' and '.'"
            ),
        ),
    ],
)
def test_model_info_that_cannot_be_used(change, message):
    with pytest.raises(RegistryError) as caught:
        responses.repo_info({"id": "acme/x", "sha": COMMIT} | change, "x")
    assert str(caught.value) == message


@pytest.mark.parametrize(
    "free",
    [
        {"cardData": "text"},
        {"cardData": {"license": 5, "new_version": ["a"]}},
        {"cardData": {"license": "m\x1bit", "new_version": "../.."}},
        {"cardData": {"license": "x" * 101}},
        {"cardData": None, "tags": [5, None, "license:\ud800"]},
        {"pipeline_tag": "Text Classification"},
        {"pipeline_tag": {"a": 1}},
        {"_id": 5},
        {"_id": "a\nb"},
        {"tags": "license:mit"},
    ],
)
def test_what_authors_write_freely_is_used_where_it_fits_and_ignored_elsewhere(free):
    assert responses.repo_info({"id": "acme/x", "sha": COMMIT} | free, "x") == RepoInfo(repo="acme/x", commit=COMMIT)


@pytest.mark.parametrize(
    ("gated", "expected"), [(False, None), (None, None), ("auto", "auto"), ("manual", "manual"), (True, "manual")]
)
def test_gates(gated, expected):
    assert responses.repo_info({"id": "a/x", "sha": COMMIT, "gated": gated}, "x").gated == expected


def test_refs_whose_names_cannot_be_asked_for_are_left_out():
    names = ["v1", "a b", "a..b", "-x", "a\x1b", "x~1", "", "a" * 300, "x.lock", "a//b", None, 5, "\ud800"]
    tags = [{"name": name, "targetCommit": COMMIT} for name in names]
    assert responses.refs({"tags": tags, "branches": []}, "x") == (Ref("v1", "tag", COMMIT),)


@pytest.mark.parametrize("commit", [None, "main", COMMIT[1:], 5])
def test_a_ref_without_a_commit(commit):
    with pytest.raises(RegistryError, match="x: the hub sends no usable commit of v1"):
        responses.refs({"tags": [{"name": "v1", "targetCommit": commit}]}, "x")


HOSTILE_PATHS = [
    "../up",
    "a/../../b",
    "/etc/passwd",
    "//server/share",
    "C:/x",
    "c:x",
    "a\\b",
    "\\\\server\\share",
    "a/./b",
    "a//b",
    "a/",
    "",
    ".",
    "~/x",
    "~root",
    "a\0b",
    "a\nb",
    "a\x1b[2Jb",
    "a\x7f",
    "a\u202eb",
    "a\u2028b",
    "\ud800",
    "x" * 256,
    "/".join(["xxxxxxxx"] * 120),
    None,
    5,
    ["a"],
]


@pytest.mark.parametrize("path", HOSTILE_PATHS)
def test_paths_that_lead_elsewhere(hub, repo, connect, path):
    entry = {"type": "file", "path": path, "size": 1, "oid": COMMIT}
    hub.fail(Fault(path="*/tree/*", edit=lambda entries: [*entries, entry], times=None))
    made = connect(hub.endpoint)
    with pytest.raises(RegistryError) as caught:
        made.client.tree("acme/tiny", repo.head())
    assert str(caught.value).startswith(f"the files of acme/tiny at {repo.head()[:12]}: the hub")
    assert caught.value.message.isprintable()
    assert len(caught.value.message) < 300
    assert made.waits == []


@pytest.mark.parametrize("size", [-1, 1.0, "5", None, True, 1 << 51, float("inf"), float("nan"), [5], 10**30])
def test_sizes_that_are_none(size):
    with pytest.raises(RegistryError, match="x: the hub sends no usable size for a"):
        responses.tree_files([{"type": "file", "path": "a", "size": size, "oid": COMMIT}], "x")


DIGEST = "ab" * 32


@pytest.mark.parametrize(
    ("pointer", "message"),
    [
        ({"oid": DIGEST, "size": 6}, "x: the hub gives two sizes for a"),
        ({"oid": DIGEST}, "x: the hub sends no usable size for a"),
        ({"oid": DIGEST.upper(), "size": 5}, "x: the hub gives no usable SHA-256 for a"),
        ({"oid": DIGEST[1:], "size": 5}, "x: the hub gives no usable SHA-256 for a"),
        ({"oid": DIGEST + "\n", "size": 5}, "x: the hub gives no usable SHA-256 for a"),
        ({"oid": "*" * 63, "size": 5}, "x: the hub gives no usable SHA-256 for a"),
        ({"oid": COMMIT, "size": 5}, "x: the hub gives no usable SHA-256 for a"),
        ({"oid": None, "size": 5}, "x: the hub gives no usable SHA-256 for a"),
        ({"size": 5}, "x: the hub gives no usable SHA-256 for a"),
        ({}, "x: the hub sends no usable size for a"),
        ("text", "x: the hub's answer has an unexpected shape"),
    ],
)
def test_digests_that_are_none(pointer, message):
    entry = {"type": "file", "path": "a", "size": 5, "oid": COMMIT, "lfs": pointer, "xetHash": DIGEST}
    with pytest.raises(RegistryError) as caught:
        responses.tree_files([entry], "x")
    assert str(caught.value) == message


def test_a_masked_digest_is_no_digest():
    entry = {"type": "file", "path": "a", "size": 5, "oid": COMMIT, "lfs": {"oid": "*" * 64, "size": 5}}
    assert responses.tree_files([entry], "x") == [RemoteFile("a", 5, masked=True)]


@pytest.mark.parametrize("oid", [None, "", "*" * 40, DIGEST, COMMIT.upper()])
def test_a_small_file_without_a_git_id(oid):
    with pytest.raises(RegistryError, match="x: the hub sends no usable oid of a"):
        responses.tree_files([{"type": "file", "path": "a", "size": 5, "oid": oid}], "x")


def test_one_path_twice(hub, repo, connect):
    hub.fail(Fault(path="*/tree/*", edit=lambda entries: entries + entries[-1:]))
    with pytest.raises(RegistryError) as caught:
        connect(hub.endpoint).client.tree("acme/tiny", repo.head())
    assert str(caught.value).endswith(": the hub lists onnx/model.onnx twice")


# Pages


@pytest.mark.parametrize(
    "link",
    [
        '<http://evil.example/api/models/acme/tiny/tree/x?cursor=1>; rel="next"',
        '<https://127.0.0.1/>; rel="next"',
        '<//evil.example/x>; rel="next"',
        '<ftp://127.0.0.1/>; rel="next"',
        '<javascript:alert(1)>; rel="next"',
        '<http://evil.example/x;y=z?cursor=1>; rel="next"',
        "<http://evil.example/x>; rel=next",
        '<http://[::1>; rel="next"',
        '<http://127.0.0.1:99999/>; rel="next"',
        '<http://127.0.0.1:port/>; rel="next"',
    ],
)
def test_a_next_page_elsewhere_is_refused(hub, repo, connect, link):
    hub.fail(Fault(path="*/tree/*", headers={"Link": link}))
    made = connect(hub.endpoint, TOKEN)
    with pytest.raises(RegistryError) as caught:
        made.client.tree("acme/tiny", repo.head())
    assert str(caught.value).startswith(f"the files of acme/tiny at {repo.head()[:12]}: the hub's next page ")
    assert len(hub.requests) == 1
    assert made.waits == []


@pytest.mark.parametrize("link", ["", "garbage", '</x>; rel="prev"', '<https://cas.example>; rel="xet-auth"', ",;<>="])
def test_other_links_are_nothing_to_follow(hub, repo, connect, link):
    hub.fail(Fault(path="*/tree/*", headers={"Link": link}))
    assert len(connect(hub.endpoint).client.tree("acme/tiny", repo.head())) == 3
    assert len(hub.requests) == 1


def test_a_relative_link_is_followed(connect, loopback, http_answer):
    def answer(connection, asked):
        last = "cursor" in asked.target
        headers = {} if last else {"Link": '<?recursive=true&cursor=2>; rel="next"'}
        entry = {"type": "file", "path": f"file-{last}", "size": 1, "oid": COMMIT}
        connection.sendall(http_answer(headers=headers, body=json.dumps([entry]).encode()))

    server = loopback(answer)
    assert len(connect(server.url).client.tree("acme/x", COMMIT)) == 2
    assert server.asked[1].target == f"/api/models/acme/x/tree/{COMMIT}?recursive=true&cursor=2"


def test_pages_without_an_end(hub, repo, connect):
    link = f'<{hub.endpoint}/api/models/acme/tiny/tree/{repo.head()}?recursive=true&cursor=>; rel="next"'
    hub.fail(Fault(path="*/tree/*", edit=lambda _: [], headers={"Link": link}, times=None))
    with pytest.raises(RegistryError) as caught:
        connect(hub.endpoint).client.tree("acme/tiny", repo.head())
    assert str(caught.value) == f"the files of acme/tiny at {repo.head()[:12]}: more than 1000 pages"
    assert len(hub.requests) <= 1000


def test_a_licence_that_is_no_text_does_not_vanish_beside_one_that_is():
    answer = {"id": "acme/m", "sha": "1" * 40, "cardData": {"license": ["mit", 3]}}
    assert responses.repo_info(answer, "acme/m").license == "mit, ?"
