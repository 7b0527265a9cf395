"""Long result sets in steps, on a connection of their own (an asyncio library)."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import aiosqlite
import anyio

Row = tuple[Any, ...]

SCAN_BATCH_ROWS = 500


class Scanner:
    """Long reads that never hold up the loop; each call takes some 0.2 ms under trio.

    ``_cursors``: of scans under way, which would keep the WAL from being reused.
    """

    def __init__(
        self,
        connection: aiosqlite.Connection,
        call: Any,
        translated: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self._connection = connection
        self._call = call
        self._translated = translated
        self._cursors: set[aiosqlite.Cursor] = set()

    async def all(self, sql: str, parameters: Sequence[object] = ()) -> list[Row]:
        """All rows of a query whose result is small."""
        with self._translated():
            rows = await self._call(lambda: self._connection.execute_fetchall(sql, parameters))
        return list(rows)

    def batches(
        self, sql: str, parameters: Sequence[object] = (), rows: int = SCAN_BATCH_ROWS
    ) -> "Batches":
        """The result in lists of up to ``rows``, in bounded memory."""
        return Batches(self, sql, parameters, rows)

    async def start(self, sql: str, parameters: Sequence[object]) -> aiosqlite.Cursor:
        """A query under way, for ``fetch``."""
        with self._translated():
            cursor: aiosqlite.Cursor = await self._call(
                lambda: self._connection.execute(sql, parameters)
            )
        self._cursors.add(cursor)
        return cursor

    async def fetch(self, cursor: aiosqlite.Cursor, rows: int) -> list[Row]:
        """The next ``rows``; none at the end, which closes the cursor."""
        with self._translated():
            batch = list(await self._call(lambda: cursor.fetchmany(rows)))
        if not batch:
            await self._release(cursor)
        return batch

    async def _release(self, cursor: aiosqlite.Cursor) -> None:
        self._cursors.discard(cursor)
        with anyio.CancelScope(shield=True):
            await self._call(cursor.close)

    async def close(self) -> None:
        """End the scans that were abandoned."""
        for cursor in list(self._cursors):
            await self._release(cursor)


class Batches:
    """An iterator, not a generator: one that is abandoned leaves nothing to the collector."""

    def __init__(self, scanner: Scanner, sql: str, parameters: Sequence[object], rows: int) -> None:
        self._scanner = scanner
        self._query = (sql, parameters)
        self._rows = rows
        self._cursor: aiosqlite.Cursor | None = None

    def __aiter__(self) -> "Batches":
        return self

    async def __anext__(self) -> list[Row]:
        if self._cursor is None:
            self._cursor = await self._scanner.start(*self._query)
        batch = await self._scanner.fetch(self._cursor, self._rows)
        if not batch:
            raise StopAsyncIteration
        return batch
