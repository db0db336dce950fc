"""What goes to a registry: blobs that are looked for, mounted, else uploaded and resumed; and manifests.

https://github.com/opencontainers/distribution-spec/blob/main/spec.md#push. Nothing is hashed here: the digests are the
lock's, and the registry compares them with what it got before it keeps a blob.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from threading import Event
from typing import TypeVar
from urllib.parse import urljoin, urlsplit

from vcm.core import names
from vcm.core.modelpack import MANIFEST_TYPE, Package
from vcm.core.records import record
from vcm.core.reporter import Reporter
from vcm.core.wording import byte_count
from vcm.errors import AUTHENTICATION_ERROR, CHECKSUM_MISMATCH, ModelChecksumError, RegistryError
from vcm.http.body import Answer
from vcm.http.faults import NetworkFaultError
from vcm.http.retries import RETRIED_STATUS, Patience
from vcm.oci.client import RegistryClient
from vcm.oci.refusals import DIGEST_INVALID, Refusal, refused

AT_ONCE = 1 << 20
"""Bytes up to which a blob goes with the request that closes its upload: one request less, and little to resume."""

_FOUND = 200
_CREATED = 201
_TAKEN = (201, 202, 204)
_CLOSED = (200, 201, 204)
_STATUS = (200, 202, 204)
_NO_ANSWER = (401, 403, *RETRIED_STATUS)
_ACCEPTED = 202
_NOT_FOUND = 404
_NOT_SATISFIABLE = 416

Result = TypeVar("Result")


@record(frozen=True)
class Blob:
    """Something to upload.

    Attributes:
        sha256: bare hex.
        size: bytes.
        label: how it is called on the screen.
        pieces: its bytes from a place on, asked for again where an upload goes on. What comes before the next piece is
            asked for may stand in the same memory.
    """

    sha256: str
    size: int
    label: str
    pieces: Callable[[int], Iterable[bytes | memoryview]]


class Uploader:
    """Brings blobs and manifests to one registry; may be used by several threads.

    Args:
        registry: which.
        reporter: told of progress.
        rest: waits so many seconds between tries.
        cancelled: once set, all ends with KeyboardInterrupt.
    """

    def __init__(
        self, registry: RegistryClient, reporter: Reporter, rest: Callable[[float], object], cancelled: Event
    ) -> None:
        self.registry = registry
        self.reporter = reporter
        self.host = registry.host
        self._rest = rest
        self._cancelled = cancelled

    def check_cancelled(self) -> None:
        """End here if all is called off."""
        if self._cancelled.is_set():
            raise KeyboardInterrupt

    def patience(self, label: str) -> Patience:
        """How long something is tried."""

        def wait(seconds: float, reason: str) -> None:
            self.reporter.waiting(label, seconds, reason)
            self._rest(seconds)
            self.check_cancelled()

        return Patience(wait)

    def has_blob(self, repository: str, sha256: str, size: int, *, push: bool) -> bool:
        """Whether a repository has a blob.

        Args:
            repository: where it is looked for.
            sha256: bare hex.
            size: bytes that it should have.
            push: whether it is to be brought there if not: what is allowed then is found out at once.

        Raises:
            RegistryError: the registry cannot tell, or has something else under that digest.
        """
        self.check_cancelled()
        return self.patience(repository).attempt(partial(self.find_blob, repository, sha256, size, push=push))

    def find_blob(self, repository: str, sha256: str, size: int, *, push: bool) -> bool:
        """As ``has_blob``, but asked once.

        Raises:
            NetworkFaultError: another try may do.
            RegistryError: as there.
        """
        url = self.registry.blob_url(repository, sha256)
        with self.registry.request("HEAD", url, repository=repository, push=push) as answer:
            if answer.status == _NOT_FOUND:
                return False
            if answer.status != _FOUND:
                raise refused(answer, self.host, repository)
            if answer.length not in (None, size):
                raise RegistryError(
                    f"{self.host} has {answer.length} bytes as sha256:{sha256}, which has {size}",
                    error_code=CHECKSUM_MISMATCH,
                    hint="its storage is damaged: tell whoever runs that registry",
                )
            return True

    def upload(self, repository: str, blob: Blob, mounted_from: str | None = None) -> bool:
        """Bring a blob into a repository that does not have it.

        Args:
            repository: where it goes.
            blob: what.
            mounted_from: another repository of the registry, which may have it.

        Returns:
            Whether the registry took it from there, without a byte of ours.

        Raises:
            ModelChecksumError: its bytes are not those that its digest promises.
            RegistryError: the registry cannot be reached, or refuses it.
        """
        return _Upload(self, repository, blob, mounted_from).run()

    def manifest_digest(self, repository: str, reference: str, *, push: bool) -> str | None:
        """The digest of a manifest as bare hex; None where there is none, or the registry does not say it.

        Args:
            repository: where it is looked for.
            reference: a tag.
            push: as for ``has_blob``.
        """
        self.check_cancelled()
        return self.patience(repository).attempt(partial(self._manifest_digest, repository, reference, push=push))

    def _manifest_digest(self, repository: str, reference: str, *, push: bool) -> str | None:
        url, headers = self._manifest_url(repository, reference), {"Accept": MANIFEST_TYPE}
        with self.registry.request("HEAD", url, headers, repository=repository, push=push) as answer:
            if answer.status not in (_FOUND, _NOT_FOUND):
                raise refused(answer, self.host, repository)
            return _digest_of(answer) if answer.status == _FOUND else None

    def put_manifest(self, repository: str, tag: str, package: Package) -> None:
        """Publish a manifest whose blobs are all there, under a tag.

        Raises:
            RegistryError: the registry refuses it, or keeps it under another digest.
        """
        self.check_cancelled()
        self.patience(repository).attempt(partial(self._put_manifest, repository, tag, package))

    def _put_manifest(self, repository: str, tag: str, package: Package) -> None:
        with self.registry.request(
            "PUT",
            self._manifest_url(repository, tag),
            {"Content-Type": MANIFEST_TYPE, "Content-Length": str(len(package.manifest))},
            repository=repository,
            push=True,
            body=lambda: [package.manifest],
        ) as answer:
            if answer.status not in _CLOSED:
                raise refused(answer, self.host, repository)
            if _digest_of(answer) not in (None, package.digest):
                raise RegistryError(
                    f"{self.host} has made another manifest out of that of {repository}:{tag}",
                    hint="ask whoever runs that registry to keep OCI manifests as they are",
                )

    def _manifest_url(self, repository: str, reference: str) -> str:
        return f"{self.registry.base}/v2/{repository}/manifests/{reference}"


def _digest_of(answer: Answer) -> str | None:
    text = answer.headers.get("Docker-Content-Digest", "")
    return text.removeprefix("sha256:") if text.startswith("sha256:") else None


class _Upload:
    """One blob on its way into one repository."""

    def __init__(self, uploader: Uploader, repository: str, blob: Blob, mounted_from: str | None) -> None:
        self._uploader = uploader
        self._request = partial(uploader.registry.request, repository=repository, push=True)
        self._repository = repository
        self._blob = blob
        self._mounted_from = mounted_from
        self._location: str | None = None
        self._offset = 0  # bytes that the registry has, as far as is known
        self._told = 0  # bytes that the reporter knows of
        self._is_resumed = False

    def run(self) -> bool:
        patience = self._uploader.patience(self._blob.label)
        # Not the bytes sent: a registry that always forgets them would be sent them for ever.
        furthest = 0
        is_doubtful = False
        while True:
            self._uploader.check_cancelled()
            try:
                if is_doubtful:
                    if self._is_there():
                        return False
                    self._find_offset()
                    if self._offset > furthest:
                        furthest = self._offset
                        patience.renew()
                if self._location is None and self._begin():
                    return True
                if self._blob.size - self._offset > AT_ONCE:
                    self._send()
                self._close()
            except NetworkFaultError as error:
                is_doubtful = True
                patience.rest(error)
            else:
                return False

    def _begin(self) -> bool:
        """Ask for an upload; true where the registry had the blob in the other repository, and none is needed."""
        url = f"{self._uploader.registry.base}/v2/{self._repository}/blobs/uploads/"
        source, self._mounted_from = self._mounted_from, None
        if source is not None:
            mount = f"{url}?mount=sha256:{self._blob.sha256}&from={source}"
            try:
                with self._request("POST", mount, mounted_from=source) as answer:
                    if answer.status == _CREATED:
                        self._tell(self._blob.size)
                        return True
                    if answer.status == _ACCEPTED:
                        self._location = self._next_location(answer)
                        return False
            except RegistryError as error:
                # Whoever may not take it from there may still bring it.
                if error.error_code != AUTHENTICATION_ERROR:
                    raise
        with self._request("POST", url) as answer:
            if answer.status != _ACCEPTED:
                raise self._refused(answer)
            self._location = self._next_location(answer)
        return False

    def _send(self) -> None:
        """Send all that is missing, as one piece."""
        size, start = self._blob.size, self._offset
        headers = {**self._body_headers(), "Content-Range": f"{start}-{size - 1}"}
        with self._request("PATCH", self._url(), headers, body=self._body) as answer:
            if answer.status not in _TAKEN:
                raise self._refused(answer)
            self._location = self._next_location(answer)
            end = _range_end(answer)
            if end is not None and end < size:
                raise NetworkFaultError(f"{self._uploader.host} took {byte_count(end)} of {byte_count(size)}")
        self._offset = size

    def _close(self) -> None:
        """Let the registry compare the digest, with the last bytes."""
        separator = "&" if urlsplit(self._url()).query else "?"
        url = f"{self._url()}{separator}digest=sha256:{self._blob.sha256}"
        with self._request("PUT", url, self._body_headers(), body=self._body) as answer:
            if answer.status not in _CLOSED:
                raise self._refused(answer)

    def _body_headers(self) -> dict[str, str]:
        return {"Content-Type": "application/octet-stream", "Content-Length": str(self._blob.size - self._offset)}

    def _body(self) -> Iterator[bytes | memoryview]:
        # Asked for anew where the same request is sent again.
        self._tell(self._offset)
        if self._offset < self._blob.size:
            for piece in self._blob.pieces(self._offset):
                self._uploader.check_cancelled()
                yield piece
                self._tell(self._told + len(piece))

    def _is_there(self) -> bool:
        """Whether the registry has kept the blob, and only its answer was lost."""
        blob = self._blob
        return self._uploader.find_blob(self._repository, blob.sha256, blob.size, push=True)

    def _find_offset(self) -> None:
        """Ask how much of it the registry has; what it does not know is begun anew."""
        if self._location is None:
            return
        with self._request("GET", self._location) as answer:
            end = _range_end(answer)
            if answer.status in _STATUS and end is not None and 1 < end <= self._blob.size:
                self._location, self._offset, self._is_resumed = self._next_location(answer), end, True
            elif answer.status in _NO_ANSWER:
                raise refused(answer, self._uploader.host, self._repository)
            else:
                self._forget()
        self._tell(self._offset)

    def _forget(self) -> None:
        self._location, self._offset, self._is_resumed = None, 0, False

    def _tell(self, count: int) -> None:
        if count != self._told:
            self._uploader.reporter.advanced(self._blob.label, count - self._told)
            self._told = count

    def _url(self) -> str:
        assert self._location is not None
        return self._location

    def _next_location(self, answer: Answer) -> str:
        """Where the upload goes on: https://www.rfc-editor.org/rfc/rfc9110#field.location, relative or absolute."""
        location = answer.headers.get("Location", "").strip()
        if not location:
            if self._location is not None:
                return self._location
            raise RegistryError(f"{self._uploader.host} does not say where to upload to")
        try:
            url = names.http_url(urljoin(answer.url, location))
        except ValueError:
            raise RegistryError(f"{self._uploader.host} wants the upload at something that is no web address") from None
        if url.startswith("http:") and self._uploader.registry.base.startswith("https:"):
            raise RegistryError(
                f"{self._uploader.host} wants the upload over http, although it is asked over https",
                hint="the proxy in front of that registry must pass on X-Forwarded-Proto",
            )
        return url

    def _refused(self, answer: Answer) -> Exception:
        refusal, blob, uploader = Refusal(answer), self._blob, self._uploader
        is_out_of_step = answer.status == _NOT_FOUND and self._location is not None
        is_wrong = DIGEST_INVALID in refusal.codes
        if self._is_resumed and (is_wrong or answer.status == _NOT_SATISFIABLE):
            # It and we do not agree on what it has: that need not be the file's fault.
            is_out_of_step = True
        if is_out_of_step:
            self._forget()
            return NetworkFaultError(f"{uploader.host} does not know this upload any more", hint="try again later")
        if is_wrong:
            return ModelChecksumError(
                f"damaged: {uploader.host} computes another digest from what it was sent",
                expected=f"sha256:{blob.sha256}",
                actual="another digest",
                hint="run vcm verify --repair",
            )
        return refused(answer, uploader.host, self._repository, refusal, size=blob.size)


def _range_end(answer: Answer) -> int | None:
    """How many bytes the registry has, by ``Range: 0-<last byte>``.

    For none and for one byte, docker-registry says the same: ``0-0``.
    """
    match = re.fullmatch(r"(?:bytes=)?0-(\d{1,18})", answer.headers.get("Range", "").strip())
    return int(match[1]) + 1 if match else None
