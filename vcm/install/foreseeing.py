"""What a sync would find, told before it: what is at hand of the bytes to fetch, and what nobody could give."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from vcm.core.plan import Origin, Plan, Supply
from vcm.errors import VcmError
from vcm.install.failures import nobody_to_ask
from vcm.install.nearby import Nearby, sources_of
from vcm.install.syncing import Synced, together

if TYPE_CHECKING:
    from vcm.install.fetching import Fetcher


def foreseen(plan: Plan, nearby: Nearby, folders: Callable[[], Fetcher] | None, *, is_closed: bool) -> Plan:
    """The plan, with where the bytes to fetch may be; nothing is hashed, and no network is asked.

    Args:
        plan: as the store has it.
        nearby: what else is on this machine.
        folders: makes what fetches from mirrors that are folders; None where there are none.
        is_closed: whether nobody else may be asked.

    Raises:
        OSError: the store cannot be read.
        VcmError: a bundle cannot be read; or as when the fetcher is made.
    """
    supplies = nearby.supplies(plan)
    to_fetch = {file.sha256 for file in plan.to_fetch}
    missing = {
        sha256: sources
        for sha256, sources in sources_of(plan).items()
        if sha256 in to_fetch and (sha256 not in supplies or supplies[sha256].origin is Origin.PARTIAL)
    }
    if missing and folders is not None:
        fetcher = folders()
        at_hand = {sha256: sources[0][1].size for sha256, sources in missing.items() if fetcher.is_at_hand(sources)}
        supplies |= {sha256: Supply(Origin.MIRRORS, size) for sha256, size in at_hand.items()}
        missing = {sha256: sources for sha256, sources in missing.items() if sha256 not in at_hand}
    return replace(plan, supplies=supplies, lacking=frozenset(missing if is_closed else ()))


def failures(plan: Plan, without_origin: str) -> list[Synced]:
    """What a sync would answer for the models that lack something that nobody can give.

    Args:
        plan: with what is lacking.
        without_origin: why no origin is asked, as the end of a sentence.
    """
    answers = []
    for each in plan.changes:
        errors: list[VcmError] = [
            nobody_to_ask(each.model, file, without_origin)
            for file in (*each.fetch, *each.reuse)
            if file.sha256 in plan.lacking
        ]
        if errors:
            error = together(each.model, errors, without_origin)
            answers.append(Synced(model=each.model, status="failed", error=error))
    return answers
