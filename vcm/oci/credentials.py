"""Credentials for OCI registries: where docker, podman and their helpers keep them.

containers-auth.json(5), https://docs.docker.com/reference/cli/docker/login/ and, for the helpers,
https://github.com/docker/docker-credential-helpers. What is secret is in no message and no ``repr``.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from threading import Lock
from typing import Any

from vcm.core import names
from vcm.core.records import record
from vcm.core.wording import printable, system_reason
from vcm.http.addresses import SHORTEST_SECRET
from vcm.oci.credential_helper import CredentialsError, ask_helper

_MOST_BYTES = 1 << 20
_DOCKER_HUB = frozenset({"docker.io", "index.docker.io", "registry-1.docker.io"})
_DOCKER_HUB_KEY = "https://index.docker.io/v1/"
_BY_TOKEN = "<token>"  # noqa: S105  (a user's name that says: the secret is an identity token)


@record(frozen=True, kw_only=True)
class Credentials:
    """What one registry wants to hear; one of the last three is there.

    Attributes:
        source: where they were found, for messages.
        remedy: what to do when they are not accepted.
        login: user and password.
        identity_token: what the token server takes instead of a password; an OAuth 2 refresh token.
        authorization: a header's value, to be sent as it is.
    """

    source: str
    remedy: str
    login: tuple[str, str] | None = None
    identity_token: str | None = None
    authorization: str | None = None

    def __repr__(self) -> str:
        return f"Credentials(source={self.source!r})"

    @property
    def basic(self) -> str | None:
        """Them as a header: https://datatracker.ietf.org/doc/html/rfc7617."""
        if self.login is None:
            return None
        return "Basic " + base64.b64encode(":".join(self.login).encode()).decode()

    @property
    def secrets(self) -> list[str]:
        """What shall get into no message."""
        own = self.basic or self.authorization
        return [*(secrets_in(own) if own else ()), *([self.identity_token] if self.identity_token else ())]


def secrets_in(authorization: str) -> list[str]:
    """What of a header's value is secret: the token, or a password as it is sent and as it is meant."""
    kind, _, text = authorization.strip().partition(" ")
    login = _login(text) if kind.lower() == "basic" else None
    return [each for each in (text, *(login or ())[1:]) if len(each) >= SHORTEST_SECRET]


def given_credentials(authorization: str, source: str) -> Credentials:
    """Credentials that somebody wrote down as a header.

    Args:
        authorization: its value. The user and password of a ``Basic`` one are good for a token as well.
        source: where it stands.

    Raises:
        CredentialsError: it can be sent in no header.
    """
    remedy = f"correct the Authorization in {source}"
    if not authorization.isascii() or not authorization.isprintable():
        raise CredentialsError(f"{source}: the Authorization holds characters no header has", hint=remedy)
    kind, _, text = authorization.strip().partition(" ")
    login = _login(text) if kind.lower() == "basic" else None
    if login:
        return Credentials(source=source, remedy=remedy, login=login)
    return Credentials(source=source, remedy=remedy, authorization=authorization.strip())


