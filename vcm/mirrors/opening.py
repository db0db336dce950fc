"""The mirrors that the settings name, each with connections of its own."""

from __future__ import annotations

from vcm.core.mirrors import Mirror
from vcm.http.client import Address, HttpClient
from vcm.mirrors.connecting import registry_client
from vcm.mirrors.folder import FolderMirror
from vcm.mirrors.registry import RegistryMirror
from vcm.mirrors.web import WebMirror
from vcm.settings import Settings

READ_SECONDS = 30.0
"""Seconds without a byte after which another source is worth asking; an agent may fetch before it answers."""


def open_mirror(settings: Settings, mirror: Mirror) -> WebMirror | RegistryMirror | FolderMirror:
    """The way to one mirror. Nothing is asked yet.

    Raises:
        RegistryError: the file of certificates is not there.
        ValueError: an ``oci://`` address names no registry.
    """
    if mirror.kind == "file":
        return FolderMirror(mirror)
    if mirror.kind == "oci":
        return RegistryMirror(mirror, registry_client(settings, mirror, READ_SECONDS))
    address = Address(mirror.url, ca_bundle=settings.ca_bundle, read_seconds=READ_SECONDS, proxy=mirror.proxy)
    return WebMirror(mirror, HttpClient(address, is_offline=settings.offline))


def open_mirrors(settings: Settings) -> list[WebMirror | RegistryMirror | FolderMirror]:
    """All mirrors that may be asked, in order: offline those that are folders."""
    return [open_mirror(settings, each) for each in settings.mirrors if each.kind == "file" or not settings.offline]
