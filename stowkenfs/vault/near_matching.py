"""Which stored segment one is most like: by their bands, and then by their ids."""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np

from stowkenfs.errors import Corrupt
from stowkenfs.frames.minhash import BAND_BYTES, BANDS_BYTES, Bands, set_of, similarity_of_sets
from stowkenfs.frames.segment import Segment
from stowkenfs.frames.varints import TokenArray
from stowkenfs.ids import Vocabulary
from stowkenfs.vault.caches import SizedCache
from stowkenfs.vault.near_chains import BandChains, Match

CANDIDATES_MAX = 4
"""Segments that one is compared with: those with the most bands in common."""

ALIKE_ENOUGH = 2.0
"""More than any likeness: nothing is, where none is asked for."""


class Canonical(NamedTuple):
    """A segment that others are compared with, and the set of its ids, empty for bytes."""

    number: int
    segment: Segment
    ids: TokenArray


class Likeness(NamedTuple):
    """A segment, and how alike it is."""

    similarity: float
    canonical: Canonical


class Canonicals:
    """Segments for comparing, by number. Any thread; its one cache is bounded.

    ``load``: a segment from the vault; what it raises Corrupt for is not compared. Kept as plain
    tuples of numbers and arrays, which the garbage collector does not look at: it would hold up
    everybody.
    """

    def __init__(self, load: Callable[[int], Segment], cache_bytes: int) -> None:
        self._load = load
        self._cache = SizedCache(cache_bytes)

    def get(self, number: int) -> Canonical | None:
        """The segment of that number, None if it cannot be read."""
        found: tuple[int, TokenArray, TokenArray] | None = self._cache.get(number)
        if found is None:
            try:
                segment = self._load(number)
            except Corrupt:
                return None
            tokens = segment.tokens
            # Bytes are compared by their places.
            ids = tokens[:0] if segment.vocabulary is Vocabulary.BYTES else set_of(tokens)
            found = int(segment.vocabulary), tokens, ids
            self._cache.put(number, found, tokens.nbytes + ids.nbytes + 500)
        vocabulary, tokens, ids = found
        return Canonical(number, Segment(Vocabulary(vocabulary), tokens), ids)

    def clear(self) -> None:
        self._cache.clear()


class Matching:
    """Finds segments in ``chains``, and those noted since. One thread's at a time.

    ``numbers`` and ``bands``: those that were noted.
    """

    def __init__(self, chains: BandChains, canonicals: Canonicals, threshold: float | None) -> None:
        self._chains = chains
        self._canonicals = canonicals
        self._threshold = threshold
        # {band: the last CANDIDATES_MAX numbers}. No objects that the garbage collector has to
        # look at: it would hold up everybody.
        self._own: dict[bytes, tuple[int, ...]] = {}
        self.numbers: list[int] = []
        self.bands: list[bytes] = []

    def look_up(self, wanted: Sequence[tuple[int, bytes]]) -> dict[int, list[Match]]:
        """``{name: segments of the chains that may be alike}`` for names and bands."""
        found = self._chains.matches(as_rows(bands for _, bands in wanted), CANDIDATES_MAX)
        return dict(zip((name for name, _ in wanted), found, strict=True))

    def candidates(self, bands: bytes, stored: Sequence[Match]) -> list[int]:
        """Up to CANDIDATES_MAX numbers: of ``stored``, and of those that were noted."""
        counts = {match.number: match.bands for match in stored}
        if self._own:
            for name in _split(bands):
                for number in self._own.get(name, ()):
                    counts[number] = counts.get(number, 0) + 1
        return sorted(counts, key=lambda number: (-counts[number], -number))[:CANDIDATES_MAX]

    def most_alike(self, segment: Segment, candidates: Iterable[int]) -> Likeness | None:
        """The candidate of the greatest similarity that is enough, and of these the oldest."""
        ids = set_of(segment.tokens)
        threshold = ALIKE_ENOUGH if self._threshold is None else self._threshold
        best: Likeness | None = None
        for number in sorted(candidates):
            canonical = self.canonical(number)
            if canonical is None or canonical.segment.vocabulary is not segment.vocabulary:
                continue
            similarity = similarity_of_sets(ids, canonical.ids)
            if similarity >= threshold and (best is None or similarity > best.similarity):
                best = Likeness(similarity, canonical)
        return best

    def canonical(self, number: int) -> Canonical | None:
        return self._canonicals.get(number)

    def note(self, number: int, bands: bytes) -> None:
        """Let a segment be found."""
        for name in _split(bands):
            self._own[name] = (*self._own.get(name, ())[1 - CANDIDATES_MAX :], number)
        self.numbers.append(number)
        self.bands.append(bands)


def as_rows(bands: Iterable[bytes]) -> Bands:
    """Bands of segments as rows of an array."""
    return np.frombuffer(b"".join(bands), np.uint8).reshape(-1, BANDS_BYTES)


_PREFIXES = [(bytes((at,)), at, at + BAND_BYTES) for at in range(0, BANDS_BYTES, BAND_BYTES)]


def _split(bands: bytes) -> list[bytes]:
    """Each band behind its place, by which it differs from the same bytes elsewhere."""
    return [prefix + bands[start:end] for prefix, start, end in _PREFIXES]
