"""The formats of grids, by name, by suffix and by content."""

from collections.abc import Callable
from enum import Enum
from typing import NamedTuple

from stowkenfs.errors import GridFormatError
from stowkenfs.grids import json_text, npy
from stowkenfs.grids.binary import (
    GZIP_MAGIC,
    compressed_head,
    decode_binary,
    decode_compressed,
    encode_binary,
    encode_compressed,
    length_of,
)
from stowkenfs.grids.grid import Grid

HEAD_BYTES = 256
"""As much of a file as ``guess`` looks at."""


class GridFormat(Enum):
    """How a grid is a file. The value is the suffix of its name."""

    BINARY = ".bin"
    JSON = ".json"
    COMPRESSED = ".bin.gz"
    NPY = ".npy"

    @property
    def suffix(self) -> str:
        """What names of such files end with."""
        return self.value

    @classmethod
    def of_name(cls, name: str) -> "GridFormat | None":
        """The format that the name of a file promises."""
        by_length = sorted(cls, key=lambda one: -len(one.suffix))
        return next((one for one in by_length if name.endswith(one.suffix)), None)


class _Codec(NamedTuple):
    encode: Callable[[Grid], bytes]
    decode: Callable[[bytes], Grid]


_CODECS = {
    GridFormat.BINARY: _Codec(encode_binary, decode_binary),
    GridFormat.JSON: _Codec(json_text.encode_json, json_text.decode_json),
    GridFormat.COMPRESSED: _Codec(encode_compressed, decode_compressed),
    GridFormat.NPY: _Codec(npy.encode_npy, npy.decode_npy),
}


def encode(grid: Grid, grid_format: GridFormat) -> bytes:
    """The grid as a file; every format gives every cell back, bit by bit."""
    return _CODECS[grid_format].encode(grid)


def decode(content: bytes, grid_format: GridFormat) -> Grid:
    """The grid in a file. Raises GridFormatError, which says where it is none and why."""
    return _CODECS[grid_format].decode(content)


def detect(content: bytes) -> GridFormat | None:
    """The format in which ``content`` is a valid grid; at most one is."""
    guessed = guess(content[:HEAD_BYTES], len(content))
    if guessed is None:
        return None
    try:
        decode(content, guessed)
    except GridFormatError:
        return None
    return guessed


def guess(head: bytes, length_bytes: int) -> GridFormat | None:
    """The only format in which a file with these first bytes and this length may be a grid.

    ``head``: HEAD_BYTES, or the whole of a shorter file. Quick, to be asked of any file.
    """
    if head.startswith(npy.MAGIC):
        return GridFormat.NPY
    if head.startswith(GZIP_MAGIC):
        return GridFormat.COMPRESSED if _has_length(compressed_head(head)) else None
    if json_text.LOOKS_LIKE.match(head):
        return GridFormat.JSON
    return GridFormat.BINARY if _has_length(head, length_bytes) else None


def _has_length(head: bytes, length_bytes: int | None = None) -> bool:
    try:
        return length_of(head) == length_bytes or length_bytes is None
    except GridFormatError:
        return False
