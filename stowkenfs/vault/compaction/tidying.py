"""What ends a compaction and a collection: the tree told anew, and room given back."""

from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass

import anyio

from stowkenfs.ids import PackNo
from stowkenfs.index.catalogue import Catalogue
from stowkenfs.vault.committer import Committer
from stowkenfs.vault.compaction.emptying import Emptier
from stowkenfs.vault.compaction.sweep import GroupPlace, Sweeper


@dataclass(frozen=True, slots=True)
class Tidier:
    """Event loop's thread."""

    catalogue: Catalogue
    committer: Committer
    sweeper: Sweeper
    emptier: Emptier
    namespace_lock: anyio.Lock
    write_namespace: Callable[[], Awaitable[None]]

    async def tell_tree(self) -> int:
        """Freeze what can be, and void what was told before; how many inodes were frozen."""
        async with self.namespace_lock:
            frozen = await self.sweeper.freeze()
            checkpoint = await self.sweeper.begin_checkpoint()
        await self._finish(checkpoint)
        return frozen

    async def _finish(self, checkpoint: tuple[int, list[GroupPlace]] | None) -> None:
        if checkpoint is not None:
            await self.write_namespace()
            async with self.namespace_lock:
                await self.sweeper.finish_checkpoint(*checkpoint)

    async def drop_packs(self, being_filled: PackNo | None, also: Collection[PackNo] = ()) -> int:
        """Remove packs of which little or nothing is in use; see ``Emptier.empty``.

        How many went. Before they do, the packs that stay tell all of the tree without them.
        """
        emptied = await self.emptier.empty(being_filled, also)
        if emptied.packs:
            # Files that went may be all that referred to what is in them.
            await self.write_namespace()
        if emptied.have_dead_groups:
            # What was in them are rows now, and maybe nothing but the index tells so. Groups
            # that are thawed from here on were copied.
            async with self.namespace_lock:
                checkpoint = await self.sweeper.begin_checkpoint()
            await self._finish(checkpoint)
        return await self.emptier.remove(emptied.packs)

    async def give_back(self, also: Collection[PackNo] = ()) -> int:
        """Remove packs that are mostly unused, and shrink the index; how many packs went.

        ``also``: packs that go however much of them is in use.
        """
        async with self.committer.between_rounds():
            being_filled = self.committer.open_pack
            length = self.catalogue.packs().get(being_filled) if being_filled else None
            if being_filled in also or (
                being_filled and length and self.emptier.is_mostly_unused(being_filled, length)
            ):
                self.committer.begin_new_pack()
                being_filled = None
        removed = await self.drop_packs(being_filled, also)
        await self.sweeper.shrink_index()
        return removed
