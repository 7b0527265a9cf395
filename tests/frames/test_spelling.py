"""Texts spelled together; the oracle spells them one by one."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from stowkenfs.errors import FrameCorrupt
from stowkenfs.frames.bulk import Speller
from stowkenfs.frames.codebook import Codebook
from stowkenfs.frames.codec import (
    EncodeChoices,
    decode_frame,
    encode_delta,
    encode_frame,
    frame_kind,
)
from stowkenfs.frames.dense import DenseSegments, decode_dense, encode_dense, prepare
from stowkenfs.frames.segment import Segment
from stowkenfs.frames.spelling import Escapes, escaped, spelling_table
from stowkenfs.frames.substrings import SubstringMatcher
from stowkenfs.frames.token_table import token_table
from stowkenfs.frames.vocabulary import spell
from stowkenfs.ids import Vocabulary
from tests.frames.resources import Resources
from tests.frames.strategies import array

PATIENT = settings(deadline=None)
"""The first text of a vocabulary builds its tables."""

BYTES, CL100K, O200K, FOREIGN = Vocabulary
ESCAPES: Escapes = ((b"e", b"ee"), (b" ", b"\\u0020"), (b"\n", b""))
LENGTHS = np.array([len(text or b"") for text in token_table(O200K).spellings.tolist()])
LONG = np.flatnonzero(LENGTHS > 8)[::97].tolist()
# Bytes that occur in no UTF-8, and an id that has no spelling.
ODD = [at for at, text in enumerate(token_table(O200K).spellings) if text in (b"\xfe", b"\xff")]
GAP = next(at for at, text in enumerate(token_table(O200K).spellings) if text is None)

common = st.integers(0, 20_000) | st.sampled_from(LONG) | st.integers(0, 199_997)
segments = st.tuples(st.sampled_from([CL100K, O200K]), st.lists(st.integers(0, 100_255)))
escapes = st.sampled_from([(), ESCAPES])
ORDER = np.random.default_rng(2).permutation(150_000)[:3000].astype(np.uint32)
BOOK = Codebook({O200K: ORDER})


@PATIENT
@given(st.lists(st.lists(common), max_size=20), escapes)
@example([[], LONG, []], ESCAPES)
def test_a_table_spells_as_one_by_one(drawn: list[list[int]], escapes: Escapes) -> None:
    table = spelling_table(O200K, escapes)
    drawn = [[one for one in ids if one not in ODD] for ids in drawn]
    ids = array([one for ids in drawn for one in (*ids, table.end_id)])
    expected = [escaped(spell(array(ids), O200K), escapes) for ids in drawn]
    assert table.spell(ids) == expected


@pytest.mark.parametrize("ids", [[ODD[0]], [ODD[1], 5], [GAP], [300_000], [2**32 - 1]])
def test_odd_ids_are_left_to_others(ids: list[int]) -> None:
    assert len(ODD) == 2
    table = spelling_table(O200K)
    assert table.spell(array([*ids, table.end_id])) is None


def dense_of(drawn: list[tuple[Vocabulary, list[int]]]) -> DenseSegments:
    prepared = [prepare(vocabulary, array(ids), BOOK) for vocabulary, ids in drawn]
    return decode_dense(encode_dense(prepared, 3), len(drawn))


def all_of(found: DenseSegments, escapes: Escapes = (), step: int = 1) -> dict[int, bytes]:
    """The texts of a block, its segments numbered in steps."""
    places = np.arange(len(found))
    speller = Speller(lambda number: found.segment(number // step, BOOK), escapes)
    speller.add_dense(found, BOOK, step * places, places)
    return speller.finish()


def spelled(drawn: list[tuple[Vocabulary, list[int]]], escapes: Escapes) -> dict[int, bytes]:
    return {
        7 * at: escaped(spell(array(ids), vocabulary), escapes)
        for at, (vocabulary, ids) in enumerate(drawn)
    }


any_segments = st.lists(
    segments | st.tuples(st.just(BYTES), st.lists(st.integers(0, 255))), max_size=30
)
long_segments = [(O200K, ORDER[:2000].tolist() * 20), (O200K, [5]), (CL100K, [9] * 70_000)]


@PATIENT
@given(any_segments, escapes)
@example([(O200K, [ODD[0], 4]), (O200K, [4]), (O200K, [])], ESCAPES)
@example(long_segments * 2, ())
def test_segments_of_blocks(drawn: list[tuple[Vocabulary, list[int]]], escapes: Escapes) -> None:
    assert all_of(dense_of(drawn), escapes, 7) == spelled(drawn, escapes)


@PATIENT
@given(any_segments, escapes)
@example([(O200K, [ODD[0], 4]), (O200K, [4]), (O200K, [])], ESCAPES)
@example(long_segments, ())
def test_frames(drawn: list[tuple[Vocabulary, list[int]]], escapes: Escapes) -> None:
    frames = {
        7 * at: encode_frame(array(ids), vocabulary) for at, (vocabulary, ids) in enumerate(drawn)
    }
    speller = Speller(lambda number: decode_frame(frames[number]), escapes)
    ends = np.cumsum([0, *map(len, frames.values())])
    numbers = np.array(list(frames), np.int64)
    speller.add_frames(numbers, b"".join(frames.values()), ends[:-1], ends[1:])
    assert speller.finish() == spelled(drawn, escapes)


@pytest.mark.parametrize("vocabulary", [BYTES, CL100K, O200K])
def test_frames_that_refer_to_something_are_decoded_alone(vocabulary: Vocabulary) -> None:
    entry = Segment(vocabulary, array([*range(60, 100)] * 2))
    resources = Resources(substrings={8: entry}, canonicals={9: entry})
    changed = Segment(vocabulary, array([*range(60, 100), 5, *range(61, 100)]))
    delta = encode_delta(changed, 9, entry)
    assert delta is not None
    choices = EncodeChoices(SubstringMatcher({8: entry}))
    frames = [encode_frame(changed.tokens, vocabulary, choices=choices), delta]
    frames.append(encode_frame(entry.tokens, vocabulary))
    assert [frame_kind(frame) for frame in frames[:2]] == [5, 4]
    speller = Speller(lambda number: decode_frame(frames[number], resources), ESCAPES)
    ends = np.cumsum([0, *map(len, frames)])
    speller.add_frames(np.arange(3), b"".join(frames), ends[:-1], ends[1:])
    texts = [escaped(spell(one.tokens, vocabulary), ESCAPES) for one in (changed, changed, entry)]
    assert speller.finish() == dict(enumerate(texts))


def test_foreign_ids_have_no_text() -> None:
    found = dense_of([(FOREIGN, [1, 2])])
    with pytest.raises(FrameCorrupt, match="no text"):
        all_of(found)


@PATIENT
@given(st.binary(min_size=1, max_size=60), st.sampled_from([1, 40]))
def test_hostile_segments(content: bytes, times: int) -> None:
    """What is refused alone is refused together; what is not has the same text."""
    content = content.replace(b"\xff", b"\xf0") * times
    beside = prepare(O200K, array([3]), BOOK)
    payload = encode_dense([beside, replace(beside, content=content), beside], 3)
    found = decode_dense(payload, 3)
    try:
        expected = spell(found.segment(1, BOOK).tokens, O200K)
    except FrameCorrupt:
        with pytest.raises(FrameCorrupt):
            all_of(found)
        return
    assert all_of(found) == {
        0: spell(array([3]), O200K),
        1: expected,
        2: spell(array([3]), O200K),
    }
