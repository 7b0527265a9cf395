"""Ids by which segments of bytes are found to be alike, for the bands of ``minhash``.

Of bytes there are so few that most segments have the same ones. Where they stand, or what stands
beside them, is what tells segments apart.
"""

import numpy as np

from stowkenfs.frames.matching import GRAM_IDS, gram_hashes
from stowkenfs.frames.varints import TokenArray

NUMBER_BYTES = 8

# As in ``matching``: the fractions of the golden ratio and of pi. Bands are in the index, as
# hints; other constants would find nothing of what is there.
_SPREAD = np.uint64(0x9E3779B97F4A7C15)
_MIX = np.uint64(0x243F6A8885A308D3)
_SHIFT = np.uint64(32)


def ids_of_places(tokens: TokenArray) -> TokenArray:
    """An id for each eight bytes and the place where they stand: uint32, shape (n // 8,)."""
    content = tokens.astype(np.uint8).tobytes()
    numbers = np.frombuffer(content, "<u8", count=len(content) // NUMBER_BYTES)
    places = np.arange(1, len(numbers) + 1, dtype=np.uint64) * _SPREAD
    mixed = (numbers ^ places) * _MIX
    mixed ^= mixed >> _SHIFT
    ids: TokenArray = ((mixed * _SPREAD) >> _SHIFT).astype(np.uint32)
    return ids


def ids_of_grams(tokens: TokenArray) -> TokenArray:
    """An id for each run of GRAM_IDS bytes, wherever it stands: uint32."""
    return (gram_hashes(tokens, GRAM_IDS) >> _SHIFT).astype(np.uint32)
