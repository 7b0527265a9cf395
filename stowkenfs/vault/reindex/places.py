"""Which block holds each number: rows of ``block`` from the blocks that packs have."""

from collections.abc import Sequence

from stowkenfs.errors import BlockCorrupt, Corrupt
from stowkenfs.ids import PackNo
from stowkenfs.index.catalogue import BLOCK_COLUMNS, BlockPlace
from stowkenfs.index.connection import Connection
from stowkenfs.minimal_zstd import Base
from stowkenfs.store.api import PackStore
from stowkenfs.store.block import (
    Block,
    BlockCodec,
    BlockKind,
    Layout,
    base_of,
    decode_block,
)
from stowkenfs.vault.caches import SizedCache
from stowkenfs.vault.reindex.found import FoundBlock, FoundBlocks
from stowkenfs.vault.reindex.report import ReindexReport
from stowkenfs.vault.reindex.scan import Whole
from stowkenfs.vault.unpacked import decode_ranges, encode_ranges

BASES_BYTES_MAX = 16 << 20
NUMBERS_MAX = 1 << 62
BLOCKS_AT_ONCE = 500

NUMBERED = (
    BlockKind.RECORDS,
    BlockKind.SEGMENTS,
    BlockKind.TEMPLATES,
    BlockKind.NAMESPACE,
    BlockKind.CODEBOOKS,
    BlockKind.SUBSTRINGS,
    BlockKind.DICTIONARIES,
)
"""Kinds whose blocks have rows."""

Range = tuple[int, int]


class Claims:
    """Rows that do not overlap: whoever claims numbers later takes them from others.

    ``table`` has the columns of ``block``.
    """

    def __init__(self, connection: Connection, table: str) -> None:
        self._connection = connection
        self._table = table

    def claim(self, block: FoundBlock, ranges: Sequence[Range]) -> None:
        """Let a block hold ``ranges`` of numbers, in the order of its things."""
        skip = 0
        for first, count in ranges:
            if count:
                self._make_room(block.kind, first, first + count)
                row = BlockPlace(
                    block.kind, first, count, block.pack, block.offset_bytes,
                    block.stored_bytes, block.raw_bytes, 0, skip, block.layout, block.base,
                )  # fmt: skip
                insert_rows(self._connection, self._table, [row])
            skip += count

    def _make_room(self, kind: int, start: int, end: int) -> None:
        """Take ``start`` to ``end`` from the rows that have any of them.

        What is left of a plain block has no row: only something that keeps all that is needed
        of it takes numbers from it.
        """
        rows = self._connection.all(
            f"SELECT {BLOCK_COLUMNS} FROM {self._table} WHERE kind = ?1 AND first < ?2 AND first >="  # noqa: S608
            f" ifnull((SELECT max(first) FROM {self._table} WHERE kind = ?1 AND first <= ?3), 0)"
            " AND first + count > ?3",
            (kind, end, start),
        )
        for row in rows:
            place = BlockPlace(*row)
            self._connection.execute(
                f"DELETE FROM {self._table} WHERE kind = ? AND first = ?",  # noqa: S608
                (kind, place.first),
            )
            if place.layout == Layout.PLAIN:
                continue
            stop = place.first + place.count
            if place.first < start:
                insert_rows(self._connection, self._table, [part_of(place, place.first, start)])
            if stop > end:
                insert_rows(self._connection, self._table, [part_of(place, end, stop)])

    def locate(self, kind: int, number: int) -> BlockPlace | None:
        """The row that has ``number``."""
        row = self._connection.one(
            f"SELECT {BLOCK_COLUMNS} FROM {self._table} WHERE kind = ? AND first <= ?"  # noqa: S608
            " ORDER BY first DESC LIMIT 1",
            (kind, number),
        )
        place = BlockPlace(*row) if row else None
        return place if place is not None and number < place.first + place.count else None


def insert_rows(connection: Connection, table: str, rows: Sequence[BlockPlace]) -> None:
    """``table`` has the columns of ``block``."""
    connection.execute_many(
        f"INSERT INTO {table} ({BLOCK_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608
        [
            (
                row.kind, row.first, row.count, row.pack, row.offset_bytes, row.stored_bytes,
                row.raw_bytes, row.content_bytes, row.skip, row.layout, row.base, row.brings_bytes,
            )
            for row in rows
        ],
    )  # fmt: skip


