"""Stored frames anew, where that makes the vault smaller."""

import logging
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import cast

import anyio
import anyio.lowlevel
import anyio.to_thread
import numpy as np

from stowkenfs.errors import Corrupt
from stowkenfs.frames.codec import FrameKind, frame_kind, whole_frame
from stowkenfs.ids import PackNo
from stowkenfs.index.catalogue import BlockPlace
from stowkenfs.store.block import BlockKind, Layout
from stowkenfs.vault.packs import PackedBlock, PackWriter, Tier
from stowkenfs.vault.progress import Progress
from stowkenfs.vault.registry_blocks import REGISTRY_KINDS
from stowkenfs.vault.registry_choices import Choices, call_in_worker
from stowkenfs.vault.training.parts import TrainingParts
from stowkenfs.vault.training.recode import BlockIn, BlockOut, recode_blocks
from stowkenfs.vault.training.references import (
    RegistryReferences,
    Rows,
    blocks_bytes,
    hot_blocks,
    scan_references,
)
from stowkenfs.vault.training.reports import SubstringCompaction
from stowkenfs.vault.unpacked import PlainSegments, decode_ranges

log = logging.getLogger(__name__)

BATCH_BYTES = 1 << 20
"""Payloads that one worker gets."""

HELD_BYTES_MAX = 32 << 20
"""New blocks that wait until it is certain that all of it pays; what is more is made again."""

ADOPTED_AT_ONCE = 16
"""Blocks that change places in one transaction."""

SCANNED_SHARE = 0.1
"""Of the time; encoding takes the rest."""


@dataclass(slots=True)
class _Batch:
    """Blocks on their way to an encoder."""

    rows: list[Rows] = field(default_factory=list)
    blocks: list[BlockIn] = field(default_factory=list)
    stored_bytes: int = 0  # of all that was looked at


@dataclass(frozen=True, slots=True)
class _New:
    """A smaller block, and the rows that it takes over."""

    rows: Rows
    out: BlockOut

    @property
    def saved_bytes(self) -> int:
        return self.rows[0].stored_bytes - len(self.out.encoded)


