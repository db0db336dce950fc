"""Buffers, and the hashing of what is in them: for large files in a thread of its own.

Receiving and hashing then take the time of the longer of the two, and memory is that of the buffers, however large the
file is.
"""

from __future__ import annotations

from queue import Empty, SimpleQueue
from threading import Lock, Thread
from typing import TYPE_CHECKING

from vcm.store.files import new_buffer

if TYPE_CHECKING:
    from collections.abc import Iterable
    from hashlib import _Hash


class Buffers:
    """At most so many buffers of one size (bytes), made when they are needed; each is used by one at a time."""

    def __init__(self, most: int, size: int) -> None:
        self._free: SimpleQueue[memoryview] = SimpleQueue()
        self.size = size
        self._left = most
        self._making = Lock()

    def take(self) -> memoryview:
        """A free buffer; waits for one."""
        return self.take_at_once() or self._free.get()

    def take_at_once(self) -> memoryview | None:
        """A free buffer, or None."""
        try:
            return self._free.get_nowait()
        except Empty:
            with self._making:
                if not self._left:
                    return None
                self._left -= 1
            return new_buffer(self.size)

    def give_back(self, buffer: memoryview) -> None:
        """Be done with a buffer."""
        self._free.put(buffer)


class Hashing:
    """Feeds hashes with what is handed over, in that order.

    Args:
        hashes: what to feed.
        threaded: whether to do it in a thread of its own.
    """

    def __init__(self, hashes: Iterable[_Hash], *, threaded: bool) -> None:
        self._hashes = tuple(hashes)
        self._coming: SimpleQueue[tuple[memoryview, int, Buffers] | None] = SimpleQueue()
        self._thread = Thread(target=self._work, name="vcm-hash", daemon=True) if threaded else None
        if self._thread:
            self._thread.start()

    def feed(self, buffer: memoryview, count: int, home: Buffers) -> None:
        """Hash the first ``count`` bytes of a buffer, then give it back to where it is from."""
        if self._thread:
            self._coming.put((buffer, count, home))
        else:
            self._hash(buffer, count, home)

    def finish(self) -> None:
        """Return when all is hashed; nothing can be fed after that."""
        if self._thread:
            self._coming.put(None)
            self._thread.join()
            self._thread = None

    def _work(self) -> None:
        while (item := self._coming.get()) is not None:
            self._hash(*item)

    def _hash(self, buffer: memoryview, count: int, home: Buffers) -> None:
        for each in self._hashes:
            each.update(buffer[:count])
        home.give_back(buffer)
