"""Resolving: which repo, version, commit and files a requirement means, and when it refuses."""

from __future__ import annotations

import hashlib
import re
import time
from dataclasses import replace
from typing import Any

import pytest

from tests.conftest import TOKEN, closed_port
from vcm.core.lock import Lock, LockedFile, LockedModel, lock_text, parse_lock
from vcm.errors import (
    AUTHENTICATION_ERROR,
    CHECKSUM_MISMATCH,
    NOT_FOUND,
    ConfigError,
    ModelChecksumError,
    ModelDownloadError,
    ModelNotFoundError,
    RegistryError,
    VcmError,
)
from vcm.http.client import CONNECTIONS
from vcm.testing import Fault, HubSimulator

WEIGHTS = hashlib.shake_128(b"weights").digest(4000)
FILES = {"config.json": b"{}", "model.safetensors": WEIGHTS}


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def only(lock: Lock) -> LockedModel:
    (model,) = lock.models
    return model


def api_calls(hub: HubSimulator) -> list[str]:
    return [request.path for request in hub.requests if request.path.startswith("/api/models/")]


# What is chosen


def test_the_default_branch(hub, lock):
    repo = hub.add_repo("acme/m", FILES, card={"license": "mit"}, pipeline_tag="fill-mask")
    model = only(lock('[models.m]\nrepo = "acme/m"'))
    assert (model.source, model.repo, model.repo_id) == ("huggingface", "acme/m", repo.repo_id)
    assert (model.commit, model.ref, model.version, model.requested) == (repo.head(), None, None, None)
    assert (model.type, model.license, model.gated, model.format) == ("fill-mask", "mit", None, "safetensors")
    assert model.files == (
        LockedFile("config.json", 2, sha256(b"{}"), repo.files()["config.json"].oid),
        LockedFile("model.safetensors", 4000, sha256(WEIGHTS)),
    )


@pytest.mark.parametrize("revision", ["main", "v1.0", "release/candidate"])
def test_a_revision_is_locked_to_its_commit(hub, lock, revision):
    repo = hub.add_repo("acme/m", FILES, tags=["v1.0"])
    repo.branch("release/candidate")
    model = only(lock(f'[models.m]\nrepo = "acme/m"\nrevision = "{revision}"'))
    assert (model.commit, model.ref, model.requested, model.version) == (repo.head(), revision, revision, None)


def test_a_commit_is_its_own_revision(hub, lock):
    repo = hub.add_repo("acme/m", FILES)
    first = repo.head()
    repo.commit({"config.json": b"{2}"})
    model = only(lock(f'[models.m]\nrepo = "acme/m"\nrevision = "{first}"'))
    assert (model.commit, model.ref) == (first, None)


@pytest.fixture
def versions(hub):
    """A repo with versions as tags and branches, each with a config.json that names it."""
    repo = hub.add_repo("acme/m", FILES)
    for name in ("v0.9", "v1.0", "1.2", "v1.10", "v2.0rc1"):
        repo.tag(name, repo.commit({"config.json": name.encode()}))
    repo.commit({**FILES, "config.json": b"branch"}, branch="v1.11")
    repo.commit({"config.json": b"same as a tag"}, branch="v1.2")
    repo.branch("fp16")
    repo.branch("step3000")
    return repo


@pytest.mark.parametrize(
    ("specifier", "version", "ref"),
    [
        ("~=1.0", "1.11", "v1.11"),
        ("<1.11", "1.10", "v1.10"),
        ("==1.2", "1.2", "1.2"),
        ("==1.*,<1.10", "1.2", "1.2"),
        (">=1", "1.11", "v1.11"),
        (">=2.0rc1", "2.0rc1", "v2.0rc1"),
        (">1.11", "2.0rc1", "v2.0rc1"),
        ("<1", "0.9", "v0.9"),
    ],
)
def test_the_highest_version_that_fits_is_taken(versions, lock, specifier, version, ref):
    model = only(lock(f'[models.m]\nrepo = "acme/m"\nversion = "{specifier}"'))
    assert (model.version, model.ref, model.requested) == (version, ref, specifier)
    assert model.commit == versions.find(ref).id


def test_no_version_fits(versions, lock):
    with pytest.raises(ModelNotFoundError) as caught:
        lock('[models.m]\nrepo = "acme/m"\nversion = ">=3"')
    assert str(caught.value) == "m: acme/m has no version that satisfies >=3"
    assert caught.value.hint == "the nearest of its 6 versions: 2.0rc1, 1.11, 1.10, 1.2, 1.0"
    assert caught.value.error_code == NOT_FOUND
    with pytest.raises(ModelNotFoundError) as caught:
        lock('[models.m]\nrepo = "acme/m"\nversion = "==0.8"')
    assert caught.value.hint == "the nearest of its 6 versions: 1.11, 1.10, 1.2, 1.0, 0.9"


