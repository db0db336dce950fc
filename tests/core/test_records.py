"""Records are frozen dataclasses in all that this project does with them."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from functools import cached_property
from typing import Any

import pytest

from vcm.core.lock import LockedFile, LockedModel
from vcm.core.manifest import Manifest, Requirement
from vcm.core.policy import Policy, Violation
from vcm.core.records import record

FILE = LockedFile("a.onnx", 3, "1" * 64)
MODEL = LockedModel(name="m", source="huggingface", files=(FILE,))


@record(frozen=True)
class Point:
    """The same as Real."""

    x: int
    y: tuple[int, ...] = ()

    @cached_property
    def doubled(self) -> int:
        return 2 * self.x


@dataclasses.dataclass(frozen=True)
class Real:
    """The same as Point."""

    x: int
    y: tuple[int, ...] = ()


@pytest.mark.parametrize("values", [((1,), {}), ((1, (2,)), {}), ((1,), {"y": (2,)}), ((), {"y": (), "x": 1})])
def test_a_record_is_made_shown_and_compared_like_a_dataclass(values):
    positional, named = values
    made: Any = Point(*positional, **named)
    real = Real(*positional, **named)
    assert repr(made) == repr(real).replace("Real", "Point")
    assert hash(made) == hash(real)
    assert made == Point(*positional, **named)
    assert made != Point(7)
    assert made != real
    assert dataclasses.asdict(made) == dataclasses.asdict(real)
    assert [each.name for each in dataclasses.fields(made)] == ["x", "y"]
    assert dataclasses.is_dataclass(Point)
    changed = dataclasses.replace(made, x=5)
    assert (changed.x, changed.y, changed.doubled, made.x) == (5, made.y, 10, 1)
    assert pickle.loads(pickle.dumps(made)) == copy.copy(made) == copy.deepcopy(made) == made  # noqa: S301


@pytest.mark.parametrize(
    ("positional", "named"),
    [((), {}), ((), {"y": ()}), ((1, (), 3), {}), ((1,), {"x": 1}), ((1,), {"z": 1}), ((1, ()), {"y": ()})],
)
def test_wrong_arguments_are_refused(positional, named):
    for kind in (Point, Real):
        with pytest.raises(TypeError):
            kind(*positional, **named)


def test_a_record_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError, match=r"^cannot change 'x' of Point$"):
        Point(1).x = 2  # type: ignore[misc]
    with pytest.raises(dataclasses.FrozenInstanceError, match=r"^cannot change 'z' of Point$"):
        Point(1).z = 2  # type: ignore[attr-defined]
    with pytest.raises(dataclasses.FrozenInstanceError, match=r"^cannot change 'x' of Point$"):
        del Point(1).x


def test_the_values_of_a_lock_are_values():
    assert dataclasses.replace(MODEL, files=(dataclasses.replace(FILE),)) == MODEL
    assert len({MODEL, dataclasses.replace(MODEL), dataclasses.replace(MODEL, name="n")}) == 2
    assert MODEL.tree_digest != dataclasses.replace(MODEL, files=(LockedFile("b.onnx", 3, "1" * 64),)).tree_digest
    assert Manifest() == Manifest(policy=Policy(), models=())
    assert Requirement(name="m", repo="a/b").meaning() == {"name": "m", "repo": "a/b", "groups": []}
    assert dataclasses.replace(Policy(), max_size=3) == Policy(max_size=3)
    assert pickle.loads(pickle.dumps(Violation("m", "owners", "x", "y"))).rule == "owners"  # noqa: S301
