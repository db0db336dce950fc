"""Receiving: one file's bytes from one place that is asked for them, until all are here or the place fails.

Every attempt begins at the place's own address again, because what it redirects to is signed and expires.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Lock
from typing import Protocol

from vcm.core.digest import CHUNK
from vcm.core.reporter import Reporter
from vcm.core.wording import byte_count
from vcm.errors import ModelChecksumError, RegistryError
from vcm.http.body import Answer
from vcm.http.faults import NetworkFaultError
from vcm.install.ahead import BUFFERS, CONNECTIONS, SEGMENT, ReadAhead, Segment
from vcm.install.hashing import Buffers
from vcm.install.partial import PART, Partial, another_part
from vcm.install.source import OtherFileError, Remote

_WHOLE = 200
_NOT_SATISFIABLE = 416

_MOST_BUFFERS = 64
"""More than there are connections at a time: with a small file, nobody waits for one."""
_LOOK_SECONDS = 1.0
_FAST = 256 << 20
"""Bytes a second, about what one thread can hash: over a faster connection, a second one brings nothing."""
_WORTH_READING_AHEAD = 64 << 20
"""Bytes; what is less is here before more connections would have come up to speed."""
_WORTH_GOING_ON = 1 << 20
"""Bytes for which a mirror's failures are forgotten."""
_PATIENT_SECONDS = 30.0
"""As long as a mirror may be silent, it may also send next to nothing."""
_NEXT_TO_NOTHING = 1 << 10
"""Bytes a second over one connection: at ten times that, a gibibyte takes a day."""


class Tries(Protocol):
    """Decides whether a failure is followed by another try."""

    def renew(self) -> None:
        """Bytes have arrived: count anew."""

    def rest(self, error: RegistryError) -> None:
        """Wait before the next try, or raise the error."""


class _Flow:
    """Sees to it that a mirror which sends a byte now and then is left like one that is silent.

    The origin is not: there may be no other source.
    """

    def __init__(self, place: Remote) -> None:
        self._is_watched = place.mirror is not None
        self._since = time.monotonic()
        self._count = 0

    def note(self, count: int) -> None:
        """So many more bytes are here.

        Raises:
            NetworkFaultError: that is next to nothing, for too long.
        """
        self._count += count
        seconds = time.monotonic() - self._since
        if seconds >= _PATIENT_SECONDS:
            if self._is_watched and self._count < _NEXT_TO_NOTHING * seconds:
                raise NetworkFaultError(f"sends less than {byte_count(_NEXT_TO_NOTHING)} a second")
            self._since, self._count = time.monotonic(), 0


