"""The SQLite driver: the only module that knows it, and its event-loop bridge.

Three connections to one database in WAL mode, each with one owner:

* the *writer* belongs to the event loop's thread; a statement takes microseconds and
  its commit does not wait for the disk (``synchronous=NORMAL``);
* the *reader* serves look-ups from worker threads, under a lock;
* the *scanner* (aiosqlite) streams long result sets to maintenance and reports. It is
  an asyncio library: under trio it runs through trio-asyncio.

A commit is in the kernel's hands at once, so it survives the death of the process.
``sync`` makes all earlier commits survive a power cut: it flushes the WAL, which holds
them, so that one flush serves any number of waiting commits.
"""

import errno
import os
import sqlite3
import threading
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import aiosqlite
import anyio

from stowkenfs.errors import IndexDamaged, UnknownFormat
from stowkenfs.index.event_loops import asyncio_from_here
from stowkenfs.index.schema import MIGRATIONS, SCHEMA, VERSION, stored

Row = tuple[Any, ...]

PAGE_BYTES = 1024
"""Each of two dozen tables and indexes has one at least: a small vault is mostly these."""
CACHE_KIB = 32 << 10
CHECKPOINT_BYTES = 16 << 20
"""WAL size at which it is copied back into the database, off the loop."""
SCAN_BATCH_ROWS = 500

_OUT_OF_SPACE = {sqlite3.SQLITE_FULL: errno.ENOSPC, sqlite3.SQLITE_READONLY: errno.EROFS}
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


