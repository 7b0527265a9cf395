"""Where a long JSON text is cut into records, decided on its skeleton."""

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from stowkenfs.documents.lexer import Lexed

RECORD_BYTES_MIN: Final = 16 << 10
RECORD_BYTES_MAX: Final = 32 << 10
"""Of records cut at a brace; a long value stays in one record whatever its length."""
_BRACELESS_BYTES_MAX: Final = 64 << 10


class Cut(NamedTuple):
    """A place outside values, by what is before it."""

    skeleton_bytes: int
    values: int
    content_bytes: int


def record_cuts(lexed: Lexed) -> list[Cut]:
    """Where records end, from the start to the end of ``lexed``, ascending; both included.

    A cut is before a ``{``, at the least depth that a record of 16 to 32 KiB allows; where
    64 KiB have none, after a comma.
    """
    skeleton = np.frombuffer(lexed.skeleton, np.uint8)
    slots = np.flatnonzero(skeleton == 0)
    grown = np.zeros(len(slots) + 1, np.int64)  # content bytes minus skeleton bytes, by slot
    np.cumsum(np.fromiter(map(len, lexed.values), np.int64, len(slots)) - 1, out=grown[1:])
    braces = np.flatnonzero(skeleton == ord("{"))
    commas = np.flatnonzero(skeleton == ord(",")) + 1
    brace_offsets = braces + grown[np.searchsorted(slots, braces)]
    comma_offsets = commas + grown[np.searchsorted(slots, commas)]
    depths = bracket_depths(skeleton)[braces]
    length = len(skeleton) + int(grown[-1])

    chosen: list[tuple[int, int]] = []
    start = 0
    while length - start > RECORD_BYTES_MAX:
        low = int(np.searchsorted(brace_offsets, start + RECORD_BYTES_MIN))
        high = int(np.searchsorted(brace_offsets, start + RECORD_BYTES_MAX))
        if low < high:
            low += int(np.argmin(depths[low:high]))
        position, offset = len(skeleton), length
        if low < len(braces):
            position, offset = int(braces[low]), int(brace_offsets[low])
        if offset - start > _BRACELESS_BYTES_MAX:
            comma = int(np.searchsorted(comma_offsets, start + RECORD_BYTES_MIN))
            if comma < len(commas) and comma_offsets[comma] < offset:
                position, offset = int(commas[comma]), int(comma_offsets[comma])
        if offset == length:
            break
        chosen.append((position, offset))
        start = offset
    before = np.searchsorted(slots, [position for position, _ in chosen])
    cuts = [
        Cut(position, int(count), offset)
        for (position, offset), count in zip(chosen, before, strict=True)
    ]
    return [Cut(0, 0, 0), *cuts, Cut(len(skeleton), len(slots), length)]


def bracket_depths(outside: npt.NDArray[np.uint8]) -> npt.NDArray[np.int32]:
    """How many brackets are open after each byte of JSON without its strings.

    Counted from the first byte, so it may be negative; a bracket in a key counts too, which
    only makes for a worse cut.
    """
    steps = np.zeros(len(outside), np.int8)
    steps[(outside == ord("{")) | (outside == ord("["))] = 1
    steps[(outside == ord("}")) | (outside == ord("]"))] = -1
    return np.cumsum(steps, dtype=np.int32)
