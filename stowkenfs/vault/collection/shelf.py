"""What the index has of one kind of things, as arrays, and which of them are in use."""

from collections.abc import Collection, Iterator
from enum import IntEnum
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from stowkenfs.store.block import BlockKind, Layout

Integers = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

SHELF_COLUMNS = "first, count, pack, offset, stored, skip, layout, ifnull(base, -1)"
"""Of the table ``block``: what a shelf is made of."""

REWRITTEN_SHARE_MAX = 0.75
"""A block of which more is in use is not worth writing anew."""


ROW_BYTES = 70
"""What a row of the table ``block`` takes; measured."""
TRIMMED_A_ROW_MIN = 4
"""Things that each more row must let go of when a block is trimmed."""


class Fate(IntEnum):
    """What becomes of a block.

    One that is trimmed lies where it lies, since others were compressed against it: the index
    lists what remains of it, and what else it has may refer to what is gone.
    """

    STAYS = 0
    REWRITTEN = 1
    DROPPED = 2
    TRIMMED = 3


CHANGING = (Fate.DROPPED, Fate.REWRITTEN, Fate.TRIMMED)
REMAINING = (Fate.STAYS, Fate.REWRITTEN, Fate.TRIMMED)


class Row(NamedTuple):
    """Part of a block: things from number ``first`` on, and which of them remain."""

    first: int
    skip: int
    remains: Flags


