"""Real lists of models, locked from a simulated hub."""

from __future__ import annotations

import tomllib
from collections import Counter

import pytest

from tests import corpora
from tests.counting import api_calls, by_repo
from vcm.testing import Unfetched

pytestmark = pytest.mark.skipif(not corpora.FOLDER.is_dir(), reason=corpora.MISSING)


@pytest.fixture(scope="module")
def localai():
    return corpora.localai()


@pytest.fixture(scope="module")
def handy():
    return corpora.handy()


@pytest.fixture(scope="module")
def repos(localai, handy):
    """Some sixty: those whose names, digests or formats are odd, and some of all."""
    pickled = [repo for repo in localai if "allow-pickle" in repo.requirement(small_files=False)]
    wide = [repo for repo in localai if not all(path.isascii() for path in repo.files)]
    without_digest = [repo for repo in localai if len(repo.digests) < len(repo.files)]
    chosen = (*handy[:20], *without_digest, *wide, *pickled[:4], *localai[::30])
    found = list({repo.id: repo for repo in chosen}.values())
    assert len(found) >= 60
    return found


class TestTheLists:
    def test_nothing_is_left_out(self, localai, handy):
        assert (len(localai), sum(len(repo.files) for repo in localai)) == (1005, 2099)
        assert (len(handy), sum(len(repo.files) for repo in handy)) == (69, 367)
        assert sum(len(repo.digests) for repo in (*localai, *handy)) == 2099 + 367 - 6
        assert sum(file.size for repo in handy for file in repo.files.values()) == 627368604256
        assert all(repo.commit and not repo.version for repo in handy)

    def test_names_are_unique_and_files_too(self, localai, handy):
        assert len({repo.model for repo in (*localai, *handy)}) == 1074
        sizes: dict[str, int] = {}
        for repo in (*localai, *handy):
            for file in repo.files.values():
                if isinstance(file, Unfetched):
                    assert sizes.setdefault(file.sha256, file.size) == file.size

    def test_a_part_has_versions_and_much_is_shared(self, localai):
        assert 200 < sum(repo.version is not None for repo in localai) < 300
        contents = Counter(content for repo in localai for content in repo.small.values())
        assert contents.total() > 3000
        assert len(contents) - len(localai) < 200

    def test_it_is_always_the_same(self, localai):
        assert corpora.localai() == localai

    def test_the_manifest_can_be_read(self, localai, handy, read_manifest):
        for small_files in (False, True):
            text = corpora.manifest([*localai, *handy], small_files=small_files)
            asked = {requirement.name: requirement for requirement in read_manifest(text).models}
            assert {name: requirement.repo for name, requirement in asked.items()} == {
                repo.model: repo.id for repo in (*localai, *handy)
            }
            assert sum(requirement.allow_pickle for requirement in asked.values()) == 8


@pytest.mark.parametrize("small_files", [False, True])
def test_sixty_real_models_are_locked(hub, vcm, manifest, project, repos, small_files):
    for repo in repos:
        repo.publish(hub)
    manifest(corpora.manifest(repos, small_files=small_files))

    result = vcm("lock")
    assert result.code == 0, result.err

    locked = {model["name"]: model for model in tomllib.loads((project / "models.lock").read_text())["model"]}
    assert set(locked) == {repo.model for repo in repos}
    counted = by_repo((request.origin, request.path) for request in hub.requests)
    for repo in repos:
        model = locked[repo.model]
        found = {file["path"]: file for file in model["files"]}
        assert set(repo.files) <= set(found)
        assert not small_files or set(repo.small) <= set(found)
        for path, digest in repo.digests.items():
            assert found[path]["sha256"] == digest
            assert found[path]["size"] == repo.files[path].size
        assert model["commit"] == hub.repo(repo.id).head("main") or repo.version
        assert model.get("version") == ("1.1" if repo.version else None)
        assert api_calls(counted[repo.id]) <= (3 if repo.version else 2), counted[repo.id]
    assert {repo.version for repo in repos} == {None, corpora.VERSION}
    assert counted.get("", Counter()).total() == 0
