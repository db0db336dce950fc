"""``record``: a frozen dataclass that is made in no time.

A gate stands in front of every program, and ``dataclasses`` would take half of its time: it reads ``inspect``, and
compiles half a dozen functions for each class. Here all classes have the same few methods. To type checkers a record
is a dataclass; ``dataclasses.replace`` and ``fields`` take it for one, too.

For the same reason nothing that a gate needs imports ``typing``: type checkers take any ``TYPE_CHECKING`` for the real
one.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from dataclasses import Field
    from dataclasses import dataclass as record
    from typing import Any, NoReturn

__all__ = ["record"]


class _FieldsOnDemand:
    """What makes ``dataclasses`` take a class for one of its own, made when somebody asks."""

    def __get__(self, _: object, owner: Any) -> dict[str, Field[Any]]:
        from dataclasses import field, fields, make_dataclass
        from functools import partial

        defaults = owner._defaults  # noqa: SLF001
        columns = [
            (name, kind, field(default_factory=partial(getattr, owner, name)) if name in defaults else field())
            for name, kind in owner.__annotations__.items()
        ]
        return {each.name: each for each in fields(make_dataclass(owner.__name__, columns, kw_only=True))}


def _init(self: Any, *values: Any, **named: Any) -> None:
    names = self._names
    if named or len(values) != len(names):
        given = {**self._defaults, **dict(zip(names, values, strict=False)), **named}
        if given.keys() != set(names) or not named.keys().isdisjoint(names[: len(values)]) or len(values) > len(names):
            # Without the values: one may be a secret.
            raise TypeError(f"{type(self).__name__} takes {', '.join(names)}")
        values = tuple([given[name] for name in names])
    # Not by setting one after the other, which takes longer.
    self.__dict__.update(zip(names, values, strict=True))


def _values(self: Any) -> tuple[Any, ...]:
    return tuple([getattr(self, name) for name in self._names])


def _eq(self: Any, other: object) -> bool:
    return _values(self) == _values(other) if other.__class__ is self.__class__ else NotImplemented


def _hash(self: Any) -> int:
    return hash(_values(self))


def _repr(self: Any) -> str:
    shown = (f"{name}={value!r}" for name, value in zip(self._names, _values(self), strict=True))
    return f"{type(self).__qualname__}({', '.join(shown)})"


def _refuse(self: object, name: str, _: object = None) -> NoReturn:
    from dataclasses import FrozenInstanceError

    raise FrozenInstanceError(f"cannot change {name!r} of {type(self).__name__}")


def _reduce(self: Any) -> tuple[Any, ...]:
    return type(self), _values(self)


_METHODS = {
    "__init__": _init,
    "__eq__": _eq,
    "__hash__": _hash,
    "__repr__": _repr,
    "__setattr__": _refuse,
    "__delattr__": _refuse,
    "__reduce__": _reduce,
    "__dataclass_fields__": _FieldsOnDemand(),
}


def _record(*, frozen: bool, kw_only: bool = False) -> Callable[[type], type]:  # noqa: ARG001
    """Make a class a record: ``@record(frozen=True)``. What the class says itself stays.

    Args:
        frozen: true, as a reminder at each class.
        kw_only: for type checkers; who calls a record is looked at by one.
    """
    assert frozen

    def make(cls: Any) -> Any:
        own = vars(cls)
        cls._names = tuple(own.get("__annotations__", ()))
        cls._defaults = {name: own[name] for name in cls._names if name in own}
        for name, method in _METHODS.items():
            if name not in own:
                setattr(cls, name, method)
        return cls

    return make


if not TYPE_CHECKING:
    record = _record
