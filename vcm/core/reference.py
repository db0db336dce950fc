"""What a person types for a model: ``acme/frames``, ``acme/frames@v1.2``, ``acme/frames~=1.2`` or an address."""

from __future__ import annotations

import re
from typing import Any

from vcm.core import names
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
    except ValueError as error:
        raise ConfigError(
            f'"{text}" names no model: {error}',
            hint="write namespace/name, namespace/name@REVISION, 'namespace/name~=1.2', or the address of a file",
        ) from None
    return {key: value for key, value in match.groupdict().items() if value}
