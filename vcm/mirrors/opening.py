"""The way to the mirrors that the settings describe, each with its own connections and what may be sent to it."""

from __future__ import annotations

from collections.abc import Mapping

from vcm.core.mirrors import Mirror, registry_address
from vcm.http.client import READ_SECONDS, Address, HttpClient
from vcm.install.source import Source
from vcm.mirrors.folder import FolderMirror
from vcm.mirrors.registry import RegistryMirror
from vcm.mirrors.web import WebMirror
from vcm.oci.client import RegistryClient
from vcm.oci.credentials import Keyring, given_credentials
from vcm.settings import Settings, registry_credential_files


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
        return RegistryMirror(mirror, registry_client(settings, mirror, read_seconds=mirror.timeout))
    return WebMirror(mirror, _http(settings, mirror, mirror.url, mirror.timeout))


def registry_client(settings: Settings, mirror: Mirror, *, read_seconds: float = READ_SECONDS) -> RegistryClient:
    """A client of a mirror that is an OCI registry. Nothing is asked yet, and no credentials are looked for.

    Headers with fields in them are for whoever makes a request: they are another's for each file.

    Args:
        settings: certificates to trust, and whether anybody may be asked.
        mirror: the registry.
        read_seconds: seconds without a byte that mean a broken connection; to take in a large blob may need many.

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
    keyring = Keyring(address.host, registry_credential_files(), given)
    return RegistryClient(_http(settings, mirror, address.base, read_seconds, headers), address.base, keyring)


def _http(
    settings: Settings, mirror: Mirror, base: str, read_seconds: float, headers: Mapping[str, str] | None = None
) -> HttpClient:
    address = Address(
        base,
        ca_bundle=settings.ca_bundle,
        read_seconds=read_seconds,
        headers=headers or {},
        proxy=mirror.proxy,
        named_by=f"the url{' and the proxy' if mirror.proxy else ''} of mirror {mirror.name}",
    )
    return HttpClient(address, is_offline=settings.offline)
