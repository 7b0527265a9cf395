"""The tree as written into packs (FORMAT.md, "Namespace"): enough to rebuild the index.

Each block is a list of statements of how things are now; a later statement about the same
inode or name replaces an earlier one. Groups of the frozen tree are numbered among them. A
checkpoint says which of what was said before still counts. Pure bytes, no I/O.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum

from stowkenfs.errors import Corrupt
from stowkenfs.ids import InodeNo
from stowkenfs.index.catalogue import Extent
from stowkenfs.index.changes import Change, DentryChange, InodeChange
from stowkenfs.index.frozen import is_name
from stowkenfs.index.inodes import Inode
from stowkenfs.index.rows import FIELDS_MAX
from stowkenfs.varint import append_varint, read_varint, unzigzag, zigzag

_STATEMENTS_MAX = 1 << 20
_EXTENTS_MAX = 1 << 20
_ATTRIBUTES_MAX = 1 << 16
_GROUPS_MAX = 1 << 22
# Above what writers put into one block: 500 changes with 2,000 extents, the attributes that a
# file may have, a group for every 256 files or names.
_SIZE_MAX = (1 << 63) - 1
_NUMBER_MAX = 1 << 62
_TARGET_BYTES_MAX = 4095


class Statement(IntEnum):
    """What a statement is about. On disk: values never change."""

    INODE = 1
    INODE_GONE = 2
    NAME = 3
    NAME_GONE = 4
    EXTENTS = 5
    CHECKPOINT = 6


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Statements before number ``since`` are void, but for ``groups``, numbers of frozen groups."""

    since: int
    groups: tuple[int, ...]


def encode_checkpoint(since: int, groups: Sequence[int]) -> bytes:
    """The payload of a block with one statement; ``groups`` are below ``since``."""
    out = bytearray((Statement.CHECKPOINT,))
    kept = sorted(set(groups))
    append_varint(out, since)
    append_varint(out, len(kept))
    before = -1
    for number in kept:
        append_varint(out, number - before - 1)
        before = number
    return bytes(out)


def encode_changes(changes: Iterable[Change]) -> tuple[bytes, int]:
    """The payload of a namespace block, and how many statements it makes."""
    out = bytearray()
    count = 0
    for change in changes:
        count += _inode(out, change) if isinstance(change, InodeChange) else _name(out, change)
    return bytes(out), count


def _inode(out: bytearray, change: InodeChange) -> int:
    inode = change.inode
    if inode is None:
        out.append(Statement.INODE_GONE)
        append_varint(out, change.ino)
        return 1
    out.append(Statement.INODE)
    for number in (
        inode.ino, inode.mode, inode.uid, inode.gid, inode.nlink, inode.size, inode.rdev,
        zigzag(inode.atime_ns), zigzag(inode.mtime_ns), zigzag(inode.ctime_ns), inode.parent,
    ):  # fmt: skip
        append_varint(out, number)
    append_varint(out, 0 if inode.target is None else len(inode.target) + 1)
    out += inode.target or b""
    append_varint(out, len(change.xattrs))
    for name, value in change.xattrs:
        _text(out, name)
        _text(out, value)
    if change.extents_from is None:
        return 1
    out.append(Statement.EXTENTS)
    append_varint(out, inode.ino)
    append_varint(out, change.extents_from)
    append_varint(out, len(change.extents))
    at = change.extents_from
    for extent in change.extents:
        for number in (extent.start - at, extent.length, extent.record, extent.count):
            append_varint(out, number)
        at = extent.end
    return 2


def _name(out: bytearray, change: DentryChange) -> int:
    out.append(Statement.NAME_GONE if change.ino is None else Statement.NAME)
    append_varint(out, change.parent)
    _text(out, change.name)
    if change.ino is not None:
        append_varint(out, change.ino)
    return 1


def _text(out: bytearray, text: bytes) -> None:
    append_varint(out, len(text))
    out += text


def decode_changes(payload: bytes) -> Iterator[Change | Checkpoint]:
    """Inverse of ``encode_changes`` and ``encode_checkpoint``. Raises Corrupt.

    An inode's attributes and its extents come as two changes; the second has no ``inode``
    but an ``extents_from``.
    """
    cursor = _Cursor(payload)
    told = 0
    while cursor.at < len(payload):
        told += 1
        if told > _STATEMENTS_MAX:
            raise Corrupt(f"namespace: more than {_STATEMENTS_MAX} statements")
        try:
            statement = Statement(cursor.byte())
        except ValueError as error:
            raise Corrupt(f"namespace: {error} before byte {cursor.at}") from error
        yield _READERS[statement](cursor)


