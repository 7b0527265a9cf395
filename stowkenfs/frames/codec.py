"""Frames: one segment as bytes, encoded on its own.

    byte 0   frame kind, see ``kinds``
    byte 1   vocabulary
    body     what the kind says

A frame knows neither its length nor its checksum; whoever stores it knows both.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from stowkenfs.errors import FrameCorrupt
from stowkenfs.frames.delta import (
    DEPTH_MAX,
    DeltaCodec,
    NestedCodec,
    delta_body,
    depth_of_body,
    nested_body,
)
from stowkenfs.frames.dictionary import DictionaryCodec, dictionary_number
from stowkenfs.frames.edits import read_edits, sources_of
from stowkenfs.frames.kinds import (
    FRAME_HEADER_BYTES,
    ZSTD_SYMBOLS_BYTES_MIN,
    FrameCodec,
    FrameKind,
    VarintCodec,
    ZstdCodec,
)
from stowkenfs.frames.resources import EncodeChoices, FrameResources
from stowkenfs.frames.segment import Segment, symbols_of
from stowkenfs.frames.substrings import SubstringCodec
from stowkenfs.frames.varints import TokenArray
from stowkenfs.ids import Vocabulary
from stowkenfs.minimal_zstd import compress_many
from stowkenfs.varint import append_varint

__all__ = [
    "DELTA_KINDS",
    "DEPTH_MAX",
    "FRAME_HEADER_BYTES",
    "LEVEL_DENSE",
    "LEVEL_QUICK",
    "REGISTRY",
    "EncodeChoices",
    "FrameCodec",
    "FrameKind",
    "FrameReferences",
    "FrameResources",
    "Segment",
    "decode_frame",
    "depth_of",
    "encode_delta",
    "encode_frame",
    "encode_frames",
    "encode_nested",
    "encode_referring",
    "frame_kind",
    "frame_symbols",
    "references_of",
    "whole_frame",
]

# zstd levels, measured on 30,000 payloads of public conversations: 15 codes the symbols of
# 20 MB of text a second, 19 those of 11 MB; they differ by more than 1 % only above 64 KiB.
LEVEL_QUICK = 15
LEVEL_DENSE = 19

_ALONE: dict[int, FrameCodec] = {
    FrameKind.VARINT: VarintCodec(),
    FrameKind.ZSTD: ZstdCodec(),
}

REGISTRY: dict[int, FrameCodec] = {
    **_ALONE,
    FrameKind.DICTIONARY: DictionaryCodec(),
    FrameKind.DELTA: DeltaCodec(),
    FrameKind.SUBSTRINGS: SubstringCodec(),
    FrameKind.NESTED: NestedCodec(),
}
"""Every frame kind that this release reads and writes, by byte 0. Filled at import."""

DELTA_KINDS = (FrameKind.DELTA, FrameKind.NESTED)
"""Those that refer to a segment."""

_NEVER_CANONICAL = 255


def encode_frame(
    ids: TokenArray,
    vocabulary: Vocabulary,
    *,
    level: int = LEVEL_QUICK,
    choices: EncodeChoices | None = None,
) -> bytes:
    """The smallest frame for ``ids`` (uint32, shape (n,)) that the registry can write.

    Deterministic for one zstd release; of two equally small frames the lower kind wins.
    Kinds that refer to something are tried when ``choices`` has it; never 0x04 and
    0x07, see ``encode_delta`` and ``encode_nested``.
    Raises Unstorable for an id that the vocabulary cannot hold or more than 2^24 symbols.
    """
    segment = Segment(vocabulary, ids)
    symbols = symbols_of(segment)
    best: tuple[int, int, bytes] | None = None
    for kind, codec in (_ALONE if choices is None else REGISTRY).items():
        body = codec.encode(segment, symbols, level, choices)
        if body is not None and (best is None or (len(body), kind) < best[:2]):
            best = len(body), kind, body
    assert best is not None
    return bytes((best[1], vocabulary)) + best[2]


def encode_frames(symbols: Sequence[bytes], vocabulary: Vocabulary, *, level: int) -> list[bytes]:
    """``encode_frame`` of many segments, without choices, whose symbols these are."""
    long = [at for at, one in enumerate(symbols) if len(one) >= ZSTD_SYMBOLS_BYTES_MIN]
    frames = [bytes((FrameKind.VARINT, vocabulary)) + one for one in symbols]
    packed = compress_many([symbols[at] for at in long], level)
    for at, content in zip(long, packed, strict=True):
        head = bytearray((FrameKind.ZSTD, vocabulary))
        append_varint(head, len(symbols[at]))
        if len(head) + len(content) < len(frames[at]):
            frames[at] = bytes(head) + content
    return frames


def encode_referring(segment: Segment, choices: EncodeChoices, *, level: int) -> bytes | None:
    """The smallest frame that refers to what ``choices`` has; None where none does.

    For who has the frame that refers to nothing already, and compares. Raises Unstorable.
    """
    symbols = symbols_of(segment)
    found = [
        (len(body), kind, body)
        for kind in (FrameKind.DICTIONARY, FrameKind.SUBSTRINGS)
        if (body := REGISTRY[kind].encode(segment, symbols, level, choices)) is not None
    ]
    if not found:
        return None
    _, kind, body = min(found)
    return bytes((kind, segment.vocabulary)) + body


def encode_delta(
    segment: Segment, canonical_no: int, canonical: Segment, *, level: int = LEVEL_QUICK
) -> bytes | None:
    """A 0x04 frame of ``segment``; None where it is no smaller than the symbols alone.

    The caller compares it with what ``encode_frame`` finds. Deterministic. Raises Unstorable
    as that does.
    """
    body = delta_body(segment, canonical_no, canonical, level)
    if body is None or len(body) >= len(symbols_of(segment)):
        return None
    return bytes((FrameKind.DELTA, segment.vocabulary)) + body


def encode_nested(
    segment: Segment, canonical_no: int, canonical: Segment, depth: int, *, level: int
) -> bytes | None:
    """A 0x07 frame of ``segment``; None where it is no smaller than the symbols alone.

    ``depth``: 1 to DEPTH_MAX, more than that of the canonical's frame. Else as ``encode_delta``.
    """
    body = nested_body(segment, canonical_no, canonical, depth, level)
    if body is None or len(body) >= len(symbols_of(segment)):
        return None
    return bytes((FrameKind.NESTED, segment.vocabulary)) + body


def depth_of(frame: bytes) -> int:
    """How many deltas a 0x07 frame is read through, itself counted; 0 for one that is whole.

    More than DEPTH_MAX for 0x04, which others do not refer to. Raises FrameCorrupt.
    """
    kind = frame_kind(frame)
    if kind is FrameKind.NESTED:
        return depth_of_body(memoryview(frame)[FRAME_HEADER_BYTES:])
    return _NEVER_CANONICAL if kind is FrameKind.DELTA else 0


@dataclass(frozen=True, slots=True)
class FrameReferences:
    """What a frame cannot be read without."""

    kind: FrameKind
    numbers: tuple[int, ...]
    """Ascending: a dictionary, a segment or substrings, as the kind says; () for 0x01, 0x02."""


def references_of(frame: bytes) -> FrameReferences:
    """What ``frame`` refers to. Raises FrameCorrupt, not for all that ``decode_frame`` does."""
    kind = frame_kind(frame)
    body = memoryview(frame)[FRAME_HEADER_BYTES:]
    if kind in (FrameKind.DELTA, FrameKind.SUBSTRINGS):
        return FrameReferences(kind, sources_of(read_edits(body)))
    if kind is FrameKind.NESTED:
        return FrameReferences(kind, sources_of(read_edits(body[1:])))
    if kind is FrameKind.DICTIONARY:
        return FrameReferences(kind, (dictionary_number(body),))
    return FrameReferences(kind, ())


def decode_frame(frame: bytes, resources: FrameResources | None = None) -> Segment:
    """The segment in ``frame``, its tokens read-only.

    Raises FrameCorrupt for anything that is no frame of a known kind, and for one that
    refers to what ``resources`` does not have.
    """
    codec, vocabulary = _head(frame)
    return codec.decode(vocabulary, memoryview(frame)[FRAME_HEADER_BYTES:], resources)


def whole_frame(frame: bytes, resources: FrameResources) -> bytes:
    """A frame of the same segment that refers to nothing: ``frame`` if it does not.

    Raises FrameCorrupt.
    """
    if frame_kind(frame) in (FrameKind.VARINT, FrameKind.ZSTD):
        return frame
    segment = decode_frame(frame, resources)
    return bytes((FrameKind.VARINT, segment.vocabulary)) + symbols_of(segment)


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
