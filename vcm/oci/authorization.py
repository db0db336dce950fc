"""The right to ask an OCI registry: tokens and passwords, found, sent and renewed.

https://distribution.github.io/distribution/spec/auth/token/, and .../oauth/ for identity tokens.

A registry names the server that gives out its tokens, and could name any. It is asked if it speaks TLS, or if the
registry itself does not and both are one host: so nobody on the way reads a password who could not have read it
anyway, and no registry far away has something asked that only this machine or its network can reach.
"""

from __future__ import annotations

import json
import time
from threading import Lock
from typing import Any
from urllib.parse import urlencode, urlsplit

from vcm.core import names
from vcm.core.mirrors import is_this_machine
from vcm.core.records import record
from vcm.errors import AUTHENTICATION_ERROR, RegistryError
from vcm.http.addresses import host
from vcm.http.client import HttpClient
from vcm.oci.challenges import Challenge, parse_challenges
from vcm.oci.credentials import Credentials, Keyring
from vcm.oci.refusals import refused

Scopes = frozenset[tuple[str, str]]
"""What is to be done: repositories and actions, ``("models/acme/frames", "pull")``."""

_LONGEST_ANSWER = 1 << 20
_ANSWER_SECONDS = 30.0
_MOST_SCOPES = 16
_CLIENT = "vcm"
_LIFETIME = 60.0
"""Seconds a token is good for that does not say: what the specification says of it."""
_LONGEST_LIFETIME = 86400.0
_OK = 200
_DENIED = frozenset({401, 403})
_IDENTITY_DENIED = frozenset({400, 401, 403, 404, 405})
"""400 is OAuth's word for it, and not every token server knows identity tokens."""


@record(frozen=True)
class _Right:
    """A header's value, and when it is over, on the monotonic clock."""

    header: str
    until: float


