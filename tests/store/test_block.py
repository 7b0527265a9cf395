"""Blocks: exact round trips, and BlockCorrupt for everything else."""

import hashlib
import resource
import struct

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from stowkenfs.errors import BlockCorrupt
from stowkenfs.ids import PackNo
from stowkenfs.store.block import (
    HEADER_BYTES,
    RAW_BYTES_MAX,
    Block,
    BlockCodec,
    BlockKind,
    decode_block,
    encode_block,
    stored_length,
)

PACK, OFFSET = PackNo(3), 77
BLOCKS = st.builds(
    Block,
    st.sampled_from(BlockKind),
    st.integers(0, 2**64 - 1),
    st.integers(0, 2**20),
    st.one_of(st.binary(max_size=300), st.binary(max_size=20).map(lambda b: b * 200)),
)
LEVELS = st.sampled_from([None, 1, 6, 19])


def crafted(
    stored: bytes, *, raw: int, codec: int = BlockCodec.ZSTD, kind: int = 1, claimed: int = -1
) -> bytes:
    """A block with a right checksum, made without the code under test."""
    length = len(stored) if claimed < 0 else claimed
    head = struct.pack("<4sBBHQIII", b"SKb1", kind, codec, 0, 5, 1, raw, length)
    return head + hashlib.sha256(head + stored).digest()[:16] + stored


def zstd_bomb(mebibytes: int, *, content_size: bool) -> bytes:
    parameters = zstandard.ZstdCompressionParameters.from_level(
        3, format=zstandard.FORMAT_ZSTD1_MAGICLESS, write_content_size=content_size
    )
    compressor = zstandard.ZstdCompressor(compression_params=parameters)
    stream = compressor.compressobj(size=mebibytes << 20 if content_size else -1)
    pieces = [stream.compress(bytes(1 << 20)) for _ in range(mebibytes)]
    return b"".join([*pieces, stream.flush()])


def zstd(content: bytes, *, content_size: bool) -> bytes:
    parameters = zstandard.ZstdCompressionParameters.from_level(
        3, format=zstandard.FORMAT_ZSTD1_MAGICLESS, write_content_size=content_size
    )
    return zstandard.ZstdCompressor(compression_params=parameters).compress(content)


@settings(deadline=None)
@given(BLOCKS, LEVELS)
def test_round_trip(block: Block, level: int | None) -> None:
    encoded = encode_block(block, level=level)
    assert stored_length(encoded[:HEADER_BYTES], PACK, OFFSET) == len(encoded)
    assert decode_block(encoded, PACK, OFFSET) == block
    assert len(encoded) <= HEADER_BYTES + len(block.payload)
    assert encode_block(block, level=level) == encoded


def test_a_block_made_by_hand_decodes() -> None:
    assert decode_block(crafted(b"abc", raw=3, codec=0), PACK, OFFSET).payload == b"abc"
    squeezed = zstd(b"abc" * 99, content_size=False)
    assert decode_block(crafted(squeezed, raw=297), PACK, OFFSET).payload == b"abc" * 99


@pytest.mark.parametrize("level", [None, 6])
def test_every_flipped_bit_is_seen(level: int | None) -> None:
    block = Block(BlockKind.SEGMENTS, 7, 2, b"a small block, small block, small block" * 2)
    encoded = encode_block(block, level=level)
    for bit in range(8 * len(encoded)):
        damaged = bytearray(encoded)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(BlockCorrupt) as caught:
            decode_block(bytes(damaged), PACK, OFFSET)
        assert (caught.value.pack, caught.value.offset_bytes) == (PACK, OFFSET)


@pytest.mark.parametrize("level", [None, 6])
def test_every_cut_and_any_addition_is_seen(level: int | None) -> None:
    encoded = encode_block(Block(BlockKind.RECORDS, 0, 1, b"payload " * 9), level=level)
    for length in range(len(encoded)):
        with pytest.raises(BlockCorrupt):
            decode_block(encoded[:length], PACK, OFFSET)
    with pytest.raises(BlockCorrupt):
        decode_block(encoded + b"\0", PACK, OFFSET)


@given(st.binary(max_size=200))
def test_hostile_bytes(content: bytes) -> None:
    for hostile in (content, b"SKb1" + content):
        with pytest.raises(BlockCorrupt):
            decode_block(hostile, PACK, OFFSET)


@settings(deadline=None)
@given(
    st.binary(max_size=80),
    st.integers(0, 300),
    st.integers(0, 255),
    st.integers(0, 255),
)
def test_hostile_payloads_under_a_right_checksum(
    stored: bytes, raw: int, codec: int, kind: int
) -> None:
    for codec_now, kind_now in ((codec, kind), (BlockCodec.ZSTD, 1)):
        content = crafted(stored, raw=raw, codec=codec_now, kind=kind_now)
        try:
            block = decode_block(content, PACK, OFFSET)
        except BlockCorrupt:
            continue
        assert len(block.payload) == raw


@pytest.mark.parametrize(("raw", "claimed"), [(RAW_BYTES_MAX + 1, 3), (3, RAW_BYTES_MAX + 1)])
def test_a_header_that_claims_too_much(raw: int, claimed: int) -> None:
    content = crafted(b"abc", raw=raw, claimed=claimed)
    with pytest.raises(BlockCorrupt, match="more than any block"):
        stored_length(content[:HEADER_BYTES], PACK, OFFSET)
    with pytest.raises(BlockCorrupt):
        decode_block(content, PACK, OFFSET)


@pytest.mark.parametrize("content_size", [True, False])
def test_a_bomb_does_not_unpack(content_size: bool) -> None:
    bomb = crafted(zstd_bomb(512, content_size=content_size), raw=100)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(3):
        with pytest.raises(BlockCorrupt):
            decode_block(bomb, PACK, OFFSET)
    grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown_kib < 64 << 10


def test_a_frame_that_claims_2_to_the_60_bytes() -> None:
    claims = bytes((0xE0,)) + (1 << 60).to_bytes(8, "little") + b"\x01\x00\x00"
    with pytest.raises(BlockCorrupt):
        decode_block(crafted(claims, raw=100), PACK, OFFSET)


def test_bytes_after_the_frame_are_seen() -> None:
    squeezed = zstd(b"abc" * 99, content_size=False)
    with pytest.raises(BlockCorrupt):
        decode_block(crafted(squeezed + b"more", raw=297), PACK, OFFSET)
