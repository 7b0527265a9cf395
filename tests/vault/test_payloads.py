"""What is inside blocks: exact round trips, and Corrupt for everything else."""

from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stowkenfs.errors import Corrupt
from stowkenfs.vault.payloads import (
    PackedItems,
    content_key,
    decode_records,
    decode_segments,
    decode_templates,
    encode_records,
    encode_segments,
    encode_templates,
)

KEYS = st.integers(-(2**63), 2**63 - 1)
BODIES = st.binary(max_size=40)
RECORDS = st.lists(st.tuples(st.integers(0, 2**32 - 1), KEYS, BODIES), max_size=20)
SEGMENTS = st.lists(st.tuples(KEYS, BODIES), max_size=20)
TEMPLATES = st.lists(BODIES, max_size=20)
DECODERS: list[Callable[[bytes, int], object]] = [decode_records, decode_segments, decode_templates]


def items(packed: PackedItems) -> list[bytes]:
    return [packed[at] for at in range(len(packed))]


@given(RECORDS)
def test_records(records: list[tuple[int, int, bytes]]) -> None:
    found = decode_records(encode_records(records), len(records))
    assert (
        list(zip(found.lengths, found.keys.tolist(), items(found.bodies), strict=True)) == records
    )


@given(SEGMENTS)
def test_segments(segments: list[tuple[int, bytes]]) -> None:
    found = decode_segments(encode_segments(segments), len(segments))
    assert list(zip(found.keys.tolist(), items(found.frames), strict=True)) == segments


@given(TEMPLATES)
def test_templates(templates: list[bytes]) -> None:
    assert (
        items(decode_templates(encode_templates(templates), len(templates)).templates) == templates
    )


@pytest.mark.parametrize("decode", DECODERS)
@given(content=st.binary(max_size=60), count=st.one_of(st.integers(0, 9), st.just(2**32 - 1)))
def test_hostile_bytes(decode: Callable[[bytes, int], object], content: bytes, count: int) -> None:
    with suppress(Corrupt):
        decode(content, count)


@given(RECORDS, st.data())
def test_cuts_additions_and_wrong_counts(
    records: list[tuple[int, int, bytes]], data: st.DataObject
) -> None:
    segments = [(key, body) for _, key, body in records]
    templates = [body for _, _, body in records]
    for decode, payload in (
        (decode_records, encode_records(records)),
        (decode_segments, encode_segments(segments)),
        (decode_templates, encode_templates(templates)),
    ):
        cut = data.draw(st.integers(0, len(payload) - 1))
        for content, count in (
            (payload[:cut], len(records)),
            (payload + b"\0", len(records)),
            (payload, len(records) + 1),
            (payload, 2**32 - 1),
        ):
            with pytest.raises(Corrupt):
                decode(content, count)


def test_a_column_that_claims_gigabytes() -> None:
    for decode in DECODERS:
        for claimed in (b"\xff\xff\xff\xff\x0f", b"\xff" * 12, b"\x80" * 100):
            with pytest.raises(Corrupt):
                decode(claimed + b"\x01", 1)


def test_keys_are_the_start_of_sha256() -> None:
    """NIST's vector for "abc": ba7816bf 8f01cfea ..."""
    expected = int.from_bytes(bytes.fromhex("ba7816bf8f01cfea"), "little", signed=True)
    assert content_key(b"abc") == content_key(memoryview(b"abc")) == expected
