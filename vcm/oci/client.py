"""One OCI registry: requests to it, with the right to make them.

https://github.com/opencontainers/distribution-spec/blob/main/spec.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from vcm.http.body import Answer
from vcm.http.client import Body, HttpClient


class RegistryClient:
    """Asks one registry; may be used by several threads.

    Args:
        http: the way there.
        base: the registry's address, ``https://registry.corp``.
    """

    def __init__(self, http: HttpClient, base: str) -> None:
        self.http = http
        self.base = base

    def blob_url(self, repository: str, sha256: str) -> str:
        """Where a blob is asked for."""
        return f"{self.base}/v2/{repository}/blobs/sha256:{sha256}"

    @contextmanager
    def request(  # noqa: PLR0913  (all but the first go by name)
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None = None,
        *,
        repository: str,
        push: bool = False,
        mounted_from: str | None = None,
        body: Body | None = None,
    ) -> Iterator[Answer]:
        """The registry's answer, whatever its status.

        Args:
            method: GET, HEAD, POST, PATCH or PUT.
            url: absolute address.
            headers: to send beside vcm's own.
            repository: what it is about.
            push: whether something is written there.
            mounted_from: another repository, of which a blob is to be taken.
            body: what to send; its length stands in ``headers``.

        Raises:
            NetworkFaultError: nobody answered.
        """
        with self.http.request(method, url, headers, leave_origin=True, body=body) as answer:
            yield answer
