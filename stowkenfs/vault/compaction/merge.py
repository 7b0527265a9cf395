"""Small dense blocks, as many small compactions leave them, made into larger ones.

What is in a block keeps its number: the merged block holds several ranges of numbers, and
the index has a row for each. So nothing that refers to it has to be written anew.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import anyio.lowlevel
import anyio.to_thread

from stowkenfs.documents.dense import DenseRecord, encode_dense_records
from stowkenfs.documents.dense_layout import LayoutOf
from stowkenfs.errors import Corrupt
from stowkenfs.frames.dense import DenseSegment, encode_dense
from stowkenfs.index.catalogue import BlockPlace, Catalogue
from stowkenfs.index.connection import Connection
from stowkenfs.store.api import PackStore
from stowkenfs.store.block import Block, BlockKind, Layout, base_of, encode_dense_block
from stowkenfs.vault.collection.bases import named_bases
from stowkenfs.vault.compaction.batch import CompactOptions
from stowkenfs.vault.packs import PackedBlock, PackWriter
from stowkenfs.vault.payloads import encode_templates
from stowkenfs.vault.reader import Reader
from stowkenfs.vault.unpacked import (
    PackedRecords,
    PackedSegments,
    Templates,
    Unpacked,
    encode_ranges,
)

SMALL_SHARE = 0.25
"""A block is small below this share of what blocks of its kind are cut at."""

SMALL_BLOCKS_MAX = 32
"""More of them under one base are merged."""


Thing = tuple[Unpacked, int]
"""A block and a position in it."""


@dataclass(frozen=True, slots=True)
class _Stored:
    """A block and the rows that the index has of it, in the order of their positions."""

    rows: Sequence[BlockPlace]

    @property
    def raw_bytes(self) -> int:
        return self.rows[0].raw_bytes


class Merger:
    """Event loop's thread, but where a method says so."""

    def __init__(
        self,
        connection: Connection,
        catalogue: Catalogue,
        reader: Reader,
        writer: PackWriter,
        store: PackStore,
        options: CompactOptions,
    ) -> None:
        self._connection = connection
        self._catalogue = catalogue
        self._reader = reader
        self._writer = writer
        self._level = options.level
        self._store = store
        self._named: dict[int, set[int]] | None = None  # when first needed
        self._sizes = {
            BlockKind.RECORDS: options.record_block_bytes,
            BlockKind.SEGMENTS: options.segment_block_bytes,
            BlockKind.TEMPLATES: options.template_block_bytes,
        }

    async def merge(self) -> int:
        """Merge what is small; how many blocks went."""
        merged = 0
        for kind, size in self._sizes.items():
            for small in self._small(kind, size):
                merged += await self._merge(kind, size, await self._without_bases(kind, small))
                await anyio.lowlevel.checkpoint()
        return merged

    def _small(self, kind: BlockKind, size: int) -> list[list[_Stored]]:
        """Small blocks of a kind that go together: those with the same base."""
        rows: defaultdict[tuple[int, int], list[BlockPlace]] = defaultdict(list)
        for place in self._catalogue.dense_below(kind, int(size * SMALL_SHARE)):
            rows[place.pack, place.offset_bytes].append(place)
        bases = self._catalogue.bases(kind)
        groups: defaultdict[int | None, list[_Stored]] = defaultdict(list)
        for places in rows.values():
            if not any(p.first <= base < p.first + p.count for p in places for base in bases):
                groups[places[0].base].append(_Stored(sorted(places, key=lambda p: p.skip)))
        return [group for group in groups.values() if len(group) > SMALL_BLOCKS_MAX]

    async def _without_bases(self, kind: BlockKind, small: Sequence[_Stored]) -> list[_Stored]:
        """Those that no block of a pack names as its base, also of those that nothing uses."""
        if self._named is None:
            packs = self._catalogue.packs()
            try:
                self._named = await anyio.to_thread.run_sync(named_bases, self._store, packs)
            except Corrupt:
                return []  # nobody knows; verify names it
        named = self._named.get(kind, set())
        return [
            stored
            for stored in small
            if not any(
                row.first <= base < row.first + row.count for row in stored.rows for base in named
            )
        ]

    async def _merge(self, kind: BlockKind, size: int, small: Sequence[_Stored]) -> int:
        merged = 0
        small = sorted(small, key=lambda stored: stored.rows[0].first)
        for some in _cut(small, size):
            if len(some) < 2:
                continue
            try:
                block, brings = await anyio.to_thread.run_sync(self._made, kind, some)
            except Corrupt:
                continue  # verify names it; here it only stays as it is
            if block is None:
                continue
            (place,) = await self._writer.write([block])
            places = _rows_of(place, some, brings)
            with self._connection.transaction():
                for stored in some:
                    self._catalogue.drop_blocks(kind, [row.first for row in stored.rows])
                lengths = PackWriter.pack_length([place])
                self._catalogue.add_blocks(places, lengths, self._writer.tier)
            self._catalogue.refresh()
            merged += len(some)
        return merged

    def _made(
        self, kind: BlockKind, some: Sequence[_Stored]
    ) -> tuple[PackedBlock | None, dict[int, int]]:
        """One block of all in ``some``, None if they don't go together. A thread's."""
        blocks = [self._reader.unpacked(stored.rows[0]) for stored in some]
        payload = joined_things(kind, _by_number(some, blocks), self._reader.layout_of)
        if payload is None:
            return None, {}
        ranges = sorted((row.first, row.count) for stored in some for row in stored.rows)
        first, count = ranges[0][0], sum(length for _, length in ranges)
        block = Block(kind, first, count, encode_ranges(ranges) + payload, Layout.DENSE)
        number = some[0].rows[0].base
        base = None if number is None else (number, self._reader.base(kind, number))
        encoded = encode_dense_block(block, level=self._level, base=base)
        if base_of(encoded) != number:
            # Without anyone that refers to it, the base could be merged itself; and what is in
            # packs and was compressed against it would no longer be told from its bytes.
            return None, {}
        brings = {row.first: row.brings_bytes for stored in some for row in stored.rows}
        return (
            PackedBlock(
                kind, first, count, len(block.payload), 0, encoded, Layout.DENSE, base_of(encoded)
            ),
            brings,
        )