def test_the_versions_are_listed_where_they_are_few(hub, lock):
    hub.add_repo("acme/m", FILES, tags=["v1.0", "v1.5"])
    with pytest.raises(ModelNotFoundError) as caught:
        lock('[models.m]\nrepo = "acme/m"\nversion = "==1.2"')
    assert caught.value.hint == "versions that exist: 1.5, 1.0"


def test_there_are_no_versions(hub, lock):
    hub.add_repo("acme/m", FILES)
    with pytest.raises(ModelNotFoundError) as caught:
        lock('[models.m]\nrepo = "acme/m"\nversion = ">=3"')
    assert caught.value.hint == 'its tags and branches name no version: use revision = "main" or a commit'


def test_a_version_without_the_wanted_files_is_passed_over(hub, session, lock):
    repo = hub.add_repo("acme/m", {"config.json": b"{}", "model.onnx": WEIGHTS}, tags=["v1.0"])
    repo.tag("v1.1", repo.commit({"model.onnx": None, "model.safetensors": WEIGHTS}))
    within = session()
    model = only(lock('[models.m]\nrepo = "acme/m"\nversion = ">=1"\ninclude = ["*.onnx"]', within=within))
    assert (model.version, [file.path for file in model.files]) == ("1.0", ["model.onnx"])
    assert within.reporter.notices == ["m: v1.1 lacks the wanted files; v1.0 was taken instead"]


def test_the_format_of_pytorch_stands_back_and_that_is_said(hub, session, lock):
    hub.add_repo("acme/m", {"config.json": b"{}", "pytorch_model.bin": b"p" * 3000, "tf_model.h5": b"o" * 2000})
    within = session()
    assert only(lock('[models.m]\nrepo = "acme/m"', within=within)).format == "tensorflow"
    assert within.reporter.notices == [
        "m: took the weights in tensorflow; left out pytorch, which saves 3.0 kB; allow-pickle = true takes pytorch"
    ]
    within = session()
    assert only(lock('[models.m]\nrepo = "acme/m"\nallow-pickle = true', within=within)).format == "pytorch"
    assert within.reporter.notices == ["m: took the weights in pytorch; left out tensorflow, which saves 2.0 kB"]


def test_a_version_without_weights_is_passed_over(hub, session, lock):
    repo = hub.add_repo("acme/m", FILES, tags=["v1.0"])
    for tag in ("v1.1", "v1.2"):
        repo.tag(tag, repo.commit({"model.safetensors": None, "README.md": tag.encode()}))
    text, within = '[models.m]\nrepo = "acme/m"\nversion = ">=1"', session()
    first = lock(text, within=within)
    assert only(first).version == "1.0"
    said = ["m: v1.2 and v1.1 lack the wanted files; v1.0 was taken instead"]
    assert within.reporter.notices == said
    # Whoever asks for something newer is told why there is none.
    within = session()
    assert lock(text, first, upgrade={"m"}, within=within) == first
    assert within.reporter.notices == said
    # Who wants no weights, and a repo without any, get the highest.
    assert only(lock(text + '\ninclude = ["*.json"]')).version == "1.2"
    assert only(lock(text + '\nexclude = ["*.safetensors"]')).version == "1.2"


def test_the_weights_in_one_format(hub, session, lock):
    hub.add_repo("acme/m", {**FILES, "pytorch_model.bin": b"p" * 3000, "model.onnx": b"o" * 2000})
    within = session()
    model = only(lock('[models.m]\nrepo = "acme/m"', within=within))
    assert [file.path for file in model.files] == ["config.json", "model.safetensors"]
    assert within.reporter.notices == [
        "m: took the weights in safetensors; left out onnx and pytorch, which saves 5.0 kB"
    ]


@pytest.mark.parametrize(
    ("revision", "hint"),
    [
        ("fp61", "its branches and tags: fp16, v1.0, main"),
        ("2023", "its branches and tags: v1.0, fp16, main"),
    ],
)
def test_a_revision_that_does_not_exist(hub, lock, revision, hint):
    hub.add_repo("acme/m", FILES, tags=["v1.0"]).branch("fp16")
    with pytest.raises(ModelNotFoundError) as caught:
        lock(f'[models.m]\nrepo = "acme/m"\nrevision = "{revision}"')
    assert str(caught.value) == f"m: acme/m at {revision}: no such revision"
    assert caught.value.hint == hint


