"""HuggingFaceRegistry: the published signatures, and that it asks no more than it must."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.conftest import TOKEN
from vcm import HuggingFaceRegistry, ModelMetadata, ModelNotFoundError, RegistryError
from vcm.errors import NOT_FOUND
from vcm.http.faults import NetworkFaultError
from vcm.settings import read_settings
from vcm.store.metadata import MetadataStore, _parsed, _text
from vcm.testing import Fault, HubSimulator, SimulatedRepo

SMALL = b"{}\n"
WEIGHTS = bytes(range(256)) * 16
DATE = "2026-01-31T12:00:00.000Z"


@pytest.fixture
def repo(hub: HubSimulator) -> SimulatedRepo:
    """Two versions and a default branch that has gone on since."""
    repo = hub.add_repo("acme/frames", {"config.json": SMALL, "a b.safetensors": WEIGHTS}, tags=["v1.0"])
    repo.commit({"extra.json": SMALL})
    repo.tag("v1.1-rc1")
    repo.commit({"config.json": b"{1}"})
    return repo


@pytest.fixture
def registry(hub: HubSimulator) -> HuggingFaceRegistry:
    """A registry over the environment's hub and cache."""
    return HuggingFaceRegistry()


def checksum(repo: SimulatedRepo, revision: str) -> str:
    """As ``sha256sum`` would print it, with git's ids for what is no LFS file."""
    lines = [
        f"{file.sha256 if path.endswith('.safetensors') else file.oid}  {path}\n"
        for path, file in repo.files(revision).items()
    ]
    return hashlib.sha256("".join(sorted(lines, key=lambda line: line.split("  ", 1)[1])).encode()).hexdigest()


def grow_old(cache: Path, hours: float, only: Callable[[str], bool] = lambda _: True) -> None:
    """Let kept answers be this much older."""
    for path in (cache / "hub-metadata").rglob("*"):
        if path.is_file():
            answer = _parsed(path.read_bytes())
            assert answer is not None
            if only(answer.address):
                path.write_bytes(_text(replace(answer, fetched=answer.fetched - int(hours * 3600))))


def test_a_model_with_versions(hub, repo, registry, cache):
    metadata = registry.query_model("acme/frames")
    assert metadata == ModelMetadata(
        name="acme/frames",
        versions=["1.1rc1", "1.0"],
        checksums={"1.1rc1": checksum(repo, "v1.1-rc1"), "1.0": checksum(repo, "v1.0")},
        sizes={"1.1rc1": 4096 + 3 + 3, "1.0": 4096 + 3},
        deprecated=False,
        replacement=None,
        last_updated=datetime.fromisoformat(repo.find("main").date),
    )
    assert metadata.last_updated.tzinfo == UTC
    assert (registry.cache_dir, registry.ttl_hours) == (cache, 24)
    # The model, its refs, its date, and the files of each version.
    assert len(hub.requests) == 5


@pytest.mark.parametrize("branches", [["main"], ["main", "a-branch"], ["trunk"], ["step3000", "main"]])
def test_a_model_without_versions_has_its_default_branch(hub, registry, branches):
    hub.add_repo("acme/plain", {"config.json": SMALL})
    for branch in branches[1:]:
        hub.repo("acme/plain").branch(branch)
    if branches == ["trunk"]:
        refs = [{"name": "trunk", "targetCommit": hub.repo("acme/plain").head()}]
        hub.fail(Fault(path="*/refs", edit=lambda answer: {**answer, "branches": refs}))
    metadata = registry.query_model("acme/plain")
    name = "trunk" if branches == ["trunk"] else "main"
    assert metadata.versions == [name]
    assert metadata.checksums == {name: checksum(hub.repo("acme/plain"), "main")}
    assert metadata.sizes == {name: 3}


def test_a_second_query_asks_nothing_until_a_day_has_passed(hub, repo, registry, cache):
    first = registry.query_model("acme/frames")
    hub.clear_requests()
    assert registry.query_model("acme/frames") == first
    assert HuggingFaceRegistry().query_model("acme/frames") == first
    assert hub.requests == []
    grow_old(cache, 25)
    assert registry.query_model("acme/frames") == first
    # Confirmed, not sent again; and what a commit holds is not asked about.
    assert sorted(request.status for request in hub.requests) == [304, 304]


def test_what_is_new_is_found_by_force(hub, repo, registry):
    registry.query_model("acme/frames")
    repo.tag("v2.0")
    assert registry.query_model("acme/frames").versions == ["1.1rc1", "1.0"]
    hub.clear_requests()
    assert registry.query_model("acme/frames", force_refresh=True).versions == ["2.0", "1.1rc1", "1.0"]
    assert not any("if-none-match" in request.headers for request in hub.requests)
    assert registry.query_model("acme/frames").versions == ["2.0", "1.1rc1", "1.0"]
    repo.tag("v3.0")
    assert registry.refresh_metadata("acme/frames").versions[0] == "3.0"


