"""Freezing: hot rows of the tree become groups for the packs, in two steps.

``Freezer.collect`` encodes groups; when the caller has written and synced them as blocks,
``Freezer.adopt`` puts each in place of its rows, if these are what they were. What is in
between, and any crash, leaves rows hot and a block that nothing refers to.

From the first ``collect`` to the last ``adopt`` nobody may write statements of the namespace:
a statement under way may tell of older rows under a later number than ``as_of``.
"""

import hashlib
import json
import stat
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from itertools import dropwhile, groupby, takewhile
from operator import itemgetter

from stowkenfs.errors import Corrupt
from stowkenfs.ids import InodeNo, PackNo
from stowkenfs.index.connection import Connection, Row
from stowkenfs.index.frozen import (
    FrozenInode,
    InodeGroup,
    Name,
    NameGroup,
    encode_inodes,
    encode_names,
)
from stowkenfs.index.frozen_merge import (
    GROUP_ATTRIBUTE_BYTES,
    GROUP_EXTENTS,
    GROUP_ROWS,
    merge_inodes,
    merge_names,
    thaw_whole,
)
from stowkenfs.index.inodes import InodeTable
from stowkenfs.index.rows import Extent, Inode

ASKED_AT_ONCE = 8
"""Inodes that are asked about between two steps: some milliseconds."""


@dataclass(frozen=True, slots=True)
class InodeCandidate:
    """A group of inodes to be written; ``stamp`` tells whether its rows changed since."""

    payload: bytes
    first: InodeNo
    last: InodeNo
    count: int
    stamp: bytes


@dataclass(frozen=True, slots=True)
class NameCandidate:
    """A group of names to be written, and the parent and name of the first and last."""

    payload: bytes
    first: tuple[InodeNo, bytes]
    last: tuple[InodeNo, bytes]
    count: int
    stamp: bytes


Candidate = InodeCandidate | NameCandidate

Encode = Callable[[], Candidate | None]
"""Makes a group of rows that were read; None if no group can hold them. Any thread's."""


@dataclass(frozen=True, slots=True)
class _InodeRows:
    """Rows of a range of inodes, as the tables have them."""

    inodes: list[Row]
    extents: list[Row]
    xattrs: list[Row]
    conversations: list[Row]

    @property
    def stamp(self) -> bytes:
        return _stamp((self.inodes, self.extents, self.xattrs, self.conversations))

    def frozen(self) -> list[FrozenInode]:
        extents = {
            ino: tuple(Extent(*row[1:]) for row in rows)
            for ino, rows in groupby(self.extents, itemgetter(0))
        }
        xattrs = {
            ino: tuple((bytes(row[1]), bytes(row[2])) for row in rows)
            for ino, rows in groupby(self.xattrs, itemgetter(0))
        }
        conversations = {row[0] for row in self.conversations}
        return [
            FrozenInode(
                Inode(*row), xattrs.get(row[0], ()), extents.get(row[0], ()),
                row[0] in conversations,
            )
            for row in self.inodes
        ]  # fmt: skip


def _stamp(rows: object) -> bytes:
    return hashlib.blake2b(repr(rows).encode(), digest_size=16).digest()