def joined_things(kind: BlockKind, things: Sequence[Thing], layout_of: LayoutOf) -> bytes | None:
    """The payload, without ranges, of ``things`` of dense blocks, in this order.

    None for segments of several codebooks, which do not go together.
    """
    if kind is BlockKind.SEGMENTS:
        segments = [(cast("PackedSegments", block.items).items, at) for block, at in things]
        codebooks = {dense.codebook_no for dense, _ in segments}
        if len(codebooks) > 1:
            return None
        return encode_dense(
            [
                DenseSegment(dense.vocabulary(at), dense.mode(at), dense.content(at))
                for dense, at in segments
            ],
            codebooks.pop(),
        )
    if kind is BlockKind.RECORDS:
        records = [(cast("PackedRecords", block.items).items, at) for block, at in things]
        return encode_dense_records(
            [
                DenseRecord(int(dense.lengths[at]), int(dense.checks[at]), dense.body(at))
                for dense, at in records
            ],
            layout_of,
        )
    return encode_templates(
        [cast("Templates", block.items).items.templates[at] for block, at in things]
    )


def _by_number(some: Sequence[_Stored], blocks: Sequence[Unpacked]) -> list[Thing]:
    """All things in ``blocks`` that their rows list; of some nobody needs the others."""
    items = sorted(
        (row.first, row.skip, row.count, at) for at, one in enumerate(some) for row in one.rows
    )
    return [(blocks[at], skip + i) for _, skip, count, at in items for i in range(count)]


def _cut(small: Sequence[_Stored], size: int) -> list[list[_Stored]]:
    pieces: list[list[_Stored]] = [[]]
    total = 0
    for stored in small:
        if pieces[-1] and total + stored.raw_bytes > size:
            pieces.append([])
            total = 0
        pieces[-1].append(stored)
        total += stored.raw_bytes
    return pieces


def _rows_of(
    place: BlockPlace, some: Sequence[_Stored], brings: dict[int, int]
) -> list[BlockPlace]:
    """The merged block's rows: those of the blocks before, with their places in it."""
    rows = sorted((row for stored in some for row in stored.rows), key=lambda row: row.first)
    out: list[BlockPlace] = []
    skip = 0
    for row in rows:
        out.append(
            BlockPlace(
                row.kind, row.first, row.count, place.pack, place.offset_bytes,
                place.stored_bytes, place.raw_bytes, row.content_bytes, skip, place.layout,
                place.base, brings[row.first],
            )
        )  # fmt: skip
        skip += row.count
    return out
