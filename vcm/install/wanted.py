"""A file on its way into the store: what is known of it before, and after."""

from __future__ import annotations

from dataclasses import dataclass

from vcm.core.manifest import Checksum


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedFile:
    """One file to fetch and what is known of it beforehand.

    Attributes:
        model: the model's name, for messages.
        path: the file's path inside the model.
        url: where to ask for it.
        repo: the repo it is in; None for a direct url.
        size: bytes; None when nobody promised it.
        sha256: bare hex; None when it is to be found out.
        oid: git blob id of the content, where the hub gave one.
        checksum: what a manifest promises in another algorithm.
    """

    model: str
    path: str
    url: str
    repo: str | None = None
    size: int | None = None
    sha256: str | None = None
    oid: str | None = None
    checksum: Checksum | None = None

    @property
    def label(self) -> str:
        """How it is called on the screen."""
        return f"{self.model}/{self.path}"


@dataclass(frozen=True, slots=True)
class Fetched:
    """A file that is a blob now.

    Attributes:
        bytes_fetched: what came over the network for it in this run.
    """

    sha256: str
    size: int
    bytes_fetched: int
