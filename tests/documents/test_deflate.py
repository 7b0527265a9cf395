"""Streams from recipes; zlib makes them and reads them, and the second reader writes them too."""

import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stowkenfs.documents.deflate import DATA_BYTES_MAX, put_together, take_apart
from stowkenfs.errors import RecordCorrupt
from stowkenfs.frames.codec import Segment, encode_nested
from stowkenfs.ids import Vocabulary
from tests.second_reader_cells import deflated

STRATEGIES = (
    zlib.Z_DEFAULT_STRATEGY,
    zlib.Z_FILTERED,
    zlib.Z_HUFFMAN_ONLY,
    zlib.Z_RLE,
    zlib.Z_FIXED,
)


def stream_of(
    data: bytes, level: int = 6, strategy: int = 0, cuts: int = 0, memory: int = 8
) -> bytes:
    """What zlib makes of data; ``cuts`` flushes, which end blocks in odd places."""
    compressor = zlib.compressobj(level, zlib.DEFLATED, -15, memory, strategy)
    out = b""
    for cut in range(cuts):
        at = len(data) * cut // cuts
        out += compressor.compress(data[at : len(data) * (cut + 1) // cuts])
        out += compressor.flush(zlib.Z_SYNC_FLUSH if cut % 2 else zlib.Z_FULL_FLUSH)
    return out + compressor.compress(b"" if cuts else data) + compressor.flush()


DATA = st.one_of(
    st.binary(max_size=300),
    st.lists(st.sampled_from([b"\0" * 8, b"\0\0\0\0\0\0\xf0?", b"abc"]), max_size=99).map(b"".join),
    st.integers(0, 2**32).map(lambda seed: np.random.default_rng(seed).random(300).tobytes()),
    st.integers(1, 3000).map(bytes),
)


@settings(deadline=None)
@given(DATA, st.integers(0, 9), st.sampled_from(STRATEGIES), st.integers(0, 4), st.integers(1, 9))
def test_what_zlib_makes_comes_back(data, level, strategy, cuts, memory):
    stream = stream_of(data, level, strategy, cuts, memory)
    head = min(len(data), 8)
    recipe = take_apart(stream, data, head)
    assert recipe is not None
    assert put_together(recipe, data[head:]) == stream
    assert deflated(recipe, data[head:]) == stream


def test_the_recipe_of_data_that_changed_a_little_is_nearly_the_same():
    """That is what makes differences between versions small."""
    cells = np.random.default_rng(1).random(2500)
    first = take_apart(stream_of(cells.tobytes()), cells.tobytes(), 0)
    cells[1000] = 0.25
    second = take_apart(stream_of(cells.tobytes()), cells.tobytes(), 0)
    assert first is not None
    assert second is not None
    before, after = (
        Segment(Vocabulary.BYTES, np.frombuffer(one, np.uint8).astype(np.uint32))
        for one in (first, second)
    )
    frame = encode_nested(after, 1, before, 1, level=15)
    assert frame is not None
    assert len(frame) < len(second) // 4


def test_what_other_programs_make_comes_back():
    """A length of 258 in the longest way, which no program writes, does not."""
    data = bytes(1000)
    stored = b"\0\0\0\xff\xff" + b"\1" + (1000).to_bytes(2, "little") + b"\x17\xfc" + data
    for stream, expected in ((stored, True), (stored[:-1] + b"\1", False), (stored[:-1], False)):
        assert (take_apart(stream, data, 8) is not None) is expected


@pytest.mark.parametrize("strategy", STRATEGIES)
@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_a_damaged_stream_has_no_recipe_or_the_right_one(strategy, data):
    content = bytes(range(256)) * 2 + bytes(300)
    stream = bytearray(stream_of(content, strategy=strategy))
    at = data.draw(st.integers(0, len(stream) - 1))
    stream[at] ^= 1 << data.draw(st.integers(0, 7))
    recipe = take_apart(bytes(stream), content, 8)
    assert recipe is None or put_together(recipe, content[8:]) == stream


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_a_damaged_recipe_is_refused_or_makes_something(data):
    content = bytes(range(200)) + bytes(300)
    recipe = take_apart(stream_of(content, data.draw(st.integers(0, 9))), content, 8)
    assert recipe is not None
    damaged = bytearray(recipe)
    for _ in range(data.draw(st.integers(1, 3))):
        damaged[data.draw(st.integers(0, len(recipe) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(recipe)))
    for one in (bytes(damaged), recipe[:cut], recipe + b"\0"):
        try:
            put_together(one, content[8:])
        except RecordCorrupt:
            continue


def test_more_data_than_a_reader_takes_are_refused():
    data = bytes(DATA_BYTES_MAX + 1)
    assert take_apart(stream_of(data), data, 0) is None
    recipe = take_apart(stream_of(data[:100]), data[:100], 0)
    assert recipe is not None
    with pytest.raises(RecordCorrupt, match="the most"):
        put_together(recipe, data)
