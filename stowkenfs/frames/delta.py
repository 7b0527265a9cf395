"""Frames of a segment by what it has in common with one that is stored: its canonical.

    0x04   body: edits, whose one source is the canonical, by its number

A canonical is never itself a delta, so to read a frame takes one other at most.
"""

from dataclasses import dataclass
from typing import Literal

from stowkenfs.errors import FrameCorrupt
from stowkenfs.frames.edits import apply_edits, encode_edits, read_edits, sources_of
from stowkenfs.frames.kinds import FrameKind
from stowkenfs.frames.matching import GramIndex
from stowkenfs.frames.resources import EncodeChoices, FrameResources
from stowkenfs.frames.segment import Segment
from stowkenfs.frames.varints import TokenArray
from stowkenfs.ids import Vocabulary


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
        edits = read_edits(body)
        if len(sources_of(edits)) != 1:
            raise FrameCorrupt("a delta against more than one segment")
        return apply_edits(vocabulary, edits, lambda number: _ids(resources, number, vocabulary))


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


def _ids(resources: FrameResources | None, number: int, vocabulary: Vocabulary) -> TokenArray:
    if resources is None:
        raise FrameCorrupt(f"a delta against segment {number}, and no segments were given")
    canonical = resources.canonical(number)
    if canonical.vocabulary is not vocabulary:
        raise FrameCorrupt(f"segment {number} is of {canonical.vocabulary.name}")
    return canonical.tokens