def test_of_many_revisions_a_few_are_shown(hub, lock):
    hub.add_repo("acme/m", FILES, tags=[f"v{number}" for number in range(9)])
    with pytest.raises(ModelNotFoundError) as caught:
        lock('[models.m]\nrepo = "acme/m"\nrevision = "v88"')
    assert caught.value.hint == "its branches and tags: v8, v0, v1, v2, v3 and 5 more"


def test_a_disabled_repo_may_still_name_its_successor(hub, lock):
    hub.add_repo("acme/off", FILES, disabled=True, card={"new_version": "acme/on"})
    with pytest.raises(ModelNotFoundError) as caught:
        lock('[models.m]\nrepo = "acme/off"')
    assert caught.value.hint == "name another repo in models.toml; its card names a successor: acme/on"


def test_every_fallback_that_failed_is_named(hub, lock):
    hub.add_repo("acme/off", FILES, disabled=True)
    hub.add_repo("acme/closed", FILES, gated="manual")
    with pytest.raises(ModelNotFoundError) as caught:
        lock('[models.m]\nrepo = "acme/m"\nfallback = ["acme/off", "acme/closed"]')
    assert str(caught.value) == "m: acme/m: no such repo, or it is private"
    assert caught.value.details == (
        "nor its fallback: acme/off: the repo is disabled by the hub or its owner",
        "nor its fallback: acme/closed: the repo is gated, and access was not granted",
    )


def test_nothing_is_left_to_take(hub, lock):
    hub.add_repo("acme/m", FILES)
    with pytest.raises(ModelNotFoundError) as caught:
        lock('[models.m]\nrepo = "acme/m"\ninclude = ["*.gguf"]')
    assert str(caught.value) == "m: acme/m has no file like *.gguf"
    assert caught.value.hint == "check include and exclude under [models.m]"


def test_pickles_are_refused_before_a_byte_is_fetched(hub, lock):
    hub.add_repo("acme/m", {"config.json": b"{}", "pytorch_model.bin": WEIGHTS})
    with pytest.raises(ConfigError):
        lock('[models.m]\nrepo = "acme/m"')
    assert not any("/resolve/" in request.path for request in hub.requests)


# Repos that are not what they were


def test_a_renamed_repo_is_locked_by_its_present_name(hub, lock):
    hub.add_repo("acme/old", FILES)
    hub.rename("acme/old", "acme/new")
    for text in ('repo = "acme/old"', 'repo = "acme/old"\nrevision = "main"'):
        assert only(lock(f"[models.m]\n{text}")).repo == "acme/new"


OTHER = '\n[models.other]\nrepo = "acme/other"'


@pytest.fixture
def other(hub):
    """A second repo: requiring it makes the lock stale, and the first model must be looked at again."""
    return hub.add_repo("acme/other", FILES)


def test_what_is_locked_stays_until_it_shall_move(hub, lock, other):
    repo = hub.add_repo("acme/m", FILES)
    text = '[models.m]\nrepo = "acme/m"'
    before = lock(text)
    second = repo.commit({"config.json": b"{2}"})
    after = lock(text + OTHER, before)
    assert after.get("m") == before.get("m")
    assert lock(text + OTHER, after, upgrade={"other"}).get("m") == before.get("m")
    for upgrade in ({"m"}, {"*"}):
        assert lock(text + OTHER, after, upgrade=upgrade).get("m").commit == second


def test_a_version_that_still_fits_stays(versions, lock, other):
    text = '[models.m]\nrepo = "acme/m"\nversion = "~=1.0"'
    before = lock(text)
    versions.tag("v1.12", versions.commit({"config.json": b"new"}))
    wider = text.replace("~=1.0", ">=1.0,<2")
    assert lock(wider + OTHER, before).get("m").version == "1.11"
    assert lock(wider, before, upgrade={"m"}).get("m").version == "1.12"


def test_a_changed_requirement_moves_its_own_model_and_no_other(versions, lock, other):
    text = '[models.m]\nrepo = "acme/m"\nversion = "~=1.0"' + OTHER
    before = lock(text)
    other.commit({"config.json": b"{2}"})
    after = lock(text.replace("~=1.0", "<1"), before)
    assert after.get("m").version == "0.9"
    assert after.get("other") == before.get("other")


def test_a_tag_that_moved_does_not_move_the_lock(hub, lock, other):
    repo = hub.add_repo("acme/m", FILES, tags=["v1.0"])
    text = '[models.m]\nrepo = "acme/m"\nrevision = "v1.0"'
    before = lock(text)
    repo.tag("v1.0", repo.commit({"config.json": b"{2}"}))
    assert lock(text + OTHER, before).get("m") == before.get("m")


