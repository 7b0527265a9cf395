"""Documents of any length to units, in bounded memory."""

import re
from typing import Final

from stowkenfs.documents.cells import grid_record, may_be_grid
from stowkenfs.documents.chunker import CHUNK_BYTES_MAX, chunk_ends
from stowkenfs.documents.encode import encode_unit as encode_one
from stowkenfs.documents.units import Shape, Unit, UnitKind, shape_of
from stowkenfs.documents.values import Record
from stowkenfs.documents.windows import string_end, window_cut

__all__ = [
    "Shape",
    "Splitter",
    "Unit",
    "UnitKind",
    "encode_unit",
    "may_be_grid",
    "shape_of",
    "units_of",
]

UNIT_BYTES_MAX: Final = 8 << 20
"""A longer line or JSON document is cut into several units."""
_CHUNKED_BYTES_MIN: Final = 1 << 20

# A line with the empty lines after it.
_LINE: Final = re.compile(rb"[^\n]*+(?:\n(?:\r?\n)*+)?+")


def units_of(content: bytes, shape: Shape) -> list[Unit]:
    """The units of a whole document, which is one unit if it may be a grid."""
    if may_be_grid(content, len(content)):
        return [Unit(0, content, UnitKind.GRID)]
    return Splitter(shape).feed(content, final=True)


def encode_unit(unit: Unit) -> list[Record]:
    """The records of ``unit``, as ``encode.encode_unit``, of which this is the front."""
    if unit.kind is not UnitKind.GRID:
        return encode_one(unit)
    record = grid_record(unit.content)
    if record is not None:
        return [record]
    units = Splitter(shape_of(unit.content)).feed(unit.content, final=True)
    return [record for one in units for record in encode_one(one)]


class Splitter:
    """The units of one document, fed in windows from its start.

    The units depend on the document only, not on where its windows end. Holds at most
    UNIT_BYTES_MAX and the last window between calls, and a copy of that in a call.
    """

    def __init__(self, shape: Shape, start: int = 0) -> None:
        self._shape = shape
        self._start = start  # offset in the document of the first byte of _rest
        self._rest = bytearray()  # fed, and not yet in a unit
        self._searched_bytes = 0  # of _rest: have no line end
        self._within = False  # _rest starts within a line or document that was cut
        self._in_string = False  # and in a string of it

    def feed(self, window: bytes, final: bool) -> list[Unit]:
        """The units that are complete with ``window``; with ``final``, all that is left."""
        self._rest += window
        if not final and self._must_wait():
            return []
        content = bytes(self._rest)
        units: list[Unit] = []
        if self._shape is Shape.OTHER:
            used = self._chunks(content, final, units)
        else:
            used = self._values(content, final, units)
        del self._rest[:used]
        self._start += used
        self._searched_bytes = 0 if b"\n" in self._rest else len(self._rest)
        return units

    def _must_wait(self) -> bool:
        if self._shape is Shape.OTHER:
            return len(self._rest) < _CHUNKED_BYTES_MIN
        if len(self._rest) > UNIT_BYTES_MAX:
            return False
        if self._shape is Shape.JSON or self._rest.find(b"\n", self._searched_bytes) < 0:
            self._searched_bytes = len(self._rest)
            return True
        return False

    def _chunks(self, content: bytes, final: bool, units: list[Unit]) -> int:
        start = 0
        for end in chunk_ends(content):
            # Without all the bytes that a chunk may have, more may move its end.
            if not final and start + CHUNK_BYTES_MAX >= len(content):
                break
            units.append(Unit(self._start + start, content[start:end], UnitKind.RAW))
            start = end
        return start

    def _values(self, content: bytes, final: bool, units: list[Unit]) -> int:
        """Lines, or one value, each in one unit unless it is longer than UNIT_BYTES_MAX."""
        at = 0
        while at < len(content):
            end = self._value_end(content, at)
            # Another empty line may follow what ends the window.
            whole = final or (
                self._shape is Shape.LINES and content[end : end + 2] not in (b"", b"\r")
            )
            if not whole and end - at <= UNIT_BYTES_MAX:
                break
            window = content[at : min(end, at + UNIT_BYTES_MAX)]
            length, kind = self._unit_end(window, end - at)
            units.append(Unit(self._start + at, window[:length], kind))
            at += length
        return at

    def _value_end(self, content: bytes, at: int) -> int:
        if self._shape is Shape.JSON:
            return len(content)
        line = _LINE.match(content, at)
        return line.end() if line else len(content)

    def _unit_end(self, window: bytes, value_bytes: int) -> tuple[int, UnitKind]:
        """Length and kind of the next unit: of ``window``, the start of a value's rest."""
        last = value_bytes == len(window)
        if self._in_string:
            end, closed = string_end(window)
            end = len(window) if last and not closed else end
            self._in_string = not closed and not last
            kind = UnitKind.RAW
        elif last:
            end = len(window)
            whole_line = self._shape is Shape.LINES and not self._within
            kind = UnitKind.LINE if whole_line else UnitKind.JSON
        else:
            end, self._in_string = window_cut(window)
            kind = UnitKind.JSON
        self._within = end < value_bytes
        return end, kind
