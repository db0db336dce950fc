"""PyAV and numpy, which come with an extra; who lacks them is told which."""

from __future__ import annotations

from vcm.errors import ConfigError

try:
    import av
    import numpy as np
except ImportError as error:
    raise ConfigError(
        f"reading a video needs {error.name}, which is not installed", hint="pip install 'vcm[video]'"
    ) from error

__all__ = ["av", "np"]