def test_another_selection_of_the_same_commit(hub, lock):
    repo = hub.add_repo("acme/m", FILES)
    text = '[models.m]\nrepo = "acme/m"'
    before = lock(text)
    repo.commit({"config.json": b"{2}"})
    model = only(lock(text + '\ninclude = ["*.json"]', before))
    assert (model.commit, [file.path for file in model.files]) == (only(before).commit, ["config.json"])


def test_a_locked_commit_that_is_gone(hub, lock, other):
    repo = hub.add_repo("acme/m", FILES)
    text = '[models.m]\nrepo = "acme/m"'
    before = lock(text)
    gone = repo.head()
    repo.commit({"config.json": b"{2}"})
    repo.delete_commit(gone)
    with pytest.raises(ModelNotFoundError) as caught:
        lock(text + OTHER, before)
    assert str(caught.value) == f"m: acme/m at {gone}: no such revision"
    assert caught.value.hint == "the locked commit is gone: vcm lock --upgrade-model m takes a newer one"


def test_a_rename_does_not_move_the_lock(hub, lock, other):
    repo = hub.add_repo("acme/m", FILES)
    text = '[models.m]\nrepo = "acme/m"'
    before = lock(text)
    repo.commit({"config.json": b"{2}"})
    hub.rename("acme/m", "acme/renamed")
    model = lock(text + OTHER, before).get("m")
    assert model.commit == only(before).commit, "what is locked stays until --upgrade"
    assert model.repo == "acme/renamed"


def assert_hard_stop(caught: pytest.ExceptionInfo[RegistryError]) -> None:
    assert (caught.value.error_code, caught.value.exit_code) == (CHECKSUM_MISMATCH, 4)
    assert "is not the repo that was locked: its id on the hub was" in str(caught.value)
    assert caught.value.hint == (
        "look at who owns it now; to trust it all the same: vcm remove m, then vcm add it again"
    )


def take_over(hub: HubSimulator, *, same_commits: bool, then_rename: bool) -> None:
    """A stranger takes the deleted name, and maybe moves on, so that it redirects to him."""
    first = hub.repo("acme/m").head()
    hub.remove("acme/m")
    repo = hub.add_repo("acme/m", FILES if same_commits else {"config.json": b"{1}"}, repo_id="f" * 24,
                        commit=first if same_commits else None)  # fmt: skip
    repo.commit({"config.json": b"a stranger's"})
    if then_rename:
        hub.rename("acme/m", "stranger/m")


@pytest.mark.parametrize("fallback", ["", '\nfallback = ["acme/other"]'])
@pytest.mark.parametrize("upgrade", [(), ("*",)])
@pytest.mark.parametrize("then_rename", [False, True])
@pytest.mark.parametrize("same_commits", [False, True])
def test_a_name_that_a_stranger_took_over_is_a_hard_stop(
    hub, lock, other, *, same_commits, then_rename, upgrade, fallback
):
    hub.add_repo("acme/m", FILES)
    text = '[models.m]\nrepo = "acme/m"' + fallback
    before = lock(text)
    take_over(hub, same_commits=same_commits, then_rename=then_rename)
    with pytest.raises(RegistryError) as caught:
        lock(text + OTHER, before, upgrade=upgrade)
    assert_hard_stop(caught)


def test_another_repo_of_the_manifests_own_choice_is_no_stranger(hub, lock, other):
    hub.add_repo("acme/m", FILES)
    before = lock('[models.m]\nrepo = "acme/m"')
    assert only(lock('[models.m]\nrepo = "acme/other"', before)).repo == "acme/other"


@pytest.mark.parametrize("what", ['version = "==1.0"', 'revision = "{commit}"'])
def test_a_hub_that_answers_with_another_commit_than_the_one_asked_for(hub, lock, what):
    repo = hub.add_repo("acme/m", FILES, tags=["v1.0"])
    first = repo.head()
    second = repo.commit({"model.safetensors": b"other weights"})
    hub.fail(Fault(path="*/revision/*", edit=lambda info: {**info, "sha": second}, times=None))
    with pytest.raises(RegistryError):
        lock(f'[models.m]\nrepo = "acme/m"\n{what.format(commit=first)}')


def test_a_hub_that_answers_with_another_commit_than_the_locked_one(hub, lock, other):
    repo = hub.add_repo("acme/m", FILES)
    text = '[models.m]\nrepo = "acme/m"'
    before = lock(text)
    second = repo.commit({"model.safetensors": b"other weights"})
    path = f"/api/models/acme/m/revision/{only(before).commit}"
    hub.fail(Fault(path=path, edit=lambda info: {**info, "sha": second}, times=None))
    with pytest.raises(RegistryError):
        lock(text + OTHER, before)


