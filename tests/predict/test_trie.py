"""The trie against a dictionary of counters, in C and in Python."""

from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stowkenfs import kernels
from stowkenfs.predict.model import END
from stowkenfs.predict.observing import observe
from stowkenfs.predict.trie import CEILING, NO_NODE, ROOT, START, Trie
from tests.kernels import using
from tests.predict.strategies import SEGMENTS, columns_of, learned, stream


def counted(segments: list[list[int]], depth: int) -> dict[tuple[int, ...], Counter[int]]:
    """What followed each context: the obvious way."""
    found: dict[tuple[int, ...], Counter[int]] = defaultdict(Counter)
    for ids in segments:
        past = [END]
        for token in [*ids, END]:
            for length in range(min(depth, len(past)) + 1):
                found[tuple(past[len(past) - length :])][token] += 1
            past.append(token)
    return found


@settings(deadline=None)
@given(SEGMENTS, st.integers(1, 5))
def test_it_counts_what_follows_each_context(segments: list[list[int]], depth: int) -> None:
    trie = learned(segments, depth)
    wanted = counted(segments, depth)
    for context, successors in wanted.items():
        node = trie.node(context)
        assert trie.successors(node) == successors
        assert int(trie.columns.observations[node]) == successors.total()
        assert trie.context(node) == context
    contexts = {trie.context(n) for n in range(trie.used) if trie.successors(n)}
    assert contexts == set(wanted)


@settings(deadline=None)
@given(SEGMENTS, st.integers(1, 5))
def test_compiled_and_python_make_the_same_columns(segments: list[list[int]], depth: int) -> None:
    with using(kernels.built):
        compiled = learned(segments, depth)
    with using(None):
        python = learned(segments, depth)
        assert columns_of(python) == columns_of(compiled)
        python.rebuild_buckets()
    for node in range(1, compiled.used):
        parent, token = int(compiled.columns.parent[node]), int(compiled.columns.token[node])
        assert compiled.find(parent, token) == python.find(parent, token) == node


def test_credibility_of_a_node_falls_with_what_is_new_and_rises_with_what_is_known() -> None:
    trie = Trie(1, 1000)
    observe(trie, np.arange(40, dtype=np.uint32))
    assert int(trie.columns.node_credibility[ROOT]) == 0
    before = 0
    for _ in range(200):
        observe(trie, np.zeros(1, np.uint32))
        now = int(trie.columns.node_credibility[ROOT])
        assert before <= now < CEILING
        before = now
    assert before > CEILING * 0.99
    observe(trie, np.array([99], np.uint32))
    assert int(trie.columns.node_credibility[ROOT]) < before


@pytest.mark.parametrize("compiled", [kernels.built, None])
def test_a_full_trie_takes_no_more_and_says_how_much_it_took(compiled) -> None:
    ids = np.arange(1000, dtype=np.uint32)
    with using(compiled):
        trie = Trie(2, 50)
        taken, _ = observe(trie, ids)
        assert 0 < taken < 50
        assert trie.used <= 50
        assert observe(trie, ids[taken:])[0] == 0
        unbounded = Trie(2, 10_000)
        observe(unbounded, ids[:taken])
    assert columns_of(unbounded) == columns_of(trie)


def test_counts_stay_at_their_limit() -> None:
    for compiled in (kernels.built, None):
        with using(compiled):
            trie = learned([[7]])
            for name in ("credibility", "observations"):
                getattr(trie.columns, name)[: trie.used] = 2**32 - 1
            observe(trie, np.array([7, END], np.uint32))
            assert max(columns_of(trie)["credibility"]) == 2**32 - 1
            assert max(columns_of(trie)["observations"]) == 2**32 - 1


