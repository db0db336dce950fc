"""Where a file's bytes may come from: what a transfer asks of mirrors and of the file's origin alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol, runtime_checkable

from vcm.core.lock import LockedFile, LockedModel
from vcm.errors import CHECKSUM_MISMATCH, RegistryError
from vcm.http.body import Answer
from vcm.store.blobs import BlobStore


class Place(Protocol):
    """One file at one source."""

    @property
    def mirror(self) -> str | None:
        """The mirror's name; None for the origin: the hub, or a direct url's own server."""

    @property
    def name(self) -> str:
        """The source in messages: ``mirror rack``, ``the hub``."""

    @property
    def url(self) -> str:
        """Where it is."""


@runtime_checkable
class Remote(Place, Protocol):
    """A place that is asked for the file."""

    def request(
        self, method: str, headers: Mapping[str, str] | None = None, *, url: str = ""
    ) -> AbstractContextManager[Answer]:
        """The answer, whatever its status; ``url`` is where an earlier one came from, to ask there again.

        Raises:
            UnreachableError: no connection can be made.
            NetworkFaultError: nobody answered.
            RegistryError: nobody may be asked, or the redirects lead nowhere.
        """

    def refusal(self, answer: Answer) -> RegistryError | None:
        """The error for an answer that does not hold the file: another try helps where it is a NetworkFaultError."""


@runtime_checkable
class Local(Place, Protocol):
    """A place on this machine's disks."""

    def check(self) -> Path:
        """The file itself, if one of the right size is there; its bytes are not read.

        Raises:
            RegistryError: as from ``take``.
        """

    def take(self, blobs: BlobStore, progress: Callable[[int], None]) -> None:
        """Make a blob of the file, hashed; ``progress`` is told of every number of bytes, and may end the work.

        Raises:
            OtherFileError: it is another file.
            ModelNotFoundError: it is not there.
            UnreachableError: nor is anything else of that source.
            RegistryError: it cannot be read.
            OSError: the store cannot be written.
        """

    def takes_no_room(self, blobs: BlobStore) -> bool:
        """Whether ``take`` will make the file and the blob one, as far as one can tell before.

        Raises:
            RegistryError: as from ``take``; no byte is read for it.
        """


class Source(Protocol):
    """A mirror."""

    @property
    def mirror(self) -> str:
        """Its name."""

    def find(self, model: LockedModel, file: LockedFile) -> Place | None:
        """Where it has a file, if it has it; None where it cannot. Nobody is asked."""

    def close(self) -> None:
        """Close its connections."""


class OtherFileError(RegistryError):
    """A mirror has another file in the place of the one that is wanted; no byte of it was taken in.

    Attributes:
        expected: digest or size that was promised, as text.
        actual: digest or size that was found, as text.
    """

    def __init__(self, expected: str, actual: str) -> None:
        super().__init__(f"wrong bytes: expected {expected}, got {actual}", error_code=CHECKSUM_MISMATCH)
        self.expected = expected
        self.actual = actual