class Freezer:
    """Event loop's thread only. Each step takes some milliseconds.

    ``is_busy``: whether an inode is about to change, and better stays hot. ``is_open``:
    whether somebody may be in the middle of listing a directory; freezing a name gives it
    another position, so those directories' names stay hot.
    """

    def __init__(
        self,
        connection: Connection,
        inodes: InodeTable,
        *,
        is_busy: Callable[[InodeNo], bool],
        is_open: Callable[[InodeNo], bool],
    ) -> None:
        self._connection = connection
        self._inodes = inodes
        self._frozen = inodes.frozen
        self._is_busy = is_busy
        self._is_open = is_open

    def collect(self, as_of: int) -> Iterator[Encode | None]:
        """What can be frozen, to be encoded. None means only that some milliseconds went by.

        ``as_of``: the number of the namespace's next statement. Groups that are in the way
        are thawed. Changes between the steps are fine.
        """
        yield from merge_inodes(self._connection, self._frozen)
        yield from self._collect_inodes(as_of)
        yield from merge_names(self._connection, self._frozen)
        yield from self._collect_names(as_of)

    def adopt(self, group: Candidate, pack: PackNo, offset_bytes: int, stored_bytes: int) -> bool:
        """Let a synced block with the group's payload take the place of its rows.

        Whether it did: not if any of them changed, or their directory was opened.
        """
        place = (pack, offset_bytes, stored_bytes, len(group.payload))
        with self._connection.transaction():
            if isinstance(group, InodeCandidate):
                return self._adopt_inodes(group, place)
            return self._adopt_names(group, place)

    # Inodes

    def _collect_inodes(self, as_of: int) -> Iterator[Encode | None]:
        at = InodeNo(0)
        while rows := (yield from self._next_inodes(at)):
            behind = takewhile(itemgetter(1), dropwhile(lambda row: not row[1], rows))
            run = [ino for ino, _ in behind]
            if not run:
                at = InodeNo(rows[-1][0] + 1)
                continue
            covering = self._frozen.inode_place(run[0])
            if covering is not None:
                is_hot = thaw_whole(self._frozen, covering)
                at = covering.first if is_hot else InodeNo(covering.last + 1)
                yield None
                continue
            following = self._frozen.inode_places(run[0], 1)
            if following:
                run = [ino for ino in run if ino < following[0].first]
            at = InodeNo(run[-1] + 1)
            yield self._encode_inodes(as_of, run[0], run[-1])

    def _next_inodes(
        self, at: InodeNo
    ) -> Generator[Encode | None, None, list[tuple[InodeNo, bool]]]:
        """Hot inodes from ``at`` on: some that may not freeze (False), then those of a group."""
        rows = self._connection.all(
            "SELECT ino, nlink > 0 AND NOT EXISTS (SELECT 1 FROM draft WHERE draft.ino = inode.ino)"
            " FROM inode WHERE ino >= ? ORDER BY ino LIMIT ?",
            (at, GROUP_ROWS),
        )
        if not rows:
            return []
        span = (rows[0][0], rows[-1][0])
        extents: dict[int, int] = dict(
            self._connection.all(
                "SELECT ino, count(*) FROM extent WHERE ino BETWEEN ? AND ? GROUP BY ino", span
            )
        )
        attributes: dict[int, int] = dict(
            self._connection.all(
                "SELECT ino, sum(length(name) + length(value)) FROM xattr"
                " WHERE ino BETWEEN ? AND ? GROUP BY ino",
                span,
            )
        )
        found = []
        extent_count = attribute_bytes = run = 0
        for asked, (number, can) in enumerate(rows, 1):
            if asked % ASKED_AT_ONCE == 0:
                yield None
            ino = InodeNo(number)
            here = (extents.get(ino, 0), attributes.get(ino, 0))
            fits = here[0] <= GROUP_EXTENTS and here[1] <= GROUP_ATTRIBUTE_BYTES
            may = bool(can) and fits and not self._is_busy(ino)
            extent_count += here[0] if may else 0
            attribute_bytes += here[1] if may else 0
            if extent_count > GROUP_EXTENTS or attribute_bytes > GROUP_ATTRIBUTE_BYTES:
                break
            if run and not may:
                break  # where the group ends; the others are asked about when it is their turn
            run += may
            found.append((ino, may))
        return found

    def _inode_rows(self, first: InodeNo, last: InodeNo) -> _InodeRows:
        span = (first, last)
        return _InodeRows(
            self._connection.all(
                "SELECT ino, mode, uid, gid, nlink, size, rdev, atime_ns, mtime_ns, ctime_ns,"
                " parent, target FROM inode WHERE ino BETWEEN ? AND ? ORDER BY ino",
                span,
            ),
            self._connection.all(
                "SELECT ino, start, length, record, count FROM extent"
                " WHERE ino BETWEEN ? AND ? ORDER BY ino, start",
                span,
            ),
            self._connection.all(
                "SELECT ino, name, value FROM xattr WHERE ino BETWEEN ? AND ? ORDER BY ino, name",
                span,
            ),
            self._connection.all(
                "SELECT ino FROM conversation WHERE ino BETWEEN ? AND ?"
                " GROUP BY ino HAVING max(id) = ''",
                span,
            ),
        )

    def _encode_inodes(self, as_of: int, first: InodeNo, last: InodeNo) -> Encode:
        found = self._inode_rows(first, last)

        def encode() -> InodeCandidate | None:
            rows = found.frozen()
            payload = encode_inodes(as_of, rows)
            if not _reads_back(lambda: InodeGroup(payload).rows(), rows):
                return None
            return InodeCandidate(payload, first, last, len(rows), found.stamp)

        return encode

    def _adopt_inodes(self, group: InodeCandidate, place: tuple[int, ...]) -> bool:
        found = self._inode_rows(group.first, group.last)
        if found.stamp != group.stamp:
            return False
        files = [row for row in found.inodes if stat.S_ISREG(row[1])]
        self._connection.execute(
            "INSERT INTO frozen_inode (first, last, count, pack, offset, stored, raw,"
            " files, bytes, sealed, conversations) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                group.first, group.last, group.count, *place, len(files),
                sum(row[5] for row in files), sum(row[2] for row in found.extents),
                len(found.conversations),
            ),
        )  # fmt: skip
        for table in ("inode", "extent", "xattr"):
            self._connection.execute(
                f"DELETE FROM {table} WHERE ino BETWEEN ? AND ?",  # noqa: S608
                (group.first, group.last),
            )
        self._connection.execute(
            "DELETE FROM conversation WHERE id = '' AND ino IN (SELECT value FROM json_each(?))",
            (_json(found.conversations),),
        )
        # Those alone: that others in the range are gone may be yet to be told.
        self._connection.execute(
            "DELETE FROM dirty_inode WHERE ino IN (SELECT value FROM json_each(?))",
            (_json(found.inodes),),
        )
        self._frozen.refresh()
        return True

    # Names

    def _collect_names(self, as_of: int) -> Iterator[Encode | None]:
        at: tuple[int, bytes] = (0, b"")
        while rows := self._connection.all(
            "SELECT parent, name, ino FROM dentry WHERE (parent, name) >= (?, ?)"
            " ORDER BY parent, name LIMIT ?",
            (*at, GROUP_ROWS),
        ):
            if self._is_open(rows[0][0]):
                at = (rows[0][0] + 1, b"")
                yield None
                continue
            covering = self._frozen.name_place(*rows[0][:2])
            if covering is not None:
                is_hot = thaw_whole(self._frozen, covering)
                at = covering[:2] if is_hot else _behind(covering[2:4])
                yield None
                continue
            run: Sequence[Row] = list(takewhile(lambda row: not self._is_open(row[0]), rows))
            following = self._frozen.name_places(rows[0][:2], 1)
            if following:
                run = [row for row in run if row[:2] < following[0][:2]]
            at = _behind(run[-1][:2])
            yield self._encode_names(as_of, run[0][:2], run[-1][:2])

    def _name_rows(self, first: tuple[int, bytes], last: tuple[int, bytes]) -> list[Name]:
        rows = self._connection.all(
            "SELECT parent, name, ino FROM dentry"
            " WHERE (parent, name) >= (?, ?) AND (parent, name) <= (?, ?) ORDER BY parent, name",
            (*first, *last),
        )
        return [(InodeNo(parent), name, InodeNo(ino)) for parent, name, ino in rows]

    def _encode_names(
        self, as_of: int, first: tuple[InodeNo, bytes], last: tuple[InodeNo, bytes]
    ) -> Encode:
        rows = self._name_rows(first, last)

        def encode() -> NameCandidate | None:
            payload = encode_names(as_of, rows)
            if not _reads_back(lambda: NameGroup(payload).entries(), rows):
                return None
            return NameCandidate(payload, first, last, len(rows), _stamp(rows))

        return encode

    def _adopt_names(self, group: NameCandidate, place: tuple[int, ...]) -> bool:
        rows = self._name_rows(group.first, group.last)
        if _stamp(rows) != group.stamp or any(self._is_open(row[0]) for row in rows):
            return False
        inos = [ino for _, _, ino in rows]
        cookie = self._inodes.reserve_cookies(len(rows))
        self._connection.execute(
            "INSERT INTO frozen_name (parent, name, last_parent, last_name, cookie, count,"
            " low_ino, high_ino, pack, offset, stored, raw)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (*group.first, *group.last, cookie, len(rows), min(inos), max(inos), *place),
        )
        # Name by name: for a range SQLite goes through all names of its directories, and of the
        # marks these alone go, since that others in the range are gone may be yet to be told.
        names = [(parent, name) for parent, name, _ in rows]
        for table in ("dentry", "dirty_dentry"):
            self._connection.execute_many(
                f"DELETE FROM {table} WHERE parent = ? AND name = ?",  # noqa: S608
                names,
            )
        self._frozen.refresh()
        return True


def _behind(entry: tuple[int, bytes]) -> tuple[int, bytes]:
    """The least parent and name above ``entry``."""
    return entry[0], entry[1] + b"\0"


def _json(rows: Sequence[Row]) -> str:
    """Their first columns."""
    return json.dumps([row[0] for row in rows])


def _reads_back(decode: Callable[[], object], rows: object) -> bool:
    """Whether a payload tells exactly its rows; such as no format can hold stay hot."""
    try:
        return decode() == rows
    except Corrupt:
        return False
