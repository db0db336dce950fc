"""Suggesting: what a user who named a repo that cannot be had may have meant."""

from __future__ import annotations

import difflib

from vcm.core.wording import listed
from vcm.errors import RegistryError
from vcm.hub.client import HubClient

_SHOWN = 3
_REFS_SHOWN = 5
_SIMILAR = 0.5


def near_names(client: HubClient, repo: str) -> list[str]:
    """Repos of the hub that are called nearly like this one, the nearest first; none when the hub cannot tell."""
    owner, _, name = repo.rpartition("/")
    try:
        found = client.search(name) or (client.search("", author=owner) if owner else ())
    except RegistryError:
        return []
    others = {each.lower(): each for each in found if each != repo}
    near = difflib.get_close_matches(repo.lower(), others, n=_SHOWN, cutoff=_SIMILAR)
    return [others[each] for each in near]


def suggest_refs(client: HubClient, repo: str, revision: str, error: RegistryError) -> None:
    """Put the revisions that exist into an error's hint, the nearest first."""
    try:
        existing = list(dict.fromkeys(ref.name for ref in client.refs(repo)))
    except RegistryError:
        return
    near = difflib.get_close_matches(revision, existing, n=_SHOWN, cutoff=_SIMILAR)
    shown = list(dict.fromkeys((*near, *existing)))[:_REFS_SHOWN]
    if shown:
        rest = f" and {len(existing) - len(shown)} more" if len(existing) > len(shown) else ""
        error.hint = f"its branches and tags: {', '.join(shown)}{rest}"


def suggest(client: HubClient, repo: str, error: RegistryError) -> None:
    """Put the nearest names into an error's hint."""
    names = near_names(client, repo)
    if names:
        words = listed(names).replace(" and ", " or ")
        error.hint = f"did you mean {words}? Otherwise {error.hint}" if error.hint else f"did you mean {words}?"