@settings(deadline=None)
@given(SEGMENTS, st.randoms(use_true_random=False))
def test_what_is_kept_stays_as_it_was(segments: list[list[int]], random) -> None:
    trie = learned(segments)
    before = {trie.context(n): trie.successors(n) for n in range(trie.used)}
    keep = np.array([random.random() < 0.8 for _ in range(trie.used)])
    keep[: START + 1] = True
    for node in range(1, trie.used):  # a node goes with its parent
        keep[node] &= keep[trie.columns.parent[node]]
    kept = {trie.context(n) for n in np.flatnonzero(keep).tolist()}
    trie.keep_only(keep)
    assert {trie.context(n) for n in range(trie.used)} == kept
    for context in kept:
        node = trie.node(context)
        wanted = {
            token: count for token, count in before[context].items() if (*context, token) in kept
        }
        assert trie.successors(node) == wanted
    live = [node for node in trie.live.tolist() if node != NO_NODE]
    assert all(0 <= node < trie.used for node in live)
    observe(trie, stream(segments))  # and it goes on learning


def test_what_is_absent_is_not_found() -> None:
    trie = learned([[1, 2, 3]])
    assert trie.node((1, 2, 4)) == NO_NODE
    assert trie.node((9,)) == NO_NODE
    assert trie.node(()) == ROOT


@pytest.mark.parametrize(
    ("depth", "nodes", "end"), [(0, 100, 1), (16, 100, 1), (3, 5, 1), (3, 2**31, 1), (3, 9, 2**32)]
)
def test_odd_limits_are_refused(depth: int, nodes: int, end: int) -> None:
    with pytest.raises(ValueError, match=r"possible|no id"):
        Trie(depth, nodes, end)


def test_a_node_takes_less_than_fifty_bytes() -> None:
    """At any size but the smallest: 10 million ids make some 10 million nodes."""
    random = np.random.default_rng(2)
    trie = Trie(3, 1 << 20)
    observe(trie, np.minimum(random.zipf(1.3, 60_000), 90_000).astype(np.uint32))
    assert trie.used > 100_000
    assert trie.memory_bytes / trie.used < 60


def arguments(trie: Trie) -> list[object]:
    columns = trie.columns
    return [
        np.zeros(1, np.uint32), END, np.array([0, trie.used, 0]), trie.live, columns.parent,
        columns.token, columns.credibility, columns.observations, columns.node_credibility,
        columns.child, columns.sibling, columns.depth, columns.flags, trie.buckets,
        np.zeros((99, 2), np.int64),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("at", "wrong", "error"),
    [
        (0, np.zeros(1, np.int64), TypeError),
        (1, -1, OverflowError),
        (1, "1", TypeError),
        (2, np.array([0, 1, 0]), ValueError),
        (2, np.array([0, 10**6, 0]), ValueError),
        (2, np.array([0, 2, -1]), ValueError),
        (2, np.array([0, 2, 100]), ValueError),
        (2, np.array([0, 2]), ValueError),
        (3, np.array([0, 9999, -1, -1]), ValueError),
        (3, np.array([0, -2, -1, -1]), ValueError),
        (3, np.zeros(17, np.int64), ValueError),
        (4, np.zeros(3, np.uint32), ValueError),
        (12, np.zeros(3, np.uint8), ValueError),
        (13, np.zeros(48, np.uint32), ValueError),
        (13, bytes(64), TypeError),
    ],
)
def test_columns_that_are_no_trie_are_refused(at: int, wrong: object, error) -> None:
    assert kernels.built is not None
    given = arguments(learned([[1, 2, 3]]))
    given[at] = wrong
    with pytest.raises(error):
        kernels.built.trie_observe(*given)  # type: ignore[arg-type]


def test_columns_that_cannot_be_written_are_refused() -> None:
    assert kernels.built is not None
    for at in (2, 3, 4, 13, 14):
        given = arguments(learned([[1, 2, 3]]))
        given[at] = np.array(given[at])
        given[at].flags.writeable = False  # type: ignore[attr-defined]
        with pytest.raises(ValueError):
            kernels.built.trie_observe(*given)  # type: ignore[arg-type]
    with pytest.raises(ValueError):
        kernels.built.trie_index(
            np.zeros(2, np.uint32), np.zeros(3, np.uint32), np.zeros(64, np.uint32)
        )
