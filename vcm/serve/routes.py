"""What is answered to which request: files of the Hub's repos, the store as an OCI image layout, and a word on both."""

from __future__ import annotations

from collections.abc import Mapping
from io import FileIO
from typing import TYPE_CHECKING, Protocol
from urllib.parse import quote

from vcm.core.layout import INDEX, MARK
from vcm.core.mirrors import is_this_machine
from vcm.core.wording import counted
from vcm.serve import hub_api
from vcm.serve.catalog import Catalog, Commit, Content, etag_of
from vcm.serve.wire import Answer, RefusedError, Request, document, has_already, wanted_range

if TYPE_CHECKING:
    from vcm.core.lock import LockedFile

_API = ("api",)
_MODELS = ("api", "models")
_BLOBS = ("blobs", "sha256")
_RESOLVE = "resolve"
# A model's file may be a page or a script: no browser shall take it for one of this server's.
_INERT = {"X-Content-Type-Options": "nosniff", "Content-Security-Policy": "default-src 'none'; sandbox"}


class Source(Protocol):
    """Where the bytes are."""

    def catalog(self) -> Catalog:
        """What is installed now."""

    def open(self, content: Content) -> FileIO | None:
        """A file with these very bytes; None where there is none any more."""

    def has(self, content: Content) -> bool:
        """Whether there is a file of that size where these bytes should be."""

    def document(self, name: str) -> bytes | None:
        """``index.json`` or ``oci-layout``, as of the catalog."""


class Routes:
    """Answers requests; may be used by several threads.

    Args:
        source: what is served.
        only_this_machine: whether clients of this machine alone can ask. Then a request for another host comes from a
            web page whose name was made to lead here (DNS rebinding), and is refused; beyond this machine there is
            nothing to hide from a page that its visitor's neighbours may not read.
    """

    def __init__(self, source: Source, *, only_this_machine: bool) -> None:
        self._source = source
        self._only_this_machine = only_this_machine

    def answer(self, request: Request) -> Answer:
        """The answer to a request, whatever it is."""
        try:
            self._check(request)
            return self._found(request, self._source.catalog())
        except RefusedError as refused:
            return refused.answer()

    def _check(self, request: Request) -> None:
        if self._only_this_machine and not is_this_machine(request.headers.get("host", "localhost")):
            raise RefusedError(421, "this hub is for its own machine: --host opens it to others")
        if request.method not in {"GET", "HEAD"} and not hub_api.is_question(request):
            raise RefusedError(405, "this hub is read-only", headers={"Allow": "GET, HEAD"})

    def _found(self, request: Request, catalog: Catalog) -> Answer:
        segments = request.segments
        if segments[:2] == _MODELS:
            return hub_api.answer(request, catalog, segments[2:])
        if segments == ("api", "whoami-v2"):
            raise RefusedError(401, "Invalid username or password.")
        if segments == ("",):
            about = f"vcm serve: {counted(len(catalog.repos), 'model')}, read-only; point HF_ENDPOINT here\n"
            return document(request, about.encode(), "text/plain; charset=utf-8")
        if segments[:2] == _BLOBS and len(segments) == len(_BLOBS) + 1:
            return self._blob(request, catalog, segments[-1])
        data = self._source.document(segments[0]) if segments in {(INDEX,), (MARK,)} else None
        if data is not None:
            return document(request, data, "application/json")
        if segments[:1] == _API:
            raise RefusedError(404, "no such page")
        return self._resolved(request, catalog)

    def _blob(self, request: Request, catalog: Catalog, name: str) -> Answer:
        content = catalog.contents.get(name)
        if content is None:
            raise RefusedError(404, "no such blob")
        return self._bytes(request, content, f'"{content.sha256}"', {})

    def _resolved(self, request: Request, catalog: Catalog) -> Answer:
        repo, rest = catalog.split(request.segments)
        if repo is None:
            raise hub_api.no_repo()
        if rest[:1] != (_RESOLVE,) or len(rest) < 3:  # noqa: PLR2004  (the word, a revision, a path)
            raise RefusedError(404, "no such page")
        commit = repo.find(rest[1])
        if commit is None:
            raise hub_api.no_revision()
        file = commit.files.get("/".join(rest[2:]))
        if file is None:
            # The Hub tells with X-Repo-Commit of which commit; then a client notes in its cache that the commit has no
            # such file, and it may only not be installed here.
            raise RefusedError(404, "Entry not found", "EntryNotFound")
        return self._bytes(request, catalog.contents[file.sha256], f'"{etag_of(file)}"', _about(commit, file))

    def _bytes(self, request: Request, content: Content, etag: str, headers: Mapping[str, str]) -> Answer:
        said = {**headers, **_INERT, "Content-Type": "application/octet-stream", "ETag": etag, "Accept-Ranges": "bytes"}
        if has_already(request.headers, etag):
            return Answer(status=304, headers=said)
        if request.method == "HEAD":
            if not self._source.has(content):
                raise _not_whole()
            return Answer(status=200, headers=said, length=content.size)
        wanted = wanted_range(request.headers, etag, content.size)
        start, stop = wanted or (0, content.size)
        if wanted and start == stop:
            raise RefusedError(416, "no byte in this range", headers={"Content-Range": f"bytes */{content.size}"})
        if wanted:
            said["Content-Range"] = f"bytes {start}-{stop - 1}/{content.size}"
        stream = self._source.open(content)
        if stream is None:
            raise _not_whole()
        return Answer(status=206 if wanted else 200, headers=said, stream=stream, start=start, length=stop - start)


def _about(commit: Commit, file: LockedFile) -> dict[str, str]:
    name = file.path.rpartition("/")[2]
    headers = {
        "X-Repo-Commit": commit.id,
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(name, safe='')}",
    }
    if file.oid is None:
        headers |= {"X-Linked-Etag": f'"{file.sha256}"', "X-Linked-Size": str(file.size)}
    return headers


def _not_whole() -> RefusedError:
    # Not 404: what a client has been told of and then does not get is no file that the commit lacks. Not 5xx: asking
    # again does not help.
    return RefusedError(410, "this file is gone or damaged in this store: run vcm cache verify --repair there")
