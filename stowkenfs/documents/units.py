"""Documents in pieces that are encoded one by one."""

import re
from enum import Enum
from typing import Final, NamedTuple

HEAD_BYTES_MAX: Final = 64 << 10
"""How much of a document its shape is judged by."""

_VALUE_STARTS: Final = (b'{"', b"{}", b"{ ", b"[", b'"', b"data:", b"event:")
_BEFORE_VALUE: Final = re.compile(rb"(?:\xef\xbb\xbf)?[ \t\r\n]*+")
_LINES_JUDGED: Final = 16


class Shape(Enum):
    """What a document is, as far as its first bytes tell."""

    JSON = "json"
    LINES = "lines"
    OTHER = "other"


class UnitKind(Enum):
    """How the content of a unit is encoded."""

    JSON = "json"
    LINE = "line"
    RAW = "raw"
    GRID = "grid"
    """A whole document that may be a grid."""


class Unit(NamedTuple):
    """A contiguous byte range of a document, encoded on its own; ``start`` is its offset.

    A tuple, because many travel to worker processes, in the event loop's time.
    """

    start: int
    content: bytes
    kind: UnitKind


def shape_of(head: bytes) -> Shape:
    """The shape of a document that starts with ``head``, of which HEAD_BYTES_MAX are looked at.

    LINES when the first line is one whole value and all that follow start like values, or
    for server-sent events. One line with its line end is LINES: it may be a log's first.
    """
    head = head[:HEAD_BYTES_MAX]
    blank = _BEFORE_VALUE.match(head)
    head = head[blank.end() if blank else 0 :]
    if head.startswith((b"data:", b"event:")):
        return Shape.LINES
    if not head.startswith((b"{", b"[")):
        return Shape.OTHER
    first, *others = head.split(b"\n", _LINES_JUDGED)[:_LINES_JUDGED]
    # The rows of an array written one a line end in a comma; indented JSON opens a bracket.
    if others and first.rstrip().endswith((b"}", b"]")):
        following = (line for line in others if line.strip())
        if all(line.startswith(_VALUE_STARTS) for line in following):
            return Shape.LINES
    return Shape.JSON
