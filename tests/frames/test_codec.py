import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from stowkenfs.errors import FrameCorrupt, Unstorable
from stowkenfs.frames.codec import (
    LEVEL_DENSE,
    LEVEL_QUICK,
    REGISTRY,
    FrameKind,
    FrameReferences,
    Segment,
    decode_frame,
    encode_frame,
    frame_kind,
    references_of,
)
from stowkenfs.frames.kinds import ZSTD_SYMBOLS_BYTES_MIN
from stowkenfs.frames.segment import SYMBOLS_BYTES_MAX
from stowkenfs.frames.varints import encode_varints
from stowkenfs.ids import Vocabulary
from tests.frames.strategies import array, arrays

RESERVED = [FrameKind.MODEL]
vocabularies = st.sampled_from(Vocabulary)


def zstd_frame(
    symbols: bytes,
    length: int | None = None,
    vocabulary: Vocabulary = Vocabulary.BYTES,
    **flags: int,
) -> bytes:
    """A 0x02 frame by other means than the codec: fixed parameters, magicless format."""
    options = {"write_content_size": 0, "write_checksum": 0, "write_dict_id": 0} | flags
    parameters = zstandard.ZstdCompressionParameters(
        format=zstandard.FORMAT_ZSTD1_MAGICLESS, compression_level=3, **options
    )
    body = zstandard.ZstdCompressor(compression_params=parameters).compress(symbols)
    declared = encode_varints(array([len(symbols) if length is None else length]))
    return bytes((FrameKind.ZSTD, vocabulary)) + declared + body


@settings(deadline=None)
@given(arrays, vocabularies, st.sampled_from([1, LEVEL_QUICK, LEVEL_DENSE]))
def test_round_trip(ids, vocabulary, level):
    if vocabulary is Vocabulary.BYTES:
        ids = ids & np.uint32(0xFF)
    frame = encode_frame(ids, vocabulary, level=level)
    segment = decode_frame(frame)
    assert segment.vocabulary is vocabulary
    assert segment.tokens.dtype == np.uint32
    assert np.array_equal(segment.tokens, ids)
    assert not segment.tokens.flags.writeable
    assert encode_frame(segment.tokens, vocabulary, level=level) == frame
    symbols = len(ids) if vocabulary is Vocabulary.BYTES else len(encode_varints(ids))
    assert len(frame) <= 2 + symbols


def attempt(frame: bytes) -> Segment | None:
    try:
        return decode_frame(frame)
    except FrameCorrupt:
        return None


@settings(deadline=None)
@given(st.binary())
def test_hostile_bytes(frame):
    attempt(frame)


@settings(deadline=None)
@given(st.sampled_from([1, 2]), vocabularies, st.binary())
def test_hostile_bodies_and_the_canonical_form_of_varint_frames(kind, vocabulary, body):
    frame = bytes((kind, vocabulary)) + body
    segment = attempt(frame)
    if segment is not None and kind == FrameKind.VARINT:
        again = REGISTRY[kind].encode(segment, body, LEVEL_QUICK, None)
        assert again == body
        assert len(encode_frame(segment.tokens, vocabulary)) <= len(frame)


@settings(deadline=None)
@given(st.binary(min_size=1), st.data())
def test_damaged_zstd_frames(symbols, data):
    frame = bytearray(zstd_frame(symbols * 40))
    at = data.draw(st.integers(0, len(frame) - 1))
    frame[at] = data.draw(st.integers(0, 255))
    attempt(bytes(frame))
    attempt(bytes(frame[:at]))


