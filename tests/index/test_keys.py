"""Blocks of keys: round trips against a dict, hostile bytes, sizes and false positives."""

import struct
from collections import defaultdict

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from stowkenfs.errors import Corrupt
from stowkenfs.index.keys import (
    KEYS_MAX,
    Grain,
    KeyItems,
    Keys,
    Values,
    as_column,
    decode_keys,
    encode_keys,
    from_column,
    prefix_bits,
)

I64 = st.integers(-(2**63), 2**63 - 1)
NEAR = st.builds(lambda high, low: high * 2**40 + low, st.integers(-3, 3), st.integers(0, 50))
NUMBERS = st.one_of(st.integers(0, 2**63 - 1), st.integers(0, 300))
ENTRIES = st.lists(st.tuples(st.one_of(I64, NEAR), NUMBERS), min_size=1, max_size=80)
GRAINS = st.sampled_from(Grain)


def arrays(entries: list[tuple[int, int]]) -> tuple[Keys, Values]:
    rows = np.array(entries, np.int64)
    return rows[:, 0].copy(), rows[:, 1].copy()


def prefix(key: int, bits: int) -> int:
    return (key & 2**64 - 1) >> (64 - bits)


def random_entries(count: int, numbers: int, seed: int = 1) -> tuple[Keys, Values]:
    random = np.random.default_rng(seed)
    keys = random.integers(0, 2**64, count, dtype=np.uint64).view(np.int64)
    return keys, random.integers(0, numbers, count)


@settings(deadline=None)
@given(ENTRIES, st.integers(1, 64), GRAINS, st.lists(I64, max_size=20))
@example([(-(2**63), 0), (2**63 - 1, 2**63 - 1)], 64, Grain.EXACT, [])
@example([(0, 0), (-1, 1)], 64, Grain.BLOCK, [])
@example([(0, 5)] * 9, 1, Grain.BLOCK, [])
def test_round_trip(
    entries: list[tuple[int, int]], bits: int, grain: Grain, others: list[int]
) -> None:
    payload = encode_keys(*arrays(entries), bits, grain)
    items = decode_keys(payload, len(entries))
    expected = sorted((prefix(key, bits), value) for key, value in entries)
    assert list(zip(items.prefixes.tolist(), items.values.tolist(), strict=True)) == expected
    assert (items.grain, items.bits, len(items)) == (grain, bits, len(entries))

    model = defaultdict(list)
    for key_prefix, value in expected:
        model[key_prefix].append(value)
    asked = [key for key, _ in entries] + others
    positions, values = items.find(np.array(asked, np.int64))
    assert list(zip(positions.tolist(), values.tolist(), strict=True)) == [
        (at, value) for at, key in enumerate(asked) for value in model[prefix(key, bits)]
    ]
    for key, _ in entries:
        assert items.low <= key & 2**64 - 1 <= items.high


@given(ENTRIES, st.integers(1, 64), GRAINS, st.randoms())
def test_the_order_of_entries_makes_no_difference(entries, bits, grain, random) -> None:
    payload = encode_keys(*arrays(entries), bits, grain)
    random.shuffle(entries)
    assert encode_keys(*arrays(entries), bits, grain) == payload


def test_what_is_asked_in_vain() -> None:
    items = decode_keys(encode_keys(*arrays([(5, 1), (9, 2)]), 64, Grain.EXACT), 2)
    for asked in ([], [4, 6, 8, 10, -1, 2**63 - 1, -(2**63)]):
        positions, values = items.find(np.array(asked, np.int64))
        assert (positions.tolist(), values.tolist()) == ([], [])


def test_bytes_as_the_grammar_has_them() -> None:
    """By hand: keys with the first bytes 10, 13, 13 and ff, of which 8 bits are kept."""
    keys = [(0x13 << 56) + 7, -1, 0x10 << 56, 0x13 << 56]
    head = struct.pack("<BBQQ", 0, 8, 0x10 << 56, 2**64 - 1)
    # offsets 0, 3, 3, 239; (239 + 1) / 4 = 60, so 5 low bits: 0, 3, 3, 15; above them 0, 0, 0, 7
    low = (0 | 3 << 5 | 3 << 10 | 15 << 15).to_bytes(3, "little")
    bitmap = (0b111 | 1 << 7 + 3).to_bytes(2, "little")
    # values 40, 30, 31, 33, in the order of keys, those of equal ones by value; less 30: 4 bits
    payload = encode_keys(np.array(keys), np.array([31, 33, 40, 30]), 8, Grain.EXACT)
    assert payload[:18] == head
    assert payload[18:23] == low + bitmap
    packed = (10 | 0 << 4 | 1 << 8 | 3 << 12).to_bytes(2, "little")
    assert payload[23:] == bytes([30, 10]) + packed
    # values 40, 30, 30, 40: a table of 30 and 40, sorted numbers 0 and 10 with 2 low bits
    payload = encode_keys(np.array(keys), np.array([30, 40, 40, 30]), 8, Grain.BLOCK)
    assert payload[0] == 1
    table = bytes([2, 30, 10, 0 | 2 << 2, 0b1 | 1 << 2 + 1])
    assert payload[23:] == table + bytes([0b1001])


