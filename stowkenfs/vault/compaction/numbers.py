"""Which numbers are on their way out, and what they become."""

from bisect import bisect_right
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt


class Renumbering:
    """``{old: new}`` for the things of one kind in ``ranges``: 8 bytes for each.

    ``ranges``: ``(first, end)``, sorted, without overlaps.
    """

    def __init__(self, ranges: Sequence[tuple[int, int]]) -> None:
        self.ranges = list(ranges)
        self._starts = [first for first, _ in self.ranges]
        sizes = [end - first for first, end in self.ranges]
        self._offsets = [0, *np.cumsum(sizes).tolist()]
        self._new: npt.NDArray[np.int64] = np.full(self._offsets[-1], -1, np.int64)

    def _slot(self, old: int) -> int | None:
        at = bisect_right(self._starts, old) - 1
        if at < 0 or old >= self.ranges[at][1]:
            return None
        return int(self._offsets[at] + old - self.ranges[at][0])

    def __contains__(self, old: int) -> bool:
        """Whether ``old`` is on its way out."""
        return self._slot(old) is not None

    def get(self, old: int) -> int | None:
        """What ``old`` became; None while it stays as it is."""
        slot = self._slot(old)
        if slot is None or self._new[slot] < 0:
            return None
        return int(self._new[slot])

    def set(self, olds: Iterable[int], first: int) -> None:
        """Let ``olds`` become ``first``, ``first + 1``, ..."""
        for new, old in enumerate(olds, first):
            slot = self._slot(old)
            assert slot is not None
            self._new[slot] = new

    @property
    def total(self) -> int:
        """How many things there are."""
        return int(self._offsets[-1])


def join_ranges(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Ranges ``(first, end)`` sorted, those that touch made one."""
    joined: list[tuple[int, int]] = []
    for first, end in sorted(ranges):
        if joined and first <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((first, end))
    return joined
