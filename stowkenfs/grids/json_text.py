"""The JSON format: ``{"width": 2, "height": 1, "data": [0.0, 1.5]}``, row after row.

Numbers are written as the shortest that reads back the same (Python's ``repr``), a row of
cells to a line. Strict where a lenient reader would guess: these three names, each once, in
any order; only numbers, no NaN and no Infinity; nothing after the object but white space.
"""

import json
import math
import re

import numpy as np

from stowkenfs.errors import GridFormatError, InvalidGrid
from stowkenfs.grids.grid import CELLS_MAX, Grid, check_dimensions

NAME = "JSON"
BYTES_MAX = 100 + 40 * CELLS_MAX
"""The longest shortest float64 has 24 characters; some room for white space beside."""

LOOKS_LIKE = re.compile(rb'[ \t\n\r]*\{[ \t\n\r]*"(?:width|height|data)"')

_SPACE = re.compile(rb"[ \t\n\r]*")
_STRING = re.compile(rb'"(?:[^"\\\x00-\x1f]|\\.)*"')
_DIMENSION = re.compile(rb"(?:0|[1-9][0-9]{0,9})(?![0-9.eE])")
_NUMBER = re.compile(rb"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_CELLS = re.compile(rb"\[([^\]]*)\]")
_NAME_BYTES_MAX = 64
_SHOWN_BYTES = 16
_FIELDS = ("width", "height", "data")


def encode_json(grid: Grid) -> bytes:
    """ASCII, with a final newline."""
    rows = ",\n".join(json.dumps(row)[1:-1] for row in grid.cells.tolist())
    return f'{{"width": {grid.width}, "height": {grid.height}, "data": [\n{rows}\n]}}\n'.encode()


def decode_json(content: bytes) -> Grid:
    """Inverse of ``encode_json``; raises GridFormatError."""
    if len(content) > BYTES_MAX:
        raise GridFormatError(NAME, BYTES_MAX, "the end", f"{len(content)} bytes in all")
    return _Reader(content).grid()


class _Reader:
    """One pass over the text; ``_at`` is the offset of what comes next."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._at = 0
        self._cells_at = 0

    def grid(self) -> Grid:
        width, height, cells = self._fields()
        try:
            check_dimensions(width, height)
        except InvalidGrid as error:
            raise GridFormatError(NAME, 0, "a size within the limit", str(error)) from error
        if len(cells) != width * height:
            raise GridFormatError(
                NAME, self._cells_at, f"{width * height} numbers", str(len(cells))
            )
        return Grid.of(cells.reshape(height, width))

    def _fields(self) -> tuple[int, int, np.ndarray[tuple[int], np.dtype[np.float64]]]:
        dimensions: dict[str, int] = {}
        cells = None
        self._take(b"{")
        for at_last in (False, False, True):
            name_at, name = self._at, self._name()
            if name not in _FIELDS or name in dimensions or (name == "data" and cells is not None):
                left = [
                    n for n in _FIELDS if n not in dimensions and (n != "data" or cells is None)
                ]
                raise self._expected(f"a field of {', '.join(left)}", at=name_at)
            self._take(b":")
            if name == "data":
                cells = self._cells()
            else:
                dimensions[name] = self._dimension()
            self._take(b"}" if at_last else b",")
        if self._at != len(self._content):
            raise self._expected("the end")
        assert cells is not None
        return dimensions["width"], dimensions["height"], cells

    def _take(self, token: bytes) -> None:
        self._skip_space()
        if not self._content.startswith(token, self._at):
            raise self._expected(token.decode())
        self._at += len(token)
        self._skip_space()

    def _skip_space(self) -> None:
        found = _SPACE.match(self._content, self._at)
        assert found is not None
        self._at = found.end()

    def _name(self) -> str:
        found = _STRING.match(self._content, self._at)
        if found is None or found.end() - found.start() > _NAME_BYTES_MAX:
            raise self._expected("a name in quotes")
        try:
            name = json.loads(found[0])
        except ValueError:
            raise self._expected("a name in quotes") from None
        self._at = found.end()
        return str(name)

    def _dimension(self) -> int:
        found = _DIMENSION.match(self._content, self._at)
        if found is None or int(found[0]) == 0:
            raise self._expected("a whole number of 1 or more")
        self._at = found.end()
        return int(found[0])

    def _cells(self) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        self._cells_at = self._at
        found = _CELLS.match(self._content, self._at)
        if found is None:
            raise self._expected("a list of numbers in brackets")
        try:
            # Integers as floats, too: -0 stays what it is, and long ones have no limit.
            values = json.loads(found[0].decode("ascii"), parse_int=float, parse_constant=_refuse)
        except (ValueError, RecursionError):
            raise self._bad_cell() from None
        if not values or set(map(type, values)) != {float} or not all(map(math.isfinite, values)):
            raise self._bad_cell()
        self._at = found.end()
        return np.array(values, np.float64)

    def _bad_cell(self) -> GridFormatError:
        """What is wrong with a list of cells, found number by number."""
        self._take(b"[")
        while True:
            found = _NUMBER.match(self._content, self._at)
            if found is None:
                return self._expected("a number")
            if not math.isfinite(float(found[0])):
                return self._expected("a number that float64 can hold")
            self._at = found.end()
            self._skip_space()
            if not self._content.startswith(b",", self._at):
                return self._expected(", or ]")
            self._take(b",")

    def _expected(self, what: str, *, at: int | None = None) -> GridFormatError:
        at = self._at if at is None else at
        found = self._content[at : at + _SHOWN_BYTES]
        return GridFormatError(NAME, at, what, repr(found)[1:] if found else "the end")


def _refuse(constant: str) -> float:
    raise ValueError(constant)
