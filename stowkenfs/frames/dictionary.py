"""Trained dictionaries: what many segments have in common, kept once (FORMAT.md, "Dictionaries").

A dictionary is a codebook, which gives frequent ids one byte, and a zstd dictionary that was
trained on segments in these codes: what often follows what, and how often each byte occurs.

    0x03   body: varint number << 2 | form, then by form
             0   the codes, to the end of the frame
             1   the content of one compressed zstd block, to the end of the frame, of at most
                 2^17 bytes of codes: without frame header and block header, which say nothing
             2   varint length of the codes in bytes (1 .. 2^24), then a zstd frame as in 0x02

Codes are those of the codebook without terminator, and for BYTES the bytes as they are.
"""

import threading
from dataclasses import dataclass
from enum import IntEnum
from typing import Literal, Self

import numpy as np
import zstandard

from stowkenfs import minimal_zstd
from stowkenfs.errors import Corrupt, FrameCorrupt
from stowkenfs.frames.codebook import CODED_IDS, Codebook
from stowkenfs.frames.kinds import FrameKind
from stowkenfs.frames.resources import EncodeChoices, FrameResources
from stowkenfs.frames.segment import SYMBOLS_BYTES_MAX, Segment, segment_of
from stowkenfs.ids import Vocabulary
from stowkenfs.varint import append_varint, read_varint

DICTIONARY_LEVEL = 19
"""Level of what one block holds: a digested dictionary makes it as quick as 15, 5-40 us."""

DICTIONARY_BYTES_MAX = 1 << 20
"""The most that a zstd dictionary may have, here and when read."""

_ENTRY_BYTES_MAX = DICTIONARY_BYTES_MAX + (1 << 20)
_ENTRY_LEVEL = 19

_BLOCK_BYTES_MAX = 1 << 17
# Nothing optional; a window of 2^17 bytes, the longest that one block fills.
_BLOCK_FRAME_HEADER = b"\0\x38"
_BLOCK_HEADER_BYTES = 3
_COMPRESSED_BLOCK = 2
_LAST_BLOCK = 1
_FRAME_HEADER_BYTES = 2  # of what zstd writes with the options below: descriptor and window

_EMPTY_FRAME = b"\0\x38\1\0\0"  # one raw block of no bytes

# An id takes at most three bytes as a varint when it has a code.
_SYMBOL_BYTES_MAX = 3


class Form(IntEnum):
    """How the codes are in a body. On disk: values never change."""

    CODES = 0
    BLOCK = 1
    FRAME = 2