# Fallbacks


WITH_FALLBACK = '[models.m]\nrepo = "acme/m"\nfallback = ["acme/gone", "acme/other"]'


def unusable(hub: HubSimulator, kind: str) -> None:
    if kind == "missing":
        return
    settings: dict[str, dict[str, Any]] = {
        "private": {"private": True},
        "gated": {"gated": "auto"},
        "disabled": {"disabled": True},
        "gated, small files only": {"gated": "manual"},
    }
    hub.add_repo("acme/m", {"config.json": b"{}"} if kind.endswith("only") else FILES, **settings[kind])


@pytest.mark.parametrize("token", [None, TOKEN])
@pytest.mark.parametrize("kind", ["missing", "private", "gated", "disabled", "gated, small files only"])
def test_the_next_repo_is_taken_when_the_first_cannot_be_used(hub, session, lock, other, kind, token):
    unusable(hub, kind)
    within = session(token)
    model = only(lock(WITH_FALLBACK, within=within))
    assert (model.repo, model.fallback_for, model.commit) == ("acme/other", "acme/m", other.head())
    (notice,) = within.reporter.notices
    assert re.fullmatch(r"m: .*; acme/other was taken instead", notice)


def test_the_next_repo_is_taken_when_the_first_has_no_such_version(hub, session, lock, other):
    hub.add_repo("acme/m", FILES, tags=["v1.0"])
    other.tag("v2.0")
    within = session()
    model = only(lock(WITH_FALLBACK + '\nversion = ">=2"', within=within))
    assert (model.repo, model.version, model.fallback_for) == ("acme/other", "2.0", "acme/m")
    assert within.reporter.notices == ["m: acme/m has no version that satisfies >=2; acme/other was taken instead"]


@pytest.mark.parametrize("kind", ["missing", "private", "gated", "disabled"])
def test_the_first_repos_error_is_told_when_none_can_be_used(hub, lock, kind):
    unusable(hub, kind)
    with pytest.raises(RegistryError) as caught:
        lock(WITH_FALLBACK)
    assert str(caught.value).startswith("m: acme/m: ")
    assert caught.value.error_code == (AUTHENTICATION_ERROR if kind == "gated" else NOT_FOUND)


@pytest.mark.parametrize("fault", [{"status": 503}, {"status": 500}, {"status": 200, "body": b"<html>"}])
def test_a_hub_in_trouble_is_no_reason_to_take_another_repo(hub, lock, other, fault):
    hub.add_repo("acme/m", FILES)
    hub.fail(Fault(path="/api/models/acme/m*", times=None, **fault))
    with pytest.raises(RegistryError):
        lock(WITH_FALLBACK)


def test_a_fallback_stays_until_it_shall_move(hub, lock, other):
    before = lock(WITH_FALLBACK)
    hub.add_repo("acme/m", FILES)
    other.commit({"config.json": b"{2}"})
    again = lock(WITH_FALLBACK + '\ninclude = ["*.json", "*.safetensors"]', before)
    assert only(again) == only(before)
    assert only(lock(WITH_FALLBACK, before, upgrade={"m"})).repo == "acme/m"


def test_a_gated_repo_says_which_page_and_which_token(hub, lock):
    hub.add_repo("acme/m", FILES, gated="auto")
    with pytest.raises(RegistryError) as caught:
        lock('[models.m]\nrepo = "acme/m"', token=TOKEN)
    assert caught.value.hint == f"accept its terms at {hub.endpoint}/acme/m with the account whose token is in HF_TOKEN"
    assert any(path.endswith("/auth-check") for path in api_calls(hub))
    assert not any(request.path.endswith(".safetensors") for request in hub.requests)


def test_a_gated_repo_with_access(hub, lock):
    hub.add_repo("acme/m", FILES, gated="auto")
    hub.grant(TOKEN, "acme/m")
    model = only(lock('[models.m]\nrepo = "acme/m"', token=TOKEN))
    assert (model.gated, model.files[1].sha256) == ("auto", sha256(WEIGHTS))


# Bytes at lock time


def test_small_files_are_in_the_store_afterwards_and_large_ones_are_not(hub, cache, lock):
    hub.add_repo("acme/m", FILES)
    lock('[models.m]\nrepo = "acme/m"')
    assert [path.name for path in (cache / "blobs" / "sha256").iterdir()] == [sha256(b"{}")]
    assert not any(request.origin == "cdn" for request in hub.requests)


