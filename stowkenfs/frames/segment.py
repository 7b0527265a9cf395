"""A segment, and its symbols: the bytes that every frame kind starts from."""

from dataclasses import dataclass

import numpy as np

from stowkenfs.errors import Unstorable
from stowkenfs.frames.varints import TokenArray, decode_varints, encode_varints
from stowkenfs.ids import Vocabulary

SYMBOLS_BYTES_MAX = 1 << 24
"""The most that one frame holds. Payloads beyond it are cut before they come here."""


@dataclass(frozen=True, slots=True)
class Segment:
    """One payload as token ids: uint32, shape (n,), read-only when decoded from a frame."""

    vocabulary: Vocabulary
    tokens: TokenArray


def symbols_of(segment: Segment) -> bytes:
    """The ids as varints; those of ``BYTES``, which fit, as one byte each.

    Raises Unstorable beyond 255 in ``BYTES`` and beyond SYMBOLS_BYTES_MAX.
    """
    tokens = segment.tokens
    if len(tokens) > SYMBOLS_BYTES_MAX:
        raise _too_long(len(tokens))
    if segment.vocabulary is Vocabulary.BYTES:
        if len(tokens) and tokens.max() > 0xFF:
            raise Unstorable(
                f"id {tokens.max()} in {segment.vocabulary.name}; a byte is at most 255"
            )
        return tokens.astype(np.uint8).tobytes()
    symbols = encode_varints(tokens)
    if len(symbols) > SYMBOLS_BYTES_MAX:
        raise _too_long(len(symbols))
    return symbols


def segment_of(vocabulary: Vocabulary, symbols: bytes) -> Segment:
    """Inverse of ``symbols_of``. Raises FrameCorrupt for what it never returns."""
    if vocabulary is not Vocabulary.BYTES:
        return Segment(vocabulary, decode_varints(symbols))
    tokens = np.frombuffer(symbols, np.uint8).astype(np.uint32)
    tokens.flags.writeable = False
    return Segment(vocabulary, tokens)


def _too_long(symbols_bytes: int) -> Unstorable:
    return Unstorable(f"{symbols_bytes} bytes of symbols; a frame holds {SYMBOLS_BYTES_MAX}")
