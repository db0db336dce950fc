"""A file on its way into the store: what is known of it before, and after."""

from __future__ import annotations

from vcm.core.records import record
from vcm.core.wording import short_commit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from vcm.core.manifest import Checksum


LARGE = 8 << 20
"""Bytes from which on a file gets threads and buffers of its own."""

OFFLINE = "this run is offline"
NO_ORIGIN = "this run does not ask the hub"
NO_MIRROR = "this run asks mirrors only, of which none is named"
"""Why a file's origin is not asked, as the end of a sentence."""


@record(frozen=True, kw_only=True)
class WantedFile:
    """One file to fetch and what is known of it beforehand.

    Attributes:
        model: the model's name, for messages.
        path: the file's path inside the model.
        url: where its origin is asked for it; empty where that is not done.
        repo: the repo it is in; None for a direct url.
        commit: the commit of that repo.
        size: bytes; None when nobody promised it.
        sha256: bare hex; None when it is to be found out.
        oid: git blob id of the content, where the hub gave one.
        checksum: what a manifest promises in another algorithm.
        gated: whether its repo asks who may have it; that is found out before a byte is fetched.
    """

    model: str
    path: str
    url: str
    repo: str | None = None
    commit: str | None = None
    size: int | None = None
    sha256: str | None = None
    oid: str | None = None
    checksum: Checksum | None = None
    gated: bool = False

    @property
    def source(self) -> str:
        """Where it comes from, in words: ``acme/frames at 3f2c1b0a9d8e``."""
        return f"{self.repo} at {short_commit(self.commit)}" if self.repo and self.commit else ""

    @property
    def is_pinned(self) -> bool:
        """Whether wrong bytes would be noticed: pieces of two answers may only then stand in one file."""
        return not (self.sha256 is None and self.oid is None and self.checksum is None)

    @property
    def label(self) -> str:
        """How it is called on the screen."""
        return f"{self.model}/{self.path}"


@record(frozen=True)
class Fetched:
    """A file that is a blob now.

    Attributes:
        bytes_fetched: what came for it in this run, over the network or out of a mirror that is a folder.
        supplied: by mirror (None: the origin), how many of the blob's bytes came from there in this run.
    """

    sha256: str
    size: int
    bytes_fetched: int
    supplied: Mapping[str | None, int] = {}
