"""Calling an asyncio library from whatever event loop is running."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import sniffio

T = TypeVar("T")
Call = Callable[[Callable[[], Awaitable[T]]], Awaitable[T]]


@asynccontextmanager
async def asyncio_from_here() -> AsyncIterator[Call[Any]]:
    """A function that awaits ``make()`` where asyncio is: here, or in a loop inside trio."""
    if sniffio.current_async_library() == "asyncio":

        async def call_directly(make: Callable[[], Awaitable[T]]) -> T:
            return await make()

        yield call_directly
        return

    import trio_asyncio  # noqa: PLC0415 - only trio programs pay for it

    async def awaited(make: Callable[[], Awaitable[T]]) -> T:
        return await make()

    async def call_through(make: Callable[[], Awaitable[T]]) -> T:
        result: T = await trio_asyncio.aio_as_trio(awaited)(make)
        return result

    failure: Exception | None = None
    # Loops nest: one is made for this use and ends with it, whatever the caller runs.
    async with trio_asyncio.open_loop():
        try:
            yield call_through
        except Exception as error:  # noqa: BLE001 - the loop's nursery would wrap it in a group
            failure = error
    if failure is not None:
        raise failure
