"""What the rows of the tree are as values: inodes, names, extents."""

from dataclasses import dataclass
from typing import NamedTuple

from stowkenfs.ids import InodeNo

FIELDS_MAX = {
    "mode": 0o177777,
    "uid": (1 << 32) - 1,
    "gid": (1 << 32) - 1,
    "nlink": (1 << 32) - 1,
    "size": (1 << 63) - 1,
    "rdev": (1 << 63) - 1,
    "parent": 1 << 62,
}
"""What the fields of an inode may be, from 0 on; packs that say otherwise are damaged."""


@dataclass(slots=True)
class Inode:
    """One row of ``inode``; times in nanoseconds since the epoch, size in bytes."""

    ino: InodeNo
    mode: int
    uid: int
    gid: int
    nlink: int
    size: int
    rdev: int
    atime_ns: int
    mtime_ns: int
    ctime_ns: int
    parent: InodeNo
    target: bytes | None


class Dentry(NamedTuple):
    """A name in a directory; readdir continues after ``cookie``."""

    name: bytes
    ino: InodeNo
    cookie: int


@dataclass(frozen=True, slots=True)
class Extent:
    """``length`` bytes of a document from ``start``: consecutive records from ``record``."""

    start: int
    length: int
    record: int
    count: int

    @property
    def end(self) -> int:
        return self.start + self.length
