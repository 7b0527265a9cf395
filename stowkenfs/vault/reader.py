"""From numbers to bytes: blocks, segments, templates and records, verified and cached."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import accumulate
from typing import Any, NamedTuple, cast

from stowkenfs.documents.body import Body, render_body
from stowkenfs.documents.dense_layout import TemplateLayout, layout_of_template
from stowkenfs.documents.rendering import MINIMAL_ESCAPES, has_many_parts, render_bodies
from stowkenfs.documents.values import Style
from stowkenfs.errors import BlockCorrupt, Corrupt, RecordCorrupt
from stowkenfs.frames.bulk import Speller
from stowkenfs.frames.codebook import Codebook
from stowkenfs.frames.codec import Segment, decode_frame
from stowkenfs.frames.spelling import Escapes
from stowkenfs.frames.vocabulary import spell
from stowkenfs.ids import PackNo, RecordNo, SegmentNo, TemplateNo
from stowkenfs.index.catalogue import BlockPlace, Catalogue, Extent
from stowkenfs.minimal_zstd import Base
from stowkenfs.store.api import PackStore
from stowkenfs.store.block import Block, BlockKind, Layout, decode_block
from stowkenfs.vault.caches import SizedCache
from stowkenfs.vault.codebooks import CodebookIn, decode_entry
from stowkenfs.vault.payloads import content_key
from stowkenfs.vault.unpacked import (
    PlainRecords,
    PlainSegments,
    Records,
    Segments,
    Templates,
    Unpacked,
    unpack,
)

LAYOUTS_MAX = 20_000
BASES_BYTES_MAX = 16 << 20
CODEBOOK_COST_BYTES = 100_000
TOGETHER_MIN = 20
"""From this many segments on it is sooner done to spell them together."""


class Reader:
    """Everything stored, by number. Any thread; all state is in bounded, locked caches."""

    def __init__(
        self,
        store: PackStore,
        catalogue: Catalogue,
        *,
        record_cache_bytes: int,
        block_cache_bytes: int,
    ) -> None:
        self._store = store
        self._catalogue = catalogue
        self._blocks = SizedCache(block_cache_bytes)
        self._records = SizedCache(record_cache_bytes)
        self._texts = SizedCache(block_cache_bytes // 4)
        self._bases = SizedCache(BASES_BYTES_MAX)
        self._layouts = SizedCache(LAYOUTS_MAX)

    # Blocks

    def read_block(self, place: BlockPlace) -> Block:
        """One block from the store, its checksum and its identity verified."""
        content = self._store.read(place.pack, place.offset_bytes, place.stored_bytes)
        block = decode_block(content, place.pack, place.offset_bytes, self.base)
        same = block.kind == place.kind and block.layout == place.layout
        if block.layout is Layout.PLAIN:
            same = same and (block.first, block.count) == (place.first, place.count)
        if not same:
            raise BlockCorrupt(place.pack, place.offset_bytes, "holds another block than indexed")
        return block

    def payload(
        self, pack: int, offset_bytes: int, stored_bytes: int, count: int | None = None
    ) -> bytes:
        """The payload of a block of keys or of a part of the tree."""
        content = self._store.read(PackNo(pack), offset_bytes, stored_bytes)
        block = decode_block(content, PackNo(pack), offset_bytes, self.base)
        if count is not None and block.count != count:
            raise BlockCorrupt(PackNo(pack), offset_bytes, "holds another block than indexed")
        return block.payload

    def unpacked(self, place: BlockPlace) -> Unpacked:
        """What one block holds, uncached."""
        block = self.read_block(place)
        try:
            unpacked = unpack(block, self.layout_of, self._codebook)
        except BlockCorrupt:  # of another block, which this one needs
            raise
        except Corrupt as error:
            raise BlockCorrupt(place.pack, place.offset_bytes, str(error)) from error
        if not unpacked.holds(place.first, place.count, place.skip):
            raise BlockCorrupt(place.pack, place.offset_bytes, "holds other numbers than indexed")
        return unpacked

    def _place(self, kind: BlockKind, number: int) -> BlockPlace:
        place = self._catalogue.locate(kind, number)
        if place is None:
            raise BlockCorrupt(PackNo(0), 0, f"no block holds {kind.name.lower()} {number}")
        return place

    def _block_with(self, kind: BlockKind, number: int) -> tuple[Unpacked, int]:
        """The unpacked block that holds ``number`` of ``kind``, and its position in it."""
        place = self._place(kind, number)
        name = (place.pack, place.offset_bytes)
        unpacked: Unpacked | None = self._blocks.get(name)
        if unpacked is None:
            unpacked = self.unpacked(place)
            self._blocks.put(name, unpacked, unpacked.cost_bytes)
        return unpacked, number - place.first + place.skip

    def _runs(
        self, kind: BlockKind, numbers: Sequence[int]
    ) -> Iterator[tuple[Unpacked, int, Sequence[int]]]:
        """``numbers``, which ascend, by block, each with what makes them positions in it."""
        start = 0
        while start < len(numbers):
            place = self._place(kind, numbers[start])
            end = bisect_left(numbers, place.first + place.count, start)
            unpacked, at = self._block_with(kind, numbers[start])
            yield unpacked, at - numbers[start], numbers[start:end]
            start = end

    def base(self, kind: BlockKind, number: int) -> Base:
        """The content that blocks refer to which were compressed against that of ``number``."""
        place = self._place(kind, number)
        name = (place.pack, place.offset_bytes)
        base: Base | None = self._bases.get(name)
        if base is None:
            if place.base is not None:
                raise Corrupt("a block that others refer to refers to one itself")
            base = Base(self.read_block(place).payload)
            self._bases.put(name, base, len(base.content))
        return base

    def _codebook(self, number: int) -> Codebook:
        name = (BlockKind.CODEBOOKS, number)
        codebook: Codebook | None = self._bases.get(name)
        if codebook is None:
            codebook = decode_entry(self._string(BlockKind.CODEBOOKS, number)).codebook
            self._bases.put(name, codebook, CODEBOOK_COST_BYTES)
        return codebook

    def codebooks(self, newest: int) -> list[CodebookIn]:
        """The ``newest`` codebooks, with the blocks of their bases as they are stored."""
        out = []
        for number in self._catalogue.newest(BlockKind.CODEBOOKS, newest):
            content = self._string(BlockKind.CODEBOOKS, number)
            entry = decode_entry(content)
            bases = [
                None if base is None else self._encoded(kind, base)
                for kind, base in (
                    (BlockKind.SEGMENTS, entry.segments_base),
                    (BlockKind.RECORDS, entry.records_base),
                )
            ]
            out.append(CodebookIn(number, content, *bases))
        return out

    def _encoded(self, kind: BlockKind, number: int) -> bytes | None:
        place = self._catalogue.locate(kind, number)
        if place is None or place.base is not None:
            return None
        return self._store.read(place.pack, place.offset_bytes, place.stored_bytes)

    def layout_of(self, number: TemplateNo) -> TemplateLayout:
        """What the codec of dense records asks of a template."""
        layout: TemplateLayout | None = self._layouts.get(number)
        if layout is None:
            layout = layout_of_template(self.template(number))
            self._layouts.put(number, layout, 1)
        return layout

    def _string(self, kind: BlockKind, number: int) -> bytes:
        unpacked, at = self._block_with(kind, number)
        return cast("Templates", unpacked.items).items.templates[at]

    def forget(self) -> None:
        """Let go of what is unpacked; for measuring."""
        for cache in (self._blocks, self._records, self._texts, self._bases):
            cache.clear()

    # Segments and templates

    def _segments(self, number: SegmentNo) -> tuple[Segments, int]:
        unpacked, at = self._block_with(BlockKind.SEGMENTS, number)
        return cast("Segments", unpacked.items), at

    def segment(self, number: SegmentNo) -> Segment:
        """A segment's vocabulary and ids, checked against its key where it has one."""
        segments, at = self._segments(number)
        return segments.verified(at)

    def _segment_alone(self, number: int) -> Segment:
        segments, at = self._segments(SegmentNo(number))
        return segments.segment(at)  # its record's key covers the content

    def segment_storage(self, number: SegmentNo) -> tuple[str, int]:
        """How a segment is encoded, for people, and what it takes up of its block in bytes."""
        segments, at = self._segments(number)
        return segments.kind(at), segments.stored_bytes(at)

    def text(self, number: SegmentNo) -> bytes:
        """The bytes that a segment spells."""
        found: bytes | None = self._texts.get(number)
        if found is None:
            segment = self._segment_alone(number)
            found = spell(segment.tokens, segment.vocabulary)
            self._texts.put(number, found, len(found) + 100)
        return found

    def _texts_of(self, escapes: Escapes, numbers: Iterable[SegmentNo]) -> Mapping[int, bytes]:
        """``text`` of many, escaped and uncached."""
        speller = Speller(self._segment_alone, escapes)
        for unpacked, shift, some in self._runs(BlockKind.SEGMENTS, sorted(numbers)):
            segments = cast("Segments", unpacked.items)
            segments.spell(speller, some, [number + shift for number in some])
        return speller.finish()

    def template(self, number: TemplateNo) -> bytes:
        name = (BlockKind.TEMPLATES, number)
        found: bytes | None = self._texts.get(name)
        if found is None:
            found = self._string(BlockKind.TEMPLATES, number)
            self._texts.put(name, found, len(found) + 150)
        return found

    # Looking for what is stored; ``first`` is a number in the block to look into

    def find_segment(self, first: int, key: int, frame: bytes) -> int | None:
        """Number of the segment in that block whose key and content are these."""
        unpacked, _ = self._block_with(BlockKind.SEGMENTS, first)
        at = cast("Segments", unpacked.items).find(key, decode_frame(frame))
        return None if at is None else unpacked.number(at)

    def find_template(self, first: int, template: bytes) -> int | None:
        """Number of that template in that block."""
        unpacked, _ = self._block_with(BlockKind.TEMPLATES, first)
        at = cast("Templates", unpacked.items).find(template)
        return None if at is None else unpacked.number(at)

    def find_record(self, first: int, key: int) -> int | None:
        """Number of a record in that block that fits ``key``."""
        unpacked, _ = self._block_with(BlockKind.RECORDS, first)
        at = cast("Records", unpacked.items).find(key)
        return None if at is None else unpacked.number(at)

    # Records

    def _records_with(self, number: RecordNo) -> tuple[Records, int]:
        unpacked, at = self._block_with(BlockKind.RECORDS, number)
        return cast("Records", unpacked.items), at

    def record(self, number: RecordNo) -> bytes:
        """A record's bytes, checked against its key.

        Raises Corrupt (one of its subclasses) when anything on the way is damaged.
        """
        found: bytes | None = self._records.get(number)
        if found is None:
            records, at = self._records_with(number)
            found = self.render(records, at)
            self._records.put(number, found, len(found) + 100)
        return found

    def render(self, records: Records, at: int) -> bytes:
        """The bytes of record ``at`` of a block, checked against its key, uncached."""
        content = render_body(records.body(at), self._template_of, self._part_of)
        self._check(records, at, content)
        return content

    def _check(self, records: Records, at: int, content: bytes) -> None:
        if len(content) != records.length(at) or not records.fits(at, content_key(content)):
            raise RecordCorrupt("a record's content does not match its hash")

    def body(self, number: RecordNo) -> Body:
        """A record as numbers, for walking its references."""
        records, at = self._records_with(number)
        return records.body(at)

    def stored_record(self, number: RecordNo) -> tuple[int, int, bytes, Body]:
        """Length, key, stored and decoded body of a record that was not compacted."""
        records, at = self._records_with(number)
        items = cast("PlainRecords", records).items
        return int(items.lengths[at]), int(items.keys[at]), items.bodies[at], records.body(at)

    def stored_segment(self, number: SegmentNo) -> tuple[int, bytes]:
        """Key and frame of a segment that was not compacted."""
        segments, at = self._segments(number)
        items = cast("PlainSegments", segments).items
        return int(items.keys[at]), items.frames[at]

    def record_length(self, number: RecordNo) -> int:
        records, at = self._records_with(number)
        return records.length(at)

    def knows_record(self, number: int) -> bool:
        """Whether some block is said to hold this record."""
        return self._catalogue.locate(BlockKind.RECORDS, number) is not None

    def record_cost(self, number: RecordNo) -> int:
        """Bytes on disk of a record without its segments: its share of its block."""
        place = self._place(BlockKind.RECORDS, number)
        records, at = self._records_with(number)
        return -(-records.body_bytes(at) * place.stored_bytes // max(place.raw_bytes, 1))

    def _template_of(self, number: int) -> bytes:
        return self.template(TemplateNo(number))

    def _part_of(self, number: int, style: Style) -> Any:
        if style is Style.TOKENS:
            return self.segment(SegmentNo(number)).tokens.tolist()
        return self.text(SegmentNo(number))

    # Documents

    def is_cached(self, extents: Iterable[Extent]) -> bool:
        """Whether reading ``extents`` takes neither disk nor decoding; cheap."""
        return all(
            self._records.get(record) is not None
            for extent in extents
            for record in range(extent.record, extent.record + extent.count)
        )

    def read_extent(self, extent: Extent, start: int, end: int) -> bytes:
        """Bytes ``start`` to ``end`` of a document, which lie inside ``extent``."""
        return self.read_extents([(extent, start, end)])

    def read_extents(self, ranges: Sequence[tuple[Extent, int, int]]) -> bytes:
        """Bytes of a document from extents, each ``start`` to ``end``, one after the other.

        Only the records that hold them are decoded. Raises as ``record`` does.
        """
        spans = [span for extent, start, end in ranges for span in self._spans(extent, start, end)]
        contents = self._contents([number for span in spans for number in span.records])
        return b"".join(
            [b"".join([contents[no] for no in records])[start:end] for records, start, end in spans]
        )

    def _spans(self, extent: Extent, start: int, end: int) -> Iterator["_Span"]:
        """The records that hold bytes ``start`` to ``end`` of a document."""
        at = extent.start
        numbers = range(extent.record, extent.record + extent.count)
        if extent.count == 1:
            yield _Span(numbers, start - at, end - at)
            return
        for unpacked, shift, some in self._runs(BlockKind.RECORDS, numbers):
            records = cast("Records", unpacked.items)
            lengths = records.lengths(some[0] + shift, some[-1] + shift + 1)
            bounds = list(accumulate(lengths, initial=at))
            first = bisect_right(bounds, start, 1) - 1
            last = bisect_left(bounds, end, first + 1)
            if first < len(some):
                yield _Span(some[first:last], max(start - bounds[first], 0), end - bounds[first])
            at = bounds[-1]
            if at >= end:
                return

    def _contents(self, numbers: Sequence[int]) -> dict[int, bytes]:
        """The bytes of records, checked against their keys."""
        found = {number: self._records.get(number) for number in numbers}
        missing = sorted(number for number, content in found.items() if content is None)
        bodies: list[Body] = []
        stored: list[tuple[Records, int]] = []
        for unpacked, shift, some in self._runs(BlockKind.RECORDS, missing):
            records = cast("Records", unpacked.items)
            places = [number + shift for number in some]
            bodies += records.bodies(places)
            stored += [(records, place) for place in places]
        rendered = zip(missing, stored, self._render_all(bodies), strict=True)
        for number, (records, place), content in rendered:
            self._check(records, place, content)
            self._records.put(number, content, len(content) + 100)
            found[number] = content
        return found

    def _render_all(self, bodies: Sequence[Body]) -> Iterable[bytes]:
        if not has_many_parts(bodies, TOGETHER_MIN):  # so that texts are cached
            return [render_body(body, self._template_of, self._part_of) for body in bodies]
        return render_bodies(
            bodies,
            self._template_of,
            self._part_of,
            partial(self._texts_of, ()),
            partial(self._texts_of, MINIMAL_ESCAPES),
        )


class _Span(NamedTuple):
    """Bytes ``start`` to ``end`` of the joined contents of records of one block."""

    records: Sequence[int]
    start: int
    end: int
