"""The way to the mirrors that the settings describe, each with its own connections and what may be sent to it."""

from __future__ import annotations

from vcm.core.mirrors import Mirror, registry_address
from vcm.http.client import Address, HttpClient
from vcm.install.source import Source
from vcm.mirrors.folder import FolderMirror
from vcm.mirrors.registry import RegistryMirror
from vcm.mirrors.web import WebMirror
from vcm.oci.client import RegistryClient
from vcm.oci.credentials import Keyring, given_credentials
from vcm.settings import Settings, registry_credential_files

READ_SECONDS = 30.0
"""Seconds without a byte after which another source is worth asking; an agent may fetch before it answers."""


def open_mirrors(settings: Settings) -> list[Source]:
    """All mirrors that may be asked, in order: offline those that are folders."""
    return [open_mirror(settings, each) for each in settings.mirrors if each.kind == "file" or not settings.offline]


def open_mirror(settings: Settings, mirror: Mirror) -> Source:
    """The way to one mirror. Nothing is asked yet.

    Raises:
        ConfigError: as for ``registry_client``.
        RegistryError: the file of certificates is not there.
        ValueError: an ``oci://`` address names no registry.
    """
    if mirror.kind == "file":
        return FolderMirror(mirror)
    if mirror.kind == "oci":
        return RegistryMirror(mirror, registry_client(settings, mirror))
    address = Address(mirror.url, ca_bundle=settings.ca_bundle, read_seconds=READ_SECONDS, proxy=mirror.proxy)
    return WebMirror(mirror, HttpClient(address, is_offline=settings.offline))


def registry_client(settings: Settings, mirror: Mirror) -> RegistryClient:
    """A client of a mirror that is an OCI registry. Nothing is asked yet, and no credentials are looked for.

    Headers with fields in them are for whoever makes a request: they are another's for each file.

    Raises:
        ConfigError: the mirror's own credentials can be sent in no header.
        RegistryError: the file of certificates is not there.
        ValueError: the mirror is no OCI registry.
    """
    address = registry_address(mirror.url)
    headers, given = {}, None
    for name, text in mirror.headers.items():
        if name.lower() == "authorization":
            given = given_credentials(text, f"the headers of mirror {mirror.name}")
        elif "{" not in text:
            headers[name] = text
    way = Address(address.base, ca_bundle=settings.ca_bundle, headers=headers, proxy=mirror.proxy)
    keyring = Keyring(address.host, registry_credential_files(), given)
    return RegistryClient(HttpClient(way, is_offline=settings.offline), address.base, keyring)
