"""Threads that do not keep anybody waiting when the work is called off."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event


@contextmanager
def workers(count: int, name: str, cancelled: Event) -> Iterator[ThreadPoolExecutor]:
    """So many threads for the time of the block.

    Ctrl-C sets ``cancelled`` and goes on at once: a thread may be waiting for a silent server, and whatever it still
    does leaves nothing half done.
    """
    pool = ThreadPoolExecutor(count, thread_name_prefix=name)
    try:
        yield pool
    except KeyboardInterrupt:
        cancelled.set()
        raise
    finally:
        pool.shutdown(wait=not cancelled.is_set(), cancel_futures=True)
