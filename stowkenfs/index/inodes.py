"""Rows of inodes, directory entries and extended attributes; no rules, only queries."""

import json
from collections.abc import Sequence
from contextlib import suppress

from cachetools import LRUCache

from stowkenfs.errors import Corrupt
from stowkenfs.ids import ROOT_INODE, InodeNo
from stowkenfs.index.connection import Connection
from stowkenfs.index.frozen_tree import FrozenTree
from stowkenfs.index.pending import UNKNOWN, InodeRow
from stowkenfs.index.recent import RecentRows
from stowkenfs.index.rows import Dentry, Inode

__all__ = ["COOKIES_RESERVED", "FIRST_COOKIE", "Dentry", "Inode", "InodeTable"]

COOKIES_RESERVED = 4096
"""Directory positions claimed on disk at a time, so that none is ever given out twice."""

FIRST_COOKIE = 3
""" ``.`` and ``..`` have positions 1 and 2."""

XATTR_NAMES_MAX = 8192
"""Inodes of which it is known which attributes they have; mostly none."""

_COLUMNS = "ino, mode, uid, gid, nlink, size, rdev, atime_ns, mtime_ns, ctime_ns, parent, target"


class InodeTable:
    """Queries on the tree. Event loop's thread only, which also owns the counters.

    What is not among the hot rows is looked for in ``frozen``; what changes is thawed. That
    raises Corrupt where the group that it is in, or would be in, is damaged.

    Owned: ``_unlisted``, {directory: damage that its listing passed over}; ``_xattr_names``, a
    cache of the names of attributes; ``recent``, which only one has that nobody writes beside.
    """

    def __init__(
        self,
        connection: Connection,
        frozen: FrozenTree | None = None,
        recent: RecentRows | None = None,
    ) -> None:
        self._connection = connection
        self._recent = recent or RecentRows(0)
        connection.on_written(self._recent.absorb)
        self.frozen = frozen or FrozenTree(connection)
        self._unlisted: dict[InodeNo, Corrupt] = {}
        self._xattr_names: LRUCache[InodeNo, frozenset[bytes]] = LRUCache(XATTR_NAMES_MAX)
        row = connection.one(
            "SELECT max(ino) FROM"
            " (SELECT max(ino) AS ino FROM inode UNION ALL SELECT max(last) FROM frozen_inode)"
        )
        kept = connection.one("SELECT value FROM setting WHERE name = 'next_ino'")
        self._kept_ino = kept[0] if kept else 1  # as the index has it; numbers below are taken
        self._next_ino = max(((row and row[0]) or 0) + 1, self._kept_ino)
        row = connection.one("SELECT value FROM setting WHERE name = 'next_cookie'")
        self._next_cookie = self._cookies_end = row[0] if row else FIRST_COOKIE
        connection.on_rollback(self._forget_reserved)

    # Inodes

    def get(self, ino: InodeNo) -> Inode | None:
        change = self._connection.pending.inode(ino)
        if change is not UNKNOWN:
            return _inode(change.row) if change else None
        known = self._recent.inodes.get(ino)
        if known is not UNKNOWN:
            return _inode(known) if known else None
        row = self._connection.peek(f"SELECT {_COLUMNS} FROM inode WHERE ino = ?", (ino,))  # noqa: S608
        if row is None:
            frozen = self.frozen.inode(ino)
            row = _row(frozen) if frozen else None
        self._recent.inodes.put(ino, row)
        return _inode(row) if row else None

    def new_number(self) -> InodeNo:
        """A number that no inode of this vault has had."""
        number = self._next_ino
        self._next_ino += 1
        return InodeNo(number)

    def insert(self, inode: Inode) -> None:
        with self._connection.change():
            self._connection.pending.put_inode(_row(inode), is_new=True)

    def update(self, inode: Inode) -> None:
        """Keep all that can change."""
        with self._connection.change():
            change = self._connection.pending.inode(inode.ino)
            if change is None:
                return
            if change is UNKNOWN:
                self.frozen.thaw_inode(inode.ino)
            is_new = change is not UNKNOWN and change.is_new
            self._connection.pending.put_inode(_row(inode), is_new=is_new)

    def delete(self, ino: InodeNo) -> None:
        """Forget the inode, its attributes and its content's places.

        The highest number given out is remembered, so that a deleted one stays unused.
        """
        with self._connection.change():
            if self._connection.pending.inode(ino) is UNKNOWN:
                self.frozen.thaw_inode(ino)
            self._connection.pending.drop_inode(ino)
            if ino >= self._kept_ino:
                self._connection.pending.put_setting("next_ino", self._next_ino)
                self._kept_ino = self._next_ino

    def orphans(self) -> list[InodeNo]:
        """Files without a name that were still open when the vault was last used."""
        rows = self._connection.all("SELECT ino FROM inode WHERE nlink = 0")
        return [InodeNo(row[0]) for row in rows]

    # Directory entries

    def find(self, parent: InodeNo, name: bytes) -> InodeNo | None:
        entry = self._connection.pending.name(parent, name)
        if entry is not UNKNOWN:
            return InodeNo(entry[0]) if entry else None
        known = self._recent.name(parent, name)
        if known is not UNKNOWN:
            return InodeNo(known) if known else None
        row = self._connection.peek(
            "SELECT ino FROM dentry WHERE parent = ? AND name = ?", (parent, name)
        )
        ino = InodeNo(row[0]) if row else self.frozen.find(parent, name)
        self._recent.names.put((parent, name), ino)
        return ino

    def find_inode(self, parent: InodeNo, name: bytes) -> Inode | None:
        """The inode behind a name, in one query where that suffices."""
        recent, key = self._recent, (parent, name)
        if (
            self._connection.pending.name(parent, name) is not UNKNOWN
            or recent.name(parent, name) is not UNKNOWN
            or self.frozen.has_names
            or self.frozen.has_inodes
        ):
            ino = self.find(parent, name)
            return None if ino is None else self.get(ino)
        row = self._connection.peek(
            "SELECT i.ino, mode, uid, gid, nlink, size, rdev, atime_ns, mtime_ns, ctime_ns,"
            " i.parent, target FROM dentry d JOIN inode i ON i.ino = d.ino"
            " WHERE d.parent = ? AND d.name = ?",
            key,
        )
        recent.names.put(key, row[0] if row else None)
        if row is None:
            return None
        recent.inodes.put(row[0], row)
        return self.get(row[0])

    def link(self, parent: InodeNo, name: bytes, ino: InodeNo, *, is_new: bool = False) -> None:
        """Add a name; one that exists is taken over where it is in its directory.

        ``is_new``: there is none, as the caller knows.
        """
        with self._connection.change():
            cookie = None if is_new else self._cookie(parent, name)
            if cookie is None:
                cookie = self.reserve_cookies(1)
            self._connection.pending.put_name(parent, name, ino, cookie)

    def _cookie(self, parent: InodeNo, name: bytes) -> int | None:
        """Where a name is in its directory, thawed."""
        entry = self._connection.pending.name(parent, name)
        if entry is not UNKNOWN:
            return entry[1] if entry else None
        self.frozen.thaw_name(parent, name)
        row = self._connection.peek(
            "SELECT cookie FROM dentry WHERE parent = ? AND name = ?", (parent, name)
        )
        return row[0] if row else None

    def unlink(self, parent: InodeNo, name: bytes) -> None:
        with self._connection.change():
            if self._connection.pending.name(parent, name) is UNKNOWN:
                self.frozen.thaw_name(parent, name)
            self._connection.pending.drop_name(parent, name)

    def is_empty(self, directory: InodeNo) -> bool:
        if directory in self._connection.pending.names:
            self._connection.flush()
        hot = self._connection.peek("SELECT 1 FROM dentry WHERE parent = ? LIMIT 1", (directory,))
        return hot is None and self.frozen.is_empty(directory)

    def page(self, directory: InodeNo, after: int, rows: int) -> list[tuple[Dentry, Inode]]:
        """Up to ``rows`` entries behind position ``after``, in an order that never changes.

        Entries that cannot be told because a frozen group is damaged are passed over; Corrupt
        is raised in place of the empty page at the end, so that nobody takes the others for all.
        """
        if self.frozen.has_names or self.frozen.has_inodes:
            return self._mixed_page(directory, after, rows)
        found = self._connection.all(
            "SELECT d.name, d.cookie, i.ino, mode, uid, gid, nlink, size, rdev, atime_ns,"
            " mtime_ns, ctime_ns, i.parent, target FROM dentry d JOIN inode i ON i.ino = d.ino"
            " WHERE d.parent = ? AND d.cookie > ? ORDER BY d.cookie LIMIT ?",
            (directory, after, rows),
        )
        self._note_xattrs([row[2] for row in found])
        return [(Dentry(row[0], row[2], row[1]), Inode(*row[2:])) for row in found]

    def _mixed_page(self, directory: InodeNo, after: int, rows: int) -> list[tuple[Dentry, Inode]]:
        """A page of hot and frozen entries of hot and frozen inodes."""

        def pass_over(error: Corrupt) -> None:
            self._unlisted[directory] = error

        if after < FIRST_COOKIE:  # the next listing may fare better
            self._unlisted.pop(directory, None)
        while True:
            found = self._connection.all(
                "SELECT name, ino, cookie FROM dentry WHERE parent = ? AND cookie > ?"
                " ORDER BY cookie LIMIT ?",
                (directory, after, rows),
            )
            entries = [Dentry(*row) for row in found]
            entries += self.frozen.page(directory, after, rows, pass_over)
            entries.sort(key=lambda dentry: dentry.cookie)
            page = []
            hot = self._hot_inodes(entries[:rows])
            for dentry in entries[:rows]:
                try:
                    inode = hot.get(dentry.ino) or self.frozen.inode(dentry.ino)
                except Corrupt as error:
                    pass_over(error)
                    continue
                if inode is not None:
                    page.append((dentry, inode))
            if page:
                self._note_xattrs([inode.ino for _, inode in page])
                return page
            if not entries:
                break
            after = entries[:rows][-1].cookie
        if directory in self._unlisted:
            raise self._unlisted[directory]
        return []

    def _hot_inodes(self, entries: Sequence[Dentry]) -> dict[InodeNo, Inode]:
        rows = self._connection.all(
            f"SELECT {_COLUMNS} FROM inode WHERE ino IN (SELECT value FROM json_each(?))",  # noqa: S608
            (json.dumps([dentry.ino for dentry in entries]),),
        )
        return {row[0]: Inode(*row) for row in rows}

    def reserve_cookies(self, count: int) -> int:
        """The first of ``count`` consecutive positions that no entry has had."""
        first = self._next_cookie
        self._next_cookie += count
        if self._next_cookie > self._cookies_end:
            self._cookies_end = first + max(count, COOKIES_RESERVED)
            with self._connection.change():
                self._connection.pending.put_setting("next_cookie", self._cookies_end)
        return first

    def _forget_reserved(self) -> None:
        """A rolled-back transaction may have held the reservations: claim anew."""
        self._cookies_end = self._next_cookie
        self._kept_ino = 0
        self._xattr_names.clear()
        self._recent.clear()

    def forget(self) -> None:
        """Let go of what was looked up; for measuring."""
        self._recent.clear()
        self.frozen.forget()

    def path_of(self, ino: InodeNo) -> bytes | None:
        """One path of ``ino`` from the root, for messages; None when it has no name."""
        names: list[bytes] = []
        while ino != ROOT_INODE:
            row = self._connection.one("SELECT parent, name FROM dentry WHERE ino = ?", (ino,))
            row = row or self.frozen.name_of(ino)
            if row is None:
                return None
            ino = InodeNo(row[0])
            names.append(row[1])
        return b"/" + b"/".join(reversed(names))

    # Extended attributes

    def xattr(self, ino: InodeNo, name: bytes) -> bytes | None:
        names = self._xattr_names.get(ino)
        if names is None:  # the kernel asks for one before each write
            is_new = self._connection.pending.is_new(ino)
            names = frozenset() if is_new else frozenset(self.xattr_names(ino))
            self._xattr_names[ino] = names
        if name not in names:
            return None
        row = self._connection.peek(
            "SELECT value FROM xattr WHERE ino = ? AND name = ?", (ino, name)
        )
        return bytes(row[0]) if row else dict(self.frozen.xattrs(ino)).get(name)

    def xattr_names(self, ino: InodeNo) -> Sequence[bytes]:
        return [name for name, _ in self.xattrs(ino)]

    def xattrs(self, ino: InodeNo) -> tuple[tuple[bytes, bytes], ...]:
        """Names and values, sorted."""
        rows = self._connection.peek_all(
            "SELECT name, value FROM xattr WHERE ino = ? ORDER BY name", (ino,)
        )
        if not rows:
            return self.frozen.xattrs(ino)
        return tuple((bytes(name), bytes(value)) for name, value in rows)

    def _note_xattrs(self, inodes: Sequence[InodeNo]) -> None:
        """Look up at once what will be asked for next: who lists files wants their attributes."""
        unknown = [ino for ino in inodes if ino not in self._xattr_names]
        if not unknown:
            return
        having = self._having_xattrs(unknown)
        for ino in unknown:
            if ino in having:
                continue
            with suppress(Corrupt):  # whoever asks for them is told
                frozen = self.frozen.xattrs(ino) if self.frozen.has_inodes else ()
                self._xattr_names[ino] = frozenset(name for name, _ in frozen)

    def having_xattrs(self, inodes: Sequence[InodeNo]) -> set[InodeNo]:
        """Those that may have any."""
        return set(inodes) if self.frozen.has_inodes else self._having_xattrs(inodes)

    def _having_xattrs(self, inodes: Sequence[InodeNo]) -> set[InodeNo]:
        """Those that have any in rows."""
        rows = self._connection.peek_all(
            "SELECT DISTINCT ino FROM xattr WHERE ino IN (SELECT value FROM json_each(?))",
            (json.dumps(inodes),),
        )
        return {row[0] for row in rows}

    def set_xattr(self, ino: InodeNo, name: bytes, value: bytes) -> None:
        self._xattr_names.pop(ino, None)
        self.frozen.thaw_inode(ino)
        self._connection.execute(
            "INSERT INTO xattr VALUES (?, ?, ?)"
            " ON CONFLICT (ino, name) DO UPDATE SET value = excluded.value",
            (ino, name, value),
        )

    def remove_xattr(self, ino: InodeNo, name: bytes) -> None:
        self._xattr_names.pop(ino, None)
        self.frozen.thaw_inode(ino)
        self._connection.execute("DELETE FROM xattr WHERE ino = ? AND name = ?", (ino, name))

    # Conversation ids

    def name_conversation(self, ino: InodeNo, ids: Sequence[str]) -> None:
        """Remember the ids that the document of ``ino`` gives itself, instead of earlier ones."""
        with self._connection.transaction():
            if self.frozen.is_conversation(ino):
                if list(ids) == [""]:
                    return
                self.frozen.thaw_inode(ino)
            with self._connection.beside():  # no rows of conversations are ever pending
                self._connection.execute("DELETE FROM conversation WHERE ino = ?", (ino,))
                self._connection.execute_many(
                    "INSERT OR IGNORE INTO conversation VALUES (?, ?)",
                    [(name, ino) for name in ids],
                )

    def conversation(self, conversation_id: str) -> InodeNo | None:
        """The newest file that gives itself this id."""
        row = self._connection.one(
            "SELECT max(ino) FROM conversation WHERE id = ?", (conversation_id,)
        )
        return InodeNo(row[0]) if row and row[0] is not None else None

    def conversation_page(self, after: str, rows: int) -> list[tuple[str, InodeNo]]:
        """Ids in order, for listings."""
        found = self._connection.all(
            "SELECT id, max(ino) FROM conversation WHERE id > ? GROUP BY id ORDER BY id LIMIT ?",
            (after, rows),
        )
        return [(row[0], InodeNo(row[1])) for row in found]


def _row(inode: Inode) -> InodeRow:
    return (
        inode.ino, inode.mode, inode.uid, inode.gid, inode.nlink, inode.size, inode.rdev,
        inode.atime_ns, inode.mtime_ns, inode.ctime_ns, inode.parent, inode.target,
    )  # fmt: skip


def _inode(row: InodeRow) -> Inode:
    return Inode(InodeNo(row[0]), *row[1:10], InodeNo(row[10]), row[11])
