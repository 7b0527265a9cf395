"""Rows of drafts: which file holds unsealed bytes, and which range of it goes where."""

from dataclasses import dataclass

from stowkenfs.ids import InodeNo
from stowkenfs.index.connection import Connection


@dataclass(slots=True)
class Region:
    """``length`` bytes of a document from ``start``, at ``file_start`` of its draft's file.

    ``length`` None means up to the end of that file: only the region at the end has it,
    so that appending to it needs no statement here. With a ``spool`` the bytes are in that
    shared file instead.
    """

    start: int
    file_start: int
    length: int | None
    spool: int = 0


class DraftTable:
    """Queries on drafts. Event loop's thread only."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def all(self) -> list[tuple[InodeNo, int]]:
        """Inode and generation of each draft."""
        rows = self._connection.all("SELECT ino, generation FROM draft ORDER BY ino")
        return [(InodeNo(row[0]), row[1]) for row in rows]

    def generation(self, ino: InodeNo) -> int | None:
        row = self._connection.one("SELECT generation FROM draft WHERE ino = ?", (ino,))
        return int(row[0]) if row else None

    def last_generation(self) -> int:
        """The highest generation of all drafts."""
        row = self._connection.one("SELECT max(generation) FROM draft")
        return int((row and row[0]) or 0)

    def regions(self, ino: InodeNo) -> list[Region]:
        rows = self._connection.all(
            "SELECT start, file_start, length, spool FROM draft_region"
            " WHERE ino = ? ORDER BY start",
            (ino,),
        )
        return [Region(*row) for row in rows]

    def spool_references(self) -> dict[int, int]:
        """``{spool: drafts that refer to it}``."""
        rows = self._connection.all(
            "SELECT spool, count(DISTINCT ino) FROM draft_region WHERE spool > 0 GROUP BY spool"
        )
        return dict(rows)

    def put(self, ino: InodeNo, generation: int, regions: list[Region]) -> None:
        """State the whole draft anew."""
        with self._connection.transaction():
            self._connection.execute(
                "INSERT OR REPLACE INTO draft VALUES (?, ?)", (ino, generation)
            )
            self._connection.execute("DELETE FROM draft_region WHERE ino = ?", (ino,))
            self._connection.execute_many(
                "INSERT INTO draft_region VALUES (?, ?, ?, ?, ?)",
                [(ino, r.start, r.file_start, r.length, r.spool) for r in regions],
            )

    def replace(self, ino: InodeNo, first: int, last: int, regions: list[Region]) -> None:
        """Put ``regions`` in place of those that begin at ``first`` to ``last``."""
        with self._connection.transaction():
            self._connection.execute(
                "DELETE FROM draft_region WHERE ino = ? AND start BETWEEN ? AND ?",
                (ino, first, last),
            )
            for region in regions:
                self.put_region(ino, region)

    def put_region(self, ino: InodeNo, region: Region) -> None:
        self._connection.execute(
            "INSERT OR REPLACE INTO draft_region VALUES (?, ?, ?, ?, ?)",
            (ino, region.start, region.file_start, region.length, region.spool),
        )

    def delete(self, ino: InodeNo) -> None:
        with self._connection.transaction():
            self._connection.execute("DELETE FROM draft WHERE ino = ?", (ino,))
            self._connection.execute("DELETE FROM draft_region WHERE ino = ?", (ino,))
