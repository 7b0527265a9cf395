"""A block of what remains of another one: the same things, under the same numbers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol, cast

import numpy as np

from stowkenfs.documents.dense_layout import TemplateLayout
from stowkenfs.errors import Corrupt
from stowkenfs.ids import PackNo, TemplateNo
from stowkenfs.index.catalogue import BlockPlace
from stowkenfs.minimal_zstd import Base
from stowkenfs.store.block import (
    Block,
    BlockKind,
    Layout,
    base_of,
    decode_block,
    encode_block,
    encode_dense_block,
    encode_on_base,
)
from stowkenfs.vault.collection.shelf import ROW_BYTES, Flags, Integers
from stowkenfs.vault.compaction.merge import joined_things
from stowkenfs.vault.packs import PackedBlock
from stowkenfs.vault.payloads import encode_records, encode_segments, encode_templates
from stowkenfs.vault.registry_blocks import RegistryItems
from stowkenfs.vault.unpacked import (
    PackedRecords,
    PackedSegments,
    PlainRecords,
    PlainSegments,
    Range,
    Records,
    Segments,
    Templates,
    Unpacked,
    encode_ranges,
)

Frames = Mapping[int, tuple[int, int]]
"""``{kind: (frames, bytes)}``."""


class Part(NamedTuple):
    """A row of a block, and which of its things remain: bool, shape (count,)."""

    place: BlockPlace
    remains: Flags


class Remade(NamedTuple):
    """A block that takes the place of another one.

    ``rows``: as the index will have them, but for where the block lies.
    """

    block: PackedBlock
    rows: Sequence[BlockPlace]


class Source(Protocol):
    """What blocks are unpacked and made with; all raise Corrupt."""

    def unpack(self, block: Block) -> Unpacked: ...
    def base(self, kind: BlockKind, number: int) -> Base: ...
    def layout_of(self, number: TemplateNo) -> TemplateLayout: ...


@dataclass(frozen=True, slots=True)
class Levels:
    """zstd levels of blocks that are not dense, and of those that are."""

    hot: int
    dense: int


class Rewriter:
    """Makes blocks smaller. A thread's, or another process's."""

    def __init__(self, source: Source, levels: Levels) -> None:
        self._source = source
        self._levels = levels

    def remade(self, parts: Sequence[Part], unpacked: Unpacked) -> Remade | None:
        """What remains of a block, None if that would save nothing. Raises Corrupt."""
        place = parts[0].place
        places = np.concatenate([np.flatnonzero(p.remains) + p.place.skip for p in parts])
        rows = _rows_of(parts, unpacked)
        block = self._encoded(place, unpacked, places, [(row.first, row.count) for row in rows])
        more_rows = max(len(rows) - len(parts), 0)
        if place.kind == BlockKind.RECORDS:
            more_rows = 0  # with a record all goes that it alone needs
        if block is None or len(block.encoded) + more_rows * ROW_BYTES >= place.stored_bytes:
            return None
        self._compare(block, unpacked, places)
        return Remade(block, rows)

    def _compare(self, block: PackedBlock, unpacked: Unpacked, places: Integers) -> None:
        """Raises Corrupt if a new block does not say of its things what the old one did."""
        decoded = decode_block(block.encoded, PackNo(0), 0, self._source.base)
        new = self._source.unpack(decoded)
        for at, old_at in enumerate(places.tolist()):
            if _told(new.items, at) != _told(unpacked.items, old_at):
                raise Corrupt(f"{block.kind.name.lower()} of a block do not read back from another")

    def _encoded(
        self, place: BlockPlace, unpacked: Unpacked, places: Integers, ranges: Sequence[Range]
    ) -> PackedBlock | None:
        kind, base = BlockKind(place.kind), place.base
        first, count = ranges[0][0], len(places)
        if place.layout == Layout.DENSE:
            payload = joined_things(
                kind, [(unpacked, int(at)) for at in places], self._source.layout_of
            )
            if payload is None:
                return None
            block = Block(kind, first, count, encode_ranges(ranges) + payload, Layout.DENSE)
            if base is None:
                encoded = encode_dense_block(block, level=self._levels.dense, base=None)
            else:
                content = self._source.base(kind, base)
                encoded = encode_on_base(block, level=self._levels.dense, base=(base, content))
        else:
            payload = _plain(unpacked, places)
            layout = Layout.PLAIN if len(ranges) == 1 else Layout.SPARSE
            head = b"" if layout is Layout.PLAIN else encode_ranges(ranges)
            block = Block(kind, first, count, head + payload, layout)
            encoded = encode_block(block, level=self._levels.hot)
        raw = len(block.payload)
        return PackedBlock(kind, first, count, raw, 0, encoded, block.layout, base_of(encoded))


def frames_of(parts: Sequence[Part], unpacked: Unpacked) -> Frames:
    """What to add to the totals of frames when the rest of a block goes."""
    place = parts[0].place
    gone: dict[int, tuple[int, int]] = {}
    if place.kind != BlockKind.SEGMENTS or place.layout == Layout.DENSE:
        return gone
    segments = cast("Segments", unpacked.items)
    for part in parts:
        for at in (np.flatnonzero(~part.remains) + part.place.skip).tolist():
            kind = int(segments.kind(at), 16)
            frames, size = gone.get(kind, (0, 0))
            gone[kind] = frames - 1, size - segments.stored_bytes(at)
    return gone


def _plain(unpacked: Unpacked, places: Integers) -> bytes:
    """The payload of things of a block that is not dense."""
    items = unpacked.items
    if isinstance(items, PlainRecords):
        records = items.items
        return encode_records(
            [(records.lengths[at], int(records.keys[at]), records.bodies[at]) for at in places]
        )
    if isinstance(items, PlainSegments):
        segments = items.items
        return encode_segments([(int(segments.keys[at]), segments.frames[at]) for at in places])
    strings = cast("Templates", items).items.templates
    return encode_templates([strings[at] for at in places])


def _told(items: Records | Segments | Templates | RegistryItems, at: int) -> object:
    """All that a block says of one thing."""
    if isinstance(items, Templates):
        return items.items.templates[at]
    if isinstance(items, PlainRecords):
        return items.items.lengths[at], int(items.items.keys[at]), items.items.bodies[at]
    if isinstance(items, PackedRecords):
        return items.length(at), int(items.items.checks[at]), items.body(at)
    if isinstance(items, PlainSegments):
        return int(items.items.keys[at]), items.items.frames[at]
    assert isinstance(items, PackedSegments)
    return items.items.vocabulary(at), items.items.mode(at), items.items.content(at)


def _rows_of(parts: Sequence[Part], unpacked: Unpacked) -> list[BlockPlace]:
    """A row for each range of numbers that remains; where the block lies is yet to be told."""
    rows: list[BlockPlace] = []
    skip = 0
    for row in rows_in_place(parts, unpacked):
        rows.append(replace(row, skip=skip))
        skip += row.count
    return _joined(rows)


def rows_in_place(parts: Sequence[Part], unpacked: Unpacked) -> list[BlockPlace]:
    """The same, of things that stay where they are in the block."""
    rows: list[BlockPlace] = []
    for part in sorted(parts, key=lambda part: part.place.first):
        old = part.place
        for start, end in _runs(part.remains):
            content = _content_bytes(unpacked, old.skip + start, old.skip + end)
            row = replace(
                old,
                first=old.first + start,
                count=end - start,
                content_bytes=content,
                skip=old.skip + start,
                brings_bytes=old.brings_bytes * content // max(old.content_bytes, 1),
            )
            rows.append(row)
    return rows


def _runs(flags: Flags) -> list[tuple[int, int]]:
    """Start and end of each run of what is set."""
    edges = np.flatnonzero(np.diff(flags.astype(np.int8), prepend=0, append=0))
    return [(int(start), int(end)) for start, end in edges.reshape(-1, 2)]


def _content_bytes(unpacked: Unpacked, start: int, end: int) -> int:
    if unpacked.kind is not BlockKind.RECORDS:
        return 0
    return sum(cast("Records", unpacked.items).lengths(start, end))


def _joined(rows: Sequence[BlockPlace]) -> list[BlockPlace]:
    """Rows whose numbers follow each other made one."""
    joined: list[BlockPlace] = []
    for row in rows:
        last = joined[-1] if joined else None
        if last is not None and last.first + last.count == row.first:
            joined[-1] = replace(
                last,
                count=last.count + row.count,
                content_bytes=last.content_bytes + row.content_bytes,
                brings_bytes=last.brings_bytes + row.brings_bytes,
            )
        else:
            joined.append(row)
    return joined


def placed(rows: Sequence[BlockPlace], place: BlockPlace) -> list[BlockPlace]:
    """``rows`` of a block that was written to ``place``."""
    return [
        replace(
            place,
            first=row.first,
            count=row.count,
            content_bytes=row.content_bytes,
            skip=row.skip,
            brings_bytes=row.brings_bytes,
        )
        for row in rows
    ]
