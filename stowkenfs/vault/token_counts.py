"""How many tokens the texts of a document have, as far as what is stored tells.

A payload that is one segment has as many tokens as that segment has ids. One in several parts was
tokenized part by part, and could have another number as a whole; it is left out, as is what is
short, stored as bytes, or not sealed yet.
"""

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Final

import numpy as np

from stowkenfs.documents.pieces import MADE, Numbers, Pieces
from stowkenfs.documents.values import Style
from stowkenfs.frames.dense import DenseMode
from stowkenfs.frames.lengths import frame_length, ranked_lengths
from stowkenfs.frames.tokenizer import tokenize, tokenize_many
from stowkenfs.frames.varints import TokenArray
from stowkenfs.ids import Vocabulary
from stowkenfs.index.catalogue import Extent
from stowkenfs.vault.reader import Reader
from stowkenfs.vault.unpacked import PackedSegments, PlainSegments, Segments

Counts = Mapping[bytes, int]
"""``{digest of a text: its tokens}``."""

_DIGEST_BYTES: Final = 12
_TEXTS: Final = frozenset({Style.BASE64, Style.TOKENS})
_LOOKED_UP_BYTES_MIN: Final = 8
"""Shorter texts are never payloads of their own, whatever escapes they are written with."""

_TOGETHER_CHARACTERS: Final = 1 << 15


def digest_of(utf8: bytes) -> bytes:
    """The name of a text among counts."""
    return blake2b(utf8, digest_size=_DIGEST_BYTES).digest()


def stored_counts(reader: Reader, extents: Sequence[Extent], vocabulary: Vocabulary) -> Counts:
    """Tokens in ``vocabulary`` of the texts that these extents refer to. Blocks; any thread.

    Raises Corrupt. What cannot be read of records that are left out is no matter here.
    """
    found = [_single_parts(pieces) for extent in extents for pieces in reader.pieces(extent)]
    numbers = np.unique(np.concatenate(found)) if found else np.zeros(0, np.int64)
    if not len(numbers):
        return {}
    lengths: dict[int, int] = {}
    for segments, places, some in reader.segment_blocks(numbers.tolist()):
        lengths.update(_lengths(segments, places, some, vocabulary))
    wanted = np.array(sorted(lengths), np.int64)
    return {digest_of(text): lengths[number] for number, text in reader.texts(wanted).items()}


def _single_parts(pieces: Pieces) -> Numbers:
    """Numbers of the segments that are a value by themselves."""
    is_single = (pieces.ends - pieces.starts == 1) & (pieces.styles < MADE)
    for style in _TEXTS:
        is_single &= pieces.styles != style
    # The parts of all values follow each other; values that have none have no place among them.
    refers = np.flatnonzero(is_single)
    return pieces.parts[pieces.starts[refers]]


def _lengths(
    segments: Segments, places: Sequence[int], numbers: Sequence[int], vocabulary: Vocabulary
) -> Mapping[int, int]:
    if isinstance(segments, PlainSegments):
        frames = segments.items.frames
        found = [frame_length(frames[at], segments.resources) for at in places]
        return {
            number: length
            for number, (its, length) in zip(numbers, found, strict=True)
            if its is vocabulary
        }
    assert isinstance(segments, PackedSegments)
    return _dense_lengths(segments, places, numbers, vocabulary)


def _dense_lengths(
    segments: PackedSegments, places: Sequence[int], numbers: Sequence[int], vocabulary: Vocabulary
) -> Mapping[int, int]:
    items = segments.items
    lengths: dict[int, int] = {}
    at, number = np.array(places, np.int64), np.array(numbers, np.int64)
    for (its, mode), some in items.by_class(at):
        if its is not vocabulary:
            continue
        mine = number[some].tolist()
        if mode is DenseMode.RANKED:
            counted = ranked_lengths([items.content(one) for one in at[some].tolist()]).tolist()
        else:
            counted = [len(segments.segment(one).tokens) for one in at[some].tolist()]
        lengths.update(zip(mine, counted, strict=True))
    return lengths


class TokenCounter:
    """Counts tokens in one vocabulary; ``known`` are counts that need no tokenizer.

    Text that no tokenizer may see (half of a surrogate pair) counts a token for each byte, which
    is never too few. Safe in one thread.
    """

    def __init__(self, vocabulary: Vocabulary, known: Counts) -> None:
        self._vocabulary = vocabulary
        self._known = known
        self.tokenized_bytes = 0
        """Of texts that had to be tokenized."""

    def __call__(self, texts: Sequence[str]) -> Sequence[int]:
        counts = [0] * len(texts)
        unknown: list[int] = []
        known = self._known
        for at, text in enumerate(texts):
            if not text:
                continue
            if known and len(text) >= _LOOKED_UP_BYTES_MIN:
                found = known.get(digest_of(text.encode("utf-8", "surrogatepass")))
                if found is not None:
                    counts[at] = found
                    continue
            unknown.append(at)
        missing = [texts[at] for at in unknown]
        for at, text, ids in zip(unknown, missing, self._tokenize(missing), strict=True):
            size = len(text.encode("utf-8", "surrogatepass"))
            self.tokenized_bytes += size
            counts[at] = size if ids is None else len(ids)
        return counts

    def _tokenize(self, texts: Sequence[str]) -> Sequence[TokenArray | None]:
        if sum(map(len, texts)) >= _TOGETHER_CHARACTERS:
            return tokenize_many(texts, self._vocabulary)
        # Threads that wait for a processor would take longer than all of it.
        return [tokenize(text, self._vocabulary) for text in texts]
