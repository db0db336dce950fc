"""A client to test, and servers on loopback that answer whatever a test wants, as no hub would."""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from threading import Event, Thread

import pytest

from vcm.http.client import Address, HttpClient
from vcm.hub.answers import Caching
from vcm.hub.client import HubClient


@dataclass
class Connected:
    """A client of one endpoint, and the waits it would have made."""

    client: HubClient
    http: HttpClient
    waits: list[float] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)


@pytest.fixture
def connect() -> Iterator[Callable[..., Connected]]:
    """Makes clients; waits are noted, never slept."""
    made: list[HttpClient] = []

    def make(
        endpoint: str,
        token: str | None = None,
        *,
        source: str = "HF_TOKEN",
        ca_bundle: str | None = None,
        read_seconds: float = 10.0,
        caching: Caching | None = None,
        offline: bool = False,
    ) -> Connected:
        address = Address(endpoint, token, ca_bundle, read_seconds)
        http = HttpClient(address, is_offline=offline)
        made.append(http)

        def wait(seconds: float, reason: str) -> None:
            connected.waits.append(seconds)
            connected.reasons.append(reason)

        client = HubClient(http, address, token_source=source if token else None, wait=wait, caching=caching)
        connected = Connected(client, http)
        return connected

    yield make
    for http in made:
        http.close()


@dataclass(frozen=True)
class Asked:
    """A request as it came in: its first line's parts, headers by lower-case name, what came along of a body."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes = b""


class Loopback:
    """A server on 127.0.0.1 that answers as it is told and remembers what it was asked; one request a connection."""

    def __init__(self, answer: Callable[[socket.socket, Asked], None], context: ssl.SSLContext | None = None) -> None:
        self.asked: list[Asked] = []
        self.stopping = Event()
        self._answer = answer
        self._context = context
        self._threads: list[Thread] = []
        self._connections: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        scheme = "https" if context else "http"
        self.port = self._listener.getsockname()[1]
        self.url = f"{scheme}://127.0.0.1:{self.port}"
        self._acceptor = Thread(target=self._accept, daemon=True)
        self._acceptor.start()

    def _accept(self) -> None:
        while not self.stopping.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._connections.append(connection)
            thread = Thread(target=self._serve, args=(connection,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        wrapped = connection
        try:
            if self._context:
                wrapped = self._context.wrap_socket(connection, server_side=True)
            head = b""
            while b"\r\n\r\n" not in head:
                piece = wrapped.recv(65536)
                if not piece:
                    return
                head += piece
            head, _, body = head.partition(b"\r\n\r\n")
            first, *lines = head.decode("latin-1").split("\r\n")
            method, target, _ = first.split(" ", 2)
            headers = {
                name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)
            }
            asked = Asked(method, target, headers, body)
            self.asked.append(asked)
            self._answer(wrapped, asked)
        except OSError:
            pass
        finally:
            wrapped.close()
            connection.close()

    def stop(self) -> None:
        self.stopping.set()
        with contextlib.suppress(OSError):
            # Closing alone does not wake a thread that waits in accept().
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._acceptor.join(5)
        for connection in self._connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)


def http_answer(
    status: int = 200, headers: dict[str, str] | None = None, body: bytes = b"", *, length: bool = True
) -> bytes:
    """The bytes of an answer after which the connection is closed."""
    lines = [f"HTTP/1.1 {status} Whatever", "Connection: close"]
    lines += [f"Content-Length: {len(body)}"] if length else []
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + body


@pytest.fixture(name="http_answer")
def _http_answer() -> Callable[..., bytes]:
    return http_answer


@pytest.fixture
def loopback() -> Iterator[Callable[..., Loopback]]:
    """Starts servers from bytes, or from a function that gets the connection and the request."""
    started: list[Loopback] = []

    def start(
        answer: bytes | Callable[[socket.socket, Asked], None], context: ssl.SSLContext | None = None
    ) -> Loopback:
        def respond(connection: socket.socket, asked: Asked) -> None:
            if callable(answer):
                answer(connection, asked)
            else:
                connection.sendall(answer)

        server = Loopback(respond, context)
        started.append(server)
        return server

    yield start
    for server in started:
        server.stop()


@pytest.fixture
def stranger(loopback: Callable[..., Loopback]) -> Loopback:
    """Another origin, which answers every request with four bytes."""
    return loopback(http_answer(body=b"mine"))