def test_frames_of_another_zstd_writer_are_read():
    assert bytes(decode_frame(zstd_frame(b"abc" * 100)).tokens) == b"".join(
        bytes((byte, 0, 0, 0)) for byte in b"abc" * 100
    )


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (b"", "empty"),
        (b"\x01", "before its vocabulary"),
        (b"\x00\x00", "kind 0x00 is unknown"),
        (b"\x07\x00", "no depth"),
        (b"\x07\x00\x00\x00", "no depth"),
        (b"\x07\x00\x09\x00", "no depth"),
        (b"\x08\x00", "kind 0x08 is unknown"),
        (b"\x01\x03", "vocabulary 0x03 is unknown"),
        (b"\x01\x01\x80", "cut off"),
        (b"\x02\x00", "length of the symbols"),
        (b"\x02\x00\x00\x00\x00\x01\x00\x00", "0 bytes of symbols"),
        (b"\x02\x00\x0f", "does not begin with 0x00"),
        (b"\x02\x00\x0f\x00", "the symbols"),
        (zstd_frame(b"a" * 99) + b"\0", "the symbols"),
        (zstd_frame(b"a" * 99) + zstd_frame(b"a" * 99)[3:], "the symbols"),
        (zstd_frame(b"a" * 99, length=98), "the symbols"),
        (zstd_frame(b"a" * 99, length=100), "holds 99 bytes, not 100"),
        (zstd_frame(b"a" * 99, write_content_size=1), "does not begin with 0x00"),
        (zstd_frame(b"a" * 99, write_checksum=1), "does not begin with 0x00"),
        (zstd_frame(b"\x80" * 99, vocabulary=Vocabulary.FOREIGN), "cut off"),
        # Window descriptor of 2^25 bytes, then one raw block of one byte.
        (b"\x02\x00\x01\x00\x78\x09\x00\x00a", "the symbols"),
        # Reserved block type 3.
        (b"\x02\x00\x01\x00\x00\x0f\x00\x00a", "the symbols"),
    ],
)
def test_refused(frame, message):
    with pytest.raises(FrameCorrupt, match=message):
        decode_frame(frame)


@pytest.mark.parametrize("kind", RESERVED)
def test_reserved_kinds_are_named(kind):
    assert frame_kind(bytes((kind, 0))) is kind
    with pytest.raises(FrameCorrupt, match=kind.name):
        decode_frame(bytes((kind, 0)))


