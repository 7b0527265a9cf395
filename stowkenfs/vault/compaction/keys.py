"""Keys on their way into runs of key blocks: of what was compacted, and of what is not yet."""

import logging
from collections.abc import Iterable, Mapping, Sequence

import anyio.to_thread
import numpy as np
import numpy.typing as npt

from stowkenfs.errors import Corrupt
from stowkenfs.index.catalogue import BlockPlace, Catalogue
from stowkenfs.index.connection import Connection
from stowkenfs.index.key_merge import (
    DENSE_SPARE_BITS,
    HOT_SPARE_BITS,
    KeyBlock,
    cut_run,
    merge_runs,
)
from stowkenfs.index.key_runs import KeyPlace, KeyRuns
from stowkenfs.index.keys import Grain
from stowkenfs.store.block import Block, BlockKind, encode_block
from stowkenfs.vault.compaction.batch import BatchOut
from stowkenfs.vault.compaction.gather import Gathered
from stowkenfs.vault.compaction.rekey import keys_of
from stowkenfs.vault.dedup import TABLES
from stowkenfs.vault.packs import PackedBlock, PackWriter
from stowkenfs.vault.reader import Reader

log = logging.getLogger(__name__)

Array = npt.NDArray[np.int64]

KEYS_IN_MEMORY_MAX = 2 << 20
RUNS_MAX = 4
"""More runs of a kind than that are merged, since each look-up asks every run."""

KEYED_KINDS = (BlockKind.RECORDS, BlockKind.SEGMENTS, BlockKind.TEMPLATES)


