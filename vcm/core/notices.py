"""What a user should know of a locked model's repo, beside new commits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

Kind = Literal["deprecated", "renamed", "gated", "disabled", "gone", "tag-moved", "commit-gone", "identity-changed"]
KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True, slots=True)
class Notice:
    """One thing to know.

    Attributes:
        message: what is so, in one sentence without a full stop; true for every project that locked the same commit.
        hint: what to do in this project; empty where the notice was read back from the cache.
        replacement: the repo to use instead, where the hub names one.
    """

    kind: Kind
    message: str
    hint: str = ""
    replacement: str | None = None
