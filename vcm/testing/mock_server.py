"""A mock server with one file per model, for tests that need a download URL and nothing else."""

from __future__ import annotations

from typing import Dict, Self, Tuple
from urllib.parse import quote, urlsplit

from vcm.testing.hub import HubSimulator

NAMESPACE = "mock"
"""The namespace of models whose name has none."""

FILE_NAME = "model.safetensors"
"""The one file of every model."""


class MockHuggingFaceServer:
    """Mock Hugging Face HTTP server for testing.

    Every model is a repository with one file, ``model.safetensors``, on the branch ``main``. A name without a slash
    gets the namespace ``mock``: the model ``tiny`` is the repository ``mock/tiny``. The class may be used in a
    ``with`` statement.

    Args:
        models: the content of each model's file by the model's name.

    Attributes:
        hub: the simulator underneath, for faults, gates, commits and the log of requests.

    Raises:
        ValueError: two names mean the same repository.
    """

    def __init__(self, models: Dict[str, bytes]) -> None:
        self.hub = HubSimulator()
        self._repos = {name: name if "/" in name else f"{NAMESPACE}/{name}" for name in models}
        for name, content in models.items():
            self.hub.add_repo(self._repos[name], {FILE_NAME: content})

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> Tuple[str, int]:
        """Start serving and return host and port of the Hub origin.

        Raises:
            OSError: there is no free port.
        """
        self.hub.start()
        address = urlsplit(self.hub.endpoint)
        return str(address.hostname), int(address.port or 0)

    def stop(self) -> None:
        """Stop serving and close every connection; does nothing when the server is not running."""
        self.hub.stop()

    def get_model_url(self, model_name: str) -> str:
        """Return the URL that downloads a model's file; the client must follow redirects, as with the real Hub.

        Args:
            model_name: a name given to the constructor.

        Raises:
            KeyError: there is no model of that name.
            RuntimeError: the server is not running.
        """
        if model_name not in self._repos:
            known = ", ".join(sorted(self._repos)) or "none"
            raise KeyError(f"there is no model {model_name!r}; the models of this server are: {known}")
        return f"{self.hub.endpoint}/{quote(self._repos[model_name])}/resolve/main/{FILE_NAME}"
