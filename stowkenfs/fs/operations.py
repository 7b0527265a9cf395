"""Request handlers: decode, call the vault, reply. Rules and bytes live elsewhere."""

import errno
import os
import stat
from collections.abc import Sequence
from contextlib import suppress
from functools import partial

import pyfuse3
from pyfuse3 import FUSEError

from stowkenfs.control.tree import CONTROL_NAME
from stowkenfs.fs.attributes import absent_entry, entry_of, mode_after_change
from stowkenfs.fs.control_nodes import CONTROL_ROOT, ControlNodes
from stowkenfs.fs.directories import Directories
from stowkenfs.fs.errno_map import answered
from stowkenfs.fs.invalidation import tell_gone
from stowkenfs.fs.lookups import LookupCounts
from stowkenfs.fs.xattrs import Xattrs
from stowkenfs.ids import ROOT_INODE, InodeNo
from stowkenfs.index.inodes import Inode
from stowkenfs.vault.vault import Vault

WRITING = os.O_WRONLY | os.O_RDWR


class StowkenOperations(pyfuse3.Operations):
    """All requests of one mount. Event loop's thread.

    ``_open``: {handle: (inode, whether it may write)}; ``_lookups`` are kept apart from it.
    """

    supports_dot_lookup = True

    def __init__(
        self, vault: Vault, control: ControlNodes, *, control_visible: bool, writeback: bool
    ) -> None:
        super().__init__()
        self.enable_writeback_cache = writeback
        self._vault = vault
        self._tree = vault.tree
        self._files = vault.files
        self._control = control
        self._lookups = LookupCounts()
        self._files.is_looked_up = self._lookups.holds
        self._open: dict[int, tuple[InodeNo, bool]] = {}
        self._next_handle = 1
        self._directories = Directories(
            vault, control, self._lookups, control_visible=control_visible
        )
        self._xattrs = Xattrs(vault)
        control.entry_of = lambda ino: self._entry(self._tree.inode(ino))
        vault.retention.told = partial(tell_gone, self._lookups)

    def _new_handle(self) -> int:
        self._next_handle += 1
        return self._next_handle

    def _entry(self, inode: Inode) -> pyfuse3.EntryAttributes:
        return entry_of(inode, self._files.held_bytes(inode))

    def _told(self, entry: pyfuse3.EntryAttributes) -> pyfuse3.EntryAttributes:
        """An entry in a reply that makes the kernel hold its inode."""
        self._lookups.add(entry.st_ino)
        return entry

    # Names

    @answered
    async def lookup(
        self, parent_inode: int, name: bytes, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.EntryAttributes:
        if parent_inode >= CONTROL_ROOT:
            self._control.check_allowed(ctx.uid)
            return self._told(await self._control.lookup(parent_inode, name))
        parent = InodeNo(parent_inode)
        if parent == ROOT_INODE and name == CONTROL_NAME:
            return self._told(await self._control.getattr(CONTROL_ROOT))
        if name == b".":
            return self._told(self._entry(self._tree.inode(parent)))
        if name == b"..":
            return self._told(self._entry(self._tree.inode(self._tree.inode(parent).parent)))
        inode = self._tree.lookup(parent, name)
        if inode is None:
            return absent_entry()
        self._vault.versions.seen(parent, name, inode.ino)
        return self._told(self._entry(inode))

    async def forget(self, inode_list: Sequence[tuple[int, int]]) -> None:
        with suppress(FUSEError):  # nobody waits for an answer, and none may be given
            await self._forget(inode_list)

    @answered
    async def _forget(self, inode_list: Sequence[tuple[int, int]]) -> None:
        gone = self._lookups.forget(inode_list)
        self._control.forget(gone)
        self._files.nameless.forgotten(InodeNo(ino) for ino in gone if ino < CONTROL_ROOT)

    def _check_outside_control(self, parent: int, name: bytes) -> InodeNo:
        """Nothing is made, moved or removed under ``.stowken``, nor under its name."""
        if parent >= CONTROL_ROOT or (parent == ROOT_INODE and name == CONTROL_NAME):
            raise FUSEError(errno.EPERM)
        return InodeNo(parent)

    def _check_changeable(self, ino: int) -> None:
        """What is shown of a file as it was stays as it was."""
        if ino in self._control.shown:
            raise FUSEError(errno.EPERM)

    async def _make(
        self,
        parent: int,
        name: bytes,
        mode: int,
        ctx: pyfuse3.RequestContext,
        *,
        rdev: int = 0,
        target: bytes | None = None,
    ) -> pyfuse3.EntryAttributes:
        directory = self._check_outside_control(parent, name)
        inode = self._tree.create(directory, name, mode, ctx.uid, ctx.gid, rdev=rdev, target=target)
        return self._told(self._entry(inode))

    @answered
    async def mknod(
        self, parent_inode: int, name: bytes, mode: int, rdev: int, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.EntryAttributes:
        return await self._make(parent_inode, name, mode & ~ctx.umask, ctx, rdev=rdev)

    @answered
    async def mkdir(
        self, parent_inode: int, name: bytes, mode: int, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.EntryAttributes:
        mode = stat.S_IFDIR | stat.S_IMODE(mode & ~ctx.umask)
        return await self._make(parent_inode, name, mode, ctx)

    @answered
    async def symlink(
        self, parent_inode: int, name: bytes, target: bytes, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.EntryAttributes:
        return await self._make(parent_inode, name, stat.S_IFLNK | 0o777, ctx, target=target)

    @answered
    async def link(
        self, inode: int, new_parent_inode: int, new_name: bytes, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.EntryAttributes:
        if inode >= CONTROL_ROOT:
            raise FUSEError(errno.EPERM)
        self._check_changeable(inode)
        parent = self._check_outside_control(new_parent_inode, new_name)
        return self._told(self._entry(self._tree.link(InodeNo(inode), parent, new_name)))

    @answered
    async def unlink(self, parent_inode: int, name: bytes, ctx: pyfuse3.RequestContext) -> None:
        self._tree.unlink(self._check_outside_control(parent_inode, name), name)

    @answered
    async def rmdir(self, parent_inode: int, name: bytes, ctx: pyfuse3.RequestContext) -> None:
        self._tree.rmdir(self._check_outside_control(parent_inode, name), name)

    @answered
    async def rename(
        self,
        parent_inode_old: int,
        name_old: bytes,
        parent_inode_new: int,
        name_new: bytes,
        flags: int,
        ctx: pyfuse3.RequestContext,
    ) -> None:
        old = self._check_outside_control(parent_inode_old, name_old)
        new = self._check_outside_control(parent_inode_new, name_new)
        if flags & ~(pyfuse3.RENAME_EXCHANGE | pyfuse3.RENAME_NOREPLACE):
            raise FUSEError(errno.EINVAL)
        if flags & pyfuse3.RENAME_EXCHANGE:
            self._tree.exchange(old, name_old, new, name_new)
        else:
            replace = not flags & pyfuse3.RENAME_NOREPLACE
            self._tree.rename(old, name_old, new, name_new, replace=replace)

    @answered
    async def readlink(self, inode: int, ctx: pyfuse3.RequestContext) -> bytes:
        if inode >= CONTROL_ROOT:
            self._control.check_allowed(ctx.uid)
            return self._control.readlink(inode)
        target = self._tree.inode(InodeNo(inode)).target
        if target is None:
            raise FUSEError(errno.EINVAL)
        return target

    # Attributes

    @answered
    async def getattr(self, inode: int, ctx: pyfuse3.RequestContext) -> pyfuse3.EntryAttributes:
        if inode >= CONTROL_ROOT:
            return await self._control.getattr(inode)
        return self._entry(self._tree.inode(InodeNo(inode)))

    @answered
    async def setattr(
        self,
        inode: int,
        attr: pyfuse3.EntryAttributes,
        fields: pyfuse3.SetattrFields,
        fh: int | None,
        ctx: pyfuse3.RequestContext,
    ) -> pyfuse3.EntryAttributes:
        if inode >= CONTROL_ROOT:
            self._control.check_allowed(ctx.uid)
            if fields.update_mode or fields.update_uid or fields.update_gid:
                raise FUSEError(errno.EPERM)
            return await self._control.getattr(inode)  # truncation means nothing here
        self._check_changeable(inode)
        if fields.update_size:
            await self._vault.versions.prepare(InodeNo(inode))
        changed = self._tree.set_attributes(
            InodeNo(inode),
            mode=attr.st_mode if fields.update_mode else None,
            uid=attr.st_uid if fields.update_uid else None,
            gid=attr.st_gid if fields.update_gid else None,
            size=attr.st_size if fields.update_size else None,
            atime_ns=attr.st_atime_ns if fields.update_atime else None,
            mtime_ns=attr.st_mtime_ns if fields.update_mtime else None,
        )
        return self._entry(changed)

    @answered
    async def getxattr(self, inode: int, name: bytes, ctx: pyfuse3.RequestContext) -> bytes:
        if inode >= CONTROL_ROOT:
            raise FUSEError(errno.ENODATA)
        return await self._xattrs.get(InodeNo(inode), name)

    @answered
    async def listxattr(self, inode: int, ctx: pyfuse3.RequestContext) -> Sequence[bytes]:
        return [] if inode >= CONTROL_ROOT else self._xattrs.names(InodeNo(inode), ctx.uid)

    @answered
    async def setxattr(
        self, inode: int, name: bytes, value: bytes, ctx: pyfuse3.RequestContext
    ) -> None:
        if inode >= CONTROL_ROOT:
            raise FUSEError(errno.EPERM)
        self._check_changeable(inode)
        self._xattrs.set(InodeNo(inode), name, value)

    @answered
    async def removexattr(self, inode: int, name: bytes, ctx: pyfuse3.RequestContext) -> None:
        if inode >= CONTROL_ROOT:
            raise FUSEError(errno.EPERM)
        self._check_changeable(inode)
        self._xattrs.remove(InodeNo(inode), name)

    @answered
    async def statfs(self, ctx: pyfuse3.RequestContext) -> pyfuse3.StatvfsData:
        assert self._vault.directory is not None
        below = os.statvfs(self._vault.directory)
        reply = pyfuse3.StatvfsData()
        for name in ("bsize", "frsize", "blocks", "bfree", "bavail", "files", "ffree", "favail"):
            setattr(reply, f"f_{name}", getattr(below, f"f_{name}"))
        reply.f_namemax = 255
        return reply

    # Content

    @answered
    async def create(
        self, parent_inode: int, name: bytes, mode: int, flags: int, ctx: pyfuse3.RequestContext
    ) -> tuple[pyfuse3.FileInfo, pyfuse3.EntryAttributes]:
        mode = stat.S_IFREG | stat.S_IMODE(mode & ~ctx.umask)
        entry = await self._make(parent_inode, name, mode, ctx)
        self._vault.versions.seen(InodeNo(parent_inode), name, InodeNo(entry.st_ino))
        await self._vault.versions.prepare(InodeNo(entry.st_ino))
        return self._open_file(InodeNo(entry.st_ino), flags), entry

    @answered
    async def open(self, inode: int, flags: int, ctx: pyfuse3.RequestContext) -> pyfuse3.FileInfo:
        if inode >= CONTROL_ROOT:
            self._control.check_allowed(ctx.uid)
            handle = self._new_handle()
            await self._control.open(handle, inode, flags)
            return pyfuse3.FileInfo(fh=handle, direct_io=True)
        if flags & (WRITING | os.O_TRUNC):
            self._check_changeable(inode)
            await self._vault.versions.prepare(InodeNo(inode))
        if flags & os.O_TRUNC:  # libfuse tells the kernel to leave that to us
            self._empty(InodeNo(inode), ctx.uid)
        return self._open_file(InodeNo(inode), flags)

    def _empty(self, ino: InodeNo, uid: int) -> None:
        """Truncate at opening, which takes set-id bits away, as other truncations do."""
        before = self._tree.inode(ino).mode
        mode = mode_after_change(before, uid)
        if mode == before:
            self._files.truncate(ino, 0)
        else:
            self._tree.set_attributes(ino, size=0, mode=mode)

    def _open_file(self, ino: InodeNo, flags: int) -> pyfuse3.FileInfo:
        writing = bool(flags & WRITING)
        self._files.acquire(ino, writing=writing)
        handle = self._new_handle()
        self._open[handle] = (ino, writing)
        # Content changes through the kernel only, so its pages stay right.
        return pyfuse3.FileInfo(fh=handle, keep_cache=True)

    @answered
    async def read(self, fh: int, off: int, size: int) -> bytes:
        if self._control.holds(fh):
            return self._control.read(fh, off, size)
        live = self._files.live(self._open[fh][0])
        assert live is not None, "an open file is in use"
        return await self._files.read(live, off, size)

    @answered
    async def write(self, fh: int, off: int, buf: bytes) -> int:
        if self._control.holds(fh):
            return await self._control.write(fh, buf)
        return self._files.write(self._open[fh][0], off, buf)

    @answered
    async def release(self, fh: int) -> None:
        if self._control.holds(fh):
            self._control.release(fh)
            return
        ino, writing = self._open.pop(fh)
        self._files.release(ino, writing=writing)

    def release_all(self) -> None:
        """After unmounting: nobody holds a file any more, also where the kernel did not say so."""
        while self._open:
            _, (ino, writing) = self._open.popitem()
            self._files.release(ino, writing=writing)

    @answered
    async def fsync(self, fh: int, datasync: bool) -> None:
        if not self._control.holds(fh):
            await self._vault.sync_file(self._open[fh][0])

    # Directories

    @answered
    async def opendir(self, inode: int, ctx: pyfuse3.RequestContext) -> int:
        if inode >= CONTROL_ROOT:
            self._control.check_allowed(ctx.uid)
        handle = self._new_handle()
        await self._directories.open(handle, inode)
        return handle

    @answered
    async def readdir(self, fh: int, start_id: int, token: pyfuse3.ReaddirToken) -> None:
        await self._directories.read(fh, start_id, token)

    @answered
    async def releasedir(self, fh: int) -> None:
        self._directories.close(fh)

    @answered
    async def fsyncdir(self, fh: int, datasync: bool) -> None:
        await self._vault.sync()
