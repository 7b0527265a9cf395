"""Keys for deduplication, from content: tables of the index, or runs of key blocks in packs."""

import os
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np

from stowkenfs.ids import PackNo
from stowkenfs.index.connection import Connection
from stowkenfs.index.key_merge import (
    DENSE_SPARE_BITS,
    HOT_SPARE_BITS,
    KeyBlock,
    cut_run,
    merge_runs,
)
from stowkenfs.index.keys import Grain, KeyItems, Keys, Values, decode_keys, prefix_bits
from stowkenfs.store.api import PackStore
from stowkenfs.store.block import Block, BlockKind, encode_block
from stowkenfs.store.local import private
from stowkenfs.vault.dedup import TABLES
from stowkenfs.vault.packs import PACK_BYTES_MAX, Tier

KEYS_IN_MEMORY_MAX = 1 << 20
TABLE_KEYS_MAX = 50_000
"""More keys of hot things than that go to packs, as when a vault is closed."""
WRITTEN_AT_ONCE = 64

_SPARE_BITS = {Grain.EXACT: HOT_SPARE_BITS, Grain.BLOCK: DENSE_SPARE_BITS}
_RUNS = {Grain.BLOCK: 1, Grain.EXACT: 2}
"""Numbers of the runs of a kind."""


class KeyShelf:
    """Keys of one kind of things and one grain, in bounded memory, until they are a run.

    ``total``: how many there will be at most. What is too much for memory goes to ``path``,
    in sorted pieces of ``(offset_bytes, length_bytes, count)``.
    """

    def __init__(self, kind: BlockKind, grain: Grain, total: int, path: Path) -> None:
        self.kind = kind
        self.grain = grain
        self.total = total
        self.path = path
        self._kept: list[tuple[Keys, Values]] = []
        self._count = 0
        self._pieces: list[list[tuple[int, int, int]]] = []

    def add(self, keys: Keys, values: Values) -> None:
        """Keys of things and where they are, as the grain says: shape (n,) both."""
        if len(keys):
            self._kept.append((keys, values))
            self._count += len(keys)
            if self._count >= KEYS_IN_MEMORY_MAX:
                self._spill()

    def _cut(self) -> Iterator[KeyBlock]:
        """What is in memory as a run whose keys tell all ``total`` from each other."""
        keys = np.concatenate([np.empty(0, np.int64), *(keys for keys, _ in self._kept)])
        values = np.concatenate([np.empty(0, np.int64), *(values for _, values in self._kept)])
        self._kept.clear()
        self._count = 0
        spare = _SPARE_BITS[self.grain]
        spare += prefix_bits(self.total, spare) - prefix_bits(len(keys), spare)
        return cut_run(keys, values, max(spare, 0), self.grain)

    def _spill(self) -> None:
        piece = []
        with open(self.path, "ab", opener=private) as file:
            for block in self._cut():
                piece.append((file.tell(), len(block.payload), block.count))
                file.write(block.payload)
        self._pieces.append(piece)

    def blocks(self) -> Iterator[KeyBlock]:
        """All of it as one run."""
        if not self._pieces:
            if self._kept:
                yield from self._cut()
            return
        if self._kept:
            self._spill()
        with self.path.open("rb") as file:
            runs = [map(partial(_read, file.fileno()), piece) for piece in self._pieces]
            yield from merge_runs(runs, self.total)

    def rows(self) -> Iterator[tuple[Keys, Values]]:
        """What is in memory, which is all if it is no more than KEYS_IN_MEMORY_MAX."""
        assert not self._pieces
        yield from self._kept


def _read(fd: int, place: tuple[int, int, int]) -> KeyItems:
    offset, length, count = place
    return decode_keys(os.pread(fd, length, offset), count)


class KeyWriter:
    """Puts keys where look-ups find them. ``lengths``: of the packs that it made, in bytes."""

    def __init__(self, connection: Connection, store: PackStore, last_pack: int) -> None:
        self._connection = connection
        self._store = store
        self._last_pack = last_pack
        self.lengths: dict[PackNo, int] = {}
        self._open: dict[Tier, PackNo] = {}

    def write(self, shelf: KeyShelf) -> None:
        """Store all of ``shelf``; durable once ``sync`` returned and the rows are."""
        if shelf.grain is Grain.EXACT and shelf.total <= TABLE_KEYS_MAX:
            self._to_table(shelf)
            return
        tier = Tier.KEYS if shelf.grain is Grain.EXACT else Tier.DENSE
        some: list[KeyBlock] = []
        for block in shelf.blocks():
            some.append(block)
            if len(some) >= WRITTEN_AT_ONCE:
                self._to_pack(shelf, tier, some)
                some = []
        self._to_pack(shelf, tier, some)

    def _to_table(self, shelf: KeyShelf) -> None:
        table = TABLES[shelf.kind]
        with self._connection.transaction():
            for keys, values in shelf.rows():
                self._connection.execute_many(
                    f"INSERT OR IGNORE INTO {table} VALUES (?, ?)",  # noqa: S608
                    np.stack((keys, values), axis=1).tolist(),
                )

    def _to_pack(self, shelf: KeyShelf, tier: Tier, blocks: Sequence[KeyBlock]) -> None:
        if not blocks:
            return
        pack = self._open.get(tier)
        if pack is None or self.lengths[pack] >= PACK_BYTES_MAX:
            self._last_pack += 1
            pack = self._open[tier] = PackNo(self._last_pack)
            self.lengths[pack] = 0
        run = _RUNS[shelf.grain]
        first = run << 8 | shelf.kind
        encoded = [
            encode_block(Block(BlockKind.KEYS, first, one.count, one.payload), level=None)
            for one in blocks
        ]
        start = self.lengths[pack]
        self._store.write(pack, start, b"".join(encoded))
        ends = np.cumsum([start, *map(len, encoded)]).tolist()
        with self._connection.transaction():
            self._connection.execute_many(
                "INSERT INTO key_block VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [
                    (shelf.kind, run, one.low, one.high, one.count, pack, offset, end - offset,
                     len(one.payload))
                    for one, (offset, end) in zip(blocks, pairwise(ends), strict=True)
                ],
            )  # fmt: skip
            self.lengths[pack] = ends[-1]
            self._connection.execute(
                "INSERT OR REPLACE INTO pack VALUES (?, ?, ?)", (pack, ends[-1], tier)
            )

    def sync(self) -> None:
        for pack in self.lengths:
            self._store.sync(pack)
