"""Varint arrays; the oracle is the scalar codec in stowkenfs.varint."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stowkenfs.errors import FrameCorrupt
from stowkenfs.frames import varints
from stowkenfs.frames.varints import decode_varints, encode_varints
from stowkenfs.varint import append_varint
from tests.frames.strategies import EDGES, array, arrays

LONG = 1000  # repetitions that no scalar path handles


@pytest.fixture(params=["few", "many"])
def padding(request):
    """Ids before those under test, so that both implementations see them."""
    return [5] * (0 if request.param == "few" else LONG)


@given(arrays)
def test_encoding_is_that_of_the_scalar_codec(ids):
    expected = bytearray()
    for value in ids.tolist():
        append_varint(expected, value)
    assert encode_varints(ids) == bytes(expected)


@given(arrays)
def test_round_trip(ids):
    found = decode_varints(encode_varints(ids))
    assert found.dtype == np.uint32
    assert np.array_equal(found, ids)
    assert not found.flags.writeable


@given(st.binary(), st.sampled_from([b"", b"\x05" * LONG]))
@example(b"\xff" * 600, b"")
@example(b"\x80" * 600, b"\x05" * LONG)
def test_hostile_bytes_have_one_encoding_or_are_refused(buffer, before):
    try:
        ids = decode_varints(before + buffer)
    except FrameCorrupt:
        return
    assert encode_varints(ids) == before + buffer


@given(st.lists(st.integers(0, 255), min_size=1).map(bytes), st.binary(max_size=3))
def test_both_implementations_agree(buffer, end):
    results = []
    for decode in (varints._decode_few, varints._decode_many):
        try:
            results.append(decode(buffer + end).tolist())
        except FrameCorrupt:
            results.append("corrupt")
    assert results[0] == results[1]


@pytest.mark.parametrize("value", EDGES)
def test_every_width_alone_and_among_others(value, padding):
    ids = array([*padding, value])
    assert decode_varints(encode_varints(ids)).tolist() == ids.tolist()


@pytest.mark.parametrize(
    ("tail", "message"),
    [
        ("80", "cut off"),
        ("ffffffff", "cut off"),
        ("8000", "longer than its number needs"),
        ("ff8000", "longer than its number needs"),
        ("8080808000", "longer than its number needs"),
        ("ffffffff10", "more than 32 bits"),
        ("ffffffff7f", "more than 32 bits"),
        ("808080808001", "more than 32 bits"),
        ("80808080808080808001", "more than 32 bits"),
    ],
)
def test_refused(tail, message, padding):
    with pytest.raises(FrameCorrupt, match=message):
        decode_varints(encode_varints(array(padding)) + bytes.fromhex(tail))


def test_nothing_is_no_bytes():
    assert encode_varints(array([])) == b""
    assert decode_varints(b"").tolist() == []


def test_the_largest_id_takes_five_bytes(padding):
    assert encode_varints(array([*padding, 2**32 - 1])).endswith(b"\xff\xff\xff\xff\x0f")
