"""Ids of bytes: alike where the bytes are."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from stowkenfs.frames.likeness import ids_of_grams, ids_of_places
from stowkenfs.frames.minhash import bands_of, similarity

CELLS = np.random.default_rng(3).random(2500)


def tokens(content: bytes) -> np.ndarray:
    return np.frombuffer(content, np.uint8).astype(np.uint32)


def test_cells_are_alike_where_they_stand():
    ids = ids_of_places(tokens(CELLS.tobytes()))
    changed = CELLS.copy()
    changed[[5, 50, 500, 1000, 2000]] = 0.5
    assert len(ids) == 2500
    assert 0.99 < similarity(ids, ids_of_places(tokens(changed.tobytes()))) < 1
    assert similarity(ids, ids_of_places(tokens(CELLS[::-1].tobytes()))) < 0.01


def test_zeros_differ_by_their_places():
    """Else all sparse grids would have the same few ids."""
    assert len(set(ids_of_places(tokens(bytes(8 * 500))).tolist())) == 500


def test_ids_stay_what_they_are():
    """Bands are in the index; FORMAT.md has the constants."""
    expected, mask = [], 2**64 - 1
    for place, number in enumerate(CELLS[:9].view(np.uint64).tolist(), 1):
        mixed = (number ^ place * 0x9E3779B97F4A7C15 & mask) * 0x243F6A8885A308D3 & mask
        mixed ^= mixed >> 32
        expected.append((mixed * 0x9E3779B97F4A7C15 & mask) >> 32)
    assert ids_of_places(tokens(CELLS[:9].tobytes())).tolist() == expected


@given(st.binary(max_size=60))
def test_grams_are_alike_wherever_they_stand(content):
    ids = ids_of_grams(tokens(content))
    assert len(ids) == max(len(content) - 7, 0)
    moved = ids_of_grams(tokens(b"xy" + content))
    assert set(ids.tolist()) <= set(moved.tolist())


def test_bands_of_places_find_a_grid():
    ids = ids_of_places(tokens(CELLS.tobytes()))
    changed = CELLS.copy()
    changed[:100] += 1
    bands = bands_of(ids), bands_of(ids_of_places(tokens(changed.tobytes())))
    assert any(a == b for a, b in zip(*(chunks(one) for one in bands), strict=True))


def chunks(bands: bytes) -> list[bytes]:
    return [bands[at : at + 3] for at in range(0, len(bands), 3)]
