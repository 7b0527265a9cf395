"""A grid as a picture: a PNG (RFC 2083) of its cells, dark for low and bright for high.

A palette, one zlib stream and three numbers beside it: so little of the format that a library
of image codecs would be the larger part of it.
"""

import struct
import zlib
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from stowkenfs.grids.grid import Grid

SIDE_PIXELS = 512
"""Small grids are shown about as large, so that single cells can be seen."""

CELL_PIXELS_MAX = 64

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PALETTE_COLOURS = 3  # colour type: each pixel is a number of a colour
_SHADES = 256

_VIRIDIS = bytes.fromhex(
    "440154 481a6c 472f7d 414487 39568c 31688e 2a788e 23888e"
    "1f988b 22a884 35b779 54c568 7ad151 a5db36 d2e21b fde725"
)
"""Equal steps of a value look equal, in grey and to those who see few colours too (viridis, by
Nathaniel J. Smith, Stefan van der Walt and Eric Firing, CC0); between these, straight lines."""


def heat_map(grid: Grid) -> bytes:
    """A PNG with row 0 at the top; the lowest and highest value are told in text chunks."""
    low, high = float(grid.cells.min()), float(grid.cells.max())
    shades = _shades(grid.cells, low, high)
    side = max(grid.width, grid.height)
    pixels = min(max(SIDE_PIXELS // side, 1), CELL_PIXELS_MAX)
    header = struct.pack(
        ">IIBBBBB", grid.width * pixels, grid.height * pixels, 8, _PALETTE_COLOURS, 0, 0, 0
    )
    return b"".join(
        (
            _SIGNATURE,
            _chunk(b"IHDR", header),
            _chunk(b"PLTE", _palette()),
            *(_chunk(b"tEXt", text.encode("latin-1")) for text in _texts(grid, low, high)),
            _chunk(b"IDAT", _compressed(shades, pixels)),
            _chunk(b"IEND", b""),
        )
    )


def _texts(grid: Grid, low: float, high: float) -> Iterator[str]:
    yield f"Title\0{grid.width} x {grid.height} cells"
    yield f"minimum\0{low!r}"
    yield f"maximum\0{high!r}"


def _shades(cells: npt.NDArray[np.float64], low: float, high: float) -> npt.NDArray[np.uint8]:
    """Each cell between the lowest and the highest, 0 to 255; all 0 where there is no between."""
    if low == high:
        return np.zeros(cells.shape, np.uint8)
    # Quarters, since the distance of two float64 may be more than one can hold; but of the
    # smallest ones a quarter would be none.
    scale = 0.25 if max(abs(low), abs(high)) > 1.0 else 1.0
    above = cells * scale - low * scale
    shares = above / (high * scale - low * scale)
    return np.rint(shares * (_SHADES - 1)).astype(np.uint8)


def _compressed(shades: npt.NDArray[np.uint8], pixels: int) -> bytes:
    """Rows of pixels, each behind the number of its filter, which is none."""
    compressor = zlib.compressobj()
    out = bytearray()
    for row in shades:
        line = b"\0" + np.repeat(row, pixels).tobytes()
        out += compressor.compress(line * pixels)
    return bytes(out + compressor.flush())


def _palette() -> bytes:
    anchors = np.frombuffer(_VIRIDIS, np.uint8).reshape(-1, 3)
    at = np.linspace(0, len(anchors) - 1, _SHADES)
    colours = [np.interp(at, range(len(anchors)), anchors[:, part]) for part in range(3)]
    return np.rint(np.stack(colours, axis=1)).astype(np.uint8).tobytes()


def _chunk(kind: bytes, content: bytes) -> bytes:
    checked = kind + content
    return struct.pack(">I", len(content)) + checked + struct.pack(">I", zlib.crc32(checked))