@pytest.mark.parametrize(
    ("count", "values", "bits"),
    [(0, 0, 8), (KEYS_MAX + 1, KEYS_MAX + 1, 8), (2, 1, 8), (1, 1, 0), (1, 1, 65)],
)
def test_what_no_block_holds_is_refused(count: int, values: int, bits: int) -> None:
    with pytest.raises((ValueError, IndexError)):
        encode_keys(np.zeros(count, np.int64), np.zeros(values, np.int64), bits, Grain.EXACT)


def test_negative_values_are_refused() -> None:
    with pytest.raises(ValueError, match="-1"):
        encode_keys(np.array([1]), np.array([-1]), 8, Grain.EXACT)


def check_hostile(payload: bytes, count: int) -> KeyItems | None:
    """A typed error, or entries that are in order and within what the payload says."""
    try:
        items = decode_keys(payload, count)
    except Corrupt:
        return None
    assert len(items) == count == len(items.values)
    prefixes = items.prefixes.tolist()
    assert prefixes == sorted(prefixes)
    assert items.values.min() >= 0
    positions, _ = items.find(np.array([as_i64(items.low), as_i64(items.high)]))
    assert set(positions.tolist()) == {0, 1}
    assert items.cost_bytes < 25 * len(payload) + 100 * count + 2000
    return items


def as_i64(unsigned: int) -> int:
    return unsigned - 2**64 if unsigned >> 63 else unsigned


@settings(deadline=None)
@given(st.binary(max_size=200), st.one_of(st.integers(-1, 70), st.integers(0, 2**32 - 1)))
def test_any_bytes(payload: bytes, count: int) -> None:
    check_hostile(payload, count)


@settings(deadline=None)
@given(
    GRAINS,
    st.integers(0, 70),
    st.integers(0, 2**64 - 1),
    st.integers(0, 2**64 - 1),
    st.binary(max_size=60),
    st.integers(1, 40),
)
def test_any_bounds(grain: Grain, bits: int, low: int, high: int, rest: bytes, count: int) -> None:
    below = (1 << max(64 - bits, 0)) - 1
    check_hostile(struct.pack("<BBQQ", grain, bits, low & ~below, high | below) + rest, count)


