"""Inodes as the kernel wants them."""

import stat

import pyfuse3

from stowkenfs.index.inodes import Inode

CACHE_SECONDS = 3600.0
"""All changes come through the kernel, so what it knows stays true."""

BLOCK_BYTES = 4096


def entry_of(inode: Inode, held_bytes: int) -> pyfuse3.EntryAttributes:
    """Attributes of a file of the vault, of which so many bytes are no holes."""
    entry = pyfuse3.EntryAttributes()
    entry.st_ino = inode.ino
    entry.st_mode = inode.mode
    entry.st_nlink = inode.nlink
    entry.st_uid = inode.uid
    entry.st_gid = inode.gid
    entry.st_rdev = inode.rdev
    entry.st_size = inode.size
    entry.st_blksize = BLOCK_BYTES
    entry.st_blocks = (held_bytes + 511) // 512
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


def mode_after_change(mode: int, uid: int) -> int:
    """The mode of a file whose content ``uid`` changed: what it grants was for the old content.

    As the kernel has it (``setattr_should_drop_suidgid``): with no execution for its group the
    set-group-id bit means something else, and stays.
    """
    if uid == 0:
        return mode
    if mode & stat.S_IXGRP:
        mode &= ~stat.S_ISGID
    return mode & ~stat.S_ISUID
