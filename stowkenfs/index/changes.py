"""What of the tree changed since it was last written to a pack."""

from collections.abc import Sequence
from dataclasses import dataclass

from stowkenfs.ids import InodeNo
from stowkenfs.index.connection import Connection, Row
from stowkenfs.index.extents import ExtentTable
from stowkenfs.index.inodes import InodeTable
from stowkenfs.index.rows import Extent, Inode
from stowkenfs.index.schema import NO_EXTENTS

EXTENTS_AT_ONCE = 2000

ATTRIBUTE_BYTES = 512
"""Bytes of attributes that count as an extent: a page has about 1 MiB of them."""
"""A block of changes stays small however long the files are."""


@dataclass(frozen=True, slots=True)
class InodeChange:
    """An inode as it is now; ``inode`` None when it is gone.

    ``extents``: those from byte ``extents_from`` on; ``extents_from`` None when they are as
    before. ``more_from``: byte from which a long file's further extents come with a later
    change; None when these are all.
    """

    ino: InodeNo
    inode: Inode | None
    xattrs: tuple[tuple[bytes, bytes], ...] = ()
    extents_from: int | None = None
    extents: tuple[Extent, ...] = ()
    more_from: int | None = None


@dataclass(frozen=True, slots=True)
class DentryChange:
    """A name as it is now; ``ino`` None when it is gone."""

    parent: InodeNo
    name: bytes
    ino: InodeNo | None


Change = InodeChange | DentryChange
Stamp = tuple[Change, int]


class ChangeLog:
    """Queries on the changes. Event loop's thread only."""

    def __init__(self, connection: Connection, inodes: InodeTable) -> None:
        self._connection = connection
        self._inodes = inodes
        self._extents = ExtentTable(connection, inodes.frozen)

    def page(self, rows: int) -> list[Stamp]:
        """Up to ``rows`` changes, each with the stamp to ``settle`` it with."""
        dirty = self._connection.all(
            "SELECT ino, extents_from, stamp FROM dirty_inode ORDER BY ino LIMIT ?", (rows,)
        )
        having_xattrs = self._inodes.having_xattrs([InodeNo(row[0]) for row in dirty])
        known = self._few_extents(dirty)
        changes: list[Stamp] = []
        room = EXTENTS_AT_ONCE
        for number, start, stamp in dirty:
            ino = InodeNo(number)
            found = None if start == NO_EXTENTS or known is None else known[ino]
            xattrs = self._inodes.xattrs(ino) if ino in having_xattrs else ()
            change = self._inode(ino, start, room, xattrs, found)
            changes.append((change, stamp))
            room -= _cost(change)
            if room <= 0:
                return changes
        names = self._connection.all(
            "SELECT parent, name, stamp FROM dirty_dentry ORDER BY parent, name LIMIT ?",
            (rows - len(changes),),
        )
        for parent, name, stamp in names:
            changes.append((DentryChange(parent, name, self._inodes.find(parent, name)), stamp))
        return changes

    def _few_extents(self, dirty: Sequence[Row]) -> dict[InodeNo, list[Extent]] | None:
        """What changed of the extents of all these, looked up at once; None if it is too much.

        An inode that is not hot has none here, and is looked up by itself.
        """
        changed = [row for row in dirty if row[1] != NO_EXTENTS]
        if not changed or self._inodes.frozen.has_inodes:
            return None
        found: dict[InodeNo, list[Extent]] = {InodeNo(row[0]): [] for row in changed}
        rows = self._connection.peek_all(
            "SELECT e.ino, e.start, e.length, e.record, e.count FROM dirty_inode d"
            " JOIN extent e ON e.ino = d.ino AND e.start >= d.extents_from"
            " WHERE d.ino BETWEEN ? AND ? LIMIT ?",
            (changed[0][0], changed[-1][0], EXTENTS_AT_ONCE),
        )
        if len(rows) == EXTENTS_AT_ONCE:
            return None
        for ino, *extent in sorted(rows):
            found[ino].append(Extent(*extent))
        return found

    @staticmethod
    def are_all(changes: Sequence[Stamp], rows: int) -> bool:
        """Whether ``changes``, a page of ``rows``, were all that there were."""
        cost = sum(_cost(change) for change, _ in changes if isinstance(change, InodeChange))
        return len(changes) < rows and cost < EXTENTS_AT_ONCE

    def _inode(
        self,
        ino: InodeNo,
        extents_from: int,
        extents_max: int,
        xattrs: tuple[tuple[bytes, bytes], ...],
        found: Sequence[Extent] | None,
    ) -> InodeChange:
        inode = self._inodes.get(ino)
        if inode is None or extents_from == NO_EXTENTS:
            kept = None if extents_from == NO_EXTENTS else extents_from
            return InodeChange(ino, inode, xattrs, kept)
        if found is None:
            found = self._extents.page(ino, extents_from, extents_max + 1)
        more_from = found[extents_max].start if len(found) > extents_max else None
        extents = tuple(found[:extents_max])
        return InodeChange(ino, inode, xattrs, extents_from, extents, more_from)

    def settle(self, changes: list[Stamp]) -> None:
        """Forget ``changes``, which are in a pack now, but not newer ones of the same things."""
        inodes, names, longer = [], [], []
        for change, stamp in changes:
            if isinstance(change, DentryChange):
                names.append((change.parent, change.name, stamp))
            elif change.more_from is not None:
                longer.append((change.more_from, change.ino, stamp))
            else:
                inodes.append((change.ino, stamp))
        with self._connection.transaction():
            self._connection.execute_many(
                "UPDATE dirty_inode SET extents_from = ? WHERE ino = ? AND stamp = ?", longer
            )
            self._connection.execute_many(
                "DELETE FROM dirty_inode WHERE ino = ? AND stamp = ?", inodes
            )
            self._connection.execute_many(
                "DELETE FROM dirty_dentry WHERE parent = ? AND name = ? AND stamp = ?", names
            )


def _cost(change: InodeChange) -> int:
    """What a change takes of a page, in extents."""
    attribute_bytes = sum(len(name) + len(value) for name, value in change.xattrs)
    return len(change.extents) + attribute_bytes // ATTRIBUTE_BYTES
