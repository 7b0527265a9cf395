"""Who uses numbers of stored things at the moment, so that nobody's go away under them."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import anyio


class Passages:
    """Stretches of work between looking up a number and letting go of it.

    Event loop's thread, which owns ``_inside``: how many are inside that began in each epoch,
    and ``_waiting``: who waits for an epoch and all before it to be over. Entering costs next
    to nothing, because every read does it.
    """

    def __init__(self) -> None:
        self._epoch = 0
        self._inside: Counter[int] = Counter()
        self._waiting: list[tuple[int, anyio.Event]] = []

    @contextmanager
    def enter(self) -> Iterator[None]:
        """While inside, what was found stays."""
        epoch = self._epoch
        self._inside[epoch] += 1
        try:
            yield
        finally:
            self._inside[epoch] -= 1
            if self._waiting or epoch != self._epoch:
                self._leave(epoch)

    def _leave(self, epoch: int) -> None:
        if not self._inside[epoch] and epoch != self._epoch:
            del self._inside[epoch]
        for last, over in self._waiting:
            if not self._are_inside(last):
                over.set()

    def _are_inside(self, last: int) -> bool:
        return any(count for epoch, count in self._inside.items() if epoch <= last)

    async def drain(self) -> None:
        """Return when all that are inside now have left."""
        last, over = self._epoch, anyio.Event()
        self._epoch += 1
        if not self._inside[last]:
            del self._inside[last]
        if not self._are_inside(last):
            return
        entry = (last, over)
        self._waiting.append(entry)
        try:
            await over.wait()
        finally:
            self._waiting.remove(entry)
