"""Bands of segments in memory: which segments share one with another.

Each band has a table of 65,536 buckets, by its lower 16 bits; a bucket leads to the last segment
that came into it, and each segment to the one before it. What is above those bits is compared
on the way. Positions of segments grow; a segment's place is its position modulo ``entries_max``,
so that the last so many are there, and a chain ends where it leads to one that is not. That is
how deflate finds its matches.
"""

import threading
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from stowkenfs.frames.minhash import BAND_BYTES, BANDS, Bands

ENTRIES_MAX = 1 << 21
"""Segments: 120 MB. The oldest give way to new ones."""
CHAIN_MAX = 64
"""Segments of a bucket that are looked at, the last ones: twice as many as come there by chance
where there are ENTRIES_MAX."""

_BUCKETS = 1 << 16
_GROWTH = 1.25
_ENTRIES_MIN = 1024
_GONE = -1

# Much of numpy does not let others run meanwhile: all of these take a millisecond or two.
QUERIES_AT_ONCE = 500
ADDED_AT_ONCE = 1000
CHANGED_AT_ONCE = 1 << 15

Numbers = npt.NDArray[np.int64]
Positions = npt.NDArray[np.int32]
AreGoing = Callable[[Numbers], npt.NDArray[np.bool_]]
"""Which of some numbers, shape (n,), are to be found no more: shape (n,)."""


T = TypeVar("T", bound=np.generic)


class Match(NamedTuple):
    """A segment that has ``bands`` bands in common with what was asked for."""

    bands: int
    number: int


