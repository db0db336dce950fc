"""Manners: nobody is sent only to be refused, and nobody waits longer than the hub asks."""

from __future__ import annotations

import heapq
import itertools
import math
import time
from concurrent.futures import ThreadPoolExecutor
from threading import Event, Thread
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from vcm.errors import NETWORK_ERROR, RegistryError
from vcm.http.budget import Budget, Limit, Window, announced_limit, bucket_of
from vcm.http.client import Address, HttpClient
from vcm.http.faults import NetworkFaultError
from vcm.http.retries import LONGEST_WAIT
from vcm.hub.client import HubClient
from vcm.testing import Fault

POLICY = '"fixed window";"api";q=500;w=300'
USED_UP = "500 api requests per 300 s are used up"


def headers(left: int, seconds: int, bucket: str = "api", policy: str = POLICY) -> dict[str, str]:
    return {"RateLimit": f'"{bucket}";r={left};t={seconds}', "RateLimit-Policy": policy}


# What the hub says


@pytest.mark.parametrize(
    ("path", "bucket"),
    [
        ("/api/models/acme/x", "api"),
        ("/api/models/acme/x/tree/main/resolve/x", "api"),
        ("/api/resolve-cache/models/acme/x/main/a", "resolvers"),
        ("/acme/x/resolve/main/a", "resolvers"),
        ("/acme/x/raw/main/a", "pages"),
        ("/apis/x", "pages"),
        ("", "pages"),
    ],
)
def test_buckets(path, bucket):
    assert bucket_of(path) == bucket


@pytest.mark.parametrize(
    ("limit", "policy", "expected"),
    [
        ('"api";r=4992;t=9', POLICY, ("api", 4992, 9, USED_UP)),
        ('"api";r=0;t=0', "", ("api", 0, 0, "the api requests of this window are used up")),
        (' "api" ; t=9 ; r=1', POLICY.replace('";"', '" ; "'), ("api", 1, 9, USED_UP)),
        ('"api";t=9;r=1', POLICY, ("api", 1, 9, USED_UP)),
        ('"api";r=1;t=9, "burst";r=0;t=1', f"{POLICY}, x;q=1;w=1", ("api", 1, 9, USED_UP)),
        ('"api";r=1;t=9', "q=;w=x", ("api", 1, 9, "the api requests of this window are used up")),
        ('"api";r=1;t=86400', POLICY, ("api", 1, 86400, USED_UP)),
        ('"api";r=1;t=86401', POLICY, None),
        ('"api";r=1;t=9999999999', POLICY, None),
        ('"api";r=-1;t=9', POLICY, None),
        ('"api";r=1;t=-9', POLICY, None),
        ('"api";r=1.5;t=9', POLICY, None),
        ('"api";r=1e3;t=9', POLICY, None),
        ('"api";r=few;t=soon', POLICY, None),
        ('"api";r=1', POLICY, None),
        ('"a\x1b[2J";r=1;t=9', POLICY, None),
        ('"";r=1;t=9', POLICY, None),
        ("api;r=1;t=9", POLICY, None),
        ('"api";r=\N{ARABIC-INDIC DIGIT ONE};t=9', POLICY, None),
        ("", POLICY, None),
    ],
)
def test_what_the_headers_say(limit, policy, expected):
    found = announced_limit({"RateLimit": limit, "RateLimit-Policy": policy})
    assert found == (
        Limit(bucket=expected[0], left=expected[1], seconds=expected[2], policy=expected[3]) if expected else None
    )


@given(st.text(), st.text())
def test_any_headers_are_read(limit, policy):
    announced_limit({"RateLimit": limit, "RateLimit-Policy": policy})
    announced_limit({"RateLimit": f'"api";r=1;t=1{limit}', "RateLimit-Policy": f"{policy};q=1;w=1"})


# A window by itself


def limit(left: int, seconds: int) -> Limit:
    return Limit(bucket="api", left=left, seconds=seconds, policy=USED_UP)


def answered(window: Window, left: int, seconds: int, sent: float, now: float) -> None:
    window.returned(sent)
    window.learn(limit(left, seconds), sent, now)