class Connection:
    """The index database of one vault; ``path`` None keeps it in memory.

    Owned by the event loop's thread: ``_writer``, ``_depth``, ``_undo``.
    Guarded by ``_reader_lock``: ``_reader``.

    One that is damaged raises IndexDamaged wherever that is noticed; so does opening one
    without tables unless ``create``.
    """

    def __init__(self, path: Path | None, *, create: bool = True) -> None:
        self._path = path
        # A URI, which escapes the characters of a path that SQLite would take for its own.
        self._address = (
            path.resolve().as_uri() if path else f"file:{uuid.uuid4()}?mode=memory&cache=shared"
        )
        self._create()
        self._depth = 0
        self._undo: list[Callable[[], None]] = []
        self._reader_lock = threading.Lock()
        with ExitStack() as opened, self._translated():
            self._writer = self._connect()
            opened.callback(self._writer.close)
            self._prepare(create=create)
            self._reader = self._connect()
            opened.callback(self._reader.close)
            self._reader.execute("PRAGMA query_only = ON")
            self._wal_fd = self._open_wal()
            opened.pop_all()

    def _create(self) -> None:
        """Make the file before SQLite does, which would let others read it."""
        if self._path is not None:
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self._address,
            uri=True,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=256,
        )
        connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        # Shared-cache memory databases lock tables; their readers may look past that.
        connection.execute("PRAGMA read_uncommitted = ON")
        return connection

    def _prepare(self, *, create: bool) -> None:
        """Make the tables where there are none, if there may be none."""
        writer = self._writer
        writer.execute(f"PRAGMA page_size = {PAGE_BYTES}")
        writer.execute("PRAGMA auto_vacuum = INCREMENTAL")  # of a new database; see shrink()
        writer.execute("PRAGMA journal_mode = WAL")
        writer.execute("PRAGMA synchronous = NORMAL")
        writer.execute("PRAGMA wal_autocheckpoint = 0")  # checkpoint() does it, off the loop
        # All copied, a longer WAL is cut to this: its length says what is left to do.
        writer.execute(f"PRAGMA journal_size_limit = {CHECKPOINT_BYTES}")
        (version,) = writer.execute("PRAGMA user_version").fetchone()
        if version > VERSION:
            raise UnknownFormat(version, VERSION)
        if version == 0 and not create:
            raise IndexDamaged(self._path, "it is empty")
        if version == 0:
            script = f"BEGIN; {stored(SCHEMA)} PRAGMA user_version = {VERSION}; COMMIT;"
            writer.executescript(script)
        for older in range(version, VERSION) if version else ():
            self._migrate(older)

    def _migrate(self, older: int) -> None:
        """Bring the tables of version ``older`` to the next one."""
        if older not in MIGRATIONS:
            raise self.damaged(f"its version is {older}")
        script = f"BEGIN; {stored(MIGRATIONS[older])} PRAGMA user_version = {older + 1}; COMMIT;"
        try:
            self._writer.executescript(script)
        except sqlite3.OperationalError as error:
            primary = error.sqlite_errorcode & 0xFF
            if primary == sqlite3.SQLITE_ERROR:  # the tables are not those of that version
                raise self.damaged(str(error)) from error
            raise

    def _open_wal(self) -> int | None:
        """The WAL's descriptor. SQLite takes its locks on other files, so closing ours is safe."""
        if self._path is None:
            return None
        # Any write makes the file exist; the name has to be durable before any sync counts.
        self.execute("INSERT OR REPLACE INTO setting VALUES ('opened', 1)")
        fd = os.open(f"{self._path}-wal", os.O_RDWR | os.O_CLOEXEC)
        # What a killed process committed is about to be built upon; so are new tables.
        os.fdatasync(fd)
        directory = os.open(self._path.parent, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
        return fd

    def execute(self, sql: str, parameters: Sequence[object] = ()) -> sqlite3.Cursor:
        """One statement on the writer. Event loop's thread only."""
        with self._translated():
            return self._writer.execute(sql, parameters)

    def execute_many(self, sql: str, rows: Sequence[Sequence[object]]) -> None:
        """One statement for each of ``rows`` on the writer. Event loop's thread only."""
        with self._translated():
            self._writer.executemany(sql, rows)

    def one(self, sql: str, parameters: Sequence[object] = ()) -> Row | None:
        """The first row or None. Event loop's thread only."""
        with self._translated():
            row: Row | None = self._writer.execute(sql, parameters).fetchone()
            return row

    def all(self, sql: str, parameters: Sequence[object] = ()) -> list[Row]:
        """All rows of a query with a small, bounded result. Event loop's thread only."""
        with self._translated():
            return self._writer.execute(sql, parameters).fetchall()

    def damaged(self, reason: str) -> IndexDamaged:
        """The error for rows that cannot be."""
        return IndexDamaged(self._path, reason)

    def on_rollback(self, undo: Callable[[], None]) -> None:
        """Call ``undo`` after each rollback: for counters in memory that mirror rows."""
        self._undo.append(undo)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing; nested use joins the outer transaction. Event loop's thread only.

        There must be no ``await`` inside: between two awaits the index is consistent.
        """
        if self._depth:
            yield
            return
        self.execute("BEGIN IMMEDIATE")
        self._depth = 1
        try:
            yield
            self.execute("COMMIT")
        except BaseException:
            if self._writer.in_transaction:
                self._writer.execute("ROLLBACK")
            for undo in self._undo:
                undo()
            raise
        finally:
            self._depth = 0

    def read_one(self, sql: str, parameters: Sequence[object] = ()) -> Row | None:
        """The first committed row or None, from any thread."""
        with self._reader_lock, self._translated():
            row: Row | None = self._reader.execute(sql, parameters).fetchone()
            return row

    def read_all(self, sql: str, parameters: Sequence[object] = ()) -> list[Row]:
        """All committed rows of a query with a bounded result, from any thread."""
        with self._reader_lock, self._translated():
            return self._reader.execute(sql, parameters).fetchall()

    @asynccontextmanager
    async def scanner(self) -> AsyncIterator["Scanner"]:
        """A connection of its own for long scans, under asyncio or trio."""
        async with asyncio_from_here() as call:
            with anyio.CancelScope(shield=True):  # its thread must not outlive the loop
                connection = await call(
                    lambda: aiosqlite.connect(self._address, uri=True, isolation_level=None)
                )
            scanner = Scanner(connection, call, self._translated)
            try:
                await scanner.all("PRAGMA read_uncommitted = ON")
                yield scanner
            finally:
                with anyio.CancelScope(shield=True):  # it has a thread, which must end
                    await scanner.close()
                    await call(connection.close)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Errors of the driver as those that the layers above know."""
        try:
            yield
        except UnicodeDecodeError as error:  # the driver's, for text that is none
            raise IndexDamaged(self._path, str(error)) from error
        except sqlite3.DatabaseError as error:
            translated = _as_known_error(error, self._path)
            if translated is error:
                raise
            raise translated from error

    def sync(self) -> None:
        """Return when all earlier commits survive a power cut. Blocks; any thread."""
        if self._wal_fd is not None:
            os.fdatasync(self._wal_fd)

    def wal_bytes(self) -> int:
        """Size of the WAL, which readers may keep from being reused."""
        return os.fstat(self._wal_fd).st_size if self._wal_fd is not None else 0

    def checkpoint(self) -> None:
        """Copy the WAL into the database, without holding up writers. Blocks; any thread."""
        if self._path is None:
            return
        connection = self._connect()
        try:
            connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        finally:
            connection.close()

    def shrink(self, pages: int) -> bool:
        """Give up to ``pages`` free pages back to the disk; whether more are left.

        Event loop's thread only. A database of the first release keeps its length.
        """
        self.execute(f"PRAGMA incremental_vacuum({pages})").fetchall()
        free = self.one("PRAGMA freelist_count")
        vacuums = self.one("PRAGMA auto_vacuum")
        return bool(free and free[0] and vacuums and vacuums[0])

    def empty_log(self) -> None:
        """Cut the WAL to nothing, if no reader is in its way. After ``checkpoint``, it is quick."""
        if self._path is not None:
            self.execute("PRAGMA busy_timeout = 0")  # a reader is in the way: the next time, then
            try:
                self.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            finally:
                self.execute("PRAGMA busy_timeout = 5000")

    def close(self) -> None:
        """Leave one complete, synced database file."""
        if self._path is not None:
            self._writer.execute("PRAGMA synchronous = FULL")
            self._reader.close()
            self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        else:
            self._reader.close()
        self._writer.close()
        if self._wal_fd is not None:
            os.close(self._wal_fd)
            self._wal_fd = None


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


def _as_known_error(error: sqlite3.DatabaseError, path: Path | None) -> Exception:
    """A full disk or a failing one is an OSError to everybody above."""
    primary = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if primary in _OUT_OF_SPACE:
        return OSError(_OUT_OF_SPACE[primary], f"index: {error}")
    if primary in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN):
        return OSError(errno.EIO, f"index: {error}")
    if primary in _DAMAGED:
        return IndexDamaged(path, str(error))
    return error
