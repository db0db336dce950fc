"""Known answers: who is asked, who is not, and what is kept."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest

from tests.conftest import TOKEN
from vcm.core.metadata import KeptAnswer
from vcm.errors import AUTHENTICATION_ERROR, NETWORK_ERROR, ModelNotFoundError, RegistryError
from vcm.http.faults import NetworkFaultError
from vcm.hub.answers import Caching
from vcm.store.metadata import MetadataStore
from vcm.testing import Fault, HubSimulator

FILES = {"config.json": b"{}", "model.safetensors": b"weights" * 100}
DAY = 24 * 3600
NOT_KNOWN = (
    "what the hub says of {} is not in the metadata cache, and this run is offline",
    "run it once without --offline, VCM_OFFLINE and HF_HUB_OFFLINE: what the hub says then serves offline too",
)


@pytest.fixture
def repo(hub):
    return hub.add_repo("acme/tiny", FILES, tags=["v1.0"])


@pytest.fixture
def store(tmp_path):
    return MetadataStore(tmp_path / "cache")


class Clock:
    """A time that stands until a test moves it."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.5

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def run(hub, store, clock, connect):
    """Begins a run over the test's hub and cache: its client."""

    def begin(freshness="normal", token=None, **options):
        caching = Caching(store=store, clock=clock, freshness=freshness, ttl_hours=options.pop("ttl_hours", 24))
        return connect(hub.endpoint, token, caching=caching, **options).client

    return begin


def everything(client: Any, commit: str, name: str = "acme/tiny") -> list[Any]:
    return [
        client.info(name, None),
        client.info(name, commit),
        client.refs(name),
        client.tree(name, commit),
        client.commit_date(name, commit),
    ]


def asked(hub: HubSimulator) -> list[tuple[str, bool, int]]:
    """Path, whether an ETag was sent, and status of what the hub was asked since the last time."""
    seen = [
        (request.path.removeprefix("/api/models/acme/tiny"), "if-none-match" in request.headers, request.status)
        for request in hub.requests
    ]
    hub.clear_requests()
    return seen


def told(caught: pytest.ExceptionInfo[RegistryError]) -> tuple[str, str]:
    return str(caught.value), caught.value.hint


# What is asked


def test_a_second_run_asks_nothing(hub, repo, run):
    first = everything(run(), repo.head())
    assert len(asked(hub)) == 4
    client = run()
    assert not client.reused("acme/tiny")
    assert everything(client, repo.head()) == first
    assert asked(hub) == []
    assert client.reused("acme/tiny")
    assert not client.reused("acme/other")


def test_one_run_asks_once_and_calls_that_no_reuse(hub, repo, run, clock):
    for freshness in ("normal", "revalidate", "refresh"):
        client = run(freshness)
        first = everything(client, repo.head())
        hub.clear_requests()
        clock.now += 2 * DAY
        assert everything(client, repo.head()) == first
        assert everything(client.revalidating(), repo.head()) == first
        assert asked(hub) == []
        assert not client.reused("acme/tiny")


def test_what_may_change_is_confirmed_after_a_day_and_a_commit_never(hub, repo, run, clock):
    commit = repo.head()
    first = everything(run(), commit)
    asked(hub)
    clock.now += DAY - 1
    everything(run(), commit)
    assert asked(hub) == []
    clock.now += 1
    client = run()
    assert everything(client, commit) == first
    assert asked(hub) == [("", True, 304), ("/refs", True, 304)]
    # The files of a commit and its date were taken as they were.
    assert client.reused("acme/tiny")
    # What was confirmed is fresh for another day.
    clock.now += DAY - 1
    everything(run(), commit)
    assert asked(hub) == []


def test_what_has_changed_meanwhile_is_taken_anew(hub, repo, run, clock):
    old = run().info("acme/tiny", None)
    new = repo.commit({"config.json": b"{1}"})
    assert run().info("acme/tiny", None) == old
    clock.now += DAY
    assert run().info("acme/tiny", None).commit == new
    assert run().info("acme/tiny", None).commit == new
    assert asked(hub) == [("", False, 200), ("", True, 200)]


