"""Compaction: hot blocks to dense ones, beside readers and writers.

Batch by batch, documents' records are encoded anew in a worker process, written to packs of
their own and synced, published under new numbers, read back and compared with their keys;
then the extents of the documents are changed over. What is left without a reference goes at
the end, when nobody can be reading it any more. Each step leaves a vault in which everything
can be read: killed or cancelled anywhere, the next compaction goes on.
"""

import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import asdict, dataclass, field
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_process
import anyio.to_thread

from stowkenfs.errors import Corrupt
from stowkenfs.ids import InodeNo, RecordNo
from stowkenfs.index.catalogue import Catalogue, Extent
from stowkenfs.index.connection import Connection
from stowkenfs.index.keys import Grain
from stowkenfs.store.block import BlockKind, Layout
from stowkenfs.vault.assembly import RUN_BYTES_MAX, RUN_RECORDS_MAX, Run, join_runs
from stowkenfs.vault.codebooks import CodebookIn
from stowkenfs.vault.committer import Committer
from stowkenfs.vault.compaction.batch import BatchIn, BatchOut, CompactOptions
from stowkenfs.vault.compaction.encode import encode_dense_batch
from stowkenfs.vault.compaction.gather import Document, Gathered, Gatherer, Moves
from stowkenfs.vault.compaction.keys import KeyCollector
from stowkenfs.vault.compaction.merge import Merger
from stowkenfs.vault.compaction.numbers import Renumbering, join_ranges
from stowkenfs.vault.compaction.resume import Resumption
from stowkenfs.vault.compaction.sweep import Sweeper
from stowkenfs.vault.dedup import Dedup
from stowkenfs.vault.files import FileTable
from stowkenfs.vault.ingest import Ingest
from stowkenfs.vault.packs import PackWriter
from stowkenfs.vault.payloads import content_key
from stowkenfs.vault.reader import Reader
from stowkenfs.vault.sealer import Sealer
from stowkenfs.vault.tree import Tree

log = logging.getLogger(__name__)

Progress = Callable[[int, int], None]

MOVED_KINDS = (BlockKind.RECORDS, BlockKind.SEGMENTS, BlockKind.TEMPLATES)
CODEBOOKS_KEPT = 16
"""Codebooks, the newest, that a batch may go on with."""

DOCUMENTS_AT_ONCE = 20
PROBLEMS_MAX = 100
"""Named in a report."""


