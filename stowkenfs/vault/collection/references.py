"""What records refer to, many at a time."""

from typing import NamedTuple, cast

import numpy as np

from stowkenfs.documents.body import References
from stowkenfs.frames.codec import DELTA_KINDS, references_of
from stowkenfs.vault.collection.shelf import Integers
from stowkenfs.vault.unpacked import PlainSegments, Records, Segments, Unpacked


class Referred(NamedTuple):
    """Numbers of templates and segments: int64, shape (n,) each; some come often."""

    templates: Integers
    segments: Integers


def referred_to(unpacked: Unpacked, places: Integers) -> Referred:
    """What the records at ``places`` of a block refer to. A thread's. Raises Corrupt."""
    records = cast("Records", unpacked.items)
    pieces = records.pieces(places.tolist())
    templates, segments = pieces.templates.tolist(), pieces.parts.tolist()
    if not pieces.alone:
        return Referred(pieces.templates, pieces.parts)
    for at in pieces.alone:
        body = records.body(int(places[at]))
        templates += body.templates
        for value in body.values:
            if isinstance(value, References):
                segments += value.segments
    return Referred(np.array(templates, np.int64), np.array(segments, np.int64))


def canonicals_of(unpacked: Unpacked, places: Integers) -> Integers:
    """Segments without which those at ``places`` of a block cannot be read. Raises Corrupt."""
    segments = cast("Segments", unpacked.items)
    numbers: list[int] = []
    if isinstance(segments, PlainSegments):
        frames = segments.items.frames
        for at in places.tolist():
            if frames[at][:1] in _DELTAS:
                numbers += references_of(frames[at]).numbers
    return np.array(numbers, np.int64)


_DELTAS = [bytes((kind,)) for kind in DELTA_KINDS]
