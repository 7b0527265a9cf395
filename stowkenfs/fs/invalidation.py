"""Telling the kernel of what it did not do itself, and would not know for an hour."""

from contextlib import suppress

import pyfuse3

from stowkenfs.fs.lookups import LookupCounts
from stowkenfs.ids import ROOT_INODE, InodeNo
from stowkenfs.index.inodes import Inode


def tell_gone(lookups: LookupCounts, directory: InodeNo, name: bytes, inode: Inode) -> None:
    """The daemon removed a name. ``inode`` is that of its file, with the names left.

    The kernel knows a name only while it holds its inode. It may be busy in the directory, so
    a thread of pyfuse3's waits for that; by then the name may stand for another file, which
    naming the inode keeps.
    """
    if directory == ROOT_INODE or lookups.holds(directory):  # nobody has to look up the root
        _forget_attributes(directory)
    if not lookups.holds(inode.ino):
        return
    # Told that a file is gone, the kernel takes it for one without names.
    gone = 0 if inode.nlink else inode.ino
    pyfuse3.invalidate_entry_async(directory, name, deleted=gone, ignore_enoent=True)
    if inode.nlink:
        _forget_attributes(inode.ino)


def _forget_attributes(ino: int) -> None:
    with suppress(OSError):  # it has let go of the inode meanwhile
        pyfuse3.invalidate_inode(ino, attr_only=True)
