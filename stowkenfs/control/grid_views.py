"""Stored grids in other formats: which files are grids, and what they look like as others."""

import struct
from collections.abc import Callable
from typing import Final

import anyio
import anyio.to_thread
from cachetools import LRUCache

from stowkenfs.control.nodes import Rendered, RenderedBytes, RenderedFile
from stowkenfs.errors import BadRequest, GridFormatError, SnapshotCorrupt, UnknownSnapshotVersion
from stowkenfs.grids import delta_log, snapshot
from stowkenfs.grids.formats import HEAD_BYTES, GridFormat, decode, encode, guess
from stowkenfs.grids.grid import Grid
from stowkenfs.grids.heat_map import heat_map
from stowkenfs.ids import InodeNo
from stowkenfs.index.inodes import Inode
from stowkenfs.vault.vault import Vault

PNG: Final = ".png"
SUFFIXES: Final = (".bin.gz", ".json", ".bin", ".npy", PNG)
"""Of the views, the longest first."""

VIEW_CELLS_MAX: Final = 1 << 21
"""As JSON some 150 MB are needed for so many at once, and 40 MB are shown."""

VIEW_BYTES_MAX: Final = 48 << 20
"""A file that is longer is not looked into."""

_IN_MEMORY_BYTES: Final = 64 << 10
_SHOWN_MAX: Final = 16
_VERDICTS_MAX: Final = 4096

_Version = tuple[InodeNo, int, int]


class GridViews:
    """What a mount shows of its grids. Event loop's thread.

    ``_shown``: the last views, short ones in memory and long ones as temporary files;
    ``_refused``: why files are no grids, None where they are. Both are by inode, size and time
    of the last change. One grid is made into another format at a time: each takes memory.
    ``last_refusal``: path and reason of what was asked for last and is none.
    """

    def __init__(self, vault: Vault) -> None:
        self._vault = vault
        self._lock = anyio.Lock()
        self._shown: LRUCache[tuple[_Version, str], Rendered] = LRUCache(_SHOWN_MAX)
        self._refused: LRUCache[_Version, str | None] = LRUCache(_VERDICTS_MAX)
        self.last_refusal: str | None = None

    async def refusal(self, inode: Inode) -> str | None:
        """Why a file is no grid that can be shown; None if it is one. Raises Corrupt."""
        version = _version(inode)
        if version not in self._refused:
            async with self._lock:
                try:
                    await self._read(inode, _nothing)
                except BadRequest as error:
                    self._refused[version] = str(error)
                else:
                    self._refused[version] = None
        return self._refused[version]

    async def render(self, ino: InodeNo, suffix: str) -> Rendered:
        """The grid of a file in the format of ``suffix``. Raises BadRequest if it is none."""
        inode = self._vault.tree.inode(ino)
        key = (_version(inode), suffix)
        async with self._lock:
            shown = self._shown.get(key)
            if shown is None:
                shown = self._shown[key] = _kept(await self._read(inode, _encoder(suffix)))
        return shown

    async def _read(self, inode: Inode, use: Callable[[Grid], bytes]) -> bytes:
        if inode.size > VIEW_BYTES_MAX:
            raise BadRequest(f"it has {inode.size} bytes; {VIEW_BYTES_MAX} are looked into")
        head = await self._head(inode)
        if not _may_be_state(head) and guess(head, inode.size) is None:
            raise BadRequest("neither its beginning nor its length is one of a grid's")
        content = await self._vault.read_file(inode.ino)
        return await anyio.to_thread.run_sync(lambda: use(_grid_in(content)))

    async def _head(self, inode: Inode) -> bytes:
        live = self._vault.files.acquire(inode.ino, writing=False)
        try:
            return await self._vault.files.read(live, 0, HEAD_BYTES)
        finally:
            self._vault.files.release(inode.ino, writing=False)


def _version(inode: Inode) -> _Version:
    return inode.ino, inode.size, inode.ctime_ns


def _kept(content: bytes) -> Rendered:
    if len(content) <= _IN_MEMORY_BYTES:
        return RenderedBytes(content)
    rendered = RenderedFile()
    rendered.append(content)
    return rendered.finish()


def _nothing(_grid: Grid) -> bytes:
    return b""


def _encoder(suffix: str) -> Callable[[Grid], bytes]:
    if suffix == PNG:
        return heat_map
    grid_format = GridFormat(suffix)
    return lambda grid: encode(grid, grid_format)


def _may_be_state(head: bytes) -> bool:
    """Whether a file may be a snapshot or a log of a grid."""
    return head.startswith((snapshot.MAGIC, delta_log.MAGIC))


def _grid_in(content: bytes) -> Grid:
    """The grid of a file; of a log its last state. Raises BadRequest, which says why not."""
    try:
        if content.startswith(delta_log.MAGIC):
            log = delta_log.decode_log(content)
            grid = log.restore(log.last)
        elif content.startswith(snapshot.MAGIC):
            grid = snapshot.decode_snapshot(content).grid
        else:
            guessed = guess(content[:HEAD_BYTES], len(content))
            if guessed is None:
                raise BadRequest("it is a grid no more")
            grid = decode(content, guessed)
    except (GridFormatError, SnapshotCorrupt, UnknownSnapshotVersion, struct.error) as error:
        raise BadRequest(str(error)) from error
    if grid.cells.size > VIEW_CELLS_MAX:
        raise BadRequest(f"it has {grid.cells.size} cells; {VIEW_CELLS_MAX} are shown")
    return grid
