"""Which folder the bytes of a vault belong to."""

import stat
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import NamedTuple

import anyio.lowlevel
import numpy as np
import numpy.typing as npt

from stowkenfs.errors import Corrupt, TreeError
from stowkenfs.ids import ROOT_INODE, InodeNo
from stowkenfs.index.connection import Connection
from stowkenfs.index.rows import Dentry, Extent, Inode
from stowkenfs.store.block import BlockKind, Layout
from stowkenfs.vault.stats import CONTENT_KINDS, collect_stats
from stowkenfs.vault.stats_report import VaultStats
from stowkenfs.vault.tree import Tree
from stowkenfs.vault.vault import Vault
from stowkenfs.vault.where_report import FolderBytes, Folders, Where

__all__ = ["FolderBytes", "Folders", "Where", "where_of"]

PAGE_ROWS = 100
"""Directory entries between two checkpoints, so that the loop waits some 2 ms at most."""

EXTENTS_AT_ONCE = 1000

FOLDERS_MAX = 1000
"""Folders with a row of their own; the rest have one together."""

HERE = "."
"""Name of the row of files that are in no folder."""

Integers = npt.NDArray[np.int64]
Numbers = npt.NDArray[np.float64]

ExtentsOf = Callable[[Inode], Sequence[Extent]]


async def where_of(vault: Vault) -> Where:
    """Where the bytes of a vault are; goes through all files, some 30 us each."""
    await vault.files.settle_all()
    connection = vault._connection  # noqa: SLF001 - the vault's own package

    def extents_of(inode: Inode) -> Sequence[Extent]:
        return vault.extents_of_file(inode.ino, 0, max(inode.size, 1))

    stats = await collect_stats(connection, vault.reader.payload, vault.directory)
    return Where(stats, await collect_folders(connection, vault.tree, extents_of, stats))


async def collect_folders(
    connection: Connection, tree: Tree, extents_of: ExtentsOf, stats: VaultStats
) -> Folders:
    """Walk the tree in slices of the loop's time; see ``Folders``.

    Memory: some 50 bytes for each block of records, and 16 for each that a folder refers to.
    """
    content = sum(one.stored_bytes for one in stats.kinds if one.kind in CONTENT_KINDS)
    blocks = await _load_blocks(connection)
    walk = _Walk(tree, extents_of)
    top, path = await walk.top()
    shares: list[_Share] = []
    others: _Share | None = None
    more = 0
    here = _Share(HERE, blocks)
    async for dentry, inode in walk.entries(top):
        if not stat.S_ISDIR(inode.mode):
            walk.add(inode, here)
            continue
        if len(shares) < FOLDERS_MAX:
            share = _Share(dentry.name.decode("utf-8", "backslashreplace"), blocks)
            shares.append(share)
            await walk.below(inode.ino, share)
            share.finish()
        else:
            others = others or _Share("", blocks)
            more += 1
            await walk.below(inode.ino, others)
    if others is not None:
        others.finish()
    if here.files:
        here.finish()
        shares.append(here)
    total = blocks.referred(shares if others is None else [*shares, others])
    folders = [share.bytes(total) for share in shares]
    rest = others.bytes(total) if others is not None else None
    told = sum(folder.stored_bytes for folder in folders) + (rest.stored_bytes if rest else 0)
    folders.sort(key=lambda folder: (-folder.stored_bytes, folder.name))
    return Folders(path, folders, more, rest, max(content - told, 0), walk.damaged)


class _Blocks(NamedTuple):
    """Ranges of record numbers in order, and what the block costs that holds each.

    ``mean``: bytes of content of a record, by range. By block, to which ``block`` leads:
    ``content`` bytes, and the ``cost`` in stored bytes, with what its records brought.
    """

    first: Integers
    end: Integers
    block: Integers
    mean: Numbers
    content: Numbers
    cost: Numbers

    def referred(self, shares: Sequence["_Share"]) -> Numbers:
        """Bytes of content by which the cost of a block is to be divided."""
        total = np.zeros(len(self.content))
        for share in shares:
            for blocks, content in share.parts:
                total[blocks] += content
        # What nobody refers to is nobody's; what several refer to counts once in all.
        return np.maximum(np.maximum(total, self.content), 1.0)


