"""Rows of the tree that were looked up or written a short time ago.

A look into the database costs several system calls for its locks, and the kernel asks for the
same rows again and again: a name that is about to be made, the directory of a thousand files.
"""

import stat
from collections.abc import Callable
from typing import Generic, TypeVar

from stowkenfs.index.pending import UNKNOWN, InodeRow, PendingRows, Unknown

K = TypeVar("K")
V = TypeVar("V")

ROWS_MAX = 16384
"""Of each sort, and as many of the generation before: some 16 MB of memory in all."""


class Recent(Generic[K, V]):
    """The last ``rows_max`` to twice as many entries. Whoever is not asked for is forgotten."""

    def __init__(self, rows_max: int) -> None:
        self._rows_max = rows_max
        self._young: dict[K, V] = {}
        self._old: dict[K, V] = {}
        self.on_forgetting: Callable[[], None] = lambda: None

    def get(self, key: K) -> V | Unknown:
        found = self._young.get(key, UNKNOWN)
        if found is UNKNOWN and self._old:
            found = self._old.get(key, UNKNOWN)
            if found is not UNKNOWN:
                self.put(key, found)
        return found

    def put(self, key: K, value: V) -> None:
        if len(self._young) >= self._rows_max:
            if self._old:
                self.on_forgetting()
            self._young, self._old = {}, self._young
        if self._rows_max:
            self._young[key] = value

    def clear(self) -> None:
        self._young, self._old = {}, {}


class RecentRows:
    """What the database has. ``inodes``: by number; ``names``: inodes, None of what is not there.

    To be used only where nobody else writes these tables, and to be told of what is written.

    ``_whole``: directories of which all names are here, because they were made a short time
    ago; so a name that is not here is not there.
    """

    def __init__(self, rows_max: int = ROWS_MAX) -> None:
        self.inodes: Recent[int, InodeRow | None] = Recent(rows_max)
        self.names: Recent[tuple[int, bytes], int | None] = Recent(rows_max)
        self._whole: set[int] = set()
        self._remembers = rows_max > 0
        self.names.on_forgetting = self._whole.clear

    def name(self, parent: int, name: bytes) -> int | Unknown | None:
        """The inode of a name, None if there is none."""
        found = self.names.get((parent, name))
        return None if found is UNKNOWN and parent in self._whole else found

    def absorb(self, written: PendingRows) -> None:
        """Know what was just written to the database."""
        for ino, change in written.inodes.items():
            self.inodes.put(ino, change.row if change else None)
            if change and change.is_new and self._remembers and stat.S_ISDIR(change.row[1]):
                self._whole.add(ino)
        for parent, names in written.names.items():
            for name, entry in names.items():
                self.names.put((parent, name), entry[0] if entry else None)

    def clear(self) -> None:
        """After a rollback: what was absorbed may not be so."""
        self.inodes.clear()
        self.names.clear()
        self._whole.clear()
