"""Runs command lines in processes that are forked from one that has imported everything already.

A kill every few milliseconds needs processes that begin at once. Each line on standard input is an order in JSON; the
answer is the child's exit code (negative: the signal) when it is gone. ``harness.Forge`` runs and speaks to it.

An order holds ``arguments``, ``folder`` (the current one), ``environment`` (added), ``output`` (the file that gets
both outputs), and optionally one of:

``kill_after``: the child gets SIGKILL after so many seconds.
``die``: the child kills itself with SIGKILL at the so-manieth time that it touches the disk.
``break``: ``[function, number, errno]``: that function of ``os`` fails with that error, at its so-manieth call; with 0,
at every one.
``count``: a function of ``os``, whose number of calls is the last thing in the output.
``no_locks``: locks do nothing.
"""

from __future__ import annotations

import fcntl
import importlib
import json
import os
import pkgutil
import select
import signal
import sys
import threading
from typing import Any, NoReturn

TOUCHES = frozenset(
    {"open", "os.rename", "os.link", "os.mkdir", "os.rmdir", "os.remove", "os.chmod", "os.truncate", "os.utime"}
    | {"fcntl.flock", "fcntl.ioctl", "os.scandir", "os.listdir", "os.symlink"}
)
"""Audit events of what changes a disk, or has to do with it."""

UNUSED = frozenset({"__main__", "analysis", "detectors", "testing", "video"})
"""Of vcm, what no order needs: every fork would carry its weight."""


class Counter:
    """Says when something has happened so many times; safe to use from many threads."""

    def __init__(self, number: int) -> None:
        self._left = number
        self._lock = threading.Lock()

    def is_reached(self) -> bool:
        """Count once more; True exactly once."""
        with self._lock:
            self._left -= 1
            return self._left == 0


def die_at(number: int, root: str) -> None:
    """SIGKILL to this process when it touches what is below ``root`` for the so-manieth time."""
    counter = Counter(number)

    def count(event: str, arguments: tuple[Any, ...]) -> None:
        if event not in TOUCHES:
            return
        if concerns(arguments, root) and counter.is_reached():
            os.kill(os.getpid(), signal.SIGKILL)

    real_fsync = os.fsync

    def fsync(fd: Any) -> None:
        count("fcntl.flock", (fd,))
        real_fsync(fd)

    os.fsync = fsync
    sys.addaudithook(count)


def concerns(arguments: tuple[Any, ...], root: str) -> bool:
    """Whether a call is about something below ``root``, as far as its first argument tells."""
    return isinstance(arguments[0], int) or str(arguments[0]).startswith(root)


def break_at(name: str, number: int, error: int, root: str) -> None:
    """Let a function of ``os`` fail, at its so-manieth call that is about something below ``root``."""
    counter, real = Counter(number), getattr(os, name)

    def broken(*arguments: Any, **options: Any) -> Any:
        if concerns(arguments, root) and (number == 0 or counter.is_reached()):
            raise OSError(
                error, os.strerror(error), *[str(each) for each in arguments[:1] if not isinstance(each, int)]
            )
        return real(*arguments, **options)

    setattr(os, name, broken)


def count_calls(name: str, root: str) -> list[None]:
    """One entry for each call of a function of ``os`` from now on that is about something below ``root``."""
    calls: list[None] = []
    real = getattr(os, name)

    def counted(*arguments: Any, **options: Any) -> Any:
        if concerns(arguments, root):
            calls.append(None)
        return real(*arguments, **options)

    setattr(os, name, counted)
    return calls


def without_locks() -> None:
    """Locks that are granted to everybody, as on some network file systems."""
    fcntl.flock = lambda *_: None


def child(order: dict[str, Any]) -> None:
    """Carry out an order in this process; does not return."""
    descriptor = os.open(order["output"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    for standard in (1, 2):
        os.dup2(descriptor, standard)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.chdir(order["folder"])
    os.environ.update(order["environment"])
    if order.get("no_locks"):
        without_locks()
    if order.get("break"):
        name, number, error = order["break"]
        break_at(name, number, error, order["root"])
    if order.get("die"):
        die_at(order["die"], order["root"])
    calls = count_calls(order["count"], order["root"]) if order.get("count") else []
    sys.argv = ["vcm", *order["arguments"]]
    from vcm.__main__ import main

    end = os._exit

    def tell(status: int) -> NoReturn:
        if order.get("count"):
            os.write(1, b"calls: %d\n" % len(calls))
        end(status)

    # vcm ends its process itself.
    os._exit = tell
    main()


def collect(pid: int, kill_after: float | None) -> int:
    """Wait for a child, and kill it when it takes longer."""
    descriptor = os.pidfd_open(pid)
    ended, _, _ = select.select([descriptor], [], [], kill_after)
    os.close(descriptor)
    if not ended:
        # It is not collected yet, so the id is still its own.
        os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status)


def serve() -> None:
    """Import what the orders may need, then fork a child for every order."""
    import vcm

    # A kill takes nothing back that was written: no disk is waited for.
    os.fsync = os.fstat  # type: ignore[assignment]
    for module in pkgutil.walk_packages(vcm.__path__, "vcm."):
        if module.name.split(".")[1] not in UNUSED:
            importlib.import_module(module.name)
    for line in sys.stdin:
        order = json.loads(line)
        pid = os.fork()
        if pid == 0:
            try:
                child(order)
            finally:
                os._exit(99)
        print(collect(pid, order.get("kill_after")), flush=True)  # noqa: T201  (its answer)


if __name__ == "__main__":
    serve()
