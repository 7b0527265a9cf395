"""Taking away what goes, some blocks at a time, each replaced in one transaction."""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from types import MappingProxyType
from typing import NamedTuple

import anyio
import anyio.lowlevel
import anyio.to_thread

from stowkenfs.errors import Corrupt, WorkerDied
from stowkenfs.ids import PackNo
from stowkenfs.index.catalogue import BlockPlace, Catalogue
from stowkenfs.index.connection import Connection
from stowkenfs.store.block import BlockKind
from stowkenfs.vault.aside import run_aside
from stowkenfs.vault.collection.aside import Material, material_of, remade_aside
from stowkenfs.vault.collection.report import KIND_NAMES, KindCount, nothing_of_each
from stowkenfs.vault.collection.rewriting import (
    Frames,
    Levels,
    Part,
    Remade,
    Rewriter,
    frames_of,
    placed,
    rows_in_place,
)
from stowkenfs.vault.collection.shelf import Fate, Shelf
from stowkenfs.vault.packs import PackWriter
from stowkenfs.vault.reader import Reader
from stowkenfs.vault.unpacked import Unpacked

STEP_BYTES = 1 << 20
"""Of blocks that are written together, and of those that go together a multiple."""
STEP_BLOCKS = 16

ROWS_AT_ONCE = 300
"""Rows of the index that change before the loop gets its turn."""

Done = Callable[[int], None]


class _Change(NamedTuple):
    """Rows of a block, those of what takes its place, and what the totals of frames lose."""

    old: Sequence[BlockPlace]
    new: Sequence[BlockPlace]
    frames: Frames
    is_written: bool


class _Work(NamedTuple):
    """A block and its rows; what it takes to write it anew, None if it is not.

    ``reason``: why it stays as it is, if it does. ``trimmed``: the rows that take the place of
    the others, of a block that lies where it lies.
    """

    block: int
    old: list[BlockPlace]
    make: Callable[[], Awaitable[Remade | None]] | None = None
    frames: Frames = MappingProxyType({})
    reason: str = ""
    trimmed: Sequence[BlockPlace] = ()


