"""Which segments are alike: the similarity of their sets of ids, and what finds it quickly.

How alike two segments are is the Jaccard similarity of the sets of their ids: how many they
share, of all that either has. A *sketch* keeps ROWS * BANDS numbers of a set, each of which two
sets share with that probability; BANDS *bands* of ROWS of them are each cut down to BAND_BYTES.
So two sets of similarity s have some band in common with probability 1 - (1 - s**ROWS)**BANDS:

    0.70   0.75   0.80   0.85    0.90    0.95
    0.841  0.933  0.981  0.9972  0.99987 1.0000

**Sketch** (fast similarity sketching: Dahlgaard, Knudsen and Thorup, FOCS 2017). There are
ROWS * BANDS bins. In round r, from 0 on, id x is thrown at one of them: of h = mix(x, r), a u64,
the upper half is scaled to a bin, and the lower half is what x is worth there. A bin keeps the
least of the first round in which anything reached it, and which round that was. Rounds end
when no bin is empty, for long segments after the first; what is empty after ROUNDS_MAX of them
takes the least of mix(x, ROUNDS_MAX + bin) instead. Bytes of bands are in the index: constants
and steps here never change.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from stowkenfs.frames.varints import TokenArray
from stowkenfs.ids import Vocabulary

BANDS = 10
ROWS = 5
BAND_BYTES = 3
BANDS_BYTES = BANDS * BAND_BYTES
"""What is kept of one segment."""

TOKENS_MIN = 24
"""A shorter segment hardly gains by a delta."""

ROUNDS_MAX = 32
TOKENS_AT_ONCE = 1 << 16
"""Ids that are worked on together: 4 MB of memory."""

_BINS = BANDS * ROWS
_EMPTY = np.uint64(2**64 - 1)

# The steps and constants of splitmix64 (Steele, Lea and Flood, OOPSLA 2014).
_GAMMA = 0x9E3779B97F4A7C15
_MULTIPLIERS = np.array([0xBF58476D1CE4E5B9, 0x94D049BB133111EB], np.uint64)
_SHIFTS = np.array([30, 27, 31, 32, 40], np.uint64)
_LOW = np.uint64(0xFFFFFFFF)

Numbers = npt.NDArray[np.uint64]
Bands = npt.NDArray[np.uint8]
"""Shape (n, BANDS_BYTES): a row for each segment, its bands little-endian, one after another."""


def has_bands(tokens: int, vocabulary: Vocabulary) -> bool:
    """Whether a segment of so many tokens is looked for, and found, by its bands.

    Of bytes there are so few that most segments have the same.
    """
    return tokens >= TOKENS_MIN and vocabulary is not Vocabulary.BYTES


def bands_of(tokens: TokenArray) -> bytes:
    """The bands of one segment; BANDS_BYTES of them."""
    return bands_of_many([tokens]).tobytes()


def bands_of_many(segments: Sequence[TokenArray]) -> Bands:
    """The bands of ids, uint32 of shape (n,) each; together it takes a few us a segment."""
    sketches = np.full((len(segments), _BINS), _EMPTY, np.uint64)
    start = size = 0
    for at, tokens in enumerate(segments):
        if size and size + len(tokens) > TOKENS_AT_ONCE:
            _sketch(segments[start:at], sketches[start:at])
            start, size = at, 0
        size += len(tokens)
    _sketch(segments[start:], sketches[start:])
    return _folded(sketches)


def similarity(a: TokenArray, b: TokenArray) -> float:
    """The Jaccard similarity of the sets of ids in ``a`` and ``b``; 1 for two empty ones."""
    return similarity_of_sets(set_of(a), set_of(b))


def set_of(tokens: TokenArray) -> TokenArray:
    """The ids that there are, each once, sorted."""
    found = np.sort(tokens)
    is_first = np.ones(len(found), np.bool_)
    np.not_equal(found[1:], found[:-1], out=is_first[1:])
    return found[is_first]


def similarity_of_sets(a: TokenArray, b: TokenArray) -> float:
    """``similarity`` of what ``set_of`` made."""
    total = len(a) + len(b)
    if not total:
        return 1.0
    together = np.concatenate((a, b))
    together.sort()
    shared = int(np.count_nonzero(together[1:] == together[:-1]))
    return shared / (total - shared)


def _sketch(segments: Sequence[TokenArray], sketches: Numbers) -> None:
    """Fill a row of ``sketches`` for each of ``segments``."""
    # Of a long one, far fewer ids are different; one that is empty has none to throw.
    sets = [set_of(one) if len(one) > TOKENS_AT_ONCE else one for one in segments]
    if not any(map(len, sets)):
        return
    tokens = np.concatenate(sets).astype(np.uint64)
    owners = np.repeat(np.arange(len(sets)), [len(one) for one in sets])
    flat = sketches.reshape(-1)
    for number in range(ROUNDS_MAX):
        mixed = _mixed(tokens, number)
        worth = (mixed & _LOW) | np.uint64(number << 32)
        bins = ((mixed >> _SHIFTS[3]) * np.uint64(_BINS)) >> _SHIFTS[3]
        slots = owners * _BINS + bins.astype(np.intp)
        np.minimum.at(flat, slots, worth)  # what an earlier round filled is less than that
        is_open = (sketches == _EMPTY).any(axis=1)[owners]
        if not is_open.any():
            return
        tokens, owners = tokens[is_open], owners[is_open]
    for one in np.unique(owners).tolist():
        _fill(sketches[one], tokens[owners == one])


def _fill(sketch: Numbers, tokens: Numbers) -> None:
    """Fill the bins that are still empty, of ids of which few are different."""
    for empty in np.flatnonzero(sketch == _EMPTY).tolist():
        worth = _mixed(tokens, ROUNDS_MAX + empty) & _LOW
        sketch[empty] = worth.min() | np.uint64(ROUNDS_MAX << 32)


def _mixed(tokens: Numbers, number: int) -> Numbers:
    """64 evenly distributed bits of each id (uint64, shape (n,)), others for each ``number``."""
    # The number goes where no id reaches, and is mixed as thoroughly as the id.
    mixed = tokens + np.uint64((number << 32) + _GAMMA & 0xFFFFFFFFFFFFFFFF)
    for multiplier, shift in zip(_MULTIPLIERS, _SHIFTS, strict=False):
        mixed ^= mixed >> shift
        mixed *= multiplier
    mixed ^= mixed >> _SHIFTS[2]
    return mixed


def _folded(sketches: Numbers) -> Bands:
    """Sketches, shape (n, ROWS * BANDS), as bands."""
    rows = sketches.reshape(len(sketches), BANDS, ROWS)
    folded = np.zeros((len(sketches), BANDS), np.uint64)
    for row in range(ROWS):
        folded = _mixed(folded ^ rows[:, :, row], row)
    top = (folded >> _SHIFTS[4]).astype("<u4")  # 24 bits
    as_bytes = top.view(np.uint8).reshape(len(sketches), BANDS, 4)
    return np.ascontiguousarray(as_bytes[:, :, :BAND_BYTES]).reshape(len(sketches), BANDS_BYTES)
