"""zstd frames (RFC 8878) reduced to what the container does not know (FORMAT.md, "zstd").

Without magic number, content size, checksum and dictionary id; so the first byte, the
frame header descriptor, is 0x00. Whoever stores a frame knows how long its content is.
"""

import threading
from array import array
from collections.abc import Sequence
from typing import Final

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

BASE_LEVEL_MAX: Final = 22

_CAN_TAKE_MANY: Final = "multi_compress_to_buffer" in zstandard.backend_features
_MANY: Final = 8  # fewer are sooner compressed one by one: a call makes a context of its own
_AT_ONCE: Final = 4096


class Base:
    """Content that others are compressed against: they may refer to any part of it.

    Immutable; any thread. Both sides need the same bytes.
    """

    def __init__(self, content: bytes) -> None:
        self.content = content
        self._local = threading.local()

    def compress(self, content: bytes, level: int) -> bytes:
        """The reduced frame of ``content``; deterministic for one zstd release."""
        parameters = zstandard.ZstdCompressionParameters.from_level(
            level,
            source_size=len(content) + len(self.content),
            window_log=window_log(len(content) + len(self.content)),
            write_content_size=False,
            write_checksum=False,
            write_dict_id=False,
            format=zstandard.FORMAT_ZSTD1_MAGICLESS,
        )
        compressor = zstandard.ZstdCompressor(
            compression_params=parameters, dict_data=_raw_dictionary(self.content)
        )
        return compressor.compress(content)

    def decompress(self, frame: bytes | memoryview, length_bytes: int) -> bytes:
        """Inverse of ``compress``, as ``decompress``. Raises Corrupt."""
        context = getattr(self._local, "context", None)
        if context is None:
            context = self._local.context = zstandard.ZstdDecompressor(
                dict_data=_raw_dictionary(self.content),
                max_window_size=1 << window_log(length_bytes + len(self.content) + (1 << 20)),
                format=zstandard.FORMAT_ZSTD1_MAGICLESS,
            )
        return _decompress(context, frame, length_bytes)


def _raw_dictionary(content: bytes) -> zstandard.ZstdCompressionDict:
    return zstandard.ZstdCompressionDict(content, dict_type=zstandard.DICT_TYPE_RAWCONTENT)


def window_log(length_bytes: int) -> int:
    """The smallest window, as a power of two, that all of ``length_bytes`` fit into."""
    return max(10, min(27, length_bytes.bit_length()))


def compress_densely(content: bytes, level: int) -> bytes:
    """As ``compress``, slower and smaller: zstd's strongest parser at any length."""
    parameters = zstandard.ZstdCompressionParameters.from_level(
        level,
        source_size=len(content),
        window_log=window_log(len(content)),
        strategy=zstandard.STRATEGY_BTULTRA2,
        write_content_size=False,
        write_checksum=False,
        write_dict_id=False,
        format=zstandard.FORMAT_ZSTD1_MAGICLESS,
    )
    return zstandard.ZstdCompressor(compression_params=parameters).compress(content)


def compress(content: bytes, level: int) -> memoryview:
    """The reduced frame of ``content``; deterministic for one zstd release."""
    return memoryview(_contexts.compressor(level).compress(content))[_MAGIC_BYTES:]


def compress_many(contents: Sequence[bytes], level: int) -> list[bytes]:
    """``compress`` of each, none of them empty: in one call, where there are many of them."""
    if len(contents) < _MANY or not _CAN_TAKE_MANY:
        return [bytes(compress(content, level)) for content in contents]
    compressor = _contexts.compressor(level)
    frames: list[bytes] = []
    for start in range(0, len(contents), _AT_ONCE):
        some = compressor.multi_compress_to_buffer(list(contents[start : start + _AT_ONCE]))
        frames += [some[at].tobytes()[_MAGIC_BYTES:] for at in range(len(some))]
    return frames


def decompress(frame: bytes | memoryview, length_bytes: int, *, window_bytes_max: int) -> bytes:
    """The content of a reduced frame, which must be ``length_bytes`` long.

    Allocates no more than that, whatever the frame claims. Raises Corrupt.
    """
    return _decompress(_contexts.decompressor(window_bytes_max), frame, length_bytes)


def decompress_many(
    frames: Sequence[bytes], lengths_bytes: Sequence[int], *, window_bytes_max: int
) -> list[bytes]:
    """``decompress`` of each, none of them empty: in one call, where there are many of them.

    Memory: the contents. Such a call passes over bytes behind the end of a frame.
    """
    if len(frames) >= _MANY and _CAN_TAKE_MANY and all(map(_begins_well, frames)):
        sizes = array("Q", lengths_bytes).tobytes()
        try:
            found = zstandard.ZstdDecompressor(
                max_window_size=window_bytes_max
            ).multi_decompress_to_buffer(
                [zstandard.FRAME_HEADER + frame for frame in frames], decompressed_sizes=sizes
            )
        except zstandard.ZstdError:
            pass  # which one of them it is will be told
        else:
            return [found[at].tobytes() for at in range(len(found))]
    return [
        decompress(frame, length, window_bytes_max=window_bytes_max)
        for frame, length in zip(frames, lengths_bytes, strict=True)
    ]


def _begins_well(frame: bytes | memoryview) -> bool:
    return frame[:1] == _FRAME_HEADER_DESCRIPTOR


def _decompress(
    context: zstandard.ZstdDecompressor, frame: bytes | memoryview, length_bytes: int
) -> bytes:
    # Checked by hand, because a content size would decide what zstandard allocates.
    if not _begins_well(frame):
        raise Corrupt("the zstd frame does not begin with 0x00")
    try:
        content = context.decompress(
            frame, max_output_size=max(length_bytes, 1), allow_extra_data=False
        )
    except zstandard.ZstdError as error:
        raise Corrupt(str(error)) from None
    if len(content) != length_bytes:
        raise Corrupt(f"holds {len(content)} bytes, not {length_bytes}")
    return content
