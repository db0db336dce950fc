"""What a person types for a model: ``acme/frames``, ``acme/frames@v1.2``, ``acme/frames~=1.2`` or an address."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import unquote, urlsplit

from vcm.core import names
from vcm.core.manifest import specifier
from vcm.errors import ConfigError

_REFERENCE = re.compile(r"(?P<repo>[^@<>=~!\s]+)\s*(?:@?(?P<version>[<>=~!].*)|@(?P<revision>.+))?")


def parse_reference(text: str) -> dict[str, Any]:
    """The keys of a requirement that a reference stands for.

    Raises:
        ConfigError: it is none.
    """
    if text.startswith(("http://", "https://")):
        return {"url": text}
    match = _REFERENCE.fullmatch(text.strip())
    try:
        if match is None:
            raise ValueError("expected namespace/name")  # noqa: TRY301
        names.repo_id(match["repo"])
        if match["version"]:
            specifier(match["version"])
    except ValueError as error:
        raise ConfigError(
            f'"{text}" names no model: {error}',
            hint="write namespace/name, namespace/name@REVISION, 'namespace/name~=1.2', or the address of a file",
        ) from None
    return {key: value for key, value in match.groupdict().items() if value}


def file_name(url: str, model: str) -> str:
    """The name under which a direct file stands in its snapshot: the last part of the address.

    Raises:
        ConfigError: it has none that every system can hold.
    """
    name = unquote(urlsplit(url).path).rpartition("/")[2]
    try:
        return names.portable_file_path(name)
    except ValueError as error:
        raise ConfigError(
            f"the url gives no usable file name: {error}", hint=f"use another url for [models.{model}]", model=model
        ) from None
