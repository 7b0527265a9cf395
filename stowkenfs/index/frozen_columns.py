"""Columns of signed 64-bit numbers as bytes that zstd shrinks well (FORMAT.md, "Frozen tree").

A column is numbers of one meaning, a row each. What is stored of them is how they differ:
from a base, from the row before, or from another column; and that as planes of bytes (all
low bytes, then all second ones, ...), because neighbours in a plane resemble each other.
Arithmetic is modulo 2**64, so that any numbers come back. Pure bytes and arrays.
"""

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from stowkenfs.errors import Corrupt
from stowkenfs.minimal_zstd import compress
from stowkenfs.varint import append_varint, read_varint, unzigzag, zigzag

Numbers = NDArray[np.int64]

VALUES_MAX = 256
"""Distinct values of a table; an index into it is one byte."""
TRIAL_LEVEL = 3
"""zstd level at which the ways to write a column are compared."""

_TABLE = 9


class Against(IntEnum):
    """What a number is the difference to. On disk: values never change."""

    NOTHING = 0
    ROW_BEFORE = 1
    OTHER_COLUMN = 2


class Cursor:
    """A position in a payload. Whatever asks for more bytes than there are raises Corrupt."""

    def __init__(self, payload: bytes) -> None:
        self._payload = payload
        self.at = 0

    def number(self) -> int:
        value, self.at = read_varint(self._payload, self.at)
        return value

    def take(self, length: int) -> bytes:
        end = self.at + length
        if end > len(self._payload):
            raise Corrupt(f"frozen group: {length} bytes at {self.at} are cut off")
        taken = self._payload[self.at : end]
        self.at = end
        return taken

    def rest(self) -> bytes:
        return self.take(len(self._payload) - self.at)


def encode_column(values: Numbers, other: Numbers | None = None) -> bytes:
    """The smallest form of a column of one row or more; ``other`` has as many rows."""
    ways = [_way(Against.NOTHING, values, None)]
    if len(values) > 1:
        ways.append(_way(Against.ROW_BEFORE, np.diff(values), int(values[0])))
    if other is not None:
        ways.append(_way(Against.OTHER_COLUMN, values - other, None))
    return min((way for some in ways for way in some), key=_cost)


def _cost(way: bytes) -> int:
    return len(way) if len(way) < 24 else len(compress(way, TRIAL_LEVEL))


def _way(against: Against, differences: Numbers, first: int | None) -> list[bytes]:
    """The differences as planes and, where there are few values, as a table."""
    base = int(differences.min())
    above = (differences - np.int64(base)).view(np.uint64)
    head = bytearray()
    if first is not None:
        append_varint(head, zigzag(first))
    append_varint(head, zigzag(base))
    width, planes = _planes(above)
    ways = [bytes([against << 4 | width]) + head + planes]
    if width:
        distinct, places = np.unique(above, return_inverse=True)
        if len(distinct) <= min(VALUES_MAX, len(above) // 2):
            width, table = _planes(np.diff(distinct, prepend=np.uint64(0)))
            indices = places.astype(np.uint8).tobytes()
            sizes = bytes([len(distinct) - 1, width])
            ways.append(bytes([against << 4 | _TABLE]) + head + sizes + table + indices)
    return ways


def _planes(numbers: NDArray[np.uint64]) -> tuple[int, bytes]:
    """How many bytes the greatest needs, and that many planes."""
    width = (int(numbers.max()).bit_length() + 7) // 8
    columns = numbers.astype("<u8").view(np.uint8).reshape(-1, 8)
    return width, columns[:, :width].T.tobytes()


def decode_column(cursor: Cursor, rows: int, other: Numbers | None = None) -> Numbers:
    """Inverse of ``encode_column``, shape (rows,). Raises Corrupt.

    The caller bounds ``rows``: a column of equal numbers takes no more bytes for more rows.
    """
    form = cursor.take(1)[0]
    against, layout = form >> 4, form & 15
    stored_rows, first = rows, 0
    if against == Against.ROW_BEFORE:
        stored_rows, first = rows - 1, _signed(cursor)
    base = _signed(cursor)
    if layout <= 8:
        above = _read_planes(cursor, layout, stored_rows)
    elif layout == _TABLE:
        size, width = cursor.take(2)
        if width > 8:
            raise Corrupt(f"frozen group: a table of {width} bytes a value")
        distinct = np.cumsum(_read_planes(cursor, width, size + 1))
        places = np.frombuffer(cursor.take(stored_rows), np.uint8)
        if stored_rows and int(places.max()) > size:
            raise Corrupt("frozen group: an index beyond its table")
        above = distinct[places]
    else:
        raise Corrupt(f"frozen group: a column of form {form:#04x}")
    differences = above + np.int64(base)
    if against == Against.NOTHING:
        return differences
    if against == Against.ROW_BEFORE:
        sums = np.empty(rows, np.int64)
        sums[0], sums[1:] = first, differences
        return np.cumsum(sums, out=sums)
    if against == Against.OTHER_COLUMN and other is not None:
        return differences + other
    raise Corrupt(f"frozen group: a column of form {form:#04x}")


def _signed(cursor: Cursor) -> int:
    return unzigzag(cursor.number())


def _read_planes(cursor: Cursor, width: int, rows: int) -> Numbers:
    if width == 0:
        return np.zeros(rows, np.int64)
    planes = np.frombuffer(cursor.take(width * rows), np.uint8)
    if width == 1:
        return planes.astype(np.int64)
    planes = planes.reshape(width, rows)
    columns = np.zeros((rows, 8), np.uint8)
    columns[:, :width] = planes.T
    return columns.view("<i8").reshape(rows).astype(np.int64, copy=False)
