"""What is new of locked models, asked of a hub."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.conftest import TOKEN
from vcm.core.outdated import News, Release
from vcm.errors import AUTHENTICATION_ERROR, NETWORK_ERROR
from vcm.store.notices import read_notices
from vcm.testing import Fault, HubSimulator

WEIGHTS = hashlib.shake_128(b"weights").digest(4000)
OTHER = hashlib.shake_128(b"other").digest(4000)
FILES = {"README.md": b"# m\n", "config.json": b"{}", "tokenizer.json": b"[]", "model.safetensors": WEIGHTS}
PLAIN = '[models.m]\nrepo = "acme/m"\n'
BY_VERSION = PLAIN + 'version = "~=1.0"\n'
BY_TAG = PLAIN + 'revision = "v1.0"\n'
FIRST, SECOND, THIRD = (f"2026-01-01T00:0{minute}:00.000Z" for minute in range(3))


@pytest.fixture
def repo(hub):
    return hub.add_repo("acme/m", FILES, tags=["v1.0"])


@pytest.fixture
def locked(session, read_manifest, repo, hub):
    """Locks a manifest, then tells what is new at any later time."""

    def make(text: str = PLAIN) -> Callable[..., list[News]]:
        manifest = read_manifest(text)
        models = session().resolve(manifest, None).after.models

        def news(with_models=models, *, freshness="refresh", **keys) -> list[News]:
            hub.clear_requests()
            found: list[News] = session(freshness=freshness, **keys).news(with_models, manifest)
            return found

        return news

    return make


def only(news: list[News]) -> News:
    (one,) = news
    if one.error:
        raise one.error
    return one


def kinds(news: News) -> list[str]:
    return [notice.kind for notice in news.notices]


def api_calls(hub: HubSimulator) -> list[str]:
    return sorted(request.path.removeprefix("/api/models/") for request in hub.requests)


# What is newer


def test_nothing_is_new(hub, repo, locked):
    later = locked()
    found = only(later())
    current = Release(repo.head(), None, FIRST)
    assert (found.current, found.allowed, found.latest, found.changes, found.notices) == (
        current,
        current,
        current,
        (),
        (),
    )
    # One for the repo, one for the date: there is nothing to compare, and no ref to look up.
    assert api_calls(hub) == ["acme/m", f"acme/m/commits/{repo.head()}?limit=1"]


def test_a_readme_commit_is_no_update(repo, locked):
    later = locked()
    first, second = repo.head(), repo.commit({"README.md": b"# better words\n"})
    found = only(later())
    assert found.current == Release(first, None, FIRST)
    assert found.allowed == found.latest == Release(second, None, SECOND)
    assert (found.changes, found.has_update, found.needs_action) == (("docs",), False, False)


@pytest.mark.parametrize(
    ("files", "changes"),
    [
        ({"tokenizer.json": b"[1]"}, ("tokenizer",)),
        ({"model.safetensors": OTHER}, ("weights",)),
        ({"chat_template.jinja": b"{{ 1 }}", "README.md": b"new"}, ("template", "docs")),
        ({"config.json": None, "modeling_m.py": b"pass"}, ("config", "code")),
        ({"LICENSE": b"terms"}, ("licence",)),
        ({"pytorch_model.bin": OTHER}, ()),  # the same weights in another format are not taken
    ],
)
def test_what_changed_in_the_locked_files(files, changes, repo, locked):
    later = locked()
    repo.commit(files)
    found = only(later())
    assert (found.changes, found.has_update) == (changes, bool(changes))


def test_only_what_the_requirement_takes_counts(repo, locked):
    later = locked(PLAIN + 'include = ["*.safetensors"]\n')
    repo.commit({"tokenizer.json": b"[1]", "modeling_m.py": b"pass"})
    assert only(later()).changes == ()


def test_the_questions_for_an_outdated_model(hub, repo, locked):
    later = locked()
    first, second = repo.head(), repo.commit({"tokenizer.json": b"[1]"})
    later()
    assert api_calls(hub) == [
        "acme/m",
        f"acme/m/commits/{first}?limit=1",
        f"acme/m/commits/{second}?limit=1",
        f"acme/m/revision/{first}",
        f"acme/m/tree/{second}?recursive=true",
    ]


def test_two_models_of_one_repo_ask_once(hub, repo, locked):
    later = locked(PLAIN + '[models.n]\nrepo = "acme/m"\ninclude = ["*.json"]\n')
    assert [each.needs_action for each in later()] == [False, False]
    assert len(hub.requests) == 2


def test_known_answers_serve(hub, repo, locked, session):
    later = locked()
    later()
    repo.commit({"tokenizer.json": b"[1]"})
    assert only(later(freshness="normal")).changes == ()
    assert hub.requests == []
    assert only(later(offline=True, freshness="normal")).changes == ()
    assert only(later()).changes == ("tokenizer",)


def test_offline_without_an_answer(repo, locked, tmp_path):
    (found,) = locked()(offline=True, freshness="normal", folder=tmp_path / "empty")
    assert found.error is not None
    assert (found.error.model, found.error.error_code) == ("m", NETWORK_ERROR)


def test_versions(repo, locked):
    later = locked(BY_VERSION)
    allowed = repo.commit({"tokenizer.json": b"[1]"})
    repo.tag("v1.4")
    latest = repo.commit({"model.safetensors": OTHER})
    repo.tag("v2.0")
    repo.commit({"config.json": b"{1}"})  # the head of the default branch is no version
    repo.tag("v3.0rc1")
    found = only(later())
    assert found.allowed == Release(allowed, "1.4", SECOND)
    assert found.latest == Release(latest, "2.0", THIRD)
    assert (found.current and found.current.version, found.changes, found.has_update) == ("1.0", ("tokenizer",), True)


def test_what_is_not_allowed_is_compared_where_nothing_else_is_newer(repo, locked):
    later = locked(BY_VERSION)
    repo.commit({"model.safetensors": OTHER})
    repo.tag("v2.0")
    found = only(later())
    assert (found.allowed and found.allowed.version, found.latest and found.latest.version) == ("1.0", "2.0")
    assert (found.changes, found.has_update) == (("weights",), False)


def test_a_version_that_lacks_the_wanted_files_is_passed_over_as_locking_would(repo, locked):
    later = locked(BY_VERSION + 'include = ["*.safetensors", "config.json"]\n')
    repo.commit({"model.safetensors": OTHER})
    repo.tag("v1.4")
    repo.commit({"model.safetensors": None})
    repo.tag("v1.5")
    found = only(later())
    assert (found.allowed and found.allowed.version, found.changes) == ("1.4", ("weights",))


def test_another_version_of_the_same_commit(repo, locked):
    later = locked(BY_VERSION)
    repo.tag("v1.4", "v1.0")
    found = only(later())
    assert (found.allowed and found.allowed.version, found.changes, found.needs_action) == ("1.4", (), False)


def test_a_newer_one_that_could_not_be_locked_is_compared_file_by_file(repo, locked):
    later = locked()
    repo.commit({"model.safetensors": None, "pytorch_model.bin": OTHER})
    assert only(later()).changes == ("weights",)


def test_a_branch(repo, locked):
    repo.branch("dev")
    later = locked(PLAIN + 'revision = "dev"\n')
    moved = repo.commit({"tokenizer.json": b"[1]"}, branch="dev")
    found = only(later())
    assert (found.allowed and found.allowed.commit, found.latest and found.latest.commit) == (moved, repo.head())
    assert (found.changes, kinds(found)) == (("tokenizer",), [])


def test_a_revision_that_no_list_has(repo, locked):
    repo.branch("refs/pr/1")
    later = locked(PLAIN + 'revision = "refs/pr/1"\n')
    moved = repo.commit({"tokenizer.json": b"[1]"}, branch="refs/pr/1")
    found = only(later())
    assert (found.allowed and found.allowed.commit, found.changes, kinds(found)) == (moved, ("tokenizer",), [])


def test_a_commit_allows_itself_alone(repo, locked, hub):
    first = repo.head()
    later = locked(f'{PLAIN}revision = "{first}"\n')
    second = repo.commit({"model.safetensors": OTHER})
    found = only(later())
    assert (found.allowed and found.allowed.commit, found.latest and found.latest.commit) == (first, second)
    assert (found.changes, found.has_update) == (("weights",), False)
    assert "acme/m/refs" not in api_calls(hub)


def test_a_direct_file_is_listed_and_nobody_is_asked(hub, locked):
    url = hub.add_file("words.onnx", b"words")
    found = only(locked(f'[models.words]\nurl = "{url}"\n')())
    assert (found.model.name, found.current, found.allowed, found.latest) == ("words", None, None, None)
    assert hub.requests == []


def test_a_base_model_is_compared_as_locking_takes_it(repo, locked, hub):
    hub.add_repo("acme/adapter", {"adapter_config.json": b'{"base_model_name_or_path": "acme/m"}'})
    later = locked('[models.a]\nrepo = "acme/adapter"\n')
    _, base = later()
    assert (base.model.name, base.allowed, base.changes) == ("a.m", Release(repo.head(), None, FIRST), ())
    second = repo.commit({"chat_template.jinja": b"new", "pytorch_model.bin": OTHER})
    _, base = later()
    # The weights in a second format are not taken; a file that is new is.
    assert (base.allowed, base.changes, base.has_update) == (Release(second, None, SECOND), ("template",), True)


def test_a_repo_that_is_wanted_for_its_code_is_compared_by_that(locked, hub):
    config = b'{"auto_map": {"AutoModel": "acme/code--modeling.Model"}}'
    hub.add_repo("acme/coded", {"config.json": config})
    code = hub.add_repo("acme/code", {"modeling.py": b"1", "LICENSE": b"terms", "model.safetensors": WEIGHTS})
    later = locked('[models.c]\nrepo = "acme/coded"\n')
    code.commit({"model.safetensors": OTHER, "README.md": b"new"})
    _, found = later()
    assert (found.model.name, found.changes) == ("c.code", ())
    code.commit({"layers.py": b"2"})
    assert later()[1].changes == ("code",)


def test_what_was_pulled_in_at_a_commit_stays_there(repo, locked, hub):
    first = repo.head()
    later = locked()
    (model,) = (each.model for each in later())
    repo.commit({"tokenizer.json": b"[1]"})
    found = only(later([replace(model, name="m.base", via="m", requested=first)]))
    assert (found.allowed and found.allowed.commit, found.has_update) == (first, False)


def test_a_date_that_the_lock_has_is_not_asked_for(repo, locked, hub, session, read_manifest):
    (model,) = session().resolve(read_manifest(PLAIN), None).after.models
    found = only(locked()([replace(model, committed="2020-01-01T00:00:00Z")]))
    assert found.current == Release(repo.head(), None, "2020-01-01T00:00:00Z")
    assert api_calls(hub) == ["acme/m"]


# What became of the repo


def test_a_moved_tag(repo, locked):
    for text in (BY_TAG, BY_VERSION):
        later = locked(text)
        moved = repo.commit({"tokenizer.json": text.encode()})
        repo.tag("v1.0")
        found = only(later())
        assert kinds(found) == ["tag-moved"]
        assert (found.allowed and found.allowed.commit, found.changes) == (moved, ("tokenizer",))


def test_a_deleted_tag(repo, locked):
    for text in (BY_TAG, BY_VERSION):
        later = locked(text)
        repo.delete_tag("v1.0")
        found = only(later())
        assert [notice.message for notice in found.notices] == ["acme/m has no tag or branch v1.0 any more"]
        assert found.allowed is None
        repo.tag("v1.0")


def test_a_squashed_history(repo, locked):
    later = locked()
    first = repo.head()
    squashed = repo.commit({"tokenizer.json": b"[1]"})
    repo.delete_commit(first)
    found = only(later())
    assert kinds(found) == ["commit-gone"]
    assert found.current == Release(first)  # nobody knows its date any more
    assert (found.allowed and found.allowed.commit, found.changes) == (squashed, ("tokenizer",))


def test_a_squashed_history_with_the_same_files(repo, locked):
    later = locked()
    first = repo.head()
    repo.commit({}, message="Super-squash")
    repo.delete_commit(first)
    found = only(later())
    assert (kinds(found), found.changes, found.has_update, found.needs_action) == (["commit-gone"], (), False, True)


def test_a_renamed_repo(hub, repo, locked):
    later = locked()
    hub.rename("acme/m", "new-owner/m")
    repo.commit({"tokenizer.json": b"[1]"})
    found = only(later())
    assert [(notice.kind, notice.replacement) for notice in found.notices] == [("renamed", "new-owner/m")]
    assert found.changes == ("tokenizer",)
    # Once is enough to be sent on.
    assert [call for call in api_calls(hub) if call.startswith("acme/m")] == ["acme/m"]


def test_gated_since(repo, locked):
    later = locked()
    repo.gated = "manual"
    repo.commit({"README.md": b"now gated"})
    found = only(later())
    # The digests of the weights are hidden now, which makes them no others.
    assert (kinds(found), found.changes) == (["gated"], ("docs",))


def test_gated_all_the_while(hub, locked, session, read_manifest):
    token = TOKEN
    hub.add_repo("acme/gated", FILES, gated="auto")
    hub.grant(token, "acme/gated")
    manifest = read_manifest('[models.m]\nrepo = "acme/gated"\n')
    models = session(token).resolve(manifest, None).after.models
    assert only(session(token).news(models, manifest)).notices == ()


def test_disabled(repo, locked):
    later = locked()
    repo.disabled = True
    found = only(later())
    assert (kinds(found), found.allowed, found.latest) == (["disabled"], None, None)


@pytest.mark.parametrize("token", [None, TOKEN])
def test_gone(token, hub, repo, locked):
    later = locked()
    hub.remove("acme/m")
    assert kinds(only(later(token=token))) == ["gone"]


def test_private_by_now(repo, locked):
    later = locked()
    repo.private = True
    assert kinds(only(later())) == ["gone"]


def test_gone_while_an_older_answer_still_knows_it(hub, repo, locked, session):
    later = locked()
    repo.commit({"config.json": b"{1}"})
    session()._connect().client.info("acme/m", None)
    hub.remove("acme/m")
    assert kinds(only(later(freshness="normal"))) == ["gone"]


@pytest.mark.parametrize("kind", ["gone", "disabled", "tag-moved"])
def test_what_the_hub_said_last_is_not_forgotten_for_an_older_answer(kind, hub, repo, locked, cache):
    later = locked(BY_TAG)
    later(freshness="normal")
    if kind == "gone":
        hub.remove("acme/m")
    elif kind == "disabled":
        repo.disabled = True
    else:
        repo.delete_tag("v1.0")
    assert kinds(only(later())) == [kind]
    assert kinds(only(later(freshness="normal"))) == [kind]
    # Offline it is not known any more, which is no reason to say that all is well.
    (found,) = later(offline=True, freshness="normal")
    assert found.error is not None
    assert (found.error.error_code, kinds(found)) == (NETWORK_ERROR, [])
    assert [notice.kind for (notice,) in read_notices(cache).values()] == [kind]


def test_a_repo_named_disabled_that_is_gone(hub, locked):
    hub.add_repo("acme/disabled", FILES)
    later = locked('[models.m]\nrepo = "acme/disabled"\n')
    hub.remove("acme/disabled")
    assert kinds(only(later())) == ["gone"]


def test_a_name_that_a_stranger_took_over(hub, repo, locked):
    later = locked(BY_VERSION)
    hub.remove("acme/m")
    hub.add_repo("acme/m", {"model.safetensors": OTHER}, tags=["v1.9"], repo_id="f" * 24, card={"new_version": "x/y"})
    found = only(later())
    assert (kinds(found), found.allowed, found.latest, found.changes) == (["identity-changed"], None, None, ())
    assert api_calls(hub) == ["acme/m"]


@pytest.mark.parametrize(
    ("cards", "end"),
    [
        ({"m": "acme/n"}, "acme/n"),
        ({"m": "acme/n", "n": "acme/o"}, "acme/o"),
        ({"m": "acme/n", "n": "acme/o", "o": "acme/n"}, "acme/o"),
        ({"m": "acme/n", "n": "acme/m"}, "acme/n"),
        ({"m": "acme/n", "n": "acme/lost"}, "acme/n"),
        ({"m": "acme/old-o"}, "acme/o"),
    ],
)
def test_a_chain_of_successors(cards, end, hub, repo, locked):
    later = locked()
    hub.add_repo("acme/n", FILES)
    hub.add_repo("acme/old-o", FILES)
    hub.rename("acme/old-o", "acme/o")
    for name, successor in cards.items():
        hub.repo(f"acme/{name}").card["new_version"] = successor
    (notice,) = only(later()).notices
    assert (notice.kind, notice.replacement) == ("deprecated", end)


@pytest.mark.parametrize("name", ["acme/m", "ACME/M", "acme/former-m", "not a repo", ["acme/n"], ""])
def test_what_is_no_successor(name, hub, locked):
    hub.add_repo("acme/former-m", FILES)
    later = locked('[models.m]\nrepo = "acme/former-m"\n')
    hub.remove("acme/m")
    hub.rename("acme/former-m", "acme/m")
    hub.repo("acme/m").card["new_version"] = name
    assert kinds(only(later())) == ["renamed"]


def test_a_successor_that_is_not_there(hub, repo, locked):
    later = locked()
    repo.card["new_version"] = "acme/lost"
    (notice,) = only(later()).notices
    assert (notice.message, notice.replacement) == (
        "acme/m is deprecated, and its successor acme/lost is not there",
        None,
    )


def test_an_endless_chain_ends(hub, repo, locked):
    later = locked()
    repo.card["new_version"] = "acme/next-0"
    for number in range(40):
        hub.add_repo(f"acme/next-{number}", FILES, card={"new_version": f"acme/next-{number + 1}"})
    assert kinds(only(later())) == ["deprecated"]
    assert len(hub.requests) < 25


# What fails


def test_one_model_that_fails_does_not_hide_the_others(hub, repo, locked):
    hub.add_repo("acme/n", FILES)
    later = locked(PLAIN + '[models.n]\nrepo = "acme/n"\n')
    repo.commit({"tokenizer.json": b"[1]"})
    hub.fail(Fault(path="/api/models/acme/n", status=503, times=None))
    found = later()
    assert [each.model.name for each in found] == ["m", "n"]
    assert (found[0].changes, found[0].error) == (("tokenizer",), None)
    assert found[1].error is not None
    assert (found[1].error.error_code, found[1].error.model) == (NETWORK_ERROR, "n")
    assert found[1].current == Release(hub.repo("acme/n").head())


@pytest.mark.parametrize("question", ["news", "confirm"])
def test_where_the_hub_cannot_be_reached_not_every_model_tries(question, hub, session, read_manifest):
    text = "".join(f'[models.m{number}]\nrepo = "acme/m{number}"\n' for number in range(60))
    for number in range(60):
        hub.add_repo(f"acme/m{number}", FILES)
    url = hub.add_file("words.onnx", b"words")
    manifest = read_manifest(text + f'[models.words]\nurl = "{url}"\n')
    models = session().resolve(manifest, None).after.models
    within = session()
    waits: list[float] = []
    within._sleep = waits.append
    address = hub.endpoint.removeprefix("http://")
    hub.stop()
    found = within.news(models, manifest) if question == "news" else within.confirm(models)
    assert [each.error.model for each in found if each.error and each.model.repo] == [
        f"m{n}" for n in sorted(range(60), key=str)
    ]
    assert {each.error.message for each in found if each.error and each.model.repo} == {
        f"{address}: connection refused"
    }
    # Three for each of those that were on the way, and three for the direct file.
    assert 3 <= len(waits) <= 13 * 3


def test_a_token_that_is_refused_is_an_error_and_no_news(repo, locked):
    (found,) = locked()(token="hf_another")
    assert found.error is not None
    assert (found.error.error_code, found.notices) == (AUTHENTICATION_ERROR, ())


# What is kept for the gate


def test_notices_are_kept_for_the_gate(hub, repo, locked, cache):
    later = locked()
    commit = repo.head()
    repo.gated = "auto"
    later()
    ((place, (notice,)),) = read_notices(cache).items()
    assert place == (hub.endpoint, "acme/m", commit)
    assert (notice.kind, notice.hint) == ("gated", "")
    repo.gated = False
    later()
    assert read_notices(cache) == {}


def test_a_failure_forgets_no_notice(hub, repo, locked, cache):
    later = locked()
    repo.gated = "auto"
    later()
    hub.fail(Fault(status=503, times=None))
    (found,) = later()
    assert found.error is not None
    assert len(read_notices(cache)) == 1
