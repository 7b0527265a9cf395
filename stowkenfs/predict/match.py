"""What came before in the same segment: where its last two ids stood, and what followed there."""

import numpy as np

from stowkenfs.predict.model import HASH_FACTOR, HITS_MAX, ID_BITS, LENGTHS

HITS_LEAST, HITS_MOST = 1 << 9, (1 << 16) - (1 << 5)
"""A match is never given less than 1/128, a miss never less than 1/2048."""

_PLACE_BITS = 14
_MASK = (1 << 64) - 1


class Matcher:
    """The ids of a segment so far, and what they repeat."""

    def __init__(self) -> None:
        self.ids: list[int] = []
        self._length = 0
        self._at = 0
        self._places: dict[int, int] = {}  # of 2^14 hashes, where the pair was seen last

    @property
    def predicted(self) -> int | None:
        """What followed last time; None where nothing is repeated."""
        return self.ids[self._at] if self._length else None

    @property
    def bucket(self) -> int:
        """The length of what is repeated, of those that are told apart."""
        return min(self._length, LENGTHS - 1)

    def append(self, token: int) -> None:
        if self._length and token == self.predicted:
            self._length += 1
            self._at += 1
        else:
            self._length = 0
        ids = self.ids
        ids.append(token)
        if len(ids) < 2:
            return
        pair = ids[-2] << ID_BITS | ids[-1]
        place = (pair * HASH_FACTOR & _MASK) >> (64 - _PLACE_BITS)
        at = self._places.get(place, 0)
        if not self._length and at and ids[at - 2 : at] == ids[-2:]:
            length = 2
            while length < LENGTHS - 1 and at > length and ids[at - 1 - length] == ids[-1 - length]:
                length += 1
            self._at, self._length = at, length
        self._places[place] = len(ids)


def hits_of(rows: list[list[int]], end: int) -> tuple[int, ...]:
    """How often matches of each length went on in these segments, of 65536."""
    seen = np.zeros((LENGTHS, 2), np.int64)
    for ids in rows:
        match = Matcher()
        for token in [*ids, end]:
            if match.predicted is not None:
                seen[match.bucket, int(token == match.predicted)] += 1
            match.append(token)
    misses, hits = seen[:, 0], seen[:, 1]
    shares = (hits * 2 + 1) * (HITS_MAX + 1) // (2 * (hits + misses) + 2)
    return tuple(np.clip(shares, HITS_LEAST, HITS_MOST).tolist())
