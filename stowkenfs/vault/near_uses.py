"""Which files segments come from."""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import accumulate

import anyio.to_thread
import numpy as np
import numpy.typing as npt

from stowkenfs.documents.body import References
from stowkenfs.documents.pieces import MADE
from stowkenfs.errors import Corrupt
from stowkenfs.ids import InodeNo, RecordNo
from stowkenfs.index.connection import Scanner
from stowkenfs.index.frozen_scan import all_extents
from stowkenfs.index.frozen_tree import FrozenTree
from stowkenfs.store.block import BlockKind
from stowkenfs.vault.reader import Reader

ROWS_AT_ONCE = 4

BLOCKS = (
    "SELECT first, count, CASE skip WHEN 0 THEN stored ELSE 0 END"
    " FROM block WHERE kind = ? ORDER BY first"
)
"""First number, count and stored bytes of each range of a kind."""
BlockRow = tuple[int, int, int]

Numbers = npt.NDArray[np.int64]


class Uses:
    """One file for each segment that is in use, by number: 8 bytes for each that is stored."""

    def __init__(self, ranges: Sequence[tuple[int, int]]) -> None:
        """``ranges``: first number and count of those that are stored, in order."""
        self._firsts = [first for first, _ in ranges]
        self._ends = [first + count for first, count in ranges]
        self._offsets = [0, *accumulate(count for _, count in ranges)]
        self._files = np.zeros(self._offsets[-1], np.int64)

    def file(self, number: int) -> InodeNo | None:
        """A file that refers to a segment, None if there is none."""
        at = bisect_right(self._firsts, number) - 1
        if at < 0 or number >= self._ends[at]:
            return None
        ino = int(self._files[self._offsets[at] + number - self._firsts[at]])
        return InodeNo(ino) if ino else None

    def note(self, numbers: Numbers, inodes: Numbers) -> None:
        """Segments, and for each a file that refers to it: shape (n,) both."""
        if not self._firsts:
            return
        at = np.searchsorted(np.array(self._firsts), numbers, "right") - 1
        known = np.flatnonzero((at >= 0) & (numbers < np.array(self._ends)[at]))
        at = at[known]
        slots = np.array(self._offsets)[at] + numbers[known] - np.array(self._firsts)[at]
        self._files[slots] = inodes[known]


async def uses_of(
    scan: Scanner, frozen: FrozenTree, reader: Reader, progress: Callable[[int], None]
) -> Uses:
    """Files that segments come from; goes through all records.

    ``progress`` is told how many stored bytes of records are done. Memory: 24 bytes for each
    extent, too. Nothing must be compacted meanwhile. What is damaged is left out.
    """
    ranges: list[tuple[int, int]] = []
    async for rows in scan.batches(BLOCKS, (BlockKind.SEGMENTS,)):
        ranges += ((first, count) for first, count, _ in rows)
    uses = Uses(ranges)
    pieces = [np.empty((0, 3), np.int64)]
    async for some in all_extents(scan, frozen, lambda _: None):
        of_files = [(extent.record, extent.record + extent.count, ino) for ino, extent in some]
        pieces.append(np.array(of_files, np.int64).reshape(-1, 3))
    walk = _Walk(reader, uses, np.concatenate(pieces))
    pieces.clear()
    done = 0
    async for rows in scan.batches(BLOCKS, (BlockKind.RECORDS,), ROWS_AT_ONCE):
        await anyio.to_thread.run_sync(walk.look_into, rows)
        done += sum(stored for _, _, stored in rows)
        progress(done)
    return uses


class _Walk:
    """Looks for segments in records. One thread's at a time.

    ``_first``, ``_end``, ``_ino``: extents by their first record; since some have records in
    common, in place of each the one that reaches farthest, of those up to it.
    """

    def __init__(self, reader: Reader, uses: Uses, extents: Numbers) -> None:
        """``extents``: first record, the one past the last, and inode, shape (n, 3)."""
        self._reader = reader
        self._uses = uses
        first, end, ino = extents[np.argsort(extents[:, 0], kind="stable")].T
        self._first, self._end = first, np.maximum.accumulate(end)
        is_farther = np.append(True, self._end[1:] > self._end[:-1])[: len(end)]
        farthest = np.maximum.accumulate(np.where(is_farther, np.arange(len(end)), 0))
        self._ino = ino[farthest]

    def look_into(self, rows: Sequence[BlockRow]) -> None:
        """Note what ranges of records refer to."""
        for first, count, _ in rows:
            try:
                records, owners = self._references(first, count)
            except Corrupt:
                continue  # verify names it
            inodes = self._inodes(owners)
            in_use = np.flatnonzero(inodes)
            self._uses.note(records[in_use], inodes[in_use])

    def _references(self, first: int, count: int) -> tuple[Numbers, Numbers]:
        """Segments that records refer to, and which record does: shape (n,) both."""
        records, at = self._reader._records_with(RecordNo(first))  # noqa: SLF001 - this package's
        pieces = records.pieces(range(at, at + count))
        sizes = np.where(pieces.styles < MADE, pieces.ends - pieces.starts, 0)
        bounds = np.append(0, np.cumsum(sizes))
        parts_ends = bounds[pieces.value_ends]  # how many parts there are up to each record's end
        owners = np.repeat(np.arange(first, first + count), np.diff(parts_ends, prepend=0))
        alone = [
            (segment, first + place)
            for place in pieces.alone
            for value in records.body(at + place).values
            if isinstance(value, References)
            for segment in value.segments
        ]
        more = np.array(alone, np.int64).reshape(-1, 2)
        return np.append(pieces.parts, more[:, 0]), np.append(owners, more[:, 1])

    def _inodes(self, records: Numbers) -> Numbers:
        """A file that has each of ``records``, 0 where there is none."""
        if not len(self._first):
            return np.zeros(len(records), np.int64)
        at = np.searchsorted(self._first, records, "right") - 1
        return np.where((at >= 0) & (self._end[at] > records), self._ino[at], 0)
