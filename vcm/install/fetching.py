"""Fetching a locked file: whom to ask for it, in which order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress

from vcm.core.lock import LockedFile, LockedModel
from vcm.errors import RegistryError
from vcm.install.nearby import Sources
from vcm.install.source import Local, Place, Source
from vcm.install.transfer import Transfer
from vcm.install.wanted import Fetched, WantedFile


class Fetcher:
    """Fetches locked files; may be used by several threads.

    Args:
        transfer: brings them into the store.
        mirrors: who is asked before the origin, in this order.
        file_url: where the origin is asked for a file.
        without_origin: why no origin is asked, as the end of a sentence; empty where it is.
    """

    def __init__(
        self,
        transfer: Transfer,
        mirrors: Sequence[Source],
        *,
        file_url: Callable[[LockedModel, LockedFile], str],
        without_origin: str = "",
    ) -> None:
        self._transfer = transfer
        self._mirrors = mirrors
        self._file_url = file_url
        self._without_origin = without_origin

    def fetch(self, sources: Sources) -> Fetched:
        """Bring a file's bytes into the store; any of the models it is in will do.

        Raises:
            ModelDownloadError: nobody gives them.
            VcmError: the store cannot be written.
        """
        return self._transfer.fetch(
            *(self._wanted(model, file) for model, file in sources),
            mirrors=self._places(sources),
            without_origin=self._without_origin,
        )

    def takes_no_room(self, sources: Sources) -> bool:
        """Whether the first source that has a file's bytes is a folder which they will be shared with.

        Of what must be asked over a network nobody knows: it may have them, and is asked in its turn.
        """
        for place in self._places(sources):
            if not isinstance(place, Local):
                return False
            with suppress(RegistryError):
                return self._transfer.takes_no_room(place)
        return False

    def is_at_hand(self, sources: Sources) -> bool:
        """Whether a mirror that is a folder has a file of that size in its place; its bytes are not read."""
        for place in self._places(sources):
            if isinstance(place, Local):
                with suppress(RegistryError):
                    place.check()
                    return True
        return False

    def tell_failing_mirrors(self) -> None:
        """Notices of mirrors that failed for single files, and so are told of nowhere yet."""
        self._transfer.tell_failing_mirrors()

    def _places(self, sources: Sources) -> Iterator[Place]:
        """Where mirrors may have it, each address once: most of them know a file by its digest alone."""
        for mirror in self._mirrors:
            places = [mirror.find(model, file) for model, file in sources]
            yield from {place.url: place for place in places if place is not None}.values()

    def _wanted(self, model: LockedModel, file: LockedFile) -> WantedFile:
        return WantedFile(
            model=model.name,
            path=file.path,
            url="" if self._without_origin else self._file_url(model, file),
            repo=model.repo,
            commit=model.commit,
            size=file.size,
            sha256=file.sha256,
            gated=model.gated is not None,
        )
