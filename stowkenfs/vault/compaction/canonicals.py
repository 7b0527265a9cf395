"""Canonicals of delta frames that stay: they stay as well."""

from bisect import bisect_right
from collections.abc import Collection, Sequence
from typing import cast

from stowkenfs.frames.codec import DELTA_KINDS, references_of
from stowkenfs.index.catalogue import Catalogue
from stowkenfs.store.block import BlockKind
from stowkenfs.vault.reader import Reader
from stowkenfs.vault.unpacked import PlainSegments


def with_canonicals(
    catalogue: Catalogue,
    reader: Reader,
    blocks: Sequence[tuple[int, int]],
    segments: Collection[int],
) -> set[int]:
    """``segments``, and those that they need to be read, and what stays with them.

    ``blocks``: first and end of all hot ranges of segments, sorted. One that holds a segment
    which stays does so whole, and must be readable: so the canonicals of all its deltas stay.
    A canonical may be a delta itself, and its block hold some. Blocks; any thread.
    Raises Corrupt.
    """
    kept, waiting = set(segments), list(segments)
    seen: set[int] = set()
    while waiting:
        number = waiting.pop()
        at = bisect_right(blocks, number, key=lambda block: block[0]) - 1
        if at < 0 or number >= blocks[at][1] or at in seen:
            continue  # a dense one needs no other
        seen.add(at)
        for needed in _canonicals_in(catalogue, reader, blocks[at][0]):
            if needed not in kept:
                kept.add(needed)
                waiting.append(needed)
    return kept


def _canonicals_in(catalogue: Catalogue, reader: Reader, first: int) -> set[int]:
    """What the deltas in the hot block of segment ``first`` refer to."""
    found: set[int] = set()
    place = catalogue.locate(BlockKind.SEGMENTS, first)
    if place is None:
        return found
    items = cast("PlainSegments", reader.unpacked(place).items).items
    for at in range(len(items.keys)):
        references = references_of(items.frames[at])
        if references.kind in DELTA_KINDS:
            found.update(references.numbers)
    return found
