"""What many records consist of, as columns: what ``rendering`` makes their bytes from."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

from stowkenfs import kernels
from stowkenfs.documents.body import Body, decode_body
from stowkenfs.documents.values import Style
from stowkenfs.errors import RecordCorrupt
from stowkenfs.ids import SegmentType

Numbers = npt.NDArray[np.int64]
"""int64, shape (n,)."""

LITERAL: Final = 255
"""A value that is bytes of ``source``."""
MADE: Final = 254
"""A value that is one of ``made``."""

TYPES = np.zeros(256, np.uint8)
"""uint8, 1 for each type of segment that there is."""
TYPES[list(map(int, SegmentType))] = 1


@dataclass(frozen=True, slots=True)
class Pieces:
    """Records, one after the other. ``template_ends`` and ``value_ends`` say where each ends.

    ``templates``: numbers of templates. For each value ``styles`` (uint8) has LITERAL, MADE or
    the Style of its parts, which are never TOKENS; from ``starts`` to ``ends`` lie its bytes in
    ``source``, its one entry of ``made``, or its entries of ``parts``: numbers of segments. Those
    of all values follow each other there. A record of ``alone``, which has places of records,
    is left out, without templates and values: it has to be decoded by itself.
    """

    source: bytes
    templates: Numbers
    template_ends: Numbers
    styles: npt.NDArray[np.uint8]
    starts: Numbers
    ends: Numbers
    value_ends: Numbers
    parts: Numbers
    alone: Sequence[int]
    made: Sequence[bytes] = field(default_factory=list)


def pieces_of_bodies(source: bytes, starts: Numbers, ends: Numbers) -> Pieces:
    """Of records whose bodies lie in ``source``; those that are damaged are left out."""
    if kernels.compiled is None:
        return _by_python(source, starts.tolist(), ends.tolist())
    columns = kernels.compiled.scan_bodies(source, starts, ends, TYPES)
    templates, template_ends, styles, lows, highs, value_ends, parts, alone = columns
    return Pieces(
        source,
        np.frombuffer(templates, np.int64),
        np.frombuffer(template_ends, np.int64),
        np.frombuffer(styles, np.uint8),
        np.frombuffer(lows, np.int64),
        np.frombuffer(highs, np.int64),
        np.frombuffer(value_ends, np.int64),
        np.frombuffer(parts, np.int64),
        np.flatnonzero(np.frombuffer(alone, np.uint8)).tolist(),
    )


def _by_python(source: bytes, starts: Sequence[int], ends: Sequence[int]) -> Pieces:
    literals: list[bytes] = []
    literal_bytes = 0
    templates: list[int] = []
    template_ends, value_ends = [], []
    styles = bytearray()
    lows, highs = [], []
    parts: list[int] = []
    alone = []
    for at, (start, end) in enumerate(zip(starts, ends, strict=True)):
        body = _body_or_none(source[start:end])
        if body is None:
            alone.append(at)
            body = Body((), ())
        templates += body.templates
        for value in body.values:
            if isinstance(value, bytes):
                styles.append(LITERAL)
                literals.append(value)
                lows.append(literal_bytes)
                literal_bytes += len(value)
                highs.append(literal_bytes)
            else:
                styles.append(value.style)
                lows.append(len(parts))
                parts += value.segments
                highs.append(len(parts))
        template_ends.append(len(templates))
        value_ends.append(len(styles))
    return Pieces(
        b"".join(literals),
        np.array(templates, np.int64),
        np.array(template_ends, np.int64),
        np.frombuffer(bytes(styles), np.uint8),
        np.array(lows, np.int64),
        np.array(highs, np.int64),
        np.array(value_ends, np.int64),
        np.array(parts, np.int64),
        alone,
    )


def _body_or_none(encoded: bytes) -> Body | None:
    """None for one that has no columns: it is damaged, has ids or numbers of 64 bits."""
    try:
        body = decode_body(encoded)
    except RecordCorrupt:
        return None
    for value in body.values:
        if not isinstance(value, bytes) and (
            value.style is Style.TOKENS or max(value.segments, default=0) >> 63
        ):
            return None
    return None if max(body.templates, default=0) >> 63 else body
