"""Successors: the repos that a card's ``new_version`` leads to."""

from __future__ import annotations

from collections.abc import Iterator

from vcm.core.metadata import RepoInfo
from vcm.hub.client import HubClient

_MOST = 16


def successors(client: HubClient, info: RepoInfo) -> Iterator[RepoInfo]:
    """The repos that the cards name, one after the other; a chain that comes back to where it was ends before that.

    Raises:
        ModelNotFoundError: the one that the last card names is not there.
        RegistryError: the hub cannot be asked about it.
    """
    seen = {info.repo}
    following = info.new_version
    while following is not None and len(seen) <= _MOST:
        # Asked before it is looked up: an old name, or other letter case, leads to the repo's own name.
        successor = client.info(following, None)
        if successor.repo in seen:
            return
        seen.add(successor.repo)
        yield successor
        following = successor.new_version
