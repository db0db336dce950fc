"""Ctrl-C and SIGTERM: this process ends within a second, with the code that shells expect."""

from __future__ import annotations

import _thread
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import NoReturn

_PATIENCE = 0.7  # seconds for what is cleaned up on the way out
_PARTS = 10  # of it, each waited for by itself
_MOMENT = 0.01  # seconds, for what Python does not let an interrupt out of


def carried_through(work: Callable[[], int]) -> int:
    """What the work gives, unless Ctrl-C or SIGTERM comes before its end: then this process ends with 130 or 143.

    The signal is a KeyboardInterrupt in the main thread, so that what is half done is put away; whatever does not heed
    it, a thread that waits for a silent server, say, is not waited for. Without a handler of its own, the first process
    of a container would not even hear of SIGTERM. What was started with a signal ignored goes on ignoring it.

    The work that has something to say of an interrupt gives a code of its own for it.
    """
    received: list[int] = []  # what is raised, or was: who asks twice does not disturb what is put away
    heard = [each for each in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(each) is not signal.SIG_IGN]

    def interrupt(number: int, _: FrameType | None) -> None:
        if received:
            return
        received.append(number)
        if not hasattr(signal, "pthread_kill"):
            # Not threading.Thread: the lock that it needs may be held by what was interrupted.
            _thread.start_new_thread(_end_at_last, (number,))
        raise KeyboardInterrupt

    def unheard(dropped: sys.UnraisableHookArgs) -> None:
        if not received or not isinstance(dropped.exc_value, KeyboardInterrupt):
            sys.__unraisablehook__(dropped)
            return
        # Python drops what is raised in a destructor, or in the callback of a weak reference: any import has some.
        # Until it is repeated it counts as received, for what is raised in here would be dropped, too.
        _thread.start_new_thread(_repeat, (received, _thread.get_ident()))

    code = 128 + signal.SIGINT
    sys.unraisablehook = unheard
    try:
        _watch()
        _handle(heard, interrupt)
        code = work()
        # From now on there is nothing to put away.
        _handle(heard, _end)
    except (KeyboardInterrupt, Exception) as error:
        # Python makes other exceptions of it: where a class gets its attributes, or a module another's C functions.
        if not received and not isinstance(error, KeyboardInterrupt):
            raise
        _say_so()
        _handle(heard, _end)
    if received:
        _end(received[0])
    return code


def _handle(numbers: list[signal.Signals], handler: Callable[[int, FrameType | None], None]) -> None:
    for each in numbers:
        signal.signal(each, handler)


def _say_so() -> None:
    with suppress(OSError, ValueError):
        print("interrupted", file=sys.stderr)


def hand_over_signals() -> None:
    """Give signals back, for a program that is about to take this process's place.

    Handlers end with this program, but what is ignored stays ignored; Python ignores two.
    """
    for name in ("SIGINT", "SIGTERM", "SIGPIPE", "SIGXFSZ"):
        number = getattr(signal, name, None)
        if number is not None and (callable(signal.getsignal(number)) or name not in ("SIGINT", "SIGTERM")):
            signal.signal(number, signal.SIG_DFL)


def end(code: int) -> NoReturn:
    """End this process now, with what was printed.

    Python would first wait for every thread, of which one may be waiting for a silent server, and a signal that came
    meanwhile would end it with another code.
    """
    # A signal may have come in the middle of the same: what is written is then a RuntimeError.
    with suppress(OSError, ValueError, RuntimeError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def _end(number: int, _: FrameType | None = None) -> NoReturn:
    end(128 + number)


def _watch() -> None:
    """Have a thread of its own hear of the first signal, where a signal can be sent to one thread."""
    if hasattr(signal, "pthread_kill"):
        reading, writing = os.pipe()
        os.set_blocking(writing, False)
        signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        _thread.start_new_thread(_wake_main_thread, (reading, _thread.get_ident()))


def _wake_main_thread(reading: int, main_thread: int) -> None:
    """See to it that the main thread hears of a signal.

    Linux may give all signals of a burst to other threads; then the main thread, where Python handles them, sleeps on.
    """
    number = os.read(reading, 1)[0]
    signal.pthread_kill(main_thread, number)
    _end_at_last(number)


def _repeat(received: list[int], main_thread: int) -> None:
    """Send the signal again, as soon as the main thread has left the place where nothing can be raised."""
    time.sleep(_MOMENT)
    number = received.pop()
    if hasattr(signal, "pthread_kill"):
        signal.pthread_kill(main_thread, number)
    else:
        _thread.interrupt_main(signal.Signals(number))


def _end_at_last(number: int) -> None:
    """End the process that does not end by itself: nothing on the disk depends on how it does."""
    for _ in range(_PARTS):
        # Of a machine that stands still for as long, one part passes, and the main thread has the others.
        time.sleep(_PATIENCE / _PARTS)
    os._exit(128 + number)
