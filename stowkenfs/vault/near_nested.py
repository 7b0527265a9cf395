"""Cells, and what else is bytes, as differences from what is stored: frames of kind 0x07.

What changes a little again and again would need ever longer differences from a first version,
or be read through all the versions before. So the canonical is the version before, unless its
own difference is less than twice as large: then it is the canonical of that one, and so on. As
in a binary counter, differences then grow by a factor of two from each to the one that it
refers to; n versions are read through log2(n) at most, and each costs about as many changes.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np

from stowkenfs.errors import Corrupt
from stowkenfs.frames.codec import (
    DEPTH_MAX,
    FrameKind,
    Segment,
    depth_of,
    encode_nested,
    references_of,
)
from stowkenfs.vault.near_matching import Canonical

GROWTH = 2
"""How many times as large as a difference the one has to be that its canonical is."""

FrameOf = Callable[[int], bytes | None]
"""The frame of a segment; None for a dense one. Raises Corrupt."""
CanonicalOf = Callable[[int], Canonical | None]
IsLeaving = Callable[[int], bool]


class _Link(NamedTuple):
    """A stored segment, its depth, and of a difference its size and the one it is from."""

    number: int
    segment: Segment
    depth: int
    size_bytes: int
    before: int | None


class Nesting:
    """Finds canonicals and makes frames. One thread's at a time."""

    def __init__(
        self, frame_of: FrameOf, canonical_of: CanonicalOf, is_leaving: IsLeaving, level: int
    ) -> None:
        self._frame_of = frame_of
        self._canonical_of = canonical_of
        self._is_leaving = is_leaving
        self._level = level

    def frame(self, segment: Segment, candidates: Iterable[int]) -> bytes | None:
        """A frame of ``segment`` as differences from one of ``candidates``, best first."""
        links = [link for number in candidates if (link := self._link(number)) is not None]
        nearest = max(links, key=lambda link: _shared(segment, link), default=None)
        found: bytes | None = None
        while nearest is not None:
            found, is_small = self._against(segment, nearest)
            if is_small or nearest.before is None:
                break
            nearest = self._link(nearest.before)
        return found

    def _against(self, segment: Segment, link: _Link) -> tuple[bytes | None, bool]:
        """A frame that refers to ``link``, and whether it is small enough beside that one's."""
        if link.depth >= DEPTH_MAX:
            return None, False
        found = encode_nested(segment, link.number, link.segment, link.depth + 1, level=self._level)
        return found, found is not None and GROWTH * len(found) <= link.size_bytes

    def _link(self, number: int) -> _Link | None:
        """None for one that new segments must not refer to, or that cannot be read."""
        if self._is_leaving(number):
            return None
        canonical = self._canonical_of(number)
        if canonical is None:
            return None
        try:
            frame = self._frame_of(number)
            depth = 0 if frame is None else depth_of(frame)
            references = None if frame is None else references_of(frame)
        except Corrupt:
            return None
        if frame is not None and references is not None and references.kind is FrameKind.NESTED:
            return _Link(number, canonical.segment, depth, len(frame), references.numbers[0])
        return _Link(number, canonical.segment, depth, 0, None)


def _shared(segment: Segment, link: _Link) -> tuple[int, int]:
    """By which the nearest is chosen: equal bytes in equal places, and of equals the last."""
    ours, theirs = segment.tokens, link.segment.tokens
    if segment.vocabulary is not link.segment.vocabulary or len(ours) != len(theirs):
        return -1, link.number
    return int(np.count_nonzero(ours == theirs)), link.number
