"""Known answers: which of them do, and which questions are put to the hub."""

from __future__ import annotations

import re
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from threading import Lock
from typing import Generic, Protocol, Self, TypeVar

from vcm.core.metadata import Freshness, KeptAnswer
from vcm.errors import ModelNotFoundError, RegistryError

TTL_HOURS = 24.0
"""Hours that an answer serves which may change."""

_ETAG = re.compile(r'(?:W/)?"[\x21\x23-\x7e]{0,200}"')

Value = TypeVar("Value")


class AnswerStore(Protocol):
    """Keeps answers over runs. No method fails: what cannot be kept or read is not there."""

    def read(self, repo: str, address: str) -> KeptAnswer | None:
        """The answer that is kept for an address."""

    def write(self, repo: str, answer: KeptAnswer) -> bool:
        """Keep an answer, and say whether it is kept."""

    def forget(self, repo: str, address: str) -> None:
        """Keep none for an address any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Caching:
    """How known answers are used.

    Attributes:
        store: where they are kept; None keeps none.
        ttl_hours: how long an answer serves that may change.
        freshness: which of them do.
        clock: tells the time in seconds since 1970.
    """

    store: AnswerStore | None = None
    ttl_hours: float = TTL_HOURS
    freshness: Freshness = "normal"
    clock: Callable[[], float] = time.time


@dataclass(frozen=True, slots=True, kw_only=True)
class Question(Generic[Value]):
    """One question to the hub.

    Attributes:
        address: what is asked, in full.
        repo: what it is about.
        subject: the same in words, for messages.
        read: the answer's meaning; raises RegistryError where it has none.
        is_lasting: whether its answer never changes.
        is_whole: whether an answer is all there is to know, and not cut to what this caller may see.
        same_as: the address of another question that an answer answers too.
    """

    address: str
    repo: str
    subject: str
    read: Callable[[KeptAnswer], Value]
    is_lasting: bool = False
    is_whole: Callable[[Value], bool] = lambda _: True
    same_as: Callable[[Value], str | None] = lambda _: None


@dataclass(slots=True)
class _Run:
    """What all clients of one run know together."""

    began: float
    fetched: set[str] = field(default_factory=set)
    _turns: defaultdict[str, Lock] = field(default_factory=lambda: defaultdict(Lock))
    _lock: Lock = field(default_factory=Lock)

    def turn(self, address: str) -> Lock:
        """Held by who finds out about this address, so that two who want the same answer ask once."""
        with self._lock:
            return self._turns[address]


class Answers:
    """Answers of one run; may be used by several threads.

    Args:
        caching: how known answers are used.
        offline: whether nobody can be asked; an answer of any age does then.
        with_token: whether a token is sent. Who sends none asks for himself what another was told who sent one.
    """

    def __init__(self, caching: Caching, *, offline: bool, with_token: bool, run: _Run | None = None) -> None:
        self._caching = caching
        self._offline = offline
        self._with_token = with_token
        self._run = run or _Run(caching.clock())
        self._reused: set[str] = set()

    def reused(self, repo: str) -> bool:
        """Whether something was said of this repo that nobody asked the hub in this run."""
        return repo in self._reused

    def asking(self, freshness: Freshness) -> Self:
        """The same run, with another idea of which known answers do; one that was stricter stays so."""
        if self._caching.freshness not in ("normal", "revalidate"):
            return self
        caching = replace(self._caching, freshness=freshness)
        return type(self)(caching, offline=self._offline, with_token=self._with_token, run=self._run)

    def find(
        self, question: Question[Value], fetch: Callable[[str | None], KeptAnswer | None]
    ) -> tuple[Value, str | None]:
        """What a question's answer means, and the address of the next page.

        Args:
            question: what to find out.
            fetch: asks the hub. It gets the ETag of a known answer, or None, and returns None where that still holds.

        Raises:
            RegistryError: the hub refuses or sends something unusable; or nobody may be asked, and nothing is known.
        """
        with self._run.turn(question.address):
            found = self._known(question)
            if found is not None and self._is_fresh(found[0], question):
                if question.address not in self._run.fetched:
                    self._reused.add(question.repo)
                return found[1], found[0].following
            self._refuse_unasked(question)
            return self._asked(question, found if self._caching.freshness != "refresh" else None, fetch)

    def _asked(
        self,
        question: Question[Value],
        found: tuple[KeptAnswer, Value] | None,
        fetch: Callable[[str | None], KeptAnswer | None],
    ) -> tuple[Value, str | None]:
        etag = found[0].etag if found else None
        try:
            # What could not stand in a header came from no server.
            answer = fetch(etag if etag and _ETAG.fullmatch(etag) else None)
            if answer is not None:
                value = question.read(answer)
            else:
                assert found is not None
                answer, value = replace(found[0], fetched=int(self._caching.clock())), found[1]
        except ModelNotFoundError:
            self._forget(question)
            raise
        if question.is_whole(value):
            self._keep(question.repo, replace(answer, with_token=self._with_token))
            other = question.same_as(value)
            if other is not None:
                # What the hub calls this state of the one may mean another state of the other.
                self._keep(question.repo, replace(answer, with_token=self._with_token, address=other, etag=None))
        return value, answer.following

    def _keep(self, repo: str, answer: KeptAnswer) -> None:
        # Where it cannot be kept there may still be an old one, which must not pass for it.
        if self._caching.store is not None and self._caching.store.write(repo, answer):
            self._run.fetched.add(answer.address)

    def _forget(self, question: Question[Value]) -> None:
        """An older answer would say the opposite the next time; what a token opened stays open to it."""
        store = self._caching.store
        kept = store.read(question.repo, question.address) if store else None
        if store is not None and kept is not None and (self._with_token or not kept.with_token):
            store.forget(question.repo, question.address)

    def _known(self, question: Question[Value]) -> tuple[KeptAnswer, Value] | None:
        """The kept answer and its meaning; what cannot be used is as good as not there."""
        kept = self._caching.store.read(question.repo, question.address) if self._caching.store else None
        if kept is None:
            return None
        try:
            value = question.read(kept)
        except RegistryError:
            return None
        return (kept, value) if question.is_whole(value) else None

    def _is_fresh(self, kept: KeptAnswer, question: Question[Value]) -> bool:
        freshness, now = self._caching.freshness, self._caching.clock()
        if question.address in self._run.fetched or (self._offline and freshness != "cached"):
            return True
        if freshness == "refresh" or (kept.with_token and not self._with_token and freshness != "cached"):
            return False
        if freshness == "revalidate":
            return self._run.began <= kept.fetched <= now
        # An answer from the future is one whose clock was wrong: nobody knows its age.
        return question.is_lasting or 0 <= now - kept.fetched < self._caching.ttl_hours * 3600

    def _refuse_unasked(self, question: Question[Value]) -> None:
        if self._offline or self._caching.freshness == "cached":
            raise RegistryError(
                f"what the hub says of {question.subject} is not in the metadata cache, and this run is offline",
                hint="run it once without --offline, VCM_OFFLINE and HF_HUB_OFFLINE: what the hub says then serves "
                "offline too",
            )
