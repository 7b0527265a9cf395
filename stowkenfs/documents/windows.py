"""Cutting JSON that is too long to be one unit, outside its strings where possible."""

import re
from typing import Final

import numpy as np

from stowkenfs.documents.cuts import bracket_depths

_STRING: Final = re.compile(rb'("[^"\\]*+(?:\\.[^"\\]*+)*+"?+)', re.DOTALL)
_STRINGS_AND_OTHER: Final = re.compile(rb'(?:[^"]++|"[^"\\]*+(?:\\.[^"\\]*+)*+")*+', re.DOTALL)
_STRING_REST: Final = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+', re.DOTALL)

_TAIL_BYTES: Final = 1 << 20
"""How much of the end of a window is searched for a cut; it bounds the memory that takes."""


def string_end(window: bytes) -> tuple[int, bool]:
    """How far the string that ``window`` starts in goes, and whether it ends there.

    Its closing quote is counted in; an escape that ``window`` cuts off is not.
    """
    rest = _STRING_REST.match(window)
    end = rest.end() if rest else 0
    closed = window[end : end + 1] == b'"'
    return end + closed, closed


def window_cut(window: bytes) -> tuple[int, bool]:
    """Where to cut ``window``, which starts outside strings; and whether that is in a string.

    The cut is before the last ``{`` of the least depth in the last MiB. Without one it is
    before the string that ``window`` ends in, if that starts in the second half, else at
    the end.
    """
    before = _STRINGS_AND_OTHER.match(window, 0, max(0, len(window) - _TAIL_BYTES))
    tail_start = before.end() if before else 0
    pieces: list[bytes] = _STRING.split(window[tail_start:])
    cut = _brace_cut(pieces)
    if cut is not None and tail_start + cut >= len(window) // 2:
        return tail_start + cut, False
    string = pieces[-2] if len(pieces) > 1 else b'""'
    if string_end(string[1:])[1]:
        return len(window), False
    end = len(window) - len(pieces[-1])  # an escape cut off is no part of the string
    start = end - len(string)
    return (start, False) if start >= len(window) // 2 else (end, True)


def _brace_cut(pieces: list[bytes]) -> int | None:
    """``pieces``: what is outside strings and the strings, in turns."""
    outside = np.frombuffer(b"".join(pieces[0::2]), np.uint8)
    braces = np.flatnonzero(outside == ord("{"))
    if not len(braces):
        return None
    lengths = np.fromiter(map(len, pieces), np.int64, len(pieces))
    # Before each byte outside strings lie the strings after the pieces that end before it.
    string_bytes = np.concatenate((np.zeros(1, np.int64), np.cumsum(lengths[1::2])))
    depths = bracket_depths(outside)[braces]
    best = braces[np.flatnonzero(depths == depths.min())[-1]]
    pieces_before = int(np.searchsorted(np.cumsum(lengths[0::2]), best, side="right"))
    return int(best + string_bytes[pieces_before])
