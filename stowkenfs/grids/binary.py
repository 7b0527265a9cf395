"""The binary format, and its gzip: width and height (uint32), then rows of float64.

Little-endian everywhere, 8 + 8 * width * height bytes (FORMAT.md, "Grids").
"""

import struct
import zlib

import numpy as np

from stowkenfs.errors import GridFormatError, InvalidGrid
from stowkenfs.grids.grid import Grid, check_dimensions, first_not_finite

HEADER = struct.Struct("<II")
CELL_BYTES = 8
LITTLE_ENDIAN = np.dtype("<f8")

BINARY = "binary"
COMPRESSED = "compressed"

GZIP_MAGIC = b"\x1f\x8b\x08"
_GZIP_WINDOW_BITS = 31  # zlib's way to say: gzip, any window
_LEVEL = 6


def encode_binary(grid: Grid) -> bytes:
    """8 + 8 * width * height bytes."""
    header = HEADER.pack(grid.width, grid.height)
    return header + grid.cells.astype(LITTLE_ENDIAN, copy=False).tobytes()


def decode_binary(content: bytes, name: str = BINARY) -> Grid:
    """Inverse of ``encode_binary``; raises GridFormatError."""
    total = length_of(content, name)
    if len(content) < total:
        raise GridFormatError(name, len(content), f"{total} bytes in all", "the end")
    if len(content) > total:
        raise GridFormatError(name, total, "the end", f"{len(content) - total} more bytes")
    width, height = HEADER.unpack_from(content)
    cells = np.frombuffer(content, LITTLE_ENDIAN, offset=HEADER.size)
    at = first_not_finite(cells)
    if at is not None:
        raise GridFormatError(
            name, HEADER.size + CELL_BYTES * at, "a finite float64", str(cells[at])
        )
    return Grid.of(cells.reshape(height, width))


def length_of(head: bytes, name: str = BINARY) -> int:
    """Bytes of the whole, by its first 8. Raises GridFormatError if these say nothing possible."""
    if len(head) < HEADER.size:
        raise GridFormatError(name, len(head), "a header of 8 bytes", "the end")
    width, height = map(int, HEADER.unpack_from(head))
    if not width or not height:
        at, what = (0, "width") if not width else (4, "height")
        raise GridFormatError(name, at, f"a {what} of 1 or more", "0")
    try:
        check_dimensions(width, height)
    except InvalidGrid as error:
        raise GridFormatError(name, 0, "a size within the limit", str(error)) from error
    return HEADER.size + CELL_BYTES * width * height


def encode_compressed(grid: Grid) -> bytes:
    """One gzip member (RFC 1952) without name and time, of the binary format."""
    compressor = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP_WINDOW_BITS)
    return compressor.compress(encode_binary(grid)) + compressor.flush()


def decode_compressed(content: bytes) -> Grid:
    """Inverse of ``encode_compressed``; takes any gzip of one member.

    Never holds more than the header announces. Raises GridFormatError.
    """
    if not content.startswith(GZIP_MAGIC):
        raise GridFormatError(COMPRESSED, 0, "a gzip header (1f 8b 08)", content[:3].hex(" "))
    member = zlib.decompressobj(_GZIP_WINDOW_BITS)
    try:
        head = member.decompress(content, HEADER.size)
        total = length_of(head, COMPRESSED)
        # A byte more than announced, so that the end is seen, or what is too much.
        inside = head + member.decompress(member.unconsumed_tail, total - len(head) + 1)
    except zlib.error as error:
        raise GridFormatError(COMPRESSED, 0, "intact gzip", str(error)) from error
    if len(inside) == total and not member.eof:
        raise GridFormatError(
            COMPRESSED, len(content), "the end of the gzip member with its checksum", "the end"
        )
    if member.unused_data:
        at = len(content) - len(member.unused_data)
        raise GridFormatError(
            COMPRESSED, at, "the end", f"{len(member.unused_data)} bytes after the gzip member"
        )
    return decode_binary(inside, COMPRESSED)


def compressed_head(head: bytes) -> bytes:
    """The first 8 bytes inside, or what there is of them, of a gzip's first bytes."""
    try:
        return zlib.decompressobj(_GZIP_WINDOW_BITS).decompress(head, HEADER.size)
    except zlib.error:
        return b""