class Authorization:
    """What one registry is sent so that it answers; may be used by several threads.

    Args:
        http: the way there.
        base: the registry's address.
        keyring: what this machine knows of its credentials.
    """

    def __init__(self, http: HttpClient, base: str, keyring: Keyring) -> None:
        self._http = http
        self._base = base
        self._keyring = keyring
        self._lock = Lock()
        self._rights: dict[Scopes, _Right] = {}
        self._challenge: Challenge | None = None

    def prepared(self, scopes: Scopes, repository: str) -> str | None:
        """The header for a request, renewed before it is over: so no body is sent in vain.

        None where nobody is known yet who could be asked for one: the registry's first refusal says so.

        Raises:
            CredentialsError: they cannot be read.
            RegistryError: they are not accepted.
        """
        now = time.monotonic()
        own = self._rights.get(scopes)
        if own and now < own.until:
            return own.header
        for more, right in self._rights.copy().items():
            if more > scopes and now < right.until:
                return right.header
        if self._challenge is None:
            return None
        with self._lock:
            return self._renewed(scopes, repository, self._challenge, refused=None)

    def renewed(self, scopes: Scopes, repository: str, asked: str, refused: str | None) -> str | None:
        """The header for a request that was answered with 401; None where there is nothing to send.

        Args:
            scopes: what the request was for.
            repository: whose credentials are used.
            asked: what the answer has as ``WWW-Authenticate``.
            refused: the header that the request had.

        Raises:
            CredentialsError: they cannot be read.
            RegistryError: they are not accepted, or the registry wants something that vcm does not speak.
        """
        known = {each.scheme: each for each in reversed(parse_challenges(asked))}
        challenge = known.get("bearer") or known.get("basic")
        if challenge is None:
            raise RegistryError(
                f"{self._keyring.host} asks for an authorization that vcm does not speak",
                error_code=AUTHENTICATION_ERROR,
                hint=f"give that mirror an Authorization in its headers, or ask whoever runs {self._keyring.host}",
            )
        with self._lock:
            return self._renewed(scopes, repository, challenge, refused=refused)

    def _renewed(self, scopes: Scopes, repository: str, challenge: Challenge, *, refused: str | None) -> str | None:
        now = time.monotonic()
        right = self._rights.get(scopes)
        if right and right.header != refused and now < right.until:
            # Another thread was faster.
            return right.header
        # What this one request was about is of no use to the next.
        self._challenge = Challenge(challenge.scheme, {**challenge.parameters, "scope": ""})
        credentials = self._keyring.find(repository)
        if credentials and credentials.authorization:
            new = _Right(credentials.authorization, now + _LONGEST_LIFETIME)
        elif challenge.scheme == "basic":
            if credentials is None or credentials.basic is None:
                return None
            new = _Right(credentials.basic, now + _LONGEST_LIFETIME)
        else:
            new = self._token(scopes, challenge, credentials, now)
        self._rights[scopes] = new
        return new.header

    def _token(self, scopes: Scopes, challenge: Challenge, credentials: Credentials | None, now: float) -> _Right:
        realm = self._checked_realm(challenge)
        asked = {"service": service} if (service := challenge.parameters.get("service")) else {}
        texts = _scope_texts(scopes, challenge)
        headers: dict[str, str] = {}
        body: bytes | None = None
        if credentials and credentials.identity_token:
            asked |= {"grant_type": "refresh_token", "client_id": _CLIENT, "scope": " ".join(texts)}
            body = urlencode({**asked, "refresh_token": credentials.identity_token}).encode()
            headers = {"Content-Type": "application/x-www-form-urlencoded", "Content-Length": str(len(body))}
        else:
            query = urlencode([*asked.items(), *(("scope", text) for text in texts)])
            realm += ("&" if urlsplit(realm).query else "?") + query
        # Who redirects an identity token to another origin does not get it; a password stays behind by itself.
        with self._http.request(
            "GET" if body is None else "POST",
            realm,
            headers,
            leave_origin=body is None,
            authorization=credentials.basic if credentials and body is None else None,
            body=None if body is None else lambda: [body],
        ) as answer:
            if answer.status in (_DENIED if body is None else _IDENTITY_DENIED):
                raise self._rejected(realm, credentials)
            if answer.status != _OK:
                # Not before: a token may be made of what was sent for it.
                answer.hide(*credentials.secrets if credentials else ())
                raise refused(answer, host(realm), "a token")
            value = _parsed(answer.body(_LONGEST_ANSWER, _ANSWER_SECONDS))
        token = value.get("token") or value.get("access_token")
        if not isinstance(token, str) or not names.is_token(token):
            raise RegistryError(
                f"{host(realm)}: the answer holds no token for {self._keyring.host}",
                hint=f"tell whoever runs {self._keyring.host}, or check that no proxy or login page answers instead",
            )
        return _Right(f"Bearer {token}", now + _lifetime(value.get("expires_in")))

    def _checked_realm(self, challenge: Challenge) -> str:
        realm, registry = challenge.parameters.get("realm", ""), self._keyring.host
        hint = f"tell whoever runs {registry}"
        try:
            there, here = urlsplit(names.http_url(realm)), urlsplit(self._base)
        except ValueError:
            raise RegistryError(
                f"{registry} names no address that gives out its tokens", error_code=AUTHENTICATION_ERROR, hint=hint
            ) from None
        is_one_host = there.hostname == here.hostname or (
            is_this_machine(there.netloc) and is_this_machine(here.netloc)
        )
        if there.scheme != "https" and (here.scheme != "http" or not is_one_host):
            raise RegistryError(
                f"{registry} sends for its tokens to {host(realm)} without TLS, which is not done",
                error_code=AUTHENTICATION_ERROR,
                hint=f"{hint}: its token server needs https",
            )
        return realm.partition("#")[0]

    def _rejected(self, realm: str, credentials: Credentials | None) -> RegistryError:
        if credentials is None:
            return RegistryError(
                f"{host(realm)} gives out no token for {self._keyring.host} without credentials, and none were found",
                error_code=AUTHENTICATION_ERROR,
                hint=self.login_hint,
            )
        return RegistryError(
            f"{host(realm)} does not accept the credentials for {self._keyring.host} from {credentials.source}",
            error_code=AUTHENTICATION_ERROR,
            hint=credentials.remedy,
        )

    @property
    def login_hint(self) -> str:
        """What to do where there are no credentials."""
        registry = self._keyring.host
        return f"docker login {registry}, podman login {registry}, or set REGISTRY_AUTH_FILE to a file that knows it"

    def denied(self, repository: str, words: str, *, push: bool) -> RegistryError:
        """The error for an answer of 401 or 403 to who has sent all that there is.

        Args:
            repository: what it was about.
            words: the registry's own; may be empty.
            push: whether something was to be written there.

        Raises:
            CredentialsError: they cannot be read.
        """
        credentials = self._keyring.find(repository)
        registry = self._keyring.host
        told = f" ({words})" if words else ""
        action = "written to" if push else "read"
        if credentials is None:
            message = f"{registry}: {repository} may not be {action}, and no credentials for {registry} were found"
            return RegistryError(message + told, error_code=AUTHENTICATION_ERROR, hint=self.login_hint)
        return RegistryError(
            f"{registry}: {repository} may not be {action} with the credentials from {credentials.source}{told}",
            error_code=AUTHENTICATION_ERROR,
            hint=f"ask for the right to, or {credentials.remedy}",
        )


def _scope_texts(scopes: Scopes, challenge: Challenge) -> list[str]:
    """``repository:NAME:pull,push`` for each repository, and what the registry itself asks for beyond it.

    Some call their repositories otherwise in tokens than in addresses.
    """
    actions: dict[str, list[str]] = {}
    for repository, action in sorted(scopes):
        actions.setdefault(repository, []).append(action)
    own = [f"repository:{repository}:{','.join(each)}" for repository, each in actions.items()]
    theirs = [text.rpartition(":") for text in challenge.parameters.get("scope", "").split()[:_MOST_SCOPES]]
    wanted = {f"repository:{repository}": set(each) for repository, each in actions.items()}
    return own + [f"{name}:{text}" for name, _, text in theirs if not set(text.split(",")) <= wanted.get(name, set())]


def _parsed(data: bytes) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _lifetime(seconds: object) -> float:
    is_number = isinstance(seconds, int | float) and not isinstance(seconds, bool) and 0 <= seconds < _LONGEST_LIFETIME
    return float(seconds) if is_number and isinstance(seconds, int | float) else _LIFETIME
