import random

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from stowkenfs.documents.chunker import (
    _GEAR,
    CHUNK_BYTES_MAX,
    CHUNK_BYTES_MIN,
    _candidates,
    chunk_ends,
)


def test_the_table_never_changes() -> None:
    """Vaults made by other releases are chunked alike. splitmix64 from seed 0."""
    assert [f"{value:08x}" for value in _GEAR[:4].tolist()] == [
        "e220a839",
        "6e789e6a",
        "06c45d18",
        "f88bb8a8",
    ]


def test_hashes_are_those_of_the_definition() -> None:
    content = random.Random(1).randbytes(300_000)
    value = 0
    passed = []
    for offset, byte in enumerate(content, 1):
        value = (value * 2 + int(_GEAR[byte])) & 0xFFFFFFFF
        if value < 1 << 19:
            passed.append(offset)
    loose, strict = _candidates(np.frombuffer(content, np.uint8))
    assert loose.tolist() == passed
    assert set(strict.tolist()) <= set(passed)


def test_sizes() -> None:
    content = random.Random(2).randbytes(8 << 20)
    ends = chunk_ends(content)
    sizes = [end - start for start, end in zip([0, *ends], ends, strict=False)]
    assert sum(sizes) == len(content)
    assert max(sizes) <= CHUNK_BYTES_MAX
    assert min(sizes[:-1]) >= CHUNK_BYTES_MIN
    assert 24 << 10 < sum(sizes) / len(sizes) < 36 << 10


def test_an_edit_changes_chunks_near_it_only() -> None:
    content = random.Random(3).randbytes(4 << 20)
    edited = content[: 1 << 20] + b"!" + content[1 << 20 :]
    chunks = []
    for version in (content, edited):
        ends = chunk_ends(version)
        chunks.append({version[a:b] for a, b in zip([0, *ends], ends, strict=False)})
    assert len(chunks[0] - chunks[1]) <= 4


def test_small_and_empty() -> None:
    assert chunk_ends(b"") == []
    assert chunk_ends(b"x") == [1]
    assert chunk_ends(b"x" * CHUNK_BYTES_MIN) == [CHUNK_BYTES_MIN]


@given(st.text(alphabet="a\u00e9\u4f60\U0001f600", min_size=1), st.integers(20_000, 60_000))
def test_characters_stay_whole(text: str, repeats: int) -> None:
    content = (text * repeats).encode()[:500_000].decode(errors="ignore").encode()
    start = 0
    for end in chunk_ends(content):
        content[start:end].decode()
        start = end
    assert start == len(content)
