"""Mirrors that are web servers: a store that nginx serves, a bucket, a proxy of the Hub, a peer-to-peer agent."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from vcm.core.lock import LockedFile, LockedModel
from vcm.core.mirrors import Mirror, expanded, expanded_headers
from vcm.errors import RegistryError
from vcm.http.addresses import origin
from vcm.http.body import Answer
from vcm.http.client import HttpClient
from vcm.mirrors.refusals import refusal


class WebMirror:
    """One ``[[mirror]]`` that is asked over HTTP.

    Args:
        mirror: as it is configured.
        http: the way there, for this mirror alone.
    """

    def __init__(self, mirror: Mirror, http: HttpClient) -> None:
        self.mirror = mirror.name
        self.http = http
        self._headers = mirror.headers
        self._template = mirror.url

    def find(self, model: LockedModel, file: LockedFile) -> WebPlace | None:
        """Where the mirror is asked for a file; None where its address names something that the file has not got."""
        url = expanded(self._template, model, file)
        if url is None:
            return None
        return WebPlace(self.mirror, url, expanded_headers(self._headers, model, file), self.http)

    def close(self) -> None:
        """Close the connections."""
        self.http.close()


@dataclass(frozen=True, slots=True)
class WebPlace:
    """One file at a web server.

    Attributes:
        mirror: whose.
        url: where it is asked for.
        headers: for that server only.
    """

    mirror: str
    url: str
    headers: Mapping[str, str]
    http: HttpClient

    @property
    def name(self) -> str:
        """The mirror in messages."""
        return f"mirror {self.mirror}"

    @contextmanager
    def request(self, method: str, headers: Mapping[str, str] | None = None, *, url: str = "") -> Iterator[Answer]:
        """The mirror's answer, whatever its status.

        Args:
            method: GET or HEAD.
            headers: to send beside the mirror's own, such as ``Range``.
            url: where an earlier answer came from, to ask there again.

        Raises:
            RegistryError: nobody answered, or the redirects lead nowhere.
        """
        url = url or self.url
        own = self.headers if origin(url) == origin(self.url) else {}
        with self.http.request(method, url, headers, leave_origin=True, at_home=own) as answer:
            yield answer

    def refusal(self, answer: Answer) -> RegistryError | None:
        """The error for an answer that does not hold the file; see ``vcm.mirrors.refusals``."""
        return refusal(answer, hides_misses=True)
