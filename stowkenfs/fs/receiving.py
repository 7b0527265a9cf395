"""How the kernel's requests are received.

pyfuse3 takes a lock and asks epoll before each request, and both give way to trio's
scheduler: three times the work of answering a cheap request. Here the next request that is
there already is taken at once, and the scheduler has its turn every few milliseconds.
"""

import collections
import importlib.metadata
import logging
import select
import time
import types

import pyfuse3
import trio

log = logging.getLogger(__name__)

KNOWN_VERSIONS = ("3.4.", "3.5.")
"""Releases of pyfuse3 whose loop was read: it uses of ``trio`` just what is replaced here."""

TURN_SECONDS = 0.002
"""How long requests may follow one another before other tasks have their turn."""


class ReceiveLock:
    """Lets one task at a time wait for a request; taking it when it is free is no checkpoint."""

    def __init__(self) -> None:
        self._held = False
        self._waiting: collections.deque[trio.lowlevel.Task] = collections.deque()

    async def __aenter__(self) -> None:
        while self._held:
            await self._turn()
        self._held = True

    async def __aexit__(self, *_: object) -> None:
        self._held = False
        if self._waiting:  # it looks again when it runs: whoever is there first takes the lock
            trio.lowlevel.reschedule(self._waiting.popleft())

    async def _turn(self) -> None:
        task = trio.lowlevel.current_task()
        self._waiting.append(task)

        def give_up(_: object) -> trio.lowlevel.Abort:
            self._waiting.remove(task)
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(give_up)


class Readiness:
    """Waits for a request, but not where one is there already and the turn is not over."""

    def __init__(self) -> None:
        self._polls: dict[int, select.poll] = {}
        self._turn_ends = 0.0

    async def wait_readable(self, descriptor: int) -> None:
        if time.perf_counter() < self._turn_ends and self._poll(descriptor).poll(0):
            return
        await trio.lowlevel.wait_readable(descriptor)
        self._turn_ends = time.perf_counter() + TURN_SECONDS

    def _poll(self, descriptor: int) -> select.poll:
        poll = self._polls.get(descriptor)
        if poll is None:
            poll = self._polls[descriptor] = select.poll()
            poll.register(descriptor, select.POLLIN)
        return poll


def receive_at_once() -> bool:
    """Have pyfuse3 receive without detours; False, with a line in the log, where it can't.

    To be called before ``pyfuse3.main``. ``receive_as_pyfuse3`` undoes it.
    """
    version = importlib.metadata.version("pyfuse3")
    if not version.startswith(KNOWN_VERSIONS):
        log.warning("pyfuse3 %s is not known here: requests are received its way, slower", version)
        return False
    lowlevel = types.SimpleNamespace(
        current_task=trio.lowlevel.current_task,
        current_trio_token=trio.lowlevel.current_trio_token,
        notify_closing=trio.lowlevel.notify_closing,
        wait_readable=Readiness().wait_readable,
    )
    _let_it_use(
        types.SimpleNamespace(
            lowlevel=lowlevel,
            Lock=ReceiveLock,
            open_nursery=trio.open_nursery,
            ClosedResourceError=trio.ClosedResourceError,
        )
    )
    return True


def receive_as_pyfuse3() -> None:
    """Have pyfuse3 receive in its own way again."""
    _let_it_use(trio)


def _let_it_use(module: object) -> None:
    """What pyfuse3's loop finds under the name ``trio``, as ``pyfuse3.asyncio`` has it, too."""
    vars(pyfuse3)["trio"] = module