@pytest.mark.parametrize("times", [2, None])
def test_a_small_file_that_does_not_fit_its_git_id_is_an_error(hub, cache, lock, times):
    hub.add_repo("acme/m", FILES)
    hub.fail(Fault(path="/api/resolve-cache/*", corrupt=True, times=times))
    with pytest.raises(ModelChecksumError) as caught:
        lock('[models.m]\nrepo = "acme/m"')
    assert (caught.value.model, caught.value.file, caught.value.exit_code) == ("m", "config.json", 4)
    assert list((cache / "blobs" / "sha256").iterdir()) == []
    assert list((cache / "partial").iterdir()) == []


def test_a_small_file_whose_size_is_a_lie(hub, lock):
    hub.add_repo("acme/m", FILES)

    def lie(entries):
        return [{**entry, "size": entry["size"] + (0 if "lfs" in entry else 1)} for entry in entries]

    hub.fail(Fault(path="*/tree/*", edit=lie))
    with pytest.raises(ModelChecksumError) as caught:
        lock('[models.m]\nrepo = "acme/m"')
    assert (caught.value.expected, caught.value.actual) == ("3 bytes", "2 bytes")


def test_a_known_small_file_is_not_fetched_again(hub, lock):
    repo = hub.add_repo("acme/m", FILES)
    text = '[models.m]\nrepo = "acme/m"'
    before = lock(text)
    repo.commit({"new.json": b"[]"})
    hub.clear_requests()
    lock(text, before, upgrade={"m"})
    fetched = {
        request.path.rpartition("/")[2].partition("?")[0] for request in hub.requests if "resolve" in request.path
    }
    assert fetched == {"new.json"}


# Requests


def test_two_calls_for_a_model_and_three_with_a_version(hub, lock):
    hub.add_repo("acme/m", FILES, tags=["v1.0"])
    before = lock('[models.m]\nrepo = "acme/m"')
    assert len(api_calls(hub)) == 2
    hub.clear_requests()
    lock('[models.m]\nrepo = "acme/m"\nrevision = "v1.0"')
    assert len(api_calls(hub)) == 2
    hub.clear_requests()
    lock('[models.m]\nrepo = "acme/m"\nversion = "~=1.0"')
    assert len(api_calls(hub)) == 3
    hub.clear_requests()
    lock('[models.m]\nrepo = "acme/m"\nexclude = ["*.md"]', before)
    assert len(api_calls(hub)) == 2
    assert not any(request.method == "HEAD" for request in hub.requests)


def test_a_fitting_lock_asks_nothing(hub, session, read_manifest, lock):
    hub.add_repo("acme/m", FILES)
    text = '[models.m]\nrepo = "acme/m"'
    before = lock(text)
    hub.clear_requests()
    answer = session().resolve(read_manifest("# a comment\n" + text), before)
    assert (answer.after, answer.requested) == (before, False)
    assert hub.requests == []


def test_models_are_asked_about_at_the_same_time(hub, lock):
    text = ""
    for number in range(8):
        hub.add_repo(f"acme/m{number}", {f"{part}.json": b"%d" % (number * 100 + part) for part in range(4)})
        text += f'[models.m{number}]\nrepo = "acme/m{number}"\n'
    hub.fail(Fault(delay=0.1, times=None))
    started = time.monotonic()
    locked = lock(text)
    took = time.monotonic() - started
    assert len(locked.models) == 8
    assert len(hub.requests) == 8 * (2 + 4 * 2)
    assert took < 0.5 * 0.1 * len(hub.requests), "well under what it takes one after the other"


def test_the_same_manifest_and_hub_give_the_same_bytes(hub, lock, tmp_path, session):
    for number in range(5):
        hub.add_repo(f"acme/m{number}", {**FILES, "a.json": b"%d" % number}, tags=["v1.0"], card={"license": "mit"})
    text = "".join(f'[models.m{number}]\nrepo = "acme/m{number}"\nversion = ">=1"\n' for number in range(5))
    texts = {
        lock_text(lock(text, within=session(folder=tmp_path / f"cache-{number}", token=token)))
        for number, token in enumerate([None, TOKEN, None])
    }
    (written,) = texts
    assert parse_lock(written.encode()) == lock(text)
    assert str(tmp_path) not in written
    assert "127.0.0.1" not in written


def test_the_first_error_in_name_order_is_told(hub, lock):
    hub.add_repo("acme/b", FILES)
    hub.fail(Fault(path="/api/models/acme/a", delay=0.1))
    with pytest.raises(VcmError) as caught:
        lock("".join(f'[models.{name}]\nrepo = "acme/{name}"\n' for name in "cba"))
    assert caught.value.model == "a"


# Direct files


@pytest.fixture
def published(hub):
    return hub.add_file("folder/detector v1.onnx", WEIGHTS)


