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
import logging
import os
import sqlite3
import threading
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import (
    AbstractContextManager,
    ExitStack,
    asynccontextmanager,
    contextmanager,
    nullcontext,
    suppress,
)
from pathlib import Path

import aiosqlite
import anyio

from stowkenfs.errors import IndexDamaged, UnknownFormat
from stowkenfs.index.driver import as_known_error, sync_name
from stowkenfs.index.event_loops import asyncio_from_here
from stowkenfs.index.log_mark import LogMark
from stowkenfs.index.preparing import prepare
from stowkenfs.index.scanner import Row, Scanner
from stowkenfs.index.schema import VERSION

log = logging.getLogger(__name__)

CACHE_KIB = 32 << 10


class Database:
    """The database of one vault's index; ``path`` None keeps it in memory.

    Owned by the event loop's thread: ``_writer``. Guarded by ``_reader_lock``: ``_reader``,
    by ``_syncing``: ``_sync_failed``.

    Set once, by any thread: ``_refused``.

    One that is damaged raises IndexDamaged wherever that is noticed; so does opening one
    without tables unless ``create``. One to read only must have no WAL. ``before_copying`` is
    called, in any thread, before anything is written to the database itself.
    """

    _refused: IndexDamaged | None = None

    def __init__(
        self,
        path: Path | None,
        *,
        create: bool,
        read_only: bool,
        before_copying: Callable[[], None],
    ) -> None:
        self._path = path
        self._before_copying = before_copying
        # A URI, which escapes the characters of a path that SQLite would take for its own.
        self._address = (
            path.resolve().as_uri() if path else f"file:{uuid.uuid4()}?mode=memory&cache=shared"
        )
        if read_only:  # and nobody else writes it: it needs no files beside it
            self._address += "?mode=ro&immutable=1"
        else:
            self._create()
        self._sync_failed = False
        self._syncing = threading.Lock()
        self._before_sync: Callable[[], None] = lambda: None
        self._log_mark: LogMark | None = None
        self._reader_lock = threading.Lock()
        with ExitStack() as opened, self._translated():
            self._writer = self._connect()
            opened.callback(self._writer.close)
            if not read_only:
                prepare(self._writer, path, create=create)
            self._reader = self._connect()
            opened.callback(self._reader.close)
            self._reader.execute("PRAGMA query_only = ON")
            self._wal_fd = None if read_only else self._open_wal()
            opened.pop_all()

    def _create(self) -> None:
        """Make the file before SQLite does, which would let others read it."""
        if self._path is not None:
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            os.close(os.open(self._path, flags, 0o600))
            self._address += "?mode=rw"  # should it go, no other takes its place

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

    def _open_wal(self) -> int | None:
        """The WAL's descriptor. SQLite takes its locks on other files, so closing ours is safe."""
        if self._path is None:
            return None
        # Any write makes the file exist; the name has to be durable before any sync counts.
        self._writer.execute("INSERT OR REPLACE INTO setting VALUES ('written', 1)")
        fd = os.open(f"{self._path}-wal", os.O_RDWR | os.O_CLOEXEC)
        # What a killed process committed is about to be built upon; so are new tables.
        os.fdatasync(fd)
        sync_name(self._path)
        with suppress(OSError):  # on a full disk there is none
            self._log_mark = LogMark(self._path)
        return fd

    def peek(self, sql: str, parameters: Sequence[object] = ()) -> Row | None:
        """The first row or None, as the database has it. Event loop's thread only.

        For tables that have no pending rows, or where those were looked at.
        """
        if self._refused is not None:
            raise self._refused
        try:
            row: Row | None = self._writer.execute(sql, parameters).fetchone()
        except (UnicodeDecodeError, sqlite3.DatabaseError) as error:
            with self._translated():
                raise error from None
        return row

    def peek_all(self, sql: str, parameters: Sequence[object] = ()) -> list[Row]:
        """All rows of a query with a small, bounded result, likewise."""
        with self._translated():
            return self._writer.execute(sql, parameters).fetchall()

    def damaged(self, reason: str) -> IndexDamaged:
        """The error for rows that cannot be."""
        return IndexDamaged(self._path, reason)

    def refuse(self, damage: IndexDamaged) -> None:
        """Let all that asks or changes the database raise ``damage`` from now on. Any thread."""
        self._refused = damage

    def sync_after(self, settle: Callable[[], None]) -> None:
        """Let ``sync`` call ``settle`` first, which raises IndexDamaged or waits till all is sure.

        So nothing is promised, and nothing removed, on the word of an index that is not.
        """
        self._before_sync = settle

    def _forget_room(self) -> None:
        """The files were cut, and blocks behind their ends with them."""

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
    async def scanner(self) -> AsyncIterator[Scanner]:
        """A connection of its own for long scans, under asyncio or trio."""
        with self._translated():  # one that cannot be opened would leave a thread behind
            self._connect().close()
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
        if self._refused is not None:
            raise self._refused
        try:
            yield
        except UnicodeDecodeError as error:  # the driver's, for text that is none
            raise IndexDamaged(self._path, str(error)) from error
        except sqlite3.DatabaseError as error:
            translated = as_known_error(error, self._path)
            if translated is error:
                raise
            raise translated from error

    def sync(self) -> None:
        """Return when all earlier commits survive a power cut. Blocks; any thread.

        After a sync that failed the kernel may believe the WAL's pages to be on the disk, and
        a second sync of them says nothing. So all is moved to the database first then, and
        until that succeeds no sync does. Raises OSError.
        """
        if self._wal_fd is None:
            return
        self._before_sync()
        with self._syncing:
            self._sync_log(self._wal_fd)

    def _sync_log(self, log_fd: int) -> None:
        if self._sync_failed:
            self._leave_log()
        mark = self._log_mark
        frames = mark.frames() if mark is not None else None
        try:
            os.fdatasync(log_fd)
        except OSError as error:
            self._sync_failed = True
            raise OSError(error.errno, f"index: a sync failed: {error.strerror}") from error
        self._sync_failed = False
        if mark is not None:
            mark.note(frames)

    def _cutting_log(self) -> AbstractContextManager[None]:
        """What a checkpoint that ends the log is done in. Raises OSError."""
        self._before_copying()
        return self._log_mark.cutting() if self._log_mark is not None else nullcontext()

    def _leave_log(self) -> None:
        """Have all commits in the database, synced, and none in the WAL. Raises OSError."""
        connection = self._connect()
        try:
            with self._translated(), self._cutting_log():
                connection.execute("PRAGMA synchronous = FULL")
                ((busy, _, _),) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        finally:
            connection.close()
            self._forget_room()
        if busy:
            raise OSError(errno.EIO, "index: a sync failed before, and what it left is in use")

    def is_settled(self) -> bool:
        """Whether there is nothing that an opening would change."""
        (version,) = self.peek_all("PRAGMA user_version")[0]
        if version > VERSION:
            raise UnknownFormat(version, VERSION)
        if version == 0:
            raise self.damaged("it is empty")
        left = "SELECT 1 FROM draft UNION ALL SELECT 1 FROM inode WHERE nlink = 0 LIMIT 1"
        return bool(version == VERSION) and self.peek(left) is None

    def wal_bytes(self) -> int:
        """Size of the WAL, which readers may keep from being reused."""
        return os.fstat(self._wal_fd).st_size if self._wal_fd is not None else 0

    def checkpoint(self) -> None:
        """Copy the WAL into the database, without holding up writers. Blocks; any thread."""
        if self._wal_fd is None:
            return
        self._before_copying()
        connection = self._connect()
        try:
            connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        finally:
            connection.close()

    def close(self) -> None:
        """Leave one complete, synced database file, and where that fails, the WAL beside it."""
        self._reader.close()
        if self._wal_fd is not None:
            try:
                with self._cutting_log():
                    self._writer.execute("PRAGMA synchronous = FULL")
                    self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            except (sqlite3.DatabaseError, OSError, IndexDamaged) as error:
                log.warning("the index keeps its log for the next opening: %s", error)
        self._writer.close()
        if self._log_mark is not None:
            self._log_mark.close()
            self._log_mark = None
        if self._wal_fd is not None:
            os.close(self._wal_fd)
            self._wal_fd = None
