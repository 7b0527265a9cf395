"""Group commit: whoever comes first does the work of all who wait."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Generic, TypeVar

import anyio

T = TypeVar("T")
R = TypeVar("R")


class _Waiting(Generic[T, R]):
    __slots__ = ("done", "error", "item", "result", "weight")

    def __init__(self, item: T, weight: int) -> None:
        self.item = item
        self.weight = weight
        self.done = False
        self.result: R | None = None
        self.error: Exception | None = None


class Turns:
    """Lets callers overtake each other in part of their work and then line up again."""

    def __init__(self) -> None:
        self._last: anyio.Event | None = None

    def take(self) -> "Turn":
        """A turn behind all that were taken before."""
        previous, self._last = self._last, anyio.Event()
        return Turn(previous, self._last)


class Turn:
    """A place in the line: ``wait`` for it, and in any case say when it is ``over``."""

    def __init__(self, previous: anyio.Event | None, mine: anyio.Event) -> None:
        self._previous = previous
        self._mine = mine

    async def wait(self) -> None:
        """Return when the turn before is over."""
        if self._previous is not None:
            await self._previous.wait()

    def over(self) -> None:
        self._mine.set()


class Leader(Generic[T, R]):
    """Collects items of concurrent callers and processes them in rounds.

    A round takes what is waiting when it begins, up to ``weight_max``. An error in a
    round is every member's error. Once begun, a round is not cancelled.

    Owned by the event loop's thread: ``_queue``; ``_lock`` orders the rounds.
    """

    def __init__(
        self,
        process: Callable[[Sequence[T]], Awaitable[Sequence[R]]],
        *,
        weight_max: int,
    ) -> None:
        self._process = process
        self._weight_max = weight_max
        self._queue: list[_Waiting[T, R]] = []
        self._lock = anyio.Lock()

    async def submit(
        self, item: T, weight: int = 1, on_queued: Callable[[], None] = lambda: None
    ) -> R:
        """The result for ``item``, from a round that began after this call.

        ``on_queued()`` is called once its place among all items is fixed.
        """
        waiting: _Waiting[T, R] = _Waiting(item, weight)
        self._queue.append(waiting)
        on_queued()
        try:
            async with self._lock:
                while not waiting.done:
                    with anyio.CancelScope(shield=True):
                        await self._round()
        except BaseException:
            if waiting in self._queue:
                self._queue.remove(waiting)
            raise
        if waiting.error is not None:
            raise waiting.error
        assert waiting.result is not None
        return waiting.result

    @asynccontextmanager
    async def between(self) -> AsyncIterator[None]:
        """While inside, no round is under way."""
        async with self._lock:
            yield

    async def _round(self) -> None:
        members: list[_Waiting[T, R]] = []
        weight = 0
        while self._queue and (not members or weight + self._queue[0].weight <= self._weight_max):
            member = self._queue.pop(0)
            weight += member.weight
            members.append(member)
        try:
            results = await self._process([member.item for member in members])
        except Exception as error:  # noqa: BLE001 - handed to each member, who raises it
            for member in members:
                member.error, member.done = error, True
            return
        except BaseException:
            for member in members:  # the process is ending; nobody waits for a round to come
                member.error, member.done = RuntimeError("the round was interrupted"), True
            raise
        for member, result in zip(members, results, strict=True):
            member.result, member.done = result, True
