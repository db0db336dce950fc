"""Manners: how many requests the hub still allows, so that none is sent only to be refused.

The hub counts requests in windows of fixed length, by bucket, and says on every answer how it stands
(https://huggingface.co/docs/hub/rate-limits)::

    RateLimit: "api";r=489;t=55                              489 are left in the window, which ends in 55 s
    RateLimit-Policy: "fixed window";"api";q=500;w=300       500 are allowed in each window of 300 s

Nothing is known of a window before its first answer, so the first request of each goes alone.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Condition, Event

from vcm.errors import RegistryError

_NAME = re.compile(r'\s*"([A-Za-z0-9 ._-]{1,40})"')
_PARAMETER = re.compile(r";\s*([a-z]+)=(\d{1,9})(?![\w.])", re.ASCII)
_LONGEST_WINDOW = 24 * 3600
"""Seconds; who speaks of a longer one means something else."""
_ROUNDING = 1.0
"""Seconds by which the end of a window may lie after or before the whole number that the hub gives."""
_FIRST_ANSWER_SECONDS = 5.0
"""How long the others wait for the first answer of a window; a silent server shall not hold up all of them."""
_POLL_SECONDS = 0.1


def bucket_of(path: str) -> str:
    """What the Hub counts a request under, judged by its path; its answer has the last word."""
    if path.startswith("/api/") and not path.startswith("/api/resolve-cache/"):
        return "api"
    return "resolvers" if "/resolve/" in path or path.startswith("/api/resolve-cache/") else "pages"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """What an answer says of its bucket.

    Attributes:
        bucket: the hub's name for it.
        left: how many more requests the window allows.
        seconds: until it ends.
        policy: what a window allows in all, in words.
    """

    bucket: str
    left: int
    seconds: int
    policy: str


def announced_limit(headers: Mapping[str, str]) -> Limit | None:
    """What an answer's headers say of its bucket; None where they say nothing that can be used."""
    text = headers.get("RateLimit", "").partition(",")[0]
    name, values = _NAME.match(text), dict(_PARAMETER.findall(text))
    if name is None or not {"r", "t"} <= values.keys() or int(values["t"]) > _LONGEST_WINDOW:
        return None
    all_of_it = dict(_PARAMETER.findall(headers.get("RateLimit-Policy", "").partition(",")[0]))
    policy = f"the {name[1]} requests of this window are used up"
    if {"q", "w"} <= all_of_it.keys():
        policy = f"{int(all_of_it['q'])} {name[1]} requests per {int(all_of_it['w'])} s are used up"
    return Limit(bucket=name[1], left=int(values["r"]), seconds=int(values["t"]), policy=policy)


def no_more_requests(reason: str, seconds: float) -> RegistryError:
    """The error for a wait that is too long, or that does not help."""
    return RegistryError(
        f"the hub allows no more requests for now: {reason}",
        hint=f"try again in {seconds:.0f} s",
        retry_after=seconds,
    )


