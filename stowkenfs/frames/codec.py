"""Frames: one segment as bytes, encoded on its own.

    byte 0   frame kind, see ``kinds``
    byte 1   vocabulary
    body     what the kind says

A frame knows neither its length nor its checksum; whoever stores it knows both.
"""

from stowkenfs.errors import FrameCorrupt
from stowkenfs.frames.kinds import (
    FrameCodec,
    FrameKind,
    FrameResources,
    VarintCodec,
    ZstdCodec,
)
from stowkenfs.frames.segment import Segment, symbols_of
from stowkenfs.frames.varints import TokenArray
from stowkenfs.ids import Vocabulary

__all__ = [
    "FRAME_HEADER_BYTES",
    "LEVEL_DENSE",
    "LEVEL_QUICK",
    "REGISTRY",
    "FrameCodec",
    "FrameKind",
    "FrameResources",
    "Segment",
    "decode_frame",
    "encode_frame",
    "frame_kind",
    "frame_symbols",
]

FRAME_HEADER_BYTES = 2

# zstd levels, measured on 30,000 payloads of public conversations: 15 codes the symbols of
# 20 MB of text a second, 19 those of 11 MB; they differ by more than 1 % only above 64 KiB.
LEVEL_QUICK = 15
LEVEL_DENSE = 19

REGISTRY: dict[int, FrameCodec] = {
    FrameKind.VARINT: VarintCodec(),
    FrameKind.ZSTD: ZstdCodec(),
}
"""Every frame kind that this release reads and writes, by byte 0. Filled at import."""


def encode_frame(
    ids: TokenArray,
    vocabulary: Vocabulary,
    *,
    level: int = LEVEL_QUICK,
    resources: FrameResources | None = None,
) -> bytes:
    """The smallest frame for ``ids`` (uint32, shape (n,)) that the registry can write.

    Deterministic for one zstd release; of two equally small frames the lower kind wins.
    Kinds that refer to something are tried when ``resources`` has it.
    Raises Unstorable for an id that the vocabulary cannot hold or more than 2^24 symbols.
    """
    segment = Segment(vocabulary, ids)
    symbols = symbols_of(segment)
    best: tuple[int, int, bytes] | None = None
    for kind, codec in REGISTRY.items():
        body = codec.encode(segment, symbols, level, resources)
        if body is not None and (best is None or (len(body), kind) < best[:2]):
            best = len(body), kind, body
    assert best is not None
    return bytes((best[1], vocabulary)) + best[2]


def decode_frame(frame: bytes, resources: FrameResources | None = None) -> Segment:
    """The segment in ``frame``, its tokens read-only.

    Raises FrameCorrupt for anything that is no frame of a known kind, and for one that
    refers to what ``resources`` does not have.
    """
    codec, vocabulary = _head(frame)
    return codec.decode(vocabulary, memoryview(frame)[FRAME_HEADER_BYTES:], resources)


def frame_symbols(frame: bytes) -> tuple[Vocabulary, bytes] | None:
    """The vocabulary and the symbols of a frame; None for a kind that has none. Raises as above."""
    codec, vocabulary = _head(frame)
    if isinstance(codec, VarintCodec | ZstdCodec):
        return vocabulary, codec.symbols(memoryview(frame)[FRAME_HEADER_BYTES:])
    return None


def _head(frame: bytes) -> tuple[FrameCodec, Vocabulary]:
    kind = frame_kind(frame)
    codec = REGISTRY.get(kind)
    if codec is None:
        raise FrameCorrupt(f"frame kind {kind:#04x} ({kind.name}) is reserved, not yet in use")
    if len(frame) < FRAME_HEADER_BYTES:
        raise FrameCorrupt("the frame ends before its vocabulary")
    try:
        return codec, Vocabulary(frame[1])
    except ValueError:
        raise FrameCorrupt(f"vocabulary {frame[1]:#04x} is unknown") from None


def frame_kind(frame: bytes) -> FrameKind:
    """The kind by byte 0 alone. Raises FrameCorrupt when empty or of an unknown kind."""
    if not frame:
        raise FrameCorrupt("the frame is empty")
    try:
        return FrameKind(frame[0])
    except ValueError:
        raise FrameCorrupt(f"frame kind {frame[0]:#04x} is unknown") from None
