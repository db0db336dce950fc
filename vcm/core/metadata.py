"""What a hub says about a repo, as values that were checked on receipt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


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
