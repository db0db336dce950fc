"""What a client asked a hub for, told by the paths."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from urllib.parse import unquote, urlsplit

API = ("info", "refs", "tree", "commits", "auth-check", "search", "other")
"""The kinds that cost an API call each; the further pages of a listing are counted apart."""

KINDS = (*API, "page", "resolve", "resolve-cache", "cdn")

_API = "/api/models/"
_CACHE = "/api/resolve-cache/models/"


def kind_and_repo(origin: str, target: str) -> tuple[str, str]:
    """The kind of a request, one of KINDS, and the repo it is about, where the path tells.

    Args:
        origin: ``"hub"`` or ``"cdn"``.
        target: path and query as sent.
    """
    parts = urlsplit(target)
    path = unquote(parts.path)
    if origin == "cdn":
        return "cdn", ""
    if path.startswith(_CACHE):
        return "resolve-cache", "/".join(path.removeprefix(_CACHE).split("/")[:2])
    if path.startswith(_API):
        namespace, name, *rest = [*path.removeprefix(_API).split("/"), ""][:3]
        word = rest[0] if rest else ""
        kind = "info" if word in ("", "revision") else word if word in API else "other"
        return "page" if kind == "tree" and "cursor=" in parts.query else kind, f"{namespace}/{name}"
    if path == "/api/models":
        return "search", ""
    if "/resolve/" in path:
        return "resolve", path.partition("/resolve/")[0].lstrip("/")
    return "other", ""


def by_repo(requests: Iterable[tuple[str, str]]) -> dict[str, Counter[str]]:
    """How many requests of each kind every repo cost; under ``""`` stands what no path assigns to one.

    Args:
        requests: origin and target of each.
    """
    counted: dict[str, Counter[str]] = {}
    for origin, target in requests:
        kind, repo = kind_and_repo(origin, target)
        counted.setdefault(repo, Counter())[kind] += 1
    return counted


def api_calls(counted: Counter[str]) -> int:
    """The API calls among some requests, further pages aside."""
    return sum(counted[kind] for kind in API)
