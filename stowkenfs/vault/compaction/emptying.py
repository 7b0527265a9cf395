"""Packs of which little is in use: what is left of them is copied, then they are removed."""

import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

import anyio
import anyio.lowlevel
import anyio.to_thread

from stowkenfs.errors import Corrupt
from stowkenfs.ids import PackNo
from stowkenfs.index.catalogue import Catalogue
from stowkenfs.index.connection import Connection
from stowkenfs.store.api import PackStore
from stowkenfs.store.block import HEADER_BYTES, BlockKind, check_block, stored_length
from stowkenfs.vault.packs import PackedBlock, PackWriter
from stowkenfs.vault.passages import Passages

log = logging.getLogger(__name__)

KEPT_SHARE_MIN = 0.75
"""A pack of which less is in use is written anew."""
SMALL_PACK_BYTES = 8 << 20
SMALL_KEPT_SHARE_MIN = 0.9
"""So is a small one of which less than this is: that takes no time."""

COPIED_AT_ONCE_BYTES = 8 << 20

LOCATING_TABLES = ("block", "key_block", "frozen_inode", "frozen_name")
"""They say where blocks lie."""

_GROUP_KINDS = (BlockKind.INODES, BlockKind.NAMES)


def is_kept(live_bytes: int, length_bytes: int) -> bool:
    """Whether a pack with so much in use stays as it is."""
    is_small = length_bytes <= SMALL_PACK_BYTES
    return live_bytes >= (SMALL_KEPT_SHARE_MIN if is_small else KEPT_SHARE_MIN) * length_bytes


async def live_bytes(connection: Connection) -> dict[PackNo, int]:
    """How much of each pack is referred to."""
    tables = " UNION ".join(f"SELECT pack, offset, stored FROM {one}" for one in LOCATING_TABLES)  # noqa: S608
    async with connection.scanner() as scan:
        rows = await scan.all(f"SELECT pack, sum(stored) FROM ({tables}) GROUP BY pack")  # noqa: S608
    return dict(rows)


@dataclass(slots=True)
class Emptied:
    """Packs of which nothing is in use any more.

    ``have_dead_groups``: whether there are groups of the tree in them that were thawed. The
    last checkpoint may name those, and be all that packs tell of what was in them.
    """

    packs: list[PackNo] = field(default_factory=list)
    have_dead_groups: bool = False


@dataclass(frozen=True, slots=True)
class Emptier:
    """Event loop's thread, but where a method says so. ``writer``: where copies go."""

    connection: Connection
    catalogue: Catalogue
    store: PackStore
    readers: Passages
    writers: Passages
    writer: PackWriter
    refresh: Callable[[], None]

    async def empty(self, being_filled: PackNo | None, also: Collection[PackNo] = ()) -> Emptied:
        """Copy what is in use of packs of which that is little or nothing.

        ``being_filled``: the pack that ingest writes to. ``also``: packs that go however much of
        them is in use.
        """
        emptied = Emptied()
        there = self.catalogue.packs()
        for pack in sorted({*await self._mostly_unused(), *(one for one in also if one in there)}):
            if pack == being_filled:
                continue
            live = self.catalogue.live_blocks(pack)
            open_pack = self.writer.open_pack
            if pack == open_pack or (live and open_pack is not None and open_pack < pack):
                # Behind all that it may have taken the place of: the last block counts.
                self.writer.begin_new()
            try:
                await self._copy(pack, live)
            except (Corrupt, OSError) as error:
                log.warning("pack %d stays as it is: %s", pack, error)
                continue
            emptied.packs.append(pack)
            emptied.have_dead_groups |= await anyio.to_thread.run_sync(
                self._has_dead_groups, pack, there[pack], {offset for offset, _ in live}
            )
        return emptied

    async def remove(self, packs: Sequence[PackNo]) -> int:
        """Take packs away that ``empty`` told of; how many went.

        The next opening does the same with those that have no row, so nothing in them may be
        needed by anyone when this is called, also by none who rebuilds the index.
        """
        if not packs:
            return 0
        with self.connection.transaction():
            gone = [pack for pack in packs if not self.catalogue.live_blocks(pack)]
            for pack in gone:
                self.catalogue.drop_pack(pack)
        self.refresh()
        # An index that still names a pack must not find it gone, and no reader either.
        await anyio.to_thread.run_sync(self.connection.sync)
        await self.readers.drain()
        await self.writers.drain()
        for pack in gone:
            await anyio.to_thread.run_sync(self.store.remove, pack)
        return len(gone)

    async def _mostly_unused(self) -> list[PackNo]:
        """Packs of which so little is referred to that they are better written anew."""
        lengths = self.catalogue.packs()
        live = await live_bytes(self.connection)
        return [pack for pack, length in lengths.items() if not is_kept(live.get(pack, 0), length)]

    def is_mostly_unused(self, pack: PackNo, length_bytes: int) -> bool:
        """Whether that is so of a pack, now."""
        live = self.catalogue.live_blocks(pack)
        return not is_kept(sum(stored for _, stored in live), length_bytes)

    async def _copy(self, pack: PackNo, live: Sequence[tuple[int, int]]) -> None:
        some: list[tuple[int, int]] = []
        size = 0
        for at, (offset, stored) in enumerate(live):
            some.append((offset, stored))
            size += stored
            if size >= COPIED_AT_ONCE_BYTES or at == len(live) - 1:
                blocks = await anyio.to_thread.run_sync(self._read, pack, some)
                places = await self.writer.write(blocks)
                with self.connection.transaction():
                    self.catalogue.commit_packs(PackWriter.pack_length(places), self.writer.tier)
                    moved = {old: place for (old, _), place in zip(some, places, strict=True)}
                    self.catalogue.move_blocks(pack, moved)
                self.refresh()
                some, size = [], 0
                await anyio.lowlevel.checkpoint()

    def _read(self, pack: PackNo, some: Sequence[tuple[int, int]]) -> list[PackedBlock]:
        """Blocks as they lie in a pack, checked. A thread's. Raises Corrupt."""
        blocks = []
        for offset, stored in some:
            content = self.store.read(pack, offset, stored)
            check_block(content, pack, offset)
            blocks.append(PackedBlock(BlockKind(content[4]), 0, 0, 0, 0, content))
        return blocks

    def _has_dead_groups(self, pack: PackNo, length_bytes: int, copied: Collection[int]) -> bool:
        """Whether groups are in a pack that were not ``copied``; so if nobody knows. A thread's."""
        at = 0
        while at < length_bytes:
            try:
                head = self.store.read(pack, at, HEADER_BYTES)
                size = stored_length(head, pack, at)
            except (Corrupt, OSError):
                return True
            if head[4] in _GROUP_KINDS and at not in copied:
                return True
            at += size
        return False
