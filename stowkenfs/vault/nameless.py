"""Files without a name that somebody may still ask for: they go when nobody can any more."""

from collections.abc import Iterable
from typing import Protocol

from stowkenfs.ids import InodeNo
from stowkenfs.index.connection import Connection
from stowkenfs.index.inodes import InodeTable
from stowkenfs.index.space import giving_room

ROWS_AT_ONCE = 200
ROWS_IF_SHORT = 8
"""On a full disk."""


def rows_at_once(connection: Connection) -> int:
    """How many files one change may be about."""
    return ROWS_IF_SHORT if connection.is_short_of_room else ROWS_AT_ONCE


class Purging(Protocol):
    """What knows who uses a file, and forgets it."""

    def in_use(self, ino: InodeNo) -> bool: ...

    def purge(self, ino: InodeNo) -> None: ...


class Nameless:
    """Event loop's thread.

    Owned: ``_kept``, files that lost their last name, some of which got another one since;
    ``_forgotten``, those of them that the kernel let go of.
    """

    def __init__(self, connection: Connection, inodes: InodeTable, files: Purging) -> None:
        self._connection = connection
        self._inodes = inodes
        self._files = files
        self._kept: set[InodeNo] = set()
        self._forgotten: set[InodeNo] = set()

    def keep(self, ino: InodeNo) -> None:
        """A file has no name, and its row stays until nobody can ask for it."""
        self._kept.add(ino)

    def gone(self, ino: InodeNo) -> None:
        """The file is no more."""
        self._kept.discard(ino)

    def forgotten(self, inodes: Iterable[InodeNo]) -> None:
        """The kernel let go of ``inodes``: those without a name go now, or with the next ones."""
        self._forgotten.update(self._kept.intersection(inodes))
        self.purge_forgotten()

    def purge_forgotten(self) -> None:
        """Those that the kernel let go of, also where the disk refused that before."""
        waiting = list(self._forgotten)
        for start in range(0, len(waiting), rows := rows_at_once(self._connection)):
            some = waiting[start : start + rows]
            with giving_room(), self._connection.change():
                for ino in some:
                    self._purge(ino)
            self._forgotten.difference_update(some)

    def _purge(self, ino: InodeNo) -> None:
        if self._files.in_use(ino):
            return
        inode = self._inodes.get(ino)
        if inode is not None and inode.nlink == 0:
            self._files.purge(ino)
