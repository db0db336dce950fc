"""What a program finds under which name: repos, refs and files, out of locked models alone."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vcm.core import names
from vcm.core.hub_view import HubView, ViewedRepo, make_hub_view
from vcm.core.lock import LockedFile, LockedModel
from vcm.errors import ConfigError

ONE, TWO, THREE = "1" * 40, "2" * 40, "3" * 40


def locked(name: str, repo: str | None = "acme/frames", commit: str | None = ONE, **more: str | None) -> LockedModel:
    files = more.pop("files", None) or "config.json"
    rows = tuple(
        LockedFile(path, 1, hashlib.sha256(f"{commit}{path}".encode()).hexdigest()) for path in sorted(files.split())
    )
    url = None if repo else "https://example.com/a"
    source = "huggingface" if repo else "url"
    return LockedModel(name=name, source=source, repo=repo, commit=commit, url=url, files=rows, **more)  # type: ignore[arg-type]


def refs(*models: LockedModel) -> dict[str, dict[str, str]]:
    return {repo.name: dict(repo.refs) for repo in make_hub_view(models).repos}


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({}, {"main"}),
        ({"requested": "main", "ref": "main"}, {"main"}),
        ({"requested": "v1.2", "ref": "v1.2"}, {"main", "v1.2"}),
        ({"requested": "refs/pr/1", "ref": "refs/pr/1"}, {"main", "refs/pr/1"}),
        ({"requested": "~=1.2", "version": "1.2.1", "ref": "v1.2.1"}, {"main", "v1.2.1"}),
        ({"requested": ONE}, {"main"}),
        ({"requested": ONE[:8], "ref": ONE[:8]}, {"main", ONE[:8]}),
        ({"requested": "con", "ref": "con"}, {"main"}),  # Windows has no such file
    ],
)
def test_refs_of_one_model(asked, expected):
    assert refs(locked("frames", **asked)) == {"acme/frames": dict.fromkeys(expected, ONE)}


def test_files_are_those_of_the_snapshot():
    model = locked("frames", files="config.json onnx/model.onnx")
    (repo,) = make_hub_view([model]).repos
    assert repo.folder == "models--acme--frames"
    assert repo.files == {(ONE, path): model.tree_digest for path in ("config.json", "onnx/model.onnx")}


def test_a_repo_without_a_namespace():
    assert make_hub_view([locked("bert", "bert-base-uncased")]).repos[0].folder == "models--bert-base-uncased"


def test_the_names_that_unchanged_code_asks_for():
    renamed = locked("frames", "acme/frames", asked="old/frames")
    mirrored = locked("whisper", "acme/whisper", TWO, fallback_for="openai/whisper")
    assert refs(renamed, mirrored) == {
        "acme/frames": {"main": ONE},
        "old/frames": {"main": ONE},
        "acme/whisper": {"main": TWO},
        "openai/whisper": {"main": TWO},
    }


def test_a_direct_file_is_on_no_hub():
    assert make_hub_view([locked("words", None, None)]) == HubView(())


def test_main_is_the_one_that_was_asked_for_as_main():
    old, new = locked("old", requested="v1.0", ref="v1.0"), locked("new", commit=TWO)
    assert refs(old, new) == refs(new, old) == {"acme/frames": {"main": TWO, "v1.0": ONE}}
    assert make_hub_view([old, new]).notices == ()


def test_main_that_could_be_two_is_none():
    view = make_hub_view([locked("old", requested="v1.0", ref="v1.0"), locked("b", commit=TWO, requested=TWO)])
    assert view.repos[0].refs == {"v1.0": ONE}
    assert {commit for commit, _ in view.repos[0].files} == {ONE, TWO}
    assert view.notices == (
        'acme/frames has no "main" offline: it would be old (v1.0 111111111111) and b (222222222222); name a revision',
    )


def test_a_ref_that_moved_between_two_lockings_leads_nowhere():
    view = make_hub_view([locked("old", requested="v1", ref="v1"), locked("new", commit=TWO, requested="v1", ref="v1")])
    assert view.repos[0].refs == {}
    assert len(view.notices) == 2


def test_refs_that_cannot_stand_side_by_side():
    models = [locked("a", requested="v1", ref="v1"), locked("b", requested="V1", ref="V1"), locked("c", ref="v1/x")]
    view = make_hub_view(models)
    assert view.repos[0].refs == {"main": ONE, "V1": ONE}
    assert view.notices == (
        'acme/frames has no "v1" offline, which cannot stand beside "V1": name the commit',
        'acme/frames has no "v1/x" offline, which cannot stand beside "V1": name the commit',
    )


def test_one_commit_locked_twice_has_the_files_of_both():
    one, two = locked("a", files="config.json a.onnx"), locked("b", files="config.json b.onnx")
    (repo,) = make_hub_view([one, two]).repos
    assert repo.files == {
        (ONE, "a.onnx"): one.tree_digest,
        (ONE, "b.onnx"): two.tree_digest,
        (ONE, "config.json"): one.tree_digest,
    }


def test_two_models_that_disagree():
    strange = LockedModel(
        name="b", source="huggingface", repo="acme/frames", commit=ONE, files=(LockedFile("config.json", 1, "a" * 64),)
    )
    with pytest.raises(ConfigError) as caught:
        make_hub_view([locked("a"), strange])
    assert str(caught.value) == (
        'b: acme/frames at 111111111111: two models have other bytes for "config.json" of one commit'
    )
    assert caught.value.hint == "run vcm lock --upgrade-model b"


@pytest.mark.parametrize("other", ["CONFIG.json", "config.json/x"])
def test_files_that_cannot_stand_side_by_side(other):
    with pytest.raises(ConfigError, match=r"of one commit cannot stand side by side\n"):
        make_hub_view([locked("a"), locked("b", files=other)])


def test_names_that_some_disks_take_for_one_have_the_same():
    models = [locked("a", "Acme/Frames"), locked("b", "acme/frames", TWO, requested="v1", ref="v1")]
    first, second = make_hub_view(models).repos
    assert (first.name, second.name) == ("Acme/Frames", "acme/frames")
    assert (first.refs, first.files) == (second.refs, second.files)
    assert first.refs == {"main": ONE, "v1": TWO}


def test_the_summary():
    few = make_hub_view([locked("a", requested="v1.2", ref="v1.2"), locked("b", "b/b"), locked("c", "c/c")])
    assert few.summary() == "3 locked repos: acme/frames@v1.2, b/b@main, c/c@main"
    assert few.is_summed_up()
    many = make_hub_view([locked(f"m{number}", f"acme/m{number}") for number in range(6)])
    assert many.summary() == "6 locked repos: acme/m0@main, acme/m1@main, acme/m2@main, acme/m3@main and 2 more"
    assert not many.is_summed_up()
    assert make_hub_view([]).summary() == "0 locked repos: none"
    nameless = HubView((ViewedRepo("a/b", {}, {(ONE, "x"): "0" * 64}),))
    assert nameless.summary() == "1 locked repo: a/b@111111111111"


def test_the_text():
    models = [locked("a", requested="v1.2", ref="v1.2", files="b.onnx config.json"), locked("c", "c/c", TWO)]
    assert (
        make_hub_view(models).text()
        == f"""\
