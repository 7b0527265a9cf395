"""Open directories: entries in an order that stays while the directory changes."""

import pyfuse3

from stowkenfs.control.tree import CONTROL_NAME
from stowkenfs.errors import Corrupt
from stowkenfs.fs.attributes import entry_of
from stowkenfs.fs.control_nodes import CONTROL_ROOT, ControlNodes
from stowkenfs.fs.lookups import LookupCounts
from stowkenfs.ids import ROOT_INODE, InodeNo
from stowkenfs.vault.vault import Vault

ROWS_AT_FIRST = 64
ROWS_MIN, ROWS_MAX = 16, 1024
"""How many entries are looked up for one reply, of which some kernels take twenty and some
thousands: as many as fitted into the last one."""

SELF_COOKIE, PARENT_COOKIE = 1, 2
CONTROL_COOKIE = (1 << 62) + 1
"""Behind all others, where no directory's own entries come."""


class Directories:
    """Listings. ``_open``: {handle: inode}, of the vault's directories only.

    ``_rows``: about how many entries fit into one reply.
    """

    def __init__(
        self, vault: Vault, control: ControlNodes, lookups: LookupCounts, *, control_visible: bool
    ) -> None:
        self._tree = vault.tree
        self._files = vault.files
        self._versions = vault.versions
        self._control = control
        self._lookups = lookups
        self._control_visible = control_visible
        self._open: dict[int, InodeNo] = {}
        self._rows = ROWS_AT_FIRST

    async def open(self, handle: int, ino: int) -> None:
        if ino >= CONTROL_ROOT:
            await self._control.opendir(handle, ino)
        else:
            self._open[handle] = InodeNo(ino)
            self._tree.listings.begin(InodeNo(ino))

    def close(self, handle: int) -> None:
        ino = self._open.pop(handle, None)
        if ino is None:
            self._control.release(handle)
        else:
            self._tree.listings.end(ino)

    async def read(self, handle: int, start: int, token: pyfuse3.ReaddirToken) -> None:
        """Reply what comes behind position ``start``, as much as fits."""
        ino = self._open.get(handle)
        if ino is None:
            for number in await self._control.readdir(handle, start, token):
                self._lookups.add(number)
            return
        if start < PARENT_COOKIE and not self._reply_dots(ino, start, token):
            return
        cookie = max(start, PARENT_COOKIE)
        told = 0
        while cookie < CONTROL_COOKIE:
            try:
                page = self._tree.page(ino, cookie, max(self._rows + 1 - told, ROWS_MIN))
            except Corrupt:  # which comes when all that can be told was told
                if cookie > max(start, PARENT_COOKIE):
                    return  # with what there is; the kernel asks on, and is told then
                raise
            for dentry, inode in page:
                shown = entry_of(inode, self._files.held_bytes(inode))
                if not pyfuse3.readdir_reply(token, dentry.name, shown, dentry.cookie):
                    self._rows = min(max(told, ROWS_MIN), ROWS_MAX)
                    return
                self._lookups.add(inode.ino)
                self._versions.seen(ino, dentry.name, inode.ino)
                cookie = dentry.cookie
                told += 1
            if not page:
                break
        if ino == ROOT_INODE and self._control_visible and cookie < CONTROL_COOKIE:
            entry = await self._control.getattr(CONTROL_ROOT)
            if pyfuse3.readdir_reply(token, CONTROL_NAME, entry, CONTROL_COOKIE):
                self._lookups.add(CONTROL_ROOT)

    def _reply_dots(self, ino: InodeNo, start: int, token: pyfuse3.ReaddirToken) -> bool:
        """``.`` and ``..``, which the kernel does not count as looked up."""
        inode = self._tree.inode(ino)
        if start < SELF_COOKIE and not pyfuse3.readdir_reply(
            token, b".", entry_of(inode, 0), SELF_COOKIE
        ):
            return False
        parent = self._tree.inode(inode.parent)
        return bool(pyfuse3.readdir_reply(token, b"..", entry_of(parent, 0), PARENT_COOKIE))
