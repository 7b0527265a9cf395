"""The part of the tree that is in packs: where each group lies, and what it says.

A row of the tree is either *hot*, in the tables of the index, or *frozen*, in a group that
``frozen_inode`` or ``frozen_name`` locates; never both. What is about to change is thawed
first: its whole group becomes hot rows, which the triggers of the schema note as changed.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from cachetools import LRUCache

from stowkenfs.errors import Corrupt
from stowkenfs.ids import InodeNo, PackNo
from stowkenfs.index.connection import Connection
from stowkenfs.index.frozen import FrozenInode, InodeGroup, Name, NameGroup
from stowkenfs.index.rows import Dentry, Extent, Inode

GROUPS_CACHED = 64
"""Decoded groups of each sort; one is some 100 KB."""
PLACES_AT_ONCE = 8


Load = Callable[[PackNo, int, int], bytes]
"""The verified payload of the block at (pack, offset_bytes, stored_bytes). Raises Corrupt."""


class InodePlace(NamedTuple):
    """Where a group of inodes lies, and the lowest and highest of their numbers."""

    first: InodeNo
    last: InodeNo
    rows: int
    pack: PackNo
    offset_bytes: int
    stored_bytes: int


class NamePlace(NamedTuple):
    """Where a group of names lies, its first and last, and the first one's cookie."""

    parent: InodeNo
    name: bytes
    last_parent: InodeNo
    last_name: bytes
    cookie: int
    rows: int
    pack: PackNo
    offset_bytes: int
    stored_bytes: int


INODE_PLACE = "SELECT first, last, count, pack, offset, stored FROM frozen_inode"
NAME_PLACE = (
    "SELECT parent, name, last_parent, last_name, cookie, count, pack, offset, stored"
    " FROM frozen_name"
)


