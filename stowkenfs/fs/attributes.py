"""Inodes as the kernel wants them."""

import pyfuse3

from stowkenfs.index.inodes import Inode

CACHE_SECONDS = 3600.0
"""All changes come through the kernel, so what it knows stays true."""

BLOCK_BYTES = 4096


def entry_of(inode: Inode) -> pyfuse3.EntryAttributes:
    """Attributes of a file of the vault."""
    entry = pyfuse3.EntryAttributes()
    entry.st_ino = inode.ino
    entry.st_mode = inode.mode
    entry.st_nlink = inode.nlink
    entry.st_uid = inode.uid
    entry.st_gid = inode.gid
    entry.st_rdev = inode.rdev
    entry.st_size = inode.size
    entry.st_blksize = BLOCK_BYTES
    entry.st_blocks = (inode.size + 511) // 512
    entry.st_atime_ns = inode.atime_ns
    entry.st_mtime_ns = inode.mtime_ns
    entry.st_ctime_ns = inode.ctime_ns
    entry.entry_timeout = entry.attr_timeout = CACHE_SECONDS
    return entry


def absent_entry() -> pyfuse3.EntryAttributes:
    """Tells the kernel to remember that a name does not exist."""
    entry = pyfuse3.EntryAttributes()
    entry.st_ino = 0
    entry.entry_timeout = CACHE_SECONDS
    return entry