class Keyring:
    """The credentials of this machine for one registry. Files are read, and helpers run, when they are first needed.

    Args:
        host: the registry's host and port.
        files: where to look, in this order.
        given: what to use instead of looking anywhere.
    """

    def __init__(self, host: str, files: Sequence[Path] = (), given: Credentials | None = None) -> None:
        self.host = host
        self._files = files
        self._given = given
        self._lock = Lock()
        self._read: list[tuple[Path, Mapping[str, Any]]] | None = None
        self._helped: dict[str, tuple[str, str] | None] = {}
        self._found: dict[str, Credentials | CredentialsError | None] = {}

    def find(self, repository: str) -> Credentials | None:
        """Those for a repository; None where nobody has any.

        Raises:
            CredentialsError: a file, or what a helper says, cannot be used.
        """
        if self._given:
            return self._given
        with self._lock:
            if repository not in self._found:
                try:
                    self._found[repository] = self._looked_up(repository)
                except CredentialsError as error:
                    # A helper that does not answer is not waited for again, for each file of a model.
                    self._found[repository] = error
            found = self._found[repository]
        if isinstance(found, CredentialsError):
            raise found
        return found

    def _looked_up(self, repository: str) -> Credentials | None:
        if self._read is None:
            self._read = [(path, config) for path in self._files if (config := _read(path)) is not None]
        for path, config in self._read:
            helpers = _table(path, config, "credHelpers")
            own = next((name for key, name in helpers.items() if _same_host(key, self.host)), None)
            # What is written down of this registry counts before the store for all.
            found = (
                self._from_helper(path, own)
                or self._from_entry(path, config, repository)
                or self._from_helper(path, config.get("credsStore"))
            )
            if found:
                return found
        return None

    def _from_helper(self, path: Path, name: Any) -> Credentials | None:
        if not name:
            return None
        if not isinstance(name, str):
            raise _broken(path, "the name of a credential helper is no text")
        if name not in self._helped:
            key = _DOCKER_HUB_KEY if self.host in _DOCKER_HUB else self.host
            self._helped[name] = ask_helper(name, key, str(path))
        answer = self._helped[name]
        if answer is None:
            return None
        user, secret = answer
        source = f"docker-credential-{name}, which {path} names"
        if user == _BY_TOKEN:
            return Credentials(source=source, remedy=self._remedy, identity_token=secret)
        return Credentials(source=source, remedy=self._remedy, login=answer)

    def _from_entry(self, path: Path, config: Mapping[str, Any], repository: str) -> Credentials | None:
        entries: dict[str, Any] = {}
        for key, value in _table(path, config, "auths").items():
            # What is written without a scheme was meant so.
            entries.setdefault(_normalized(key), value)
            if "://" not in key:
                entries[_normalized(key)] = value
        for key in _keys(self.host, repository):
            if key in entries and (found := self._entry(path, key, entries[key])):
                return found
        return None

    def _entry(self, path: Path, key: str, entry: Any) -> Credentials | None:
        place = f"auths.{printable(key)}"
        if not isinstance(entry, dict):
            raise _broken(path, f"{place} is no object")
        texts = {name: entry.get(name) or "" for name in ("auth", "identitytoken", "registrytoken")}
        if not all(isinstance(text, str) for text in texts.values()):
            raise _broken(path, f"{place} holds something else than text")
        if token := texts["registrytoken"]:
            if not names.is_token(token):
                raise _broken(path, f"{place}.registrytoken holds characters no token has")
            return Credentials(source=str(path), remedy=self._remedy, authorization=f"Bearer {token}")
        if texts["identitytoken"]:
            return Credentials(source=str(path), remedy=self._remedy, identity_token=texts["identitytoken"])
        if not texts["auth"]:
            return None
        login = _login(texts["auth"])
        if login is None:
            raise _broken(path, f"{place}.auth is not the base64 of user:password")
        return Credentials(source=str(path), remedy=self._remedy, login=login)

    @property
    def _remedy(self) -> str:
        return f"log in again: docker login {self.host}, or podman login {self.host}"


def _read(path: Path) -> Mapping[str, Any] | None:
    """What a file of credentials says; None where there is none."""
    try:
        # Opening a pipe would wait for ever.
        if path.is_fifo():
            raise _broken(path, "it is a pipe")
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise CredentialsError(
            f"{path}: the credentials for registries cannot be read: {system_reason(error)}",
            hint="make it readable, or set REGISTRY_AUTH_FILE to another one and DOCKER_CONFIG to another folder",
        ) from None
    if len(data) > _MOST_BYTES:
        raise _broken(path, f"it is longer than {_MOST_BYTES} bytes")
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        raise _broken(path, "it is not JSON") from None
    if not isinstance(value, dict):
        raise _broken(path, "it is no JSON object")
    return value


def _broken(path: Path, problem: str) -> CredentialsError:
    return CredentialsError(
        f"{path}: the credentials for registries cannot be read: {problem}",
        hint=f"repair it, or remove {path} and log in again with docker login or podman login",
    )


def _table(path: Path, config: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = config.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise _broken(path, f"{key} is no object")
    return value


def _keys(host: str, repository: str) -> Iterator[str]:
    """What an entry for a repository may be called, the narrowest first."""
    parts = [_normalized(host), *repository.split("/")]
    return ("/".join(parts[:count]) for count in range(len(parts), 0, -1))


def _normalized(key: str) -> str:
    """An entry's key as host, or host and namespace: docker's are whole addresses, of which only the host counts."""
    _, scheme, rest = key.rpartition("://")
    host, _, namespace = rest.strip("/").partition("/")
    host = host.lower()
    host = "docker.io" if host in _DOCKER_HUB else host
    return f"{host}/{namespace}" if namespace and not scheme else host


def _same_host(key: str, host: str) -> bool:
    return _normalized(key) == _normalized(host)


def _login(text: str) -> tuple[str, str] | None:
    """User and password out of their base64."""
    try:
        user, colon, password = base64.b64decode(text.strip(), validate=True).decode().partition(":")
    except ValueError:
        return None
    # Docker pads with zero bytes what it encodes.
    return (user, password.strip("\0")) if colon else None
