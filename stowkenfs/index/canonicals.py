"""The rows of ``canonical``: the bands of segments that near duplicates are looked for among."""

from collections.abc import Sequence

from stowkenfs.index.connection import Connection

SEGMENTS = 2
"""The kind of block that they are in."""

BandsRow = tuple[int, bytes]
"""Number of a segment, and its bands."""


class CanonicalTable:
    """Queries of that table. Event loop's thread, but where a method says so."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def page(self, after: int, rows: int) -> list[tuple[int, bytes, bool]]:
        """The first rows of numbers above ``after``, in order. Any thread.

        Number, bands, and whether some block has that segment.
        """
        return self._connection.read_all(
            "SELECT no, bands, ifnull((SELECT first + count FROM block WHERE kind = ?"
            " AND first <= no ORDER BY first DESC LIMIT 1) > no, 0)"
            " FROM canonical WHERE no > ? ORDER BY no LIMIT ?",
            (SEGMENTS, after, rows),
        )

    def add(self, rows: Sequence[BandsRow]) -> None:
        """Remember segments; one whose number is there already gets other bands."""
        with self._connection.transaction():
            self._connection.execute_many("INSERT OR REPLACE INTO canonical VALUES (?, ?)", rows)

    def drop(self, numbers: Sequence[int]) -> None:
        """Remove rows."""
        with self._connection.transaction():
            self._connection.execute_many(
                "DELETE FROM canonical WHERE no = ?", [(number,) for number in numbers]
            )

    def forget(self, first: int, end: int, rows: int) -> bool:
        """Remove up to ``rows`` of numbers ``first`` to ``end`` - 1; whether there may be more."""
        cursor = self._connection.execute(
            "DELETE FROM canonical WHERE no IN"
            " (SELECT no FROM canonical WHERE no >= ? AND no < ? LIMIT ?)",
            (first, end, rows),
        )
        return cursor.rowcount == rows
