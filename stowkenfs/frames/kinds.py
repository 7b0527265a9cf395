"""What a frame kind is, and the kinds that need nothing but the frame.

    0x01   body: the symbols, to the end of the frame
    0x02   body: varint length of the symbols in bytes (1 .. 2^24), then one zstd frame
           (RFC 8878) without magic number, content size, checksum and dictionary id, so
           that its first byte is 0x00; window at most 2^24 bytes

Checksums are the block's affair: a frame is never larger than it must be.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Literal, Protocol

from stowkenfs.errors import Corrupt, FrameCorrupt
from stowkenfs.frames.resources import EncodeChoices, FrameResources
from stowkenfs.frames.segment import SYMBOLS_BYTES_MAX, Segment, segment_of
from stowkenfs.ids import Vocabulary
from stowkenfs.minimal_zstd import compress, decompress
from stowkenfs.varint import append_varint, read_varint

FRAME_HEADER_BYTES = 2
"""The kind and the vocabulary."""


class FrameKind(IntEnum):
    """Byte 0 of a frame. On disk: values never change."""

    VARINT = 0x01
    ZSTD = 0x02
    DICTIONARY = 0x03
    DELTA = 0x04
    SUBSTRINGS = 0x05
    MODEL = 0x06
    NESTED = 0x07


class FrameCodec(Protocol):
    """One frame kind: segment to body and back. Stateless, safe in any thread."""

    @property
    def kind(self) -> FrameKind: ...

    def encode(
        self, segment: Segment, symbols: bytes, level: int, choices: EncodeChoices | None
    ) -> bytes | None:
        """The body for ``segment``, whose symbols are ``symbols``; None when it cannot pay."""

    def decode(
        self, vocabulary: Vocabulary, body: memoryview, resources: FrameResources | None
    ) -> Segment:
        """Inverse of ``encode``; FrameCorrupt for any body that it never returns."""


@dataclass(frozen=True, slots=True)
class VarintCodec:
    """0x01: the symbols as they are."""

    kind: Literal[FrameKind.VARINT] = FrameKind.VARINT

    def encode(
        self,
        segment: Segment,  # noqa: ARG002
        symbols: bytes,
        level: int,  # noqa: ARG002
        choices: EncodeChoices | None,  # noqa: ARG002
    ) -> bytes:
        return symbols

    def decode(
        self,
        vocabulary: Vocabulary,
        body: memoryview,
        resources: FrameResources | None,  # noqa: ARG002
    ) -> Segment:
        return segment_of(vocabulary, self.symbols(body))

    def symbols(self, body: memoryview) -> bytes:
        """What ``body`` was encoded from. Raises FrameCorrupt."""
        if len(body) > SYMBOLS_BYTES_MAX:
            raise FrameCorrupt(f"{len(body)} bytes of symbols; a frame holds {SYMBOLS_BYTES_MAX}")
        return bytes(body)


# The shortest symbols that zstd 1.5.7 shrinks by more than the length before them, at any
# level: 14 equal bytes. Of text, 31.
ZSTD_SYMBOLS_BYTES_MIN = 14


@dataclass(frozen=True, slots=True)
class ZstdCodec:
    """0x02: the symbols under zstd."""

    kind: Literal[FrameKind.ZSTD] = FrameKind.ZSTD

    def encode(
        self,
        segment: Segment,  # noqa: ARG002
        symbols: bytes,
        level: int,
        choices: EncodeChoices | None,  # noqa: ARG002
    ) -> bytes | None:
        if len(symbols) < ZSTD_SYMBOLS_BYTES_MIN:
            return None
        body = bytearray()
        append_varint(body, len(symbols))
        body += compress(symbols, level)
        return bytes(body)

    def decode(
        self,
        vocabulary: Vocabulary,
        body: memoryview,
        resources: FrameResources | None,  # noqa: ARG002
    ) -> Segment:
        return segment_of(vocabulary, self.symbols(body))

    def symbols(self, body: memoryview) -> bytes:
        """What ``body`` was encoded from. Raises FrameCorrupt."""
        try:
            length, at = read_varint(body, 0, bits_max=32)
        except Corrupt as error:
            raise FrameCorrupt(f"length of the symbols: {error}") from None
        if not 1 <= length <= SYMBOLS_BYTES_MAX:
            raise FrameCorrupt(f"{length} bytes of symbols; a frame holds 1-{SYMBOLS_BYTES_MAX}")
        try:
            return decompress(body[at:], length, window_bytes_max=SYMBOLS_BYTES_MAX)
        except Corrupt as error:
            raise FrameCorrupt(f"the symbols: {error}") from None
