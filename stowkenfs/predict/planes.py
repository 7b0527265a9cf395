"""Columns of numbers below 2^24 as planes: all low bytes, all middle ones, all high ones.

What is small has planes of zeros, which a block's compression takes to nothing.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

ITEM_BYTES = 3

Numbers = npt.NDArray[np.unsignedinteger[Any]]
Flags = npt.NDArray[np.bool_]


def pack(numbers: Numbers) -> bytes:
    """Three planes, one after the other. The numbers are below 2^24."""
    parts = numbers.astype("<u4").view(np.uint8).reshape(-1, 4)
    return b"".join(np.ascontiguousarray(parts[:, at]).tobytes() for at in range(ITEM_BYTES))


def unpack(content: bytes, at: int, count: int) -> npt.NDArray[np.uint32]:
    """Inverse of ``pack``, of ``count`` numbers from byte ``at``."""
    read = np.frombuffer(content, np.uint8, count * ITEM_BYTES, at).reshape(ITEM_BYTES, count)
    low, middle, high = read.astype(np.uint32)
    found: npt.NDArray[np.uint32] = low | middle << np.uint32(8) | high << np.uint32(16)
    return found


def changes(numbers: npt.NDArray[np.int64]) -> Flags:
    """Where a number is not the one before it; the first never is."""
    begins = np.ones(len(numbers), bool)
    begins[1:] = numbers[1:] != numbers[:-1]
    return begins


def differences(numbers: Numbers, begins: Flags) -> npt.NDArray[np.uint64]:
    """Each less the one before it, and as it is where ``begins``. Ascending in between."""
    found = numbers.astype(np.uint64)
    found[1:] -= np.where(begins[1:], np.uint64(0), numbers[:-1].astype(np.uint64))
    return found


def summed(written: Numbers, begins: Flags) -> npt.NDArray[np.uint64]:
    """Inverse of ``differences``."""
    if not len(written):
        return np.zeros(0, np.uint64)
    sums = np.cumsum(written, dtype=np.uint64)
    heads = np.flatnonzero(begins)
    before = sums[heads] - written[heads]
    return sums - np.repeat(before, np.diff(np.append(heads, len(written))))
