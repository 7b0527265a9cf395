"""Cells of a grid as decimal text, as JSON has them, and back.

    layout := u8 spelling, varint row, text separator, text row_separator

``separator`` stands between cells, ``row_separator`` in its place after each ``row`` of them; a
row of 0 is all of them. Numbers are the shortest that read back the same. How those are spelled
differs between programs: see ``Spelling``.
"""

import re
from collections.abc import Sequence
from enum import IntEnum
from typing import Final

import numpy as np

from stowkenfs.errors import Corrupt, RecordCorrupt
from stowkenfs.varint import append_varint, read_varint

CELL: Final = np.dtype("<f8")

CELLS_BYTES_MAX: Final = 1 << 24
SEPARATOR_BYTES_MAX: Final = 64
"""What a reader takes: a few bytes here are very many in the text."""

_POINT_ZERO: Final = ".0"
_SPACE: Final = re.compile(rb"[ \t\n\r]*")


class Spelling(IntEnum):
    """How the shortest digits of a number are written. On disk: values never change.

    With x the number and e the exponent of its first digit.
    """

    PYTHON = 0
    """``1.0``; an exponent of two digits or more and its sign where e < -4 or e > 15: ``1e-05``."""
    RUST = 1
    """serde_json: as PYTHON where -6 < e < 16, and else ``1e-6``, ``1e16``."""
    JAVASCRIPT = 2
    """``1`` without a point where it is whole; an exponent where e < -6 or e > 20: ``1e-7``."""


def write_cells(layout: bytes, cells: bytes) -> bytes:
    """``cells``, float64 little-endian, as text. Raises RecordCorrupt for what is no layout."""
    spelling, row, separator, row_separator = _read_layout(layout)
    if len(cells) % CELL.itemsize or len(cells) > CELLS_BYTES_MAX:
        raise RecordCorrupt(f"{len(cells)} bytes are no whole cells, or too many")
    texts = _spell(spelling, np.frombuffer(cells, CELL).tolist())
    if not row:
        return separator.join(texts).encode("latin-1")
    rows = (separator.join(texts[at : at + row]) for at in range(0, len(texts), row))
    return row_separator.join(rows).encode("latin-1")


def layout_of(text: bytes, width: int, cells: bytes) -> bytes | None:
    """The layout by which ``write_cells`` writes ``text``, of a grid so wide; None if none does."""
    pieces = text.split(b",", width + 1)
    separators = [b"," + _spaces(pieces[at]) for at in (1, width) if at < len(pieces)]
    if width * CELL.itemsize >= len(cells):  # one row
        row, separator, row_separator = 0, separators[0] if separators else b"", b""
    elif width == 1 or separators[0] == separators[1]:
        row, separator, row_separator = 0, separators[0], b""
    else:
        row, (separator, row_separator) = width, separators
    if max(len(separator), len(row_separator)) > SEPARATOR_BYTES_MAX:
        return None
    for spelling in Spelling:
        layout = bytearray((spelling,))
        append_varint(layout, row)
        for one in (separator, row_separator):
            append_varint(layout, len(one))
            layout += one
        if write_cells(bytes(layout), cells) == text:
            return bytes(layout)
    return None


def _spaces(piece: bytes) -> bytes:
    found = _SPACE.match(piece)
    return found[0] if found else b""


def _read_layout(layout: bytes) -> tuple[Spelling, int, str, str]:
    try:
        spelling = Spelling(layout[0])
        row, at = read_varint(layout, 1, bits_max=32)
        separator, at = _read_text(layout, at)
        row_separator, at = _read_text(layout, at)
    except (IndexError, ValueError, Corrupt) as error:
        raise RecordCorrupt(f"how cells are written: {error}") from None
    if at != len(layout):
        raise RecordCorrupt(f"how cells are written: {len(layout)} bytes, not {at}")
    return spelling, row, separator, row_separator


def _read_text(layout: bytes, at: int) -> tuple[str, int]:
    length, at = read_varint(layout, at, bits_max=32)
    if length > SEPARATOR_BYTES_MAX:
        raise Corrupt(f"{length} bytes between cells")
    return layout[at : at + length].decode("latin-1"), at + length


def _spell(spelling: Spelling, numbers: Sequence[float]) -> list[str]:
    texts = list(map(repr, numbers))
    if spelling is Spelling.PYTHON:
        return texts
    respell = _as_rust if spelling is Spelling.RUST else _as_javascript
    return [respell(text) if "e" in text or text.endswith(_POINT_ZERO) else text for text in texts]


def _as_rust(text: str) -> str:
    mantissa, e, exponent = text.partition("e")
    if not e:
        return text
    if int(exponent) == -5:
        return _positional(mantissa, -5)
    return f"{mantissa}e{int(exponent)}"


def _as_javascript(text: str) -> str:
    mantissa, e, exponent = text.partition("e")
    if not e:
        whole = text.removesuffix(_POINT_ZERO)
        return "0" if whole == "-0" else whole
    if -6 <= int(exponent) <= 20:
        return _positional(mantissa, int(exponent))
    return f"{mantissa}e{int(exponent):+d}"


def _positional(mantissa: str, exponent: int) -> str:
    """``mantissa``, one digit before its point, times ten to ``exponent``, without exponent."""
    sign = "-" if mantissa.startswith("-") else ""
    digits = mantissa.removeprefix("-").replace(".", "")
    if exponent < 0:
        return f"{sign}0.{'0' * (-exponent - 1)}{digits}"
    return sign + digits.ljust(exponent + 1, "0")
