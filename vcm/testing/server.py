"""The HTTP servers under the simulator: many connections at once, every request logged, faults applied."""

from __future__ import annotations

import contextlib
import socket
from dataclasses import dataclass, replace
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from threading import Condition, Event, Lock, Thread
from typing import TYPE_CHECKING, Any, BinaryIO

from vcm.testing.transmit import ends_connection, send, send_spoiled, spoil
from vcm.testing.wire import Request, Response, text_response

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from vcm.testing.faults import Fault, FaultQueue, Origin

HOST = "127.0.0.1"
_POLL_SECONDS = 0.01
_JOIN_SECONDS = 5.0


@dataclass(frozen=True, kw_only=True)
class LoggedRequest:
    """A request that a server received.

    Attributes:
        origin: ``"hub"`` or ``"cdn"``.
        method: the method.
        path: path and query as sent, still percent-encoded.
        headers: values by lower-case name.
        status: the status it was answered with.
    """

    origin: Origin
    method: str
    path: str
    headers: Mapping[str, str]
    status: int


class RequestLog:
    """What the servers received, in the order the answers were decided; safe to use from many threads."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._requests: list[LoggedRequest] = []

    def add(self, request: LoggedRequest) -> None:
        """Append a request."""
        with self._lock:
            self._requests.append(request)

    def copy(self) -> list[LoggedRequest]:
        """Return the requests so far."""
        with self._lock:
            return list(self._requests)

    def clear(self) -> None:
        """Forget the requests so far."""
        with self._lock:
            self._requests.clear()


class Traffic:
    """Counts what the servers put on their connections; safe to use from many threads."""

    def __init__(self) -> None:
        self._lock = Lock()
        self.bytes_sent = 0

    def add(self, count: int) -> None:
        """Count so many bytes more."""
        with self._lock:
            self.bytes_sent += count


class OriginServer(ThreadingHTTPServer):
    """One origin on a free port of 127.0.0.1, answering until it is stopped.

    Args:
        origin: the name that requests are logged and faults are matched with.
        answer: returns the true answer to a request.
        faults: the faults of the simulator.
        log: where requests are logged.
        traffic: where bytes are counted.
        latency: returns the seconds that every answer waits before it is sent.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(
        self,
        origin: Origin,
        answer: Callable[[Request], Response],
        faults: FaultQueue,
        log: RequestLog,
        traffic: Traffic,
        latency: Callable[[], float],
    ) -> None:
        self.origin = origin
        self.answer = answer
        self.faults = faults
        self.log = log
        self.traffic = traffic
        self.latency = latency
        self.stopping = Event()
        self._idle = Condition()
        self._connections: set[socket.socket] = set()
        super().__init__((HOST, 0), _Handler)
        self._thread = Thread(target=self.serve_forever, args=(_POLL_SECONDS,), daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """The origin's address, without a slash at its end."""
        return f"http://{HOST}:{self.server_port}"

    def server_bind(self) -> None:
        """Bind without the look-up of the machine's name that the standard class does, which can take seconds."""
        TCPServer.server_bind(self)
        self.server_name = HOST
        self.server_port = int(self.server_address[1])

    def stop(self) -> None:
        """Close the port and every connection, and wait for the threads that serve them."""
        self.stopping.set()
        self.shutdown()
        self.server_close()
        self._thread.join(_JOIN_SECONDS)
        with self._idle:
            for connection in self._connections:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
            self._idle.wait_for(lambda: not self._connections, _JOIN_SECONDS)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Remember a connection before its thread begins, so that ``stop`` can end it."""
        with self._idle:
            self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Close a connection and forget it."""
        super().shutdown_request(request)
        with self._idle:
            self._connections.discard(request)
            self._idle.notify_all()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing when a connection breaks: clients under test leave in the middle."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: OriginServer

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Keep the test's output clean."""

    def _serve(self) -> None:
        request = self._read_request()
        fault = self.server.faults.take(self.server.origin, request.method, request.path)
        response = self._response(request, fault)
        self._log(request, response)
        self.close_connection = self.close_connection or ends_connection(response)
        if self.close_connection:
            response.set_headers({"Connection": "close"})
        try:
            self._send(request, response, fault)
        except OSError:
            self.close_connection = True

    do_GET = do_HEAD = do_POST = _serve  # noqa: N815

    def _read_request(self) -> Request:
        headers = {name.lower(): value for name, value in self.headers.items()}
        body = self.rfile.read(int(headers.get("content-length", "0")))
        return Request(method=self.command, target=self.path, headers=headers, body=body)

    def _response(self, request: Request, fault: Fault | None) -> Response:
        try:
            response = self.server.answer(_without_range(request) if fault and fault.ignore_range else request)
            self._complete(response)
            return spoil(response, fault) if fault else response
        except Exception as error:  # noqa: BLE001 - a defect here or in a fault's edit must reach the test as an answer
            response = text_response(f"the simulator failed: {error!r}", status=HTTPStatus.INTERNAL_SERVER_ERROR)
            self._complete(response)
            return response

    def _complete(self, response: Response) -> None:
        length = None if response.status == HTTPStatus.NOT_MODIFIED else str(response.length)
        response.set_headers({"Date": self.date_time_string(), "Content-Length": length})

    def _log(self, request: Request, response: Response) -> None:
        entry = LoggedRequest(
            origin=self.server.origin,
            method=request.method,
            path=request.target,
            headers=request.headers,
            status=int(response.status),
        )
        self.server.log.add(entry)

    def _send(self, request: Request, response: Response, fault: Fault | None) -> None:
        with_body = request.method != "HEAD"
        connection = _Counted(self.connection, self.server.traffic)
        delay = self.server.latency()
        if fault and fault.stall_after is None:
            delay += fault.delay
        if delay > 0:
            self.server.stopping.wait(delay)
        if fault and with_body:
            send_spoiled(connection, response, fault, self.server.stopping)
            self.close_connection = self.close_connection or fault.cut_after is not None or fault.endless
        else:
            send(connection, response, with_body=with_body)


class _Counted:
    """A connection, as far as answers use it, whose bytes are counted."""

    def __init__(self, connection: socket.socket, traffic: Traffic) -> None:
        self._connection = connection
        self._traffic = traffic

    def sendall(self, data: bytes) -> None:
        self._connection.sendall(data)
        self._traffic.add(len(data))

    def sendfile(self, file: BinaryIO, offset: int, count: int) -> int:
        sent = self._connection.sendfile(file, offset, count)
        self._traffic.add(sent)
        return sent


def _without_range(request: Request) -> Request:
    kept = {name: value for name, value in request.headers.items() if name != "range"}
    return replace(request, headers=kept)
