"""What files consist of: where to start following links, and the ids that they give themselves."""

import stat
from collections.abc import Iterator, Sequence

from stowkenfs.errors import Corrupt
from stowkenfs.ids import InodeNo
from stowkenfs.index.connection import Connection
from stowkenfs.index.frozen_tree import FrozenTree
from stowkenfs.index.inodes import InodeTable
from stowkenfs.index.rows import Extent
from stowkenfs.store.block import BlockKind
from stowkenfs.vault.about import HEAD_BYTES, about
from stowkenfs.vault.reader import Reader
from stowkenfs.vault.reindex.reach import Reach
from stowkenfs.vault.reindex.report import ReindexReport

ROWS_AT_ONCE = 500

RECORDS_SURELY = 1 << 20
"""Of an extent that may be taken at its word: so many numbers take next to nothing."""

File = tuple[InodeNo, int, bool | None]
"""Inode, size in bytes, and whether it is a conversation without an id; None if unknown."""


class Contents:
    """Goes through all files. The thread's that rebuilds."""

    def __init__(
        self, connection: Connection, inodes: InodeTable, reader: Reader, report: ReindexReport
    ) -> None:
        self._connection = connection
        self._inodes = inodes
        self._frozen: FrozenTree = inodes.frozen
        self._reader = reader
        self._report = report

    def _all_extents(self) -> Iterator[Sequence[tuple[InodeNo, Extent]]]:
        """Of all files, in lists of a group or a page."""
        first = InodeNo(-1)
        while places := self._frozen.inode_places(first, 1):
            first = places[0].first
            rows = self._frozen.inode_group(places[0]).rows()
            yield [(row.inode.ino, extent) for row in rows for extent in row.extents]
        at = (-1, -1)
        while found := self._connection.all(
            "SELECT ino, start, length, record, count FROM extent WHERE (ino, start) > (?, ?)"
            " ORDER BY ino, start LIMIT ?",
            (*at, ROWS_AT_ONCE),
        ):
            yield [(InodeNo(ino), Extent(*extent)) for ino, *extent in found]
            at = found[-1][:2]

    def want_records(self, reach: Reach) -> None:
        """Let ``reach`` follow all that files consist of."""
        wanted = reach.wanted[BlockKind.RECORDS]
        for extents in self._all_extents():
            for _, extent in extents:
                for first, end in self._there(extent):
                    wanted.add_range(first, end)

    def _there(self, extent: Extent) -> Iterator[tuple[int, int]]:
        """The records of an extent; of one that claims very many, those that some block has."""
        first, end = extent.record, extent.record + extent.count
        if extent.count <= RECORDS_SURELY:
            yield first, end
            return
        rows = self._connection.all(
            "SELECT first, first + count FROM block WHERE kind = ? AND first < ?"
            " AND first + count > ?",
            (BlockKind.RECORDS, end, first),
        )
        for low, high in rows:
            yield max(first, low), min(end, high)

    def name_damaged(self, reach: Reach) -> None:
        """Put files into the report of which something is missing."""
        present, bad = reach.present[BlockKind.RECORDS], reach.bad_records
        last = None
        for extents in self._all_extents():
            for ino, extent in extents:
                first, end = extent.record, extent.record + extent.count
                if present.all_between(first, end) and not bad.any_between(first, end):
                    continue
                if ino != last:
                    path = self._inodes.path_of(ino) or b"inode %d" % ino
                    self._report.add(self._report.files, path.decode("utf-8", "backslashreplace"))
                last = ino

    # Conversations

    def name_conversations(self) -> int:
        """Note the ids that files give themselves; how many files are conversations."""
        found = 0
        for files in self._files():
            with self._connection.transaction():
                for ino, size, is_nameless in files:
                    names = () if is_nameless else self._names_of(ino, size)
                    if names:
                        self._inodes.name_conversation(ino, names)
                    found += bool(is_nameless) or bool(names)
        return found

    def _files(self) -> Iterator[list[File]]:
        """Regular files that are not empty."""
        first = InodeNo(-1)
        places = self._frozen.inode_places(first, 1)
        while places:
            first = places[0].first
            yield [
                (row.inode.ino, row.inode.size, row.is_conversation)
                for row in self._frozen.inode_group(places[0]).rows()
                if stat.S_ISREG(row.inode.mode) and row.extents
            ]
            places = self._frozen.inode_places(first, 1)
        at = -1
        while rows := self._connection.all(
            "SELECT ino, mode, size FROM inode WHERE ino > ? ORDER BY ino LIMIT ?",
            (at, ROWS_AT_ONCE),
        ):
            yield [
                (InodeNo(ino), size, None)
                for ino, mode, size in rows
                if stat.S_ISREG(mode) and size
            ]
            at = rows[-1][0]

    def _names_of(self, ino: InodeNo, size: int) -> tuple[str, ...]:
        rows = self._connection.all(
            "SELECT start, length, record, count FROM extent WHERE ino = ? AND start < ?"
            " ORDER BY start",
            (ino, HEAD_BYTES),
        )
        extents = [Extent(*row) for row in rows] or list(self._frozen.extents(ino))
        end = min(size, HEAD_BYTES)
        ranges = [(one, one.start, min(one.end, end)) for one in extents if one.start < end]
        if not ranges:
            return ()
        head = bytearray(end)
        try:
            for extent, start, stop in ranges:
                head[start:stop] = self._reader.read_extent(extent, start, stop)
        except Corrupt:
            return ()
        return about(bytes(head)).names
