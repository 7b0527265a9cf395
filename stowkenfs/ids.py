"""Numbers and small enumerations that several layers share; each has one meaning."""

from enum import IntEnum
from typing import NewType

InodeNo = NewType("InodeNo", int)
"""A file, directory or link; never used twice in a vault. 1 is the root."""

RecordNo = NewType("RecordNo", int)
SegmentNo = NewType("SegmentNo", int)
TemplateNo = NewType("TemplateNo", int)
PackNo = NewType("PackNo", int)

ROOT_INODE = InodeNo(1)


class SegmentType(IntEnum):
    """What a segment was in its conversation. On disk: values never change."""

    OTHER = 0
    SYSTEM_PROMPT = 1
    USER_TURN = 2
    ASSISTANT_TURN = 3
    TOOL_CALL = 4
    TOOL_RESULT = 5
    THINKING = 6
    CELLS = 7


class Vocabulary(IntEnum):
    """Which alphabet the ids of a segment come from. On disk: values never change.

    The text of a segment is the concatenation of its ids' byte strings, so an id
    below 256 in ``BYTES`` is that byte; ``FOREIGN`` ids have no text here.
    """

    BYTES = 0
    CL100K_BASE = 1
    O200K_BASE = 2
    FOREIGN = 255
