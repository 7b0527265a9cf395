"""Segments and tries for the tests beside this."""

import numpy as np
from hypothesis import strategies as st

from stowkenfs.predict.model import END
from stowkenfs.predict.observing import observe
from stowkenfs.predict.trie import Columns, Ids, Trie

FEW = st.integers(0, 5)
"""Few ids, so that contexts come again."""

IDS = FEW | st.integers(0, END - 1)
SEGMENTS = st.lists(st.lists(IDS, max_size=30), max_size=6)


def stream(segments: list[list[int]], end: int = END) -> Ids:
    """All segments, each with its end."""
    return np.array([token for ids in segments for token in [*ids, end]], np.uint32)


def learned(segments: list[list[int]], depth: int = 3) -> Trie:
    trie = Trie(depth, 100_000)
    ids = stream(segments)
    taken, events = observe(trie, ids)
    assert taken == len(ids)
    assert not len(events)
    return trie


def columns_of(trie: Trie) -> dict[str, list[int]]:
    names = Columns.__dataclass_fields__
    return {name: getattr(trie.columns, name)[: trie.used].tolist() for name in names}
