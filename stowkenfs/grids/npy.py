"""The `.npy` format of numpy, read and written without its pickles.

Written is version 1.0, ``<f8``, C order, shape (height, width). Read is what float64 can
hold exactly: real numbers, whole numbers up to 2^53, either byte order, either order of
cells, versions 1.0 to 3.0. https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
"""

import io
import re
import struct

import numpy as np

from stowkenfs.errors import GridFormatError, InvalidGrid
from stowkenfs.grids.binary import LITTLE_ENDIAN
from stowkenfs.grids.grid import Grid, check_dimensions, first_not_finite

NAME = ".npy"
MAGIC = b"\x93NUMPY"

_VERSIONS = {(1, 0): struct.Struct("<H"), (2, 0): struct.Struct("<I"), (3, 0): struct.Struct("<I")}
_HEADER_BYTES_MAX = 10_000  # numpy's own limit
_EXACT_INTEGER_MAX = 1 << 53

_ITEM = (
    r"\s*['\"](descr|fortran_order|shape)['\"]\s*:\s*"
    r"(?:['\"]([<>|=][fiub][1248])['\"]|(True|False)|\(\s*(\d{1,10})L?\s*,\s*(\d{1,10})L?\s*,?\s*\))\s*"
)
_ITEMS = re.compile(_ITEM)
_HEADER = re.compile(rf"\s*\{{(?:{_ITEM},){{2}}{_ITEM},?\s*\}}\s*", re.ASCII)


def encode_npy(grid: Grid) -> bytes:
    """A header of 128 bytes (numpy pads it to a multiple of 64), and the cells."""
    out = io.BytesIO()
    cells = grid.cells.astype(LITTLE_ENDIAN, copy=False)
    np.lib.format.write_array(out, cells, version=(1, 0), allow_pickle=False)
    return out.getvalue()


def decode_npy(content: bytes) -> Grid:
    """Inverse of ``encode_npy``; raises GridFormatError."""
    start, kind, column_first, (height, width) = _read_header(content)
    try:
        check_dimensions(width, height)
    except InvalidGrid as error:
        raise GridFormatError(NAME, len(MAGIC), "a size within the limit", str(error)) from error
    total = start + kind.itemsize * width * height
    if len(content) < total:
        raise GridFormatError(NAME, len(content), f"{total} bytes in all", "the end")
    if len(content) > total:
        raise GridFormatError(NAME, total, "the end", f"{len(content) - total} more bytes")
    stored = np.frombuffer(content, kind, offset=start)
    _check_cells(stored, start)
    shape, order = ((width, height), "T") if column_first else ((height, width), "C")
    cells = stored.reshape(shape)
    return Grid.of(cells.T if order == "T" else cells)


def _check_cells(stored: np.ndarray[tuple[int], np.dtype[np.generic]], start: int) -> None:
    kind = stored.dtype
    if kind.kind == "f":
        at = first_not_finite(stored)  # type: ignore[arg-type]
    elif kind.itemsize == 8:
        limit = _EXACT_INTEGER_MAX
        fits = (stored <= limit) & (stored >= (-limit if kind.kind == "i" else 0))  # type: ignore[operator]
        at = None if fits.all() else int(np.argmin(fits))
    else:
        at = None
    if at is not None:
        raise GridFormatError(
            NAME, start + kind.itemsize * at, "a finite number that float64 holds", str(stored[at])
        )


def _read_header(content: bytes) -> tuple[int, np.dtype[np.generic], bool, tuple[int, int]]:
    """Where the cells begin, their type, whether columns come first, and (height, width)."""
    if not content.startswith(MAGIC):
        raise GridFormatError(NAME, 0, "\\x93NUMPY", repr(content[:6])[1:])
    at = len(MAGIC)
    length = _VERSIONS.get((content[at], content[at + 1])) if len(content) >= at + 2 else None
    if length is None:
        found = content[at : at + 2].hex(" ") or "the end"
        raise GridFormatError(NAME, at, "version 1.0, 2.0 or 3.0", found)
    at += 2
    if len(content) < at + length.size:
        raise GridFormatError(NAME, len(content), "the length of a header", "the end")
    (header_bytes,) = length.unpack_from(content, at)
    if header_bytes > _HEADER_BYTES_MAX:
        raise GridFormatError(
            NAME, at, f"a header of at most {_HEADER_BYTES_MAX} bytes", str(header_bytes)
        )
    at += length.size
    header = content[at : at + header_bytes]
    if len(header) < header_bytes:
        raise GridFormatError(NAME, len(content), f"a header of {header_bytes} bytes", "the end")
    return at + header_bytes, *_parse_header(header, at)


def _parse_header(header: bytes, at: int) -> tuple[np.dtype[np.generic], bool, tuple[int, int]]:
    text = header.decode("latin-1")
    descr = order = shape = None
    if _HEADER.fullmatch(text):
        for name, kind, truth, height, width in _ITEMS.findall(text):
            if name == "descr" and kind:
                descr = kind
            elif name == "fortran_order" and truth:
                order = truth == "True"
            elif name == "shape" and height:
                shape = int(height), int(width)
    if descr is None or order is None or shape is None or descr[1:] in _NO_NUMBERS:
        raise GridFormatError(
            NAME, at, "a header for real numbers in two dimensions", repr(text[:120])
        )
    return np.dtype(descr), order, shape


_NO_NUMBERS = ("f1", "b2", "b4", "b8")
