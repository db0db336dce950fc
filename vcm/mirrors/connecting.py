"""The way to a registry that the settings describe."""

from __future__ import annotations

from vcm.core.mirrors import Mirror
from vcm.http.client import Address, HttpClient
from vcm.oci.address import registry_address
from vcm.oci.client import RegistryClient
from vcm.settings import Settings


def registry_client(settings: Settings, mirror: Mirror) -> RegistryClient:
    """A client of the registry that a mirror names. Nothing is asked yet.

    Raises:
        RegistryError: the file of certificates is not there.
        ValueError: the mirror's address names no registry.
    """
    base = registry_address(mirror.url).base
    address = Address(base, ca_bundle=settings.ca_bundle, headers=mirror.headers, proxy=mirror.proxy)
    return RegistryClient(HttpClient(address, is_offline=settings.offline), base)
