"""Groups of frozen rows as payloads of blocks (FORMAT.md, "Frozen tree"). Pure bytes.

An inode group holds inodes with all that belongs to them, a name group directory entries.
Both are sorted. ``as_of`` is the number that the next statement of the namespace had when the
rows were collected. The block has a number of its own among the statements, not below it.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from stowkenfs.errors import Corrupt
from stowkenfs.ids import InodeNo
from stowkenfs.index.frozen_columns import Cursor, Numbers, decode_column, encode_column
from stowkenfs.index.rows import FIELDS_MAX, Extent, Inode
from stowkenfs.varint import append_varint

ROWS_MAX = 4096
EXTENTS_MAX = 1 << 16
ATTRIBUTES_MAX = 1 << 16
"""A reader refuses more of each in a group before it allocates anything."""

NUMBER_MAX = (1 << 63) - 1
RECORDS_END = 1 << 62
NAME_BYTES_MAX = 255
TARGET_BYTES_MAX = 4095

_FIELDS = ("ino", "mode", "uid", "gid", "nlink", "size", "rdev", "parent", "mtime_ns")
_SIZE = _FIELDS.index("size")


@dataclass(frozen=True, slots=True)
class FrozenInode:
    """An inode with its extents, in order, and its attributes, sorted by name.

    ``is_conversation``: it is one that gives itself no id.
    """

    inode: Inode
    xattrs: tuple[tuple[bytes, bytes], ...] = ()
    extents: tuple[Extent, ...] = ()
    is_conversation: bool = False


Name = tuple[InodeNo, bytes, InodeNo]
"""A directory entry: parent, name, inode."""


def _head(as_of: int, rows: int) -> bytearray:
    out = bytearray()
    append_varint(out, as_of)
    append_varint(out, rows)
    return out


def _read_head(cursor: Cursor) -> tuple[int, int]:
    as_of, rows = cursor.number(), cursor.number()
    if not 0 < rows <= ROWS_MAX:
        raise Corrupt(f"frozen group: claims {rows} rows")
    return as_of, rows


def _column(values: Sequence[int]) -> Numbers:
    return np.array(values, np.int64)


# Inodes


def encode_inodes(as_of: int, rows: Sequence[FrozenInode]) -> bytes:
    """The payload of a group of up to ROWS_MAX inodes, sorted by number."""
    out = _head(as_of, len(rows))
    inodes = [row.inode for row in rows]
    for field in _FIELDS:
        out += encode_column(_column([getattr(inode, field) for inode in inodes]))
    mtimes = _column([inode.mtime_ns for inode in inodes])
    out += encode_column(_column([inode.ctime_ns for inode in inodes]), mtimes)
    out += encode_column(_column([inode.atime_ns for inode in inodes]), mtimes)
    out += encode_column(_column([row.is_conversation for row in rows]))
    targets = [inode.target for inode in inodes]
    out += encode_column(_column([0 if text is None else len(text) + 1 for text in targets]))
    out += encode_column(_column([len(row.xattrs) for row in rows]))
    out += encode_column(_column([len(row.extents) for row in rows]))
    out += _encode_extents(rows)
    texts = [text for row in rows for attribute in row.xattrs for text in attribute]
    if texts:
        out += encode_column(_column([len(text) for text in texts]))
    out += b"".join(text for text in targets if text is not None)
    out += b"".join(texts)
    return bytes(out)


def _encode_extents(rows: Sequence[FrozenInode]) -> bytes:
    gaps, lengths, records, counts = [], [], [], []
    record = 0
    for row in rows:
        at, last = 0, len(row.extents) - 1
        for place, extent in enumerate(row.extents):
            gaps.append(extent.start - at)
            # Most files are one extent, as long as the file.
            expected = row.inode.size - extent.start if place == last else 0
            lengths.append(extent.length - expected)
            records.append(extent.record - record)
            counts.append(extent.count)
            at, record = extent.end, extent.record + extent.count
    if not gaps:
        return b""
    return b"".join(encode_column(_column(column)) for column in (gaps, lengths, records, counts))


class InodeGroup:
    """A decoded group; rows become objects when they are asked for."""

    def __init__(self, payload: bytes) -> None:
        """Raises Corrupt."""
        cursor = Cursor(payload)
        self.as_of, self.count = _read_head(cursor)
        rows = self.count
        self._columns = [decode_column(cursor, rows) for _ in _FIELDS]
        mtimes = self._columns[-1]
        self._columns += [decode_column(cursor, rows, mtimes) for _ in range(2)]
        self._inos = self._columns[0]
        if int(self._inos[0]) <= 0 or (rows > 1 and not (self._inos[1:] > self._inos[:-1]).all()):
            raise Corrupt("frozen group: inodes out of order")
        for field, column in zip(_FIELDS, self._columns, strict=False):
            if field in FIELDS_MAX and not 0 <= column.min() <= column.max() <= FIELDS_MAX[field]:
                raise Corrupt(f"frozen group: an inode whose {field} cannot be")
        self._is_conversation = decode_column(cursor, rows)
        targets, xattrs, extents = (decode_column(cursor, rows) for _ in range(3))
        self._xattr_ends = _ends(xattrs, ATTRIBUTES_MAX)
        self._extent_ends = _ends(extents, EXTENTS_MAX)
        extent_columns, before = range(4 if self.extent_count else 0), cursor.at
        self._extents = [decode_column(cursor, self.extent_count) for _ in extent_columns]
        self.extents_share = (cursor.at - before) / len(payload)  # of the payload's bytes
        if self._extents:
            _, _, jumps, counts = self._extents
            # Where each begins: the jumps up to it and the records before it.
            self._extents[2] = np.cumsum(jumps) + np.cumsum(counts) - counts
        texts = 2 * int(self._xattr_ends[-1])
        self._has_target = targets > 0
        self._target_ends = _ends(np.maximum(targets - 1, 0), len(payload))
        lengths = decode_column(cursor, texts) if texts else np.zeros(0, np.int64)
        self._text_ends = _ends(lengths, len(payload))
        if int(targets.max()) > TARGET_BYTES_MAX + 1:
            raise Corrupt("frozen group: a link target that no link can have")
        self._targets = cursor.take(int(self._target_ends[-1]))
        self._texts = cursor.rest()
        if len(self._texts) != (int(self._text_ends[-1]) if texts else 0):
            raise Corrupt("frozen group: bytes are left over or missing")

    @property
    def extent_count(self) -> int:
        return int(self._extent_ends[-1])

    @property
    def attribute_bytes(self) -> int:
        return len(self._texts)

    @property
    def first(self) -> InodeNo:
        return InodeNo(int(self._inos[0]))

    @property
    def last(self) -> InodeNo:
        return InodeNo(int(self._inos[-1]))

    def position(self, ino: InodeNo) -> int | None:
        """Which row is the inode's; None if none is."""
        at = int(self._inos.searchsorted(ino))
        return at if at < self.count and int(self._inos[at]) == ino else None

    def inode(self, at: int) -> Inode:
        return self._as_inode(at, [int(column[at]) for column in self._columns])

    def _as_inode(self, at: int, numbers: Sequence[int]) -> Inode:
        ino, mode, uid, gid, nlink, size, rdev, parent, mtime, ctime, atime = numbers
        target = self._targets[_slice(self._target_ends, at)] if self._has_target[at] else None
        return Inode(
            InodeNo(ino), mode, uid, gid, nlink, size, rdev, atime, mtime, ctime,
            InodeNo(parent), target,
        )  # fmt: skip

    def xattrs(self, at: int) -> tuple[tuple[bytes, bytes], ...]:
        """Raises Corrupt."""
        rows = _slice(self._xattr_ends, at)
        found = tuple(
            (self._text(2 * number), self._text(2 * number + 1))
            for number in range(rows.start, rows.stop)
        )
        if any(one[0] >= other[0] for one, other in pairwise(found)):
            raise Corrupt("frozen group: attributes out of order")
        return found

    def _text(self, number: int) -> bytes:
        return self._texts[_slice(self._text_ends, number)]

    def extents(self, at: int) -> tuple[Extent, ...]:
        """Raises Corrupt."""
        rows = _slice(self._extent_ends, at)
        columns = (column[rows].tolist() for column in self._extents)
        return _as_extents(list(zip(*columns, strict=True)), int(self._columns[_SIZE][at]))

    def record_ranges(self) -> tuple[Numbers, Numbers]:
        """First record and count of each extent of all rows: int64, shape (n,) both.

        Raises Corrupt.
        """
        if not self._extents:
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        records, counts = self._extents[2:]
        if min(int(records.min()), int(counts.min())) < 0 or int(counts.max()) >> 32:
            raise Corrupt("frozen group: extents that cannot be")
        return records, counts

    def is_conversation(self, at: int) -> bool:
        return bool(self._is_conversation[at])

    def rows(self) -> list[FrozenInode]:
        """All of the group, which is many times faster than one by one. Raises Corrupt."""
        rows = zip(*(column.tolist() for column in self._columns), strict=True)
        extents = list(zip(*(column.tolist() for column in self._extents), strict=True))
        found, start = [], 0
        ends, flags = self._extent_ends.tolist(), self._is_conversation.tolist()
        has_attributes = bool(self._xattr_ends[-1])
        for at, (numbers, end, flag) in enumerate(zip(rows, ends, flags, strict=True)):
            found.append(
                FrozenInode(
                    self._as_inode(at, numbers),
                    self.xattrs(at) if has_attributes else (),
                    _as_extents(extents[start:end], numbers[_SIZE]),
                    bool(flag),
                )
            )
            start = end
        return found


