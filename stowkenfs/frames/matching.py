"""What a segment has in common with others: the runs of ids that it can copy from them."""

from bisect import bisect_left, bisect_right
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from stowkenfs.frames.edits import Copy
from stowkenfs.frames.varints import TokenArray

Hashes = npt.NDArray[np.uint64]
"""uint64, shape (n,)."""
Positions = npt.NDArray[np.int64]
"""int64, shape (n,)."""

GRAM_IDS = 8
"""Equal runs of as many ids are found wherever they are. A power of two."""

# Beside a copy, fewer ids pay already that lie where they would if only others were changed.
_RESUMED_IDS_MIN = 3
_RESUMED_WITHIN_IDS = 64
# So many places of one gram are kept, and compared: enough, and bounded where all is alike.
_PLACES_MAX = 8
# A segment that takes more copies is a matter for zstd.
_COPIES_MAX = 1 << 14
_FILTER_BITS = 16

# Odd, with bits all over: the fractions of the golden ratio and of pi, as 64 bits.
_SPREAD = np.uint64(0x9E3779B97F4A7C15)
_MIX = np.uint64(0x243F6A8885A308D3)


def gram_hashes(tokens: TokenArray, gram_ids: int) -> Hashes:
    """Of each run of ``gram_ids`` (a power of two) successive ids; equal for equal runs.

    Shape (n - gram_ids + 1,), none below that many ids.
    """
    if len(tokens) < gram_ids:
        return np.empty(0, np.uint64)
    hashes = tokens.astype(np.uint64)
    hashes += np.uint64(1)
    hashes *= _SPREAD
    width = 1
    while width < gram_ids:
        left, right = hashes[:-width], hashes[width:]
        hashes = left * _MIX  # so that the order matters; products wrap around
        hashes += right
        hashes ^= hashes >> np.uint64(29)
        hashes *= _SPREAD
        width *= 2
    return hashes


class GramIndex:
    """Sources of one vocabulary, by their grams. Immutable, for any number of threads.

    Takes about 30 bytes an id.
    """

    def __init__(self, sources: Mapping[int, TokenArray]) -> None:
        self.numbers = sorted(sources)
        self.tokens = np.concatenate([sources[n] for n in self.numbers] or [_NONE])
        lengths = np.array([len(sources[n]) for n in self.numbers], np.int64)
        self.bounds: list[int] = [0, *np.cumsum(lengths).tolist()]
        hashes = gram_hashes(self.tokens, GRAM_IDS)
        is_whole = np.ones(len(hashes), np.bool_)
        for bound in self.bounds[1:-1]:
            is_whole[max(0, bound - GRAM_IDS + 1) : bound] = False
        places = np.flatnonzero(is_whole)
        order = np.argsort(hashes[places], kind="stable")
        places = places[order]
        self._hashes, self._places = _first_of_each(hashes[places], places)
        self._filter = np.zeros(1 << _FILTER_BITS, np.bool_)
        self._filter[_filter_bits(self._hashes)] = True

    def copies(self, tokens: TokenArray) -> list[Copy]:
        """Copies for ``tokens``, ascending and apart; each as long as it can be from its place.

        Deterministic.
        """
        hashes = gram_hashes(tokens, GRAM_IDS)
        maybe = np.flatnonzero(self._filter[_filter_bits(hashes)])
        if not len(maybe):
            return []
        first = self._hashes.searchsorted(hashes[maybe])
        first[first == len(self._hashes)] = 0
        found = self._hashes[first] == hashes[maybe]
        return _Matching(self, tokens, maybe[found].tolist(), first[found].tolist()).run()

    def places_of(self, first: int) -> Positions:
        """All places of the gram whose first one is the ``first`` in order of hashes."""
        some = self._hashes[first : first + _PLACES_MAX]
        places: Positions = self._places[first : first + _PLACES_MAX][some == some[0]]
        return places

    def source_at(self, place: int) -> int:
        """Which source, in order of numbers, has the id at ``place``."""
        return bisect_right(self.bounds, place) - 1


