"""Compaction: hot blocks to dense ones, beside readers and writers.

Batch by batch, documents' records are encoded anew in a worker process, written to packs of
their own and synced, published under new numbers, read back and compared with their keys;
then the extents of the documents are changed over. What is left without a reference goes at
the end, when nobody can be reading it any more. Each step leaves a vault in which everything
can be read: killed or cancelled anywhere, the next compaction goes on.
"""

import logging
from collections.abc import Collection
from contextlib import aclosing
from dataclasses import asdict, dataclass, field
from itertools import accumulate
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import numpy as np

from stowkenfs.errors import Corrupt
from stowkenfs.ids import RecordNo
from stowkenfs.index.catalogue import Catalogue, Extent
from stowkenfs.index.connection import Connection
from stowkenfs.index.keys import Grain
from stowkenfs.store.block import BlockKind
from stowkenfs.vault.aside import run_aside
from stowkenfs.vault.codebooks import CodebookIn
from stowkenfs.vault.committer import Committer
from stowkenfs.vault.compaction.batch import BatchIn, BatchOut, CompactOptions
from stowkenfs.vault.compaction.changeover import ChangeOver
from stowkenfs.vault.compaction.encode import encode_aside, encode_dense_batch
from stowkenfs.vault.compaction.gather import Gathered, Gatherer, Moves
from stowkenfs.vault.compaction.gauge import Gauge
from stowkenfs.vault.compaction.keys import KeyCollector
from stowkenfs.vault.compaction.memory import give_back
from stowkenfs.vault.compaction.merge import Merger
from stowkenfs.vault.compaction.numbers import Renumbering, join_ranges
from stowkenfs.vault.compaction.resume import Resumption
from stowkenfs.vault.compaction.steps import Steps
from stowkenfs.vault.compaction.sweep import Sweeper
from stowkenfs.vault.compaction.tidying import Tidier
from stowkenfs.vault.dedup import Dedup
from stowkenfs.vault.files import FileTable
from stowkenfs.vault.ingest import Ingest
from stowkenfs.vault.near import NearIndex
from stowkenfs.vault.packs import PackWriter
from stowkenfs.vault.payloads import content_key
from stowkenfs.vault.progress import Progress
from stowkenfs.vault.reader import Reader
from stowkenfs.vault.sealer import Sealer
from stowkenfs.vault.tree import Tree

log = logging.getLogger(__name__)

MOVED_KINDS = (BlockKind.RECORDS, BlockKind.SEGMENTS, BlockKind.TEMPLATES)
CODEBOOKS_KEPT = 16
"""Codebooks, the newest, that a batch may go on with."""

RANGES_AT_ONCE = 10_000
"""Rows of hot blocks read while others may read."""
ROWS_AT_ONCE = 40
"""Extents, and files, changed over before the loop gets its turn: some milliseconds."""
CHECKED_AT_ONCE_BYTES = 1 << 20
PROBLEMS_MAX = 100
"""Named in a report, and in the log."""


