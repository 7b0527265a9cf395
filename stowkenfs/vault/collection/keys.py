"""Keys of what goes: nothing may be found by them, and all by those of what remains.

A key in the index, or in an EXACT run, is taken at its word, so it goes before its thing does.
An entry of a BLOCK run leads to a number in some block, which is looked into: it goes with the
last of the block, and leads to a number that remains where that one goes.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import anyio.lowlevel
import anyio.to_thread
import numpy as np

from stowkenfs.errors import Corrupt
from stowkenfs.index.catalogue import BlockPlace, Catalogue
from stowkenfs.index.connection import Connection
from stowkenfs.index.key_merge import Change, KeyBlock, changed_run
from stowkenfs.index.key_runs import ROWS_AT_ONCE, KeyPlace, KeyRuns
from stowkenfs.index.keys import Grain, Values
from stowkenfs.store.block import BlockKind
from stowkenfs.vault.collection.shelf import Flags, Shelf
from stowkenfs.vault.compaction.keys import packed_keys
from stowkenfs.vault.dedup import TABLES
from stowkenfs.vault.packs import PackWriter

WRITTEN_AT_ONCE_BYTES = 4 << 20
"""Of a run that takes the place of another one."""


class KeySweeper:
    """Event loop's thread, but where a method says so."""

    def __init__(
        self, connection: Connection, catalogue: Catalogue, runs: KeyRuns, writer: PackWriter
    ) -> None:
        self._connection = connection
        self._catalogue = catalogue
        self._runs = runs
        self._writer = writer

    async def forget(self, shelf: Shelf, problem: Callable[[str], None]) -> None:
        """Find nothing of ``shelf`` any more that goes."""
        await self._forget_hot(shelf)
        for run, _ in self._runs.plan(shelf.kind):
            try:
                await self._forget_in_run(shelf, run)
            except Corrupt as error:
                problem(f"keys cannot be read, duplicates may be stored again: {error}")
                # What is left of them could lead to what is gone.
                self._runs.drop(shelf.kind, [run])

    async def _forget_hot(self, shelf: Shelf) -> None:
        """Remove rows of the key table."""
        table = TABLES[shelf.kind]
        sql = f"SELECT key, no FROM {table} WHERE key >= ? ORDER BY key LIMIT ?"  # noqa: S608
        start = -(1 << 63)
        while start < 1 << 63 and (rows := self._connection.all(sql, (start, ROWS_AT_ONCE))):
            start = rows[-1][0] + 1
            keys, numbers = np.array(rows, np.int64).T
            going = shelf.going(numbers)
            if going.any():
                await self._runs.forget_hot(table, keys[going], numbers[going])
            await anyio.lowlevel.checkpoint()

    async def _forget_in_run(self, shelf: Shelf, run: int) -> None:
        change = await anyio.to_thread.run_sync(self._change, shelf, run)
        if change is None:
            return
        blocks = changed_run(self._runs.blocks(shelf.kind, run), change)
        number = self._runs.next_run(shelf.kind)
        rows: list[KeyPlace] = []
        while some := await anyio.to_thread.run_sync(_next_of, blocks):
            places = await self._writer.write(
                [packed_keys(shelf.kind, number, block) for block in some]
            )
            # Without rows they are dead bytes, until all of the run is there.
            with self._connection.transaction():
                self._catalogue.commit_packs(PackWriter.pack_length(places), self._writer.tier)
            rows += _rows(shelf.kind, number, some, places)
        with self._connection.transaction():
            self._runs.add(rows)
            self._runs.drop(shelf.kind, [run])

    def _change(self, shelf: Shelf, run: int) -> Change | None:
        """What is to be done to the entries of a run, None for nothing. A thread's."""
        change: Change | None = None
        for items in self._runs.blocks(shelf.kind, run):
            if change is None:
                exact = items.grain is Grain.EXACT
                change = (
                    partial(_without, shelf)
                    if exact
                    else partial(_to_what_remains, shelf, shelf.representative())
                )
            stays, values = change(items.values)
            if not stays.all() or (values != items.values).any():
                return change
        return None


def _without(shelf: Shelf, numbers: Values) -> tuple[Flags, Values]:
    stays = ~shelf.going(numbers)
    return stays, numbers[stays]


def _to_what_remains(shelf: Shelf, representative: Values, numbers: Values) -> tuple[Flags, Values]:
    changed = shelf.going(numbers)
    instead = numbers.copy()
    instead[changed] = representative[shelf.blocks_of(numbers[changed])]
    stays = instead >= 0
    return stays, instead[stays]


def _next_of(blocks: Iterator[KeyBlock]) -> list[KeyBlock]:
    """Some of them; none at the end. A thread's."""
    some: list[KeyBlock] = []
    size = 0
    for block in blocks:
        some.append(block)
        size += len(block.payload)
        if size >= WRITTEN_AT_ONCE_BYTES:
            break
    return some


def _rows(
    kind: BlockKind, run: int, blocks: Sequence[KeyBlock], places: Sequence[BlockPlace]
) -> list[KeyPlace]:
    return [
        KeyPlace(
            kind, run, block.low, block.high, block.count, place.pack, place.offset_bytes,
            place.stored_bytes, place.raw_bytes,
        )
        for block, place in zip(blocks, places, strict=True)
    ]  # fmt: skip
