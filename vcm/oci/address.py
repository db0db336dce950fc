"""Where an OCI registry is: what ``oci://registry.corp/models/{repo}`` means."""

from __future__ import annotations

import re
from ipaddress import ip_address
from urllib.parse import urlsplit

from vcm.core.records import record


@record(frozen=True)
class RegistryAddress:
    """One registry, and where in it a model's repository is.

    Attributes:
        base: address of the registry, ``https://registry.corp``.
        template: path of a repository, in which ``{repo}`` may stand.
    """

    base: str
    template: str

    @property
    def host(self) -> str:
        """Host and port: what credentials are kept under."""
        return urlsplit(self.base).netloc


def registry_address(url: str) -> RegistryAddress:
    """The registry that an ``oci://`` address names; a registry on this machine is taken to speak plain HTTP.

    Raises:
        ValueError: says what is wrong with it.
    """
    match = re.fullmatch(r"oci(\+http)?://([^/?#@]+)/([^?#]+?)/?", url)
    if match is None:
        raise ValueError("an OCI registry is written oci://HOST/PATH/{repo}")
    plain = match[1] or _is_this_machine(urlsplit(f"//{match[2]}").hostname or "")
    return RegistryAddress(f"{'http' if plain else 'https'}://{match[2]}", match[3])


def _is_this_machine(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
