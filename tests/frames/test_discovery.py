"""What is worth an entry in the registry of substrings."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stowkenfs.frames.codec import EncodeChoices, decode_frame, encode_frame
from stowkenfs.frames.discovery import discover, saved_bytes
from stowkenfs.frames.segment import Segment
from stowkenfs.frames.substrings import Substring, SubstringMatcher, encode_substring
from stowkenfs.ids import Vocabulary
from tests.frames.drift import drift, same
from tests.frames.resources import Resources
from tests.frames.strategies import array

V = Vocabulary.CL100K_BASE
PEER_FRAMES_BYTES = 3_120  # of 30 x 250, its registry not counted


def entries_of(found: list[Substring]) -> dict[int, Segment]:
    return {n: Segment(one.vocabulary, one.tokens) for n, one in enumerate(found)}


def registry_bytes(found: list[Substring]) -> int:
    return sum(len(encode_substring(one.vocabulary, one.tokens)) for one in found)


def occurrences(ids: np.ndarray, segments: list[Segment]) -> int:
    """Of a run, none overlapping another: by looking everywhere."""
    wanted, count = ids.astype("<u4").tobytes(), 0
    for segment in segments:
        content = segment.tokens.astype("<u4").tobytes()
        at = content.find(wanted)
        while at >= 0:
            count += at % 4 == 0
            at = content.find(wanted, at + (len(wanted) if at % 4 == 0 else 1))
    return count


def random_ids(seed: int, length: int, below: int = 100_000) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, below, length).astype(np.uint32)


@pytest.mark.parametrize("length", [200, 250, 300])
@pytest.mark.parametrize("vocabulary", [V, Vocabulary.FOREIGN])
def test_thirty_that_drift(length, vocabulary):
    segments = [drift(seed, length, vocabulary) for seed in range(30)]
    found = discover(segments)
    assert found
    for one in found:
        assert one.vocabulary is vocabulary
        assert len(one.tokens) >= 16
        assert one.occurrences >= 5
        assert occurrences(one.tokens, segments) >= one.occurrences
    entries = entries_of(found)
    matcher = SubstringMatcher(entries)
    before = [encode_frame(s.tokens, vocabulary) for s in segments]
    choices = EncodeChoices(matcher)
    after = [encode_frame(s.tokens, vocabulary, choices=choices) for s in segments]
    assert all(
        same(decode_frame(f, Resources(entries)), s) for f, s in zip(after, segments, strict=True)
    )
    saved = sum(map(len, before)) - sum(map(len, after))
    assert saved_bytes(before, segments, matcher) == saved
    assert saved_bytes(after, segments, matcher) == 0
    assert sum(map(len, after)) + registry_bytes(found) < 1_300 < PEER_FRAMES_BYTES


def test_entries_hardly_overlap():
    segments = [drift(seed, 300) for seed in range(30)]
    total = sum(len(one.tokens) for one in discover(segments))
    assert total <= 300 + 5 * 16


def test_what_is_known_is_not_found_again():
    segments = [drift(seed, 250) for seed in range(30)]
    known = SubstringMatcher(entries_of(discover(segments)))
    assert discover(segments, known=known) == []


def test_the_same_segments_give_the_same_list():
    texts = [random_ids(seed, 60) for seed in range(20)]
    choice = np.random.default_rng(5)
    segments = [
        Segment(V, np.concatenate([texts[n] for n in choice.permutation(20)[:8]]))
        for _ in range(100)
    ]
    found = discover(segments)
    again = discover(list(segments))
    assert len(found) >= 10
    assert [(o.tokens.tolist(), o.occurrences) for o in found] == [
        (o.tokens.tolist(), o.occurrences) for o in again
    ]


def test_bytes_have_runs_too():
    template = np.frombuffer(b"the quick brown fox jumps over the lazy dog, ", np.uint8)
    segments = [
        Segment(Vocabulary.BYTES, np.append(template, random_ids(n, 5, 256)).astype(np.uint32))
        for n in range(20)
    ]
    [one] = discover(segments)
    assert one.vocabulary is Vocabulary.BYTES
    assert one.tokens.tolist() == template.tolist()
    assert one.occurrences == 20


def test_vocabularies_are_apart():
    """Three times in each of two is not six times."""
    ids = random_ids(1, 100)
    segments = [
        Segment(vocabulary, np.append(ids, array([n])))
        for vocabulary in (V, Vocabulary.O200K_BASE)
        for n in range(3)
    ]
    assert discover(segments) == []
    assert len(discover(segments, occurrences_min=3)) == 2


@pytest.mark.parametrize(("times", "found"), [(4, 0), (5, 1)])
def test_occurrences_min(times, found):
    ids = random_ids(1, 100)
    segments = [Segment(V, np.append(ids, array([n]))) for n in range(times)]
    assert len(discover(segments)) == found


@pytest.mark.parametrize(("length", "found"), [(15, 0), (16, 1), (40, 1)])
def test_length_min(length, found):
    ids = random_ids(1, length)
    segments = [
        Segment(V, np.concatenate([random_ids(n + 10, 9), ids, random_ids(n + 99, 9)]))
        for n in range(30)
    ]
    assert len(discover(segments)) == found
    assert len(discover(segments, length_min=40)) == (length == 40)


def test_overlapping_occurrences_count_once():
    segments = [Segment(V, np.full(500, 7, np.uint32)), Segment(V, np.full(400, 7, np.uint32))]
    assert discover(segments) == []


def test_nothing_is_found_in_nothing():
    assert discover([]) == []
    assert discover([Segment(V, array([])), Segment(V, array([1, 2]))]) == []


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.lists(st.integers(0, 2), max_size=80), max_size=12),
    st.integers(2, 5),
    st.sampled_from([V, Vocabulary.BYTES]),
)
def test_each_promoted_run_is_there_and_pays(lists, occurrences_min, vocabulary):
    segments = [Segment(vocabulary, array(numbers * 3)) for numbers in lists]
    found = discover(segments, occurrences_min=occurrences_min)
    for one in found:
        assert len(one.tokens) >= 16
        assert one.occurrences >= occurrences_min
        assert occurrences(one.tokens, segments) >= one.occurrences
    if found:
        frames = [encode_frame(s.tokens, vocabulary) for s in segments]
        assert saved_bytes(frames, segments, SubstringMatcher(entries_of(found))) > 0


def alike() -> list[Segment]:
    return [Segment(V, np.full(1 << 20, 7, np.uint32))]


def copies() -> list[Segment]:
    return [Segment(V, random_ids(1, 4000))] * 500


def at_random() -> list[Segment]:
    return [Segment(V, random_ids(1, 1 << 20))]


def of_two_ids() -> list[Segment]:
    return [Segment(V, random_ids(n, 1 << 16, 2)) for n in range(20)]


def periodic() -> list[Segment]:
    return [Segment(V, np.arange(1 << 18, dtype=np.uint32) % (3 + n)) for n in range(5)]


@pytest.mark.parametrize("made", [alike, copies, at_random, of_two_ids, periodic])
def test_long_samples_take_seconds(made):
    """Some are quadratic to look at naively: 2^40 comparisons would be hours."""
    segments = made()
    start = time.process_time()
    found = discover(segments)
    assert time.process_time() - start < 20
    assert bool(found) is (made is copies)
