"""The end of a compaction: what nothing refers to goes, and the rest moves together."""

import logging
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from typing import cast

import anyio
import anyio.lowlevel
import anyio.to_thread

from stowkenfs.documents.body import References
from stowkenfs.errors import Corrupt
from stowkenfs.ids import PackNo, RecordNo
from stowkenfs.index.catalogue import Catalogue
from stowkenfs.index.connection import Connection
from stowkenfs.index.frozen_collect import Candidate, Freezer, InodeCandidate
from stowkenfs.store.api import PackStore
from stowkenfs.store.block import (
    HEADER_BYTES,
    Block,
    BlockKind,
    encode_block,
    encode_dense_block,
    first_of,
    stored_length,
)
from stowkenfs.vault.compaction.canonicals import with_canonicals
from stowkenfs.vault.compaction.gather import Moves
from stowkenfs.vault.compaction.numbers import Renumbering
from stowkenfs.vault.dedup import TABLES, slices
from stowkenfs.vault.namespace import Checkpoint, decode_changes, encode_checkpoint
from stowkenfs.vault.packs import PackedBlock, PackWriter
from stowkenfs.vault.passages import Passages
from stowkenfs.vault.reader import Reader
from stowkenfs.vault.unpacked import Segments

log = logging.getLogger(__name__)

ROWS_AT_ONCE = 200
PAGES_AT_ONCE = 100
GROUPS_AT_ONCE = 32
NOTED_AT_ONCE = 2000
"""Rows noted as changed before the loop gets its turn: some milliseconds."""
STATEMENT_LEVEL = 6

GroupPlace = tuple[PackNo, int]
"""Pack and offset in bytes of a frozen group."""