class KeyCollector:
    """Keys of one compaction until they are a run. Event loop's thread, or where it awaits."""

    def __init__(
        self, connection: Connection, catalogue: Catalogue, runs: KeyRuns, reader: Reader
    ) -> None:
        self._connection = connection
        self._catalogue = catalogue
        self._runs = runs
        self._reader = reader
        self._kept: dict[BlockKind, list[tuple[Array, Array]]] = {k: [] for k in KEYED_KINDS}
        self._count = 0

    def add(self, gathered: Gathered, out: BatchOut, places: Sequence[BlockPlace]) -> None:
        """Note the keys of a batch, each with the first number of its block. A thread's."""
        batch = gathered.batch
        templates = [gathered.template_keys[old] for old in out.templates]
        keys = {
            BlockKind.RECORDS: np.array(batch.records.keys, np.int64),
            BlockKind.SEGMENTS: np.array(gathered.segment_keys, np.int64)[
                np.array(out.segments, np.int64)
            ],
            BlockKind.TEMPLATES: np.array(templates, np.int64),
        }
        for kind, of_kind in keys.items():
            of_blocks = sorted((p.first, p.count) for p in places if p.kind == kind)
            blocks = np.array(of_blocks, np.int64).reshape(-1, 2)
            self.note(kind, of_kind, np.repeat(blocks[:, 0], blocks[:, 1]))

    def note(self, kind: BlockKind, keys: Array, blocks: Array) -> None:
        """Keys of things and the first numbers of their blocks: shape (n,) both."""
        if len(keys):
            self._kept[kind].append((keys, blocks))
            self._count += len(keys)

    async def store_if_many(self, writer: PackWriter) -> None:
        """Write runs when memory asks for it."""
        if self._count >= KEYS_IN_MEMORY_MAX:
            await self.store(writer)

    async def store(self, writer: PackWriter) -> None:
        """Write what was noted as one run for each kind."""
        for kind, pieces in self._kept.items():
            if pieces:
                keys = np.concatenate([keys for keys, _ in pieces])
                values = np.concatenate([values for _, values in pieces])
                pieces.clear()
                blocks = await anyio.to_thread.run_sync(_cut, keys, values)
                await self._write(kind, blocks, writer)
        self._count = 0

    def drop_exact(self) -> None:
        """Let go of runs of things that were hot and are not any more."""
        for kind in KEYED_KINDS:
            exact = [run for run, _ in self._plan(kind, Grain.EXACT)]
            if exact:
                self._runs.drop(kind, exact)

    async def flush_hot(
        self, writer: PackWriter, rows_min: int, below: Mapping[BlockKind, int]
    ) -> int:
        """Move tables of at least ``rows_min`` keys into runs; how many keys went.

        Keys of numbers under ``below``, which are all in the tables by now.
        """
        moved = 0
        for kind in KEYED_KINDS:
            table = TABLES[kind]
            if self._catalogue.keys.count(table, rows_min) < rows_min:
                continue
            keys, values = await self._runs.take_hot(table, KEYS_IN_MEMORY_MAX, below[kind])
            if not len(keys):
                continue
            blocks = await anyio.to_thread.run_sync(_cut_exact, keys, values)
            await self._write(kind, blocks, writer)
            await self._runs.forget_taken(table, keys, below[kind])
            moved += len(keys)
        return moved

    async def merge(self, writer: PackWriter, grain: Grain) -> None:
        """Make one run of many small ones."""
        for kind in KEYED_KINDS:
            plan = sorted(self._plan(kind, grain), key=lambda run: run[1])
            if len(plan) > RUNS_MAX:
                await self._merge(kind, grain, plan, writer)

    async def _merge(
        self, kind: BlockKind, grain: Grain, plan: Sequence[tuple[int, int]], writer: PackWriter
    ) -> None:
        some: list[int] = []
        total = 0
        for number, count in plan:
            if len(some) > 1 and count > 2 * total:
                break
            some.append(number)
            total += count
        try:
            blocks = await anyio.to_thread.run_sync(self._merged, kind, some, total)
        except ValueError:
            # Their keys are cut too short to be told apart in a larger run.
            if grain is Grain.EXACT or total > KEYS_IN_MEMORY_MAX:
                return
            blocks = await self._from_content(kind, some)
        await self._write(kind, blocks, writer, replaced=some)

    def _merged(self, kind: BlockKind, runs: Sequence[int], total: int) -> list[KeyBlock]:
        return list(merge_runs([self._runs.blocks(kind, run) for run in runs], total))

    async def _from_content(self, kind: BlockKind, runs: Sequence[int]) -> list[KeyBlock]:
        """A run with whole keys again, of what ``runs`` lead to."""
        firsts = await anyio.to_thread.run_sync(self._firsts, kind, runs)
        pieces = [(np.empty(0, np.int64), np.empty(0, np.int64))]
        for first in firsts:
            place = self._catalogue.locate(kind, first)
            if place is None:
                continue
            try:
                keys = await anyio.to_thread.run_sync(keys_of, self._reader, kind, place)
            except Corrupt as error:
                log.warning("duplicates of what is damaged may be stored again: %s", error)
                continue
            pieces.append((keys, np.full(len(keys), place.first, np.int64)))
        keys, values = (np.concatenate(column) for column in zip(*pieces, strict=True))
        return await anyio.to_thread.run_sync(_cut, keys, values)

    def _firsts(self, kind: BlockKind, runs: Sequence[int]) -> list[int]:
        """First numbers of the blocks that runs lead to."""
        found: set[int] = set()
        for run in runs:
            for items in self._runs.blocks(kind, run):
                found.update(np.unique(items.values).tolist())
        return sorted(found)

    def _plan(self, kind: BlockKind, grain: Grain) -> list[tuple[int, int]]:
        """Number and entries of each run of a grain."""
        return [
            (run, n) for run, n in self._runs.plan(kind) if self._runs.grain(kind, run) is grain
        ]

    async def _write(
        self,
        kind: BlockKind,
        blocks: Iterable[KeyBlock],
        writer: PackWriter,
        replaced: Sequence[int] = (),
    ) -> None:
        run = self._runs.next_run(kind)
        made = list(blocks)
        places = await writer.write([packed_keys(kind, run, block) for block in made])
        rows = [
            KeyPlace(
                kind, run, block.low, block.high, block.count, place.pack, place.offset_bytes,
                place.stored_bytes, place.raw_bytes,
            )
            for block, place in zip(made, places, strict=True)
        ]  # fmt: skip
        with self._connection.transaction():
            self._catalogue.commit_packs(PackWriter.pack_length(places), writer.tier)
            self._runs.add(rows)
            if replaced:
                self._runs.drop(kind, replaced)


def _cut(keys: Array, values: Array) -> list[KeyBlock]:
    return list(cut_run(keys, values, DENSE_SPARE_BITS, Grain.BLOCK))


def _cut_exact(keys: Array, values: Array) -> list[KeyBlock]:
    return list(cut_run(keys, values, HOT_SPARE_BITS, Grain.EXACT))


def packed_keys(kind: BlockKind, run: int, block: KeyBlock) -> PackedBlock:
    """A key block as it lies in a pack; its header's number is run and kind."""
    first = run << 8 | kind
    encoded = encode_block(Block(BlockKind.KEYS, first, block.count, block.payload), level=None)
    return PackedBlock(BlockKind.KEYS, first, block.count, len(block.payload), 0, encoded)