class Shelf:
    """The things of one kind that there were when a collection began: a byte for each.

    ``rows``: int64, shape (n, 8), as SHELF_COLUMNS says, by ``first``. Numbers that are in no
    row are ignored. *Blocks* are numbered in the order of their first things.

    One thread at a time, but for ``is_going``, which any may ask.
    """

    def __init__(self, kind: BlockKind, rows: Integers) -> None:
        self.kind = kind
        firsts, counts, packs, offsets, stored, skips, layouts, bases = rows.T
        self._firsts, self._counts, self._skips = firsts.copy(), counts.copy(), skips.copy()
        self._slots = np.concatenate(([0], np.cumsum(counts)))  # where a row's marks begin
        self._marks: Flags = np.zeros(int(self._slots[-1]), np.bool_)
        places = (packs << 40) + offsets
        _, leading, block = np.unique(places, return_index=True, return_inverse=True)
        order = np.argsort(leading, kind="stable")  # by the first thing, not by the place
        rank = np.empty_like(order)
        rank[order] = np.arange(len(order))
        self._block = rank[block]  # of each row
        lead = leading[order]
        self.leads = firsts[lead]  # a number in each block
        self.packs, self.offsets = packs[lead], offsets[lead]
        self.stored, self.bases = stored[lead], bases[lead]
        self.is_dense: Flags = layouts[lead] == Layout.DENSE
        self.counts = self._by_block(counts)
        self._rows = self._by_block(np.ones_like(counts))
        # By block: how many things lie in it, also those of one that was trimmed.
        self._sizes = np.zeros(len(lead), np.int64)
        np.maximum.at(self._sizes, self._block, skips + counts)
        self.fates = np.full(len(lead), Fate.STAYS, np.uint8)
        self._is_planned = False
        self._rows_by_block = np.argsort(self._block, kind="stable")
        self._row_ends = np.cumsum(np.bincount(self._block, minlength=len(lead)))
        # By block: whether others that stay were compressed against it, after ``plan``; and
        # whether others ever were that lie in some pack, after ``spare``.
        self._is_base: Flags = np.zeros(len(lead), np.bool_)
        self._is_named: Flags = np.zeros(len(lead), np.bool_)
        self._kept_whole: Flags = np.zeros(len(lead), np.bool_)

    def __len__(self) -> int:
        """How many blocks."""
        return len(self.leads)

    @property
    def total(self) -> int:
        """How many things."""
        return len(self._marks)

    def _by_block(self, of_rows: Integers) -> Integers:
        sums = np.zeros(int(self._block.max()) + 1 if len(self._block) else 0, np.int64)
        np.add.at(sums, self._block, of_rows)
        return sums

    # Marks

    def _find(self, numbers: Integers) -> tuple[Integers, Integers]:
        """Slots of those numbers that are here, and their rows."""
        if not len(self._firsts) or not len(numbers):
            return np.empty(0, np.int64), np.empty(0, np.int64)
        rows = np.searchsorted(self._firsts, numbers, "right") - 1
        inside = numbers - self._firsts[rows]
        known = (rows >= 0) & (inside < self._counts[rows])
        rows = rows[known]
        return self._slots[rows] + inside[known], rows

    def mark(self, numbers: Integers) -> None:
        """These are in use."""
        self._marks[self._find(numbers)[0]] = True

    def mark_ranges(self, firsts: Integers, counts: Integers) -> None:
        """So are ``counts`` things from each of ``firsts`` on: shape (n,) both."""
        self.mark(joined_ranges(firsts, counts))

    def mark_below(self, number: int) -> None:
        """So are all below ``number``."""
        row = int(np.searchsorted(self._firsts, number, "left"))
        self._marks[: self._slots[row]] = True
        if row:
            start = int(self._slots[row - 1])
            count = min(int(self._counts[row - 1]), number - int(self._firsts[row - 1]))
            self._marks[start : start + count] = True

    def mark_block(self, block: int) -> None:
        """So is everything in a block."""
        for row in self._rows_of(block):
            self._marks[self._slots[row] : self._slots[row + 1]] = True

    def mark_dense(self) -> None:
        """So is everything in dense blocks."""
        for block in np.flatnonzero(self.is_dense).tolist():
            self.mark_block(block)

    def in_use(self) -> Integers:
        """How many things of each block are."""
        if not len(self._firsts):
            return np.zeros(0, np.int64)
        return self._by_block(np.add.reduceat(self._marks, self._slots[:-1], dtype=np.int64))

    def _runs(self) -> Integers:
        """How many runs of things each block has that are in use: rows, if it is written anew."""
        if not len(self._firsts):
            return np.zeros(0, np.int64)
        begins = self._marks.copy()
        begins[1:] &= ~self._marks[:-1]
        begins[self._slots[:-1]] = self._marks[self._slots[:-1]]
        return self._by_block(np.add.reduceat(begins, self._slots[:-1], dtype=np.int64))

    # Fates

    def plan(self) -> None:
        """Decide what becomes of each block; what was decided before only grows milder.

        None is written anew whose rows in the index would take as much as it gives.
        """
        used = self.in_use()
        fates = np.where(used == 0, Fate.DROPPED, Fate.REWRITTEN).astype(np.uint8)
        fates[used == self._sizes] = Fate.STAYS
        if not self._is_planned:
            fates[used > REWRITTEN_SHARE_MAX * self._sizes] = Fate.STAYS
            if self.kind is not BlockKind.RECORDS:  # with a record all goes that it alone needs
                saved = self.stored * (self._sizes - used) // np.maximum(self._sizes, 1)
                rows = self._runs() - self._rows
                fates[(saved <= ROW_BYTES * rows) & (used > 0)] = Fate.STAYS
        else:
            fates[self.fates == Fate.STAYS] = Fate.STAYS
        self.fates, self._is_planned = fates, True
        self._spare_bases()

    def _spare_bases(self) -> None:
        """Bases stay for those that stay."""
        needed = self.bases[(self.bases >= 0) & (self.fates != Fate.DROPPED)]
        self._is_base[:] = False
        self._is_base[self.blocks_of(np.unique(needed))] = True
        self.fates[self._is_base] = Fate.STAYS

    def rewrites_bases(self) -> bool:
        """Whether a block is to be written anew that others may have been compressed against."""
        return bool((self.is_dense & (self.bases < 0) & (self.fates == Fate.REWRITTEN)).any())

    def spare(self, numbers: Integers) -> None:
        """Blocks that hold one of these are not written anew."""
        blocks = np.unique(self.blocks_of(numbers))
        blocks = blocks[self.fates[blocks] == Fate.REWRITTEN]
        self.fates[blocks] = Fate.STAYS
        self._is_named[blocks] = True

    def leaving_packs(self) -> dict[int, int]:
        """By pack how many stored bytes of it are of blocks that do not stay where they are."""
        moving = (self.fates == Fate.DROPPED) | (self.fates == Fate.REWRITTEN)
        packs, at = np.unique(self.packs[moving], return_inverse=True)
        sizes = np.bincount(at, weights=self.stored[moving], minlength=len(packs))
        return {int(pack): int(size) for pack, size in zip(packs, sizes, strict=True)}

    def spare_packs(self, packs: Collection[int]) -> bool:
        """Blocks in these are not written anew; whether one was to be."""
        spared = (self.fates == Fate.REWRITTEN) & np.isin(self.packs, list(packs))
        self.fates[spared] = Fate.STAYS
        return bool(spared.any())

    def trim(self) -> None:
        """Trim blocks that are not written anew for the sake of others, if that saves rows."""
        pinned = self.is_dense & (self.fates == Fate.STAYS) & (self._is_base | self._is_named)
        pinned[self._kept_whole] = False
        pinned &= self.in_use() < self.counts
        if not pinned.any():
            return
        # By these a block is found as a base, is counted, and shows how much is in it.
        self.mark(self.bases[(self.bases >= 0) & (self.fates != Fate.DROPPED)])
        ends = self._skips + self._counts == self._sizes[self._block]
        self._marks[self._slots[:-1][(self._skips == 0) & pinned[self._block]]] = True
        self._marks[self._slots[1:][ends & pinned[self._block]] - 1] = True
        gone = self.counts - self.in_use()
        pinned &= gone > TRIMMED_A_ROW_MIN * (self._runs() - self._rows)
        self.fates[pinned & (gone > 0)] = Fate.TRIMMED

    def spare_block(self, block: int) -> None:
        """A block stays as it is, with all that it has."""
        self.fates[block] = Fate.STAYS
        self._kept_whole[block] = True

    def revive(self, block: int) -> None:
        """Decide anew about a block that was to go, if something in it is in use by now."""
        if self.fates[block] == Fate.DROPPED:
            rows = self._rows_of(block)
            if any(self._marks[self._slots[row] : self._slots[row + 1]].any() for row in rows):
                self.fates[block] = Fate.REWRITTEN

    def blocks_of(self, numbers: Integers) -> Integers:
        """The block of each number that is here."""
        found: Integers = self._block[self._find(numbers)[1]]
        return found

    def going(self, numbers: Integers) -> Flags:
        """Which of these go: shape (n,); those that are not here do not."""
        out = np.zeros(len(numbers), np.bool_)
        if len(self._firsts) and len(numbers):
            rows = np.searchsorted(self._firsts, numbers, "right") - 1
            inside = numbers - self._firsts[rows]
            known = np.flatnonzero((rows >= 0) & (inside < self._counts[rows]))
            rows = rows[known]
            in_use = self._marks[self._slots[rows] + inside[known]]
            out[known] = ~in_use & (self.fates[self._block[rows]] != Fate.STAYS)
        return out

    def is_going(self, number: int) -> bool:
        """Whether this one does."""
        return bool(self.going(np.array([number], np.int64))[0])

    def count_going(self) -> tuple[int, int]:
        """How many things go, and about how many stored bytes are theirs."""
        gone = np.where(self.fates == Fate.STAYS, 0, self.counts - self.in_use())
        lie_still = (self.fates == Fate.STAYS) | (self.fates == Fate.TRIMMED)
        freed = np.where(lie_still, 0, self._sizes - self.in_use())
        return int(gone.sum()), int((self.stored * freed / np.maximum(self._sizes, 1)).sum())

    def left_behind(self) -> tuple[int, int]:
        """Stored bytes that are of no use: of bases, and of other blocks that stay.

        None of a shelf about which nothing was decided.
        """
        if not self._is_planned:
            return 0, 0
        lie_still = (self.fates == Fate.STAYS) | (self.fates == Fate.TRIMMED)
        dead = np.where(lie_still, self._sizes - self.in_use(), 0)
        of_each = self.stored * dead / np.maximum(self._sizes, 1)
        pinned = self._is_base | self._is_named
        return int(of_each[pinned].sum()), int(of_each[~pinned].sum())

    # Blocks

    def blocks(self, *fates: Fate) -> list[int]:
        """Those that meet one of these fates, in the order of their places in packs."""
        some = np.flatnonzero(np.isin(self.fates, fates))
        order = np.lexsort((self.offsets[some], self.packs[some]))
        found: list[int] = some[order].tolist()
        return found

    def _rows_of(self, block: int) -> list[int]:
        start = int(self._row_ends[block - 1]) if block else 0
        rows: list[int] = self._rows_by_block[start : int(self._row_ends[block])].tolist()
        return rows

    def rows_of(self, block: int) -> Iterator[Row]:
        """Its rows by number; all things of a block that stays remain."""
        stays = self.fates[block] == Fate.STAYS
        for row in self._rows_of(block):
            marks = self._marks[self._slots[row] : self._slots[row + 1]]
            remains = np.ones_like(marks) if stays else marks.copy()
            yield Row(int(self._firsts[row]), int(self._skips[row]), remains)

    def lasts_of(self, block: int) -> list[int]:
        """The last numbers of its rows."""
        return [int(self._firsts[row] + self._counts[row]) - 1 for row in self._rows_of(block)]

    def places_in(self, block: int) -> Integers:
        """Positions in the block of what remains of it, rising."""
        pieces = [np.flatnonzero(row.remains) + row.skip for row in self.rows_of(block)]
        return np.concatenate(pieces)

    def representative(self) -> Integers:
        """By block the lowest number that remains in it; -1 where none does."""
        found = np.full(len(self), -1, np.int64)
        found[self.fates == Fate.STAYS] = self.leads[self.fates == Fate.STAYS]
        for block in np.flatnonzero(np.isin(self.fates, (Fate.REWRITTEN, Fate.TRIMMED))).tolist():
            for row in self.rows_of(block):
                if row.remains.any():
                    found[block] = row.first + int(row.remains.argmax())
                    break
        return found


def joined_ranges(firsts: Integers, counts: Integers) -> Integers:
    """``counts`` numbers from each of ``firsts`` on, one range after the other."""
    shifts = firsts - (np.cumsum(counts) - counts)
    return np.repeat(shifts, counts) + np.arange(int(counts.sum()))