def test_the_first_request_of_a_window_goes_alone():
    window = Window()
    assert window.delay(0) == 0
    window.sent(0)
    assert window.delay(0.1) is None
    # A server that says nothing at all does not hold up the others for long.
    assert window.delay(5.1) == 0


def test_a_hub_that_announces_nothing_is_asked_freely():
    window = Window()
    window.sent(0)
    window.returned(0)
    for _ in range(1000):
        assert window.delay(1) == 0
        window.sent(1)


def test_an_old_answer_does_not_let_the_others_go_before_the_first():
    window = Window()
    window.sent(0)
    answered(window, 5, 10, 0, 0)
    window.sent(1)
    assert window.delay(11) == 0
    window.sent(11)
    window.returned(1)
    assert window.delay(11.1) is None
    answered(window, 0, 10, 11, 11.2)
    assert window.delay(12) == pytest.approx(10.2)


def test_what_is_under_way_counts():
    window = Window()
    window.sent(0)
    answered(window, 2, 10, 0, 0.1)
    window.sent(1)
    assert window.delay(1) == 0
    window.sent(1)
    assert window.delay(1) is None
    answered(window, 1, 9, 1, 1.1)
    assert window.delay(2) is None
    answered(window, 0, 9, 1, 2)
    assert window.delay(3) == 9.0
    assert window.delay(12) == 0


def test_answers_that_overtake_each_other_give_nothing_back():
    window = Window()
    for _ in range(3):
        window.sent(0)
    answered(window, 1, 10, 0, 0.1)
    answered(window, 3, 10, 0, 0.2)
    answered(window, 2, 10, 0, 0.3)
    assert window.delay(1) == 0
    window.sent(1)
    answered(window, 0, 9, 1, 1.1)
    assert window.delay(2) == pytest.approx(9.3)


def test_a_new_window_begins_anew():
    window = Window()
    window.sent(0)
    answered(window, 0, 10, 0, 0)
    assert window.delay(5) == 6.0
    window.sent(5)
    answered(window, 499, 300, 5, 5.1)
    assert window.delay(6) == 0


def test_a_request_without_news_may_have_been_counted():
    window = Window()
    window.sent(0)
    answered(window, 1, 10, 0, 0)
    window.sent(1)
    window.returned(1)
    window.lost(1)
    assert window.delay(2) == 9.0
    assert window.delay(11) == 0


def test_a_wait_that_is_over_is_forgotten_once():
    window = Window()
    window.sent(0)
    answered(window, 0, 10, 0, 0)
    window.forget(3.0)
    assert window.delay(1) == 10.0
    window.forget(window.ends)
    assert window.delay(1) == 0


moments = st.floats(0.001, 3.0)


