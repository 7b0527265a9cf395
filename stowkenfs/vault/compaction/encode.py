"""A batch of documents to dense blocks: the part that needs a processor, free of any state.

It runs in a worker process; what goes in and comes out is bytes and small tuples.
"""

import os
import sys
import threading
from array import array
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace

from stowkenfs.documents.body import Body, References, decode_body
from stowkenfs.frames.dense import encode_dense
from stowkenfs.ids import PackNo
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
from stowkenfs.vault.compaction.batch import BatchIn, BatchOut
from stowkenfs.vault.compaction.gauge import GaugeWriter
from stowkenfs.vault.compaction.groups import (
    Counts,
    Group,
    Introduced,
    Prepared,
    anchored,
    better_order,
    count_ids,
    encode_group,
    make_groups,
    with_base,
)
from stowkenfs.vault.compaction.memory import give_back
from stowkenfs.vault.compaction.record_blocks import RecordPayloads
from stowkenfs.vault.packs import PackedBlock
from stowkenfs.vault.payloads import encode_templates
from stowkenfs.vault.unpacked import encode_ranges

NumberedBase = tuple[int, Base]

NICENESS = 5
"""A third of the processor's time beside one that is always busy."""

LARGER_TEMPLATE_BLOCKS = 4
"""How many times the usual blocks of templates may be where there are many."""
SEGMENTS_SHARE = 0.6
"""Of the time that a group takes; the rest goes to its records."""


def encode_aside(batch: BatchIn) -> BatchOut:
    """``encode_dense_batch`` in a process of its own, where others come first.

    In a thread, so that the process is as quick as before when it is given other work. With the
    interpreter shared, others would have to wait for such a thread.
    """
    with ThreadPoolExecutor(1, initializer=_let_others_first) as thread:
        return thread.submit(encode_dense_batch, batch).result()


def _let_others_first() -> None:
    """Make the priority of this thread, and of those that it starts, lower."""
    if sys.platform == "linux":  # elsewhere it would be the whole process's
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)


def encode_dense_batch(batch: BatchIn) -> BatchOut:
    """The blocks that ``batch`` becomes; deterministic."""
    gauge = GaugeWriter(batch.gauge)
    try:
        return _Encoder(batch, gauge).run()
    finally:
        gauge.close()
        give_back()  # a worker may wait for long


