"""A collection: what nothing refers to is found, then it goes, beside readers and writers."""

from collections import Counter
from dataclasses import dataclass, replace

import anyio.to_thread
import numpy as np

from stowkenfs.errors import Corrupt
from stowkenfs.index.catalogue import COLLECTED, Catalogue
from stowkenfs.index.connection import Connection
from stowkenfs.index.key_runs import KeyRuns
from stowkenfs.store.api import PackStore
from stowkenfs.store.block import BlockKind
from stowkenfs.vault.collection.bases import named_bases
from stowkenfs.vault.collection.keys import KeySweeper
from stowkenfs.vault.collection.marking import SHELF_KINDS, Marker
from stowkenfs.vault.collection.report import KIND_NAMES, GcReport, KindCount, nothing_of_each
from stowkenfs.vault.collection.rewriting import Levels
from stowkenfs.vault.collection.shelf import CHANGING, Fate, Shelf
from stowkenfs.vault.collection.sweeping import BlockSweeper
from stowkenfs.vault.committer import Committer
from stowkenfs.vault.compaction.emptying import is_kept, live_bytes
from stowkenfs.vault.dedup import TABLES, Dedup
from stowkenfs.vault.near import NearIndex
from stowkenfs.vault.packs import PackWriter
from stowkenfs.vault.passages import Passages
from stowkenfs.vault.progress import Progress
from stowkenfs.vault.reader import Reader

