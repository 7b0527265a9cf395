"""Which files are taken for grids, and what becomes of them."""

import gzip
import json
import struct

import numpy as np
import pytest

from stowkenfs.documents.cells import GRID_BYTES_MAX, grid_record, may_be_grid
from stowkenfs.documents.split import Shape, UnitKind, encode_unit, units_of
from stowkenfs.documents.values import Payload, Style
from stowkenfs.grids.formats import GridFormat, encode
from stowkenfs.grids.grid import Grid
from stowkenfs.ids import SegmentType

GRID = Grid.of(np.linspace(-1, 1, 60).reshape(6, 10))
CELLS = GRID.cells.astype("<f8").tobytes()
STYLES = {
    GridFormat.BINARY: Style.VERBATIM,
    GridFormat.NPY: Style.VERBATIM,
    GridFormat.JSON: Style.CELLS,
    GridFormat.COMPRESSED: Style.DEFLATE,
}


def cells_of(content: bytes) -> bytes | None:
    """Those that are segments of their own."""
    record = grid_record(content)
    if record is None:
        return None
    parts = [part for value in record.values if isinstance(value, Payload) for part in value.parts]
    return b"".join(part.content for part in parts if part.type is SegmentType.CELLS)


@pytest.mark.parametrize("grid_format", GridFormat)
def test_a_grid_has_its_cells_by_themselves(grid_format):
    content = encode(GRID, grid_format)
    assert may_be_grid(content, len(content))
    record = grid_record(content)
    assert record is not None
    assert cells_of(content) == CELLS
    assert STYLES[grid_format] in [v.style for v in record.values if isinstance(v, Payload)]
    (unit,) = units_of(content, Shape.OTHER)
    assert unit.kind is UnitKind.GRID
    assert encode_unit(unit) == [record]


@pytest.mark.parametrize("level", range(10))
def test_gzip_of_any_level_and_name(level):
    content = encode(GRID, GridFormat.BINARY)
    packed = gzip.compress(content, level, mtime=level)
    assert cells_of(packed) == CELLS
    named = packed[:3] + bytes((8,)) + packed[4:10] + b"state.bin\0" + packed[10:]
    assert cells_of(named) == CELLS


@pytest.mark.parametrize("separators", [(", ", ": "), (",", ":"), (",\n", " : ")])
def test_json_of_other_programs(separators):
    fields = {"width": 10, "height": 6, "data": GRID.cells.reshape(-1).tolist()}
    for order in (fields, dict(reversed(fields.items()))):
        content = json.dumps(order, separators=separators).encode()
        assert may_be_grid(content, len(content))
        assert cells_of(content) == CELLS
    indented = json.dumps(fields, indent=4).encode() + b"\n"
    assert cells_of(indented) == CELLS


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b'{"width": 2, "height": 40, "data": ["text", 1.5]}' + b" " * 90,
        b'{"data": [{"embedding": [0.5, 0.25]}]}' + b" " * 90,
        b'{"width": 400, "messages": [{"role": "user", "content": "1"}]}' + b" " * 40,
        struct.pack("<II", 4, 4) + bytes(8 * 15),
        struct.pack("<II", 0, 16) + bytes(8 * 16),
        b"\x93NUMPX" + bytes(200),
        gzip.compress(b"a text that is no grid " * 20),
        gzip.compress(struct.pack("<II", 1 << 31, 4) + bytes(300)),
        bytes(range(200)),
    ],
)
def test_other_files_are_not_looked_at(content):
    assert not may_be_grid(content, len(content))
    assert grid_record(content) is None


def test_what_is_too_long_or_too_short_is_not():
    side = 725  # 4.2 MB
    head = struct.pack("<II", side, side)
    assert 8 + 8 * side * side > GRID_BYTES_MAX
    assert not may_be_grid(head + bytes(300), 8 + 8 * side * side)
    assert not may_be_grid(struct.pack("<II", 3, 2) + bytes(48), 56)


def test_what_may_be_a_grid_and_is_none_takes_its_usual_way():
    numbers = b", ".join(b"%d.0" % at for at in range(40))
    content = b'{"width": 4, "height": 11, "data": [%s]}\n' % numbers
    (unit,) = units_of(content, Shape.JSON)
    assert unit.kind is UnitKind.GRID
    records = encode_unit(unit)
    assert sum(record.length_bytes for record in records) == len(content)
    assert all(not isinstance(value, Payload) for one in records for value in one.values)
