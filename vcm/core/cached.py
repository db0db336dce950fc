"""``cached_property`` without a lock.

Python 3.11's own holds one, shared by all objects of a class, while the value is computed. A process that is forked in
that moment, as web servers fork their workers, would wait for it for ever. Here two threads may compute the same value
at once; both get the one that was there first.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from functools import cached_property
    from typing import Any

__all__ = ["cached_property"]


class _CachedProperty:
    def __init__(self, compute: Callable[[Any], Any]) -> None:
        self._compute = compute
        self.__doc__ = compute.__doc__

    def __get__(self, instance: Any, _: type) -> Any:
        if instance is None:
            return self
        # The next time it is found there, and this is not asked.
        return instance.__dict__.setdefault(self._compute.__name__, self._compute(instance))


if not TYPE_CHECKING:
    cached_property = _CachedProperty
