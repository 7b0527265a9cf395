from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stowkenfs.frames.minhash import (
    BAND_BYTES,
    BANDS,
    BANDS_BYTES,
    ROWS,
    TOKENS_AT_ONCE,
    bands_of,
    bands_of_many,
    has_bands,
    set_of,
    similarity,
)
from stowkenfs.frames.varints import TokenArray
from stowkenfs.ids import Vocabulary
from tests.frames.strategies import array, arrays, ids

segments = st.lists(ids, max_size=100).map(array)

VECTORS = {
    tuple(range(100)): "ec71946b14442a3f0fe8fb9e4536356751f83c08fa98d3724d76b828443b",
    (7, 7, 7): "4fe22c5f19521e72ad68ca602035e5d57bc33fcccce6d17230791cf53f6c",
    (): "548996548996548996548996548996548996548996548996548996548996",
}


def pairs(
    rng: np.random.Generator, size: int, share: float, count: int
) -> Iterator[tuple[TokenArray, TokenArray]]:
    """Sets of ``size`` ids, of which two share so many that their similarity is ``share``."""
    common = round(2 * size * share / (1 + share))
    for _ in range(count):
        drawn = rng.choice(100_000, 2 * size - common, replace=False).astype(np.uint32)
        yield drawn[:size], np.concatenate((drawn[:common], drawn[size:]))


def matches(some: Iterable[tuple[TokenArray, TokenArray]]) -> npt.NDArray[np.bool_]:
    """Which bands are equal, of each pair: shape (n, BANDS)."""
    ones, others = zip(*some, strict=True)
    shape = (-1, BANDS, BAND_BYTES)
    same: npt.NDArray[np.bool_] = (
        bands_of_many(ones).reshape(shape) == bands_of_many(others).reshape(shape)
    ).all(2)
    return same


@pytest.mark.parametrize("tokens", VECTORS)
def test_bands_stay_what_they_are(tokens):
    """They are in the index of every vault: these bytes must never change."""
    assert bands_of(array(list(tokens))).hex() == VECTORS[tokens]


def by_the_book(tokens: list[int]) -> bytes:
    """The docstring again, in Python's own numbers."""
    mask = (1 << 64) - 1

    def mix(word: int, number: int) -> int:
        word = (word + (number << 32) + 0x9E3779B97F4A7C15) & mask
        word = (word ^ word >> 30) * 0xBF58476D1CE4E5B9 & mask
        word = (word ^ word >> 27) * 0x94D049BB133111EB & mask
        return word ^ word >> 31

    empty = 1 << 64
    bins = [empty] * (BANDS * ROWS)
    for number in range(32):
        for one in tokens:
            mixed = mix(one, number)
            at = (mixed >> 32) * len(bins) >> 32
            worth = mixed & 0xFFFFFFFF | number << 32
            bins[at] = min(bins[at], worth)
    for at, found in enumerate(bins):
        if found == empty:
            bins[at] = min(mix(one, 32 + at) & 0xFFFFFFFF for one in tokens) | 32 << 32
    out = b""
    for start in range(0, len(bins), ROWS):
        word = 0
        for row in range(ROWS):
            word = mix(word ^ bins[start + row], row)
        out += (word >> 40).to_bytes(3, "little")
    return out


@given(st.lists(ids, min_size=1, max_size=120).map(array))
def test_bands_are_what_is_written(tokens):
    assert bands_of(tokens) == by_the_book(tokens.tolist())


@settings(deadline=None)  # sets of few ids take many rounds
@given(st.lists(segments, max_size=6), st.randoms())
def test_bands_are_of_the_set_alone(some, random):
    """Neither order, nor how often an id comes, nor what else is worked on."""
    shuffled = []
    for segment in some:
        twice = [*segment.tolist(), *segment.tolist()]
        random.shuffle(twice)
        shuffled.append(array(twice))
    assert bands_of_many(some).shape == (len(some), BANDS_BYTES)
    assert (bands_of_many(some) == bands_of_many(shuffled)).all()
    assert [row.tobytes() for row in bands_of_many(some)] == [*map(bands_of, some)]


def test_long_segments_are_of_their_set_too():
    some = array(list(range(0, 3500, 7)))
    long = np.tile(some, TOKENS_AT_ONCE // 100)
    many = bands_of_many([some, long, some, long])
    assert (many == many[0]).all()


@pytest.mark.parametrize("size", [24, 300])
@pytest.mark.parametrize(
    ("share", "recall_min", "recall_max"),
    [(0.2, 0, 0.02), (0.5, 0.2, 0.35), (0.7, 0.79, 0.92), (0.85, 0.99, 1), (0.95, 1, 1)],
)
def test_recall_is_what_is_promised(size, share, recall_min, recall_max):
    """Small sets included, of which a sketch has more bins than they have ids."""
    found = matches(pairs(np.random.default_rng(5), size, share, 1500))
    assert recall_min <= found.any(axis=1).mean() <= recall_max


def test_bands_are_independent_enough():
    """Bands agree as often as ROWS independent numbers would."""
    found = matches(pairs(np.random.default_rng(6), 200, 0.8, 3000))
    assert found.mean() == pytest.approx(0.8**ROWS, abs=0.02)
    assert found.any(axis=1).mean() == pytest.approx(1 - (1 - 0.8**ROWS) ** BANDS, abs=0.02)


@given(arrays, arrays)
def test_similarity_is_that_of_sets(a, b):
    one, other = set(a.tolist()), set(b.tolist())
    expected = len(one & other) / len(one | other) if one | other else 1.0
    assert similarity(a, b) == similarity(b, a) == expected
    assert similarity(a, a) == 1.0
    assert set_of(a).tolist() == sorted(one)


def test_bytes_and_short_segments_are_not_compared():
    assert has_bands(24, Vocabulary.CL100K_BASE)
    assert has_bands(24, Vocabulary.FOREIGN)
    assert not has_bands(23, Vocabulary.CL100K_BASE)
    assert not has_bands(1000, Vocabulary.BYTES)
