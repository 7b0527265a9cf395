"""0x04: a segment by its canonical."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stowkenfs.errors import FrameCorrupt
from stowkenfs.frames.codec import FrameKind, decode_frame, encode_delta, encode_frame, frame_kind
from stowkenfs.frames.segment import Segment
from stowkenfs.ids import Vocabulary
from tests.frames.drift import drift, same
from tests.frames.resources import Resources
from tests.frames.strategies import array, arrays

V = Vocabulary.CL100K_BASE


@settings(deadline=None)
@given(arrays, st.data(), st.sampled_from([v for v in Vocabulary if v is not Vocabulary.BYTES]))
def test_round_trip_of_what_was_edited(ids, data, vocabulary):
    canonical = Segment(vocabulary, ids)
    parts = []
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(ids)))
        parts += [ids[start : start + data.draw(st.integers(0, 300))], data.draw(arrays)[:50]]
    segment = Segment(vocabulary, np.concatenate(parts))
    frame = encode_delta(segment, 12, canonical)
    if frame is not None:
        assert frame_kind(frame) is FrameKind.DELTA
        assert same(decode_frame(frame, Resources(canonicals={12: canonical})), segment)
        assert encode_delta(segment, 12, canonical) == frame


def test_a_near_variant_takes_about_twenty_bytes():
    canonical = Segment(V, np.arange(250, dtype=np.uint32))
    for seed in range(30):
        segment = drift(seed, 250)
        frame = encode_delta(segment, 300, canonical)
        assert frame is not None
        assert len(frame) <= 28
        assert same(decode_frame(frame, Resources(canonicals={300: canonical})), segment)


def test_what_was_inserted_and_taken_out():
    ids = np.random.default_rng(3).integers(0, 100_000, 1000).astype(np.uint32)
    canonical = Segment(V, ids)
    moved = np.concatenate([ids[500:], array([7, 8, 9]), ids[:400], ids[450:500]])
    frame = encode_delta(Segment(V, moved), 0, canonical)
    assert frame is not None
    assert len(frame) < 25
    assert (
        decode_frame(frame, Resources(canonicals={0: canonical})).tokens.tolist() == moved.tolist()
    )


@pytest.mark.parametrize(
    ("ids", "vocabulary"),
    [
        (array([]), V),
        (array([1, 2, 3]), V),
        (np.arange(1000, 1300, dtype=np.uint32), V),  # nothing in common
        (np.arange(250, dtype=np.uint32), Vocabulary.O200K_BASE),
    ],
)
def test_none_where_it_cannot_pay(ids, vocabulary):
    canonical = Segment(V, np.arange(250, dtype=np.uint32))
    assert encode_delta(Segment(vocabulary, ids), 0, canonical) is None


def test_the_same_ids_over_and_over():
    """Each gram is everywhere: still one copy, and at once."""
    canonical = Segment(V, np.full(1 << 20, 7, np.uint32))
    segment = Segment(V, np.append(canonical.tokens[: 1 << 19], array([8, 7, 7])))
    frame = encode_delta(segment, 1, canonical)
    assert frame is not None
    assert len(frame) < 12
    assert same(decode_frame(frame, Resources(canonicals={1: canonical})), segment)


def test_refused():
    canonical = drift(0, 250)
    frame = encode_delta(drift(5, 250), 1, canonical)
    assert frame is not None
    other = Segment(Vocabulary.O200K_BASE, canonical.tokens)
    for resources in (
        None,
        Resources(),
        Resources(canonicals={1: other}),
        Resources(substrings={1: canonical}),
    ):
        with pytest.raises(FrameCorrupt):
            decode_frame(frame, resources)
    two_sources = bytes.fromhex("0401 01 08 01 030200")
    with pytest.raises(FrameCorrupt, match="more than one segment"):
        decode_frame(two_sources, Resources(canonicals={1: canonical, 2: canonical}))


def test_encode_frame_never_makes_one():
    for seed in range(5):
        assert frame_kind(encode_frame(drift(seed, 250).tokens, V)) in (1, 2)