CONTENT_KINDS = (BlockKind.RECORDS, BlockKind.SEGMENTS, BlockKind.TEMPLATES)


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of a vault that a collection works on."""

    connection: Connection
    catalogue: Catalogue
    store: PackStore
    reader: Reader
    runs: KeyRuns
    dedup: Dedup
    near: NearIndex
    committer: Committer
    writers: Passages
    readers: Passages
    writer: PackWriter
    levels: Levels
    workers: int


class Collector:
    """One run. Event loop's thread."""

    def __init__(self, parts: Parts, progress: Progress) -> None:
        self._parts = parts
        self._marker = Marker(parts.connection, parts.catalogue, parts.reader)
        self._keys = KeySweeper(parts.connection, parts.catalogue, parts.runs, parts.writer)
        self._sweeper = BlockSweeper(
            parts.connection,
            parts.catalogue,
            parts.reader,
            parts.writer,
            parts.levels,
            parts.workers,
        )
        self._named: dict[int, set[int]] | None = None
        self._below: dict[BlockKind, int] = {}
        self._tell = progress
        self._done = self._total = 0

    async def look(self) -> GcReport:
        """What a run would do; changes nothing. Raises OSError."""
        before = self.stored_bytes()
        await self._mark()
        return self._report(before, before, dry_run=True)

    async def run(self) -> GcReport:
        """Let go of what nothing refers to. Raises OSError."""
        parts = self._parts
        before = self.stored_bytes()
        await self._mark()
        report = self._report(before, before, dry_run=False)
        if any(self._shelf(kind).blocks(*CHANGING) for kind in SHELF_KINDS):
            # From now on nothing finds what goes, and what was found before becomes extents.
            parts.dedup.leave_out_what(self._is_going)
            try:
                await parts.writers.drain()
                await self._mark_again()
                await parts.readers.drain()  # who looked an extent up before it went
                await self._sweep()
            finally:
                parts.dedup.leave_out({})
        parts.catalogue.set_setting(COLLECTED, 1)
        self._progress(self._total - self._done)
        return self._with_freed(report)

    @property
    def has_dense(self) -> bool:
        """Whether something of the vault was compacted. After a run."""
        return bool(self._shelf(BlockKind.RECORDS).is_dense.any())

    def stored_bytes(self) -> int:
        """Length of all blocks of what can go, with their headers."""
        row = self._parts.connection.one(
            "SELECT ifnull(sum(stored), 0) FROM block WHERE skip = 0 AND kind != ?",
            (BlockKind.NAMESPACE,),
        )
        return int(row[0]) if row else 0

    def _shelf(self, kind: BlockKind) -> Shelf:
        return self._marker.shelves[kind]

    def _is_going(self, kind: BlockKind, number: int) -> bool:
        shelf = self._marker.shelves.get(kind)
        return shelf is not None and shelf.is_going(number)

    # Marking

    async def _mark(self) -> None:
        """Mark what is in use, and plan what becomes of each block."""
        parts = self._parts
        async with parts.committer.between_rounds():
            self._below = {kind: parts.catalogue.next_number(kind) for kind in SHELF_KINDS}
        await self._marker.load(self._below)
        records = self._shelf(BlockKind.RECORDS)
        self._total = self._stored(*CONTENT_KINDS)
        self._progress(0)
        await self._marker.mark_files()
        await self._plan(records)
        if parts.catalogue.setting(COLLECTED) is None or records.blocks(*CHANGING):
            await self._follow()
            await self._spare_packs()
            await self._plan_codebooks()

    async def _spare_packs(self) -> None:
        """Leave blocks as they are in packs that stay: written anew they would only lie twice."""
        lengths = self._parts.catalogue.packs()
        live = await live_bytes(self._parts.connection)
        kept: set[int] = set()
        while True:
            leaving: Counter[int] = Counter()
            for kind in CONTENT_KINDS:
                leaving.update(self._shelf(kind).leaving_packs())
            staying = {
                pack
                for pack, length in lengths.items()
                if is_kept(live.get(pack, 0) - leaving[pack], length)
            }
            if staying <= kept:
                return
            kept |= staying
            if self._shelf(BlockKind.RECORDS).spare_packs(kept):
                await self._follow()
            for kind in CONTENT_KINDS:
                self._shelf(kind).spare_packs(kept)

    def _stored(self, *kinds: BlockKind) -> int:
        return sum(int(self._shelf(kind).stored.sum()) for kind in kinds)

    async def _plan(self, shelf: Shelf) -> None:
        """Decide about the blocks of a kind, but for segments."""
        await anyio.to_thread.run_sync(shelf.plan)
        await self._spare_bases(shelf)
        if shelf.kind is BlockKind.RECORDS:  # others refer to nothing that could go
            await anyio.to_thread.run_sync(shelf.trim)

    async def _follow(self) -> None:
        """Mark and plan all else, from the records that remain."""
        await self._marker.mark_references(self._progress)
        await self._plan(self._shelf(BlockKind.TEMPLATES))
        await self._marker.plan_segments()
        await self._spare_bases(self._shelf(BlockKind.SEGMENTS))

    async def _plan_codebooks(self) -> None:
        codebooks = self._shelf(BlockKind.CODEBOOKS)
        if len(codebooks):
            await self._marker.mark_codebooks(self._progress)
            await anyio.to_thread.run_sync(codebooks.plan)

    async def _spare_bases(self, shelf: Shelf) -> None:
        """Leave blocks as they are that some block in a pack names as its base."""
        if not shelf.rewrites_bases():
            return
        if self._named is None:
            packs = self._parts.catalogue.packs()
            try:
                self._named = await anyio.to_thread.run_sync(named_bases, self._parts.store, packs)
            except Corrupt as error:
                self._marker.problem(f"what was compacted is not written anew: {error}")
        if self._named is None:
            for block in shelf.blocks(Fate.REWRITTEN):
                if shelf.is_dense[block]:
                    shelf.spare_block(block)
        else:
            shelf.spare(np.array(sorted(self._named.get(shelf.kind, ())), np.int64))

    async def _mark_again(self) -> None:
        """Mark what got a reference since it was looked for the first time."""
        await self._marker.mark_hot_files()
        await self._plan(self._shelf(BlockKind.RECORDS))
        await self._marker.mark_new(self._below)
        await self._follow()

    # Sweeping

    async def _sweep(self) -> None:
        for kind in CONTENT_KINDS:
            shelf = self._shelf(kind)
            if kind in TABLES and shelf.blocks(*CHANGING):
                await self._keys.forget(shelf, self._marker.problem)
        await self._parts.near.forget_what(self._shelf(BlockKind.SEGMENTS).going)
        if await self._sweep_kind(BlockKind.RECORDS):
            await self._follow()  # what stays after all keeps what it refers to
        await self._sweep_segments()
        await self._sweep_kind(BlockKind.TEMPLATES)
        await self._plan_codebooks()
        await self._sweep_kind(BlockKind.CODEBOOKS)

    async def _sweep_kind(self, kind: BlockKind) -> bool:
        """Whether a block stays that should have been written anew."""
        shelf = self._shelf(kind)
        failed = await self._sweeper.sweep(shelf, shelf.blocks(*CHANGING), self._progress)
        self._name(failed)
        return bool(failed)

    async def _sweep_segments(self) -> None:
        """Where frames need others, block by block from the last: those go after them."""
        if not self._marker.has_deltas():
            await self._sweep_kind(BlockKind.SEGMENTS)
            return
        shelf = self._shelf(BlockKind.SEGMENTS)
        blocks = sorted(shelf.blocks(Fate.DROPPED, Fate.REWRITTEN))
        while blocks:
            block = blocks.pop()
            shelf.revive(block)
            failed = await self._sweeper.sweep(shelf, [block], self._progress)
            self._name(failed)
            if failed and not shelf.is_dense[block]:
                await self._marker.mark_canonicals(block)

    def _name(self, failed: list[tuple[int, str]]) -> None:
        for _, reason in failed:
            if reason:
                self._marker.problem(f"stays as it is: {reason}")

    # Telling

    def _progress(self, size: int) -> None:
        self._done = min(self._done + size, self._total)
        self._tell(self._done, self._total)

    def _report(self, before: int, after: int, *, dry_run: bool) -> GcReport:
        candidates = nothing_of_each()
        pinned = waiting = 0
        for kind in SHELF_KINDS:
            shelf = self._shelf(kind)
            candidates[KIND_NAMES[kind]] = KindCount(*shelf.count_going())
            of_kind = shelf.left_behind()
            pinned, waiting = pinned + of_kind[0], waiting + of_kind[1]
        return GcReport(
            dry_run=dry_run,
            candidates=candidates,
            freed=nothing_of_each(),
            estimated_bytes=sum(one.bytes for one in candidates.values()),
            stored_bytes_before=before,
            stored_bytes_after=after,
            pinned_bytes=pinned,
            waiting_bytes=waiting,
            problems=tuple(self._marker.problems),
        )

    def _with_freed(self, report: GcReport) -> GcReport:
        return replace(
            report,
            freed=self._sweeper.freed,
            stored_bytes_after=self.stored_bytes(),
            blocks_rewritten=self._sweeper.rewritten,
            blocks_dropped=self._sweeper.dropped,
            problems=tuple(self._marker.problems),
        )
