"""What the layers above use of the index: transactions, and changes of the tree.

A change of the tree is kept in memory and told to the journal, which survives the process;
the database gets many changes at once. Whatever else is asked or stored has them there first.
"""

import logging
import sqlite3
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, nullcontext, suppress
from pathlib import Path

from stowkenfs.errors import IndexDamaged
from stowkenfs.index.change import Change
from stowkenfs.index.database import Database
from stowkenfs.index.driver import read_index
from stowkenfs.index.journal import Journal, entries
from stowkenfs.index.pending import PendingRows
from stowkenfs.index.preparing import CHECKPOINT_BYTES
from stowkenfs.index.scanner import Row, Scanner
from stowkenfs.index.space import IndexRoom, Reserve, giving_room
from stowkenfs.index.told import Told

__all__ = ["CHECKPOINT_BYTES", "Connection", "Row", "Scanner", "read_index"]

log = logging.getLogger(__name__)

PENDING_ROWS_MAX = 512
"""Writing them takes the loop about three milliseconds."""

NUMBERS = range(1 << 62)
"""Of journals and entries; others are damage."""

CHANGE_ROWS = 16
"""What a change has at most, but for drafts of many regions and removals of many files."""


class Connection(Database):
    """The index of one vault; ``path`` None keeps it in memory.

    Owned by the event loop's thread: ``pending``, ``_depth``, ``_changing``, ``_told``.
    Without ``journal``, its path, each change is a transaction.

    One to read only must have no WAL and no journal, and is what ``is_settled`` says it is.
    """

    def __init__(
        self,
        path: Path | None,
        *,
        create: bool = True,
        reserve: Reserve | None = None,
        journal: Path | None = None,
        read_only: bool = False,
        before_copying: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(path, create=create, read_only=read_only, before_copying=before_copying)
        self.pending = PendingRows()
        self._depth = 0
        self._whole, self._part = Change(self), nullcontext()
        self._changing = self._beside = self._builds_upon = self._at_once = False
        self._told = Told()
        self._room: IndexRoom | None = None
        self._rows_possible = PENDING_ROWS_MAX
        self._journal: Journal | None = None
        try:
            if path is not None and reserve is not None:
                self._take_room(path, reserve)
            if journal is not None and not read_only:
                self._begin_journal(journal)
        except BaseException:
            self.close()
            raise

    def _take_room(self, path: Path, reserve: Reserve) -> None:
        self._room = IndexRoom(path, reserve, self.restart_log)
        self._rows_possible = 0
        if self._room.is_short:  # the opening took it, or none was made: others want it, too
            with giving_room(), suppress(OSError):
                self._room.ensure()

    # Journal

    def _begin_journal(self, path: Path) -> None:
        """Have in the database what a journal tells that it has not, and begin another one."""
        rows = self.all("SELECT name, value FROM setting WHERE name LIKE 'journal%'")
        kept = {name: value for name, value in rows if value in NUMBERS}
        database, before = kept.get("journal", 0), kept.get("journal_number", 0)
        number, name = before, uuid.uuid4().int >> 66
        try:
            with giving_room(), self.transaction():
                for entry in entries(path, database, number) if database else ():
                    self.pending.apply(entry)
                    number += 1
                self.execute_many(
                    "INSERT OR REPLACE INTO setting VALUES (?, ?)",
                    [("journal", name), ("journal_number", number)],
                )
        except (ValueError, sqlite3.IntegrityError) as error:
            raise self.damaged(f"its journal cannot be taken over: {error}") from error
        if number != before:  # entries that outlived a power cut are to outlive another one
            self.sync()
        self._journal = Journal(path, name, number)

    @property
    def has_pending(self) -> bool:
        """Whether the database does not have all changes yet."""
        return self.pending.count > 0

    def flush(self) -> None:
        """Have all changes in the database. Raises OSError, and they are pending still.

        They were accepted: nobody who reads or syncs is refused for the room that they take.
        """
        with giving_room():
            self._flush()

    def _flush(self) -> None:
        if self.pending.count:
            with self.transaction():
                pass

    def _settle(self) -> None:
        """Before a statement that may be about rows that are pending."""
        if not self.pending.count or self._beside:
            return
        assert not self._changing, "only look-ups of single rows are part of a change"
        if self._depth:
            self._write_pending()
        else:
            self.flush()

    def _write_pending(self) -> None:
        pending, self.pending = self.pending, PendingRows()  # which a failure brings back
        if not pending.count:
            return
        with self._translated():
            pending.write(self._writer.executemany)
        self._told.have_written(pending)

    # Statements

    def execute(self, sql: str, parameters: Sequence[object] = ()) -> sqlite3.Cursor:
        """One statement on the writer. Event loop's thread only."""
        self._settle()
        if not self._depth:
            self._ensure_room()
        with self._translated():
            return self._writer.execute(sql, parameters)

    def execute_many(self, sql: str, rows: Sequence[Sequence[object]]) -> None:
        """One statement for each of ``rows`` on the writer. Event loop's thread only."""
        self._settle()
        if not self._depth:
            self._ensure_room()
        with self._translated():
            self._writer.executemany(sql, rows)

    def execute_script(self, statements: str) -> None:
        """Several statements, which return nothing, in one transaction. Event loop's thread."""
        self._settle()
        with self._translated():
            self._writer.executescript(f"BEGIN; {statements} COMMIT;")

    def one(self, sql: str, parameters: Sequence[object] = ()) -> Row | None:
        """The first row or None. Event loop's thread only."""
        self._settle()
        return self.peek(sql, parameters)

    def all(self, sql: str, parameters: Sequence[object] = ()) -> list[Row]:
        """All rows of a query with a small, bounded result. Event loop's thread only."""
        self._settle()
        return self.peek_all(sql, parameters)

    @asynccontextmanager
    async def scanner(self) -> AsyncIterator[Scanner]:
        """A connection of its own for long scans, under asyncio or trio."""
        self._settle()
        async with super().scanner() as scanner:
            yield scanner

    def end_writing(self) -> None:
        """Refuse all changes from now on, as a medium that cannot be written."""
        self.execute("PRAGMA query_only = ON")

    # Room

    def _ensure_room(self) -> None:
        if self._room is not None:
            self._room.ensure()

    def _forget_room(self) -> None:
        if self._room is not None:
            self._room.forget()

    def require_room(self) -> None:
        """Raise OSError (ENOSPC) while the disk has no room but for those who make some."""
        if self._room is not None:
            self._room.require()

    @property
    def is_short_of_room(self) -> bool:
        """Whether only small transactions can be counted on."""
        return self._room is not None and self._room.is_short

    # All or nothing

    def after_commit(self, then: Callable[[], None]) -> None:
        """Call ``then`` once the transaction or change that is open is kept; else at once."""
        if self._depth or self._changing:
            self._told.after.append(then)
        else:
            then()

    def on_rollback(self, undo: Callable[[], None]) -> None:
        """Call ``undo`` after each rollback: for counters in memory that mirror rows.

        It looks by ``peek`` and at ``pending``: the disk may refuse to settle them.
        """
        self._told.undo.append(undo)

    def on_written(self, then: Callable[[PendingRows], None]) -> None:
        """Call ``then`` with pending rows that the database has now, unless it is rolled back."""
        self._told.written.append(then)

    def change(self) -> Change | nullcontext[None]:
        """All or nothing, of ``pending`` rows only; survives the process when it is over.

        To be entered at once. Inside another one or a transaction it is a part of that. Event
        loop's thread only, and no ``await`` inside, as with ``transaction``.
        """
        return self._part if self._depth or self._changing else self._whole

    def begin_change(self) -> None:
        """For ``Change``."""
        self._at_once = self._make_way()
        self._changing = True
        self._builds_upon = False

    def end_change(self) -> None:
        """For ``Change``: keep what it did."""
        self._changing = False
        self._keep_change()
        if self._told.after:
            self._told.have_kept()

    def fail_change(self) -> None:
        """For ``Change``: be as before it."""
        self._changing = False
        self.pending.undo_change()
        self._told.have_undone()

    def _make_way(self) -> bool:
        """Before a change: see to its room. Whether it has to be in the database at once."""
        if self._room is not None:
            self._room.require()
        if self.pending.count + CHANGE_ROWS > self._rows_possible:
            self.flush()
            if self._room is not None:
                self._rows_possible = self._room.rows_possible(PENDING_ROWS_MAX)
        return self._journal is None or self.pending.count + CHANGE_ROWS > self._rows_possible

    def _keep_change(self) -> None:
        pending, journal = self.pending, self._journal
        if not pending.told:
            return
        if self._at_once or self._builds_upon or journal is None or not journal.fits(pending.told):
            self._flush()  # this one has no leave yet
        else:
            self._tell(journal, pending.told)
        pending.end_change()

    def _tell(self, journal: Journal, told: bytearray) -> None:
        journal.append(told)

    @contextmanager
    def beside(self) -> Iterator[None]:
        """Transactions inside have nothing to do with pending rows, which stay so.

        A change that goes on after one builds upon it: it goes to the database itself, which
        keeps the order of transactions, as a journal and a database after a power cut do not.
        """
        before, self._beside = self._beside, True
        self._builds_upon = self._changing
        try:
            yield
        finally:
            self._beside = before

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing; nested use joins the outer transaction. Event loop's thread only.

        There must be no ``await`` inside: between two awaits the index is consistent.
        """
        if self._depth:
            yield
            return
        before, beside = self.pending, self._beside
        self._ensure_room()
        with self._translated():
            self._writer.execute("BEGIN IMMEDIATE")
        self._depth = 1
        try:
            if not beside:
                assert not self._changing, "a change is not to be written by halves"
                self._write_pending()
            yield
            if not beside:
                self._write_pending()
                self._count(self._journal)
            self._commit()
        except BaseException:
            self.pending, self._depth = before, 0
            self._roll_back()
            raise
        finally:
            self._depth = 0
            if self._room is not None:
                self._rows_possible = 0  # until it was asked again
        if not beside and self._journal is not None:
            self._journal.begin_anew()
        if not self._changing:
            self._told.have_kept()

    def _commit(self) -> None:
        with self._translated():
            self._writer.execute("COMMIT")

    def _count(self, journal: Journal | None) -> None:
        """Give the transaction a number: no entry of the journal counts without those before."""
        if journal is not None:
            with self._translated():
                self._writer.execute(
                    "INSERT OR REPLACE INTO setting VALUES ('journal_number', ?)",
                    (journal.number + 1,),
                )

    def _roll_back(self) -> None:
        if self._writer.in_transaction:
            with suppress(sqlite3.Error):  # SQLite has forgotten it then
                self._writer.execute("ROLLBACK")
        self._told.have_undone()

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
        if self._wal_fd is not None:
            self.execute("PRAGMA busy_timeout = 0")  # a reader is in the way: the next time, then
            try:
                with self._cutting_log():
                    self.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            finally:
                self.execute("PRAGMA busy_timeout = 5000")
                self._forget_room()

    def restart_log(self) -> bool:
        """Let the WAL be written from its start again; whether it will be.

        Event loop's thread, which waits for the disk. It is quick right after ``checkpoint``,
        and as nobody writes meanwhile, nothing stays behind but where a reader is in the way.
        """
        if self._depth or self._wal_fd is None:
            return False
        try:
            self._before_copying()
            found = self._writer.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        except (sqlite3.Error, OSError, IndexDamaged):
            return False
        busy, frames, copied = found[0]
        return not busy and frames == copied

    def close(self) -> None:
        """Leave one complete, synced database file, and where that fails, the WAL beside it."""
        kept = True
        if self._journal is not None:
            try:
                self.flush()
            except (OSError, IndexDamaged) as error:
                kept = False
                log.warning("changes stay in the journal for the next opening: %s", error)
        super().close()
        if self._journal is not None:
            self._journal.close(remove=kept)
            self._journal = None
        if self._room is not None:
            self._room.close()
            self._room = None