@dataclass(slots=True)
class CompactReport:
    """What a compaction did. Sizes in bytes.

    ``documents`` (of some only a part) were rewritten, ``content_bytes`` in all;
    ``moved_bytes`` counts what they share once. ``postponed`` changed meanwhile and are for
    the next time. ``problems``: what could not be read; it stays as it is.
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
    resumption: Resumption
    sweeper: Sweeper
    writer: PackWriter
    namespace_lock: anyio.Lock
    write_namespace: Callable[[], Awaitable[None]]
    workers: int


class Compactor:
    """One run of compaction. Event loop's thread."""

    def __init__(self, parts: Parts, options: CompactOptions) -> None:
        self._parts = parts
        self._options = options
        self.report = CompactReport()
        self._last_counted = InodeNo(0)

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
            await parts.sweeper.drop_moved(moves)
            parts.resumption.end()
            await parts.keys.merge(parts.writer, Grain.BLOCK)
            report.blocks_merged = await parts.merger.merge()
        finally:
            parts.dedup.leave_out({})
        await self._tidy()
        report.stored_bytes_after = parts.catalogue.stored_bytes()
        return report

    async def _move(self, moves: Moves, progress: Progress) -> None:
        parts, report = self._parts, self.report
        total = parts.catalogue.content_bytes(Layout.PLAIN)
        gatherer = Gatherer(parts.tree, parts.catalogue, parts.reader, moves, self._options)
        async with aclosing(gatherer.batches()) as batches:
            async for gathered in batches:
                await self._compact(gathered, moves)
                progress(min(report.moved_bytes, total), total)
        progress(total, total)

    async def _tidy(self) -> None:
        parts = self._parts
        async with parts.namespace_lock:
            self.report.inodes_frozen = await parts.sweeper.freeze()
            checkpoint = parts.sweeper.begin_checkpoint()
        if checkpoint is not None:
            await parts.write_namespace()
            async with parts.namespace_lock:
                await parts.sweeper.finish_checkpoint(*checkpoint)
        async with parts.committer.between_rounds():
            being_filled = parts.committer.open_pack
            length = parts.catalogue.packs().get(being_filled) if being_filled else None
            if being_filled and length and parts.sweeper.is_mostly_unused(being_filled, length):
                parts.committer.begin_new_pack()
                being_filled = None
        await parts.sweeper.drop_packs(being_filled)
        await parts.sweeper.shrink_index()

    async def _begin(self) -> Moves:
        """Fix what is to be moved: whatever is hot now. What comes later is left alone."""
        parts = self._parts
        async with parts.committer.between_rounds():
            ranges = {
                kind: join_ranges(parts.catalogue.ranges(kind, Layout.PLAIN))
                for kind in MOVED_KINDS
            }
            if any(ranges.values()):
                parts.committer.begin_new_pack()
            parts.dedup.leave_out(ranges)
        return Moves(*(Renumbering(ranges[kind]) for kind in MOVED_KINDS))

    async def _compact(self, gathered: Gathered, moves: Moves) -> None:
        batch, report = gathered.batch, self.report
        for problem in gathered.problems:
            self._problem(problem)
        if batch.records:
            out = await self._encode(gathered)
            places = await self._parts.writer.write(out.blocks)
            lengths = PackWriter.pack_length(places)
            self._parts.catalogue.add_blocks(places, lengths, self._parts.writer.tier)
            bad = await anyio.to_thread.run_sync(self._unlike, batch)
            if bad:
                self._problem(f"{len(bad)} records do not read back when compacted, and stay")
            for new, record in enumerate(batch.records, batch.first_record):
                if record.number not in bad:
                    moves.records.set([record.number], new)
            moves.segments.set(out.segments, batch.first_segment)
            moves.templates.set(out.templates, batch.first_template)
            self._parts.keys.add(gathered, out)
            await self._parts.keys.store_if_many(self._parts.writer)
            report.records += len(batch.records)
            report.segments += len(out.segments)
            report.templates += len(out.templates)
            report.groups += out.groups
            report.moved_bytes += sum(record.length for record in batch.records)
        for start in range(0, len(gathered.documents), DOCUMENTS_AT_ONCE):
            with self._parts.connection.transaction():
                for document in gathered.documents[start : start + DOCUMENTS_AT_ONCE]:
                    self._change_over(document, moves.records)
            await anyio.lowlevel.checkpoint()
        report.content_bytes += gathered.content_bytes

    async def _encode(self, gathered: Gathered) -> BatchOut:
        batch, catalogue = gathered.batch, self._parts.catalogue
        batch.codebooks = await anyio.to_thread.run_sync(self._known_codebooks)
        async with self._parts.committer.between_rounds():
            batch.first_record = catalogue.reserve(BlockKind.RECORDS, len(batch.records))
            batch.first_segment = catalogue.reserve(BlockKind.SEGMENTS, len(batch.segments))
            batch.first_template = catalogue.reserve(BlockKind.TEMPLATES, len(batch.templates))
            n_chunks = len(batch.chunk_ends)
            batch.first_codebook = catalogue.reserve(BlockKind.CODEBOOKS, n_chunks)
        if self._parts.workers:
            try:
                return await anyio.to_process.run_sync(encode_dense_batch, batch, cancellable=True)
            except anyio.BrokenWorkerProcess:
                log.warning("a worker process died; its batch is compacted in this one")
        return await anyio.to_thread.run_sync(encode_dense_batch, batch)

    def _known_codebooks(self) -> list[CodebookIn]:
        return self._parts.reader.codebooks(CODEBOOKS_KEPT)

    def _problem(self, text: str) -> None:
        log.warning("compaction: %s", text)
        if len(self.report.problems) < PROBLEMS_MAX:
            self.report.problems.append(text)

    def _unlike(self, batch: BatchIn) -> set[int]:
        """Numbers of records whose compacted form is not what their keys say. A thread's."""
        bad = set()
        for new, record in enumerate(batch.records, batch.first_record):
            try:
                content = self._parts.reader.record(RecordNo(new))
            except Corrupt:
                bad.add(record.number)
            else:
                if content_key(content) != record.key:
                    bad.add(record.number)
        return bad

    def _change_over(self, document: Document, records: Renumbering) -> None:
        """Let a document consist of what its records became, if it still is what it was."""
        parts = self._parts
        live = parts.files.live(document.ino)
        has_draft = live is not None and live.draft is not None
        start, end = document.extents[0].start, document.extents[-1].end
        now = parts.catalogue.extents(document.ino, start, end)
        if has_draft or parts.sealer.is_sealing(document.ino) or now != document.extents:
            self.report.postponed += 1
            return
        parts.catalogue.replace_extents(document.ino, start, end, self._moved(now, records))
        # The parts of a long one follow each other.
        self.report.documents += document.ino != self._last_counted
        self._last_counted = document.ino

    def _moved(self, extents: Sequence[Extent], records: Renumbering) -> list[Extent]:
        """``extents`` with the new numbers of their records, neighbours made one."""
        moved: list[Extent] = []
        is_cut = False  # whether the last one ends inside of its last record
        for extent in extents:
            try:
                runs = list(join_runs(self._runs(extent, records)))
            except Corrupt:  # it stays where it is
                moved.append(extent)
                is_cut = True
                continue
            start, left = extent.start, extent.length
            for run in runs:
                length = min(run.length_bytes, left)  # the file may have been cut in the last
                new = Extent(start, length, run.record, run.count)
                if moved and not is_cut and _go_together(moved[-1], new):
                    moved[-1] = _together(moved[-1], new)
                else:
                    moved.append(new)
                is_cut = length < run.length_bytes
                start, left = start + length, left - length
        return moved

    def _runs(self, extent: Extent, records: Renumbering) -> Iterator[Run]:
        for old in range(extent.record, extent.record + extent.count):
            new = records.get(old)
            number = old if new is None else new
            yield Run(number, 1, self._parts.reader.record_length(RecordNo(number)))


def _go_together(one: Extent, next_one: Extent) -> bool:
    """Whether two extents, of which the first is whole, can be one."""
    return (
        one.end == next_one.start
        and one.record + one.count == next_one.record
        and one.length + next_one.length <= RUN_BYTES_MAX
        and one.count + next_one.count <= RUN_RECORDS_MAX
    )


def _together(one: Extent, next_one: Extent) -> Extent:
    return Extent(one.start, one.length + next_one.length, one.record, one.count + next_one.count)
