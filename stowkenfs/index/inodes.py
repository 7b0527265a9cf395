"""Rows of inodes, directory entries and extended attributes; no rules, only queries."""

from collections.abc import Sequence
from dataclasses import dataclass

from stowkenfs.ids import ROOT_INODE, InodeNo
from stowkenfs.index.connection import Connection

COOKIES_RESERVED = 4096
"""Directory positions claimed on disk at a time, so that none is ever given out twice."""

FIRST_COOKIE = 3
""" ``.`` and ``..`` have positions 1 and 2."""

_COLUMNS = "ino, mode, uid, gid, nlink, size, rdev, atime_ns, mtime_ns, ctime_ns, parent, target"


@dataclass(slots=True)
class Inode:
    """One row of ``inode``; times in nanoseconds since the epoch, size in bytes."""

    ino: InodeNo
    mode: int
    uid: int
    gid: int
    nlink: int
    size: int
    rdev: int
    atime_ns: int
    mtime_ns: int
    ctime_ns: int
    parent: InodeNo
    target: bytes | None


@dataclass(frozen=True, slots=True)
class Dentry:
    """A name in a directory; readdir continues after ``cookie``."""

    name: bytes
    ino: InodeNo
    cookie: int


class InodeTable:
    """Queries on the tree. Event loop's thread only, which also owns the counters."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        row = connection.one("SELECT max(ino) FROM inode")
        kept = connection.one("SELECT value FROM setting WHERE name = 'next_ino'")
        self._kept_ino = kept[0] if kept else 1  # as the index has it; numbers below are taken
        self._next_ino = max(((row and row[0]) or 0) + 1, self._kept_ino)
        row = connection.one("SELECT value FROM setting WHERE name = 'next_cookie'")
        self._next_cookie = self._cookies_end = row[0] if row else FIRST_COOKIE
        connection.on_rollback(self._forget_reserved)

    # Inodes

    def get(self, ino: InodeNo) -> Inode | None:
        row = self._connection.one(f"SELECT {_COLUMNS} FROM inode WHERE ino = ?", (ino,))  # noqa: S608
        return Inode(*row) if row else None

    def new_number(self) -> InodeNo:
        """A number that no inode of this vault has had."""
        number = self._next_ino
        self._next_ino += 1
        return InodeNo(number)

    def insert(self, inode: Inode) -> None:
        self._connection.execute(
            f"INSERT INTO inode ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608
            (
                inode.ino, inode.mode, inode.uid, inode.gid, inode.nlink, inode.size, inode.rdev,
                inode.atime_ns, inode.mtime_ns, inode.ctime_ns, inode.parent, inode.target,
            ),
        )  # fmt: skip

    def update(self, inode: Inode) -> None:
        """Write all that can change."""
        self._connection.execute(
            "UPDATE inode SET mode = ?, uid = ?, gid = ?, nlink = ?, size = ?, atime_ns = ?,"
            " mtime_ns = ?, ctime_ns = ?, parent = ? WHERE ino = ?",
            (
                inode.mode, inode.uid, inode.gid, inode.nlink, inode.size, inode.atime_ns,
                inode.mtime_ns, inode.ctime_ns, inode.parent, inode.ino,
            ),
        )  # fmt: skip

    def delete(self, ino: InodeNo) -> None:
        """Forget the inode, its attributes and its content's places.

        The highest number given out is remembered, so that a deleted one stays unused.
        """
        for table in ("inode", "extent", "xattr", "conversation", "draft", "draft_region"):
            self._connection.execute(f"DELETE FROM {table} WHERE ino = ?", (ino,))  # noqa: S608
        if ino >= self._kept_ino:
            self._connection.execute(
                "INSERT OR REPLACE INTO setting VALUES ('next_ino', ?)", (self._next_ino,)
            )
            self._kept_ino = self._next_ino

    def orphans(self) -> list[InodeNo]:
        """Files without a name that were still open when the vault was last used."""
        rows = self._connection.all("SELECT ino FROM inode WHERE nlink = 0")
        return [InodeNo(row[0]) for row in rows]

    # Directory entries

    def find(self, parent: InodeNo, name: bytes) -> InodeNo | None:
        row = self._connection.one(
            "SELECT ino FROM dentry WHERE parent = ? AND name = ?", (parent, name)
        )
        return InodeNo(row[0]) if row else None

    def find_inode(self, parent: InodeNo, name: bytes) -> Inode | None:
        """The inode behind a name, in one query."""
        row = self._connection.one(
            "SELECT i.ino, mode, uid, gid, nlink, size, rdev, atime_ns, mtime_ns, ctime_ns,"
            " i.parent, target FROM dentry d JOIN inode i ON i.ino = d.ino"
            " WHERE d.parent = ? AND d.name = ?",
            (parent, name),
        )
        return Inode(*row) if row else None

    def link(self, parent: InodeNo, name: bytes, ino: InodeNo) -> None:
        """Add a name; one that exists is taken over where it is in its directory."""
        self._connection.execute(
            "INSERT INTO dentry VALUES (?, ?, ?, ?)"
            " ON CONFLICT (parent, name) DO UPDATE SET ino = excluded.ino",
            (parent, name, ino, self._new_cookie()),
        )

    def unlink(self, parent: InodeNo, name: bytes) -> None:
        self._connection.execute("DELETE FROM dentry WHERE parent = ? AND name = ?", (parent, name))

    def is_empty(self, directory: InodeNo) -> bool:
        return self._connection.one(
            "SELECT 1 FROM dentry WHERE parent = ? LIMIT 1", (directory,)
        ) is None  # fmt: skip

    def page(self, directory: InodeNo, after: int, rows: int) -> list[tuple[Dentry, Inode]]:
        """Up to ``rows`` entries behind position ``after``, in an order that never changes."""
        found = self._connection.all(
            "SELECT d.name, d.cookie, i.ino, mode, uid, gid, nlink, size, rdev, atime_ns,"
            " mtime_ns, ctime_ns, i.parent, target FROM dentry d JOIN inode i ON i.ino = d.ino"
            " WHERE d.parent = ? AND d.cookie > ? ORDER BY d.cookie LIMIT ?",
            (directory, after, rows),
        )
        return [(Dentry(row[0], row[2], row[1]), Inode(*row[2:])) for row in found]

    def _new_cookie(self) -> int:
        if self._next_cookie >= self._cookies_end:
            self._cookies_end = self._next_cookie + COOKIES_RESERVED
            self._connection.execute(
                "INSERT OR REPLACE INTO setting VALUES ('next_cookie', ?)", (self._cookies_end,)
            )
        self._next_cookie += 1
        return self._next_cookie - 1

    def _forget_reserved(self) -> None:
        """A rolled-back transaction may have held the reservations: claim anew."""
        self._cookies_end = self._next_cookie
        self._kept_ino = 0

    def path_of(self, ino: InodeNo) -> bytes | None:
        """One path of ``ino`` from the root, for messages; None when it has no name."""
        names: list[bytes] = []
        while ino != ROOT_INODE:
            row = self._connection.one("SELECT parent, name FROM dentry WHERE ino = ?", (ino,))
            if row is None:
                return None
            ino = InodeNo(row[0])
            names.append(row[1])
        return b"/" + b"/".join(reversed(names))

    # Extended attributes

    def xattr(self, ino: InodeNo, name: bytes) -> bytes | None:
        row = self._connection.one(
            "SELECT value FROM xattr WHERE ino = ? AND name = ?", (ino, name)
        )
        return bytes(row[0]) if row else None

    def xattr_names(self, ino: InodeNo) -> Sequence[bytes]:
        rows = self._connection.all("SELECT name FROM xattr WHERE ino = ? ORDER BY name", (ino,))
        return [bytes(row[0]) for row in rows]

    def set_xattr(self, ino: InodeNo, name: bytes, value: bytes) -> None:
        self._connection.execute(
            "INSERT INTO xattr VALUES (?, ?, ?)"
            " ON CONFLICT (ino, name) DO UPDATE SET value = excluded.value",
            (ino, name, value),
        )

    def remove_xattr(self, ino: InodeNo, name: bytes) -> None:
        self._connection.execute("DELETE FROM xattr WHERE ino = ? AND name = ?", (ino, name))

    # Conversation ids

    def name_conversation(self, ino: InodeNo, ids: Sequence[str]) -> None:
        """Remember the ids that the document of ``ino`` gives itself, instead of earlier ones."""
        with self._connection.transaction():
            self._connection.execute("DELETE FROM conversation WHERE ino = ?", (ino,))
            self._connection.execute_many(
                "INSERT OR IGNORE INTO conversation VALUES (?, ?)", [(name, ino) for name in ids]
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
