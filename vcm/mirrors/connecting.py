"""The way to a mirror that the settings describe, with what may be sent to it."""

from __future__ import annotations

from vcm.core.mirrors import Mirror, registry_address
from vcm.http.client import READ_SECONDS, Address, HttpClient
from vcm.oci.client import RegistryClient
from vcm.oci.credentials import Keyring, given_credentials
from vcm.settings import Settings, registry_credential_files


def registry_client(settings: Settings, mirror: Mirror, read_seconds: float = READ_SECONDS) -> RegistryClient:
    """A client of a mirror that is an OCI registry. Nothing is asked yet, and no credentials are looked for.

    Headers with fields in them are for whoever makes a request: they are another's for each file.

    Args:
        settings: what this machine says of proxies, certificates and credentials.
        mirror: the registry.
        read_seconds: seconds without a byte that mean a broken connection.

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
    way = Address(address.base, None, settings.ca_bundle, read_seconds, headers, mirror.proxy)
    keyring = Keyring(address.host, registry_credential_files(), given)
    return RegistryClient(HttpClient(way, is_offline=settings.offline), address.base, keyring)
