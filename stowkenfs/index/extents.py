"""Extents of documents: rows of their own, or those of a frozen inode."""

from collections.abc import Sequence

from stowkenfs.ids import InodeNo
from stowkenfs.index.connection import Connection
from stowkenfs.index.frozen_tree import FrozenTree
from stowkenfs.index.rows import Extent

EXTENTS_COUNTED = 1024
"""Of a file, to tell how much of it they hold; it is taken for whole behind them."""


class ExtentTable:
    """Queries on extents. Event loop's thread only."""

    def __init__(self, connection: Connection, frozen: FrozenTree) -> None:
        self._connection = connection
        self._frozen = frozen

    def touching(self, ino: InodeNo, start: int, end: int) -> list[Extent]:
        """Those of ``ino`` that touch bytes ``start`` to ``end``, in order."""
        rows = self._connection.peek_all(
            "SELECT start, length, record, count FROM extent WHERE ino = ? AND start < ?"
            " AND start >= ifnull((SELECT max(start) FROM extent WHERE ino = ? AND start <= ?), 0)"
            " AND start + length > ? ORDER BY start",
            (ino, end, ino, start, start),
        )
        if not rows and self._frozen.has_inodes:
            frozen = self._frozen.extents(ino)
            return [one for one in frozen if one.start < end and one.end > start]
        return [Extent(*row) for row in rows]

    def page(self, ino: InodeNo, start: int, rows: int) -> list[Extent]:
        """Up to ``rows`` of those that begin at byte ``start`` or behind it."""
        found = self._connection.peek_all(
            "SELECT start, length, record, count FROM extent"
            " WHERE ino = ? AND start >= ? ORDER BY start LIMIT ?",
            (ino, start, rows),
        )
        if not found and self._frozen.has_inodes:
            return [one for one in self._frozen.extents(ino) if one.start >= start][:rows]
        return [Extent(*row) for row in found]

    def held_bytes(self, ino: InodeNo, size: int) -> int:
        """How many bytes of a file of ``size`` they hold; about, if there are very many."""
        row = self._connection.peek(
            "SELECT count(*), sum(length), max(start + length) FROM"
            " (SELECT start, length FROM extent WHERE ino = ? ORDER BY start LIMIT ?)",
            (ino, EXTENTS_COUNTED),
        )
        if row is None or not row[0]:
            frozen = self._frozen.extents(ino) if self._frozen.has_inodes else ()
            return sum(one.length for one in frozen)
        count, held, end = row
        return int(held if count < EXTENTS_COUNTED else held + max(size - end, 0))

    def replace(self, ino: InodeNo, start: int, end: int, extents: Sequence[Extent]) -> None:
        """Put ``extents`` in place of those between ``start`` and ``end``."""
        with self._connection.transaction():
            self._frozen.thaw_inode(ino)
            with self._connection.beside():  # no rows of extents are ever pending
                self._connection.execute(
                    "DELETE FROM extent WHERE ino = ? AND start >= ? AND start < ?",
                    (ino, start, end),
                )
                self._connection.execute_many(
                    "INSERT INTO extent VALUES (?, ?, ?, ?, ?)",
                    [(ino, e.start, e.length, e.record, e.count) for e in extents],
                )

    def cut(self, ino: InodeNo, size: int) -> None:
        """Forget what lies at and beyond byte ``size``."""
        with self._connection.transaction():
            self._frozen.thaw_inode(ino)
            straddling = self.touching(ino, max(size - 1, 0), size) if size else []
            self._connection.execute("DELETE FROM extent WHERE ino = ? AND start >= ?", (ino, size))
            for extent in straddling:
                if extent.end > size:
                    self._connection.execute(
                        "UPDATE extent SET length = ? WHERE ino = ? AND start = ?",
                        (size - extent.start, ino, extent.start),
                    )