@pytest.mark.parametrize("revision", [None, "main", "v1.0", "refs/pr/1"])
def test_what_a_branch_or_tag_leads_to_is_known_by_its_commit_too(hub, repo, run, clock, revision):
    if revision == "refs/pr/1":
        hub.fail(
            Fault(path="*/revision/*", status=200, body=json.dumps({"id": "acme/tiny", "sha": repo.head()}).encode())
        )
    info = run().info("acme/tiny", revision)
    asked(hub)
    client = run()
    assert client.info("acme/tiny", repo.head()) == info
    assert client.reused("acme/tiny")
    assert asked(hub) == []
    # After a day it is asked for itself, and whole: the ETag was another question's.
    clock.now += DAY
    run().info("acme/tiny", repo.head())
    assert asked(hub) == [(f"/revision/{repo.head()}", False, 200)]
    run().info("acme/tiny", repo.head())
    assert asked(hub) == []


def test_how_long_an_answer_serves_can_be_said(hub, repo, run, clock):
    run().refs("acme/tiny")
    clock.now += 1800
    run(ttl_hours=0.6).refs("acme/tiny")
    assert len(asked(hub)) == 1
    run(ttl_hours=0.5).refs("acme/tiny")
    assert len(asked(hub)) == 1
    run(ttl_hours=0).refs("acme/tiny")
    assert len(asked(hub)) == 1


def test_an_answer_from_the_future_has_no_known_age(hub, repo, run, clock):
    run().refs("acme/tiny")
    clock.now -= 3600
    run().refs("acme/tiny")
    assert asked(hub) == [("/refs", False, 200), ("/refs", True, 304)]


def test_a_tree_that_is_asked_by_a_branch_may_change(hub, repo, run, clock):
    run().tree("acme/tiny", "main")
    clock.now += DAY
    run().tree("acme/tiny", "main")
    assert asked(hub) == [("/tree/main?recursive=true", False, 200), ("/tree/main?recursive=true", True, 304)]


def test_who_revalidates_asks_about_everything_that_is_older_than_the_run(hub, repo, run, clock):
    commit = repo.head()
    first = everything(run(), commit)
    asked(hub)
    clock.now += 10
    client = run("revalidate")
    assert everything(client, commit) == first
    assert [(has_etag, status) for _, has_etag, status in asked(hub)] == [(True, 304)] * 4
    assert not client.reused("acme/tiny")


def test_what_another_process_has_asked_since_the_run_began_does(hub, repo, run, clock):
    client = run("revalidate")
    clock.now += 10
    run().refs("acme/tiny")
    asked(hub)
    client.refs("acme/tiny")
    assert asked(hub) == []
    assert client.reused("acme/tiny")


def test_one_question_of_a_run_can_be_put_to_the_hub_itself(hub, repo, run, clock):
    run().info("acme/tiny", None)
    new = repo.commit({"config.json": b"{1}"})
    clock.now += 10
    asked(hub)
    client = run()
    assert client.info("acme/tiny", None).commit != new
    assert client.reused("acme/tiny")
    sure = client.revalidating()
    assert not sure.reused("acme/tiny")
    assert sure.info("acme/tiny", None).commit == new
    assert not sure.reused("acme/tiny")
    assert asked(hub) == [("", True, 200)]
    assert client.info("acme/tiny", None).commit == new


def test_refreshing_asks_anew_and_keeps_what_comes(hub, repo, run):
    first = everything(run(), repo.head())
    asked(hub)
    client = run("refresh")
    assert everything(client, repo.head()) == first
    assert [(has_etag, status) for _, has_etag, status in asked(hub)] == [(False, 200)] * 4
    assert not client.reused("acme/tiny")
    hub.fail(Fault(path="*/tree/*", edit=lambda entries: entries[:1]))
    assert len(run("refresh").tree("acme/tiny", repo.head())) == 1
    assert len(run().tree("acme/tiny", repo.head())) == 1


def test_a_hub_without_etags_is_asked_anew(hub, repo, run, clock):
    hub.fail(Fault(path="*/refs", headers={"ETag": None}, times=None))
    run().refs("acme/tiny")
    clock.now += DAY
    run().refs("acme/tiny")
    assert asked(hub) == [("/refs", False, 200), ("/refs", False, 200)]


