"""The codes of deflate streams (RFC 1951, 3.2)."""

from typing import Final

import numpy as np
import numpy.typing as npt

from stowkenfs.errors import Corrupt

LENGTH_BASE: Final = np.array(
    [3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115,
     131, 163, 195, 227, 258]
)  # fmt: skip
LENGTH_EXTRA: Final = np.array(
    [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0]
)
DISTANCE_BASE: Final = np.array(
    [1, 2, 3, 4, 5, 7, 9, 13, 17, 25, 33, 49, 65, 97, 129, 193, 257, 385, 513, 769, 1025, 1537,
     2049, 3073, 4097, 6145, 8193, 12289, 16385, 24577]
)  # fmt: skip
DISTANCE_EXTRA: Final = np.array(
    [0, 0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12,
     13, 13]
)  # fmt: skip
CODE_ORDER: Final = (16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15)
REPEATS: Final = {16: (3, 2), 17: (3, 3), 18: (11, 7)}  # {symbol: (least, bits of the rest)}
END: Final = 256
FIXED_LITERALS: Final = [8] * 144 + [9] * 112 + [7] * 24 + [8] * 8
FIXED_DISTANCES: Final = [5] * 30
BITS_MAX: Final = 15

Codes = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]
"""By symbol: its code, first bit lowest, and how many bits that has; 0 for none."""


def extend(lengths: list[int], symbol: int, extra: int) -> None:
    """Add to ``lengths`` what a symbol for lengths of codes says."""
    if symbol <= BITS_MAX:
        lengths.append(symbol)
        return
    if symbol not in REPEATS or (symbol == 16 and not lengths):
        raise Corrupt("a symbol that there is not")
    lengths += [lengths[-1] if symbol == 16 else 0] * (REPEATS[symbol][0] + extra)


def codes_of(lengths: list[int]) -> Codes:
    """RFC 1951, 3.2.2, each code turned round, as its bits are written. Raises Corrupt."""
    sizes = np.array(lengths, np.int64)
    counts = np.bincount(sizes, minlength=BITS_MAX + 1)
    counts[0] = 0
    codes = np.zeros(len(sizes), np.int64)
    code = 0
    for bits in range(1, BITS_MAX + 1):
        code = (code + int(counts[bits - 1])) << 1
        mine = np.flatnonzero(sizes == bits)
        if code + len(mine) > 1 << bits:
            raise Corrupt("more codes than there can be")
        codes[mine] = code + np.arange(len(mine))
    turned = np.zeros_like(codes)
    for bit in range(BITS_MAX):
        turned |= (codes >> bit & 1) << np.maximum(sizes - 1 - bit, 0) * (bit < sizes)
    return turned, sizes


def table_of(lengths: list[int]) -> list[int]:
    """By the next 15 bits: a symbol times 16, and the bits of its code."""
    codes, sizes = codes_of(lengths)
    table = np.zeros(1 << BITS_MAX, np.int64)
    for symbol in np.flatnonzero(sizes).tolist():
        table[int(codes[symbol]) :: 1 << int(sizes[symbol])] = symbol << 4 | int(sizes[symbol])
    found: list[int] = table.tolist()
    return found