@given(
    quota=st.integers(1, 20),
    seconds=st.sampled_from([1, 2, 5, 60]),
    threads=st.integers(1, 20),
    offset=st.floats(0, 60),
    on_the_way=st.lists(st.tuples(moments, moments, st.booleans()), min_size=1, max_size=60),
)
@example(3, 5, 2, 48.0, [(1.0, 1.0, False), (1.0, 1.0, False), (1.0, 2.0, False), (2.0, 0.5, True), (1.0, 1.0, False)])
def test_no_request_is_ever_refused(quota, seconds, threads, offset, on_the_way):
    """A hub that counts in fixed windows, some threads, and every request and answer with a way of its own."""
    window, number = Window(), itertools.count()
    events: list[Any] = [(0.0, next(number), "look", None)]
    used: dict[int, int] = {}
    waiting, idle = list(on_the_way), threads
    while events:
        now, _, kind, data = heapq.heappop(events)
        if kind == "counted":
            sent, back, is_lost = data
            place = int((now + offset) // seconds)
            used[place] = used.get(place, 0) + 1
            assert used[place] <= quota
            left = math.ceil((place + 1) * seconds - offset - now)
            answer = None if is_lost else limit(quota - used[place], left)
            heapq.heappush(events, (now + back, next(number), "answered", (sent, answer)))
        elif kind == "answered":
            window.returned(data[0])
            if data[1] is None:
                window.lost(now)
            else:
                window.learn(data[1], data[0], now)
            idle += 1
        while waiting and idle:
            delay = window.delay(now)
            if delay != 0:
                if delay is not None or not events:
                    heapq.heappush(events, (now + (delay or 0.1), next(number), "look", None))
                break
            window.sent(now)
            there, back, is_lost = waiting.pop()
            # What is lost tells nothing, so that only a window that is known is kept to.
            lost = is_lost and window._left is not None
            heapq.heappush(events, (now + there, next(number), "counted", (now, back, lost)))
            idle -= 1
    assert not waiting


# Shared by threads


class Time:
    """A clock that only waiting moves."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.rests: list[float] = []
        self.told: list[tuple[float, str]] = []

    def clock(self) -> float:
        return self.now

    def rest(self, seconds: float) -> None:
        self.rests.append(seconds)
        self.now += seconds

    def tell(self, seconds: float, reason: str) -> None:
        self.told.append((seconds, reason))


@pytest.fixture
def moment():
    return Time()


@pytest.fixture
def budget(moment):
    return Budget(
        tell=moment.tell, rest=moment.rest, cancelled=Event(), longest=LONGEST_WAIT, advice="!", clock=moment.clock
    )


def ask(budget: Budget, path: str = "/api/x", answer: dict[str, str] | None = None) -> None:
    with budget.turn(path) as turn:
        turn.headers = answer or {}


def test_a_window_that_is_used_up_is_waited_for_and_said_once(budget, moment):
    ask(budget, answer=headers(1, 55))
    ask(budget, answer=headers(0, 55))
    assert (moment.rests, moment.told) == ([], [])
    ask(budget, answer=headers(499, 300))
    assert (moment.rests, moment.told) == ([56.0], [(56.0, f"{USED_UP}!")])
    ask(budget, answer=headers(498, 300))
    ask(budget, answer=headers(0, 299))
    ask(budget, answer=headers(499, 300))
    assert moment.told == [(56.0, f"{USED_UP}!"), (301.0, f"{USED_UP}!")]


def test_each_bucket_has_its_own(budget, moment):
    ask(budget, "/acme/x/resolve/main/a", headers(0, 55, "resolvers"))
    ask(budget, "/api/x")
    ask(budget, "/acme/x")
    assert moment.rests == []
    ask(budget, "/api/resolve-cache/models/x/a")
    assert moment.rests == [56.0]


def test_the_hub_knows_best_what_it_counts_under(budget, moment):
    ask(budget, "/api/x", headers(5, 55, "everything"))
    ask(budget, "/acme/x/resolve/main/a", headers(0, 55, "everything"))
    ask(budget, "/api/x", headers(4, 55, "everything"))
    assert moment.rests == [56.0]


def test_a_wait_that_is_too_long_is_an_error(budget, moment):
    ask(budget, answer=headers(0, 600))
    with pytest.raises(RegistryError) as caught:
        ask(budget)
    assert (str(caught.value), caught.value.hint) == (
        f"the hub allows no more requests for now: {USED_UP}!",
        "try again in 601 s",
    )
    assert (caught.value.error_code, caught.value.exit_code) == (NETWORK_ERROR, 3)
    assert caught.value.retry_after == 601.0
    # It makes no sense to try again by ourselves.
    assert not isinstance(caught.value, NetworkFaultError)
    assert (moment.rests, moment.told) == ([], [])
    moment.now += 601
    ask(budget)


def test_a_request_that_fails_gives_its_turn_back(budget, moment):
    with pytest.raises(OSError, match="gone"), budget.turn("/api/x"):
        raise OSError("gone")
    for _ in range(3):
        ask(budget)
    assert moment.rests == []


def test_calling_off_ends_a_wait_at_once(moment):
    cancelled = Event()
    budget = Budget(tell=moment.tell, rest=cancelled.wait, cancelled=cancelled, longest=LONGEST_WAIT)
    ask(budget, answer=headers(0, 300))
    ended: list[float] = []

    def wait() -> None:
        with pytest.raises(KeyboardInterrupt):
            ask(budget)
        ended.append(time.monotonic())

    threads = [Thread(target=wait) for _ in range(4)]
    for each in threads:
        each.start()
    deadline = time.monotonic() + 20
    while not moment.told:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    time.sleep(0.1)
    assert len(moment.told) == 1
    began = time.monotonic()
    cancelled.set()
    for each in threads:
        each.join(30)
    assert len(ended) == 4
    assert max(ended) - began < 20


# In earnest


@pytest.fixture
def repo(hub):
    return hub.add_repo("acme/tiny", {"config.json": b"{}", "model.safetensors": b"weights" * 100})


def in_earnest(told: list[tuple[float, str]]) -> Budget:
    cancelled = Event()
    return Budget(
        tell=lambda seconds, reason: told.append((seconds, reason)),
        rest=cancelled.wait,
        cancelled=cancelled,
        longest=LONGEST_WAIT,
    )


@pytest.mark.parametrize("threads", [1, 16])
def test_a_real_limit_is_never_run_into(hub, repo, threads):
    hub.limit("api", quota=10, window=1.0)
    told: list[tuple[float, str]] = []
    http = HttpClient(Address(hub.endpoint), budget=in_earnest(told))

    def one(_: int) -> int:
        with http.request("GET", f"{hub.endpoint}/api/models/acme/tiny") as answer:
            return answer.status

    try:
        with ThreadPoolExecutor(threads) as pool:
            assert list(pool.map(one, range(20))) == [200] * 20
    finally:
        http.close()
    assert [request.status for request in hub.requests] == [200] * 20
    assert 1 <= len(told) <= 2
    assert {reason for _, reason in told} == {"10 api requests per 1 s are used up"}


@pytest.mark.parametrize("threads", [1, 16])
def test_who_shares_a_limit_with_others_waits_with_them_and_says_so_once(hub, repo, threads):
    """An anonymous caller is an address, and behind an address there may be many."""
    hub.limit("api", quota=20, window=2.0)
    told: list[tuple[float, str]] = []
    ours, theirs = HttpClient(Address(hub.endpoint), budget=in_earnest(told)), HttpClient(Address(hub.endpoint))

    def status(http: HttpClient) -> int:
        with http.request("GET", f"{hub.endpoint}/api/models/acme/tiny") as answer:
            return answer.status

    try:
        assert status(ours) == 200
        while status(theirs) == 200:
            pass
        with ThreadPoolExecutor(threads) as pool:
            assert list(pool.map(lambda _: status(ours), range(16))) == [200] * 16
    finally:
        ours.close()
        theirs.close()
    assert [reason for _, reason in told] == ["20 api requests per 2 s are used up"]


def test_a_hub_that_always_refuses_is_left_after_three_windows(hub, repo):
    told: list[tuple[float, str]] = []
    hub.fail(Fault(path="/api/*", status=429, headers=headers(0, 0), times=None))
    http = HttpClient(Address(hub.endpoint), budget=in_earnest(told))
    client = HubClient(
        http, Address(hub.endpoint), token_source=None, wait=lambda seconds, _: told.append((seconds, ""))
    )
    try:
        with pytest.raises(RegistryError) as caught:
            client.info("acme/tiny", None)
    finally:
        http.close()
    assert str(caught.value) == f"the hub allows no more requests for now: {USED_UP}"
    assert (caught.value.hint, caught.value.retry_after) == ("try again in 1 s", 1.0)
    assert [seconds for seconds, _ in told] == [pytest.approx(1, abs=0.1)] * 3
    assert len(hub.requests) == 4


def test_only_the_hubs_own_requests_are_counted(hub, repo, stranger):
    told: list[tuple[float, str]] = []
    http = HttpClient(Address(f"{hub.endpoint}/prefix"), budget=in_earnest(told))
    hub.fail(Fault(path="/prefix/*", status=200, headers=headers(0, 300, "api"), times=None))
    try:
        with http.request("GET", f"{hub.endpoint}/prefix/api/x") as answer:
            assert answer.status == 200
        for _ in range(3):
            with http.request("GET", f"{stranger.url}/api/x") as answer:
                assert answer.status == 200
        assert http._budget is not None
        assert list(http._budget._windows) == ["api"]
    finally:
        http.close()
    assert told == []