class BlockSweeper:
    """Drops blocks and writes others anew. Event loop's thread, but where it says so."""

    def __init__(
        self,
        connection: Connection,
        catalogue: Catalogue,
        reader: Reader,
        writer: PackWriter,
        levels: Levels,
        workers: int,
    ) -> None:
        self._connection = connection
        self._catalogue = catalogue
        self._reader = reader
        self._levels = levels
        self._workers = workers
        self._writer = writer
        self.freed = nothing_of_each()
        self.rewritten = 0
        self.dropped = 0

    async def sweep(self, shelf: Shelf, blocks: Sequence[int], done: Done) -> list[tuple[int, str]]:
        """Let what goes of ``blocks`` go; those that stay whole after all, and why.

        The reason is empty for one that would not become smaller. Nobody has numbers any more
        of what goes, nor finds any.
        """
        failed: list[tuple[int, str]] = []
        waiting = list(blocks)
        while waiting:
            some = _first_of(shelf, waiting)
            del waiting[: len(some)]
            works = await anyio.to_thread.run_sync(self._works, shelf, some)
            made = await self._made_of(works)
            stay = [
                (work.block, reason)
                for work, (_, reason) in zip(works, made, strict=True)
                if reason is not None
            ]
            await self._publish(
                shelf,
                [
                    (work, remade)
                    for work, (remade, reason) in zip(works, made, strict=True)
                    if reason is None
                ],
            )
            for block, _ in stay:
                shelf.spare_block(block)
            failed += stay
            done(int(shelf.stored[some].sum()))
        return failed

    def _works(self, shelf: Shelf, blocks: Sequence[int]) -> list[_Work]:
        """A thread's."""
        return [self._work(shelf, block) for block in blocks]

    def _work(self, shelf: Shelf, block: int) -> _Work:
        old: list[BlockPlace] = []
        try:
            parts = self._parts(shelf, block)
            old = [part.place for part in parts]
            place = old[0]
            is_dropped = shelf.fates[block] == Fate.DROPPED
            if is_dropped and (shelf.kind is not BlockKind.SEGMENTS or shelf.is_dense[block]):
                return _Work(block, old)
            unpacked = self._reader.unpacked(place)
            if shelf.fates[block] == Fate.TRIMMED:
                return _Work(block, old, trimmed=rows_in_place(parts, unpacked))
            frames = frames_of(parts, unpacked)
            if is_dropped:
                return _Work(block, old, None, frames)
            if shelf.is_dense[block] and self._workers:
                material = material_of(parts, unpacked, self._reader, self._levels)
                return _Work(block, old, partial(self._aside, material))
            return _Work(block, old, partial(self._here, parts, unpacked), frames)
        except Corrupt as error:
            if old and shelf.fates[block] == Fate.DROPPED:
                return _Work(block, old)  # nobody misses it
            return _Work(block, old, reason=str(error))

    async def _here(self, parts: Sequence[Part], unpacked: Unpacked) -> Remade | None:
        rewriter = Rewriter(self._reader, self._levels)
        return await anyio.to_thread.run_sync(rewriter.remade, parts, unpacked)

    async def _aside(self, material: Material) -> Remade | None:
        return await run_aside(remade_aside, material)

    async def _made_of(self, works: Sequence[_Work]) -> list[tuple[Remade | None, str | None]]:
        """For each what takes its place, and why it stays, None if it does not."""
        made: list[tuple[Remade | None, str | None]] = [(None, None)] * len(works)
        limiter = anyio.CapacityLimiter(max(self._workers, 1))
        failed: list[WorkerDied] = []

        async def make(at: int) -> None:
            work = works[at]
            if work.reason:
                made[at] = None, work.reason
            elif work.make is not None:
                async with limiter:
                    try:
                        remade = await work.make()
                    except Corrupt as error:
                        made[at] = None, str(error)
                    except WorkerDied as error:  # raised below, not as a group
                        failed.append(error)
                    else:
                        made[at] = remade, "" if remade is None else None

        async with anyio.create_task_group() as tasks:
            for at in range(len(works)):
                tasks.start_soon(make, at)
        if failed:
            raise failed[0]
        return made

    def _parts(self, shelf: Shelf, block: int) -> list[Part]:
        """A thread's. Raises Corrupt."""
        parts = []
        for row in shelf.rows_of(block):
            place = self._catalogue.locate(shelf.kind, row.first)
            if place is None or (place.first, place.count) != (row.first, len(row.remains)):
                raise Corrupt(f"no block holds {shelf.kind.name.lower()} {row.first}")
            parts.append(Part(place, row.remains))
        return parts

    async def _publish(self, shelf: Shelf, made: Sequence[tuple[_Work, Remade | None]]) -> None:
        new = [remade.block for _, remade in made if remade is not None]
        if new:
            self._go_behind(max(work.old[0].pack for work, remade in made if remade is not None))
        places = iter(await self._writer.write(new) if new else [])
        waiting = [
            _Change(
                work.old,
                work.trimmed if remade is None else placed(remade.rows, next(places)),
                work.frames,
                remade is not None,
            )
            for work, remade in made
        ]
        while waiting:
            some = _few(waiting)
            del waiting[: len(some)]
            with self._connection.transaction():
                self._replace(shelf, some)
                for change in some:
                    self._catalogue.count_frames(dict(change.frames))
            self._catalogue.refresh()
            for change in some:
                self._count(shelf, change)
            await anyio.lowlevel.checkpoint()

    def _go_behind(self, pack: PackNo) -> None:
        """Write to a pack behind ``pack``: of two blocks with a number the last one counts."""
        open_pack = self._writer.open_pack
        if open_pack is not None and open_pack < pack:
            self._writer.begin_new()

    def _replace(self, shelf: Shelf, some: Sequence[_Change]) -> None:
        gone = [row.first for change in some for row in change.old]
        self._catalogue.drop_blocks(shelf.kind, gone)
        written = [row for change in some if change.is_written for row in change.new]
        if written:
            self._catalogue.add_blocks(written, PackWriter.pack_length(written), self._writer.tier)
        # Those that lie where they lay say nothing of how long their packs are.
        trimmed = [row for change in some if not change.is_written for row in change.new]
        self._catalogue.add_blocks(trimmed, {})

    def _count(self, shelf: Shelf, change: _Change) -> None:
        old, new = change.old, change.new
        things = sum(row.count for row in old) - sum(row.count for row in new)
        size = old[0].stored_bytes - (new[0].stored_bytes if new else 0)
        self.freed[KIND_NAMES[shelf.kind]] += KindCount(things, size)
        self.rewritten += change.is_written
        self.dropped += not new


def _few(changes: Sequence[_Change]) -> Sequence[_Change]:
    """The first few, as their rows take no more than some milliseconds."""
    rows = 0
    for at, change in enumerate(changes, 1):
        rows += len(change.old) + len(change.new)
        if rows >= ROWS_AT_ONCE:
            return list(changes[:at])
    return list(changes)


def _first_of(shelf: Shelf, blocks: Sequence[int]) -> list[int]:
    """The first few that make a step."""
    size = 0
    for at, block in enumerate(blocks, 1):
        size += int(shelf.stored[block])
        if size >= STEP_BYTES or at == STEP_BLOCKS:
            return list(blocks[:at])
    return list(blocks)
