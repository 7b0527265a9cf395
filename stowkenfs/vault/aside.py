"""Work in processes of its own: what computes for long would hold up the loop."""

import logging
import os
import select
import threading
from collections.abc import Callable
from typing import TypeVar, TypeVarTuple

import anyio
import anyio.to_process

from stowkenfs.errors import WorkerDied

log = logging.getLogger(__name__)

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_watched: set[int] = set()
"""Processes whose end this one waits for: none, or in a worker the one that it works for."""


async def run_aside(
    function: Callable[[*Ts], T], *args: *Ts, limiter: anyio.CapacityLimiter | None = None
) -> T:
    """``function(*args)`` in a worker process. Cancelling it ends the process.

    A worker that dies is replaced once. Raises WorkerDied if that one dies as well: a worker
    that needs more memory than there is would take this process along, if it did the work.
    """
    for again in (True, False):
        try:
            return await anyio.to_process.run_sync(
                _call, os.getpid(), function, args, cancellable=True, limiter=limiter
            )
        except anyio.BrokenWorkerProcess:
            if again:
                log.warning("a worker process died; another one does its work")
    raise WorkerDied


def _call(parent: int, function: Callable[[*Ts], T], args: tuple[*Ts]) -> T:
    """In the worker."""
    if parent not in _watched:
        _watched.add(parent)
        _end_with(parent)
    return function(*args)


def _end_with(parent: int) -> None:
    """See to it that this process does not go on computing for one that is gone."""
    try:
        parent_ends = os.pidfd_open(parent)
    except ProcessLookupError:
        os._exit(1)
    except OSError:  # a kernel or a sandbox without it: it ends when its work is done
        return
    poll = select.poll()
    poll.register(parent_ends, select.POLLIN)

    def wait() -> None:
        poll.poll()
        os._exit(1)

    threading.Thread(target=wait, name="parent", daemon=True).start()
