"""From numbers to bytes: blocks, and the segments and templates in them, verified and cached."""

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

import numpy as np

from stowkenfs.documents.dense_layout import TemplateLayout, layout_of_template
from stowkenfs.documents.pieces import Numbers
from stowkenfs.documents.values import Style
from stowkenfs.errors import BlockCorrupt, Corrupt, FrameCorrupt
from stowkenfs.frames.bulk import Speller
from stowkenfs.frames.codebook import Codebook
from stowkenfs.frames.codec import Segment, depth_of, whole_frame
from stowkenfs.frames.dictionary import Dictionary
from stowkenfs.frames.spelling import Escapes
from stowkenfs.ids import PackNo, SegmentNo, TemplateNo
from stowkenfs.index.catalogue import BlockPlace, Catalogue
from stowkenfs.minimal_zstd import Base
from stowkenfs.store.api import PackStore
from stowkenfs.store.block import Block, BlockKind, Layout, decode_block
from stowkenfs.vault.caches import SizedCache
from stowkenfs.vault.codebooks import CodebookIn, decode_entry
from stowkenfs.vault.registry_blocks import DictionaryEntry, RegistryItems, SubstringEntry
from stowkenfs.vault.unpacked import (
    PlainSegments,
    Segments,
    Templates,
    Unpacked,
    unpack,
)

LAYOUTS_MAX = 20_000
BASES_BYTES_MAX = 24 << 20
CODEBOOK_COST_BYTES = 900_000
REGISTRY_BYTES_MAX = 16 << 20
"""Of decoded substrings and dictionaries."""