@pytest.mark.parametrize("etag", ["", "x", '"', '"a b"', '"a"\r\nX-Evil: 1', '"ü"', f'"{"x" * 201}"', 'w/"a"'])
def test_an_etag_that_fits_in_no_header_is_not_sent(hub, repo, run, store, clock, etag):
    run().refs("acme/tiny")
    address = f"{hub.endpoint}/api/models/acme/tiny/refs"
    kept = store.read("acme/tiny", address)
    store.write("acme/tiny", KeptAnswer(address=address, fetched=kept.fetched, body=kept.body, etag=etag))
    clock.now += DAY
    asked(hub)
    run().refs("acme/tiny")
    assert asked(hub) == [("/refs", False, 200)]


def test_a_hub_that_confirms_what_nobody_has_is_not_believed(hub, repo, run):
    hub.fail(Fault(path="*/refs", status=304))
    with pytest.raises(RegistryError) as caught:
        run().refs("acme/tiny")
    assert str(caught.value) == "the versions of acme/tiny: the hub answers 304"


def test_pages_are_kept_one_by_one(store, clock, connect):
    with HubSimulator(page_size=2) as hub:
        repo = hub.add_repo("acme/tiny", {f"{number}.json": b"%d" % number for number in range(5)})
        endpoint = hub.endpoint
        caching = Caching(store=store, clock=clock)
        first = connect(hub.endpoint, caching=caching).client.tree("acme/tiny", repo.head())
        assert len(hub.requests) == 3
        hub.clear_requests()
        assert connect(hub.endpoint, caching=caching).client.tree("acme/tiny", repo.head()) == first
        assert hub.requests == []
    assert connect(endpoint, caching=caching, offline=True).client.tree("acme/tiny", repo.head()) == first


def test_two_hubs_do_not_mix(hub, repo, run, store, clock, connect):
    run().refs("acme/tiny")
    with HubSimulator() as other:
        other.add_repo("acme/tiny", FILES)
        refs = connect(other.endpoint, caching=Caching(store=store, clock=clock)).client.refs("acme/tiny")
    assert [ref.name for ref in refs] == ["main"]


def test_threads_that_want_one_answer_ask_once(hub, repo, run):
    client = run()
    barrier = Barrier(8)
    hub.fail(Fault(path="*/refs", delay=0.3))

    def ask(_: int) -> Any:
        barrier.wait()
        return client.refs("acme/tiny")

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(ask, range(8)))) == 1
    assert len(asked(hub)) == 1


def test_without_a_cache_everything_is_asked(hub, repo, connect):
    client = connect(hub.endpoint).client
    client.refs("acme/tiny")
    client.refs("acme/tiny")
    assert asked(hub) == [("/refs", False, 200)] * 2
    assert not client.reused("acme/tiny")


