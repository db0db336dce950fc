"""What is new of a locked model: facts in, judgement out."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.core.test_lock_properties import CALM, commits
from vcm.core.lock import LockedFile, LockedModel
from vcm.core.metadata import Ref, RemoteFile, RepoInfo
from vcm.core.notices import KINDS, Notice
from vcm.core.outdated import News, Release, Upstream, highest_version, judge, locked_release, ref_now

OLD, NEW, OTHER = "1" * 40, "2" * 40, "3" * 40
OID, CHANGED = "a" * 40, "b" * 40
FILES = (
    LockedFile("README.md", 3, "1" * 64, OID),
    LockedFile("config.json", 2, "2" * 64, OID),
    LockedFile("model.safetensors", 4000, "3" * 64),
)
SAME = tuple(RemoteFile(file.path, file.size, file.oid, file.sha256 if file.oid is None else None) for file in FILES)
README = (replace(SAME[0], oid=CHANGED), *SAME[1:])
WEIGHTS = (*SAME[:2], replace(SAME[2], sha256="4" * 64))
MODEL = LockedModel(
    name="m", source="huggingface", repo="acme/m", repo_id="id1", commit=OLD, version="1.0", ref="v1.0", files=FILES
)
INFO = RepoInfo(repo="acme/m", repo_id="id1", commit=OLD)
CURRENT = Release(OLD, "1.0", "2026-01-01T00:00:00.000Z")
STILL = Upstream(repo=INFO, ref=Ref("v1.0", "tag", OLD), current=CURRENT, allowed=CURRENT, latest=CURRENT)


def notices(upstream: Upstream, model: LockedModel = MODEL) -> tuple[Notice, ...]:
    return judge(model, upstream).notices


def test_nothing_is_new():
    news = judge(MODEL, STILL)
    assert news == News(model=MODEL, current=CURRENT, allowed=CURRENT, latest=CURRENT)
    assert not news.has_update
    assert not news.needs_action


@pytest.mark.parametrize(
    ("files", "changes", "is_update"),
    [
        (SAME, (), False),
        (README, ("docs",), False),
        (WEIGHTS, ("weights",), True),
        ((*README[:2], WEIGHTS[2]), ("weights", "docs"), True),
        ((*SAME, RemoteFile("modeling_x.py", 9, oid=OID)), ("code",), True),
        (SAME[:1], ("weights", "config"), True),
    ],
)
def test_a_newer_commit_is_an_update_by_what_it_changes(files, changes, is_update):
    newer = Release(NEW, "1.1", None)
    news = judge(MODEL, replace(STILL, allowed=newer, latest=newer, files=files))
    assert (news.changes, news.has_update, news.needs_action) == (changes, is_update, is_update)


def test_what_is_not_allowed_is_no_update_whatever_it_changes():
    news = judge(MODEL, replace(STILL, latest=Release(NEW, "2.0"), files=WEIGHTS))
    assert (news.changes, news.has_update) == (("weights",), False)
    news = judge(MODEL, replace(STILL, allowed=None, latest=Release(NEW, "2.0"), files=WEIGHTS))
    assert (news.allowed, news.has_update) == (None, False)


@pytest.mark.parametrize(
    ("upstream", "expected"),
    [
        (
            replace(STILL, successors=("acme/m2", "acme/m3")),
            Notice(
                "deprecated",
                "acme/m is deprecated, its successor is acme/m3",
                'to take it, write repo = "acme/m3" under [models.m] in models.toml',
                "acme/m3",
            ),
        ),
        (
            replace(STILL, missing_successor="acme/m2"),
            Notice(
                "deprecated",
                "acme/m is deprecated, and its successor acme/m2 is not there",
                "look at its page for another",
            ),
        ),
        (
            replace(STILL, repo=replace(INFO, repo="new/m")),
            Notice(
                "renamed",
                "acme/m is called new/m now",
                "write new/m instead of acme/m in models.toml, then run vcm lock",
                "new/m",
            ),
        ),
        (
            replace(STILL, repo=replace(INFO, gated="manual")),
            Notice(
                "gated",
                "acme/m has been gated since it was locked (manual)",
                "accept its terms on its page, then run vcm lock --refresh",
            ),
        ),
        (
            replace(STILL, repo="disabled"),
            Notice(
                "disabled",
                "acme/m is disabled by the hub or its owner",
                "keep what is installed, and name another repo in models.toml",
            ),
        ),
        (
            replace(STILL, repo="gone"),
            Notice(
                "gone",
                "acme/m is gone, or private now",
                "keep what is installed, and name another repo in models.toml",
            ),
        ),
        (
            replace(STILL, ref=Ref("v1.0", "tag", NEW)),
            Notice(
                "tag-moved",
                "the tag v1.0 of acme/m points at 222222222222 now, not at the locked 111111111111",
                "find out why, then run vcm lock --upgrade-model m",
            ),
        ),
        (
            replace(STILL, ref=None),
            Notice(
                "tag-moved",
                "acme/m has no tag or branch v1.0 any more",
                "find out why, then run vcm lock --upgrade-model m",
            ),
        ),
        (
            replace(STILL, has_commit=False),
            Notice(
                "commit-gone",
                "the locked commit 111111111111 of acme/m is no longer there: its history was rewritten",
                "keep what is installed, or run vcm lock --upgrade-model m",
            ),
        ),
        (
            replace(STILL, repo=replace(INFO, repo_id="id2")),
            Notice(
                "identity-changed",
                "acme/m is not the repo that was locked: its id on the hub was id1, now it is id2",
                "find out who owns it now before you take anything from it",
            ),
        ),
    ],
    ids=lambda value: value.kind if isinstance(value, Notice) else "",
)
def test_a_notice(upstream, expected):
    news = judge(MODEL, upstream)
    assert news.notices == (expected,)
    assert news.needs_action
    assert expected.kind in KINDS


def test_every_kind_has_its_notice():
    parameters = test_a_notice.pytestmark[0].args[1]
    assert {expected.kind for _, expected in parameters} == set(KINDS)


def test_several_notices_at_once():
    upstream = replace(
        STILL, repo=replace(INFO, repo="new/m", gated="auto"), ref=None, has_commit=False, successors=("b/b",)
    )
    assert [each.kind for each in notices(upstream)] == ["deprecated", "renamed", "gated", "commit-gone", "tag-moved"]


def test_of_a_stranger_nothing_else_is_said():
    newer = Release(NEW, "9.0")
    stranger = replace(STILL, repo=replace(INFO, repo_id="id2", gated="auto"), allowed=newer, latest=newer)
    news = judge(MODEL, replace(stranger, files=WEIGHTS, successors=("evil/m",), ref=None))
    assert [each.kind for each in news.notices] == ["identity-changed"]
    assert (news.allowed, news.latest, news.changes, news.has_update) == (None, None, (), False)


def test_what_was_so_when_it_was_locked_is_no_news():
    gated = replace(MODEL, gated="auto", repo_id=None, ref=None)
    assert notices(replace(STILL, repo=replace(INFO, gated="manual", repo_id="id2"), ref=None), gated) == ()


def test_that_a_branch_moves_is_no_news():
    assert notices(replace(STILL, ref=Ref("v1.0", "branch", NEW))) == ()


def test_the_advice_for_a_model_that_another_pulled_in():
    pulled = replace(MODEL, name="base", via="m")
    (deprecated, gone) = notices(replace(STILL, successors=("b/b",), has_commit=False), pulled)
    assert deprecated.hint == "it comes with m: look for a newer one of that"
    assert gone.hint == "keep what is installed, or run vcm lock --upgrade-model m"


def test_the_name_that_the_manifest_has_is_the_one_to_replace():
    (renamed,) = notices(replace(STILL, repo=replace(INFO, repo="new/m")), replace(MODEL, asked="legacy"))
    assert renamed.hint == "write new/m instead of legacy in models.toml, then run vcm lock"


def test_what_is_locked():
    assert locked_release(replace(MODEL, committed="2026-01-01T00:00:00Z")) == Release(
        OLD, "1.0", "2026-01-01T00:00:00Z"
    )


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ("main", None),
        ("v1.0 v1.10 v1.9", "1.10"),
        ("v1.0 v2.0rc1", "1.0"),
        ("v2.0rc1 v2.0rc2", "2.0rc2"),
    ],
)
def test_the_highest_version(names, expected):
    highest = highest_version([Ref(name, "tag", NEW) for name in names.split()])
    assert (highest and highest.version) == expected


def test_of_a_tag_and_a_branch_the_one_that_stayed():
    tag, branch = Ref("v1", "tag", NEW), Ref("v1", "branch", OLD)
    assert ref_now([tag, branch], "v1", OLD) == branch
    assert ref_now([branch, tag], "v1", NEW) == tag
    assert ref_now([branch, tag], "v1", OTHER) == tag
    assert ref_now([branch, tag], "v2", OTHER) is None


refs = st.lists(st.builds(Ref, st.sampled_from(["v1", "v2", "main"]), st.sampled_from(["tag", "branch"]), commits))


@CALM
@given(refs, st.sampled_from(["v1", "v2", "main"]), commits)
def test_a_ref_is_found_whatever_the_order(found, name, commit):
    chosen = ref_now(found, name, commit)
    assert (chosen is None) == (name not in {ref.name for ref in found})
    if chosen is not None:
        assert chosen in found
        assert chosen.name == name
        again = ref_now(reversed(found), name, commit)
        assert again is not None
        assert (again.kind, again.commit == commit) == (chosen.kind, chosen.commit == commit)


def test_what_was_imported_may_have_been_gated_all_the_while():
    upstream = replace(STILL, repo=replace(INFO, gated="manual"))
    assert [notice.kind for notice in notices(upstream)] == ["gated"]
    assert notices(upstream, replace(MODEL, repo_id=None)) == ()
