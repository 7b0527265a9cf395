"""``state/``: the tree of the vault again, each grid in all formats that grids come in."""

import logging
import stat
from collections.abc import AsyncIterator

from stowkenfs.control.format import printable
from stowkenfs.control.grid_views import SUFFIXES, GridViews
from stowkenfs.control.nodes import ControlDirectory, ControlFile, Node, Rendered
from stowkenfs.errors import BadRequest
from stowkenfs.ids import ROOT_INODE, InodeNo
from stowkenfs.index.inodes import Inode
from stowkenfs.vault.tree import NAME_BYTES_MAX
from stowkenfs.vault.vault import Vault

log = logging.getLogger(__name__)

PAGE_ROWS = 500


class StateFile(ControlFile):
    """A grid in one format."""

    is_kept = False

    def __init__(self, views: GridViews, ino: InodeNo, suffix: str) -> None:
        self._views = views
        self._ino = ino
        self._suffix = suffix

    async def render(self) -> Rendered:
        return await self._views.render(self._ino, self._suffix)


class StateDirectory(ControlDirectory):
    """A folder of the vault with ``NAME.bin``, ``NAME.json``, … for each grid NAME in it."""

    def __init__(self, vault: Vault, views: GridViews, ino: InodeNo = ROOT_INODE) -> None:
        self._vault = vault
        self._views = views
        self._ino = ino

    async def find(self, name: bytes) -> Node | None:
        """Raises BadRequest for a file that is no grid."""
        inode = self._vault.tree.lookup(self._ino, name)
        if inode is not None and stat.S_ISDIR(inode.mode):
            return StateDirectory(self._vault, self._views, inode.ino)
        for suffix in SUFFIXES:
            stem = name.removesuffix(suffix.encode())
            inode = self._vault.tree.lookup(self._ino, stem) if stem not in (name, b"") else None
            if inode is not None and stat.S_ISREG(inode.mode):
                return await self._view(inode, stem, suffix)
        return None

    async def _view(self, inode: Inode, name: bytes, suffix: str) -> Node:
        refusal = await self._views.refusal(inode)
        if refusal is None:
            return StateFile(self._views, inode.ino, suffix)
        shown = printable(name.decode("utf-8", "backslashreplace"))
        self._views.last_refusal = f"{shown} is no grid that can be shown: {refusal}"
        log.info("state: %s", self._views.last_refusal)
        raise BadRequest(self._views.last_refusal)

    async def names(self) -> AsyncIterator[tuple[bytes, Node]]:
        """Folders, and the views of grids; to know these each file's beginning is read."""
        cookie = 0
        while page := self._vault.tree.page(self._ino, cookie, PAGE_ROWS):
            for dentry, inode in page:
                cookie = dentry.cookie
                if stat.S_ISDIR(inode.mode):
                    yield dentry.name, StateDirectory(self._vault, self._views, inode.ino)
                elif stat.S_ISREG(inode.mode) and await self._views.refusal(inode) is None:
                    for suffix in SUFFIXES:
                        name = dentry.name + suffix.encode()
                        if len(name) <= NAME_BYTES_MAX:
                            yield name, StateFile(self._views, inode.ino, suffix)
