"""Mirrors that are OCI registries: a file is a blob of the repository that its model is pushed to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from vcm.core.lock import LockedFile, LockedModel
from vcm.core.mirrors import Mirror, expanded_headers, registry_address, repository
from vcm.errors import AUTHENTICATION_ERROR, RegistryError
from vcm.http.addresses import origin
from vcm.http.body import Answer
from vcm.http.faults import NetworkFaultError
from vcm.mirrors.refusals import refusal
from vcm.oci.client import RegistryClient


class RegistryMirror:
    """One ``[[mirror]]`` that is an OCI registry.

    Args:
        mirror: as it is configured.
        client: the way there, for this mirror alone.

    Raises:
        ValueError: its address names no registry.
    """

    def __init__(self, mirror: Mirror, client: RegistryClient) -> None:
        self.mirror = mirror.name
        self.client = client
        self._template = registry_address(mirror.url).template
        # The client sends the others.
        self._headers = {name: text for name, text in mirror.headers.items() if "{" in text}

    def find(self, model: LockedModel, file: LockedFile) -> RegistryPlace | None:
        """Where the registry is asked for a file."""
        path = repository(self._template, model)
        own = expanded_headers(self._headers, model, file)
        return RegistryPlace(self.mirror, self.client.blob_url(path, file.sha256), path, own, self.client)

    def close(self) -> None:
        """Close the connections."""
        self.client.http.close()


@dataclass(frozen=True, slots=True)
class RegistryPlace:
    """One file in an OCI registry.

    Attributes:
        mirror: whose.
        url: where it is asked for.
        repository: which the right to read is for.
        headers: about this file, for the registry only.
    """

    mirror: str
    url: str
    repository: str
    headers: Mapping[str, str]
    client: RegistryClient

    @property
    def name(self) -> str:
        """The mirror in messages."""
        return f"mirror {self.mirror}"

    @contextmanager
    def request(self, method: str, headers: Mapping[str, str] | None = None, *, url: str = "") -> Iterator[Answer]:
        """The registry's answer, or that of where it keeps its blobs, whatever the status.

        Args:
            method: GET or HEAD.
            headers: to send beside vcm's own, such as ``Range``.
            url: where an earlier answer came from, to ask there again.

        Raises:
            RegistryError: nobody answered, or the redirects lead nowhere.
        """
        # Where the registry leads to gets none of its credentials: the client sees to that.
        asked = self.client.request(method, url or self.url, headers, repository=self.repository, at_home=self.headers)
        with asked as answer:
            yield answer

    def refusal(self, answer: Answer) -> RegistryError | None:
        """The error for an answer that does not hold the file; see ``vcm.mirrors.refusals``."""
        error = refusal(answer, hides_misses=False)
        is_elsewhere = origin(answer.url) != origin(self.url)
        if error is not None and error.error_code == AUTHENTICATION_ERROR and is_elsewhere:
            # A signed address that has expired: the next attempt gets a new one.
            return NetworkFaultError("the signed download address was refused")
        return error
