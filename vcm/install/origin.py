"""A file's origin as a source, the hub or a direct url's own server: who may ask, signed addresses, refusals."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock

from vcm.errors import AUTHENTICATION_ERROR, NOT_FOUND, ModelDownloadError, RegistryError
from vcm.http.addresses import host, origin
from vcm.http.body import Answer
from vcm.http.faults import NetworkFaultError
from vcm.http.retries import RETRIED_STATUS
from vcm.hub.client import HubClient
from vcm.hub.refusals import RepoNotFoundError
from vcm.install.wanted import WantedFile

_SUCCESSES = frozenset({200, 206})
_FORBIDDEN = 403


class Origin:
    """Where files are published; may be used by several threads.

    Args:
        client: gives the client of the hub, when a file is asked for.
    """

    def __init__(self, client: Callable[[], HubClient]) -> None:
        self._client = client
        self._refusals: dict[str, RegistryError | None] = {}
        self._checking_access = Lock()

    def find(self, wanted: WantedFile) -> OriginPlace:
        """Where a file is published."""
        return OriginPlace(wanted, self._client(), self._check_access)

    def _check_access(self, wanted: WantedFile) -> None:
        """Ask once whether a gated repo may be downloaded: before gigabytes are on their way, not after some."""
        if wanted.repo is None or not wanted.gated:
            return
        with self._checking_access:
            if wanted.repo not in self._refusals:
                self._refusals[wanted.repo] = None
                try:
                    self._client().check_access(wanted.repo)
                except RegistryError as error:
                    # Any other trouble is the download's own, which knows when to try again.
                    if error.error_code == AUTHENTICATION_ERROR:
                        self._refusals[wanted.repo] = error
            refusal = self._refusals[wanted.repo]
        if refusal is not None:
            raise refusal


@dataclass(frozen=True, slots=True)
class OriginPlace:
    """One file where it is published."""

    wanted: WantedFile
    client: HubClient
    check_access: Callable[[WantedFile], None]

    @property
    def mirror(self) -> None:
        """It is none."""

    @property
    def name(self) -> str:
        """The hub, or the host of a direct url."""
        return "the hub" if self.wanted.repo else host(self.wanted.url)

    @property
    def url(self) -> str:
        """The file's own address: what it redirects to is signed, and expires."""
        return self.wanted.url

    @contextmanager
    def request(self, method: str, headers: Mapping[str, str] | None = None, *, url: str = "") -> Iterator[Answer]:
        """The answer of the origin, or of where it leads to; nobody is asked for what is gated and not granted."""
        self.check_access(self.wanted)
        with self.client.http.request(method, url or self.url, headers, leave_origin=True) as answer:
            yield answer

    def refusal(self, answer: Answer) -> RegistryError | None:
        """The error for an answer that does not hold the file."""
        wanted = self.wanted
        if answer.status in _SUCCESSES:
            return self._page(answer)
        is_elsewhere = origin(answer.url) != origin(wanted.url)
        if answer.status == _FORBIDDEN and is_elsewhere:
            # A signed address that has expired: the next attempt gets a new one.
            return NetworkFaultError("the signed download address was refused", hint="try again later")
        if wanted.repo and is_elsewhere and answer.status not in RETRIED_STATUS:
            return RegistryError(f"the download server answers {answer.status}", hint="try again later")
        return self.client.refused(answer, wanted.source, wanted.repo)

    def _page(self, answer: Answer) -> RegistryError | None:
        wanted, kind = self.wanted, answer.headers.get("Content-Type", "").lower()
        if wanted.repo is None and kind.startswith("text/html") and not wanted.path.endswith((".html", ".htm")):
            return RegistryError(
                "the address leads to a web page, not to a file",
                error_code=NOT_FOUND,
                hint="of a repo, name the id: vcm add NAME namespace/name; of a file, its own address",
            )
        return None

    def explained(self, error: RegistryError) -> ModelDownloadError:
        """What the error means to whoever wants this file."""
        wanted, hint = self.wanted, error.hint
        if error.error_code == NOT_FOUND and wanted.repo and wanted.sha256 and wanted.size is not None:
            ways = (
                "vcm sync --from DIR takes it from a machine that has it, "
                f"vcm lock --upgrade-model {wanted.model} what there is today"
            )
            # To whoever may not read it, a private repo looks like one that is gone.
            is_hidden = isinstance(error, RepoNotFoundError)
            hint = (
                f"if it is private, set HF_TOKEN to a token that may read it; if it is gone, {ways}"
                if is_hidden
                else (f"what was locked is gone from the hub: {ways}")
            )
        return ModelDownloadError(
            error.message,
            hint=hint,
            error_code=error.error_code,
            model=wanted.model,
            file=wanted.path,
            retry_after=error.retry_after,
        )