@settings(deadline=None, max_examples=300)
@given(ENTRIES, st.integers(1, 64), GRAINS, st.data())
def test_damaged_bytes(
    entries: list[tuple[int, int]], bits: int, grain: Grain, data: st.DataObject
) -> None:
    payload = bytearray(encode_keys(*arrays(entries), bits, grain))
    count = len(entries)
    assert check_hostile(bytes(payload), count) is not None
    for cut in (payload[:-1], payload + b"\0", payload[: data.draw(st.integers(0, len(payload)))]):
        if len(cut) != len(payload):
            assert check_hostile(bytes(cut), count) is None
    at = data.draw(st.integers(0, len(payload) * 8 - 1))
    payload[at // 8] ^= 1 << at % 8
    check_hostile(bytes(payload), count)
    check_hostile(bytes(payload), count + data.draw(st.integers(-2, 2)))


HEAD = struct.pack("<BQQ", 8, 0x10 << 56, 2**64 - 1)
OFFSETS = bytes.fromhex("60 8c 07 07 04")
"""Of 0, 3, 3 and 239, see above."""


@pytest.mark.parametrize(
    ("grain", "rest", "refused_for"),
    [
        (0, OFFSETS + bytes([30, 10, 0x0A, 0x31]), None),
        (0, OFFSETS + bytes([30, 10, 0x0A, 0xB1]), "value"),
        (0, OFFSETS + bytes([*[0xFF] * 8, 0x7F, 0, 0]), "cut|after"),
        (0, OFFSETS + bytes([*[0xFF] * 8, 0x7F, 0]), None),
        (0, OFFSETS + bytes([*[0xFF] * 8, 0x7F, 1, 0x0F]), "values up to"),
        (0, bytes.fromhex("60 8c 17 07 04") + bytes([30, 10, 0x0A, 0x31]), "zeros"),
        (0, bytes.fromhex("60 8c 07 07 0c") + bytes([30, 10, 0x0A, 0x31]), "bitmap"),
        (0, bytes.fromhex("60 8c 07 07 02") + bytes([30, 10, 0x0A, 0x31]), "rise"),
        (0, bytes.fromhex("60 8c 03 07 04") + bytes([30, 10, 0x0A, 0x31]), "rise"),
        (0, bytes.fromhex("63 8c 07 07 04") + bytes([30, 10, 0x0A, 0x31]), "rise"),
        (0, bytes.fromhex("60 9c 07 07 04") + bytes([30, 10, 0x0A, 0x31]), None),
        (0, bytes.fromhex("60 84 07 07 04") + bytes([30, 10, 0x0A, 0x31]), "rise"),
        (1, OFFSETS + bytes([2, 30, 10, 8, 9, 9]), None),
        (1, OFFSETS + bytes([3, 30, 10, 0, 0x83, 0b10_01_00_00]), "twice"),
        (1, OFFSETS + bytes([3, 30, 10, 2, 0x83, 0b10_01_00_00]), None),
        (1, OFFSETS + bytes([3, 30, 10, 2, 0x83, 0b11_01_00_00]), "value"),
        (1, OFFSETS + bytes([0, 30, 0]), "table"),
        (1, OFFSETS + bytes([5, 30, 10, 0, 0, 0]), "table"),
        (1, OFFSETS + bytes([1, 30, 10, 0]), "one number"),
        (2, OFFSETS + bytes([30, 10, 0x0A, 0x31]), "grain"),
    ],
)
def test_what_the_grammar_does_not_allow(grain: int, rest: bytes, refused_for: str | None) -> None:
    payload = bytes([grain]) + HEAD + rest
    if refused_for is None:
        assert check_hostile(payload, 4) is not None
    else:
        with pytest.raises(Corrupt, match=refused_for):
            decode_keys(payload, 4)


def test_huge_counts_allocate_nothing() -> None:
    payload = encode_keys(*arrays([(1, 1), (2, 2)]), 64, Grain.EXACT)
    for count in (0, -1, KEYS_MAX + 1, 2**32 - 1):
        with pytest.raises(Corrupt):
            decode_keys(payload, count)
    with pytest.raises(Corrupt):
        decode_keys(payload, KEYS_MAX)


@pytest.mark.parametrize(("grain", "expected_bytes"), [(Grain.BLOCK, 2.3), (Grain.EXACT, 3.8)])
def test_bytes_of_a_key(grain: Grain, expected_bytes: float) -> None:
    """As in a run of 202,835 segments in 60 blocks."""
    count = 202_835
    keys, values = random_entries(count, count)
    if grain is Grain.BLOCK:
        values -= values % (count // 60)
    order = np.argsort(keys.view(np.uint64))[:KEYS_MAX]
    payload = encode_keys(keys[order], values[order], prefix_bits(count, 10), grain)
    assert expected_bytes - 0.06 < len(payload) / KEYS_MAX < expected_bytes
    items = decode_keys(payload, KEYS_MAX)
    assert items.cost_bytes <= KEYS_MAX * (5 if grain is Grain.BLOCK else 8) + 1200


@pytest.mark.parametrize("spare_bits", [6, 10])
def test_false_positives(spare_bits: int) -> None:
    """One unknown key in 2**spare_bits where the number of keys is a power of two; else fewer."""
    keys, values = random_entries(KEYS_MAX, 1000)
    payload = encode_keys(keys, values, prefix_bits(KEYS_MAX, spare_bits), Grain.BLOCK)
    unknown, _ = random_entries(400_000, 1, seed=2)
    positions, _ = decode_keys(payload, KEYS_MAX).find(unknown)
    expected = len(unknown) / 2**spare_bits
    assert 0.9 * expected < len(positions) < 1.1 * expected


@given(I64)
def test_columns_are_in_the_order_of_unsigned_keys(key: int) -> None:
    unsigned = key & 2**64 - 1
    column = as_column(unsigned)
    assert -(2**63) <= column < 2**63
    assert from_column(column) == unsigned
    assert column == as_i64(unsigned ^ 1 << 63)
    assert (column < 0) == (key >= 0)


@pytest.mark.parametrize(
    ("total", "bits"),
    [(0, 10), (1, 10), (2, 11), (16_384, 24), (16_385, 25), (202_835, 28), (2**60, 64)],
)
def test_prefix_bits(total: int, bits: int) -> None:
    assert prefix_bits(total, 10) == bits