class Window:
    """The present window of one bucket, in numbers and moments alone."""

    def __init__(self) -> None:
        self.policy = ""
        self.ends = 0.0
        self.is_told = False
        self._left: int | None = None
        self._in_flight = 0
        self._lost: list[float] = []
        self._may_end = 0.0
        self._first: float | None = None
        self._first_until = 0.0

    def delay(self, now: float) -> float | None:
        """Seconds until another request may go, 0 for at once; None where an answer that is due may tell."""
        if self._left is not None and now >= self.ends:
            self.forget(self.ends)
        if self._left is None:
            return 0.0 if now >= self._first_until else None
        left = self._left - len(self._lost)
        if left > self._in_flight:
            return 0.0
        # The answers on their way may show that their requests have been counted already.
        return None if left > 0 else self.ends - now

    def forget(self, ends: float) -> None:
        """The window that ends then is over; nothing is known of the next."""
        if self._left is not None and self.ends == ends:
            self._left, self._first, self.is_told = None, None, False
            # What was on its way when the window may have ended may have been counted in the next.
            self._lost = [now for now in self._lost if now > self._may_end]

    def sent(self, now: float) -> None:
        """A request goes."""
        self._in_flight += 1
        if self._left is None and self._first is None:
            self._first, self._first_until = now, now + _FIRST_ANSWER_SECONDS

    def returned(self, sent: float) -> None:
        """The request that went then was answered, or was lost."""
        self._in_flight -= 1
        if sent == self._first:
            self._first_until = 0.0

    def lost(self, now: float) -> None:
        """A request brought no answer; the hub may have counted it all the same, at any moment until now."""
        self._lost.append(now)

    def learn(self, limit: Limit, sent: float, now: float) -> None:
        """What an answer says that came now, to a request that went at ``sent``."""
        ends = now + limit.seconds + _ROUNDING
        if self._left is None or sent + limit.seconds - _ROUNDING > self.ends:
            self._left, self.ends, self.is_told = limit.left, ends, False
            self._may_end = sent + limit.seconds - _ROUNDING
        else:
            # Answers overtake each other: within one window nothing is ever given back. And where windows are short,
            # this may be the next one already.
            self._left, self.ends = min(self._left, limit.left), max(self.ends, ends)
        self.policy = limit.policy


@dataclass(slots=True)
class Turn:
    """The right to send one request.

    Attributes:
        window: what it is taken from.
        sent: the moment.
        headers: of its answer, once there is one.
    """

    window: Window
    sent: float
    headers: Mapping[str, str] | None = None


class Budget:
    """What the hub still allows in this run, shared by all its threads.

    Args:
        tell: told once for each wait, by the first who has to: seconds, and the reason.
        rest: waits so many seconds; may come back early once ``cancelled`` is set.
        cancelled: once set, waiting ends with KeyboardInterrupt.
        longest: seconds; a longer wait is an error.
        advice: what to add to the reason.
        clock: a time in seconds that never goes back.
    """

    def __init__(
        self,
        *,
        tell: Callable[[float, str], None],
        rest: Callable[[float], object],
        cancelled: Event,
        longest: float,
        advice: str = "",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._tell = tell
        self._rest = rest
        self._cancelled = cancelled
        self._longest = longest
        self._advice = advice
        self._clock = clock
        self._windows: dict[str, Window] = {}
        self._names: dict[str, str] = {}
        self._changed = Condition()

    @contextmanager
    def turn(self, path: str) -> Iterator[Turn]:
        """Send a request to this path of the hub within the block; waits before it where the hub allows none now.

        Raises:
            RegistryError: the wait would be too long.
            KeyboardInterrupt: the run is called off.
        """
        guessed = bucket_of(path)
        turn = self._take(guessed)
        try:
            yield turn
        finally:
            limit = announced_limit(turn.headers or {})
            with self._changed:
                turn.window.returned(turn.sent)
                if turn.headers is None:
                    turn.window.lost(self._clock())
                if limit is not None:
                    self._names[guessed] = limit.bucket
                    self._window(guessed).learn(limit, turn.sent, self._clock())
                self._changed.notify_all()

    def _window(self, guessed: str) -> Window:
        return self._windows.setdefault(self._names.get(guessed, guessed), Window())

    def _take(self, guessed: str) -> Turn:
        while True:
            with self._changed:
                if self._cancelled.is_set():
                    raise KeyboardInterrupt
                window, now = self._window(guessed), self._clock()
                delay, ends = window.delay(now), window.ends
                if delay == 0:
                    window.sent(now)
                    return Turn(window, now)
                if delay is None:
                    self._changed.wait(_POLL_SECONDS)
                    continue
                is_first, window.is_told = not window.is_told, True
            reason = window.policy + self._advice
            if delay > self._longest:
                raise no_more_requests(reason, delay)
            if is_first:
                self._tell(delay, reason)
            self._rest(delay)
            with self._changed:
                window.forget(ends)