class Receiver:
    """Fills partial files; may be used by several threads, each with a file of its own.

    Args:
        reporter: told of progress.
        cancelled: once set, all work ends with KeyboardInterrupt, keeping the bytes.
    """

    def __init__(self, reporter: Reporter, cancelled: Event) -> None:
        self.buffers = Buffers(_MOST_BUFFERS, CHUNK)
        self._reporter = reporter
        self._cancelled = cancelled
        self._pieces = Buffers(BUFFERS, SEGMENT)
        self._counting = Lock()
        self._files = 0

    @contextmanager
    def counted(self) -> Iterator[None]:
        """While one more file is on its way."""
        with self._counting:
            self._files += 1
        try:
            yield
        finally:
            with self._counting:
                self._files -= 1

    def _connections(self) -> int:
        """How many connections one file may have: many files at once have enough of them already."""
        return max(1, CONNECTIONS // max(1, self._files))

    def check_cancelled(self) -> None:
        """End the work when it was called off."""
        if self._cancelled.is_set():
            raise KeyboardInterrupt

    def throw_away(self, partial: Partial) -> None:
        """Begin a file anew."""
        self._reporter.advanced(partial.wanted.label, -partial.size)
        partial.restart()

    def fill(self, partial: Partial, place: Remote, tries: Tries) -> None:
        """Ask until the partial file has all bytes; whether they are the right ones, only their digest tells.

        Raises:
            OtherFileError: a mirror has another file there.
            ModelChecksumError: the file is longer than was promised, or the origin has another one.
            RegistryError: the place does not give them.
        """
        # Not the bytes received: a server that always sends the first half would be asked for ever.
        furthest = partial.size
        partial.begin(place.mirror)
        while not partial.is_complete:
            try:
                self._attempt(partial, place)
            except NetworkFaultError as error:
                if partial.size == partial.wanted.size:
                    # Only the answer's end did not come. Asked for more, the server would refuse.
                    partial.ended()
                    break
                if partial.size > furthest + (_WORTH_GOING_ON if place.mirror else 0):
                    furthest = partial.size
                    tries.renew()
                tries.rest(error)

    def _attempt(self, partial: Partial, place: Remote) -> None:
        if partial.size and not partial.wanted.is_pinned:
            # The file may have changed since, and no digest would tell that two of its states were glued together.
            self.throw_away(partial)
        headers = {"Range": f"bytes={partial.size}-"} if partial.size else {}
        with place.request("GET", headers) as answer:
            if answer.status == _NOT_SATISFIABLE and partial.size and place.mirror is None:
                self.throw_away(partial)
                raise NetworkFaultError("the server refused to go on from the bytes that are here")
            refusal = place.refusal(answer)
            if refusal is not None:
                raise refusal
            self._take_up(partial, place, answer)
            if self._receive(partial, place, answer):
                partial.ended()
                return
        self._read_ahead(partial, place, answer.url)

    def _take_up(self, partial: Partial, place: Remote, answer: Answer) -> None:
        """Have the bytes that are here and the answer fit together; a mirror's word is no reason to lose any."""
        if not partial.continues(answer):
            if place.mirror is None:
                self.throw_away(partial)
            raise another_part()
        try:
            partial.announce(answer)
        except ModelChecksumError as error:
            if place.mirror is None:
                raise
            raise OtherFileError(error.expected, error.actual) from None
        if answer.status == _WHOLE and partial.size:
            # The whole file, although a part was asked for: begin again, never glue.
            self.throw_away(partial)
            partial.announce(answer)

    def _receive(self, partial: Partial, place: Remote, answer: Answer) -> bool:
        """Take in an answer's body; false where the rest had better come over several connections."""
        looked, size = time.monotonic(), partial.size
        flow = _Flow(place)
        while count := partial.receive(answer):
            self._reporter.advanced(partial.wanted.label, count)
            flow.note(count)
            self.check_cancelled()
            seconds = time.monotonic() - looked
            if seconds >= _LOOK_SECONDS:
                if partial.size - size < _FAST * seconds and self._may_read_ahead(partial, answer):
                    return False
                looked, size = time.monotonic(), partial.size
        return True

    def _may_read_ahead(self, partial: Partial, answer: Answer) -> bool:
        wanted = partial.wanted
        has_ranges = answer.status == PART or answer.headers.get("Accept-Ranges", "").lower() == "bytes"
        # Where requests are counted, hundreds of them for one file would leave none for the others.
        is_counted = "RateLimit" in answer.headers
        is_worth_it = wanted.size is not None and wanted.size - partial.size >= _WORTH_READING_AHEAD
        is_possible = has_ranges and wanted.is_pinned and partial.may_read_ahead
        return is_possible and is_worth_it and not is_counted and self._connections() > 1

    def _read_ahead(self, partial: Partial, place: Remote, address: str) -> None:
        """Fetch the rest over several connections.

        Args:
            partial: where it goes, of a file of known size.
            place: who is asked.
            address: where the last answer came from, after all redirects: it is not asked for anew for every piece.
        """
        total = partial.wanted.size
        assert total is not None

        def fill(segment: Segment) -> None:
            nonlocal address
            try:
                self._fill_segment(segment, total, place, address, ahead)
            except RegistryError as error:
                if ahead.stopped.is_set() or error.retry_after is not None:
                    raise
                # The address may have expired, in whatever way a server says so: once more from the beginning, as with
                # every attempt. Where that leads to is good for the other pieces, too.
                address = self._fill_segment(segment, total, place, place.url, ahead)

        ahead = ReadAhead(fill, self._connections, self._pieces)
        # Until the first piece is here: a server may want no more than one connection.
        partial.may_read_ahead = False
        for segment in ahead.segments(partial.size, total):
            partial.may_read_ahead = True
            partial.append(segment.buffer, segment.size, ahead.buffers)
            self._reporter.advanced(partial.wanted.label, segment.size)
            self.check_cancelled()
        partial.ended()

    def _fill_segment(self, segment: Segment, total: int, place: Remote, url: str, ahead: ReadAhead) -> str:
        """Fetch a piece, and say where it came from, after all redirects."""
        with place.request("GET", {"Range": segment.range}, url=url) as answer, ahead.reading(answer):
            refusal = place.refusal(answer)
            if refusal is not None:
                raise refusal
            flow = _Flow(place)
            for count in segment.receive(answer, total):
                flow.note(count)
                if ahead.stopped.is_set():
                    raise KeyboardInterrupt
                self.check_cancelled()
            return answer.url
