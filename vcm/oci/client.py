"""One OCI registry: requests to it, with the right to make them.

https://github.com/opencontainers/distribution-spec/blob/main/spec.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from urllib.parse import urlsplit

from vcm.http.addresses import origin
from vcm.http.body import Answer
from vcm.http.client import Body, HttpClient
from vcm.oci.authorization import Authorization, Scopes
from vcm.oci.credentials import Keyring, secrets_in
from vcm.oci.refusals import Refusal

_UNAUTHORIZED = 401
_DENIED = frozenset({401, 403})


class RegistryClient:
    """Asks one registry; may be used by several threads.

    Args:
        http: the way there.
        base: the registry's address, ``https://registry.corp``.
        keyring: the registry's credentials; without one, only what anybody may do is done.
    """

    def __init__(self, http: HttpClient, base: str, keyring: Keyring | None = None) -> None:
        self.http = http
        self.base = base
        self.host = urlsplit(base).netloc
        self._authorization = Authorization(http, base, keyring or Keyring(self.host))

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
        at_home: Mapping[str, str] | None = None,
        body: Body | None = None,
    ) -> Iterator[Answer]:
        """The registry's answer, whatever its status; but for a refusal of who asks, which is an error.

        What the registry wants to hear is found, sent and renewed here; no other origin, to which the registry
        redirects or ``url`` leads, gets to hear it. Where a refusal comes after the body, that is sent once more; but
        after the first answer of a registry, no body is sent without a token that should do.

        Args:
            method: GET, HEAD, POST, PATCH or PUT.
            url: absolute address.
            headers: to send beside vcm's own.
            repository: what it is about.
            push: whether something is written there.
            mounted_from: another repository, of which a blob is to be taken.
            at_home: more headers that only the registry gets.
            body: what to send; its length stands in ``headers``.

        Raises:
            CredentialsError: the registry's credentials are needed and cannot be read.
            NetworkFaultError: nobody answered.
            RegistryError: the registry does not allow it (AUTHENTICATION_ERROR), or asks in a way that nobody answers.
        """
        if origin(url) != origin(self.base):
            with self.http.request(method, url, headers, leave_origin=True, body=body) as answer:
                yield answer
            return
        scopes = _scopes(repository, mounted_from, push=push)
        sent = self._authorization.prepared(scopes, repository)
        for is_last in (False, True):
            with self.http.request(
                method, url, headers, leave_origin=True, authorization=sent, at_home=at_home, body=body
            ) as answer:
                if sent:
                    answer.hide(*secrets_in(sent))
                if answer.status not in _DENIED or origin(answer.url) != origin(url):
                    yield answer
                    return
                words, asked = Refusal(answer).words, answer.headers.get("WWW-Authenticate", "")
                if is_last or answer.status != _UNAUTHORIZED:
                    break
            sent = self._authorization.renewed(scopes, repository, asked, refused=sent)
            if sent is None:
                break
        raise self._authorization.denied(repository, words, push=push)


def _scopes(repository: str, mounted_from: str | None, *, push: bool) -> Scopes:
    actions = ("pull", "push") if push else ("pull",)
    mounted = {(mounted_from, "pull")} if mounted_from else set()
    return frozenset({(repository, action) for action in actions} | mounted)
