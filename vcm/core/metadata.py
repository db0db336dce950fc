"""What a hub says about a repo, as values that were checked on receipt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Freshness = Literal["normal", "revalidate", "refresh", "cached"]
"""Which known answers do: those of the last hours; none that is older than this run, though the hub may say that it
still holds; none at all; or those of the last hours, and where there is none nobody is asked."""


@dataclass(frozen=True, slots=True)
class Ref:
    """A branch or tag and the commit it points at."""

    name: str
    kind: Literal["tag", "branch"]
    commit: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RepoInfo:
    """A repo at one revision.

    Attributes:
        repo: the canonical id, also when an old name was asked for.
        repo_id: the hub's ``_id``, where it sends one.
        commit: what the asked revision resolved to.
        gated: ``auto``, ``manual`` or None.
        task: the ``pipeline_tag``.
        license: the licence's id on the card.
        new_version: the card's pointer to a successor repo.
        base_models: repos this one was made from, as the card says.
        is_adapter: whether the card says that it only works on top of them.
        tags: those of the card and those that the hub computes.
    """

    repo: str
    commit: str
    repo_id: str | None = None
    gated: str | None = None
    disabled: bool = False
    task: str | None = None
    license: str | None = None
    new_version: str | None = None
    base_models: tuple[str, ...] = ()
    is_adapter: bool = False
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """One file of a commit.

    Attributes:
        size: bytes of the content.
        oid: git blob id of the content; None for an LFS file, whose git blob is only a pointer.
        sha256: digest of the content; None where the hub publishes none (small files).
        masked: the hub hides the digest from callers without access to a gated repo.
    """

    path: str
    size: int
    oid: str | None = None
    sha256: str | None = None
    masked: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptAnswer:
    """An answer of the hub's API, as it came.

    Attributes:
        address: what was asked, in full.
        fetched: when the hub last gave or confirmed it, in seconds since 1970.
        body: its bytes, without a token the hub may have repeated in them.
        etag: what the hub calls this state of it.
        following: the address of the next page.
        with_token: whether a token was sent: who has none may not be told the same.
    """

    address: str
    fetched: int
    body: bytes
    etag: str | None = None
    following: str | None = None
    with_token: bool = False