class _Cursor:
    """A position in a payload."""

    def __init__(self, payload: bytes) -> None:
        self._payload = payload
        self.at = 0

    def byte(self) -> int:
        self.at += 1
        return self._payload[self.at - 1]

    def number(self) -> int:
        value, self.at = read_varint(self._payload, self.at)
        return value

    def text(self, length: int) -> bytes:
        end = self.at + length
        if end > len(self._payload):
            raise Corrupt(f"namespace: {length} bytes at {self.at} are cut off")
        text = self._payload[self.at : end]
        self.at = end
        return text


def _read_inode(cursor: _Cursor) -> Change:
    ino, mode, uid, gid, nlink, size, rdev = (cursor.number() for _ in range(7))
    atime, mtime, ctime = (unzigzag(cursor.number()) for _ in range(3))
    parent, target_length = cursor.number(), cursor.number()
    if target_length > _TARGET_BYTES_MAX + 1:
        raise Corrupt(f"namespace: a link target of {target_length - 1} bytes")
    target = cursor.text(target_length - 1) if target_length else None
    n_xattrs = cursor.number()
    if n_xattrs > _ATTRIBUTES_MAX:
        raise Corrupt(f"namespace: {n_xattrs} attributes of one inode")
    xattrs = tuple(
        (cursor.text(cursor.number()), cursor.text(cursor.number())) for _ in range(n_xattrs)
    )
    inode = Inode(
        InodeNo(ino), mode, uid, gid, nlink, size, rdev, atime, mtime, ctime,
        InodeNo(parent), target,
    )  # fmt: skip
    for field, most in FIELDS_MAX.items():
        if getattr(inode, field) > most:
            raise Corrupt(f"namespace: an inode whose {field} is {getattr(inode, field)}")
    return InodeChange(inode.ino, inode, xattrs)


def _read_extents(cursor: _Cursor) -> Change:
    ino, start, count = (cursor.number() for _ in range(3))
    if count > _EXTENTS_MAX:
        raise Corrupt(f"namespace: {count} extents in one statement")
    extents, at = [], start
    for _ in range(count):
        gap, length, record, records = (cursor.number() for _ in range(4))
        extents.append(Extent(at + gap, length, record, records))
        at += gap + length
        if at > _SIZE_MAX or record + records > _NUMBER_MAX:
            raise Corrupt(f"namespace: an extent to byte {at} of record {record}")
    return InodeChange(InodeNo(ino), None, (), start, tuple(extents))


def _read_inode_gone(cursor: _Cursor) -> Change:
    return InodeChange(InodeNo(cursor.number()), None)


def _read_name(cursor: _Cursor) -> Change:
    parent, name = cursor.number(), _file_name(cursor)
    return DentryChange(InodeNo(parent), name, InodeNo(cursor.number()))


def _read_name_gone(cursor: _Cursor) -> Change:
    parent, name = cursor.number(), _file_name(cursor)
    return DentryChange(InodeNo(parent), name, None)


def _file_name(cursor: _Cursor) -> bytes:
    name = cursor.text(cursor.number())
    if not is_name(name):
        raise Corrupt(f"namespace: {name[:80]!r} is no name")
    return name


def _read_checkpoint(cursor: _Cursor) -> Checkpoint:
    since, count = cursor.number(), cursor.number()
    if count > _GROUPS_MAX:
        raise Corrupt(f"namespace: a checkpoint of {count} groups")
    groups: list[int] = []
    before = -1
    for _ in range(count):
        before += cursor.number() + 1
        groups.append(before)
    if before >= since:
        raise Corrupt(f"namespace: a checkpoint since {since} keeps {before}")
    return Checkpoint(since, tuple(groups))


_READERS: dict[Statement, Callable[[_Cursor], Change | Checkpoint]] = {
    Statement.INODE: _read_inode,
    Statement.INODE_GONE: _read_inode_gone,
    Statement.NAME: _read_name,
    Statement.NAME_GONE: _read_name_gone,
    Statement.EXTENTS: _read_extents,
    Statement.CHECKPOINT: _read_checkpoint,
}
