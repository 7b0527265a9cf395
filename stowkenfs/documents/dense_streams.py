"""The outer form of a dense block: byte strings one after another, and arrays of numbers.

``streams := varint size{n}, stream{n}`` for a number of streams that the reader knows; the
sizes add up to what follows them. ``numbers := varint*``, each below 2**56 and so of at most
eight bytes; signed numbers are zigzag.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from stowkenfs import kernels
from stowkenfs.errors import Corrupt, RecordCorrupt
from stowkenfs.varint import append_varint, read_varint

Numbers = npt.NDArray[np.int64]
"""int64, shape (n,)."""

# Sums of a block's numbers, 2**17 or so, stay below 2**63 for all that is not hostile.
_BYTES_MAX = 8


def join_streams(streams: Sequence[bytes]) -> bytes:
    """The sizes of ``streams``, then they themselves."""
    out = bytearray()
    for stream in streams:
        append_varint(out, len(stream))
    return bytes(out) + b"".join(streams)


def split_streams(payload: bytes, count: int, begin: int = 0) -> list[bytes]:
    """Inverse of ``join_streams`` for ``count`` streams from ``begin`` on. Raises RecordCorrupt."""
    sizes = []
    at = begin
    try:
        for _ in range(count):
            size, at = read_varint(payload, at)
            sizes.append(size)
    except Corrupt as error:
        raise RecordCorrupt(f"dense block: {error}") from error
    if sum(sizes) != len(payload) - at:
        raise RecordCorrupt(f"dense block: streams of {sum(sizes)} in {len(payload) - at} bytes")
    streams = []
    for size in sizes:
        streams.append(payload[at : at + size])
        at += size
    return streams


def encode_numbers(values: Sequence[int]) -> bytes:
    """The varints of ``values``, each 0..2**56-1. Raises ValueError (outside of that)."""
    out = bytearray()
    for value in values:
        if not 0 <= value < 1 << 7 * _BYTES_MAX:
            raise ValueError(f"{value} is no number of a dense block")
        append_varint(out, value)
    return bytes(out)


def decode_numbers(stream: bytes) -> Numbers:
    """Inverse of ``encode_numbers``. Raises RecordCorrupt (cut off, or longer than 8 bytes)."""
    if not stream:
        return np.empty(0, np.int64)
    if kernels.compiled is not None:
        found = kernels.compiled.varints56(stream)
        if found is not None:
            return np.frombuffer(found, np.int64)
    byte = np.frombuffer(stream, np.uint8)
    if byte[-1] > 0x7F:
        raise RecordCorrupt("dense block: the last number is cut off")
    end = np.flatnonzero(byte < 0x80)
    if len(end) == len(byte):
        return byte.astype(np.int64)
    start = np.empty_like(end)
    start[0] = 0
    start[1:] = end[:-1] + 1
    size = end - start
    low = (byte & 0x7F).astype(np.int64)
    values = low[start]
    longest = int(size.max())
    if longest >= _BYTES_MAX:
        raise RecordCorrupt(f"dense block: a number of {longest + 1} bytes")
    for k in range(1, longest + 1):
        live = np.flatnonzero(size >= k)
        values[live] |= low[start[live] + k] << (7 * k)
    return values


def unzigzag_numbers(values: Numbers) -> Numbers:
    """Signed numbers from their zigzag form."""
    return (values >> 1) ^ -(values & 1)