def _as_extents(rows: Sequence[tuple[int, int, int, int]], size: int) -> tuple[Extent, ...]:
    """Of a file of ``size`` bytes, from gaps, lengths, records and counts. Raises Corrupt."""
    found, end = [], 0
    for place, (gap, length, record, count) in enumerate(rows, 1):
        start = end + gap
        # The last one's length is told as what it is beyond the file's end.
        end = size + length if place == len(rows) else start + length
        if gap < 0 or end <= start or end > NUMBER_MAX:
            raise Corrupt("frozen group: extents that cannot be")
        if record < 0 or count < 0 or record + count > RECORDS_END:
            raise Corrupt("frozen group: extents that cannot be")
        found.append(Extent(start, end - start, record, count))
    return tuple(found)


def _ends(lengths: Numbers, total_max: int) -> Numbers:
    """Where each of things of these lengths ends, behind each other. Raises Corrupt."""
    if len(lengths) and not 0 <= int(lengths.min()) <= int(lengths.max()) <= total_max:
        raise Corrupt("frozen group: lengths that cannot be")
    ends = np.cumsum(lengths)  # no overflow: few numbers, each bounded
    if len(ends) and int(ends[-1]) > total_max:
        raise Corrupt("frozen group: lengths that cannot be")
    return ends