def part_of(place: BlockPlace, start: int, end: int) -> BlockPlace:
    """What of a row is about the numbers ``start`` to ``end`` - 1."""
    return BlockPlace(
        place.kind, start, end - start, place.pack, place.offset_bytes, place.stored_bytes,
        place.raw_bytes, 0, place.skip + start - place.first, place.layout, place.base,
    )  # fmt: skip


class _BaseIsGone(Exception):
    """No pack has the base of a block."""


class Places:
    """Fills ``block``. ``next_numbers``: one past the highest number seen of each kind."""

    def __init__(
        self, connection: Connection, store: PackStore, found: FoundBlocks, report: ReindexReport
    ) -> None:
        self._connection = connection
        self._store = store
        self._found = found
        self._report = report
        connection.execute("CREATE TABLE scan.base AS SELECT * FROM main.block WHERE false")
        connection.execute("CREATE UNIQUE INDEX scan.base_number ON base (kind, first)")
        self._base_claims = Claims(connection, "scan.base")
        self._bases = SizedCache(BASES_BYTES_MAX)
        self.next_numbers: dict[int, int] = {}

    def note(self, block: Whole) -> None:
        """A block that was found, in the order in which they lie."""
        head, ranges = block.head, None
        if max(head.first + head.count, base_of(block.content) or 0) > NUMBERS_MAX:
            raise BlockCorrupt(block.pack, block.offset_bytes, "numbers that cannot be")
        # Each takes a byte at least; what has rows is looked at in memory in proportion to them.
        if head.kind in NUMBERED and head.count > head.raw_bytes:
            raise BlockCorrupt(block.pack, block.offset_bytes, f"{head.count} things in it")
        if head.layout != Layout.PLAIN and head.codec != BlockCodec.ZSTD_BASE:
            ranges = _ranges(decode_block(block.content, block.pack, block.offset_bytes))
        self._found.add(block, None if ranges is None else encode_ranges(ranges))
        if ranges is not None and head.layout == Layout.DENSE:
            found = FoundBlock(
                block.pack, block.offset_bytes, len(block.content), head.raw_bytes, head.kind,
                head.codec, head.layout, head.first, head.count, None, None,
            )  # fmt: skip
            self._base_claims.claim(found, ranges)

    def fill(self) -> None:
        """Make the rows."""
        claims = Claims(self._connection, "block")
        kinds = ", ".join(str(int(kind)) for kind in NUMBERED)
        waiting: list[tuple[FoundBlock, Sequence[Range]]] = []
        for block in self._found.in_packs(f"kind IN ({kinds})"):
            try:
                waiting.append((block, self._ranges_of(block)))
            except _BaseIsGone:  # out of use; else what needs it is told as missing
                self._report.unused_blocks += 1
            except Corrupt as error:
                self._report.add(self._report.problems, str(error))
            if len(waiting) >= BLOCKS_AT_ONCE:
                self._claim(claims, waiting)
        self._claim(claims, waiting)
        for kind, number in self._found.highest().items():
            self._raise(kind, number)

    def _claim(self, claims: Claims, waiting: list[tuple[FoundBlock, Sequence[Range]]]) -> None:
        with self._connection.transaction():
            for block, ranges in waiting:
                claims.claim(block, ranges)
                self._raise(block.kind, sum(ranges[-1]))
        waiting.clear()

    def _raise(self, kind: int, number: int) -> None:
        self.next_numbers[kind] = max(self.next_numbers.get(kind, 0), number)

    def _ranges_of(self, block: FoundBlock) -> Sequence[Range]:
        if block.layout == Layout.PLAIN:
            return [(block.first, block.count)]
        payload = block.ranges
        if payload is None:
            content = self._store.read(block.pack, block.offset_bytes, block.stored_bytes)
            decoded = decode_block(content, block.pack, block.offset_bytes, self._base)
            return _ranges(decoded)
        known = Block(BlockKind(block.kind), block.first, block.count, payload, Layout.DENSE)
        return decode_ranges(known)[0]

    def _base(self, kind: BlockKind, number: int) -> Base:
        place = self._base_claims.locate(kind, number)
        if place is None:
            raise _BaseIsGone
        name = (place.pack, place.offset_bytes)
        base: Base | None = self._bases.get(name)
        if base is None:
            content = self._store.read(place.pack, place.offset_bytes, place.stored_bytes)
            base = Base(decode_block(content, PackNo(place.pack), place.offset_bytes).payload)
            self._bases.put(name, base, len(base.content))
        return base


def _ranges(block: Block) -> Sequence[Range]:
    ranges, _ = decode_ranges(block)
    if sum(ranges[-1]) > NUMBERS_MAX:
        raise Corrupt("numbers that cannot be")
    return ranges