class _Matching:
    """One segment as it is matched."""

    def __init__(
        self, index: GramIndex, tokens: TokenArray, hits: list[int], first: list[int]
    ) -> None:
        self._index = index
        self._tokens = tokens
        self._hits = hits  # where grams begin that the index has, ascending
        self._first = first  # where in the index
        self._end = 0  # of the last copy
        self._place = 0  # where that ended
        self._source = -1  # which it came from; -1: none yet
        self._copies: list[Copy] = []

    def run(self) -> list[Copy]:
        hit = 0
        while len(self._copies) < _COPIES_MAX:
            hit = bisect_left(self._hits, self._end, hit)
            at = self._hits[hit] if hit < len(self._hits) else len(self._tokens)
            if self._resume(at):
                continue
            if hit == len(self._hits):
                break
            if not self._copy_longest(at, self._first[hit]):
                hit += 1  # equal hashes of different ids
        return self._copies

    def _resume(self, before: int) -> bool:
        """Go on in the same source past ids that were changed, if that is sooner."""
        if self._source < 0:
            return False
        length = min(
            _RESUMED_WITHIN_IDS,
            len(self._tokens) - self._end,
            self._index.bounds[self._source + 1] - self._place,
        )
        equal = (
            self._tokens[self._end : self._end + length]
            == self._index.tokens[self._place : self._place + length]
        )
        runs = equal[2:] & equal[1:-1] & equal[:-2]
        skipped = int(runs.argmax()) if len(runs) else 0
        if not len(runs) or not runs[skipped] or self._end + skipped > before:
            return False
        at, place = self._end + skipped, self._place + skipped
        if at == before:  # a gram: one of another source may be longer
            return False
        self._take(at, place, self._forward(at, place, self._source), self._source)
        return True

    def _copy_longest(self, at: int, first: int) -> bool:
        """Copy what the gram at ``at`` is part of; False where only the hashes are equal."""
        best: tuple[int, bool, int, int, int] | None = None
        for place in self._candidates(at, first):
            source = self._index.source_at(place)
            length = self._forward(at, place, source)
            if length < GRAM_IDS:
                continue
            back = self._backward(at, place, source)
            goes_on = source == self._source and place - self._place == at - self._end
            found = length + back, goes_on, back, place, source
            if best is None or found[:2] > best[:2]:
                best = found
        if best is None:
            return False
        length, _, back, place, source = best
        self._copy_before(at - back, place - back, source)
        self._take(at - back, place - back, length, source)
        return True

    def _copy_before(self, at: int, place: int, source: int) -> None:
        """As ``_resume``, of what lies before a copy: there, too, only ids may have changed."""
        length = min(_RESUMED_WITHIN_IDS, at - self._end, place - self._index.bounds[source])
        if length < _RESUMED_IDS_MIN:
            return
        equal = np.zeros(length + 2, np.bool_)
        equal[1:-1] = self._tokens[at - length : at] == self._index.tokens[place - length : place]
        edges = np.flatnonzero(equal[1:] != equal[:-1]).tolist()
        at, place = at - length, place - length
        for start, end in zip(edges[::2], edges[1::2], strict=True):
            if end - start >= _RESUMED_IDS_MIN:
                self._take(at + start, place + start, end - start, source)

    def _candidates(self, at: int, first: int) -> list[int]:
        places: list[int] = self._index.places_of(first).tolist()
        if self._source >= 0:
            expected = self._place + at - self._end
            if expected < self._index.bounds[self._source + 1] and expected not in places:
                places.append(expected)
        return places

    def _forward(self, at: int, place: int, source: int) -> int:
        length = min(len(self._tokens) - at, self._index.bounds[source + 1] - place)
        tokens, others = self._tokens[at : at + length], self._index.tokens[place : place + length]
        return _common(tokens, others)

    def _backward(self, at: int, place: int, source: int) -> int:
        length = min(at - self._end, place - self._index.bounds[source])
        tokens, others = self._tokens[at - length : at], self._index.tokens[place - length : place]
        return _common(tokens[::-1], others[::-1])

    def _take(self, at: int, place: int, length: int, source: int) -> None:
        start = place - self._index.bounds[source]
        self._copies.append(Copy(at, self._index.numbers[source], start, length))
        self._end, self._place, self._source = at + length, place + length, source


def _common(left: TokenArray, right: TokenArray) -> int:
    """How many ids two arrays of one length begin with in common."""
    start, width = 0, 64
    while start < len(left):
        differs = left[start : start + width] != right[start : start + width]
        at = int(differs.argmax())
        if differs[at]:
            return start + at
        start, width = start + width, width * 4
    return len(left)


def _first_of_each(hashes: Hashes, places: Positions) -> tuple[Hashes, Positions]:
    """The first _PLACES_MAX of equal neighbours."""
    if len(hashes) <= _PLACES_MAX:
        return hashes, places
    is_kept = np.ones(len(hashes), np.bool_)
    is_kept[_PLACES_MAX:] = hashes[_PLACES_MAX:] != hashes[:-_PLACES_MAX]
    return hashes[is_kept], places[is_kept]


def _filter_bits(hashes: Hashes) -> npt.NDArray[np.intp]:
    return (hashes >> np.uint64(64 - _FILTER_BITS)).astype(np.intp)


_NONE: TokenArray = np.empty(0, np.uint32)
