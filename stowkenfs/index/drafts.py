"""Rows of drafts: which file holds unsealed bytes, and which range of it goes where."""

from collections import Counter
from dataclasses import dataclass
from functools import partial

from stowkenfs.ids import InodeNo
from stowkenfs.index.connection import Connection
from stowkenfs.index.pending import UNCHANGED, RegionRow


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

    @property
    def end(self) -> int:
        """One past its last byte of the document."""
        return self.start + (self.length or 0)

    @property
    def file_end(self) -> int:
        return self.file_start + (self.length or 0)

    def part(self, start: int, end: int) -> "Region":
        """What of it is in a range that it overlaps."""
        low, high = max(self.start, start), min(self.end, end)
        return Region(low, self.file_start + low - self.start, high - low, self.spool)


class DraftTable:
    """Queries on drafts. Event loop's thread only.

    Owned: ``_there``, the inodes that have one: most files have none, and each is asked when it
    is opened.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._find_all()
        connection.on_rollback(self._find_all)

    def _find_all(self) -> None:
        rows = self._connection.peek_all("SELECT ino FROM draft")
        changes = self._connection.pending.drafts
        self._there = {row[0] for row in rows} | set(changes)

    def all(self) -> list[tuple[InodeNo, int]]:
        """Inode and generation of each draft."""
        rows = self._connection.all("SELECT ino, generation FROM draft ORDER BY ino")
        return [(InodeNo(row[0]), row[1]) for row in rows]

    def generation(self, ino: InodeNo) -> int | None:
        if ino not in self._there:
            return None
        change = self._connection.pending.draft(ino)
        if change is not None and change.whole:
            return change.generation
        row = self._connection.peek("SELECT generation FROM draft WHERE ino = ?", (ino,))
        return int(row[0]) if row else None

    def last_generation(self) -> int:
        """The highest generation of all drafts."""
        row = self._connection.one("SELECT max(generation) FROM draft")
        return int((row and row[0]) or 0)

    def regions(self, ino: InodeNo) -> list[Region]:
        change = self._connection.pending.draft(ino) or UNCHANGED
        rows = {} if change.whole else self._kept_regions(ino)
        for first, last in change.cuts:
            rows = {start: row for start, row in rows.items() if not first <= start <= last}
        rows.update(change.regions)
        return [Region(*rows[start]) for start in sorted(rows)]

    def _kept_regions(self, ino: int) -> dict[int, RegionRow]:
        rows = self._connection.peek_all(
            "SELECT start, file_start, length, spool FROM draft_region WHERE ino = ?", (ino,)
        )
        return {row[0]: row for row in rows}

    def spool_references(self) -> dict[int, int]:
        """``{spool: drafts that refer to it}``."""
        rows = self._connection.peek_all(
            "SELECT spool, count(DISTINCT ino) FROM draft_region WHERE spool > 0 GROUP BY spool"
        )
        found: Counter[int] = Counter(dict(rows))
        pending = self._connection.pending
        gone = [ino for ino, change in pending.inodes.items() if change is None]
        for ino in {*gone, *pending.drafts}:
            found.subtract({row[3] for row in self._kept_regions(ino).values()})
            found.update({region.spool for region in self.regions(InodeNo(ino))})
        return {spool: count for spool, count in found.items() if spool and count}

    def put(self, ino: InodeNo, generation: int, regions: list[Region]) -> None:
        """State the whole draft anew."""
        self._there.add(ino)
        with self._connection.change():
            rows = [(r.start, r.file_start, r.length, r.spool) for r in regions]
            self._connection.pending.put_draft(ino, generation, rows)

    def replace(self, ino: InodeNo, first: int, last: int, regions: list[Region]) -> None:
        """Put ``regions`` in place of those that begin at ``first`` to ``last``."""
        with self._connection.change():
            self._connection.pending.cut_regions(ino, first, last)
            for region in regions:
                self.put_region(ino, region)

    def put_region(self, ino: InodeNo, region: Region) -> None:
        with self._connection.change():
            row = (region.start, region.file_start, region.length, region.spool)
            self._connection.pending.put_region(ino, row)

    def delete(self, ino: InodeNo) -> None:
        with self._connection.change():
            self._connection.pending.drop_draft(ino)
            self._connection.after_commit(partial(self._there.discard, ino))
