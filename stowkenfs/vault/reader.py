"""From numbers to bytes: blocks, segments, templates and records, verified and cached."""

import threading
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from cachetools import LRUCache

from stowkenfs.documents.body import decode_body, render_body
from stowkenfs.documents.values import Style
from stowkenfs.errors import BlockCorrupt, Corrupt, FrameCorrupt, RecordCorrupt
from stowkenfs.frames.address import segment_hash, segment_key
from stowkenfs.frames.codec import Segment, decode_frame
from stowkenfs.frames.vocabulary import spell
from stowkenfs.ids import PackNo, RecordNo, SegmentNo, TemplateNo
from stowkenfs.index.catalogue import BlockPlace, Catalogue, Extent
from stowkenfs.store.api import PackStore
from stowkenfs.store.block import Block, BlockKind, decode_block
from stowkenfs.vault.payloads import (
    RecordItems,
    SegmentItems,
    TemplateItems,
    content_key,
    decode_records,
    decode_segments,
    decode_templates,
)

T = TypeVar("T")

_DECODERS: dict[BlockKind, Callable[[bytes, int], Any]] = {
    BlockKind.RECORDS: decode_records,
    BlockKind.SEGMENTS: decode_segments,
    BlockKind.TEMPLATES: decode_templates,
}


class SizedCache:
    """A least-recently-used cache bounded in bytes, safe to use from any thread."""

    def __init__(self, bytes_max: int) -> None:
        self._lock = threading.Lock()
        self._held: LRUCache[Any, tuple[Any, int]] = LRUCache(
            bytes_max, getsizeof=lambda entry: entry[1]
        )

    def get(self, name: object) -> Any:
        with self._lock:
            entry = self._held.get(name)
        return entry[0] if entry is not None else None

    def put(self, name: object, value: object, cost_bytes: int) -> None:
        if cost_bytes > self._held.maxsize:
            return  # one giant must not empty the cache
        with self._lock:
            self._held[name] = (value, cost_bytes)


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

    # Blocks

    def read_block(self, place: BlockPlace) -> Block:
        """One block from the store, its checksum and its identity verified."""
        content = self._store.read(place.pack, place.offset_bytes, place.stored_bytes)
        block = decode_block(content, place.pack, place.offset_bytes)
        if (block.kind, block.first, block.count) != (place.kind, place.first, place.count):
            raise BlockCorrupt(place.pack, place.offset_bytes, "holds another block than indexed")
        return block

    def items(self, place: BlockPlace) -> Any:
        """The unpacked payload of one block, uncached."""
        block = self.read_block(place)
        try:
            return _DECODERS[block.kind](block.payload, block.count)
        except Corrupt as error:
            raise BlockCorrupt(place.pack, place.offset_bytes, str(error)) from error

    def _items_with(self, kind: BlockKind, number: int) -> tuple[Any, int]:
        """The unpacked block that holds ``number`` of ``kind``, and its position in it."""
        place = self._catalogue.locate(kind, number)
        if place is None:
            raise BlockCorrupt(PackNo(0), 0, f"no block holds {kind.name.lower()} {number}")
        name = (kind, place.first)
        items = self._blocks.get(name)
        if items is None:
            items = self.items(place)
            self._blocks.put(name, items, items.cost_bytes)
        return items, number - place.first

    # Segments and templates

    def segment(self, number: SegmentNo) -> Segment:
        """A segment's vocabulary and ids, checked against its key."""
        items, at = self._items_with(BlockKind.SEGMENTS, number)
        return verified_segment(items, at)

    def frame(self, number: SegmentNo) -> bytes:
        """A segment as stored."""
        items: SegmentItems
        items, at = self._items_with(BlockKind.SEGMENTS, number)
        return items.frames[at]

    def text(self, number: SegmentNo) -> bytes:
        """The bytes that a segment spells."""
        found: bytes | None = self._texts.get(number)
        if found is None:
            items, at = self._items_with(BlockKind.SEGMENTS, number)
            segment = decode_frame(items.frames[at])  # its record's key covers the content
            found = spell(segment.tokens, segment.vocabulary)
            self._texts.put(number, found, len(found) + 100)
        return found

    def template(self, number: TemplateNo) -> bytes:
        items: TemplateItems
        items, at = self._items_with(BlockKind.TEMPLATES, number)
        return items.templates[at]

    # Records

    def record(self, number: RecordNo) -> bytes:
        """A record's bytes, checked against its key.

        Raises Corrupt (one of its subclasses) when anything on the way is damaged.
        """
        found: bytes | None = self._records.get(number)
        if found is None:
            items, at = self._items_with(BlockKind.RECORDS, number)
            found = self.render(items, at)
            self._records.put(number, found, len(found) + 100)
        return found

    def render(self, items: RecordItems, at: int) -> bytes:
        """The bytes of record ``at`` of a block, checked against its key, uncached."""
        content = render_body(decode_body(items.bodies[at]), self._template_of, self._part_of)
        if len(content) != items.lengths[at] or content_key(content) != items.keys[at]:
            raise RecordCorrupt("a record's content does not match its hash")
        return content

    def body(self, number: RecordNo) -> bytes:
        """A record's stored body, for walking its references."""
        items: RecordItems
        items, at = self._items_with(BlockKind.RECORDS, number)
        return items.bodies[at]

    def record_length(self, number: RecordNo) -> int:
        items: RecordItems
        items, at = self._items_with(BlockKind.RECORDS, number)
        return int(items.lengths[at])

    def knows_record(self, number: int) -> bool:
        """Whether some block is said to hold this record."""
        return self._catalogue.locate(BlockKind.RECORDS, number) is not None

    def record_cost(self, number: RecordNo) -> int:
        """Bytes on disk of a record without its segments: its share of its block."""
        place = self._catalogue.locate(BlockKind.RECORDS, number)
        body = len(self.body(number))
        return body if place is None else -(-body * place.stored_bytes // max(place.raw_bytes, 1))

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
        """Bytes ``start`` to ``end`` of a document, which lie inside ``extent``.

        Only the records that hold them are decoded.
        """
        if extent.count == 1:
            return self.record(RecordNo(extent.record))[start - extent.start : end - extent.start]
        pieces = []
        at = extent.start
        for number in range(extent.record, extent.record + extent.count):
            if at >= end:
                break
            record = RecordNo(number)
            length = self.record_length(record)
            if at + length > start:
                content = self.record(record)
                pieces.append(content[max(start - at, 0) : end - at])
            at += length
        return b"".join(pieces)


def verified_segment(items: SegmentItems, at: int) -> Segment:
    """Segment ``at`` of a block, its ids checked against its key."""
    segment = decode_frame(items.frames[at])
    key = segment_key(segment_hash(segment.tokens), segment.vocabulary)
    if key != items.keys[at]:
        raise FrameCorrupt("a segment's ids do not match their hash")
    return segment
