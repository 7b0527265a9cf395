"""The pieces of an encoded record. ``Style`` is on disk: its values never change."""

from dataclasses import dataclass
from enum import Enum, IntEnum

from stowkenfs.ids import SegmentType

SLOT = 0
"""The byte of a template that stands for the next value."""


class Style(IntEnum):
    """How the text of a payload is written in its document."""

    VERBATIM = 0
    """The bytes as they are."""
    MINIMAL = 1
    """``json.dumps(..., ensure_ascii=False)``."""
    ASCII = 2
    """``json.dumps(..., ensure_ascii=True)``: lower-case hexadecimal."""
    ASCII_UPPER = 3
    """As ASCII, with upper-case hexadecimal."""
    HTML_SAFE = 4
    """Go's encoding/json: MINIMAL, and ``< > &`` U+2028 U+2029 escaped."""
    MINIMAL_SLASH = 5
    """MINIMAL, and ``/`` written as backslash slash."""
    ASCII_SLASH = 6
    """ASCII, and ``/`` written as backslash slash (PHP)."""
    BASE64 = 7
    """The parts are decoded bytes, written as padded standard base64 (RFC 4648 section 4)."""
    CELLS = 8
    """The first part is a layout (``decimals``); the others are float64, written as decimals."""
    DEFLATE = 9
    """The first part is a recipe (``deflate``); the others are data, compressed as it says."""
    TOKENS = 15
    """An array of token ids."""


class Likeness(Enum):
    """How a part may be like what is stored, which decides what it is compared with."""

    TEXT = "text"
    """As near duplicates are, if those are looked for."""
    CELLS = "cells"
    """The same numbers of eight bytes in the same places; always looked for."""
    BYTES = "bytes"
    """Runs of the same bytes anywhere; always looked for."""


@dataclass(frozen=True, slots=True)
class Part:
    """What the vault stores as one segment: UTF-8 text, or any bytes when ``binary``."""

    content: bytes
    type: SegmentType
    binary: bool
    likeness: Likeness = Likeness.TEXT


@dataclass(frozen=True, slots=True)
class Payload:
    """A value kept as segments: its parts joined, written in ``style``."""

    style: Style
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class TokenList:
    """The inside of an array of token ids: each 0..2**32-1, decimal, ``separator`` between."""

    ids: tuple[int, ...]
    separator: bytes
    type: SegmentType


Value = bytes | Payload | TokenList
"""What fills a slot; ``bytes`` is an inline literal, written as it is."""


@dataclass(frozen=True, slots=True)
class Record:
    """A contiguous byte range of a document as templates and the values of their slots."""

    length_bytes: int
    templates: tuple[bytes, ...]
    values: tuple[Value, ...]