class Dictionary:
    """A codebook and a zstd dictionary for its codes. Immutable; any thread.

    What it makes for compressing and decompressing is kept, for each thread.
    """

    def __init__(self, codebook: Codebook, trained: bytes, sample_count: int) -> None:
        """``trained`` is a zstd dictionary (RFC 8878, section 5), or empty: codes only.

        Raises FrameCorrupt for another one.
        """
        self.codebook = codebook
        self.trained = trained
        self.sample_count = sample_count
        self._content: bytes | None = None  # made on first use, or what it was decoded from
        self._zstd = _Zstd(trained) if trained else None

    def __reduce__(self) -> tuple[object, tuple[bytes]]:
        return Dictionary.decode, (self.encode(),)

    def encode(self) -> bytes:
        """The content of its registry entry: the same for equal ones of one zstd release."""
        if self._content is None:
            self._content = self._encoded()
        return self._content

    def _encoded(self) -> bytes:
        codebook = self.codebook.encode()
        parts = bytearray()
        append_varint(parts, len(codebook))
        parts += codebook
        parts += self.trained
        packed = minimal_zstd.compress_densely(bytes(parts), _ENTRY_LEVEL)
        content = bytearray()
        append_varint(content, self.sample_count)
        append_varint(content, len(parts) if len(packed) < len(parts) else 0)
        content += packed if len(packed) < len(parts) else parts
        return bytes(content)

    @classmethod
    def decode(cls, content: bytes) -> Self:
        """Inverse of ``encode``. Raises FrameCorrupt for what is no such content."""
        try:
            sample_count, at = read_varint(content, 0, bits_max=32)
            length, at = read_varint(content, at, bits_max=32)
            parts = _unpacked(content[at:], length)
            codebook_bytes, at = read_varint(parts, 0, bits_max=32)
        except FrameCorrupt:
            raise
        except Corrupt as error:
            raise FrameCorrupt(f"a dictionary: {error}") from None
        codebook, trained = parts[at : at + codebook_bytes], parts[at + codebook_bytes :]
        if len(codebook) < codebook_bytes or len(trained) > DICTIONARY_BYTES_MAX:
            raise FrameCorrupt("a dictionary that is cut off or too large")
        dictionary = cls(Codebook.decode(codebook), trained, sample_count)
        dictionary._content = bytes(content)
        return dictionary

    @property
    def size_bytes(self) -> int:
        """Length of the registry entry."""
        return len(self.encode())

    @property
    def memory_bytes(self) -> int:
        """What a cache should count for it, without what compressing needs."""
        return 3 * len(self.trained) + self.codebook.memory_bytes

    def codes(self, segment: Segment) -> bytes | None:
        """The ids in codes; None for what a frame of this kind cannot hold."""
        if segment.vocabulary is Vocabulary.BYTES:
            if int(segment.tokens.max(initial=0)) > 0xFF:
                return None
            codes = segment.tokens.astype(np.uint8).tobytes()
        elif int(segment.tokens.max(initial=0)) >= CODED_IDS:
            return None
        else:
            codes = self.codebook.encode_ids(segment.vocabulary, segment.tokens)
        return codes if len(codes) <= SYMBOLS_BYTES_MAX else None

    def compress(
        self, segment: Segment, *, level: int = DICTIONARY_LEVEL
    ) -> tuple[Form, bytes] | None:
        """The smallest form of ``segment``, and what follows it in the body.

        ``level`` is for more than 2^17 bytes of codes, all else has DICTIONARY_LEVEL. None for
        ids or lengths that have no such form. Deterministic for one zstd release.
        """
        codes = self.codes(segment)
        if codes is None:
            return None
        best = Form.CODES, codes
        if self._zstd is not None and codes:
            packed = self._zstd.compress(codes, level)
            if len(packed[1]) < len(codes):
                best = packed
        return best

    def decompress(self, vocabulary: Vocabulary, form: int, packed: bytes) -> Segment:
        """Inverse of ``compress``. Raises FrameCorrupt for what it cannot have written."""
        if form == Form.CODES:
            codes = packed
        elif self._zstd is None or form not in (Form.BLOCK, Form.FRAME):
            raise FrameCorrupt(f"form {form} of a frame, which its dictionary does not have")
        else:
            codes = self._zstd.decompress(Form(form), packed)
        if len(codes) > SYMBOLS_BYTES_MAX:
            raise FrameCorrupt(f"{len(codes)} bytes of codes; a frame holds {SYMBOLS_BYTES_MAX}")
        if vocabulary is Vocabulary.BYTES:
            return segment_of(vocabulary, codes)
        ids = self.codebook.decode_ids(vocabulary, codes)
        if len(ids) * _SYMBOL_BYTES_MAX > SYMBOLS_BYTES_MAX:
            symbols_bytes = len(ids) + int((ids >= 1 << 7).sum()) + int((ids >= 1 << 14).sum())
            if symbols_bytes > SYMBOLS_BYTES_MAX:
                raise FrameCorrupt(f"{symbols_bytes} bytes of symbols in a frame")
        return Segment(vocabulary, ids)


class _Zstd:
    """A trained zstd dictionary in use: digested once, contexts per thread."""

    def __init__(self, trained: bytes) -> None:
        self._trained = trained
        self._local = _Contexts()
        self._lock = threading.Lock()
        self._digested: zstandard.ZstdCompressionDict | None = None  # set once, under _lock
        try:
            self._reading = _full_dictionary(trained)
            self._decompressor().decompress(_EMPTY_FRAME, max_output_size=1)
        except (zstandard.ZstdError, ValueError, MemoryError):
            raise FrameCorrupt("what should be a zstd dictionary is none") from None

    def compress(self, codes: bytes, level: int) -> tuple[Form, bytes]:
        if len(codes) > _BLOCK_BYTES_MAX:
            return Form.FRAME, _with_length(codes, self._compress_long(codes, level))
        frame = self._compressor().compress(codes)[len(zstandard.FRAME_HEADER) :]
        start = _FRAME_HEADER_BYTES + _BLOCK_HEADER_BYTES
        header = int.from_bytes(frame[_FRAME_HEADER_BYTES:start], "little")
        if header == (len(frame) - start) << 3 | _COMPRESSED_BLOCK << 1 | _LAST_BLOCK:
            return Form.BLOCK, frame[start:]
        return Form.FRAME, _with_length(codes, frame)

    def _compress_long(self, codes: bytes, level: int) -> bytes:
        parameters = zstandard.ZstdCompressionParameters.from_level(
            level,
            source_size=len(codes) + len(self._trained),
            window_log=min(minimal_zstd.window_log(len(codes)), SYMBOLS_BYTES_MAX.bit_length() - 1),
            write_content_size=False,
            write_checksum=False,
            write_dict_id=False,
            format=zstandard.FORMAT_ZSTD1_MAGICLESS,
        )
        return zstandard.ZstdCompressor(
            compression_params=parameters, dict_data=self._reading
        ).compress(codes)

    def decompress(self, form: Form, packed: bytes) -> bytes:
        """The codes. Allocates no more than the form allows. Raises FrameCorrupt."""
        if form is Form.BLOCK:
            if not packed or len(packed) > _BLOCK_BYTES_MAX:
                raise FrameCorrupt(f"a zstd block of {len(packed)} bytes")
            header = len(packed) << 3 | _COMPRESSED_BLOCK << 1 | _LAST_BLOCK
            frame = _BLOCK_FRAME_HEADER + header.to_bytes(_BLOCK_HEADER_BYTES, "little") + packed
            return self._decompressed(frame, _BLOCK_BYTES_MAX)
        try:
            length, at = read_varint(packed, 0, bits_max=32)
        except Corrupt as error:
            raise FrameCorrupt(f"length of the codes: {error}") from None
        if not 1 <= length <= SYMBOLS_BYTES_MAX or packed[at : at + 1] != b"\0":
            raise FrameCorrupt(f"{length} bytes of codes; a frame holds 1-{SYMBOLS_BYTES_MAX}")
        codes = self._decompressed(packed[at:], length)
        if len(codes) != length:
            raise FrameCorrupt(f"holds {len(codes)} bytes of codes, not {length}")
        return codes

    def _decompressed(self, frame: bytes, length_bytes_max: int) -> bytes:
        try:
            return self._decompressor().decompress(
                frame, max_output_size=length_bytes_max, allow_extra_data=False
            )
        except zstandard.ZstdError as error:
            raise FrameCorrupt(f"the codes: {error}") from None

    def _decompressor(self) -> zstandard.ZstdDecompressor:
        found = self._local.decompressor
        if found is None:
            found = self._local.decompressor = zstandard.ZstdDecompressor(
                dict_data=self._reading,
                max_window_size=SYMBOLS_BYTES_MAX,
                format=zstandard.FORMAT_ZSTD1_MAGICLESS,
            )
        return found

    def _compressor(self) -> zstandard.ZstdCompressor:
        found = self._local.compressor
        if found is None:
            found = self._local.compressor = zstandard.ZstdCompressor(
                level=DICTIONARY_LEVEL,
                dict_data=self._digest(),
                write_content_size=False,
                write_checksum=False,
                write_dict_id=False,
            )
        return found

    def _digest(self) -> zstandard.ZstdCompressionDict:
        with self._lock:
            if self._digested is None:
                digested = _full_dictionary(self._trained)
                digested.precompute_compress(DICTIONARY_LEVEL)
                self._digested = digested
            return self._digested


