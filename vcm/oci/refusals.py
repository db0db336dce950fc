"""What a registry's refusals mean: status and codes to our errors, with what to do next.

https://github.com/opencontainers/distribution-spec/blob/main/spec.md#error-codes. Who may do what is decided before:
vcm.oci.authorization.
"""

from __future__ import annotations

import json

from vcm.core.wording import byte_count, printable
from vcm.errors import ModelNotFoundError, RegistryError
from vcm.http.body import Answer
from vcm.http.faults import NetworkFaultError
from vcm.http.retries import RETRIED_STATUS, retry_after

DIGEST_INVALID = "DIGEST_INVALID"

_LONGEST_BODY = 1 << 16
_BODY_SECONDS = 10.0
_LONGEST_WORDS = 200
_TOO_MANY = 429
_TOO_LARGE = 413
_NOT_FOUND = 404
_NOT_ALLOWED = 405
_TELL = "tell whoever runs that registry"
_MEANINGS = {
    "BLOB_UPLOAD_INVALID": ("took the upload for a damaged one", "try again"),
    "BLOB_UPLOAD_UNKNOWN": ("has forgotten the upload", "try again; if it has several servers, they need one secret"),
    DIGEST_INVALID: ("received something else than was sent", "try again; run vcm verify if it happens again"),
    "MANIFEST_BLOB_UNKNOWN": ("has lost a blob that the manifest names", "push again"),
    "MANIFEST_INVALID": ("does not take manifests of models", "use a registry that speaks OCI 1.1, or 1.0 at least"),
    "NAME_INVALID": ("does not allow this repository's name", "change the path in the mirror's url"),
    "UNSUPPORTED": ("does not do that", "push to the registry behind it, if it is only a cache"),
}
_MISSING = {
    "BLOB_UNKNOWN": ("does not have the blob", "push the model there, or name another mirror"),
    "MANIFEST_UNKNOWN": ("does not have the manifest", "push the model there, or name another mirror"),
    "NAME_UNKNOWN": (
        "does not have the repository",
        "check the mirror's url; some want it made before it is pushed to",
    ),
}


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
        self.words = ": ".join(printable(text)[:_LONGEST_WORDS] for text in said[0] if text) if said else ""


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
    code = next(iter(refusal.codes), "")
    told = f" ({refusal.words})" if refusal.words else ""
    if code == "TOOMANYREQUESTS" or answer.status in RETRIED_STATUS:
        seconds = retry_after(answer.headers)
        busy = code == "TOOMANYREQUESTS" or answer.status == _TOO_MANY
        when = "later" if seconds is None else f"in {seconds:.0f} s"
        message = f"{host}: too many requests{told}" if busy else f"{host} answers {answer.status}{told}"
        return NetworkFaultError(message, hint=f"try again {when}", retry_after=seconds)
    if code == "SIZE_INVALID" or answer.status == _TOO_LARGE:
        what = "something" if size is None else f"a blob of {byte_count(size)}"
        return RegistryError(
            f"{host} refused {what} for {repository}: it is too large{told}",
            hint="raise the limit of the registry or of the proxy before it, or push to another one",
        )
    if code in _MISSING or answer.status == _NOT_FOUND:
        problem, hint = _MISSING.get(code) or _MISSING["NAME_UNKNOWN"]
        return ModelNotFoundError(f"{host} {problem}: {repository}{told}", hint=hint)
    if code in _MEANINGS or answer.status == _NOT_ALLOWED:
        problem, hint = _MEANINGS.get(code) or _MEANINGS["UNSUPPORTED"]
        return RegistryError(f"{host} {problem}: {repository}{told}", hint=hint)
    return RegistryError(f"{host} answers {answer.status} for {repository}{told}", hint=_TELL)
