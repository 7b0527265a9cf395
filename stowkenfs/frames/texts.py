"""Many texts to segments at once, each as tokens or as bytes, whichever is smaller.

What costs for each call of a library, and more than its work on a short text, is paid once for
all of them.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from stowkenfs.frames.address import segment_hash, segment_key
from stowkenfs.frames.codec import encode_frames
from stowkenfs.frames.segment import Segment
from stowkenfs.frames.tokenizer import tokenize_many
from stowkenfs.frames.varints import TokenArray, encode_varints_of
from stowkenfs.ids import Vocabulary

TOKENS_RARELY_PAY = 0.6
"""A frame of tokens larger than this share of its text is compared with one of bytes."""


class EncodedText(NamedTuple):
    """A segment, its key, and its frame, which refers to nothing."""

    segment: Segment
    key: int
    frame: bytes


def encode_texts(
    texts: Sequence[bytes], vocabulary: Vocabulary, *, level: int
) -> list[EncodedText]:
    """Segments of texts, UTF-8 of up to TEXT_BYTES_MAX each; any bytes with ``BYTES``.

    Deterministic for one zstd release: the same text is the same segment for ever, whatever
    frames may refer to. Raises NoSpelling for ``FOREIGN``, TokenizerMissing.
    """
    tokens: list[TokenArray | None] = [None] * len(texts)
    if vocabulary is not Vocabulary.BYTES:
        tokens = tokenize_many([text.decode() for text in texts], vocabulary)
    frames = _frames_of(tokens, vocabulary, level)
    unsure = [
        at
        for at, (frame, text) in enumerate(zip(frames, texts, strict=True))
        if frame is None or len(frame) > TOKENS_RARELY_PAY * len(text)
    ]
    plain = encode_frames([texts[at] for at in unsure], Vocabulary.BYTES, level=level)
    for at, frame in zip(unsure, plain, strict=True):
        before = frames[at]
        if before is None or len(frame) < len(before):
            tokens[at], frames[at] = None, frame
    return [
        _encoded(text, vocabulary, ids, frame)
        for text, ids, frame in zip(texts, tokens, frames, strict=True)
    ]


def _frames_of(
    tokens: Sequence[TokenArray | None], vocabulary: Vocabulary, level: int
) -> list[bytes | None]:
    """A frame for each that is not None."""
    symbols = encode_varints_of([ids for ids in tokens if ids is not None])
    found = iter(encode_frames(symbols, vocabulary, level=level))
    return [None if ids is None else next(found) for ids in tokens]


def _encoded(
    text: bytes, vocabulary: Vocabulary, tokens: TokenArray | None, frame: bytes | None
) -> EncodedText:
    assert frame is not None, "bytes take every text"
    if tokens is None:
        vocabulary, tokens = Vocabulary.BYTES, np.frombuffer(text, np.uint8).astype(np.uint32)
    key = segment_key(segment_hash(tokens), vocabulary)
    return EncodedText(Segment(vocabulary, tokens), key, frame)
