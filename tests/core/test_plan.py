"""The plan: what sync would do, from lock and store alone."""

from __future__ import annotations

import hashlib
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from vcm.core.lock import LockedFile, LockedModel
from vcm.core.plan import Plan, PlannedModel, SnapshotState, make_plan

INSTALLED, MISSING, DAMAGED = SnapshotState.INSTALLED, SnapshotState.MISSING, SnapshotState.DAMAGED


def file(path: str, content: str) -> LockedFile:
    """A file whose size and digest follow from its content, as they do in the world."""
    return LockedFile(path, len(content), hashlib.sha256(content.encode()).hexdigest())


def model(name: str, *files: LockedFile) -> LockedModel:
    return LockedModel(name=name, source="huggingface", repo="acme/a", commit="0" * 40, files=files)


ONE = model("one", file("a", "xx"), file("b", "yyy"))
TWO = model("two", file("a", "xx"), file("c", "zzzz"))


def test_nothing_to_do():
    plan = make_plan([ONE, TWO], {ONE.tree_digest: INSTALLED, TWO.tree_digest: INSTALLED}, [])
    assert plan.models == (PlannedModel(ONE, INSTALLED), PlannedModel(TWO, INSTALLED))
    assert (plan.changes, plan.bytes_to_fetch) == ((), 0)


def test_no_models_no_plan():
    assert make_plan([], {}, []) == Plan(())


def test_a_model_that_the_store_does_not_know_is_missing():
    plan = make_plan([ONE], {}, [])
    assert plan.changes == (PlannedModel(ONE, MISSING, fetch=ONE.files),)
    assert (plan.bytes_to_fetch, plan.models[0].bytes_to_reuse) == (5, 0)


def test_what_two_models_share_is_fetched_once():
    first, second = make_plan([ONE, TWO], {}, []).models
    assert (first.fetch, first.reuse) == (ONE.files, ())
    assert (second.fetch, second.reuse) == (TWO.files[1:], TWO.files[:1])
    assert (second.bytes_to_fetch, second.bytes_to_reuse) == (4, 2)


def test_what_stands_twice_in_one_model_is_fetched_once():
    twice = model("m", file("a", "xx"), file("b", "xx"))
    (planned,) = make_plan([twice], {}, []).models
    assert (planned.fetch, planned.reuse) == (twice.files[:1], twice.files[1:])


def test_blobs_that_are_there_are_reused():
    (planned,) = make_plan([ONE], {ONE.tree_digest: MISSING}, {ONE.files[1].sha256}).models
    assert (planned.state, planned.fetch, planned.reuse) == (MISSING, ONE.files[:1], ONE.files[1:])


def test_a_damaged_model_is_linked_again_from_what_is_whole():
    plan = make_plan([ONE], {ONE.tree_digest: DAMAGED}, [each.sha256 for each in ONE.files])
    assert plan.changes == (PlannedModel(ONE, DAMAGED, reuse=ONE.files),)
    assert plan.bytes_to_fetch == 0


def test_an_installed_model_lends_nothing_that_the_store_does_not_have():
    # Its blobs may be gone while its snapshot stands; only what is present counts.
    _, planned = make_plan([ONE, TWO], {ONE.tree_digest: INSTALLED}, []).models
    assert planned.fetch == TWO.files


def test_models_of_the_same_files_share_one_state():
    twin = replace(ONE, name="twin")
    plan = make_plan([ONE, twin], {ONE.tree_digest: INSTALLED}, [])
    assert [planned.state for planned in plan.models] == [INSTALLED, INSTALLED]


contents = st.sampled_from(["", "a", "bb", "ccc", "dddd", "eeeee"])
file_lists = st.dictionaries(st.sampled_from("abcd"), contents, min_size=1, max_size=4).map(
    lambda files: tuple(file(path, content) for path, content in sorted(files.items()))
)
model_lists = st.lists(file_lists, max_size=5).map(
    lambda lists: [model(f"m{position}", *files) for position, files in enumerate(lists)]
)
digests = contents.map(lambda content: file("x", content).sha256)


@st.composite
def situations(draw: st.DrawFn) -> tuple[list[LockedModel], dict[str, SnapshotState], set[str]]:
    models = draw(model_lists)
    states = {
        each.tree_digest: state
        for each in models
        if (state := draw(st.sampled_from([None, *SnapshotState]))) is not None
    }
    return models, states, draw(st.sets(digests))


@given(situations())
def test_every_digest_is_fetched_at_most_once_and_only_when_it_is_not_there(situation):
    models, states, present = situation
    fetched = [each.sha256 for planned in make_plan(models, states, present).models for each in planned.fetch]
    assert len(fetched) == len(set(fetched))
    assert not present.intersection(fetched)


@given(situations())
def test_the_files_of_a_model_are_fetched_or_reused_unless_it_is_installed(situation):
    models, states, present = situation
    plan = make_plan(models, states, present)
    assert [planned.model for planned in plan.models] == models
    for planned in plan.models:
        assert planned.state is states.get(planned.model.tree_digest, MISSING)
        if planned.state is INSTALLED:
            assert (planned.fetch, planned.reuse) == ((), ())
        else:
            assert sorted([*planned.fetch, *planned.reuse], key=lambda each: each.path) == list(planned.model.files)
            assert planned.bytes_to_fetch + planned.bytes_to_reuse == planned.model.size
    assert plan.changes == tuple(planned for planned in plan.models if planned.state is not INSTALLED)


@given(situations())
def test_what_is_reused_is_there_or_comes_with_the_plan(situation):
    models, states, present = situation
    plan = make_plan(models, states, present)
    available = set(present)
    for planned in plan.models:
        available |= {each.sha256 for each in planned.fetch}
        assert {each.sha256 for each in planned.reuse} <= available


@given(situations(), st.randoms(use_true_random=False))
def test_the_totals_do_not_depend_on_the_order_of_the_models(situation, random):
    models, states, present = situation
    plan = make_plan(models, states, present)
    other = make_plan(random.sample(models, len(models)), states, sorted(present))
    assert other.bytes_to_fetch == plan.bytes_to_fetch
    assert sum(each.bytes_to_reuse for each in other.models) == sum(each.bytes_to_reuse for each in plan.models)
    assert {each.sha256 for planned in other.models for each in planned.fetch} == {
        each.sha256 for planned in plan.models for each in planned.fetch
    }


@given(situations())
def test_after_the_plan_is_carried_out_nothing_is_left_to_do(situation):
    models, states, present = situation
    plan = make_plan(models, states, present)
    there = present | {each.sha256 for planned in plan.models for each in planned.fetch}
    linked = states | {planned.model.tree_digest: INSTALLED for planned in plan.changes}
    assert make_plan(models, linked, there).changes == ()
    assert (
        make_plan(models, {}, there | {each.sha256 for each in (f for m in models for f in m.files)}).bytes_to_fetch
        == 0
    )
