"""Where to push to: a configured mirror or an address, and the tag that the user gives."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NoReturn
from urllib.parse import urlsplit

from vcm.core.mirror_config import mirror_address
from vcm.core.mirrors import Mirror, RegistryAddress, is_this_machine, registry_address
from vcm.core.wording import did_you_mean
from vcm.errors import ConfigError

_COPY = "copy the store's folder blobs to where that server takes it from, with cp, rclone copy or aws s3 sync"
_HOST = re.compile(
    r"([\w.-]+:\d+|[\w-]+(?:\.[\w-]+)+|localhost|\[[0-9a-fA-F:]+\](?::\d+)?)(?:/+([^?#]*?)/*)?$", re.ASCII
)
"""Host and path of what may be meant as the address of a registry."""
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")


def destination(text: str | None, mirrors: Sequence[Mirror]) -> tuple[Mirror, RegistryAddress]:
    """The mirror that the command line names, and where it is.

    Args:
        text: name of a configured mirror, or an ``oci://`` address; None for the one that is meant to be pushed to.
        mirrors: those that are configured.

    Raises:
        ConfigError: there is no such mirror, or it is nothing to push to.
    """
    mirror = _meant(mirrors) if text is None else next((each for each in mirrors if each.name == text), None)
    if mirror is None:
        assert text is not None
        mirror = _at_address(text) if "://" in text else _unknown(text, mirrors)
    if mirror.kind != "oci":
        folder = mirror.url.removeprefix("file://").partition("/blobs/sha256/")[0]
        way = f"fill it as a store: vcm sync --cache-dir {folder}" if mirror.kind == "file" else _COPY
        raise ConfigError(f"{mirror.name} is not an OCI registry: vcm pushes to no other kind of mirror", hint=way)
    return mirror, registry_address(mirror.url)


def _meant(mirrors: Sequence[Mirror]) -> Mirror:
    meant = [each for each in mirrors if each.push]
    if len(meant) != 1:
        names = [each.name for each in meant or mirrors if each.kind == "oci"]
        raise ConfigError(
            "which mirror to push to? " + (f"{len(meant)} have push = true" if meant else "none has push = true"),
            hint=f"name one: vcm push {' or '.join(names)}" if names else "name an address: oci://HOST/PATH/{repo}",
        )
    return meant[0]


def _at_address(text: str) -> Mirror:
    if text.startswith(("http://", "https://")):
        raise ConfigError(
            "that is the address of a web server, and vcm pushes to OCI registries only",
            hint=f"{_meant_to_be(text)}; for any other server, {_COPY}",
        )
    try:
        url, authorization = mirror_address(text)
    except ValueError as error:
        raise ConfigError(f"this is nothing to push to: {error}", hint=_meant_to_be(text)) from None
    host = urlsplit(url).netloc
    if authorization is not None:
        # Other users of the machine can read the command line.
        raise ConfigError(
            "an address holds no credentials here", hint=f"run docker login {host}, or podman login {host}"
        )
    return Mirror(name=host or url, url=url)


def _unknown(name: str, mirrors: Sequence[Mirror]) -> NoReturn:
    known = [each.name for each in mirrors]
    raise ConfigError(
        f'no mirror "{name}"{did_you_mean(name, known)}',
        hint=f"mirrors: {', '.join(known)}" if known and not _HOST.match(name) else _meant_to_be(name),
    )


def _meant_to_be(text: str) -> str:
    """How a registry is named, in the words of whoever has written something else."""
    scheme, _, rest = text.rpartition("://")
    match = _HOST.match(rest)
    if match is None or scheme not in ("", "http", "https", "docker"):
        return "name an address: oci://HOST/PATH/{repo}"
    scheme = "oci+http" if scheme == "http" and not is_this_machine(match[1]) else "oci"
    path = match[2] or "{repo}"
    return f"if it is a registry, write {scheme}://{match[1]}/{path}"


def checked_tag(text: str) -> str:
    """A tag that registries know how to keep.

    https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pulling-manifests.

    Raises:
        ConfigError: it is none.
    """
    if not _TAG.fullmatch(text):
        raise ConfigError(
            f'"{text}" is no tag', hint="a tag has at most 128 letters, digits, _, . and -, and begins with no . or -"
        )
    return text
