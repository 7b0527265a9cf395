"""How far a compaction is, in bytes of the records that are to move."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

import anyio

from stowkenfs.vault.compaction.gauge import Gauge
from stowkenfs.vault.progress import Progress

GATHERED_SHARE = 0.15
ENCODED_SHARE = 0.65
"""Of the time that a batch takes, about; reading it back takes the rest."""

LOOK_SECONDS = 0.25

T = TypeVar("T")


class Steps:
    """Tells ``progress`` what only grows, and ends at the total. Event loop's thread."""

    def __init__(self, total: int, progress: Progress) -> None:
        self._total = total
        self._progress = progress
        self._moved = 0  # bytes of the batches before
        self._in_batch = 0.0  # and of this one, as much as it counts
        self._told = -1

    def gathered(self, record_bytes: int) -> None:
        """So much is in the batch by now."""
        self._in_batch = GATHERED_SHARE * record_bytes
        self._tell()

    async def watch(self, gauge: Gauge, record_bytes: int, encode: Callable[[], Awaitable[T]]) -> T:
        """The result of ``encode``, which moves ``gauge`` up to ``record_bytes``."""
        begin = self._in_batch
        result: list[T] = []
        failed: Exception | None = None

        async def look() -> None:
            while True:
                await anyio.sleep(LOOK_SECONDS)
                self._in_batch = begin + ENCODED_SHARE * min(gauge.read(), record_bytes)
                self._tell()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(look)
            try:
                result.append(await encode())
            except Exception as error:  # noqa: BLE001 - raised below, not as a group
                failed = error
            tasks.cancel_scope.cancel()
        if failed is not None:
            raise failed
        self._in_batch = begin + ENCODED_SHARE * record_bytes
        self._tell()
        return result[0]

    def checked(self, record_bytes: int) -> None:
        """So much more was read back."""
        self._in_batch += (1 - GATHERED_SHARE - ENCODED_SHARE) * record_bytes
        self._tell()

    def end_batch(self, record_bytes: int) -> None:
        self._moved += record_bytes
        self._in_batch = 0
        self._tell()

    def end(self) -> None:
        self._moved = self._total
        self._tell()

    def _tell(self) -> None:
        done = min(self._moved + int(self._in_batch), self._total)
        if done > self._told:
            self._told = done
            self._progress(done, self._total)
