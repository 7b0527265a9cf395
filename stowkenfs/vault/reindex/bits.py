"""A set of numbers that is small for numbers that lie close together."""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.int64]

_SPAN = 1 << 15
"""Numbers of one chunk, which has a bit for each: 4 KiB."""

_ALL = np.full(_SPAN // 8, 0xFF, np.uint8)
_ALL.flags.writeable = False


class Bits:
    """Numbers from 0 up to, not including, ``end``; others are left out. A bit for each.

    Only chunks in which there is something take memory, so that one number that is far from all
    others, as a hostile pack may have it, costs no more than another. A chunk that is full
    is always ``_ALL``.
    """

    def __init__(self, end: int) -> None:
        self._end = end
        self._chunks: dict[int, npt.NDArray[np.uint8]] = {}

    def add(self, numbers: Numbers) -> int:
        """Add ``numbers``: int64, shape (n,). How many were not there."""
        some = np.unique(numbers)
        some = some[(some >= 0) & (some < self._end)]
        added = 0
        for which, within in _by_chunk(some):
            bits = np.zeros(_SPAN, np.uint8)
            bits[within] = 1
            added += self._merge(which, np.packbits(bits, bitorder="little"))
        return added

    def _merge(self, which: int, more: npt.NDArray[np.uint8]) -> int:
        """Add bits to a chunk; how many were not there."""
        chunk = self._chunks.get(which)
        if chunk is _ALL:
            return 0
        new = more if chunk is None else more & ~chunk
        merged = more if chunk is None else chunk | more
        self._chunks[which] = _ALL if (merged == 0xFF).all() else merged
        return int(np.unpackbits(new).sum())

    def add_range(self, first: int, end: int) -> None:
        """Add ``first`` to ``end`` - 1."""
        for which, low, high in _parts(max(first, 0), min(end, self._end)):
            if high - low == _SPAN:
                self._chunks[which] = _ALL
            else:
                bits = np.zeros(_SPAN, np.uint8)
                bits[low:high] = 1
                self._merge(which, np.packbits(bits, bitorder="little"))

    def holds(self, numbers: Numbers) -> npt.NDArray[np.bool_]:
        """Which of ``numbers`` (int64, shape (n,)) are in it."""
        order = np.argsort(numbers, kind="stable")
        found = np.zeros(len(numbers), np.bool_)
        at = 0
        for which, within in _by_chunk(numbers[order]):
            chunk = self._chunks.get(which)
            if chunk is not None:
                held = (chunk[within >> 3] >> (within & 7).astype(np.uint8)) & 1
                found[order[at : at + len(within)]] = held
            at += len(within)
        return found

    def __contains__(self, number: int) -> bool:
        return self.any_between(number, number + 1)

    def any_between(self, first: int, end: int) -> bool:
        """Whether any of ``first`` to ``end`` - 1 is in it."""
        return any(self._count(*part) for part in self._parts_there(first, end))

    def all_between(self, first: int, end: int) -> bool:
        """Whether all of ``first`` to ``end`` - 1 are in it."""
        if first < 0 or end > self._end:
            return first >= end
        return all(self._count(*part) == part[2] - part[1] for part in _parts(first, end))

    def missing(self, first: int, end: int) -> Iterator[int]:
        """Those of ``first`` to ``end`` - 1 that are not in it, one after another."""
        for which, low, high in _parts(first, end):
            chunk = self._chunks.get(which)
            if chunk is not _ALL:
                bits = np.zeros(_SPAN, np.uint8) if chunk is None else _unpacked(chunk)
                yield from (which * _SPAN + low + np.flatnonzero(bits[low:high] == 0)).tolist()

    def _parts_there(self, first: int, end: int) -> Iterator[tuple[int, int, int]]:
        """As ``_parts``, of chunks in which there is something."""
        first, end = max(first, 0), min(end, self._end)
        if (end - first) // _SPAN < len(self._chunks):
            yield from _parts(first, end)
            return
        for which in self._chunks:
            low, high = max(first - which * _SPAN, 0), min(end - which * _SPAN, _SPAN)
            if low < high:
                yield which, low, high

    def _count(self, which: int, low: int, high: int) -> int:
        """How many of a part of a chunk are in it."""
        chunk = self._chunks.get(which)
        if chunk is None:
            return 0
        return high - low if chunk is _ALL else int(_unpacked(chunk)[low:high].sum())


def _unpacked(chunk: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    return np.unpackbits(chunk, bitorder="little")


def _parts(first: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Each chunk that has any of ``first`` to ``end`` - 1, and from where to where in it."""
    while first < end:
        which, low = divmod(first, _SPAN)
        high = min(end - which * _SPAN, _SPAN)
        yield which, low, high
        first += high - low


def _by_chunk(numbers: Numbers) -> Iterator[tuple[int, Numbers]]:
    """Numbers that ascend, by chunk: its number, and where in it they are."""
    which = numbers // _SPAN
    cuts = [0, *(np.flatnonzero(np.diff(which)) + 1).tolist(), len(numbers)]
    for start, end in pairwise(cuts):
        if start < end:
            yield int(which[start]), numbers[start:end] - int(which[start]) * _SPAN