class SubstringCompactor:
    """One run over all frames. Event loop's thread, but where a method says so.

    Until what blocks save is more than what of the registry only they keep alive, new blocks
    are held back; a run that never comes to that changes nothing.
    """

    def __init__(self, parts: TrainingParts, progress: Progress) -> None:
        self._parts = parts
        self._progress = progress
        self._writer = PackWriter(parts.catalogue, parts.store, Tier.DENSE)
        self._before = RegistryReferences()
        self._referred: dict[BlockKind, set[int]] = {kind: set() for kind in REGISTRY_KINDS}
        self._held: list[_New] = []
        self._held_bytes = 0
        self._again: list[Rows] = []  # of blocks that were not held
        self._saved = self._frames_saved = self._rewritten = 0
        self._possible = 0  # what is saved, and what would be
        self._pays = False
        self._problems: list[str] = []
        self.left_packs: set[PackNo] = set()
        """Where blocks lay that were replaced."""

    async def run(self) -> SubstringCompaction:
        """Raises OSError. What cannot be read stays as it is, and is told."""
        parts = self._parts
        end = parts.catalogue.next_number(BlockKind.SEGMENTS)
        total = await blocks_bytes(parts.connection, hot=True)
        self._before = await scan_references(
            parts.catalogue,
            parts.reader,
            progress=lambda done: self._progress(int(SCANNED_SHARE * min(done, total)), total),
        )
        self._problems += self._before.problems
        choices = await parts.registry.choices()
        if choices is not None:
            await self._go_through(hot_blocks(parts.catalogue, 0, end), choices, total)
            if not self._pays and self._possible > self._cost():
                self._pays = True
                await self._publish_held()
            if self._pays and self._again:
                await self._go_through(iter(self._again), choices, total)
        self._progress(total, total)
        return self._report(choices)

    def _report(self, choices: Choices | None) -> SubstringCompaction:
        reason = ""
        if choices is None:
            reason = "there is nothing that frames could refer to"
        elif not self._possible:
            reason = "no block of frames would be smaller"
        elif not self._pays:
            reason = (
                f"blocks would be {self._possible} bytes smaller, and {self._cost()} bytes of the"
                " registry would be kept for them"
            )
        return SubstringCompaction(
            segments_examined=self._before.segments,
            segments_rewritten=self._rewritten,
            bytes_saved=self._frames_saved,
            segments_skipped=self._before.skipped,
            stored_bytes_saved=self._saved,
            registry_bytes=self._cost(),
            kept=self._rewritten > 0,
            reason=reason,
            problems=tuple(self._problems),
        )

    def _cost(self) -> int:
        """Bytes of the registry that only new frames refer to."""
        return sum(
            self._parts.registry.stored_bytes(kind, numbers - self._before.numbers(kind))
            for kind, numbers in self._referred.items()
        )

    # Going through

    async def _go_through(self, blocks: Iterator[Rows], choices: Choices, total: int) -> None:
        done = 0
        async for batches in self._in_groups(blocks):
            for batch, outs in zip(batches, await self._encode_all(batches, choices), strict=True):
                done += batch.stored_bytes
                await self._take(batch, outs)
            share = SCANNED_SHARE + (1 - SCANNED_SHARE) * min(done / max(total, 1), 1)
            self._progress(int(share * total), total)

    async def _in_groups(self, blocks: Iterator[Rows]) -> AsyncIterator[list[_Batch]]:
        """As many batches as there are workers, again and again."""
        while True:
            batches = []
            for _ in range(max(self._parts.workers, 1)):
                batch = await anyio.to_thread.run_sync(self._batch, blocks)
                if batch.stored_bytes:
                    batches.append(batch)
            if not batches:
                return
            yield batches

    def _batch(self, blocks: Iterator[Rows]) -> _Batch:
        """The next blocks. A thread's."""
        batch, size = _Batch(), 0
        for rows in blocks:
            batch.stored_bytes += rows[0].stored_bytes
            try:
                block = self._block_in(rows)
            except Corrupt as error:
                log.warning("stays as it is: %s", error)
                continue
            batch.rows.append(rows)
            batch.blocks.append(block)
            size += len(block.payload)
            if size >= BATCH_BYTES:
                break
        return batch

    def _block_in(self, rows: Rows) -> BlockIn:
        """A thread's. Raises Corrupt."""
        place, reader = rows[0], self._parts.reader
        block = reader.read_block(place)
        begin = 0 if block.layout is Layout.PLAIN else decode_ranges(block)[1]
        segments = cast("PlainSegments", reader.unpacked(place).items)
        frames = segments.items.frames
        whole = {
            at: whole_frame(frames[at], reader)
            for at in range(len(frames))
            if frame_kind(frames[at]) is FrameKind.DICTIONARY
        }
        return BlockIn(
            block.first, block.count, block.layout, block.payload, begin, place.stored_bytes, whole
        )

    async def _encode_all(
        self, batches: Sequence[_Batch], choices: Choices
    ) -> list[list[BlockOut | None]]:
        """Side by side; results in the order of the batches."""
        results: dict[int, list[BlockOut | None]] = {}
        failed: list[Exception] = []

        async def encode(at: int) -> None:
            try:
                results[at] = await self._encode(batches[at].blocks, choices)
            except Exception as error:  # noqa: BLE001 - raised below, not as a group
                failed.append(error)

        async with anyio.create_task_group() as tasks:
            for at in range(len(batches)):
                tasks.start_soon(encode, at)
        if failed:
            raise failed[0]
        return [results[at] for at in range(len(batches))]

    async def _encode(self, blocks: Sequence[BlockIn], choices: Choices) -> list[BlockOut | None]:
        level = self._parts.level
        if self._parts.workers:
            return await call_in_worker(recode_blocks, blocks, level, choices=choices)
        return await anyio.to_thread.run_sync(recode_blocks, blocks, level, choices.here)

    # Writing

    async def _take(self, batch: _Batch, outs: Sequence[BlockOut | None]) -> None:
        """Write what became smaller, or hold it back."""
        new = [_New(rows, out) for rows, out in zip(batch.rows, outs, strict=True) if out]
        if not new:
            return
        if self._pays:
            await self._publish(new)
            return
        for one in new:
            self._possible += one.saved_bytes
            self._referred[BlockKind.SUBSTRINGS] |= one.out.substrings
            self._referred[BlockKind.DICTIONARIES] |= one.out.dictionaries
            if self._held_bytes < HELD_BYTES_MAX:
                self._held.append(one)
                self._held_bytes += len(one.out.encoded)
            else:
                self._again.append(one.rows)
        if self._possible > self._cost_of_all():
            self._pays = True
            await self._publish_held()

    def _cost_of_all(self) -> int:
        """Bytes of the registry that nothing referred to before: it never costs more."""
        registry = self._parts.registry
        active = () if registry.active is None else (registry.active,)
        offered = {
            BlockKind.SUBSTRINGS: set(registry.entries(BlockKind.SUBSTRINGS)),
            BlockKind.DICTIONARIES: set(active),
        }
        return sum(
            registry.stored_bytes(kind, numbers - self._before.numbers(kind))
            for kind, numbers in offered.items()
        )

    async def _publish_held(self) -> None:
        held = iter(self._held)
        self._held, self._held_bytes = [], 0
        while some := list(islice(held, ADOPTED_AT_ONCE)):
            await self._publish(some)

    async def _publish(self, new: Sequence[_New]) -> None:
        """Let blocks take the place of others, once they are on the disk and read back."""
        behind = max(one.rows[0].pack for one in new)
        open_pack = self._writer.open_pack
        if open_pack is not None and open_pack < behind:
            self._writer.begin_new()  # of two blocks with the same numbers the last one counts
        places = await self._writer.write([_packed(one) for one in new])
        good = await anyio.to_thread.run_sync(self._unlike_none, new, places)
        lengths = PackWriter.pack_length(places)
        taken = [
            (one, place) for one, place, is_good in zip(new, places, good, strict=True) if is_good
        ]
        for start in range(0, len(taken), ADOPTED_AT_ONCE):
            with self._parts.connection.transaction():
                for one, place in taken[start : start + ADOPTED_AT_ONCE]:
                    self._adopt(one, place)
                self._parts.catalogue.commit_packs(lengths, self._writer.tier)
            self._parts.catalogue.refresh()
            await anyio.lowlevel.checkpoint()

    def _adopt(self, one: _New, place: BlockPlace) -> None:
        catalogue = self._parts.catalogue
        catalogue.drop_blocks(BlockKind.SEGMENTS, [row.first for row in one.rows])
        catalogue.add_blocks([_moved(row, place) for row in one.rows], {}, self._writer.tier)
        catalogue.count_frames(one.out.frames)
        self._referred[BlockKind.SUBSTRINGS] |= one.out.substrings
        self._referred[BlockKind.DICTIONARIES] |= one.out.dictionaries
        self.left_packs.add(one.rows[0].pack)
        self._saved += one.saved_bytes
        self._frames_saved += one.out.saved_bytes
        self._rewritten += one.out.rewritten

    def _unlike_none(self, new: Sequence[_New], places: Sequence[BlockPlace]) -> list[bool]:
        """Whether each block holds the same segments as the one before. A thread's."""
        return [self._is_like(one.rows, place) for one, place in zip(new, places, strict=True)]

    def _is_like(self, rows: Rows, place: BlockPlace) -> bool:
        reader = self._parts.reader
        try:
            old = cast("PlainSegments", reader.unpacked(rows[0]).items)
            moved = [_moved(row, place) for row in rows]
            unpacked = reader.unpacked(moved[0])
            new = cast("PlainSegments", unpacked.items)
            same = all(unpacked.holds(row.first, row.count, row.skip) for row in moved)
            same = same and np.array_equal(old.items.keys, new.items.keys)
            for at in range(len(new) if same else 0):
                if old.items.frames[at] != new.items.frames[at]:
                    new.verified(at)
        except Corrupt as error:
            log.warning("a block that was made smaller does not read back: %s", error)
            return False
        return same


def _moved(row: BlockPlace, place: BlockPlace) -> BlockPlace:
    """``row`` of a block that lies at ``place`` now."""
    return BlockPlace(
        row.kind, row.first, row.count, place.pack, place.offset_bytes, place.stored_bytes,
        place.raw_bytes, row.content_bytes, row.skip, row.layout, None, row.brings_bytes,
    )  # fmt: skip


def _packed(one: _New) -> PackedBlock:
    row = one.rows[0]
    count = sum(row.count for row in one.rows)
    return PackedBlock(
        BlockKind.SEGMENTS, row.first, count, one.out.raw_bytes, 0, one.out.encoded,
        Layout(row.layout),
    )  # fmt: skip
