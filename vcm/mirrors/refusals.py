"""What a mirror's answers mean: whether another try, another file or only another source may have what is wanted."""

from __future__ import annotations

from vcm.errors import AUTHENTICATION_ERROR, ModelNotFoundError, RegistryError
from vcm.http.body import Answer
from vcm.http.faults import NetworkFaultError
from vcm.http.retries import retry_after

_SUCCESSES = frozenset({200, 206})
_MISSES = frozenset({404, 410})
_UNAUTHORIZED = 401
_FORBIDDEN = 403
_TIMEOUT = 408
_TOO_MANY = 429
_BUSY = frozenset({_TOO_MANY, 503})
_BUSY_SECONDS = 2.0
_LEAST_FAULT = 500


def refusal(answer: Answer, *, hides_misses: bool) -> RegistryError | None:
    """The error for a mirror's answer; None where it holds the file.

    Args:
        answer: its body has not been read.
        hides_misses: whether 403 is said of what is not there, as buckets do to those who may not list them.

    Returns:
        ModelNotFoundError where the mirror has no such file; AUTHENTICATION_ERROR where it does not give it to us;
        NetworkFaultError where another try may help, with ``retry_after`` where the mirror has too much to do.
    """
    status = answer.status
    if status in _SUCCESSES:
        # A digest is of the bytes themselves, and a range of compressed ones would be a range of something else.
        return RegistryError("sends it compressed, which nobody asked for") if answer.is_encoded else None
    if status in _MISSES or (status == _FORBIDDEN and hides_misses):
        return ModelNotFoundError(f"does not have it (status {status})")
    if status in (_UNAUTHORIZED, _FORBIDDEN):
        return RegistryError(
            f"access denied (status {status})",
            error_code=AUTHENTICATION_ERROR,
            hint="give that mirror the header it wants, in the user's own configuration",
        )
    if status in _BUSY:
        seconds = retry_after(answer.headers)
        reason = "too many requests" if status == _TOO_MANY else f"answers {status}"
        return NetworkFaultError(reason, retry_after=_BUSY_SECONDS if seconds is None else seconds)
    if status == _TIMEOUT or status >= _LEAST_FAULT:
        return NetworkFaultError(f"answers {status}")
    return RegistryError(f"answers {status}")
