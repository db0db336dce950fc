"""Pruning: who needs what, and what is freed."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vcm.core.lock import LockedFile, LockedModel
from vcm.core.pruning import (
    YOUNG,
    YOUNG_ANSWER,
    YOUNG_PARTIAL,
    Claim,
    Kind,
    Part,
    StoredFile,
    Usage,
    make_pruning,
    total_size,
    usage,
)

NOW = 1e9
OLD = NOW - 365 * 24 * 3600
NEEDS_NOTHING = Claim("aa", NOW, frozenset(), frozenset())


def locked(*contents: str) -> LockedModel:
    files = tuple(LockedFile(text, len(text), hashlib.sha256(text.encode()).hexdigest()) for text in sorted(contents))
    return LockedModel(name="m", source="huggingface", repo="acme/a", commit="0" * 40, files=files)


def stored(*models: LockedModel, used: float = OLD) -> list[Part]:
    """A store with these models, whose snapshots are linked to their blobs."""
    models = tuple({model.tree_digest: model for model in models}.values())
    blobs: dict[str, LockedFile] = {file.sha256: file for model in models for file in model.files}
    numbers = {sha256: number for number, sha256 in enumerate(sorted(blobs), start=1)}
    links = {sha256: 1 + sum(sha256 in {file.sha256 for file in model.files} for model in models) for sha256 in blobs}
    files = {
        sha256: StoredFile((1, numbers[sha256]), file.size, links[sha256]) for sha256, file in sorted(blobs.items())
    }
    parts = [Part(Kind.BLOB, sha256, f"blobs/sha256/{sha256}", (file,), used) for sha256, file in files.items()]
    for number, model in enumerate(models, start=1000):
        digest = model.tree_digest
        parts += [
            Part(Kind.SNAPSHOT, digest, f"snapshots/{digest}", tuple(files[file.sha256] for file in model.files), used),
            Part(Kind.RECORD, digest, f"verified/{digest}.json", (StoredFile((1, number), 100),), used),
        ]
    return parts


ONE, TWO = locked("x", "yy"), locked("yy", "zzzz")


def names(parts: tuple[Part, ...], kind: Kind) -> set[str]:
    return {part.name for part in parts if part.kind is kind}


def digests(*contents: str) -> set[str]:
    return {hashlib.sha256(text.encode()).hexdigest() for text in contents}


def test_what_nobody_locks_goes_and_what_is_shared_stays():
    pruning = make_pruning(stored(ONE, TWO), [ONE], [], NOW)
    assert names(pruning.drop, Kind.SNAPSHOT) == names(pruning.drop, Kind.RECORD) == {TWO.tree_digest}
    assert names(pruning.drop, Kind.BLOB) == digests("zzzz")
    assert pruning.freed == 4 + 100


def test_what_describes_a_snapshot_stays_and_goes_with_it():
    blobs = [
        Part(Kind.BLOB, each * 64, f"blobs/sha256/{each}", (StoredFile((2, ord(each)), 7),), NOW) for each in "abc"
    ]
    described = {"a" * 64: frozenset({ONE.tree_digest}), "b" * 64: frozenset({TWO.tree_digest})}
    pruning = make_pruning([*stored(ONE, TWO), *blobs], [ONE], [], NOW, described)
    assert names(pruning.drop, Kind.BLOB) == digests("zzzz") | {"b" * 64}, "though it is young, as the one beside it"
    claim = Claim("aa", NOW, frozenset(), frozenset({TWO.tree_digest}))
    assert "b" * 64 in names(make_pruning([*stored(ONE, TWO), *blobs], [ONE], [claim], NOW, described).keep, Kind.BLOB)
    old = [replace(blob, used=OLD) for blob in blobs]
    both = {"a" * 64: frozenset({ONE.tree_digest, TWO.tree_digest})}
    assert names(make_pruning(old, [TWO], [], NOW, both).drop, Kind.BLOB) == {"b" * 64, "c" * 64}


def test_order():
    kinds = [part.kind for part in make_pruning(stored(ONE, TWO), [], [], NOW).drop]
    assert kinds == [Kind.SNAPSHOT] * 2 + [Kind.RECORD] * 2 + [Kind.BLOB] * 3


def test_what_a_running_process_needs():
    claim = Claim("aa", NOW, frozenset(digests("x")), frozenset({TWO.tree_digest}))
    pruning = make_pruning(stored(ONE, TWO), [], [claim], NOW)
    assert names(pruning.drop, Kind.SNAPSHOT) == {ONE.tree_digest}
    assert names(pruning.drop, Kind.BLOB) == digests("yy", "zzzz")
    assert make_pruning(stored(ONE, TWO), [], [claim, Claim("bb", NOW)], NOW).drop == ()


def test_a_file_with_another_name_elsewhere_frees_nothing():
    blob = Part(Kind.BLOB, "a" * 64, "blobs/sha256/a", (StoredFile((1, 1), 10, links=2),), OLD)
    pruning = make_pruning([blob], [], [], NOW)
    assert (pruning.drop, pruning.freed) == ((blob,), 0)
    linked = Part(Kind.SNAPSHOT, "b" * 64, "snapshots/b", blob.files, OLD)
    assert make_pruning([blob, linked], [], [], NOW).freed == 10


@pytest.mark.parametrize(
    ("kind", "seconds"),
    [
        (Kind.PARTIAL, YOUNG_PARTIAL),
        (Kind.ANSWER, YOUNG_ANSWER),
        (Kind.BLOB, YOUNG),
        (Kind.LEFTOVER, YOUNG),
        (Kind.LOCK, YOUNG),
    ],
)
def test_what_is_kept_while_it_is_young(kind, seconds):
    part = Part(kind, "a" * 64, "a", (StoredFile((1, 1), 1),), NOW - seconds)
    assert make_pruning([part], [], [], NOW).drop == (part,)
    assert make_pruning([replace(part, used=NOW - seconds + 1)], [], [], NOW).drop == ()


def test_a_young_blob_in_a_snapshot_that_nobody_needs_goes():
    assert len(make_pruning(stored(ONE, used=NOW), [], [], NOW).drop) == 4


@pytest.mark.parametrize(
    ("kind", "claims", "stays"),
    [
        (Kind.PARTIAL, [Claim("aa", NOW, frozenset({"a" * 64}), frozenset())], True),
        (Kind.PARTIAL, [NEEDS_NOTHING], False),
        (Kind.LEFTOVER, [], False),
        (Kind.LEFTOVER, [NEEDS_NOTHING], False),
        (Kind.LEFTOVER, [replace(NEEDS_NOTHING, began=OLD)], True),
        (Kind.LOCK, [], False),
        (Kind.LOCK, [NEEDS_NOTHING], True),
        (Kind.LEASE, [NEEDS_NOTHING], False),
        (Kind.LEASE, [replace(NEEDS_NOTHING, name="a" * 64)], True),
        (Kind.INDEX, [], True),
        (Kind.REGISTRY, [], True),
        (Kind.STORE_LOCK, [], True),
    ],
)
def test_the_rest(kind, claims, stays):
    part = Part(kind, "a" * 64, "a", (StoredFile((1, 1), 1),), OLD)
    pruning = make_pruning([part], [], claims, NOW)
    assert (pruning.keep, pruning.drop) == (((part,), ()) if stays else ((), (part,)))


def test_usage():
    parts = stored(ONE, TWO)
    assert usage(parts, {"a": [ONE], "b": [TWO], "c": [ONE]}) == {
        "a": Usage(103, 0),
        "b": Usage(106, 104),
        "c": Usage(103, 0),
    }
    assert usage(parts, {"b": [TWO]}) == {"b": Usage(106, 106)}
    assert usage(parts, {"d": [locked("elsewhere")]})["d"].shared == 0
    assert total_size(parts) == 207
    assert total_size(parts, Kind.BLOB, Kind.SNAPSHOT) == 7


some_models = st.lists(
    st.lists(st.sampled_from("abcdef"), min_size=1, max_size=4, unique=True).map(lambda each: locked(*each)), max_size=5
)
some_claims = st.lists(
    some_models.map(
        lambda models: Claim(
            "aa",
            NOW,
            frozenset(file.sha256 for model in models for file in model.files),
            frozenset(model.tree_digest for model in models),
        )
    ),
    max_size=2,
)


@given(some_models, some_models, some_claims, st.sampled_from([OLD, NOW]))
def test_nothing_goes_that_a_lock_or_a_claim_names(there, wanted, claims, used):
    pruning = make_pruning(stored(*there, used=used), wanted, claims, NOW)
    needed_snapshots = {model.tree_digest for model in wanted}.union(*(claim.snapshots or () for claim in claims))
    needed_blobs = {file.sha256 for model in wanted for file in model.files}.union(
        *(claim.blobs or () for claim in claims)
    )
    assert not names(pruning.drop, Kind.SNAPSHOT) & needed_snapshots
    assert not names(pruning.drop, Kind.RECORD) & needed_snapshots
    assert not names(pruning.drop, Kind.BLOB) & needed_blobs
    # And all else does.
    assert names(pruning.keep, Kind.SNAPSHOT) <= needed_snapshots
    assert names(pruning.keep, Kind.BLOB) <= needed_blobs


@given(some_models, some_models, some_claims)
def test_a_second_time_does_nothing(there, wanted, claims):
    first = make_pruning(stored(*there), wanted, claims, NOW)
    second = make_pruning(first.keep, wanted, claims, NOW)
    assert (second.drop, second.keep, second.freed) == ((), first.keep, 0)


@given(some_models)
def test_without_projects_everything_goes_and_every_byte_is_freed(there):
    parts = stored(*there)
    pruning = make_pruning(parts, [], [], NOW)
    assert (pruning.keep, pruning.freed) == ((), total_size(parts))


@given(some_models, some_models)
def test_what_is_freed_is_what_is_less_afterwards(there, wanted):
    parts = stored(*there)
    pruning = make_pruning(parts, wanted, [], NOW)
    assert total_size(pruning.keep) + pruning.freed == total_size(parts)


@given(st.lists(some_models, max_size=3))
def test_what_a_project_has_for_itself_is_what_is_freed_without_it(projects):
    parts = stored(*(model for models in projects for model in models))
    used = usage(parts, {str(number): models for number, models in enumerate(projects)})
    for number in range(len(projects)):
        rest = [model for other, models in enumerate(projects) if other != number for model in models]
        assert make_pruning(parts, rest, [], NOW).freed == used[str(number)].unique
