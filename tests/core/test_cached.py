"""A value that is computed once, and by nobody for whom another process waits."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest

from vcm.core.cached import cached_property


class Numbers:
    def __init__(self) -> None:
        self.asked = 0

    @cached_property
    def answer(self) -> object:
        """What it is."""
        self.asked += 1
        return object()


def test_once():
    numbers = Numbers()
    assert numbers.answer is numbers.answer
    assert numbers.asked == 1
    assert Numbers().answer is not numbers.answer
    assert Numbers.answer.__doc__ == "What it is."


def test_threads_get_the_same():
    barrier = threading.Barrier(8)

    class Slow:
        @cached_property
        def value(self) -> object:
            barrier.wait(10)
            return object()

    slow, found = Slow(), []
    threads = [threading.Thread(target=lambda: found.append(slow.value)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(map(id, found))) == 1


FORKED = """
import os, signal, threading
from vcm.core.cached import cached_property
begun, release = threading.Event(), threading.Event()
class Slow:
    @cached_property
    def value(self):
        begun.set()
        release.wait(20)
        return 7
thread = threading.Thread(target=lambda: Slow().value)
thread.start()
begun.wait(20)
child = os.fork()
if not child:
    signal.alarm(10)
    release.set()
    os._exit(Slow().value)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
release.set()
thread.join()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="nothing is forked there")
def test_a_fork_in_that_moment_leaves_nobody_waiting():
    done = subprocess.run((sys.executable, "-c", FORKED), capture_output=True, text=True, timeout=40, check=True)
    assert done.stdout == "7\n"
