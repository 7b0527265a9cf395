"""Runs of ids that recur in a sample, each extended as far as it pays: what ``discovery`` takes.

A *gram* is SUBSTRING_IDS_MIN successive ids. Where one occurs often enough a run begins; its
occurrences are compared with one of them, to both sides, and the run becomes as long as the
required number of occurrences has in common. What a run covers, or a part of it, does not count
again for the next ones, so that they hardly overlap.
"""

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stowkenfs.frames.matching import Positions, gram_hashes
from stowkenfs.frames.varints import TokenArray

GRAM_IDS = 16

# Occurrences that are compared with one of them, and with how many of them in turn.
_COMPARED_MAX = 256
_REFERENCES_MAX = 4
# Lengths to the left that are tried.
_LEFTS_MAX = 16
# Occurrences that are counted, of a run that is chosen.
_COUNTED_MAX = 1 << 16


@dataclass(frozen=True, slots=True)
class Run:
    """A run of ids of the sample, at one of its occurrences."""

    start: int
    end: int
    occurrences: int
    covered: Positions
    """Places of ids that it covers and none before it does; of all that occurs of it."""
    copies: int
    """How many stretches these are, about."""

    @property
    def length(self) -> int:
        return self.end - self.start


class Sample:
    """Segments of one vocabulary, joined, and what is covered of them. For one thread.

    Takes about 60 bytes an id.
    """

    def __init__(self, segments: Sequence[TokenArray], occurrences_min: int) -> None:
        self.tokens = np.concatenate(list(segments))
        lengths = np.array([len(ids) for ids in segments], np.int64)
        self.ends = np.cumsum(lengths)
        self.segment_of = np.repeat(np.arange(len(segments)), lengths)
        self.is_covered = np.zeros(len(self.tokens), np.bool_)
        self._occurrences_min = occurrences_min
        self._group_by_grams()

    def _group_by_grams(self) -> None:
        """Number the grams that recur, in the order of their first places."""
        hashes = gram_hashes(self.tokens, GRAM_IDS)
        within = self.segment_of[: len(hashes)] == self.segment_of[GRAM_IDS - 1 :][: len(hashes)]
        places = np.flatnonzero(within)
        hashes = hashes[places]
        order = np.argsort(hashes, kind="stable")
        places, hashes = places[order], hashes[order]
        is_first = np.ones(len(places), np.bool_)
        is_first[1:] = hashes[1:] != hashes[:-1]
        # Of occurrences that overlap only the first counts.
        is_apart = is_first.copy()
        is_apart[1:] |= places[1:] - places[:-1] >= GRAM_IDS
        group = np.cumsum(is_first) - 1
        counts = np.bincount(group[is_apart], minlength=1)
        is_often = counts >= self._occurrences_min
        kept = is_often[group] if len(group) else np.zeros(0, np.bool_)
        places, is_apart, is_first = places[kept], is_apart[kept], is_first[kept]
        by_place = np.argsort(places[is_first], kind="stable")
        numbers = np.empty(len(by_place), np.int64)
        numbers[by_place] = np.arange(len(by_place))
        group = numbers[np.cumsum(is_first) - 1]
        order = np.argsort(group, kind="stable")
        self._places, self._is_apart = places[order], is_apart[order]
        self._bounds = np.searchsorted(group[order], np.arange(len(by_place) + 1))
        self._group_at = np.full(len(self.tokens), -1, np.int32)
        self._group_at[places] = group
        self._is_counted = np.zeros(len(self.tokens), np.bool_)
        self._is_counted[places[is_apart]] = True
        self.left = np.bincount(group[is_apart], minlength=len(by_place))
        """Occurrences of each gram that are not covered: where its middle is not."""

    def cover(self, places: Positions) -> None:
        """From now on these ids count as covered. Each once only."""
        self.is_covered[places] = True
        grams = places - GRAM_IDS // 2
        grams = grams[grams >= 0]
        grams = grams[self._is_counted[grams]]
        np.subtract.at(self.left, self._group_at[grams], 1)

    def give_up(self, run: Run) -> None:
        """Begin no run with a gram of ``run``."""
        groups = self._group_at[run.start : run.end - GRAM_IDS + 1]
        self.left[groups[groups >= 0]] = 0

    def runs(self) -> Iterator[Run]:
        """Runs, the most frequent grams first; between two, the caller covers or gives up."""
        heap = [-int(count) << 32 | group for group, count in enumerate(self.left)]
        heapq.heapify(heap)
        while heap:
            key = heapq.heappop(heap)
            group, count = key & 0xFFFFFFFF, -(key >> 32)
            left = int(self.left[group])
            if left == count:
                run = self._extended(group)
                if run is not None:
                    yield run
                self.left[group] = 0
            elif left >= self._occurrences_min:
                heapq.heappush(heap, -left << 32 | group)

    def _extended(self, group: int) -> Run | None:
        """The longest run around a gram; None where it is covered, or hashes deceive."""
        start, end = self._bounds[group : group + 2]
        places = self._places[start:end][self._is_apart[start:end]]
        places = places[~self.is_covered[places + GRAM_IDS // 2]]
        some = places[_spread(len(places), _COMPARED_MAX)]
        best: tuple[int, int, int, int] | None = None
        for reference in some[_spread(len(some), _REFERENCES_MAX)].tolist():
            found = self._around(reference, some)
            if found is not None and (best is None or found > best):
                best = found
        if best is None:
            return None
        _, reference, left, right = best
        return self._run(-reference, left, right, places)

    def _around(self, reference: int, places: Positions) -> tuple[int, int, int, int] | None:
        """What a run around ``reference`` covers, its place negated, and how far it goes."""
        places = self._same(reference, places)
        lefts, rights = self._in_common(reference, places, (len(self.tokens),) * 2)
        if len(places) < self._occurrences_min:
            return None
        best = None
        values = np.unique(lefts)
        for left in values[_spread(len(values), _LEFTS_MAX)].tolist():
            far = np.sort(rights[lefts >= left])
            if len(far) < self._occurrences_min:
                continue
            right = int(far[-self._occurrences_min])
            length = left + GRAM_IDS + right
            covered = np.minimum(lefts, left).sum() + np.minimum(rights, right).sum() - length
            found = int(covered), -reference, left, right
            if best is None or found > best:
                best = found
        return best

    def _same(self, reference: int, places: Positions) -> Positions:
        """Those of ``places`` that have the gram of ``reference``, and not just its hash."""
        ids = self.tokens[places[:, None] + np.arange(GRAM_IDS)]
        same: Positions = places[(ids == self.tokens[reference : reference + GRAM_IDS]).all(axis=1)]
        return same

    def _in_common(
        self, reference: int, places: Positions, at_most: tuple[int, int]
    ) -> tuple[Positions, Positions]:
        """How far each place is like ``reference``, before and after its gram."""
        segment = int(self.segment_of[reference])
        first = int(self.ends[segment - 1]) if segment else 0
        starts = np.where(self.segment_of[places] > 0, self.ends[self.segment_of[places] - 1], 0)
        far = min(at_most[0], _uncovered(self.is_covered[first:reference][::-1]))
        lefts = self._like(reference - 1, places - 1, np.minimum(places - starts, far), -1)
        after = reference + GRAM_IDS
        far = min(at_most[1], _uncovered(self.is_covered[after : int(self.ends[segment])]))
        room = self.ends[self.segment_of[places]] - places - GRAM_IDS
        rights = self._like(after, places + GRAM_IDS, np.minimum(room, far), 1)
        return lefts, rights

    def _like(self, reference: int, places: Positions, room: Positions, step: int) -> Positions:
        """How many ids from each place on, in direction ``step``, are those of ``reference``."""
        itself = places == reference
        found = np.where(itself, room, 0)
        live = np.flatnonzero((room > 0) & ~itself)
        width = 16
        while len(live):
            done = int(found[live[0]])  # the same for all of them
            along = np.arange(done, done + width)
            # What is outside of the sample is beyond the room, which decides in the end.
            mine = self.tokens.take(reference + step * along, mode="clip")
            others = self.tokens.take(places[live, None] + step * along, mode="clip")
            differs = others != mine
            ends = differs.any(axis=1)
            found[live] += np.where(ends, differs.argmax(axis=1), width)
            live = live[~ends & (found[live] < room[live])]
            width = min(width * 2, max(16, (1 << 18) // max(1, len(live))))
        return np.minimum(found, room)

    def _run(self, reference: int, left: int, right: int, places: Positions) -> Run | None:
        start, end = reference - left, reference + GRAM_IDS + right
        places = self._same(reference, places[:_COUNTED_MAX])
        lefts, rights = self._in_common(reference, places, (left, right))
        whole = np.sort(places[(lefts >= left) & (rights >= right)])
        occurrences = 1 + int((np.diff(whole) >= end - start).sum())
        if occurrences < self._occurrences_min:
            return None
        covered, copies = self._covered_by(start, end)
        return Run(start, end, occurrences, covered, copies)

    def _covered_by(self, start: int, end: int) -> tuple[Positions, int]:
        """Ids not yet covered that lie in a gram of the run, and how many stretches these are."""
        groups = np.unique(self._group_at[start : end - GRAM_IDS + 1])
        groups = groups[groups >= 0]
        at = _ranges(self._bounds[groups], self._bounds[groups + 1])
        places = np.sort(self._places[at])
        is_start = np.ones(len(places), np.bool_)
        is_start[1:] = np.diff(places) > GRAM_IDS
        starts = places[is_start]
        ends = places[np.append(is_start[1:], True)] + GRAM_IDS
        ids = _ranges(starts, ends)
        return ids[~self.is_covered[ids]], len(starts)


def _uncovered(is_covered: npt.NDArray[np.bool_]) -> int:
    """How many there are before the first that is covered."""
    return int(is_covered.argmax()) if is_covered.any() else len(is_covered)


def _spread(count: int, at_most: int) -> Positions:
    """Some of ``count`` places, evenly spread, the first and the last among them."""
    if count <= at_most:
        return np.arange(count)
    return np.linspace(0, count - 1, at_most).astype(np.int64)


def _ranges(starts: Positions, ends: Positions) -> Positions:
    """All of ``arange(start, end)``, one after another."""
    lengths = ends - starts
    total = int(lengths.sum())
    offsets: Positions = np.repeat(starts - (np.cumsum(lengths) - lengths), lengths)
    return np.arange(total) + offsets
