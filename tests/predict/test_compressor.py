"""Freezing and thawing, each rule by itself, and a model of what a pass may freeze."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stowkenfs.predict.compressor import LOG_MAX, NodeCompressor
from stowkenfs.predict.model import END
from stowkenfs.predict.observing import observe
from stowkenfs.predict.trie import CEILING, FROZEN, ROOT, Trie
from tests.predict.strategies import SEGMENTS, learned, stream


def converged(times: int = 200) -> Trie:
    """1, 2, 3 over and over, in segments of their own."""
    return learned([[1, 2, 3]] * times)


def put(compressor: NodeCompressor, context: tuple[int, ...], counts: dict[int, int]) -> None:
    compressor.compress_node(context, counts, node_credibility=60_000, observations=100)


# Eligibility


def test_too_few_observations() -> None:
    trie = converged(49)
    node = trie.node((1,))
    trie.columns.node_credibility[node] = CEILING
    assert not NodeCompressor(min_obs=50).should_compress(trie, node)
    assert NodeCompressor(min_obs=49).should_compress(trie, node)


def test_too_little_credibility() -> None:
    trie = converged()
    node = trie.node((1,))
    trie.columns.node_credibility[node] = math.ceil(CEILING * 0.8)
    assert NodeCompressor(stability_ratio=0.8).should_compress(trie, node)
    trie.columns.node_credibility[node] -= 1
    assert not NodeCompressor(stability_ratio=0.8).should_compress(trie, node)
    assert NodeCompressor(stability_ratio=0.8).should_compress(trie, node, ceiling=CEILING // 2)


def test_no_successors() -> None:
    trie = converged()
    leaf = trie.node((1, 2, 3, END))
    trie.columns.observations[leaf], trie.columns.node_credibility[leaf] = 1000, CEILING
    assert not NodeCompressor().should_compress(trie, leaf)


# Frozen distributions


def test_a_distribution_is_normalized() -> None:
    compressor = NodeCompressor()
    put(compressor, (1, 2), {3: 6, 9: 2})
    node = compressor.get_compressed((1, 2))
    assert node is not None
    assert node.distribution == {3: 0.75, 9: 0.25}
    assert (node.node_credibility, node.observations, node.frozen_step) == (60_000, 100, 0)


def test_nothing_counted_is_uniform() -> None:
    compressor = NodeCompressor()
    put(compressor, (1,), {3: 0, 4: 0})
    put(compressor, (2,), {})
    found = [compressor.get_compressed((token,)) for token in (1, 2)]
    assert [node.distribution for node in found if node] == [{3: 0.5, 4: 0.5}, {}]


def test_looking_up() -> None:
    compressor = NodeCompressor()
    put(compressor, (1, 2), {3: 1})
    put(compressor, (), {4: 1})
    assert compressor.get_compressed((1, 2)) is not None
    assert compressor.get_compressed(()) is not None
    for context in ((1,), (2, 1), (1, 2, 3), (0, 1, 2)):
        assert compressor.get_compressed(context) is None


def test_freezing_again_replaces() -> None:
    compressor = NodeCompressor()
    put(compressor, (1,), {3: 1})
    put(compressor, (1,), {4: 1})
    node = compressor.get_compressed((1,))
    assert node is not None
    assert node.distribution == {4: 1.0}
    assert compressor.stats().compressed == 1


def test_thawing_gives_it_back_and_logs() -> None:
    compressor = NodeCompressor()
    compressor.step = 3
    put(compressor, (1,), {3: 1, 4: 1})
    compressor.step = 7
    node = compressor.decompress_node((1,))
    assert node is not None
    assert node.distribution == {3: 0.5, 4: 0.5}
    assert compressor.get_compressed((1,)) is None
    assert compressor.decompress_node((1,)) is None
    (entry,) = compressor.log
    assert (entry.context, entry.step, entry.frozen_step, entry.age) == ((1,), 7, 3, 4)
    assert (entry.observations, entry.successors) == (100, 2)
    assert compressor.stats().thawed == 1


def test_the_log_is_bounded_and_the_count_is_not() -> None:
    compressor = NodeCompressor()
    for _ in range(LOG_MAX + 5):
        put(compressor, (1,), {3: 1})
        compressor.decompress_node((1,))
    assert len(compressor.log) == LOG_MAX
    assert compressor.stats().thawed == LOG_MAX + 5


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(
            st.lists(st.integers(0, 3), max_size=3).map(tuple),
            st.none() | st.dictionaries(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1)),
        ),
        max_size=60,
    )
)
def test_frozen_nodes_are_a_dictionary(steps) -> None:
    """None thaws, counts freeze."""
    compressor = NodeCompressor()
    wanted: dict[tuple[int, ...], dict[int, int]] = {}
    for context, counts in steps:
        if counts is None:
            node = compressor.decompress_node(context)
            assert (node and node.counts) == wanted.pop(context, None)
        else:
            put(compressor, context, counts)
            wanted[context] = counts
    assert {
        c: compressor.frozen.get(compressor.frozen.find(c) or 0).counts for c in wanted
    } == wanted
    assert set(compressor.frozen.contexts()) == set(wanted)
    assert compressor.stats().frozen_tokens == sum(map(len, wanted.values()))


def test_room_of_what_was_thawed_comes_back() -> None:
    compressor = NodeCompressor()
    many = dict.fromkeys(range(3000), 1)
    for context in range(10):
        put(compressor, (context,), many)
    compressor.check_staleness((9,), 5)
    before = compressor.frozen.memory_bytes
    for context in range(9):
        compressor.decompress_node((context,))
    assert compressor.frozen.memory_bytes < before / 3
    assert compressor.get_compressed((9,)) is not None
    assert int(compressor.frozen.checks()[0]) == 1


# Staleness


def test_what_is_not_frozen_is_not_stale() -> None:
    assert not NodeCompressor().check_staleness((1,), 2)


def test_one_token_that_was_never_seen_is_enough() -> None:
    compressor = NodeCompressor()
    put(compressor, (1,), {3: 1, 4: 1})
    assert not compressor.check_staleness((1,), 3)
    assert compressor.check_staleness((1,), 99)


@pytest.mark.parametrize(("count", "stale"), [(124, True), (126, False)])
def test_one_token_below_its_share_of_equal_ones_is_enough(count: int, stale: bool) -> None:
    """Of four successors a quarter each: at 0.5, stale below an eighth."""
    compressor = NodeCompressor(decompress_threshold=0.5)
    put(compressor, (1,), {1: count, 2: 400, 3: 300, 4: 300 - count})
    total = 400 + 300 + 300
    assert (count / total < 0.5 / 4) is stale
    assert compressor.check_staleness((1,), 1) is stale


def test_mean_surprise_above_that_of_equal_ones() -> None:
    """No single token is odd enough; five of them are, at a threshold that allows 0.04 nats."""
    threshold = 0.04
    compressor = NodeCompressor(decompress_threshold=threshold)
    put(compressor, (1,), {1: 45, 2: 55})
    surprise = -math.log(0.45)
    assert math.log(2) + threshold < surprise
    assert [compressor.check_staleness((1,), 1) for _ in range(5)] == [False] * 4 + [True]


def test_mean_surprise_of_what_was_expected_never_makes_it_stale() -> None:
    compressor = NodeCompressor()
    put(compressor, (1,), {1: 45, 2: 55})
    assert not any(compressor.check_staleness((1,), token) for token in (1, 2) * 50)


def test_thawing_forgets_the_surprise() -> None:
    compressor = NodeCompressor(decompress_threshold=0.04)
    for _ in range(2):
        put(compressor, (1,), {1: 45, 2: 55})
        assert not any(compressor.check_staleness((1,), 1) for _ in range(4))
        compressor.decompress_node((1,))


@settings(deadline=None)
@given(
    st.dictionaries(st.integers(0, 9), st.integers(0, 50), max_size=6),
    st.lists(st.integers(0, 9), max_size=30),
    st.sampled_from([0.0, 0.04, 0.5, 2.0]),
)
def test_many_tokens_are_checked_as_one_after_another(counts, tokens, threshold) -> None:
    one, many = (NodeCompressor(decompress_threshold=threshold) for _ in range(2))
    put(one, (1,), counts)
    put(many, (1,), counts)
    wanted = any(one.check_staleness((1,), token) for token in tokens)  # stops at the first
    assert many.check_many((1,), np.array(tokens, np.uint32)) is wanted
    assert many.frozen.checks().tolist() == one.frozen.checks().tolist()
    assert many.frozen.surprise().tolist() == pytest.approx(one.frozen.surprise().tolist())


# The pass


def test_a_pass_freezes_from_the_bottom_up_and_never_the_root() -> None:
    trie, compressor = converged(), NodeCompressor()
    before = trie.used
    done = compressor.compress_pass(trie)
    assert done.compressed > 0
    assert trie.used < before
    assert compressor.get_compressed(()) is None
    for context in ((1, 2, 3), (2, 3), (3,)):
        assert compressor.get_compressed(context) is not None
    assert not int(trie.columns.flags[ROOT])
    assert trie.successors(ROOT) == {1: 200, 2: 200, 3: 200, END: 200}
    assert done.active == 1
    assert done.skipped == 0


def test_a_child_that_still_learns_keeps_its_parents() -> None:
    trie = learned([[1, 2, 3]] * 200 + [[1, 9]])
    compressor = NodeCompressor()
    done = compressor.compress_pass(trie)
    # 9 and what leads to it were seen once; (1, 2) was not, and ends before them.
    assert compressor.get_compressed((1, 2)) is not None
    for context in ((9,), (1, 9), (1,), (END, 1), (END,)):
        assert compressor.get_compressed(context) is None
    assert trie.successors(trie.node((1,))) == {2: 200, 9: 1}
    assert done.skipped == done.active - 1 > 0


def test_a_second_pass_skips_what_is_frozen() -> None:
    trie, compressor = converged(), NodeCompressor()
    first = compressor.compress_pass(trie)
    second = compressor.compress_pass(trie)
    assert (second.compressed, second.active) == (0, first.active)
    assert compressor.step == 2


def test_frozen_contexts_learn_nothing_and_tell_what_followed() -> None:
    trie, compressor = converged(), NodeCompressor()
    compressor.compress_pass(trie)
    used = trie.used
    _, events = observe(trie, np.array([3, 7], np.uint32))
    assert [(trie.context(node), token) for node, token in events.tolist()][-1] == ((3,), 7)
    assert trie.used == used + 1  # 7 after the root


def test_thawing_puts_it_back_into_the_trie() -> None:
    trie, compressor = converged(), NodeCompressor()
    wanted = {c: trie.successors(trie.node(c)) for c in ((3,), (2, 3), (1,))}
    compressor.compress_pass(trie)
    assert compressor.decompress_node((1,), trie) is not None
    node = trie.node((1,))
    assert not int(trie.columns.flags[node]) & FROZEN
    assert trie.successors(node) == wanted[(1,)]
    # What is below it is still frozen.
    assert int(trie.columns.flags[trie.node((1, 2))]) & FROZEN
    observe(trie, np.array([1, 5], np.uint32))
    assert trie.successors(node)[5] == 1


@settings(deadline=None)
@given(SEGMENTS, st.integers(0, 4), st.sampled_from([0.0, 0.1, 0.5]))
def test_a_pass_freezes_what_it_may_and_loses_no_count(segments, min_obs, ratio) -> None:
    trie = learned(segments * 2)
    nodes = [node for node in range(trie.used) if trie.successors(node)]
    counts = {trie.context(node): trie.successors(node) for node in nodes}
    compressor = NodeCompressor(min_obs=min_obs, stability_ratio=ratio)
    eligible = {trie.context(n) for n in nodes if compressor.should_compress(trie, n)}
    # The rule, top down: a context and all longer contexts that begin with it are eligible.
    wanted = {
        context
        for context in counts
        if context and all(c in eligible for c in counts if c[: len(context)] == context)
    }
    done = compressor.compress_pass(trie)
    assert set(compressor.frozen.contexts()) == wanted
    assert done.compressed == len(wanted)
    assert done.active == max(len(counts), 1) - len(wanted)  # the root always is one
    assert compressor.stats(trie).active == done.active
    for context, successors in counts.items():
        frozen = compressor.get_compressed(context)
        found = frozen.counts if frozen else trie.successors(trie.node(context))
        assert found == successors
    observe(trie, stream(segments))


# What it tells


def test_stats_are_true() -> None:
    trie, compressor = learned([[1, 2, 3]] * 200 + [[1, 9]]), NodeCompressor()
    contexts = sum(1 for node in range(trie.used) if trie.successors(node))
    compressor.compress_pass(trie)
    stats = compressor.stats(trie)
    assert stats.compressed + stats.active == contexts
    assert stats.compression_ratio == stats.compressed / contexts
    assert stats.frozen_tokens == sum(
        len(node.counts) for c in compressor.frozen.contexts()
        if (node := compressor.get_compressed(c))
    )  # fmt: skip
    assert NodeCompressor().stats().compression_ratio == 0


def test_the_memory_estimate_is_what_is_allocated() -> None:
    trie, compressor = converged(), NodeCompressor()
    before = trie.used
    compressor.compress_pass(trie)
    found = compressor.memory_estimate(trie)
    assert compressor.frozen.freed_nodes == before - trie.used
    assert found.compressed_bytes == compressor.frozen.memory_bytes
    assert found.active_equivalent_bytes == round((before - trie.used) * trie.node_bytes)
    assert found.savings_bytes == found.active_equivalent_bytes - found.compressed_bytes


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_active_nodes": 0},
        {"min_obs": -1},
        {"stability_ratio": math.nan},
        {"stability_ratio": 1.5},
        {"decompress_threshold": math.inf},
        {"decompress_threshold": -1.0},
    ],
)
def test_odd_limits_are_refused(wrong) -> None:
    with pytest.raises(ValueError):
        NodeCompressor(**wrong)
