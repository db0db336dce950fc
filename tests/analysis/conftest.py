"""What the tests of the gate have, too."""

from tests.enforce.conftest import frames, refusal

__all__ = ["frames", "refusal"]
