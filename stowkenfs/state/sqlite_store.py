"""State as blobs of an SQLite database, which other programs may query."""

import os
import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, closing, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiosqlite
import anyio
import anyio.to_thread

from stowkenfs.errors import StateNotFound, StateStoreFailed
from stowkenfs.index.event_loops import Call, asyncio_from_here
from stowkenfs.state.store import StateEntry, check_key, check_value, nanoseconds
from stowkenfs.vault.files import Clock

APPLICATION_ID = 0x534B7374
"""In the database's header, of which `file` tells it: SKst."""
SCHEMA_VERSION = 1
BUSY_SECONDS = 10.0

_SCHEMA = """
CREATE TABLE IF NOT EXISTS states (
    key TEXT PRIMARY KEY,
    modified_ns INTEGER NOT NULL,
    expires_ns INTEGER,
    content BLOB NOT NULL
) STRICT
"""
_GET = "SELECT content FROM states WHERE key = ? AND (expires_ns IS NULL OR expires_ns > ?)"
_PUT = "INSERT OR REPLACE INTO states VALUES (?, ?, ?, ?)"
# What substr() gives of an empty blob is NULL.
_APPEND = """
UPDATE states
SET modified_ns = ?, content = CAST(coalesce(substr(content, 1, ?), x'') || ? AS BLOB)
WHERE key = ? AND length(content) >= ? AND (expires_ns IS NULL OR expires_ns > ?)
"""
_LIST = """
SELECT key, length(content), modified_ns, expires_ns FROM states
WHERE substr(key, 1, ?) = ? AND (expires_ns IS NULL OR expires_ns > ?) ORDER BY key
"""
_SWEEP = "DELETE FROM states WHERE expires_ns <= ?"
_DELETE_EXPIRED = "DELETE FROM states WHERE key = ? AND expires_ns <= ?"
_DELETE = "DELETE FROM states WHERE key = ?"


class SQLiteStateStore:
    """One table, ``states``: key, times (ns), content. Open it with ``SQLiteStateStore.open``."""

    def __init__(self, connection: aiosqlite.Connection, call: Call[Any], clock: Clock) -> None:
        self._connection = connection
        self._call = call
        self._clock = clock
        self._one_at_a_time = anyio.Lock()  # a transaction is the connection's, not a task's

    @classmethod
    @asynccontextmanager
    async def open(
        cls, path: str | os.PathLike[str], *, clock: Clock = time.time_ns
    ) -> AsyncIterator["SQLiteStateStore"]:
        """The store in a file, made if it is absent; several programs may have it open.

        Raises StateStoreFailed for what is no such database.
        """
        # Not through aiosqlite, whose thread outlives a connection that could not be made.
        await anyio.to_thread.run_sync(_prepare, Path(path))
        async with asyncio_from_here() as call:
            with _failures():
                connection = await call(lambda: _connect(Path(path)))
            try:
                yield cls(connection, call, clock)
            finally:
                with anyio.CancelScope(shield=True):
                    await call(connection.close)

    async def get(self, key: str) -> bytes | None:
        """As in StateStore."""
        rows = await self._rows(_GET, (check_key(key), self._clock()))
        return rows[0][0] if rows else None

    async def put(
        self, key: str, content: bytes, *, expires_after: timedelta | None = None
    ) -> None:
        """As in StateStore; on return it survives a power cut."""
        now = self._clock()
        expires = None if expires_after is None else now + nanoseconds(expires_after)
        await self._change(_PUT, (check_key(key), now, expires, check_value(content)))

    async def append(self, key: str, at: int, content: bytes) -> None:
        """As in StateStore; all of it or nothing."""
        now = self._clock()
        changed = await self._change(_APPEND, (now, at, content, check_key(key), at, now))
        if not changed:
            raise StateNotFound(f"state {key!r} of {at} bytes or more")

    async def delete(self, key: str) -> bool:
        """As in StateStore."""
        await self._change(_DELETE_EXPIRED, (check_key(key), self._clock()))
        return bool(await self._change(_DELETE, (key,)))

    async def list(self, prefix: str = "") -> Sequence[StateEntry]:
        """As in StateStore."""
        rows = await self._rows(_LIST, (len(prefix), prefix, self._clock()))
        return [StateEntry(*row) for row in rows]

    async def sweep(self) -> int:
        """As in StateStore."""
        return await self._change(_SWEEP, (self._clock(),))

    async def _rows(self, sql: str, values: Sequence[Any]) -> Sequence[tuple[Any, ...]]:
        with _failures():
            return [*await self._run(lambda: self._connection.execute_fetchall(sql, values))]

    async def _change(self, sql: str, values: Sequence[Any]) -> int:
        async def change() -> int:
            return (await self._connection.execute(sql, values)).rowcount

        with _failures():
            return int(await self._run(change))

    async def _run(self, make: Callable[[], Awaitable[Any]]) -> Any:
        async with self._one_at_a_time:
            return await self._call(make)


def _prepare(path: Path) -> None:
    """Make the table, or see that it is there. Blocks. Raises StateStoreFailed."""
    with _failures(), closing(sqlite3.connect(path, timeout=BUSY_SECONDS)) as connection:
        ((found,),) = connection.execute("PRAGMA application_id")
        ((version,),) = connection.execute("PRAGMA user_version")
        ((tables,),) = connection.execute("SELECT count(*) FROM sqlite_schema")
        if tables and found != APPLICATION_ID:
            raise StateStoreFailed("the database is another program's; name a file of its own")
        if version > SCHEMA_VERSION:
            raise StateStoreFailed(
                f"the database has version {version}, and this release knows versions up to"
                f" {SCHEMA_VERSION}; use a newer stowkenfs"
            )
        connection.execute("PRAGMA journal_mode = WAL")
        connection.executescript(
            f"BEGIN; {_SCHEMA}; PRAGMA application_id = {APPLICATION_ID};"
            f" PRAGMA user_version = {SCHEMA_VERSION}; COMMIT"
        )


async def _connect(path: Path) -> aiosqlite.Connection:
    connection = await aiosqlite.connect(path, timeout=BUSY_SECONDS, isolation_level=None)
    try:
        await connection.execute("PRAGMA synchronous = FULL")
    except BaseException:
        await connection.close()
        raise
    return connection


@contextmanager
def _failures() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise StateStoreFailed(f"SQLite: {error}") from error
