"""Web addresses: whose they are, and how much of one may be shown."""

from __future__ import annotations

from functools import lru_cache
from urllib.parse import urlsplit


@lru_cache(maxsize=1024)
def origin(url: str) -> tuple[str, str, int]:
    """Scheme, host and port of an address."""
    parts = urlsplit(url)
    scheme = parts.scheme.lower()
    return scheme, (parts.hostname or "").lower(), parts.port or (443 if scheme == "https" else 80)


SHORTEST_SECRET = 6
"""Characters of what is taken out of a server's words; less stands in many a word that has nothing to do with it."""


def shown_url(url: str) -> str:
    """An address without its query, fragment and credentials, for messages."""
    return urlsplit(url)._replace(netloc=host(url), query="", fragment="").geturl()


def host(url: str) -> str:
    """The host and port of an address, without credentials."""
    try:
        return urlsplit(url).netloc.rpartition("@")[2] or "no host"
    except ValueError:
        return "no host"
