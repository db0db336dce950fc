"""The server: a thread for each connection, the kernel carrying files to them, and bounds on all that strangers do."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from email.utils import formatdate
from http import HTTPStatus
from ipaddress import ip_address
from threading import BoundedSemaphore, Thread

from vcm.core.wording import printable, system_reason
from vcm.errors import ConfigError
from vcm.serve.wire import LONGEST_HEAD, Answer, RefusedError, Request, body_length, parse_head
from vcm.version import VERSION

MOST_CONNECTIONS = 256
"""At the same time; who comes then waits until one ends."""
_BACKLOG = 256
_IDLE_SECONDS = 10.0
"""For how long a connection may wait for its next request, and a request take to arrive."""
_STALLED_SECONDS = 60.0
"""For how long a client may take nothing of an answer."""
_LONGEST_BODY = 1 << 20
_PIECE = 65536
_BODILESS = (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED)
_LINGER_SECONDS = 1.0
_IPV6 = 6


class Server:
    """Listens at one address from the beginning, and answers once it runs.

    Args:
        host: name or address to listen at; ``0.0.0.0`` or ``::`` for all of this machine.
        port: 0 for any that is free.

    Raises:
        ConfigError: nobody can listen there.
    """

    def __init__(self, host: str, port: int) -> None:
        self._slots = BoundedSemaphore(MOST_CONNECTIONS)
        self._listener = _listener(host, port)
        self._host, self._port = self._listener.getsockname()[:2]

    @property
    def only_this_machine(self) -> bool:
        """Whether it listens on loopback, where no other machine gets."""
        return ip_address(self._host).is_loopback

    @property
    def url(self) -> str:
        """Where clients reach it: those of other machines, if they can."""
        address = ip_address(self._host)
        host = _own_address() if address.is_unspecified else f"[{address}]" if address.version == _IPV6 else address
        return f"http://{host}:{self._port}"

    def run(self, answer: Callable[[Request], Answer], log: Callable[[str], None] = lambda _: None) -> None:
        """Answer until this thread is interrupted, or ``close`` is called.

        Args:
            answer: gives the answer to each request, in several threads at once.
            log: told of each request, once it is answered.
        """
        while True:
            self._slots.acquire()
            try:
                connection, address = self._listener.accept()
            except OSError:
                self._slots.release()
                if self._listener.fileno() < 0:
                    return
                # Too many open files, say: it may be better soon.
                time.sleep(0.05)
                continue
            try:
                conversation = _Conversation(connection, str(address[0]), answer, log)
                Thread(target=self._serve, args=(conversation,), daemon=True).start()
            except RuntimeError:
                connection.close()
                self._slots.release()

    def close(self) -> None:
        """Listen no more; what is being sent is sent on while this process runs."""
        with suppress(OSError):
            # Closing alone does not wake a thread that waits in accept().
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _serve(self, conversation: _Conversation) -> None:
        try:
            conversation.run()
        finally:
            self._slots.release()


class _Conversation:
    """One connection: requests and answers in turn."""

    def __init__(
        self, connection: socket.socket, client: str, answer: Callable[[Request], Answer], log: Callable[[str], None]
    ) -> None:
        self._connection = connection
        self._client = client
        self._answer = answer
        self._log = log
        self._read = b""

    def run(self) -> None:
        """Answer until one of the two has had enough, and close the connection."""
        # Clients leave when they like, and are left where they take too long.
        with self._connection, suppress(OSError):
            self._connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._converse()

    def _converse(self) -> None:
        keeps = True
        while keeps:
            try:
                request = self._request()
            except RefusedError as refused:
                self._send(refused.answer(), with_body=True, keeps=False)
                self._log(f"{self._client} - {refused.status} {refused}")
                break
            if request is None:
                return
            answer = self._answered(request)
            keeps = request.keeps
            told = f"{self._client} {request.method} {request.target[:500]} {answer.status}"
            try:
                sent = self._send(answer, with_body=request.method != "HEAD", keeps=keeps)
            except TimeoutError:
                self._log(f"{told} left, it took nothing for {_STALLED_SECONDS:.0f} s")
                raise
            self._log(f"{told} {sent}")
            # A file that was cut meanwhile ends the answer before its end.
            keeps = keeps and (request.method == "HEAD" or sent == answer.length)
        self._linger()

    def _answered(self, request: Request) -> Answer:
        try:
            return self._answer(request)
        except Exception as error:  # noqa: BLE001  (a defect must not be a connection that breaks without a word)
            self._log(f"{self._client} {error!r}")
            return RefusedError(HTTPStatus.INTERNAL_SERVER_ERROR, "this hub has failed").answer()

    def _request(self) -> Request | None:
        """The next request; None where there is none.

        Raises:
            RefusedError: what came is none.
            OSError: it takes too long.
        """
        deadline = time.monotonic() + _IDLE_SECONDS
        # Some clients put an empty line behind a body.
        while b"\r\n\r\n" not in self._read.lstrip(b"\r\n"):
            if len(self._read) > LONGEST_HEAD:
                raise _too_long()
            if not self._receive(deadline):
                return None
        head, _, self._read = self._read.lstrip(b"\r\n").partition(b"\r\n\r\n")
        if len(head) > LONGEST_HEAD:
            raise _too_long()
        request = parse_head(head)
        if request.method != "POST":
            # Nobody needs one, and it is not read: what follows on this connection may be part of it.
            has_body = "transfer-encoding" in request.headers or request.headers.get("content-length", "0") != "0"
            return replace(request, keeps=False) if has_body else request
        length = body_length(request.headers, _LONGEST_BODY)
        deadline = time.monotonic() + _IDLE_SECONDS
        while len(self._read) < length:
            if not self._receive(deadline):
                return None
        body, self._read = self._read[:length], self._read[length:]
        return replace(request, body=body)

    def _receive(self, deadline: float) -> bool:
        self._connection.settimeout(max(0.001, deadline - time.monotonic()))
        piece = self._connection.recv(_PIECE)
        self._read += piece
        return bool(piece)

    def _send(self, answer: Answer, *, with_body: bool, keeps: bool) -> int:
        """Send an answer, and say how many bytes of its body were sent, or would have been."""
        self._connection.settimeout(_STALLED_SECONDS)
        head = _head(answer, keeps=keeps)
        stream = answer.stream
        if stream is None:
            self._connection.sendall(head + (answer.body if with_body else b""))
            return len(answer.body) if with_body else 0
        with stream:
            # The beginning of the file goes into the same packet.
            self._connection.sendall(head, getattr(socket, "MSG_MORE", 0) if answer.length else 0)
            return self._connection.sendfile(stream, answer.start, answer.length) if answer.length else 0

    def _linger(self) -> None:
        """Take what the client still sends: closing before that could take the answer from it."""
        self._connection.shutdown(socket.SHUT_WR)
        deadline = time.monotonic() + _LINGER_SECONDS
        while time.monotonic() < deadline and self._receive(deadline):
            self._read = b""


def _too_long() -> RefusedError:
    return RefusedError(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "headers that are too long")


def _head(answer: Answer, *, keeps: bool) -> bytes:
    headers = {"Server": f"vcm/{VERSION}", "Date": formatdate(usegmt=True), **answer.headers}
    if answer.status not in _BODILESS:
        headers["Content-Length"] = str(answer.length)
    if not keeps:
        headers["Connection"] = "close"
    lines = [f"HTTP/1.1 {answer.status} {HTTPStatus(answer.status).phrase}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def _listener(host: str, port: int) -> socket.socket:
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        both = family == socket.AF_INET6 and socket.has_dualstack_ipv6() and host == "::"
        return socket.create_server(address[:2], family=family, backlog=_BACKLOG, dualstack_ipv6=both)
    except (OSError, UnicodeError) as error:
        reason = "no such name"
        if isinstance(error, OSError):
            # What Python adds to the system's words names the address a second time.
            reason = system_reason(error).partition(" (while")[0]
        raise ConfigError(
            f"cannot listen at {printable(host)}:{port}: {reason}",
            hint="choose another --port (0: any that is free), or another --host",
        ) from error


def _own_address() -> str:
    """The address under which others most likely reach this machine; its name where it has none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe, suppress(OSError):
        # Nothing is sent: the system only chooses the way it would go. (RFC 5737: nobody's address.)
        probe.connect(("192.0.2.1", 9))
        return str(probe.getsockname()[0])
    return socket.gethostname()