@pytest.mark.parametrize(
    "promise",
    [
        "",
        "size = 4000",
        f'checksum = "sha256:{sha256(WEIGHTS)}"',
        f'checksum = "{sha256(WEIGHTS).upper()}"',
        f'checksum = "sha256:{sha256(WEIGHTS)}"\nsize = 4000',
        f'checksum = "sha512:{hashlib.sha512(WEIGHTS).hexdigest()}"',
        f'checksum = "md5:{hashlib.md5(WEIGHTS).hexdigest()}"\nsize = 4000',  # noqa: S324
    ],
)
def test_a_direct_file_is_pinned_whatever_is_promised(hub, lock, published, promise):
    model = only(lock(f'[models.m]\nurl = "{published}"\ntype = "object-detection"\n{promise}'))
    assert (model.source, model.url, model.type, model.format) == ("url", published, "object-detection", "onnx")
    assert model.files == (LockedFile("detector v1.onnx", 4000, sha256(WEIGHTS)),)
    assert len(hub.requests) == (0 if "sha256" in promise and "size" in promise else 1)
    assert all(request.method == "GET" for request in hub.requests)


@pytest.mark.parametrize(
    "promise", ["size = 3999", f'checksum = "sha256:{"0" * 64}"', f'checksum = "sha512:{"0" * 128}"']
)
def test_a_direct_file_that_breaks_its_promise(hub, cache, lock, published, promise):
    with pytest.raises(ModelChecksumError) as caught:
        lock(f'[models.m]\nurl = "{published}"\n{promise}')
    assert (caught.value.model, caught.value.file) == ("m", "detector v1.onnx")
    assert list((cache / "blobs" / "sha256").iterdir()) == []


def test_a_direct_file_whose_length_nobody_knows(hub, lock, published):
    hub.fail(Fault(origin="cdn", headers={"Content-Length": None}, times=2))
    with pytest.raises(ModelDownloadError) as caught:
        lock(f'[models.m]\nurl = "{published}"')
    assert caught.value.hint == "add size (in bytes) to it in models.toml"
    assert only(lock(f'[models.m]\nurl = "{published}"\nsize = 4000')).size == 4000


def test_a_direct_file_stays_pinned_when_the_publisher_changes_it(hub, lock, published, other):
    text = f'[models.m]\nurl = "{published}"'
    before = lock(text)
    hub.add_file("folder/detector v1.onnx", b"changed")
    assert lock(text + OTHER, before).get("m") == only(before)
    assert lock(text, before, upgrade={"m"}).get("m").size == 7


def test_a_damaged_blob_does_not_get_its_size_into_the_lock(hub, cache, lock, published):
    blobs = cache / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    (blobs / sha256(WEIGHTS)).write_bytes(WEIGHTS[:10])
    model = only(lock(f'[models.m]\nurl = "{published}"\nchecksum = "sha256:{sha256(WEIGHTS)}"'))
    assert model.size == 4000


def test_a_direct_file_of_the_hub_itself(hub, lock):
    hub.add_repo("acme/m", FILES, gated="auto")
    hub.grant(TOKEN, "acme/m")
    url = f"{hub.endpoint}/acme/m/resolve/main/model.safetensors"
    assert only(lock(f'[models.m]\nurl = "{url}"', token=TOKEN)).files[0].sha256 == sha256(WEIGHTS)


@pytest.mark.parametrize("path", ["", "/", "/a/", "/..%2f..", "/aux.onnx", "/a%00b", "/x%5Cy", "/a%3Ab"])
def test_a_url_that_names_no_file(hub, lock, path):
    with pytest.raises(ConfigError) as caught:
        lock(f'[models.m]\nurl = "{hub.cdn_origin}{path}"')
    assert caught.value.hint == "use another url for [models.m]"
    assert hub.requests == []


def test_a_pickle_behind_a_url(hub, lock):
    url = hub.add_file("model.pt", WEIGHTS)
    with pytest.raises(ConfigError):
        lock(f'[models.m]\nurl = "{url}"')
    assert only(lock(f'[models.m]\nurl = "{url}"\nallow-pickle = true')).format == "pytorch"