What a program started by vcm run finds of the Hub, offline: the repos of models.lock.

acme/frames
    revisions: main, v1.2, {ONE}
    b.onnx
    config.json
c/c
    revisions: main, {TWO}
    config.json

For another repo:      vcm add NAME REPO
For another revision:  vcm add NAME REPO@REVISION
For another file:      include in models.toml, then vcm sync
"""
    )


REPOS = st.sampled_from(["acme/a", "Acme/A", "acme/b", "c"])
REFS = st.sampled_from([None, "main", "v1", "V1", "v1/x", "refs/pr/1", TWO])


@st.composite
def models(draw: st.DrawFn) -> list[LockedModel]:
    return [
        locked(
            f"m{number}",
            draw(REPOS),
            draw(st.sampled_from([ONE, TWO, THREE])),
            ref=(ref := draw(REFS)),
            requested=ref,
            asked=draw(st.none() | REPOS),
            files=" ".join(draw(st.sets(st.sampled_from(["a", "b", "c/d"]), min_size=1))),
        )
        for number in range(draw(st.integers(0, 5)))
    ]


@given(models())
def test_what_always_holds(given_models):
    view = make_hub_view(given_models)
    again = make_hub_view(reversed(given_models))
    assert [(each.name, each.refs, {*each.files}) for each in view.repos] == [
        (each.name, each.refs, {*each.files}) for each in again.repos
    ]
    by_folder = {repo.folder: repo for repo in view.repos}
    assert len(by_folder) == len(view.repos)
    for repo in view.repos:
        own = [model for model in given_models if repo.name.lower() in (each.lower() for each in named(model))]
        # Nothing but what is locked, all of that, under names that every disk can hold.
        assert set(repo.files) == {(model.commit, file.path) for model in own for file in model.files}
        for (commit, path), digest in repo.files.items():
            assert any(
                model.commit == commit and model.tree_digest == digest and path in [file.path for file in model.files]
                for model in own
            )
        assert set(repo.refs.values()) <= {model.commit for model in own}
        assert names.first_collision(repo.refs) is None
        assert not any(names.is_commit(ref) for ref in repo.refs)
        # A ref is there, or somebody is told why not.
        for model in own:
            wanted = {ref for ref in ("main", model.ref) if ref and not names.is_commit(ref)}
            for ref in wanted - set(repo.refs):
                assert any(f'has no "{ref}" offline' in notice for notice in view.notices)
            if model.ref in repo.refs:
                assert {repo.refs[model.ref]} == {each.commit for each in own if model.ref in (each.ref, main(each))}


def named(model: LockedModel) -> list[str]:
    return [name for name in (model.repo, model.asked, model.fallback_for) if name]


def main(model: LockedModel) -> str | None:
    return "main" if model.requested is None else None
