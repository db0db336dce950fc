"""Whom one run may ask: the hub, and the mirrors before it."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from threading import Event

from vcm.core.lock import LockedFile, LockedModel
from vcm.core.metadata import Freshness
from vcm.core.reporter import Reporter
from vcm.hub.client import HubClient
from vcm.install.fetching import Fetcher
from vcm.install.origin import Origin
from vcm.install.source import Source
from vcm.install.transfer import Transfer
from vcm.mirrors.opening import open_mirrors
from vcm.resolve.connecting import connect
from vcm.settings import Settings
from vcm.store.blobs import BlobStore


class Connections:
    """The ways to all of them, each made when it is first needed.

    Args:
        settings: who they are.
        blobs: where what is fetched goes.
        reporter: told of progress and notices.
        cancelled: once set, all work ends with KeyboardInterrupt.
        sleep: waits so many seconds between attempts.
        freshness: which answers of the hub do that are known already.
    """

    def __init__(
        self,
        settings: Settings,
        blobs: BlobStore,
        reporter: Reporter,
        cancelled: Event,
        sleep: Callable[[float], object],
        freshness: Freshness,
    ) -> None:
        self._settings = settings
        self._blobs = blobs
        self._reporter = reporter
        self._cancelled = cancelled
        self._sleep = sleep
        self._freshness = freshness

    @cached_property
    def client(self) -> HubClient:
        """The hub."""
        settings = self._settings
        if settings.withheld_token and not settings.offline:
            self._reporter.notice(
                f"the token in {settings.withheld_token} is not sent to {settings.endpoint}, which only models.toml "
                f"names; if you trust it, set HF_ENDPOINT={settings.endpoint}"
            )
        return connect(
            settings,
            reporter=self._reporter,
            cancelled=self._cancelled,
            sleep=self._sleep,
            freshness=self._freshness,
        )

    @cached_property
    def mirrors(self) -> list[Source]:
        """Those that may be asked, in their order."""
        return open_mirrors(self._settings)

    @cached_property
    def transfer(self) -> Transfer:
        """What brings a file from any of them into the store."""

        def wait(seconds: float, _: str) -> None:
            self._sleep(seconds)

        return Transfer(
            self._blobs,
            Origin(lambda: self.client),
            self._reporter,
            wait,
            self._cancelled,
            strict=self._settings.strict_mirrors,
        )

    def fetcher(self, without_origin: str) -> Fetcher:
        """What brings locked files into the store; ``without_origin``: why the hub is not asked, where it is not."""
        if not without_origin:
            # Before there are threads that want it.
            _ = self.client
        return Fetcher(self.transfer, self.mirrors, file_url=self._file_url, without_origin=without_origin)

    def tell_failing_mirrors(self) -> None:
        """Notices of mirrors that failed now and then, if any was asked."""
        if "transfer" in self.__dict__:
            self.transfer.tell_failing_mirrors()

    def _file_url(self, model: LockedModel, file: LockedFile) -> str:
        if model.url is not None:
            return model.url
        assert model.repo is not None and model.commit is not None
        return self.client.file_url(model.repo, model.commit, file.path)

    def close(self) -> None:
        """Close the connections that there are."""
        made = self.__dict__
        if "client" in made:
            self.client.http.close()
        for mirror in made.get("mirrors", ()):
            mirror.close()
