"""Content-defined chunking: boundaries move with the bytes, so that edits stay local.

A gear hash over the last 32 bytes marks possible boundaries, and FastCDC's normalisation
(Xia et al., USENIX ATC 2016) picks among them: a strict mask up to the normal size, a loose
one after it. The hash of every position is computed at once by doubling the window: a
window of 2w bytes is the window of w here plus that of w bytes ago, shifted by w.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

CHUNK_BYTES_MIN: Final = 8 << 10
CHUNK_BYTES_NORMAL: Final = 24 << 10
"""Where the mask gets loose; measured on text, chunks average 32 KiB."""
CHUNK_BYTES_MAX: Final = 64 << 10

# Only the high bits of a gear hash depend on the whole window. On average one position in
# 2**16 passes the strict mask and one in 2**13 the loose one.
_STRICT_BELOW: Final = 1 << 16
_LOOSE_BELOW: Final = 1 << 19
# The hash needs 20 bytes of temporary arrays a byte; blocks keep that in the processor's cache.
_BLOCK_BYTES: Final = 1 << 18
_WINDOW_BYTES: Final = 32


def _gear_table() -> npt.NDArray[np.uint32]:
    """256 fixed values: the high halves of splitmix64 (Steele et al., 2014) from seed 0."""
    table = np.empty(256, np.uint32)
    state = 0
    for index in range(256):
        state = (state + 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF
        mixed = state
        mixed = ((mixed ^ mixed >> 30) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
        mixed = ((mixed ^ mixed >> 27) * 0x94D049BB133111EB) & 0xFFFFFFFFFFFFFFFF
        table[index] = (mixed ^ mixed >> 31) >> 32
    return table


_GEAR: Final = _gear_table()


def chunk_ends(content: bytes) -> list[int]:
    """End offsets of the chunks of ``content``, the last one its length; empty for no bytes.

    No chunk is longer than CHUNK_BYTES_MAX, and only the last is shorter than CHUNK_BYTES_MIN.
    A chunk never ends inside a UTF-8 character, if ``content`` is UTF-8.
    """
    length = len(content)
    if length <= CHUNK_BYTES_MIN:
        return [length] if length else []
    bytes_ = np.frombuffer(content, np.uint8)
    loose, strict = _candidates(bytes_)
    ends = []
    start = 0
    while length - start > CHUNK_BYTES_MIN:
        end = min(start + CHUNK_BYTES_MAX, length)
        for positions, low, high in (
            (strict, start + CHUNK_BYTES_MIN, start + CHUNK_BYTES_NORMAL),
            (loose, start + CHUNK_BYTES_NORMAL, end),
        ):
            at = int(np.searchsorted(positions, low))
            if at < len(positions) and positions[at] < high:
                end = int(positions[at])
                break
        start = character_start(content, end)
        ends.append(start)
    if start < length:
        ends.append(length)
    return ends


def character_start(content: bytes, at: int) -> int:
    """The start of the UTF-8 character that byte ``at`` is in; ``at`` itself if in none."""
    if at < len(content):
        for back in range(min(4, at)):
            if content[at - back] & 0xC0 != 0x80:
                return at - back
    return at


def _candidates(
    content: npt.NDArray[np.uint8],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Offsets after the bytes whose hash passes the loose mask, and the strict one."""
    loose = []
    strict = []
    for start in range(0, len(content), _BLOCK_BYTES):
        before = min(start, _WINDOW_BYTES - 1)
        hashes = _GEAR[content[start - before : start + _BLOCK_BYTES]]
        for width in (1, 2, 4, 8, 16):
            hashes[width:] += hashes[:-width] << np.uint32(width)
        passed = np.flatnonzero(hashes[before:] < _LOOSE_BELOW)
        loose.append(passed + (start + 1))
        strict.append(passed[hashes[before:][passed] < _STRICT_BELOW] + (start + 1))
    return np.concatenate(loose), np.concatenate(strict)
