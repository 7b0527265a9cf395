"""Which numbers are on their way out, and what they become."""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from itertools import accumulate

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.int64]


class Renumbering:
    """``{old: new}`` for the things of one kind in ``ranges``: 9 bytes for each.

    Those in the batch that is in the making are *in hand*.

    ``ranges``: ``(first, end)``, sorted, without overlaps.
    """

    def __init__(self, ranges: Sequence[tuple[int, int]]) -> None:
        self.ranges = list(ranges)
        self._starts = [first for first, _ in self.ranges]
        sizes = [end - first for first, end in self.ranges]
        self._offsets = [0, *accumulate(sizes)]
        self._new = array("q", (-1,)) * self._offsets[-1]
        self._in_hand = bytearray(self._offsets[-1])

    def _slot(self, old: int) -> int | None:
        at = bisect_right(self._starts, old) - 1
        if at < 0 or old >= self.ranges[at][1]:
            return None
        return self._offsets[at] + old - self.ranges[at][0]

    def __contains__(self, old: int) -> bool:
        """Whether ``old`` is on its way out."""
        return self._slot(old) is not None

    def touches(self, first: int, end: int) -> bool:
        """Whether any of ``first`` to ``end`` - 1 is on its way out."""
        at = bisect_left(self._starts, end) - 1
        return at >= 0 and self.ranges[at][1] > first

    def get(self, old: int) -> int | None:
        """What ``old`` became; None while it stays as it is."""
        slot = self._slot(old)
        if slot is None or self._new[slot] < 0:
            return None
        return self._new[slot]

    def is_free(self, old: int) -> bool:
        """Whether ``old`` is to become something and is not in hand."""
        slot = self._slot(old)
        return slot is not None and self._new[slot] < 0 and not self._in_hand[slot]

    def take(self, old: int) -> None:
        """Let ``old`` be in hand."""
        slot = self._slot(old)
        assert slot is not None
        self._in_hand[slot] = 1

    def release(self) -> None:
        """Let nothing be in hand."""
        self._in_hand = bytearray(len(self._in_hand))

    def set_many(self, olds: Numbers, news: Numbers) -> None:
        """Let each of ``olds`` become what stands in its place in ``news``: shape (n,) both."""
        if not len(olds):
            return
        firsts = np.array(self._starts, np.int64)
        at = np.searchsorted(firsts, olds, "right") - 1
        assert self.ranges
        assert (at >= 0).all()
        assert (olds < np.array([end for _, end in self.ranges])[at]).all()
        slots = np.array(self._offsets, np.int64)[at] + olds - firsts[at]
        np.frombuffer(self._new, np.int64)[slots] = news

    @property
    def total(self) -> int:
        """How many things there are."""
        return self._offsets[-1]


def join_ranges(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Ranges ``(first, end)`` sorted, those that touch made one."""
    joined: list[tuple[int, int]] = []
    for first, end in sorted(ranges):
        if joined and first <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((first, end))
    return joined
