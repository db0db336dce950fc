"""Failures of the way to a server, told in words of ours."""

from __future__ import annotations

import urllib3

from vcm.errors import RegistryError
from vcm.http.heads import EndlessHeadError

CONNECT_SECONDS = 10.0


class NetworkFaultError(RegistryError):
    """A failure of the way, not of the answer: the same request may work a moment later."""


class UnreachableError(NetworkFaultError):
    """No connection can be made: whoever asks the same host for something else fares no better."""


_REASONS: tuple[tuple[type[BaseException], str], ...] = (
    (EndlessHeadError, "its headers have no end"),
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


def reason(error: BaseException) -> str:
    """The cause deep inside, in words; texts of libraries may hold signed addresses and are not repeated."""
    return next((words for kind, words in _REASONS if is_among_causes(kind, error)), "the connection failed")


def is_unreachable(error: BaseException) -> bool:
    """Whether no connection could be made at all."""
    kinds = urllib3.exceptions
    connecting = (kinds.NewConnectionError, kinds.ConnectTimeoutError, kinds.ProxyError)
    return any(is_among_causes(kind, error) for kind in connecting)


def is_among_causes(kind: type[BaseException], error: BaseException) -> bool:
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
