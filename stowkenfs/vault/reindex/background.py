"""Rebuilding in a thread that ends soon after whoever waits for it was cancelled."""

import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

import anyio
import anyio.lowlevel
import anyio.to_thread

from stowkenfs.vault.progress import Progress, untold
from stowkenfs.vault.reindex.rebuild import rebuild_closed
from stowkenfs.vault.reindex.report import ReindexReport

T = TypeVar("T")

TOLD_SECONDS = 0.1


class _Stopped(Exception):
    """Raised in the thread when nobody waits for it any more."""


async def rebuild_index(directory: Path, progress: Progress = untold) -> ReindexReport:
    """As ``rebuild_closed``, for tasks. Cancelled, it leaves everything as it was."""
    return await in_thread(partial(rebuild_closed, directory), progress)


async def in_thread(work: Callable[[Progress], T], progress: Progress) -> T:
    """What ``work`` returns, which a thread does and which often calls what it is given.

    That is passed on to ``progress`` here, some times a second. Once this is cancelled it
    raises in the thread, which has ended when this returns.
    """
    stop = threading.Event()
    latest: list[tuple[int, int]] = []
    result: list[T] = []
    error: list[Exception] = []

    def told(done: int, total: int) -> None:
        if stop.is_set():
            raise _Stopped
        latest[:] = [(done, total)]

    def pass_on() -> None:
        if latest:
            progress(*latest.pop())

    async def watch() -> None:
        try:
            while True:
                await anyio.sleep(TOLD_SECONDS)
                pass_on()
        except Exception as raised:  # noqa: BLE001 - raised again, outside of the group
            error.append(raised)
        finally:
            stop.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watch)
        try:
            result.append(await anyio.to_thread.run_sync(work, told))
        except Exception as raised:  # noqa: BLE001 - as above
            error.append(raised)
        tasks.cancel_scope.cancel()
    if error and not isinstance(error[0], _Stopped):
        raise error[0]
    await anyio.lowlevel.checkpoint()  # one that was stopped ends here
    pass_on()
    return result[0]