class BandChains:
    """Segments by their bands. Guarded by ``_lock``: everything; any thread.

    Bytes: 58 a segment, up to a quarter more right after growing, and 2.6 MB.
    """

    def __init__(self, entries_max: int = ENTRIES_MAX) -> None:
        self._entries_max = entries_max
        self._lock = threading.Lock()
        self._count = 0  # positions given out
        self._heads = np.full(BANDS * _BUCKETS, _GONE, np.int32)  # last position of each bucket
        self._before = np.empty((0, BANDS), np.int32)  # position before in the same bucket
        self._checks = np.empty((0, BANDS), np.uint8)  # upper bits of each band
        self._numbers = np.empty(0, np.int64)

    def __len__(self) -> int:
        return min(self._count, self._entries_max)

    @property
    def size_bytes(self) -> int:
        arrays = (self._heads, self._before, self._checks, self._numbers)
        return sum(array.nbytes for array in arrays)

    def add(self, numbers: Sequence[int] | Numbers, bands: Bands) -> list[int]:
        """Let segments be found, of each a number and a row of ``bands``.

        The numbers that give way to them, and are not found any more.
        """
        gone: list[int] = []
        at_once = min(ADDED_AT_ONCE, self._entries_max)
        for start in range(0, len(numbers), at_once):
            end = start + at_once
            with self._lock:
                gone += self._add(np.asarray(numbers[start:end], np.int64), bands[start:end])
        return gone

    def _add(self, numbers: Numbers, bands: Bands) -> list[int]:
        self._grow(self._count + len(numbers))
        buckets, checks = _split(bands)
        positions = np.arange(self._count, self._count + len(numbers), dtype=np.int32)
        places = positions % self._entries_max
        gone: list[int] = self._numbers[places[positions >= self._entries_max]].tolist()
        self._count += len(numbers)
        self._before[places] = self._linked(buckets.reshape(-1), np.repeat(positions, BANDS))
        self._checks[places] = checks
        self._numbers[places] = numbers
        return [number for number in gone if number != _GONE]

    def _linked(self, buckets: Numbers, positions: Positions) -> Positions:
        """The position before each one in its bucket; the last of a bucket becomes its head."""
        order = np.argsort(buckets, kind="stable")  # those of a bucket beside each other
        buckets, positions = buckets[order], positions[order]
        differs = buckets[1:] != buckets[:-1]
        is_first, is_last = np.append(True, differs), np.append(differs, True)
        before = np.append(np.int32(_GONE), positions[:-1])
        before[is_first] = self._heads[buckets[is_first]]
        self._heads[buckets[is_last]] = positions[is_last]
        linked = np.empty_like(before)
        linked[order] = before
        return linked.reshape(-1, BANDS)

    def _grow(self, entries: int) -> None:
        size = len(self._numbers)
        if size >= min(entries, self._entries_max):
            return
        size = min(max(entries, int(size * _GROWTH), _ENTRIES_MIN), self._entries_max)
        self._before = _longer(self._before, size)
        self._checks = _longer(self._checks, size)
        self._numbers = _longer(self._numbers, size)

    def matches(self, bands: Bands, few: int) -> list[list[Match]]:
        """For each row of ``bands`` up to ``few`` segments that share some.

        Those that share the most, and of these the last ones.
        """
        found: list[list[Match]] = []
        for start in range(0, len(bands), QUERIES_AT_ONCE):
            found += self._matches(bands[start : start + QUERIES_AT_ONCE], few)
        return found

    def _matches(self, bands: Bands, few: int) -> list[list[Match]]:
        with self._lock:
            rows, positions = self._walk(bands)
            numbers = self._numbers[positions % self._entries_max]
        is_there = numbers != _GONE
        keys = (rows[is_there] << 32) | positions[is_there]
        numbers = numbers[is_there]
        keys, at, counts = np.unique(keys, return_index=True, return_counts=True)
        found: list[list[Match]] = [[] for _ in range(len(bands))]
        order = np.lexsort((-keys, -counts, keys >> 32))
        for key, count, number in zip(
            keys[order].tolist(), counts[order].tolist(), numbers[at[order]].tolist(), strict=True
        ):
            of_row = found[key >> 32]
            if len(of_row) < few:
                of_row.append(Match(count, number))
        return found

    def _walk(self, bands: Bands) -> tuple[Numbers, Numbers]:
        """Rows of ``bands`` and positions that share a band: shape (matches,) both."""
        buckets, checks = _split(bands)
        oldest = max(self._count - self._entries_max, 0)
        rows = np.repeat(np.arange(len(bands)), BANDS)
        columns = np.tile(np.arange(BANDS), len(bands))
        wanted, at = checks.reshape(-1), self._heads[buckets.reshape(-1)]
        found: list[tuple[Numbers, Numbers]] = []
        for _ in range(CHAIN_MAX):
            there = np.flatnonzero(at >= oldest)
            if not len(there):
                break
            rows, columns, wanted, at = rows[there], columns[there], wanted[there], at[there]
            places = at % self._entries_max
            same = np.flatnonzero(self._checks[places, columns] == wanted)
            found.append((rows[same], at[same].astype(np.int64)))
            at = self._before[places, columns]
        none = np.empty(0, np.int64)
        found.append((none, none))
        return (
            np.concatenate([rows for rows, _ in found]),
            np.concatenate([positions for _, positions in found]),
        )

    def forget(self, are_going: AreGoing) -> None:
        """Do not find the numbers any more of which this is true."""
        for start in range(0, len(self), CHANGED_AT_ONCE):
            with self._lock:
                numbers = self._numbers[start : min(start + CHANGED_AT_ONCE, len(self))]
                numbers[are_going(numbers)] = _GONE


def _split(bands: Bands) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8]]:
    """Which bucket of all each band is in, and what it is compared by: shape (n, BANDS) both."""
    columns = np.ascontiguousarray(bands).reshape(-1, BANDS, BAND_BYTES)
    buckets = columns[:, :, 0].astype(np.int64) | (columns[:, :, 1].astype(np.int64) << 8)
    return buckets + _BUCKETS * np.arange(BANDS), columns[:, :, 2]


def _longer(array: npt.NDArray[T], rows: int) -> npt.NDArray[T]:
    longer = np.empty((rows, *array.shape[1:]), array.dtype)
    longer[: len(array)] = array
    return longer
