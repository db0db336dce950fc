"""Credential helpers: programs that know the secrets of registries, and are asked for one.

https://github.com/docker/docker-credential-helpers#development: ``docker-credential-NAME get`` reads a registry's name
and writes JSON. What a helper says is in no message: it may be a secret.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from contextlib import suppress
from threading import Timer

from vcm.core.wording import printable, system_reason
from vcm.errors import CONFIG_ERROR, RegistryError

SECONDS = 60.0
"""For a helper to answer; it may ask somebody for a password."""

_MOST_BYTES = 1 << 20
_NAME = r"[A-Za-z0-9_.-]+"
_UNKNOWN = b"credentials not found"
"""How every helper begins to say that it has none: ``errCredentialsNotFoundMessage`` of the helpers' library."""


class CredentialsError(RegistryError):
    """Credentials are somewhere, and cannot be used as they stand: only the registry they are for cannot be asked."""

    error_code = CONFIG_ERROR


def ask_helper(name: str, registry: str, named_in: str) -> tuple[str, str] | None:
    """The user and the secret that a helper has for a registry; None where it has none.

    Args:
        name: the helper's, without ``docker-credential-``.
        registry: what it keeps them under.
        named_in: the file that names the helper.

    Raises:
        CredentialsError: there is no such program, it fails, takes too long, or says something else than it should.
    """
    if not re.fullmatch(_NAME, name):
        raise CredentialsError(
            f"{named_in}: {printable(name)[:100]!r} is no name of a credential helper",
            hint=f"correct credsStore and credHelpers in {named_in}",
        )
    program = f"docker-credential-{name}"
    hint = f"to see what it says, run: echo {registry} | {program} get"
    try:
        code, output = _run(program, registry)
    except FileNotFoundError:
        raise CredentialsError(
            f"{program} is not installed, and {named_in} names it for {registry}",
            hint=f"install it, or take it out of credsStore and credHelpers in {named_in}",
        ) from None
    except OSError as error:
        raise CredentialsError(f"{program} cannot be run: {system_reason(error)}", hint=hint) from None
    if code is None:
        raise CredentialsError(f"{program} did not say in {SECONDS:.0f} s who may ask {registry}", hint=hint)
    if len(output) > _MOST_BYTES:
        raise CredentialsError(f"{program} says more about {registry} than {_MOST_BYTES} bytes", hint=hint)
    if code:
        if _UNKNOWN in output.lower():
            return None
        raise CredentialsError(f"{program} failed for {registry} with exit status {code}", hint=hint)
    try:
        answer = json.loads(output)
        user, secret = answer["Username"], answer["Secret"]
    except (ValueError, LookupError, TypeError, RecursionError):
        user = secret = None
    if not isinstance(user, str) or not isinstance(secret, str):
        raise CredentialsError(f"{program} says something else about {registry} than user and secret", hint=hint)
    return (user, secret) if secret else None


def _run(program: str, registry: str) -> tuple[int | None, bytes]:
    """Its exit status and what it says, or a little more than what is read of it; None where it took too long."""
    is_over = False

    def end() -> None:
        nonlocal is_over
        is_over = True
        _kill(process)

    process = subprocess.Popen(  # noqa: S603  (no shell; the user's own configuration names it)
        [program, "get"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        # Of its own, so that whatever it started ends with it and nothing holds its output open.
        start_new_session=True,
    )
    timer = Timer(SECONDS, end)
    with process:
        timer.start()
        try:
            assert process.stdin and process.stdout
            with suppress(BrokenPipeError), process.stdin as question:
                question.write(registry.encode())
            output = process.stdout.read(_MOST_BYTES + 1)
            code = process.wait() if len(output) <= _MOST_BYTES else 0
        finally:
            timer.cancel()
            if process.returncode is None:
                _kill(process)
    return None if is_over else code, output


def _kill(process: subprocess.Popen[bytes]) -> None:
    with suppress(OSError):
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
