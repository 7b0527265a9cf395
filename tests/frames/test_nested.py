"""0x07: bytes by a canonical that may be told so itself."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stowkenfs.errors import FrameCorrupt
from stowkenfs.frames.codec import (
    DEPTH_MAX,
    FrameKind,
    decode_frame,
    depth_of,
    encode_delta,
    encode_frame,
    encode_nested,
    frame_kind,
    references_of,
)
from stowkenfs.frames.segment import Segment
from stowkenfs.ids import Vocabulary
from tests.frames.drift import same
from tests.frames.resources import Resources

B = Vocabulary.BYTES


def segment_of(content: bytes) -> Segment:
    return Segment(B, np.frombuffer(content, np.uint8).astype(np.uint32))


@settings(deadline=None)
@given(st.binary(min_size=40, max_size=400), st.data(), st.integers(1, DEPTH_MAX))
def test_round_trip(content, data, depth):
    changed = bytearray(content)
    for _ in range(data.draw(st.integers(0, 6))):
        at = data.draw(st.integers(0, len(content) - 1))
        changed[at : at + 8] = data.draw(st.binary(max_size=9))
    canonical, segment = segment_of(content), segment_of(bytes(changed))
    frame = encode_nested(segment, 12, canonical, depth, level=3)
    if frame is not None:
        assert frame_kind(frame) is FrameKind.NESTED
        assert depth_of(frame) == depth
        assert references_of(frame).numbers == (12,)
        assert same(decode_frame(frame, Resources(canonicals={12: canonical})), segment)


def test_a_changed_cell_costs_itself_and_a_place():
    cells = np.random.default_rng(1).random(2500)
    before = segment_of(cells.tobytes())
    cells[[3, 700, 701, 1500, 2499]] = 1 / 3
    frame = encode_nested(segment_of(cells.tobytes()), 1000, before, 1, level=3)
    assert frame is not None
    assert len(frame) < 5 * 12


def test_one_that_is_whole_is_not_deep_and_a_delta_of_texts_never_a_canonical():
    tokens = np.arange(100, dtype=np.uint32)
    segment = Segment(Vocabulary.CL100K_BASE, tokens)
    assert depth_of(encode_frame(tokens, Vocabulary.CL100K_BASE)) == 0
    delta = encode_delta(segment, 1, segment)
    assert delta is not None
    assert depth_of(delta) > DEPTH_MAX


@pytest.mark.parametrize("depth", [0, DEPTH_MAX + 1])
def test_no_frame_is_deeper_than_readers_read(depth):
    segment = segment_of(bytes(100))
    assert encode_nested(segment, 1, segment, depth, level=3) is None
    with pytest.raises(FrameCorrupt, match="no depth"):
        decode_frame(bytes((FrameKind.NESTED, B, depth, 1, 2, 1)))


def test_a_canonical_that_is_as_deep_is_refused():
    class Stored(Resources):
        def canonical(self, number: int, below: int = 1) -> Segment:
            if below <= 3:
                raise FrameCorrupt("too deep")
            return super().canonical(number)

    segment = segment_of(bytes(100))
    for depth in range(1, DEPTH_MAX + 1):
        frame = encode_nested(segment, 1, segment, depth, level=3)
        assert frame is not None
        stored = Stored(canonicals={1: segment})
        if depth > 3:
            assert same(decode_frame(frame, stored), segment)
        else:
            with pytest.raises(FrameCorrupt, match="too deep"):
                decode_frame(frame, stored)


def test_two_sources_are_refused():
    frame = bytes((FrameKind.NESTED, B, 1, 1, 4 << 1, 1 << 3 | 1, 1 << 3 | 3, 2, 0))
    with pytest.raises(FrameCorrupt, match="more than one"):
        decode_frame(frame, Resources(canonicals={1: segment_of(b"ab"), 2: segment_of(b"ab")}))
