"""A batch of documents to dense blocks: the part that needs a processor, free of any state.

It runs in a worker process; what goes in and comes out is bytes and small tuples.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cached_property

from stowkenfs.documents.body import Body, BodyValue, References, decode_body
from stowkenfs.documents.dense import DenseRecord, encode_dense_records
from stowkenfs.documents.dense_layout import TemplateLayout, layout_of_template
from stowkenfs.frames.codec import decode_frame
from stowkenfs.frames.dense import DenseSegment, encode_dense
from stowkenfs.frames.segment import Segment
from stowkenfs.ids import PackNo, SegmentNo, TemplateNo
from stowkenfs.minimal_zstd import Base
from stowkenfs.store.block import (
    Block,
    BlockKind,
    Layout,
    base_of,
    decode_block,
    encode_dense_block,
)
from stowkenfs.vault.codebooks import CodebookEntry, decode_entry, encode_entry
from stowkenfs.vault.compaction.batch import BatchIn, BatchOut, RecordIn
from stowkenfs.vault.compaction.groups import (
    Group,
    better_order,
    count_ids,
    encode_group,
    make_groups,
    with_base,
)
from stowkenfs.vault.packs import PackedBlock
from stowkenfs.vault.payloads import encode_templates
from stowkenfs.vault.unpacked import encode_ranges, record_check

NumberedBase = tuple[int, Base]


def encode_dense_batch(batch: BatchIn) -> BatchOut:
    """The blocks that ``batch`` becomes; deterministic."""
    return _Encoder(batch).run()


class _Encoder:
    """One batch in the making."""

    def __init__(self, batch: BatchIn) -> None:
        self._batch = batch
        self._options = batch.options
        self._bodies = [decode_body(record.body) for record in batch.records]
        self._segments = {number: decode_frame(frame) for number, frame in batch.segments.items()}
        self._new_segments: dict[int, int] = {}  # {old: new}
        self._segment_order: list[int] = []
        self._costs: dict[int, float] = {}  # {old segment: stored bytes}
        self._new_templates: dict[int, int] = {}
        self._codebooks: list[bytes] = []
        self._blocks: list[PackedBlock] = []
        self._existing = [decode_entry(one.entry) for one in batch.codebooks]
        self._layouts: dict[int, TemplateLayout] = {}

    def run(self) -> BatchOut:
        batch = self._batch
        self._number_templates()
        introduced = self._introduced()
        starts = [0, *batch.chunk_ends[:-1]]
        chunks = list(zip(starts, batch.chunk_ends, strict=True))
        counts = [
            count_ids([self._segments[s] for new, _ in introduced[a:b] for s in new])
            for a, b in chunks
        ]
        groups = make_groups(
            counts, self._options.own_codebook_gain, [one.codebook for one in self._existing]
        )
        with ThreadPoolExecutor(max(self._options.threads, 1)) as threads:
            self._threads = threads
            self._template_blocks()
            for group in groups:
                first, last = chunks[group.chunks[0]][0], chunks[group.chunks[-1]][1]
                self._encode_group(group, introduced[first:last], first, last)
            self._codebook_block()
        return BatchOut(
            self._blocks,
            self._segment_order,
            list(self._new_templates),
            self._codebooks,
            len(groups),
        )

    # Templates

    def _number_templates(self) -> None:
        for body in self._bodies:
            for number in body.templates:
                if number in self._batch.templates and number not in self._new_templates:
                    new = self._batch.first_template + len(self._new_templates)
                    self._new_templates[number] = new

    def _template_blocks(self) -> None:
        rows = [self._batch.templates[number] for number in self._new_templates]
        start = size = 0
        for at, row in enumerate(rows):
            size += len(row)
            if size >= self._options.template_block_bytes or at == len(rows) - 1:
                some = rows[start : at + 1]
                first = self._batch.first_template + start
                payload = encode_ranges([(first, len(some))]) + encode_templates(some)
                block = Block(BlockKind.TEMPLATES, first, len(some), payload, Layout.DENSE)
                self._blocks.append(self._pack(block, None))
                start, size = at + 1, 0

    def _template(self, old: int) -> int:
        """New number of a template."""
        new = self._new_templates.get(old)
        return self._batch.moved_templates.get(old, old) if new is None else new

    @cached_property
    def _template_contents(self) -> dict[int, bytes]:
        new = {self._new_templates[old]: self._batch.templates[old] for old in self._new_templates}
        return self._batch.known_templates | new

    def _layout_of(self, number: TemplateNo) -> TemplateLayout:
        layout = self._layouts.get(number)
        if layout is None:
            layout = layout_of_template(self._template_contents[number])
            self._layouts[number] = layout
        return layout

    # Segments

    def _introduced(self) -> list[tuple[list[int], int | None]]:
        """For each record the segments that it is the first to use, and its anchor.

        An anchor is a segment that occurred before: what is new stands best beside what came
        with it the first time, as answers beside those to the same question.
        """
        seen: set[int] = set()
        out = []
        for body in self._bodies:
            anchor: int | None = None
            new: list[int] = []
            for value in body.values:
                if isinstance(value, References):
                    for number in value.segments:
                        if number not in self._segments or number in seen:
                            if anchor is None and number not in new:
                                anchor = number
                        else:
                            seen.add(number)
                            new.append(number)
            out.append((new, anchor))
        return out

    def _encode_group(
        self,
        group: Group,
        introduced: Sequence[tuple[list[int], int | None]],
        first_record: int,
        last_record: int,
    ) -> None:
        numbers = [number for new, _ in introduced for number in new]
        segments: list[Segment] = [self._segments[number] for number in numbers]
        encoded = encode_group(segments, group.codebook)
        orders = [range(len(numbers)), _anchored(introduced)]
        order = better_order(orders, encoded, self._options.segment_block_bytes)
        if group.reused is None:
            number = self._batch.first_codebook + len(self._codebooks)
            segments_base = records_base = None
            blocks = with_base(
                order,
                encoded,
                self._options.segment_block_bytes,
                self._options.sampled_base_blocks,
            )
        else:
            entry = self._existing[group.reused]
            known = self._batch.codebooks[group.reused]
            number = known.number
            segments_base = _known_base(entry.segments_base, known.segments_base)
            records_base = _known_base(entry.records_base, known.records_base)
            blocks = with_base(order, encoded, self._options.segment_block_bytes, 1 << 30)
        segments_base = self._segment_blocks(blocks, numbers, encoded, number, segments_base)
        records_base = self._record_blocks(introduced, first_record, last_record, records_base)
        if group.reused is None:
            self._codebooks.append(
                encode_entry(
                    CodebookEntry(
                        group.codebook,
                        segments_base[0] if segments_base else None,
                        records_base[0] if records_base else None,
                    )
                )
            )

    def _segment_blocks(
        self,
        blocks: Sequence[Sequence[int]],
        numbers: Sequence[int],
        encoded: Sequence[DenseSegment],
        codebook: int,
        base: NumberedBase | None,
    ) -> NumberedBase | None:
        """Append the blocks of a group; the base that they refer to."""
        made: list[Block] = []
        for order in blocks:
            if not order:
                continue
            first = self._batch.first_segment + len(self._segment_order)
            for at in order:
                new = self._batch.first_segment + len(self._segment_order)
                self._new_segments[numbers[at]] = new
                self._segment_order.append(numbers[at])
            payload = encode_ranges([(first, len(order))]) + encode_dense(
                [encoded[at] for at in order], codebook
            )
            made.append(Block(BlockKind.SEGMENTS, first, len(order), payload, Layout.DENSE))
        packed, base = self._compress(made, base)
        for block, one, order in zip(made, packed, [o for o in blocks if o], strict=True):
            share = len(one.encoded) / max(len(block.payload), 1)
            for at in order:
                self._costs[numbers[at]] = (len(encoded[at].content) + 1) * share
        self._blocks += packed
        return base

    # Records

    def _record_blocks(
        self,
        introduced: Sequence[tuple[list[int], int | None]],
        first_record: int,
        last_record: int,
        base: NumberedBase | None,
    ) -> NumberedBase | None:
        made: list[Block] = []
        content: list[int] = []
        brings: list[int] = []
        start, size = first_record, 0
        for at in range(first_record, last_record):
            size += len(self._batch.records[at].body) + 12
            if size >= self._options.record_block_bytes or at == last_record - 1:
                some = range(start, at + 1)
                first = self._batch.first_record + start
                payload = encode_ranges([(first, len(some))]) + encode_dense_records(
                    [self._dense_record(self._batch.records[i], self._bodies[i]) for i in some],
                    self._layout_of,
                )
                made.append(Block(BlockKind.RECORDS, first, len(some), payload, Layout.DENSE))
                content.append(sum(self._batch.records[i].length for i in some))
                new = (s for i in some for s in introduced[i - first_record][0])
                brings.append(round(sum(self._costs[number] for number in new)))
                start, size = at + 1, 0
        packed, base = self._compress(made, base)
        self._blocks += [
            replace(one, content_bytes=length, brings_bytes=brought)
            for one, length, brought in zip(packed, content, brings, strict=True)
        ]
        return base

    def _dense_record(self, record: RecordIn, body: Body) -> DenseRecord:
        values: list[BodyValue] = [
            replace(value, segments=tuple(SegmentNo(self._segment(s)) for s in value.segments))
            if isinstance(value, References)
            else value
            for value in body.values
        ]
        templates = tuple(TemplateNo(self._template(number)) for number in body.templates)
        return DenseRecord(record.length, record_check(record.key), Body(templates, tuple(values)))

    def _segment(self, old: int) -> int:
        """New number of a segment."""
        new = self._new_segments.get(old)
        return self._batch.moved_segments.get(old, old) if new is None else new

    # Blocks

    def _compress(
        self, blocks: Sequence[Block], base: NumberedBase | None
    ) -> tuple[list[PackedBlock], NumberedBase | None]:
        """``blocks`` compressed against ``base``, or without one against the first of them."""
        if not blocks:
            return [], base
        packed: list[PackedBlock] = []
        rest = blocks
        if base is None:
            packed.append(self._pack(blocks[0], None))
            base = (blocks[0].first, Base(blocks[0].payload))
            rest = blocks[1:]
        packed += self._threads.map(lambda block: self._pack(block, base), rest)
        return packed, base

    def _pack(self, block: Block, base: NumberedBase | None) -> PackedBlock:
        encoded = encode_dense_block(block, level=self._options.level, base=base)
        return PackedBlock(
            block.kind,
            block.first,
            block.count,
            len(block.payload),
            0,
            encoded,
            block.layout,
            base_of(encoded),
        )

    def _codebook_block(self) -> None:
        if self._codebooks:
            first, count = self._batch.first_codebook, len(self._codebooks)
            block = Block(BlockKind.CODEBOOKS, first, count, encode_templates(self._codebooks))
            self._blocks.insert(0, self._pack(block, None))


def _anchored(introduced: Sequence[tuple[list[int], int | None]]) -> list[int]:
    """Positions of segments, those of records with an anchor behind what it stands beside."""
    sort_keys: list[int] = []
    place: dict[int, int] = {}  # {segment: its sort key}
    outside: dict[int, int] = {}  # {anchor that is not of this group: sort key}
    at = 0
    for new, anchor in introduced:
        for number in new:
            key = at
            if anchor is not None:
                key = place[anchor] if anchor in place else outside.setdefault(anchor, at)
            place[number] = key
            sort_keys.append(key)
            at += 1
    return sorted(range(at), key=lambda position: (sort_keys[position], position))


def _known_base(number: int | None, block: bytes | None) -> NumberedBase | None:
    if number is None or block is None:
        return None
    return number, Base(decode_block(block, PackNo(0), 0).payload)
