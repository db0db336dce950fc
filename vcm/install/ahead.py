"""Reading ahead: a large file over several connections, its pieces handed out in order.

Pieces that arrive before their turn wait in memory, of which there are only so many buffers; so the file on the disk
has no gaps, and the bytes are hashed where they are, in memory.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from threading import Event, Lock, Thread

from vcm.http.body import Answer
from vcm.install.hashing import Buffers
from vcm.install.partial import PART, another_part, content_range, cut

CONNECTIONS = 8
"""To fetch large files over, shared by those that are on their way at one time."""
SEGMENT = 4 << 20
"""Bytes of one piece: large enough that asking for it costs little, small enough that many fit into memory."""
BUFFERS = CONNECTIONS + 2
"""Pieces in memory, of all files: those on their way, and those that are written and hashed."""


@dataclass(slots=True)
class Segment:
    """One piece of a file.

    Attributes:
        start: its first byte's place in the file.
        end: the place after its last byte.
        buffer: where it gathers.
        size: bytes that are here.
    """

    start: int
    end: int
    buffer: memoryview
    size: int = 0

    @property
    def is_complete(self) -> bool:
        """Whether it is all here."""
        return self.start + self.size == self.end

    @property
    def range(self) -> str:
        """The header that asks for what is missing."""
        return f"bytes={self.start + self.size}-{self.end - 1}"

    def receive(self, answer: Answer, total: int) -> Iterator[int]:
        """Take in the part that an answer holds; the numbers of bytes as they come.

        Raises:
            NetworkFaultError: it is another part, or it is cut.
        """
        if answer.status != PART or content_range(answer) not in (
            (self.start + self.size, total),
            (self.start + self.size, None),
        ):
            raise another_part()
        while not self.is_complete:
            count = answer.read_into(self.buffer[self.size : self.end - self.start])
            if not count:
                raise cut(self.start + self.size, total)
            self.size += count
            yield count


@dataclass(slots=True)
class ReadAhead:
    """Pieces of one file on their way.

    Args:
        fill: brings one piece here; called in threads of its own.
        connections: how many pieces may be on their way at once, asked again before each.
        buffers: where pieces gather, each of the size of a piece; other files may use them, too.
    """

    fill: Callable[[Segment], None]
    connections: Callable[[], int]
    buffers: Buffers
    stopped: Event = field(default_factory=Event)
    _answers: set[Answer] = field(default_factory=set)
    _lock: Lock = field(default_factory=Lock)

    def segments(self, start: int, end: int) -> Iterator[Segment]:
        """The pieces of that part of the file, in order, each complete; their buffers are to be given back.

        Raises:
            RegistryError: what ``fill`` raises. No other piece comes after that.
        """
        coming: deque[tuple[Segment, Future[None]]] = deque()
        try:
            while start < end or coming:
                while start < end and len(coming) <= self.connections():
                    buffer = self.buffers.take_at_once() if coming else self.buffers.take()
                    if buffer is None:
                        break
                    segment = Segment(start, min(end, start + self.buffers.size), buffer)
                    coming.append((segment, self._begin(segment)))
                    start = segment.end
                segment, filling = coming[0]
                filling.result()
                coming.popleft()
                yield segment
        finally:
            self._stop()
            for segment, filling in coming:
                # Not at once: its thread may still be writing into it.
                filling.add_done_callback(partial(self._give_back, segment.buffer))

    def _begin(self, segment: Segment) -> Future[None]:
        filling: Future[None] = Future()

        def work() -> None:
            try:
                self.fill(segment)
            except BaseException as error:  # noqa: BLE001  (it is raised where the piece is waited for)
                filling.set_exception(error)
            else:
                filling.set_result(None)

        # Nobody waits for the end of such a thread: it may itself be waiting for a silent server.
        Thread(target=work, name="vcm-range", daemon=True).start()
        return filling

    def _give_back(self, buffer: memoryview, _: Future[None]) -> None:
        self.buffers.give_back(buffer)

    @contextmanager
    def reading(self, answer: Answer) -> Iterator[None]:
        """While an answer is read: it is abandoned when its piece is not wanted any more."""
        with self._lock:
            self._answers.add(answer)
        try:
            if self.stopped.is_set():
                raise KeyboardInterrupt
            yield
        finally:
            with self._lock:
                self._answers.discard(answer)

    def _stop(self) -> None:
        self.stopped.set()
        with self._lock:
            for answer in self._answers:
                answer.abandon()
