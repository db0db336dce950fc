"""What a registry's refusals mean: status and codes to our errors, with what to do next.

https://github.com/opencontainers/distribution-spec/blob/main/spec.md#error-codes. Who may do what is decided before:
vcm.oci.authorization.
"""

from __future__ import annotations

import json

from vcm.core.wording import byte_count, printable
from vcm.errors import AUTHENTICATION_ERROR, NETWORK_ERROR, NOT_FOUND, RegistryError
from vcm.http.body import Answer
from vcm.http.faults import NetworkFaultError
from vcm.http.retries import RETRIED_STATUS, retry_after

DIGEST_INVALID = "DIGEST_INVALID"

_LONGEST_BODY = 1 << 16
_BODY_SECONDS = 10.0
_LONGEST_WORDS = 200
_TOO_MANY = 429
_TOO_LARGE = 413
_NOT_SATISFIABLE = 416

_TELL = "ask whoever runs that registry"
_DENIED = (
    "{host} does not allow this in {repository}",
    AUTHENTICATION_ERROR,
    "ask for the right to push there, or run docker login {host} as somebody who has it",
)
_UNKNOWN_REPOSITORY = (
    "{host} has no repository {repository}",
    NOT_FOUND,
    "check the mirror's address; some registries want a repository to be made before anything is pushed to it",
)
_UNSUPPORTED = ("{host} takes no uploads", NETWORK_ERROR, "if it is only a cache, push to the registry behind it")
_MEANINGS: dict[str | int, tuple[str, str, str]] = {
    "BLOB_UNKNOWN": ("{host} has no such blob in {repository}", NOT_FOUND, "push the model there"),
    "BLOB_UPLOAD_INVALID": ("{host} takes the upload to {repository} for a damaged one", NETWORK_ERROR, "try again"),
    "BLOB_UPLOAD_UNKNOWN": ("{host} has forgotten the upload to {repository}", NETWORK_ERROR, "try again"),
    "DENIED": _DENIED,
    "MANIFEST_BLOB_UNKNOWN": ("{host} has lost a blob of {repository} meanwhile", NETWORK_ERROR, "push it again"),
    "MANIFEST_INVALID": ("{host} does not take the manifest of a model for {repository}", NETWORK_ERROR, _TELL),
    "MANIFEST_UNKNOWN": ("{host} has no such manifest in {repository}", NOT_FOUND, "push the model there"),
    "NAME_INVALID": (
        "{host} allows no repository {repository}",
        NETWORK_ERROR,
        "change the path in the mirror's address",
    ),
    "NAME_UNKNOWN": _UNKNOWN_REPOSITORY,
    "UNSUPPORTED": _UNSUPPORTED,
    401: ("{host} does not know who asks", AUTHENTICATION_ERROR, "run docker login {host}, or podman login {host}"),
    403: _DENIED,
    404: _UNKNOWN_REPOSITORY,
    405: _UNSUPPORTED,
    507: ("{host} has no room for {repository}", NETWORK_ERROR, "free some space there, then push again"),
}
"""By code, or else by status: message, error code, hint."""


class Refusal:
    """What a registry says against something.

    Attributes:
        codes: the error codes of its answer, in its order.
        words: the first error as the registry tells it; empty where it tells none.
    """

    def __init__(self, answer: Answer) -> None:
        try:
            errors = json.loads(answer.body(_LONGEST_BODY, _BODY_SECONDS))["errors"]
            said = [(str(each["code"]), str(each.get("message") or "")) for each in errors]
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError, RegistryError):
            said = []
        self.codes = tuple(code for code, _ in said)
        words = [answer.without_secrets(text) for text in said[0] if text] if said else []
        self.words = ": ".join(printable(text)[:_LONGEST_WORDS] for text in words)


def refused(
    answer: Answer, host: str, repository: str, refusal: Refusal | None = None, *, size: int | None = None
) -> RegistryError:
    """The error for an answer whose status is no success.

    Args:
        answer: a registry's.
        host: the registry's, for messages.
        repository: what the request was about.
        refusal: its body, where that was read already.
        size: bytes of the blob that was sent, where one was.
    """
    refusal = refusal or Refusal(answer)
    told = f" ({refusal.words})" if refusal.words else ""
    is_busy = answer.status == _TOO_MANY or "TOOMANYREQUESTS" in refusal.codes
    if is_busy or answer.status in RETRIED_STATUS:
        seconds = retry_after(answer.headers)
        return NetworkFaultError(
            f"{host}: too many requests{told}" if is_busy else f"{host} answers {answer.status}{told}",
            hint="try again later" if seconds is None else f"try again in {seconds:.0f} s",
            retry_after=seconds,
        )
    # Where a part of a blob was sent, 416 would be about the part; one that is sent as a whole is too large for one.
    if answer.status in (_TOO_LARGE, _NOT_SATISFIABLE if size else None) or "SIZE_INVALID" in refusal.codes:
        what = "something that is too large for it" if size is None else f"a blob of {byte_count(size)}"
        return RegistryError(
            f"{host} refused {what}{told}",
            hint="raise the limit of it, or of the proxy before it, for one blob: in parts it has another digest",
        )
    unknown = (f"{{host}} answers {answer.status} for {{repository}}", NETWORK_ERROR, _TELL)
    keys: tuple[str | int, ...] = (*refusal.codes, answer.status)
    message, code, hint = next((_MEANINGS[key] for key in keys if key in _MEANINGS), unknown)
    facts = {"host": host, "repository": repository}
    return RegistryError(message.format(**facts) + told, error_code=code, hint=hint.format(**facts))
