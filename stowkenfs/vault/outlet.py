"""Writing what comes out of a vault to a directory on disk. Everything here blocks.

Nothing is overwritten and no link is followed, so that no name leads out of the directory.
"""

import errno
import os
import stat
from collections.abc import Sequence
from pathlib import Path

from stowkenfs.errors import DirectoryNotEmpty, NotADirectory, NotPermitted
from stowkenfs.index.inodes import Inode

Xattrs = Sequence[tuple[bytes, bytes]]

_PRIVATE_FILE = 0o600
_PRIVATE_DIRECTORY = 0o700
_RUN_AS_OWNER = stat.S_ISUID | stat.S_ISGID


def prepare_destination(destination: Path, vault_directory: Path | None) -> bool:
    """Make ``destination``; whether it was absent.

    Raises DirectoryNotEmpty, NotADirectory, NotPermitted (inside the vault) or OSError.
    """
    if vault_directory is not None:
        vault = vault_directory.resolve()
        if vault in (destination.resolve(), *destination.resolve().parents):
            raise NotPermitted(f"{destination} is inside the vault; name a place outside")
    try:
        destination.mkdir()
    except FileExistsError:
        if not destination.is_dir():
            raise NotADirectory(f"{destination} is not a directory") from None
        with os.scandir(destination) as entries:
            if next(entries, None) is not None:
                raise DirectoryNotEmpty(
                    f"{destination} is not empty; name an absent or empty directory"
                ) from None
        return False
    return True


class OutputFile:
    """A file being written; it appears with the first write or with ``finish``."""

    def __init__(self, path: bytes) -> None:
        self._path = path
        self._fd: int | None = None

    def _open(self) -> int:
        if self._fd is None:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            self._fd = os.open(self._path, flags, _PRIVATE_FILE)
        return self._fd

    def write(self, start: int, content: bytes) -> None:
        fd, view = self._open(), memoryview(content)
        while view:
            written = os.pwrite(fd, view, start)
            view, start = view[written:], start + written

    def finish(self, inode: Inode, xattrs: Xattrs) -> str | None:
        """Give it its length and attributes. What could not be kept, or None."""
        fd = self._open()
        os.ftruncate(fd, inode.size)
        problem = _set_attributes(fd, inode, xattrs)
        os.close(fd)
        self._fd = None
        return problem

    def discard(self) -> None:
        """Remove what was written, if it is not finished."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
            os.unlink(self._path)  # noqa: PTH108 - bytes


def make_directory(path: bytes) -> None:
    """A directory that nobody else looks into until ``finish_directory``."""
    os.mkdir(path, _PRIVATE_DIRECTORY)  # noqa: PTH102 - bytes


def finish_directory(path: bytes, inode: Inode, xattrs: Xattrs) -> str | None:
    """Attributes, after all that is in it is there. What could not be kept, or None."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        return _set_attributes(fd, inode, xattrs)
    finally:
        os.close(fd)


def make_special(path: bytes, inode: Inode) -> str | None:
    """A symbolic link, fifo, socket or device. What could not be kept, or None."""
    if inode.target is not None:
        os.symlink(inode.target, path)  # noqa: PTH211 - bytes
    else:
        os.mknod(path, stat.S_IFMT(inode.mode) | _PRIVATE_FILE, inode.rdev)
    try:
        if os.geteuid() == 0:
            os.lchown(path, inode.uid, inode.gid)
        if inode.target is None:
            os.chmod(path, _mode(inode))  # noqa: PTH101 - bytes; made here, so no link
        times = (inode.atime_ns, inode.mtime_ns)
        os.utime(path, ns=times, follow_symlinks=False)
    except (OSError, OverflowError) as error:
        return f"its attributes: {error}"
    return None


def make_name(first: bytes, path: bytes) -> None:
    """One more name for the file at ``first``."""
    os.link(first, path, follow_symlinks=False)


def _mode(inode: Inode) -> int:
    """Permissions; a program that ran as its owner must not run as somebody else."""
    mode = stat.S_IMODE(inode.mode)
    if os.geteuid() not in (0, inode.uid) and not stat.S_ISDIR(inode.mode):
        mode &= ~_RUN_AS_OWNER
    return mode


def _set_attributes(fd: int, inode: Inode, xattrs: Xattrs) -> str | None:
    try:
        for name, value in xattrs:
            os.setxattr(fd, name, value)
        if os.geteuid() == 0:
            os.fchown(fd, inode.uid, inode.gid)
        os.fchmod(fd, _mode(inode))
        os.utime(fd, ns=(inode.atime_ns, inode.mtime_ns))
    except (OSError, OverflowError) as error:
        return f"its attributes: {error}"
    return None


def is_hopeless(error: OSError) -> bool:
    """Whether the destination takes no more files at all."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
