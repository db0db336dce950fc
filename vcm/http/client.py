"""HTTP: one client for each server, redirects followed by hand, every failure ours, also while a body is read.

Three rules are kept here and nowhere else. What is secret goes to the origin it is for, and nowhere else. ``~/.netrc``
is never read: a matching entry would replace the token, or reach a stranger after a redirect. And no address is shown
with its query, which may be a signature.
"""

from __future__ import annotations

import os
import ssl
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests
import urllib3
from requests.adapters import HTTPAdapter
from requests.utils import get_environ_proxies

from vcm.core import names
from vcm.errors import CONFIG_ERROR, RegistryError
from vcm.http.addresses import host, origin, shown_url
from vcm.http.body import Answer, close, drop
from vcm.http.budget import Budget, announced_limit, no_more_requests
from vcm.http.faults import (
    CONNECT_SECONDS,
    NetworkFaultError,
    UnreachableError,
    is_among_causes,
    is_unreachable,
    reason,
)
from vcm.version import VERSION

READ_SECONDS = 300.0
"""Seconds without a byte after which a connection counts as broken."""

HUB_NAMED_BY = "HF_ENDPOINT"

_MOST_REDIRECTS = 10
_TOO_MANY = 429
_MOST_REFUSALS = 3
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_SAME_REQUEST = frozenset({307, 308})
CONNECTIONS = 24
"""To one host at a time; who wants another waits. So nobody may ask for one thing while reading another."""
_HOSTS = 4096
"""Whose connections are kept; those of one more would be closed while they are in use."""
_NO_RETRIES = urllib3.Retry(0, read=False)
_AGENT = f"vcm/{VERSION}; python/{'.'.join(map(str, sys.version_info[:3]))}"


Body = Callable[[], Iterable[bytes | memoryview]]
"""Begins the body of a request, in pieces; asked again where it has to be sent again."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where requests go and what they carry.

    Attributes:
        endpoint: the server's base address; only its origin gets the token and the headers.
        token: the bearer token, or None.
        ca_bundle: certificates to trust instead of the built-in ones.
        read_seconds: seconds without a byte that mean a broken connection.
        headers: to send with each request.
        proxy: to go through, instead of those that the environment names.
        named_by: what to look at when it cannot be asked, for hints.
    """

    endpoint: str
    token: str | None = None
    ca_bundle: str | None = None
    read_seconds: float = READ_SECONDS
    headers: Mapping[str, str] = field(default_factory=dict)
    proxy: str | None = None
    named_by: str = HUB_NAMED_BY

    def __repr__(self) -> str:
        return f"Address({self.endpoint!r})"