class BlockReader:
    """What blocks hold, by number. Any thread; all state is in bounded caches."""

    def __init__(
        self,
        store: PackStore,
        catalogue: Catalogue,
        *,
        block_cache_bytes: int,
    ) -> None:
        self._store = store
        self._catalogue = catalogue
        self._blocks = SizedCache(block_cache_bytes)
        self._texts = SizedCache(block_cache_bytes // 4)
        self._bases = SizedCache(BASES_BYTES_MAX)
        self._registry = SizedCache(REGISTRY_BYTES_MAX)
        # About LAYOUTS_MAX; no lock, for each use is one step to the interpreter.
        self._layouts: dict[TemplateNo, TemplateLayout] = {}

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
            unpacked = self.unpack(block)
        except BlockCorrupt:  # of another block, which this one needs
            raise
        except Corrupt as error:
            raise BlockCorrupt(place.pack, place.offset_bytes, str(error)) from error
        if not unpacked.holds(place.first, place.count, place.skip):
            raise BlockCorrupt(place.pack, place.offset_bytes, "holds other numbers than indexed")
        return unpacked

    def stored_block(self, place: BlockPlace) -> bytes:
        """One block as it lies in its pack, unchecked."""
        return self._store.read(place.pack, place.offset_bytes, place.stored_bytes)

    def unpack(self, block: Block) -> Unpacked:
        """What a block holds that is not, or not yet, in a pack. Raises Corrupt."""
        return unpack(block, self.layout_of, self._codebook, self)

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
        layout = self._layouts.get(number)
        if layout is None:
            layout = layout_of_template(self.template(number))
            if len(self._layouts) >= LAYOUTS_MAX:
                self._layouts.clear()
            self._layouts[number] = layout
        return layout

    def _string(self, kind: BlockKind, number: int) -> bytes:
        unpacked, at = self._block_with(kind, number)
        return cast("Templates", unpacked.items).items.templates[at]

    def forget(self) -> None:
        """Let go of what is unpacked; for measuring."""
        for cache in (self._blocks, self._texts, self._bases, self._registry):
            cache.clear()

    # What frames refer to

    def registry_entry(self, kind: BlockKind, number: int) -> bytes:
        """The entry of a substring or dictionary. Raises Corrupt."""
        unpacked, at = self._block_with(kind, number)
        return cast("RegistryItems", unpacked.items).entry(at)

    def substring(self, number: int) -> Segment:
        """A run of ids that frames refer to. Raises Corrupt, as all of these do."""
        name = (BlockKind.SUBSTRINGS, number)
        found: Segment | None = self._registry.get(name)
        if found is None:
            found = SubstringEntry.decode(self.registry_entry(*name)).segment()
            self._registry.put(name, found, found.tokens.nbytes + 300)
        return found

    def dictionary(self, number: int) -> Dictionary:
        """A dictionary that frames refer to."""
        name = (BlockKind.DICTIONARIES, number)
        found: Dictionary | None = self._registry.get(name)
        if found is None:
            found = DictionaryEntry.decode(self.registry_entry(*name)).load()
            self._registry.put(name, found, found.memory_bytes)
        return found

    def canonical(self, number: int, below: int = 1) -> Segment:
        """A segment that others are told as differences from, of a depth less than ``below``."""
        frame = self.hot_frame(number)
        if frame is not None and depth_of(frame) >= below:
            raise FrameCorrupt(f"segment {number}, which others refer to, refers to one itself")
        return self._segment_alone(number)

    def hot_frame(self, number: int) -> bytes | None:
        """The frame of a segment that is stored as one; None for a dense one. Raises Corrupt."""
        segments, at = self._segments(SegmentNo(number))
        return segments.items.frames[at] if isinstance(segments, PlainSegments) else None

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
            found = self._texts_of((), np.array([number]))[number]
            self._texts.put(number, found, len(found) + 100)
        return found

    def texts(self, numbers: Numbers) -> Mapping[int, bytes]:
        """``text`` of many, whose numbers ascend, uncached."""
        return self._texts_of((), numbers)

    def segment_blocks(
        self, numbers: Sequence[int]
    ) -> Iterator[tuple[Segments, Sequence[int], Sequence[int]]]:
        """Blocks with segments of ``numbers``, which ascend; their places there, their numbers."""
        for unpacked, shift, some in self._runs(BlockKind.SEGMENTS, numbers):
            yield cast("Segments", unpacked.items), [at + shift for at in some], some

    def _texts_of(self, escapes: Escapes, numbers: Numbers) -> Mapping[int, bytes]:
        """``text`` of many, whose numbers ascend, escaped and uncached."""
        speller = Speller(self._segment_alone, escapes)
        start = 0
        for unpacked, shift, some in self._runs(BlockKind.SEGMENTS, numbers.tolist()):
            mine = numbers[start : start + len(some)]
            cast("Segments", unpacked.items).spell(speller, mine, mine + shift)
            start += len(some)
        return speller.finish()

    def template(self, number: TemplateNo) -> bytes:
        name = (BlockKind.TEMPLATES, number)
        found: bytes | None = self._texts.get(name)
        if found is None:
            found = self._string(BlockKind.TEMPLATES, number)
            self._texts.put(name, found, len(found) + 150)
        return found

    def _templates_of(self, numbers: Sequence[int]) -> Sequence[bytes]:
        found = self._texts.get_many([(BlockKind.TEMPLATES, number) for number in numbers])
        return [
            self._template_of(number) if template is None else template
            for number, template in zip(numbers, found, strict=True)
        ]

    def stored_segment(self, number: SegmentNo) -> tuple[int, bytes]:
        """Key of a segment that was not compacted, and a frame of it that refers to nothing."""
        segments, at = self._segments(number)
        items = cast("PlainSegments", segments).items
        return int(items.keys[at]), whole_frame(items.frames[at], self)

    def _template_of(self, number: int) -> bytes:
        return self.template(TemplateNo(number))

    def _part_of(self, number: int, style: Style) -> Any:
        if style is Style.TOKENS:
            return self.segment(SegmentNo(number)).tokens.tolist()
        return self.text(SegmentNo(number))
