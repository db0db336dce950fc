"""A session: what one run over one project does, and that it reaches for the network only when it must."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Event, Timer
from time import monotonic

import pytest

from tests.conftest import TOKEN
from vcm.core.lock import LockedModel
from vcm.core.reporter import Reporter
from vcm.errors import LOCK_OUTDATED, NETWORK_ERROR, LockError, RegistryError
from vcm.install.syncing import Synced
from vcm.session import Session
from vcm.settings import Settings, Token, read_settings
from vcm.store.project import Project
from vcm.testing import Fault, HubSimulator

WEIGHTS = hashlib.shake_128(b"weights").digest(4000)
TEXT = '[models.m]\nrepo = "acme/m"\n'


@pytest.fixture
def repo(hub):
    return hub.add_repo("acme/m", {"config.json": b"{}", "model.safetensors": WEIGHTS})


@pytest.fixture
def saved(project, read_manifest):
    """The project with a manifest on the disk."""

    def save(text):
        (project / "models.toml").write_text(text)
        return Project(project), read_manifest(text)

    return save


def test_nothing_is_asked_of_a_hub_that_is_not_needed(hub, session, read_manifest):
    within = session()
    empty = within.resolve(read_manifest(""), None)
    assert (empty.after.models, empty.requested) == ((), False)
    assert within.install(within.store.plan(()), 2.0) == []
    assert hub.requests == []
    assert within.reporter.notices == []


def test_lock_for_sync_makes_the_lock_once(hub, repo, session, saved):
    where, manifest = saved(TEXT)
    first = session().lock_for_sync(where, manifest, locked=False, write=True)
    assert (first.before, first.requested) == (None, True)
    assert where.lock() == first.after
    written = where.lock_path.read_bytes()
    hub.clear_requests()
    second = session().lock_for_sync(where, manifest, locked=False, write=True)
    assert (second.after, second.requested) == (first.after, False)
    assert hub.requests == []
    assert where.lock_path.read_bytes() == written


def test_a_dry_run_writes_no_lock(repo, session, saved):
    where, manifest = saved(TEXT)
    session().lock_for_sync(where, manifest, locked=False, write=False)
    assert not where.lock_path.exists()


@pytest.mark.parametrize("how", ["locked", "offline"])
def test_a_lock_that_is_missing_or_stale_is_refused(hub, repo, session, saved, how):
    where, manifest = saved(TEXT)
    within = session(offline=how == "offline")
    with pytest.raises(LockError) as caught:
        within.lock_for_sync(where, manifest, locked=how == "locked", write=True)
    assert (str(caught.value), caught.value.hint) == (f"no models.lock in {where.folder}", "run vcm lock")
    assert (caught.value.error_code, caught.value.exit_code) == (LOCK_OUTDATED, 1)
    session().lock_for_sync(where, manifest, locked=False, write=True)
    hub.clear_requests()
    within.lock_for_sync(where, manifest, locked=how == "locked", write=True)
    where, changed = saved(TEXT + 'revision = "main"\n')
    with pytest.raises(LockError) as caught:
        within.lock_for_sync(where, changed, locked=how == "locked", write=True)
    assert str(caught.value) == "models.lock does not fit models.toml: a requirement has changed"
    assert hub.requests == []


def test_offline_nobody_is_asked(hub, repo, session, read_manifest):
    with pytest.raises(RegistryError) as caught:
        session(offline=True).resolve(read_manifest(TEXT), None)
    assert str(caught.value) == ("m: what the hub says of acme/m is not in the metadata cache, and this run is offline")
    assert caught.value.hint == (
        "run it once without --offline, VCM_OFFLINE and HF_HUB_OFFLINE: what the hub says then serves offline too"
    )
    assert (caught.value.error_code, caught.value.exit_code) == (NETWORK_ERROR, 3)
    assert hub.requests == []


def test_offline_what_the_hub_said_before_is_enough_to_lock(hub, session, read_manifest):
    hub.add_repo("acme/m", {"model.safetensors": WEIGHTS})
    before = session(freshness="normal").resolve(read_manifest(TEXT), None).after
    hub.clear_requests()
    # Nobody is asked, so that not even a token that could not be sent matters.
    assert session("a b", offline=True).resolve(read_manifest(TEXT), None).after == before
    assert session(freshness="normal").resolve(read_manifest(TEXT), None).after == before
    assert hub.requests == []


def test_an_upgrade_does_not_rest_on_what_the_hub_said_before(hub, repo, session, read_manifest):
    before = session(freshness="normal").resolve(read_manifest(TEXT), None).after
    new = repo.commit({"config.json": b"{1}"})
    hub.clear_requests()
    after = session(freshness="normal").resolve(read_manifest(TEXT), before, upgrade=("*",)).after
    assert before.models[0].commit != new
    assert after.models[0].commit == new


def test_only_what_was_edited_is_asked_about(hub, repo, session, read_manifest):
    hub.add_repo("acme/other", {"config.json": b"[]"})
    old = read_manifest(TEXT)
    before = session().resolve(old, None).after
    hub.clear_requests()
    new = read_manifest(TEXT + '[models.other]\nrepo = "acme/other"\n')
    after = session().resolve(new, before, edited_from=old).after
    assert after.get("m") == before.get("m")
    assert not any("acme/m" in request.path for request in hub.requests)
    hub.clear_requests()
    assert session().resolve(old, after, edited_from=new).after == before
    assert hub.requests == []


def test_a_manifest_that_was_edited_by_hand_costs_what_is_new(hub, repo, session, read_manifest):
    hub.add_repo("acme/n", {"model.safetensors": b"n" * 100}, tags=["v1.0"])
    hub.add_repo("acme/old", {"model.safetensors": b"o" * 100})
    hub.rename("acme/old", "acme/new")
    text = TEXT + '[models.n]\nrepo = "acme/n"\nversion = "~=1.0"\n[models.o]\nrepo = "acme/old"\n'
    before = session(freshness="normal").resolve(read_manifest(text), None).after
    hub.add_repo("acme/x", {"model.safetensors": b"x" * 100})
    edited = text + '[models.x]\nrepo = "acme/x"\nrevision = "main"\n[models.again]\nrepo = "acme/m"\n'
    hub.clear_requests()
    after = session(freshness="normal").resolve(read_manifest(edited), before).after
    assert [model for model in after.models if model.name in ("m", "n", "o")] == list(before.models)
    assert {request.path.partition("?")[0].split("/")[4] for request in hub.requests} == {"x"}
    assert len(hub.requests) == 2


def test_an_edit_on_a_stale_lock_asks_about_everything(hub, repo, session, read_manifest):
    before = session().resolve(read_manifest(TEXT), None).after
    changed = read_manifest(TEXT + 'include = ["*.json"]\n')
    after = session().resolve(changed, before, edited_from=changed).after
    assert [file.path for file in after.models[0].files] == ["config.json"]


class Listener(Reporter):
    def __init__(self) -> None:
        self.notices: list[str] = []

    def notice(self, text: str) -> None:
        self.notices.append(text)


def test_a_token_goes_where_the_environment_says_and_not_where_only_the_manifest_does(hub, repo, cache, read_manifest):
    def run(environ: dict[str, str]) -> tuple[set[str | None], list[str]]:
        from_manifest = None if "HF_ENDPOINT" in environ else hub.endpoint
        settings = read_settings(environ=environ, cache_dir=cache / str(len(environ)), manifest_endpoint=from_manifest)
        listener = Listener()
        within = Session(settings, listener)
        hub.clear_requests()
        within.resolve(read_manifest(TEXT), None)
        within.close()
        return {request.headers.get("authorization") for request in hub.requests}, listener.notices

    assert run({"HF_TOKEN": TOKEN, "HF_ENDPOINT": hub.endpoint}) == ({f"Bearer {TOKEN}"}, [])
    sent, notices = run({"HF_TOKEN": TOKEN})
    assert sent == {None}
    (notice,) = notices
    assert notice == (
        f"the token in HF_TOKEN is not sent to {hub.endpoint}, which only models.toml names; if you trust it, set "
        f"HF_ENDPOINT={hub.endpoint}"
    )


def test_no_token_is_in_what_a_session_leaves_behind(hub, repo, cache, session, saved):
    where, manifest = saved(TEXT)
    within = session(TOKEN)
    locking = within.lock_for_sync(where, manifest, locked=False, write=True)
    within.install(within.store.plan(locking.after.models), 1.0)
    assert any(request.headers.get("authorization") for request in hub.requests)
    left = [path for folder in (cache, where.folder) for path in folder.rglob("*") if path.is_file()]
    assert len(left) > 4
    assert not any(TOKEN.encode() in path.read_bytes() for path in left)
    assert TOKEN not in repr(within.settings)


def test_waits_are_the_sessions_own(hub, repo, session, read_manifest):
    hub.fail(Fault(path="/api/models/*", status=503, times=2))
    within = session()
    within.resolve(read_manifest(TEXT), None)
    assert [seconds for seconds, _ in within.reporter.waits] == [2.0, 4.0]


@pytest.mark.parametrize("token", [None, Token(TOKEN, "HF_TOKEN")])
def test_what_the_hub_allows_is_said_and_kept_to(hub, cache, read_manifest, token):
    class Waits(Reporter):
        def __init__(self) -> None:
            self.told: list[tuple[str, float, str]] = []

        def waiting(self, label: str, seconds: float, reason: str) -> None:
            self.told.append((label, seconds, reason))

    for number in range(4):
        hub.add_repo(f"acme/m{number}", {"model.safetensors": WEIGHTS[number:]})
    text = "".join(f'[models.m{number}]\nrepo = "acme/m{number}"\n' for number in range(4))
    hub.limit("api", quota=6, window=1.0)
    waits = Waits()
    with Session(Settings(cache_dir=cache, endpoint=hub.endpoint, token=token), waits) as within:
        assert len(within.resolve(read_manifest(text), None).after.models) == 4
    assert {request.status for request in hub.requests} == {200}
    ((label, seconds, reason),) = waits.told
    assert label == "the hub"
    assert 1 < seconds <= 2
    assert reason == "6 api requests per 1 s are used up" + ("" if token else "; HF_TOKEN raises the limit")


@pytest.mark.parametrize(
    "headers", [{"Retry-After": "300"}, {"RateLimit": '"api";r=0;t=300', "RateLimit-Policy": '"api";q=1;w=300'}]
)
def test_calling_off_ends_a_wait_for_the_hub_at_once(hub, repo, cache, read_manifest, headers):
    hub.fail(Fault(path="/api/*", status=429, headers=headers, times=None))
    cancelled = Event()
    with Session(Settings(cache_dir=cache, endpoint=hub.endpoint), cancelled=cancelled) as within:
        timer = Timer(0.5, cancelled.set)
        timer.start()
        began = monotonic()
        with pytest.raises(KeyboardInterrupt):
            within.resolve(read_manifest(TEXT), None)
        assert 0.4 < monotonic() - began < 30
        timer.join()
    assert len(hub.requests) == 1


def test_several_threads_may_ask_for_the_connection_at_once(hub, repo, session, read_manifest):
    within = session()
    models = within.resolve(read_manifest(TEXT), None).after.models
    barrier = Barrier(4)

    def run(_: int) -> list[Synced]:
        barrier.wait()
        done: list[Synced] = within.install(within.store.plan(models), 1.0)
        return done

    with ThreadPoolExecutor(4) as pool:
        statuses = [result.status for results in pool.map(run, range(4)) for result in results]
    assert set(statuses) <= {"installed", "present"}
    assert sum(1 for request in hub.requests if request.origin == "cdn") == 1


def test_two_sessions_share_one_store(hub, repo, session, read_manifest):
    models = session().resolve(read_manifest(TEXT), None).after.models
    sessions = [session() for _ in range(4)]
    barrier = Barrier(4)

    def run(within: Session) -> list[Synced]:
        plan = within.store.plan(models)
        barrier.wait()
        return within.install(plan, 1.0)

    hub.fail(Fault(origin="cdn", stall_after=1000, delay=0.2))
    with ThreadPoolExecutor(4) as pool:
        results = [result for each in pool.map(run, sessions) for result in each]
    assert [result.error for result in results] == [None] * 4
    assert {result.path for result in results} == {results[0].path}
    assert sum(result.bytes_fetched for result in results) == 4000
    assert sum(1 for request in hub.requests if request.origin == "cdn") == 1


def test_a_hub_that_is_down_is_told_and_not_waited_for_in_earnest(cache, read_manifest, tmp_path):
    with HubSimulator() as hub:
        endpoint = hub.endpoint
    waits: list[float] = []
    within = Session(Settings(cache_dir=cache, endpoint=endpoint), sleep=waits.append)
    with pytest.raises(RegistryError) as caught:
        within.resolve(read_manifest(TEXT), None)
    within.close()
    assert waits == [2.0, 4.0, 8.0]
    assert caught.value.model == "m"
    assert str(caught.value) == f"m: {endpoint.removeprefix('http://')}: connection refused"


def test_what_is_locked_names_no_place_of_this_machine(hub, repo, session, read_manifest, tmp_path):
    (model,) = session().resolve(read_manifest(TEXT), None).after.models
    assert isinstance(model, LockedModel)
    assert str(tmp_path) not in repr(model)
    assert hub.endpoint not in repr(model)


def test_a_dead_source_takes_no_other_with_it(hub, session, read_manifest):
    content = b"the same bytes"
    alive = hub.add_file("alive.onnx", content)
    promised = f'checksum = "sha256:{hashlib.sha256(content).hexdigest()}"\nsize = {len(content)}\n'
    text = f'[models.a]\nurl = "http://127.0.0.1:9/dead.onnx"\n{promised}[models.b]\nurl = "{alive}"\n{promised}'
    within = session()
    models = within.resolve(read_manifest(text), None).after.models
    done = within.install(within.store.plan(models), 1.0)
    assert [(each.model.name, each.status) for each in done] == [("a", "installed"), ("b", "installed")]
    assert [seconds for seconds, _ in within.reporter.waits] == [2.0, 4.0, 8.0]