def test_what_is_kept(hub, repo, registry, cache):
    assert registry.get_cached_metadata("acme/frames") is None
    assert not registry.is_metadata_valid("acme/frames")
    metadata = registry.query_model("acme/frames")
    hub.clear_requests()
    assert registry.get_cached_metadata("acme/frames") == metadata
    assert registry.is_metadata_valid("acme/frames")
    assert HuggingFaceRegistry(ttl_hours=0).get_cached_metadata("acme/frames") is None
    grow_old(cache, 24, lambda address: "/tree/" in address)
    assert registry.is_metadata_valid("acme/frames")
    grow_old(cache, 24, lambda address: address.endswith("/refs"))
    assert not registry.is_metadata_valid("acme/frames")
    assert registry.get_cached_metadata("acme/frames") is None
    assert HuggingFaceRegistry(ttl_hours=25).get_cached_metadata("acme/frames") == metadata
    assert hub.requests == []


def test_what_is_kept_can_be_forgotten(hub, repo, registry, cache):
    hub.add_repo("acme/other", {"config.json": SMALL})
    for name in ("acme/frames", "acme/other"):
        registry.query_model(name)
    registry.clear_cache("acme/frames")
    assert not registry.is_metadata_valid("acme/frames")
    assert registry.is_metadata_valid("acme/other")
    registry.clear_cache("acme/never-asked")
    registry.clear_cache()
    assert not registry.is_metadata_valid("acme/other")
    assert list((cache / "hub-metadata").iterdir()) == []


def test_it_shares_what_locking_learned(hub, session, read_manifest, registry):
    repo = hub.add_repo("acme/plain", {"model.safetensors": WEIGHTS})
    session(freshness="normal").resolve(read_manifest('[models.m]\nrepo = "acme/plain"\n'), None)
    hub.clear_requests()
    registry.query_model("acme/plain")
    asked = [request.path for request in hub.requests]
    assert f"/api/models/acme/plain/tree/{repo.head()}?recursive=true" not in asked
    assert "/api/models/acme/plain" not in asked


def test_a_folder_of_its_own(hub, repo, tmp_path, cache):
    registry = HuggingFaceRegistry(tmp_path / "elsewhere", 1)
    registry.query_model("acme/frames")
    assert (registry.cache_dir, registry.ttl_hours) == (tmp_path / "elsewhere", 1)
    assert any(path.is_file() for path in (tmp_path / "elsewhere" / "hub-metadata").rglob("*"))
    assert not cache.exists()
    moved = HuggingFaceRegistry(tmp_path / "third", settings=read_settings())
    assert moved.cache_dir == tmp_path / "third"


def test_queries_share_their_connections_and_what_the_hub_allows(hub, registry):
    for number in range(4):
        hub.add_repo(f"acme/m{number}", {"config.json": SMALL})
    hub.limit("api", quota=6, window=1.0)
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(registry.query_model, [f"acme/m{number}" for number in range(4)]))
    assert [each.name for each in found] == [f"acme/m{number}" for number in range(4)]
    assert [request.status for request in hub.requests] == [200] * 16


def test_offline_what_is_kept_serves_at_any_age(hub, repo, registry, cache, monkeypatch):
    metadata = registry.query_model("acme/frames")
    grow_old(cache, 1000)
    hub.clear_requests()
    monkeypatch.setenv("VCM_OFFLINE", "1")
    offline = HuggingFaceRegistry()
    assert offline.query_model("acme/frames") == metadata
    assert offline.get_cached_metadata("acme/frames") is None
    with pytest.raises(RegistryError) as caught:
        offline.query_model("acme/other")
    assert str(caught.value) == (
        "what the hub says of acme/other is not in the metadata cache, and this run is offline"
    )
    assert hub.requests == []


# Successors


def chain(hub: HubSimulator, **successors: str | None) -> None:
    for name, successor in successors.items():
        card = {"new_version": successor} if successor else {}
        hub.add_repo(f"acme/{name}", {"config.json": SMALL, "README.md": name.encode()}, card=card)


@pytest.mark.parametrize(
    ("successors", "end"),
    [
        ({"a": None}, None),
        ({"a": "acme/b", "b": None}, "acme/b"),
        ({"a": "acme/b", "b": "acme/c", "c": "acme/d", "d": None}, "acme/d"),
        ({"a": "acme/a"}, None),
        ({"a": "acme/b", "b": "acme/a"}, "acme/b"),
        ({"a": "acme/b", "b": "acme/c", "c": "acme/b"}, "acme/c"),
        ({"a": "acme/gone"}, "acme/gone"),
        ({"a": "acme/b", "b": "acme/gone"}, "acme/gone"),
        ({"a": "../../etc"}, None),
    ],
)
def test_the_end_of_a_chain(hub, registry, successors, end):
    chain(hub, **successors)
    metadata = registry.query_model("acme/a")
    assert (metadata.deprecated, metadata.replacement) == (end is not None, end)
    assert registry.get_cached_metadata("acme/a") == metadata


def test_a_successor_under_another_name(hub, registry):
    chain(hub, a="acme/b", b=None)
    hub.rename("acme/b", "acme/c")
    assert registry.query_model("acme/a").replacement == "acme/c"
    chain(hub, x="acme/old-x")
    hub.rename("acme/x", "acme/old-x")
    hub.rename("acme/old-x", "acme/x")
    metadata = registry.query_model("acme/x")
    assert (metadata.deprecated, metadata.replacement) == (False, None)


