"""The simulator itself: two servers, the repositories they serve, and what tests can do to them."""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING, Any, Literal, Self

from vcm.testing.cdn import Cdn
from vcm.testing.content import store
from vcm.testing.faults import Fault, FaultQueue
from vcm.testing.rate_limits import WINDOW
from vcm.testing.registry import Registry
from vcm.testing.repository import DEFAULT_DATE, SimulatedRepo
from vcm.testing.routes import HubRoutes
from vcm.testing.server import LoggedRequest, OriginServer, RequestLog, Traffic

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from vcm.testing.content import Content, StoredFile
    from vcm.testing.faults import Origin
    from vcm.testing.rate_limits import Bucket
    from vcm.testing.wire import Request, Response


class HubSimulator:
    """A Hugging Face Hub on this machine, for the tests of programs that download models.

    Use it in a ``with`` statement, or call ``start`` and ``stop``. It serves model repositories over plain HTTP from
    two origins on 127.0.0.1: the Hub with its API, and the CDN that the Hub redirects large files to.

    Args:
        tokens: the access tokens that are valid; any other credentials are refused.
        page_size: the greatest number of entries in one page of a listing.
        signed_url_seconds: how long the CDN accepts a URL that the Hub handed out; may be changed while it runs.
        latency: the seconds that every answer of both origins takes to come; may be changed while it runs.
    """

    def __init__(
        self,
        *,
        tokens: Iterable[str] = (),
        page_size: int = 1000,
        signed_url_seconds: float = 3600.0,
        latency: float = 0.0,
    ) -> None:
        self.signed_url_seconds = signed_url_seconds
        self.latency = latency
        self._tokens = frozenset(tokens)
        self._registry = Registry()
        self._cdn = Cdn()
        self._faults = FaultQueue()
        self._log = RequestLog()
        self._traffic = Traffic()
        self._routes = HubRoutes(self._registry, self._tokens, page_size, self._sign)
        self._servers: dict[str, OriginServer] = {}
        self._starting = Lock()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Open both ports; does nothing when they are open.

        Raises:
            OSError: there is no free port.
        """
        with self._starting:
            if not self._servers:
                self._servers["hub"] = self._server("hub", self._routes.answer)
                self._servers["cdn"] = self._server("cdn", self._cdn.answer)

    def stop(self) -> None:
        """Close both ports and every connection, also in the middle of an answer; repositories and log are kept."""
        with self._starting:
            while self._servers:
                self._servers.popitem()[1].stop()

    @property
    def endpoint(self) -> str:
        """The Hub's address, for ``HF_ENDPOINT``, such as ``http://127.0.0.1:41234``.

        Raises:
            RuntimeError: the simulator is not running.
        """
        return self._url("hub")

    @property
    def cdn_origin(self) -> str:
        """The CDN's address, on another port.

        Raises:
            RuntimeError: the simulator is not running.
        """
        return self._url("cdn")

    @property
    def requests(self) -> list[LoggedRequest]:
        """The requests received so far; a copy."""
        return self._log.copy()

    def clear_requests(self) -> None:
        """Forget the requests received so far."""
        self._log.clear()

    @property
    def bytes_sent(self) -> int:
        """Bytes that both origins have put on their connections so far, heads included.

        What a client that has left did not read is counted, too; bytes count once the system has taken them, which may
        be a moment after the client has read them.
        """
        return self._traffic.bytes_sent

    def add_repo(  # noqa: PLR0913 - a repository has this many settings, and each has a default
        self,
        repo: str,
        files: Mapping[str, Content],
        *,
        commit: str | None = None,
        branch: str = "main",
        tags: Iterable[str] = (),
        card: Mapping[str, Any] | None = None,
        pipeline_tag: str | None = None,
        gated: Literal["auto", "manual"] | None = None,
        private: bool = False,
        disabled: bool = False,
        repo_id: str | None = None,
        lfs: Callable[[str, int], bool] | None = None,
        date: str = DEFAULT_DATE,
    ) -> SimulatedRepo:
        """Add a model repository with its first commit.

        Args:
            repo: ``namespace/name``, or a bare name as a few old models have.
            files: contents by path; a ``pathlib.Path`` is served from disk and must stay unchanged; an ``Unfetched``
                is listed only.
            commit: the first commit's id; by default a hash of its content.
            branch: the branch it goes to.
            tags: tags that point at it.
            card: what the API reports as ``cardData``; it is not read from the README.
            pipeline_tag: the task that the API reports.
            gated: the kind of gate, or None for an open repository.
            private: whether callers without a grant get told that it does not exist.
            disabled: whether its files are withheld from everybody.
            repo_id: the Hub's internal id, 24 hexadecimal digits; by default a hash of the name, and another one each
                time that a name is given anew.
            lfs: says from path and size which files are stored with Git LFS; ``default_lfs`` when None.
            date: when it was created and first committed to, ISO 8601.

        Returns:
            The repository, for further commits, tags and changes of its settings.

        Raises:
            ValueError: the name is taken, or ``commit`` is not a commit id.
            OSError: a path cannot be read.
        """
        internal = repo_id or self._registry.new_id(repo)
        made = SimulatedRepo(repo, repo_id=internal, lfs=lfs, lock=self._registry.lock)
        made.card = dict(card or {})
        made.pipeline_tag = pipeline_tag
        made.gated = gated or False
        made.private = private
        made.disabled = disabled
        made.created_at = date
        first = made.commit(files, branch=branch, message="initial commit", commit=commit, date=date)
        for tag in tags:
            made.tag(tag, first)
        self._registry.add(made)
        return made

    def repo(self, name: str) -> SimulatedRepo:
        """Return a repository by its present name.

        Raises:
            KeyError: there is none.
        """
        return self._registry.get(name)

    def rename(self, old: str, new: str) -> None:
        """Rename a repository; the old name redirects until another repository takes it.

        Raises:
            KeyError: there is no repository of the old name.
            ValueError: the new name is taken.
        """
        self._registry.rename(old, new)

    def remove(self, repo: str) -> None:
        """Delete a repository and the redirects to it.

        Raises:
            KeyError: there is none of that name.
        """
        self._registry.remove(repo)

    def grant(self, token: str, repo: str) -> None:
        """Let a token through a repository's gate, or let it see a private repository.

        Raises:
            KeyError: there is no such repository.
            ValueError: the token is not one of the simulator's.
        """
        if token not in self._tokens:
            raise ValueError("only a token that the simulator was created with can be granted access")
        self._registry.get(repo).access.add(token)

    def add_file(self, name: str, content: Content) -> str:
        """Publish a plain file on the CDN origin, outside any repository.

        Args:
            name: its path; a file of the same name is replaced.
            content: bytes, or a ``pathlib.Path`` to be served from disk.

        Returns:
            Its URL, which needs no signature.

        Raises:
            RuntimeError: the simulator is not running.
            OSError: the path cannot be read.
        """
        return self.cdn_origin + self._cdn.add_plain(name, store(content, is_lfs=False))

    def fail(self, fault: Fault) -> None:
        """Queue a fault for requests to come."""
        self._faults.add(fault)

    def clear_faults(self) -> None:
        """Forget the queued faults."""
        self._faults.clear()

    def limit(self, bucket: Bucket, *, quota: int, window: float = WINDOW) -> None:
        """Answer 429 to what exceeds a quota from now on; until a test asks for it, nothing is refused.

        Callers are counted apart, by their token; whoever sends none counts as one. A window begins with the first
        request in it. ``RateLimit`` says on every answer how many requests are left and in how many whole seconds,
        rounded up, the window ends. The CDN counts nothing.

        Args:
            bucket: ``"api"``, ``"resolvers"`` (``/resolve/`` and ``/api/resolve-cache/``) or ``"pages"``.
            quota: how many requests are answered in a window.
            window: its length in seconds.

        Raises:
            ValueError: there is no such bucket, or the quota or the window is not above zero.
        """
        self._routes.limits.set(bucket, quota, window)

    def clear_limits(self) -> None:
        """Forget the limits, and begin to count anew."""
        self._routes.limits.clear()

    def _server(self, origin: Origin, answer: Callable[[Request], Response]) -> OriginServer:
        return OriginServer(origin, answer, self._faults, self._log, self._traffic, lambda: self.latency)

    def _sign(self, stored: StoredFile, repo_id: str, name: str) -> str:
        return self.cdn_origin + self._cdn.sign(stored, repo_id, name, self.signed_url_seconds)

    def _url(self, origin: str) -> str:
        server = self._servers.get(origin)
        if server is None:
            raise RuntimeError("the simulator is not running: use it in a with statement, or call start() first")
        return server.url
