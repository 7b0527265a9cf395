"""Codebooks; the oracle walks encodings code by code, as the docstring of the module says."""

from contextlib import suppress

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stowkenfs.errors import FrameCorrupt, Unstorable
from stowkenfs.frames import ranks as module
from stowkenfs.frames.codebook import CODED_IDS, COUNT_MIN, Codebook
from stowkenfs.frames.ranks import RANKS
from stowkenfs.frames.varints import encode_varints
from stowkenfs.ids import Vocabulary
from tests.frames.strategies import array

O200K, FOREIGN = Vocabulary.O200K_BASE, Vocabulary.FOREIGN

FULL = np.random.default_rng(1).permutation(200_019)[:RANKS].astype(np.uint32)
RANK = {token_id: rank for rank, token_id in enumerate(FULL.tolist())}


def book(length: int) -> Codebook:
    """A codebook whose order is the first ids of FULL."""
    return Codebook({O200K: FULL[:length]} if length else {})


def code_of(length: int, token_id: int) -> list[int]:
    """The bytes of one id when the order has so many ids."""
    rank = RANK.get(token_id, RANKS)
    if rank >= length:
        return [240 + token_id // 65025, token_id // 255 % 255, token_id % 255]
    return [rank] if rank < 160 else [160 + (rank - 160) // 255, (rank - 160) % 255]


def ids_of(length: int, encoded: bytes) -> list[int] | None:
    """The ids, None when there are none."""
    ids: list[int] = []
    while encoded:
        first = encoded[0]
        size = 1 if first < 160 else 2 if first < 240 else 3
        if len(encoded) < size or 255 in encoded[:size]:
            return None
        if size == 3:
            ids.append((first - 240) * 65025 + encoded[1] * 255 + encoded[2])
            if RANK.get(ids[-1], RANKS) < length:
                return None
        else:
            rank = first if size == 1 else 160 + (first - 160) * 255 + encoded[1]
            if rank >= length:
                return None
            ids.append(int(FULL[rank]))
        encoded = encoded[size:]
    return ids


lengths = st.one_of(
    st.sampled_from([0, 1, 2, 159, 160, 161, RANKS - 1, RANKS]), st.integers(0, RANKS)
)
coded_ids = st.one_of(
    st.integers(0, RANKS - 1).map(lambda rank: int(FULL[rank])),
    st.integers(0, 180).map(lambda rank: int(FULL[rank])),
    st.sampled_from([0, 254, 255, 65024, 65025, CODED_IDS - 1]),
    st.integers(0, CODED_IDS - 1),
)
# Repeating reaches what numpy decodes.
times = st.sampled_from([1, 1, 2, 400, 3000])


@given(lengths, st.lists(coded_ids, max_size=20))
def test_encoding_is_that_of_the_oracle(length, ids):
    expected = [byte for token_id in ids for byte in code_of(length, token_id)]
    assert list(book(length).encode_ids(O200K, array(ids))) == expected


@given(lengths, st.lists(coded_ids, max_size=20), times)
def test_round_trip(length, ids, times):
    ids *= times
    codebook = book(length)
    encoded = codebook.encode_ids(O200K, array(ids))
    assert 255 not in encoded
    found = codebook.decode_ids(O200K, encoded)
    assert found.dtype == np.uint32
    assert not found.flags.writeable
    assert np.array_equal(found, array(ids))


@given(lengths, st.binary(max_size=40), st.sampled_from([0, 700]))
@example(RANKS, bytes(range(160, 240)) * 50, 0)
@example(0, b"\xf0" * 2, 700)
@example(0, b"\xf0" * 3, 700)
def test_hostile_bytes_have_one_encoding_or_are_refused(length, encoded, codes_before):
    codebook = book(length)
    encoded = bytes((0xFE, 0xF0, 0xFE)) * codes_before + encoded
    expected = ids_of(length, encoded)
    try:
        ids = codebook.decode_ids(O200K, encoded)
    except FrameCorrupt:
        assert expected is None
        return
    assert ids.tolist() == expected
    assert codebook.encode_ids(O200K, ids) == encoded


@given(st.binary(min_size=1, max_size=300), st.sampled_from([1, 7, 30]), st.integers(0, 3))
def test_both_implementations_agree(encoded, times, cut):
    encoded = encoded.replace(b"\xff", b"\xfe") * times
    encoded = encoded[: len(encoded) - cut] or b"\0"
    results = []
    for ranks in (module._few_ranks, lambda b: module._many_ranks(np.frombuffer(b, np.uint8))):
        try:
            results.append(ranks(encoded).tolist())
        except FrameCorrupt:
            results.append("corrupt")
    assert results[0] == results[1]


@pytest.mark.parametrize("unit", [b"\xa0\xa0", b"\xf0\xf0\xf0", b"\xf0\xb0\x00\xb1\xf1"])
def test_a_long_encoding_that_no_lane_can_guess(unit):
    """Every byte could be the first of a code; only walking from the first one tells."""
    encoded = (b"\x01" + unit * 60_000)[:250_001]
    with suppress(FrameCorrupt):
        many = module._many_ranks(np.frombuffer(encoded, np.uint8)).tolist()
        assert many == module._few_ranks(encoded).tolist()


@pytest.mark.parametrize("padding", [b"", b"\0" * 5000])
@pytest.mark.parametrize(
    ("tail", "message"),
    [
        ("ff", "a terminator within"),
        ("a0ff", "a terminator within"),
        ("a0", "cut off"),
        ("f0", "cut off"),
        ("f000", "cut off"),
        ("02", "a rank from 2 on"),
        ("a000", "a rank from 2 on"),
        ("effe", "a rank from 2 on"),
        (bytes(code_of(0, int(FULL[1]))).hex(), "an id that has a rank"),
    ],
)
def test_refused(padding, tail, message):
    with pytest.raises(FrameCorrupt, match=message):
        book(2).decode_ids(O200K, padding + bytes.fromhex(tail))


def test_the_edges_of_each_length():
    codebook = book(RANKS)
    codes = codebook.encode_ids(O200K, FULL[[0, 159, 160, 160 + 254, 160 + 255, RANKS - 1]])
    assert codes.hex(" ") == "00 9f a0 00 a0 fe a1 00 ef fe"
    codes = Codebook({}).encode_ids(FOREIGN, array([0, 254, 255, 65024, 65025, CODED_IDS - 1]))
    assert codes.hex(" ", 3) == "f00000 f000fe f00100 f0fefe f10000 fefefe"


def test_an_id_without_code_is_refused():
    with pytest.raises(Unstorable, match=f"id {CODED_IDS}"):
        Codebook({}).encode_ids(FOREIGN, array([CODED_IDS]))


def test_larger_ids_leave_the_codes_of_smaller_ones():
    codebook = Codebook({O200K: array([3, 900_000])})
    for _ in range(2):
        for token_id, code in (
            (3, "00"),
            (4, "f00004"),
            (900_000, "01"),
            (CODED_IDS - 1, "fefefe"),
        ):
            assert codebook.encode_ids(O200K, array([token_id])).hex() == code


@given(lengths, st.lists(st.lists(coded_ids, max_size=6), max_size=8))
def test_many_are_encoded_as_each(length, segments):
    codebook = book(length)
    ids = array([token_id for segment in segments for token_id in segment])
    sizes = np.array([len(segment) for segment in segments], np.int64)
    expected = [codebook.encode_ids(O200K, array(segment)) for segment in segments]
    assert codebook.encode_many(O200K, ids, sizes) == expected


@given(st.dictionaries(st.integers(0, 2000), st.integers(1, 50), max_size=400), st.data())
def test_built_orders_have_the_frequent_first(counts, data):
    counts |= dict.fromkeys(data.draw(st.sets(st.integers(3000, 9000), max_size=300)), 2)
    some = np.zeros(10_000, np.int64)
    for token_id, count in counts.items():
        some[token_id] = count
    built = Codebook.build({O200K: some, Vocabulary.BYTES: some}).orders
    ranked = sorted((i for i in counts if counts[i] >= COUNT_MIN), key=lambda i: (-counts[i], i))
    # floor(log2(n)), in integers
    ranked[160:] = sorted(ranked[160:], key=lambda i: (-counts[i].bit_length(), i))
    assert [order.tolist() for order in built.values()] == ([ranked] if ranked else [])


@given(lengths, st.lists(coded_ids, max_size=50))
def test_the_cost_is_that_of_the_encoding(length, ids):
    codebook = book(length)
    counts = {
        O200K: np.bincount(ids).astype(np.int64),
        Vocabulary.BYTES: np.array([3, 2], np.int64),
    }
    cost = codebook.cost_bytes(counts)
    assert cost == 5 + len(codebook.encode_ids(O200K, array(ids)))


def test_more_ids_than_ranks_keep_the_most_frequent():
    counts = np.arange(30_000)
    order = Codebook.build({FOREIGN: counts}).orders[FOREIGN]
    assert sorted(order.tolist()) == list(range(30_000 - RANKS, 30_000))


def test_ids_without_code_are_not_in_an_order():
    counts = np.zeros(CODED_IDS + 1, np.int64)
    counts[-2:] = 9
    assert Codebook.build({FOREIGN: counts}).orders[FOREIGN].tolist() == [CODED_IDS - 1]
    assert Codebook.build({FOREIGN: counts[:1]}).orders == {}


@given(st.dictionaries(st.sampled_from([O200K, FOREIGN]), lengths, max_size=2), st.booleans())
def test_codebooks_come_back(lengths, ascending):
    orders = {
        vocabulary: np.sort(FULL[:length]) if ascending else FULL[:length]
        for vocabulary, length in lengths.items()
        if length
    }
    encoded = Codebook(orders).encode()
    decoded = Codebook.decode(encoded)
    assert decoded.orders.keys() == orders.keys()
    for vocabulary, order in decoded.orders.items():
        assert np.array_equal(order, orders[vocabulary])
        assert not order.flags.writeable
    assert decoded.encode() == encoded


def test_the_bytes_of_a_codebook():
    order = [*range(1000, 1160), 7, 9, 8, 300]
    expected = [1, 2, 164, *range(1000, 1160), 2, 2, 2, 7, 1, 8, 291]
    assert Codebook({O200K: array(order)}).encode() == encode_varints(array(expected))


def test_memory_counts_tables():
    codebook = Codebook({O200K: np.arange(1000, dtype=np.uint32)})
    before = codebook.memory_bytes
    codebook.encode_ids(O200K, array([1]))
    codebook.decode_ids(O200K, b"\xf0\xf0\xf0")
    assert before == 4000
    assert codebook.memory_bytes == 4000 + 4 * 1024 + 999


@given(st.lists(st.one_of(st.integers(0, 5), st.sampled_from([159, 160, 161, 255, 2**32 - 1]))))
@example([1, 2, 161, *range(160), 1, 1, 900])
def test_hostile_codebooks_have_one_encoding_or_are_refused(numbers):
    buffer = encode_varints(array(numbers))
    try:
        codebook = Codebook.decode(buffer)
    except FrameCorrupt:
        return
    assert codebook.encode() == buffer


@given(st.integers(0, 200), st.integers(0, 255), st.integers(0, 2))
def test_damaged_codebooks(at, value, extra):
    encoded = bytearray(book(300).encode())
    encoded[at] = value
    try:
        codebook = Codebook.decode(bytes(encoded) + bytes(extra))
    except FrameCorrupt:
        return
    assert codebook.encode() == encoded


HEAD = [1, 2, 163, *range(1000, 1160)]  # one table, with three ids in runs


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ([], "ends too soon"),
        ([0, 0], "after the end"),
        ([5], "where 4 is the most"),
        ([1, 0, 1, 5], "vocabulary 0 after 0"),
        ([1, 3, 1, 5], "vocabulary 3 after 0"),
        ([2, 2, 1, 5, 1, 1, 5], "vocabulary 1 after 2"),
        ([1, 2, 0], "an order of no ids"),
        ([1, 2, 2, 5], "ends too soon"),
        ([1, 2, 2, 5, 5], "of one twice"),
        ([1, 2, 1, CODED_IDS], "from 975375 on"),
        ([1, 2, RANKS + 1], "where 20560 is the most"),
        ([*HEAD, 4, 1, 1, 1, 0, 7, 6, 5], "where 3 is the most"),
        ([*HEAD, 0], "do not add up"),
        ([*HEAD, 2, 1, 1, 7, 6, 5], "do not add up"),
        ([*HEAD, 2, 0, 3, 7, 6, 5], "do not add up"),
        ([*HEAD, 2, 2, 1, 7, 0, 9], "ends before it must"),
        ([*HEAD, 1, 3, 7, 0], "ends too soon"),
        ([*HEAD, 1, 3, 1000, 0, 0], "of one twice"),
        ([*HEAD, 1, 3, 7, 2**32 - 1, 2**32 - 1], "from 975375 on"),
    ],
)
def test_codebooks_refused(numbers, message):
    with pytest.raises(FrameCorrupt, match=message):
        Codebook.decode(encode_varints(array(numbers)))


def test_a_codebook_of_any_size_is_not_read():
    with pytest.raises(FrameCorrupt, match="a codebook of more than"):
        Codebook.decode(bytes(1_000_000))


@given(st.lists(st.lists(st.sampled_from(FULL[:400:3].tolist()) | st.integers(0, 300_000))))
def test_segments_decode_together(drawn):
    codebook = book(300)
    encoded = [codebook.encode_ids(O200K, array(ids)) + b"\xff" for ids in [[7], *drawn]]
    found = codebook.decode_joined(O200K, b"".join(encoded), 999_999)
    assert found.tolist() == [one for ids in [[7], *drawn] for one in (*ids, 999_999)]
    assert not found.flags.writeable


@pytest.mark.parametrize(
    "encoded", [b"\x01", b"\xa0\xff", b"\xf0\xff", b"\xf0\x01\xff", b"\xf0\xff\xff\x01\xff"]
)
def test_a_code_does_not_go_on_behind_its_segment(encoded):
    with pytest.raises(FrameCorrupt):
        book(300).decode_joined(O200K, encoded, 999_999)
