"""A token server, and a docker-registry that believes only its tokens.

https://distribution.github.io/distribution/spec/auth/token/, and .../oauth/ beside it.
"""

from __future__ import annotations

import base64
import binascii
import json
import subprocess
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock, Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.servers import Registry, stopped_at_the_end

USER, PASSWORD = "reader", "of the tests"
REFRESH_TOKEN = "a-refresh-token-of-the-tests"
_LEEWAY = 60
"""Seconds for which docker-registry goes on believing a token that is over."""


@dataclass(frozen=True)
class Signer:
    """A private key and its certificate, by which a registry knows the tokens that were signed with it."""

    key: Path
    certificate: Path

    def token(self, claims: Mapping[str, Any]) -> str:
        """Signed claims, as https://datatracker.ietf.org/doc/html/rfc7519 has them."""
        x5c = "".join(line for line in self.certificate.read_text().splitlines() if not line.startswith("-"))
        header = {"typ": "JWT", "alg": "RS256", "x5c": [x5c]}
        signed = b".".join(_base64(json.dumps(part).encode()) for part in (header, claims))
        command = ["openssl", "dgst", "-sha256", "-sign", str(self.key)]
        signature = subprocess.run(command, input=signed, capture_output=True, check=True).stdout
        return b".".join([signed, _base64(signature)]).decode()


@dataclass(frozen=True)
class Asked:
    """One request for a token: who asked, and for which scopes; ``user`` is None for who did not say."""

    method: str
    user: str | None
    service: str
    scopes: tuple[str, ...]
    status: int


class TokenServer:
    """Gives out tokens for the service ``registry``; all of it may be changed while it runs.

    Attributes:
        realm: its address, which the registry names in its challenges.
        users: passwords by name.
        refresh_tokens: users by refresh token.
        permissions: what a user may do in every repository; None is somebody who did not say who he is.
        hidden: repositories in which nobody may do anything.
        lifetime: whole seconds, after which, or up to one before, the registry believes a token no more; 0 is over
            already.
        announced: what it says of the lifetime; that itself, where None.
        asked: the requests so far.
    """

    def __init__(self, signer: Signer) -> None:
        self.signer = signer
        self.users = {USER: PASSWORD}
        self.refresh_tokens = {REFRESH_TOKEN: USER}
        self.permissions: dict[str | None, set[str]] = {USER: {"pull", "push"}, None: set()}
        self.hidden: set[str] = set()
        self.lifetime = 300.0
        self.announced: float | None = None
        self.asked: list[Asked] = []
        self._lock = Lock()
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                server._by_password(self)

            def do_POST(self) -> None:
                server._by_refresh_token(self)

            def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self.realm = f"http://127.0.0.1:{self._http.server_address[1]}/token"
        self._thread = Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def scopes(self) -> list[tuple[str, ...]]:
        """What tokens were asked for, in this order."""
        return [each.scopes for each in self.asked]

    def stop(self) -> None:
        """End it."""
        self._http.shutdown()
        self._http.server_close()
        self._thread.join(5)

    def _by_password(self, request: BaseHTTPRequestHandler) -> None:
        asked = parse_qs(urlsplit(request.path).query)
        user, is_known = None, True
        if header := request.headers.get("Authorization"):
            user, password = _basic(header)
            is_known = user in self.users and self.users[user] == password
        self._answer(request, user, asked, "token", is_known=is_known)

    def _by_refresh_token(self, request: BaseHTTPRequestHandler) -> None:
        asked = parse_qs(request.rfile.read(int(request.headers.get("Content-Length", 0))).decode())
        is_right = asked.get("grant_type") == ["refresh_token"] and "client_id" in asked
        user = self.refresh_tokens.get(asked.get("refresh_token", [""])[0]) if is_right else None
        self._answer(request, user, asked, "access_token", is_known=user is not None)

    def _answer(
        self,
        request: BaseHTTPRequestHandler,
        user: str | None,
        asked: Mapping[str, list[str]],
        key: str,
        *,
        is_known: bool,
    ) -> None:
        service = asked.get("service", [""])[0]
        scopes = tuple(sorted(scope for text in asked.get("scope", []) for scope in text.split()))
        status = 200 if is_known else 401
        with self._lock:
            self.asked.append(Asked(request.command, user, service, scopes, status))
        seconds = int(self.lifetime if self.announced is None else self.announced)
        answer = {key: self._token(user, service, scopes), "expires_in": seconds} if is_known else {}
        body = json.dumps(answer or {"errors": [{"code": "UNAUTHORIZED", "message": "who are you?"}]}).encode()
        request.send_response(status)
        request.send_header("Content-Type", "application/json")
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)

    def _token(self, user: str | None, service: str, scopes: tuple[str, ...]) -> str:
        now = time.time()
        allowed = self.permissions.get(user, set())
        access = []
        for kind, name, actions in (scope.split(":", 2) for scope in scopes):
            granted = sorted(allowed & set(actions.split(","))) if name not in self.hidden else []
            access.append({"type": kind, "name": name, "actions": granted})
        return self.signer.token(
            {
                "iss": "tests",
                "sub": user or "",
                "aud": service,
                "iat": int(now),
                "nbf": int(now) - 2 * _LEEWAY,
                "exp": int(now + self.lifetime) - _LEEWAY,
                "jti": uuid.uuid4().hex,
                "access": access,
            }
        )


def _base64(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def _basic(header: str) -> tuple[str, str]:
    kind, _, text = header.partition(" ")
    try:
        user, _, password = base64.b64decode(text, validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        return "", ""
    return (user, password) if kind == "Basic" else ("", "")


@pytest.fixture(scope="session")
def signer(tmp_path_factory: pytest.TempPathFactory) -> Signer:
    """A key, made by openssl."""
    folder = tmp_path_factory.mktemp("signer")
    made = Signer(folder / "key.pem", folder / "certificate.pem")
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=tests"]
    command += ["-keyout", str(made.key), "-out", str(made.certificate)]
    subprocess.run(command, check=True, capture_output=True)
    return made


@pytest.fixture
def token_server(signer: Signer) -> Iterator[TokenServer]:
    """Knows USER by PASSWORD or REFRESH_TOKEN, who may do everything; who says nothing may do nothing."""
    server = TokenServer(signer)
    yield server
    server.stop()


@pytest.fixture
def private_registry(token_server: TokenServer, tmp_path: Path) -> Iterator[Registry]:
    """A docker-registry to which only the tokens of ``token_server`` lead."""
    folder = tmp_path / "private-registry"
    server = Registry(folder, token_realm=token_server.realm, certificate=token_server.signer.certificate)
    with stopped_at_the_end(server):
        yield server
