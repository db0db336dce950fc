"""HTTP: one session, redirects followed by hand, every failure ours, also while a body is read.

Three rules are kept here and nowhere else. The token goes to the hub's origin only. ``~/.netrc`` is never read: a
matching entry would replace the token, or reach a stranger after a redirect. And no address is shown with its query,
which may be a signature.
"""

from __future__ import annotations

import io
import os
import ssl
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from http.client import HTTPResponse
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests
import urllib3
from requests.adapters import HTTPAdapter
from requests.utils import get_environ_proxies
from urllib3.util import wait_for_read

from vcm.core import names
from vcm.errors import CONFIG_ERROR, RegistryError
from vcm.hub.budget import Budget, announced_limit, no_more_requests
from vcm.version import VERSION

CONNECT_SECONDS = 10.0
READ_SECONDS = 300.0
"""Seconds without a byte after which a connection counts as broken."""

_CHUNK = 1 << 20
_MOST_REDIRECTS = 10
_DROPPED_BODY = 1 << 16
_TOO_MANY = 429
_MOST_REFUSALS = 3
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
CONNECTIONS = 24
"""To one host at a time; who wants another waits. So nobody may ask for one thing while reading another."""
_HOSTS = 4096
"""Whose connections are kept; those of one more would be closed while they are in use."""
_NO_RETRIES = urllib3.Retry(0, read=False)
_AGENT = f"vcm/{VERSION}; python/{'.'.join(map(str, sys.version_info[:3]))}"


class NetworkFaultError(RegistryError):
    """A failure of the way, not of the answer: the same request may work a moment later."""


class UnreachableError(NetworkFaultError):
    """No connection can be made: whoever asks the same host for something else fares no better."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where requests go and what they carry.

    Attributes:
        endpoint: the hub's base address; only its origin gets the token.
        token: the bearer token, or None.
        ca_bundle: certificates to trust instead of the built-in ones.
        read_seconds: seconds without a byte that mean a broken connection.
    """

    endpoint: str
    token: str | None = None
    ca_bundle: str | None = None
    read_seconds: float = READ_SECONDS

    def __repr__(self) -> str:
        return f"Address({self.endpoint!r})"


@lru_cache(maxsize=1024)
def origin(url: str) -> tuple[str, str, int]:
    """Scheme, host and port of an address."""
    parts = urlsplit(url)
    scheme = parts.scheme.lower()
    return scheme, (parts.hostname or "").lower(), parts.port or (443 if scheme == "https" else 80)


def without_secret(text: str, secret: str | None) -> str:
    """What a server says, without the token: it may repeat what it was sent, and its words get into messages."""
    return text.replace(secret, "***") if secret else text


def shown_url(url: str) -> str:
    """An address without its query, fragment and credentials, for messages."""
    return urlsplit(url)._replace(netloc=_host(url), query="", fragment="").geturl()


class Answer:
    """A response whose body has not been read yet."""

    def __init__(self, response: urllib3.BaseHTTPResponse, url: str, secret: str | None = None) -> None:
        self._response: Any = response
        self._secret = secret
        self._is_unread = True
        self.url = url
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers
        if secret and any(secret in value for value in response.headers.values()):
            cleaned = {name: without_secret(value, secret) for name, value in response.headers.items()}
            self.headers = urllib3.HTTPHeaderDict(cleaned)

    @property
    def length(self) -> int | None:
        """``Content-Length`` in bytes, where the body is sent as it is."""
        text = self.headers.get("Content-Length", "")
        return int(text) if text.isascii() and text.isdigit() and len(text) < 20 and not self.is_encoded else None  # noqa: PLR2004

    @property
    def is_encoded(self) -> bool:
        """Whether the body is compressed, although ``identity`` was asked."""
        return self.headers.get("Content-Encoding", "identity").lower() not in ("", "identity")

    def chunks(self) -> Iterator[bytes]:
        """The body in pieces of at most a mebibyte, each as soon as it is there.

        Raises:
            NetworkFaultError: the connection broke, or was silent for too long.
        """
        raw = self._response
        with self._faults():
            while chunk := raw.read1(_CHUNK, decode_content=self.is_encoded):
                yield chunk

    def read_into(self, buffer: memoryview) -> int:
        """Put the next bytes of the body into a buffer, as many as are there; how many: 0 at its end.

        They go from the socket to where they are wanted, without a copy on the way.

        Args:
            buffer: writable, not empty.

        Raises:
            NetworkFaultError: the connection broke, or was silent for too long.
        """
        raw = self._response
        body = raw._fp  # noqa: SLF001  (http.client's response: urllib3 has no way to read without a copy)
        with self._faults():
            if self.is_encoded or not isinstance(body, HTTPResponse) or body.length is None:
                chunk = raw.read1(len(buffer), decode_content=self.is_encoded)
                buffer[: len(chunk)] = chunk
                return len(chunk)
            count = _read_what_is_there(body, buffer, is_first=self._is_unread)
            self._is_unread = False
            raw.length_remaining = body.length
            return count

    def abandon(self) -> None:
        """Wake a thread that waits for more of this body; for use from another thread."""
        with suppress(ValueError, RuntimeError, OSError):
            self._response.shutdown()

    @contextmanager
    def _faults(self) -> Iterator[None]:
        try:
            yield
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            raise NetworkFaultError(
                f"{_host(self.url)}: the answer broke off: {_reason(error)}", hint="try again later"
            ) from error

    def body(self, limit: int, seconds: float) -> bytes:
        """The whole body; a token that the server repeats is taken out.

        Args:
            limit: bytes; a longer body is refused.
            seconds: a body that takes longer is refused.

        Raises:
            NetworkFaultError: the connection broke.
            RegistryError: the body is too long, or takes too long.
        """
        deadline = time.monotonic() + seconds
        pieces, size = [], 0
        for chunk in self.chunks():
            size += len(chunk)
            if size > limit:
                raise RegistryError(f"{shown_url(self.url)}: the answer is longer than {limit} bytes")
            if time.monotonic() > deadline:
                raise RegistryError(f"{shown_url(self.url)}: the answer takes longer than {seconds:.0f} s")
            pieces.append(chunk)
        body = b"".join(pieces)
        return body.replace(self._secret.encode(), b"***") if self._secret else body


