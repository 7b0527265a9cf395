"""Lookup counts: how often the kernel was told of an inode and has not forgotten it.

They are not open counts: a file may be looked up and not open, or the other way round.
"""

from collections.abc import Iterable


class LookupCounts:
    """``_counts`` has an entry for each inode that the kernel holds; it forgets under pressure."""

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}

    def add(self, ino: int) -> None:
        self._counts[ino] = self._counts.get(ino, 0) + 1

    def holds(self, ino: int) -> bool:
        return ino in self._counts

    def forget(self, forgotten: Iterable[tuple[int, int]]) -> list[int]:
        """Take back counts; the inodes that the kernel does not hold any more."""
        gone = []
        for ino, times in forgotten:
            left = self._counts.get(ino, 0) - times
            if left > 0:
                self._counts[ino] = left
            elif self._counts.pop(ino, None) is not None:
                gone.append(ino)
        return gone