@dataclass(slots=True)
class CompactReport:
    """What a compaction did. Sizes in bytes.

    ``documents``: files that were rewritten (of some only a part), ``content_bytes`` in all;
    ``moved_bytes`` counts what they share once. ``postponed``: files that changed meanwhile, of
    which something is left for the next time. ``problems``: what could not be read, and stays as
    it is; once for each file, and at most PROBLEMS_MAX.
    """

    documents: int = 0
    postponed: int = 0
    records: int = 0
    segments: int = 0
    templates: int = 0
    groups: int = 0
    moved_bytes: int = 0
    content_bytes: int = 0
    stored_bytes_before: int = 0
    stored_bytes_after: int = 0
    blocks_merged: int = 0
    inodes_frozen: int = 0
    problems: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of a vault that compaction works on."""

    connection: Connection
    catalogue: Catalogue
    reader: Reader
    dedup: Dedup
    committer: Committer
    ingest: Ingest
    sealer: Sealer
    files: FileTable
    tree: Tree
    keys: KeyCollector
    merger: Merger
    near: NearIndex
    resumption: Resumption
    sweeper: Sweeper
    writer: PackWriter
    tidier: Tidier
    workers: int


class Compactor:
    """One run of compaction. Event loop's thread."""

    def __init__(self, parts: Parts, options: CompactOptions) -> None:
        self._parts = parts
        self._options = options
        self.report = CompactReport()

    async def run(self, progress: Progress) -> CompactReport:
        """Compact what is not yet; what nothing refers to goes. Raises OSError, Corrupt."""
        parts, report = self._parts, self.report
        report.stored_bytes_before = parts.catalogue.stored_bytes()
        moves = await self._begin()
        try:
            if moves.records.total:
                # What was found before the numbers were left out becomes extents first.
                await parts.ingest.passages.drain()
                await parts.resumption.resume(moves)
                parts.resumption.begin()
                await self._move(moves, progress)
            await parts.keys.store(parts.writer)
            parts.keys.drop_exact()
            await parts.near.forget(moves.segments.ranges)
            await parts.sweeper.drop_moved(moves)
            parts.resumption.end()
            await parts.keys.merge(parts.writer, Grain.BLOCK)
            report.blocks_merged = await parts.merger.merge()
        finally:
            parts.dedup.leave_out({})
        report.inodes_frozen = await parts.tidier.tell_tree()
        await parts.tidier.give_back()
        report.stored_bytes_after = parts.catalogue.stored_bytes()
        return report

    async def _move(self, moves: Moves, progress: Progress) -> None:
        parts, report = self._parts, self.report
        self._steps = Steps(parts.catalogue.hot_content_bytes(), progress)
        change = ChangeOver(parts.catalogue, parts.reader, parts.sealer, moves.records)
        gatherer = Gatherer(parts.tree, parts.catalogue, parts.reader, moves, self._options)
        async with aclosing(gatherer.batches(self._steps.gathered)) as batches:
            async for gathered in batches:
                await self._compact(gathered, moves)
                await self._change_over(change, gathered)
                self._steps.end_batch(gathered.record_bytes)
                moves.end_batch()
                del gathered  # while the next one is made
                await anyio.to_thread.run_sync(give_back)
        for problem in gatherer.problems:
            self._problem(problem)
        tally = change.tally
        report.documents, report.postponed = tally.documents, tally.postponed
        report.content_bytes = tally.content_bytes
        self._steps.end()

    async def _begin(self) -> Moves:
        """Fix what is to be moved: whatever is hot now. What comes later is left alone."""
        parts = self._parts
        # Of most, while others store: there may be very many, and only the last ones get more.
        below = {kind: parts.catalogue.next_number(kind) for kind in MOVED_KINDS}
        before = {
            kind: await anyio.to_thread.run_sync(self._hot_below, kind, end)
            for kind, end in below.items()
        }
        async with parts.committer.between_rounds():
            ranges = {
                kind: join_ranges(before[kind] + parts.catalogue.hot_ranges(kind, end))
                for kind, end in below.items()
            }
            if any(ranges.values()):
                parts.committer.begin_new_pack()
            parts.dedup.leave_out(ranges)
        return Moves(*(Renumbering(ranges[kind]) for kind in MOVED_KINDS))

    def _hot_below(self, kind: BlockKind, end: int) -> list[tuple[int, int]]:
        """Ranges of hot numbers that begin before ``end``. A thread's."""
        found: list[tuple[int, int]] = []
        start = 0
        while some := self._parts.catalogue.hot_ranges_page(kind, start, end, RANGES_AT_ONCE):
            found = join_ranges((*found, *some)) if len(found) > RANGES_AT_ONCE else [*found, *some]
            start = some[-1][0] + 1
        return join_ranges(found)

    async def _compact(self, gathered: Gathered, moves: Moves) -> None:
        batch, report = gathered.batch, self.report
        for problem in gathered.problems:
            self._problem(problem)
        if not batch.records:
            return
        out = await self._encode(gathered)
        report.moved_bytes += gathered.record_bytes
        report.records += len(batch.records)
        report.segments += len(out.segments)
        report.templates += len(out.templates)
        report.groups += out.groups
        batch.drop_content()
        places = await self._parts.writer.write(out.blocks)
        out.blocks.clear()
        lengths = PackWriter.pack_length(places)
        self._parts.catalogue.add_blocks(places, lengths, self._parts.writer.tier)
        bad = await self._unlike(batch)
        if bad:
            self._problem(f"{len(bad)} records do not read back when compacted, and stay")
        await anyio.to_thread.run_sync(_renumber, batch, out, bad, moves)
        await anyio.to_thread.run_sync(self._parts.keys.add, gathered, out, places)
        await self._parts.keys.store_if_many(self._parts.writer)

    async def _encode(self, gathered: Gathered) -> BatchOut:
        batch, catalogue = gathered.batch, self._parts.catalogue
        batch.codebooks = await anyio.to_thread.run_sync(self._known_codebooks)
        async with self._parts.committer.between_rounds():
            batch.first_record = catalogue.reserve(BlockKind.RECORDS, len(batch.records))
            batch.first_segment = catalogue.reserve(BlockKind.SEGMENTS, len(batch.segments))
            batch.first_template = catalogue.reserve(BlockKind.TEMPLATES, len(batch.templates))
            n_chunks = len(batch.chunk_ends)
            batch.first_codebook = catalogue.reserve(BlockKind.CODEBOOKS, n_chunks)
        with Gauge() as gauge:
            batch.gauge = gauge.name
            return await self._steps.watch(
                gauge, gathered.record_bytes, lambda: self._encode_somewhere(batch)
            )

    async def _encode_somewhere(self, batch: BatchIn) -> BatchOut:
        if self._parts.workers:
            return await run_aside(encode_aside, batch)
        return await anyio.to_thread.run_sync(encode_dense_batch, batch)

    def _known_codebooks(self) -> list[CodebookIn]:
        return self._parts.reader.codebooks(CODEBOOKS_KEPT)

    def _problem(self, text: str) -> None:
        if len(self.report.problems) < PROBLEMS_MAX:
            self.report.problems.append(text)
            log.warning("compaction: %s", text)

    async def _unlike(self, batch: BatchIn) -> set[int]:
        """Positions of records whose compacted form is not what their keys say."""
        bad: set[int] = set()
        lengths = batch.records.lengths
        start = size = 0
        for at, length in enumerate(lengths, 1):
            size += length
            if size >= CHECKED_AT_ONCE_BYTES or at == len(lengths):
                bad |= await anyio.to_thread.run_sync(self._unlike_among, batch, range(start, at))
                self._steps.checked(size)
                start, size = at, 0
        return bad

    def _unlike_among(self, batch: BatchIn, some: range) -> set[int]:
        """Positions among ``some`` of such records. A thread's."""
        lengths = batch.records.lengths[some.start : some.stop]
        first, total = batch.first_record + some.start, sum(lengths)
        extent = Extent(0, total, first, len(some))
        try:
            content = memoryview(self._parts.reader.read_extent(extent, 0, total))
        except Corrupt:
            return {at for at in some if not self._reads_back(batch, at)}
        bad = set()
        ends = accumulate(lengths)
        for at, length, end in zip(some, lengths, ends, strict=True):
            if content_key(content[end - length : end]) != batch.records.keys[at]:
                bad.add(at)
        return bad

    def _reads_back(self, batch: BatchIn, at: int) -> bool:
        try:
            content = self._parts.reader.record(RecordNo(batch.first_record + at))
        except Corrupt:
            return False
        return content_key(content) == batch.records.keys[at]

    async def _change_over(self, change: ChangeOver, gathered: Gathered) -> None:
        documents = gathered.documents
        planned = await anyio.to_thread.run_sync(change.plan, documents, gathered.batch)
        start = rows = 0
        for at, document in enumerate(documents, 1):
            rows += 1 + len(document.extents)
            if rows >= ROWS_AT_ONCE or at == len(documents):
                with self._parts.connection.transaction():
                    for one, extents in zip(documents[start:at], planned[start:at], strict=True):
                        change.carry_out(one, extents)
                start, rows = at, 0
                await anyio.lowlevel.checkpoint()


def _renumber(batch: BatchIn, out: BatchOut, bad: Collection[int], moves: Moves) -> None:
    """Note what became of a batch; records at positions ``bad`` stay. A thread's."""
    olds = np.array(batch.records.numbers, np.int64)
    good = np.delete(np.arange(len(olds)), list(bad))
    moves.records.set_many(olds[good], batch.first_record + good)
    segments = np.array(batch.segments.numbers, np.int64)[np.array(out.segments, np.int64)]
    moves.segments.set_many(segments, batch.first_segment + np.arange(len(segments)))
    templates = np.array(out.templates, np.int64)
    moves.templates.set_many(templates, batch.first_template + np.arange(len(templates)))
