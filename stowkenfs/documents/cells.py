"""Files that are grids to records: their cells by themselves, apart from how they are written.

So a grid has the same segments in all formats, and versions of it differ by the cells that do.
"""

import re
import zlib
from collections.abc import Callable
from typing import Final

from stowkenfs.documents.decimals import CELL, layout_of
from stowkenfs.documents.deflate import DATA_BYTES_MAX, take_apart
from stowkenfs.documents.payloads import PAYLOAD_BYTES_MIN, verbatim
from stowkenfs.documents.record import TEMPLATE_BYTES_MAX, renders_to
from stowkenfs.documents.values import SLOT, Likeness, Part, Payload, Record, Style, Value
from stowkenfs.errors import GridFormatError
from stowkenfs.grids.binary import GZIP_MAGIC, HEADER, compressed_head, length_of
from stowkenfs.grids.formats import HEAD_BYTES, GridFormat, decode, guess
from stowkenfs.grids.grid import Grid
from stowkenfs.grids.json_text import LOOKS_LIKE
from stowkenfs.grids.npy import MAGIC
from stowkenfs.grids.snapshot import MAGIC as SNAPSHOT_MAGIC
from stowkenfs.grids.snapshot import grid_within
from stowkenfs.ids import SegmentType

GRID_BYTES_MAX: Final = 4 << 20
"""A longer file, and one with more cells, is not looked at: it has to be held as a whole."""
CELLS_BYTES_MIN: Final = 64
"""Fewer cells are not worth a segment."""
CELLS_AT_ONCE: Final = 64 << 10
"""Bytes of cells in a segment."""

_CELLS_BEGIN: Final = re.compile(rb'"data"[ \t\r\n]*+:[ \t\r\n]*+\[[ \t\r\n]*+-?[0-9]')
"""In JSON, by which it differs from much that has a field of that name."""
_FOOT_BYTES: Final = 8  # of gzip: checksum and length
_GZIP_FLAGS: Final = 3  # where they are
_RAW_BITS: Final = -15


_Made = tuple[bytes, tuple[Value, ...]] | None
"""A template and the values of its slots."""


def may_be_grid(head: bytes, length_bytes: int) -> bool:
    """Whether a file that begins so and has that length is worth reading as a whole; quick.

    ``head``: HEAD_BYTES or more of it, or all.
    """
    if not CELLS_BYTES_MIN <= length_bytes <= GRID_BYTES_MAX:
        return False
    if head.startswith(SNAPSHOT_MAGIC):
        return grid_within(head, length_bytes) is not None
    width, height = int.from_bytes(head[:4], "little"), int.from_bytes(head[4:8], "little")
    has_length = HEADER.size + CELL.itemsize * width * height == length_bytes
    if has_length or head.startswith((MAGIC, GZIP_MAGIC)):
        return guess(head[:HEAD_BYTES], length_bytes) is not None
    return bool(LOOKS_LIKE.match(head) and _CELLS_BEGIN.search(head, 0, HEAD_BYTES))


def grid_record(content: bytes) -> Record | None:
    """The record of a file that is a grid, or a snapshot of one; None where nothing is gained."""
    if not CELLS_BYTES_MIN <= len(content) <= GRID_BYTES_MAX:
        return None
    within = grid_within(content, len(content))
    if within is None:
        made = _of_grid(content)
    else:
        start, end, _ = within
        made = _framed(content[:start], _of_grid(content[start:end]), content[end:])
    if made is None:
        return None
    template, values = made
    record = Record(len(content), (template,), values)
    return record if renders_to(record, content) else None


def _of_grid(content: bytes) -> _Made:
    found = guess(content[:HEAD_BYTES], len(content))
    if found is None or (found is GridFormat.COMPRESSED and not _is_short(content)):
        return None
    try:
        grid = decode(content, found)
    except GridFormatError:
        return None
    cells = grid.cells.astype(CELL, copy=False).tobytes()
    if not CELLS_BYTES_MIN <= len(cells) <= GRID_BYTES_MAX:
        return None
    return _RECORDS[found](content, grid, cells)


def _framed(head: bytes, made: _Made, foot: bytes) -> _Made:
    """A snapshot: its header with what is said of the grid, the grid, and the checksum."""
    if made is None:
        return None
    template, values = made
    first = head if len(head) < PAYLOAD_BYTES_MIN else verbatim(head)
    return _SLOT + template + _SLOT, (first, *values, foot)


def _is_short(content: bytes) -> bool:
    return length_of(compressed_head(content[:HEAD_BYTES])) <= DATA_BYTES_MAX


def _plain(content: bytes, _grid: Grid, cells: bytes) -> _Made:
    """Binary and ``.npy``: the cells are the end of the file, or it has them in another order."""
    head = content[: len(content) - len(cells)]
    if content[len(head) :] != cells:
        return None
    first = head if len(head) < PAYLOAD_BYTES_MIN else verbatim(head)
    return _SLOT * 2, (first, Payload(Style.VERBATIM, _parts(cells)))


def _json(content: bytes, grid: Grid, cells: bytes) -> _Made:
    """JSON: the numbers are the only thing in brackets."""
    before, _, rest = content.partition(b"[")
    text, _, after = rest.rpartition(b"]")
    numbers = text.strip()
    start = text.index(numbers)
    before += b"[" + text[:start]
    after = text[start + len(numbers) :] + b"]" + after
    layout = layout_of(numbers, grid.width, cells)
    if layout is None or len(before) + len(after) > TEMPLATE_BYTES_MAX:
        return None
    how = Part(layout, SegmentType.OTHER, binary=True)
    return before + _SLOT + after, (Payload(Style.CELLS, (how, *_parts(cells))),)


def _compressed(content: bytes, _grid: Grid, cells: bytes) -> _Made:
    """Gzip of the binary format: the header, what is compressed, and the checksum."""
    start = _deflate_start(content)
    member = zlib.decompressobj(_RAW_BITS)
    data = member.decompress(content[start:], HEADER.size + len(cells) + 1)
    end = len(content) - len(member.unused_data)
    if data[HEADER.size :] != cells or len(content) - end != _FOOT_BYTES:
        return None
    recipe = take_apart(content[start:end], data, HEADER.size)
    if recipe is None:
        return None
    how = Part(recipe, SegmentType.OTHER, binary=True, likeness=Likeness.BYTES)
    head = content[:start]
    first = head if len(head) < PAYLOAD_BYTES_MIN else verbatim(head)
    return _SLOT * 3, (first, Payload(Style.DEFLATE, (how, *_parts(cells))), content[end:])


def _deflate_start(content: bytes) -> int:
    """Where the header of a gzip member ends, which was read before (RFC 1952, 2.3)."""
    flags, at = content[_GZIP_FLAGS], 10
    if flags & 4:
        at += 2 + int.from_bytes(content[at : at + 2], "little")
    for flag in (8, 16):
        if flags & flag:
            at = content.index(b"\0", at) + 1
    return at + 2 * bool(flags & 2)


def _parts(cells: bytes) -> tuple[Part, ...]:
    return tuple(
        Part(
            cells[at : at + CELLS_AT_ONCE], SegmentType.CELLS, binary=True, likeness=Likeness.CELLS
        )
        for at in range(0, len(cells), CELLS_AT_ONCE)
    )


_SLOT: Final = bytes((SLOT,))
_RECORDS: Final[dict[GridFormat, Callable[[bytes, Grid, bytes], _Made]]] = {
    GridFormat.BINARY: _plain,
    GridFormat.NPY: _plain,
    GridFormat.JSON: _json,
    GridFormat.COMPRESSED: _compressed,
}
