"""A set of numbers that is small for numbers that lie close together."""

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.int64]


class Bits:
    """Numbers from 0 up to, not including, ``end``; others are left out. A bit for each."""

    def __init__(self, end: int) -> None:
        self._end = end
        self._bits = np.zeros(0, np.uint8)  # as long as the highest number so far asks

    def _reach(self, end: int) -> None:
        needed = (min(end, self._end) + 7) // 8
        if needed > len(self._bits):
            longer = np.zeros(max(needed, 2 * len(self._bits)), np.uint8)
            longer[: len(self._bits)] = self._bits
            self._bits = longer

    def add(self, numbers: Numbers) -> int:
        """Add ``numbers``: int64, shape (n,). How many were not there."""
        some = np.unique(numbers)
        some = some[(some >= 0) & (some < self._end)]
        if not len(some):
            return 0
        self._reach(int(some[-1]) + 1)
        new = some[~self._holds(some)]
        np.bitwise_or.at(self._bits, new >> 3, np.uint8(1) << (new & 7).astype(np.uint8))
        return len(new)

    def add_range(self, first: int, end: int) -> None:
        """Add ``first`` to ``end`` - 1."""
        first, end = max(first, 0), min(end, self._end)
        if end - first <= 64:
            if first < end:
                self.add(np.arange(first, end))
            return
        self._reach(end)
        whole_from, whole_to = -(-first // 8), end // 8
        self._bits[whole_from:whole_to] = 0xFF
        self.add(np.arange(first, whole_from * 8))
        self.add(np.arange(whole_to * 8, end))

    def _holds(self, numbers: Numbers) -> npt.NDArray[np.bool_]:
        found = np.zeros(len(numbers), np.bool_)
        known = (numbers >= 0) & (numbers < 8 * len(self._bits))
        some = numbers[known]
        found[known] = (self._bits[some >> 3] >> (some & 7).astype(np.uint8)) & 1
        return found

    def holds(self, numbers: Numbers) -> npt.NDArray[np.bool_]:
        """Which of ``numbers`` (int64, shape (n,)) are in it."""
        return self._holds(numbers)

    def __contains__(self, number: int) -> bool:
        at = number >> 3
        return 0 <= at < len(self._bits) and bool(self._bits[at] >> (number & 7) & 1)

    def any_between(self, first: int, end: int) -> bool:
        """Whether any of ``first`` to ``end`` - 1 is in it."""
        first, end = max(first, 0), min(end, 8 * len(self._bits))
        if first >= end:
            return False
        if end - first <= 64:
            return bool(self._holds(np.arange(first, end)).any())
        whole_from, whole_to = -(-first // 8), end // 8
        return (
            bool(self._bits[whole_from:whole_to].any())
            or self.any_between(first, whole_from * 8)
            or self.any_between(whole_to * 8, end)
        )
