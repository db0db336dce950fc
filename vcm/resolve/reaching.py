"""Reaching the hub: who finds that it cannot be reached finds it out for all others of the run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy

from vcm.http.faults import UnreachableError


class Reaching:
    """A hub that one model has waited for in vain is not waited for by all the others, too."""

    def __init__(self) -> None:
        self._error: UnreachableError | None = None

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """Ask the hub about one model within the block; may be used by several threads.

        Raises:
            UnreachableError: it cannot be reached, or could not before.
        """
        if self._error is not None:
            raise copy(self._error)
        try:
            yield
        except UnreachableError as error:
            self._error = copy(error)
            raise
