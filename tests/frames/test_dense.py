"""Blocks of segments; the oracle of the layout is the examples in bytes."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stowkenfs.errors import FrameCorrupt, Unstorable
from stowkenfs.frames import dense
from stowkenfs.frames.codebook import CODED_IDS, Codebook
from stowkenfs.frames.dense import (
    DenseMode,
    DenseSegment,
    DenseSegments,
    decode_dense,
    encode_dense,
    prepare,
    prepare_many,
)
from stowkenfs.frames.segment import SYMBOLS_BYTES_MAX
from stowkenfs.ids import Vocabulary
from tests.frames.strategies import array, ids

BYTES, CL100K, O200K, FOREIGN = Vocabulary
BOOK = Codebook(
    {O200K: np.arange(500, 1000, dtype=np.uint32), FOREIGN: np.arange(9, dtype=np.uint32)}
)

# Few lengths and few ids, so that segments equal each other, or parts of each other.
small = st.lists(st.sampled_from([0, 500, 501, 900, 5]), max_size=3)
segments = st.one_of(
    st.tuples(st.just(BYTES), st.lists(st.integers(0, 255), max_size=4)),
    st.tuples(st.sampled_from([CL100K, O200K, FOREIGN]), small),
    st.tuples(st.sampled_from([CL100K, O200K, FOREIGN]), st.lists(ids, max_size=8)),
)
codebooks = st.sampled_from([None, BOOK])


def block_of(drawn: list[tuple[Vocabulary, list[int]]], codebook: Codebook | None) -> bytes:
    prepared = [prepare(vocabulary, array(ids), codebook) for vocabulary, ids in drawn]
    return encode_dense(prepared, None if codebook is None else 6)


@given(st.lists(segments, max_size=12), st.sampled_from([1, 1, 50]), codebooks)
def test_round_trip(drawn, times, codebook):
    drawn *= times
    found = decode_dense(block_of(drawn, codebook), len(drawn))
    assert len(found) == len(drawn)
    assert found.codebook_no == (None if codebook is None else 6)
    for at, (vocabulary, numbers) in enumerate(drawn):
        segment = found.segment(at, codebook)
        assert found.vocabulary(at) is segment.vocabulary is vocabulary
        assert segment.tokens.tolist() == numbers
        assert not segment.tokens.flags.writeable
        prepared = prepare(vocabulary, array(numbers), codebook)
        assert (found.mode(at), found.content(at)) == (prepared.mode, prepared.content)


@given(st.lists(segments, max_size=12), segments, st.sampled_from([1, 20]), codebooks)
@example([(O200K, [500, 501]), (O200K, [501])], (O200K, [501]), 1, BOOK)
@example([(O200K, [500]), (FOREIGN, [0]), (O200K, [])], (FOREIGN, []), 1, BOOK)
@example([(BYTES, [1]), (O200K, []), (O200K, [])], (O200K, []), 1, BOOK)
@example([(O200K, [500]), (FOREIGN, [0])], (FOREIGN, [0]), 1, BOOK)
def test_a_segment_is_found_where_it_is_first(drawn, sought, times, codebook):
    drawn *= times
    found = decode_dense(block_of(drawn, codebook), len(drawn))
    for vocabulary, numbers in (*drawn, sought):
        prepared = prepare(vocabulary, array(numbers), codebook)
        at = found.find(prepared.vocabulary, prepared.mode, prepared.content)
        same = (vocabulary, numbers)
        assert at == (drawn.index(same) if same in drawn else None)


def test_content_that_no_segment_has_is_not_found():
    found = decode_dense(block_of([(O200K, [500]), (O200K, [501])], BOOK), 2)
    assert found.find(O200K, DenseMode.RANKED, b"\x00\xff\x01") is None
    assert found.find(BYTES, DenseMode.BYTES, b"\x00") is None


@given(st.sampled_from(Vocabulary), st.lists(st.lists(st.integers(0, 255), max_size=9)), codebooks)
def test_many_are_prepared_as_each(vocabulary, drawn, codebook):
    joined = array([token_id for ids in drawn for token_id in ids])
    lengths = np.array([len(ids) for ids in drawn], np.int64)
    expected = [prepare(vocabulary, array(ids), codebook) for ids in drawn]
    assert prepare_many(vocabulary, joined, lengths, codebook) == expected


def test_one_id_without_code_changes_its_segment_only():
    joined, lengths = array([1, CODED_IDS, 2]), np.array([1, 1, 1])
    modes = [segment.mode for segment in prepare_many(FOREIGN, joined, lengths, BOOK)]
    assert modes == [DenseMode.RANKED, DenseMode.IDS, DenseMode.RANKED]


@pytest.mark.parametrize(
    ("vocabulary", "token_id", "codebook", "mode"),
    [
        (BYTES, 255, BOOK, DenseMode.BYTES),
        (BYTES, 255, None, DenseMode.BYTES),
        (O200K, 5, BOOK, DenseMode.RANKED),
        (O200K, 5, None, DenseMode.IDS),
        (CL100K, 5, BOOK, DenseMode.IDS),  # no order
        (FOREIGN, CODED_IDS - 1, BOOK, DenseMode.RANKED),
        (FOREIGN, CODED_IDS, BOOK, DenseMode.IDS),
    ],
)
def test_the_mode_of_a_segment(vocabulary, token_id, codebook, mode):
    assert prepare(vocabulary, array([token_id]), codebook).mode is mode


def test_no_byte():
    with pytest.raises(Unstorable, match="a byte is at most 255"):
        prepare(BYTES, array([256]), BOOK)


def test_the_longest_segments(monkeypatch):
    """Two bytes a rank where the varint has one, and the other way round."""
    monkeypatch.setattr(dense, "SYMBOLS_BYTES_MAX", 10)
    monkeypatch.setattr("stowkenfs.frames.segment.SYMBOLS_BYTES_MAX", 10)
    book = Codebook({O200K: np.arange(199, -1, -1, dtype=np.uint32)})
    for token_id, count, mode in (
        (199, 5, DenseMode.RANKED),
        (199, 6, None),  # 6 bytes of ranks, 12 of symbols
        (1, 5, DenseMode.RANKED),
        (1, 6, DenseMode.IDS),
        (1, 11, None),
    ):
        tokens, lengths = array([token_id] * count), np.array([count])
        if mode is None:
            with pytest.raises(Unstorable, match="a frame holds"):
                prepare(O200K, tokens, book)
            with pytest.raises(Unstorable, match="a frame holds"):
                prepare_many(O200K, tokens, lengths, book)
        else:
            assert prepare(O200K, tokens, book).mode is mode
            assert prepare_many(O200K, tokens, lengths, book)[0].mode is mode


def test_ranked_segments_cannot_hold_more_symbols_than_others(monkeypatch):
    payload = block_of([(O200K, [500] * 6)], BOOK)
    monkeypatch.setattr("stowkenfs.frames.segment.SYMBOLS_BYTES_MAX", 10)
    monkeypatch.setattr(dense, "SYMBOLS_BYTES_MAX", 10)
    with pytest.raises(FrameCorrupt, match="12 bytes of symbols"):
        decode_dense(payload, 1).segment(0, BOOK)


def test_the_bytes_of_a_block():
    drawn = [(O200K, [500, 7]), (O200K, []), (BYTES, [104, 105]), (CL100K, [300]), (FOREIGN, [8])]
    payload = block_of(drawn, BOOK)
    assert payload.hex(" ") == (
        "07 "  # codebook 6
        "09 08 02 01 01 06 01 fc 07 01 "  # two of O200K, then one of each class
        "08 00 f0 00 07 ff ff 08 ff "  # ids 500 and 7; none; 8 of FOREIGN
        "02 02 02 "  # two segments of two bytes
        "68 69 ac 02"  # the bytes; id 300
    )


def test_a_block_of_nothing():
    assert encode_dense([], None).hex() == "00000000"
    assert len(decode_dense(bytes(4), 0)) == 0


@given(st.binary(max_size=40), st.integers(0, 5))
@example(bytes.fromhex("07 02 08 03 03 ff ff ff 00"), 3)
@example(bytes.fromhex("00 02 01 02 00 02 01 01 07 08"), 2)
def test_hostile_payloads(payload, count):
    check(payload, count)


@given(st.lists(segments, max_size=6), codebooks, st.data())
def test_damaged_payloads(drawn, codebook, data):
    payload = bytearray(block_of(drawn, codebook))
    for _ in range(data.draw(st.integers(1, 3))):
        payload[data.draw(st.integers(0, len(payload) - 1))] = data.draw(st.integers(0, 255))
    check(bytes(payload), len(drawn))


def check(payload: bytes, count: int) -> None:
    """What is accepted has one encoding, but for the numbers before its columns."""
    try:
        found = decode_dense(payload, count)
    except FrameCorrupt:
        return
    written: list[DenseSegment] = []
    for at in range(count):
        written.append(DenseSegment(found.vocabulary(at), found.mode(at), found.content(at)))
        try:
            segment = found.segment(at, BOOK)
        except FrameCorrupt:
            continue
        assert segment.vocabulary is written[-1].vocabulary
        first = found.find(written[-1].vocabulary, written[-1].mode, written[-1].content)
        assert first == written.index(written[-1])
    again = encode_dense(written, found.codebook_no)
    assert len(again) <= len(payload)
    assert again[-8:] == payload[-8:] or len(again) < len(payload)


@pytest.mark.parametrize(
    ("payload", "count", "message"),
    [
        ("", 0, "cut off"),
        ("80", 0, "cut off"),
        ("00000000", 1, "not those of 1"),
        ("000000", 0, "cut off"),
        ("00 00 00 00 00", 0, "do not add up to the plain body"),
        ("00 05 01", 1, "a column of segments is cut off"),
        ("00 01 01 00 00", 1, "without a count"),
        ("00 02 01 00 00 00", 0, "1 classes of 0 segments"),
        ("00 02 01 02 00 01 00", 1, "not those of 1"),
        ("00 04 01 01 01 01 00 02 00 00", 2, "not those of 2"),
        ("00 02 80 00 00 00", 0, "longer than its number needs"),
        ("00 02 00 01 00 00", 1, "class 0 of segments"),  # BYTES by rank
        ("00 02 02 01 00 00", 1, "class 2 of segments"),  # BYTES as varints
        ("00 02 05 01 00 00", 1, "class 5 of segments"),  # CL100K as bytes
        ("00 02 07 01 00 00", 1, "class 7 of segments"),  # no such mode
        ("00 02 0c 01 00 00", 1, "class 12 of segments"),  # no such vocabulary
        ("00 02 08 01 01 ff 00", 1, "without a codebook"),
        ("01 02 08 01 02 ff", 1, "a ranked body is cut off"),
        ("01 02 08 01 01 00 00", 1, "do not fit"),
        ("01 02 08 01 02 ff ff 00", 1, "do not fit"),
        ("01 02 08 01 02 ff 00 00", 1, "not terminated"),
        ("01 00 01 00 00", 0, "not terminated"),
        ("00 02 01 01 00 00", 1, "do not fit"),
        ("00 02 01 01 00 02 00 00", 1, "do not fit"),
        ("00 02 01 01 00 01 02 00", 1, "do not add up to the plain body"),
        ("00 02 01 01 00 01 00 00", 1, "do not add up to the plain body"),
        ("ffffffff7f 00 00 00", 0, "more than 32 bits"),
    ],
)
def test_refused(payload, count, message):
    with pytest.raises(FrameCorrupt, match=message):
        decode_dense(bytes.fromhex(payload), count)


def test_a_huge_count_takes_no_memory():
    """Were arrays as long as the count, this would end the process."""
    for number in (8, 1):
        payload = bytes((1, 6, number)) + b"\xff\xff\xff\xff\x0f" + b"\x00\x00"
        with pytest.raises(FrameCorrupt, match="do not fit"):
            decode_dense(payload, 2**32 - 1)


def test_a_segment_that_is_too_long():
    prepared = [DenseSegment(BYTES, DenseMode.BYTES, bytes(SYMBOLS_BYTES_MAX + 1))]
    with pytest.raises(FrameCorrupt, match="a segment of more than"):
        decode_dense(encode_dense(prepared, None), 1)


def test_a_codebook_that_is_missing():
    found = decode_dense(block_of([(O200K, [500])], BOOK), 1)
    with pytest.raises(FrameCorrupt, match="codebook 6 of a segment is missing"):
        found.segment(0, None)


def test_damage_within_a_segment_stays_there():
    payload = block_of([(O200K, [500, 7]), (O200K, [501])], BOOK)
    found = decode_dense(payload.replace(b"\xf0\x00\x07", b"\x00\xf0\x07"), 2)
    with pytest.raises(FrameCorrupt, match="cut off"):
        found.segment(0, BOOK)
    assert found.segment(1, BOOK).tokens.tolist() == [501]


def test_many_segments_take_ten_bytes_each():
    count = 200_000
    prepared = [DenseSegment(O200K, DenseMode.RANKED, b"\x01")] * count
    prepared[-1] = DenseSegment(BYTES, DenseMode.BYTES, b"last")
    found: DenseSegments = decode_dense(encode_dense(prepared, 0), count)
    assert found.cost_bytes < len(found.payload) + 10 * count + 1000
    assert found.find(BYTES, DenseMode.BYTES, b"last") == count - 1
    assert found.find(O200K, DenseMode.RANKED, b"\x02") is None
