"""Blocks of frames to smaller ones: the part that needs a processor, free of any state.

It runs in a worker process; what goes in and comes out is bytes and small tuples.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from stowkenfs.errors import Corrupt, FrameCorrupt
from stowkenfs.frames.codec import (
    EncodeChoices,
    FrameKind,
    Segment,
    decode_frame,
    encode_referring,
    frame_kind,
    references_of,
)
from stowkenfs.frames.dictionary import Dictionary
from stowkenfs.store.block import Block, BlockKind, Layout, encode_block
from stowkenfs.vault.payloads import decode_segments, encode_segments
from stowkenfs.vault.training.references import SKIPPED

SAVED_SHARE_MIN = 1 / 50
"""A block that becomes smaller by less is not worth its place in a pack."""

FrameTotals = dict[int, tuple[int, int]]
"""``{kind: (frames, bytes)}``, to be added to what is counted."""


@dataclass(frozen=True, slots=True)
class BlockIn:
    """A block of frames. ``begin``: where its payload goes on behind the ranges of a sparse one.

    ``whole``: frames that refer to nothing, for those that do, by place.
    """

    first: int
    count: int
    layout: Layout
    payload: bytes
    begin: int
    stored_bytes: int
    whole: Mapping[int, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class BlockOut:
    """A block that is smaller, as it lies in a pack; ``saved_bytes`` of its frames.

    ``substrings``, ``dictionaries``: what its new frames refer to.
    """

    encoded: bytes
    raw_bytes: int
    rewritten: int
    saved_bytes: int
    frames: FrameTotals
    substrings: frozenset[int]
    dictionaries: frozenset[int]


def recode_blocks(
    blocks: Sequence[BlockIn], level: int, choices: EncodeChoices
) -> list[BlockOut | None]:
    """Each block as it becomes smaller, as stored; None where it does not."""
    return [_recode(block, level, choices) for block in blocks]


def _recode(block: BlockIn, level: int, choices: EncodeChoices) -> BlockOut | None:
    items = decode_segments(block.payload[block.begin :], block.count)
    rows: list[tuple[int, bytes]] = []
    totals: FrameTotals = {}
    referred: dict[FrameKind, set[int]] = {FrameKind.SUBSTRINGS: set(), FrameKind.DICTIONARY: set()}
    rewritten = saved = 0
    for at in range(block.count):
        frame = items.frames[at]
        better = _better(frame, block.whole.get(at, frame), level, choices)
        if better is not None:
            rewritten += 1
            saved += len(frame) - len(better)
            _count(totals, frame, -1)
            _count(totals, better, 1)
            found = references_of(better)
            referred[found.kind].update(found.numbers)
            frame = better
        rows.append((int(items.keys[at]), frame))
    if not rewritten:
        return None
    payload = block.payload[: block.begin] + encode_segments(rows)
    encoded = encode_block(
        Block(BlockKind.SEGMENTS, block.first, block.count, payload, block.layout), level=level
    )
    if len(encoded) > block.stored_bytes * (1 - SAVED_SHARE_MIN):
        return None
    return BlockOut(
        encoded,
        len(payload),
        rewritten,
        saved,
        totals,
        frozenset(referred[FrameKind.SUBSTRINGS]),
        frozenset(referred[FrameKind.DICTIONARY]),
    )


def _better(frame: bytes, whole: bytes, level: int, choices: EncodeChoices) -> bytes | None:
    """A smaller frame of the same segment; ``whole`` is one that refers to nothing."""
    if frame_kind(frame) in SKIPPED:
        return None
    segment = decode_frame(whole)
    found = encode_referring(segment, choices, level=level)
    if found is None or len(found) >= len(frame):
        return None
    return found if _is_same(found, segment, choices) else None


def _is_same(frame: bytes, segment: Segment, choices: EncodeChoices) -> bool:
    try:
        decoded = decode_frame(frame, _Offered(choices))
    except Corrupt:
        return False
    return decoded.vocabulary is segment.vocabulary and np.array_equal(
        decoded.tokens, segment.tokens
    )


def _count(totals: FrameTotals, frame: bytes, sign: int) -> None:
    count, size = totals.get(frame[0], (0, 0))
    totals[frame[0]] = count + sign, size + sign * len(frame)


@dataclass(frozen=True, slots=True)
class _Offered:
    """What new frames may refer to, for reading them."""

    choices: EncodeChoices

    def substring(self, number: int) -> Segment:
        known = self.choices.substrings
        if known is None or number not in known.entries:
            raise FrameCorrupt(f"substring {number} is not there")
        return known.entries[number]

    def dictionary(self, number: int) -> Dictionary:
        active = self.choices.dictionary
        if active is None or active[0] != number:
            raise FrameCorrupt(f"dictionary {number} is not there")
        return active[1]

    def canonical(self, number: int, below: int = 1) -> Segment:
        del below
        raise FrameCorrupt(f"segment {number} is not there")
