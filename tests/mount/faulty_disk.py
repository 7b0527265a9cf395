"""A folder seen through a mount of ours, on which reading, writing or syncing fails on request.

``python faulty_disk.py SOURCE MOUNTPOINT``. A request is a line of SOURCE/../faults: what
fails (read, write, sync), and a part of the names of the files on which it does.
"""

import errno
import os
import sys
from pathlib import Path

import pyfuse3
import trio


class FaultyDisk(pyfuse3.Operations):
    """What is below ``source``; inode numbers are places in ``_paths``."""

    enable_writeback_cache = False

    def __init__(self, source: Path) -> None:
        super().__init__()
        self._source = source
        self._faults = source.parent / "faults"
        self._paths: dict[int, Path] = {pyfuse3.ROOT_INODE: source}
        self._names: dict[int, str] = {}  # {descriptor: path}

    def _fail(self, what: str, fd: int) -> None:
        try:
            lines = self._faults.read_text().splitlines()
        except FileNotFoundError:
            return
        for line in lines:
            which, _, part = line.partition(" ")
            if which == what and part in self._names[fd]:
                raise pyfuse3.FUSEError(errno.EIO)

    def _entry(self, path: Path) -> pyfuse3.EntryAttributes:
        try:
            about = path.lstat()
        except OSError as error:
            raise pyfuse3.FUSEError(error.errno or errno.EIO) from None
        self._paths[about.st_ino] = path
        entry = pyfuse3.EntryAttributes()
        for name in ("mode", "nlink", "uid", "gid", "size", "blocks", "blksize",
                     "atime_ns", "mtime_ns", "ctime_ns"):  # fmt: skip
            setattr(entry, f"st_{name}", getattr(about, f"st_{name}"))
        entry.st_ino = pyfuse3.ROOT_INODE if path == self._source else about.st_ino
        entry.entry_timeout = entry.attr_timeout = 0
        return entry

    async def lookup(self, parent_inode, name, ctx):
        return self._entry(self._paths[parent_inode] / os.fsdecode(name))

    async def getattr(self, inode, ctx):
        return self._entry(self._paths[inode])

    async def setattr(self, inode, attr, fields, fh, ctx):
        if fields.update_size:
            os.truncate(self._paths[inode] if fh is None else fh, attr.st_size)
        return self._entry(self._paths[inode])

    async def mkdir(self, parent_inode, name, mode, ctx):
        path = self._paths[parent_inode] / os.fsdecode(name)
        path.mkdir()
        return self._entry(path)

    async def unlink(self, parent_inode, name, ctx):
        (self._paths[parent_inode] / os.fsdecode(name)).unlink()

    async def rename(self, old, name, new, new_name, flags, ctx):
        path = self._paths[new] / os.fsdecode(new_name)
        (self._paths[old] / os.fsdecode(name)).rename(path)
        self._entry(path)

    async def statfs(self, ctx):
        below, reply = os.statvfs(self._source), pyfuse3.StatvfsData()
        for name in ("bsize", "frsize", "blocks", "bfree", "bavail", "files", "ffree", "favail"):
            setattr(reply, f"f_{name}", getattr(below, f"f_{name}"))
        return reply

    def _open(self, path: Path, flags: int, mode: int = 0o600) -> pyfuse3.FileInfo:
        fd = os.open(path, flags & ~(os.O_APPEND | os.O_NOFOLLOW), mode)
        self._names[fd] = str(path)
        # Nothing of it is kept by the kernel, but for mmap of the index's -shm.
        return pyfuse3.FileInfo(fh=fd, direct_io="-shm" not in path.name)

    async def open(self, inode, flags, ctx):
        return self._open(self._paths[inode], flags)

    async def create(self, parent_inode, name, mode, flags, ctx):
        path = self._paths[parent_inode] / os.fsdecode(name)
        info = self._open(path, flags | os.O_CREAT, mode)
        return info, self._entry(path)

    async def read(self, fh, off, size):
        self._fail("read", fh)
        return os.pread(fh, size, off)

    async def write(self, fh, off, buf):
        self._fail("write", fh)
        try:
            return os.pwrite(fh, buf, off)
        except OSError as error:  # what is below is full
            raise pyfuse3.FUSEError(error.errno or errno.EIO) from None

    async def fsync(self, fh, datasync):
        self._fail("sync", fh)
        os.fsync(fh)

    async def release(self, fh):
        self._names.pop(fh)
        os.close(fh)

    async def opendir(self, inode, ctx):
        return inode

    async def readdir(self, fh, start_id, token):
        for at, path in enumerate(sorted(self._paths[fh].iterdir()), 1):
            if at > start_id and not pyfuse3.readdir_reply(
                token, os.fsencode(path.name), self._entry(path), at
            ):
                return


if __name__ == "__main__":
    pyfuse3.init(FaultyDisk(Path(sys.argv[1])), sys.argv[2], set(pyfuse3.default_options))
    try:
        trio.run(pyfuse3.main)
    finally:
        pyfuse3.close(unmount=True)
