"""Frames of a segment by what it has in common with one that is stored: its canonical.

    0x04   body: edits, whose one source is the canonical, by its number
    0x07   body: u8 depth (1 .. DEPTH_MAX), then such edits

The canonical of 0x04 is never itself a delta, so to read a frame takes one other at most. That
of 0x07 may be a 0x07 of less depth: what changes a little again and again is told in as many
steps as the number of its changes has binary digits.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from stowkenfs.errors import FrameCorrupt
from stowkenfs.frames.edits import Copy, apply_edits, encode_edits, read_edits, sources_of
from stowkenfs.frames.kinds import FrameKind
from stowkenfs.frames.matching import GramIndex
from stowkenfs.frames.resources import EncodeChoices, FrameResources
from stowkenfs.frames.segment import Segment
from stowkenfs.frames.varints import TokenArray
from stowkenfs.ids import Vocabulary

DEPTH_MAX: Final = 8
"""The most frames of kind 0x07 that are read for one."""

# A shorter run of equal ids takes more as a copy than as literals.
_ALIGNED_IDS_MIN = 4
_COPIES_MAX = 1 << 14


@dataclass(frozen=True, slots=True)
class DeltaCodec:
    """0x04: edits of a canonical segment."""

    kind: Literal[FrameKind.DELTA] = FrameKind.DELTA

    def encode(
        self,
        segment: Segment,  # noqa: ARG002
        symbols: bytes,  # noqa: ARG002
        level: int,  # noqa: ARG002
        choices: EncodeChoices | None,  # noqa: ARG002
    ) -> None:
        """None: who makes a delta says against what, see ``encode_delta``."""
        return

    def decode(
        self, vocabulary: Vocabulary, body: memoryview, resources: FrameResources | None
    ) -> Segment:
        return _decoded(vocabulary, body, resources, 1)


@dataclass(frozen=True, slots=True)
class NestedCodec:
    """0x07: edits of a canonical segment that may be told so itself."""

    kind: Literal[FrameKind.NESTED] = FrameKind.NESTED

    def encode(
        self,
        segment: Segment,  # noqa: ARG002
        symbols: bytes,  # noqa: ARG002
        level: int,  # noqa: ARG002
        choices: EncodeChoices | None,  # noqa: ARG002
    ) -> None:
        """None: who makes one says against what, see ``encode_nested``."""
        return

    def decode(
        self, vocabulary: Vocabulary, body: memoryview, resources: FrameResources | None
    ) -> Segment:
        return _decoded(vocabulary, body[1:], resources, depth_of_body(body))


def depth_of_body(body: memoryview) -> int:
    """How many frames of kind 0x07 it takes to read one, itself counted. Raises FrameCorrupt."""
    if not len(body) or not 1 <= body[0] <= DEPTH_MAX:
        raise FrameCorrupt(f"a nested delta of no depth from 1 to {DEPTH_MAX}")
    return body[0]


def nested_body(
    segment: Segment, canonical_no: int, canonical: Segment, depth: int, level: int
) -> bytes | None:
    """``segment`` by copies from ``canonical``, in place where both are of one length.

    None where there are none. Raises Unstorable as ``symbols_of``.
    """
    if segment.vocabulary is not canonical.vocabulary or not 1 <= depth <= DEPTH_MAX:
        return None
    if len(segment.tokens) == len(canonical.tokens):
        copies: Sequence[Copy] = _aligned(segment.tokens, canonical_no, canonical.tokens)
    else:
        copies = GramIndex({canonical_no: canonical.tokens}).copies(segment.tokens)
    if not copies or len(copies) > _COPIES_MAX:
        return None
    edits = encode_edits(segment, copies, lambda _: len(canonical.tokens), level)
    return None if edits is None else bytes((depth,)) + edits


def _aligned(tokens: TokenArray, source_no: int, source: TokenArray) -> list[Copy]:
    """The runs of equal ids at equal places of two arrays of one length."""
    equal = np.zeros(len(tokens) + 2, np.bool_)
    np.equal(tokens, source, out=equal[1:-1])
    edges = np.flatnonzero(equal[1:] != equal[:-1])
    starts, ends = edges[::2], edges[1::2]
    is_long = ends - starts >= _ALIGNED_IDS_MIN
    return [
        Copy(start, source_no, start, end - start)
        for start, end in zip(starts[is_long].tolist(), ends[is_long].tolist(), strict=True)
    ]


def delta_body(segment: Segment, canonical_no: int, canonical: Segment, level: int) -> bytes | None:
    """``segment`` by copies from ``canonical``; None where there are none.

    Raises Unstorable as ``symbols_of``.
    """
    if segment.vocabulary is not canonical.vocabulary:
        return None
    copies = GramIndex({canonical_no: canonical.tokens}).copies(segment.tokens)
    if not copies:
        return None
    return encode_edits(segment, copies, lambda _: len(canonical.tokens), level)


def _decoded(
    vocabulary: Vocabulary, body: memoryview, resources: FrameResources | None, below: int
) -> Segment:
    edits = read_edits(body)
    if len(sources_of(edits)) != 1:
        raise FrameCorrupt("a delta against more than one segment")
    return apply_edits(vocabulary, edits, lambda number: _ids(resources, number, vocabulary, below))


def _ids(
    resources: FrameResources | None, number: int, vocabulary: Vocabulary, below: int
) -> TokenArray:
    if resources is None:
        raise FrameCorrupt(f"a delta against segment {number}, and no segments were given")
    canonical = resources.canonical(number, below)
    if canonical.vocabulary is not vocabulary:
        raise FrameCorrupt(f"segment {number} is of {canonical.vocabulary.name}")
    return canonical.tokens
