"""Running asynchronous work from a command, until it is done or told to stop."""

import signal
from collections.abc import Awaitable, Callable
from typing import TypeVar, TypeVarTuple

import anyio
import anyio.lowlevel
import click

from stowkenfs.cli.memory import use_one_arena

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


def run(work: Callable[[*Ts], Awaitable[T]], *args: *Ts) -> T:
    """The result of ``work``. SIGINT and SIGTERM cancel it; then Abort is raised.

    Under trio, as the mount: asyncio before 3.12 warns when it ends with idle workers.
    """
    use_one_arena()
    results: list[T] = []

    async def main() -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_cancel_on_signal, tasks.cancel_scope)
            await anyio.lowlevel.checkpoint()
            results.append(await work(*args))
            tasks.cancel_scope.cancel()

    anyio.run(main, backend="trio")
    if not results:
        raise click.Abort
    return results[0]


async def _cancel_on_signal(scope: anyio.CancelScope) -> None:
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async for _ in signals:
            scope.cancel()
