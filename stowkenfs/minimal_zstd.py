"""zstd frames (RFC 8878) reduced to what the container does not know (FORMAT.md, "zstd").

Without magic number, content size, checksum and dictionary id; so the first byte, the
frame header descriptor, is 0x00. Whoever stores a frame knows how long its content is.
"""

import threading

import zstandard

from stowkenfs.errors import Corrupt

_MAGIC_BYTES = len(zstandard.FRAME_HEADER)
_FRAME_HEADER_DESCRIPTOR = b"\0"


class _Contexts(threading.local):
    """zstd contexts, which only one thread may use at a time, kept for the next frame.

    A compressor at level 15 grows to 70 MB for contents of 2^24 bytes; zstd shrinks it
    again when a hundred small ones follow.
    """

    def __init__(self) -> None:
        self._compressors: dict[int, zstandard.ZstdCompressor] = {}  # {level: context}
        self._decompressors: dict[int, zstandard.ZstdDecompressor] = {}  # {window: context}

    def compressor(self, level: int) -> zstandard.ZstdCompressor:
        # Not FORMAT_ZSTD1_MAGICLESS: zstandard takes that only together with fixed
        # parameters, which are worse than those zstd picks by level and size.
        found = self._compressors.get(level)
        if found is None:
            found = self._compressors[level] = zstandard.ZstdCompressor(
                level=level, write_content_size=False, write_checksum=False, write_dict_id=False
            )
        return found

    def decompressor(self, window_bytes_max: int) -> zstandard.ZstdDecompressor:
        found = self._decompressors.get(window_bytes_max)
        if found is None:
            found = self._decompressors[window_bytes_max] = zstandard.ZstdDecompressor(
                max_window_size=window_bytes_max, format=zstandard.FORMAT_ZSTD1_MAGICLESS
            )
        return found


_contexts = _Contexts()


def compress(content: bytes, level: int) -> memoryview:
    """The reduced frame of ``content``; deterministic for one zstd release."""
    return memoryview(_contexts.compressor(level).compress(content))[_MAGIC_BYTES:]


def decompress(frame: bytes | memoryview, length_bytes: int, *, window_bytes_max: int) -> bytes:
    """The content of a reduced frame, which must be ``length_bytes`` long.

    Allocates no more than that, whatever the frame claims. Raises Corrupt.
    """
    # Checked by hand, because a content size would decide what zstandard allocates.
    if frame[:1] != _FRAME_HEADER_DESCRIPTOR:
        raise Corrupt("the zstd frame does not begin with 0x00")
    try:
        content = _contexts.decompressor(window_bytes_max).decompress(
            frame, max_output_size=max(length_bytes, 1), allow_extra_data=False
        )
    except zstandard.ZstdError as error:
        raise Corrupt(str(error)) from None
    if len(content) != length_bytes:
        raise Corrupt(f"holds {len(content)} bytes, not {length_bytes}")
    return content
