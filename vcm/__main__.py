"""``python -m vcm``."""

from vcm.cli.app import run

run()