def test_most_that_a_frame_holds():
    zeros = np.zeros(SYMBOLS_BYTES_MAX, np.uint32)
    for vocabulary in (Vocabulary.BYTES, Vocabulary.O200K_BASE):
        frame = encode_frame(zeros, vocabulary, level=1)
        assert frame_kind(frame) is FrameKind.ZSTD
        assert len(decode_frame(frame).tokens) == SYMBOLS_BYTES_MAX
        with pytest.raises(Unstorable):
            encode_frame(np.zeros(SYMBOLS_BYTES_MAX + 1, np.uint32), vocabulary)
    with pytest.raises(Unstorable):  # few enough ids, too many bytes
        encode_frame(zeros[: SYMBOLS_BYTES_MAX // 2 + 1] + np.uint32(128), Vocabulary.FOREIGN)


def test_incompressible_symbols_of_the_largest_size():
    """They stay 0x01; the same under zstd, window 2^24, are read as well."""
    symbols = np.random.default_rng(1).integers(0, 256, SYMBOLS_BYTES_MAX, np.uint8)
    frame = encode_frame(symbols.astype(np.uint32), Vocabulary.BYTES, level=1)
    assert frame_kind(frame) is FrameKind.VARINT
    assert np.array_equal(decode_frame(frame).tokens, symbols)
    body = REGISTRY[FrameKind.ZSTD].encode(
        Segment(Vocabulary.BYTES, array([])), symbols.tobytes(), 1, None
    )
    assert body is not None
    assert np.array_equal(decode_frame(b"\x02\x00" + body).tokens, symbols)


BOMBS = """
import resource
from stowkenfs.errors import FrameCorrupt
from stowkenfs.frames.codec import decode_frame
import zstandard
def bomb(symbols_bytes, declared):
    writer = zstandard.ZstdCompressor(write_content_size=False).compressobj()
    body = b"".join([writer.compress(bytes(1 << 20)) for _ in range(symbols_bytes >> 20)])
    return b"\\x02\\x00" + declared + (body + writer.flush())[4:]
max_ = bytes.fromhex("80808008")
huge_size = b"\\x02\\x00" + max_ + bytes.fromhex("e0ffffffffffffff7f") + bytes(9)
frames = [bomb(1 << 28, max_), bomb(1 << 28, bytes.fromhex("8080808001")), huge_size]
frames.append(b"\\x01\\x00" + bytes((1 << 24) + 1))
resource.setrlimit(resource.RLIMIT_AS, (1 << 31,) * 2)
for frame in frames:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        decode_frame(frame)
    except FrameCorrupt:
        pass
    else:
        raise AssertionError(frame[:20])
    grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown_kib < 64 << 10, grown_kib
"""


def test_decompression_bombs_cost_little_memory():
    subprocess.run([sys.executable, "-c", BOMBS], check=True)


def test_ids_beyond_a_byte_do_not_go_into_bytes():
    with pytest.raises(Unstorable, match="id 256"):
        encode_frame(array([1, 256]), Vocabulary.BYTES)


def test_zstd_is_tried_from_its_limit_on():
    for length, tried in ((ZSTD_SYMBOLS_BYTES_MIN - 1, False), (ZSTD_SYMBOLS_BYTES_MIN, True)):
        symbols = b"a" * length
        segment = Segment(Vocabulary.BYTES, np.frombuffer(symbols, np.uint8).astype(np.uint32))
        body = REGISTRY[FrameKind.ZSTD].encode(segment, symbols, LEVEL_QUICK, None)
        assert (body is not None) is tried


@settings(deadline=None)
@given(
    st.binary(min_size=1, max_size=4),
    st.integers(1, ZSTD_SYMBOLS_BYTES_MIN - 1),
    st.integers(1, 22),
)
def test_zstd_never_pays_below_its_limit(period, length, level):
    symbols = (period * length)[:length]
    compressor = zstandard.ZstdCompressor(
        level=level, write_content_size=False, write_checksum=False, write_dict_id=False
    )
    assert 1 + len(compressor.compress(symbols)) - 4 >= length


def test_threads_have_contexts_of_their_own():
    arrays_ = [array([number % 256] * 500 + [7, 8, 9] * number) for number in range(200)]
    expected = [encode_frame(ids, Vocabulary.O200K_BASE) for ids in arrays_]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda ids: encode_frame(ids, Vocabulary.O200K_BASE), arrays_))
        segments = list(pool.map(decode_frame, found))
    assert found == expected
    assert all(np.array_equal(s.tokens, a) for s, a in zip(segments, arrays_, strict=True))


@pytest.mark.parametrize("kind", [FrameKind.DICTIONARY, FrameKind.DELTA, FrameKind.SUBSTRINGS])
def test_a_kind_that_refers_to_something_needs_resources(kind):
    frame = bytes((kind, 1, 0, 2, 9))
    with pytest.raises(FrameCorrupt):
        decode_frame(frame)


def test_references():
    for kind in (FrameKind.VARINT, FrameKind.ZSTD):
        assert references_of(bytes((kind, 1))) == FrameReferences(kind, ())
    # A copy of all; then all of entry 300, all of entry 7.
    edits = bytes.fromhex("07 12 01  03 ca04 00  03 c904 00")
    assert references_of(b"\5\1" + edits) == FrameReferences(FrameKind.SUBSTRINGS, (7, 300))
    delta = bytes.fromhex("ac02 02 01 05")
    assert references_of(b"\4\1" + delta) == FrameReferences(FrameKind.DELTA, (300,))
    assert references_of(b"\3\1\x29").numbers == (10,)


@settings(deadline=None)
@given(st.sampled_from([3, 4, 5]), st.binary(max_size=40))
def test_references_of_hostile_bytes(kind, body):
    frame = bytes((kind, 1)) + body
    try:
        assert references_of(frame).kind == kind
    except FrameCorrupt:
        with pytest.raises(FrameCorrupt):
            decode_frame(frame)
