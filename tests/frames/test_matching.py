"""What a segment can copy from others."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stowkenfs.frames import matching
from stowkenfs.frames.edits import Copy
from stowkenfs.frames.matching import GRAM_IDS, GramIndex, gram_hashes
from stowkenfs.frames.varints import TokenArray
from tests.frames.strategies import array

few_ids = st.lists(st.integers(0, 3), max_size=120).map(array)
sources = st.dictionaries(st.integers(0, 9), few_ids, max_size=4)


def check(copies: list[Copy], tokens: TokenArray, sources: dict[int, TokenArray]) -> None:
    """Ascending, apart, and of the same ids."""
    end = 0
    for copy in copies:
        assert copy.at >= end
        assert copy.length >= 3
        end = copy.at + copy.length
        assert end <= len(tokens)
        source = sources[copy.source][copy.start : copy.start + copy.length]
        assert source.tolist() == tokens[copy.at : end].tolist()


@settings(deadline=None)
@given(few_ids, st.sampled_from([1, 2, 8, 16]))
def test_equal_runs_have_equal_hashes(ids, gram_ids):
    hashes = gram_hashes(ids, gram_ids).tolist()
    assert len(hashes) == max(0, len(ids) - gram_ids + 1)
    runs = [tuple(ids[at : at + gram_ids].tolist()) for at in range(len(hashes))]
    assert len(set(runs)) == len(set(hashes)) == len(set(zip(runs, hashes, strict=True)))


@settings(deadline=None)
@given(sources, few_ids)
def test_copies(sources, tokens):
    copies = GramIndex(sources).copies(tokens)
    check(copies, tokens, sources)
    covered = np.zeros(len(tokens), np.bool_)
    for copy in copies:
        covered[copy.at : copy.at + copy.length] = True
    known = {
        tuple(ids[at : at + GRAM_IDS].tolist())
        for ids in sources.values()
        for at in range(len(ids) - GRAM_IDS + 1)
    }
    for at in range(len(tokens) - GRAM_IDS + 1):
        if tuple(tokens[at : at + GRAM_IDS].tolist()) in known:
            assert covered[at : at + GRAM_IDS].any()


@settings(deadline=None)
@given(sources, few_ids)
def test_equal_hashes_of_different_ids_change_no_copy_into_a_wrong_one(sources, tokens):
    def all_alike(ids: TokenArray, gram_ids: int) -> np.ndarray:
        return np.full(max(0, len(ids) - gram_ids + 1), 7, np.uint64)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(matching, "gram_hashes", all_alike)
        check(GramIndex(sources).copies(tokens), tokens, sources)


def test_the_longest_is_taken():
    text = np.arange(100, dtype=np.uint32)
    sources = {4: text[10:40], 5: text[10:90], 6: text[30:60]}
    assert GramIndex(sources).copies(text) == [Copy(10, 5, 0, 80)]


def test_changed_ids_are_passed_by_on_both_sides():
    """Runs of three ids are too short to be found, and found beside others."""
    text = np.arange(100, dtype=np.uint32)
    changed = text.copy()
    changed[[3, 8, 60, 64, 68, 71]] = 500
    assert GramIndex({2: text}).copies(changed) == [
        Copy(0, 2, 0, 3),
        Copy(4, 2, 4, 4),
        Copy(9, 2, 9, 51),
        Copy(61, 2, 61, 3),
        Copy(65, 2, 65, 3),
        Copy(72, 2, 72, 28),
    ]


def test_a_run_across_two_sources_is_none():
    text = np.arange(14, dtype=np.uint32)
    assert GramIndex({0: text[:7], 1: text[7:]}).copies(text) == []


def test_nothing_is_in_nothing():
    assert GramIndex({}).copies(array([1] * 50)) == []
    assert GramIndex({3: array([])}).copies(array([1] * 50)) == []
    assert GramIndex({3: array([1] * 50)}).copies(array([])) == []
