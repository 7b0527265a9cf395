"""What an index in use and the packs tell differently."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from heapq import merge
from itertools import groupby, islice
from operator import itemgetter
from typing import Any

from stowkenfs.errors import Corrupt
from stowkenfs.index.catalogue import BLOCK_COLUMNS, BlockPlace
from stowkenfs.index.connection import Connection
from stowkenfs.index.frozen_tree import INODE_PLACE, NAME_PLACE, FrozenTree, InodePlace, NamePlace
from stowkenfs.index.inodes import InodeTable
from stowkenfs.index.rows import Extent, Inode
from stowkenfs.store.block import BlockKind, Layout
from stowkenfs.vault.reindex.bits import Bits
from stowkenfs.vault.reindex.places import Claims
from stowkenfs.vault.reindex.report import ReindexReport

ROWS_AT_ONCE = 500

MISSING_MAX = 10_000
"""Records of an extent that are looked for one by one."""

Key = Any
Item = tuple[Key, Any]
"""What is told of, and what of it: an inode and its rows, or a name and its inode."""


@dataclass(slots=True)
class Differences:
    """What is to be told again, and rows that the index lacks.

    ``frames``: what to add to the totals of frames, ``{kind: (frames, bytes)}``.
    """

    inodes: list[int] = field(default_factory=list)
    names: list[tuple[int, bytes]] = field(default_factory=list)
    blocks: list[BlockPlace] = field(default_factory=list)
    frames: dict[int, tuple[int, int]] = field(default_factory=dict)


class Side:
    """The tree of one of the two, in order. One thread's.

    ``damaged``: ranges of keys, first and last, that cannot be told.
    """

    def __init__(self, connection: Connection, frozen: FrozenTree) -> None:
        self._connection = connection
        self._frozen = frozen
        self.damaged: list[tuple[Key, Key, str]] = []

    def inodes(self) -> Iterator[Item]:
        """``(number, (inode, attributes, extents))``, by number."""
        return merge(self._frozen_inodes(), self._hot_inodes(), key=itemgetter(0))

    def _frozen_inodes(self) -> Iterator[Item]:
        first = -1
        while rows := self._connection.all(
            f"{INODE_PLACE} WHERE first > ? ORDER BY first LIMIT 1", (first,)
        ):
            place = InodePlace(*rows[0])
            first = place.first
            try:
                group = self._frozen.inode_group(place).rows()
            except Corrupt as error:
                self.damaged.append((place.first, place.last, str(error)))
                continue
            for row in group:
                yield row.inode.ino, (row.inode, row.xattrs, row.extents)

    def _hot_inodes(self) -> Iterator[Item]:
        at = -1
        while rows := self._connection.all(
            "SELECT ino, mode, uid, gid, nlink, size, rdev, atime_ns, mtime_ns, ctime_ns, parent,"
            " target FROM inode WHERE ino > ? ORDER BY ino LIMIT ?",
            (at, ROWS_AT_ONCE),
        ):
            span = (rows[0][0], rows[-1][0])
            xattrs = self._of("SELECT ino, name, value FROM xattr", "name", span)
            extents = self._of(
                "SELECT ino, start, length, record, count FROM extent", "start", span
            )
            for row in rows:
                yield (
                    row[0],
                    (
                        Inode(*row),
                        tuple(
                            (bytes(name), bytes(value)) for name, value in xattrs.get(row[0], ())
                        ),
                        tuple(Extent(*one) for one in extents.get(row[0], ())),
                    ),
                )
            at = rows[-1][0]

    def _of(self, select: str, order: str, span: tuple[int, int]) -> dict[int, list[Any]]:
        rows = self._connection.all(
            f"{select} WHERE ino BETWEEN ? AND ? ORDER BY ino, {order}", span
        )
        return {ino: [row[1:] for row in some] for ino, some in groupby(rows, itemgetter(0))}

    def names(self) -> Iterator[Item]:
        """``((parent, name), inode)``, by parent and name."""
        return merge(self._frozen_names(), self._hot_names(), key=itemgetter(0))

    def _frozen_names(self) -> Iterator[Item]:
        at: tuple[int, bytes] = (-1, b"")
        while rows := self._connection.all(
            f"{NAME_PLACE} WHERE (parent, name) > (?, ?) ORDER BY parent, name LIMIT 1", at
        ):
            place = NamePlace(*rows[0])
            at = (place.parent, place.name)
            try:
                group = self._frozen.name_group(place).entries()
            except Corrupt as error:
                self.damaged.append((at, (place.last_parent, place.last_name), str(error)))
                continue
            for parent, name, ino in group:
                yield (int(parent), name), int(ino)

    def _hot_names(self) -> Iterator[Item]:
        at: tuple[int, bytes] = (-1, b"")
        while rows := self._connection.all(
            "SELECT parent, name, ino FROM dentry WHERE (parent, name) > (?, ?)"
            " ORDER BY parent, name LIMIT ?",
            (*at, ROWS_AT_ONCE),
        ):
            for parent, name, ino in rows:
                yield (parent, bytes(name)), ino
            at = rows[-1][:2]


def differing(index: Iterator[Item], packs: Iterator[Item]) -> Iterator[tuple[Key, Any, Any]]:
    """Keys of which two sorted streams do not say the same, and what each says; None: nothing."""
    one, other = next(index, None), next(packs, None)
    while one is not None or other is not None:
        if other is None or (one is not None and one[0] < other[0]):
            assert one is not None
            yield one[0], one[1], None
            one = next(index, None)
        elif one is None or other[0] < one[0]:
            yield other[0], None, other[1]
            other = next(packs, None)
        else:
            if one[1] != other[1]:
                yield one[0], one[1], other[1]
            one, other = next(index, None), next(packs, None)


class Comparison:
    """Compares an index as it was at one moment with what packs told then. One thread's.

    ``rebuilt``: what came of the packs, with the list of their blocks attached.
    """

    def __init__(
        self,
        index: Connection,
        index_tree: FrozenTree,
        rebuilt: Connection,
        rebuilt_inodes: InodeTable,
        report: ReindexReport,
    ) -> None:
        self._index = index
        self._rebuilt = rebuilt
        self._sides = (Side(index, index_tree), Side(rebuilt, rebuilt_inodes.frozen))
        self._report = report
        self.differences = Differences()

    def run(self, next_record: int) -> None:
        """Fill ``differences``; ``next_record``: one past the highest record of the packs."""
        held = self._check_blocks(next_record)
        self._compare_inodes(held)
        self._compare_names()

    def _dirty(self, table: str, columns: str) -> set[Any]:
        """What was not told yet at that moment."""
        rows = self._index.all(f"SELECT {columns} FROM {table}")  # noqa: S608
        return {row[0] if len(row) == 1 else (row[0], bytes(row[1])) for row in rows}

    def _compare_inodes(self, held: Bits) -> None:
        dirty = self._dirty("dirty_inode", "ino")
        index, packs = self._sides

        def watched() -> Iterator[Item]:
            for key, told in index.inodes():
                for extent in told[2]:
                    missing = held.missing(extent.record, extent.record + extent.count)
                    self._note_missing(key, islice(missing, MISSING_MAX))
                if told[0].nlink:  # a removed file that is in use
                    yield key, told

        for ino, here, there in differing(watched(), packs.inodes()):
            if ino in dirty or self._is_damaged(ino):
                continue
            self.differences.inodes.append(ino)
            self._report.add(self._report.differences, f"inode {ino}: {_how(here, there)}")
        self._tell_damage("inodes")

    def _note_missing(self, ino: int, records: Iterable[int]) -> None:
        """Records that a file refers to and no row of the index holds: maybe packs do."""
        for record in records:
            place = Claims(self._rebuilt, "block").locate(BlockKind.RECORDS, record)
            if place is None:
                self._report.add(
                    self._report.problems, f"inode {ino} refers to record {record}, which is lost"
                )
            elif place not in self.differences.blocks:
                self.differences.blocks.append(place)
                self._report.add(
                    self._report.differences,
                    f"records {place.first} to {place.first + place.count - 1} were not listed",
                )

    def _compare_names(self) -> None:
        dirty = self._dirty("dirty_dentry", "parent, name")
        index, packs = self._sides
        for key, here, there in differing(index.names(), packs.names()):
            if key in dirty or self._is_damaged(key):
                continue
            self.differences.names.append(key)
            name = key[1].decode("utf-8", "backslashreplace")
            self._report.add(
                self._report.differences, f"name {name} in directory {key[0]}: {_how(here, there)}"
            )
        self._tell_damage("names")

    def _is_damaged(self, key: Key) -> bool:
        return any(first <= key <= last for side in self._sides for first, last, _ in side.damaged)

    def _tell_damage(self, what: str) -> None:
        for side in self._sides:
            for first, last, why in side.damaged:
                self._report.add(self._report.problems, f"{what} {first} to {last}: {why}")
            side.damaged.clear()

    # Blocks

    def _check_blocks(self, next_record: int) -> Bits:
        """Whether each row has its block; numbers of records that have rows."""
        held = Bits(next_record)
        at: tuple[int, int] = (-1, -1)
        while rows := self._index.all(
            f"SELECT {BLOCK_COLUMNS} FROM block WHERE (kind, first) > (?, ?)"  # noqa: S608
            " ORDER BY kind, first LIMIT ?",
            (*at, ROWS_AT_ONCE),
        ):
            for row in rows:
                place = BlockPlace(*row)
                if place.kind == BlockKind.RECORDS:
                    held.add_range(place.first, place.first + place.count)
                if not self._is_there(place):
                    kind = BlockKind(place.kind).name.lower()
                    self._report.add(
                        self._report.problems,
                        f"block at byte {place.offset_bytes} of pack {place.pack}: not there, or"
                        f" damaged; it has {kind} {place.first} to {place.first + place.count - 1}",
                    )
            at = rows[-1][:2]
        return held

    def _is_there(self, place: BlockPlace) -> bool:
        found = self._rebuilt.one(
            "SELECT 1 FROM scan.found WHERE pack = ? AND offset = ? AND kind = ? AND layout = ?"
            " AND stored = ? AND (layout != ? OR (first = ? AND count = ?))",
            (
                place.pack, place.offset_bytes, place.kind, place.layout, place.stored_bytes,
                int(Layout.PLAIN), place.first, place.count,
            ),
        )  # fmt: skip
        return found is not None


def _how(here: object, there: object) -> str:
    if there is None:
        return "packs did not tell of it"
    if here is None:
        return "packs told of it, and it is gone"
    return "packs told otherwise"