def test_a_hub_that_is_down_is_waited_for_once_and_told_once(hub, session, read_manifest, vcm, manifest):
    for number in range(60):
        hub.add_repo(f"acme/m{number}", FILES)
    text = "".join(f'[models.m{number}]\nrepo = "acme/m{number}"\n' for number in range(60))
    within = session()
    hub.stop()
    with pytest.raises(RegistryError) as caught:
        within.resolve(read_manifest(text), None)
    assert len(caught.value.others) == 59
    assert len(within.reporter.waits) <= 3 * CONNECTIONS, "of those that were asked at once, and of no others"
    hub.start()
    hub.fail(Fault(path="/api/models/acme/m7*", status=503, times=None))
    with pytest.raises(RegistryError) as caught:
        session().resolve(read_manifest(text), None)
    assert (caught.value.model, caught.value.others) == ("m7", ()), "a hub that answers others is not down"
    manifest(text)
    lines = vcm("lock", "-q", "--offline").err.splitlines()
    assert [line.partition(":")[0] for line in lines] == ["error", "hint"] * 10 + ["and 50 errors more"]


def test_what_befell_all_models_is_said_once(vcm, manifest, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("vcm.http.retries.DELAYS", ())
    manifest('[models.a]\nrepo = "acme/a"\n[models.b]\nrepo = "acme/b"\n')
    result = vcm("lock")
    assert (result.code, result.err) == (
        3,
        (
            "error: a and b: 127.0.0.1:9: connection refused\n"
            "hint: check the network, HTTPS_PROXY and HF_ENDPOINT; without a network use --offline or --from DIR\n"
        ),
    )


# Conservative, whatever the tables are called


def test_a_table_that_is_renamed_moves_nothing(hub, session, lock):
    repo = hub.add_repo("acme/m", FILES, card={"new_version": "acme/n"})
    first = lock('[models.m]\nrepo = "acme/m"')
    repo.commit({"config.json": b"{2}"})
    within = session()
    renamed = lock('[models.renamed]\nrepo = "acme/m"', first, within=within)
    assert only(renamed) == replace(only(first), name="renamed")
    assert within.reporter.notices == []
    # Nor does one that is added beside it, unless it asks for something else.
    both = lock('[models.m]\nrepo = "acme/m"\n[models.n]\nrepo = "acme/m"\ninclude = ["*.json"]', first)
    assert {model.commit for model in both.models} == {only(first).commit}
    other = lock('[models.m]\nrepo = "acme/m"\n[models.n]\nrepo = "acme/m"\nrevision = "main"', first)
    assert other.get("n").commit == repo.head()
    upgraded = lock('[models.renamed]\nrepo = "acme/m"', first, upgrade={"renamed"})
    assert only(upgraded).commit == repo.head()


def test_a_direct_file_whose_table_is_renamed_is_not_fetched_again(hub, lock):
    url = hub.add_file("m.onnx", WEIGHTS)
    first = lock(f'[models.m]\nurl = "{url}"')
    hub.clear_requests()
    assert only(lock(f'[models.n]\nurl = "{url}"', first)).files == only(first).files
    assert hub.requests == []


@pytest.mark.parametrize(
    "text", ['[models.n]\nrepo = "acme/m"', '[models.m]\nrepo = "acme/m"\n[models.n]\nrepo = "acme/m"']
)
def test_a_stranger_under_a_locked_name_is_refused_by_any_table(hub, lock, text):
    hub.add_repo("acme/m", FILES)
    first = lock('[models.m]\nrepo = "acme/m"')
    hub.remove("acme/m")
    hub.add_repo("acme/m", FILES)
    with pytest.raises(RegistryError) as caught:
        lock(text + '\nrevision = "main"', first)
    error = next(each for each in (caught.value, *caught.value.others) if each.model == "n")
    assert error.error_code == CHECKSUM_MISMATCH
    assert "acme/m is not the repo that was locked" in error.message
    assert error.hint == "look at who owns it now; to trust it all the same: vcm remove m, then vcm add it again"


def test_that_a_repo_has_a_new_name_is_said_once(hub, session, lock):
    repo = hub.add_repo("acme/old", FILES)
    text = '[models.m]\nrepo = "acme/old"'
    first = lock(text)
    hub.rename("acme/old", "acme/new")
    within = session()
    second = lock(text + '\nexclude = ["*.md"]', first, within=within)
    assert within.reporter.notices == ["m: acme/old is called acme/new now"]
    repo.commit({"config.json": b"{2}"})
    within = session()
    lock(text, second, upgrade={"m"}, within=within)
    assert within.reporter.notices == []


def test_a_direct_file_needs_no_hub(vcm, manifest, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{closed_port()}")
    monkeypatch.setattr("vcm.http.retries.DELAYS", ())
    url = "".join(
        f'[models.u{number}]\nurl = "https://example.com/u.onnx"\nchecksum = "{"ab" * 32}"\nsize = 1\n'
        for number in range(60)
    )
    manifest(f'[models.a]\nrepo = "acme/a"\n{url}')
    result = vcm("lock")
    assert result.code == 3
    assert result.err.startswith("error: a: ")
    assert result.err.count("error: ") == 1