@dataclass(frozen=True, slots=True)
class Sweeper:
    """Takes away what a compaction replaced. Event loop's thread, but where a method says so."""

    connection: Connection
    catalogue: Catalogue
    store: PackStore
    reader: Reader
    readers: Passages
    writers: Passages
    freezer: Freezer
    writer: PackWriter

    async def drop_moved(self, moves: Moves) -> None:
        """Let go of blocks of which everything was moved, and of their keys."""
        kinds = {
            BlockKind.RECORDS: moves.records,
            BlockKind.SEGMENTS: moves.segments,
            BlockKind.TEMPLATES: moves.templates,
        }
        kept = await self._kept(moves)
        # Before any block goes: whoever found one by its key after that might read it back from
        # a cache, and refer to nothing.
        for kind, numbers in kinds.items():
            below = max((end for _, end in numbers.ranges), default=0)
            while self.catalogue.keys.forget(TABLES[kind], below, ROWS_AT_ONCE):
                await anyio.lowlevel.checkpoint()
        await self.writers.drain()
        await self.readers.drain()  # who looked an extent up before it was changed over
        for kind, numbers in kinds.items():
            firsts = self._without_any(kind, numbers, kept[kind])
            for some in slices(firsts, ROWS_AT_ONCE):
                is_frames = kind is BlockKind.SEGMENTS
                gone = await anyio.to_thread.run_sync(self._frames, some) if is_frames else {}
                with self.connection.transaction():
                    self.catalogue.drop_blocks(kind, some)
                    self.catalogue.count_frames(gone)
                await anyio.lowlevel.checkpoint()

    def _hot_blocks(self, kind: BlockKind) -> list[list[tuple[int, int]]]:
        """First and end of the rows of each block of a kind that is not dense."""
        blocks: defaultdict[tuple[int, int], list[tuple[int, int]]] = defaultdict(list)
        for pack, offset, *row in self.connection.all(
            "SELECT pack, offset, first, first + count FROM block WHERE kind = ? AND layout != 1",
            (kind,),
        ):
            blocks[pack, offset].append((row[0], row[1]))
        return list(blocks.values())

    def _without_any(self, kind: BlockKind, numbers: Renumbering, kept: Sequence[int]) -> list[int]:
        """First numbers of all rows of blocks that hold nothing of ``kept``."""
        return [
            first
            for rows in self._hot_blocks(kind)
            if rows[0][0] in numbers and not any(_any_between(kept, *row) for row in rows)
            for first, _ in rows
        ]

    def _frames(self, firsts: Sequence[int]) -> dict[int, tuple[int, int]]:
        """What to add to the totals of frames for blocks of segments that go. A thread's."""
        gone: dict[int, tuple[int, int]] = {}
        for first in firsts:
            place = self.catalogue.locate(BlockKind.SEGMENTS, first)
            if place is None:
                continue
            with suppress(Corrupt):
                segments = cast("Segments", self.reader.unpacked(place).items)
                for at in range(place.skip, place.skip + place.count):
                    kind = int(segments.kind(at), 16)
                    frames, stored = gone.get(kind, (0, 0))
                    gone[kind] = frames - 1, stored - segments.stored_bytes(at)
        return gone

    async def _kept(self, moves: Moves) -> dict[BlockKind, list[int]]:
        """Numbers that should have moved and that something still refers to, sorted."""
        records: set[int] = set()
        query = "SELECT record, count FROM extent"
        async with self.connection.scanner() as scan:
            async for rows in scan.batches(query):
                for first, count in rows:
                    if moves.records.touches(first, first + count):
                        records.update(n for n in range(first, first + count) if n in moves.records)
        # A block that stays stays whole, with what all of its records refer to.
        numbers = sorted(records)
        staying = [
            range(*row)
            for rows in self._hot_blocks(BlockKind.RECORDS)
            if any(_any_between(numbers, *row) for row in rows)
            for row in rows
        ]
        segments = sorted(self.catalogue.hot_ranges(BlockKind.SEGMENTS))
        kept = await anyio.to_thread.run_sync(
            self._referred_to, chain.from_iterable(staying), segments
        )
        if kept is None:
            # Maybe a copy of a damaged block can be brought back: what it refers to stays.
            kept = {
                kind: {first for first, _ in self.catalogue.hot_ranges(kind)}
                for kind in (BlockKind.SEGMENTS, BlockKind.TEMPLATES)
            }
        kept[BlockKind.RECORDS] = records
        return {kind: sorted(numbers) for kind, numbers in kept.items()}

    def _referred_to(
        self, records: Iterable[int], blocks: Sequence[tuple[int, int]]
    ) -> dict[BlockKind, set[int]] | None:
        """Segments and templates of records; None if not all can be read. A thread's.

        With canonicals, which ``blocks``, hot ranges of segments, refer to.
        """
        segments: set[int] = set()
        templates: set[int] = set()
        for number in records:
            try:
                body = self.reader.body(RecordNo(number))
            except Corrupt:
                return None
            templates.update(body.templates)
            for value in body.values:
                if isinstance(value, References):
                    segments.update(value.segments)
        try:
            segments = with_canonicals(self.catalogue, self.reader, blocks, segments)
        except Corrupt:
            return None
        return {BlockKind.SEGMENTS: segments, BlockKind.TEMPLATES: templates}

    # The tree

    async def freeze(self) -> int:
        """Move the tree's rows into packs; how many inodes went.

        Nobody makes a statement about the tree meanwhile: each group is one itself, and has
        its place in their order.
        """
        frozen = 0
        waiting: list[Candidate] = []
        for encode in self.freezer.collect(self.catalogue.next_number(BlockKind.NAMESPACE)):
            await anyio.lowlevel.checkpoint()
            group = None if encode is None else await anyio.to_thread.run_sync(encode)
            if group is not None:
                waiting.append(group)
            if len(waiting) >= GROUPS_AT_ONCE:
                frozen += await self._adopt(waiting)
                waiting = []
        return frozen + await self._adopt(waiting)

    async def _adopt(self, groups: Sequence[Candidate]) -> int:
        if not groups:
            return 0
        first = self.catalogue.reserve(BlockKind.NAMESPACE, len(groups))
        blocks = await anyio.to_thread.run_sync(
            lambda: [_packed(group, number) for number, group in enumerate(groups, first)]
        )
        places = await self.writer.write(blocks)
        with self.connection.transaction():
            self.catalogue.commit_packs(PackWriter.pack_length(places), self.writer.tier)
            self.catalogue.keep_number(BlockKind.NAMESPACE)
        frozen = 0
        for group, place in zip(groups, places, strict=True):
            adopted = self.freezer.adopt(group, place.pack, place.offset_bytes, place.stored_bytes)
            if adopted and isinstance(group, InodeCandidate):
                frozen += group.count
            await anyio.lowlevel.checkpoint()
        return frozen

    async def begin_checkpoint(self) -> tuple[int, list[GroupPlace]] | None:
        """Note all rows that are hot as changed, so that they are told anew.

        The number of the next statement, and the groups that are in use: with them,
        statements before that number are not needed. None if there is nothing new to say.

        Nobody makes a statement meanwhile. What becomes a row after its turn, as of a group
        that is thawed, is noted by the triggers.
        """
        since = self.catalogue.next_number(BlockKind.NAMESPACE)
        if self._is_all_told(since):
            return None
        await self._note_inodes()
        await self._note_names()
        groups = self.connection.all(
            "SELECT pack, offset FROM frozen_inode UNION ALL SELECT pack, offset FROM frozen_name"
        )
        return since, groups

    async def _note_inodes(self) -> None:
        at = 0
        while last := self.connection.one(
            "SELECT max(ino) FROM (SELECT ino FROM inode WHERE ino >= ? ORDER BY ino LIMIT ?)",
            (at, NOTED_AT_ONCE),
        ):
            if last[0] is None:
                return
            self.connection.execute(
                "INSERT INTO dirty_inode (ino, extents_from)"
                " SELECT ino, 0 FROM inode WHERE ino BETWEEN ? AND ?"
                " ON CONFLICT (ino) DO UPDATE SET stamp = stamp + 1, extents_from = 0",
                (at, last[0]),
            )
            at = last[0] + 1
            await anyio.lowlevel.checkpoint()

    async def _note_names(self) -> None:
        at: tuple[int, bytes] = (-1, b"")
        while True:
            last = self.connection.one(
                "SELECT parent, name FROM (SELECT parent, name FROM dentry"
                " WHERE (parent, name) > (?, ?) ORDER BY parent, name LIMIT ?)"
                " ORDER BY parent DESC, name DESC LIMIT 1",
                (*at, NOTED_AT_ONCE),
            )
            if last is None:
                return
            self.connection.execute(
                # Not up to ``last``: SQLite would go through all names of the directory then.
                "INSERT INTO dirty_dentry (parent, name)"
                " SELECT parent, name FROM (SELECT parent, name FROM dentry"
                " WHERE (parent, name) > (?, ?) ORDER BY parent, name LIMIT ?) WHERE true"
                " ON CONFLICT (parent, name) DO UPDATE SET stamp = stamp + 1",
                (*at, NOTED_AT_ONCE),
            )
            at = last
            await anyio.lowlevel.checkpoint()

    def _is_all_told(self, number: int) -> bool:
        """Whether the last statement, the one before ``number``, is a checkpoint."""
        changed = "SELECT 1 FROM dirty_inode UNION ALL SELECT 1 FROM dirty_dentry LIMIT 1"
        last = self.catalogue.locate(BlockKind.NAMESPACE, number - 1)
        if last is None or last.count > 1 or self.connection.one(changed):
            return False
        try:
            (said,) = decode_changes(self.reader.read_block(last).payload)
        except Corrupt:
            return False
        return isinstance(said, Checkpoint)

    async def finish_checkpoint(self, since: int, groups: Sequence[GroupPlace]) -> None:
        """Say that only ``groups`` and statements from ``since`` on count, and drop the others.

        All that ``begin_checkpoint`` noted is told by now, and nobody makes a statement.
        """
        numbers = await anyio.to_thread.run_sync(self._numbers, groups)
        number = self.catalogue.reserve(BlockKind.NAMESPACE, 1)
        payload = encode_checkpoint(since, numbers)
        block = Block(BlockKind.NAMESPACE, number, 1, payload)
        encoded = encode_block(block, level=STATEMENT_LEVEL)
        packed = PackedBlock(block.kind, number, 1, len(payload), 0, encoded)
        places = await self.writer.write([packed])
        blocks = self.catalogue.hot_ranges(BlockKind.NAMESPACE)
        with self.connection.transaction():
            self.catalogue.add_blocks(places, PackWriter.pack_length(places), self.writer.tier)
            self.catalogue.drop_blocks(
                BlockKind.NAMESPACE, [first for first, _ in blocks if first < since]
            )

    def _numbers(self, groups: Sequence[GroupPlace]) -> list[int]:
        """Numbers of groups, from their headers; damaged ones are left out. A thread's."""
        numbers = []
        for pack, offset in groups:
            head = self.store.read(pack, offset, HEADER_BYTES)
            try:
                stored_length(head, pack, offset)
            except Corrupt as error:
                log.warning("packs do not tell all of the tree any more: %s", error)
            else:
                numbers.append(first_of(head))
        return numbers

    # The index

    async def shrink_index(self) -> None:
        """Give the pages that are free now back to the disk."""
        while self.connection.shrink(PAGES_AT_ONCE):
            await anyio.lowlevel.checkpoint()
        await anyio.to_thread.run_sync(self.connection.checkpoint)
        self.connection.empty_log()


def _any_between(numbers: Sequence[int], first: int, end: int) -> bool:
    at = bisect_left(numbers, first)
    return at < len(numbers) and numbers[at] < end


def _packed(group: Candidate, number: int) -> PackedBlock:
    """A group of the tree as it lies in a pack; ``number`` is one of a statement."""
    kind = BlockKind.INODES if isinstance(group, InodeCandidate) else BlockKind.NAMES
    encoded = encode_dense_block(
        Block(kind, number, group.count, group.payload), level=19, base=None
    )
    return PackedBlock(kind, number, group.count, len(group.payload), 0, encoded)
