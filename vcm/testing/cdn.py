"""The CDN behind the Hub: signed URLs that expire, ranges, and no patience with the Hub's credentials."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from http import HTTPStatus
from threading import Lock
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urlencode
from xml.sax.saxutils import escape

from vcm.testing.content import Unfetched
from vcm.testing.wire import Response, file_response, not_modified

if TYPE_CHECKING:
    from vcm.testing.content import StoredFile
    from vcm.testing.wire import Request

_SIGNED = "/xet-bridge-us/"
_PLAIN = "/files/"


class Cdn:
    """What the second origin holds: LFS files behind signed URLs and plain files that need none."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._secret = secrets.token_bytes(32)
        self._signed: dict[str, StoredFile] = {}
        self._plain: dict[str, StoredFile] = {}

    def add_plain(self, name: str, stored: StoredFile) -> str:
        """Publish a file under a name and return its path, percent-encoded."""
        path = _PLAIN + quote(name.lstrip("/"))
        with self._lock:
            self._plain[path] = stored
        return path

    def sign(self, stored: StoredFile, repo_id: str, name: str, seconds: float) -> str:
        """Publish an LFS file and return its path and signed query.

        Args:
            stored: the file.
            repo_id: the internal id of the repository.
            name: the file's last path segment, for ``Content-Disposition``.
            seconds: how long the URL is good for.
        """
        path = f"{_SIGNED}{repo_id}/{stored.storage_key}"
        with self._lock:
            self._signed[path] = stored
        # Fractions of a second, unlike the real thing, so that a test need not wait for a whole one.
        expires = f"{time.time() + seconds:.3f}"
        disposition = f"inline; filename*=UTF-8''{quote(name, safe='')}; filename=\"{name}\";"
        query = {"response-content-disposition": disposition, "Expires": expires}
        return f"{path}?{urlencode(query)}&Signature={self._signature(path, expires)}"

    def answer(self, request: Request) -> Response:
        """Answer a request to the CDN origin."""
        if "authorization" in request.headers:
            return _error(HTTPStatus.BAD_REQUEST, "InvalidArgument", "Only one auth mechanism allowed")
        if request.method == "POST":
            return _error(HTTPStatus.METHOD_NOT_ALLOWED, "MethodNotAllowed", "The method is not allowed")
        stored = self._plain.get(quote(unquote(request.path)))
        if stored is None and request.path.startswith(_SIGNED):
            if not self._is_valid(request):
                return _error(HTTPStatus.FORBIDDEN, "AccessDenied", "Access Denied")
            stored = self._signed.get(request.path)
        if stored is None or isinstance(stored.source, Unfetched):
            return _error(HTTPStatus.NOT_FOUND, "NoSuchKey", "The specified key does not exist.")
        headers = {"Content-Type": "application/octet-stream", "ETag": f'"{stored.storage_key}"'}
        if disposition := request.value("response-content-disposition"):
            headers["Content-Disposition"] = disposition
        return not_modified(request, file_response(request, stored, headers))

    def _is_valid(self, request: Request) -> bool:
        expires = request.value("Expires")
        expected = self._signature(request.path, expires).encode()
        return hmac.compare_digest(expected, request.value("Signature").encode()) and time.time() < float(expires)

    def _signature(self, path: str, expires: str) -> str:
        return hmac.new(self._secret, f"{path}\n{expires}".encode(), hashlib.sha256).hexdigest()


def _error(status: int, code: str, message: str) -> Response:
    text = f"<Error><Code>{escape(code)}</Code><Message>{escape(message)}</Message></Error>"
    body = f'<?xml version="1.0" encoding="UTF-8"?>\n{text}'.encode()
    return Response(status, {"Content-Type": "application/xml"}, body)
