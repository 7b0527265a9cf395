"""The ranks in encoded segments: finding where each code starts (``codebook`` has the code)."""

import numpy as np
import numpy.typing as npt

from stowkenfs.errors import FrameCorrupt

TERMINATOR = b"\xff"
"""What follows a segment; occurs in no code of an id."""

RANKS = 160 + 80 * 255
"""Ids that an order holds at most."""

# Blocks and codebooks of 26 million ids of public conversations in 16 groups took 17.38 MB
# with 160, 0.1 % more with 144 and 0.2 % with 176.
ONE_BYTE = 160
"""Ranks below have one byte; first bytes from here on begin two."""
THREE_BYTES = 240
"""First bytes from here on begin three."""

Ranks = npt.NDArray[np.int32]
"""int32, shape (n,): RANKS + id for an id that has no rank."""

# Below this a Python loop finds the codes sooner than numpy does.
_SCALAR_BYTES_MAX = 2000
# Numpy walks so many parts of a long encoding side by side, none shorter than _STEPS_MIN.
_LANES_MAX = 1000
_STEPS_MIN = 32

_END = TERMINATOR[0]
_CUT_OFF = "the last id of a segment is cut off"


def ranks_of(encoded: bytes) -> Ranks:
    """The ranks of one segment, which has no terminator. Raises FrameCorrupt (cut off)."""
    if len(encoded) <= _SCALAR_BYTES_MAX:
        return _few_ranks(encoded)
    return _many_ranks(np.frombuffer(encoded, np.uint8))


def ranks_of_joined(encoded: bytes) -> tuple[Ranks, npt.NDArray[np.intp]]:
    """The ranks of segments that are each followed by TERMINATOR, and the positions of those.

    In place of a terminator there is rank 0. Raises FrameCorrupt (a segment's last id is cut off).
    """
    byte = np.frombuffer(encoded, np.uint8)
    at = np.flatnonzero(_code_starts(byte))
    first = byte[at]
    ranks = _ranks_at(byte, at, first)
    ends = np.flatnonzero(first == _END)
    if len(ends) != encoded.count(TERMINATOR):
        raise FrameCorrupt(_CUT_OFF)
    ranks[ends] = 0
    return ranks, ends


def _few_ranks(encoded: bytes) -> Ranks:
    ranks: list[int] = []
    append = ranks.append
    byte = iter(encoded)
    try:
        for first in byte:
            if first < ONE_BYTE:
                append(first)
            elif first < THREE_BYTES:
                append((first - ONE_BYTE) * 255 + next(byte) + ONE_BYTE)
            else:
                high = (first - THREE_BYTES) * 255 + next(byte)
                append(high * 255 + next(byte) + RANKS)
    except StopIteration:
        raise FrameCorrupt(_CUT_OFF) from None
    return np.array(ranks, np.int32)


def _many_ranks(byte: npt.NDArray[np.uint8]) -> Ranks:
    at = np.flatnonzero(_code_starts(byte))
    return _ranks_at(byte, at, byte[at])


def _ranks_at(
    byte: npt.NDArray[np.uint8], at: npt.NDArray[np.intp], first: npt.NDArray[np.uint8]
) -> Ranks:
    """The ranks of the codes at ``at``, which begin with the bytes ``first``."""
    ranks = first.astype(np.int32)
    two = np.flatnonzero(first - np.uint8(ONE_BYTE) < THREE_BYTES - ONE_BYTE)
    three = np.flatnonzero(first - np.uint8(THREE_BYTES) < _END - THREE_BYTES)
    try:
        second, third = byte[at[two] + 1], byte[at[three] + 2]
    except IndexError:
        raise FrameCorrupt(_CUT_OFF) from None
    ranks[two] = (ranks[two] - ONE_BYTE) * 255 + second + ONE_BYTE
    high = (ranks[three] - THREE_BYTES) * 255 + byte[at[three] + 1]
    ranks[three] = high * 255 + third + RANKS
    return ranks


def _code_starts(byte: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    """Whether a code starts at each byte of an encoding: shape as ``byte``, which is not empty.

    Only walking from the first byte tells, since later bytes of a code look like first ones.
    So the encoding is cut into lanes, all walked at once, each under three hypotheses: that
    the codes before it reach 0, 1 or 2 bytes into it, which are bits 0, 1 and 2 below. What
    is owed to a lane then follows from the lane before it.
    """
    lanes = max(1, min(_LANES_MAX, len(byte) // _STEPS_MIN))
    steps = -(-len(byte) // lanes)
    padded = np.zeros(lanes * steps, np.uint8)
    padded[: len(byte)] = byte
    walked = np.ascontiguousarray(padded.reshape(lanes, steps).T)
    # All bits, or none; by subtraction a terminator is no longer than the short ones.
    long = np.negative((walked - np.uint8(ONE_BYTE) < _END - ONE_BYTE).view(np.uint8))
    longest = np.negative((walked - np.uint8(THREE_BYTES) < _END - THREE_BYTES).view(np.uint8))
    starts = np.empty_like(walked)
    owed_one = np.full(lanes, 0b110, np.uint8)  # the next byte belongs to a code before it
    owed_two = np.full(lanes, 0b100, np.uint8)  # so does the one after
    owed_two_before = np.zeros(lanes, np.uint8)
    for start, is_long, is_longest in zip(starts, long, longest, strict=True):
        np.bitwise_or(owed_one, owed_two_before, out=start)
        np.invert(start, out=start)
        owed_two, owed_two_before = owed_two_before, owed_two
        np.bitwise_and(start, is_long, out=owed_one)
        np.bitwise_and(start, is_longest, out=owed_two)
    owed_one |= owed_two_before
    bits = np.arange(3, dtype=np.uint8)
    owed_after = (owed_one[:, None] >> bits & 1) + (owed_two[:, None] >> bits & 1)
    # Most lanes forget what was owed to them, so that few are walked one by one.
    hypothesis = np.append(np.uint8(0), owed_after[:-1, 0])
    for lane in np.flatnonzero(owed_after.min(axis=1) < owed_after.max(axis=1)).tolist():
        if lane + 1 < lanes:
            hypothesis[lane + 1] = owed_after[lane, hypothesis[lane]]
    starts >>= hypothesis
    starts &= 1
    return starts.T.reshape(-1)[: len(byte)].view(np.bool_)
