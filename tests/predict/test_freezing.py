"""What of a trie gets into a model, and with which counts."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stowkenfs.ids import Vocabulary
from stowkenfs.predict import coder
from stowkenfs.predict.freezing import Worth, freeze
from stowkenfs.predict.model import END, TOTAL_MAX, Model
from stowkenfs.predict.trie import Trie
from tests.predict.strategies import SEGMENTS, learned
from tests.predict.test_coder import ALL, model_of
from tests.second_reader_model import read_model

Found = dict[tuple[int, ...], dict[int, int]]


def entries_of(model: Model) -> Found:
    """Counts by context, the youngest id first, as the second reader finds them."""
    contexts = read_model(model.encode()).contexts
    return {
        ids: {token: (weight + 5) // 8 for token, weight in context.entries}
        for ids, context in contexts.items()
    }


def simulated(segments: list[list[int]], orders: int, worth: Worth) -> Found:
    """Segment by segment and id by id: what comes to each context.

    One that has an entry in a longer context comes to the shorter one only the first time.
    """
    past_of = [
        (tuple(reversed([END, *ids, END][: at + 1])), token)
        for ids in segments
        for at, token in enumerate([*ids, END])
    ]
    coming = list(range(len(past_of)))
    found: Found = {}
    for order in range(orders, -1, -1):
        there = [at for at in coming if len(past_of[at][0]) >= order]
        counts = Counter((past_of[at][0][:order], past_of[at][1]) for at in there)
        kept = {pair: n for pair, n in counts.items() if n >= worth.count_min[order]}
        masses: Counter[tuple[int, ...]] = Counter()
        for (context, _), count in kept.items():
            masses[context] += count
        kept = {pair: n for pair, n in kept.items() if masses[pair[0]] >= worth.context_min[order]}
        for (context, token), count in kept.items():
            found.setdefault(context, {})[token] = count
        seen, left = set(), []
        for at in coming:
            pair = (past_of[at][0][:order], past_of[at][1])
            if len(past_of[at][0]) < order or pair not in kept or pair not in seen:
                left.append(at)
            seen.add(pair)
        coming = left
    return found


@settings(deadline=None)
@given(
    SEGMENTS.filter(any),
    st.integers(1, 3),
    st.sampled_from([ALL, Worth(), Worth((1, 1, 2, 2), (1, 2, 3, 2))]),
)
def test_counts_are_those_of_what_comes_to_a_context(segments, orders, worth) -> None:
    segments = segments * 3
    assert entries_of(model_of(segments, orders, worth)) == simulated(segments, orders, worth)


def test_what_is_rare_has_no_entry_and_weighs_for_the_escape() -> None:
    segments = [[1, 2]] * 9 + [[1, 3]]
    model = read_model(model_of(segments, 1, Worth((1, 2, 2, 2), (1, 2, 2, 2))).encode())
    assert model.contexts[(1,)].entries == [(2, 8 * 9 - 5)]
    assert model.contexts[(1,)].escape == 8 * 1 + 5 * 1


def test_a_trie_that_learned_nothing_gives_a_model_that_codes_all() -> None:
    model = freeze(Trie(3, 100), Vocabulary.BYTES, [])
    ids = np.array([5, 6, 5, 6], np.uint32)
    assert coder.decode(coder.encode(ids, model), model).tolist() == ids.tolist()


def test_counts_are_scaled_to_what_a_context_may_weigh() -> None:
    trie = learned([[1, 2, 3]] * 3)
    trie.columns.credibility[: trie.used] = 2**32 - 1
    trie.columns.credibility[trie.node((1,))] = 1
    model = freeze(trie, Vocabulary.O200K_BASE, [], ALL)
    assert TOTAL_MAX // 8 < int(model.arrays.totals.max()) <= TOTAL_MAX
    ids = np.array([1, 2, 3, 9], np.uint32)
    assert coder.decode(coder.encode(ids, model), model).tolist() == ids.tolist()


def test_weights_of_matches_are_taken_from_the_sample() -> None:
    trie = learned([[1, 2, 3]])
    repeating = [np.array([7, 8, 9] * 200, np.uint32)]
    changing = [np.array([7, 8, 9, 7, 8, 5] * 200, np.uint32)]
    often = freeze(trie, Vocabulary.O200K_BASE, repeating).hits
    rarely = freeze(trie, Vocabulary.O200K_BASE, changing).hits
    assert often[15] > 60_000
    assert rarely[2] < often[15]


def test_another_end_is_refused() -> None:
    with pytest.raises(ValueError, match="end with"):
        freeze(Trie(3, 100, end=7), Vocabulary.O200K_BASE, [])