class _Share:
    """What a folder's files refer to.

    ``parts``: blocks and bytes of their content, once it is finished. Until then ``_content``
    is that of all blocks, and ``_waiting`` are extents to be added to it, in slices.
    """

    def __init__(self, name: str, blocks: _Blocks) -> None:
        self.name = name
        self.files = 0
        self.bytes_in = 0
        self.parts: list[tuple[Integers, Numbers]] = []
        self._blocks = blocks
        self._content: Numbers | None = None
        self._waiting: list[Extent] = []

    def add(self, inode: Inode, extents: Sequence[Extent]) -> None:
        self.files += 1
        self.bytes_in += inode.size
        self._waiting += extents
        if len(self._waiting) >= EXTENTS_AT_ONCE:
            self._count()

    def _count(self) -> None:
        blocks, extents = self._blocks, self._waiting
        self._waiting = []
        if not extents or not len(blocks.first):
            return
        if self._content is None:
            self._content = np.zeros(len(blocks.content))
        records = np.array([extent.record for extent in extents], np.int64)
        lasts = records + np.array([extent.count - 1 for extent in extents], np.int64)
        lengths = np.array([extent.length for extent in extents], np.float64)
        low = np.searchsorted(blocks.first, records, "right") - 1
        high = np.searchsorted(blocks.first, lasts, "right") - 1
        known = (low >= 0) & (lasts < blocks.end[high])  # not of a block of later than the list
        whole = known & (low == high)
        np.add.at(self._content, blocks.block[low[whole]], lengths[whole])
        for at in np.flatnonzero(known & (low != high)):
            ranges = slice(int(low[at]), int(high[at]) + 1)
            ends = np.minimum(blocks.end[ranges], lasts[at] + 1)
            counts = ends - np.maximum(blocks.first[ranges], records[at])
            within = np.maximum(counts, 0) * blocks.mean[ranges]
            share = lengths[at] / max(float(within.sum()), 1.0)
            np.add.at(self._content, blocks.block[ranges], within * share)

    def finish(self) -> None:
        """Keep what was added in few bytes."""
        self._count()
        if self._content is not None:
            blocks = np.flatnonzero(self._content)
            self.parts.append((blocks, self._content[blocks]))
            self._content = None

    def bytes(self, referred: Numbers) -> FolderBytes:
        stored = sum(
            float((content * self._blocks.cost[blocks] / referred[blocks]).sum())
            for blocks, content in self.parts
        )
        return FolderBytes(self.name, self.files, self.bytes_in, round(stored))


class _Walk:
    """Files by folder. ``_seen``: files with several names; they count at the first."""

    def __init__(self, tree: Tree, extents_of: ExtentsOf) -> None:
        self._tree = tree
        self._extents_of = extents_of
        self._seen: set[InodeNo] = set()
        self.damaged = 0

    async def top(self) -> tuple[InodeNo, str]:
        """Inode and path of the first directory that has more than one folder in it."""
        at, path = ROOT_INODE, ""
        while (only := self._only_folder(at)) is not None:
            await anyio.lowlevel.checkpoint()
            at = only.ino
            path += "/" + only.name.decode("utf-8", "backslashreplace")
        return at, path or "/"

    def _only_folder(self, directory: InodeNo) -> Dentry | None:
        try:
            page = self._tree.page(directory, 0, 2)
        except Corrupt:
            return None
        if len(page) != 1 or not stat.S_ISDIR(page[0][1].mode):
            return None
        return page[0][0]

    async def entries(self, directory: InodeNo) -> AsyncIterator[tuple[Dentry, Inode]]:
        cookie = 0
        with self._tree.listings.of(directory):
            while page := list(self._page(directory, cookie)):
                for entry in page:
                    yield entry
                cookie = page[-1][0].cookie
                await anyio.lowlevel.checkpoint()

    def _page(self, directory: InodeNo, after: int) -> Iterator[tuple[Dentry, Inode]]:
        try:
            yield from self._tree.page(directory, after, PAGE_ROWS)
        except (Corrupt, TreeError):  # or removed meanwhile
            self.damaged += 1

    async def below(self, directory: InodeNo, share: _Share) -> None:
        """Add all files of a directory and of those in it."""
        waiting = [directory]
        while waiting:
            async for _, inode in self.entries(waiting.pop()):
                if stat.S_ISDIR(inode.mode):
                    waiting.append(inode.ino)
                else:
                    self.add(inode, share)

    def add(self, inode: Inode, share: _Share) -> None:
        if not stat.S_ISREG(inode.mode) or inode.ino in self._seen:
            return
        if inode.nlink > 1:
            self._seen.add(inode.ino)
        try:
            share.add(inode, self._extents_of(inode))
        except Corrupt:
            self.damaged += 1


async def _load_blocks(connection: Connection) -> _Blocks:
    query = (
        "SELECT first, count, pack, offset, stored, content, brings, layout FROM block"
        " WHERE kind = ? ORDER BY first"
    )
    async with connection.scanner() as scan:
        batches = scan.batches(query, (BlockKind.RECORDS,))
        pieces = [np.array(rows, np.int64) async for rows in batches]
        ((referred,),) = await scan.all(
            "SELECT ifnull(sum(stored), 0) FROM (SELECT max(stored) AS stored FROM block"
            " WHERE layout != ? AND kind IN (?, ?) GROUP BY pack, offset)",
            (Layout.DENSE, BlockKind.SEGMENTS, BlockKind.TEMPLATES),
        )
    pieces.append(np.zeros((0, 8), np.int64))  # there may be none
    first, count, pack, offset, stored, content, brings, layout = np.concatenate(pieces).T
    brings = _filled_in(brings.astype(np.float64), content, layout != Layout.DENSE, referred)
    # One block has several ranges when it was merged, and is paid for once.
    _, leading, block = np.unique((pack << 40) + offset, return_index=True, return_inverse=True)
    n_blocks = len(leading)
    return _Blocks(
        first,
        first + count,
        block,
        content / np.maximum(count, 1),
        np.bincount(block, content, n_blocks).astype(np.float64),
        stored[leading] + np.bincount(block, brings, n_blocks),
    )


def _filled_in(
    brings: Numbers, content: Integers, is_hot: npt.NDArray[np.bool_], referred_bytes: int
) -> Numbers:
    """``brings`` of hot blocks by their length where the first release did not note it."""
    silent = is_hot & (brings == 0)
    left = referred_bytes - float(brings[is_hot].sum())
    length = float(content[silent].sum())
    if left > 0 and length > 0:
        brings[silent] = content[silent] * (left / length)
    return brings