class _Encoder:
    """One batch in the making.

    Bodies and frames are decoded twice, to look them through and to encode them: all of them
    decoded would be ten times the batch.
    """

    def __init__(self, batch: BatchIn, gauge: GaugeWriter) -> None:
        self._batch = batch
        self._gauge = gauge
        self._options = batch.options
        self._places = {number: at for at, number in enumerate(batch.segments.numbers)}
        n_segments = len(batch.segments)
        self._new_segments = array("q", (-1,)) * n_segments  # by position: the new number
        self._costs = array("d", (0.0,)) * n_segments  # by position: stored bytes
        self._segment_order = array("q")  # positions
        self._by = array("q", (-1,)) * n_segments  # by position: who introduces it
        self._introduced: list[Introduced] = []  # by record
        self._new_templates: dict[int, int] = {}  # {old: new}
        self._contents: dict[int, bytes] = dict(batch.known_templates)  # {new template: content}
        self._codebooks: list[bytes] = []
        self._blocks: list[PackedBlock] = []
        self._existing = [decode_entry(one.entry) for one in batch.codebooks]
        self._records = RecordPayloads(batch, self._segment, self._template, self._contents)

    def run(self) -> BatchOut:
        batch = self._batch
        starts = [0, *batch.chunk_ends[:-1]]
        chunks = list(zip(starts, batch.chunk_ends, strict=True))
        groups = make_groups(
            (self._survey(first, last) for first, last in chunks),
            self._options.own_codebook_gain,
            [one.codebook for one in self._existing],
        )
        with ThreadPoolExecutor(max(self._options.threads, 1)) as threads:
            self._threads = threads
            self._template_blocks()
            for group in groups:
                first, last = chunks[group.chunks[0]][0], chunks[group.chunks[-1]][1]
                self._encode_group(group, first, last)
            self._codebook_block()
        return BatchOut(
            self._blocks,
            self._segment_order,
            list(self._new_templates),
            len(self._codebooks),
            len(groups),
        )

    def _survey(self, first: int, last: int) -> Counts:
        """Look through records ``first`` to ``last - 1``: what is new with each; count its ids.

        Segments are counted where they are new. Templates get their numbers.
        """
        new_here: list[int] = []
        for at in range(first, last):
            body = decode_body(self._batch.records.bodies[at])
            for number in body.templates:
                self._number_template(number)
            new, anchor = self._new_of(body)
            self._introduced.append((new, anchor))
            new_here += new
        return count_ids(map(self._batch.segments.frames.__getitem__, new_here))

    # Templates

    def _number_template(self, old: int) -> None:
        content = self._batch.templates.get(old)
        if content is not None and old not in self._new_templates:
            new = self._batch.first_template + len(self._new_templates)
            self._new_templates[old] = new
            self._contents[new] = content

    def _template_blocks(self) -> None:
        rows = [self._batch.templates[number] for number in self._new_templates]
        usual = self._options.template_block_bytes
        block_bytes = max(usual, min(sum(map(len, rows)), LARGER_TEMPLATE_BLOCKS * usual))
        start = size = 0
        for at, row in enumerate(rows):
            size += len(row)
            if size >= block_bytes or at == len(rows) - 1:
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

    # Segments

    def _new_of(self, body: Body) -> Introduced:
        anchor: int | None = None
        new: list[int] = []
        record = len(self._introduced)
        for value in body.values:
            if isinstance(value, References):
                for number in value.segments:
                    place = self._places.get(number)
                    if place is None:
                        if anchor is None:
                            anchor = ~number
                    elif self._by[place] < 0:
                        self._by[place] = record
                        new.append(place)
                    elif anchor is None and self._by[place] != record:
                        anchor = place
        return new, anchor

    def _encode_group(self, group: Group, first_record: int, last_record: int) -> None:
        introduced = self._introduced[first_record:last_record]
        places = array("q", (place for new, _ in introduced for place in new))
        frames = map(self._batch.segments.frames.__getitem__, places)
        prepared = encode_group(frames, group.codebook)
        orders = [range(len(places)), anchored(introduced)]
        order = better_order(orders, prepared, self._options.segment_block_bytes)
        if group.reused is None:
            number = self._batch.first_codebook + len(self._codebooks)
            segments_base = records_base = None
            sampled_from = self._options.sampled_base_blocks
        else:
            entry = self._existing[group.reused]
            known = self._batch.codebooks[group.reused]
            number = known.number
            segments_base = _known_base(entry.segments_base, known.segments_base)
            records_base = _known_base(entry.records_base, known.records_base)
            sampled_from = 1 << 30  # there is a base
        blocks = with_base(order, prepared, self._options.segment_block_bytes, sampled_from)
        work = sum(self._batch.records.lengths[first_record:last_record])
        segments_base = self._segment_blocks(
            blocks, places, prepared, number, segments_base, work * SEGMENTS_SHARE
        )
        del prepared, order, orders, blocks
        records_base = self._record_blocks(
            first_record, last_record, records_base, work * (1 - SEGMENTS_SHARE)
        )
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
        places: Sequence[int],
        prepared: Prepared,
        codebook: int,
        base: NumberedBase | None,
        work: float,
    ) -> NumberedBase | None:
        """Append the blocks of a group; the base that they refer to."""
        orders = [order for order in blocks if order]

        def made() -> Iterator[Block]:
            for order in orders:
                first = self._batch.first_segment + len(self._segment_order)
                for new, at in enumerate(order, first):
                    self._new_segments[places[at]] = new
                    self._segment_order.append(places[at])
                payload = encode_ranges([(first, len(order))]) + encode_dense(
                    [prepared.segment(at) for at in order], codebook
                )
                yield Block(BlockKind.SEGMENTS, first, len(order), payload, Layout.DENSE)

        for (one, used), order in zip(self._compressed(made(), base), orders, strict=True):
            share = len(one.encoded) / max(one.raw_bytes, 1)
            for at in order:
                self._costs[places[at]] = prepared.size(at) * share
            self._blocks.append(one)
            base = used
            self._gauge.add(work * len(order) / len(places))
        return base

    # Records

    def _record_blocks(
        self, first_record: int, last_record: int, base: NumberedBase | None, work: float
    ) -> NumberedBase | None:
        records = self._batch.records
        ranges = self._records.cut(range(first_record, last_record), has_base=base is not None)

        def made() -> Iterator[Block]:
            for some in ranges:
                first = self._batch.first_record + some.start
                payload = encode_ranges([(first, len(some))]) + self._records.payload(some)
                yield Block(BlockKind.RECORDS, first, len(some), payload, Layout.DENSE)

        for (one, used), some in zip(self._compressed(made(), base), ranges, strict=True):
            new = (place for i in some for place in self._introduced[i][0])
            self._blocks.append(
                replace(
                    one,
                    content_bytes=sum(records.lengths[i] for i in some),
                    brings_bytes=round(sum(self._costs[place] for place in new)),
                )
            )
            base = used
            self._gauge.add(work * len(some) / (last_record - first_record))
        return base

    def _segment(self, old: int) -> int:
        """New number of a segment."""
        place = self._places.get(old)
        if place is None:
            return self._batch.moved_segments.get(old, old)
        return self._new_segments[place]

    # Blocks

    def _compressed(
        self, blocks: Iterable[Block], base: NumberedBase | None
    ) -> Iterator[tuple[PackedBlock, NumberedBase]]:
        """``blocks`` compressed against ``base``, or without one against the first of them.

        Each with the base. One more block than there are threads is there at a time.
        """
        waiting: deque[Future[PackedBlock]] = deque()
        for block in blocks:
            if base is None:
                base = (block.first, Base(block.payload))
                yield self._pack(block, None), base
                continue
            waiting.append(self._threads.submit(self._pack, block, base))
            if len(waiting) > self._options.threads:
                yield waiting.popleft().result(), base
        for one in waiting:
            assert base is not None
            yield one.result(), base

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


def _known_base(number: int | None, block: bytes | None) -> NumberedBase | None:
    if number is None or block is None:
        return None
    return number, Base(decode_block(block, PackNo(0), 0).payload)