def _slice(ends: Numbers, at: int) -> slice:
    return slice(int(ends[at - 1]) if at else 0, int(ends[at]))


# Names


def is_name(name: bytes) -> bool:
    """Whether a file can have this name: what packs say is looked at before it is believed."""
    return (
        0 < len(name) <= NAME_BYTES_MAX
        and name not in (b".", b"..")
        and not (b"/" in name or b"\0" in name)
    )


_NO_NAMES = frozenset((b"", b".", b".."))


def encode_names(as_of: int, entries: Sequence[Name]) -> bytes:
    """The payload of a group of up to ROWS_MAX entries, sorted by parent and name."""
    out = _head(as_of, len(entries))
    out += encode_column(_column([parent for parent, _, _ in entries]))
    out += encode_column(_column([ino for _, _, ino in entries]))
    shared, rests = bytearray(), bytearray()
    before = b""
    for _, name, _ in entries:
        same = _same_bytes(before, name)
        shared.append(same)
        rests += name[same:] + b"\0"
        before = name
    return bytes(out + shared + rests)


def _same_bytes(one: bytes, other: bytes) -> int:
    """How many bytes two names begin with alike."""
    for at, (this, that) in enumerate(zip(one, other, strict=False)):
        if this != that:
            return at
    return min(len(one), len(other))


class NameGroup:
    """A decoded group of directory entries. Owned, never changed: ``parents``, ``names``, ``inos``.

    Each has an entry a row.
    """

    def __init__(self, payload: bytes) -> None:
        """Raises Corrupt."""
        cursor = Cursor(payload)
        self.as_of, self.count = _read_head(cursor)
        self.parents: list[int] = decode_column(cursor, self.count).tolist()
        self.inos: list[int] = decode_column(cursor, self.count).tolist()
        if min(self.parents) < 0 or min(self.inos) < 0:
            raise Corrupt("frozen group: a name of no inode")
        shared = cursor.take(self.count)
        joined = cursor.rest()
        if joined.count(b"\0") != self.count or not joined.endswith(b"\0"):
            raise Corrupt("frozen group: not as many names as entries")
        if b"/" in joined:  # which has all bytes of all names
            raise Corrupt("frozen group: a name that no file can have")
        rests = joined.split(b"\0")[:-1]
        self.names: list[bytes] = []
        parent, name = 0, b""
        for same, rest, here in zip(shared, rests, self.parents, strict=True):
            if same > len(name):
                raise Corrupt("frozen group: a name that goes on from none")
            before, name = name, name[:same] + rest
            if name in _NO_NAMES or len(name) > NAME_BYTES_MAX:
                raise Corrupt("frozen group: a name that no file can have")
            if here < parent or (here == parent and name <= before):
                raise Corrupt("frozen group: names out of order")
            parent = here
            self.names.append(name)

    def within(self, parent: InodeNo) -> range:
        """Positions of a directory's entries."""
        low = bisect_left(self.parents, parent)
        return range(low, bisect_left(self.parents, parent + 1, low))

    def position(self, parent: InodeNo, name: bytes) -> int | None:
        """Which entry is this name's; None if none is."""
        rows = self.within(parent)
        at = bisect_left(self.names, name, rows.start, rows.stop)
        return at if at < rows.stop and self.names[at] == name else None

    def entries(self) -> list[Name]:
        """All of the group."""
        columns = zip(self.parents, self.names, self.inos, strict=True)
        return [(InodeNo(parent), name, InodeNo(ino)) for parent, name, ino in columns]