def _unpacked(packed: bytes, length_bytes: int) -> bytes:
    """The parts of an entry, which are not compressed where their length is given as 0."""
    if max(len(packed), length_bytes) > _ENTRY_BYTES_MAX:
        raise FrameCorrupt(f"a dictionary of more than {_ENTRY_BYTES_MAX} bytes")
    if not length_bytes:
        return packed
    return minimal_zstd.decompress(packed, length_bytes, window_bytes_max=SYMBOLS_BYTES_MAX)


class _Contexts(threading.local):
    """What only one thread may use at a time."""

    def __init__(self) -> None:
        self.compressor: zstandard.ZstdCompressor | None = None
        self.decompressor: zstandard.ZstdDecompressor | None = None


def _full_dictionary(trained: bytes) -> zstandard.ZstdCompressionDict:
    return zstandard.ZstdCompressionDict(trained, dict_type=zstandard.DICT_TYPE_FULLDICT)


def _with_length(codes: bytes, frame: bytes) -> bytes:
    out = bytearray()
    append_varint(out, len(codes))
    return bytes(out + frame)


@dataclass(frozen=True, slots=True)
class DictionaryCodec:
    """0x03: the codes of a dictionary, under zstd with it where that is smaller."""

    kind: Literal[FrameKind.DICTIONARY] = FrameKind.DICTIONARY

    def encode(
        self,
        segment: Segment,
        symbols: bytes,  # noqa: ARG002
        level: int,
        choices: EncodeChoices | None,
    ) -> bytes | None:
        if choices is None or choices.dictionary is None:
            return None
        number, dictionary = choices.dictionary
        found = dictionary.compress(segment, level=level)
        if found is None:
            return None
        form, packed = found
        body = bytearray()
        append_varint(body, number << 2 | form)
        return bytes(body + packed)

    def decode(
        self, vocabulary: Vocabulary, body: memoryview, resources: FrameResources | None
    ) -> Segment:
        number, form, at = _head(body)
        if resources is None:
            raise FrameCorrupt(f"a frame of dictionary {number}, and no dictionaries")
        dictionary = resources.dictionary(number)
        if len(body) - at > SYMBOLS_BYTES_MAX:
            raise FrameCorrupt(f"a body of {len(body)} bytes; a frame holds {SYMBOLS_BYTES_MAX}")
        return dictionary.decompress(vocabulary, form, bytes(body[at:]))


def dictionary_number(body: memoryview) -> int:
    """The number of the dictionary that the body of a 0x03 frame needs. Raises FrameCorrupt."""
    return _head(body)[0]


def _head(body: memoryview) -> tuple[int, int, int]:
    """Number, form and where the rest begins."""
    try:
        head, at = read_varint(body, 0)
    except Corrupt as error:
        raise FrameCorrupt(f"number of the dictionary: {error}") from None
    return head >> 2, head & 3, at
