"""Edits: what 0x04 and 0x05 have in common."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stowkenfs.errors import FrameCorrupt
from stowkenfs.frames.codec import LEVEL_QUICK
from stowkenfs.frames.edits import Copy, apply_edits, encode_edits, read_edits, sources_of
from stowkenfs.frames.segment import SYMBOLS_BYTES_MAX, Segment
from stowkenfs.frames.varints import encode_varints
from stowkenfs.ids import Vocabulary
from tests.frames.strategies import EDGES, array

V = Vocabulary.CL100K_BASE
SOURCES = {n: np.arange(n * 1000, n * 1000 + 40 + n, dtype=np.uint32) for n in (0, 1, 2, 90, 5000)}


def read(body: bytes, vocabulary: Vocabulary = V) -> Segment:
    def source_of(number):
        if number not in SOURCES:
            raise FrameCorrupt(f"no source {number}")
        return SOURCES[number]

    return apply_edits(vocabulary, read_edits(memoryview(body)), source_of)


def edits(
    steps: list[int], literals: bytes = b"", *, source: int = 0, packed: bool = False
) -> bytes:
    encoded = encode_varints(array(steps))
    return bytes(encode_varints(array([source, len(encoded) << 1 | packed]))) + encoded + literals


@st.composite
def edited(draw):
    """A target and the copies that it was made of, with literals between them."""
    parts, copies, at = [], [], 0
    literals = st.lists(st.sampled_from(EDGES), max_size=draw(st.sampled_from([0, 1, 3, 40])))
    for _ in range(draw(st.integers(1, 6))):
        some = array(draw(literals))
        source = draw(st.sampled_from(sorted(SOURCES)))
        start = draw(st.integers(0, len(SOURCES[source]) - 1))
        length = draw(st.integers(1, len(SOURCES[source]) - start))
        parts += [some, SOURCES[source][start : start + length]]
        at += len(some)
        copies.append(Copy(at, source, start, length))
        at += length
    parts.append(array(draw(literals)))
    return Segment(V, np.concatenate(parts)), copies


@settings(deadline=None)
@given(edited())
def test_round_trip(made):
    segment, copies = made
    body = encode_edits(segment, copies, lambda n: len(SOURCES[n]), LEVEL_QUICK)
    assert body is not None
    found = read(body)
    assert found.vocabulary is V
    assert found.tokens.tolist() == segment.tokens.tolist()
    assert not found.tokens.flags.writeable
    assert sources_of(read_edits(memoryview(body))) == tuple(sorted({c.source for c in copies}))


@settings(deadline=None)
@given(edited(), st.data())
def test_damaged_edits(made, data):
    segment, copies = made
    body = encode_edits(segment, copies, lambda n: len(SOURCES[n]), LEVEL_QUICK)
    assert body is not None
    at = data.draw(st.integers(0, len(body) - 1))
    damaged = body[:at] + bytes((body[at] ^ data.draw(st.integers(1, 255)),)) + body[at + 1 :]
    for hostile in (damaged, body[:at]):
        try:
            tokens = read(hostile).tokens
        except FrameCorrupt:
            continue
        assert len(encode_varints(tokens)) <= SYMBOLS_BYTES_MAX


@settings(deadline=None)
@given(st.lists(st.integers(0, 70), max_size=20), st.binary(max_size=20), st.booleans())
def test_hostile_steps(steps, literals, packed):
    try:
        read(edits(steps, literals, packed=packed))
    except FrameCorrupt:
        return
    assert steps


def test_a_frame_does_not_ask_for_more_than_it_may_hold():
    """Or one of some bytes would have gigabytes of sources decoded, for an id of each."""
    source = np.zeros(SYMBOLS_BYTES_MAX // 2, np.uint32)
    other = [1 << 3 | 3, 2, 0]  # one id of the next source, from its beginning
    asked = []

    def source_of(number):
        asked.append(number)
        return source

    def apply(sources: int) -> Segment:
        body = edits([1 << 3 | 1, *other * (sources - 1)])
        return apply_edits(V, read_edits(memoryview(body)), source_of)

    assert len(apply(2).tokens) == 2
    asked.clear()
    with pytest.raises(FrameCorrupt, match="ids in the sources"):
        apply(1000)
    assert len(asked) == 3


def test_a_changed_id_costs_two_bytes_and_itself():
    """A step before it; none for the place, and none at the end."""
    target = np.concatenate([SOURCES[1][:20], array([5]), SOURCES[1][21:], array([6])])
    copies = [Copy(0, 1, 0, 20), Copy(21, 1, 21, 20)]
    body = encode_edits(Segment(V, target), copies, lambda n: len(SOURCES[n]), LEVEL_QUICK)
    assert body == bytes.fromhex("01 06  a501 01  05 06")
    assert read(body).tokens.tolist() == target.tolist()


def test_numbers_beyond_a_step_are_left_to_other_kinds():
    copies = [Copy(0, 1 << 40, 0, 8), Copy(8, 1, 0, 8)]
    segment = Segment(V, array([1] * 16))
    assert encode_edits(segment, copies, lambda _: 8, LEVEL_QUICK) is None


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "edits: varint cut off"),
        (b"\0", "edits: varint cut off"),
        (b"\0\6\1", "3 bytes of steps, of which 1"),
        (b"\0\0", "without a step"),
        (b"\0\2\x81", "cut off"),
        (edits([0]), "a step of literals"),
        (edits([1 << 3 | 4]), "a step of literals"),
        (edits([2 << 3 | 0], b"\1"), "2 of 1 literals"),
        (edits([8 << 3 | 1 | 4]), "1 of 0 literals"),
        (edits([41 << 3 | 1]), "a copy of 41 ids from 0 of 40"),
        (edits([1, 1]), "a copy of 0 ids from 40 of 40"),
        (edits([2, 1]), "a copy of 41 ids from -1 of 40"),
        (edits([8 << 3 | 2]), "the last step is cut off"),
        (edits([8 << 3 | 3, 2]), "the last step is cut off"),
        (edits([8 << 3 | 3, 0, 0]), "another source that is none"),
        (edits([8 << 3 | 3, 1, 0]), "another source that is none"),
        (edits([1], source=3), "no source 3"),
        (b"\xff" * 9 + b"\x01\x02\x01", "varint of more than 63 bits"),
        (b"\xff" * 8 + b"\x7f\x06\x03\x02\x00", "no source 9223372036854775807"),
        (edits([1], b"\x80"), "cut off"),
        (edits([1], b"\x05\x01", packed=True), "the symbols"),
    ],
)
def test_refused(body, message):
    with pytest.raises(FrameCorrupt, match=message):
        read(body)


BOMB = """
import resource
import numpy as np
from stowkenfs.errors import FrameCorrupt
from stowkenfs.frames.edits import apply_edits, read_edits
from stowkenfs.frames.varints import encode_varints
from stowkenfs.ids import Vocabulary
source = np.full(1 << 20, 1 << 30, np.uint32)
def bomb(times):
    steps = encode_varints(np.array([1] + [2, 2 * (1 << 20) - 1] * times, np.uint32))
    return b"\\0" + encode_varints(np.array([len(steps) << 1], np.uint32)) + steps
for vocabulary, times in ((Vocabulary.BYTES, 1 << 16), (Vocabulary.O200K_BASE, 4)):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        apply_edits(vocabulary, read_edits(memoryview(bomb(times))), lambda number: source)
    except FrameCorrupt as error:
        print(error)
    else:
        raise AssertionError(times)
    grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown_kib < 128 << 10, grown_kib
"""


def test_copies_of_a_long_source_are_bounded():
    ran = subprocess.run(
        [sys.executable, "-c", BOMB], check=True, capture_output=True, text=True
    ).stdout
    assert "ids copied" in ran
    assert "bytes of symbols" in ran


def test_numbers_do_not_outgrow_an_index():
    body = b"\xff" * 8 + b"\x7f\x06\x03\x02\x00"  # the largest first source, and one more
    with pytest.raises(FrameCorrupt, match="another source that is none"):
        sources_of(read_edits(memoryview(body)))