def _read_what_is_there(body: HTTPResponse, buffer: memoryview, *, is_first: bool) -> int:
    """Wait for bytes, and take those that have come with them: TLS gives out 16 KiB at a time."""
    count = 0
    while not body.isclosed() and body.length:
        room = buffer[count : count + body.length]
        socket: Any = body.fp.raw
        # A stream's own buffer must not be begun at the end of ours: what is left in it would wait for more to come.
        is_full = not room or len(room) <= io.DEFAULT_BUFFER_SIZE < body.length
        if count and (is_full or not wait_for_read(socket, timeout=0)):
            break
        try:
            read = _first_bytes(body, room) if is_first and not count else body.fp.readinto1(room)
            if read == 0:
                raise urllib3.exceptions.IncompleteRead(count, body.length)
        except (urllib3.exceptions.HTTPError, OSError):
            if count:
                break  # What is here counts; the next call meets the failure again.
            raise
        count += read
        body.length -= read
    if body.length == 0:
        # What http.client does at a body's end; urllib3 takes the connection back when the answer is dropped.
        body.close()
    return count


def _first_bytes(body: HTTPResponse, room: memoryview) -> int:
    """What came along with the headers stands in the stream's own buffer, and must not wait for more to come."""
    first = body.fp.read1(min(len(room), io.DEFAULT_BUFFER_SIZE))
    room[: len(first)] = first
    return len(first)


