"""Encoded batches to numbered, durable records.

Order of writes (docs/DESIGN.md, "Write order"): blocks into the pack, the pack synced,
then the rows that make them findable. A crash in between leaves bytes beyond the pack's
committed length, which the next opening cuts off.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import anyio.lowlevel
import anyio.to_thread

from stowkenfs.ids import PackNo
from stowkenfs.index.catalogue import BlockPlace, Catalogue
from stowkenfs.index.connection import Connection
from stowkenfs.store.api import PackStore
from stowkenfs.store.block import Block, BlockKind, encode_block
from stowkenfs.vault.assembly import Assembly, BatchResult, KnownKeys
from stowkenfs.vault.dedup import Dedup, slices
from stowkenfs.vault.encode import EncodedBatch
from stowkenfs.vault.leader import Leader
from stowkenfs.vault.near import NearIndex
from stowkenfs.vault.near_round import NearRound
from stowkenfs.vault.packs import PackedBlock, PackWriter, Tier

KEYS_AT_ONCE = 50
"""Keys written before the loop goes on: where few are new, each lands on a page of its own."""

ROUND_BYTES_MAX = 16 << 20


@dataclass(frozen=True, slots=True)
class Submission:
    """A batch and how it is to be stored.

    ``fresh`` ignores what is stored already: for content whose known copy does not read back.
    ``namespace``: payload and number of entries of a block about names, if any.
    """

    batch: EncodedBatch
    fresh: bool = False
    namespace: tuple[bytes, int] | None = None


@dataclass(frozen=True, slots=True)
class _Made:
    """What a round writes. ``frames``: {kind: (count, bytes)}; ``keys``: {table: new rows}."""

    results: list[BatchResult]
    blocks: list[PackedBlock]
    frames: dict[int, tuple[int, int]]
    keys: dict[str, list[tuple[int, int]]]
    near: NearRound | None


class Committer:
    """Stores encoded batches; concurrent ones share a write and a sync.

    Constant after construction: all attributes. ``_leader`` orders the rounds, so that
    numbers and pack offsets have one writer.
    """

    def __init__(
        self,
        connection: Connection,
        catalogue: Catalogue,
        dedup: Dedup,
        store: PackStore,
        level: int,
        near: NearIndex,
    ) -> None:
        self._connection = connection
        self._catalogue = catalogue
        self._dedup = dedup
        self._level = level
        self._near = near
        self._writer = PackWriter(catalogue, store, Tier.HOT)
        self._leader: Leader[Submission, BatchResult] = Leader(
            self._round, weight_max=ROUND_BYTES_MAX
        )
        self._syncs: Leader[None, bool] = Leader(self._sync_round, weight_max=1 << 30)

    async def store(
        self,
        batch: EncodedBatch,
        *,
        fresh: bool = False,
        on_queued: Callable[[], None] = lambda: None,
    ) -> BatchResult:
        """The runs of records that each job of ``batch`` became; they are readable at once.

        The pack is synced when this returns; the index rows are after ``sync``.
        """
        weight = sum(len(frame) for _, frame in batch.segments) + 64 * len(batch.records)
        return await self._leader.submit(Submission(batch, fresh), weight, on_queued)

    async def store_namespace(self, payload: bytes, entries: int) -> None:
        """Append what changed in the tree; synced when this returns."""
        submission = Submission(EncodedBatch(), namespace=(payload, entries))
        await self._leader.submit(submission, len(payload))

    async def sync(self) -> None:
        """Return when all committed changes of the index survive a power cut."""
        await self._syncs.submit(None)

    @asynccontextmanager
    async def between_rounds(self) -> AsyncIterator[None]:
        """While inside, numbers that the catalogue gives out are nobody else's."""
        async with self._leader.between():
            yield

    @property
    def open_pack(self) -> PackNo | None:
        """The pack that is being filled, if the next round does not begin one."""
        return self._writer.open_pack

    def begin_new_pack(self) -> None:
        """Let what is stored from now on go to packs of its own."""
        self._writer.begin_new()

    async def _round(self, submissions: Sequence[Submission]) -> list[BatchResult]:
        known = KnownKeys()
        for submission in submissions:
            if not submission.fresh:
                await self._look_up(submission.batch, known)
        numbers = {kind: self._catalogue.next_number(kind) for kind in BlockKind}
        wanted = any(one.batch.bands for one in submissions)
        near = await self._near.begin(self._level, wanted=wanted)
        made = await anyio.to_thread.run_sync(self._assemble, submissions, known, numbers, near)
        if made.blocks:
            places = await self._writer.write(made.blocks)
            await self._publish(made, places)
        return made.results

    def _assemble(
        self,
        submissions: Sequence[Submission],
        known: KnownKeys,
        numbers: dict[BlockKind, int],
        near: NearRound | None,
    ) -> "_Made":
        assembly = Assembly(known, numbers, self._level, near)
        results = [assembly.add(one.batch, fresh=one.fresh) for one in submissions]
        blocks = list(assembly.blocks())
        number = numbers[BlockKind.NAMESPACE]
        for submission in submissions:
            if submission.namespace is not None:
                payload, entries = submission.namespace
                block = Block(BlockKind.NAMESPACE, number, entries, payload)
                encoded = encode_block(block, level=self._level)
                blocks.append(PackedBlock(block.kind, number, entries, len(payload), 0, encoded))
                number += entries
        keys = {
            "record_key": assembly.records.new_keys(),
            "segment_key": assembly.segments.new_keys(),
            "template_key": assembly.templates.new_keys(),
        }
        return _Made(results, blocks, assembly.frames, keys, assembly.near)

    async def _look_up(self, batch: EncodedBatch, known: KnownKeys) -> None:
        records = [key for job in batch.records for _, key, _ in job]
        known.records |= await self._dedup.records(records)
        known.segments |= await self._dedup.segments(batch.segments)
        known.templates |= await self._dedup.templates(batch.templates)

    async def _publish(self, made: "_Made", places: Sequence[BlockPlace]) -> None:
        """Rows of blocks first, in one transaction; keys only help later writers."""
        with self._connection.transaction():
            self._catalogue.add_blocks(places, PackWriter.pack_length(places), Tier.HOT)
            self._catalogue.count_frames(made.frames)
        for table, keys in made.keys.items():
            for some in slices(keys, KEYS_AT_ONCE):
                self._catalogue.keys.add(table, some)
                await anyio.lowlevel.checkpoint()
        if made.near is not None:
            await self._near.note(made.near)

    async def _sync_round(self, waiting: Sequence[None]) -> list[bool]:
        self._connection.flush()
        await anyio.to_thread.run_sync(self._connection.sync)
        return [True] * len(waiting)
