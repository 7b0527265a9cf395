"""Writing blocks at the end of packs, durably, and taking packs away again."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import IntEnum

import anyio.to_thread

from stowkenfs.ids import PackNo
from stowkenfs.index.catalogue import BlockPlace, Catalogue
from stowkenfs.index.space import FULL
from stowkenfs.store.api import PackStore
from stowkenfs.store.block import BlockKind, Layout

PACK_BYTES_MAX = 64 << 20
"""A pack that has grown past this is not appended to any more."""


class Tier(IntEnum):
    """Who fills a pack. In the index only."""

    HOT = 0
    DENSE = 1
    KEYS = 2  # of what is hot: the next compaction takes them away as a whole


@dataclass(frozen=True, slots=True)
class PackedBlock:
    """An encoded block and what the index will say of it."""

    kind: BlockKind
    first: int
    count: int
    raw_bytes: int
    content_bytes: int
    encoded: bytes
    layout: Layout = Layout.PLAIN
    base: int | None = None
    brings_bytes: int = 0


class PackWriter:
    """Appends to the open pack of one tier; one caller at a time.

    What was written counts from when its rows are in the index (``pack_length`` with them);
    until then the next write takes its place.
    """

    def __init__(self, catalogue: Catalogue, store: PackStore, tier: Tier) -> None:
        self._catalogue = catalogue
        self._store = store
        self.tier = tier
        self._closed = 0  # the highest pack that nothing is appended to any more

    def begin_new(self) -> None:
        """Let the next write begin a pack, so that all before it is closed."""
        self._closed = self._catalogue.open_pack(self.tier)[0]

    @property
    def open_pack(self) -> PackNo | None:
        """The pack that the next write goes on with, if it does not begin one."""
        pack = self._catalogue.open_pack(self.tier)[0]
        return pack if pack > self._closed else None

    async def write(self, blocks: Sequence[PackedBlock]) -> list[BlockPlace]:
        """Put ``blocks`` into a pack, synced; nothing finds them yet."""
        pack, length = self._catalogue.open_pack(self.tier)
        if pack <= self._closed or length >= PACK_BYTES_MAX:  # also after a write that failed
            pack, length = self._catalogue.new_pack(), 0
        try:
            await anyio.to_thread.run_sync(self._write, pack, length, blocks)
        except OSError as error:
            if error.errno not in FULL:
                # What a sync failed to write may pass for written the next time: leave the file.
                self._closed = pack
            await anyio.to_thread.run_sync(self._undo, pack, length)
            raise
        return _placed(blocks, pack, length)

    def _undo(self, pack: PackNo, length_bytes: int) -> None:
        """Give back what a write took that failed."""
        with suppress(OSError):
            if length_bytes:
                self._store.truncate(pack, length_bytes)
            else:
                self._store.remove(pack)

    def _write(self, pack: PackNo, offset_bytes: int, blocks: Sequence[PackedBlock]) -> None:
        self._store.write(pack, offset_bytes, b"".join(block.encoded for block in blocks))
        self._store.sync(pack)

    @staticmethod
    def pack_length(places: Sequence[BlockPlace]) -> dict[PackNo, int]:
        """Committed length in bytes of the pack that ``places`` are in, by them."""
        last = places[-1]
        return {last.pack: last.offset_bytes + last.stored_bytes}


def _placed(blocks: Sequence[PackedBlock], pack: PackNo, offset_bytes: int) -> list[BlockPlace]:
    places = []
    for block in blocks:
        places.append(
            BlockPlace(
                block.kind, block.first, block.count, pack, offset_bytes, len(block.encoded),
                block.raw_bytes, block.content_bytes, 0, block.layout, block.base,
                block.brings_bytes,
            )
        )  # fmt: skip
        offset_bytes += len(block.encoded)
    return places