class HttpClient:
    """Requests to the hub and to wherever it redirects; may be used by several threads.

    Args:
        address: the hub's.
        is_offline: whether every request shall fail.
        budget: what the hub allows; without one, it is asked until it refuses.
    """

    def __init__(self, address: Address, *, is_offline: bool = False, budget: Budget | None = None) -> None:
        self.is_offline = is_offline
        self._budget = budget
        self._address = address
        self._hub_origin = origin(address.endpoint)
        self._hub_path = urlsplit(address.endpoint).path.rstrip("/")
        self._timeout = urllib3.Timeout(connect=CONNECT_SECONDS, read=address.read_seconds)
        self._proxies: dict[tuple[str, str, int], dict[str, str]] = {}
        if not is_offline and address.ca_bundle and not os.path.exists(address.ca_bundle):  # noqa: PTH110
            raise RegistryError(
                f"{address.ca_bundle}: no such file of certificates",
                error_code=CONFIG_ERROR,
                hint="set REQUESTS_CA_BUNDLE or SSL_CERT_FILE to one that is there, or unset it",
            )
        # Not by a session, which would bring ~/.netrc. Proxies and certificates are handed over instead.
        self._adapter: Any = HTTPAdapter(pool_connections=_HOSTS, pool_maxsize=CONNECTIONS, pool_block=True)
        self._pools: dict[tuple[str, str, int], urllib3.HTTPConnectionPool] = {}

    def check_online(self) -> None:
        """Refuse what cannot be answered without asking.

        Raises:
            RegistryError: this run is offline.
        """
        if self.is_offline:
            raise RegistryError(
                "this needs the hub, and this run is offline",
                hint="run it without --offline, VCM_OFFLINE and HF_HUB_OFFLINE",
            )

    def close(self) -> None:
        """Close all connections."""
        self._adapter.close()

    @contextmanager
    def request(
        self, method: str, url: str, headers: Mapping[str, str] | None = None, *, leave_origin: bool = False
    ) -> Iterator[Answer]:
        """The answer after all redirects, whatever its status.

        Args:
            method: GET or HEAD.
            url: absolute address.
            headers: to send beside vcm's own.
            leave_origin: whether a redirect may lead to another origin; the token stays behind then.

        Raises:
            NetworkFaultError: nobody answered.
            KeyboardInterrupt: the run was called off while the hub allowed no request.
            RegistryError: the redirects go in a circle, or where they must not; or nobody may be asked.
        """
        self.check_online()
        first = origin(url)
        for _ in range(_MOST_REDIRECTS + 1):
            response = self._send_in_turn(method, url, headers or {})
            answer = Answer(response, url, self._address.token)
            location = answer.headers.get("Location")
            if answer.status not in _REDIRECTS or not location:
                try:
                    yield answer
                except BaseException:
                    # Whoever is called off shall not wait for the rest of a body.
                    _close(response)
                    raise
                _drop(response)
                return
            _drop(response)
            url = _checked_redirect(url, location, first, leave_origin=leave_origin)
        raise RegistryError(
            f"{_host(url)}: more than {_MOST_REDIRECTS} redirects for one request",
            hint="the hub or a proxy is set up wrongly: check HF_ENDPOINT",
        )

    def _send_in_turn(self, method: str, url: str, headers: Mapping[str, str]) -> urllib3.BaseHTTPResponse:
        if self._budget is None or origin(url) != self._hub_origin:
            return self._send(method, url, headers)
        path, refusals = urlsplit(url).path.removeprefix(self._hub_path), 0
        while True:
            with self._budget.turn(path) as turn:
                response = self._send(method, url, headers)
                turn.headers = response.headers
            limit = announced_limit(response.headers)
            if limit is None or limit.left or response.status != _TOO_MANY:
                return response
            # Others share this address, and took what was left. The next turn is that of the next window, for all.
            _drop(response)
            if refusals == _MOST_REFUSALS:
                raise no_more_requests(limit.policy, limit.seconds + 1.0)
            refusals += 1

    def _way(self, url: str, proxies: dict[str, str]) -> tuple[urllib3.HTTPConnectionPool, str]:
        """The connections to a host, as requests makes them, and what to ask for there.

        Each request goes to them directly. What a session does around it, for cookies, hooks, bodies and redirects that
        are not used here, would take more time than everything else.
        """
        there = origin(url)
        pool = self._pools.get(there)
        if pool is None:
            prepared = _prepared(url)
            verify = self._address.ca_bundle or True
            pool = self._adapter.get_connection_with_tls_context(prepared, verify, proxies=proxies)
            self._adapter.cert_verify(pool, prepared.url, verify, None)
            self._pools[there] = pool
        if proxies:
            return pool, self._adapter.request_url(_prepared(url), proxies)
        parts = urlsplit(url)
        return pool, f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"

    def _proxies_for(self, url: str) -> dict[str, str]:
        """The proxies that the environment names for a host; it is read once for each."""
        there = origin(url)
        if there not in self._proxies:
            self._proxies[there] = get_environ_proxies(url, no_proxy=None)
        return self._proxies[there]

    def _send(self, method: str, url: str, headers: Mapping[str, str]) -> urllib3.BaseHTTPResponse:
        sent = {"User-Agent": _AGENT, "Accept": "*/*", "Accept-Encoding": "identity", **headers}
        if self._address.token and origin(url) == self._hub_origin:
            sent["Authorization"] = f"Bearer {self._address.token}"
        proxies = self._proxies_for(url)
        try:
            pool, target = self._way(url, proxies)
            return pool.urlopen(
                method,
                target,
                headers=sent,
                redirect=False,
                assert_same_host=False,
                preload_content=False,
                decode_content=False,
                retries=_NO_RETRIES,
                timeout=self._timeout,
            )
        except (requests.exceptions.InvalidURL, urllib3.exceptions.LocationValueError) as error:
            if proxies:
                raise RegistryError(
                    f"{_host(url)}: the proxy of the environment is no address",
                    hint="check HTTP_PROXY, HTTPS_PROXY and ALL_PROXY",
                ) from error
            raise RegistryError(f"{_host(url)}: not an address: {shown_url(url)}") from error
        except (requests.exceptions.RequestException, urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            if _is_among_causes(ssl.SSLCertVerificationError, error):
                # Asking again does not help: somebody has to be trusted first.
                trusted = self._address.ca_bundle or "the built-in list"
                raise RegistryError(
                    f"{_host(url)}: its certificate is signed by nobody in {trusted}",
                    hint="if you trust it, set REQUESTS_CA_BUNDLE to the file with its signer's certificate",
                ) from error
            raise (UnreachableError if _is_unreachable(error) else NetworkFaultError)(
                f"{_host(url)}: {_reason(error)}",
                hint="check the network, HTTPS_PROXY and HF_ENDPOINT; without a network use --offline or --from DIR",
            ) from error


def _prepared(url: str) -> requests.PreparedRequest:
    prepared = requests.PreparedRequest()
    prepared.prepare_method("GET")
    prepared.prepare_url(url, None)
    return prepared


def _drop(response: Any) -> None:
    """Be done with an answer. What is left of a small body, read to the end, saves the next request its connection."""
    left = response.length_remaining
    with suppress(urllib3.exceptions.HTTPError, OSError):
        if left is not None and left <= _DROPPED_BODY:
            response.read()
    _close(response)


def _close(response: Any) -> None:
    """End an answer's connection if it is still being read, and give back its place among the connections."""
    response.close()
    response.release_conn()


def _checked_redirect(url: str, location: str, first: tuple[str, str, int], *, leave_origin: bool) -> str:
    try:
        target = names.http_url(urljoin(url, location.strip().replace(" ", "%20")))
    except ValueError:
        raise RegistryError(
            f"{_host(url)}: redirects to something that is no web address", hint="check HF_ENDPOINT and the url"
        ) from None
    _check_redirect(url, target, first, leave_origin=leave_origin)
    return str(target)


def _check_redirect(url: str, target: str, first: tuple[str, str, int], *, leave_origin: bool) -> None:
    there = origin(target)
    if there == first:
        return
    if first[0] == "https" and there[0] == "http":
        raise RegistryError(f"{_host(url)}: redirects from https to http ({_host(target)})")
    if not leave_origin:
        raise RegistryError(
            f"{_host(url)}: redirects to another host ({_host(target)})",
            hint=f"if you trust it, set HF_ENDPOINT={there[0]}://{_host(target)}",
        )


def _host(url: str) -> str:
    try:
        return urlsplit(url).netloc.rpartition("@")[2] or "no host"
    except ValueError:
        return "no host"


_REASONS: tuple[tuple[type[BaseException], str], ...] = (
    (urllib3.exceptions.ProxyError, "the proxy cannot be used"),
    (urllib3.exceptions.NameResolutionError, "the name cannot be resolved"),
    (ConnectionRefusedError, "connection refused"),
    # Before the time-out, of which urllib3 makes it a kind.
    (urllib3.exceptions.NewConnectionError, "no connection"),
    (urllib3.exceptions.ConnectTimeoutError, f"no connection within {CONNECT_SECONDS:.0f} s"),
    (urllib3.exceptions.ReadTimeoutError, "no byte came for too long"),
    (urllib3.exceptions.IncompleteRead, "fewer bytes than announced"),
    (ConnectionResetError, "connection reset"),
    (urllib3.exceptions.SSLError, "no TLS can be spoken with it"),
    (urllib3.exceptions.DecodeError, "the compressed body is damaged"),
    (TimeoutError, "no byte came for too long"),
)


def _reason(error: BaseException) -> str:
    """The cause deep inside, in words; texts of libraries may hold signed addresses and are not repeated."""
    return next((words for kind, words in _REASONS if _is_among_causes(kind, error)), "the connection failed")


def _is_unreachable(error: BaseException) -> bool:
    kinds = urllib3.exceptions
    connecting = (kinds.NewConnectionError, kinds.ConnectTimeoutError, kinds.ProxyError)
    return any(_is_among_causes(kind, error) for kind in connecting)


def _is_among_causes(kind: type[BaseException], error: BaseException) -> bool:
    """Whether an error, or one that it wraps in any of the ways libraries do, is of that kind."""
    seen: list[BaseException] = []
    pending: list[object] = [error]
    while pending:
        each = pending.pop()
        if isinstance(each, kind):
            return True
        if isinstance(each, BaseException) and each not in seen:
            seen.append(each)
            pending += [each.__cause__, each.__context__, getattr(each, "reason", None), *each.args]
    return False
