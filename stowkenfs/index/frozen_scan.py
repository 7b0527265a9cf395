"""Reports over hot and frozen rows together."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import anyio.lowlevel

from stowkenfs.errors import Corrupt
from stowkenfs.ids import InodeNo
from stowkenfs.index.connection import Scanner
from stowkenfs.index.frozen_tree import FrozenTree
from stowkenfs.index.rows import Extent


@dataclass(frozen=True, slots=True)
class FrozenTotals:
    """What the frozen groups hold; sizes in bytes."""

    files: int
    bytes: int
    sealed_bytes: int
    conversations: int


async def frozen_totals(scan: Scanner) -> FrozenTotals:
    """Sums over all groups, to be added to those over hot rows."""
    (row,) = await scan.all(
        "SELECT ifnull(sum(files), 0), ifnull(sum(bytes), 0), ifnull(sum(sealed), 0),"
        " ifnull(sum(conversations), 0) FROM frozen_inode"
    )
    return FrozenTotals(*row)


async def all_extents(
    scan: Scanner, frozen: FrozenTree, on_damage: Callable[[Corrupt], None]
) -> AsyncIterator[list[tuple[InodeNo, Extent]]]:
    """Extents of all files in lists of a group or a batch; a damaged group is told.

    What is thawed meanwhile may come twice; nothing must be frozen meanwhile.
    """
    at = InodeNo(-1)
    while places := frozen.inode_places(at, 1):  # before hot rows, where they may go
        at = places[0].first
        try:
            rows = frozen.inode_group(places[0]).rows()
        except Corrupt as error:
            on_damage(error)
            continue
        yield [(row.inode.ino, extent) for row in rows for extent in row.extents]
        await anyio.lowlevel.checkpoint()
    query = "SELECT ino, start, length, record, count FROM extent ORDER BY ino, start"
    async for batch in scan.batches(query):
        yield [(InodeNo(ino), Extent(*extent)) for ino, *extent in batch]
