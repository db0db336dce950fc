"""``vcm`` and ``python -m vcm``."""

import os

_INTERRUPTED = 130


def main() -> None:
    """Run the command line of this process, and end with its exit code."""
    try:
        # Here, not above: Ctrl-C may come while modules are still being read.
        from vcm.cli.app import run
    except KeyboardInterrupt:
        os._exit(_INTERRUPTED)
    run()


if __name__ == "__main__":
    main()
