"""The way to a mirror that the settings describe, with what may be sent to it."""

from __future__ import annotations

from vcm.core.mirrors import Mirror, registry_address
from vcm.http.client import Address, HttpClient
from vcm.oci.client import RegistryClient
from vcm.oci.credentials import Keyring, given_credentials
from vcm.settings import Settings, registry_credential_files


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
