"""``vcm`` and ``python -m vcm``."""

import os

_INTERRUPTED = 130


def main() -> None:
    """Run the command line of this process, and end with its exit code."""
    try:
        # Here, not above: Ctrl-C may come while modules are still being read.
        import signal

        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            # Python would drop what is raised in the callbacks of weak references, of which any import has some.
            signal.signal(signal.SIGINT, _end)
        from vcm.cli.app import run
    except KeyboardInterrupt:
        os._exit(_INTERRUPTED)
    run()


def _end(_number: int, _frame: object) -> None:
    os._exit(_INTERRUPTED)


if __name__ == "__main__":
    main()