class HttpClient:
    """Requests to one server and to wherever it redirects; may be used by several threads.

    Args:
        address: the server's.
        is_offline: whether every request shall fail.
        budget: what the server allows; without one, it is asked until it refuses.
    """

    def __init__(self, address: Address, *, is_offline: bool = False, budget: Budget | None = None) -> None:
        self.is_offline = is_offline
        self._budget = budget
        self._address = address
        self._home = origin(address.endpoint)
        self._home_path = urlsplit(address.endpoint).path.rstrip("/")
        self._timeout = urllib3.Timeout(connect=CONNECT_SECONDS, read=address.read_seconds)
        # urllib3 sends with the time that is there to connect, and a server may take longer over a piece of a body.
        self._sending_timeout = urllib3.Timeout(connect=address.read_seconds, read=address.read_seconds)
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
    def request(  # noqa: PLR0913  (all but the first go by name)
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None = None,
        *,
        leave_origin: bool = False,
        authorization: str | None = None,
        at_home: Mapping[str, str] | None = None,
        body: Body | None = None,
    ) -> Iterator[Answer]:
        """The answer after all redirects, whatever its status.

        Args:
            method: GET, HEAD, POST, PATCH or PUT.
            url: absolute address.
            headers: to send beside vcm's own.
            leave_origin: whether a redirect may lead to another origin; what is secret stays behind then.
            authorization: that header's value, for the origin of ``url`` only.
            at_home: more headers that only the origin of ``url`` gets.
            body: what to send; its length stands in ``headers``. It is not sent again where a redirect asks for
                another request than this one: such an answer is given out as it is.

        Raises:
            NetworkFaultError: nobody answered.
            KeyboardInterrupt: the run was called off while the hub allowed no request.
            RegistryError: the redirects go in a circle, or where they must not; or nobody may be asked.
        """
        self.check_online()
        first, named_by = origin(url), self._address.named_by
        for _ in range(_MOST_REDIRECTS + 1):
            own = {**(at_home or {}), **({"Authorization": authorization} if authorization else {})}
            sent = {**(headers or {}), **(own if origin(url) == first else {})}
            response = self._send_in_turn(method, url, sent, body)
            answer = Answer(response, url, self._address.token)
            location = answer.headers.get("Location")
            followed = _REDIRECTS if body is None and method in ("GET", "HEAD") else _SAME_REQUEST
            if answer.status not in followed or not location:
                try:
                    yield answer
                except BaseException:
                    # Whoever is called off shall not wait for the rest of a body.
                    close(response)
                    raise
                drop(response)
                return
            drop(response)
            url = _redirected(url, location, first, named_by, leave_origin=leave_origin)
        raise RegistryError(
            f"{host(url)}: more than {_MOST_REDIRECTS} redirects for one request",
            hint=f"the server or a proxy is set up wrongly: check {named_by}",
        )

    def _send_in_turn(
        self, method: str, url: str, headers: Mapping[str, str], body: Body | None
    ) -> urllib3.BaseHTTPResponse:
        if self._budget is None or origin(url) != self._home:
            return self._send(method, url, headers, body)
        path, refusals = urlsplit(url).path.removeprefix(self._home_path), 0
        while True:
            with self._budget.turn(path) as turn:
                response = self._send(method, url, headers, body)
                turn.headers = response.headers
            limit = announced_limit(response.headers)
            if limit is None or limit.left or response.status != _TOO_MANY:
                return response
            # Others share this address, and took what was left. The next turn is that of the next window, for all.
            drop(response)
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
        """The proxies for a host: this server's own, or those that the environment names; it is read once for each."""
        if self._address.proxy is not None:
            return {"http": self._address.proxy, "https": self._address.proxy}
        there = origin(url)
        if there not in self._proxies:
            self._proxies[there] = get_environ_proxies(url, no_proxy=None)
        return self._proxies[there]

    def _send(self, method: str, url: str, headers: Mapping[str, str], body: Body | None) -> urllib3.BaseHTTPResponse:
        sent = {"User-Agent": _AGENT, "Accept": "*/*", "Accept-Encoding": "identity", **headers}
        if origin(url) == self._home:
            sent |= self._address.headers
            if self._address.token:
                sent["Authorization"] = f"Bearer {self._address.token}"
        proxies = self._proxies_for(url)
        content: Any = body() if body is not None else None
        try:
            pool, target = self._way(url, proxies)
            return pool.urlopen(
                method,
                target,
                body=content,
                headers=sent,
                redirect=False,
                assert_same_host=False,
                preload_content=False,
                decode_content=False,
                retries=_NO_RETRIES,
                timeout=self._timeout if body is None else self._sending_timeout,
            )
        except (requests.exceptions.InvalidURL, urllib3.exceptions.LocationValueError) as error:
            if proxies:
                raise RegistryError(
                    f"{host(url)}: the proxy of the environment is no address",
                    hint="check HTTP_PROXY, HTTPS_PROXY and ALL_PROXY",
                ) from error
            raise RegistryError(f"{host(url)}: not an address: {shown_url(url)}") from error
        except (requests.exceptions.RequestException, urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            if is_among_causes(ssl.SSLCertVerificationError, error):
                # Asking again does not help: somebody has to be trusted first.
                trusted = self._address.ca_bundle or "the built-in list"
                raise RegistryError(
                    f"{host(url)}: its certificate is signed by nobody in {trusted}",
                    hint="if you trust it, set REQUESTS_CA_BUNDLE to the file with its signer's certificate",
                ) from error
            raise (UnreachableError if is_unreachable(error) else NetworkFaultError)(
                f"{host(url)}: {reason(error)}",
                hint=_network_hint(self._address.named_by),
            ) from error


def _network_hint(named_by: str) -> str:
    hint = f"check the network, HTTPS_PROXY and {named_by}"
    return f"{hint}; without a network use --offline or --from DIR" if named_by == HUB_NAMED_BY else hint


def _prepared(url: str) -> requests.PreparedRequest:
    prepared = requests.PreparedRequest()
    prepared.prepare_method("GET")
    prepared.prepare_url(url, None)
    return prepared


def _redirected(url: str, location: str, first: tuple[str, str, int], named_by: str, *, leave_origin: bool) -> str:
    try:
        target = names.http_url(urljoin(url, location.strip().replace(" ", "%20")))
    except ValueError:
        raise RegistryError(
            f"{host(url)}: redirects to something that is no web address",
            hint=f"the server or a proxy is set up wrongly: check {named_by}",
        ) from None
    _check_redirect(url, target, first, named_by, leave_origin=leave_origin)
    return target


def _check_redirect(
    url: str, target: str, first: tuple[str, str, int], named_by: str = HUB_NAMED_BY, *, leave_origin: bool
) -> None:
    there = origin(target)
    if there == first:
        return
    if first[0] == "https" and there[0] == "http":
        raise RegistryError(f"{host(url)}: redirects from https to http ({host(target)})")
    if not leave_origin:
        way = f"set HF_ENDPOINT={there[0]}://{host(target)}" if named_by == HUB_NAMED_BY else f"change {named_by}"
        raise RegistryError(f"{host(url)}: redirects to another host ({host(target)})", hint=f"if you trust it, {way}")
