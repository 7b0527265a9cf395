"""What damaged records may refer to: whatever there was when they were written.

Numbers of all kinds are given out in the order of time. What is stored first lies in packs
that nothing else is written to, and that nothing in them ever moves in: what lies there behind
a record of a later number than the damaged ones was written after them, and so was everything
of higher numbers. None of that can they refer to.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stowkenfs.index.connection import Connection
from stowkenfs.store.block import BlockKind
from stowkenfs.vault.packs import Tier

Row = tuple[int, int, int, int]
"""Kind, first number, pack, offset."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """One past what damaged things may refer to."""

    segments: int
    templates: int


def bounds_of(connection: Connection, kind: BlockKind, last: int) -> Bounds:
    """For damaged things of ``kind`` whose highest number is ``last``. Event loop's thread."""
    no_limit = int(np.iinfo(np.int64).max)
    later = connection.one(
        "SELECT pack, offset FROM block JOIN pack USING (pack)"
        " WHERE kind = ? AND first > ? AND tier = ? ORDER BY first LIMIT 1",
        (kind, last, Tier.HOT),
    )
    if later is None:
        return Bounds(no_limit, no_limit)
    return Bounds(*(_first_behind(connection, of, later, no_limit) for of in _REFERRED))


_REFERRED = (BlockKind.SEGMENTS, BlockKind.TEMPLATES)


def _first_behind(
    connection: Connection, kind: BlockKind, place: Sequence[int], no_limit: int
) -> int:
    row = connection.one(
        "SELECT min(first) FROM block JOIN pack USING (pack)"
        " WHERE kind = ? AND tier = ? AND (pack, offset) > (?, ?)",
        (kind, Tier.HOT, *place),
    )
    return no_limit if row is None or row[0] is None else int(row[0])