def test_a_cache_that_cannot_be_written_changes_nothing_else(hub, repo, connect, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    caching = Caching(store=MetadataStore(tmp_path / "file"))
    client = connect(hub.endpoint, caching=caching).client
    first = everything(client, repo.head())
    assert everything(client, repo.head()) == first
    assert not client.reused("acme/tiny")


class FullDisk(MetadataStore):
    """What was kept before is there, and nothing more is kept."""

    def write(self, repo: str, answer: KeptAnswer) -> bool:
        return False


@pytest.mark.parametrize("freshness", ["refresh", "revalidate", "normal"])
def test_an_old_answer_that_cannot_be_replaced_does_not_come_back(  # noqa: PLR0917
    hub, repo, run, store, clock, connect, freshness
):
    run().info("acme/tiny", None)
    new = repo.commit({"config.json": b"{1}"})
    clock.now += DAY
    caching = Caching(store=FullDisk(store.folder.parent), clock=clock, freshness=freshness)
    client = connect(hub.endpoint, caching=caching).client
    assert [client.info("acme/tiny", None).commit for _ in range(3)] == [new] * 3


# Offline


def test_offline_an_answer_of_any_age_does(hub, repo, run, clock):
    first = everything(run(), repo.head())
    asked(hub)
    for later in (0, 1000 * DAY, -1001 * DAY):
        clock.now += later
        for freshness in ("normal", "revalidate", "refresh"):
            client = run(freshness, offline=True)
            assert everything(client, repo.head()) == first
            assert everything(client.revalidating(), repo.head()) == first
            assert client.reused("acme/tiny")
    assert asked(hub) == []


def test_offline_what_nobody_knows_is_told(hub, repo, run):
    client = run(offline=True)
    commit = repo.head()
    questions: list[tuple[Callable[[], Any], str]] = [
        (lambda: client.info("acme/tiny", None), "acme/tiny"),
        (lambda: client.info("acme/tiny", "main"), "acme/tiny at main"),
        (lambda: client.refs("acme/tiny"), "the versions of acme/tiny"),
        (lambda: client.tree("acme/tiny", commit), f"the files of acme/tiny at {commit[:12]}"),
    ]
    for question, subject in questions:
        with pytest.raises(RegistryError) as caught:
            question()
        assert told(caught) == (NOT_KNOWN[0].format(subject), NOT_KNOWN[1])
        assert (caught.value.error_code, caught.value.exit_code) == (NETWORK_ERROR, 3)
        assert not isinstance(caught.value, (ModelNotFoundError, NetworkFaultError))
    assert client.commit_date("acme/tiny", commit) is None
    assert client.search("tiny") == ()
    assert hub.requests == []


def test_offline_what_needs_the_hub_itself_is_told(hub, repo, run):
    client = run(offline=True)
    with pytest.raises(RegistryError) as caught:
        client.check_access("acme/tiny")
    assert told(caught) == (
        "this needs the hub, and this run is offline",
        "run it without --offline, VCM_OFFLINE and HF_HUB_OFFLINE",
    )
    assert hub.requests == []


def test_who_wants_only_what_is_fresh_asks_nobody_and_takes_nothing_else(hub, repo, run, clock):
    first = run().refs("acme/tiny")
    asked(hub)
    assert run("cached").refs("acme/tiny") == first
    assert run("cached", offline=True).refs("acme/tiny") == first
    clock.now += DAY
    for offline in (False, True):
        with pytest.raises(RegistryError):
            run("cached", offline=offline).refs("acme/tiny")
    assert asked(hub) == []


# What is not kept


def kept(store: MetadataStore) -> list[bytes]:
    return [path.read_bytes() for path in store.folder.rglob("*") if path.is_file()]


@pytest.mark.parametrize("status", [401, 403, 404, 400])
def test_a_refusal_is_not_kept(hub, run, store, status):
    for _ in range(2):
        with pytest.raises(RegistryError):
            run().info("acme/tiny", None)
    assert len(asked(hub)) == 2
    hub.add_repo("acme/tiny", FILES)
    hub.fail(Fault(path="/api/*", status=status))
    with pytest.raises(RegistryError):
        run().info("acme/tiny", None)
    assert kept(store) == []
    assert run().info("acme/tiny", None).repo == "acme/tiny"


@pytest.mark.parametrize(
    "edit",
    [
        lambda info: {**info, "disabled": True},
        lambda info: {**info, "sha": "0" * 40},
        lambda info: {**info, "id": "../.."},
        lambda _: [],
    ],
)
def test_an_answer_that_cannot_be_used_is_not_kept(hub, repo, run, store, edit):
    hub.fail(Fault(path="/api/*", edit=edit))
    with pytest.raises(RegistryError):
        run().info("acme/tiny", repo.head())
    assert kept(store) == []
    assert run().info("acme/tiny", repo.head()).commit == repo.head()


def test_a_listing_with_a_path_twice_is_not_kept(hub, repo, run, store):
    hub.fail(Fault(path="*/tree/*", edit=lambda entries: entries + entries[-1:]))
    with pytest.raises(RegistryError):
        run().tree("acme/tiny", repo.head())
    assert kept(store) == []


def test_a_next_page_elsewhere_is_not_kept(hub, repo, run, store):
    hub.fail(Fault(path="*/tree/*", headers={"Link": '<http://evil.example/>; rel="next"'}))
    with pytest.raises(RegistryError):
        run().tree("acme/tiny", repo.head())
    assert kept(store) == []


def test_hidden_digests_are_not_kept(hub, run, store):
    repo = hub.add_repo("acme/gated", FILES, gated="auto")
    assert [file.masked for file in run().tree("acme/gated", repo.head())] == [False, True]
    assert kept(store) == []
    hub.grant(TOKEN, "acme/gated")
    allowed = run(token=TOKEN).tree("acme/gated", repo.head())
    assert not any(file.masked for file in allowed)
    # Who has no access sees what he would see without a cache, and does not take away what is known.
    assert any(file.masked for file in run().tree("acme/gated", repo.head()))
    hub.clear_requests()
    assert run(token=TOKEN).tree("acme/gated", repo.head()) == allowed
    assert run(offline=True).tree("acme/gated", repo.head()) == allowed
    assert run("cached", offline=True).tree("acme/gated", repo.head()) == allowed
    assert hub.requests == []
    assert not any(b"*" * 64 in data for data in kept(store))


def test_what_a_token_opened_is_closed_to_who_has_none(hub, run):
    repo = hub.add_repo("acme/private", FILES, private=True)
    hub.grant(TOKEN, "acme/private")
    questions: tuple[Callable[[Any], Any], ...] = (
        lambda client: client.info("acme/private", None),
        lambda client: client.refs("acme/private"),
        lambda client: client.tree("acme/private", repo.head()),
    )
    for question in questions:
        question(run(token=TOKEN))
        with pytest.raises(ModelNotFoundError):
            question(run())
        hub.clear_requests()
        question(run(token=TOKEN))
        question(run(offline=True))
        assert hub.requests == []


def test_what_everybody_is_told_is_asked_once_more_and_then_serves_everybody(hub, repo, run):
    first = everything(run(token=TOKEN), repo.head())
    asked(hub)
    assert everything(run(), repo.head()) == first
    assert [(has_etag, status) for _, has_etag, status in asked(hub)] == [(True, 304)] * 4
    for token in (None, TOKEN, None):
        assert everything(run(token=token), repo.head()) == first
    assert asked(hub) == []


def test_hidden_digests_of_a_cache_are_not_believed(hub, repo, run, store, clock):
    run().tree("acme/tiny", repo.head())
    address = f"{hub.endpoint}/api/models/acme/tiny/tree/{repo.head()}?recursive=true"
    entry = store.read("acme/tiny", address)
    entries = json.loads(entry.body)
    entries[-1]["lfs"]["oid"] = "*" * 64
    masked = KeptAnswer(address=address, fetched=entry.fetched, body=json.dumps(entries).encode())
    store.write("acme/tiny", masked)
    asked(hub)
    assert not any(file.masked for file in run().tree("acme/tiny", repo.head()))
    assert len(asked(hub)) == 1


@pytest.mark.parametrize(
    ("body", "following"),
    [
        (b"", None),
        (b"null", None),
        (b'{"id": "acme/tiny", "sha": "main"}', None),
        (b"[" * 100_000, None),
        (None, "http://evil.example/"),
        (None, "http://[::1"),
        (None, "http://127.0.0.1:99999/"),
        (None, "file:///etc/passwd"),
        (None, ""),
    ],
)
def test_a_kept_answer_that_cannot_be_used_is_a_miss(  # noqa: PLR0917
    hub, repo, run, store, clock, body, following
):
    run().info("acme/tiny", None)
    address = f"{hub.endpoint}/api/models/acme/tiny"
    entry = store.read("acme/tiny", address)
    bad = KeptAnswer(
        address=address,
        fetched=entry.fetched,
        body=entry.body if body is None else body,
        etag=entry.etag,
        following=following,
    )
    store.write("acme/tiny", bad)
    asked(hub)
    clock.now += DAY
    assert run().info("acme/tiny", None).commit == repo.head()
    # Without its ETag: that the hub still holds it would not make it better.
    assert asked(hub) == [("", False, 200)]
    assert store.read("acme/tiny", address).body == entry.body


def test_no_token_is_in_a_kept_answer(hub, repo, run, store):
    echo = {"ETag": f'"{TOKEN}"', "Link": f'<{hub.endpoint}/api/models/acme/tiny/refs?cursor={TOKEN}>; rel="next"'}
    hub.fail(Fault(path="/api/*", headers=echo, edit=lambda answer: {**answer, "echo": TOKEN}, times=None))
    client = run(token=TOKEN)
    client.info("acme/tiny", None)
    client.refs("acme/tiny")
    assert {request.headers.get("authorization") for request in hub.requests} == {f"Bearer {TOKEN}"}
    assert len(kept(store)) == 3
    assert not any(TOKEN.encode() in data for data in kept(store))
    assert all(b"***" in data for data in kept(store))


# Dates and searches


def test_when_a_commit_was_made(hub, run):
    repo = hub.add_repo("acme/tiny", FILES)
    first = repo.head()
    second = repo.commit({"config.json": b"{1}"})
    client = run()
    for commit in (first, second):
        assert client.commit_date("acme/tiny", commit) == repo.find(commit).date
    assert [request.path for request in hub.requests] == [
        f"/api/models/acme/tiny/commits/{commit}?limit=1" for commit in (first, second)
    ]


@pytest.mark.parametrize(
    "edit",
    [
        lambda _: [],
        lambda _: {},
        lambda _: None,
        lambda _: ["x"],
        lambda items: [{**items[0], "id": "0" * 40}],
        lambda items: [{**items[0], "date": None}],
        lambda items: [{**items[0], "date": "yesterday"}],
        lambda items: [{**items[0], "date": "2026-01-31T12:00:00\x1b[2JZ"}],
    ],
)
def test_a_date_that_cannot_be_used_is_none_and_is_not_kept(hub, repo, run, store, edit):
    hub.fail(Fault(path="*/commits/*", edit=edit))
    assert run().commit_date("acme/tiny", repo.head()) is None
    assert kept(store) == []
    assert run().commit_date("acme/tiny", repo.head()) is not None


def test_a_date_that_is_refused_is_none(hub, run):
    repo = hub.add_repo("acme/gated", FILES, gated="auto")
    assert run().commit_date("acme/gated", repo.head()) is None
    assert run().commit_date("acme/none", repo.head()) is None


def test_a_hub_that_is_down_gives_no_date(hub, repo, run):
    hub.fail(Fault(path="/api/*", status=503, times=None))
    with pytest.raises(NetworkFaultError):
        run().commit_date("acme/tiny", repo.head())
    with pytest.raises(NetworkFaultError):
        run().search("tiny")


def test_a_search(hub, repo, run, store):
    hub.add_repo("other/tiny-2", FILES)
    hub.add_repo("acme/large", FILES)
    client = run()
    assert set(client.search("tiny")) == {"acme/tiny", "other/tiny-2"}
    assert client.search("tiny", author="acme") == ("acme/tiny",)
    assert client.search("a b&c=d/ü") == ()
    assert kept(store) == []
    assert hub.requests[-1].path == "/api/models?search=a+b%26c%3Dd%2F%C3%BC&limit=20"


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        ([{"id": "a/x"}, {"modelId": "a/y"}, {"id": "../.."}, {"id": 5}, {}, {"id": "a/x"}], ("a/x", "a/y")),
        ([{"id": "a/x"}] * 3 + [{"id": f"a/{number}"} for number in range(50)], None),
        ({}, ()),
        (None, ()),
        (["a/x"], ()),
    ],
)
def test_what_a_search_may_answer(hub, run, answer, found):
    hub.fail(Fault(path="/api/models", edit=lambda _: answer))
    ids = run().search("x")
    assert ids == found if found is not None else len(ids) == len(set(ids)) == 20


