"""Mirrors: who else may have a locked file's bytes, and where to ask them for it.

The lock pins every byte, so no mirror needs to be trusted, and the lock never names one. A mirror is written as one
address::

    http://mirror.rack:8080                            a served store: /blobs/sha256/<hex> below it
    http://bucket.corp/{repo}/{commit}/{path}          a template; its fields are FIELDS
    oci://registry.corp/models/{repo}                  an OCI registry (oci+http:// where it speaks no TLS)
    file:///mnt/models/store                           another store, or any OCI image layout, on this machine's disks

What people write is read in ``vcm.core.mirror_config``.
"""

from __future__ import annotations

import re
from urllib.parse import quote, urlsplit

from vcm.core.records import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Literal

    from vcm.core.lock import LockedFile, LockedModel

FIELDS = ("sha256", "repo", "commit", "path", "size")
BLOBS = "blobs/sha256/{sha256}"
"""Where an OCI image layout, which a store is, has its blobs: https://github.com/opencontainers/image-spec."""

TIMEOUT = 30.0
"""Seconds without a byte after which another source is worth asking."""

FIELD = re.compile(r"\{([^{}]*)\}")
_SEPARATOR = r"\.|__?|-+"
_THIS_MACHINE = r"localhost|127(?:\.[0-9]{1,3}){3}|\[::1\]"


@record(frozen=True, kw_only=True)
class Mirror:
    """One ``[[mirror]]``.

    Attributes:
        name: for messages, and what ``vcm push`` is told.
        url: where a blob is, with fields in braces; of a registry, its own address. No password is in it.
        push: whether it is the one that ``vcm push`` means where it is told no name.
        proxy: to go through, such as a peer-to-peer agent on this machine.
        headers: to send to it; their values may hold fields as well. They are in no ``repr``: one may be a password.
        timeout: seconds without a byte after which it counts as broken; an agent may fetch a file before it answers.
        named_in: the file or variable that names it.
    """

    name: str
    url: str
    push: bool = False
    proxy: str | None = None
    headers: Mapping[str, str] = {}
    timeout: float = TIMEOUT
    named_in: str = ""

    def __repr__(self) -> str:
        return f"Mirror(name={self.name!r}, url={self.shown_url!r}, headers={sorted(self.headers)})"

    @property
    def shown_url(self) -> str:
        """Its address, for people: what stands behind a question mark may be a signature."""
        return self.url.partition("?")[0]

    @property
    def kind(self) -> Literal["http", "oci", "file"]:
        """How it is asked."""
        scheme = urlsplit(self.url).scheme
        return "oci" if scheme.startswith("oci") else "file" if scheme == "file" else "http"


def expanded(template: str, model: LockedModel, file: LockedFile, *, quoted: bool = True) -> str | None:
    """A template with its fields filled in; None where the file has no such property.

    Args:
        template: with any of FIELDS in braces.
        model: the file's. One that is a direct url has no commit, and for its repo stands its name.
        file: whose bytes are wanted.
        quoted: whether it becomes a web address.
    """
    values = {
        "sha256": file.sha256,
        "repo": model.repo or model.name,
        "commit": model.commit,
        "path": file.path,
        "size": str(file.size),
    }
    used = set(FIELD.findall(template))
    if any(values[name] is None for name in used):
        return None
    return FIELD.sub(lambda match: quote(values[match[1]] or "") if quoted else values[match[1]] or "", template)


def expanded_headers(templates: Mapping[str, str], model: LockedModel, file: LockedFile) -> dict[str, str]:
    """Headers with their fields filled in, without those that say something that the file has not got."""
    headers = {name: expanded(text, model, file, quoted=False) for name, text in templates.items()}
    return {name: text for name, text in headers.items() if text is not None}


def repository(template: str, model: LockedModel) -> str:
    r"""A model's repository in an OCI registry: the template's path, in the letters that the registries allow.

    ``[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*``, and slashes between such parts:
    https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pulling-manifests. A part of which nothing can
    stand there is left out; where nothing can, the name is ``model``.
    """
    path = template.replace("{repo}", model.repo or model.name).lower()
    parts = (re.sub(r"[^a-z0-9._-]+", "-", part) for part in path.split("/"))
    parts = (re.sub(r"[._-]+", _separator, part).strip("._-") for part in parts)
    return "/".join(part for part in parts if part) or "model"


def _separator(match: re.Match[str]) -> str:
    return match[0] if re.fullmatch(_SEPARATOR, match[0]) else "-"


@record(frozen=True)
class RegistryAddress:
    """One OCI registry, and where in it a model's repository is.

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
    plain = match[1] or is_this_machine(match[2])
    return RegistryAddress(f"{'http' if plain else 'https'}://{match[2]}", match[3])


def is_this_machine(host: str) -> bool:
    """Whether a host, with or without a port, is reached without leaving this machine."""
    return re.fullmatch(rf"({_THIS_MACHINE})(:[0-9]+)?", host.lower()) is not None