class FrozenTree:
    """Looks into frozen groups and thaws them. Event loop's thread only.

    Without ``load`` nothing counts as frozen. Owned: ``has_inodes`` and ``has_names``, which
    mirror whether the tables have rows, so that looking costs nothing where none has; the
    last place that was asked for; and caches by where a group is, whose bytes never change.

    All that looks into a group raises Corrupt if it is damaged.
    """

    def __init__(self, connection: Connection, load: Load | None = None) -> None:
        self._connection = connection
        self._load = load
        self._inode_groups: LRUCache[tuple[PackNo, int], InodeGroup] = LRUCache(GROUPS_CACHED)
        self._name_groups: LRUCache[tuple[PackNo, int], NameGroup] = LRUCache(GROUPS_CACHED)
        self.refresh()
        connection.on_rollback(self.refresh)

    def refresh(self) -> None:
        """Look again at which groups there are; whoever changes the tables calls it."""
        self.has_inodes = self._has_rows("frozen_inode")
        self.has_names = self._has_rows("frozen_name")
        self._last_inodes: InodePlace | None = None
        self._last_names: NamePlace | None = None

    def forget(self) -> None:
        """Let go of what is decoded; for measuring."""
        for cache in (self._inode_groups, self._name_groups):
            cache.clear()

    def _has_rows(self, table: str) -> bool:
        found = self._connection.peek(f"SELECT 1 FROM {table} LIMIT 1")  # noqa: S608
        return self._load is not None and found is not None

    # Groups

    def _fetch(self, place: InodePlace | NamePlace) -> bytes:
        assert self._load is not None
        return self._load(place.pack, place.offset_bytes, place.stored_bytes)

    def inode_group(self, place: InodePlace) -> InodeGroup:
        key = place.pack, place.offset_bytes
        group = self._inode_groups.get(key)
        if group is None:
            group = InodeGroup(self._fetch(place))
            if (group.first, group.last, group.count) != place[:3]:
                raise Corrupt(f"not the group of inodes {place.first} to {place.last}")
            self._inode_groups[key] = group
        return group

    def name_group(self, place: NamePlace) -> NameGroup:
        key = place.pack, place.offset_bytes
        group = self._name_groups.get(key)
        if group is None:
            group = NameGroup(self._fetch(place))
            ends = (group.parents[0], group.names[0], group.parents[-1], group.names[-1])
            if (*ends, group.count) != (*place[:4], place.rows):
                raise Corrupt(f"not the group of names from {place.name!r} on")
            self._name_groups[key] = group
        return group

    def inode_place(self, ino: InodeNo) -> InodePlace | None:
        """The group that would hold ``ino``."""
        if not self.has_inodes:
            return None
        place = self._last_inodes
        if place is None or not place.first <= ino <= place.last:
            row = self._connection.peek(
                f"{INODE_PLACE} WHERE first <= ? ORDER BY first DESC LIMIT 1", (ino,)
            )
            place = InodePlace(*row) if row else None
            if place is None or ino > place.last:
                return None
            self._last_inodes = place
        return place

    def name_place(self, parent: InodeNo, name: bytes) -> NamePlace | None:
        """The group that would hold this name."""
        if not self.has_names:
            return None
        place, key = self._last_names, (parent, name)
        if place is None or not place[:2] <= key <= place[2:4]:
            row = self._connection.peek(
                f"{NAME_PLACE} WHERE (parent, name) <= (?, ?)"
                " ORDER BY parent DESC, name DESC LIMIT 1",
                key,
            )
            place = NamePlace(*row) if row else None
            if place is None or key > place[2:4]:
                return None
            self._last_names = place
        return place

    # Inodes

    def _row(self, ino: InodeNo) -> tuple[InodeGroup, int] | None:
        place = self.inode_place(ino)
        if place is None:
            return None
        group = self.inode_group(place)
        at = group.position(ino)
        return None if at is None else (group, at)

    def inode(self, ino: InodeNo) -> Inode | None:
        row = self._row(ino)
        return row[0].inode(row[1]) if row else None

    def xattrs(self, ino: InodeNo) -> tuple[tuple[bytes, bytes], ...]:
        """Sorted by name; none of an inode that is not frozen."""
        row = self._row(ino)
        return row[0].xattrs(row[1]) if row else ()

    def extents(self, ino: InodeNo) -> tuple[Extent, ...]:
        """In order; none of an inode that is not frozen."""
        row = self._row(ino)
        return row[0].extents(row[1]) if row else ()

    def is_conversation(self, ino: InodeNo) -> bool | None:
        """Whether it is one without ids; None of an inode that is not frozen."""
        row = self._row(ino)
        return row[0].is_conversation(row[1]) if row else None

    # Names

    def find(self, parent: InodeNo, name: bytes) -> InodeNo | None:
        place = self.name_place(parent, name)
        if place is None:
            return None
        group = self.name_group(place)
        at = group.position(parent, name)
        return None if at is None else InodeNo(group.inos[at])

    def name_of(self, ino: InodeNo) -> tuple[InodeNo, bytes] | None:
        """A directory and the name of ``ino`` in it; damaged groups are passed over."""
        if not self.has_names:
            return None
        for row in self._connection.peek_all(
            f"{NAME_PLACE} WHERE low_ino <= ? AND high_ino >= ?", (ino, ino)
        ):
            try:
                group = self.name_group(NamePlace(*row))
            except Corrupt:
                continue
            if ino in group.inos:
                at = group.inos.index(ino)
                return InodeNo(group.parents[at]), group.names[at]
        return None

    def is_empty(self, parent: InodeNo) -> bool:
        """Whether no frozen name is in ``parent``."""
        if not self.has_names:
            return True
        if self._connection.peek("SELECT 1 FROM frozen_name WHERE parent = ? LIMIT 1", (parent,)):
            return False
        place = self._reaching(parent)
        return place is None or (
            place.last_parent != parent and not self.name_group(place).within(parent)
        )

    def _reaching(self, parent: InodeNo) -> NamePlace | None:
        """The group that begins in a directory before ``parent`` and may hold names of it."""
        place = self.name_place(parent, b"")  # no name is so short
        return place if place is not None and place.last_parent >= parent else None

    def page(
        self, parent: InodeNo, after: int, rows: int, on_damage: Callable[[Corrupt], None]
    ) -> list[Dentry]:
        """Up to ``rows`` names behind position ``after``, in order.

        A damaged group is told to ``on_damage`` and passed over.
        """
        if not self.has_names:
            return []
        found: list[Dentry] = []
        reaching = self._reaching(parent)
        if reaching is not None and reaching.cookie + reaching.rows > after:
            found += self._entries(reaching, parent, after, on_damage)
        count = 0
        for place in self._places_in(parent, after):
            if count >= rows:
                break
            entries = self._entries(place, parent, after, on_damage)
            count += len(entries)
            found += entries
        found.sort(key=lambda dentry: dentry.cookie)
        return found[:rows]

    def _places_in(self, parent: InodeNo, after: int) -> Iterator[NamePlace]:
        """Groups that begin in ``parent`` and may have positions behind ``after``, in order."""
        sql = f"{NAME_PLACE} WHERE parent = ? AND cookie"
        row = self._connection.peek(f"{sql} <= ? ORDER BY cookie DESC LIMIT 1", (parent, after))
        if row and NamePlace(*row).cookie + NamePlace(*row).rows > after:
            yield NamePlace(*row)
        while True:
            found = self._connection.peek_all(
                f"{sql} > ? ORDER BY cookie LIMIT ?", (parent, after, PLACES_AT_ONCE)
            )
            for row in found:
                place = NamePlace(*row)
                yield place
                after = place.cookie
            if len(found) < PLACES_AT_ONCE:
                return

    def _entries(
        self, place: NamePlace, parent: InodeNo, after: int, on_damage: Callable[[Corrupt], None]
    ) -> list[Dentry]:
        try:
            group = self.name_group(place)
        except Corrupt as error:
            on_damage(error)
            return []
        rows = group.within(parent)
        start = max(rows.start, after - place.cookie + 1)
        return [
            Dentry(group.names[at], InodeNo(group.inos[at]), place.cookie + at)
            for at in range(start, rows.stop)
        ]

    # Thawing

    def thaw_inode(self, ino: InodeNo) -> bool:
        """Make the group of ``ino`` hot, if it is frozen; whether it was."""
        place = self.inode_place(ino)
        if place is None or self.inode_group(place).position(ino) is None:
            return False
        self.thaw_inodes(place)
        return True

    def thaw_inodes(self, place: InodePlace) -> None:
        rows = self.inode_group(place).rows()
        with self._connection.beside(), self._connection.transaction():
            self._connection.execute("DELETE FROM frozen_inode WHERE first = ?", (place.first,))
            self._insert_inodes(rows)
            self.refresh()

    def _insert_inodes(self, rows: list[FrozenInode]) -> None:
        self._connection.execute_many(
            "INSERT INTO inode VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (
                    one.ino, one.mode, one.uid, one.gid, one.nlink, one.size, one.rdev,
                    one.atime_ns, one.mtime_ns, one.ctime_ns, one.parent, one.target,
                )
                for one in (row.inode for row in rows)
            ],
        )  # fmt: skip
        self._connection.execute_many(
            "INSERT INTO extent VALUES (?, ?, ?, ?, ?)",
            [
                (row.inode.ino, extent.start, extent.length, extent.record, extent.count)
                for row in rows
                for extent in row.extents
            ],
        )
        self._connection.execute_many(
            "INSERT INTO xattr VALUES (?, ?, ?)",
            [(row.inode.ino, name, value) for row in rows for name, value in row.xattrs],
        )
        self._connection.execute_many(
            "INSERT OR IGNORE INTO conversation VALUES ('', ?)",
            [(row.inode.ino,) for row in rows if row.is_conversation],
        )

    def thaw_name(self, parent: InodeNo, name: bytes) -> bool:
        """Make the group of a name hot, if it is frozen; whether it was."""
        place = self.name_place(parent, name)
        if place is None or self.name_group(place).position(parent, name) is None:
            return False
        self.thaw_names(place)
        return True

    def thaw_names(self, place: NamePlace) -> None:
        """Make a group of names hot; they keep their positions."""
        entries: list[Name] = self.name_group(place).entries()
        with self._connection.beside(), self._connection.transaction():
            self._connection.execute(
                "DELETE FROM frozen_name WHERE parent = ? AND name = ?", place[:2]
            )
            self._connection.execute_many(
                "INSERT INTO dentry VALUES (?, ?, ?, ?)",
                [(*entry, cookie) for cookie, entry in enumerate(entries, place.cookie)],
            )
            self.refresh()

    # All of them

    def inode_places(self, after: InodeNo, rows: int) -> list[InodePlace]:
        """Up to ``rows`` groups that begin behind ``after``, in order."""
        if self._load is None:
            return []
        found = self._connection.peek_all(
            f"{INODE_PLACE} WHERE first > ? ORDER BY first LIMIT ?", (after, rows)
        )
        return [InodePlace(*row) for row in found]

    def name_places(self, after: tuple[int, bytes], rows: int) -> list[NamePlace]:
        """Up to ``rows`` groups that begin behind a parent and name, in order."""
        if self._load is None:
            return []
        found = self._connection.peek_all(
            f"{NAME_PLACE} WHERE (parent, name) > (?, ?) ORDER BY parent, name LIMIT ?",
            (*after, rows),
        )
        return [NamePlace(*row) for row in found]