@pytest.mark.parametrize("status", [400, 401, 403, 404, 501])
def test_a_search_that_is_refused_finds_nothing(hub, repo, run, status):
    hub.fail(Fault(path="/api/models", status=status))
    assert run().search("tiny") == ()


def test_an_unauthorized_answer_does_not_hide_behind_a_kept_one(hub, repo, run, clock):
    run().info("acme/tiny", None)
    clock.now += DAY
    hub.fail(Fault(path="/api/*", status=403))
    with pytest.raises(RegistryError) as caught:
        run().info("acme/tiny", None)
    assert caught.value.error_code == AUTHENTICATION_ERROR


@pytest.mark.parametrize("what", ["gone", "disabled"])
def test_an_answer_that_the_hub_takes_back_serves_nobody_any_more(hub, repo, run, store, what):
    run().info("acme/tiny", None)
    run().refs("acme/tiny")
    if what == "gone":
        hub.remove("acme/tiny")
    else:
        repo.disabled = True
    with pytest.raises(ModelNotFoundError):
        run("refresh").info("acme/tiny", None)
    with pytest.raises(ModelNotFoundError):
        run().info("acme/tiny", None)
    with pytest.raises(RegistryError) as caught:
        run(offline=True).info("acme/tiny", None)
    assert told(caught) == (NOT_KNOWN[0].format("acme/tiny"), NOT_KNOWN[1])
    # What it was not asked about may still hold.
    run().refs("acme/tiny")