def test_a_chain_without_an_end(hub, registry):
    chain(hub, **{f"m{number}": f"acme/m{number + 1}" for number in range(80)})
    hub.clear_requests()
    assert registry.query_model("acme/m0").replacement == "acme/m16"
    assert len(hub.requests) < 25


# Who may not, and what cannot be used


@pytest.mark.parametrize("force", [False, True])
def test_a_model_that_is_not_there(hub, registry, force):
    with pytest.raises(ModelNotFoundError) as caught:
        registry.query_model("acme/none", force)
    assert (str(caught.value), caught.value.hint) == (
        "acme/none: no such repo, or it is private",
        "check the spelling; for a private repo set HF_TOKEN",
    )
    assert registry.get_cached_metadata("acme/none") is None


@pytest.mark.parametrize(
    "name", ["", "a/b/c", "../..", "a b", "-x", "a--b", "x.git", "\x1b[2J", "\0", None, 5, "x" * 500]
)
def test_what_cannot_be_a_name(registry, hub, name):
    for ask in (registry.query_model, registry.refresh_metadata) + (
        (registry.clear_cache,) if name is not None else ()
    ):
        with pytest.raises(ModelNotFoundError) as caught:
            ask(name)
        assert str(caught.value).startswith(f"{name!r:.100} names no model of the hub: ")
        assert caught.value.message.isprintable()
        assert (caught.value.hint, caught.value.error_code) == ("name it as its page does: namespace/name", NOT_FOUND)
    assert registry.get_cached_metadata(name) is None
    assert registry.is_metadata_valid(name) is False
    assert hub.requests == []


def test_a_hub_that_is_down(hub, repo, registry, monkeypatch):
    monkeypatch.setattr("vcm.http.retries.DELAYS", (0.0, 0.0, 0.0))
    hub.fail(Fault(path="/api/*", status=503, times=None))
    with pytest.raises(NetworkFaultError) as caught:
        registry.query_model("acme/frames")
    assert str(caught.value) == "acme/frames: the hub answers 503"


def test_hidden_digests_make_no_checksum(hub, monkeypatch):
    repo = hub.add_repo("acme/gated", {"config.json": SMALL, "model.safetensors": WEIGHTS}, gated="auto")
    metadata = HuggingFaceRegistry().query_model("acme/gated")
    assert (metadata.versions, metadata.checksums, metadata.sizes) == (["main"], {}, {"main": 4099})
    # The hub does not say either when the commit was made.
    assert metadata.last_updated is None
    hub.grant(TOKEN, "acme/gated")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    metadata = HuggingFaceRegistry().refresh_metadata("acme/gated")
    assert metadata.checksums == {"main": checksum(repo, "main")}
    assert metadata.last_updated is not None


@pytest.mark.parametrize("date", ["2026-13-45T99:99:99Z", "yesterday", None])
def test_a_date_that_is_none(hub, repo, registry, date):
    hub.fail(Fault(path="*/commits/*", edit=lambda items: [{**items[0], "date": date}]))
    assert registry.query_model("acme/frames").last_updated is None


def test_a_renamed_model_has_its_present_name(hub, repo, registry):
    hub.rename("acme/frames", "acme/pictures")
    assert registry.query_model("acme/frames").name == "acme/pictures"
    assert registry.is_metadata_valid("acme/frames")
    registry.clear_cache("acme/frames")
    assert not registry.is_metadata_valid("acme/frames")


def test_a_refusal_does_not_rest_on_what_was_said_some_time_ago(hub, repo, registry, cache):
    registry.query_model("acme/frames")
    old = repo.find("v1.0").id
    repo.delete_tag("v1.0")
    repo.delete_commit(old)
    for path in (cache / "hub-metadata").rglob("*"):
        if path.is_file() and f"/tree/{old}".encode() in path.read_bytes():
            path.unlink()
    assert registry.query_model("acme/frames").versions == ["1.1rc1"]


def test_only_the_highest_of_very_many_versions_are_looked_at(hub, registry):
    repo = hub.add_repo("acme/many", {"config.json": SMALL})
    for number in range(250):
        repo.tag(f"v{number}")
    metadata = registry.query_model("acme/many")
    assert metadata.versions == [str(number) for number in reversed(range(250))]
    assert list(metadata.checksums) == list(metadata.sizes) == metadata.versions[:200]
    # Versions of one commit are one listing.
    assert len(hub.requests) == 4


def test_a_damaged_cache_is_asked_anew(hub, repo, registry, cache):
    metadata = registry.query_model("acme/frames")
    for path in (cache / "hub-metadata").rglob("*"):
        if path.is_file():
            path.write_bytes(path.read_bytes()[:-1])
    assert registry.get_cached_metadata("acme/frames") is None
    assert registry.query_model("acme/frames") == metadata
    assert MetadataStore(cache).read("acme/frames", f"{hub.endpoint}/api/models/acme/frames/refs") is not None
