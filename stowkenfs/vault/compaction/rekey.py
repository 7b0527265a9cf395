"""Keys of what is stored, from its content."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from stowkenfs.frames.address import segment_hash, segment_key
from stowkenfs.ids import RecordNo, SegmentNo, TemplateNo
from stowkenfs.index.catalogue import BlockPlace
from stowkenfs.store.block import BlockKind
from stowkenfs.vault.payloads import content_key
from stowkenfs.vault.reader import Reader


def keys_of(reader: Reader, kind: BlockKind, place: BlockPlace) -> npt.NDArray[np.int64]:
    """The whole keys of all things in a row of ``block``: shape (count,). A thread's.

    Raises Corrupt.
    """
    of: dict[BlockKind, Callable[[int], int]] = {
        BlockKind.RECORDS: lambda number: content_key(reader.record(RecordNo(number))),
        BlockKind.SEGMENTS: lambda number: _segment_key(reader, number),
        BlockKind.TEMPLATES: lambda number: content_key(reader.template(TemplateNo(number))),
    }
    numbers = range(place.first, place.first + place.count)
    return np.fromiter((of[kind](number) for number in numbers), np.int64, place.count)


def _segment_key(reader: Reader, number: int) -> int:
    segment = reader.segment(SegmentNo(number))
    return segment_key(segment_hash(segment.tokens), segment.vocabulary)
