"""Where an OCI registry is: what ``oci://registry.corp/models/{repo}`` means."""

from __future__ import annotations

from vcm.core.mirrors import RegistryAddress, registry_address

__all__ = ["RegistryAddress", "registry_address"]
