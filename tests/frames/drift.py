"""Segments that are mostly one text."""

import numpy as np

from stowkenfs.frames.segment import Segment
from stowkenfs.ids import Vocabulary
from tests.frames.strategies import array


def drift(seed: int, length: int, vocabulary: Vocabulary = Vocabulary.CL100K_BASE) -> Segment:
    """0, 1, 2, ... with up to three ids changed, at places that the seed says."""
    ids = list(range(length))
    for number, factor in enumerate((1, 7, 13)):
        ids[seed * factor % length] = 90_000 + (seed * 17 + number * 11) % 5_000
    return Segment(vocabulary, array(ids))


def same(left: Segment, right: Segment) -> bool:
    return left.vocabulary is right.vocabulary and np.array_equal(left.tokens, right.tokens)
